"""Readers of sets of marked entities: CCKS-2019 (Yidu-S4K), cMedQANER, CMeEE, and tagged characters (ChiMST).

Each makes half-open places in characters, and types by the names of the card's `types` (official name to ours; without
it, types stay as they are). An entity that is marked twice is one; nested ones stay. What was measured of the official
files decides how strictly words are compared with their places:

    CCKS-2019   no words, only places; all lie within their texts (1,000 + 200 records); some have a blank edge, kept
    cMedQANER   words in other case than their text (75 of 15,010): the text's own are taken; one record of the training
                file has 15 entities one character too far: the card's `moved` allows for it, and it is counted
    CMeEE       the end is inclusive in version 1 and exclusive in version 2: the words, which both carry, decide a file

ChiMST is given out under a contract, its files' form is not public; it is read as lines "character tag" (BIO or BIOES,
a blank line after each text) or as JSON of the form of CMeEE. What does not fit is a `CorpusError` with file and line.
Not covered: other encodings than UTF-8, relations, normal forms of entities.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from chimed_rag.errors import CorpusError
from chimed_rag.evaluation.samples import Card, Entity, Sample
from chimed_rag.evaluation.tasks.loading import Row, Source
from chimed_rag.text import fold

_TAG = re.compile(r"(O)|([BIMES])[-_](\S+)")


class _Marked(NamedTuple):
    """A text with its entities, and how many of them were moved to their words."""

    text: str
    entities: list[Entity]
    moved: int = 0


def ccks(source: Source, card: Card) -> Iterator[Sample]:
    """CCKS-2019 task 1 and Yidu-S4K: `originalText`, `entities` of `label_type`, `start_pos`, `end_pos` (exclusive)."""

    def read(row: Row) -> _Marked:
        text = _text(row, "originalText")
        found = []
        for one in _list(row, "entities"):
            start, end = _number(row, one, "start_pos"), _number(row, one, "end_pos")
            if not 0 <= start < end <= len(text):
                raise _fault(row, f"an entity from {start} to {end} does not lie in a text of {len(text)} characters")
            found.append(Entity(text=text[start:end], type=_type(row, one, "label_type", card), start=start, end=end))
        return _Marked(text, found)

    return _samples([read(row) for row in source.rows()], card)


def cmedqaner(source: Source, card: Card) -> Iterator[Sample]:
    """cMedQANER: `text`, `mention_data` of `mention`, `type`, `offset` (a number, or a text that is one)."""
    most = card.settings.get("moved", 0)
    assert isinstance(most, int)

    def read(row: Row) -> _Marked:
        text = _text(row, "text")
        found, moved = [], 0
        for one in _list(row, "mention_data"):
            words, given = _text(row, "mention", one), _number(row, one, "offset")
            start = _place(fold(text), fold(words), given, most)
            if start is None:
                raise _fault(row, f"the {len(words)} characters of an entity do not stand at {given}, nor near it")
            moved += start != given
            end = start + len(words)
            found.append(Entity(text=text[start:end], type=_type(row, one, "type", card), start=start, end=end))
        return _Marked(text, found, moved)

    return _samples([read(row) for row in source.rows()], card)


def cmeee(source: Source, card: Card) -> Iterator[Sample]:
    """CMeEE: `text`, `entities` of `start_idx`, `end_idx`, `type`, `entity`; nested ones are kept."""
    rows = list(source.rows())
    beyond = _inclusive(rows)

    def read(row: Row) -> _Marked:
        text = _text(row, "text")
        found = []
        for one in _list(row, "entities"):
            start, end, words = _number(row, one, "start_idx"), _number(row, one, "end_idx"), _text(row, "entity", one)
            end += beyond
            if not 0 <= start < end <= len(text) or fold(text[start:end]) != fold(words):
                how = "inclusive" if beyond else "exclusive"
                raise _fault(row, f"the words of an entity are not those from {start} to {end - beyond} ({how})")
            found.append(Entity(text=text[start:end], type=_type(row, one, "type", card), start=start, end=end))
        return _Marked(text, found)

    return _samples([read(row) for row in rows], card)


def tagged(source: Source, card: Card) -> Iterator[Sample]:
    """Lines "character tag" (.txt, .bio, .conll), or JSON of the form of CMeEE.

    Tags are BIO, or BMES or BIES with or without O; an entity that does not begin with B or S is an error.
    """
    names = [path.name.removesuffix(".gz") for path in source.paths]
    if not names or any(name.endswith((".json", ".jsonl")) for name in names):
        return cmeee(source, card)
    return _samples([one for path in source.paths for one in _tagged(path, card)], card)


def _samples(marked: Sequence[_Marked], card: Card) -> Iterator[Sample]:
    """Samples numbered from 1; each knows the types of the task, which the prompt names."""
    named = card.settings.get("types")
    types = list(dict.fromkeys(map(str, named.values()))) if isinstance(named, dict) else []
    types = types or sorted({entity.type for one in marked for entity in one.entities})
    for number, one in enumerate(marked, 1):
        ordered = sorted(set(one.entities), key=lambda entity: (entity.start or 0, entity.end or 0, entity.type))
        counted = {"moved": one.moved} if one.moved else {}
        yield Sample(id=str(number), text=one.text, entities=tuple(ordered), metadata={"types": list(types), **counted})


def _place(text: str, words: str, given: int, most: int) -> int | None:
    """Where words stand: where it is said, or else at most so many characters from there, the nearest first."""
    for distance in range(most + 1):
        for start in (given - distance, given + distance):
            if words and start >= 0 and text.startswith(words, start):
                return start
    return None


def _inclusive(rows: Iterable[Row]) -> int:
    """1 if the ends of a file's entities are inclusive, as their words show, else 0."""
    votes = [0, 0]
    for row in rows:
        text = _text(row, "text")
        for one in _list(row, "entities"):
            length = _number(row, one, "end_idx") - _number(row, one, "start_idx")
            words = len(_text(row, "entity", one))
            if length in (words, words - 1) and text:
                votes[words - length] += 1
    return int(votes[1] > votes[0])


