"""Tasks, a protocol and a model made up for tests of systems."""

from __future__ import annotations

import math
from collections.abc import Sequence
from threading import Event
from typing import Any

from chimed_rag.evaluation.protocols.base import Protocol
from chimed_rag.evaluation.samples import Card, Kind, Prediction, Sample, Score
from chimed_rag.evaluation.statistics import Interval
from chimed_rag.evaluation.systems.base import Setting
from chimed_rag.evaluation.tasks.loading import Task
from chimed_rag.generation.base import Message
from chimed_rag.generation.language_model import Probabilities
from tests.scripted import ScriptedModel


def task(samples: Sequence[Sample], kind: Kind = "choice", **card: Any) -> Task:
    made = Card(
        name="made-up", title="Made up", kind=kind, reader="none:none", source="tests", licence="Apache-2.0",
        split="test", main_metric="accuracy", contamination="none", **card,
    )  # fmt: skip
    return Task(card=made, samples=tuple(samples), data_sha256="0" * 64)


class Plain(Protocol):
    """Passages, question and options, a line each; `greeting` comes first."""

    name = "plain"
    greeting = ""

    def messages(self, sample: Sample, passages: Sequence[str] = ()) -> list[Message]:
        if sample.text == "unaskable":
            raise ValueError("cannot be asked")
        options = [f"{letter}. {text}" for letter, text in sample.options.items()]
        return [{"role": "user", "content": "\n".join([self.greeting, *passages, sample.text, *options])}]

    def score(self, sample: Sample, prediction: Prediction) -> Score:
        return Score(id=sample.id, outcome="scored")

    def metrics(self, samples: Any, predictions: Any, scores: Any) -> dict[str, Interval]:
        return {}


class Continued(Plain):
    """With a plain text behind which the letters are weighed."""

    name = "continued"

    def continuation(self, sample: Sample, passages: Sequence[str] = ()) -> str | None:
        return f"{sample.text}\n答案："


def setting(samples: Sequence[Sample], kind: Kind = "choice", *, protocol: type[Plain] = Plain, **more: Any) -> Setting:
    return Setting(task=task(samples, kind), protocol=protocol(kind), **more)


class Telling(ScriptedModel):
    """Tells probabilities: .7 for the option that the question's first line wants, the rest of .9 for the others."""

    def __init__(self, script: Any = "B", *, wants: str = "B", knows: bool = True) -> None:
        super().__init__(script)
        self._wants, self._knows = wants, knows
        self.weighed: list[Any] = []

    def option_logprobs(
        self,
        conversations: Sequence[Sequence[Message]],
        options: Sequence[Sequence[str]],
        *,
        cancel: Event | None = None,
    ) -> list[Probabilities]:
        self.weighed += list(conversations)
        return [self._of(each) for each in options]

    def continuation_logprobs(
        self, texts: Sequence[str], options: Sequence[Sequence[str]], *, cancel: Event | None = None
    ) -> list[Probabilities]:
        self.weighed += list(texts)
        return [self._of(each) for each in options]

    def _of(self, options: Sequence[str]) -> Probabilities:
        if not self._knows:
            return {}
        return {one: math.log(0.7 if one == self._wants else 0.2 / (len(options) - 1)) for one in options}
