"""One immutable segment of the store: documents, chunks, metadata postings and deletions in SQLite, vectors beside it.

A segment is written once, fsynced and never changed, so readers need no locks, a copy is a backup, and a hash in the
manifest proves every byte. The store is the list of segments that the manifest names; `merge` keeps that list short.
Not covered: which segments are current (`manifest`), searching (`dense`, `lexical`).

Rows number chunks across the whole index and are never reused; a document's number is its first row, and its chunks
have consecutive rows. A tombstone deletes all rows of one document, in whichever segment they lie.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chimed_rag.errors import IndexDamagedError, IndexError_
from chimed_rag.indexing.manifest import VectorFormat
from chimed_rag.records import Chunk, Document, Metadata, names

_SCHEMA = """
CREATE TABLE documents(number INTEGER PRIMARY KEY, chunks INTEGER NOT NULL, id TEXT NOT NULL UNIQUE, text TEXT NOT NULL,
  title TEXT NOT NULL, source TEXT NOT NULL, url TEXT NOT NULL, date TEXT NOT NULL, licence TEXT NOT NULL,
  metadata TEXT NOT NULL, pages TEXT NOT NULL, content_hash TEXT NOT NULL);
CREATE TABLE chunks(row INTEGER PRIMARY KEY, document INTEGER NOT NULL, text TEXT, start INTEGER NOT NULL,
  "end" INTEGER NOT NULL, page INTEGER, headings TEXT NOT NULL, runs TEXT NOT NULL);
CREATE TABLE postings(key TEXT NOT NULL, value NOT NULL, rows BLOB NOT NULL, PRIMARY KEY(key, value)) WITHOUT ROWID;
CREATE TABLE tombstones(number INTEGER PRIMARY KEY, chunks INTEGER NOT NULL);
CREATE TABLE layout(rows BLOB NOT NULL, form TEXT NOT NULL);
"""
_ATTRIBUTES = ("title", "source", "date", "licence")
Scalar = str | int | float


class Head(NamedTuple):
    """What a passage shows of its document: all but the text, which may be long."""

    id: str
    title: str
    source: str
    url: str
    date: str
    licence: str
    metadata: Metadata

    @property
    def names(self) -> tuple[str, ...]:
        """The title and the aliases; see `records.names`."""
        return names(self.title, self.metadata)


class StoredChunk(NamedTuple):
    """A chunk with the head of the document it belongs to, as read back."""

    chunk: Chunk
    document: Head


class DocumentEntry(NamedTuple):
    """Where a document lies: its number (first row), how many chunks, and the hash of its content."""

    number: int
    chunks: int
    content_hash: str


def scalars(value: Any) -> list[Scalar]:
    """The values under which a metadata entry can be found: itself, or the items of a list.

    Booleans count as 0 and 1; null, NaN, nested objects, integers beyond 64 bits and texts with lone surrogates cannot
    be filtered by.
    """
    items = value if isinstance(value, list | tuple) else [value]
    found: list[Scalar] = []
    for item in items:
        if isinstance(item, str):
            if storable(item):
                found.append(item)
        elif isinstance(item, int | float) and -(2.0**63) <= item < 2.0**63:
            found.append(int(item) if isinstance(item, bool) else item)
    return found


def storable(text: str) -> bool:
    """Whether a text can be written as UTF-8; a lone surrogate (a broken file name, a cut emoji) cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def document_values(document: Document) -> Iterator[tuple[str, Scalar]]:
    """Every (key, value) by which a document can be filtered: its metadata, title, source, date and licence."""
    for key, value in document.metadata.items():
        for scalar in dict.fromkeys(scalars(value)):
            yield key, scalar
    for key in _ATTRIBUTES:
        value = getattr(document, key)
        if value and key not in document.metadata:
            yield key, value


def quantise(vectors: NDArray[np.float32], form: VectorFormat) -> NDArray[np.uint8]:
    """Vectors (n, dimension) as the bytes that are stored (n, code_size).

    int8: code = round((v / scale + 1) * 127.5), so code 0 is -scale and 255 is +scale; magnitudes above scale clip.
    """
    if form.storage == "int8":
        codes: NDArray[np.uint8] = np.clip(np.rint((vectors / form.scale + 1.0) * 127.5), 0, 255).astype(np.uint8)
        return codes
    kind = "<f4" if form.storage == "fp32" else "<f2"
    return np.ascontiguousarray(vectors.astype(kind)).view(np.uint8).reshape(len(vectors), form.code_size)


