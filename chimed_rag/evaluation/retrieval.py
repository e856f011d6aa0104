"""The retrieval task: asks every query of a BEIR set, scores the rankings, and times each single query.

Not covered: building an index; the caller brings a search, or a function that makes one from the documents.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Literal

from chimed_rag.errors import InputError
from chimed_rag.evaluation.beir import BeirCorpus, data_sha256, judged_queries, read_qrels, read_queries
from chimed_rag.evaluation.metrics.ranking import DEPTH, ranking_metrics
from chimed_rag.evaluation.result import Result, library_versions, rounded
from chimed_rag.evaluation.statistics import Interval, Percentiles, bootstrap_means, percentiles
from chimed_rag.records import Document

_log = logging.getLogger(__name__)

DocumentHit = tuple[str, float]
"""(document id, score)."""

Search = Callable[[str, int], Sequence[DocumentHit]]
"""Query text and k to the hits; it should bring k documents where the corpus holds k."""


class RetrievalResult(Result):
    """What a retrieval run scored; `chimed evaluate retrieval --json` prints this object.

    `metrics` are means over the `n` judged queries with 95 % bootstrap bounds, in 0..1; `latency_ms` is per single
    query, in milliseconds; `data_sha256` is that of the queries, corpora and qrels, in this order.
    """

    task: Literal["retrieval"] = "retrieval"
    protocol: Literal["beir"] = "beir"
    latency_ms: Percentiles


def best_chunk_per_document(hits: Iterable[DocumentHit], k: int) -> list[DocumentHit]:
    """At most k documents, each with the score of its best chunk, ordered by (-score, id).

    Args:
        hits: (document id, score) of each chunk found, in any order.
        k: how many documents to keep.

    Raises:
        InputError: a score is not a number.
    """
    best: dict[str, float] = {}
    for document, score in hits:
        if score != score:  # NaN has no place in an order
            raise InputError(f"the search gave document {document!r} a score that is not a number")
        if document not in best or score > best[document]:
            best[document] = score
    return sorted(best.items(), key=lambda hit: (-hit[1], hit[0]))[:k]


def evaluate_retrieval(
    search: Search,
    queries: Mapping[str, str],
    qrels: Mapping[str, Mapping[str, int]],
    *,
    system: str,
    data_sha256: str,
    k: int = DEPTH,
    versions: Mapping[str, str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> RetrievalResult:
    """Asks every judged query and scores what comes back; a query with nothing found counts as zero.

    Args:
        search: query text and k to (document id, score), of documents or of chunks; the best chunk counts. The first
            query is asked once more beforehand, so that loading does not count as latency.
        queries: query id to text; those without judgements are left out, with a warning in the log.
        qrels: query id to document id to relevance.
        system: what the result calls the system.
        data_sha256: what identifies the data, see `beir.data_sha256`.
        k: how deep to search, at least 100, for recall@100.
        versions: what else belongs in the result's `versions`, such as the encoder or the commit.
        progress: called after each query with (queries done, queries in all), outside the timed stretch.

    Raises:
        InputError: no query is judged, `k` is below 100, or the search gave a score that is not a number.
        MissingExtraError: pytrec_eval or scipy is not installed.
    """
    if k < DEPTH:
        raise InputError(f"k must be at least {DEPTH} for recall@{DEPTH}, not {k}")
    asked, judgements = judged_queries(queries, qrels)
    _scored({}, judgements)
    search(next(iter(asked.values())), k)
    rankings: dict[str, list[str]] = {}
    milliseconds: list[float] = []
    for key, text in asked.items():
        began = perf_counter()
        hits = search(text, k)
        milliseconds.append((perf_counter() - began) * 1000)
        rankings[key] = [document for document, _ in best_chunk_per_document(hits, k)]
        if progress is not None:
            progress(len(rankings), len(asked))
    means = _scored(rankings, judgements)
    latency = percentiles(milliseconds)
    return RetrievalResult(
        system=system,
        n=len(asked),
        data_sha256=data_sha256,
        metrics=rounded(means),
        latency_ms=Percentiles(p50=round(latency.p50, 3), p95=round(latency.p95, 3)),
        versions=library_versions("pytrec-eval-terrier") | dict(versions or {}),
    )


def run_file(
    queries: str | Path,
    corpora: Sequence[str | Path],
    qrels: str | Path,
    open_search: Callable[[Iterable[Document]], Search],
    *,
    system: str,
    k: int = DEPTH,
    versions: Mapping[str, str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> RetrievalResult:
    """Evaluates a system on files in BEIR form; what the command line calls.

    Args:
        queries, corpora, qrels: the files, see `evaluation.beir`.
        open_search: makes the search from the documents, which it may go through more than once, to the end.
        system, k, versions, progress: as in `evaluate_retrieval`.

    Raises:
        CorpusError: a file or a line cannot be read; DuplicateError: one id, two texts.
        InputError: no corpus, files that do not belong together, or as in `evaluate_retrieval`.
        MissingExtraError: pytrec_eval or scipy is not installed.
    """
    if not corpora:
        raise InputError("name at least one corpus file")
    # The small files and the libraries first: what is wrong with them should not wait for the index.
    asked, judgements = judged_queries(read_queries(queries), read_qrels(qrels))
    _scored({}, judgements)
    fingerprint = data_sha256([queries, *corpora, qrels])
    corpus = BeirCorpus(corpora)
    search = open_search(corpus)
    _check_coverage(corpus, judgements)
    return evaluate_retrieval(
        search,
        asked,
        judgements,
        system=system,
        data_sha256=fingerprint,
        k=k,
        versions=versions,
        progress=progress,
    )


def _scored(rankings: Mapping[str, Sequence[str]], qrels: Mapping[str, Mapping[str, int]]) -> dict[str, Interval]:
    """Means and intervals; with no rankings a rehearsal, which raises what is missing before the long work begins."""
    return bootstrap_means(ranking_metrics(rankings, qrels))


def _check_coverage(corpus: BeirCorpus, qrels: Mapping[str, Mapping[str, int]]) -> None:
    """A relevant document that no corpus holds stays in recall's denominator: said, and refused if all are missing."""
    if corpus.repeated:
        _log.warning("%d corpus rows repeat an earlier id and text and count once", corpus.repeated)
    if missing := corpus.missing(qrels):
        relevant = {key for judged in qrels.values() for key, score in judged.items() if score > 0}
        if missing == relevant:
            raise InputError("no corpus file holds a document that the qrels call relevant: is a --corpus missing?")
        _log.warning("%d of %d relevant documents are in no corpus and count as missed", len(missing), len(relevant))
