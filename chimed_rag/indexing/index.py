"""One generation of an index, opened for reading: both searches, filters, passages and documents.

Opening pins the generation: whatever is written later, this object keeps giving the same results; open again to see
more. Safe to use from many threads. Not covered: writing (`writer`), fusing the two searches (`retrieval`).
"""

from __future__ import annotations

import json
import os
import time
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from chimed_rag.errors import IndexDamagedError, IndexMissingError, InputError
from chimed_rag.indexing.dense import DenseIndex
from chimed_rag.indexing.filters import Filter, parse
from chimed_rag.indexing.lexical import LexicalIndex
from chimed_rag.indexing.manifest import Manifest, damaged_files, read_manifest
from chimed_rag.indexing.segment import StoredChunk
from chimed_rag.indexing.store import Mask, Store
from chimed_rag.records import Document

_FULL_CHECK_BYTES = 32_000_000
"""Up to this size, opening reads and hashes every byte; above, sizes only (`inspect` hashes everything)."""


_PARALLEL = 8
"""From so many queries at once, the lexical search uses all cores."""

Scored = tuple[float, int]
"""(score, row)."""


class Hit(NamedTuple):
    """A chunk that a search found."""

    chunk_id: str
    score: float
    row: int
    document_id: str


class _Condition(NamedTuple):
    mask: Mask
    lexical: object | None


