"""Means with bootstrap intervals over queries (scipy), and percentiles of latencies.

Not covered: the comparison of two systems.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from chimed_rag.errors import InputError, MissingExtraError

SEED = 20090719
"""Seed of every bootstrap, so that the same data give the same interval."""

_VALUES_AT_ONCE = 2_000_000
"""Resampled values held in memory at a time: 16 MB."""


class Interval(BaseModel):
    """A mean and the bounds of its confidence interval, in the unit of the values."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float
    low: float
    high: float


class Percentiles(BaseModel):
    """Median and 95th percentile, in the unit of the values."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    p50: float
    p95: float


def bootstrap_means(
    columns: Mapping[str, NDArray[np.float64]], *, confidence: float = 0.95, resamples: int = 1000
) -> dict[str, Interval]:
    """Mean of each column with its percentile bootstrap interval (Efron and Tibshirani 1993, ch. 13).

    All columns are resampled by the same rows, with a fixed seed. A single row resamples to itself alone: its interval
    has no width and says nothing, so show n beside it.

    Args:
        columns: name to values, each of shape (n,), n at least 1.
        confidence: coverage of the intervals, between 0 and 1.
        resamples: how many times the rows are drawn with replacement.

    Raises:
        InputError: no columns, no rows, or columns of different lengths.
        MissingExtraError: scipy is not installed.
    """
    lengths = {len(column) for column in columns.values()}
    if len(lengths) != 1 or 0 in lengths:
        raise InputError(f"means need columns of one length of at least 1, not {sorted(lengths)}")
    table = np.stack(list(columns.values()))
    means = low = high = table.mean(axis=1)
    if table.shape[1] > 1:
        try:
            from scipy.stats import bootstrap
        except ImportError as error:
            raise MissingExtraError("scipy", "evaluation") from error
        low, high = bootstrap(
            (table,),
            np.mean,
            axis=-1,
            vectorized=True,
            n_resamples=resamples,
            batch=max(1, _VALUES_AT_ONCE // table.size),
            confidence_level=confidence,
            method="percentile",
            random_state=np.random.default_rng(SEED),
        ).confidence_interval
    return {
        name: Interval(value=float(value), low=float(lower), high=float(upper))
        for name, value, lower, upper in zip(columns, means, low, high, strict=True)
    }


def percentiles(values: Sequence[float]) -> Percentiles:
    """Median and 95th percentile of the values, interpolated linearly between neighbours.

    Raises:
        InputError: no values.
    """
    if not values:
        raise InputError("percentiles need at least one value")
    p50, p95 = np.percentile(np.asarray(values, dtype=np.float64), (50, 95))
    return Percentiles(p50=float(p50), p95=float(p95))
