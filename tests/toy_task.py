"""A task, a protocol and systems small enough to reckon by hand, for tests of whatever carries out a run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from chimed_rag.evaluation.protocols.base import PROTOCOLS, Protocol
from chimed_rag.evaluation.samples import Card, Prediction, Sample, Score
from chimed_rag.evaluation.statistics import Interval, clustered_means
from chimed_rag.evaluation.systems.base import SYSTEMS, Setting
from chimed_rag.evaluation.tasks import loading
from chimed_rag.evaluation.tasks.loading import Source, Task, register_card
from chimed_rag.generation.base import Message


def toy_card(**changes: object) -> Card:
    given = {
        "name": "toy", "title": "玩具题", "kind": "choice", "reader": "tests.toy_task:read", "source": "made up",
        "licence": "Apache-2.0", "split": "test", "main_metric": "accuracy", "contamination": "none",
        "files": ("toy.jsonl",), "protocols": ("toy-v1", "toy-lenient"),
    }  # fmt: skip
    return Card.model_validate({**given, **changes})


def read(source: Source, card: Card) -> Iterator[Sample]:
    for row in source.rows():
        yield Sample.model_validate(row.value)


class Toy(Protocol):
    """Right is the very letter; `length` is a mean of the reply's, `long` a ratio of two sums."""

    name = "toy-v1"
    warning = "a toy"
    libraries = ("rich",)
    letters = "ABCD"

    def messages(self, sample: Sample, passages: Sequence[str] = ()) -> list[Message]:
        return [{"role": "user", "content": sample.text}]

    def score(self, sample: Sample, prediction: Prediction) -> Score:
        if prediction.error:
            return Score(id=sample.id, outcome="error")
        said = self.said(prediction.text)
        if not said:
            return Score(id=sample.id, outcome="invalid")
        outcome = "correct" if said == sample.answer else "wrong"
        return Score(id=sample.id, outcome=outcome, values={"length": float(len(prediction.text))}, said=said)

    def said(self, text: str) -> str:
        return text if text in tuple(self.letters) else ""

    def metrics(
        self, samples: Sequence[Sample], predictions: Sequence[Prediction], scores: Sequence[Score]
    ) -> dict[str, Interval]:
        columns = {
            "accuracy": np.array([score.outcome == "correct" for score in scores], dtype=np.float64),
            "length": np.array([score.values.get("length", 0.0) for score in scores]),
        }
        shown = clustered_means(columns, [sample.group for sample in samples])
        above, below = self.parts("long", scores) or ([], [])
        long = sum(above) / (sum(below) or 1)
        return {**shown, "long": Interval(value=long, low=long, high=long), "whole": Interval(value=7, low=7, high=7)}

    def parts(self, metric: str, scores: Sequence[Score]) -> tuple[list[float], list[float]] | None:
        if metric != "long":
            return super().parts(metric, scores)
        lengths = [score.values.get("length", 0.0) for score in scores]
        return [float(score.outcome == "correct") for score in scores], lengths

    def groups(
        self, samples: Sequence[Sample], predictions: Sequence[Prediction], scores: Sequence[Score]
    ) -> dict[str, dict[str, Interval]]:
        return {"all": self.metrics(samples, predictions, scores)}

    def baselines(self, samples: Sequence[Sample]) -> dict[str, dict[str, float]]:
        return {"always A": {"accuracy": sum(sample.answer == "A" for sample in samples) / len(samples)}}


class Lenient(Toy):
    """Takes the first character."""

    name = "toy-lenient"

    def said(self, text: str) -> str:
        return text[:1] if text[:1] in tuple(self.letters) else ""


class Always:
    """Says one letter to everything; can take many samples at once."""

    def __init__(self, setting: Setting) -> None:
        self.letter, self.name, self.versions = setting.answer, "always", {"letter": setting.answer}
        self.closed = 0

    def __call__(self, sample: Sample) -> Prediction:
        return Prediction(id=sample.id, text=self.letter, seconds=0.5)

    def predict(self, samples: Sequence[Sample]) -> Iterator[Prediction]:
        yield from map(self, samples)

    def close(self) -> None:
        self.closed += 1


def toy_samples(n: int, answers: str = "ABCD") -> list[Sample]:
    return [Sample(id=f"s{i}", text=f"第{i}题", answer=answers[i % len(answers)]) for i in range(n)]


def toy_task(n: int = 8, answers: str = "ABCD", **changes: object) -> Task:
    return Task(toy_card(**changes), tuple(toy_samples(n, answers)), "f" * 64)


def write_toy(path: Path, n: int = 8) -> Path:
    rows = (json.dumps(sample.model_dump(include={"id", "text", "answer"})) for sample in toy_samples(n))
    path.write_text("".join(row + "\n" for row in rows), encoding="utf-8")
    return path


def register() -> None:
    """Makes the toys known; for a process of its own."""
    register_card(toy_card())
    PROTOCOLS.register("toy-v1/choice", "tests.toy_task:Toy")
    PROTOCOLS.register("toy-lenient/choice", "tests.toy_task:Lenient")
    SYSTEMS.register("always", "tests.toy_task:Always")


def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for one test."""
    monkeypatch.setattr(loading, "_registered", {})
    for registry in (PROTOCOLS, SYSTEMS):
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    register()
