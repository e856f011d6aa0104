"""Metrics of scores for yes and no: area under the ROC curve (scipy), F1 at a threshold chosen elsewhere.

Not covered: calibrated probabilities.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from chimed_rag.errors import InputError, MissingExtraError
from chimed_rag.evaluation.statistics import SEED, Interval, bootstrap_ratios

Scores = NDArray[np.float64]
Labels = NDArray[np.bool_]


def auc(scores: Scores, labels: Labels, *, resamples: int = 1000) -> Interval:
    """The chance that a "yes" scores above a "no", ties half: Mann and Whitney's U over the number of pairs.

    The interval is a percentile bootstrap within each class, fixed seed.

    Args:
        scores, labels: shape (n,).
        resamples: how many times each class is drawn with replacement.

    Raises:
        InputError: fewer than two of either class.
        MissingExtraError: scipy is not installed.
    """
    try:
        from scipy.stats import bootstrap, mannwhitneyu
    except ImportError as error:
        raise MissingExtraError("scipy", "evaluation") from error
    yes, no = scores[labels], scores[~labels]
    if min(len(yes), len(no)) < 2:
        raise InputError(f"an area needs two of each class, not {len(yes)} and {len(no)}")

    def area(one: Scores, other: Scores, axis: int = -1) -> Any:
        u = mannwhitneyu(one, other, axis=axis, method="asymptotic").statistic
        return u / (one.shape[axis] * other.shape[axis])

    low, high = bootstrap(
        (yes, no), area, n_resamples=resamples, batch=50, method="percentile", vectorized=True,
        random_state=np.random.default_rng(SEED),
    ).confidence_interval  # fmt: skip
    return Interval(value=float(area(yes, no)), low=float(low), high=float(high))


def best_threshold(scores: Scores, labels: Labels) -> float:
    """The threshold with the highest F1 for "yes if the score is at least so much"; the lowest of equals.

    Raises:
        InputError: no scores.
    """
    if not len(scores):
        raise InputError("a threshold needs scores to be chosen on")
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(labels[order])
    f1 = 2 * hits / (np.arange(1, len(scores) + 1) + max(int(labels.sum()), 1))
    last_of_equals = np.append(ranked[1:] < ranked[:-1], True)  # a threshold takes all of one score or none
    f1 = np.where(last_of_equals, f1, -1.0)
    return float(ranked[np.flatnonzero(f1 == f1.max())[-1]])


def f1(said: Labels, labels: Labels) -> Interval:
    """F1 of "yes" with its bootstrap interval: 2 TP / (2 TP + FP + FN), 0 where nothing is yes.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    both = 2 * (said & labels).astype(np.float64)
    return bootstrap_ratios({"f1": both}, both + (said ^ labels).astype(np.float64))["f1"]
