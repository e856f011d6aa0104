"""The order of the rows changes no value and no interval."""

from __future__ import annotations

import numpy as np
import pytest

from chimed_rag.evaluation.statistics import bootstrap_means, bootstrap_ratios, clustered_means

pytest.importorskip("scipy")
GENERATOR = np.random.default_rng(5)
VALUES, BELOW = GENERATOR.random(40), GENERATOR.random(40)
NAMES = [f"group {n % 7}" if n % 3 else "" for n in range(40)]


def test_no_interval_depends_on_it() -> None:
    order = GENERATOR.permutation(40)
    means = bootstrap_means({"x": VALUES}), bootstrap_means({"x": VALUES[order]})
    ratios = bootstrap_ratios({"x": VALUES}, BELOW), bootstrap_ratios({"x": VALUES[order]}, BELOW[order])
    grouped = clustered_means({"x": VALUES}, NAMES), clustered_means({"x": VALUES[order]}, [NAMES[n] for n in order])
    for one, other in (means, ratios, grouped):
        found, again = one["x"], other["x"]
        assert (found.value, found.low, found.high) == pytest.approx((again.value, again.low, again.high), abs=1e-12)
        assert found.low < found.value < found.high


def test_a_group_is_drawn_whole() -> None:
    """Twenty equal rows of one group are one observation: the interval is that of the groups."""
    values, groups = [1.0] * 20 + [0.0] * 20, ["a"] * 20 + ["b"] * 20
    found = clustered_means({"x": values}, groups)["x"]
    assert (found.value, found.low, found.high) == (0.5, 0.0, 1.0)
    alone = clustered_means({"x": values}, [""] * 40)["x"]
    assert 0.3 < alone.low < 0.5 < alone.high < 0.7
