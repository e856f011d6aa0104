"""What the tagger's field sees of a text: its sentences, attributes of each character, and labels that say places.

The lists that it looks at are of names: those of its training records, each with how often it was an entity where it
stood, and those of the package's lexicon. Not covered: the field itself (`tagger`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from chimed_rag.entities.lexicon import names as lexicon_names
from chimed_rag.text import HAN, fold

_SURROGATE = re.compile("[\ud800-\udfff]")
_HAN = re.compile(f"[{HAN}]")
_PIECE = re.compile(r"[^。！？\n]{0,1000}[。！？\n]|[^。！？\n]{1,1000}")
_CLAUSE = re.compile(r"[，,；;：:。！？]")
_NUMERALS = frozenset("一二三四五六七八九十百千两半")
_AFFIXES = (1, 2, 3)
"""Characters of the beginnings and endings of names that are looked at."""
_DEGREES = 4
"""Of how often a name was an entity, so many degrees are told apart."""


class Span(NamedTuple):
    """A marked entity: its words as written, its type, and its place (characters, half-open)."""

    text: str
    type: str
    start: int
    end: int


class Known(NamedTuple):
    """What is known of a name: what it mostly was, and in what share of its places it was that (0 to 1)."""

    type: str
    share: float


class Names:
    """Where the names of a list stand in a text: the longest from the left, not overlapping."""

    def __init__(self, names: Mapping[str, Known]) -> None:
        from ahocorasick_rs import AhoCorasick, MatchKind

        self._known = list(names.values())
        self._search = AhoCorasick(list(names), matchkind=MatchKind.LeftmostLongest) if names else None

    def covers(self, folded: str) -> list[str]:
        """Of each character, the name that covers it: its type, how sure, and whether the character begins or ends it;
        O where none does."""
        covers = ["O"] * len(folded)
        for which, start, end in self._search.find_matches_as_indexes(folded) if self._search else ():
            known = self._known[which]
            told = f"{known.type}{int(known.share * _DEGREES + 0.5)}"
            covers[start:end] = [f"{sign}{told}" for sign in _signs(end - start)]
        return covers


class Lists:
    """The lists that the features of a model look at.

    Args:
        names: of training records (`known_names`); their beginnings and endings are looked at too.
        lexicon: of the package (`lexicon`).
    """

    def __init__(self, names: Mapping[str, Known], lexicon: Mapping[str, Known]) -> None:
        self.names = (Names(names), Names(lexicon))
        self.beginnings = _common((name[:size], known.type) for name, known in names.items() for size in _sizes(name))
        self.endings = _common((name[-size:], known.type) for name, known in names.items() for size in _sizes(name))

    def affixes(self, folded: str, place: int) -> list[str]:
        """Of a character: which types' names often end with it, end with the next one, or begin with it."""
        found = []
        for size in _AFFIXES:
            begin = place + 1 - size
            if begin >= 0 and (told := self.endings.get(folded[begin : place + 1])):
                found.append(f"e{size}{told}")
            if begin >= -1 and place + 1 < len(folded) and (told := self.endings.get(folded[begin + 1 : place + 2])):
                found.append(f"E{size}{told}")
            if told := self.beginnings.get(folded[place : place + size]):
                found.append(f"b{size}{told}")
        return found


def _sizes(name: str) -> list[int]:
    return [size for size in _AFFIXES if size < len(name)]


