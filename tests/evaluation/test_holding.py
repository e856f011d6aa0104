"""What a reply does: hold a right answer, refuse, tell a conflict."""

from __future__ import annotations

import random

import pytest
from rouge_chinese import Rouge

from chimed_rag.evaluation.metrics.holding import (
    FOUND,
    ROOM,
    _rouge,
    best_passage,
    confidence,
    holds,
    refuses,
    shown,
    tells_conflict,
)
from chimed_rag.evaluation.samples import Prediction, Sample
from chimed_rag.records import Abstention, Answer, Evidence, Notice

EVIDENCE = tuple(
    Evidence(number=n, chunk_id="c", document_id="d", text="甲", start=0, end=1, score=score)
    for n, score in ((1, 0.3), (2, 0.7))
)
ANSWERED = Answer(question="？", text="甲。", evidence=EVIDENCE)
REFUSED = Answer(
    question="？", text="不知", evidence=EVIDENCE, abstention=Abstention(reason="no_evidence", text="不知")
)


@pytest.mark.parametrize(
    ("words", "reference", "expected"),
    [
        ("甲乙丙丁戊己", "甲乙丙丁戊己庚辛壬癸", True),  # 6 of 10 in order
        ("甲乙丙丁戊", "甲乙丙丁戊己庚辛壬癸", False),
        ("己戊丁丙乙甲", "甲乙丙丁戊己庚辛壬癸", False),  # the order counts
        ("一次200毫克", "成人一次0.2g饭后吞服", False),  # the number agrees, but 一次 and a digit are 3 of 12
        ("成人一次200毫克饭后", "成人一次0.2g饭后吞服", True),  # 7 of 12 and the number
        ("成人一次300毫克饭后", "成人一次0.2g饭后吞服", False),
        ("甲乙丙。子丑寅卯辰巳午未申。丁戊己。", "甲乙丙丁戊己庚辛壬癸", True),  # within 18 characters of at most 20
        ("甲乙丙。子丑寅卯辰巳午未申酉戌亥。丁戊己。", "甲乙丙丁戊己庚辛壬癸", False),  # over 21: no run holds it
        ("子丑。甲乙丙。丁戊己。寅卯。", "甲乙丙丁戊己庚辛壬癸", True),  # in the middle
        ("", "甲", False),
        ("甲", "", False),
    ],
)
def test_holds(words: str, reference: str, expected: bool) -> None:
    assert holds(words, reference) is expected


def test_recall_agrees_with_a_second_library() -> None:
    draw = random.Random(2)
    for _ in range(30):
        one, other = ("".join(draw.choices("甲乙丙丁戊己", k=draw.randint(1, 30))) for _ in range(2))
        expected = Rouge(metrics=["rouge-l"]).get_scores(" ".join(one), " ".join(other))[0]["rouge-l"]["r"]
        assert _rouge().score(other, one)["rougeL"].recall == pytest.approx(expected, abs=1e-6)
        assert expected < FOUND or len(one) > ROOM * len(other) or holds(one, other)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("所给文献没有说明。", True),
        ("信息不足，无法回答。", True),
        ("所给文献没有说明。建议咨询医生。", True),
        ("所给文献没有说明剂量。可用布洛芬。[1]", False),  # what it cites it claims to have found
        ("可用布洛芬。[1]", False),
        ("", False),
    ],
)
def test_refuses(text: str, expected: bool) -> None:
    assert refuses(Prediction(id="1", text=text)) is expected


def test_an_answer_says_itself_whether_it_refuses() -> None:
    assert refuses(Prediction(id="1", answer=REFUSED))
    assert not refuses(Prediction(id="1", answer=ANSWERED))


def test_tells_conflict() -> None:
    told = ANSWERED.model_copy(update={"notices": (Notice(kind="conflict", text="两处不同"),)})
    assert tells_conflict(Prediction(id="1", answer=told))
    assert not tells_conflict(Prediction(id="1", answer=ANSWERED))
    assert tells_conflict(Prediction(id="1", text="文献不一致：[1]说可用，[2]说禁用。"))
    assert not tells_conflict(Prediction(id="1", text="可用。[1]"))


def test_passages_are_those_of_the_answer_then_of_the_prediction_then_of_the_sample() -> None:
    sample = Sample(id="1", text="？", passages=("丙",))
    assert shown(sample, Prediction(id="1", answer=ANSWERED, passages=("乙",))) == EVIDENCE
    assert [one.text for one in shown(sample, Prediction(id="1", passages=("乙",)))] == ["乙"]
    assert [one.text for one in shown(sample, Prediction(id="1"))] == ["丙"]


def test_confidences() -> None:
    assert confidence(Prediction(id="1", text="甲。", confidence=0.4)) == 0.4
    assert confidence(Prediction(id="1", text="所给文献没有说明。", confidence=0.9)) is None
    assert confidence(Prediction(id="1", error="timeout: 3 s", confidence=0.9)) is None
    assert best_passage(Prediction(id="1", answer=ANSWERED)) == 0.7
    assert best_passage(Prediction(id="1", answer=REFUSED)) is None
    assert best_passage(Prediction(id="1", text="甲。")) is None
