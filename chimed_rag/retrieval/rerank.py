"""The slot for a reranker, which reads the query with each of the best passages and orders them anew.

Not covered: any reranking model; pass an object with this one method.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Protocol

from chimed_rag.errors import InputError
from chimed_rag.indexing.segment import StoredChunk
from chimed_rag.records import RankEntry
from chimed_rag.retrieval.retrievers import Ranked


class Reranker(Protocol):
    """Scores passages for a query; larger is better."""

    name: str

    def score(self, query: str, passages: Sequence[str]) -> Sequence[float]:
        """One finite score for each passage."""


def rerank(
    reranker: Reranker, query: str, ranked: Sequence[Ranked], passages: Mapping[int, StoredChunk]
) -> list[Ranked]:
    """The ranked chunks ordered by (−reranker's score, chunk id), its rank and score noted in `ranks`.

    Raises:
        InputError: the reranker did not give one finite score for each passage.
    """
    scores = [float(score) for score in reranker.score(query, [passages[item.row].chunk.text for item in ranked])]
    if len(scores) != len(ranked) or not all(map(isfinite, scores)):
        raise InputError(
            f"reranker {reranker.name!r} gave {len(scores)} scores for {len(ranked)} "
            "passages, or one that is not finite"
        )
    order = sorted(zip(scores, ranked, strict=True), key=lambda pair: (-pair[0], passages[pair[1].row].chunk.id))
    return [
        item._replace(score=score, ranks={**item.ranks, reranker.name: RankEntry(rank=rank, score=score)})
        for rank, (score, item) in enumerate(order, 1)
    ]
