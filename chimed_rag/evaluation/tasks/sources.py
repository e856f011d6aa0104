"""Rows of the files that a task lies in (JSONL, JSON, CSV, TSV; plain or gzip), or of a set on a hub.

Not covered: what the columns mean (`readers`), and encodings other than UTF-8: a file of another is named with the
command that converts it, never guessed at, since a wrong guess gives other questions without a word.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from pydantic import JsonValue

from chimed_rag.corpus.jsonl import json_rows
from chimed_rag.errors import CorpusError, MissingExtraError
from chimed_rag.evaluation.samples import Card
from chimed_rag.evaluation.tasks.decoding import read_text

_SPACE = re.compile(r"\s*")
_SPLITS = ("train", "dev", "val", "valid", "validation", "test")


class Row(NamedTuple):
    """One row of a source and where it stands, for errors: `CorpusError(..., path=row.path, line=row.line)`."""

    path: str
    line: int
    value: dict[str, JsonValue]


class Source(Protocol):
    """Where samples come from: files on the disk, or a hub's rows."""

    paths: Sequence[Path]
    """The files, in order; none where it is a hub."""

    def rows(self) -> Iterator[Row]:
        """The rows of all files: JSONL and JSON (plain or gzip), CSV and TSV with a header, a hub's rows.

        Raises:
            CorpusError: a file or a line cannot be read.
        """
        ...


