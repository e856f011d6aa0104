"""What a reward model is worth: pair accuracy by kind beside a judge that takes the longer reply, and more.

All intervals are bootstraps over prompts, as the pairs of one prompt are no independent draws. Equal scores count half.
Not covered: whether a policy that follows the rewards gets better (`reject` asks an independent judge).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from chimed_rag.evaluation.grams import skeleton
from chimed_rag.evaluation.statistics import Interval, bootstrap_ratios
from training.contracts import Preference, RankedList, pairs
from training.gates import Gate
from training.negatives import HARD, LONG, SHORT, UNSEEN
from training.scoring import Scorer

FILE = "reward_report.json"
MATCHED = 0.1
"""Replies match in length if the logarithm of their lengths' ratio is at most this."""
_BINS = 10
_Floats = NDArray[np.float64]
OTHER_RULES = "hard negatives, other rules"
_GROUPS = {
    "hard negatives": HARD,
    OTHER_RULES: UNSEEN,
    "short right > long wrong": SHORT,
    "long right > short wrong": LONG,
}


class Accuracy(BaseModel):
    """How often the better reply gets the higher score, over the same pairs for the model and for the longer reply.

    Args:
        pairs, prompts: how many.
        model, longest: share of pairs, with 95 % intervals.
        difference: model − longest, paired.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    pairs: int
    prompts: int
    model: Interval
    longest: Interval
    difference: Interval


class RewardReport(BaseModel):
    """See the module.

    Args:
        all: the pairs of the held-out lists.
        length_matched: those of them whose replies are about as long.
        kinds: of the lists' pairs, of made ones (`negatives`) and of the latter in groups: "hard negatives" (the same
            text, one thing wrong), the same "other rules" than those that were learned from, "short right > long
            wrong", "long right > short wrong".
        kendall: Kendall's τ-b of ranks and scores, mean over the lists (a list of two gives 1 or −1).
        lists: how many.
        calibration: expected calibration error (Guo et al. 2017, arXiv:1706.04599) of σ(difference) over the lists'
            pairs, in ten bins of confidence.
        mean, deviation: of the scores of the lists' replies.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    all: Accuracy
    length_matched: Accuracy | None
    kinds: dict[str, Accuracy]
    kendall: Interval
    lists: int
    calibration: float
    mean: float
    deviation: float

    def scores(self) -> dict[str, dict[str, Interval]]:
        """For a card: model, longest reply, and the difference; of made pairs, the groups alone."""
        kinds = {name: part for name, part in self.kinds.items() if not name.startswith(tuple(_GROUPS.values()))}
        parts = {"pair accuracy": self.all, "length-matched pairs": self.length_matched, **kinds}
        found: dict[str, dict[str, Interval]] = {"model": {}, "longest reply": {}, "difference": {}}
        for name, part in parts.items():
            if part is not None:
                found["model"][name] = part.model
                found["longest reply"][name] = part.longest
                found["difference"][name] = part.difference
        found["model"]["Kendall's τ"] = self.kendall
        return found

    def gates(self, *, hard: bool, at_least: float = 0.7) -> list[Gate]:
        """Better than the longer reply, clearly; and, where `hard`, right on that share of the hard negatives.

        Of those whose rules nothing was learned from: n-grams pass on the others.
        """
        detail = f"model {self.all.model.value:.3f}, longest reply {self.all.longest.value:.3f}"
        found = [
            Gate.of(
                "pair accuracy above the longest reply's",
                self.all.difference,
                n=self.all.prompts,
                at_least=0.0,
                clear=True,
                detail=f"{detail}, {self.all.pairs:,} pairs; n counts prompts",
            )
        ]
        if hard:
            part = self.kinds.get(OTHER_RULES)
            measured: Interval | float = math.nan if part is None else part.model
            count = 0 if part is None else part.pairs
            found.append(
                Gate.of("accuracy on hard negatives made by other rules", measured, n=count, at_least=at_least)
            )
        return found


