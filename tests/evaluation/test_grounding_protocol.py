"""Grounding, strict-v1: how samples end, what a run comes to, and who judged."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from chimed_rag import MedQA
from chimed_rag.config import Config
from chimed_rag.errors import InputError
from chimed_rag.evaluation.protocols.base import protocol
from chimed_rag.evaluation.protocols.grounding import Grounding, NliGrounding
from chimed_rag.evaluation.samples import Prediction, Sample, Score
from chimed_rag.generation.echo import EchoGenerator

GOLD = "布洛芬用于退热，成人一次0.2g，每日三次。"
OTHER = "高血压患者应当限盐。"
FALSE = GOLD.replace("0.2g", "0.4g")
LIE = {"kind": "number", "true": "一次0.2g", "false": "一次0.4g", "sentence": FALSE}


def sample(condition: str, passages: Sequence[str], **known: object) -> Sample:
    metadata = {"condition": condition, **known}
    return Sample.model_validate(
        {
            "id": condition,
            "text": "成人布洛芬吃多少？",
            "references": (GOLD,),
            "passages": passages,
            "metadata": metadata,
        }
    )


NOISE = sample("noise", (OTHER, GOLD), level=0.4)
REJECTION = sample("rejection", (OTHER,))
COUNTERFACTUAL = sample("counterfactual", (FALSE, OTHER), **LIE)
CONFLICT = sample("conflict", (FALSE, GOLD), **LIE)
PLAIN = Sample(id="plain", text="？", passages=(OTHER, GOLD))
REFUSAL = "所给文献没有说明。"


@pytest.mark.parametrize(
    ("asked", "reply", "outcome", "precision", "recall"),
    [
        (NOISE, f"{GOLD}[2]", "correct", 1.0, 1.0),
        (NOISE, f"{GOLD}[1]", "correct", 0.0, 0.0),  # right, and cites the wrong passage
        (NOISE, GOLD, "correct", 0.0, 0.0),
        (NOISE, f"{OTHER}[1]", "wrong", 1.0, 1.0),  # well cited, and no answer
        (NOISE, REFUSAL, "wrong", 0.0, 0.0),
        (NOISE, "", "invalid", 0.0, 0.0),
        (REJECTION, REFUSAL, "correct", 0.0, 0.0),
        (REJECTION, f"{OTHER}[1]", "wrong", 1.0, 1.0),
        (REJECTION, "", "invalid", 0.0, 0.0),
        (COUNTERFACTUAL, f"{FALSE}[1]", "wrong", 1.0, 1.0),
        (COUNTERFACTUAL, f"{GOLD}[1]", "correct", 0.0, 0.0),
        (COUNTERFACTUAL, f"文献有误。{FALSE}[1]", "correct", 1.0, 0.5),
        (COUNTERFACTUAL, REFUSAL, "correct", 0.0, 0.0),
        (CONFLICT, f"{FALSE}[1]{GOLD}[2]", "wrong", 1.0, 1.0),
        (CONFLICT, f"{GOLD}[2]", "correct", 1.0, 1.0),
        (PLAIN, f"{GOLD}[2]", "scored", 1.0, 1.0),
        (PLAIN, REFUSAL, "scored", 0.0, 0.0),
        (PLAIN, "[1]", "invalid", 0.0, 0.0),
    ],
)
def test_how_a_sample_ends(asked: Sample, reply: str, outcome: str, precision: float, recall: float) -> None:
    found = Grounding("grounding").score(asked, Prediction(id=asked.id, text=reply))
    assert found.outcome == outcome
    assert found.values["citation_precision"] == pytest.approx(precision)
    assert found.values["citation_recall"] == pytest.approx(recall)
    assert found.values.get("accuracy") == (None if asked is PLAIN else float(outcome == "correct"))


def test_an_error_is_an_error() -> None:
    assert Grounding("grounding").score(NOISE, Prediction(id="noise", text=GOLD, error="timeout: 3 s")) == Score(
        id="noise", outcome="error"
    )


RUN = [
    (NOISE, Prediction(id="noise", text=f"{GOLD}[2]", confidence=0.9)),
    (REJECTION, Prediction(id="rejection", text=REFUSAL, confidence=0.1)),
    (COUNTERFACTUAL, Prediction(id="counterfactual", text=f"{FALSE}[1]", confidence=0.8)),
    (CONFLICT, Prediction(id="conflict", error="GeneratorError: gone")),
]


def judged(run: Sequence[tuple[Sample, Prediction]]) -> tuple[list[Sample], list[Prediction], list[Score]]:
    by = Grounding("grounding")
    return [one for one, _ in run], [one for _, one in run], [by.score(*pair) for pair in run]


def test_metrics_by_hand() -> None:
    """Four samples: right, refused, false, failed. All count; of two sentences with numbers both agree."""
    found = Grounding("grounding").metrics(*judged(RUN))
    assert next(iter(found)) == "accuracy"
    expected = {
        "accuracy": 2 / 4, "citation_precision": 2 / 4, "citation_recall": 2 / 4, "citation_f1": 2 / 4,
        "abstained": 1 / 4, "citation_recall_answered": 2 / 3, "coverage": 1.0, "citation_validity": 1.0,
        "number_agreement": 1.0, "supported": 1.0, "extractive_overlap": 1.0, "citations_per_sentence": 1.0,
        # .9 right, .8 wrong, then the refusal (right) and the failure together: risks 0, 1/2, then (1 + 1/2) / 3, 2/4
        "aurc": (0 + 1 / 2 + 1.5 / 3 + 2 / 4) / 4,
    }  # fmt: skip
    assert {name: found[name].value for name in expected} == pytest.approx(expected)
    assert "aurc_best_passage" not in found


def test_groups_and_baselines_by_hand() -> None:
    by = Grounding("grounding")
    found = by.groups(*judged(RUN))
    assert {name: {key: one.value for key, one in part.items()} for name, part in found.items()} == {
        "noise 0.4": {"accuracy": 1.0},
        "rejection": {"rejection_rate": 1.0},
        "counterfactual": {"error_rate": 1.0},
        "counterfactual number": {"error_rate": 1.0},
        "conflict": {"error_rate": 1.0},
        "conflict number": {"error_rate": 1.0},
    }
    # Refusing is right at the rejection and says nothing false; repeating is right at the noise alone.
    assert by.baselines([one for one, _ in RUN]) == {
        "always_refuses": {"accuracy": 3 / 4},
        "repeats_passages": {"accuracy": 1 / 4},
    }
    assert by.notes(*judged(RUN))[1].startswith("accuracy mixes conditions")
    assert by.baselines([PLAIN]) == by.groups(*judged([(PLAIN, Prediction(id="plain", text=GOLD))])) == {}


def test_order_does_not_matter() -> None:
    shuffled = random.Random(4).sample(RUN, len(RUN))
    one, other = (Grounding("grounding").metrics(*judged(run)) for run in (RUN, shuffled))
    assert {name: part.value for name, part in other.items()} == pytest.approx(
        {name: part.value for name, part in one.items()}
    )


def test_without_conditions_citations_come_first() -> None:
    run = [(PLAIN, Prediction(id="plain", text="")), (PLAIN, Prediction(id="plain", text=f"{GOLD}[2]"))]
    found = Grounding("grounding").metrics(*judged(run))
    assert next(iter(found)) == "citation_precision"
    assert found["citation_precision"].value == 0.5
    assert "accuracy" not in found
    assert "aurc" not in found


def test_a_run_of_refusals_alone() -> None:
    found = Grounding("grounding").metrics(*judged([(REJECTION, Prediction(id="rejection", text=REFUSAL))]))
    assert found["accuracy"].value == found["abstained"].value == 1.0
    assert found["coverage"].value == found["citation_recall"].value == 0.0
    assert "citation_recall_answered" not in found


def test_answers_of_medqa_and_what_is_said_of_their_judge(qa: MedQA) -> None:
    questions = ["孕妇能吃布洛芬吗？", "血钾多少算正常？", "股票怎么买？"]
    said = [Prediction(id=q, text=a.text, answer=a) for q, a in zip(questions, qa.ask_many(questions), strict=True)]
    run = [(Sample(id=one.id, text=one.id), one) for one in said]
    by = Grounding("grounding")
    found = by.metrics(*judged(run))
    assert found["citation_recall_answered"].value == found["citation_validity"].value == 1.0
    assert found["abstained"].value == pytest.approx(1 / 3)
    assert by.notes(*judged(run))[1].startswith("2 of 3 answers were let through by the proof that judges them here")
    strict = Grounding("grounding", judge=lambda premise, claim: False)
    assert [strict.score(*pair).values["citation_recall"] for pair in run] == [0.0, 0.0, 0.0]
    assert len(strict.notes(*judged(run))) == 1


def test_unproved_sentences_that_are_shown_count_against_an_answer(ward: Path) -> None:
    generator = EchoGenerator(["孕晚期妇女禁用布洛芬。[1]", "孕晚期妇女可用布洛芬。[1]"])
    with MedQA.load(ward, generator=generator, config=Config(unsupported="flag")) as qa:
        answer = qa.ask("孕妇能吃布洛芬吗？")
    found = Grounding("grounding").score(Sample(id="1", text="？"), Prediction(id="1", answer=answer))
    assert found.values["sentences"] == 2
    assert found.values["citation_recall"] == 0.5


def test_what_a_model_is_told() -> None:
    by = protocol("strict-v1", "grounding")
    told = by.messages(NOISE, NOISE.passages)[0]["content"]
    assert f"[1] {OTHER}\n[2] {GOLD}" in told
    assert "所给文献没有说明" in told
    assert "文献" not in by.messages(NOISE)[-1]["content"]


def test_the_judge_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def by_heart(premise: str, claim: str) -> bool:
        return claim in premise

    assert Grounding("grounding", judge=by_heart).versions == {"judge": "by_heart"}
    assert Grounding("grounding").versions["judge"].startswith("proof ")
    monkeypatch.delenv("CHIMED_NLI", raising=False)
    with pytest.raises(InputError, match="CHIMED_NLI"):
        NliGrounding("grounding")
