"""What every loader is given: the file, the options, and the tally in which it notes what it found.

A loader is a function `load_x(file: SourceFile) -> Iterator[Document]`; before it yields a document it sets
`file.line` if the document has a line of its own. Not covered: which files there are (`corpus.sources`).
"""

from __future__ import annotations

import gzip
import os
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

from pydantic import BaseModel, ConfigDict, ValidationError

from chimed_rag.corpus.loaders.encoding import decode
from chimed_rag.errors import CorpusError
from chimed_rag.records import Document, Metadata

MAX_CHARACTERS = 64 * 2**20
"""The most characters one document may have (201 MB of Chinese in UTF-8)."""


class FieldMap(BaseModel):
    """Which columns of a table, keys of a JSON object or keys of a front matter become which field of a document.

    Args:
        text: the column of the text, or several, joined by a line end.
        id: the column of the id; where it is absent `_id` is tried, then an id is made from file and line. "" always
            makes one.
        title, url, date, licence: their columns, where present (`license` is read as well).
        metadata: "rest" keeps every other column, "none" no column, a list the named ones. Values are strings,
            numbers, booleans and lists of strings; other columns are left out and counted. Whole numbers in a CSV
            file become numbers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str | tuple[str, ...] = "text"
    id: str = "id"
    title: str = "title"
    url: str = "url"
    date: str = "date"
    licence: str = "licence"
    metadata: Literal["rest", "none"] | tuple[str, ...] = "rest"

    @property
    def texts(self) -> tuple[str, ...]:
        """The columns of the text, one or more."""
        return (self.text,) if isinstance(self.text, str) else self.text


class LoadReport(BaseModel):
    """What a load found.

    `skipped` counts, by reason, what gave no document; `dropped_columns` counts values that cannot be metadata;
    `errors` holds the messages of files left out by `on_error="skip"`; `bytes` are those on disk.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: int = 0
    documents: int = 0
    skipped: dict[str, int] = {}
    dropped_columns: dict[str, int] = {}
    encodings: dict[str, int] = {}
    bytes: int = 0
    errors: tuple[str, ...] = ()


@dataclass
class Tally:
    """The counts of a `LoadReport` while they grow."""

    files: int = 0
    documents: int = 0
    bytes: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    dropped_columns: Counter[str] = field(default_factory=Counter)
    encodings: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)

    def report(self) -> LoadReport:
        """The counts so far, frozen."""
        values: dict[str, Any] = {
            key: dict(sorted(value.items())) if isinstance(value, Counter) else value
            for key, value in vars(self).items()
        }
        return LoadReport.model_validate(values)


@dataclass(frozen=True)
class LoadOptions:
    """How files are read; the arguments of `corpus.sources.load`."""

    fields: FieldMap = field(default_factory=FieldMap)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    encoding: str | None = None
    skip_scanned: bool = False
    max_characters: int = MAX_CHARACTERS


@dataclass
class SourceFile:
    """One file that is being read.

    Args:
        path: where it is, as the caller named it.
        name: its readable name, from which ids and sources are made: the path inside its folder.
        line: the 1-based line (or row) of the document that was yielded last; None where a file is one document.
    """

    path: Path
    name: str
    options: LoadOptions = field(default_factory=LoadOptions)
    tally: Tally = field(default_factory=Tally)
    line: int | None = None
    shown: str = ""

    def __post_init__(self) -> None:
        self.shown = self.shown or readable(os.fspath(self.path))

    @property
    def stem(self) -> str:
        """The file name without folders and suffixes: the title of a document that has none."""
        base = self.name.rsplit("/", 1)[-1]
        return Path(base[:-3] if base.lower().endswith(".gz") else base).stem

    def error(self, message: str, line: int | None = None) -> CorpusError:
        """An error that names this file, to be raised by the caller."""
        return CorpusError(message, path=self.shown, line=line)

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """The bytes of the file, unpacked if it is `.gz`.

        Raises:
            CorpusError: it cannot be opened or read, is empty, or is a damaged gzip file.
        """
        try:
            with self.path.open("rb") as raw:
                size = os.fstat(raw.fileno()).st_size
                if size == 0:
                    raise self.error("is empty; remove it or leave it out")
                self.tally.bytes += size
                if self.path.name.lower().endswith(".gz"):
                    with gzip.open(raw) as unpacked:
                        yield cast("BinaryIO", unpacked)
                else:
                    yield raw
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise self.error(f"is a damaged or cut off gzip file ({error}); get it again") from None
        except OSError as error:
            raise self.error(f"cannot be read: {error.strerror or error}") from None

    def read(self) -> bytes:
        """All bytes of the file.

        Raises:
            CorpusError: as `open`, or it is too large for one document.
        """
        limit = 4 * self.options.max_characters + 4
        with self.open() as stream:
            data = stream.read(limit + 1)
        if len(data) > limit:
            raise self.too_long()
        return data

    def read_text(self, declared: str | None = None, data: bytes | None = None) -> str:
        """The decoded text of the file; its encoding is noted in the tally.

        Raises:
            CorpusError: as `read` and `encoding.decode`, or there is no text in it.
        """
        data = self.read() if data is None else data
        decoded = decode(data, self.shown, encoding=self.options.encoding, declared=declared)
        del data
        if len(decoded.text) > self.options.max_characters:
            raise self.too_long()
        if not decoded.text.strip():
            raise self.error("is empty: there is no text in it; remove it or leave it out")
        self.tally.encodings[decoded.encoding] += 1
        return decoded.text

    def too_long(self, line: int | None = None) -> CorpusError:
        """The error for a document over the limit."""
        return self.error(
            f"one document may have {self.options.max_characters:,} characters, this one has more; "
            "split it into several files, or write it as JSONL with one section a line",
            line,
        )

    def place(self) -> str:
        """The id of a document that brings none: the name, with the line where there is one."""
        return self.name if self.line is None else f"{self.name}:{self.line}"

    def document(self, text: str, *, metadata: Metadata | None = None, **values: Any) -> Document:
        """A document of this file; id and source are filled in where `values` lacks them.

        Raises:
            CorpusError: a value does not fit, for example an id of more than 512 characters.
        """
        try:
            return Document(
                text=text,
                metadata={**self.options.metadata, **(metadata or {})},
                id=values.pop("id", None) or self.place(),
                source=values.pop("source", None) or self.name,
                **values,
            )
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise self.error(f"its {where} cannot be used: {first['msg']}", self.line) from None


def readable(path: str) -> str:
    """A path as text: POSIX separators, composed characters, and names in GBK (old archives) decoded."""
    raw = os.fsencode(path)
    for codec in ("utf-8", "gb18030"):
        try:
            path = raw.decode(codec)
            break
        except UnicodeDecodeError:
            continue
    else:
        path = raw.decode("utf-8", "backslashreplace")
    return unicodedata.normalize("NFC", path.replace(os.sep, "/"))
