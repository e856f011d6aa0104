"""Rows of JSONL and other files of lines, plain or gzip, with the place that an error names.

Not covered: documents, which `sources.load` makes of such files and of many others.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chimed_rag.errors import CorpusError


def lines(path: str | Path) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, with their 1-based numbers; gzip is known by its first bytes, not by the name.

    Raises:
        CorpusError: the file cannot be read, or is not UTF-8.
    """
    number = 0
    try:
        with Path(path).open("rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            with gzip.open(raw) if zipped else raw as file:
                for number, line in enumerate(file, 1):
                    text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                    if text.strip():
                        yield number, text
    except UnicodeDecodeError as error:
        raise CorpusError(f"not UTF-8: {error.reason}", path=str(path), line=number) from error
    except (OSError, EOFError, zlib.error) as error:
        raise CorpusError(f"cannot be read: {getattr(error, 'strerror', None) or error}", path=str(path)) from error


def json_rows(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The JSON objects of a JSONL file, plain or gzip, with their 1-based line numbers; blank lines are passed over.

    Raises:
        CorpusError: the file or a line cannot be read.
    """
    for line, text in lines(path):
        yield line, parsed(text, path, line)


def parsed(text: str, path: str | Path, line: int) -> dict[str, Any]:
    """The JSON object of a line. Raises CorpusError, which names file and line, where it holds none."""
    try:
        row = json.loads(text)
        if "\\ud" in text.lower():  # JSON can spell half a surrogate pair, which no file or database can hold
            json.dumps(row, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"not a usable JSON object: {error}", path=str(path), line=line) from error
    if not isinstance(row, dict):
        raise CorpusError(f"not a JSON object but {type(row).__name__}", path=str(path), line=line)
    return row