class FileSource:
    """The rows of files, one after the other; `line` is where a row begins.

    A JSON file is an array of objects, or one object, which is then its only row. Cells of CSV and TSV are strings; a
    TSV has no quotes. No files at all are no rows: the package's own items are read by their reader.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths: Sequence[Path] = tuple(paths)

    def rows(self) -> Iterator[Row]:
        """See `Source.rows`."""
        for path in self.paths:
            for line, value in _rows_of(path):
                yield Row(str(path), line, value)


class HubSource:
    """The rows of a set on a hub, by the package `datasets`; `line` counts rows from 1."""

    paths: Sequence[Path] = ()

    def __init__(self, name: str, *, config: str = "", split: str = "", revision: str = "") -> None:
        self.name, self.config, self.split, self.revision = name, config, split, revision

    def rows(self) -> Iterator[Row]:
        """See `Source.rows`.

        Raises:
            MissingExtraError: `datasets` is not installed.
        """
        try:
            from datasets import load_dataset
        except ImportError as error:
            raise MissingExtraError("datasets", "train") from error
        try:
            found = load_dataset(
                self.name, self.config or None, split=self.split or None, revision=self.revision or None
            )
        except Exception as error:  # noqa: BLE001,RUF100 - a hub fails in a dozen ways, all of which mean this
            first = next(iter(str(error).splitlines()), "")
            raise CorpusError(
                f"neither a file or folder here nor a set that the hub gives ({type(error).__name__}: {first}); "
                "download the official files and name their folder with --data",
                path=self.name,
            ) from error
        parts = {self.split: found} if self.split else dict(found)
        for part, table in parts.items():
            for line, value in enumerate(table, 1):
                yield Row(f"{self.name} ({part})", line, dict(value))


def find_files(folder: Path, card: Card) -> list[Path]:
    """The files of a task in a folder: those of the first of `card.files` that is there, sorted by name.

    In a pattern `*` stands for anything within a name, `{split}` for the splits that the card's `split` names (train,
    dev, val, test) and `{subject}` for the `subjects` of its settings, or for anything where it names none. A file may
    be there plain or with `.gz`.

    Raises:
        CorpusError: nothing is there, or a split or a subject is missing; the message says what lies there.
    """
    trouble: CorpusError | None = None
    for pattern in card.files:
        found = {
            path: match.groupdict()
            for path in _candidates(folder, pattern)
            if path.is_file() and (match := _expression(pattern).fullmatch(path.relative_to(folder).as_posix()))
        }
        found = {
            path: names for path, names in found.items() if path.suffix != ".gz" or path.with_suffix("") not in found
        }
        try:
            for field, wanted in (("split", _splits(card)), ("subject", _subjects(card))):
                found = _only(found, field, wanted, folder / pattern)
        except CorpusError as error:
            trouble = trouble or error  # the files of another pattern may be whole
            continue
        if found:
            return list(found)
    if trouble is not None:
        raise trouble
    there = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir())
    listed = ", ".join(there[:20]) + (f" and {len(there) - 20} more" if len(there) > 20 else "")
    looked_for = ", ".join(card.files) or "nothing: this task has items of its own, leave --data out"
    raise CorpusError(
        f"no file of {card.name} is here; looked for: {looked_for}; here are: {listed or 'no files'}", path=str(folder)
    )


def _candidates(folder: Path, pattern: str) -> list[Path]:
    names = (name if name == "**" else re.sub(r"(?:\{\w+\}|\*)+", "*", name) for name in pattern.split("/"))
    wild = "/".join(names)
    return sorted({*folder.glob(wild), *folder.glob(wild + ".gz")})


def _expression(pattern: str) -> re.Pattern[str]:
    """A path pattern as an expression whose groups are its `{names}`."""
    wild = {"**/": "(?:.*/)?", "*": "[^/]*"}
    parts = re.split(r"(\{\w+\}|\*\*/|\*)", pattern)
    made = (f"(?P<{part[1:-1]}>[^/]*)" if part.startswith("{") else wild.get(part, re.escape(part)) for part in parts)
    return re.compile("".join(made) + r"(?:\.gz)?")


def _splits(card: Card) -> list[str]:
    return [word for word in re.findall(r"\w+", card.split.lower()) if word in _SPLITS]


def _subjects(card: Card) -> list[str]:
    subjects = card.settings.get("subjects")
    return [str(name) for name in subjects] if isinstance(subjects, list | dict) else []


def _only(
    found: dict[Path, dict[str, str]], field: str, wanted: list[str], pattern: Path
) -> dict[Path, dict[str, str]]:
    """The files whose name says a wanted split or subject; all where the pattern has no such field."""
    there = {names[field] for names in found.values() if field in names}
    if not there or not wanted:
        return found
    if missing := [name for name in wanted if name not in there]:
        raise CorpusError(
            f"the {field} {', '.join(map(repr, missing))} is missing; here are: {', '.join(sorted(there))}",
            path=str(pattern),
        )
    return {path: names for path, names in found.items() if names[field] in wanted}


def _rows_of(path: Path) -> Iterator[tuple[int, dict[str, JsonValue]]]:
    text = read_text(path)
    kind = (path.with_suffix("") if path.suffix == ".gz" else path).suffix.lower()
    if kind in (".csv", ".tsv"):
        yield from _cells(text, path, tab=kind == ".tsv")
    elif text.lstrip()[:1] == "[":
        yield from _elements(text, path)
    elif kind == ".json" and not _is_json(text.lstrip().partition("\n")[0]):
        yield 1, _object(text, path, 1)
    else:
        yield from json_rows(path)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _object(text: str, path: Path, line: int) -> dict[str, JsonValue]:
    try:
        value = json.loads(text)
        text.encode()
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"not usable JSON: {error}", path=str(path), line=line) from error
    return _checked(value, path, line)


def _checked(value: object, path: Path, line: int) -> dict[str, JsonValue]:
    if not isinstance(value, dict):
        raise CorpusError(f"not a JSON object but {type(value).__name__}", path=str(path), line=line)
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:  # JSON can spell half a surrogate pair, which no file can hold
        raise CorpusError(f"not usable JSON: {error}", path=str(path), line=line) from error
    return value


def _elements(text: str, path: Path) -> Iterator[tuple[int, dict[str, JsonValue]]]:
    """The objects of a JSON array, each with the line it begins on."""
    decoder = json.JSONDecoder()
    place, line, counted = text.index("[") + 1, 1, 0

    def skip(place: int) -> int:
        match = _SPACE.match(text, place)
        return match.end() if match else place

    place = skip(place)
    while text[place : place + 1] != "]":
        line, counted = line + text.count("\n", counted, place), place
        try:
            value, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError) as error:
            raise CorpusError(f"not usable JSON: {error}", path=str(path), line=line) from error
        yield line, _checked(value, path, line)
        place = skip(place)
        if text[place : place + 1] == ",":
            place = skip(place + 1)
        elif text[place : place + 1] != "]":
            line += text.count("\n", counted, place)
            raise CorpusError("not usable JSON: the array has no end or lacks a comma", path=str(path), line=line)
    if text[place + 1 :].strip():
        line += text.count("\n", counted, place)
        raise CorpusError("not usable JSON: something follows the array", path=str(path), line=line)


def _cells(text: str, path: Path, *, tab: bool) -> Iterator[tuple[int, dict[str, JsonValue]]]:
    file = io.StringIO(text, newline="")
    form: dict[str, Any] = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if tab else {"strict": True}
    table = csv.reader(file, **form)
    header: list[str] = []
    line = 1
    try:
        for cells in table:
            if not any(cells):
                pass
            elif not header:
                header = [cell.strip() for cell in cells]
                if len(set(header)) < len(header):
                    raise CorpusError(f"two columns have one name: {', '.join(header)}", path=str(path), line=line)
            elif len(cells) != len(header):
                raise CorpusError(
                    f"{len(cells)} cells under {len(header)} columns ({', '.join(header)})", path=str(path), line=line
                )
            else:
                yield line, dict(zip(header, cells, strict=True))
            line = table.line_num + 1
    except csv.Error as error:
        raise CorpusError(f"not a usable table: {error}", path=str(path), line=line) from error
