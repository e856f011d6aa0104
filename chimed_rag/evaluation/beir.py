"""Reads a retrieval set in BEIR form (queries, corpora, qrels; JSONL, plain or gzip; qrels also as TSV).

Not covered: scoring (`evaluation.retrieval`), downloading, and encodings other than UTF-8.

The form is that of Thakur et al., "BEIR: A Heterogenous Benchmark for Zero-shot Evaluation of Information Retrieval
Models", 2021.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from chimed_rag.corpus.jsonl import json_rows, lines, parsed
from chimed_rag.errors import CorpusError, DuplicateError, InputError
from chimed_rag.records import Document

_log = logging.getLogger(__name__)

Queries = dict[str, str]
"""Query id to its text, in the order of the file."""

Qrels = dict[str, dict[str, int]]
"""Query id to document id to relevance; 0 and below are judged not relevant."""


def read_queries(path: str | Path) -> Queries:
    """The queries of a file of rows `{"_id", "text"}`; further fields are ignored.

    Raises:
        CorpusError: the file or a line cannot be read, or a query has no text.
        DuplicateError: one query id with two different texts.
    """
    queries: Queries = {}
    for line, row in json_rows(path):
        key, text = _identifier(row, "_id", "id", path=path, line=line), row.get("text")
        if not isinstance(text, str) or not text.strip():
            raise CorpusError(f"query {key!r} has no text", path=str(path), line=line)
        if queries.setdefault(key, text) != text:
            raise DuplicateError(f"query {key!r} came before with another text", path=str(path), line=line)
    return queries


def read_qrels(path: str | Path) -> Qrels:
    """The judgements of a file of rows `{"query-id", "corpus-id", "score"}`, or of three tab-separated columns.

    The header line of the tab-separated form may be there or not; scores are whole numbers.

    Raises:
        CorpusError: the file or a line cannot be read.
        DuplicateError: one pair of query and document with two different scores.
    """
    qrels: Qrels = {}
    for line, text in lines(path):
        if text.lstrip().startswith("{"):
            row = parsed(text, path, line)
        else:
            row = _columns(text, path, line)
            if line == 1 and not _is_number(row["score"]):
                continue  # the header
        query = _identifier(row, "query-id", path=path, line=line)
        document = _identifier(row, "corpus-id", path=path, line=line)
        score = _relevance(row.get("score"), path, line)
        if qrels.setdefault(query, {}).setdefault(document, score) != score:
            raise DuplicateError(
                f"{query!r} and {document!r} came before with another score", path=str(path), line=line
            )
    return qrels


class BeirCorpus:
    """The documents of one or more corpus files, streamed anew on each iteration.

    A row is `{"_id" or "id", "title", "text"}`; its further fields, and those inside a BEIR `metadata` object, become
    `Document.metadata`. Rows of one text under several ids stay several documents. A row whose id came before with the
    same title and text is passed over and counted in `repeated`.

    Iterating raises `CorpusError` for a file or line that cannot be read and `DuplicateError` for one id with two
    different texts.

    Args:
        paths: the files, in order; reading a million documents keeps about 0.2 GB of ids and hashes.
    """

    def __init__(self, paths: Iterable[str | Path]) -> None:
        self.paths = [Path(path) for path in paths]
        self.repeated = 0
        self._hashes: dict[str, bytes] = {}

    def __iter__(self) -> Iterator[Document]:
        self.repeated = 0
        self._hashes = hashes = {}
        for path in self.paths:
            for line, row in json_rows(path):
                document = _document(row, path, line)
                # Not `content_hash`: another file's further fields do not make it another text.
                said = hashlib.sha256(f"{document.title}\0{document.text}".encode()).digest()
                if document.id not in hashes:
                    hashes[document.id] = said
                    yield document
                elif hashes[document.id] == said:
                    self.repeated += 1
                else:
                    raise DuplicateError(
                        f"document {document.id!r} came before with another text", path=str(path), line=line
                    )

    def missing(self, qrels: Mapping[str, Mapping[str, int]]) -> set[str]:
        """The documents judged relevant (score above 0) that the last iteration did not meet."""
        relevant = (key for judged in qrels.values() for key, score in judged.items() if score > 0)
        return {key for key in relevant if key not in self._hashes}


def judged_queries(queries: Mapping[str, str], qrels: Mapping[str, Mapping[str, int]]) -> tuple[Queries, Qrels]:
    """The queries that have judgements, and their judgements, both in the order of `queries`.

    As in BEIR, a query that nobody judged is left out rather than scored zero, and so are judgements of queries that
    are not asked; both are counted in a warning of this module's logger.

    Raises:
        InputError: no query has a judgement.
    """
    asked = {key: text for key, text in queries.items() if key in qrels}
    if not asked:
        raise InputError("no query has a judgement: do the queries and the qrels belong to one set?")
    if len(asked) < len(queries):
        _log.warning("%d of %d queries have no judgement and are left out", len(queries) - len(asked), len(queries))
    if len(asked) < len(qrels):
        _log.warning("%d of %d judged queries are not among the queries", len(qrels) - len(asked), len(qrels))
    return asked, {key: dict(qrels[key]) for key in asked}


def data_sha256(paths: Iterable[str | Path]) -> str:
    """SHA-256 (hex) of the bytes of the files as they lie there, one after the other: `cat FILES | sha256sum`.

    Raises:
        CorpusError: a file cannot be read.
    """
    digest = hashlib.sha256()
    for path in paths:
        try:
            with Path(path).open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        except OSError as error:
            raise CorpusError(f"cannot be read: {error.strerror or error}", path=str(path)) from error
    return digest.hexdigest()


def _columns(text: str, path: str | Path, line: int) -> dict[str, Any]:
    columns = text.rstrip("\r\n").split("\t")
    if len(columns) != 3:
        raise CorpusError(
            "neither a JSON object nor three tab-separated columns (query-id, corpus-id, score)",
            path=str(path),
            line=line,
        )
    return dict(zip(("query-id", "corpus-id", "score"), columns, strict=True))


def _identifier(row: Mapping[str, Any], *names: str, path: str | Path, line: int) -> str:
    """The first of these fields that is there, as a string; whole numbers are taken as they are written."""
    value = next((row[name] for name in names if name in row), None)
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise CorpusError(f"a row without a usable {' or '.join(map(repr, names))}", path=str(path), line=line)
    return str(value)


def _is_number(value: object) -> bool:
    try:
        float(str(value))
    except ValueError:
        return False
    return True


def _relevance(value: object, path: str | Path, line: int) -> int:
    if not isinstance(value, bool) and _is_number(value) and (number := float(str(value))).is_integer():
        return int(number)
    raise CorpusError(f"score must be a whole number, not {value!r}", path=str(path), line=line)


def _document(row: dict[str, Any], path: Path, line: int) -> Document:
    key = _identifier(row, "_id", "id", path=path, line=line)
    title, text = row.get("title") or "", row.get("text")
    if not isinstance(text, str) or not isinstance(title, str):
        raise CorpusError(f"document {key!r} needs a text, and its title must be one", path=str(path), line=line)
    inner = row.get("metadata")
    known = {"_id" if "_id" in row else "id", "title", "text"} | ({"metadata"} if isinstance(inner, dict) else set())
    metadata = {name: value for name, value in row.items() if name not in known}
    if isinstance(inner, dict):
        metadata |= inner
    try:
        # Some BEIR sets have rows with a title alone: it is then all that the document says.
        return Document(id=key, text=text if text.strip() else title, title=title, metadata=metadata)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise CorpusError(f"document {key!r}: {place}: {first['msg']}", path=str(path), line=line) from error
