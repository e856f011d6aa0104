"""Two things whose predicates are exchanged: 急性者渗液，慢性者增厚 where the literature has it the other way round.

What is covered: two neighbouring clauses of a sentence and any two of its window, told apart by the characters,
measures and polar words that only one of the two has: each clause of the sentence opens with what one clause of the
literature has alone and goes on with what the other has alone. What is not covered: an exchange within one clause, and
one whose second half the sentence leaves out.
Tried: that half alone, and 甲比乙更… for 乙比甲更…; the first was as often wrong as right, the second hardly occurred.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import combinations, pairwise
from typing import NamedTuple

from chimed_rag.safety.dictionary import POLAR
from chimed_rag.safety.reading import Reading

_STRETCH = re.compile("[^。；！？;!?\n]+")
_MOST_CLAUSES = 24
_MIN_PURE = 0.75  # share of the telling signs that must lie on their side of the turn
_CLEAR_TAIL = 2  # signs that are enough by themselves; with less the two clauses of the literature must be of one form
_LONGEST = 20  # signs of a stretch; a longer one says several things, and none of them of one subject
_ONE_FORM = 3  # signs that such clauses share

Signs = list[tuple[str, int]]
"""What tells in a clause, in order, and how much each counts."""


class _Segment(NamedTuple):
    """A stretch of `norm` with its signs, in order and as a set."""

    begin: int
    end: int
    signs: Signs
    bag: frozenset[str]

    def opens(self, some: frozenset[str], others: frozenset[str]) -> bool:
        """Whether some of its signs stand before others, on average."""
        return self._place(some) < self._place(others)

    def _place(self, some: frozenset[str]) -> float:
        found = [place for place, (sign, _) in enumerate(self.signs) if sign in some]
        return sum(found) / len(found)


class _Near(NamedTuple):
    """A clause of the literature, and what each of two clauses of a sentence has of it."""

    segment: _Segment
    first: frozenset[str]
    second: frozenset[str]


def exchanged(sentence: Reading, sources: Sequence[Reading]) -> str:
    """What is said of the other of two things, in the sentence's own words; "" if nothing is."""
    here = _segments(sentence)
    pairs = [pair for level in here for pair in pairwise(level) if max(len(one.signs) for one in pair) <= _LONGEST]
    if not pairs:
        return ""
    clauses, stretches = map(_joined, zip(*(_segments(reading) for reading in sources), strict=True))
    whole = [segment.bag for segment in (*clauses, *stretches)]
    for first, second in pairs:
        for known in (clauses, stretches):
            near = [_Near(one, first.bag & one.bag, second.bag & one.bag) for one in known]
            near = [one for one in near if one.first and one.second]
            for one, other in combinations(near, 2):
                if _turns(first, second, one, other, whole) or _turns(first, second, other, one, whole):
                    return sentence.raw_text(first.begin, second.end)
    return ""


def _joined(levels: Iterable[list[_Segment]]) -> list[_Segment]:
    return [segment for level in levels for segment in level][:_MOST_CLAUSES]


def _turns(first: _Segment, second: _Segment, one: _Near, other: _Near, whole: Sequence[frozenset[str]]) -> bool:
    """Whether the first clause opens with what `one` has and goes on with what `other` has, the second the reverse."""
    if one.first <= other.first or other.first <= one.first or one.second <= other.second or other.second <= one.second:
        return False
    least = 1 if len(one.segment.bag & other.segment.bag) >= _ONE_FORM else _CLEAR_TAIL
    here = _turn(_without_opening(first, other.segment), one.first - other.first, other.first - one.first, least)
    if not here:
        return False
    there = _turn(_without_opening(second, one.segment), other.second - one.second, one.second - other.second, least)
    if not there:
        return False
    for (head, tail), (rival, _) in ((here, there), (there, here)):
        if any(head <= held and not rival <= held and 4 * len(tail & held) >= 3 * len(tail) for held in whole):
            return False
    return one.segment.opens(here[0], there[1]) and other.segment.opens(there[0], here[1])


def _without_opening(segment: _Segment, other: _Segment) -> Signs:
    """The signs of a clause after the words with which another opens too, which are of no use to tell them apart."""
    shared = next(
        (at for at, (one, two) in enumerate(zip(segment.signs, other.signs, strict=False)) if one != two),
        min(len(segment.signs), len(other.signs)),
    )
    return segment.signs[shared:]


def _turn(
    signs: Signs, mine: frozenset[str], theirs: frozenset[str], least: int
) -> tuple[frozenset[str], frozenset[str]] | None:
    """(the signs of `mine` with which a clause opens, those of `theirs` with which it goes on); None if it does not."""
    telling = [(sign, weight if sign in mine else -weight) for sign, weight in signs if sign in mine or sign in theirs]
    if len(telling) < 2 or telling[0][1] < 0 or telling[0][0] in POLAR:
        return None
    total = sum(abs(weight) for _, weight in telling)
    before, after = 0, sum(-weight for _, weight in telling if weight < 0)
    for number, (_, weight) in enumerate(telling, 1):
        before, after = before + max(weight, 0), after + min(weight, 0)
        if after >= least and before + after >= _MIN_PURE * total:
            head = frozenset(sign for sign, weight in telling[:number] if weight > 0)
            return head, frozenset(sign for sign, weight in telling[number:] if weight < 0)
    return None


def _segments(reading: Reading) -> tuple[list[_Segment], list[_Segment]]:
    """The clauses of a text, and what stands between its full stops and semicolons, with their signs."""
    cached: tuple[list[_Segment], list[_Segment]] | None = reading.__dict__.get("segments")
    if cached is None:
        signs = [(place, reading.norm[place], 1) for place in reading.matter]
        signs += [(place, reading.norm[place], 2) for _, place, _ in reading.measures]
        signs += [(token.start, token.canonical, 2) for token in reading.tokens if token.canonical in POLAR]
        signs.sort()
        clauses = reading.clauses
        stretches = [found.span() for found in _STRETCH.finditer(reading.norm)]
        cut = _cut(signs, clauses)
        cached = (cut, _cut(signs, stretches) if len(stretches) < len(clauses) else cut)
        reading.__dict__["segments"] = cached
    return cached


def _cut(signs: Sequence[tuple[int, str, int]], spans: Sequence[tuple[int, int]]) -> list[_Segment]:
    """The signs of each span that has some."""
    found, at = [], 0
    for begin, end in spans:
        upto = bisect_left(signs, (end,), at)
        if upto > at:
            held = [(sign, weight) for _, sign, weight in signs[at:upto]]
            found.append(_Segment(begin, end, held, frozenset(sign for sign, _ in held)))
        at = upto
    return found
