"""Which notices go with an answer, and in which order."""

from __future__ import annotations

import pytest

from chimed_rag.errors import InputError
from chimed_rag.records import Notice
from chimed_rag.safety.policy import DISCLAIMERS, STARTER, notices
from chimed_rag.safety.triage import triage


def test_an_answer_from_the_users_literature_carries_the_disclaimer_alone() -> None:
    (only,) = notices("高血压怎么办", starter=False)
    assert (only.kind, only.rule, only.text) == ("disclaimer", "disclaimer_patient", DISCLAIMERS["patient"])
    assert "不能代替医生的诊断和处方" in only.text


def test_emergency_comes_first_then_starter_then_disclaimer() -> None:
    question = "我爸突然胸口压榨样疼，喘不上气"
    raised = triage(question)
    found = notices(question, starter=True, triage_notices=raised)
    assert [notice.kind for notice in found] == ["emergency", "emergency", "starter", "disclaimer"]
    assert found[:2] == tuple(raised)
    assert found[2].text == STARTER
    assert "未经临床医生审核" in STARTER


def test_a_doctor_reads_another_disclaimer() -> None:
    (only,) = notices("INR 4.5", starter=False, audience="doctor")
    assert (only.rule, only.text) == ("disclaimer_doctor", DISCLAIMERS["doctor"])


def test_an_unknown_audience_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"'nurse'.*patient, doctor"):
        notices("", starter=False, audience="nurse")  # type: ignore[arg-type]


def test_notices_are_new_tuples_of_frozen_records() -> None:
    raised = [Notice(kind="emergency", text="请拨打120。", rule="x")]
    found = notices("", starter=False, triage_notices=raised)
    raised.clear()
    assert found[0].rule == "x"


@pytest.mark.parametrize("text", [*DISCLAIMERS.values(), STARTER])
def test_texts_are_one_or_two_chinese_sentences(text: str) -> None:
    assert text.endswith("。")
    assert 1 <= text.count("。") <= 2
