"""Calls that write an index, each with what it may leave behind, and processes in which they can be killed.

`case` names a call with the documents before and after it. `Workers` runs it in a process of its own, which dies after
some time or just before one of `DURABLE_CALLS`; this file run as a script is the process that forks these. Not covered:
when to kill (`durability.py`) and what is then found (`_judging.py`).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import faiss  # noqa: F401 - loaded here, so that the forked workers need not
import tantivy  # noqa: F401
from _durability import CHUNKING, ENCODER, document

from chimed_rag.indexing import commit, writer
from chimed_rag.indexing.lexical import LexicalWriter
from chimed_rag.indexing.manifest import Storage
from chimed_rag.indexing.segment import SegmentWriter
from chimed_rag.records import Document

OPERATIONS = ("build", "add", "upsert", "delete", "compact")
STORAGES: tuple[Storage, ...] = ("int8", "fp16", "fp32")

# --- a call, and what an index must hold before and after it --------------------------------------------------------

State = dict[str, Document]
"""What an index holds, by document id, in the order in which it was added."""


def by_id(documents: Sequence[Document]) -> State:
    """These documents by id."""
    return {d.id: d for d in documents}


@dataclass(frozen=True)
class Case:
    """One call that may be killed: what was there before, the call, and what must be there after."""

    before: State | None
    after: State
    call: Callable[[Path], object]
    storage: Storage


def _base(seed: int) -> State:
    return by_id([document(seed, n) for n in range(30) if n not in (3, 4, 17, 29)])


def prepare(folder: Path, seed: int) -> None:
    """An index with a history: several segments, deletions, a document that came back."""
    storage = STORAGES[seed % len(STORAGES)]
    first = [document(seed, n) for n in range(20)]
    writer.build(folder, first, ENCODER, chunking=CHUNKING, storage=storage)
    writer.delete(folder, ids=["doc-003", "doc-004", "doc-005"])
    for n in range(20, 29, 3):
        writer.update(folder, [document(seed, m) for m in range(n, n + 3)], ENCODER, mode="add")
    writer.delete(folder, where={"n": 17})
    writer.update(folder, [document(seed, 5)], ENCODER, mode="add")


def case(operation: str, seed: int) -> Case:
    """The call of one operation and both states that may be found after a kill."""
    base, storage = _base(seed), STORAGES[seed % len(STORAGES)]
    if operation == "build":
        documents = [document(seed, n) for n in range(40)]
        call: Callable[[Path], object] = partial(
            writer.build, documents=documents, encoder=ENCODER, chunking=CHUNKING, storage=storage
        )
        return Case(None, by_id(documents), call, storage)
    if operation == "add":
        new = [document(seed, n) for n in range(100, 120)]
        call = partial(writer.update, documents=new, encoder=ENCODER, mode="add")
        return Case(base, base | by_id(new), call, storage)
    if operation == "upsert":
        changed = [document(seed, n, revision=1) for n in (0, 5, 11, 19, 20, 25, 28)]
        same = [document(seed, n) for n in (1, 2, 6)]
        new = [document(seed, n) for n in (17, 200, 201)]
        call = partial(writer.update, documents=[*changed, *same, *new], encoder=ENCODER, mode="upsert")
        return Case(base, base | by_id([*changed, *new]), call, storage)
    if operation == "delete":
        gone = {f"doc-{n:03d}" for n in (0, 7, 8, 21, 28)}
        call = partial(writer.delete, ids=sorted(gone), where={"$and": [{"parity": "odd"}, {"n": {"$lt": 9}}]})
        left = {k: d for k, d in base.items() if k not in gone and not (int(k[4:]) % 2 and int(k[4:]) < 9)}
        return Case(base, left, call, storage)
    if operation == "compact":
        return Case(base, base, writer.compact, storage)
    raise ValueError(operation)


# --- dying between two calls ----------------------------------------------------------------------------------------

DURABLE_CALLS: tuple[tuple[Any, str], ...] = (
    (os, "fsync"), (os, "link"), (shutil, "rmtree"), (Path, "replace"), (Path, "rename"), (Path, "unlink"),
    (Path, "mkdir"), (Path, "chmod"), (SegmentWriter, "finish"), (LexicalWriter, "commit"), (commit, "write_manifest"),
)  # fmt: skip
"""Everything by which a write becomes durable or visible; `Path` methods call `os` in some Python versions only."""


def hook(wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Callable[[], None]:
    """Puts a wrapper around each of DURABLE_CALLS; returns what takes it off again."""
    originals = [(owner, name, getattr(owner, name)) for owner, name in DURABLE_CALLS]
    for owner, name, function in originals:
        setattr(owner, name, wrap(function))

    def restore() -> None:
        for owner, name, function in originals:
            setattr(owner, name, function)

    return restore


def _die_at(point: int) -> None:
    """Kills this process just before the point-th call that makes something durable or visible."""
    left = point

    def deadly(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return call

    hook(deadly)


# --- a process that forks workers -----------------------------------------------------------------------------------


def _work(job: dict[str, Any]) -> None:
    folder = Path(job["folder"])
    acknowledged = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    call = case(job["operation"], job["seed"]).call
    commit.SEGMENT_ROWS = 32  # several segments, so that a killed build has something to take up
    if job["point"] is not None:
        _die_at(job["point"])
    os.write(acknowledged, b"b")
    call(folder)
    os.write(acknowledged, b"d")


def _serve() -> None:
    """Reads jobs, forks a worker for each, kills it when it is due, and tells its status and how long it ran.

    A worker starts in milliseconds. Only its parent can kill it without ever hitting another process: until the parent
    has asked for the status, nobody else gets the pid.
    """
    for line in sys.stdin:
        job = json.loads(line)
        start = time.monotonic()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                _work(job)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        if job["delay"] is not None:
            time.sleep(job["delay"])
            os.kill(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
        print(json.dumps([status, time.monotonic() - start]), flush=True)


class Workers:
    """Runs single calls in processes that can be killed."""

    def __init__(self) -> None:
        command = [sys.executable, __file__]
        # Forking is safe only while no library has started threads.
        alone = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=alone)

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(30)

    def run(
        self, operation: str, seed: int, folder: Path, *, delay: float | None = None, point: int | None = None
    ) -> tuple[bool, bool, bool, float]:
        """Runs an operation, killed after `delay` seconds or at a point; (begun, acknowledged, killed, seconds)."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        log = folder.with_name(folder.name + ".log")
        log.unlink(missing_ok=True)
        job = {"operation": operation, "seed": seed, "folder": str(folder), "log": str(log)}
        self._process.stdin.write(json.dumps({**job, "point": point, "delay": delay}) + "\n")
        self._process.stdin.flush()
        status, seconds = json.loads(self._process.stdout.readline())
        if os.WIFEXITED(status) and os.WEXITSTATUS(status):
            raise RuntimeError(f"{operation} failed in the worker (seed {seed}); see standard error")
        told = log.read_bytes() if log.exists() else b""
        return told[:1] == b"b", told == b"bd", os.WIFSIGNALED(status), seconds


if __name__ == "__main__":
    _serve()
