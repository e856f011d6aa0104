"""From evidence to an answer, whole or sentence by sentence: injection -> abstention -> generator -> proof -> conflicts
-> policy.

What comes before (redaction, triage, retrieval) and after (audit) lies in `medqa`; what each step decides, in the rooms
below. Everything here holds pseudonyms still.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache, partial
from threading import Event as Flag
from time import perf_counter
from typing import TYPE_CHECKING, Any

from chimed_rag import registry
from chimed_rag.asking import Asked
from chimed_rag.errors import GeneratorError
from chimed_rag.generation.base import is_language_model
from chimed_rag.generation.replies import is_not_told
from chimed_rag.query.rewriting import understood
from chimed_rag.records import (
    Abstention,
    Answer,
    Draft,
    DraftSentence,
    Event,
    Evidence,
    EvidenceEvent,
    Notice,
    NoticeEvent,
    Query,
    Sentence,
    SentenceEvent,
)

if TYPE_CHECKING:
    from chimed_rag.config import Config
    from chimed_rag.generation.base import Generator as Writer
    from chimed_rag.indexing.index import Index
    from chimed_rag.query.question import TermWeight
    from chimed_rag.safety.answerability import Answerability
    from chimed_rag.safety.calibration import RefusalRule
    from chimed_rag.safety.citations import Entails
    from chimed_rag.safety.interactions import Interactions

STANDS_IN = "模型写的内容大部分没有通过与文献的核对，下面改为直接摘录文献原文。"
"""What the reader is told when the extractive answer stands in for a draft."""
FAILED = "语言模型没有写完回答，下面改为直接摘录文献原文。"
"""And what, when it stands in for a model that failed."""
INTERRUPTED = "回答没有写完就被中断，以下是已经显示的部分。"
"""What the record of an answer says whose reader left before its end."""
NOT_TOLD = Abstention(reason="weak_evidence", text="语言模型读过检索到的文献，认为其中没有说明这个问题，因此不作回答。")
"""The refusal of a model that was told to say so where the passages do not answer."""
_NOTHING_SAID = "检索到的文献中没有能直接回答这个问题的句子，因此不作回答。"
_NOTHING_LEFT = "文献中与问题有关的内容涉及为具体的人定药或定量，这需要医生当面决定，因此不作回答。"
_URGENT = "这可能是急症，请先按上面的紧急提示处理。"

log = logging.getLogger(__name__)
_REPEATED = 5  # characters of a question in a row: no chance
Lines = tuple[Sentence, ...]


@dataclass
class Ready:
    """A question with its evidence, about to be answered or refused; `safe` is the evidence without orders in it."""

    one: Asked
    meant: str
    found: list[Evidence]
    safe: list[Evidence]
    flags: list[Notice]
    abstention: Abstention | None


@dataclass(frozen=True)
class Answering:
    """How questions are answered from one generation of an index; `cancel` tells a model to stop."""

    index: Index
    config: Config
    generator: Writer
    nli: Entails | None
    refusal: RefusalRule | None
    interactions: Interactions | None
    answerability: Answerability | None
    cancel: Flag

    # -- before a draft ---------------------------------------------------------------------------------------------

    def ready(self, one: Asked, query: Query, found: list[Evidence], flags: list[Notice]) -> Ready:
        """The evidence without orders to a model, and whether it is enough to answer from."""
        from chimed_rag.safety.injection import neutralised

        began = perf_counter()
        safe, injected = neutralised(found)
        one.notices += injected
        one.traced("injection", began, rules=[notice.rule for notice in injected])
        meant = understood(query)
        return Ready(one, meant, found, safe, flags, self._refused(one, meant, safe, bool(flags)))

    def _refused(self, one: Asked, meant: str, found: Sequence[Evidence], urgent: bool) -> Abstention | None:
        """Why the evidence is not enough, if it is not."""
        from chimed_rag.safety.abstention import judge

        began = perf_counter()
        abstention = judge(meant, found, term_weight=self._weight, emergency=urgent)
        if self.answerability is not None and (abstention is None or abstention.reason == "weak_evidence"):
            learned = None if urgent else self.answerability.decide(meant, found, self._weight)
            abstention = learned and (abstention or learned)
        if abstention is None and self.refusal is not None:
            from chimed_rag.safety.calibration import decide

            abstention = decide(self.refusal, meant, found, self._weight)
        if abstention is not None and urgent:
            abstention = Abstention(reason="emergency", text=f"{_URGENT}{abstention.text}")
        rules = {"learned": self.answerability is not None, "calibrated": self.refusal is not None}
        one.traced("abstention", began, reason=abstention and abstention.reason, **rules)
        return abstention

    # -- all at once, or as it is written ---------------------------------------------------------------------------

    def answers(self, questions: Sequence[Ready]) -> Iterator[Answer]:
        """The answers, in order; a language model writes all their drafts in one go."""
        drafts = iter(self._drafts([ready for ready in questions if ready.abstention is None]))
        for ready in questions:
            if ready.abstention is not None:
                yield self.answer(ready, ())
                continue
            draft = next(drafts)
            if isinstance(draft, GeneratorError):
                self._told(ready, draft)
                yield self.answer(ready, self._enough(ready, [], failed=True))
                continue
            said = [sentence for sentence in draft.sentences if not is_not_told(sentence.text)]
            checked = self._proved(ready, said)
            if draft.sentences and not said:
                ready.abstention = NOT_TOLD
            yield self.answer(ready, self._enough(ready, checked) if ready.abstention is None else ())

    def events(self, ready: Ready) -> Generator[Event, None, Answer]:
        """Evidence, then each sentence as soon as it has passed; returns the answer. Closing it stops the generator."""
        yield EvidenceEvent(evidence=tuple(ready.found))
        shown: Lines = ()
        sentences: Lines = ()
        if ready.abstention is None:
            checked, failed, not_told, spent = list[Sentence](), False, False, 0.0
            try:
                with closing(self._written(ready)) as written:
                    for said in written:
                        if is_not_told(said.text):
                            not_told = True
                            continue
                        began = perf_counter()
                        checked += self._checked(ready, [said])
                        passed = self._showable(checked)
                        spent += perf_counter() - began
                        yield from (SentenceEvent(sentence=sentence) for sentence in passed[len(shown) :])
                        shown = passed
            except GeneratorError as error:
                self._told(ready, error)
                failed = True
            ready.one.traced("citations", perf_counter() - spent, **_counts(checked))
            noticed = len(ready.one.notices)
            if not_told and not checked and not failed:
                ready.abstention = NOT_TOLD
            else:
                sentences = self._enough(ready, checked, failed=failed)
            if instead := ready.one.notices[noticed:]:
                yield from (NoticeEvent(notice=notice) for notice in instead)
                shown = ()
        answer = self.answer(ready, sentences)
        yield from (SentenceEvent(sentence=sentence) for sentence in answer.sentences[len(shown) :])
        return answer

    def _drafts(self, questions: Sequence[Ready]) -> list[Draft | GeneratorError]:
        began = perf_counter()
        drafts: list[Draft | GeneratorError] = []
        if is_language_model(self.generator):
            drafts = self.generator.generate_many([(one.meant, one.safe) for one in questions], cancel=self.cancel)
        for place, ready in enumerate(questions):
            if not is_language_model(self.generator):
                began = perf_counter()
                drafts.append(self._draft(ready))
            draft = drafts[place]
            if isinstance(draft, GeneratorError):
                self._traced(ready, began, sentences=0, finish="failed")
            else:
                self._traced(ready, began, sentences=len(draft.sentences), finish=draft.finish)
        return drafts

    def _draft(self, ready: Ready) -> Draft | GeneratorError:
        try:
            return self.generator.generate(ready.meant, ready.safe, term_weight=self._weight)
        except GeneratorError as error:
            return error

    def _written(self, ready: Ready) -> Generator[DraftSentence, None, None]:
        """The sentences of the draft, each as soon as it is there."""
        spent, began = 0.0, perf_counter()  # what the reader of this generator does meanwhile is not its time
        told: dict[str, Any] = {"sentences": 0, "finish": "cancelled"}
        try:
            with closing(self._writing(ready)) as written:
                while True:
                    try:
                        said = next(written)
                    except StopIteration as end:
                        told["finish"] = end.value.finish
                        return
                    spent += perf_counter() - began
                    if not told["sentences"]:
                        told["first_sentence_ms"] = round(spent * 1000, 3)
                    told["sentences"] += 1
                    yield said
                    began = perf_counter()
        except GeneratorError:
            told["finish"] = "failed"
            raise
        finally:
            self._traced(ready, perf_counter() - spent, **told)

    def _writing(self, ready: Ready) -> Generator[DraftSentence, None, Draft]:
        if is_language_model(self.generator):
            return (yield from self.generator.write(ready.meant, ready.safe, cancel=self.cancel))
        draft = self.generator.generate(ready.meant, ready.safe, term_weight=self._weight)
        yield from draft.sentences
        return draft

    def _told(self, ready: Ready, error: GeneratorError) -> None:
        """Whoever runs this learns why the model failed, never the words of the question, which a server may repeat."""
        asked, why = ready.one.text + ready.one.said, str(error)
        if any(asked[place : place + _REPEATED] in why for place in range(len(asked) - _REPEATED + 1)):
            why = f"{type(error).__name__} (what it says repeats the question, and is not logged)"
        log.warning("%s failed, the extractive answer stands in: %s", self.generator.name, why)

    def _traced(self, ready: Ready, began: float, **detail: Any) -> None:
        described = self.generator.describe() if is_language_model(self.generator) else {}
        ready.one.traced("generation", began, generator=self.generator.name, **described, **detail)

    # -- from a draft to what may be shown --------------------------------------------------------------------------

    def _checked(self, ready: Ready, said: Sequence[DraftSentence]) -> Lines:
        from chimed_rag.safety.citations import verify

        draft = Draft(generator=self.generator.name, sentences=tuple(said))
        return verify(draft, ready.found, self._document, nli=self.nli)

    def _proved(self, ready: Ready, said: Sequence[DraftSentence]) -> Lines:
        """The sentences with their verdicts, and the step traced."""
        began = perf_counter()
        checked = self._checked(ready, said)
        ready.one.traced("citations", began, **_counts(checked))
        return checked

    def _enough(self, ready: Ready, checked: Sequence[Sentence], *, failed: bool = False) -> Lines:
        """The sentences of a draft that stay; of an extractive draft, if too few are proved or the model failed."""
        supported, least = _supported(checked), self.config.least_supported
        too_few = least and (not supported or supported < least * len(checked))
        if (too_few or failed) and self.generator.name != "extractive":
            began = perf_counter()
            extractive: Writer = registry.generators.get("extractive")()
            draft = extractive.generate(ready.meant, ready.safe, term_weight=self._weight)
            ready.one.traced("generation", began, generator=extractive.name, sentences=len(draft.sentences))
            instead = self._proved(ready, draft.sentences)
            if _supported(instead):
                text, rule = (FAILED, "generator_failed") if failed else (STANDS_IN, "least_supported")
                ready.one.notices.append(Notice(kind="extractive", text=text, rule=rule))
                checked = instead
        return self._kept(checked)

    def _kept(self, checked: Sequence[Sentence]) -> Lines:
        drop = self.config.unsupported == "drop"
        return tuple(sentence for sentence in checked if sentence.verdict == "supported" or not drop)

    def _showable(self, checked: Sequence[Sentence]) -> Lines:
        """Those of the sentences so far that the reader may see; what comes after them takes none away."""
        from chimed_rag.safety.policy import showable

        kept = self._kept(checked)
        return showable(kept, audience=self.config.audience) if _supported(kept) else ()

    def interrupted(self, ready: Ready, shown: Lines) -> Answer:
        """What became of an answer whose reader left before its end."""
        ready.one.notices.append(Notice(kind="interrupted", text=INTERRUPTED, rule="interrupted"))
        return self.answer(ready, shown)

    def answer(self, ready: Ready, sentences: Lines) -> Answer:
        """The answer with these sentences, as far as policy lets them through, and all notices."""
        from chimed_rag.safety.conflicts import conflicts
        from chimed_rag.safety.policy import review

        one, abstention = ready.one, ready.abstention
        if abstention is None and not _supported(sentences):
            sentences, abstention = (), Abstention(reason="weak_evidence", text=_NOTHING_SAID)
        began = perf_counter()
        disagreements = conflicts(ready.meant, sentences, ready.found) if sentences else []
        one.notices += [Notice(kind="conflict", text=item.text, rule=item.kind) for item in disagreements]
        one.traced("conflicts", began, kinds=[item.kind for item in disagreements])
        began = perf_counter()
        reviewed = review(
            "\n".join(dict.fromkeys((one.said, one.text))),
            sentences,
            audience=self.config.audience,
            starter=any(item.metadata.get("notice") == "demonstration" for item in ready.found),
            triage_notices=ready.flags,
            interactions=self.interactions,
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
            evidence=tuple(ready.found),
            abstention=abstention,
            notices=reviewed.notices,
            generator=self.generator.name,
            trace=tuple(one.steps),
        )

    @cached_property
    def _weight(self) -> TermWeight:
        return cache(self.index.lexical.inverse_document_frequency)

    @cached_property
    def _document(self) -> Callable[[str], str]:
        return lru_cache(maxsize=64)(partial(_text, self.index))


def _counts(checked: Sequence[Sentence]) -> dict[str, int]:
    return {"drafted": len(checked), "supported": _supported(checked)}


def _supported(sentences: Sequence[Sentence]) -> int:
    return sum(sentence.verdict == "supported" for sentence in sentences)


def _text(index: Index, document_id: str) -> str:
    document = index.document(document_id)
    return document.text if document is not None else ""
