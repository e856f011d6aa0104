"""The clean view: what it leaves out, and the way back to the source."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimed_rag.corpus.cleaner import CleanView, clean
from chimed_rag.text import fold

FEW = settings(max_examples=100, deadline=None)
DIRTY = st.text(alphabet="患者。，ａ１ab 0\n\r\t\u3000\u200b\ufeff\u00ad\x00\x07\x0c\xa0\ud800％第页", max_size=120)


def paged(*pages: str) -> tuple[str, list[int]]:
    text, starts = "", []
    for page in pages:
        starts.append(len(text))
        text += page
    return text, starts


def mapped_back(view: CleanView, source: str, begin: int, end: int) -> str:
    return "".join(source[low:high] for low, high in view.source_spans(begin, end))


def test_clean_text_is_itself() -> None:
    view = clean("布洛芬0.2g，一日3次。")
    assert view == CleanView("布洛芬0.2g，一日3次。", ((0, 0, 13),), {})
    assert clean("").text == ""


def test_what_is_replaced_one_to_one() -> None:
    view = clean("布洛芬０．２ｇ，\u3000⼀⽇３次。\r\n饭后\x0c服\xa0用\ud800")
    assert view.text == "布洛芬0.2g， 一日3次。 \n饭后\n服 用\ufffd"
    assert len(view.runs) == 1


def test_what_is_left_out() -> None:
    view = clean("布洛\u200b芬\x07片\ufeff\n\n \n\n口服")
    assert view.text == "布洛芬片\n\n口服"
    assert view.removed == {"control": 3, "blank_lines": 3}
    assert view.source_spans(0, 4) == [(0, 2), (3, 4), (5, 6)]
    assert [view.to_source(i) for i in range(4)] == [0, 1, 3, 5]


def test_offsets_outside_are_refused() -> None:
    view = clean("患者")
    for begin, end in [(-1, 1), (0, 3), (2, 1)]:
        with pytest.raises(ValueError, match="does not lie"):
            view.source_spans(begin, end)
    with pytest.raises(ValueError, match="does not lie"):
        view.to_source(2)


def test_a_sentence_reads_through_page_headers() -> None:
    text, pages = paged(
        "某某防治指南 1\n患者应当按时服用\n· 1 ·\n",
        "某某防治指南 2\n二甲双胍0.5g。\n第二段。\n· 2 ·\n",
        "某某防治指南 3\n第三章 治疗\n正文。\n· 3 ·\n",
    )
    view = clean(text, pages)
    assert view.text.strip() == "患者应当按时服用二甲双胍0.5g。\n第二段。\n第三章 治疗\n正文。"
    begin = view.text.index("服用")
    assert len(view.source_spans(begin, begin + 6)) == 2
    assert mapped_back(view, text, begin, begin + 6) == "服用二甲双胍"
    assert set(view.removed) == {"repeated_header", "page_number", "blank_lines"}
    assert sum(view.removed.values()) == len(text) - len(view.text)


def test_what_repeats_too_seldom_or_inside_a_page_stays() -> None:
    text, pages = paged(*(f"第{n}段开头。\n反复出现的一行\n第{n}段中间。\n丙\n丁\n结尾{n}。\n" for n in "甲乙丙丁"))
    assert clean(text, pages).text == text
    text, pages = paged("页眉\n甲。\n", "页眉\n乙。\n")
    assert clean(text, pages).text == text


def test_numbers_at_an_edge_that_number_no_page_stay() -> None:
    text, pages = paged("白细胞\n90\n", "血红蛋白\n135\n", "血小板\n7\n")
    assert clean(text, pages).text == text


def test_without_pages_no_header_is_looked_for() -> None:
    text = "页眉\n甲\n1\n页眉\n乙\n2\n页眉\n丙\n3\n"
    assert clean(text).text == text


@FEW
@given(DIRTY)
def test_every_character_maps_back_to_its_like(text: str) -> None:
    view = clean(text)
    assert [offset for offset, _, _ in view.runs] == sorted(offset for offset, _, _ in view.runs)
    assert sum(length for _, _, length in view.runs) == len(view.text)
    assert sum(view.removed.values()) == len(text) - len(view.text)
    for i, char in enumerate(view.text):
        source = text[view.to_source(i)]
        assert fold(source) == fold(char) or source.isspace() == char.isspace() or source == "\ud800"


@FEW
@given(st.lists(st.text(alphabet="患者页眉。\n 12第-", max_size=40), min_size=1, max_size=8))
def test_paged_text_maps_back_and_loses_only_whole_lines(pages: list[str]) -> None:
    text, starts = paged(*pages)
    view = clean(text, starts)
    assert mapped_back(view, text, 0, len(view.text)) == view.text
    assert sum(view.removed.values()) == len(text) - len(view.text)
