"""Runs a task with a system: predictions to a resumable folder, scores, a result; and scores a stored run again.

A run is a folder: `run.json` says what was asked of whom (task, data, protocol, system with its versions, seed), a line
of `predictions.jsonl` what was said, `result.json` what it is worth. A run that was killed goes on where it stopped;
another task, system or data in the same folder is refused. Not covered: comparing (`comparing`), tables (`report`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from chimed_rag.evaluation.result import TaskResult
from chimed_rag.evaluation.samples import Prediction
from chimed_rag.evaluation.systems.base import BatchSystem, System
from chimed_rag.evaluation.tasks.loading import Task

Progress = Callable[[int, int], None]
"""(samples done, samples in all)."""


def evaluate(
    task: str | Task,
    system: str | System | BatchSystem,
    *,
    data: str | Path | None = None,
    protocol: str | None = None,
    index: str | Path | None = None,
    generator: Any = None,
    out: str | Path | None = None,
    limit: int | None = None,
    seed: int = 0,
    timeout: float | None = None,
    options: dict[str, str] | None = None,
    progress: Progress | None = None,
) -> TaskResult:
    """Asks a system every sample of a task and scores what it says.

    Args:
        task: a name with `data`, or a loaded task.
        system: a name (`systems.base.SYSTEMS`), or anything that makes a `Prediction` (or a plain text) of a sample.
        data: see `tasks.loading.load_task`.
        protocol: how to ask and judge; None takes the card's first.
        index, generator, options, seed: for named systems, see `systems.base.Setting`.
        out: the folder of the run; None keeps it in memory.
        limit: only so many samples (a trial, not a result: the result says so).
        timeout: seconds that one sample may take; one that takes longer is an error of kind "timeout".
        progress: told after each sample.

    Raises:
        UnknownNameError, CorpusError, DuplicateError: as `load_task`, `open_system` and `protocol` do.
        InputError: the folder holds another run; the message names what differs and the command that mends it.
    """
    raise NotImplementedError


def scored(task: Task, predictions: Sequence[Prediction], *, protocol: str | None = None, system: str) -> TaskResult:
    """The result of predictions made elsewhere; a sample without a prediction is an error and counts."""
    raise NotImplementedError


def load_run(folder: str | Path, *, data: str | Path | None = None) -> TaskResult:
    """A stored run with its samples and predictions, so that it can be rescored, compared and reported.

    Args:
        data: where the task's data lie now, if they have moved.

    Raises:
        CorpusError: a file is missing or damaged. InputError: the data are not those that the run was made of.
    """
    raise NotImplementedError


def rescored(result: TaskResult, protocol: str) -> TaskResult:
    """What `TaskResult.rescore` gives."""
    raise NotImplementedError
