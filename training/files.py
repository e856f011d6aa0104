"""Files of training data: which a pattern means, their rows with line numbers, and the account of what became of them.

Not covered: what a row means (`pairs`, `texts`). UTF-8 only; gzip is known by a file's first bytes.
"""

from __future__ import annotations

import glob
import gzip
import json
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from chimed_rag.errors import CorpusError
from chimed_rag.evaluation.beir import data_sha256
from training.settings import located


class Account(BaseModel):
    """What became of the rows of one file: `read == kept + sum(dropped.values())`, always.

    `path` is as the configuration writes it. One row may give several items (three questions of a consultation);
    `read`, `kept` and `dropped` count items. Of those that are kept, `changed` counts what was done to them
    ("redacted"), and `characters` is how much they hold; both are filled in by `sources`.
    """

    model_config = ConfigDict(extra="forbid")

    path: str
    sha256: str
    licence: str = ""
    rows: int = 0
    read: int = 0
    kept: int = 0
    dropped: Counter[str] = Field(default_factory=Counter)
    changed: Counter[str] = Field(default_factory=Counter)
    characters: int = 0

    def drop(self, reason: str, n: int = 1) -> None:
        """Counts items that were kept until now as dropped."""
        self.kept -= n
        self.dropped[reason] += n


Ledger = list[Account]
"""The accounts of all files of a run."""


def matching(pattern: str) -> list[tuple[str, Path]]:
    """The files that a path of a configuration means, sorted: (as the configuration would write it, where it lies).

    Raises:
        CorpusError: there is none.
    """
    place = located(pattern)
    if not glob.has_magic(pattern):
        if not place.exists():
            raise CorpusError("no such file", path=str(place))
        return [(pattern, place)]
    found = sorted(Path(name) for name in glob.glob(str(place), recursive=True))  # noqa: PTH207 - a pattern may be absolute
    if not found:
        raise CorpusError("no file matches", path=str(place))
    # The part of the pattern without wildcards stays as written; what follows it is as found.
    fixed = pattern.split("*")[0].split("?")[0].split("[")[0].rpartition("/")[0]
    root = located(fixed) if fixed else Path()
    return [(f"{fixed}/{path.relative_to(root).as_posix()}" if fixed else path.as_posix(), path) for path in found]


def account(name: str, path: Path, licence: str = "") -> Account:
    """The empty account of a file; for a folder, the hash is that of its files, one after the other, by name."""
    files = sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]
    return Account(path=name, sha256=data_sha256(files), licence=licence)


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, without their ends, with their 1-based numbers.

    Raises:
        CorpusError: the file cannot be read.
    """
    number = 0
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            with gzip.open(raw) if zipped else raw as stream:
                for number, line in enumerate(stream, 1):
                    text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                    if text.strip():
                        yield number, text
    except UnicodeDecodeError as error:
        raise CorpusError(f"not UTF-8: {error.reason}", path=str(path), line=number + 1) from None
    except (OSError, EOFError, zlib.error) as error:
        raise CorpusError(f"cannot be read: {getattr(error, 'strerror', None) or error}", path=str(path)) from None


def rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The JSON objects of a JSONL file, with their line numbers.

    Raises:
        CorpusError: the file cannot be read, or a line is no JSON object.
    """
    for number, text in lines(path):
        try:
            row = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise CorpusError(f"not JSON: {error}", path=str(path), line=number) from None
        if not isinstance(row, dict):
            raise CorpusError(f"not a JSON object but {type(row).__name__}", path=str(path), line=number)
        yield number, row


def text_field(row: dict[str, Any], name: str, path: Path, line: int) -> str:
    """A field that must be there and be a text.

    Raises:
        CorpusError: it is not.
    """
    value = row.get(name)
    if not isinstance(value, str):
        raise CorpusError(
            f"the field {name!r} is missing or no text; there are: {', '.join(row)}", path=str(path), line=line
        )
    return value
