"""MedQA: the whole flow in one place; what happens at each step lives in the rooms below.

    question -> redaction -> triage -> rewriting -> retrieval -> evidence -> injection -> abstention -> generator
    -> proof -> conflicts -> policy -> audit -> Answer

Not covered: conversations and streaming, which have rooms of their own.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from chimed_rag import registry
from chimed_rag.asking import Asked, audit_log, interactions, redacted, refusal_rule, since, triaged
from chimed_rag.config import Chunking, Config
from chimed_rag.literature import STARTER_INDEX, Literature, View, configured, ready_reranker
from chimed_rag.query.rewriting import asked, clinical, understood
from chimed_rag.records import Abstention, Answer, Draft, Evidence, Notice, Query, Sentence, TraceEntry

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from chimed_rag.corpus.sources import Reading
    from chimed_rag.encoders.adapt import Adaptation
    from chimed_rag.encoders.base import Encoder
    from chimed_rag.generation.base import Generator
    from chimed_rag.indexing.commit import Progress
    from chimed_rag.indexing.filters import Filter
    from chimed_rag.indexing.index import Index
    from chimed_rag.indexing.manifest import Storage
    from chimed_rag.query.question import TermWeight
    from chimed_rag.retrieval.rerank import Reranker
    from chimed_rag.safety.calibration import Question, RefusalRule
    from chimed_rag.safety.citations import Entails

__all__ = ["STARTER_INDEX", "MedQA"]

log = logging.getLogger(__name__)

STANDS_IN = "模型写的内容大部分没有通过与文献的核对，下面改为直接摘录文献原文。"
"""What the reader is told when the extractive answer stands in for a draft."""


class MedQA(Literature):
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
        refusal: a rule that `calibrate` made, or the path of its JSON; None takes what the configuration names.
        nli: the last step of the proof, see `safety.citations.verify`.

    Raises:
        IndexMissingError, IndexDamagedError, IndexMismatchError: the folder cannot be opened as an index.
        UnknownNameError: no generator or reranker has that name.
        EncoderError: the model of the encoder or of the reranker cannot be loaded.
        InputError: the refusal rule or the interaction table cannot be read.
        AuditError: the audit log cannot be written.
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
        refusal: RefusalRule | str | Path | None = None,
        nli: Entails | None = None,
    ) -> None:
        super().__init__(index, reranker=reranker, config=config, encoder=encoder, device=device)
        self.generator: Generator = registry.generators.get(generator)() if isinstance(generator, str) else generator
        self.nli = nli
        self.refusal = refusal_rule(refusal or self.config.refusal)
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

        config = configured(config)
        require_free(Path(path), overwrite=overwrite)
        ready = ready_reranker(reranker, config)  # what cannot be loaded is told before hours of encoding, not after
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
        """`ask` for many questions, retrieved in one go."""
        return self._answers(questions, filter, user, self.refusal)

    async def aask(self, question: str, *, filter: Filter | None = None, user: str | None = None) -> Answer:
        """`ask` without blocking the event loop; works inside a notebook's running loop."""
        import asyncio

        return await asyncio.to_thread(partial(self.ask, question, filter=filter, user=user))

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
        answers = self._answers([one.question for one in asked_of], None, None, None, recorded=False)
        trials = [
            trial(one, understood(self._query(one.question)), answer, weight)
            for one, answer in zip(asked_of, answers, strict=True)
        ]
        manifest = self._view.index.manifest
        system = f"{manifest.encoder.fingerprint[:16]}, generation {manifest.generation}, {self.generator.name}"
        self.refusal = fit(trials, risk=risk, confidence=confidence, seed=seed, system=system)
        return self.refusal

    def _answers(
        self,
        questions: Sequence[str],
        filter: Filter | None,
        user: str | None,
        refusal: RefusalRule | None,
        *,
        recorded: bool = True,
    ) -> list[Answer]:
        from chimed_rag.retrieval.evidence import collect_evidence, with_whole_documents

        view = self._view
        for question in questions:
            self._require_question(question)
        begun = [redacted(question, self.config) for question in questions]
        began = perf_counter()
        queries = [self._rewritten(one.text) for one in begun]
        detail: dict[str, Any] = {
            "changed": [bool(query.changes) for query in queries],
            "changes": [list(query.changes) for query in queries],
            "clinical": [clinical(asked(query)) for query in queries],
        }
        rewriting = TraceEntry(step="rewriting", milliseconds=since(began), detail=detail)
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
            milliseconds=since(began),
            detail={
                "index": str(view.index.folder.name),
                "generation": view.index.manifest.generation,
                "encoder": self.encoder.spec.fingerprint[:16],
                "retrievers": [retriever.name for retriever in view.retriever.retrievers],
                "reranker": self.reranker.name if self.reranker is not None else None,
            },
        )
        answers = []
        for one, query, found in zip(begun, queries, evidence, strict=True):
            flags = triaged(one, query)
            one.steps += [rewriting, retrieval]
            answer = self._answer(view, one, query, found, flags, refusal)
            if self._audit is not None and recorded:
                answer = self._recorded(view, answer, one, filter, user)
            answers.append(one.restored(answer))
        return answers

    def _answer(
        self,
        view: View,
        one: Asked,
        query: Query,
        found: list[Evidence],
        flags: list[Notice],
        refusal: RefusalRule | None,
    ) -> Answer:
        """From evidence to an answer that holds pseudonyms still."""
        from chimed_rag.safety.conflicts import conflicts
        from chimed_rag.safety.injection import neutralised
        from chimed_rag.safety.policy import review

        meant = understood(query)
        weight = cache(view.index.lexical.inverse_document_frequency)
        began = perf_counter()
        safe, injected = neutralised(found)
        one.notices += injected
        one.traced("injection", began, rules=[notice.rule for notice in injected])
        abstention = self._refused(one, meant, safe, weight, bool(flags), refusal)
        sentences: tuple[Sentence, ...] = ()
        if abstention is None:
            sentences = self._proved(view, one, meant, found, safe, weight)
            if not any(sentence.verdict == "supported" for sentence in sentences):
                sentences, abstention = (), Abstention(reason="weak_evidence", text=_NOTHING_SAID)
        began = perf_counter()
        disagreements = conflicts(meant, sentences, found) if sentences else []
        one.notices += [Notice(kind="conflict", text=item.text, rule=item.kind) for item in disagreements]
        one.traced("conflicts", began, kinds=[item.kind for item in disagreements])
        began = perf_counter()
        reviewed = review(
            one.text,
            sentences,
            audience=self.config.audience,
            starter=any(item.metadata.get("notice") == "demonstration" for item in found),
            triage_notices=flags,
            interactions=self._interactions,
            disclaimers=self.config.disclaimers,
            extra=one.notices,
        )
        one.traced("policy", began, notices=[f"{notice.kind}:{notice.rule}" for notice in reviewed.notices])
        if abstention is None and not reviewed.sentences:
            abstention = Abstention(reason="out_of_scope", text=_NOTHING_LEFT)
        shown = reviewed.sentences if abstention is None else ()
        return Answer(
            question=one.text,
            text=abstention.text if abstention is not None else "".join(s.text for s in shown),
            sentences=shown,
            citations=tuple(citation for sentence in shown for citation in sentence.citations),
            evidence=tuple(found),
            abstention=abstention,
            notices=reviewed.notices,
            generator=self.generator.name,
            trace=tuple(one.steps),
        )

    def _refused(
        self,
        one: Asked,
        meant: str,
        found: Sequence[Evidence],
        weight: TermWeight,
        urgent: bool,
        refusal: RefusalRule | None,
    ) -> Abstention | None:
        """Why the evidence is not enough, if it is not."""
        from chimed_rag.safety.abstention import judge

        began = perf_counter()
        abstention = judge(meant, found, term_weight=weight, emergency=urgent)
        if abstention is None and refusal is not None:
            from chimed_rag.safety.calibration import decide

            abstention = decide(refusal, meant, found, weight)
        if abstention is not None and urgent:
            abstention = Abstention(reason="emergency", text=f"{_URGENT}{abstention.text}")
        one.traced("abstention", began, reason=abstention and abstention.reason, calibrated=refusal is not None)
        return abstention

    def _proved(
        self,
        view: View,
        one: Asked,
        meant: str,
        found: Sequence[Evidence],
        safe: Sequence[Evidence],
        weight: TermWeight,
    ) -> tuple[Sentence, ...]:
        """The sentences of the draft that may be shown; those of an extractive draft if too few of them are proved."""
        from chimed_rag.safety.citations import verify

        documents = cache(partial(_text, view.index))

        def proved(generator: Generator) -> tuple[Draft, tuple[Sentence, ...]]:
            began = perf_counter()
            draft = generator.generate(meant, safe, term_weight=weight)
            one.traced("generation", began, generator=generator.name, sentences=len(draft.sentences))
            began = perf_counter()
            checked = verify(draft, found, documents, nli=self.nli)
            supported = sum(sentence.verdict == "supported" for sentence in checked)
            one.traced("citations", began, drafted=len(checked), supported=supported)
            return draft, checked

        draft, checked = proved(self.generator)
        supported = sum(sentence.verdict == "supported" for sentence in checked)
        least = self.config.least_supported
        too_few = least and (not supported or supported < least * len(draft.sentences))
        if too_few and self.generator.name != "extractive":
            _, instead = proved(registry.generators.get("extractive")())
            if any(sentence.verdict == "supported" for sentence in instead):
                one.notices.append(Notice(kind="extractive", text=STANDS_IN, rule="least_supported"))
                checked = instead
        drop = self.config.unsupported == "drop"
        return tuple(sentence for sentence in checked if sentence.verdict == "supported" or not drop)

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

    def __repr__(self) -> str:
        counts = self._view.index.manifest.counts
        size = f"{counts.documents:,} documents, {counts.chunks:,} passages"
        return f"MedQA({str(self.path)!r}, {size}, generator={self.generator.name!r})"


_NOTHING_SAID = "检索到的文献中没有能直接回答这个问题的句子，因此不作回答。"
_NOTHING_LEFT = "文献中与问题有关的内容涉及为具体的人定药或定量，这需要医生当面决定，因此不作回答。"
_URGENT = "这可能是急症，请先按上面的紧急提示处理。"


def _text(index: Index, document_id: str) -> str:
    document = index.document(document_id)
    return document.text if document is not None else ""
