"""The numbers of a run of rejection sampling: the best of 1, 2, … k before it, and what each round gave.

Written to reject.json in the folder of the model, also by a run that a gate stopped. No text of a reply stands in it.
Not covered: measuring (`rejection`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from chimed_rag.evaluation.statistics import Interval, bootstrap_means, bootstrap_ratios
from training.rejection import Measured
from training.selection import best_of

if TYPE_CHECKING:
    from training.run import Run

FILE = "reject.json"
_Floats = NDArray[np.float64]


class Best(BaseModel):
    """Means of the best of k by reward: its reward, the judge's score, its length; and of the judge's own choice."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    k: int
    reward: Interval
    characters: Interval
    judge: Interval | None = None
    judge_by_judge: Interval | None = None


class Report(BaseModel):
    """All numbers of a run.

    Args:
        prompts, k: held-out prompts, candidates of each.
        curve: the best of 1, 2, 4, … k of the base.
        chosen: by round, what became of its training prompts.
        systems: by name ("before", "round 1", "reference") the metrics.
    """

    prompts: int
    k: int
    curve: list[Best]
    chosen: dict[int, dict[str, int]] = Field(default_factory=dict)
    systems: dict[str, dict[str, Interval]] = Field(default_factory=dict)

    def add(self, number: int, before: Measured, previous: Measured, after: Measured) -> None:
        """Notes a round; the first one also what was before."""
        if not self.systems:
            references = {"reward": before.reference_reward, "judge": before.reference_judge}
            self.systems["reference"] = bootstrap_means(
                {name: np.array(column) for name, column in references.items() if column}
            )
            self.systems["before"] = _means(before)
        drift = bootstrap_ratios({"drift": after.means("nats")}, after.means("tokens"))["drift"]
        won = bootstrap_means({"won": wins(previous.table("reward"), after.table("reward"))})["won"]
        self.systems[f"round {number}"] = {**_means(after), "won against previous": won, "drift, nats a token": drift}

    def scores(self) -> dict[str, dict[str, Interval]]:
        """For a card: the systems, and the best of k of the base."""
        best = self.curve[-1]
        found = {"reward": best.reward, "characters": best.characters}
        if best.judge is not None:
            found["judge"] = best.judge
        return {**self.systems, f"before, best of {best.k}": found}

    def said(self) -> str:
        """What the scores are of."""
        return f"{self.prompts:,} held-out prompts, {self.k} candidates of each; the whole is in {FILE}."

    def write(self, run: Run) -> None:
        """Writes the report beside the card to be."""
        run.write(FILE, self.model_dump_json(indent=1) + "\n")


def curve_of(before: Measured) -> list[Best]:
    """The best of 1, 2, 4, … and all of the candidates by their reward."""
    most = len(before.reward[0])
    steps = [1 << power for power in range(most.bit_length()) if 1 << power < most]
    return [_best(before, k) for k in [*steps, most]]


def _best(before: Measured, k: int) -> Best:
    columns = {name: best_of(before.keys, before.table(name), k) for name in ("reward", "characters")}
    if before.judge:
        judged = before.table("judge")
        columns["judge"] = best_of(before.keys, judged, k)
        columns["judge_by_judge"] = best_of(judged, judged, k)
    means = bootstrap_means(columns)
    return Best(k=k, **means)


def _means(one: Measured) -> dict[str, Interval]:
    names = ("reward", "judge", "characters", "stopped")
    found = bootstrap_means({name: one.means(name) for name in names if getattr(one, name)})
    exact = Interval(value=one.distinct, low=one.distinct, high=one.distinct)
    return {**found, "distinct bigrams": exact}


def wins(previous: _Floats, after: _Floats) -> _Floats:
    """Of each prompt, the share of pairs in which the new candidate's score is higher, ties half, shape (prompts,)."""
    signs = np.sign(after[:, :, None] - previous[:, None, :])
    shares: _Floats = (signs.mean(axis=(1, 2)) + 1) / 2
    return shares
