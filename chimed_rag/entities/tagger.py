"""Entities found by their context: a conditional random field over characters (python-crfsuite), with its lists.

A model is a folder: `crf.crfsuite` (weights), `tagger.json` (types, features, and the names that the training records
held, each with how often it was what there) and the card of its training. No pickle, no network. What is covered:
marking spans of the types that the model learned, in texts of any length, from many threads. What is not covered:
training (`python -m training tagger`), nested entities, and what a name stands for (`lexicon`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import NamedTuple

from chimed_rag.entities.lexicon import names as lexicon_names
from chimed_rag.text import HAN, fold

WEIGHTS, SETTINGS = "crf.crfsuite", "tagger.json"
FORMAT = 1
"""Of the folder and of the features: weights learned with other features are refused."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_HAN = re.compile(f"[{HAN}]")
_CLAUSE = re.compile(r"[，,。；;：:！!？?\n]")
_NUMERALS = frozenset("一二三四五六七八九十百千两半")
_OFTEN = 4
"""Of how often a name was an entity, so many degrees are told apart."""


class Span(NamedTuple):
    """A marked entity: its words as written, its type, and its place (characters, half-open)."""

    text: str
    type: str
    start: int
    end: int


class Known(NamedTuple):
    """What training records say of a name: what it mostly was, and in what share of its places it was (0 to 1)."""

    type: str
    share: float


def known_names(records: Iterable[tuple[str, Sequence[Span]]]) -> dict[str, Known]:
    """The entities of records, folded, each with its usual type and the share of its places that were marked so.

    Args:
        records: texts with their entities.
    """
    from ahocorasick_rs import AhoCorasick

    records = list(records)
    types: dict[str, Counter[str]] = {}
    for text, spans in records:
        folded = _folded(text)
        for span in spans:
            types.setdefault(folded[span.start : span.end], Counter())[span.type] += 1
    names = [name for name in types if name.strip()]
    places: Counter[int] = Counter()
    search = AhoCorasick(names)
    for text, _ in records:
        places.update(which for which, _, _ in search.find_matches_as_indexes(_folded(text), overlapping=True))
    found = {}
    for place, name in enumerate(names):
        kind, count = max(types[name].items(), key=lambda one: (one[1], one[0]))
        found[name] = Known(kind, round(count / max(places[place], count), 3))
    return found


class Names:
    """Where the names of a list stand in a text: the longest from the left, not overlapping."""

    def __init__(self, names: Mapping[str, Known]) -> None:
        from ahocorasick_rs import AhoCorasick, MatchKind

        self._known = list(names.values())
        self._search = AhoCorasick(list(names), matchkind=MatchKind.LeftmostLongest) if names else None

    def find(self, folded: str) -> list[tuple[int, int, Known]]:
        """(start, end, what is known) of each."""
        if self._search is None:
            return []
        return [(start, end, self._known[which]) for which, start, end in self._search.find_matches_as_indexes(folded)]


@cache
def _lexicon() -> Names:
    return Names({name: Known(meant.kind, 1.0) for name, meant in lexicon_names().items()})


def features(text: str, names: Names) -> list[list[str]]:
    """What the field sees of each character: a list of attributes a character.

    Characters and their n-grams around it, classes of characters, names of training and of the lexicon that cover it,
    and the beginning of its clause (where 予, 行, 示 announce what follows).
    """
    folded = _folded(text)
    n = len(folded)
    chars = ["<2", "<1", *folded, ">1", ">2"]
    shapes = [_shape(char) for char in folded]
    runs = ["<", *shapes, ">"]
    listed = _covered(n, names.find(folded), "n")
    lexical = _covered(n, _lexicon().find(folded), "x")
    openings = _openings(folded)
    found = []
    for i in range(n):
        a, b, c, d, e = chars[i : i + 5]
        row = [
            f"0{c}", f"-1{b}", f"+1{d}", f"-2{a}", f"+2{e}",
            f"-10{b}{c}", f"01{c}{d}", f"-21{a}{b}", f"12{d}{e}", f"-11{b}|{d}",
            f"-101{b}{c}{d}", f"-210{a}{b}{c}", f"012{c}{d}{e}",
            f"s{runs[i]}{runs[i + 1]}{runs[i + 2]}", openings[i],
        ]  # fmt: skip
        for covered, mark in ((listed, "n"), (lexical, "x")):
            here = covered[i]
            row.append(here)
            row.append(f"{mark}-{covered[i - 1] if i else '<'}|{here}")
            row.append(f"{mark}+{here}|{covered[i + 1] if i + 1 < n else '>'}")
        row.append(f"{listed[i]}{c}")
        found.append(row)
    return found


def _folded(text: str) -> str:
    return _SURROGATE.sub("\ufffd", fold(text))


def _shape(char: str) -> str:
    if char in _NUMERALS:
        return "N"
    if char.isdigit():
        return "9"
    if char.isascii() and char.isalpha():
        return "a"
    if _HAN.match(char):
        return "H"
    return char if char.isascii() else "."


def _covered(n: int, found: Iterable[tuple[int, int, Known]], mark: str) -> list[str]:
    """Of each character, the name that covers it: type, how sure, and whether the character begins or ends it."""
    covers = [f"{mark}O"] * n
    for start, end, known in found:
        told = f"{known.type}{int(known.share * _OFTEN + 0.5)}"
        if end - start == 1:
            covers[start] = f"{mark}S{told}"
            continue
        for place in range(start, end):
            where = "B" if place == start else "E" if place == end - 1 else "I"
            covers[place] = f"{mark}{where}{told}"
    return covers


def _openings(folded: str) -> list[str]:
    """Of each character, the two first characters of its clause."""
    found: list[str] = []
    begin = 0
    for match in [*_CLAUSE.finditer(folded), None]:
        end = match.end() if match else len(folded)
        found += [f"c{folded[begin : begin + 2]}"] * (end - begin)
        begin = end
    return found
