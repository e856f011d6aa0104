"""Numbers over questions with options: shares of outcomes, macro accuracy, weighted precision, mindless responders.

Not covered: what a reply is read as (`protocols`), and confidence (`metrics.calibration`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from chimed_rag.evaluation.samples import Sample
from chimed_rag.evaluation.statistics import SEED, Interval, clustered_means, proportion

RESAMPLES = 1000


def shares(columns: Mapping[str, Sequence[bool]], groups: Sequence[str]) -> dict[str, Interval]:
    """Shares of n: with Wilson's interval, or by a bootstrap of whole groups where samples are grouped.

    Raises:
        InputError: no samples, or columns of different lengths.
    """
    if any(groups):
        return clustered_means({name: np.asarray(one, dtype=np.float64) for name, one in columns.items()}, groups)
    return {name: proportion(sum(one), len(groups)) for name, one in columns.items()}


def macro_accuracy(right: Sequence[bool], strata: Sequence[tuple[str, ...]]) -> Interval:
    """The mean over strata, at each level over those within: ("category", "class") is the mean over categories of the
    mean over their classes of the accuracy of a class. Interval: samples resampled within the innermost stratum, which
    for right and wrong is a binomial draw.

    Args:
        strata: of each sample, outermost first, all of one depth.

    Raises:
        ValueError: no samples.
    """
    if not strata:
        raise ValueError("a macro accuracy needs samples")
    sizes, hits = Counter(strata), Counter(stratum for stratum, hit in zip(strata, right, strict=True) if hit)
    innermost = sorted(sizes)
    nodes = {stratum[: k + 1] for stratum in innermost for k in range(len(stratum))}
    children = Counter(node[:-1] for node in nodes)
    weights = np.array([np.prod([1 / children[one[:k]] for k in range(len(one))]) for one in innermost])
    count = np.array([sizes[one] for one in innermost])
    rates = np.array([hits[one] for one in innermost]) / count
    drawn = np.random.default_rng(SEED).binomial(count, rates, size=(RESAMPLES, len(count))) / count @ weights
    low, high = np.percentile(drawn, (2.5, 97.5))
    return Interval(value=float(rates @ weights), low=float(low), high=float(high))


def weighted_scores(right: Sequence[str], said: Sequence[str]) -> dict[str, Interval]:
    """Precision, recall and F1 of each right answer as a class, weighted by how often it is right (scikit-learn's
    `average="weighted"`, a division by zero counting as 0), with bootstrap intervals over samples.

    scikit-learn takes one set at a time; here all resamples are one array. Weighted recall is the accuracy.

    Args:
        right, said: a class for each sample, whatever its name.
    """
    names = {name: place for place, name in enumerate(dict.fromkeys((*right, *said)))}
    width, n = len(names), len(right)
    cells = np.zeros((width, width))
    np.add.at(cells, ([names[name] for name in right], [names[name] for name in said]), 1)
    drawn = np.random.default_rng(SEED).multinomial(n, cells.ravel() / n, size=RESAMPLES)
    values, resampled = _weighted(cells[None]), _weighted(drawn.reshape(-1, width, width).astype(np.float64))
    bounds = {name: np.percentile(column, (2.5, 97.5)) for name, column in resampled.items()}
    return {
        name: Interval(value=float(column[0]), low=float(bounds[name][0]), high=float(bounds[name][1]))
        for name, column in values.items()
    }


def _weighted(tables: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Of tables (any number, right, said) of counts."""
    hits = np.diagonal(tables, axis1=1, axis2=2)
    right, said = tables.sum(axis=2), tables.sum(axis=1)
    weights = right / right.sum(axis=1, keepdims=True)
    parts = {"precision": (hits, said), "recall": (hits, right), "f1": (2 * hits, right + said)}
    return {name: (weights * (above / np.maximum(below, 1))).sum(axis=1) for name, (above, below) in parts.items()}


def mindless(samples: Sequence[Sample]) -> dict[str, dict[str, float]]:
    """The accuracy of responders that do not read: one letter always, the answer that is right most often, a letter
    drawn at random (its expectation), letters drawn at random where several may be right, and the longest option."""
    n = len(samples)
    letters = sorted({letter for sample in samples for letter in sample.options})
    found = {f"always {letter}": sum(sample.answer == letter for sample in samples) / n for letter in letters}
    found["majority"] = Counter(sample.answer for sample in samples).most_common(1)[0][1] / n
    found["random"] = sum(1 / len(sample.options) for sample in samples if sample.answer in sample.options) / n
    if any(sample.multiple for sample in samples):
        found["random letters"] = sum(map(_drawn, samples)) / n
    found["longest option"] = sum(_longest(sample) == sample.answer for sample in samples) / n
    return {name: {"accuracy": value} for name, value in found.items()}


def _drawn(sample: Sample) -> float:
    """How likely random letters, at least one, are the right ones."""
    if not set(sample.answer) <= set(sample.options):
        return 0.0
    return 1 / (2 ** len(sample.options) - 1) if sample.multiple else 1 / len(sample.options)


def _longest(sample: Sample) -> str:
    """The letter of the longest option, the first of several."""
    return max(sample.options, key=lambda letter: len(sample.options[letter]), default="")
