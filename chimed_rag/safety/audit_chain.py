"""The form of an audit log on disk: JSONL files that one chain of hashes runs through, and the head that ends it.

    folder/000001-2026-11.jsonl     number, and the month (UTC) of its entries; a line is an entry
           000002-2026-12.jsonl     the chain goes on: its first entry names the hash of the last one before
           head.json                how many entries there are, the hash of the last one, the retention
           000001-2026-11-812.torn  a line that a crash cut short at byte 812, set aside

An entry's hash is SHA-256(canonical JSON of the entry without `hash`), in hex; the entry holds `previous`, the hash of
the one before it (`GENESIS` for the first), so that none can change without all later ones. Canonical JSON has sorted
keys, no blanks and UTF-8; a lone surrogate is written as its escape. A line is the canonical JSON of the whole entry.
Not covered: what the entries say (`audit`), whether the chain holds (`audit_verify`).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from chimed_rag.errors import ChiMedError, InputError
from chimed_rag.records import Record

GENESIS = hashlib.sha256(b"chimed_rag audit log 1").hexdigest()
"""What the first entry names as the hash before it."""
HEAD = "head.json"
Entry = dict[str, Any]
Retention = Literal["3y", "15y"]

_FILE = re.compile(r"(\d{6,12})-(\d{4}-\d{2})\.jsonl")


class AuditError(ChiMedError):
    """An audit log cannot be written or read, or is not what was recorded."""


class Head(Record):
    """Where the chain ends: number of entries ever recorded, hash of the last one, and the retention in force."""

    count: int
    hash: str
    retention: Retention | None = None


def canonical(value: Any) -> bytes:
    """The one way to write a JSON value, as bytes.

    Raises:
        ValueError: the value holds an infinite number, or is no JSON.
    """
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode("utf-8", "backslashreplace")  # in JSON the escape of a surrogate is that surrogate


def normal(entry: Entry) -> Entry:
    """The entry as JSON gives it back: a pair of surrogates comes back as the character that it means.

    Raises:
        InputError: it holds what is no JSON.
    """
    try:
        value: Entry = json.loads(canonical(entry))
    except (ValueError, TypeError) as error:
        raise InputError(f"audit: what is to be recorded is no JSON ({error})") from None
    return value


def sha256(value: bytes | str) -> str:
    """SHA-256 (hex) of bytes, or of a text in UTF-8."""
    return hashlib.sha256(value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value).hexdigest()


def seal(entry: Entry) -> str:
    """The hash of an entry, which its own `hash` is no part of."""
    return sha256(canonical({key: value for key, value in entry.items() if key != "hash"}))


def read_line(line: bytes) -> Entry:
    """The entry that a line (without its line feed) holds.

    Raises:
        ValueError: it is no JSON object with the fields of the chain, or not written canonically.
    """
    try:
        entry = json.loads(line)
        written = canonical(entry)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(entry, dict) or not all(isinstance(entry.get(key), str) for key in ("hash", "previous", "kind")):
        raise ValueError("it is not an entry of an audit log")
    if type(entry.get("seq")) is not int:
        raise ValueError("it has no number (seq)")
    if written != line:
        raise ValueError("it is not written as this library writes it")
    return entry


def stamp(moment: datetime) -> str:
    """A time as the log writes it: UTC, ISO 8601 with milliseconds, which sorts as text."""
    return moment.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def expiry(moment: datetime, retention: Retention) -> str:
    """The stamp before which entries may be removed at a moment: 3 or 15 years earlier (29 February: the 28th)."""
    year = moment.year - {"3y": 3, "15y": 15}[retention]
    try:
        return stamp(moment.replace(year=year))
    except ValueError:
        return stamp(moment.replace(year=year, day=28))


def log_files(folder: Path) -> list[Path]:
    """The files of a log, in the order of their numbers.

    Raises:
        AuditError: there is no such folder.
    """
    try:
        return sorted((path for path in folder.iterdir() if _FILE.fullmatch(path.name)), key=file_number)
    except (FileNotFoundError, NotADirectoryError):
        raise AuditError(f"{folder}: no audit log here; one begins with the first answer that is recorded") from None


def file_number(path: Path) -> int:
    """The number of a file, from 1."""
    return int(path.name.partition("-")[0])


def file_month(path: Path) -> str:
    """The month of a file's entries, "2026-11"."""
    return path.stem.partition("-")[2]


def read_head(folder: Path) -> Head | None:
    """The head, or None where there is none yet.

    Raises:
        AuditError: it cannot be read as one.
    """
    try:
        return Head.model_validate_json((folder / HEAD).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise AuditError(
            f"{folder / HEAD}: cannot be read ({type(error).__name__}); restore it from a backup"
        ) from None


def write_head(folder: Path, head: Head) -> None:
    """Replaces the head atomically; durable when this returns."""
    temporary = folder / (HEAD + ".tmp")
    with temporary.open("wb") as file:
        file.write(canonical(head.model_dump(mode="json")))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / HEAD)
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Makes new names in a folder durable."""
    from chimed_rag.indexing.manifest import fsync_folder

    fsync_folder(folder)


def entries(folder: Path) -> Iterator[Entry]:
    """The entries of a log in order, each checked by itself; whether all are there is `verify`'s business.

    A last line that a crash cut short is passed over.

    Raises:
        AuditError: there is no log, or a line was changed.
    """
    for path in log_files(folder):
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.endswith(b"\n"):
                    continue
                try:
                    entry = read_line(line[:-1])
                    intact = seal(entry) == entry["hash"]
                except ValueError:
                    intact = False
                if not intact:
                    raise AuditError(f"{path}:{number}: this line was changed; run: chimed audit verify {folder}")
                yield entry


def find(folder: Path, id: str) -> Entry:
    """The answer that was recorded under an id.

    Raises:
        AuditError: there is no such answer, or a line before it was changed.
    """
    for entry in entries(folder):
        if entry.get("id") == id and entry["kind"] == "answer":
            return entry
    raise AuditError(f"{folder}: no answer {id!r} was recorded here; to see which were: chimed audit list {folder}")
