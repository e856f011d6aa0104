"""An indexed literature: opened, kept up to date, and searched; what `MedQA` answers from.

Not covered: building (`MedQA.build`), and answering (`medqa`).
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from chimed_rag.config import Config, EvidenceBudget
from chimed_rag.errors import InputError
from chimed_rag.indexing.index import Hit, Index
from chimed_rag.indexing.manifest import write_manifest
from chimed_rag.query.rewriting import asked, corrected, rewrite, wordings
from chimed_rag.records import Document, Evidence, ExplainedEvidence, Explanation, Query
from chimed_rag.text import terms

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from chimed_rag.corpus.sources import Reading
    from chimed_rag.encoders.base import Encoder
    from chimed_rag.indexing.commit import Progress
    from chimed_rag.indexing.filters import Filter
    from chimed_rag.indexing.writer import Changes
    from chimed_rag.query.spelling import DocumentFrequency
    from chimed_rag.retrieval.rerank import Reranker
    from chimed_rag.retrieval.retrievers import HybridRetriever, Ranked

STARTER_INDEX = Path(__file__).parent / "corpus" / "starter" / "index"
"""The index of the starter literature that the wheel carries."""
STARTER_ANSWERABILITY = STARTER_INDEX.parent / "answerability"
"""What was learned about which questions it answers (`safety.answerability`)."""


@dataclass(frozen=True)
class View:
    """One generation, opened; replaced as a whole, so that a question in flight sees one generation only."""

    index: Index
    retriever: HybridRetriever
    frequency: DocumentFrequency


class Literature:
    """An index that is open; one object may be used from many threads.

    Args:
        index: the folder of an index; None takes the starter literature that comes with the package.
        reranker, config, encoder, device: as for `MedQA`.
    """

    def __init__(
        self,
        index: str | Path | None = None,
        *,
        reranker: str | Path | Reranker | None = None,
        config: Config | str | Path | None = None,
        encoder: str | Path | Encoder | None = None,
        device: str = "cpu",
    ) -> None:
        from chimed_rag.encoders.base import encoder_from_spec, require_same

        self.path = STARTER_INDEX if index is None else Path(index)
        self.config = configured(config)
        self.reranker, self._device = ready_reranker(reranker, self.config), device
        opened = Index.open(self.path, device=device)
        spec = opened.manifest.encoder
        if encoder is None or isinstance(encoder, str | Path):
            self.encoder = encoder_from_spec(spec, path=encoder, index=self.path)
        else:
            require_same(encoder, spec)
            self.encoder = encoder
        self._view = self._viewed(opened)

    def _viewed(self, index: Index) -> View:
        from chimed_rag.retrieval.retrievers import HybridRetriever

        frequency = lru_cache(maxsize=100_000)(index.lexical.document_frequency)
        return View(index, HybridRetriever(index, self.encoder, self.config.retrieval), frequency)

    # -- keeping it -----------------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> Path:
        """Copies the generation that is open into a new folder, which is an index of its own.

        Raises:
            InputError: the folder exists and is not empty.
        """
        target = Path(path)
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise InputError(f"{target}: exists already; choose a new folder")
        manifest, folder = self._view.index.manifest, self._view.index.folder
        target.mkdir(parents=True, exist_ok=True)
        try:
            for name in manifest.files:
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(folder / name, target / name)
        except OSError:
            shutil.rmtree(target, ignore_errors=True)
            raise
        write_manifest(target, manifest)
        return target

    def refresh(self) -> bool:
        """Opens the current generation, which another process may have written; True if there is a newer one."""
        before = self._view.index.manifest.generation
        opened = Index.open(self.path, device=self._device)
        if opened.manifest.encoder.fingerprint != self.encoder.spec.fingerprint:
            from chimed_rag.encoders.base import encoder_from_spec

            self.encoder = encoder_from_spec(opened.manifest.encoder, index=self.path)
        self._view = self._viewed(opened)
        return opened.manifest.generation != before

    def add(self, sources: Any, *, progress: Progress | None = None, **reading: Unpack[Reading]) -> Changes:
        """Adds documents; an id that is there with the same content is skipped, with other content refused.

        `reading` as for `build`.
        """
        return self._update("add", sources, progress, reading)

    def upsert(self, sources: Any, *, progress: Progress | None = None, **reading: Unpack[Reading]) -> Changes:
        """Adds documents, replacing those whose id is there with other content; `reading` as for `build`."""
        return self._update("upsert", sources, progress, reading)

    def _update(
        self, mode: Literal["add", "upsert"], sources: Any, progress: Progress | None, reading: Reading
    ) -> Changes:
        from chimed_rag.corpus.sources import load
        from chimed_rag.indexing.writer import update

        changes = update(self._writable(), load(sources, **reading), self.encoder, mode=mode, progress=progress)
        self.refresh()
        return changes

    def delete(self, ids: Sequence[str] = (), *, where: Filter | None = None) -> Changes:
        """Deletes documents by id, by filter, or both; unknown ids are ignored."""
        from chimed_rag.indexing.writer import delete

        changes = delete(self._writable(), ids=ids, where=where)
        self.refresh()
        return changes

    def compact(self, *, progress: Progress | None = None) -> None:
        """Drops deleted documents from disk and merges small segments; nothing is encoded again."""
        from chimed_rag.indexing.writer import compact

        compact(self._writable(), progress=progress)
        self.refresh()

    def _writable(self) -> Path:
        if self.path == STARTER_INDEX:
            raise InputError(
                "the starter literature is part of the installation and is not changed; build your own index: "
                "MedQA.build(sources, path), or copy it first: qa.save(path)"
            )
        return self.path

    # -- finding passages -----------------------------------------------------------------------------------------

    def search(self, query: str, k: int = 10, filter: Filter | None = None) -> list[Evidence]:
        """The k best passages for a query, best first; duplicates are kept, so k come back whenever k exist.

        Raises:
            InputError: an empty or overlong query, k below 1, or a filter that cannot be read.
        """
        return self.search_many([query], k, filter)[0]

    def search_many(
        self,
        queries: Sequence[str],
        k: int = 10,
        filter: Filter | None = None,
    ) -> list[list[Evidence]]:
        """`search` for many queries in one go."""
        from chimed_rag.retrieval.evidence import collect_evidence

        if k < 1:
            raise InputError(f"k must be at least 1, not {k}")
        view = self._view
        rewritten = [self._query(query) for query in queries]
        ranked = self._ranked(view, rewritten, k, filter)
        passages = view.index.passages([item.row for items in ranked for item in items])
        everything = EvidenceBudget(passages=k, characters=10**12)
        return [collect_evidence(items, passages, everything, distinct=False) for items in ranked]

    def search_keys(self, query: str, k: int = 10, filter: Filter | None = None) -> list[Hit]:
        """`search` without the passages: chunk and document ids with scores, for evaluation and bulk use."""
        view = self._view
        ranked = self._ranked(view, [self._query(query)], k, filter)[0]
        return view.index.name([(item.score, item.row) for item in ranked])

    def _ranked(self, view: View, queries: Sequence[Query], k: int, filter: Filter | None) -> list[list[Ranked]]:
        questions = [asked(query) for query in queries]
        if self.reranker is None:
            return view.retriever.search(questions, k, filter)
        from chimed_rag.retrieval.rerank import depth_of, rerank

        read = self.config.retrieval.rerank or depth_of(self.reranker)
        ranked = view.retriever.search(questions, max(k, read), filter)
        passages = view.index.passages([item.row for items in ranked for item in items[:read]])
        return [
            rerank(self.reranker, corrected(question), items, passages, read)[:k]
            for question, items in zip(questions, ranked, strict=True)
        ]

    def explain(self, query: str, k: int = 10, filter: Filter | None = None) -> Explanation:
        """Why these passages: the query's terms with their idf, which of them each passage holds, and its ranks."""
        weight = self._view.index.lexical.inverse_document_frequency
        frequency = self._view.index.lexical.document_frequency
        rewritten = self._query(query)
        weights = {
            term: weight(term)
            for term in dict.fromkeys(term for wording in wordings(asked(rewritten)) for term in terms(wording))
        }
        explained = []
        for evidence in self.search(query, k, filter):
            held = set(terms("\n".join((*evidence.names, *evidence.headings, evidence.text))))
            matched = {term: idf for term, idf in weights.items() if term in held}
            ordered = dict(sorted(matched.items(), key=lambda item: (-item[1], item[0])))
            explained.append(ExplainedEvidence(evidence=evidence, matched=ordered))
        absent = tuple(term for term in weights if frequency(term) == 0)
        return Explanation(query=rewritten, terms=weights, absent=absent, evidence=tuple(explained))

    def document(self, document_id: str) -> Document | None:
        """A document of the index, whole; the text that citations point into."""
        return self._view.index.document(document_id)

    def _query(self, question: str) -> Query:
        """The query of a question without the identifiers in it, or an error that says what is wrong with it."""
        self._require_question(question)
        if self.config.redaction:
            from chimed_rag.safety.redaction import Redactor

            question = Redactor().redact(question).text
        return self._rewritten(question)

    def _require_question(self, question: str) -> None:
        if not isinstance(question, str):
            raise InputError(f"a question is text, not {type(question).__name__}")
        most = self.config.max_question_characters
        if len(question) > most:
            raise InputError(
                f"the question has {len(question):,} characters; ask in at most {most:,} "
                "(config: max_question_characters)"
            )
        if not question.strip():
            raise InputError("the question is empty; ask something, for example: chimed ask 布洛芬一天最多吃几次")

    def _rewritten(self, redacted: str) -> Query:
        from chimed_rag.safety.redaction import without_pseudonyms

        query = rewrite(without_pseudonyms(redacted), self._view.frequency, self.config.rewriting)
        if not terms(query.text):
            raise InputError(f"the question {redacted.strip()[:20]!r} holds no word to search for; ask in words")
        return query

    # -- closing it -----------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._view.index)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the index files; the object cannot be asked afterwards."""
        self._view.index.close()


def configured(config: Config | str | Path | None) -> Config:
    """The settings that are meant: themselves, those of a YAML file, or the defaults."""
    return config if isinstance(config, Config) else Config.from_yaml(config) if config else Config()


def ready_reranker(given: str | Path | Reranker | None, config: Config) -> Reranker | None:
    """The reranker that is given, or else the one that the configuration means, loaded; None for "none"."""
    meant = given if given is not None else config.retrieval.reranker
    if meant == "auto":
        meant = "windows" if config.retrieval.mode == "hybrid" else None
    if meant is None or meant == "none":
        return None
    from chimed_rag.retrieval.rerank import load_reranker

    return load_reranker(meant)
