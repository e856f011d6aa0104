"""A language model asked what a protocol says: the probabilities of options where it tells them, else a greedy reply.

A batch at a time, so that a model writes and weighs many together; what fails is an error of its sample. Passages that
do not fit are left out from the last one on.

Not covered: which passages are shown (`systems.models`, `systems.medqa`), reading replies (`protocols`), and limits of
time (`running`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from time import perf_counter
from typing import Any, Literal, NamedTuple, TypeVar

from pydantic import Field

from chimed_rag.config import Generation
from chimed_rag.errors import ChiMedError, InputError, MissingExtraError
from chimed_rag.evaluation.asking import told
from chimed_rag.evaluation.samples import Prediction, Sample
from chimed_rag.evaluation.systems.base import Setting
from chimed_rag.evaluation.systems.options import Options, read_options
from chimed_rag.generation.base import Message
from chimed_rag.generation.language_model import Completion, LanguageModel, NoProbabilitiesError
from chimed_rag.text import sentence_spans

Shows = Callable[[Sample], Sequence[str]]
"""The passages that a sample is shown with, best first; what it raises becomes the error of the prediction."""
CHOOSING = ("choice", "attitude")
"""Kinds of tasks whose answer is one of the options."""
SHORT, LONG = 64, 512
"""Tokens of a reply that names options, and of any other."""
_LEAST_PASSAGE = 40
"""Of a passage that does not fit, less than so many characters are not worth showing."""
A = TypeVar("A")
B = TypeVar("B")


class ModelOptions(Options):
    """What a model is asked for.

    Attributes:
        mode: "logprobs", the probabilities of the options; "text", a reply; "both". "auto" takes probabilities where
            the model tells them, and a reply to questions of which several options may be right, or where a server
            tells of none of the options (it tells the most probable tokens alone).
        batch: so many samples are asked together.
        max_new_tokens: of a reply; None takes 64 for questions with options and 512 for all others.
        temperature: 0 is greedy.
        k: at most so many passages are shown; None shows all, and retrieves 5.
    """

    mode: Literal["auto", "logprobs", "text", "both"] = "auto"
    batch: int = Field(16, ge=1)
    max_new_tokens: int | None = Field(None, ge=1)
    temperature: float = Field(0.0, ge=0)
    k: int | None = Field(None, ge=1)


class _Asked(NamedTuple):
    sample: Sample
    passages: Sequence[str]
    messages: list[Message]


class ModelSystem:
    """Asks a language model what the protocol says.

    Args:
        name: of the system.
        setting: the task, the protocol and the options.
        model: that is asked.
        shows: the passages of each sample.
        versions: what the passages depend on.
        close: gives back what was opened for it.

    Raises:
        InputError: an option is not known, or probabilities are wanted of a model that tells none.
        GeneratorError: a server cannot be reached.
    """

    def __init__(
        self,
        name: str,
        setting: Setting,
        model: LanguageModel,
        shows: Shows,
        versions: Mapping[str, str] | None = None,
        close: Callable[[], None] | None = None,
    ) -> None:
        self.name, self._shows, self._model, self._close = name, shows, model, close
        self._protocol, self._options = setting.protocol, read_options(ModelOptions, setting)
        kind = setting.task.card.kind
        self._mode = self._mode_for(kind)
        length = self._options.max_new_tokens or (SHORT if kind in CHOOSING else LONG)
        temperature = self._options.temperature
        self._settings: Generation = model.settings.model_copy(
            update={"max_new_tokens": length, "temperature": temperature, "seed": setting.seed}
        )
        self._room = model.context_tokens - min(length, model.context_tokens // 3)
        described = {key: value for key, value in model.describe().items() if not key.startswith("prompt")}
        self.versions: dict[str, str] = {
            **described,
            "prompt": f"{setting.protocol.name}/{kind}",
            "prompt_sha256": self._prompt_sha256(setting.task.samples),
            "mode": self._mode,
            "max_new_tokens": str(length),
            "temperature": f"{temperature:g}",
            **({"seed": str(setting.seed)} if temperature else {}),
            "batch": str(self._options.batch),
            **(versions or {}),
        }

    def __call__(self, sample: Sample) -> Prediction:
        """What the model says to one sample."""
        [one] = self.predict([sample])
        return one

    def predict(self, samples: Sequence[Sample]) -> Iterator[Prediction]:
        """What the model says to each, in order, a batch at a time; whatever fails is an error of its sample."""
        for start in range(0, len(samples), self._options.batch):
            yield from self._batch(samples[start : start + self._options.batch])

    def close(self) -> None:
        """Closes the model and what passages are found in, as far as they were opened for this system."""
        if self._close is not None:
            self._close()

    # -- once ---------------------------------------------------------------------------------------------------------

    def _mode_for(self, kind: str) -> str:
        if kind not in CHOOSING or self._options.mode == "text":
            return "text"
        probe: list[Message] = [{"role": "user", "content": "请只回答字母A或B。"}]
        [likely] = self._model.option_logprobs([probe], [["A", "B"]])
        if isinstance(likely, NoProbabilitiesError):
            if self._options.mode != "auto":
                raise InputError(f"--set mode={self._options.mode}: {likely}; use mode=text")
            return "text"
        if isinstance(likely, ChiMedError):
            raise likely
        return self._options.mode

    def _prompt_sha256(self, samples: Sequence[Sample]) -> str:
        """Of what the first sample is asked without passages: it changes with every change of a prompt's words."""
        words: list[Any] = []
        if samples:
            words = [self._protocol.messages(samples[0]), self._protocol.continuation(samples[0])]
        return sha256(json.dumps(words, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()

    # -- a batch ------------------------------------------------------------------------------------------------------

    def _batch(self, samples: Sequence[Sample]) -> list[Prediction]:
        began = perf_counter()
        asked = [self._asked(sample) for sample in samples]
        ready = [one for one in asked if isinstance(one, _Asked)]
        likely = dict(zip(*self._likely([one for one in ready if self._chooses(one.sample)]), strict=True))
        wants = [one for one in ready if self._replies(one.sample, likely.get(one.sample.id))]
        said = dict(
            zip((one.sample.id for one in wants), safely(self._complete, [one.messages for one in wants]), strict=True)
        )
        each = (perf_counter() - began) / max(len(samples), 1)
        return [
            self._prediction(one, likely.get(one.sample.id), said.get(one.sample.id), each)
            if isinstance(one, _Asked)
            else failed(sample, one, each)
            for sample, one in zip(samples, asked, strict=True)
        ]

    def _asked(self, sample: Sample) -> _Asked | Exception:
        """The sample with as many passages as fit, the last ones left out first, a single one cut at a sentence."""
        try:
            passages = list(self._shows(sample))[: self._options.k]
            while True:
                messages = self._protocol.messages(sample, passages)
                if not passages or self._model.count_tokens(messages) <= self._room:
                    return _Asked(sample, passages, messages)
                passages = passages[:-1] if len(passages) > 1 else _halved(passages[0])
        except MissingExtraError:  # fails all of them
            raise
        except Exception as error:  # of one sample: the others are asked all the same
            return error

    def _chooses(self, sample: Sample) -> bool:
        """Whether its options' probabilities are asked for."""
        if not sample.options or self._mode == "text":
            return False
        return self._mode != "auto" or not sample.multiple

    def _replies(self, sample: Sample, likely: dict[str, float] | Exception | None) -> bool:
        """Whether it is asked for a reply."""
        if isinstance(likely, Exception):
            return False
        return self._mode in ("text", "both") or not sample.options or (self._mode == "auto" and not likely)

    def _likely(self, asked: Sequence[_Asked]) -> tuple[list[str], list[dict[str, float] | Exception]]:
        """Ids, and what the model tells of their options: behind the protocol's plain text, or else in the chat."""
        texts = [(one, self._protocol.continuation(one.sample, one.passages)) for one in asked]
        plain = [(text, list(one.sample.options)) for one, text in texts if text is not None]
        chats = [(one.messages, list(one.sample.options)) for one, text in texts if text is None]
        likely = safely(lambda pairs: self._model.continuation_logprobs(*map(list, zip(*pairs, strict=True))), plain)
        likely += safely(lambda pairs: self._model.option_logprobs(*map(list, zip(*pairs, strict=True))), chats)
        order = [one for one, text in texts if text is not None] + [one for one, text in texts if text is None]
        return [one.sample.id for one in order], likely

    def _complete(self, conversations: Sequence[list[Message]]) -> Sequence[Completion | Exception]:
        return self._model.complete_many(conversations, settings=self._settings)

    def _prediction(
        self,
        one: _Asked,
        likely: dict[str, float] | Exception | None,
        said: Completion | Exception | None,
        seconds: float,
    ) -> Prediction:
        for trouble in (likely, said):
            if isinstance(trouble, Exception):
                return failed(one.sample, trouble, seconds, one.passages)
        assert not isinstance(likely, Exception)
        assert not isinstance(said, Exception)
        return Prediction(
            id=one.sample.id,
            text=said.text if said else "",
            finish=said.finish if said else "",
            logprobs=likely or None,
            passages=tuple(one.passages),
            confidence=math.exp(max(likely.values())) if likely else None,
            seconds=seconds,
        )


def safely(ask: Callable[[Sequence[A]], Sequence[B | Exception]], items: Sequence[A]) -> list[B | Exception]:
    """What is said to each; where asking all together fails, each is asked alone, and its failure is its own."""
    if not items:
        return []
    try:
        return list(ask(items))
    except MissingExtraError:  # it fails them all
        raise
    except Exception as error:
        return [error] if len(items) == 1 else [one for item in items for one in safely(ask, [item])]


def failed(sample: Sample, error: Exception, seconds: float | None = None, passages: Sequence[str] = ()) -> Prediction:
    """A prediction that says what went wrong, in one line."""
    return Prediction(id=sample.id, error=told(error), seconds=seconds, passages=tuple(passages))


def _halved(passage: str) -> list[str]:
    """The sentences of a passage's first half; nothing of one that is short."""
    half = len(passage) // 2
    if half < _LEAST_PASSAGE:
        return []
    end = max((end for _, end in sentence_spans(passage) if end <= half), default=half)
    return [passage[:end]]
