"""Ranking metrics of each query by pytrec_eval: nDCG@10, recall@10, recall@100, MRR@10.

Not covered: means and intervals (`evaluation.statistics`); ties are the caller's to order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from chimed_rag.errors import InputError, MissingExtraError

DEPTH = 100
"""The deepest rank that a metric here looks at."""

_BY_TREC_NAME = {"ndcg_cut_10": "ndcg@10", "recall_10": "recall@10", "recall_100": "recall@100"}


def ranking_metrics(
    rankings: Mapping[str, Sequence[str]], qrels: Mapping[str, Mapping[str, int]]
) -> dict[str, NDArray[np.float64]]:
    """Scores rankings against judgements; every query of `qrels` counts, one without a ranking as zero.

    nDCG has linear gain and the discount `1 / log2(rank + 1)` (Järvelin and Kekäläinen 2002, as in trec_eval), recall
    is the share of the relevant documents (score at least 1) found up to the rank, MRR@10 the reciprocal rank of the
    first relevant document among ten, or zero.

    Args:
        rankings: per query the document ids, best first, each once.
        qrels: per query the relevance of the judged documents; unjudged documents count as not relevant.

    Returns:
        "ndcg@10", "recall@10", "recall@100" and "mrr@10", each of shape (len(qrels),), in the order of `qrels`.

    Raises:
        InputError: a ranking of a query without judgements, or one that holds a document twice.
        MissingExtraError: pytrec_eval is not installed.
    """
    try:
        import pytrec_eval
    except ImportError as error:
        raise MissingExtraError("pytrec_eval", "evaluation") from error

    if unjudged := rankings.keys() - qrels.keys():
        raise InputError(f"{len(unjudged)} ranked queries have no judgements, such as {min(unjudged)!r}")
    judgements = {query: dict(judged) for query, judged in qrels.items()}

    def measured(depth: int, measures: set[str]) -> dict[str, dict[str, float]]:
        run = {query: _scores(query, rankings.get(query, ())[:depth]) for query in qrels}
        results: dict[str, dict[str, float]] = pytrec_eval.RelevanceEvaluator(judgements, measures).evaluate(run)
        return results

    def column(results: Mapping[str, Mapping[str, float]], name: str) -> NDArray[np.float64]:
        # pytrec_eval leaves out queries with nothing to measure; they are zeros here, never absent from the mean.
        return np.array([results.get(query, {}).get(name, 0.0) for query in qrels], dtype=np.float64)

    deep = measured(DEPTH, {"ndcg_cut.10", "recall.10,100"})
    metrics = {ours: column(deep, theirs) for theirs, ours in _BY_TREC_NAME.items()}
    # trec_eval has no cut for the reciprocal rank: the ranking itself is cut.
    return metrics | {"mrr@10": column(measured(10, {"recip_rank"}), "recip_rank")}


def _scores(query: str, documents: Sequence[str]) -> dict[str, float]:
    """Strictly decreasing scores: trec_eval keeps float32 and reorders ties by id, which would undo our order."""
    scores = {document: float(DEPTH - position) for position, document in enumerate(documents)}
    if len(scores) != len(documents):
        raise InputError(f"the ranking of query {query!r} holds a document twice")
    return scores
