"""Appending to an audit log: the lock, the end of the chain, a line that a crash cut short, one durable line.

Not covered: what an entry says (`audit`). An entry that could not be written whole is taken back before the error is
raised; where the machine stops in between, the next writer sets the rest aside and says so in an entry `torn`.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from chimed_rag.errors import IndexLockedError
from chimed_rag.safety.audit_chain import (
    GENESIS,
    AuditError,
    Entry,
    Head,
    Retention,
    canonical,
    file_month,
    file_number,
    log_files,
    normal,
    read_head,
    read_line,
    seal,
    sha256,
    stamp,
    sync_folder,
    write_head,
)

WAIT_SECONDS = 30.0


@dataclass(frozen=True)
class End:
    """Where the chain ends: the last file, if any, its size, the last entry, and what a crash left behind it."""

    file: Path | None
    size: int
    count: int
    hash: str
    retention: Retention | None
    torn: Entry | None = None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the writer's lock of a log.

    Raises:
        AuditError: another process kept it for WAIT_SECONDS, or something within could not be written.
    """
    from chimed_rag.indexing.lock import exclusive

    try:
        with exclusive(folder, WAIT_SECONDS):
            yield
    except IndexLockedError:
        raise AuditError(f"{folder}: another process has been writing for {WAIT_SECONDS:g} s; try again") from None
    except OSError as error:
        raise AuditError(f"{folder}: cannot be written ({error.strerror}); nothing was recorded") from None


def chain_end(folder: Path) -> End:
    """The end of the chain, with a torn line set aside.

    Raises:
        AuditError: the last entry was changed, or is not the one that the head names.
    """
    head = read_head(folder) or Head(count=0, hash=GENESIS)
    files = log_files(folder)
    torn = _set_aside(files[-1]) if files else None
    filled = [path for path in files[-2:] if path.stat().st_size]  # a crash may leave a new file empty
    if not filled:
        if head.count:
            raise AuditError(
                f"{folder}: {head.count} entries were recorded and none is here; restore them from a backup"
            )
        return End(files[-1] if files else None, 0, 0, GENESIS, None, torn)
    line = _last_line(filled[-1])
    try:
        entry = read_line(line)
    except ValueError:
        entry = {"seq": -1, "hash": "", "previous": ""}
    before = (entry["seq"] - 1, entry["previous"])  # a crash may have come between the line and the head
    if seal(entry) != entry["hash"] or (head.count, head.hash) not in ((entry["seq"], entry["hash"]), before):
        raise AuditError(
            f"{filled[-1]}: its last line is not the one that was recorded; run: chimed audit verify {folder}, keep "
            "the folder as it is, and record into a new one"
        )
    retention = entry["retention"] if entry["kind"] in ("retention", "pruned") else head.retention
    return End(files[-1], files[-1].stat().st_size, entry["seq"], entry["hash"], retention, torn)


def _last_line(path: Path) -> bytes:
    """The last line of a file that ends with a line feed, without it."""
    with path.open("rb") as file:
        position = file.seek(0, os.SEEK_END) - 1
        line = b""
        while position > 0 and b"\n" not in line:
            step = min(1 << 14, position)
            position -= step
            file.seek(position)
            line = file.read(step) + line
    return line.rpartition(b"\n")[2]


def _set_aside(path: Path) -> Entry | None:
    """Moves what follows the last line feed into a `.torn` file of its own; None where nothing does."""
    size = path.stat().st_size
    with path.open("rb+") as file:
        if size:
            file.seek(size - 1)
            if file.read(1) == b"\n":
                return None
        file.seek(0)
        rest = file.read().rpartition(b"\n")[2]
        if not rest:
            return None
        offset = size - len(rest)
        aside = path.with_name(f"{path.stem}-{offset}.torn")
        while aside.exists() and aside.read_bytes() != rest:
            aside = aside.with_name(aside.stem + "x.torn")
        with aside.open("wb") as target:
            target.write(rest)
            target.flush()
            os.fsync(target.fileno())
        sync_folder(path.parent)
        file.truncate(offset)
        os.fsync(file.fileno())
    return {"file": path.name, "offset": offset, "bytes": len(rest), "sha256": sha256(rest), "aside": aside.name}


def now() -> datetime:
    """The time, in UTC."""
    return datetime.now(timezone.utc)


def written(
    folder: Path, end: End, kind: str, body: Mapping[str, Any], max_bytes: int, *, new_file: bool = False
) -> tuple[str, End]:
    """Appends one entry and moves the head; under the lock."""
    time = stamp(now())
    id = f"{time[:10].replace('-', '')}-{secrets.token_hex(5)}"
    entry = normal({"seq": end.count + 1, "id": id, "kind": kind, "time": time, "previous": end.hash, **body})
    entry["hash"] = seal(entry)
    path = end.file
    if path is None or new_file or file_month(path) != time[:7] or end.size >= max_bytes:
        path = folder / f"{(file_number(path) if path else 0) + 1:06d}-{time[:7]}.jsonl"
    size = _append_line(path, canonical(entry) + b"\n")
    retention = body["retention"] if kind in ("retention", "pruned") else end.retention
    write_head(folder, Head(count=entry["seq"], hash=entry["hash"], retention=retention))
    return id, End(path, size, entry["seq"], entry["hash"], retention)


def _append_line(path: Path, line: bytes) -> int:
    """Appends a line durably and gives the size of the file; what was written of it is taken back where it fails."""
    is_new = not path.exists()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o600)
    try:
        before = os.fstat(descriptor).st_size
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, before)
            raise
    finally:
        os.close(descriptor)
    if is_new:
        sync_folder(path.parent)
    return before + len(line)
