"""Sources become documents: files, folders, globs, records and dicts, streamed in an order that never varies.

Not covered: reading a file (`loaders`); cutting documents into chunks (`chunker`).
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal, TypedDict

from chimed_rag.corpus.loaders.base import FieldMap, LoadOptions, LoadReport, SourceFile, Tally
from chimed_rag.corpus.loaders.files import SUFFIXES, find_files, loader_of, require
from chimed_rag.corpus.loaders.rows import refuse_lone_surrogates, row_document
from chimed_rag.errors import CorpusError, DuplicateError, InputError
from chimed_rag.records import Document
from chimed_rag.registry import loaders

__all__ = ["SUFFIXES", "FieldMap", "LoadReport", "Source", "load"]

Source = str | os.PathLike[str] | Document | Mapping[str, Any]
OnError = Literal["raise", "skip"]


class Reading(TypedDict, total=False):
    """How sources are read: the keyword arguments of `load`, which `MedQA.build`, `add` and `upsert` take too."""

    fields: FieldMap | Mapping[str, Any] | None
    metadata: Mapping[str, Any] | None
    encoding: str | None
    skip_scanned: bool
    on_error: OnError
    on_report: Callable[[LoadReport], None] | None


def load(
    sources: Source | Iterable[Source],
    *,
    fields: FieldMap | Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
    encoding: str | None = None,
    skip_scanned: bool = False,
    on_error: OnError = "raise",
    on_report: Callable[[LoadReport], None] | None = None,
) -> Iterator[Document]:
    """The documents of the sources, one after the other, never all at once.

    Args:
        sources: a file, a folder (read with its subfolders), a glob such as "literature/**/*.md", a `Document`, a dict
            with the keys of a document (others become metadata), or an iterable of these.
        fields: which columns of tables and dicts become what.
        metadata: added to the metadata of every document that has no such key of its own.
        encoding: the encoding of all text files; detected for each file by default.
        skip_scanned: leave scanned pages of a PDF out instead of refusing the file.
        on_error: "skip" leaves out a file that cannot be read, from the point where it fails, and reports it.
        on_report: is given the counts at the end.

    Raises:
        CorpusError: a path does not exist, a folder has nothing to read, or a file cannot be read.
        DuplicateError: two documents have the same id and do not say the same.
        InputError: an option has no such value.
        MissingExtraError: a format needs a library that is not installed.
        TypeError: a source is none of the above.
    """
    if on_error not in ("raise", "skip"):
        raise InputError(f"on_error must be 'raise' or 'skip', not {on_error!r}")
    options = LoadOptions(_field_map(fields), dict(metadata or {}), encoding, skip_scanned)
    if isinstance(sources, (str, os.PathLike, Document, Mapping)):
        sources = [sources]
    if isinstance(sources, (list, tuple)):
        for source in sources:  # a slip in the last path should not show after an hour
            if isinstance(source, (str, os.PathLike)):
                require(os.fspath(source))
    return _load(sources, options, on_error == "skip", on_report)


def _load(
    sources: Iterable[Source], options: LoadOptions, skip: bool, on_report: Callable[[LoadReport], None] | None
) -> Iterator[Document]:
    tally, seen = Tally(), _Seen()
    for number, source in enumerate(sources, start=1):
        if isinstance(source, (Document, Mapping)):
            place = f"record {number}"
            file = SourceFile(Path(place), f"record:{number}", options, tally, shown=place)
            document = _record(source, file)
            if document is not None and seen.is_new(document, "record", number, tally):
                tally.documents += 1
                yield document
        elif isinstance(source, (str, os.PathLike)):
            for file in find_files(os.fspath(source), options, tally):
                try:
                    for document in _read(file):
                        if seen.is_new(document, file.shown, file.line, tally):
                            tally.documents += 1
                            yield document
                    tally.files += 1
                except DuplicateError:
                    raise
                except CorpusError as error:
                    if not skip:
                        raise
                    tally.skipped["bad file"] += 1
                    tally.errors.append(str(error))
        else:
            raise TypeError(f"cannot load a {type(source).__name__}: give paths, Documents or dicts")
    if tally.errors and not tally.documents:
        raise CorpusError(f"none of the files could be read; the first error: {tally.errors[0]}")
    if on_report is not None:
        on_report(tally.report())


def _field_map(fields: FieldMap | Mapping[str, Any] | None) -> FieldMap:
    if isinstance(fields, FieldMap):
        return fields
    try:
        return FieldMap.model_validate(dict(fields or {}))
    except ValueError as error:
        known = ", ".join(FieldMap.model_fields)
        raise InputError(f"fields cannot be used ({error}); the fields are: {known}") from None


def _read(file: SourceFile) -> Iterator[Document]:
    documents: Iterator[Document] = loaders.get(str(loader_of(file.path.name)))(file)
    return documents


def _record(source: Document | Mapping[str, Any], file: SourceFile) -> Document | None:
    """A given record as a document, with the metadata of this load where it has none of its own."""
    if isinstance(source, Mapping):
        refuse_lone_surrogates(source, file)
        return row_document(source, file, own=True)
    added = {key: value for key, value in file.options.metadata.items() if key not in source.metadata}
    if not added:
        return source
    values = {**dict(source), "metadata": {**added, **source.metadata}, "content_hash": ""}
    return Document(**values)


class _Seen:
    """Which ids came, where, and with what content: about 200 bytes a document."""

    def __init__(self) -> None:
        self.index: dict[str, int] = {}
        self.hashes, self.files, self.lines = array("Q"), array("I"), array("I")
        self.names: list[str] = []

    def is_new(self, document: Document, name: str, line: int | None, tally: Tally) -> bool:
        """Takes note of a document; False (counted) if the very same came before.

        Raises:
            DuplicateError: its id came before, with other content.
        """
        digest = int.from_bytes(blake2b(document.content_hash.encode(), digest_size=8).digest(), "big")
        place = self.index.setdefault(document.id, len(self.hashes))
        if place < len(self.hashes):
            if self.hashes[place] != digest:
                raise self._error(document, place, name, line)
            tally.skipped["duplicate"] += 1
            return False
        if not self.names or self.names[-1] != name:
            self.names.append(name)
        self.hashes.append(digest)
        self.files.append(len(self.names) - 1)
        self.lines.append(line or 0)
        return True

    def _error(self, document: Document, place: int, name: str, line: int | None) -> DuplicateError:
        first, first_line = self.names[self.files[place]], self.lines[place]
        where = f"{first}, line {first_line}" if first_line and first != "record" else first
        if first == "record":
            where = f"record {first_line}"
        if name == "record":
            name, line = f"record {line}", None
        advice = (
            'give each its own id; fields={"id": ""} numbers rows by file and line, and files are named by their paths '
            "in a folder when the folder is loaded"
        )
        message = f"id {document.id!r} is also that of {where}, which has another text, title or metadata; {advice}"
        return DuplicateError(message, path=name, line=line)
