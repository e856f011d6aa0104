"""How well held-out pairs are found again: recall and reciprocal rank, with bootstrap intervals.

A quick look at a model, not its evaluation: the held-out pairs come from the sets it was trained on, so they flatter
it. What counts is `chimed evaluate retrieval` on a set of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from chimed_rag.encoders.base import Encoder
from chimed_rag.evaluation.grams import skeleton
from chimed_rag.evaluation.statistics import Interval, bootstrap_means
from training.mining import Candidates, bm25_candidates, encoder_candidates
from training.pairs import Pair

Scores = dict[str, Interval]
DEPTH = 100
Score = Callable[[str, Sequence[str]], Sequence[float]]
"""Scores of passages for a query, larger is better: what a reranker does."""


class HeldOut:
    """Held-out pairs among a pool of passages: their own, and further ones as distractors.

    Args:
        pairs: the held-out pairs; each query is asked once, and any of its passages is right.
        distractors: further passages; those that equal a right one (by skeleton) are passed over.
        most: of the distractors, at most so many, the first ones.
    """

    def __init__(self, pairs: Sequence[Pair], distractors: Sequence[str] = (), most: int = 20_000) -> None:
        numbers: dict[str, int] = {}
        self.passages: list[str] = []
        for text in [pair.passage for pair in pairs] + list(dict.fromkeys(distractors))[:most]:
            if numbers.setdefault(skeleton(text), len(self.passages)) == len(self.passages):
                self.passages.append(text)
        right: dict[str, list[int]] = {}
        for pair in pairs:
            right.setdefault(pair.query, []).append(numbers[skeleton(pair.passage)])
        self.queries, self.right = list(right), [sorted(set(found)) for found in right.values()]

    def __str__(self) -> str:
        return f"{len(self.queries):,} held-out queries among {len(self.passages):,} passages"

    def bm25(self) -> Scores:
        """BM25 over the queries' content terms."""
        return self._scores(bm25_candidates(self.queries, self._first(), self.passages, DEPTH))

    def encoder(self, encoder: Encoder) -> Scores:
        """Inner products of an encoder's vectors."""
        return self._scores(encoder_candidates(self.queries, self._first(), self.passages, DEPTH, encoder))

    def reranked(self, score: Score, depth: int = 30, most: int = 200) -> dict[str, Scores]:
        """The `depth` best of BM25 as they are ("bm25") and in the reranker's order ("reranked"); `most` queries."""
        found = bm25_candidates(self.queries[:most], self._first()[:most], self.passages, depth)
        reranked = []
        for query, candidates in zip(self.queries, found, strict=False):
            numbers = [n for _, n in candidates.ranked]
            values = [float(value) for value in score(query, [self.passages[n] for n in numbers])]
            order = sorted(zip(values, numbers, strict=True), key=lambda hit: (-hit[0], hit[1]))
            reranked.append(Candidates(order, None))
        return {"bm25": self._scores(found, (1, 10)), "reranked": self._scores(reranked, (1, 10))}

    def _first(self) -> list[int]:
        return [numbers[0] for numbers in self.right]

    def _scores(self, found: Sequence[Candidates], cuts: Sequence[int] = (1, 10, 100)) -> Scores:
        ranks = np.array(
            [
                next((rank for rank, (_, n) in enumerate(item.ranked, 1) if n in right), np.inf)
                for item, right in zip(found, self.right, strict=False)
            ]
        )
        return rank_scores(ranks, cuts)


def rank_scores(ranks: NDArray[np.float64], cuts: Sequence[int]) -> Scores:
    """recall@k for each cut k, and mrr@10, from the rank of each query's first right passage (inf if there is none)."""
    columns = {f"recall@{k}": (ranks <= k).astype(np.float64) for k in cuts}
    return bootstrap_means(columns | {"mrr@10": np.where(ranks <= 10, 1.0 / ranks, 0.0)})
