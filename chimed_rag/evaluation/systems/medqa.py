"""`MedQA` as a system, with any generator; and what an index says without any model (`evidence_only`).

    kind                     medqa                                     evidence_only
    open_qa, counterfactual  the question is asked                     the same, extractive
    dialogue                 the last turn, made to stand alone by     the same, extractive
                             rule from the turns before it, is asked
    grounding                answered from the sample's passages,      the same, extractive
                             where it brings some; else asked
    choice                   passages found by the stem alone (the     the option that evidence supports best
                             options hidden, as MIRAGE does) are       (`exam.choice`), always a single one
                             shown to the model, which chooses
    attitude                 as choice                                 refused: literature has no opinion
    extraction               the model; without one as evidence_only   names of the lexicon (`systems.taggers`)

Confidence of an answer: how far the best passage is about the question (`query.aboutness`, 0 to 1), less 1 where it
abstains, so that every refusal is below every answer. Of a choice by evidence: the lead over the second best option.

Not covered: sessions that answer each turn by themselves (a dialogue's earlier turns are those of the data), whether
several options are right, and a reranker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from threading import Event as Flag
from time import perf_counter
from typing import Any, Literal

from pydantic import Field

from chimed_rag.answering import Answering
from chimed_rag.condensing import condense
from chimed_rag.config import Config, Generation
from chimed_rag.errors import InputError
from chimed_rag.evaluation.exam.choice import choose, evidence_query
from chimed_rag.evaluation.exam.postings import read_literature
from chimed_rag.evaluation.samples import Prediction, Sample
from chimed_rag.evaluation.systems.base import BatchSystem, Setting, open_system
from chimed_rag.evaluation.systems.models import CHOOSING, ModelOptions, ModelSystem, failed, safely
from chimed_rag.evaluation.systems.options import Options, read_options
from chimed_rag.generation.language_model import LanguageModel
from chimed_rag.medqa import MedQA
from chimed_rag.query.aboutness import aboutness
from chimed_rag.records import Answer, Evidence
from chimed_rag.safety.audit import index_details

K = 5
"""So many passages are found for a question with options, unless an option says otherwise."""


class MedqaOptions(ModelOptions):
    """Those of a model, and `audience`: for whom MedQA answers; a patient is told no unproved dose."""

    audience: Literal["patient", "doctor"] = "patient"


class EvidenceOptions(Options):
    """`k`: passages found; None takes 5 for a choice and the configuration's for an answer. `batch`, `audience`: as of
    `MedqaOptions`."""

    k: int | None = Field(None, ge=1)
    batch: int = Field(16, ge=1)
    audience: Literal["patient", "doctor"] = "patient"


def medqa(setting: Setting) -> BatchSystem:
    """MedQA over `setting.index` with `setting.generator`; options as `MedqaOptions`.

    Raises:
        InputError: a choice needs a language model; or an option is not known.
        IndexError_ and its family, GeneratorError, MissingExtraError: index or model cannot be opened.
    """
    options, kind = read_options(MedqaOptions, setting), setting.task.card.kind
    generator = "auto" if setting.generator is None else setting.generator
    qa = MedQA(setting.index, generator=generator, config=_config(options, options.max_new_tokens, setting.seed))
    if kind not in (*CHOOSING, "extraction"):
        return AnsweringSystem("medqa", setting, qa, options.batch)
    model = qa.generator
    if not isinstance(model, LanguageModel):
        qa.close()
        if kind == "extraction":
            return Renamed("medqa", open_system("lexicon", _bare(setting)))
        raise InputError(
            f"medqa: {model.name!r} is no language model and cannot choose; name one (--generator DIR, OWNER/NAME or "
            "http://HOST/v1), or let the evidence choose (--system evidence_only)"
        )
    own = {key: value for key, value in (setting.options or {}).items() if key != "audience"}
    asked = Setting(**{**vars(setting), "options": own})
    if kind == "extraction":
        return ModelSystem("medqa", asked, model, lambda sample: (), close=qa.close)

    def shows(sample: Sample) -> list[str]:
        return [_headed(one) for one in qa.search(sample.text, options.k or K)]

    return ModelSystem("medqa", asked, model, shows, {**_index_versions(qa), "k": str(options.k or K)}, qa.close)


def evidence_only(setting: Setting) -> BatchSystem:
    """What an index says without a model; options as `EvidenceOptions`. `setting.generator` is not looked at.

    Raises:
        InputError: literature has no opinion (attitude scales), or the index holds nothing to choose by.
        MissingExtraError: choosing takes scipy. IndexError_ and its family: the index cannot be opened.
    """
    kind = setting.task.card.kind
    if kind == "attitude":
        raise InputError(
            "evidence_only: literature has no opinion; ask a model (closed_book, medqa), constant or random"
        )
    options = read_options(EvidenceOptions, setting)
    if kind == "extraction":
        return Renamed("evidence_only", open_system("lexicon", _bare(setting)))
    qa = MedQA(setting.index, generator="extractive", config=_config(options, None, setting.seed))
    if kind == "choice":
        return EvidenceChoice(qa, options.k or K)
    return AnsweringSystem("evidence_only", setting, qa, options.batch)


def _config(options: MedqaOptions | EvidenceOptions, length: int | None, seed: int) -> Config:
    evidence = {} if options.k is None else {"evidence": {"passages": options.k}}
    temperature = options.temperature if isinstance(options, MedqaOptions) else 0.0
    writing: dict[str, Any] = {"temperature": temperature, "seed": seed}
    if length is not None:
        writing["max_new_tokens"] = length
    return Config.model_validate({**evidence, "generation": Generation(**writing), "audience": options.audience})


def _bare(setting: Setting) -> Setting:
    """Without options, which are of another system."""
    return Setting(**{**vars(setting), "options": None})


def _index_versions(qa: MedQA) -> dict[str, str]:
    manifest = qa._view.index.manifest
    name = qa._view.index.folder.resolve().name
    return {key: str(value) for key, value in index_details(manifest, name).items()}


def _headed(passage: Evidence) -> str:
    """A passage with its title and headings before it, without which 【禁忌】 says nothing."""
    places = dict.fromkeys(filter(None, (passage.title, *passage.headings)))
    return f"{' > '.join(places)}：{passage.text}" if places else passage.text


class Renamed:
    """A system that stands in for another one."""

    def __init__(self, name: str, system: BatchSystem) -> None:
        self.name, self._system = name, system
        self.versions: dict[str, str] = {"by": system.name, **system.versions}

    def __call__(self, sample: Sample) -> Prediction:
        """What the other one says."""
        return self._system(sample)

    def predict(self, samples: Sequence[Sample]) -> Iterator[Prediction]:
        """What the other one says to each."""
        return self._system.predict(samples)


class AnsweringSystem:
    """Asks `MedQA`, batch by batch; what fails is an error of its sample.

    Args:
        name: of the system.
        setting: task and options.
        qa: answers.
        batch: so many questions are asked together.
    """

    def __init__(self, name: str, setting: Setting, qa: MedQA, batch: int) -> None:
        self.name, self._qa, self._size = name, qa, batch
        self._kind = setting.task.card.kind
        described = qa.generator.describe() if isinstance(qa.generator, LanguageModel) else {}
        budget = qa.config.evidence
        self.versions: dict[str, str] = {
            "generator": qa.generator.name,
            **described,
            **_index_versions(qa),
            "passages": f"{budget.passages}, {budget.characters} characters",
            "audience": qa.config.audience,
        }

    def __call__(self, sample: Sample) -> Prediction:
        """The answer to one sample."""
        [one] = self.predict([sample])
        return one

    def predict(self, samples: Sequence[Sample]) -> Iterator[Prediction]:
        """The answer to each, in order."""
        for start in range(0, len(samples), self._size):
            batch = samples[start : start + self._size]
            began = perf_counter()
            answers = safely(self._answers, batch)
            each = (perf_counter() - began) / len(batch)
            for sample, answer in zip(batch, answers, strict=True):
                yield (
                    failed(sample, answer, each) if isinstance(answer, Exception) else self._said(sample, answer, each)
                )

    def close(self) -> None:
        """Closes the index, and the model if it was opened for it."""
        self._qa.close()

    def _answers(self, samples: Sequence[Sample]) -> list[Answer | Exception]:
        shown = [self._kind == "grounding" and bool(sample.passages) for sample in samples]
        asked = [question(one, self._kind) for one, has in zip(samples, shown, strict=True) if not has]
        given = [one for one, has in zip(samples, shown, strict=True) if has]
        found = iter(self._qa.ask_many(asked) if asked else [])
        from_given = iter(answers_from(self._qa, given) if given else [])
        return [next(from_given if has else found) for has in shown]

    def _said(self, sample: Sample, answer: Answer, seconds: float) -> Prediction:
        weight = self._weight if answer.evidence else None
        about = max(aboutness(answer.question, answer.evidence, weight), default=0.0)
        return Prediction(
            id=sample.id,
            text=answer.text,
            answer=answer,
            passages=tuple(passage.text for passage in answer.evidence),
            confidence=about - (answer.abstention is not None),
            seconds=seconds,
        )

    @cached_property
    def _weight(self) -> Callable[[str], float]:
        return cache(self._qa._view.index.lexical.inverse_document_frequency)


def question(sample: Sample, kind: str) -> str:
    """What is asked: in a dialogue the last turn, made to stand alone from what was said before."""
    if kind != "dialogue":
        return sample.text
    said = {role: [turn["content"] for turn in sample.turns if turn["role"] == role] for role in ("user", "assistant")}
    return condense(sample.text, said["user"], said["assistant"]).text


@dataclass(frozen=True)
class _FromGiven(Answering):
    """Answers from passages that lie in no index; `texts` are theirs, by the ids of documents that stand for them."""

    texts: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def _document(self) -> Callable[[str], str]:
        return lambda document: self.texts.get(document, "")


def answers_from(qa: MedQA, samples: Sequence[Sample]) -> list[Answer]:
    """Answers from the samples' own passages, each a document of its own, through everything but retrieval.

    How much a term tells is taken from the literature that `qa` has open.
    """
    texts = {f"{s.id}#{n}": passage for s in samples for n, passage in enumerate(s.passages, 1)}
    view = qa._view
    answering = _FromGiven(view.index, qa.config, qa.generator, qa.nli, qa.refusal, qa._interactions, Flag(), texts)
    ready = []
    for sample in samples:
        one = qa._asked(sample.text)
        query, flags = qa._searched_for(one)
        ready.append(answering.ready(one, query, given(sample), flags))
    return [one.one.restored(answer) for one, answer in zip(ready, answering.answers(ready), strict=True)]


def given(sample: Sample) -> list[Evidence]:
    """The passages of a sample as evidence; a first line that is one of its metadata's `titles` is told apart."""
    titles = sample.metadata.get("titles")
    called = titles if isinstance(titles, list) and len(titles) == len(sample.passages) else [""] * len(sample.passages)
    found = []
    for number, (passage, title) in enumerate(zip(sample.passages, map(str, called), strict=True), 1):
        start = len(title) + 1 if title and passage.startswith(f"{title}\n") else 0
        place = f"{sample.id}#{number}"
        found.append(
            Evidence(
                number=number, chunk_id=place, document_id=place, title=title, text=passage[start:], start=start,
                end=len(passage), score=1 / number,
            )
        )  # fmt: skip
    return found


