"""MedQA: the whole flow in one place; what happens at each step lives in the rooms below.

    question -> triage -> rewriting -> retrieval -> evidence -> abstention -> generator -> proof -> policy -> Answer

Not covered: redaction of identifiers, calibration, conversations and streaming, which have rooms of their own.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from chimed_rag import registry
from chimed_rag.config import Chunking, Config, EvidenceBudget
from chimed_rag.errors import InputError
from chimed_rag.indexing.index import Hit, Index
from chimed_rag.indexing.manifest import write_manifest
from chimed_rag.query.rewriting import asked, clinical, corrected, rewrite, understood, wordings
from chimed_rag.records import (
    Abstention,
    Answer,
    Document,
    Evidence,
    ExplainedEvidence,
    Explanation,
    Query,
    Sentence,
    TraceEntry,
)
from chimed_rag.text import terms

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from chimed_rag.corpus.sources import Reading
    from chimed_rag.encoders.adapt import Adaptation
    from chimed_rag.encoders.base import Encoder
    from chimed_rag.generation.base import Generator
    from chimed_rag.indexing.commit import Progress
    from chimed_rag.indexing.filters import Filter
    from chimed_rag.indexing.manifest import Storage
    from chimed_rag.indexing.writer import Changes
    from chimed_rag.query.spelling import DocumentFrequency
    from chimed_rag.retrieval.rerank import Reranker
    from chimed_rag.retrieval.retrievers import HybridRetriever, Ranked

log = logging.getLogger(__name__)

STARTER_INDEX = Path(__file__).parent / "corpus" / "starter" / "index"
"""The index of the starter literature that the wheel carries."""


@dataclass(frozen=True)
class _View:
    """One generation, opened; replaced as a whole, so that a question in flight sees one generation only."""

    index: Index
    retriever: HybridRetriever
    frequency: DocumentFrequency


class MedQA:
    """Answers Chinese medical questions from an indexed literature; one object may be used from many threads.

    Args:
        index: the folder of an index; None takes the starter literature that comes with the package.
        generator: a name ("extractive"), or an object with `name` and `generate`.
        reranker: a name, the folder or hub name of a cross-encoder, or an object with `name` and `score`; None takes
            what the configuration names (`retrieval.reranker`), which is none by default.
        config: a `Config`, or the path of a YAML file.
        encoder: the encoder object that the index was built with, if it was one of your own, or the folder in which
            its model lies now, if that was moved.
        device: "cpu", or "cuda:0" to hold the vectors on that GPU (needs the `gpu` extra).

    Raises:
        IndexMissingError, IndexDamagedError, IndexMismatchError: the folder cannot be opened as an index.
        UnknownNameError: no generator or reranker has that name.
        EncoderError: the model of the encoder or of the reranker cannot be loaded.
    """

    def __init__(
        self,
        index: str | Path | None = None,
        *,
        generator: str | Generator = "extractive",
        reranker: str | Path | Reranker | None = None,
        config: Config | str | Path | None = None,
        encoder: str | Path | Encoder | None = None,
        device: str = "cpu",
    ) -> None:
        from chimed_rag.encoders.base import encoder_from_spec, require_same

        self.path = STARTER_INDEX if index is None else Path(index)
        self.config = _configured(config)
        self.generator: Generator = registry.generators.get(generator)() if isinstance(generator, str) else generator
        self.reranker, self._device = _reranker(reranker, self.config), device
        opened = Index.open(self.path, device=device)
        spec = opened.manifest.encoder
        if encoder is None or isinstance(encoder, str | Path):
            self.encoder = encoder_from_spec(spec, path=encoder, index=self.path)
        else:
            require_same(encoder, spec)
            self.encoder = encoder
        self._view = self._viewed(opened)
        self.adaptation: Adaptation | None = None
        """What came of adapting the encoder, where this object was made by `build` and that was tried."""

    def _viewed(self, index: Index) -> _View:
        from chimed_rag.retrieval.retrievers import HybridRetriever

        frequency = lru_cache(maxsize=100_000)(index.lexical.document_frequency)
        return _View(index, HybridRetriever(index, self.encoder, self.config.retrieval), frequency)

    # -- making and keeping an index ------------------------------------------------------------------------------

    @classmethod
    def build(
        cls,
        sources: Any,
        path: str | Path,
        *,
        encoder: str | Path | Encoder = "ngram",
        adapt: bool | None = None,
        chunking: Chunking | Mapping[str, Any] | None = None,
        storage: Storage = "int8",
        overwrite: bool = False,
        progress: Progress | None = None,
        generator: str | Generator = "extractive",
        reranker: str | Path | Reranker | None = None,
        config: Config | str | Path | None = None,
        device: str = "cpu",
        **reading: Unpack[Reading],
    ) -> MedQA:
        """Builds an index from files, folders, globs, documents or rows, and opens it.

        A build that was killed resumes when the same call is made again.

        Args:
            sources: see `chimed_rag.corpus.sources.load`.
            path: the folder to make.
            encoder: a name, a model folder or hub name, or an encoder object.
            adapt: let the shipped encoder go on learning on this very literature before it is indexed; the result
                lies in the index and is kept only if it finds held-out sections better. None does so from 2,000
                passages on. `qa.adaptation` tells what came of it.
            chunking: how documents are cut into passages.
            storage: "fp32", "fp16" or "int8" vectors; int8 takes a quarter of the memory of fp32.
            overwrite: replace an index that is already there (atomically; readers keep the old one).
            progress: called with a stage and how many chunks it has done.
            generator, reranker, config, device: as for `MedQA(...)`.
            reading: fields, metadata, encoding, skip_scanned, on_error, on_report, as for `load`.

        Raises:
            CorpusError: a source cannot be read; InputError, IndexError_ and its family: see `errors`.
        """
        from chimed_rag.corpus.sources import load
        from chimed_rag.encoders.base import load_encoder
        from chimed_rag.indexing.adaptation import adapted
        from chimed_rag.indexing.writer import build, require_free

        config = _configured(config)
        require_free(Path(path), overwrite=overwrite)
        ready = _reranker(reranker, config)  # what cannot be loaded is told before hours of encoding, not after
        loaded = load_encoder(encoder)
        cut = Chunking.model_validate(chunking or {})
        with adapted(load(sources, **reading), loaded, cut, wanted=adapt, progress=progress) as (
            documents,
            fitted,
            told,
        ):
            build(Path(path), documents, fitted, chunking=cut, storage=storage, overwrite=overwrite, progress=progress)
        qa = cls(path, encoder=fitted, generator=generator, reranker=ready, config=config, device=device)
        qa.adaptation = told
        return qa

    @classmethod
    def load(cls, path: str | Path, **options: Any) -> MedQA:
        """Opens the index in a folder; `options` as for `MedQA(...)`."""
        return cls(path, **options)

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

    def _ranked(self, view: _View, queries: Sequence[Query], k: int, filter: Filter | None) -> list[list[Ranked]]:
        depth = k if self.reranker is None else max(k, self.config.retrieval.rerank)
        questions = [asked(query) for query in queries]
        ranked = view.retriever.search(questions, depth, filter)
        if self.reranker is None:
            return ranked
        from chimed_rag.retrieval.rerank import rerank

        passages = view.index.passages([item.row for items in ranked for item in items])
        return [
            rerank(self.reranker, corrected(question), items, passages)[:k]
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

    # -- answering ------------------------------------------------------------------------------------------------

    def ask(self, question: str, *, filter: Filter | None = None) -> Answer:
        """Answers a question; when the literature does not support an answer, `abstention` says why.

        Raises:
            InputError: an empty or overlong question, one without any word, or a filter that cannot be read.
        """
        return self.ask_many([question], filter=filter)[0]

    def ask_many(self, questions: Sequence[str], *, filter: Filter | None = None) -> list[Answer]:
        """`ask` for many questions, retrieved in one go."""
        from chimed_rag.retrieval.evidence import collect_evidence, with_whole_documents

        view = self._view
        began = perf_counter()
        queries = [self._query(question) for question in questions]
        detail: dict[str, Any] = {
            "changed": [bool(query.changes) for query in queries],
            "changes": [list(query.changes) for query in queries],
            "clinical": [clinical(asked(query)) for query in queries],
        }
        rewriting = TraceEntry(step="rewriting", milliseconds=_since(began), detail=detail)
        began = perf_counter()
        budget = self.config.evidence
        # More than the budget, because duplicates will be left out and neighbours keep what the retrievers gave them.
        ranked = self._ranked(view, queries, 5 * budget.passages, filter)
        passages = view.index.passages([item.row for items in ranked for item in items[: 2 * budget.passages]])
        evidence = [
            with_whole_documents(
                collect_evidence(items[: 2 * budget.passages], passages, budget), items, view.index, budget
            )
            for items in ranked
        ]
        retrieval = TraceEntry(
            step="retrieval",
            milliseconds=_since(began),
            detail={
                "index": str(view.index.folder.name),
                "generation": view.index.manifest.generation,
                "encoder": self.encoder.spec.fingerprint[:16],
                "retrievers": [retriever.name for retriever in view.retriever.retrievers],
                "reranker": self.reranker.name if self.reranker is not None else None,
            },
        )
        return [
            self._answer(view, question, query, found, [rewriting, retrieval])
            for question, query, found in zip(questions, queries, evidence, strict=True)
        ]

    async def aask(self, question: str, *, filter: Filter | None = None) -> Answer:
        """`ask` without blocking the event loop; works inside a notebook's running loop."""
        import asyncio

        return await asyncio.to_thread(partial(self.ask, question, filter=filter))

    def _answer(
        self, view: _View, question: str, query: Query, found: list[Evidence], trace: list[TraceEntry]
    ) -> Answer:
        from chimed_rag.safety.abstention import judge
        from chimed_rag.safety.citations import verify
        from chimed_rag.safety.policy import notices
        from chimed_rag.safety.triage import triage

        began = perf_counter()
        meant = understood(query)
        flags = triage(question)
        if (spelled := corrected(meant)) != query.text:  # 凶痛 for 胸痛: may raise a flag more, never takes one away
            rules = {flag.rule for flag in flags}
            flags = [*flags, *(flag for flag in triage(spelled) if flag.rule not in rules)]
        steps = [
            TraceEntry(step="triage", milliseconds=_since(began), detail={"rules": [flag.rule for flag in flags]}),
            *trace,
        ]
        weight = cache(view.index.lexical.inverse_document_frequency)
        began = perf_counter()
        abstention = judge(meant, found, term_weight=weight, emergency=bool(flags))
        steps.append(
            TraceEntry(
                step="abstention", milliseconds=_since(began), detail={"reason": abstention and abstention.reason}
            )
        )
        sentences: tuple[Sentence, ...] = ()
        if abstention is None:
            began = perf_counter()
            draft = self.generator.generate(meant, found, term_weight=weight)
            steps.append(
                TraceEntry(step="generation", milliseconds=_since(began), detail={"sentences": len(draft.sentences)})
            )
            began = perf_counter()
            checked = verify(draft, found, cache(partial(_text, view.index)))
            drop = self.config.unsupported == "drop"
            sentences = tuple(s for s in checked if s.verdict == "supported" or not drop)
            detail = {"drafted": len(checked), "supported": sum(s.verdict == "supported" for s in checked)}
            steps.append(TraceEntry(step="citations", milliseconds=_since(began), detail={**detail}))
            if not any(s.verdict == "supported" for s in sentences):
                text = "检索到的文献中没有能直接回答这个问题的句子，因此不作回答。"
                abstention, sentences = Abstention(reason="weak_evidence", text=text), ()
        starter = any(item.metadata.get("notice") == "demonstration" for item in found)
        return Answer(
            question=question,
            text=abstention.text if abstention is not None else "".join(s.text for s in sentences),
            sentences=sentences,
            citations=tuple(citation for sentence in sentences for citation in sentence.citations),
            evidence=tuple(found),
            abstention=abstention,
            notices=notices(question, starter=starter, audience=self.config.audience, triage_notices=flags),
            generator=self.generator.name,
            trace=tuple(steps),
        )

    def _query(self, question: str) -> Query:
        """The query of a question, or an error that says what is wrong with the question."""
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
        query = rewrite(question, self._view.frequency, self.config.rewriting)
        if not terms(query.text):
            raise InputError(f"the question {question.strip()[:20]!r} holds no word to search for; ask in words")
        return query

    # -- other people's interfaces ----------------------------------------------------------------------------------

    def as_retriever(self, k: int = 10, filter: Filter | None = None) -> Any:
        """A LangChain retriever over `search` (needs the `langchain` extra)."""
        return registry.adapters.get("retriever")(self, k=k, filter=filter)

    def as_runnable(self) -> Any:
        """A LangChain runnable: question in, `Answer` out (needs the `langchain` extra)."""
        return registry.adapters.get("runnable")(self)

    def __len__(self) -> int:
        return len(self._view.index)

    def __enter__(self) -> MedQA:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the index files; the object cannot be asked afterwards."""
        self._view.index.close()

    def __repr__(self) -> str:
        counts = self._view.index.manifest.counts
        size = f"{counts.documents:,} documents, {counts.chunks:,} passages"
        return f"MedQA({str(self.path)!r}, {size}, generator={self.generator.name!r})"


def _configured(config: Config | str | Path | None) -> Config:
    return config if isinstance(config, Config) else Config.from_yaml(config) if config else Config()


def _reranker(given: str | Path | Reranker | None, config: Config) -> Reranker | None:
    meant = given if given is not None else config.retrieval.reranker
    if meant is None:
        return None
    from chimed_rag.retrieval.rerank import load_reranker

    return load_reranker(meant)


def _since(began: float) -> float:
    return round((perf_counter() - began) * 1000, 3)


def _text(index: Index, document_id: str) -> str:
    document = index.document(document_id)
    return document.text if document is not None else ""
