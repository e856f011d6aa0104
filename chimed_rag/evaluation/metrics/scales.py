"""Numbers of attitude scales: means over items and templates with a two-way bootstrap, spreads, Cronbach's alpha.

A table has a row an item and a column a template (a wording, order and style); NaN is an answer that is not there. A
mean is first taken within each item, then over items, so that an item with refusals weighs no less. Intervals resample
items (within their subscales) and templates independently of each other and weigh a cell by the product: the pigeonhole
bootstrap (Owen 2007, Annals of Applied Statistics 1(2)), which is conservative and which scipy does not have. A spread
is never negative, so chance alone makes one: read it beside that of a random responder. Not covered: what a cell means
(`protocols.attitude`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chimed_rag.evaluation.statistics import SEED, Interval

Floats = NDArray[np.float64]
Statistic = Callable[[Floats, Floats], Floats]
"""Weights of items, shape (draws, items), and of templates, (draws, templates), to a number a draw; NaN: undefined."""


def multinomial_weights(strata: Sequence[str], draws: int, generator: np.random.Generator) -> Floats:
    """How often each unit is drawn when the units of each stratum are resampled with replacement: (draws, units)."""
    names = np.asarray(strata)
    weights = np.zeros((draws, len(names)))
    for name in sorted(set(strata)):
        places = np.flatnonzero(names == name)
        weights[:, places] = generator.multinomial(len(places), np.full(len(places), 1 / len(places)), size=draws)
    return weights


@dataclass(frozen=True)
class Resampling:
    """The weights of one bootstrap: all ones for the value itself, drawn ones for its interval."""

    items: Floats
    templates: Floats

    @classmethod
    def of(cls, strata: Sequence[str], templates: int, *, draws: int = 1000) -> Resampling:
        """For items in these strata (an entry an item) and so many templates; no draws give values alone."""
        generator = np.random.default_rng(SEED)
        drawn_items = multinomial_weights(strata, draws, generator)
        drawn_templates = multinomial_weights([""] * templates, draws, generator)
        ones = np.ones((1, len(strata))), np.ones((1, templates))
        return cls(np.vstack([ones[0], drawn_items]), np.vstack([ones[1], drawn_templates]))

    def interval(self, statistic: Statistic) -> Interval | None:
        """The value with its 95 % percentile interval; None where the value is not defined.

        Draws in which it is not defined (all templates of one order left out, say) are passed over.
        """
        found = statistic(self.items, self.templates)
        if np.isnan(found[0]):
            return None
        drawn = found[1:][~np.isnan(found[1:])]
        low, high = np.quantile(drawn, [0.025, 0.975]) if drawn.size else (found[0], found[0])
        return Interval(value=float(found[0]), low=float(low), high=float(high))


def ratio(above: Floats, below: Floats) -> Floats:
    """The quotient, NaN where nothing is below."""
    result: Floats = np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0)
    return result


def item_means(table: Floats, templates: Floats) -> Floats:
    """Mean of each item over its answers, weighted by template: (draws, items), NaN for an item without any."""
    there = ~np.isnan(table)
    return ratio(templates @ np.where(there, table, 0.0).T, templates @ there.T.astype(np.float64))


def over_items(means: Floats, items: Floats) -> Floats:
    """Mean over the items that have one, weighted: (draws,)."""
    there = ~np.isnan(means)
    return ratio((np.where(there, means, 0.0) * items).sum(-1), (there * items).sum(-1))


def spread(table: Floats, parts: Sequence[NDArray[np.bool_]]) -> Floats:
    """For each item, how far apart its means over parts of the templates lie (largest less smallest): (items,).

    Args:
        parts: the templates that belong to each. An item with answers in fewer than two parts is NaN.
    """
    means = np.stack([item_means(table, part[None].astype(np.float64))[0] for part in parts])
    there = ~np.isnan(means)
    high = np.where(there, means, -np.inf).max(0)
    low = np.where(there, means, np.inf).min(0)
    few = there.sum(0) < 2
    return np.where(few, np.nan, np.where(few, 0.0, high) - np.where(few, 0.0, low))


def cronbach_alpha(answers: Floats) -> float:
    """Cronbach's alpha (1951): k/(k-1) (1 - sum of item variances / variance of the sum), variances over n - 1.

    Args:
        answers: shape (respondents, items); here a template is a respondent. Rows with a NaN are left out.

    Returns:
        NaN with fewer than three whole rows, fewer than two items, or sums that do not differ.
    """
    whole = answers[~np.isnan(answers).any(axis=1)]
    if len(whole) < 3 or answers.shape[1] < 2:
        return float("nan")
    count = whole.shape[1]
    total = float(whole.sum(axis=1).var(ddof=1))
    apart = float(whole.var(axis=0, ddof=1).sum())
    return count / (count - 1) * (1 - apart / total) if total > 1e-12 else float("nan")
