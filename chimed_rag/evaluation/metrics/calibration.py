"""Whether a system is right as often as it is sure: the expected calibration error and its bins.

Naeini et al. 2015 and Guo et al. 2017: bins of equal width over the confidence, in each the gap between the mean
confidence and the accuracy, weighted by the bin's share of n. The bootstrap of a mean of absolute values lies above
its estimate where the gaps are small, so the interval of a well calibrated system is wide upwards.

Not covered: confidences that are no probabilities, and mending a calibration.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from chimed_rag.errors import InputError
from chimed_rag.evaluation.statistics import SEED, Interval, bootstrap_means

BINS = 10


def calibration_error(
    confidence: Sequence[float], right: Sequence[float], *, bins: int = BINS, resamples: int = 1000
) -> Interval:
    """The expected calibration error with its percentile bootstrap interval over samples (95 %).

    Args:
        confidence: probability of what was said, each within 0 and 1.
        right: 1 where it was right, else 0; as many.

    Raises:
        InputError: none, not as many, or a confidence outside of 0 and 1.
    """
    places, gaps = _placed(confidence, right, bins)
    generator, n = np.random.default_rng(SEED), len(places)
    value = _error(places, gaps, bins)
    drawn = [
        _error(places[rows], gaps[rows], bins) for rows in (generator.integers(n, size=n) for _ in range(resamples))
    ]
    low, high = np.percentile(drawn, (2.5, 97.5))
    return Interval(value=value, low=min(float(low), value), high=max(float(high), value))


def calibration_bins(
    confidence: Sequence[float], right: Sequence[float], *, bins: int = BINS
) -> dict[str, dict[str, Interval]]:
    """Mean confidence, accuracy and count of each bin that is not empty ("0.3–0.4" to its numbers), in order.

    Raises:
        InputError: as `calibration_error`.
    """
    places, _ = _placed(confidence, right, bins)
    columns = {"accuracy": np.asarray(right, float), "confidence": np.asarray(confidence, float)}
    found = {}
    for place in sorted(set(places.tolist())):
        inside = places == place
        means = bootstrap_means({name: column[inside] for name, column in columns.items()})
        count = float(inside.sum())
        found[f"{place / bins:.1f}–{(place + 1) / bins:.1f}"] = {
            **means,
            "n": Interval(value=count, low=count, high=count),
        }
    return found


def _placed(
    confidence: Sequence[float], right: Sequence[float], bins: int
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """The bin of each sample, and how much it was more right than sure."""
    sure, hit = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=np.float64)
    if not len(sure) or len(sure) != len(hit) or not ((sure >= 0) & (sure <= 1)).all():
        raise InputError("calibration needs as many outcomes as confidences, at least one, each within 0 and 1")
    return np.minimum((sure * bins).astype(np.intp), bins - 1), hit - sure


def _error(places: NDArray[np.intp], gaps: NDArray[np.float64], bins: int) -> float:
    return float(np.abs(np.bincount(places, weights=gaps, minlength=bins)).sum() / len(places))
