"""The arithmetic of calibrated refusal: exact binomial tails, fixed-sequence testing of thresholds, scores out of fold.

Not covered: what is tested, and what it guarantees (`calibration`).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, exp, lgamma, log, log1p
from typing import TYPE_CHECKING

from chimed_rag.regression import logistic

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Booleans = NDArray[np.bool_]

LEVELS = 20
"""So many thresholds: at each twentieth of the first part's scores."""
PENALTY = 10.0
"""Ridge penalty on standardised features. Of 1 to 100 it is within .01 of the best area under the ROC curve, fitted on
50, 100 and 200 questions of the starter literature and of open consultations."""


def needed(risk: float, confidence: float) -> int:
    """The least N with (1 - risk)^N <= 1 - confidence: so many answers, none of them wrong, can show a risk."""
    return ceil(log(1 - confidence) / log1p(-risk) - 1e-9)


def control(
    scores: Sequence[float], errors: Sequence[bool], thresholds: Sequence[float], *, risk: float, confidence: float
) -> float | None:
    """The last threshold, in the order given, before one at which "the error exceeds the risk" cannot be refuted.

    None if it cannot be at the first. The error at a threshold is that among scores at or above it. P(the error at the
    threshold returned > risk) <= 1 - confidence, provided that the thresholds and their order were chosen without these
    scores and errors, which are independent draws.
    """
    kept = None
    for threshold in thresholds:
        answered = [wrong for value, wrong in zip(scores, errors, strict=True) if value >= threshold]
        if binomial_tail(sum(answered), len(answered), risk) > 1 - confidence:
            break
        kept = threshold
    return kept


def binomial_tail(k: int, n: int, p: float) -> float:
    """P(X <= k) of X ~ Bin(n, p), summed exactly; 0 < p < 1."""
    if k >= n:
        return 1.0
    odds = [lgamma(n + 1) - lgamma(i + 1) - lgamma(n - i + 1) + i * log(p) + (n - i) * log1p(-p) for i in range(k + 1)]
    return min(1.0, sum(map(exp, odds)))


def upper_bound(k: int, n: int, confidence: float) -> float:
    """The one-sided Clopper-Pearson bound: the largest p with P(Bin(n, p) <= k) >= 1 - confidence, by bisection."""
    low, high = k / n if n else 1.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if middle < 1 and binomial_tail(k, n, middle) > 1 - confidence else (low, middle)
    return high


def sequence(scores: Floats, wrong: Booleans, risk: float, testing: int) -> list[float]:
    """Thresholds, from the one with the smallest p-value to be expected on `testing` questions to answering everything.

    Args:
        scores, wrong: of the questions that fitted the score, each scored without itself (`out_of_fold`).
    """
    import numpy as np

    levels = np.unique(np.quantile(scores, 1 - np.arange(1, LEVELS + 1) / LEVELS))[::-1]
    scale = testing / len(scores)

    def expected(threshold: float) -> float:
        answered = scores >= threshold
        return binomial_tail(round(scale * wrong[answered].sum()), max(1, round(scale * answered.sum())), risk)

    return [float(level) for level in levels[int(np.argmin([expected(level) for level in levels])) :]]


def out_of_fold(x: Floats, right: Booleans, folds: int = 5) -> Floats:
    """The score of each row (n, d) by a regression that was fitted without its fold; shape (n,)."""
    import numpy as np

    fold, scores = np.arange(len(x)) % folds, np.empty(len(x))
    for held in range(min(folds, len(x))):
        intercept, weights = logistic(x[fold != held], right[fold != held], PENALTY)
        scores[fold == held] = intercept + x[fold == held] @ weights
    return scores
