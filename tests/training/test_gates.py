"""Gates: verdicts by hand, intervals beside scipy's, what a failed one leaves behind. No torch."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from chimed_rag.errors import InputError
from chimed_rag.evaluation.statistics import Interval
from training.card import Card, Point, plain
from training.gates import Gate, GateError, conclude, judge, paired, read_gates, relative
from training.run import Run
from training.settings import Settings

UP = Interval(value=0.2, low=0.1, high=0.3)


@pytest.mark.parametrize(
    ("gate", "passed"),
    [
        (Gate.of("stop rate", 0.98, n=50, at_least=0.98), True),
        (Gate.of("stop rate", 0.979, n=50, at_least=0.98), False),
        (Gate.of("length ratio", 1.2, n=50, at_most=1.2), True),
        (Gate.of("length ratio", 1.21, n=50, at_most=1.2), False),
        (Gate.of("up", UP, n=50, at_least=0, clear=True), True),
        (Gate.of("up", UP, n=50, at_least=0.1, clear=True), False),  # touches the bound
        (Gate.of("up", UP, n=50, at_least=0.15), True),
        (Gate.of("down", UP, n=50, at_most=0.31, clear=True), True),
        (Gate.of("down", UP, n=50, at_most=0.25, clear=True), False),
        (Gate.of("nothing moved", Interval(value=0, low=0, high=0), n=50, at_least=0, clear=True), False),
        (Gate.of("one row", UP, n=1, at_least=0, clear=True), False),
        (Gate.of("not a number", math.nan, n=50, at_least=0), False),
        (Gate.of("not a number", math.nan, n=50, at_most=0), False),
    ],
)
def test_verdicts(gate: Gate, passed: bool) -> None:
    assert gate.passed is passed
    assert ("passed" if passed else "FAILED") in str(gate)


def test_a_gate_says_what_was_asked() -> None:
    assert str(Gate.of("accuracy", UP, n=1200, at_least=0.15, clear=True, detail="by pairs")) == (
        "gate FAILED: accuracy 0.2 [0.1, 0.3], at least 0.15, n = 1,200 (by pairs; with its whole interval)"
    )
    assert str(Gate.of("stop rate", 0.99, n=50, at_least=0.98)) == (
        "gate passed: stop rate 0.99, at least 0.98, n = 50"
    )


def test_one_bound_is_needed() -> None:
    for bounds in ({}, {"at_least": 0.0, "at_most": 1.0}):
        with pytest.raises(TypeError, match="at_least or at_most"):
            Gate.of("both or none", 0.5, n=1, **bounds)


def test_a_paired_interval_is_that_of_the_differences() -> None:
    random = np.random.default_rng(1)
    before = random.normal(0, 5, 400)
    after = before + random.normal(0.5, 1, 400)
    found = paired(before, after)
    # Against the t interval of the differences; the rows' own spread of 5, ten times wider, must not enter.
    low, high = stats.t.interval(0.95, 399, np.mean(after - before), stats.sem(after - before))
    assert found.value == pytest.approx(np.mean(after - before))
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.02)
    assert paired(before, after, seed=2) != found == paired(before, after)
    with pytest.raises(InputError, match="the same ones"):
        paired(before, after[1:])


def test_a_relative_change_is_of_the_sums() -> None:
    found = relative([100.0, 300.0], [110.0, 310.0])
    assert found.value == pytest.approx(420 / 400 - 1)
    # Resamples of two rows are both rows, or one of them twice.
    assert (found.low, found.high) == pytest.approx((310 / 300 - 1, 110 / 100 - 1))


class Nothing(Settings):
    output_dir: str
    gates: bool = True
    depth: int = 1


GOOD = Gate.of("stop rate", 1.0, n=50, at_least=0.98)
BAD = Gate.of("BLEU, change", UP, n=50, at_least=0.5, detail="against the base")


def _run(folder: Path, *, said: list[str] | None = None, fresh: bool = False, **keys: object) -> Run:
    settings = Nothing.model_validate({"output_dir": str(folder), **keys})
    card = Card(
        name="n", stage="s", kind="k", licence="MIT", command="c", seed=1, configuration={}, settings=plain(settings)
    )
    return Run(settings, settings.output_dir, card, fresh=fresh, say=([] if said is None else said).append)


def _model(run: Run) -> Path:
    def make(folder: Path) -> list[Point]:
        (folder / "model").mkdir()
        (folder / "model" / "weights.json").write_text("{}")
        return []

    run.data([])
    return run.phase("fit", make)


def test_judge_says_keeps_and_stops(tmp_path: Path) -> None:
    said: list[str] = []
    run = _run(tmp_path, said=said)
    _model(run)
    judge(run, [GOOD], True)
    with pytest.raises(GateError, match=r"1 of 2 gates failed: BLEU, change 0\.2 \[0\.1, 0\.3\], at least 0\.5"):
        judge(run, [GOOD, BAD], True)
    assert said[-2:] == [str(GOOD), str(BAD)]
    assert read_gates(tmp_path) == [GOOD, BAD]
    assert not (tmp_path / "card.json").exists()
    judge(run, [BAD], False)
    assert _run(tmp_path).gates == [GOOD, BAD]  # a later start knows them
    assert not _run(tmp_path, fresh=True).gates and not (tmp_path / "gates.json").exists()


def test_the_model_is_there_when_the_last_gate_fails(tmp_path: Path) -> None:
    run = _run(tmp_path)
    with pytest.raises(GateError, match="BLEU"):
        conclude(run, _model(run), [GOOD, BAD], True)
    card = json.loads((tmp_path / "card.json").read_text("utf-8"))
    assert [gate["passed"] for gate in card["gates"]] == [True, False]
    assert set(card["files"]) == {"weights.json", "gates.json"}
    assert (
        "| BLEU, change | 0.2 | 0.1 to 0.3 | at least 0.5 | 50 | **failed** |" in (tmp_path / "README.md").read_text()
    )
    with pytest.raises(GateError, match="BLEU"):  # the finished model stays refused
        _run(tmp_path)
    assert _run(tmp_path, gates=False).finished
    assert _run(tmp_path, fresh=True, depth=2).finished is False


def test_what_is_not_a_number_comes_back(tmp_path: Path) -> None:
    run = _run(tmp_path)
    judge(run, [Gate.of("loss", math.nan, n=3, at_most=1)], False)
    assert "NaN" in (tmp_path / "gates.json").read_text()
    assert math.isnan(read_gates(tmp_path)[0].value)
