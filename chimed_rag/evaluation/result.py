"""The record that every task gives back, and the versions that belong in it.

Not covered: how a number comes about (one module a task), and its interval (`evaluation.statistics`).
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from pydantic import Field, PrivateAttr

from chimed_rag import __version__
from chimed_rag.errors import InputError
from chimed_rag.evaluation.samples import Card, Outcome, Prediction, Score
from chimed_rag.evaluation.statistics import Interval, Percentiles
from chimed_rag.evaluation.tasks.loading import Task
from chimed_rag.records import Record


class Result(Record):
    """What a system scored on a task; `chimed evaluate TASK --json` prints this object.

    `metrics` have 95 % bounds, `n` counts what they are over, `latency_ms` is per question in milliseconds where it was
    taken; `data_sha256` is that of the files read, one after the other.
    """

    task: str
    system: str
    protocol: str
    n: int = Field(ge=1)
    data_sha256: str
    metrics: dict[str, Interval]
    latency_ms: Percentiles | None = None
    versions: dict[str, str] = Field(default_factory=dict)


class TaskResult(Result):
    """A `Result` of samples that a protocol judged one by one.

    Attributes:
        n: all samples; the outcomes of `counts` add up to it.
        groups: the main numbers by subject, type, subscale or level.
        baselines: what mindless responders score on the same samples.
        warning: the protocol's.
        notes: what a reader must know: a trial on few samples, overlap with an index, a system that failed.
        card: of the task.
        asked_with: the protocol by which the system was asked, where it was rescored by another.
        system_versions: what the predictions depend on; `versions` is what the numbers depend on.
    """

    counts: dict[Outcome, int]
    groups: dict[str, dict[str, Interval]] = Field(default_factory=dict)
    baselines: dict[str, dict[str, float]] = Field(default_factory=dict)
    warning: str = ""
    notes: tuple[str, ...] = ()
    card: Card
    asked_with: str = ""
    system_versions: dict[str, str] = Field(default_factory=dict)
    seed: int = 0
    _run: Judged | None = PrivateAttr(default=None)

    @property
    def run(self) -> Judged:
        """The samples with what was said and how each was judged.

        Raises:
            InputError: this result was read from a file; `running.load_run` brings a run with its samples.
        """
        if self._run is None:
            raise InputError("this result came without its samples; load its run: load_run(FOLDER, data=DATA)")
        return self._run

    def rescore(self, *, protocol: str) -> TaskResult:
        """The same predictions judged by another protocol; no model is asked.

        Raises:
            UnknownNameError: no such protocol for this kind of task. InputError: no samples (`run`).
        """
        from chimed_rag.evaluation.running import rescored

        return rescored(self, protocol)


@dataclass(frozen=True)
class Judged:
    """Samples, predictions and scores, of one length and in one order."""

    task: Task
    predictions: tuple[Prediction, ...]
    scores: tuple[Score, ...]


def rounded(metrics: Mapping[str, Interval]) -> dict[str, Interval]:
    """The metrics with six decimals."""
    return {
        name: Interval(value=round(mean.value, 6), low=round(mean.low, 6), high=round(mean.high, 6))
        for name, mean in metrics.items()
    }


def library_versions(*packages: str) -> dict[str, str]:
    """chimed_rag, Python, numpy, scipy and further packages, by the name under which each is installed."""
    found = {"chimed_rag": __version__, "python": platform.python_version()}
    for package in ("numpy", *packages, "scipy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # vendored without its metadata
            found[package] = "unknown"
    return found
