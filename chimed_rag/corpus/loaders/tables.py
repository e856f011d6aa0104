"""Tables, one document a row, streamed: JSON lines (and JSON arrays), CSV and TSV, also packed by gzip.

Not covered: which column becomes what (`rows`); spreadsheets, which can be saved as CSV.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any, BinaryIO

from chimed_rag.corpus.loaders.base import SourceFile
from chimed_rag.corpus.loaders.encoding import Detected, check_blocks, detect, undecodable
from chimed_rag.corpus.loaders.rows import refuse_lone_surrogates, row_document
from chimed_rag.records import Document

_SAMPLE = 1 << 20  # bytes in which the encoding is looked for
_DELIMITERS = ",\t;|"
_SNIFFED_LINES = 20
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,14})\Z")


def load_jsonl(file: SourceFile) -> Iterator[Document]:
    """One document a line, each line a JSON object. A file named .json may also be one array of objects.

    Raises:
        CorpusError: a line is not a JSON object or cannot be decoded, a text column is missing, or there is no row;
            it names the line.
    """
    if ".json" not in (suffix.lower() for suffix in file.path.suffixes[-2:]):
        with file.open() as stream:
            yield from _json_rows(_lines(file, stream), file)
        return
    text = file.read_text()
    items = _whole(text, file)
    if items is None:
        yield from _json_rows(enumerate(text.split("\n"), start=1), file)
    else:
        yield from _items(items, file)


def load_csv(file: SourceFile) -> Iterator[Document]:
    """One document a row; the first row names the columns; comma, tab, semicolon or bar is found out.

    Raises:
        CorpusError: the file cannot be decoded, a row does not fit the header, a quote is not closed, a text column
            is missing, or there is no row; it names the line at which the row begins.
    """
    with file.open() as stream:
        lines = (line for _, line in _lines(file, stream))
        head = list(islice(lines, _SNIFFED_LINES))
        tab = ".tsv" in (suffix.lower() for suffix in file.path.suffixes[-2:])
        delimiter = "\t" if tab else _delimiter(head)
        rows = _rows(chain(head, lines), delimiter, file)
        _, header = next(rows, (0, []))
        columns = [column.strip() for column in header]
        if not columns:
            raise file.error("is empty: there is no row in it; remove it or leave it out")
        twice = sorted({column for column in columns if column and columns.count(column) > 1})
        if twice:
            raise file.error(f"names a column twice: {', '.join(twice)}; rename one of them", 1)
        found = False
        for number, row in rows:
            found = True
            if len(row) != len(columns):
                message = f"has {len(row)} fields where the header names {len(columns)}; quote fields that hold "
                raise file.error(f"{message}{delimiter!r} or a line end", number)
            file.line = number
            document = row_document({c: _number(c, v, file) for c, v in zip(columns, row, strict=True)}, file)
            if document is not None:
                yield document
        if not found:
            raise file.error("is empty: there is no row after its header; the first line must name the columns")


def _lines(file: SourceFile, stream: BinaryIO) -> Iterator[tuple[int, str]]:
    """The decoded lines with their numbers and line ends, of any number; the encoding is noted in the tally."""
    sample = stream.read(_SAMPLE)
    found = detect(sample, file.shown, complete=len(sample) < _SAMPLE, encoding=file.options.encoding)
    del sample
    file.tally.encodings[found.encoding] += 1
    stream.seek(found.bom)
    legacy = found.how == "detected"
    limit = 4 * file.options.max_characters
    decoded = _wide_lines if found.codec.startswith(("utf-16", "utf-32")) else _narrow_lines
    for number, line in decoded(file, stream, found, limit):
        if len(line) >= limit:
            raise file.too_long(number)
        if legacy:
            check_blocks(line, file.shown, found.encoding, number)
        yield number, line


def _narrow_lines(file: SourceFile, stream: BinaryIO, found: Detected, limit: int) -> Iterator[tuple[int, str]]:
    """Lines of an encoding in which the byte 0A is always a line end, decoded one by one to know where one fails."""
    codec = found.codec
    for number, raw in enumerate(iter(lambda: stream.readline(limit), b""), start=1):
        try:
            yield number, raw.decode(codec)
        except UnicodeDecodeError as error:
            raise undecodable(raw, file.shown, found, error.start, number) from None


def _wide_lines(file: SourceFile, stream: BinaryIO, found: Detected, limit: int) -> Iterator[tuple[int, str]]:
    """Lines of UTF-16 and UTF-32, where the byte 0A may be half of a character."""
    reader = io.TextIOWrapper(stream, encoding=found.codec, newline="\n")
    number = 0
    try:
        for number, line in enumerate(iter(lambda: reader.readline(limit), ""), start=1):
            yield number, line
    except UnicodeDecodeError as error:
        raise file.error(f"is not valid {found.codec} near this line ({error.reason})", number + 1) from None
    finally:
        reader.detach()


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _parse(line: str, file: SourceFile, number: int) -> dict[str, Any]:
    try:
        row = _DECODER.decode(line)
    except json.JSONDecodeError as error:
        column = min(error.pos, len(line.rstrip())) + 1
        raise file.error(f"is not valid JSON: {error.msg} at column {column}", number) from None
    except (ValueError, RecursionError) as error:
        raise file.error(f"is not valid JSON: {error}", number) from None
    if not isinstance(row, dict):
        message = f'must be a JSON object such as {{"text": "..."}}, not {type(row).__name__}'
        raise file.error(message, number)
    return row


def _json_rows(lines: Iterable[tuple[int, str]], file: SourceFile) -> Iterator[Document]:
    found = False
    for number, line in lines:
        if not line or line.isspace():
            continue
        found = True
        row = _parse(line, file, number)
        file.line = number
        if "\\ud" in line or "\\uD" in line:
            refuse_lone_surrogates(row, file)
        document = row_document(row, file)
        if document is not None:
            yield document
    if not found:
        raise file.error("is empty: there is no row in it; remove it or leave it out")


def _whole(text: str, file: SourceFile) -> list[Any] | None:
    """The items of a .json file, or None if it holds JSON lines instead."""
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and text.lstrip().startswith("{"):
            return None
        raise file.error(f"is not valid JSON: {error.msg} at column {error.colno}", error.lineno) from None
    except (ValueError, RecursionError) as error:
        raise file.error(f"is not valid JSON: {error}") from None
    return value if isinstance(value, list) else [value]


def _items(rows: list[Any], file: SourceFile) -> Iterator[Document]:
    """The documents of a JSON array; an item has a number, but no line: that is what ids and errors name."""
    if not rows:
        raise file.error("is empty: there is no item in it; remove it or leave it out")
    name, shown = file.name, file.shown
    for number, row in enumerate(rows, start=1):
        file.name, file.shown = f"{name}:{number}", f"{shown}, item {number}"
        if not isinstance(row, dict):
            raise file.error(f'must be a JSON object such as {{"text": "..."}}, not {type(row).__name__}')
        refuse_lone_surrogates(row, file)
        document = row_document(row, file)
        if document is not None:
            yield document.model_copy(update={"source": name}) if document.source == file.name else document


def _delimiter(head: list[str]) -> str:
    """The delimiter that gives the header most columns, and the rows after it the same number."""

    def fit(delimiter: str) -> tuple[bool, int]:
        try:
            rows = [row for row in csv.reader(head, delimiter=delimiter) if row]
        except csv.Error:
            return False, 0
        widths = [len(row) for row in rows] or [0]
        # The last row may go on beyond the lines that were looked at.
        return len(set(widths[:-1] or widths)) == 1 and widths[0] > 1, widths[0]

    return max(_DELIMITERS, key=fit)


def _rows(lines: Iterator[str], delimiter: str, file: SourceFile) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not blank, with the lines at which they begin."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        number = reader.line_num + 1
        # The limit belongs to the whole process, so it is raised for the length of one call only.
        limit = csv.field_size_limit(file.options.max_characters)
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            message = f"cannot be read as CSV: {error}; look for a quote that is not closed or not doubled"
            raise file.error(message, number) from None
        finally:
            csv.field_size_limit(limit)
        if row:
            yield number, row


def _number(column: str, value: str, file: SourceFile) -> str | int:
    """Whole numbers as numbers, so that `{"year": {"$gte": 2020}}` works; ids, texts and codes like 007 stay."""
    fields = file.options.fields
    if column in (*fields.texts, fields.id, fields.title) or not _INTEGER.match(value) or value == "-0":
        return value
    return int(value)
