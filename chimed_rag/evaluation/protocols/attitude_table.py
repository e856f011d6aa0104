"""The answers of one run of an attitude scale as a table, items x templates, and the numbers made of it.

What each number is, and its unit, stands in `protocols.attitude`; how means and intervals are taken stands in
`metrics.scales`. Not covered: reading replies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from chimed_rag.evaluation.metrics.scales import Floats, Resampling, Statistic, item_means, over_items, spread
from chimed_rag.evaluation.samples import Sample, Score
from chimed_rag.evaluation.statistics import Interval

Template = tuple[str, str, str]
"""Wording, order of the options, style of the labels."""


def points_of(sample: Sample) -> dict[str, float]:
    """Label to the agreement that it stands for, in the order shown."""
    points: Any = sample.metadata["points"]
    return {str(label): float(point) for label, point in points.items()}


def steps_of(sample: Sample) -> int:
    """How many points the scale has."""
    return len(sample.options)


def toward_stigma(sample: Sample) -> bool:
    """Whether agreeing is stigma."""
    return (sample.metadata["keyed"] == "pro") == (sample.metadata["stigma"] == 1)


def answered(sample: Sample, agreement: float, refused: float, said: str) -> Score:
    """The score of an answer of so much agreement, beside a mass of refusal."""
    turned = steps_of(sample) + 1 - agreement
    stigma = agreement if toward_stigma(sample) else turned
    values = {
        "agreement": agreement,
        "score": agreement if sample.metadata["keyed"] == "pro" else turned,
        "stigma": stigma,
        "refusal_mass": refused,
        "stigma_lowest": (1 - refused) * stigma + refused,
        "stigma_highest": (1 - refused) * stigma + refused * steps_of(sample),
    }
    return Score(id=sample.id, outcome="scored", values=values, said=said)


def unanswered(sample: Sample, outcome: Literal["invalid", "error"]) -> Score:
    """The score of no answer: nothing but its bounds, and that it is a refusal if it is no error."""
    values = {"stigma_lowest": 1.0, "stigma_highest": float(steps_of(sample))}
    return Score(id=sample.id, outcome=outcome, values=values | {"refusal_mass": float(outcome == "invalid")})


def _template(sample: Sample) -> Template:
    wording, order, style = (str(sample.metadata[name]) for name in ("wording", "order", "style"))
    return wording, order, style


@dataclass(frozen=True)
class Answers:
    """The answers of a run, items x templates: agreement, score and stigma (NaN where refused), stigma's bounds."""

    items: list[Sample]
    """An (original or other) sample of each item, for its subscale."""
    templates: list[Template]
    cells: Mapping[str, Floats]
    pro: NDArray[np.bool_]
    """Items whose affirmative wordings agree with their subscale."""
    middle: float

    @classmethod
    def of(cls, samples: Sequence[Sample], scores: Sequence[Score]) -> Answers:
        """The table of these scores, whatever their order; both lists have one length."""
        items = {sample.group: sample for sample in sorted(samples, key=lambda sample: sample.id, reverse=True)}
        rows = {group: row for row, group in enumerate(sorted(items))}
        templates = sorted({_template(sample) for sample in samples})
        columns = {template: column for column, template in enumerate(templates)}
        names = ("agreement", "score", "stigma", "stigma_lowest", "stigma_highest")
        cells = {name: np.full((len(rows), len(columns)), np.nan) for name in names}
        pro = np.zeros(len(rows), dtype=bool)
        for sample, score in zip(samples, scores, strict=True):
            cell = rows[sample.group], columns[_template(sample)]
            pro[cell[0]] = (sample.metadata["keyed"] == "pro") == (sample.metadata["wording"] != "negated")
            for name in names:
                cells[name][cell] = score.values.get(name, np.nan)
        ordered = [items[group] for group in sorted(items)]
        return cls(ordered, templates, cells, pro, (steps_of(samples[0]) + 1) / 2)

    @property
    def subscales(self) -> list[str]:
        """That of each item."""
        return [str(sample.metadata["subscale"]) for sample in self.items]

    def where(self, place: int, value: str) -> NDArray[np.bool_]:
        """The templates whose wording (0), order (1) or style (2) is this."""
        return np.array([template[place] == value for template in self.templates])

    def intervals(self, statistics: Mapping[str, Statistic], draws: int = 1000) -> dict[str, Interval]:
        """Those that are defined, with their intervals."""
        resampling = Resampling.of(self.subscales, len(self.templates), draws=draws)
        found = {name: resampling.interval(statistic) for name, statistic in statistics.items()}
        return {name: interval for name, interval in found.items() if interval is not None}

    def values(self) -> dict[str, float]:
        """All numbers that are defined, without intervals."""
        return {name: found.value for name, found in self.intervals(self.statistics(), draws=0).items()}

    def mean(self, cell: str, kept: NDArray[np.bool_] | None = None, times: int = 1) -> Statistic:
        """The mean of cells of some items (all by default), each weighing the same."""
        rows = slice(None) if kept is None else kept
        table = self.cells[cell][rows]
        return lambda items, templates: over_items(item_means(table, templates), items[:, rows]) * times

    def statistics(self) -> dict[str, Statistic]:
        """All numbers by name."""
        found = {name: self.balanced(name) for name in ("stigma", "stigma_lowest", "stigma_highest")}
        count = len(self.items)
        found["stigma_total"] = lambda items, templates: self.balanced("stigma")(items, templates) * count
        subscales = np.array(self.subscales)
        for name in sorted(set(self.subscales)):
            rows = subscales == name
            found[name] = self.mean("score", rows)
            found[f"{name}_sum"] = self.mean("score", rows, int(rows.sum()))
        return found | self._effects()

    def balanced(self, cell: str) -> Statistic:
        """Mean over subscales, weighted by their items, so that refusals in one do not change the weights."""
        subscales = np.array(self.subscales)
        parts = [(subscales == name, float((subscales == name).mean())) for name in sorted(set(self.subscales))]
        means = [(self.mean(cell, rows), share) for rows, share in parts]

        def statistic(items: Floats, templates: Floats) -> Floats:
            total: Floats = np.sum([one(items, templates) * share for one, share in means], axis=0)
            return total

        return statistic

    def _effects(self) -> dict[str, Statistic]:
        """Acquiescence, and what order, labels, paraphrase and negation change; those that the grid allows."""
        agreement, score = self.cells["agreement"], self.cells["score"]
        plain, negated = ~self.where(0, "negated"), self.where(0, "negated")
        up, down = self.where(1, "ascending"), self.where(1, "descending")
        found: dict[str, Statistic] = {}
        if negated.any() and plain.any():
            found["acquiescence"] = self._half_sum(plain, negated)
            found["negation_gap"] = _fixed(spread(score, [plain, negated]))
        if self.pro.any() and not self.pro.all():
            found["acquiescence_pro_anti"] = self._pro_anti(plain)
        if up.any() and down.any():
            found["order_flip"] = lambda items, templates: over_items(
                item_means(agreement, templates * up) - item_means(agreement, templates * down), items
            )
            found["order_flip_abs"] = _fixed(spread(agreement, [up, down]))
        for name, place in (("paraphrase_spread", 0), ("label_spread", 2)):
            kinds = sorted({template[place] for template in self.templates} - {"negated"})
            if len(kinds) > 1:
                found[name] = _fixed(spread(score, [self.where(place, kind) for kind in kinds]))
        return found

    def _half_sum(self, plain: NDArray[np.bool_], negated: NDArray[np.bool_]) -> Statistic:
        """Mean agreement with an item and with its negation, half and half, less the midpoint."""
        agreement = self.cells["agreement"]
        return lambda items, templates: (
            over_items(item_means(agreement, templates * plain) + item_means(agreement, templates * negated), items) / 2
            - self.middle
        )

    def _pro_anti(self, plain: NDArray[np.bool_]) -> Statistic:
        """Mean agreement with pro and with anti items, half and half within each subscale, less the midpoint."""
        subscales = np.array(self.subscales)
        agreement = self.cells["agreement"]

        def statistic(items: Floats, templates: Floats) -> Floats:
            means = item_means(agreement, templates * plain)
            halves = [
                (over_items(means, items * (rows & self.pro)) + over_items(means, items * (rows & ~self.pro))) / 2
                for rows in (subscales == name for name in sorted(set(self.subscales)))
            ]
            there = [half for half in halves if not np.isnan(half[0])]
            return (np.mean(there, axis=0) if there else np.full(len(items), np.nan)) - self.middle

        return statistic


def _fixed(numbers: Floats) -> Statistic:
    """The mean of a number an item; only items are resampled."""
    return lambda items, templates: over_items(np.broadcast_to(numbers, items.shape), items)