class EvidenceChoice:
    """The option that the literature supports best; it is read into memory once, when this is made.

    Args:
        qa: with the index open.
        k: so many passages, found for stem and options together, are shown beside the choice.

    Raises:
        InputError: the index is empty. MissingExtraError: scipy is not installed.
    """

    name = "evidence_only"

    def __init__(self, qa: MedQA, k: int) -> None:
        self._index, self._k, self.close = qa._view.index, k, qa.close
        if not len(self._index):
            raise InputError(f"{qa.path}: holds no passage to choose by")
        self._literature = read_literature(self._index)
        self.versions: dict[str, str] = {**_index_versions(qa), "k": str(k)}

    def __call__(self, sample: Sample) -> Prediction:
        """The choice for one sample."""
        began = perf_counter()
        labels, texts = list(sample.options), list(sample.options.values())
        if not labels:
            return failed(sample, InputError("a choice takes options, and there are none"))
        scores = choose(self._literature, sample.text, texts)
        best, *others = sorted(scores.tolist(), reverse=True)
        rows = [row for _, row in self._index.rank_lexical([evidence_query(sample.text, texts)], self._k)[0]]
        stored = self._index.passages(rows)
        return Prediction(
            id=sample.id,
            text=labels[int(scores.argmax())],
            passages=tuple(stored[row].chunk.text for row in rows),
            confidence=best - others[0] if others else 0.0,
            seconds=perf_counter() - began,
        )

    def predict(self, samples: Sequence[Sample]) -> Iterator[Prediction]:
        """The choice for each, in order."""
        for sample in samples:
            try:
                yield self(sample)
            except Exception as error:  # of one sample: the others are asked all the same
                yield failed(sample, error)
