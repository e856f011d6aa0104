"""A row becomes a document: a line of a table, a JSON object, or a dict that the caller gives.

Not covered: reading the rows (`tables`).
"""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Mapping
from typing import Any

from pydantic import JsonValue

from chimed_rag.corpus.loaders.base import SourceFile
from chimed_rag.records import Document, Metadata

_BOOKKEEPING = frozenset(("schema_version", "content_hash"))  # of a document that was written out; made anew
_MISSING = object()


def row_document(row: Mapping[str, Any], file: SourceFile, *, own: bool = False) -> Document | None:
    """The document that a row holds, or None (counted) if its text is empty.

    Args:
        row: column to value.
        file: where the row is from; `file.line` is its line.
        own: the row is a `Document` as a dict, so `source` and `pages` are meant for the record, too.

    Raises:
        CorpusError: a text column is missing, or a value has the wrong type.
    """
    fields = file.options.fields
    text = _text(row, file)
    if not text.strip():
        file.tally.skipped["empty text"] += 1
        return None
    if len(text) > file.options.max_characters:
        raise file.too_long(file.line)
    values: dict[str, Any] = {"id": _id(row, file)}
    used = {*fields.texts, fields.id, "_id"}
    own = own or "schema_version" in row
    named = (("title", fields.title), ("url", fields.url), ("date", fields.date), ("licence", fields.licence))
    for target, column in (*named, ("source", "source")) if own else named:
        if column not in row and column == "licence":
            column = "license"
        used.add(column)
        values[target] = _string(row.get(column), column, file).strip()
    if own and row.get("pages"):
        values["pages"] = row["pages"]
        used.add("pages")
    return file.document(text, metadata=_metadata(row, used, file), **values)


def metadata_value(value: Any) -> JsonValue:
    """A value as metadata; None where it is missing.

    Raises:
        TypeError: it is neither a scalar nor a list of strings.
    """
    if isinstance(value, (str, bool, int)):
        return value if value != "" else None
    if value is None:
        return None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (datetime.date, datetime.datetime)):
        return value.isoformat()
    if isinstance(value, (list, tuple)) and all(isinstance(part, str) for part in value):
        return list(value)
    raise TypeError(type(value).__name__)


def refuse_lone_surrogates(row: Mapping[str, Any], file: SourceFile) -> None:
    """Refuses half a surrogate pair, which no UTF-8 file or database can hold.

    Raises:
        CorpusError: one of the strings of the row has one.
    """
    try:
        json.dumps(row, ensure_ascii=False, default=str).encode("utf-8")
    except UnicodeEncodeError as error:
        found = f"U+{ord(error.object[error.start]):04X}"
        message = f"holds half a surrogate pair ({found}), which cannot be stored; write the whole character again"
        raise file.error(message, file.line) from None


def _text(row: Mapping[str, Any], file: SourceFile) -> str:
    columns = file.options.fields.texts
    parts = []
    for column in columns:
        value = row.get(column, _MISSING)
        if value is _MISSING:
            there = ", ".join(map(str, row)) or "none"
            message = (
                f"has no column {column!r} for the text; its columns are: {there}; "
                'name the one to read with fields={"text": "COLUMN"} or --field text=COLUMN'
            )
            raise file.error(message, file.line)
        parts.append(value if isinstance(value, str) else _string(value, column, file))
    text = parts[0] if len(parts) == 1 else "\n".join(part for part in parts if part.strip())
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _id(row: Mapping[str, Any], file: SourceFile) -> str:
    column = file.options.fields.id
    if not column:
        return ""
    if column not in row:
        column = "_id"
    value = row.get(column)
    if isinstance(value, float) and not math.isnan(value):
        raise file.error(f"{column!r} is {value}; an id must be a string or a whole number", file.line)
    return _string(value, column, file)


def _string(value: Any, column: str, file: SourceFile) -> str:
    if isinstance(value, str):
        return value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, (datetime.date, datetime.datetime)):
        return value.isoformat()
    raise file.error(f"{column!r} must be a string, not {type(value).__name__}", file.line)


def _metadata(row: Mapping[str, Any], used: set[str], file: SourceFile) -> Metadata:
    wanted = file.options.fields.metadata
    if wanted == "none":
        return {}
    kept: Metadata = {}
    rest = wanted == "rest"
    for column, value in row.items():
        if (column in used or column in _BOOKKEEPING) if rest else column not in wanted:
            continue
        if rest and column == "metadata" and isinstance(value, Mapping):
            kept.update(value)
            continue
        try:
            converted = metadata_value(value)
        except TypeError:
            file.tally.dropped_columns[str(column)] += 1
            continue
        if converted is not None and column != "":
            kept[str(column)] = converted
    return kept
