"""Means and ratios with bootstrap intervals, proportions with Wilson's (scipy), and percentiles of latencies.

Not covered: the comparison of two systems.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

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
    columns: Mapping[str, NDArray[np.float64]], *, confidence: float = 0.95, resamples: int = 1000, seed: int = SEED
) -> dict[str, Interval]:
    """Mean of each column with its percentile bootstrap interval (Efron and Tibshirani 1993, ch. 13).

    All columns are resampled by the same rows, with one seed. A single row resamples to itself alone: its interval
    has no width and says nothing, so show n beside it.

    Args:
        columns: name to values, each of shape (n,), n at least 1.
        confidence: coverage of the intervals, between 0 and 1.
        resamples: how many times the rows are drawn with replacement.
        seed: of the drawing.

    Raises:
        InputError: no columns, no rows, or columns of different lengths.
        MissingExtraError: scipy is not installed.
    """
    return _bootstrapped(columns, lambda table: table.mean(axis=-1), confidence, resamples, seed)


def bootstrap_ratios(
    numerators: Mapping[str, NDArray[np.float64]],
    denominator: NDArray[np.float64],
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
) -> dict[str, Interval]:
    """The sum of each numerator over the sum of the denominator, rows resampled together as in `bootstrap_means`.

    Serves means over groups (a row a query: right pairs over pairs), where the group is what was drawn, and F1 (a row
    a case: 2 TP over 2 TP + FP + FN). A sum of zero below counts as a ratio of zero.

    Raises:
        InputError: no rows, or columns of different lengths.
        MissingExtraError: scipy is not installed.
    """

    def ratios(table: NDArray[np.float64]) -> NDArray[np.float64]:
        sums = table.sum(axis=-1)
        below = sums[-1]
        return np.where(below == 0, 0.0, sums / np.where(below == 0, 1.0, below))

    columns = {**numerators, "": denominator}
    found = _bootstrapped(columns, ratios, confidence, resamples)
    return {name: found[name] for name in numerators}


def bootstrap_differences(
    a: tuple[NDArray[np.float64], NDArray[np.float64]],
    b: tuple[NDArray[np.float64], NDArray[np.float64]],
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
) -> Interval:
    """The ratio of sums of `b` minus that of `a`, each a numerator and a denominator of shape (n,), rows paired.

    Raises:
        InputError: no rows, or columns of different lengths.
        MissingExtraError: scipy is not installed.
    """

    def differences(table: NDArray[np.float64]) -> NDArray[np.float64]:
        above_a, below_a, above_b, below_b = table.sum(axis=-1)
        first, second = (
            np.where(below == 0, 0.0, above / np.where(below == 0, 1.0, below))
            for above, below in ((above_a, below_a), (above_b, below_b))
        )
        return np.stack([second - first] * 4)  # one value a column is what `_bootstrapped` takes

    columns = dict(zip("abcd", (*a, *b), strict=True))
    return _bootstrapped(columns, differences, confidence, resamples)["a"]


def _bootstrapped(
    columns: Mapping[str, NDArray[np.float64]],
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    confidence: float,
    resamples: int,
    seed: int = SEED,
) -> dict[str, Interval]:
    """`statistic` takes a table of shape (columns, ..., rows) to (columns, ...)."""
    lengths = {len(column) for column in columns.values()}
    if len(lengths) != 1 or 0 in lengths:
        raise InputError(f"means need columns of one length of at least 1, not {sorted(lengths)}")
    table = np.stack([np.asarray(column, dtype=np.float64) for column in columns.values()])
    table = table[:, np.lexsort(table[::-1])]  # what is drawn goes by place: the order of the rows shall not matter
    values = low = high = statistic(table)
    if table.shape[1] > 1:
        try:
            from scipy.stats import bootstrap
        except ImportError as error:
            raise MissingExtraError("scipy", "evaluation") from error
        low, high = bootstrap(
            (table,),
            lambda resampled, axis: statistic(resampled),
            axis=-1,
            vectorized=True,
            n_resamples=resamples,
            batch=max(1, _VALUES_AT_ONCE // table.size),
            confidence_level=confidence,
            method="percentile",
            random_state=np.random.default_rng(seed),
        ).confidence_interval
    return {
        name: Interval(value=float(value), low=float(lower), high=float(upper))
        for name, value, lower, upper in zip(columns, values, low, high, strict=True)
    }


Numbers = TypeVar("Numbers", np.int64, np.float64)


def sums_by_group(rows: NDArray[Numbers], groups: Sequence[str]) -> NDArray[Numbers]:
    """The rows of each group added up, groups in the order in which they first come.

    Args:
        rows: shape (n, k).
        groups: what each row belongs to; an empty name is a group of its own.

    Raises:
        InputError: there are not as many groups as rows.
    """
    if len(groups) != len(rows):
        raise InputError(f"{len(rows)} rows and {len(groups)} groups: each row belongs to one")
    names = [name or f"\0{row}" for row, name in enumerate(groups)]
    places = {name: place for place, name in enumerate(dict.fromkeys(names))}
    sums = np.zeros((len(places), rows.shape[1]), dtype=rows.dtype)
    np.add.at(sums, [places[name] for name in names], rows)
    return sums


def clustered_means(
    columns: Mapping[str, Sequence[float] | NDArray[Any]],
    groups: Sequence[str],
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
) -> dict[str, Interval]:
    """Mean of each column over rows, with a bootstrap that resamples whole groups of rows (a dialogue, an item).

    Args:
        columns: name to values, each of shape (n,), n at least 1.
        groups: what each row belongs to, n of them; an empty name is a group of its own.

    Raises:
        InputError: no columns, no rows, or columns of different lengths.
        MissingExtraError: scipy is not installed.
    """
    lengths = {len(column) for column in columns.values()}
    if lengths != {len(groups)} or not groups:
        raise InputError(f"means of groups need columns of one length of at least 1, not {sorted(lengths)}")
    rows = np.column_stack([*columns.values(), np.ones(len(groups))]).astype(np.float64)
    *sums, sizes = sums_by_group(rows, groups).T
    return bootstrap_ratios(dict(zip(columns, sums, strict=True)), sizes, confidence=confidence, resamples=resamples)


def proportion(count: int, n: int, *, confidence: float = 0.95) -> Interval:
    """A share of n with its score interval (Wilson 1927).

    Raises:
        InputError: n is below 1, or the count is not within 0 and n.
        MissingExtraError: scipy is not installed.
    """
    if not 0 <= count <= n or n < 1:
        raise InputError(f"{count} of {n} is no share")
    try:
        from scipy.stats import binomtest
    except ImportError as error:
        raise MissingExtraError("scipy", "evaluation") from error
    low, high = binomtest(count, n).proportion_ci(confidence, method="wilson")
    return Interval(value=count / n, low=float(low), high=float(high))


def percentiles(values: Sequence[float]) -> Percentiles:
    """Median and 95th percentile of the values, interpolated linearly between neighbours.

    Raises:
        InputError: no values.
    """
    if not values:
        raise InputError("percentiles need at least one value")
    p50, p95 = np.percentile(np.asarray(values, dtype=np.float64), (50, 95))
    return Percentiles(p50=float(p50), p95=float(p95))
