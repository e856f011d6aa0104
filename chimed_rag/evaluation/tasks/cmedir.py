"""cMedIR: which of two titles suits a search query better (graded by people), as pairwise accuracy.

Data: ChineseBLUE (Zhang et al. 2020, "Conceptualized Representation Learning for Chinese Biomedical Text Mining"),
development set, Apache-2.0; rows `{"query", "documents": [{"title", "label"}, ...]}`. Never trained on here.

Every pair of titles of one row with different labels counts once; equal scores count as half. The interval resamples
queries, not pairs, because a query's pairs are alike. Plain BM25 is scored beside every system, on the same pairs.
Not covered: the pages behind the titles, which the set does not hold.

Measured 2026-11-27 (10,000 pairs of 4,298 queries; 14,753 titles): see `benchmarks/results/retrieval_quality.json`.
Tried without an encoder, plain BM25 being .570: b = 1 .577, b = .3 .562, single characters .557, characters and pairs
.567, idf-weighted cosine of pairs .590, of the best part of the title between its separators .577; hashing .561.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from chimed_rag.corpus.jsonl import json_rows
from chimed_rag.errors import CorpusError
from chimed_rag.evaluation.beir import data_sha256
from chimed_rag.evaluation.pairs import PairScorer
from chimed_rag.evaluation.result import Result, library_versions, rounded
from chimed_rag.evaluation.statistics import bootstrap_ratios

if TYPE_CHECKING:
    from chimed_rag.encoders.base import Encoder
    from chimed_rag.retrieval.rerank import Reranker


class Preference(NamedTuple):
    """For this query one title is better than the other."""

    query: str
    better: str
    worse: str


def read_preferences(path: str | Path) -> list[Preference]:
    """The pairs of a file, in its order.

    Raises:
        CorpusError: a line cannot be read, or the file holds no pair with different labels.
    """
    found: list[Preference] = []
    for line, row in json_rows(path):
        try:
            query = str(row["query"])
            graded = [(int(document["label"]), str(document["title"])) for document in row["documents"]]
        except (KeyError, TypeError, ValueError) as error:
            raise CorpusError(f"not a query with labelled titles: {error!r}", path=str(path), line=line) from None
        for one, two in combinations(graded, 2):
            if one[0] != two[0]:
                better, worse = (one, two) if one[0] > two[0] else (two, one)
                found.append(Preference(query, better[1], worse[1]))
    if not found:
        raise CorpusError("no two titles with different labels", path=str(path))
    return found


def cmedir_result(
    data: str | Path,
    *,
    system: str = "hybrid",
    encoder: str | Path | Encoder = "ngram",
    reranker: Reranker | None = None,
    dense_weight: float | None = None,
    limit: int | None = None,
    progress: Callable[[str, int], None] | None = None,
) -> Result:
    """Pairwise accuracy of a system, of plain BM25, and the difference, in 0..1 (the difference in -1..1).

    Args:
        data: the file.
        system, encoder, reranker, dense_weight: see `evaluation.pairs.PairScorer`.
        limit: only so many pairs, the first ones.
        progress: called with a stage and how many queries are done.

    Raises:
        CorpusError: the file cannot be read; InputError: an unknown system.
        MissingExtraError: scipy is not installed.
    """
    pairs = read_preferences(data)[:limit]
    by_query: dict[str, list[Preference]] = {}
    for pair in pairs:
        by_query.setdefault(pair.query, []).append(pair)
    names = dict.fromkeys((system, "bm25"))
    right: dict[str, list[float]] = {name: [] for name in names}
    texts = (title for pair in pairs for title in (pair.better, pair.worse))
    with PairScorer(texts, encoder=encoder, reranker=reranker, dense_weight=dense_weight) as scorer:
        for done, (query, asked) in enumerate(by_query.items(), 1):
            titles = list(dict.fromkeys(title for pair in asked for title in (pair.better, pair.worse)))
            for name in names:
                score = dict(zip(titles, scorer.scores(name, query, titles).tolist(), strict=True))
                right[name].append(sum(_right(score[pair.better], score[pair.worse]) for pair in asked))
            if progress is not None:
                progress("ordering", done)
    columns = {"pairwise_accuracy": np.array(right[system])}
    if system != "bm25":
        columns |= {"bm25_pairwise_accuracy": np.array(right["bm25"])}
        columns |= {"difference": columns["pairwise_accuracy"] - columns["bm25_pairwise_accuracy"]}
    counts = np.array([len(asked) for asked in by_query.values()], dtype=np.float64)
    return Result(
        task="cmedir",
        system=system,
        protocol="pairs of different labels, ties half, intervals over queries",
        n=len(pairs),
        data_sha256=data_sha256([data]),
        metrics=rounded(bootstrap_ratios(columns, counts)),
        versions=library_versions(),
    )


def _right(better: float, worse: float) -> float:
    return 0.5 if better == worse else float(better > worse)