def _common(affixes: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The affixes of two names and more, with the type that most of them have and the order of how many."""
    counts: dict[str, Counter[str]] = {}
    for affix, kind in affixes:
        counts.setdefault(affix, Counter())[kind] += 1
    most = {affix: max(kinds.items(), key=lambda one: (one[1], one[0])) for affix, kinds in counts.items()}
    return {affix: f"{kind}{min(count.bit_length() - 1, 4)}" for affix, (kind, count) in most.items() if count > 1}


# --- what a model is made of -----------------------------------------------------------------------------------


def known_names(records: Iterable[tuple[str, Sequence[Span]]]) -> dict[str, Known]:
    """The entities of records, folded, each with its usual type and the share of its places that were marked so."""
    from ahocorasick_rs import AhoCorasick

    folded = [(_folded(text), spans) for text, spans in records]
    types: dict[str, Counter[str]] = {}
    for text, spans in folded:
        for span in spans:
            types.setdefault(text[span.start : span.end], Counter())[span.type] += 1
    places: Counter[int] = Counter()
    search = AhoCorasick(list(types))
    for text, _ in folded:
        places.update(which for which, _, _ in search.find_matches_as_indexes(text, overlapping=True))
    found = {}
    for place, (name, kinds) in enumerate(types.items()):
        kind, count = max(kinds.items(), key=lambda one: (one[1], one[0]))
        found[name] = Known(kind, round(count / max(places[place], count), 3))
    return found


def lexicon() -> dict[str, Known]:
    """The names of the package's lexicon with their kinds."""
    return {name: Known(meant.kind, 1.0) for name, meant in lexicon_names().items()}


# --- what the field sees ---------------------------------------------------------------------------------------


def pieces(text: str) -> list[tuple[int, int]]:
    """The sentences that are looked at one by one, blank ones too: half-open, in order, without gaps; a sentence of
    more than 1,000 characters is cut."""
    return [match.span() for match in _PIECE.finditer(text)]


def features(piece: str, lists: Lists) -> list[list[str]]:
    """What the field sees of each character of a sentence: a list of attributes a character.

    Characters and n-grams around it, classes of characters, names of the lists that cover it, beginnings and endings of
    names, and the first two characters of its clause (where 予, 行 and 示 announce what follows). Tried without gain on
    held-out records of CCKS-2019: n-grams that reach further than two characters, ends of clauses, all names that
    overlap a place, how strongly characters cling together, and the sentences before and after.
    """
    folded = _folded(piece)
    n = len(folded)
    chars = ["<2", "<1", *folded, ">1", ">2"]
    shapes = ["<", *map(_shape, folded), ">"]
    openings = _openings(folded)
    covers = [["<", *names.covers(folded), ">"] for names in lists.names]
    found = []
    for i in range(n):
        a, b, c, d, e = chars[i : i + 5]
        row = [
            *(f"0{c}", f"-1{b}", f"+1{d}", f"-2{a}", f"+2{e}"),
            *(f"-10{b}{c}", f"01{c}{d}", f"-21{a}{b}", f"12{d}{e}", f"-11{b}|{d}"),
            *(f"-101{b}{c}{d}", f"-210{a}{b}{c}", f"012{c}{d}{e}"),
            f"s{shapes[i]}{shapes[i + 1]}{shapes[i + 2]}",
            f"c{openings[i]}",
            *lists.affixes(folded, i),
        ]
        for place, cover in enumerate(covers):
            before, here, after = cover[i : i + 3]
            row += [f"{place}n{here}", f"{place}n-{before}|{here}", f"{place}n+{here}|{after}", f"{place}n{here}|{c}"]
        found.append(row)
    return found


def _folded(text: str) -> str:
    return _SURROGATE.sub("\ufffd", fold(text))


def _shape(char: str) -> str:
    if char in _NUMERALS:
        return "N"
    if char.isdigit():
        return "9"
    if char.isascii():
        return "a" if char.isalpha() else char
    return "H" if _HAN.match(char) else "."


def _openings(folded: str) -> list[str]:
    """Of each character, the two first characters of its clause."""
    found: list[str] = []
    begin = 0
    for match in [*_CLAUSE.finditer(folded), None]:
        end = match.end() if match else len(folded)
        found += [folded[begin : begin + 2]] * (end - begin)
        begin = end
    return found


# --- labels ----------------------------------------------------------------------------------------------------


def encoded(length: int, places: Iterable[tuple[str, int, int]]) -> list[str]:
    """A label a character (B-, I-, E-, S-TYPE or O) of (type, start, end); of overlapping ones the first, the longest.

    >>> encoded(4, [("药物", 0, 3)])
    ['B-药物', 'I-药物', 'E-药物', 'O']
    """
    labels = ["O"] * length
    free = 0
    for kind, start, end in sorted(places, key=lambda one: (one[1], -one[2], one[0])):
        if free <= start < end <= length:
            labels[start:end] = [f"{sign}-{kind}" for sign in _signs(end - start)]
            free = end
    return labels


def decoded(labels: Sequence[str]) -> list[tuple[str, int, int]]:
    """(type, start, end) of labels; one that lacks its beginning or its end is taken as far as it goes.

    >>> decoded(["B-药物", "E-药物", "O", "I-药物"])
    [('药物', 0, 2), ('药物', 3, 4)]
    """
    found: list[tuple[str, int, int]] = []
    begin, kind = 0, ""
    for place, label in enumerate([*labels, "O"]):
        sign, _, now = label.partition("-")
        if kind and (sign in ("O", "B", "S") or now != kind):
            found.append((kind, begin, place))
            kind = ""
        if not kind and sign != "O":
            begin, kind = place, now
        if sign in ("E", "S"):
            found.append((kind, begin, place + 1))
            kind = ""
    return found


def _signs(length: int) -> list[str]:
    return ["S"] if length == 1 else ["B", *["I"] * (length - 2), "E"]
