"""Risk–coverage curves: by hand, ties by enumerating all orders, and the trapezoids of a second library."""

from __future__ import annotations

import random
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import auc

from chimed_rag.errors import InputError
from chimed_rag.evaluation.metrics.curves import aurc, risk_coverage


def test_by_hand() -> None:
    """Right, wrong, right, wrong in order of confidence: risks 0, 1/2, 1/3, 1/2; their mean is 1/3."""
    curve = risk_coverage([0.2, 0.9, 0.5, 0.7], [0, 1, 1, 0])
    assert curve.thresholds.tolist() == [0.9, 0.7, 0.5, 0.2]
    assert curve.coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert curve.risk == pytest.approx([0, 1 / 2, 1 / 3, 1 / 2])
    assert curve.aurc == pytest.approx(1 / 3)
    assert curve.at_random == 0.5
    assert curve.oracle == pytest.approx((0 + 0 + 1 / 3 + 1 / 2) / 4)
    assert curve.excess == pytest.approx(1 / 8)
    assert curve.coverage_at(0.0) == 0.25
    assert curve.coverage_at(0.34) == 0.75
    assert risk_coverage([0.9], [0]).coverage_at(0.5) == 0.0


def test_ties_take_the_mean_of_all_orders() -> None:
    confidences, right = [0.9, 0.5, 0.5, 0.5, 0.1], [1, 0, 1, 1, 0]
    areas = []
    for order in permutations([1, 2, 3]):
        losses = 1 - np.array([right[place] for place in (0, *order, 4)])
        areas.append((np.cumsum(losses) / np.arange(1, 6)).mean())
    assert risk_coverage(confidences, right).aurc == pytest.approx(np.mean(areas), abs=1e-12)


def test_no_confidence_at_all_is_the_random_one() -> None:
    curve = risk_coverage([None, None, float("nan")], [1, 0, 0])
    assert curve.aurc == pytest.approx(curve.at_random)
    assert curve.coverage.tolist() == [1.0]


def test_parity_with_trapezoids() -> None:
    """sklearn's area over n points, plus the half columns that trapezoids leave out at both ends."""
    draw = np.random.default_rng(3)
    confidences, right = draw.permutation(200) / 200, draw.integers(0, 2, 200)
    curve = risk_coverage(confidences.tolist(), right.tolist())
    trapezoids = auc(curve.coverage, curve.risk)
    assert curve.aurc == pytest.approx(trapezoids + (curve.risk[0] + curve.risk[-1]) / 400, abs=1e-6)


@given(st.lists(st.tuples(st.sampled_from([None, 0.1, 0.5, 0.9]), st.integers(0, 1)), min_size=1, max_size=12))
def test_order_does_not_matter_and_the_oracle_is_best(rows: list[tuple[float | None, int]]) -> None:
    curve = risk_coverage(*map(list, zip(*rows, strict=True)))
    shuffled = random.Random(1).sample(rows, len(rows))
    other = risk_coverage(*map(list, zip(*shuffled, strict=True)))
    assert other.aurc == pytest.approx(curve.aurc)
    assert curve.oracle <= curve.aurc + 1e-12
    assert curve.risk[-1] == pytest.approx(curve.at_random)


def test_a_better_answer_never_raises_the_area() -> None:
    draw = random.Random(5)
    for _ in range(50):
        confidences = [draw.choice([0.1, 0.4, 0.4, 0.8]) for _ in range(8)]
        right = [draw.randint(0, 1) for _ in range(8)]
        better = [1, *right[1:]]
        assert risk_coverage(confidences, better).aurc <= risk_coverage(confidences, right).aurc + 1e-12


def test_interval_resamples_groups() -> None:
    confidences, right = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4], [1, 1, 1, 0, 0, 0]
    apart = aurc(confidences, right, [""] * 6, resamples=200)
    assert apart.low <= apart.value <= apart.high
    assert apart.value == pytest.approx(risk_coverage(confidences, right).aurc)
    turned = aurc(confidences[::-1], right[::-1], [""] * 6, resamples=200)
    assert (turned.low, turned.value, turned.high) == pytest.approx((apart.low, apart.value, apart.high), abs=1e-12)
    together = aurc(confidences, right, ["one"] * 6)
    assert together.low == together.value == together.high


def test_bad_input() -> None:
    with pytest.raises(InputError, match="as many confidences"):
        risk_coverage([], [])
    with pytest.raises(InputError):
        risk_coverage([0.5], [1, 0])
