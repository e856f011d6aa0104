"""Whether a difference between two systems on the same samples could be chance: exact McNemar, permutation, Holm.

All by scipy but what it lacks: Holm's correction, and tests of what is no ratio of sums (BLEU). Not covered: systems on
different samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from chimed_rag.errors import InputError, MissingExtraError
from chimed_rag.evaluation.statistics import SEED, Interval, bootstrap_differences, sums_by_group

_VALUES_AT_ONCE = 1_000_000
"""Swapped values held in memory at a time: 8 MB a column."""


class Parts(NamedTuple):
    """A metric as a ratio of sums over rows (samples or groups): numerators and denominators, shape (n,) each.

    A mean has ones below; F1 has 2 TP over 2 TP + FP + FN. A sum of zero below counts as a ratio of zero.
    """

    above: NDArray[np.float64]
    below: NDArray[np.float64]

    @property
    def value(self) -> float:
        """The metric."""
        return float(_ratio(self.above.sum(), self.below.sum()))


def by_group(parts: Parts, groups: Sequence[str]) -> Parts:
    """The sums of each group, in the order in which the groups first come; an empty name is a group of its own."""
    above, below = sums_by_group(np.column_stack(parts), groups).T
    return Parts(above, below)


def mcnemar(only_a: int, only_b: int) -> float:
    """Two-sided p of the exact test (McNemar 1947): that of the discordant pairs half go either way.

    Args:
        only_a, only_b: samples that only the one system had right. None at all is p = 1.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    if only_a + only_b == 0:
        return 1.0
    try:
        from scipy.stats import binomtest
    except ImportError as error:
        raise MissingExtraError("scipy", "evaluation") from error
    return float(binomtest(only_a, only_a + only_b).pvalue)


def difference(a: Parts, b: Parts) -> Interval:
    """`b` minus `a` with its paired percentile bootstrap interval: rows are drawn for both at once.

    Raises:
        InputError: no rows, or columns of different lengths. MissingExtraError: scipy is not installed.
    """
    return bootstrap_differences(a, b)


def permutation(a: Parts, b: Parts, *, resamples: int = 9999, seed: int = SEED) -> float:
    """Two-sided p of the paired permutation test: the two systems' rows are swapped, each with even odds.

    Exact where 2 to the number of rows that differ is not above `resamples` (scipy's `permutation_test`, which doubles
    the smaller tail). Rows that do not differ stay as they are: swapping them changes nothing.

    Raises:
        InputError: columns of different lengths. MissingExtraError: scipy is not installed.
    """
    if len({len(column) for column in (*a, *b)}) != 1:
        raise InputError("a paired test needs one row of each system for each sample")
    differs = (a.above != b.above) | (a.below != b.below)
    n = int(differs.sum())
    if n < 2:
        return 1.0  # of a single row either way is as likely
    try:
        from scipy.stats import permutation_test
    except ImportError as error:
        raise MissingExtraError("scipy", "evaluation") from error
    above, below = (np.concatenate([one[differs], two[differs]]) for one, two in zip(a, b, strict=True))
    rest_above, rest_below = a.above[~differs].sum(), a.below[~differs].sum()

    def ratio(rows: NDArray[np.intp], axis: int) -> NDArray[np.float64]:
        return _ratio(above[rows].sum(axis=axis) + rest_above, below[rows].sum(axis=axis) + rest_below)

    found = permutation_test(
        (np.arange(n), np.arange(n, 2 * n)),
        lambda one, two, axis: ratio(two, axis) - ratio(one, axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        batch=max(1, _VALUES_AT_ONCE // n),
        random_state=np.random.default_rng(seed),
    )
    return float(found.pvalue)


class Sums(NamedTuple):
    """A metric of a whole corpus as a function of sums over rows (BLEU of n-gram counts).

    Attributes:
        rows: whole numbers, shape (n, k).
        worth: what k sums come to.
    """

    rows: NDArray[np.int64]
    worth: Callable[[list[int]], float]


def corpus_difference(a: Sums, b: Sums, *, resamples: int = 1000) -> Interval:
    """`b` minus `a` with its paired percentile bootstrap interval (Koehn 2004): rows are drawn for both at once."""
    one, two = _in_order(a, b)
    n = len(one)
    drawn = np.random.default_rng(SEED).multinomial(n, np.full(n, 1 / n), size=resamples)
    gaps = _worth(b.worth, drawn @ two) - _worth(a.worth, drawn @ one)
    low, high = np.quantile(gaps, (0.025, 0.975))
    value = b.worth(two.sum(axis=0).tolist()) - a.worth(one.sum(axis=0).tolist())
    return Interval(value=value, low=float(low), high=float(high))


def corpus_permutation(a: Sums, b: Sums, *, resamples: int = 1999) -> float:
    """Two-sided p by approximate randomization (Riezler and Maxwell 2005), as sacrebleu's paired test has it: the two
    systems' rows are swapped, each with even odds, and (c + 1) of (resamples + 1) differ as much as they do."""
    one, two = _in_order(a, b)
    swapped = np.random.default_rng(SEED).integers(0, 2, size=(resamples, len(one)))
    moved = swapped @ (two - one)
    gaps = _worth(b.worth, two.sum(axis=0) - moved) - _worth(a.worth, one.sum(axis=0) + moved)
    seen = b.worth(two.sum(axis=0).tolist()) - a.worth(one.sum(axis=0).tolist())
    return float((np.sum(np.abs(gaps) >= abs(seen) - 1e-12) + 1) / (resamples + 1))


def _in_order(a: Sums, b: Sums) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Both systems' rows in an order of their own, so that the order of the samples does not matter."""
    if a.rows.shape != b.rows.shape or not len(a.rows):
        raise InputError("a paired test needs one row of each system for each sample")
    order = np.lexsort(np.hstack([a.rows, b.rows]).T)
    return a.rows[order], b.rows[order]


def _worth(worth: Callable[[list[int]], float], sums: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.array([worth(row) for row in sums.tolist()])


def holm(values: Sequence[float]) -> list[float]:
    """Each p corrected for how many there are (Holm 1979), in the order given; none is above 1.

    The smallest is multiplied by their number m, the next by m - 1 and so on, and none is below one that was smaller.
    """
    corrected, largest = [0.0] * len(values), 0.0
    for rank, place in enumerate(sorted(range(len(values)), key=lambda place: values[place])):
        largest = max(largest, min(1.0, (len(values) - rank) * values[place]))
        corrected[place] = largest
    return corrected


def _ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(below == 0, 0.0, above / np.where(below == 0, 1.0, below))
