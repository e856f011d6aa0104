"""The store: the segments of one generation read as one; documents, chunks, deletions and filters by row.

A position is a row's place among all rows of the generation, dead ones included; the vectors have the same order.
Not covered: writing (`writer`), searching (`dense`, `lexical`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chimed_rag.indexing.filters import All, Condition, Either, Node, Not
from chimed_rag.indexing.manifest import Manifest
from chimed_rag.indexing.segment import DocumentEntry, Scalar, Segment, StoredChunk, chunk_id
from chimed_rag.records import Document

Mask = NDArray[np.bool_]
_MOST_KEYS = 200_000


class Store:
    """Reads the segments of a generation; safe to use from many threads."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.segments: list[Segment] = []
        try:
            for entry in manifest.segments:
                self.segments.append(Segment(folder / "segments", entry.name))
        except BaseException:
            self.close()
            raise
        sizes = [len(segment.rows) for segment in self.segments]
        self._offsets = [0, *np.cumsum(sizes).tolist()]
        self.rows: NDArray[np.int64] = (
            np.concatenate([segment.rows for segment in self.segments]) if self.segments else np.empty(0, np.int64)
        )
        self._ends = [int(segment.rows[-1]) + 1 if len(segment.rows) else 0 for segment in self.segments]
        for i in range(1, len(self._ends)):  # segments without rows take the end of their predecessor
            self._ends[i] = max(self._ends[i], self._ends[i - 1])
        # Rows that tie, tie again: the same few are asked for over and over.
        self._keys: dict[int, tuple[str, str]] = {}
        self.dead: set[int] = set()
        self.alive: Mask = np.ones(len(self.rows), bool)
        for segment in self.segments:
            for number, count in segment.tombstones():
                self.dead.add(number)
                begin = int(np.searchsorted(self.rows, number))
                end = int(np.searchsorted(self.rows, number + count))
                self.alive[begin:end] = False

    def close(self) -> None:
        """Closes all segments."""
        for segment in self.segments:
            segment.close()

    def _segment_of(self, row: int) -> Segment | None:
        i = bisect_right(self._ends, row)
        return self.segments[i] if i < len(self.segments) else None

    def _by_segment(self, rows: Iterable[int]) -> Iterator[tuple[Segment, list[int]]]:
        """The distinct rows by the segment they lie in, at most 500 at a time, as SQLite limits variables."""
        groups: dict[Segment, list[int]] = {}
        for row in set(rows):
            if (segment := self._segment_of(row)) is not None:
                groups.setdefault(segment, []).append(row)
        for segment, group in groups.items():
            for begin in range(0, len(group), 500):
                yield segment, group[begin : begin + 500]

    def find(self, document_id: str) -> DocumentEntry | None:
        """The living document with this id."""
        for segment in reversed(self.segments):
            entry = segment.find(document_id)
            if entry is not None and entry.number not in self.dead:
                return entry
        return None

    def document(self, document_id: str) -> Document | None:
        """The living document with this id, whole."""
        for segment in reversed(self.segments):
            entry = segment.find(document_id)
            if entry is not None and entry.number not in self.dead:
                return segment.document(entry.number)
        return None

    def by_number(self, number: int) -> Document:
        """The document with this number.

        Raises:
            KeyError: no segment holds it.
        """
        segment = self._segment_of(number)
        document = segment.document(number) if segment is not None else None
        if document is None:
            raise KeyError(number)
        return document

    def entries(self, mask: Mask) -> Iterator[tuple[int, int]]:
        """(number, chunks) of the living documents at the positions of a mask."""
        selected = set(self.rows[mask & self.alive].tolist())
        for segment in self.segments:
            for number, count in segment.numbers():
                if number in selected:
                    yield number, count

    def documents(self) -> Iterator[Document]:
        """All living documents in the order in which they were added."""
        for segment in self.segments:
            for number, _, document in segment.documents():
                if number not in self.dead:
                    yield document

    def stored(self, rows: Sequence[int]) -> dict[int, StoredChunk]:
        """Chunks with their documents, by row."""
        found: dict[int, StoredChunk] = {}
        for segment, part in self._by_segment(rows):
            found.update(segment.stored(part))
        return found

    def keys(self, rows: Iterable[int]) -> dict[int, tuple[str, str]]:
        """Row to (document id, chunk id)."""
        if len(self._keys) > _MOST_KEYS:
            self._keys = {}
        known, wanted = self._keys, set(rows)
        for segment, part in self._by_segment(row for row in wanted if row not in known):
            for row, (document_id, number) in segment.document_ids(part).items():
                known[row] = (document_id, chunk_id(document_id, row - number))
        return {row: known[row] for row in wanted if row in known}

    def values(self, node: Condition) -> list[Scalar]:
        """The values of a key, among those that occur, which satisfy a condition."""
        if node.values is not None:
            return list(node.values)
        found = {value for segment in self.segments for value in segment.values(node.key) if node.test(value)}
        return sorted(found, key=lambda value: (isinstance(value, str), value))

    def numbers(self, node: Condition) -> list[DocumentEntry]:
        """The documents that a condition on `id` names."""
        if node.values is not None:
            return [entry for value in node.values if (entry := self.find(str(value))) is not None]
        found = []
        for segment in self.segments:
            for number, count, document in segment.documents():
                if number not in self.dead and node.test(document.id):
                    found.append(DocumentEntry(number, count, document.content_hash))
        return found

    def mask(self, node: Node) -> Mask:
        """Which positions satisfy a filter, dead ones included."""
        if isinstance(node, Not):
            return ~self.mask(node.part)
        if isinstance(node, All | Either):
            masks = [self.mask(part) for part in node.parts]
            if not masks:
                return np.full(len(self.rows), isinstance(node, All))
            combined: Mask = np.all(masks, axis=0) if isinstance(node, All) else np.any(masks, axis=0)
            return combined
        mask = np.zeros(len(self.rows), bool)
        if node.key == "id":
            for entry in self.numbers(node):
                begin, end = np.searchsorted(self.rows, (entry.number, entry.number + entry.chunks))
                mask[begin:end] = True
            return mask
        values = self.values(node)
        for segment, offset in zip(self.segments, self._offsets, strict=False):
            mask[segment.positions(node.key, values).astype(np.int64) + offset] = True
        return mask
