"""The bias tasks from end to end: by name, from the official layout, rescored and compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chimed_rag.errors import CorpusError, InputError
from chimed_rag.evaluation.comparing import compare
from chimed_rag.evaluation.running import evaluate
from chimed_rag.evaluation.samples import Prediction, Sample
from chimed_rag.evaluation.tasks.loading import load_task


def tolerant(sample: Sample) -> Prediction:
    points = sample.metadata["points"]
    assert isinstance(points, dict)
    agrees = (sample.metadata["keyed"] == "pro") != (sample.metadata["stigma"] == 1)
    wanted = len(points) if agrees else 1
    return Prediction(id=sample.id, text=next(label for label, point in points.items() if point == wanted))


def first(sample: Sample) -> Prediction:
    return Prediction(id=sample.id, text=next(iter(sample.options)))


def reluctant(sample: Sample) -> Prediction:
    return Prediction(id=sample.id, text="我没有看法。") if sample.subject == "AU" else tolerant(sample)


def test_cami_is_asked_rescored_and_compared() -> None:
    a, b = evaluate("cami_quick", first), evaluate("cami_quick", tolerant)
    assert (a.metrics["stigma_total"].value, b.metrics["stigma_total"].value) == (120, 40)
    assert a.baselines["position 1"]["stigma_total"] == 120
    assert (a.n, a.counts) == (80, {"scored": 80, "invalid": 0, "error": 0})
    told = compare(a, b)
    assert (told.metric, told.difference.value, told.groups) == ("stigma", -2, 40)
    legacy = [one.rescore(protocol="chimedgpt-legacy") for one in (a, b)]
    assert [one.metrics["total"].value for one in legacy] == [120, 120]
    assert "120" in legacy[0].warning


def test_with_refusals_the_bounds_are_what_can_be_compared() -> None:
    a, b = evaluate("cami_quick", reluctant), evaluate("cami_quick", tolerant)
    assert (a.counts["invalid"], a.metrics["refusal_rate"].value) == (20, 0.25)
    assert (a.metrics["stigma_lowest"].value, a.metrics["stigma_highest"].value) == (1, 2)
    assert compare(a, b, metric="stigma_highest").difference.value == -1
    assert "stigma" not in a.metrics  # nothing is known of a whole subscale
    some = evaluate("cami_quick", lambda sample: first(sample) if sample.metadata["item"] != 1 else reluctant(sample))
    assert some.metrics["stigma"].value == 3
    with pytest.raises(InputError, match="stigma_lowest"):  # its samples do not weigh alike any more
        compare(some, b)


def test_cbbq_is_found_in_its_official_layout(tmp_path: Path) -> None:
    for category in ("disease", "disability", "age"):
        for number, condition in enumerate(("ambiguous", "disambiguous")):
            folder = tmp_path / "data" / category / condition
            folder.mkdir(parents=True)
            rows = [
                {
                    "example_id": str(example), "question_index": "1", "question_polarity": "neg",
                    "context_condition": condition, "category": category, "context": f"编造的情境{example}。",
                    "question": "是谁？", "ans0": "甲", "ans1": "乙", "ans2": "不知道", "label": "21"[number],
                }
                for example in range(1, 4)
            ]  # fmt: skip
            (folder / f"{condition}.json").write_text(json.dumps(rows, ensure_ascii=False), "utf-8")
            (folder / "templates_generate_neg.csv").write_text("a,b\n1,2\n", "utf-8")
    result = evaluate("cbbq", first, data=tmp_path)
    assert (result.n, set(result.groups)) == (12, {"disease", "disability"})
    assert result.metrics["accuracy"].value == pytest.approx(1 / 3)
    assert result.rescore(protocol="strict-v1").metrics["accuracy"].value == pytest.approx(1 / 3)
    with pytest.raises(CorpusError, match="cbbq"):
        load_task("cbbq", tmp_path / "data" / "age")


def test_mica_needs_a_file_and_reads_a_csv(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="--data"):
        load_task("mica")
    path = tmp_path / "mica.csv"
    path.write_text("number,text\n" + "".join(f"{number},编造的第{number}条\n" for number in range(1, 17)), "utf-8")
    assert len(load_task("mica", path).samples) == len(load_task("mica", tmp_path).samples) == 16 * 2 * 3
    path.write_text("number,text\n1,编造\n1,编造\n", "utf-8")
    with pytest.raises(CorpusError, match="line 3"):
        load_task("mica", path)


def test_patients_are_asked_once_a_version() -> None:
    result = evaluate("counterfactual_patients", lambda sample: Prediction(id=sample.id, text="请尽快就医。"))
    assert (result.n, result.metrics["urgency_changed"].value) == (250, 0)
    assert set(result.groups) >= {"hiv", "schizophrenia", "diabetes"}
    assert 0 < result.metrics["undertriage"].value < 1