class SegmentWriter:
    """Collects documents with their chunks and codes, then writes one segment."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        self._database = folder / f"{name}.sqlite.tmp"
        self._vectors = folder / f"{name}.vectors"
        self._rows: list[int] = []
        self._postings: dict[tuple[str, Scalar], list[int]] = {}
        # What an unfinished call left under this name counts no longer, before the first of its bytes changes.
        (folder / f"{name}.sqlite").unlink(missing_ok=True)
        self._database.unlink(missing_ok=True)
        self._connection = sqlite3.connect(self._database, isolation_level=None)
        try:
            self._connection.executescript(f"PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; {_SCHEMA} BEGIN;")
            self._file = self._vectors.open("wb")
        except BaseException:
            self._connection.close()
            self._database.unlink(missing_ok=True)
            raise

    def add(self, number: int, document: Document, chunks: Sequence[Chunk], codes: NDArray[np.uint8]) -> None:
        """Adds one document whose chunks get the rows number, number + 1, ...; codes is (chunks, code_size) bytes."""
        whole = len(chunks) == 1 and chunks[0].text == document.text
        self._connection.execute(
            "INSERT INTO documents VALUES(?,?,?,?,?,?,?,?,?,?,?,?)",
            (
                number, len(chunks), document.id, document.text, document.title, document.source, document.url,
                document.date, document.licence, json.dumps(document.metadata, ensure_ascii=False),
                json.dumps(document.pages), document.content_hash,
            ),
        )  # fmt: skip
        self._connection.executemany(
            "INSERT INTO chunks VALUES(?,?,?,?,?,?,?,?)",
            [
                (
                    number + n, number, None if whole else chunk.text, chunk.start, chunk.end, chunk.page,
                    json.dumps(chunk.headings, ensure_ascii=False), json.dumps(chunk.runs),
                )
                for n, chunk in enumerate(chunks)
            ],
        )  # fmt: skip
        self._file.write(codes.tobytes())
        first = len(self._rows)
        self._rows.extend(range(number, number + len(chunks)))
        for posting in document_values(document):
            self._postings.setdefault(posting, []).extend(range(first, len(self._rows)))

    def tombstone(self, entries: Iterable[tuple[int, int]]) -> None:
        """Marks documents (number, chunks) of this or earlier segments as deleted."""
        self._connection.executemany("INSERT OR IGNORE INTO tombstones VALUES(?,?)", entries)

    def finish(self, form: VectorFormat) -> int:
        """Writes everything durably and gives the segment its name; returns its number of rows."""
        connection = self._connection
        connection.executemany(
            "INSERT INTO postings VALUES(?,?,?)",
            (
                (key, value, np.asarray(rows, "<u4").tobytes())
                for (key, value), rows in sorted(self._postings.items(), key=lambda item: (item[0][0], str(item[0][1])))
            ),
        )
        connection.execute(
            "INSERT INTO layout VALUES(?,?)", (np.asarray(self._rows, "<i8").tobytes(), form.model_dump_json())
        )
        connection.execute("COMMIT")
        connection.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        with self._database.open("rb") as file:
            os.fsync(file.fileno())
        # The database gets its name last: a segment whose .sqlite exists is complete.
        self._database.replace(self.folder / f"{self.name}.sqlite")
        return len(self._rows)

    def discard(self) -> None:
        """Removes what was written so far; used when something went wrong before `finish`."""
        self._connection.close()
        with suppress(OSError):  # what is still buffered may not fit on a full disk
            self._file.close()
        for path in (self.folder / f"{self.name}.sqlite", self._database, self._vectors):
            path.unlink(missing_ok=True)


class Segment:
    """Reads one segment; safe to use from many threads.

    Raises:
        IndexDamagedError: the database cannot be read.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self._lock = Lock()
        self._path = path = folder / f"{name}.sqlite"
        self._connection: sqlite3.Connection | None = None
        try:
            # immutable: no locks, no journal, so a read-only folder serves too; the file never changes once named.
            self._connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False
            )
            rows, form = self._one("SELECT rows, form FROM layout")
            self.rows = np.frombuffer(rows, "<i8")
            self.form = VectorFormat.model_validate_json(form)
        except (sqlite3.Error, TypeError, ValueError) as error:
            self.close()
            raise self._damaged(error) from None
        shape = (len(self.rows), self.form.code_size)
        vectors = folder / f"{name}.vectors"
        try:
            self.codes = np.memmap(vectors, np.uint8, "r", shape=shape) if len(self.rows) else np.empty(shape, np.uint8)
        except (OSError, ValueError) as error:
            self.close()
            raise IndexDamagedError(f"{vectors}: {error}; run: chimed inspect {folder.parent}") from None

    def _damaged(self, error: Exception) -> IndexDamagedError:
        return IndexDamagedError(
            f"{self._path}: cannot be read ({error}); run: chimed inspect {self._path.parent.parent}"
        )

    def _all(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        try:
            with self._lock:
                if self._connection is None:
                    raise IndexError_(f"{self._path}: was closed; open the index again")
                return self._connection.execute(sql, parameters).fetchall()
        except sqlite3.DatabaseError as error:
            raise self._damaged(error) from None

    def _one(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        rows = self._all(sql, parameters)
        return rows[0] if rows else None

    def close(self) -> None:
        """Closes the database."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def __del__(self) -> None:
        # A generation that was replaced while questions were in flight goes with the last of them, and nobody closes
        # it; Python 3.13 warns of databases that go so.
        if getattr(self, "_connection", None) is not None:
            self.close()

    def find(self, document_id: str) -> DocumentEntry | None:
        """Where the document with this id lies in this segment, dead or alive."""
        if not storable(document_id):
            return None
        row = self._one("SELECT number, chunks, content_hash FROM documents WHERE id = ?", (document_id,))
        return DocumentEntry(*row) if row else None

    def tombstones(self) -> list[tuple[int, int]]:
        """(number, chunks) of the documents that this segment declares deleted."""
        return self._all("SELECT number, chunks FROM tombstones")

    def document_ids(self, rows: Sequence[int]) -> dict[int, tuple[str, int]]:
        """Row to (document id, document number) for rows of this segment."""
        marks = ",".join("?" * len(rows))
        sql = f"SELECT row, id, number FROM chunks JOIN documents ON number = document WHERE row IN ({marks})"  # noqa: S608
        return {row: (document_id, number) for row, document_id, number in self._all(sql, rows)}

    def numbers(self) -> list[tuple[int, int]]:
        """(number, chunks) of every document of this segment in order, dead or alive."""
        return self._all("SELECT number, chunks FROM documents ORDER BY number")

    def documents(self) -> Iterator[tuple[int, int, Document]]:
        """(number, chunks, document) of every document of this segment in order, dead or alive."""
        last = -1
        while batch := self._all("SELECT * FROM documents WHERE number > ? ORDER BY number LIMIT 500", (last,)):
            for values in batch:
                yield values[0], values[1], _document(values[2:])
            last = batch[-1][0]

    def document(self, number: int) -> Document | None:
        """The document with this number, if it lies in this segment."""
        values = self._one("SELECT * FROM documents WHERE number = ?", (number,))
        return _document(values[2:]) if values else None

    def chunks(self, document: Document, number: int, count: int) -> list[Chunk]:
        """The chunks of a document in order: rows number to number + count."""
        values = self._all("SELECT * FROM chunks WHERE row >= ? AND row < ? ORDER BY row", (number, number + count))
        return [_chunk([*v[:2], document.text if v[2] is None else v[2], *v[3:]], document) for v in values]

    def stored(self, rows: Sequence[int]) -> dict[int, StoredChunk]:
        """Chunks with the heads of their documents, by row."""
        marks = ",".join("?" * len(rows))
        found = self._all(
            'SELECT row, document, coalesce(c.text, d.text), start, "end", page, headings, runs, '  # noqa: S608
            "d.id, title, source, url, date, licence, metadata "
            f"FROM chunks c JOIN documents d ON d.number = c.document WHERE row IN ({marks})",
            rows,
        )
        result = {}
        for values in found:
            head = Head._make([*values[8:14], json.loads(values[14])])
            result[values[0]] = StoredChunk(_chunk(values[:8], head), head)
        return result

    def values(self, key: str) -> list[Scalar]:
        """The distinct values of a metadata key."""
        return [value for (value,) in self._all("SELECT value FROM postings WHERE key = ?", (key,))]

    def positions(self, key: str, values: Sequence[Scalar]) -> NDArray[np.uint32]:
        """Positions in this segment of the chunks whose metadata has one of the values."""
        blobs: list[bytes] = []
        for begin in range(0, len(values), 500):
            part = values[begin : begin + 500]
            marks = ",".join("?" * len(part))
            sql = f"SELECT rows FROM postings WHERE key = ? AND value IN ({marks})"  # noqa: S608
            blobs.extend(blob for (blob,) in self._all(sql, (key, *part)))
        return np.frombuffer(b"".join(blobs), "<u4")


def _document(values: Sequence[Any]) -> Document:
    document_id, text, title, source, url, date, licence, metadata, pages, digest = values
    return Document(
        id=document_id, text=text, title=title, source=source, url=url, date=date, licence=licence,
        metadata=json.loads(metadata), pages=tuple(json.loads(pages)), content_hash=digest,
    )  # fmt: skip


def _chunk(values: Sequence[Any], document: Head | Document) -> Chunk:
    row, number, text, start, end, page, headings, runs = values
    return Chunk(
        id=chunk_id(document.id, row - number), document_id=document.id, text=text, start=start, end=end, page=page,
        headings=tuple(json.loads(headings)), runs=tuple(tuple(run) for run in json.loads(runs)),
        metadata=document.metadata,
    )  # fmt: skip


def chunk_id(document_id: str, n: int) -> str:
    """The id of the n-th chunk (from 0) of a document."""
    return f"{document_id}#{n:04d}"


def merge(folder: Path, name: str, segments: Sequence[Segment], dead: set[int], first_row: int) -> int:
    """Writes the living documents of several neighbouring segments as one; returns its number of rows.

    Tombstones for documents in segments outside of the merged ones (numbers below `first_row`) are kept.
    """
    writer = SegmentWriter(folder, name)
    try:
        for segment in segments:
            for number, count, document in segment.documents():
                if number in dead:
                    continue
                begin = int(np.searchsorted(segment.rows, number))
                writer.add(
                    number, document, segment.chunks(document, number, count), segment.codes[begin : begin + count]
                )
            writer.tombstone(entry for entry in segment.tombstones() if entry[0] < first_row)
        return writer.finish(segments[0].form)
    except BaseException:
        writer.discard()
        raise
