"""What may be shown to whom, which notices go with it, and in which order."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from chimed_rag.config import Config, Disclaimers
from chimed_rag.errors import ConfigError, InputError
from chimed_rag.records import Citation, Notice, Sentence
from chimed_rag.safety.interactions import Interaction, Interactions
from chimed_rag.safety.policy import notices, review
from chimed_rag.safety.triage import triage

DISCLAIMERS = Disclaimers()
TABLE = Interactions([Interaction("华法林", "阿司匹林", "严重", "出血风险增加，合用前咨询医生", "本院药学部")])


def quoted(text: str) -> Sentence:
    """A sentence that is word for word in a source."""
    citation = Citation(number=1, document_id="d", chunk_id="c", quote=text, start=0, end=len(text))
    return Sentence(text=text, citations=(citation,), verdict="supported")


def kinds(found: tuple[Notice, ...]) -> list[str]:
    return [notice.kind for notice in found]


def test_an_answer_from_the_users_literature_carries_the_disclaimer_alone() -> None:
    (only,) = review("高血压怎么办", [quoted("高血压应限盐。")]).notices
    assert (only.kind, only.rule, only.text) == ("disclaimer", "disclaimer_patient", DISCLAIMERS.patient)
    assert "不能代替医生的诊断和处方" in only.text


def test_emergency_comes_first_then_starter_then_disclaimer() -> None:
    question = "我爸突然胸口压榨样疼，喘不上气"
    raised = triage(question)
    for found in (
        notices(question, starter=True, triage_notices=raised),
        review(question, [], starter=True, triage_notices=raised).notices,
    ):
        assert kinds(found) == ["emergency", "emergency", "starter", "disclaimer"]
        assert found[:2] == tuple(raised)
        assert found[2].text == DISCLAIMERS.starter
    assert "未经临床医生审核" in DISCLAIMERS.starter


def test_all_notices_stand_in_their_order() -> None:
    found = review(
        "我怀孕了，每天该吃几片华法林？附子和半夏能一起吃吗",
        [quoted("华法林每次2.5mg，每日一次。"), quoted("阿司匹林用于解热。"), Sentence(text="你每天吃两片。")],
        starter=True,
        triage_notices=[Notice(kind="emergency", text="请拨打120。")],
        interactions=TABLE,
        extra=[Notice(kind="redacted", text="已略去身份证号。"), Notice(kind="conflict", text="两处不一致。")],
    )
    assert kinds(found.notices) == [
        *("emergency", "prescription", "prescription", "prescription", "pregnancy", "incompatibility", "interaction"),
        *("redacted", "conflict", "starter", "disclaimer"),
    ]
    assert [notice.rule for notice in found.notices[1:4]] == ["asks_dose", "dropped:addressed", "general_dose"]
    assert [sentence.text for sentence in found.sentences] == ["华法林每次2.5mg，每日一次。", "阿司匹林用于解热。"]


def test_a_doctor_reads_other_words() -> None:
    question, dose = "附子和半夏能一起用吗", quoted("附子9g，先煎。")
    patient = review(question, [dose], audience="patient").notices
    doctor = review(question, [dose], audience="doctor").notices
    assert kinds(patient) == ["prescription", "incompatibility", "disclaimer"]
    assert kinds(doctor) == ["incompatibility", "disclaimer"]
    assert patient[1].text == "附子与半夏属十八反，不宜同用。请先问医生或药师，不要自行用药。"
    assert doctor[0].text == "附子与半夏属十八反，不宜同用。请核对原文，结合患者情况判断。"
    assert (doctor[-1].rule, doctor[-1].text) == ("disclaimer_doctor", DISCLAIMERS.doctor)


def test_a_general_dose_without_proof_is_flagged_for_doctors_and_dropped_for_patients() -> None:
    general = Sentence(text="成人一次0.2g，每日三次。", verdict="unsupported")
    assert review("布洛芬用量", [general], audience="doctor").sentences == (general,)
    found = review("布洛芬用量", [general], audience="patient")
    assert found.sentences == () and found.notices[0].rule == "dropped:unproven_dose"


@pytest.mark.parametrize("audience", ["patient", "doctor"])
def test_nobody_is_prescribed_to(audience: str) -> None:
    drafted = [Sentence(text=text, verdict="supported") for text in ("给您开阿莫西林。", "您每次吃两粒。")]
    found = review("嗓子疼", drafted, audience=audience)  # type: ignore[arg-type]
    assert found.sentences == () and found.notices[0].kind == "prescription"


def test_names_of_question_and_answer_are_held_together() -> None:
    found = review("我在喝甘草片，还能吃什么化痰？", [quoted("海藻可用于化痰软坚。")]).notices
    assert found[0].rule == "eighteen" and "甘草与海藻" in found[0].text
    found = review("我在吃华法林，头疼吃什么", [quoted("拜阿司匹灵可用于头痛。")], interactions=TABLE).notices
    assert found[0].text == "华法林与阿司匹林（严重）：出血风险增加，合用前咨询医生。（来源：本院药学部）"
    found = review("我怀孕五个月，病毒感染怎么办", [quoted("可选用利巴韦林。")]).notices
    assert kinds(found) == ["pregnancy", "disclaimer"]
    assert kinds(review("病毒感染怎么办", [quoted("可选用利巴韦林。")]).notices) == ["disclaimer"]


def test_two_sentences_of_a_question_are_one_question() -> None:
    assert review("我每天喝甘草水。可以再加海藻吗？", []).notices[0].rule == "eighteen"
    assert kinds(review("甘草不宜与海藻同用，为什么？", []).notices) == ["disclaimer"]


def test_a_formula_cut_into_lines_is_one_formula() -> None:
    lines = [quoted(text) for text in ("1. 附子 9g", "2. 茯苓 15g", "3. 法半夏 9g")]
    assert "附子与半夏" in review("痰饮用什么方", lines, audience="doctor").notices[0].text
    apart = [quoted("附子温阳。"), quoted("半夏化痰。")]
    assert kinds(review("痰饮用什么方", apart, audience="doctor").notices) == ["disclaimer"]


def test_a_finding_of_question_and_answer_is_told_once() -> None:
    found = review("附子和半夏能一起吃吗", [quoted("附子与半夏同煎。")], audience="doctor").notices
    assert found[0].text.count("附子与半夏属十八反") == 1 and kinds(found) == ["incompatibility", "disclaimer"]


def test_an_unknown_audience_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"'nurse'.*patient, doctor"):
        notices("", starter=False, audience="nurse")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"'nurse'.*patient, doctor"):
        review("", [], audience="nurse")  # type: ignore[arg-type]


def test_notices_are_new_tuples_of_frozen_records() -> None:
    raised = [Notice(kind="emergency", text="请拨打120。", rule="x")]
    found = review("", [], triage_notices=raised).notices
    raised.clear()
    assert found[0].rule == "x"


@pytest.mark.parametrize("text", list(DISCLAIMERS.model_dump().values()))
def test_texts_are_one_or_two_chinese_sentences(text: str) -> None:
    assert text.endswith("。")
    assert 1 <= text.count("。") <= 2


def test_disclaimers_may_be_reworded() -> None:
    own = Disclaimers(patient=" 本院仅提供文献检索，诊疗请到门诊。 ", starter="演示文献，未经审核，不可用于诊疗。")
    found = review("高血压", [], starter=True, disclaimers=own).notices
    assert [notice.text for notice in found] == [
        "演示文献，未经审核，不可用于诊疗。",
        "本院仅提供文献检索，诊疗请到门诊。",
    ]
    assert review("高血压", [], audience="doctor", disclaimers=own).notices[0].text == DISCLAIMERS.doctor


@pytest.mark.parametrize(
    "text", ["", "  \n", "。。。。。。。。。。。。", "\u200b" * 20, "无", "1234567890123", "仅供参考"]
)
@pytest.mark.parametrize("field", ["patient", "doctor", "starter"])
def test_disclaimers_may_not_be_emptied(field: str, text: str, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="not emptied"):
        Disclaimers.model_validate({field: text})
    file = tmp_path / "c.yaml"
    file.write_text(json.dumps({"disclaimers": {field: text}}), "utf-8")
    with pytest.raises(ConfigError, match=rf"c\.yaml: disclaimers\.{field}: .*not emptied"):
        Config.from_yaml(file)


def test_a_disclaimer_for_an_unknown_audience_is_an_error() -> None:
    with pytest.raises(ValidationError, match="nurse"):
        Disclaimers.model_validate({"nurse": "本院仅提供文献检索，诊疗请到门诊。"})


def test_ten_sentences_take_less_than_three_milliseconds() -> None:
    texts = [
        "布洛芬用于缓解轻至中度疼痛，也用于普通感冒或流行性感冒引起的发热。",
        "成人一次0.2g，若持续疼痛或发热，可间隔4～6小时重复用药一次，24小时不超过4次。",
        "孕晚期妇女禁用，哺乳期妇女慎用。",
        "附子9g（先煎），干姜6g，炙甘草6g，水煎服，每日一剂。",
        "本品不宜与半夏、瓜蒌、天花粉、贝母、白蔹、白及同用。",
    ]
    sentences = [quoted(text) for text in texts * 2]
    question = "我怀孕三个月，感冒发烧38度，能吃布洛芬吗？一次吃几片合适？"
    review(question, sentences, interactions=TABLE)

    def timed() -> float:
        began = time.perf_counter()
        review(question, sentences, interactions=TABLE)
        return time.perf_counter() - began

    assert min(timed() for _ in range(20)) < 3e-3
