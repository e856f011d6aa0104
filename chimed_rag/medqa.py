"""MedQA: the whole flow in one place; what happens at each step lives in the rooms below.

    question -> redaction -> triage -> rewriting -> retrieval -> evidence -> (`answering`: injection -> abstention
    -> generator -> proof -> conflicts -> policy) -> audit -> Answer

Not covered: what becomes of a conversation (`session`).
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import aclosing, closing
from functools import cache, cached_property
from pathlib import Path
from threading import Event as Flag
from time import perf_counter
from typing import TYPE_CHECKING, Any

from chimed_rag import registry
from chimed_rag.answering import Answering
from chimed_rag.asking import Asked, answerability, audit_log, interactions, redacted, refusal_rule, since, triaged
from chimed_rag.config import Chunking, Config
from chimed_rag.generation.base import is_language_model
from chimed_rag.generation.choosing import load_generator
from chimed_rag.literature import STARTER_ANSWERABILITY, STARTER_INDEX, Literature, View, configured, ready_reranker
from chimed_rag.query.rewriting import asked, clinical, understood
from chimed_rag.records import (
    Answer,
    DoneEvent,
    Event,
    Evidence,
    Notice,
    NoticeEvent,
    Query,
    Sentence,
    SentenceEvent,
    TraceEntry,
)
from chimed_rag.threads import from_thread, in_thread

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from chimed_rag.corpus.sources import Reading
    from chimed_rag.encoders.adapt import Adaptation
    from chimed_rag.encoders.base import Encoder
    from chimed_rag.entities.mentions import Mention
    from chimed_rag.entities.tagger import Tagger
    from chimed_rag.generation.base import Generator
    from chimed_rag.indexing.adaptation import OwnPairs
    from chimed_rag.indexing.commit import Progress
    from chimed_rag.indexing.filters import Filter
    from chimed_rag.indexing.manifest import Storage
    from chimed_rag.retrieval.rerank import Reranker
    from chimed_rag.safety.calibration import Question, RefusalRule
    from chimed_rag.safety.citations import Entails
    from chimed_rag.safety.redaction import Redactor
    from chimed_rag.session import Session

__all__ = ["STARTER_INDEX", "MedQA"]

log = logging.getLogger(__name__)

MOST_THREADS = 32
"""So many questions of the asynchronous verbs are on their way at once; the others wait."""


class MedQA(Literature):
    """Answers Chinese medical questions from an indexed literature; one object may be used from many threads.

    Args:
        index: the folder of an index; None takes the starter literature that comes with the package.
        generator: "extractive", which quotes; the folder or hub name of a causal language model; the address of an
            OpenAI-style server ("http://llm:8000/v1"); "auto", the best of these that there is (`generation.choosing`);
            or an object with `name` and `generate`.
        reranker: a name, the folder or hub name of a cross-encoder, or an object with `name` and `score`; "none" for
            the fused order. None takes what the configuration names (`retrieval.reranker`): by default "windows",
            which comes with the package.
        config: a `Config`, or the path of a YAML file.
        encoder: the encoder object that the index was built with, if it was one of your own, or the folder in which
            its model lies now, if that was moved.
        device: "cpu", or "cuda:0" to hold the vectors on that GPU (needs the `gpu` extra).
        refusal: a rule that `calibrate` made, or the path of its JSON; None takes what the configuration names.
        nli: the last step of the proof, see `safety.citations.verify`.

    Raises:
        IndexMissingError, IndexDamagedError, IndexMismatchError: the folder cannot be opened as an index.
        UnknownNameError: no generator or reranker has that name.
        GeneratorError: the language model cannot be loaded.
        EncoderError: the model of the encoder or of the reranker cannot be loaded.
        InputError: the refusal rule or the interaction table cannot be read.
        AuditError: the audit log cannot be written.
    """

    def __init__(
        self,
        index: str | Path | None = None,
        *,
        generator: str | Path | Generator = "extractive",
        reranker: str | Path | Reranker | None = None,
        config: Config | str | Path | None = None,
        encoder: str | Path | Encoder | None = None,
        device: str = "cpu",
        refusal: RefusalRule | str | Path | None = None,
        nli: Entails | None = None,
    ) -> None:
        super().__init__(index, reranker=reranker, config=config, encoder=encoder, device=device)
        self.generator: Generator = load_generator(generator, self.config.generation)
        self._owns_generator = isinstance(generator, str | Path)
        self.nli = nli
        self.refusal = refusal_rule(refusal or self.config.refusal)
        self._answerability = answerability(self.config, STARTER_ANSWERABILITY if self.path == STARTER_INDEX else None)
        self._interactions = interactions(self.config)
        self._audit = audit_log(self.config)
        self.adaptation: Adaptation | None = None
        """What came of adapting the encoder, where this object was made by `build` and that was tried."""

    @classmethod
    def build(
        cls,
        sources: Any,
        path: str | Path,
        *,
        encoder: str | Path | Encoder = "ngram",
        adapt: bool | None = None,
        pairs: OwnPairs | None = None,
        chunking: Chunking | Mapping[str, Any] | None = None,
        storage: Storage = "int8",
        overwrite: bool = False,
        progress: Progress | None = None,
        generator: str | Path | Generator = "extractive",
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
            pairs: questions of your own, each with a text that answers it, that the encoder learns from as well: a
                JSONL file of {"query": …, "passage": …}, or (query, passage) tuples. They are not indexed.
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

        config = configured(config)
        require_free(Path(path), overwrite=overwrite)
        ready = ready_reranker(reranker, config)  # what cannot be loaded is told before hours of encoding, not after
        loaded = load_encoder(encoder)
        cut = Chunking.model_validate(chunking or {})
        with adapted(load(sources, **reading), loaded, cut, wanted=adapt, pairs=pairs, progress=progress) as (
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

    # -- answering ------------------------------------------------------------------------------------------------

    def ask(self, question: str, *, filter: Filter | None = None, user: str | None = None) -> Answer:
        """Answers a question; when the literature does not support an answer, `abstention` says why.

        Args:
            question: in Chinese. Identifiers in it (`safety.redaction`) are replaced before anything else is done, and
                put back into the returned answer only.
            filter: see `search`.
            user: who asks, for the audit log; written down as given.

        Raises:
            InputError: an empty or overlong question, one without any word, or a filter that cannot be read.
        """
        return self.ask_many([question], filter=filter, user=user)[0]

    def ask_many(
        self, questions: Sequence[str], *, filter: Filter | None = None, user: str | None = None
    ) -> list[Answer]:
        """`ask` for many questions: retrieved in one go, and written in one batch by a language model."""
        return self._answers([self._asked(question) for question in questions], filter, user)

    async def aask(self, question: str, *, filter: Filter | None = None, user: str | None = None) -> Answer:
        """`ask` without blocking the event loop; works inside a notebook's running loop.

        When the task is cancelled, a language model stops writing, and nothing is recorded.
        """
        cancel = Flag()

        def answered() -> Answer:
            return self._answers([self._asked(question)], filter, user, cancel=cancel)[0]

        return await in_thread(answered, self._threads, cancel)

    def stream(self, question: str, *, filter: Filter | None = None, user: str | None = None) -> Iterator[Event]:
        """`ask`, with each part as soon as it is there: typed events, told apart by `kind`.

        Emergencies come first, as notices, before anything is searched; then `evidence`; then each `sentence` when it
        has passed the proof, while a language model still writes the next; then the other notices; `done`, with the
        whole answer, last. Should too little of a draft be proved in the end, a notice of kind `extractive` withdraws
        the sentences before it, and quoted ones follow. Leaving the loop stops the model; the audit log then holds what
        was shown.

        Args and errors: as for `ask`; errors come with the first event.
        """
        yield from self._events(lambda: self._asked(question), filter, user, Flag())

    async def astream(
        self, question: str, *, filter: Filter | None = None, user: str | None = None
    ) -> AsyncIterator[Event]:
        """`stream` without blocking the event loop."""
        cancel = Flag()
        events = self._events(lambda: self._asked(question), filter, user, cancel)
        async with aclosing(from_thread(events, self._threads, cancel)) as arriving:
            async for event in arriving:
                yield event

    def session(self, path: str | Path | None = None) -> Session:
        """A conversation: follow-up questions (那孕妇呢？) are answered as what they mean; see `session`.

        Args:
            path: a file that `Session.save` wrote, to go on with that conversation.

        Raises:
            InputError: the file cannot be read, or holds no conversation.
        """
        from chimed_rag.session import Session

        return Session(self) if path is None else Session.resume(self, path)

    def _ask_in(
        self,
        question: str,
        *,
        redactor: Redactor,
        standalone: Callable[[str], str],
        filter: Filter | None = None,
        user: str | None = None,
    ) -> Answer:
        """`ask` within a conversation."""
        return self._answers([self._asked(question, redactor, standalone)], filter, user)[0]

    def _stream_in(
        self,
        question: str,
        *,
        redactor: Redactor,
        standalone: Callable[[str], str],
        filter: Filter | None = None,
        user: str | None = None,
        cancel: Flag | None = None,
    ) -> Iterator[Event]:
        """`stream` within a conversation."""
        return self._events(lambda: self._asked(question, redactor, standalone), filter, user, cancel or Flag())

    def extract(self, text: str) -> list[Mention]:
        """The drugs, diseases, tests and so on that a text speaks of, in order, not overlapping.

        By names alone, known ones and such as have a known form, with the kinds of `entities.mentions`; or, where the
        configuration names a trained `tagger`, by their context too, with the types that it was trained on. Whether a
        thing is affirmed or denied is not told. Nothing of the text is written down or redacted.

        Raises:
            InputError: the folder of the tagger holds none. MissingExtraError: it needs python-crfsuite.
        """
        from chimed_rag.entities.lexicon import names
        from chimed_rag.entities.mentions import Mention, mentions
        from chimed_rag.text import fold

        if self._tagger is None:
            return mentions(text)
        known = names()
        found = []
        for span in self._tagger.tag(text):
            words = fold(span.text)
            name = known[words].canonical if words in known else words
            found.append(Mention(span.text, name, span.type, span.start, span.end))
        return found

    @cached_property
    def _tagger(self) -> Tagger | None:
        from chimed_rag.entities.tagger import Tagger

        return None if self.config.tagger is None else Tagger(self.config.tagger)

    def calibrate(
        self,
        questions: Iterable[Question | Mapping[str, Any]],
        *,
        risk: float = 0.05,
        confidence: float = 0.95,
        seed: int = 0,
    ) -> RefusalRule:
        """Learns from your own questions when to refuse, uses the rule from now on, and returns it.

        What is guaranteed, and what it rests on, stands in `safety.calibration` and in `rule.guarantee`.

        Args:
            questions: each with the ids of the documents that answer it, none where the literature cannot.
            risk: the share of wrong answers among the answered that is allowed.
            confidence: how sure the guarantee is over the draw of the questions.
            seed: of the split into those that fit and those that test.

        Raises:
            InputError: too few questions for this risk, or no rule reaches it; the message says what would be needed.
        """
        from chimed_rag.safety.calibration import Question, distinct, fit, trial

        asked_of = distinct([Question.model_validate(one) for one in questions])
        weight = cache(self._view.index.lexical.inverse_document_frequency)
        begun = [self._asked(one.question) for one in asked_of]
        answers = self._answers(begun, None, None, refused=False, recorded=False)
        trials = [
            trial(one, understood(self._query(one.question)), answer, weight)
            for one, answer in zip(asked_of, answers, strict=True)
        ]
        manifest = self._view.index.manifest
        system = f"{manifest.encoder.fingerprint[:16]}, generation {manifest.generation}, {self.generator.name}"
        self.refusal = fit(trials, risk=risk, confidence=confidence, seed=seed, system=system)
        return self.refusal

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        """For the asynchronous verbs: a pool of our own, so that many waiting questions block nobody else's work."""
        return ThreadPoolExecutor(max_workers=MOST_THREADS, thread_name_prefix="chimed-rag")

    def _asked(
        self, question: str, redactor: Redactor | None = None, standalone: Callable[[str], str] | None = None
    ) -> Asked:
        """A question that begins its way; in a conversation, `standalone` says what it means by itself."""
        self._require_question(question)
        one = redacted(question, self.config, redactor)
        if standalone is not None:
            began = perf_counter()
            one.text = standalone(one.text)
            one.traced("conversation", began, standalone=one.text)
        return one

    def _searched_for(self, one: Asked) -> tuple[Query, list[Notice]]:
        """What is searched for, and the red flags of the question."""
        began = perf_counter()
        query = self._rewritten(one.text)
        detail: dict[str, Any] = {"changes": list(query.changes), "clinical": clinical(asked(query))}
        rewriting = TraceEntry(step="rewriting", milliseconds=since(began), detail=detail)
        flags = triaged(one, query)
        one.steps.append(rewriting)
        return query, flags

    def _found(self, view: View, queries: Sequence[Query], filter: Filter | None) -> list[list[Evidence]]:
        """The evidence for each query: distinct passages within the budget, small documents whole."""
        from chimed_rag.retrieval.evidence import collect_evidence, with_whole_documents

        budget = self.config.evidence
        # More than the budget, because duplicates will be left out and neighbours keep what the retrievers gave them.
        ranked = self._ranked(view, queries, 5 * budget.passages, filter)
        passages = view.index.passages([item.row for items in ranked for item in items[: 2 * budget.passages]])
        return [
            with_whole_documents(
                collect_evidence(items[: 2 * budget.passages], passages, budget), items, view.index, budget
            )
            for items in ranked
        ]

    def _retrieved(
        self, view: View, begun: Sequence[Asked], queries: Sequence[Query], filter: Filter | None
    ) -> list[list[Evidence]]:
        began = perf_counter()
        evidence = self._found(view, queries, filter)
        detail: dict[str, Any] = {
            "index": str(view.index.folder.name),
            "generation": view.index.manifest.generation,
            "encoder": self.encoder.spec.fingerprint[:16],
            "retrievers": [retriever.name for retriever in view.retriever.retrievers],
            "reranker": self.reranker.name if self.reranker is not None else None,
        }
        for one in begun:
            one.traced("retrieval", began, **detail)
        return evidence

    def _answering(self, view: View, refusal: RefusalRule | None, cancel: Flag) -> Answering:
        learned = (refusal, self._interactions, self._answerability)
        return Answering(view.index, self.config, self.generator, self.nli, *learned, cancel)

    def _answers(
        self,
        begun: Sequence[Asked],
        filter: Filter | None,
        user: str | None,
        *,
        cancel: Flag | None = None,
        refused: bool = True,
        recorded: bool = True,
    ) -> list[Answer]:
        view, cancel = self._view, cancel or Flag()
        answering = self._answering(view, self.refusal if refused else None, cancel)
        searched = [self._searched_for(one) for one in begun]
        evidence = self._retrieved(view, begun, [query for query, _ in searched], filter)
        questions = [
            answering.ready(one, query, found, flags)
            for one, (query, flags), found in zip(begun, searched, evidence, strict=True)
        ]
        answers = []
        for one, answer in zip(begun, answering.answers(questions), strict=True):
            if cancel.is_set():
                raise CancelledError
            final = self._recorded(view, answer, one, filter, user) if self._audit is not None and recorded else answer
            answers.append(one.restored(final))
        return answers

    def _events(
        self, begin: Callable[[], Asked], filter: Filter | None, user: str | None, cancel: Flag
    ) -> Iterator[Event]:
        one, view = begin(), self._view
        answering = self._answering(view, self.refusal, cancel)
        query, flags = self._searched_for(one)
        yield from (NoticeEvent(notice=flag) for flag in flags)
        [found] = self._retrieved(view, [one], [query], filter)
        ready = answering.ready(one, query, found, flags)
        told, shown = list(flags), list[Sentence]()
        with closing(answering.events(ready)) as events:
            try:
                while True:
                    try:
                        event = next(events)
                    except StopIteration as end:
                        answer = end.value
                        break
                    if isinstance(event, NoticeEvent):
                        told.append(event.notice)
                        shown.clear()
                    elif isinstance(event, SentenceEvent):
                        shown.append(event.sentence)
                        event = event.model_copy(update={"sentence": one.restored_sentence(event.sentence)})
                    yield event
            except GeneratorExit:
                events.close()
                if self._audit is not None and shown:
                    self._recorded(view, answering.interrupted(ready, tuple(shown)), one, filter, user)
                raise
        if self._audit is not None:
            answer = self._recorded(view, answer, one, filter, user)
        yield from (NoticeEvent(notice=notice) for notice in answer.notices if notice not in told)
        yield DoneEvent(answer=one.restored(answer))

    def _recorded(self, view: View, answer: Answer, one: Asked, filter: Filter | None, user: str | None) -> Answer:
        from chimed_rag.safety.audit import Details, index_details

        assert self._audit is not None
        began = perf_counter()
        details = Details.model_validate(
            {
                "user": user,
                "reranker": self.reranker.name if self.reranker is not None else None,
                "filter": filter,
                "config": self.config.model_dump(mode="json"),
                **index_details(view.index.manifest, view.index.folder.resolve().name),
            }
        )
        record = self._audit.record(answer, question=one.text, details=details)
        entry = TraceEntry(step="audit", milliseconds=since(began), detail={"id": record})
        return answer.model_copy(update={"trace": (*answer.trace, entry)})

    # -- other people's interfaces ----------------------------------------------------------------------------------

    def as_retriever(self, k: int = 10, filter: Filter | None = None) -> Any:
        """A LangChain retriever over `search` (needs the `langchain` extra)."""
        return registry.adapters.get("retriever")(self, k=k, filter=filter)

    def as_runnable(self) -> Any:
        """A LangChain runnable: question in, `Answer` out (needs the `langchain` extra)."""
        return registry.adapters.get("runnable")(self)

    def close(self) -> None:
        """Closes the index files, and the model if it was loaded by this object; it cannot be asked afterwards."""
        if "_threads" in self.__dict__:
            self._threads.shutdown(wait=False, cancel_futures=True)
        if self._owns_generator and is_language_model(self.generator):
            self.generator.close()
        super().close()

    def __repr__(self) -> str:
        counts = self._view.index.manifest.counts
        size = f"{counts.documents:,} documents, {counts.chunks:,} passages"
        return f"MedQA({str(self.path)!r}, {size}, generator={self.generator.name!r})"
