"""A reward that follows length is stopped; one that knows the facts lifts the choice, and the policy that learns it.

The experiment of `benchmarks/reject.py`, small: one seed, five diseases. Three seeds of the whole are recorded in
benchmarks/results/reject.json. Not covered: real preferences.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import sys
from pathlib import Path
from typing import Any

import pytest

from chimed_rag.evaluation.statistics import Interval
from training.gates import GateError, read_gates

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def script() -> Any:
    """The module `benchmarks/reject.py`."""
    if not (BENCHMARKS / "reject.py").is_file():
        pytest.skip("benchmarks/ is not beside tests/ here")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        specification = importlib.util.spec_from_file_location("reject_benchmark", BENCHMARKS / "reject.py")
        assert specification is not None and specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        patch.setitem(sys.modules, "reject_benchmark", module)
        specification.loader.exec_module(module)
        yield module


@pytest.fixture(scope="module")
def experiment(script: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    logging.getLogger("chimed_rag").setLevel(logging.ERROR)  # the form is ChiMed-GPT's own, on purpose
    return script.Experiment(tmp_path_factory.mktemp("world"), 1, script.SMALL, lambda _: None)


@pytest.fixture(scope="module")
def policy(experiment: Any) -> Path:
    made: Path = experiment.policy()
    return made


def curve(folder: Path) -> list[float]:
    """What the oracle says of the best of 1, 2, 4 and 8 by reward."""
    return [one["judge"]["value"] for one in json.loads((folder / "reject.json").read_text("utf-8"))["curve"]]


def test_a_reward_that_follows_length_is_stopped_before_anything_is_spent(experiment, policy):
    reward = experiment.reward("reward-A", "confounded", policy)
    [beats_the_longest] = read_gates(reward)
    assert "model 1.000, longest reply 1.000" in beats_the_longest.detail  # perfect, and no better than length
    assert not beats_the_longest.passed
    assert experiment.hard_accuracy(reward).value < 0.65  # of pairs that differ in the facts alone: chance is a half
    with pytest.raises(GateError, match="judge, best of 8 by reward, over any one"):
        experiment.reject("reject-A", policy, reward, gates=True)
    out = experiment.folder / "reject-A"
    one, *_, eight = curve(out)
    assert eight < 1.25 * one
    assert not (out / "card.json").exists()
    assert [path.name for path in (out / "work").iterdir() if path.is_dir()] == ["held-out-0"]


def test_a_reward_that_knows_the_facts_lifts_the_choice_and_the_policy(experiment, policy):
    reward = experiment.reward("reward-B", "hard", policy)
    assert all(gate.passed for gate in read_gates(reward))
    assert experiment.hard_accuracy(reward).value > 0.85
    made = experiment.reject("reject-B", policy, reward, gates=True)  # no gate stops it
    one, two, four, eight = curve(made)
    assert one < two < four < eight
    assert eight >= 1.6 * one  # 1.9 to 2.2 with seeds 1 to 3; the whole experiment, below, more than doubles it
    systems = json.loads((made / "card.json").read_text("utf-8"))["scores"]
    before, after = (Interval(**systems[name]["judge"]) for name in ("before", "round 1"))
    [change] = [gate for gate in read_gates(made) if gate.name == "round 1: judge, change"]
    assert change.low > 0.05  # paired over prompts, 95 %
    assert after.value - before.value == pytest.approx(change.value)


def test_what_is_recorded_of_three_seeds():
    file = BENCHMARKS / "results" / "reject.json"
    if not file.is_file():
        pytest.skip("benchmarks/ is not beside tests/ here")
    rows = json.loads(file.read_text("utf-8"))["rows"]
    assert sorted((row["reward model"][0], row["seed"]) for row in rows) == [(a, n) for a in "AB" for n in (1, 2, 3)]
    for row in rows:
        low = float(row["change of oracle"].split("[")[1].split(",")[0])
        ratio = row["oracle, best of 8"] / row["oracle, best of 1"]
        if row["reward model"].startswith("A"):
            assert "judge, best of 8 by reward" in row["gates failed"] and ratio < 1.3 and low < 0
        else:
            assert row["gates failed"] == "none" and ratio >= 2 and low > 0
