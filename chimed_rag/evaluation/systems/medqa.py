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

Confidence of an answer: see `systems.answering`. Of a choice by evidence: the lead over the second best option; where
no evidence tells the options apart, the first of them is chosen, with none.

Not covered: whether several options are right, and a reranker.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import perf_counter
from typing import Any, Literal

from pydantic import Field

from chimed_rag.config import Config, Generation
from chimed_rag.errors import InputError
from chimed_rag.evaluation.exam.choice import choose, evidence_query
from chimed_rag.evaluation.exam.postings import read_literature
from chimed_rag.evaluation.samples import Prediction, Sample
from chimed_rag.evaluation.systems.answering import AnsweringSystem, index_versions
from chimed_rag.evaluation.systems.base import BatchSystem, Setting, open_system
from chimed_rag.evaluation.systems.model_system import CHOOSING, ModelOptions, ModelSystem, failed
from chimed_rag.evaluation.systems.options import Options, read_options
from chimed_rag.generation.language_model import LanguageModel
from chimed_rag.medqa import MedQA
from chimed_rag.records import Evidence

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

    return ModelSystem("medqa", asked, model, shows, {**index_versions(qa), "k": str(options.k or K)}, qa.close)


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
        self.versions: dict[str, str] = {**index_versions(qa), "k": str(k)}

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
