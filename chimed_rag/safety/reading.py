"""A text as the proof compares it: known words made one, measures masked, cut into clauses.

What is covered: the words of `dictionary`, measures, what carries matter and what stands beside a place. What is not
covered: grammar. Nothing here decides anything. Time is linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from functools import cached_property, lru_cache
from itertools import compress, pairwise
from typing import NamedTuple, ParamSpec, TypeVar, cast
from zlib import crc32

from chimed_rag.safety.conversion import Measure
from chimed_rag.safety.dictionary import CLAUSE_ENDS, POLAR, dictionary, opens_with_but, splits_word
from chimed_rag.safety.measures import measures
from chimed_rag.safety.scanning import mend
from chimed_rag.safety.surroundings import Context
from chimed_rag.text import fold

_HARD_ENDS = frozenset("。；！？;!?\n")
_CLAUSE = re.compile("[^" + "".join(sorted(CLAUSE_ENDS)) + "]+")
_DROPPED = re.compile(r"[\s*_`#>|]+")
_FOREIGN = re.compile("[\ud800-\udfff\ue000-\uf8ff]")  # lone surrogates, and the characters that stand for measures
_MASK, _MASKS = 0xE000, 6000


Given = ParamSpec("Given")
Made = TypeVar("Made")

KEPT = 1024
"""How many readings, and results of each function of `per_reading`, are kept. An answer from short passages needs 50,
from long ones 300; with four times as many, 200 questions spent twice as long in full garbage collections and were no
faster."""


def per_reading(make: Callable[Given, Made]) -> Callable[Given, Made]:
    """What a function makes of a reading, and of hashable further arguments, is made once and kept with the latest.

    The reading itself does not hold it: what is made often holds the reading, and only the garbage collector frees such
    a circle.
    """
    return cast("Callable[Given, Made]", lru_cache(maxsize=KEPT)(make))


def pairs_of(chars: Iterable[str]) -> frozenset[str]:
    """The pairs of characters that follow each other."""
    return frozenset(map("".join, pairwise(chars)))


class Token(NamedTuple):
    """A word that the tables know: `norm[start:end] == canonical`, said as `raw[begin:stop]`; `kind` is "light" for
    words without matter, the kind of a name (drug, disease, ...), or ""."""

    canonical: str
    kind: str
    start: int
    end: int


class Reading:
    """One text, read. Offsets are of `norm` unless said otherwise; `raw_text` leads back."""

    def __init__(self, raw: str) -> None:
        self.raw = raw
        mended = mend(raw)
        self.folded = _FOREIGN.sub("\ufffd", fold(mended))
        found = measures(mended)
        self.norm, self.tokens, self._starts, self._ends = self._replace(*self._mask(self.folded, found))
        places = {raw_start: place for place, raw_start in enumerate(self._starts)}
        self.measures = tuple([(one, places[one.start], places[one.start] + 1) for one in found if one.start in places])

    def _mask(self, folded: str, found: list[Measure]) -> tuple[str, list[int], list[int]]:
        """The folded text without blanks and markup, each measure one private character that tells its value."""
        pieces: list[str] = []
        starts: list[int] = []
        ends: list[int] = []
        place = 0
        for measure in [*found, None]:
            stop = measure.start if measure else len(folded)
            while place < stop:
                gap = _DROPPED.search(folded, place, stop)
                upto = gap.start() if gap else stop
                pieces.append(folded[place:upto])
                starts.extend(range(place, upto))
                ends.extend(range(place + 1, upto + 1))
                place = gap.end() if gap else stop
            if measure:
                pieces.append(chr(_MASK + crc32(measure.key.encode()) % _MASKS))
                starts.append(measure.start)
                ends.append(measure.end)
                place = measure.end
        return "".join(pieces), starts, ends

    def _replace(
        self, text: str, starts: list[int], ends: list[int]
    ) -> tuple[str, tuple[Token, ...], tuple[int, ...], tuple[int, ...]]:
        """Every known word replaced by its canonical form, which becomes a token."""
        find, meanings, inner = dictionary()
        tokens: list[Token] = []
        pieces: list[str] = []
        new_starts: list[int] = []
        new_ends: list[int] = []
        place = length = 0
        for index, begin, stop in find(text):
            if begin < place:
                continue
            if (text[begin] < "\x80" and splits_word(text, begin)) or (
                text[stop - 1] < "\x80" and splits_word(text, stop)
            ):
                continue
            canonical, kind = meanings[index]
            after = stop
            if canonical == "不" and opens_with_but(text, begin, stop):
                canonical, kind, stop, after = "但", "light", stop + 1, stop + 1
            shorter = inner.get(text[begin : stop - 1]) if text[stop - 1 : stop + 1] == "病人" else None
            if shorter:
                (canonical, kind), stop, after = shorter, stop - 1, stop + 1  # 哮喘病人 is no 哮喘病
            pieces += (text[place:begin], canonical)
            length += begin - place
            new_starts += starts[place:begin]
            new_ends += ends[place:begin]
            if canonical != "":
                tokens.append(Token(canonical, kind, length, length + len(canonical)))
                if stop - begin == len(canonical):
                    new_starts += starts[begin:stop]
                    new_ends += ends[begin:stop]
                else:
                    new_starts += [starts[begin]] * len(canonical)
                    new_ends += [ends[stop - 1]] * len(canonical)
                length += len(canonical)
            place = after
        pieces.append(text[place:])
        new_starts += starts[place:]
        new_ends += ends[place:]
        return "".join(pieces), tuple(tokens), tuple(new_starts), tuple(new_ends)

    def raw_text(self, start: int, end: int) -> str:
        """What the text says at `norm[start:end]`, in its own words; what lies beyond its end is nothing."""
        end = min(end, len(self.norm))
        return self.raw[self._starts[start] : self._ends[end - 1]] if start < end else ""

    @cached_property
    def clauses(self) -> tuple[tuple[int, int], ...]:
        """Half-open spans between commas, colons and stops; none is empty."""
        return tuple([match.span() for match in _CLAUSE.finditer(self.norm)])

    @cached_property
    def matter(self) -> tuple[int, ...]:
        """The places of characters that carry matter: letters outside of measures and of words without matter."""
        light = bytearray(len(self.norm))
        for token in self.tokens:
            if token.kind == "light":
                light[token.start : token.end] = b"\1" * (token.end - token.start)
        return tuple([place for place, char in enumerate(self.norm) if char.isalnum() and not light[place]])

    @cached_property
    def _neighbours(self) -> tuple[tuple[int, int], ...]:
        """Places of matter that follow each other within a clause."""
        clause = self.clause_numbers
        return tuple([pair for pair in pairwise(self.matter) if clause[pair[0]] == clause[pair[1]]])

    @cached_property
    def pairs(self) -> dict[int, tuple[str, ...]]:
        """For each place of `matter`, the pairs of neighbouring characters it is in, within its clause."""
        found: dict[int, tuple[str, ...]] = dict.fromkeys(self.matter, ())
        for one, other in self._neighbours:
            pair = (self.norm[one] + self.norm[other],)
            found[one] += pair
            found[other] += pair
        return found

    @cached_property
    def pair_set(self) -> frozenset[str]:
        """All pairs of `pairs`."""
        norm = self.norm
        return frozenset([norm[one] + norm[other] for one, other in self._neighbours])

    @cached_property
    def pair_places(self) -> dict[str, tuple[int, ...]]:
        """For each pair of `pair_set` the places of both its characters, wherever it stands."""
        norm = self.norm
        found: dict[str, tuple[int, ...]] = {}
        for one, other in self._neighbours:
            pair = norm[one] + norm[other]
            found[pair] = (*found.get(pair, ()), one, other)
        return found

    def held_by(self, pairs: frozenset[str]) -> set[int]:
        """The places of matter that are in one of these pairs."""
        places = self.pair_places
        return {place for pair in self.pair_set & pairs for place in places[pair]}

    @cached_property
    def clause_pairs(self) -> list[set[str]]:
        """The pairs of each clause."""
        found: list[set[str]] = [set() for _ in self.clauses]
        for one, other in self._neighbours:
            found[self.clause_numbers[one]].add(self.norm[one] + self.norm[other])
        return found

    @cached_property
    def char_set(self) -> frozenset[str]:
        """All characters of matter."""
        return frozenset([self.norm[place] for place in self.matter])

    @cached_property
    def clause_numbers(self) -> tuple[int, ...]:
        """For each place of `norm` the number of its clause (places of punctuation have that of the one before)."""
        numbers = [0] * len(self.norm)
        for number, (begin, _) in enumerate(self.clauses):
            following = self.clauses[number + 1][0] if number + 1 < len(self.clauses) else len(self.norm)
            numbers[begin:following] = [number] * (following - begin)
        return tuple(numbers)

    def tells(self, place: int) -> bool:
        """Whether a place carries matter or a measure."""
        return bool(self._tells[place])

    def pairs_within(self, begin: int, end: int) -> frozenset[str]:
        """The pairs of characters that carry matter and follow each other between two places of the norm."""
        return pairs_of(self.norm[place] for place in range(begin, end) if self._tells[place])

    def beside(self, start: int, end: int, most: int = 2) -> tuple[str, str]:
        """The nearest characters of matter (or polar words) before and after `norm[start:end]` in its clause."""
        low, high = self.clause_at(start)
        before: list[str] = []
        for place in range(start - 1, low - 1, -1):
            if self._speaks[place]:
                before.append(self.norm[place])
                if len(before) == most:
                    break
        after: list[str] = []
        for place in range(end, high):
            if self._speaks[place]:
                after.append(self.norm[place])
                if len(after) == most:
                    break
        return "".join(reversed(before)), "".join(after)

    @cached_property
    def _speaks(self) -> bytearray:
        """Which places carry matter, a measure or a polar word."""
        flags = bytearray(self._tells)
        for token in self.tokens:
            if token.canonical in POLAR:
                flags[token.start : token.end] = b"\1" * (token.end - token.start)
        return flags

    def clause_at(self, place: int) -> tuple[int, int]:
        """The clause in which a place lies."""
        return self.clauses[self.clause_numbers[place]] if self.clauses else (0, len(self.norm))

    def context(self, start: int, end: int, stops: Collection[int] = (), *, within: bool = False) -> Context:
        """What stands around `norm[start:end]`; neither side goes beyond a place in `stops` (marks of the same class)
        or a full stop, the right side not beyond the clause, nor the left one if `within`."""
        norm, tells, ends = self.norm, self._tells, CLAUSE_ENDS if within else _HARD_ENDS
        left: list[str] = []
        for place in range(start - 1, max(-1, start - 40), -1):
            char = norm[place]
            if char in ends or place in stops:
                break
            if tells[place]:
                left.append(char)
                if len(left) == 9:
                    break
        right: list[str] = []
        for place in range(end, min(len(norm), end + 30)):
            char = norm[place]
            if char in CLAUSE_ENDS or place in stops:
                break
            if tells[place]:
                right.append(char)
                if len(right) == 6:
                    break
        low, high = self.clause_at(start)
        before, after = slice(max(low, start - 40), min(start, high)), slice(max(low, end), min(high, end + 40))
        around = (*compress(norm[before], tells[before]), *compress(norm[after], tells[after]))
        return Context(frozenset(left[:4]), frozenset(left), frozenset(right), frozenset(around))

    @cached_property
    def _tells(self) -> bytearray:
        """Which places carry matter or a measure."""
        flags = bytearray(len(self.norm))
        for place in self.matter:
            flags[place] = 1
        for _, start, _ in self.measures:
            flags[start] = 1
        return flags
