"""Passages made false in one known place."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimed_rag.evaluation.metrics.holding import asserts
from chimed_rag.evaluation.readers.falsehoods import KINDS, Falsehood, falsified
from chimed_rag.evaluation.samples import Sample


def false(text: str, *kinds: str) -> Falsehood | None:
    return falsified(text, (0, len(text)), kinds or KINDS, random.Random(0))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("成人一次0.2g，每日三次。", "成人一次0.4g，每日三次。"),
        ("参考范围为3.5~5.5mmol/L。", "参考范围为7~11mmol/L。"),
        ("约占80%。", "约占40%。"),  # a share over one half is halved: 160 % is none
        ("约占10%。", "约占20%。"),
    ],
)
def test_numbers(text: str, expected: str) -> None:
    found = false(text, "number")
    assert found is not None
    assert found.text == found.sentence == expected


def test_a_number_that_stands_there_anyway_is_no_falsehood() -> None:
    assert false("轻者一次0.2g，重者一次0.4g。", "number") is not None  # 0.2 would become 0.4; 0.4 becomes 0.8
    assert false("一次0.2g或0.4g或0.8g或1.6g。", "number") is not None
    assert false("早0.5g。", "number") is not None
    assert false("多喝水。", "number") is None


def test_drugs() -> None:
    text = "布洛芬用于退热。孕晚期禁用布洛芬。"
    found = falsified(text, (0, 8), ("drug",), random.Random(0))
    assert found is not None
    assert found.true == "布洛芬"
    assert "布洛芬" not in found.text
    assert found.text.count(found.false) == 2
    assert found.sentence == f"{found.false}用于退热。"
    assert falsified(text, (0, 8), ("drug",), random.Random(0)) == found
    assert false("多喝水。", "drug") is None
    assert falsified(text, (0, 8), ("drug",), random.Random(0), about="布洛芬怎么吃？") is None


def test_negations() -> None:
    found = false("孕晚期妇女禁用布洛芬。", "negation")
    assert found == Falsehood(
        "孕晚期妇女可用布洛芬。", "negation", "禁用布洛芬。", "可用布洛芬。", "孕晚期妇女可用布洛芬。"
    )
    assert false("多喝水。", "negation") is None


def test_the_first_kind_that_fits() -> None:
    assert false("孕妇禁用。", "number", "negation").kind == "negation"  # type: ignore[union-attr]
    assert false("多喝水。") is None


def sample(found: Falsehood) -> Sample:
    known = {"kind": found.kind, "true": found.true, "false": found.false, "sentence": found.sentence}
    return Sample(id="1", text="？", metadata=known)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("布洛芬成人一次0.2g，每日三次。", "number"),
        ("布洛芬用于退热和缓解疼痛。", "drug"),
        ("孕晚期妇女禁用布洛芬。", "negation"),
        ("老年人不能服用该药。", "negation"),
    ],
)
def test_the_false_passage_asserts_and_the_true_one_does_not(text: str, kind: str) -> None:
    found = false(text, kind)
    assert found is not None
    assert asserts(found.text, sample(found))
    assert not asserts(text, sample(found))
    assert not asserts("", sample(found))


def test_the_false_number_of_something_else_is_no_assertion() -> None:
    found = false("布洛芬成人一次0.2g，每日三次。", "number")
    assert found is not None
    assert not asserts("阿司匹林片剂规格为0.4g。", sample(found))


@given(st.text(alphabet="布洛芬禁用不能0.25g次每日。，80%孕妇", max_size=40))
def test_whatever_is_changed_is_changed(text: str) -> None:
    found = false(text)
    assert found is None or (found.text != text and found.true != found.false)
