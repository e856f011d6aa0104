"""Comparisons against hand arithmetic and against all permutations one by one."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from chimed_rag.errors import InputError
from chimed_rag.evaluation.comparing import compare, compare_all
from chimed_rag.evaluation.result import TaskResult
from chimed_rag.evaluation.running import scored
from chimed_rag.evaluation.samples import Prediction
from chimed_rag.evaluation.significance import Parts, by_group, difference, holm, mcnemar, permutation
from tests.toy_task import registered, toy_task


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    registered(monkeypatch)


def means(*values: float) -> Parts:
    return Parts(np.array(values, dtype=np.float64), np.ones(len(values)))


def result(said: str, name: str = "a", groups: str = "", **changes) -> TaskResult:
    """A toy run whose right answers are all A; `said` has a letter a sample, "-" is an error, " " an empty reply."""
    task = toy_task(len(said), "A", **changes)
    if groups:
        samples = (sample.model_copy(update={"group": g}) for sample, g in zip(task.samples, groups, strict=True))
        task = replace(task, samples=tuple(samples))
    predictions = [
        Prediction(id=f"s{i}", text="" if letter in "- " else letter, error="boom: x" * (letter == "-"))
        for i, letter in enumerate(said)
    ]
    return scored(task, predictions, system=name)


@pytest.mark.parametrize(
    ("only_a", "only_b", "p"),
    [
        (0, 0, 1.0),
        (0, 1, 1.0),
        (0, 5, 2 / 2**5),
        (1, 7, 2 * (1 + 8) / 2**8),
        (2, 8, 2 * (1 + 10 + 45) / 2**10),
        (5, 5, 1.0),
    ],
)
def test_mcnemar_by_hand(only_a, only_b, p):
    assert mcnemar(only_a, only_b) == pytest.approx(p, abs=1e-12)
    assert mcnemar(only_b, only_a) == mcnemar(only_a, only_b)


def test_holm_by_hand():
    # .01 x 4, .02 x 3, .03 x 2 and .04 x 1; none below one that was smaller
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([0.03]) == [0.03]
    assert holm([]) == []


def every_swap(a: Parts, b: Parts) -> float:
    """Twice the smaller tail over all 2^n ways to swap."""
    seen = Parts(b.above, b.below).value - a.value
    others = []
    for swaps in itertools.product([False, True], repeat=len(a.above)):
        one = Parts(np.where(swaps, b.above, a.above), np.where(swaps, b.below, a.below))
        two = Parts(np.where(swaps, a.above, b.above), np.where(swaps, a.below, b.below))
        others.append(two.value - one.value)
    more, less = (np.mean([sign * other >= sign * seen - 1e-12 for other in others]) for sign in (1, -1))
    return float(min(1.0, 2 * min(more, less)))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (means(1, 2, 3, 4), means(2, 4, 3, 7)),
        (means(0.1, 0.9, 0.4, 0.4, 0.2), means(0.3, 0.8, 0.9, 0.4, 0.6)),
        (means(1, 0), means(0, 1)),
        (Parts(np.array([2.0, 0, 4]), np.array([3.0, 2, 4])), Parts(np.array([2.0, 2, 6]), np.array([5.0, 2, 7]))),
        (Parts(np.array([0.0, 0]), np.array([0.0, 0])), Parts(np.array([1.0, 2]), np.array([1.0, 4]))),
    ],
)
def test_permutation_is_that_of_all_swaps(a, b):
    assert permutation(a, b) == pytest.approx(every_swap(a, b), abs=1e-12)
    assert permutation(b, a) == pytest.approx(permutation(a, b), abs=1e-12)


def test_permutation_of_many_rows_is_drawn_with_a_seed():
    draw = np.random.default_rng(1)
    a, b = means(*draw.normal(size=200)), means(*(draw.normal(size=200) + 0.2))
    p = permutation(a, b)
    from scipy.stats import ttest_rel

    assert p == permutation(a, b)
    assert p == pytest.approx(ttest_rel(a.above, b.above).pvalue, abs=0.02)
    assert permutation(a, a) == 1.0
    assert permutation(means(1), means(9)) == 1.0
    with pytest.raises(InputError, match="one row of each system"):
        permutation(means(1, 2), means(1))


def test_a_difference_is_that_of_the_values_and_its_interval_holds_the_pairing():
    draw = np.random.default_rng(1)
    base = draw.normal(size=400) * 10
    a, b = means(*base), means(*(base + draw.normal(size=400) * 0.1 + 1))
    found = difference(a, b)
    assert found.value == pytest.approx(b.value - a.value)
    assert 0.98 < found.low < found.value < found.high < 1.02  # unpaired, it would be 1.4 wide on either side
    assert found == difference(a, b)
    half = 1.96 * np.std(b.above - a.above) / 20  # the normal interval of a mean of 400
    assert found.high - found.low == pytest.approx(2 * half, rel=0.1)


def test_the_difference_of_ratios_is_not_the_mean_of_differences():
    a = Parts(np.array([1.0, 0]), np.array([2.0, 8]))  # 1 / 10
    b = Parts(np.array([1.0, 4]), np.array([2.0, 8]))  # 5 / 10
    assert difference(a, b).value == pytest.approx(0.4)
    nothing = Parts(np.zeros(2), np.zeros(2))
    assert difference(nothing, b).value == pytest.approx(0.5)


def test_groups_are_summed():
    above, below = by_group(means(1, 2, 3, 4), ["x", "", "x", ""])
    assert (above.tolist(), below.tolist()) == ([4, 2, 4], [2, 1, 1])


def test_right_and_wrong_by_hand():
    #                 right both, only a, only b x 5, wrong, invalid and error against right
    a, b = result("AABBBBBB -", "a"), result("ABAAAAABAA", "b")
    found = compare(a, b)
    assert (found.metric, found.a, found.b, found.n, found.groups) == ("accuracy", "a", "b", 10, 10)
    assert (found.only_a, found.only_b, found.test) == (1, 7, "exact McNemar")
    assert found.p == pytest.approx(2 * (1 + 8) / 2**8)
    assert found.difference.value == 0.6  # .8 - .2
    assert found.difference.low < 0.6 < found.difference.high
    back = compare(b, a)
    assert (back.difference.value, back.p, back.only_a) == (-0.6, found.p, 7)


def test_grouped_samples_are_swapped_by_group():
    a, b = result("BBBBBB", "a", "xxyyzz"), result("AAAAAA", "b", "xxyyzz")
    found = compare(a, b)
    assert (found.test, found.groups, found.only_b) == ("paired permutation", 3, 6)
    assert found.p == pytest.approx(2 / 2**3)  # three groups, not six samples


def test_other_metrics_are_compared_by_what_each_sample_adds():
    a, b = result("AAB", "a"), result("BAA", "b")
    found = compare(a, b, metric="length")
    assert (found.test, found.only_a, found.difference.value, found.p) == ("exact McNemar", 0, 0, 1)
    long = compare(result("ABBB", "a"), result("AAAB", "b"), metric="long")
    assert (long.difference.value, long.test) == (0.5, "exact McNemar")
    mixed = compare(result("ABB-", "a"), result("AAAB", "b"), metric="long")  # 1 of 3 letters, 3 of 4
    assert mixed.test == "paired permutation"
    assert mixed.difference.value == pytest.approx(3 / 4 - 1 / 3, abs=1e-6)


def test_what_is_not_taken_sample_by_sample_is_refused():
    with pytest.raises(InputError, match="it is not taken sample by sample; compare by: accuracy, length, long"):
        compare(result("AB"), result("AA"), metric="whole")
    with pytest.raises(InputError, match="there is no such number; compare by: accuracy"):
        compare(result("AB"), result("AA"), metric="f1")


def test_a_metric_whose_parts_do_not_add_up_to_it_is_refused():
    a = result("AB")
    shifted = a.model_copy(update={"metrics": {**a.metrics, "accuracy": a.metrics["length"]}})
    shifted._run = a.run
    with pytest.raises(InputError, match="cannot be compared by accuracy"):
        compare(shifted, a)


def altered(one: TaskResult, **changes) -> TaskResult:
    made = one.model_copy(update=changes)
    made._run = one.run
    return made


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"task": "other"}, "different task"),
        ({"data_sha256": "0"}, "different data"),
        ({"protocol": "toy-lenient"}, "different protocol"),
        ({"asked_with": "toy-lenient"}, "different protocol that asked"),
        ({"versions": {"rich": "0.1"}}, "different versions"),
    ],
)
def test_what_is_not_alike_is_refused_and_both_sides_named(changes, named):
    with pytest.raises(InputError, match=named) as caught:
        compare(result("AB", "first"), altered(result("AA", "second"), **changes))
    assert "first has" in str(caught.value)
    assert "second" in str(caught.value)


def test_other_samples_are_refused_and_other_python_is_not():
    with pytest.raises(InputError, match="different number of samples"):
        compare(result("AB"), result("ABA"))
    a = result("AB")
    task = replace(a.run.task, samples=tuple(s.model_copy(update={"id": "x" + s.id}) for s in a.run.task.samples))
    other = scored(task, [], system="b")
    with pytest.raises(InputError, match="different samples"):
        compare(a, other)
    assert compare(a, altered(a, versions={**a.versions, "python": "3.99", "numpy": "9"})).p == 1


def test_many_are_corrected_for_their_number():
    # p = 2/2^5, 2/2^6, 2/2^7
    pairs = [(result("B" * n), result("A" * n)) for n in (5, 6, 7)]
    found = compare_all(pairs)
    assert [one.p for one in found] == pytest.approx([0.0625, 0.03125, 0.015625])
    assert [one.p_holm for one in found] == pytest.approx([0.0625, 0.0625, 0.046875])
    assert compare(*pairs[0]).p_holm is None


def test_a_whole_exam_is_compared_in_seconds():
    import time

    draw = np.random.default_rng(3)
    n = 6811
    one, two = (means(*draw.random(n)) for _ in range(2))
    began = time.process_time()
    assert 0 <= permutation(one, two, resamples=999) <= 1
    assert time.process_time() - began < 3


def test_shares_of_outcomes_and_micro_f1_need_no_parts_of_their_own():
    from chimed_rag.evaluation.samples import Score
    from tests.toy_task import Toy

    rules = Toy("choice")
    ended = [Score(id=str(n), outcome=outcome) for n, outcome in enumerate(("correct", "wrong", "invalid", "error"))]
    assert rules.parts("accuracy", ended) == ([1, 0, 0, 0], [1, 1, 1, 1])
    assert rules.parts("error", ended) == ([0, 0, 0, 1], [1, 1, 1, 1])
    assert rules.parts("f1", ended) is None
    found = [
        Score(id="a", outcome="scored", values={"tp": 3, "fp": 1, "fn": 0}),
        Score(id="b", outcome="scored", values={"tp": 1, "fp": 0, "fn": 4}),
        Score(id="c", outcome="error"),
    ]
    assert rules.parts("f1", found) == ([6, 2, 0], [7, 6, 0])  # 8 / 13
    assert rules.parts("precision", found) == ([3, 1, 0], [4, 1, 0])  # 4 / 5
    assert rules.parts("recall", found) == ([3, 1, 0], [3, 5, 0])  # 4 / 8
