"""The regression against scikit-learn's, and where there is nothing to tell apart."""

from __future__ import annotations

import numpy as np
import pytest

from chimed_rag.regression import logistic


def test_the_regression_is_scikit_learns() -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 3)) * [1, 5, 0.2] + [0, 3, 1]
    right = x[:, 0] + rng.normal(size=80) > 0
    intercept, weights = logistic(x, right, 10.0)
    z = (x - x.mean(0)) / x.std(0)
    other = linear.LogisticRegression(C=1 / 10.0, tol=1e-10, max_iter=10_000).fit(z, right)
    assert weights == pytest.approx(other.coef_[0] / x.std(0), rel=1e-4)
    assert intercept + x @ weights == pytest.approx(other.decision_function(z), abs=1e-3)


@pytest.mark.parametrize("right", [np.ones(30, bool), np.zeros(30, bool)])
def test_a_regression_on_answers_that_are_all_alike_stays_finite(right: np.ndarray) -> None:
    intercept, weights = logistic(np.random.default_rng(0).normal(size=(30, 12)), right, 10.0)
    assert (intercept > 0) == right[0] and np.isfinite(intercept) and np.abs(weights).max() < 0.05