class Index:
    """Reads one generation; made by `Index.open`."""

    def __init__(self, folder: Path, manifest: Manifest, device: str = "cpu") -> None:
        self.folder, self.manifest = folder, manifest
        self.store = Store(folder, manifest)
        try:
            self.lexical = LexicalIndex(folder / manifest.lexical)
            self.dense = DenseIndex([s.codes for s in self.store.segments], manifest.vectors, device)
        except BaseException:
            self.store.close()
            raise
        self._alive = None if self.store.alive.all() else self.store.alive
        self._conditions: OrderedDict[str, _Condition] = OrderedDict()
        self._lock = Lock()

    @classmethod
    def open(cls, folder: Path, *, device: str = "cpu", check: bool = True) -> Index:
        """Opens the current generation of a folder.

        Raises:
            IndexMissingError: no index there, or a file of it is gone.
            IndexDamagedError: a file is not what was committed.
            IndexMismatchError: a newer format version.
        """
        # A writer removes files two generations after they fell out of use; a reader that slept longer than that
        # between reading the manifest and opening the files finds a newer manifest and starts over.
        for _ in range(100):
            manifest = read_manifest(folder)
            try:
                if check:
                    _verify(folder, manifest)
                return cls(folder, manifest, device)
            except (IndexMissingError, IndexDamagedError, OSError):
                if read_manifest(folder).generation == manifest.generation:
                    raise
                time.sleep(0.005)
        raise IndexMissingError(f"{folder}: is rewritten faster than it can be opened; try again")

    def close(self) -> None:
        """Closes the files of the generation."""
        self.store.close()

    def __len__(self) -> int:
        return self.manifest.counts.chunks

    def _condition(self, filter: Filter | None) -> _Condition | None:
        if not filter:
            return None
        key = json.dumps(filter, ensure_ascii=False, default=repr)
        with self._lock:
            if key in self._conditions:
                self._conditions.move_to_end(key)
                return self._conditions[key]
        node = parse(filter)
        condition = _Condition(self.store.mask(node) & self.store.alive, self.lexical.compile_filter(node, self.store))
        with self._lock:
            self._conditions[key] = condition
            if len(self._conditions) > 256:
                self._conditions.popitem(last=False)
        return condition

    def search_dense(self, vectors: NDArray[np.float32], k: int, filter: Filter | None = None) -> list[list[Hit]]:
        """`rank_dense` with the ids of chunks and documents."""
        return [self.name(hits) for hits in self.rank_dense(vectors, k, filter)]

    def search_lexical(
        self, queries: Sequence[dict[str, float]], k: int, filter: Filter | None = None
    ) -> list[list[Hit]]:
        """`rank_lexical` with the ids of chunks and documents."""
        return [self.name(hits) for hits in self.rank_lexical(queries, k, filter)]

    def rank_dense(self, vectors: NDArray[np.float32], k: int, filter: Filter | None = None) -> list[list[Scored]]:
        """The k chunks with the largest inner product for each query vector, ordered by (−score, chunk id).

        Raises:
            InputError: a vector holds NaN or infinity, or has another dimension than the index.
        """
        if k <= 0:
            return [[] for _ in vectors]
        if vectors.ndim != 2 or vectors.shape[1] != self.manifest.vectors.dimension:
            raise InputError(
                f"query vectors of shape {vectors.shape}; the index holds vectors of {self.manifest.vectors.dimension}"
            )
        if not np.isfinite(vectors).all():
            raise InputError("a query vector holds NaN or infinity")
        condition = self._condition(filter)
        allowed = self._alive if condition is None else condition.mask
        most = len(self.store.rows) if allowed is None else int(np.count_nonzero(allowed))
        fetched = k + 8
        scores, positions = self.dense.search(vectors, fetched, allowed)
        results = []
        for i in range(len(vectors)):
            s, p, n = scores[i], positions[i], fetched
            # Ties across the cut: fetch until the last score is below the k-th, so that the ids decide, not chance.
            while len(s) > k and s[-1] == s[k - 1] and n < most:
                n = min(most, 2 * n)
                wide_scores, wide_positions = self.dense.search(vectors[i : i + 1], n, allowed)
                s, p = wide_scores[0], wide_positions[0]
            results.append(self.settle(list(zip(s.tolist(), self.store.rows[p].tolist(), strict=True)), k))
        return results

    def score_dense(self, vector: NDArray[np.float32], rows: Sequence[int]) -> list[Scored]:
        """The inner products of one query vector with the chunks of these rows, in their order."""
        positions = np.searchsorted(self.store.rows, np.asarray(rows, dtype=np.int64))
        return list(zip(self.dense.inner_products(vector, positions).tolist(), rows, strict=True))

    def rank_lexical(
        self, queries: Sequence[dict[str, float]], k: int, filter: Filter | None = None
    ) -> list[list[Scored]]:
        """The k chunks with the highest BM25 for each query (term to weight), ordered by (−score, chunk id)."""
        condition = self._condition(filter)
        if k <= 0:
            return [[] for _ in queries]

        def rank(query: dict[str, float]) -> list[Scored]:
            return self.settle(self._lexical_rows(query, k, condition), k)

        if len(queries) < _PARALLEL:
            return [rank(query) for query in queries]
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # tantivy searches outside of the interpreter's lock
            return list(pool.map(rank, queries))

    def _lexical_rows(self, query: dict[str, float], k: int, condition: _Condition | None) -> list[Scored]:
        compiled = condition.lexical if condition is not None else None
        allowed = self._alive if condition is None else condition.mask
        most = len(self.store.rows) + 1  # one more than there are, so that asking for it finds the end
        n = k + 8 if condition is None or compiled is not None else 4 * k
        while True:
            n = min(n, most)
            hits = self.lexical.search(query, n, compiled)
            exhausted = len(hits) < n
            if allowed is not None and hits:
                # The store has the last word on what is alive and what a filter lets through.
                at = np.searchsorted(self.store.rows, [row for _, row in hits])
                hits = [hit for hit, ok in zip(hits, allowed[at], strict=True) if ok]
            if exhausted or (len(hits) > k and hits[-1][0] < hits[k - 1][0]):
                return hits
            n *= 2

    def settle(self, hits: list[Scored], k: int) -> list[Scored]:
        """The first k (score, row) in the order (−score, chunk id); ids are looked up only where scores tie."""
        hits = sorted(sorted(hits, key=itemgetter(1)), key=itemgetter(0), reverse=True)  # faster than by (-score, row)
        tied = {row for one, two in pairwise(hits) if one[0] == two[0] for row in (one[1], two[1])}
        if tied:
            keys = self.store.keys(tied)
            hits.sort(key=lambda hit: (-hit[0], keys[hit[1]][1] if hit[1] in keys else ""))
        return hits[:k]

    def name(self, hits: Sequence[Scored]) -> list[Hit]:
        """Hits with the ids of chunks and documents."""
        keys = self.store.keys(row for _, row in hits)
        return [Hit(keys[row][1], score, row, keys[row][0]) for score, row in hits]

    def passages(self, rows: Sequence[int]) -> dict[int, StoredChunk]:
        """Chunks with their documents, by row."""
        return self.store.stored(rows)

    def rows_of(self, document_id: str) -> range:
        """The rows of the chunks of a living document, in order; empty if there is none with this id."""
        entry = self.store.find(document_id)
        return range(entry.number, entry.number + entry.chunks) if entry is not None else range(0)

    def document(self, document_id: str) -> Document | None:
        """The living document with this id."""
        return self.store.document(document_id)


def _verify(folder: Path, manifest: Manifest) -> None:
    total = sum(entry.size for entry in manifest.files.values())
    problems = damaged_files(folder, manifest, hashes=total <= _FULL_CHECK_BYTES)
    if problems:
        error = IndexMissingError if problems[0].endswith("missing") else IndexDamagedError
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise error(
            f"{folder}: {problems[0]}{more}; run: chimed inspect {folder} --repair, or restore the folder from a backup"
        )
