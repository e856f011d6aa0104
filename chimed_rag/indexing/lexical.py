"""Lexical search: BM25 by tantivy over our own index terms, metadata beside them so that filters apply first.

Derived from the store; a folder per generation, made from its predecessor by hard links, so that a reader of the older
one is never disturbed. BM25 (Robertson & Zaragoza 2009) with tantivy's fixed k1 = 1.2, b = 0.75.
Not covered: synonyms and field weights. Statistics count deleted rows until tantivy merges or `compact` runs.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from math import log
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chimed_rag.errors import IndexDamagedError
from chimed_rag.indexing.filters import All, Condition, Either, Node, Not
from chimed_rag.indexing.segment import Head, Scalar, document_values
from chimed_rag.records import Chunk, Document
from chimed_rag.text import terms

if TYPE_CHECKING:
    import tantivy

    from chimed_rag.indexing.store import Store

_MOST_VALUES = 1024
"""A condition that more values satisfy is applied to the hits instead of being sent to tantivy."""
_LONGEST_FACET = 1000


def index_text(document: Document | Head, chunk: Chunk) -> str:
    """What the encoder, the lexical index and a reranker see of a chunk: title and aliases, headings, text."""
    return "\n".join(part for part in (*document.names, *chunk.headings, chunk.text) if part)


def _schema() -> tantivy.Schema:
    import tantivy

    builder = tantivy.SchemaBuilder()
    builder.add_text_field("body", tokenizer_name="whitespace", index_option="freq")
    builder.add_text_field("facets", tokenizer_name="raw", index_option="basic")
    builder.add_unsigned_field("row", fast=True)
    builder.add_unsigned_field("number", indexed=True)
    return builder.build()


def _facet(key: str, value: Scalar) -> str:
    # json keeps 2020 and "2020" apart; whole floats equal integers, as they do in the store.
    plain = int(value) if isinstance(value, float) and value.is_integer() else value
    facet = f"{key}\0{json.dumps(plain, ensure_ascii=False)}"
    # tantivy drops terms beyond 64 kB without a word; a hash stands for long ones.
    return facet if len(facet) <= _LONGEST_FACET else f"\0{hashlib.sha256(facet.encode()).hexdigest()}"


@contextmanager
def _translated(folder: Path) -> Iterator[None]:
    """Tells tantivy's errors apart: the system's become OSError with their number, all others mean damaged files."""
    try:
        yield
    except BaseException as error:
        text = str(error)
        # A panic in tantivy (a file that is not what it wrote) comes as a BaseException that no module exports.
        if not isinstance(error, ValueError | OSError) and type(error).__name__ != "PanicException":
            raise
        if number := re.search(r"os error (\d+)", text):
            raise OSError(int(number[1]), text) from None
        if isinstance(error, OSError):
            raise
        if "index writer was killed" in text:
            # Its thread keeps the reason for itself; most often it found no room for a file.
            raise OSError(errno.ENOSPC if shutil.disk_usage(folder).free < 1_000_000 else errno.EIO, text) from None
        raise IndexDamagedError(
            f"{folder}: {text.splitlines()[0][:300]}; run: chimed inspect {folder.parent.parent} --repair"
        ) from None


class LexicalWriter:
    """Adds and deletes documents in a new generation's folder; `commit` finishes it, `discard` removes it.

    Args:
        folder: the folder to make; must not exist.
        previous: the generation to start from, or None for an empty one.
    """

    def __init__(self, folder: Path, previous: Path | None) -> None:
        import tantivy

        self.folder, self._tantivy = folder, tantivy
        folder.mkdir(parents=True)
        try:
            for file in previous.iterdir() if previous is not None else ():
                if not file.name.endswith(".lock"):
                    _link(file, folder / file.name)
            self._schema = _schema()
            with _translated(folder):
                self._index = tantivy.Index(self._schema, path=str(folder))
                # One thread keeps segments, and so scores and ties, the same from run to run.
                self._writer: tantivy.IndexWriter | None = self._index.writer(heap_size=96_000_000, num_threads=1)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def add(self, number: int, document: Document, chunks: Sequence[Chunk]) -> None:
        """Adds the chunks of a document as rows number, number + 1, ..."""
        assert self._writer is not None
        facets = [_facet(key, value) for key, value in document_values(document)]
        for n, chunk in enumerate(chunks):
            entry = self._tantivy.Document()
            entry.add_text("body", " ".join(terms(index_text(document, chunk))))
            entry.add_unsigned("row", number + n)
            entry.add_unsigned("number", number)
            for facet in facets:
                entry.add_text("facets", facet)
            with _translated(self.folder):
                self._writer.add_document(entry)

    def delete(self, numbers: Iterable[int]) -> None:
        """Deletes documents by number."""
        assert self._writer is not None
        with _translated(self.folder):
            for number in numbers:
                # Not delete_documents_by_term: it makes a signed term of an int, which no unsigned field holds.
                query = self._tantivy.Query.term_query(self._schema, "number", number)
                self._writer.delete_documents_by_query(query)

    def commit(self) -> list[str]:
        """Makes the folder complete and durable; returns its file names."""
        assert self._writer is not None
        with _translated(self.folder):
            self._writer.commit()
            self._writer.wait_merging_threads()
        self._writer = None
        names = []
        for file in sorted(self.folder.iterdir()):
            if file.name.endswith(".lock"):
                file.unlink()
                continue
            file.chmod(0o644)  # tantivy writes its meta files for the owner alone; an index may be shared
            names.append(file.name)
        return names

    def discard(self) -> None:
        """Removes the folder."""
        self._writer = None
        _remove(self.folder)


def _link(source: Path, target: Path) -> None:
    # meta.json and .managed.json are replaced, segment files never written again: links are safe for all of them.
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _remove(folder: Path) -> None:
    # tantivy looks at a new index from a thread of its own, and may make its lock file just while we remove the folder.
    for _ in range(100):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.001)


class LexicalIndex:
    """Searches one generation; safe to use from many threads.

    Raises:
        IndexDamagedError: tantivy cannot open it.
    """

    def __init__(self, folder: Path) -> None:
        import tantivy

        self._folder, self._tantivy = folder, tantivy
        # tantivy wants to create a lock file where it opens an index. A view of links in a temporary folder lets a
        # read-only index be served and leaves nothing behind: the files stay mapped after the view is gone.
        view = tempfile.mkdtemp(prefix="chimed-")
        try:
            for file in folder.iterdir():
                target = Path(view, file.name)
                try:
                    target.symlink_to(file.absolute())
                except OSError:
                    shutil.copyfile(file, target)
            with _translated(folder):
                self._index = tantivy.Index.open(view)
                self._searcher = self._index.searcher()
        except OSError as error:
            raise IndexDamagedError(f"{folder}: {error}; run: chimed inspect {folder.parent.parent}") from None
        finally:
            _remove(Path(view))
        self._schema = self._index.schema

    def search(self, weighted_terms: dict[str, float], k: int, condition: Any = None) -> list[tuple[float, int]]:
        """(score, row) of the k best rows, best first; order within equal scores is left to the caller.

        `condition` comes from `compile_filter`.
        """
        query_of, occur = self._tantivy.Query, self._tantivy.Occur
        clauses = []
        for term, weight in weighted_terms.items():
            clause = query_of.term_query(self._schema, "body", term, "freq")
            clauses.append((occur.Should, clause if weight == 1.0 else query_of.boost_query(clause, weight)))
        if not clauses or k <= 0:
            return []
        query = query_of.boolean_query(clauses)
        if condition is not None:
            query = query_of.boolean_query(
                [(occur.Must, query), (occur.Must, query_of.const_score_query(condition, 0.0))]
            )
        with _translated(self._folder):
            hits = self._searcher.search(query, k, count=False).hits
            rows = self._searcher.fast_field_values("row", [address for _, address in hits])
        return [(score, int(row)) for (score, _), row in zip(hits, rows, strict=True) if row is not None]

    def compile_filter(self, node: Node, store: Store) -> Any | None:
        """A tantivy query for a filter, or None when too many values satisfy one of its conditions."""
        query_of, occur = self._tantivy.Query, self._tantivy.Occur
        if isinstance(node, Not):
            part = self.compile_filter(node.part, store)
            if part is None:
                return None
            return query_of.boolean_query([(occur.Must, query_of.all_query()), (occur.MustNot, part)])
        if isinstance(node, All | Either):
            compiled = [self.compile_filter(part, store) for part in node.parts]
            parts = [part for part in compiled if part is not None]
            if len(parts) < len(compiled):
                return None
            if not parts:
                return query_of.all_query() if isinstance(node, All) else query_of.empty_query()
            return query_of.boolean_query([(occur.Must if isinstance(node, All) else occur.Should, p) for p in parts])
        return self._compile_values(node, store)

    def _compile_values(self, node: Condition, store: Store) -> Any | None:
        query_of = self._tantivy.Query
        values: list[Any] = (
            [entry.number for entry in store.numbers(node)]
            if node.key == "id"
            else [_facet(node.key, value) for value in store.values(node)]
        )
        if len(values) > _MOST_VALUES:
            return None
        if not values:
            return query_of.empty_query()
        return query_of.term_set_query(self._schema, "number" if node.key == "id" else "facets", values)

    def document_frequency(self, term: str) -> int:
        """In how many rows a term occurs (deleted ones count until they are merged away)."""
        return int(self._searcher.doc_freq("body", term))

    def inverse_document_frequency(self, term: str) -> float:
        """BM25's idf: ln(1 + (N - n + 0.5) / (n + 0.5)), N rows of which n hold the term."""
        n = self.document_frequency(term)
        return log(1 + (max(self._searcher.num_docs, n) - n + 0.5) / (n + 0.5))