def reward_report(scorer: Scorer, lists: Sequence[RankedList], made: Sequence[Preference] = ()) -> RewardReport:
    """Measures a reward model.

    Args:
        scorer: the model.
        lists: that it did not learn from, one or more.
        made: pairs made of such lists (`negatives.hard_negatives`).

    Raises:
        InputError: no lists.
    """
    own = [pair for ranked in lists for pair in pairs(ranked)]
    found = _Scores(scorer, [*own, *made], lists)
    groups: dict[str, list[Preference]] = {}
    for pair in (*own, *made):
        groups.setdefault(pair.kind, []).append(pair)
    for name, mark in _GROUPS.items():
        if chosen := [pair for pair in (*own, *made) if mark in pair.kind]:
            groups[name] = chosen
    matched = [pair for pair in own if abs(math.log(len(pair.chosen) / len(pair.rejected))) <= MATCHED]
    taus = [_tau(ranked, found) for ranked in lists]
    rewards = [found.of(ranked.prompt, reply.text) for ranked in lists for reply in ranked.replies]
    return RewardReport(
        all=found.accuracy(own),
        length_matched=found.accuracy(matched) if matched else None,
        kinds={name: found.accuracy(group) for name, group in groups.items()},
        kendall=_over_prompts([ranked.prompt for ranked in lists], {"τ": np.array(taus)})["τ"],
        lists=len(lists),
        calibration=calibration_error(found.differences(own)),
        mean=float(np.mean(rewards)),
        deviation=float(np.std(rewards)),
    )


def calibration_error(differences: _Floats) -> float:
    """Of σ(difference), where every pair's chosen reply is truly the better one; differences of shape (n,).

    The confidence of a pair is the larger of σ and 1 − σ, in ten bins from .5 to 1; it is right if the difference is
    above 0, half right at 0.
    """
    confidence = 1 / (1 + np.exp(-np.abs(differences)))
    right = _right(differences)
    places = np.minimum(((confidence - 0.5) * 2 * _BINS).astype(int), _BINS - 1)
    gaps = np.bincount(places, weights=right - confidence, minlength=_BINS)
    return float(np.abs(gaps).sum() / len(differences))


class _Scores:
    """The scores of all replies, each asked for once."""

    def __init__(self, scorer: Scorer, found: Iterable[Preference], lists: Iterable[RankedList]) -> None:
        texts: dict[tuple[str, str], list[Any]] = {}
        for pair in found:
            for text in (pair.chosen, pair.rejected):
                texts[_key(pair.prompt, text)] = [*pair.prompt, {"role": "assistant", "content": text}]
        for ranked in lists:
            for reply in ranked.replies:
                texts[_key(ranked.prompt, reply.text)] = [*ranked.prompt, {"role": "assistant", "content": reply.text}]
        self._scores = dict(zip(texts, scorer.score(list(texts.values())), strict=True))

    def of(self, prompt: Sequence[Any], text: str) -> float:
        return self._scores[_key(prompt, text)]

    def differences(self, found: Sequence[Preference]) -> _Floats:
        return np.array([self.of(pair.prompt, pair.chosen) - self.of(pair.prompt, pair.rejected) for pair in found])

    def accuracy(self, found: Sequence[Preference]) -> Accuracy:
        model = _right(self.differences(found))
        longest = _right(np.array([len(pair.chosen) - len(pair.rejected) for pair in found], dtype=np.float64))
        prompts = [pair.prompt for pair in found]
        shares = _over_prompts(prompts, {"model": model, "longest": longest, "difference": model - longest})
        return Accuracy(pairs=len(found), prompts=len({_name(prompt) for prompt in prompts}), **shares)


def _right(differences: _Floats) -> _Floats:
    return np.asarray((differences > 0) + 0.5 * (differences == 0), dtype=np.float64)


def _over_prompts(prompts: Sequence[Sequence[Any]], columns: dict[str, _Floats]) -> dict[str, Interval]:
    """The mean of each column over its rows, prompts resampled."""
    numbers: dict[str, int] = {}
    places = np.array([numbers.setdefault(_name(prompt), len(numbers)) for prompt in prompts], dtype=int)
    sums: dict[str, _Floats] = {
        name: np.bincount(places, column, len(numbers)).astype(np.float64) for name, column in columns.items()
    }
    return bootstrap_ratios(sums, np.bincount(places, minlength=len(numbers)).astype(np.float64))


def _tau(ranked: RankedList, found: _Scores) -> float:
    from scipy.stats import kendalltau

    scores = [found.of(ranked.prompt, reply.text) for reply in ranked.replies]
    if len(set(scores)) == 1:
        return 0.0  # undefined: the model tells none from another
    return float(kendalltau([-reply.rank for reply in ranked.replies], scores).statistic)


def _name(prompt: Sequence[Any]) -> str:
    return skeleton("\n".join(message["content"] for message in prompt))


def _key(prompt: Sequence[Any], text: str) -> tuple[str, str]:
    return "\n".join(f"{message['role']} {message['content']}" for message in prompt), text
