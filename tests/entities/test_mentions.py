"""Names in a text with their kinds: of the lexicon, lay words, and by form."""

from __future__ import annotations

import pytest

from chimed_rag.entities.mentions import mentions


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("感冒发烧能吃布洛芬吗？", [("感冒", "disease"), ("发烧", "sign"), ("布洛芬", "drug")]),
        ("乳腺结节3类要紧吗", [("乳腺结节", "disease")]),
        ("拉肚子怎么办", [("拉肚子", "sign")]),
        ("流感疫苗打几针", [("流感疫苗", "drug")]),
        ("糖化血红蛋白是什么", [("糖化血红蛋白", "test")]),
        ("怎么做", []),
        ("", []),
    ],
)
def test_names_and_kinds(text, found):
    names = mentions(text)
    assert [(one.text, one.kind) for one in names] == found
    assert all(text[one.start : one.end] == one.text for one in names)


def test_one_thing_has_one_main_name():
    [one] = mentions("美林")
    [other] = mentions("布洛芬")
    assert one.canonical == other.canonical


def test_latin_names_only_as_a_whole_and_half_characters_are_borne():
    assert mentions("actor") == []
    assert [one.text for one in mentions("\ud800CT")] == ["CT"]
