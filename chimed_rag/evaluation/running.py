"""Runs a task with a system: predictions to a resumable folder, scores, a result; and scores a stored run again.

A run is a folder: `run.json` says what was asked of whom (task, data, protocol, system with its versions, seed), a line
of `predictions.jsonl` what was said, `result.json` what it is worth. A run that was killed goes on where it stopped;
another task, system or data in the same folder is refused. Not covered: comparing (`comparing`), tables (`report`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from chimed_rag.errors import CorpusError, InputError, UnknownNameError
from chimed_rag.evaluation import run_folder
from chimed_rag.evaluation.asking import ask_all, name_of, versions_of
from chimed_rag.evaluation.judging import judged, rules_of
from chimed_rag.evaluation.result import TaskResult
from chimed_rag.evaluation.run_folder import Header, ids_sha256
from chimed_rag.evaluation.samples import Prediction
from chimed_rag.evaluation.systems.base import BatchSystem, Setting, System, open_system
from chimed_rag.evaluation.tasks.loading import Task, load_card, load_task, read_task

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
    retry: bool = False,
    options: dict[str, str] | None = None,
    progress: Progress | None = None,
) -> TaskResult:
    """Asks a system every sample of a task and scores what it says.

    Args:
        task: a name with `data`, or a loaded task.
        system: a name (`systems.base.SYSTEMS`), or anything that makes a `Prediction` (or a plain text) of a sample.
        data: see `tasks.loading.load_task`.
        protocol: how to ask and judge; None takes the card's first.
        index, generator, options, seed: for named systems, see `systems.base.Setting`; the option `answer` is the
            setting's.
        out: the folder of the run; None keeps it in memory.
        limit: only so many samples (a trial, not a result: the result says so).
        timeout: seconds that one sample may take; one that takes longer is an error of kind "timeout" (and samples are
            then asked one by one, see `asking.ask_all`).
        retry: ask the samples again that failed when the folder's run was made (a server that was down, say).
        progress: told after each sample.

    Raises:
        UnknownNameError, CorpusError, DuplicateError: as `load_task`, `open_system` and `protocol` do.
        InputError: the folder holds another run; the message names what differs and the command that mends it.
    """
    task = _loaded(task, data, limit)
    name = protocol or task.card.protocols[0]
    rules = rules_of(name, task.card)
    options = dict(options or {})
    if isinstance(system, str):
        place = None if index is None else Path(index)
        answer = options.get("answer", "A")
        setting = Setting(task, rules, place, generator, answer, seed=seed, options=options)
        asked: Any = open_system(system, setting)
    elif index is not None or generator is not None or options:
        raise InputError("an index, a generator and options are for named systems; this one was made already")
    else:
        asked = system
    try:
        header = Header(
            task=task.name, card=task.card, data=task.path, data_sha256=task.data_sha256, n=len(task.samples),
            ids_sha256=ids_sha256(task.samples), protocol=name, system=name_of(asked), options=options,
            system_versions=versions_of(asked), seed=seed, limit=limit, timeout=timeout,
        )  # fmt: skip
        said = _asked(task, asked, header, None if out is None else Path(out), retry, progress)
    finally:
        if isinstance(system, str) and hasattr(asked, "close"):
            asked.close()
    result = judged(task, rules, [said[sample.id] for sample in task.samples], header)
    if out is not None:
        run_folder.write(Path(out) / run_folder.RESULT, result)
    return result


def _loaded(task: str | Task, data: str | Path | None, limit: int | None) -> Task:
    if isinstance(task, str):
        return load_task(task, data, limit=limit)
    if data is not None:
        raise InputError(f"{task.name} is loaded already; leave data out, or give the name of the task")
    if not task.samples:
        raise InputError(f"{task.name} holds no sample")
    if limit is None or limit >= len(task.samples):
        return task
    if limit < 1:
        raise InputError(f"a limit is at least 1 sample, not {limit}")
    note = f"a trial on the first {limit} of {len(task.samples)} samples, not a result"
    return replace(task, samples=task.samples[:limit], notes=(*task.notes, note))


def _asked(
    task: Task, system: Any, header: Header, folder: Path | None, retry: bool, progress: Progress | None
) -> Mapping[str, Prediction]:
    """A prediction for every sample: those that the folder holds, and the others asked now."""

    def asked(said: dict[str, Prediction], keep: Callable[[Prediction], None]) -> dict[str, Prediction]:
        left = [sample for sample in task.samples if sample.id not in said]
        for prediction in ask_all(system, left, header.timeout):
            keep(prediction)
            said[prediction.id] = prediction
            if progress is not None:
                progress(len(said), len(task.samples))
        return said

    if folder is None:
        return asked({}, lambda prediction: None)
    with run_folder.opened(folder, header):
        if retry:
            run_folder.forget_failures(folder, task.samples)
        with run_folder.appending(folder) as file:
            said = run_folder.read_predictions(folder, task.samples)
            return asked(said, lambda prediction: run_folder.append(file, prediction))


def scored(task: Task, predictions: Sequence[Prediction], *, protocol: str | None = None, system: str) -> TaskResult:
    """The result of predictions made elsewhere; a sample without a prediction is an error and counts.

    Raises:
        InputError: two predictions of one sample, or one of a sample that the task does not hold.
        UnknownNameError: no such protocol for this task.
    """
    name = protocol or task.card.protocols[0]
    said: dict[str, Prediction] = {}
    asked = {sample.id for sample in task.samples}
    for prediction in predictions:
        if prediction.id not in asked or prediction.id in said:
            raise InputError(
                f"{'a second prediction' if prediction.id in said else 'a prediction'} of sample {prediction.id!r}"
                + ("" if prediction.id in said else f", which {task.name} does not hold")
            )
        said[prediction.id] = prediction
    complete = [said.get(key) or Prediction(id=key, error=_MISSING) for key in (sample.id for sample in task.samples)]
    return judged(task, rules_of(name, task.card), complete, _header(task, name, system))


_MISSING = "missing: the system gave no prediction"


def _header(task: Task, protocol: str, system: str) -> Header:
    return Header(
        task=task.name, card=task.card, data=task.path, data_sha256=task.data_sha256, n=len(task.samples),
        ids_sha256=ids_sha256(task.samples), protocol=protocol, system=system,
    )  # fmt: skip


def load_run(folder: str | Path, *, data: str | Path | None = None) -> TaskResult:
    """A stored run with its samples and predictions, so that it can be rescored, compared and reported.

    It is scored anew, with the libraries that are here; where `result.json` says other numbers, a note says so.

    Args:
        data: where the task's data lie now, if they have moved.

    Raises:
        CorpusError: a file is missing or damaged. InputError: the data are not those that the run was made of, or the
            run has not come to its end.
    """
    folder = Path(folder)
    header = run_folder.read_header(folder)
    task = _task_of(header, folder, data)
    said = run_folder.read_predictions(folder, task.samples)
    if len(said) < header.n:
        raise InputError(
            f"{folder} holds {len(said)} of {header.n} predictions; go on with it first: "
            f"chimed evaluate {header.task} --system {header.system} --out {folder}, and what else it was asked with"
        )
    predictions = [said[sample.id] for sample in task.samples]
    result = judged(task, rules_of(header.protocol, task.card), predictions, header)
    if notes := _changes(folder, result):
        loaded = result.model_copy(update={"notes": (*result.notes, *notes)})
        loaded._run = result._run
        return loaded
    return result


def _task_of(header: Header, folder: Path, data: str | Path | None) -> Task:
    try:
        card = load_card(header.task)
    except UnknownNameError:  # a task of one's own, not registered here
        card = header.card
    where = data if data is not None else header.data or None
    try:
        task = read_task(card, where, limit=header.limit)
    except CorpusError as error:
        if data is not None or Path(header.data).exists():
            raise
        raise CorpusError(f"{error}; the data of {folder} have moved: name them with --data PATH") from error
    if (task.data_sha256, ids_sha256(task.samples)) != (header.data_sha256, header.ids_sha256):
        raise InputError(
            f"{task.path or task.name} is not what {folder} was made of: its hash is {task.data_sha256[:12]} and it "
            f"gives {len(task.samples)} samples, the run has {header.data_sha256[:12]} and {header.n}; name the right "
            "data with --data PATH"
        )
    return task


def _changes(folder: Path, result: TaskResult) -> list[str]:
    """Whether the stored numbers are others than today's."""
    path = folder / run_folder.RESULT
    try:
        stored = TaskResult.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return []  # the predictions are what counts; numbers are made of them
    if stored.protocol != result.protocol or stored.metrics == result.metrics:
        return []
    now = result.versions
    versions = ", ".join(f"{name} {old}" for name, old in stored.versions.items() if now.get(name) != old)
    return [f"{path.name} says other numbers" + (f"; it was made with {versions}" if versions else "")]


def rescored(result: TaskResult, protocol: str) -> TaskResult:
    """What `TaskResult.rescore` gives."""
    run = result.run
    header = _header(run.task, result.asked_with or result.protocol, result.system)
    header = header.model_copy(update={"system_versions": result.system_versions, "seed": result.seed})
    return judged(run.task, rules_of(protocol, run.task.card), run.predictions, header)
