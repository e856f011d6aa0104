"""The library's own retrievers as systems under evaluation.

Not covered: reading files and scoring (`beir`, `retrieval`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, get_args

from chimed_rag.config import Config, Retrieval
from chimed_rag.errors import InputError
from chimed_rag.evaluation.retrieval import DocumentHit, RetrievalResult, Search, best_chunk_per_document, run_file
from chimed_rag.records import Document

if TYPE_CHECKING:
    from chimed_rag.indexing.commit import Progress
    from chimed_rag.medqa import MedQA

MODES = get_args(Retrieval.model_fields["mode"].annotation)


def document_search(qa: MedQA) -> Search:
    """Documents by their best chunk: k of them wherever k exist, whatever the number of chunks each has."""

    def search(query: str, k: int) -> Sequence[DocumentHit]:
        depth = k
        while True:
            hits = qa.search_keys(query, depth)
            documents = best_chunk_per_document(((hit.document_id, hit.score) for hit in hits), k)
            if len(documents) == k or len(hits) < depth:
                return documents
            depth *= 2

    return search


def retrieval_result(
    queries: str | Path,
    corpora: Sequence[str | Path],
    qrels: str | Path,
    *,
    retriever: str = "hybrid",
    encoder: str = "ngram",
    adapt: bool = False,
    config: Config | None = None,
    progress: Progress | None = None,
) -> RetrievalResult:
    """Builds a temporary index of the corpora and evaluates one of our retrievers on it, with the settings given.

    Args:
        adapt: let the encoder learn from the corpora before they are indexed; it never sees queries or qrels.

    Raises:
        InputError: no retriever has that name; and what `run_file` raises.
    """
    from chimed_rag.medqa import MedQA

    if retriever not in MODES:
        raise InputError(f"no retriever is called {retriever!r}; there are: {', '.join(MODES)}")
    with TemporaryDirectory(prefix="chimed-evaluate-") as folder:
        opened: list[MedQA] = []

        def open_search(documents: Iterable[Document]) -> Search:
            base = config or Config()
            asked = base.model_copy(update={"retrieval": base.retrieval.model_copy(update={"mode": retriever})})
            qa = MedQA.build(
                documents, Path(folder) / "index", encoder=encoder, adapt=adapt, progress=progress, config=asked
            )
            opened.append(qa)
            return document_search(qa)

        report: Callable[[int, int], None] | None = None
        if progress is not None:
            tell = progress
            report = lambda done, total: tell("querying", done)  # noqa: E731
        try:
            return run_file(queries, corpora, qrels, open_search, system=retriever, progress=report)
        finally:
            for qa in opened:
                qa.close()
