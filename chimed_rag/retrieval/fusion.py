"""Several rankings of one question become one: by rank (RRF), by normalised score (convex combination), or by BM25 as
a share of the best plus the weighted cosine.

nDCG@10 / Recall@100 on 2,984 patient questions over 80,688 documents, the shipped n-gram encoder as it is, and adapted
(intervals .016 wide to either side; all differences below are paired on the same lists): minmax .303 / .575 and .309 /
.588; cosine .308 / .589 and .313 / .602. With 100 candidates for each list instead of 200 cosine falls to .309 / .578
and .313 / .591; without exact cosines for what only BM25 found to .306 / .582 and .310 / .588; the cosine normalised by
the query's own best and worst to .305 / .582 and .312 / .596.

Not covered: choosing weights, and cutting the result; every key of every list comes back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from operator import itemgetter
from typing import Literal, TypeVar

from chimed_rag.errors import InputError

K = TypeVar("K", str, int)
"""What tells hits apart: an id or a row."""

Normalisation = Literal["minmax", "theoretical"]


def reciprocal_rank_fusion(
    rankings: Mapping[str, Sequence[tuple[K, float]]], k: int = 60, weights: Mapping[str, float] | None = None
) -> list[tuple[K, float]]:
    """Fuses by rank alone: `score(d) = sum over retrievers r of weight[r] / (k + rank of d in r)`, ranks from 1.

    Cormack, Clarke, Büttcher, "Reciprocal rank fusion outperforms Condorcet and individual rank learning methods",
    SIGIR 2009; `k=60` is theirs. A key that a list does not hold gets nothing from that list.

    Args:
        rankings: per retriever its hits, best first; the order counts, the scores are not read.
        k: how little the first ranks stand out, at least 0.
        weights: one finite weight, at least 0, for each retriever; all 1 when None.

    Returns:
        Every key once with its fused score, ordered by (-score, key); the order of the mapping does not matter.

    Raises:
        InputError: negative `k`, weights that do not fit the retrievers, or a key twice in one list.
    """
    if k < 0:
        raise InputError(f"k must be at least 0, not {k}")
    weights = _checked_weights(rankings, dict.fromkeys(rankings, 1.0) if weights is None else weights)
    parts = {
        name: [(key, weights[name] / place) for place, (key, _) in enumerate(hits, k + 1)]
        for name, hits in rankings.items()
    }
    return _summed(parts)


def weighted_fusion(
    rankings: Mapping[str, Sequence[tuple[K, float]]],
    weights: Mapping[str, float],
    normalisation: Normalisation = "minmax",
    minima: Mapping[str, float] | None = None,
) -> list[tuple[K, float]]:
    """Fuses by score: `score(d) = sum over retrievers r of weight[r] * (s_r(d) - low_r) / (high_r - low_r)`.

    `high_r` is the highest score of the list. `low_r` is its lowest with "minmax", and the least score that the
    retriever can give at all with "theoretical" (0 for BM25, -1 for a cosine): TM2C2 when the weights sum to 1. Bruch,
    Gai, Ingber, "An Analysis of Fusion Functions for Hybrid Retrieval", ACM TOIS 42(1), 2023.

    A key that a list does not hold gets nothing from that list, and so does the last of a list under "minmax". Where
    all scores of a list are equal, "minmax" gives each of them 1. Scores below a theoretical minimum count as it.

    Args:
        rankings: per retriever its hits, best first, with finite scores.
        weights: one finite weight, at least 0, for each retriever.
        normalisation: "minmax" or "theoretical".
        minima: per retriever the least possible score; needed for "theoretical", not read otherwise.

    Returns:
        Every key once with its fused score, ordered by (-score, key); the order of the mapping does not matter.

    Raises:
        InputError: an unknown normalisation, weights or minima that do not fit the retrievers, a score that is not
            finite, or a key twice in one list.
    """
    weights = _checked_weights(rankings, weights)
    if normalisation == "theoretical":
        if minima is None or not rankings.keys() <= minima.keys():
            raise InputError(f"theoretical normalisation needs the least score of each of: {', '.join(rankings)}")
    elif normalisation == "minmax":
        minima = None
    else:
        raise InputError(f"no normalisation is called {normalisation!r}; there are: minmax, theoretical")
    parts: dict[str, list[tuple[K, float]]] = {}
    for name, hits in rankings.items():
        normal = _normalised(name, [score for _, score in hits], None if minima is None else minima[name])
        parts[name] = [(key, weights[name] * value) for (key, _), value in zip(hits, normal, strict=True)]
    return _summed(parts)


UNFOUND = 0.85
"""What a passage that BM25 did not list is taken to have, as a share of the last that it did."""


def cosine_fusion(
    lexical: Sequence[tuple[K, float]],
    dense: Sequence[tuple[K, float]],
    dense_weight: float,
    *,
    full: bool,
    gains: Mapping[K, float] | None = None,
) -> list[tuple[K, float]]:
    """Fuses BM25 with cosines as they are: `score(d) = bm25(d) / best bm25 + dense_weight * cosine(d) + gain(d)`.

    The cosine's own scale is kept, because it tells how alike question and passage are at all; dividing by the spread
    of one query's list throws that away.

    Args:
        lexical: key and BM25 score, above 0, best first.
        dense: key and cosine; it should hold every key of `lexical`, and one that it does not hold counts as 0.
        dense_weight: finite, at least 0.
        full: whether the lexical list was cut, so that a key it does not hold may still have a score up to its last;
            such a key counts as `UNFOUND` of it.
        gains: what keys of `dense` have beside (`encoders.manner`), 0 for those not named.

    Returns:
        Every key once with its fused score, ordered by (-score, key).

    Raises:
        InputError: a weight or score that is not finite, a key twice in one list.
    """
    _checked_weights({"dense": dense}, {"dense": dense_weight})
    best = max((score for _, score in lexical), default=1.0)
    least = UNFOUND * min(score for _, score in lexical) / best if full and lexical else 0.0
    if not all(isfinite(sum(score for _, score in hits)) for hits in (lexical, dense)):
        raise InputError("a retriever gave a score that is not finite")
    totals = {key: score / best for key, score in _distinct("lexical", lexical).items()}
    for key, score in _distinct("dense", dense).items():
        totals[key] = totals.get(key, least) + dense_weight * score
    for key, gain in (gains or {}).items():
        totals[key] += gain
    return _ordered(totals)


def _normalised(name: str, scores: Sequence[float], minimum: float | None) -> list[float]:
    if not scores:
        return []
    if not all(map(isfinite, scores)):
        raise InputError(f"{name} gave a score that is not finite")
    low, high = min(scores) if minimum is None else minimum, max(scores)
    if high <= low:  # nothing to tell the scores apart
        return [1.0 if minimum is None else 0.0] * len(scores)
    return [max(0.0, score - low) / (high - low) for score in scores]


def _checked_weights(
    rankings: Mapping[str, Sequence[tuple[K, float]]], weights: Mapping[str, float]
) -> Mapping[str, float]:
    if weights.keys() != rankings.keys():
        raise InputError(f"weights are for {sorted(weights)}, but the rankings are of {sorted(rankings)}")
    if not all(isfinite(weight) and weight >= 0 for weight in weights.values()):
        raise InputError(f"weights must be finite and at least 0: {dict(weights)}")
    return weights


def _summed(parts: Mapping[str, Sequence[tuple[K, float]]]) -> list[tuple[K, float]]:
    totals: dict[K, float] = {}
    for name in sorted(parts):  # a fixed order of addition, so that the order of the mapping does not matter
        for key, value in _distinct(name, parts[name]).items():
            totals[key] = totals.get(key, 0.0) + value
    return _ordered(totals)


def _distinct(name: str, hits: Sequence[tuple[K, float]]) -> dict[K, float]:
    distinct = dict(hits)
    if len(distinct) < len(hits):
        raise InputError(f"{name} ranks a key twice; a ranking holds each key once")
    return distinct


def _ordered(totals: Mapping[K, float]) -> list[tuple[K, float]]:
    """By (-score, key); two sorts without a function of our own are twice as fast as one with it."""
    return sorted(sorted(totals.items()), key=itemgetter(1), reverse=True)
