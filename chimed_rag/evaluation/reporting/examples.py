"""Failures of a run, for somebody who looks into it on the machine where the data lie.

They hold texts of the data. Not covered: showing them, which only a page that is marked as local does (`html`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from chimed_rag.evaluation.reporting.tables import main_metric
from chimed_rag.evaluation.result import TaskResult
from chimed_rag.evaluation.samples import Prediction, Sample, Score

_LONGEST = 800
"""Characters of a text that are shown."""


class Example(NamedTuple):
    """A failure: a line, and (name, text) of what was asked, expected and said."""

    title: str
    fields: tuple[tuple[str, str], ...]


def failures(result: TaskResult, name: str, count: int) -> Iterator[Example]:
    """Up to `count` of each: errors, invalid replies, wrong ones; where samples have a value only, the lowest.

    Raises:
        InputError: the result came without its samples.
    """
    run, main = result.run, main_metric(result)
    judged = list(zip(run.task.samples, run.predictions, run.scores, strict=True))
    for outcome in ("error", "invalid", "wrong"):
        found = sorted((one for one in judged if one[2].outcome == outcome), key=lambda one: one[0].id)
        for sample, prediction, score in found[:count]:
            yield _example(name, sample, prediction, score, "")
    valued = [one for one in judged if one[2].outcome == "scored" and main in one[2].values]
    for sample, prediction, score in sorted(valued, key=lambda one: (one[2].values[main], one[0].id))[:count]:
        yield _example(name, sample, prediction, score, f" {main} {score.values[main]:.3f}")


def _example(name: str, sample: Sample, prediction: Prediction, score: Score, value: str) -> Example:
    options = "\n".join(f"{letter}. {text}" for letter, text in sample.options.items())
    expected = sample.answer or "\n".join(sample.references)
    expected = expected or "\n".join(f"{entity.text} ({entity.type})" for entity in sample.entities)
    fields = (
        ("asked", sample.text), ("options", options), ("expected", expected), ("said", prediction.text),
        ("read as", score.said), ("error", prediction.error),
    )  # fmt: skip
    return Example(f"{name}: {score.outcome}{value}, {sample.id}", tuple((what, _cut(text)) for what, text in fields))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST] + " …"
