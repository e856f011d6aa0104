"""Choosing among candidates: each policy by hand, what is never chosen, and what the best of k gives."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from training.candidates import Group, Prompt
from training.contracts import Candidate
from training.selection import Selection, best_of, divergence, residuals, select


def group(name: str, *candidates: tuple[str, float | None], finish: str = "stop", reference: str = "") -> Group:
    prompt = Prompt(name, [{"role": "user", "content": name}], reference)
    return Group(
        prompt,
        [
            Candidate(prompt_id=name, k=k, seed=k, text=text, finish=finish, tokens=len(text), reward=reward)
            for k, (text, reward) in enumerate(candidates)
        ],
    )


def texts(groups: list[Group], references: list[float] | None = None, **settings: object) -> list[str]:
    chosen, dropped = select(groups, Selection.model_validate(settings), references=references)
    assert len(chosen) + sum(dropped.values()) == len(groups)
    return [one.candidate.text for one in chosen]


def test_the_highest_is_chosen_and_of_equal_ones_the_first():
    assert texts([group("a", ("x", 1.0), ("y", 3.0), ("z", 3.0)), group("b", ("u", -2.0), ("v", -1.0))]) == ["y", "v"]


def test_what_did_not_end_or_says_nothing_is_never_chosen():
    cut = group("a", ("long", 9.0), finish="length")
    empty = group("b", (" ", 9.0), ("ok", 0.0))
    odd = group("c", ("nan", float("nan")), ("fine", 0.0))
    assert texts([cut, empty, odd]) == ["ok", "fine"]
    _, dropped = select([cut], Selection())
    assert dropped == {"no candidate that ended": 1}


def test_only_what_beats_the_reference_by_the_margin():
    groups = [group("a", ("x", 1.0)), group("b", ("y", 1.5)), group("c", ("z", 2.0))]
    assert texts(groups, [1.0, 1.0, 1.0], policy="best_above_reference", margin=0.5) == ["z"]
    with pytest.raises(ValueError, match="references"):
        select(groups, Selection(policy="best_above_reference"))


def test_the_share_of_prompts_with_the_highest_rewards_in_their_order():
    groups = [group("a", ("x", 1.0)), group("b", ("y", 4.0)), group("c", ("z", 2.0)), group("d", ("w", 4.0))]
    assert texts(groups, policy="top_p", share=0.5) == ["y", "w"]
    assert texts(groups, policy="top_p", share=0.01) == ["y"]


def test_only_lengths_near_the_references():
    long = group("a", ("十个字的回答在这里呀", 9.0), ("五字的回答", 1.0), reference="五个字回答")
    assert texts([long], policy="length_band", band=(0.8, 1.25)) == ["五字的回答"]
    middle = group("b", ("一", 9.0), ("一二三", 1.0), ("一二三四", 2.0), ("一二三四五六七八九", 8.0))  # median 3.5
    assert texts([middle], policy="length_band", band=(0.8, 1.25)) == ["一二三四"]


def test_what_length_foretells_is_taken_off():
    # Within a: lengths 1 and 3 about 2, rewards 0 and 2 about 1; within b the same: the slope is 1 a character.
    groups = [group("a", ("一", 0.0), ("一二三", 2.0)), group("b", ("一", 0.0), ("一二三", 2.0))]
    assert residuals(groups) == [{0: -1.0, 1: -1.0}, {0: -1.0, 1: -1.0}]
    # About their means a has (−1, −1), (1, 1) and b (−1, .5), (1, −.5): the slope is (2 − 1) / 4.
    uneven = [group("a", ("一", 0.0), ("一二三", 2.0)), group("b", ("一", 3.0), ("一二三", 2.0))]
    assert residuals(uneven) == [{0: -0.25, 1: 1.25}, {0: 2.75, 1: 1.25}]
    assert texts(uneven, policy="length_residual") == ["一二三", "一"]


def test_a_candidate_that_was_not_scored_is_a_mistake():
    with pytest.raises(ValueError, match="not scored"):
        select([group("a", ("x", None))], Selection())


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_the_best_of_k_is_the_mean_over_all_subsets(k):
    random = np.random.default_rng(0)
    keys, values = random.normal(size=(4, 5)), random.normal(size=(4, 5))
    expected = [
        np.mean([values[row, max(subset, key=lambda n: keys[row, n])] for subset in combinations(range(5), k)])
        for row in range(4)
    ]
    np.testing.assert_allclose(best_of(keys, values, k), expected)


def test_the_best_of_more_than_there_are():
    with pytest.raises(ValueError, match="best of 3"):
        best_of(np.zeros((1, 2)), np.zeros((1, 2)), 3)
    assert divergence(1) == 0.0
