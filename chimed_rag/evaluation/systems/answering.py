"""Answers of `MedQA` to samples: asked, asked as a follow-up, or answered from the passages that a sample brings.

Confidence: how far the best passage is about the question (`query.aboutness`, 0 to 1), less 1 where MedQA abstains, so
that every refusal is below every answer. A model that failed is answered for by quoted sentences, as in use; the
prediction's `finish` is then "failed".

Not covered: sessions that answer each turn by themselves (a dialogue's earlier turns are those of the data), and a
follow-up put by a model (`rephrasing`): the rule does it, whatever the generator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from threading import Event as Flag
from time import perf_counter

from chimed_rag.answering import Answering
from chimed_rag.condensing import condense
from chimed_rag.evaluation.samples import Prediction, Sample
from chimed_rag.evaluation.systems.base import Setting
from chimed_rag.evaluation.systems.model_system import failed, safely
from chimed_rag.generation.language_model import LanguageModel
from chimed_rag.medqa import MedQA
from chimed_rag.query.aboutness import aboutness
from chimed_rag.records import Answer, Evidence
from chimed_rag.safety.audit import index_details


def index_versions(qa: MedQA) -> dict[str, str]:
    """The index with its generation and the hash of its manifest; its folder's name, not its path."""
    manifest = qa._view.index.manifest
    name = qa._view.index.folder.resolve().name
    return {key: str(value) for key, value in index_details(manifest, name).items()}


def _written_by(model: LanguageModel) -> dict[str, str]:
    """The model, its prompt and how it writes."""
    how = model.settings
    drawn = {"seed": str(how.seed)} if how.temperature else {}
    return {
        **model.describe(),
        "max_new_tokens": str(how.max_new_tokens),
        "temperature": f"{how.temperature:g}",
        **drawn,
    }


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
        described = _written_by(qa.generator) if isinstance(qa.generator, LanguageModel) else {}
        budget = qa.config.evidence
        self.versions: dict[str, str] = {
            "generator": qa.generator.name,
            **described,
            **index_versions(qa),
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
            finish=_finish(answer),
            seconds=seconds,
        )

    @cached_property
    def _weight(self) -> Callable[[str], float]:
        return cache(self._qa._view.index.lexical.inverse_document_frequency)


def _finish(answer: Answer) -> str:
    """Why the model's draft ended; "failed" where it did, and quoted sentences stand in for it."""
    drafts = (step.detail.get("finish") for step in answer.trace if step.step == "generation")
    return str(next(drafts, "") or "")


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
    rules = (qa.refusal, qa._interactions, None)  # what was learned about the literature says nothing of these passages
    answering = _FromGiven(view.index, qa.config, qa.generator, qa.nli, *rules, Flag(), texts)
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
