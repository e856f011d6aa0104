"""One writer at a time: an advisory lock on `.lock` in the index folder, released by the system when a process dies.

Not covered: readers, which need no lock; network file systems without locks.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from chimed_rag.errors import IndexLockedError

WAIT_SECONDS = 10.0


def _try_lock(file: IO[str]) -> bool:
    try:
        if os.name == "nt":  # pragma: no cover - not run on the machines that test this
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        else:
            import fcntl

            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextmanager
def exclusive(folder: Path, wait: float | None = None) -> Iterator[None]:
    """Holds the writer's lock of an index folder.

    Raises:
        IndexLockedError: another process kept it for `wait` seconds (default WAIT_SECONDS).
        OSError: the folder cannot be written.
    """
    path = folder / ".lock"
    deadline = time.monotonic() + (WAIT_SECONDS if wait is None else wait)
    while True:
        with path.open("a+", encoding="ascii") as file:
            while not _try_lock(file):
                if time.monotonic() >= deadline:
                    file.seek(0)
                    holder = file.read().strip() or "unknown"
                    raise IndexLockedError(
                        f"{folder}: process {holder} is writing this index; wait for it, then try again"
                    )
                time.sleep(0.02)
            if not _is_at(file, path):  # removed while we waited: another process may lock a new file of that name
                continue
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield  # closing the file releases the lock
            return


def _is_at(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
