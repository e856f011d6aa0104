"""Passages that disagree, and pairs that only look as if they did; all sentences are our own and many are untrue."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from chimed_rag import MedQA
from chimed_rag.records import Citation, Evidence, Sentence
from chimed_rag.safety.conflicts import Conflict, conflicts


def _evidence(number: int, text: str, title: str = "甲药", **fields: object) -> Evidence:
    given = {
        "number": number, "chunk_id": f"c{number}", "document_id": f"d{number}", "text": text, "start": 0,
        "end": len(text), "title": title, "score": 1.0, **fields,
    }  # fmt: skip
    return Evidence.model_validate(given)


def _said(passage: Evidence, text: str | None = None) -> Sentence:
    quote = text or passage.text
    cited = Citation(
        number=passage.number, document_id=passage.document_id, chunk_id=passage.chunk_id, quote=quote, start=0,
        end=len(quote),
    )  # fmt: skip
    return Sentence(text=quote, citations=(cited,), verdict="supported")


def _between(one: Evidence, other: Evidence) -> list[Conflict]:
    found = conflicts("甲药怎么用？", [_said(one)], [one, other])
    mirrored = conflicts("甲药怎么用？", [_said(other)], [one, other])
    assert [conflict.kind for conflict in found] == [conflict.kind for conflict in mirrored]
    return found


# (kind, title, one, other)
DISAGREE = [
    ("number", "甲药", "甲药成人每次0.2g，每日3次。", "甲药成人每次0.6g，每日3次。"),
    ("number", "甲药", "甲药每次200mg。", "甲药一次0.5克。"),
    ("number", "甲药", "成人每次5～10mg，口服。", "成人口服，每次20～40mg。"),
    ("number", "甲药", "甲药每日1次。", "甲药每日3次。"),
    ("number", "甲药", "甲药每次1片，每8小时1次。", "甲药每次1片，每日1次。"),
    ("number", "甲药", "甲药每日最大剂量不超过2g。", "甲药每日最大剂量不超过4g。"),
    ("number", "甲药", "甲药的疗程为7天。", "甲药疗程为2周。"),
    ("number", "甲药", "儿童每次10mg/kg。", "小儿每次25毫克/千克。"),
    ("number", "甲药", "维持量为每日10mg。", "甲药维持剂量为每日40mg。"),
    ("number", "甲药", "甲药起始剂量为每次5mg。", "甲药起始剂量为每次15mg。"),
    ("number", "血钾", "血钾的参考范围为3.5～5.5mmol/L。", "血钾正常值为5.6～6.5mmol/L。"),
    ("number", "空腹血糖", "空腹血糖的正常范围为3.9～6.1mmol/L。", "空腹血糖正常范围为6.5～7.0mmol/L。"),
    ("number", "流感", "流感的潜伏期一般为1～4天。", "流感的潜伏期通常为7～14天。"),
    ("number", "甲药", "老年人每次0.1g。", "老年人每次0.3g。"),
    ("number", "甲药", "甲药用于高血压，每次5mg。", "甲药用于高血压，每次20mg。"),
    ("number", "甲药", "两次用药间隔4小时。", "两次用药应间隔12小时。"),
    ("strength", "甲药", "孕妇禁用甲药。", "孕妇可以使用甲药。"),
    ("strength", "甲药", "孕晚期禁用甲药。", "孕晚期妇女可用甲药。"),
    ("strength", "甲药", "哺乳期妇女慎用甲药。", "哺乳期禁用甲药。"),
    ("strength", "甲药", "儿童禁用。", "儿童可使用甲药。"),
    ("strength", "甲药", "推荐老年人使用甲药。", "不推荐老年人使用甲药。"),
    ("strength", "甲药", "严重肝功能不全者禁用甲药。", "严重肝功能不全患者可用甲药。"),
    ("strength", "甲药", "消化性溃疡患者禁用甲药。", "消化性溃疡患者慎用甲药。"),
    ("strength", "甲药", "肾功能不全者可使用甲药。", "肾功能不全者不得使用甲药。"),
    ("strength", "甲药", "建议孕妇服用甲药。", "不建议孕妇服用甲药。"),
    ("strength", "甲药", "12岁以下儿童禁用甲药。", "12岁以下儿童可以服用甲药。"),
    ("strength", "甲药", "新生儿忌用甲药。", "新生儿慎用甲药。"),
    ("first_choice", "乙病", "乙病首选青霉素。", "乙病首选红霉素。"),
    ("first_choice", "乙病", "儿童乙病的治疗首选药物为阿莫西林。", "小儿乙病的治疗首选阿奇霉素。"),
]


@pytest.mark.parametrize(("kind", "title", "one", "other"), DISAGREE)
def test_what_disagrees_is_shown_side_by_side(kind: str, title: str, one: str, other: str) -> None:
    (conflict,) = _between(_evidence(1, one, title), _evidence(2, other, title))
    assert conflict.kind == kind
    assert (conflict.a, conflict.b) == ((1, one), (2, other))
    assert one in conflict.text
    assert other in conflict.text


HARMLESS = [
    ("甲药", "甲药成人每次0.2g，每日3次。", "甲药成人每次200mg，每日三次。"),  # the same
    ("甲药", "甲药成人每次0.2g。", "甲药成人每次0.2～0.4g。"),  # overlap
    ("甲药", "成人每次0.2g。", "儿童每次0.05g。"),  # population
    ("甲药", "成人每次0.5g。", "老年人每次0.25g。"),
    ("甲药", "每次0.2g，每日3次。", "每日0.6g，分3次。"),  # single and daily
    ("甲药", "甲药用于高血压，每次5mg。", "甲药用于心绞痛，每次10mg。"),  # indication
    ("甲药", "治疗乙病时每次5mg。", "预防乙病时每次2.5mg。"),
    ("甲药", "口服，每次0.2g。", "静脉滴注，每次0.6g。"),  # route
    ("甲药", "甲药缓释片每次0.4g。", "甲药每次0.2g。"),
    ("甲药", "起始剂量为每次5mg。", "维持剂量为每次10mg。"),  # attribute
    ("甲药", "每日1次，每次1片。", "疗程2周，每次1片。"),
    ("甲药", "每次5mg。", "每日最大剂量不超过40mg。"),
    ("甲药", "每次5mg。", "每次不超过10mg。"),  # a value and a bound
    ("甲药", "6个月以下婴儿每次10mg。", "6个月以上婴儿每次20mg。"),  # age
    ("甲药", "2～5岁儿童每次5ml。", "6～12岁儿童每次10ml。"),
    ("甲药", "轻度肾功能不全者可用甲药。", "重度肾功能不全者禁用甲药。"),  # severity
    ("甲药", "孕早期禁用甲药。", "孕晚期可用甲药。"),
    ("甲药", "孕妇禁用甲药。", "哺乳期妇女可以使用甲药。"),
    ("甲药", "孕妇禁用甲药。", "孕妇可在医生指导下使用甲药。"),  # a condition
    ("甲药", "孕妇禁用甲药。", "孕妇慎用，必要时可用甲药。"),
    ("甲药", "对甲药过敏者禁用甲药。", "哮喘患者可用甲药。"),
    ("甲药", "孕妇禁用甲药。", "孕妇是否可以使用甲药？"),  # a question
    ("甲药", "儿童禁用甲药。", "甲药并非儿童禁用药物，儿童可用。"),
    ("乙病", "乙病首选青霉素。", "乙病首选青霉素类药物。"),  # one holds the other
    ("乙病", "乙病首选青霉素。", "乙病首选青霉素或红霉素。"),  # a list
    ("乙病", "儿童乙病首选青霉素。", "孕妇乙病首选红霉素。"),
    ("乙病", "乙病的检查首选超声。", "乙病的手术治疗首选切除。"),
    ("血钾", "血钾的参考范围为3.5～5.5mmol/L。", "血钾正常值为3.5～5.3mmol/L。"),
    ("血钾", "血钾低于3.5mmol/L为低钾血症。", "血钾高于5.5mmol/L为高钾血症。"),
    ("血红蛋白", "男性血红蛋白正常值为120～160g/L。", "女性血红蛋白正常值为110～115g/L。"),
    ("血压", "收缩压控制目标为130mmHg。", "舒张压控制目标为80mmHg。"),
    ("血糖", "空腹血糖目标为4.4～7.0mmol/L。", "餐后血糖目标为8～10mmol/L。"),
    ("甲药", "甲药半衰期为2小时。", "甲药达峰时间为6小时。"),
    ("甲药", "急性期每次1g。", "缓解期每次0.5g。"),
    ("甲药", "甲药过量可致肝损害。", "甲药每日2g以下安全。"),
    ("甲药", "", "甲药每次1g。"),
]


@pytest.mark.parametrize(("title", "one", "other"), HARMLESS)
def test_what_only_looks_so_is_left_alone(title: str, one: str, other: str) -> None:
    assert _between(_evidence(1, one, title), _evidence(2, other, title)) == []


class TestTheSameSubject:
    def test_other_drugs_do_not_disagree(self) -> None:
        assert _between(_evidence(1, "每次5mg。", "甲药"), _evidence(2, "每次50mg。", "丙药")) == []
        assert _between(_evidence(1, "孕妇禁用。", "甲药"), _evidence(2, "孕妇可用。", "丙药")) == []

    def test_an_alias_or_a_dose_form_in_the_title_is_the_same_drug(self) -> None:
        one = _evidence(1, "孕妇禁用甲药。", "甲药")
        for title, metadata in (("甲药片", {}), ("别名", {"aliases": ["甲药"]})):
            assert _between(one, _evidence(2, "孕妇可以使用。", title, metadata=metadata))

    def test_a_page_on_something_else_that_names_the_drug_counts(self) -> None:
        one, other = _evidence(1, "成人每次0.2g。", "甲药"), _evidence(2, "甲药每次0.6g。", "发热")
        assert [conflict.kind for conflict in _between(one, other)] == ["number"]

    def test_two_drugs_for_one_disease_do_not(self) -> None:
        one = _evidence(1, "高血压患者每次5mg。", "甲药")
        other = _evidence(2, "高血压患者用丙药噻嗪，每次25mg。", "高血压")
        assert _between(one, other) == []

    def test_the_heading_tells_the_population(self) -> None:
        one = _evidence(1, "每次0.2g。", headings=("用法用量", "成人"))
        other = _evidence(2, "每次0.05g。", headings=("用法用量", "儿童"))
        assert _between(one, other) == []
        assert _between(other, _evidence(3, "每次0.01g。", headings=("儿童用药",)))

    def test_one_document_does_not_contradict_itself(self) -> None:
        passages = [_evidence(1, "孕妇禁用甲药。"), _evidence(2, "孕妇可以使用甲药。", document_id="d1")]
        assert conflicts("甲药", [_said(passages[0])], passages) == []


class TestWhatTheReaderIsTold:
    @pytest.mark.parametrize(
        ("older", "newer"),
        [
            ({"metadata": {"year": 2015}}, {"metadata": {"year": 2023}}),
            ({"date": "2015-03-01"}, {"date": "2023年5月"}),
            ({"metadata": {"date": "2015"}}, {"metadata": {"published": "2023/05"}}),
        ],
    )
    def test_years_say_which_is_newer(self, older: dict[str, object], newer: dict[str, object]) -> None:
        one = _evidence(1, "甲药每次0.2g。", **older)
        other = _evidence(2, "甲药每次0.6g。", **newer)
        for conflict in (*_between(one, other), *conflicts("", [_said(other)], [one, other])):
            assert "文献 1（2015年）" in conflict.text
            assert "文献 2（2023年）比文献 1（2015年）新" in conflict.text

    def test_without_two_different_years_neither_is_called_newer(self) -> None:
        one = _evidence(1, "甲药每次0.2g。", metadata={"year": 2020})
        for fields in ({}, {"metadata": {"year": 2020}}, {"date": "第12345678号"}):
            (conflict,) = _between(one, _evidence(2, "甲药每次0.6g。", **fields))
            assert "新" not in conflict.text
            assert "核对原文" in conflict.text

    def test_each_pair_of_documents_is_told_once_for_each_kind(self) -> None:
        one = _evidence(1, "甲药成人每次0.2g。孕妇禁用甲药。\n甲药每日1次。")
        other = _evidence(2, "甲药成人每次0.6g。孕妇可用甲药。\n甲药每日4次。")
        said = [_said(one, text) for text in ("甲药成人每次0.2g。", "孕妇禁用甲药。", "甲药每日1次。")]
        assert [conflict.kind for conflict in conflicts("甲药", said, [one, other])] == ["number", "strength"]

    def test_what_nobody_said_or_cited_is_not_compared(self) -> None:
        one, other = _evidence(1, "甲药每次0.2g。"), _evidence(2, "甲药每次0.6g。")
        silent = Sentence(text="甲药每次0.2g。", verdict="unsupported")
        assert conflicts("甲药怎么用", [silent], [one, other]) == []

    def test_without_an_answer_passages_about_the_question_are_compared(self) -> None:
        passages = [_evidence(1, "甲药每次0.2g。"), _evidence(2, "甲药每次0.6g。")]
        assert len(conflicts("甲药怎么用", (), passages)) == 1
        assert conflicts("丙药怎么用", (), passages) == []
        assert conflicts("", (), ()) == []


def test_the_starter_literature_does_not_contradict_itself() -> None:
    lines = (Path(__file__).parents[1] / "starter_questions.jsonl").read_text("utf-8").splitlines()
    compared = 0
    with MedQA() as qa:
        for answer in qa.ask_many([json.loads(line)["question"] for line in lines[::6]]):
            compared += len({passage.document_id for passage in answer.evidence}) > 1
            assert conflicts(answer.question, answer.sentences, answer.evidence) == []
            assert conflicts(answer.question, (), answer.evidence) == []
    assert compared > 60


@pytest.mark.parametrize(
    "text",
    [
        "甲药每次" + "1" * 100_000 + "mg。",
        "甲药禁用" * 25_000,
        "每次1mg，" * 20_000,
        "每次1mg。" * 20_000,
        "禁" * 100_000,
        "，" * 100_000,
    ],
    ids=lambda text: text[:6],
)
def test_a_hostile_passage_does_not_hang(text: str) -> None:
    one, other = _evidence(1, text), _evidence(2, "甲药每次5mg。甲药孕妇可用。")
    begin = time.perf_counter()
    conflicts("甲药", [_said(one)], [one, other])
    conflicts("甲药", (), [one, other])
    assert time.perf_counter() - begin < 10


def test_thirty_passages_take_few_milliseconds() -> None:
    passages = [
        _evidence(n, "".join(f"甲药用于第{m}种病时每次{n}.{m}mg，每日{m}次。" for m in range(1, 9)))
        for n in range(1, 31)
    ]
    said = [_said(passages[0], sentence + "。") for sentence in passages[0].text.split("。")[:8]]
    conflicts("甲药", said, passages)
    begin = time.perf_counter()
    conflicts("甲药", said, passages)
    assert time.perf_counter() - begin < 0.5
