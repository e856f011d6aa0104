"""What rejection sampling is measured by: hand-made tables, and likelihoods beside torch's own."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from chimed_rag.generation.chat import Renderer
from chimed_rag.generation.tiny import make_tiny_model
from training.candidates import Group, Prompt
from training.contracts import Candidate
from training.language import load_policy
from training.rejection import Measured, best_of_gates, measured, round_gates
from training.rejection_report import Report, curve_of, wins

PROMPT = Prompt("p", [{"role": "user", "content": "头疼怎么办"}], "多休息")


def table(reward: Any, judge: Any = (), **others: Any) -> Measured:
    """Two prompts or more, two candidates or more; of what is not given, the same for all."""
    shape = np.array(reward).shape
    ones = np.ones(shape, int)
    given = {
        "characters": 10 * ones,
        "stopped": ones,
        "nats": 0.0 * ones,
        "tokens": 5 * ones,
        "distinct": 0.5,
        "reference_reward": [0.0] * shape[0],
        "reference_judge": [0.0] * shape[0] if len(judge) else [],
        **others,
    }
    plain = {name: np.array(value).tolist() for name, value in given.items()}
    return Measured(reward=np.array(reward).tolist(), judge=np.array(judge).tolist(), **plain)


def verdicts(gates: list[Any]) -> dict[str, bool]:
    return {gate.name: gate.passed for gate in gates}


def test_a_judge_that_follows_the_reward_and_one_that_does_not():
    draw = np.random.default_rng(0)
    judge = draw.random((100, 8))
    follows, at_random = (best_of_gates(table(reward, judge)) for reward in (judge * 3 - 1, draw.random((100, 8))))
    assert [gate.passed for gate in follows] == [True, True]
    assert follows[1].value == pytest.approx(1)  # the same choice as the judge's own
    # Of eight uniform draws the highest is 8/9 on average, any one of them 1/2.
    assert follows[0].value == pytest.approx(8 / 9 - 1 / 2, abs=0.03)
    assert [gate.passed for gate in at_random] == [False, False]
    assert abs(at_random[1].value) < 0.15
    assert best_of_gates(table(draw.random((5, 2)))) == []  # nobody judges


def test_a_reply_without_an_end_is_not_what_would_be_chosen():
    found = table([[9.0, 1.0], [9.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]], stopped=[[0, 1], [0, 1]])
    one, two = curve_of(found)
    assert (one.k, one.judge.value, two.k, two.judge.value) == (1, 0.5, 2, 1.0)
    assert (one.reward.value, two.reward.value) == (5.0, 1.0)


def test_the_curve_goes_by_powers_of_two_to_all():
    draw = np.random.default_rng(0)
    assert [one.k for one in curve_of(table(draw.random((3, 6))))] == [1, 2, 4, 6]
    assert [one.k for one in curve_of(table(draw.random((3, 8))))] == [1, 2, 4, 8]


def test_each_gate_of_a_round_fails_for_its_own_reason():
    draw = np.random.default_rng(0)
    reward, judge = draw.random((50, 4)), draw.random((50, 4))
    before = table(reward, judge)

    def failed(**changes: Any) -> list[str]:
        after = table(**{"reward": reward + 1, "judge": judge, **changes})
        gates = round_gates(2, before, after, margin=0.1, most_drift=0.5)
        assert len(gates) == 6
        return [gate.name.removeprefix("round 2: ") for gate in gates if not gate.passed]

    assert failed() == []
    assert failed(reward=reward) == ["reward, change"]  # no better is not good enough
    assert failed(judge=judge - 0.02) == []  # a tenth of the judge's deviation of .29 is allowed
    assert failed(judge=judge - 0.04) == ["judge, change"]
    assert failed(characters=np.full((50, 4), 13)) == ["length, ratio to before"]
    assert failed(stopped=np.tile([1, 1, 1, 0], (50, 1))) == ["stop rate"]
    assert failed(distinct=0.3) == ["distinct bigrams, ratio to before"]
    assert failed(nats=np.full((50, 4), 3.0)) == ["drift, nats a token"]


def test_wins_are_shares_of_pairs_ties_half():
    # 2 > 1, 2 > 2 is a tie, 3 > 1, 3 > 2: three and a half of four
    assert wins(np.array([[1.0, 2.0]]), np.array([[2.0, 3.0]])).tolist() == [3.5 / 4]


def test_a_report_says_what_was_before_and_what_each_round_gave():
    before, after = table([[0.0, 1.0]] * 3, [[0.0, 0.5]] * 3), table([[2.0, 3.0]] * 3, [[0.5, 0.5]] * 3)
    after = after.model_copy(update={"nats": [[1.0, 2.0]] * 3})
    report = Report(prompts=3, k=2, curve=curve_of(before))
    report.add(1, before, before, after)
    scores = report.scores()
    assert list(scores) == ["reference", "before", "round 1", "before, best of 2"]
    assert scores["round 1"]["reward"].value == 2.5
    assert scores["round 1"]["won against previous"].value == 1
    assert scores["round 1"]["drift, nats a token"].value == pytest.approx(3 / 10)
    assert scores["before, best of 2"]["judge"].value == 0.5
    assert Report.model_validate_json(report.model_dump_json()) == report


@pytest.mark.parametrize("finish", ["stop", "length"])
def test_drift_is_the_difference_of_log_likelihoods(tmp_path, finish):
    names = [str(make_tiny_model(tmp_path / name, seed=n)) for n, name in enumerate(("base", "policy"))]
    candidate = Candidate(prompt_id="p", k=0, seed=0, text="多喝水。", finish=finish, tokens=4, reward=1.5)
    group = Group(PROMPT, [candidate, candidate.model_copy(update={"k": 1, "text": "去医院"})])
    found = measured([group], lambda conversations: [7.0] * len(conversations), None, models=(names[0], names[1]))

    expected = []
    for name in names:
        model, tokenizer = load_policy(name)
        ids, mask = Renderer(tokenizer).training(PROMPT.answered("多喝水。"), last_only=True)
        if finish == "length":  # it did not write the token that stops
            ids, mask = ids[:-1], mask[:-1]
        labels = torch.tensor([[token if kept else -100 for token, kept in zip(ids, mask, strict=True)]])
        with torch.no_grad():
            loss = model(input_ids=torch.tensor([ids]), labels=labels).loss
        expected.append(-float(loss) * sum(mask))
    assert found.nats[0][0] == pytest.approx(expected[1] - expected[0], abs=1e-3)
    assert found.tokens[0][0] == sum(mask)
    assert (found.reward, found.reference_reward, found.judge) == ([[1.5, 1.5]], [7.0], [])
    assert found.stopped == [[int(finish == "stop")] * 2]
    # 多喝 喝水 水。 去医 医院: all different
    assert found.distinct == 1
    same = measured([group], lambda conversations: [0.0] * len(conversations), None, models=(names[0], names[0]))
    assert same.nats == [[0.0, 0.0]]
    assert math.isfinite(found.nats[0][1])
