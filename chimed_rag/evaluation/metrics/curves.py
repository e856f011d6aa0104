"""Risk–coverage: how wrong a system is on the questions it is surest of, as it answers more and more of them.

After El-Yaniv and Wiener 2010 (JMLR 11); the area beneath the curve, AURC, after Geifman et al. 2019
(arXiv:1805.08206): the mean of the risks at 1, 2, ... n answers. Answers of one confidence have no order among
themselves: each takes the mean of all orders, so that neither the order of samples nor ties can flatter. Not covered:
calibration (whether .8 is right in 80 %), and choosing a threshold with a guarantee (`safety.calibration`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chimed_rag.errors import InputError, MissingExtraError
from chimed_rag.evaluation.statistics import SEED, Interval

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """A risk–coverage curve of n answers, with k distinct confidences.

    Attributes:
        thresholds: the distinct confidences, falling; shape (k,).
        coverage: share of questions answered at each threshold; shape (k,), rising to 1.
        risk: share of wrong among the answered; shape (k,). The last is the error of answering everything.
        aurc: area beneath the curve, the lower the better.
        at_random: the area of a confidence that knows nothing, which is the error of answering everything.
        oracle: the area of one that puts all right answers first: no confidence can do better.
    """

    thresholds: Values
    coverage: Values
    risk: Values
    aurc: float
    at_random: float
    oracle: float

    @property
    def excess(self) -> float:
        """AURC above the oracle's (E-AURC): what a better confidence could still win."""
        return self.aurc - self.oracle

    def coverage_at(self, risk: float) -> float:
        """The greatest share of questions that one threshold answers within a risk; 0 where none does.

        Read off the very answers it is measured on, and so optimistic: a promise needs `MedQA.calibrate`.
        """
        within = self.coverage[self.risk <= risk + 1e-12]
        return float(within[-1]) if len(within) else 0.0


def risk_coverage(confidences: Sequence[float | None], right: Sequence[float]) -> Curve:
    """The curve of answers that are taken in order of confidence.

    Args:
        confidences: larger is surer; None is less sure than any number (a refusal, say), and so is NaN.
        right: 1 right, 0 wrong, or how good in between; as many.

    Raises:
        InputError: no answers, or more of one than of the other.
    """
    if len(confidences) != len(right) or not len(right):
        raise InputError(
            f"a curve needs as many confidences as answers, at least one: {len(confidences)}, {len(right)}"
        )
    sure = np.array([-np.inf if one is None else one for one in confidences], dtype=np.float64)
    sure[np.isnan(sure)] = -np.inf
    losses = 1.0 - np.asarray(right, dtype=np.float64)
    levels, place, sizes = np.unique(-sure, return_inverse=True, return_counts=True)
    sums = np.bincount(place, weights=losses, minlength=len(levels))
    answered = np.cumsum(sizes)
    overall = float(losses.mean())
    return Curve(
        thresholds=-levels,
        coverage=answered / len(losses),
        risk=np.cumsum(sums) / answered,
        aurc=_area(np.repeat(sums / sizes, sizes)),
        at_random=overall,
        oracle=_area(np.sort(losses)),
    )


def _area(losses: Values) -> float:
    """The mean risk at 1, 2, ... n answers; losses in the order of answering, of ties their mean."""
    return float((np.cumsum(losses) / np.arange(1, len(losses) + 1)).mean())


def aurc(
    confidences: Sequence[float | None], right: Sequence[float], groups: Sequence[str], *, resamples: int = 500
) -> Interval:
    """AURC with a percentile bootstrap interval over groups.

    Args:
        confidences, right: as `risk_coverage`.
        groups: what each answer belongs to; an empty name is a group of its own.
        resamples: how many times the groups are drawn with replacement.

    Raises:
        InputError: as `risk_coverage`. MissingExtraError: scipy is not installed.
    """
    try:
        from scipy.stats import bootstrap
    except ImportError as error:
        raise MissingExtraError("scipy", "evaluation") from error
    value = risk_coverage(confidences, right).aurc
    named: dict[str, list[int]] = {}
    for row, name in enumerate(groups):
        named.setdefault(name or f"\0{row}", []).append(row)
    sure = np.array([-np.inf if one is None else one for one in confidences], dtype=np.float64)
    good = np.asarray(right, dtype=np.float64)
    # In an order of their own, so that neither the order of samples nor the names of groups change what is drawn.
    sorted_groups = sorted(named.values(), key=lambda members: sorted((sure[row], good[row]) for row in members))
    rows = [np.array(members, dtype=np.intp) for members in sorted_groups]
    if len(rows) < 2:
        return Interval(value=value, low=value, high=value)

    def area(drawn: NDArray[np.intp]) -> float:
        taken = np.concatenate([rows[one] for one in drawn])
        return risk_coverage(sure[taken].tolist(), good[taken].tolist()).aurc

    low, high = bootstrap(
        (np.arange(len(rows)),), area, vectorized=False, n_resamples=resamples, method="percentile",
        random_state=np.random.default_rng(SEED),
    ).confidence_interval  # fmt: skip
    return Interval(value=value, low=float(low), high=float(high))
