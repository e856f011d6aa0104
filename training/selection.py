"""Which of a prompt's candidates are learned from, and what choosing the best of k would give: pure functions.

A candidate that did not end by itself, or is empty, is never chosen: learned from, it would teach replies without an
end. Ties go to the candidate drawn first. Not covered: where rewards come from (`scoring`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from statistics import median
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from training.candidates import Group, Prompt
from training.contracts import Candidate
from training.settings import Settings

Policy = Literal["best", "best_above_reference", "top_p", "length_band", "length_residual"]
_Floats = NDArray[np.float64]


class Selection(Settings):
    """How candidates are chosen, one a prompt at most.

    Args:
        policy: `best`, the highest reward; `best_above_reference`, that one if it beats the reference's reward by more
            than `margin`; `top_p`, that one for the `share` of prompts in which it is highest; `length_band`, the
            highest among those whose length is within `band` of the reference's (of the candidates' median, where the
            reference is empty); `length_residual`, the highest once what length foretells is taken off (`residuals`).
        margin: in units of the reward.
        share: of the prompts.
        band: least and most of a candidate's length in characters, as a share of that one.
    """

    policy: Policy = "best"
    margin: float = Field(0.0, ge=0)
    share: float = Field(0.5, gt=0, le=1)
    band: tuple[float, float] = (0.8, 1.25)


class Chosen(NamedTuple):
    """A prompt and the candidate that is learned for it."""

    prompt: Prompt
    candidate: Candidate


def usable(candidate: Candidate) -> bool:
    """Whether it may be learned from: it says something, ended by itself, and its score is a number."""
    return candidate.finish == "stop" and bool(candidate.text.strip()) and math.isfinite(rewarded(candidate))


def rewarded(candidate: Candidate) -> float:
    """Its reward.

    Raises:
        ValueError: it has none.
    """
    if candidate.reward is None:
        raise ValueError(f"candidate {candidate.k} of prompt {candidate.prompt_id} was not scored")
    return candidate.reward


def select(
    groups: Sequence[Group], settings: Selection, *, references: Sequence[float] | None = None
) -> tuple[list[Chosen], Counter[str]]:
    """What is chosen, in the order of the prompts, and why the other prompts have nothing.

    Args:
        groups: prompts with scored candidates.
        settings: see there.
        references: the reward of each prompt's reference; `best_above_reference` needs it.

    Returns:
        Chosen candidates; reasons with counts. Both together are as many as the groups.

    Raises:
        ValueError: a candidate was not scored, or references are needed and not given.
    """
    dropped: Counter[str] = Counter()
    chosen: dict[int, Chosen] = {}
    keys = residuals(groups) if settings.policy == "length_residual" else None
    for place, group in enumerate(groups):
        left = [one for one in group.candidates if usable(one)]
        if not left:
            dropped["no candidate that ended"] += 1
            continue
        if settings.policy == "length_band":
            left = _in_band(left, group.prompt.reference, settings.band)
            if not left:
                dropped["no candidate of that length"] += 1
                continue
        taken = best(left, rewarded if keys is None else lambda one, key=keys[place]: key[one.k])  # type: ignore[misc]
        if settings.policy == "best_above_reference":
            if references is None:
                raise ValueError("best_above_reference needs the rewards of the references")
            if rewarded(taken) <= references[place] + settings.margin:
                dropped["not above the reference"] += 1
                continue
        chosen[place] = Chosen(group.prompt, taken)
    if settings.policy == "top_p":
        kept = _highest(chosen, max(1, round(settings.share * len(chosen))))
        dropped["not among the highest"] += len(chosen) - len(kept)
        chosen = {place: chosen[place] for place in kept}
    return list(chosen.values()), +dropped


def best(candidates: Sequence[Candidate], key: Callable[[Candidate], float] = rewarded) -> Candidate:
    """The one with the highest key; of several, the one drawn first."""
    return max(candidates, key=lambda one: (key(one), -one.k))


def residuals(groups: Sequence[Group]) -> list[dict[int, float]]:
    """By group and k: the reward less what the reply's length foretells, for usable candidates.

    One slope for all, fitted by least squares to rewards and lengths (characters) about their prompts' means, so that
    a prompt that asks for long replies counts for nothing; 0 where no two lengths differ.
    """
    tables = [[(one.k, float(len(one.text)), rewarded(one)) for one in g.candidates if usable(one)] for g in groups]
    lengths, rewards = (
        np.array([row[column] - np.mean([r[column] for r in table]) for table in tables for row in table])
        for column in (1, 2)
    )
    spread = float(lengths @ lengths)
    slope = float(lengths @ rewards) / spread if spread > 0 else 0.0
    return [{k: reward - slope * length for k, length, reward in table} for table in tables]


def best_of(keys: _Floats, values: _Floats, k: int) -> _Floats:
    """What choosing by the keys among k of the candidates gives, on average over all such subsets, shape (prompts,).

    With n candidates, the one that m others are behind is the best of C(m, k − 1) of the C(n, k) subsets (the estimator
    of Nakano et al. 2021, arXiv:2112.09332, eq. 1): far less noise than the first k alone.

    Args:
        keys: what is chosen by, shape (prompts, n); of equal ones the first is the better. −inf is never preferred.
        values: what is counted of the chosen one, of the same shape.
        k: 1 to n.
    """
    n = keys.shape[1]
    if not 1 <= k <= n:
        raise ValueError(f"the best of {k} cannot be taken of {n} candidates")
    order = np.argsort(-keys, axis=1, kind="stable")  # the best first
    weights = np.array([math.comb(n - 1 - place, k - 1) for place in range(n)], np.float64) / math.comb(n, k)
    means: _Floats = np.take_along_axis(values, order, axis=1) @ weights
    return means


def divergence(k: int) -> float:
    """log k − (k − 1)/k: nats that the best of k is from the policy at the most (Beirami et al. 2024, 2401.01879)."""
    return math.log(k) - (k - 1) / k


def _in_band(candidates: Sequence[Candidate], reference: str, band: tuple[float, float]) -> list[Candidate]:
    middle = len(reference.strip()) or median(len(one.text) for one in candidates)
    return [one for one in candidates if band[0] * middle <= len(one.text) <= band[1] * middle]


def _highest(chosen: dict[int, Chosen], number: int) -> list[int]:
    """So many places whose candidates have the highest rewards, in their order; ties to the earlier prompt."""
    ranked = sorted(chosen, key=lambda place: (-rewarded(chosen[place].candidate), place))
    return sorted(ranked[:number])