def _tagged(path: Path, card: Card) -> Iterator[_Marked]:
    text, entities = "", list[Entity]()
    begun: tuple[int, str] | None = None

    def close(end: int) -> None:
        nonlocal begun
        if begun is not None:
            entities.append(Entity(text=text[begun[0] : end], type=begun[1], start=begun[0], end=end))
            begun = None

    for line, content in _lines(path):
        if not content.strip():
            close(len(text))
            if text:
                yield _Marked(text, entities)
            text, entities = "", []
            continue
        fields = content.split()
        if len(fields) < 2 or (match := _TAG.fullmatch(fields[-1])) is None:
            raise CorpusError('not a line "character tag" with a tag as B-TYPE, I-TYPE or O', path=str(path), line=line)
        begins, kind = match[2], match[3]
        if begins is None or begins in "BS":
            close(len(text))
        if begins in ("B", "S"):
            begun = len(text), _named(kind, card, str(path), line)
        elif begins and (begun is None or begun[1] != _named(kind, card, str(path), line)):
            raise CorpusError(f"{fields[-1]} continues no entity of its type", path=str(path), line=line)
        text += fields[0]
        if begins in ("E", "S"):
            close(len(text))
    close(len(text))
    if text:
        yield _Marked(text, entities)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    number = 0
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            with gzip.open(raw) if zipped else raw as lines:
                for number, line in enumerate(lines, 1):
                    yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"not UTF-8; convert it: iconv -f GB18030 -t UTF-8 {path.name}", path=str(path), line=number
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise CorpusError(f"cannot be read: {getattr(error, 'strerror', None) or error}", path=str(path)) from error


def _fault(row: Row, message: str) -> CorpusError:
    return CorpusError(message, path=row.path, line=row.line)


def _text(row: Row, field: str, within: dict[str, object] | None = None) -> str:
    value = (row.value if within is None else within).get(field)
    if not isinstance(value, str) or not value:
        there = ", ".join(row.value if within is None else within)
        raise _fault(row, f"the field {field!r} is missing or no text; there are: {there}")
    return value


def _list(row: Row, field: str) -> list[dict[str, object]]:
    value = row.value.get(field)
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise _fault(row, f"the field {field!r} is missing or no list of objects; there are: {', '.join(row.value)}")
    return [dict(one) for one in value if isinstance(one, dict)]


def _number(row: Row, one: dict[str, object], field: str) -> int:
    value = one.get(field)
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise _fault(row, f"the field {field!r} of an entity is missing or no number; there are: {', '.join(one)}")
    return value


def _type(row: Row, one: dict[str, object], field: str, card: Card) -> str:
    return _named(_text(row, field, one), card, row.path, row.line)


def _named(kind: str, card: Card, path: str, line: int) -> str:
    """Our name of a type."""
    named = card.settings.get("types")
    if not isinstance(named, dict) or not named:
        return kind
    if kind not in named:
        known = ", ".join(named)
        raise CorpusError(f"no type of {card.name} is called {kind!r}; there are: {known}", path=path, line=line)
    return str(named[kind])
