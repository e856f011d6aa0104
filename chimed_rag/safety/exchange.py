"""Two things whose predicates are exchanged: 急性者渗液，慢性者增厚 where the literature has it the other way round.

What is covered: two neighbouring clauses of a sentence and any two of its window, told apart by the characters,
measures and polar words that only one of the two has: each clause of the sentence opens with what one clause of the
literature has alone and goes on with what the other has alone; by `crossed` also two halves of a clause, and any two
neighbouring clauses or items of all the passages, whatever comes first in them (让心率减慢的是甲). What is not covered:
an exchange whose second half the sentence leaves out.
Tried: that half alone, and 甲比乙更… for 乙比甲更…; the first was as often wrong as right, the second hardly occurred.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from itertools import combinations, islice, pairwise
from typing import NamedTuple

from chimed_rag.safety.dictionary import POLAR
from chimed_rag.safety.reading import Reading, per_reading

_STRETCH = re.compile("[^。；！？;!?\n]+")
_MOST_CLAUSES = 24
_MIN_PURE = 0.75  # share of the telling signs that must lie on their side of the turn
_CLEAR_TAIL = 2  # signs that are enough by themselves; with less the two clauses of the literature must be of one form
_LONGEST = 20  # signs of a stretch; a longer one says several things, and none of them of one subject
_ONE_FORM = 3  # signs that such clauses share

Signs = tuple[tuple[str, int], ...]
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


@per_reading
def _segments(reading: Reading) -> tuple[list[_Segment], list[_Segment]]:
    """The clauses of a text, and what stands between its full stops and semicolons, with their signs."""
    signs = [(place, reading.norm[place], 1) for place in reading.matter]
    signs += [(place, reading.norm[place], 2) for _, place, _ in reading.measures]
    signs += [(token.start, token.canonical, 2) for token in reading.tokens if token.canonical in POLAR]
    signs.sort()
    clauses = reading.clauses
    stretches = [found.span() for found in _STRETCH.finditer(reading.norm)]
    cut = _cut(signs, clauses)
    return cut, _cut(signs, stretches) if len(stretches) < len(clauses) else cut


def _cut(signs: Sequence[tuple[int, str, int]], spans: Sequence[tuple[int, int]]) -> list[_Segment]:
    """The signs of each span that has some."""
    found, at = [], 0
    for begin, end in spans:
        upto = bisect_left(signs, (end,), at)
        if upto > at:
            held = tuple([(sign, weight) for _, sign, weight in signs[at:upto]])
            found.append(_Segment(begin, end, held, frozenset(sign for sign, _ in held)))
        at = upto
    return found


_CUTS = tuple(map(re.compile, ("[^。；！？;!?\n]+", "[^。；！？;!?\n，,]+", "[^。；！？;!?\n，,、]+")))
_HALVES = re.compile("而(?!且)|、")
_LADDER = frozenset(["不", "没有", "可", "应", "要", "宜", "必须", "不应", "不必", "不建议", "建议", "慎用", "禁忌证"])
"""Words that stand anywhere and tell no two things apart."""
_REASON = re.compile("因为?|由于|所以|从而|说明|提示|表明|意味|这时|以[免防便]|否则|不然")
"""What joins a clause to the one before as its reason or consequence; the two tell no two things."""
_NO_FORM = frozenset("的了不没有可应要，。；、：,;")
_MOST_PAIRS = 12
_CLEAR = 2  # weight of each of the four that is enough by itself
_NEAR = 2  # stretches between two that belong together
_MIN_TOGETHER = 7  # weight of all four where one of them is a single character
_MIN_SHARE = 0.5  # of what a clause has of the passages, that lies in the two

Placed = Mapping[str, tuple[int, int]]
"""The signs of a stretch, characters and pairs: where each stands first, and how much it counts."""


def crossed(sentence: Reading, passages: Callable[[], Sequence[Reading]]) -> str:
    """Two neighbouring halves of which each has something of both of two neighbours, which have them the other way
    round; in the sentence's own words."""
    halves = list(islice(_halves(sentence), _MOST_PAIRS))
    likely = list(_likely(sentence, passages())) if halves else []
    levels = [[signs for reading in likely for signs in _cut_signs(reading, cut)] for cut in range(len(_CUTS))]
    for begin, middle, end in halves:
        if _REASON.match(sentence.raw_text(middle, end)):
            continue
        one, two = _signs(sentence, begin, middle), _signs(sentence, middle, end)
        alike = frozenset(sentence.norm[begin:middle]).intersection(sentence.norm[middle:end]) - _NO_FORM
        if sentence.norm[middle - 1] in "而、" and not alike:
            continue
        if any(_are_crossed(one, two, level, alike=bool(alike)) for level in levels):
            return sentence.raw_text(begin, end)
    return ""


def _likely(sentence: Reading, passages: Sequence[Reading]) -> Iterator[Reading]:
    """The sentences of the passages that have a pair of characters or a measure of a sentence."""
    measured = {sentence.norm[at] for _, at, _ in sentence.measures}
    for reading in passages:
        if not reading.pair_set.isdisjoint(sentence.pair_set) or not measured.isdisjoint(reading.norm):
            yield reading


def _halves(reading: Reading) -> Iterator[tuple[int, int, int]]:
    """(begin, middle, end) of neighbouring clauses, of neighbouring sentences, and of the halves of a clause."""
    clauses = reading.clauses
    sentences = [found.span() for found in _STRETCH.finditer(reading.norm)]
    for spans in (clauses, sentences if len(sentences) < len(clauses) else []):
        for (begin, _), (middle, end) in pairwise(spans):
            yield begin, middle, end
    for begin, end in clauses:
        for joint in _HALVES.finditer(reading.norm, begin + 3, end):
            yield begin, joint.end(), end


@per_reading
def _cut_signs(reading: Reading, cut: int) -> tuple[Placed, ...]:
    return tuple([_signs(reading, *found.span()) for found in _CUTS[cut].finditer(reading.norm)])


@per_reading
def _signs(reading: Reading, begin: int, end: int) -> Placed:
    ends, signs = _told(reading)
    low, high = bisect_left(ends, begin + 1), bisect_left(ends, end + 1)
    return {sign: (at, weight) for at, sign, weight in reversed(signs[low:high]) if at >= begin}


@per_reading
def _told(reading: Reading) -> tuple[tuple[int, ...], tuple[tuple[int, str, int], ...]]:
    """(where each ends, place and sign and weight) of all signs of a text, in the order of their ends."""
    norm = reading.norm
    found = [(at + 1, at, norm[at], 1) for at in reading.matter]
    found += [(two + 1, one, norm[one : two + 1], 1) for one, two in pairwise(reading.matter) if two == one + 1]
    found += [(at + 1, at, norm[at], 2) for _, at, _ in reading.measures]
    found += [(one.end, one.start, one.canonical, 2) for one in reading.tokens if one.canonical in POLAR]
    found = sorted(one for one in found if one[2] not in _LADDER)
    return tuple([one[0] for one in found]), tuple([one[1:] for one in found])


def _are_crossed(one: Placed, two: Placed, level: Sequence[Placed], *, alike: bool) -> bool:
    """Whether two stretches share with `one` and with `two` what the other has not, each its head with the one and its
    tail with the other; little of it will do where the two halves of the sentence are `alike` in form."""
    mine, theirs = one.keys() - two.keys(), two.keys() - one.keys()
    here, there = [signs.keys() & mine for signs in level], [signs.keys() & theirs for signs in level]
    both = [place for place in range(len(level)) if here[place] and there[place]][:_MOST_CLAUSES]
    for first, second in combinations(both, 2):
        known, other = level[first], level[second]
        four = (
            here[first] - other.keys(),
            there[first] - other.keys(),
            here[second] - known.keys(),
            there[second] - known.keys(),
        )
        if not all(four) or not _in_turn(four, one, two, known, other):
            continue
        if _is_straight(here, four[0], four[2]) or _is_straight(there, four[1], four[3]):
            continue
        weights = [_weight(signs, held) for signs, held in zip(four, (one, two, one, two), strict=True)]
        near = second - first <= _NEAR
        if min(weights) >= _CLEAR and (alike or near):
            return True
        shares = (
            (weights[0] + weights[2]) / _weight(set().union(*here), one),
            (weights[1] + weights[3]) / _weight(set().union(*there), two),
        )
        if alike and near and sum(weights) >= _MIN_TOGETHER and min(shares) >= _MIN_SHARE:
            return True
    return False


def _in_turn(four: Sequence[Set[str]], one: Placed, two: Placed, known: Placed, other: Placed) -> bool:
    """Whether the head comes first in both halves or in neither, and in both stretches or in neither."""
    head, tail, other_tail, other_head = four
    said = (_mean(head, one) < _mean(other_tail, one)) == (_mean(other_head, two) < _mean(tail, two))
    return said and (_mean(head, known) < _mean(tail, known)) == (_mean(other_head, other) < _mean(other_tail, other))


def _is_straight(level: Sequence[Set[str]], head: Set[str], tail: Set[str]) -> bool:
    return any(not head.isdisjoint(signs) and not tail.isdisjoint(signs) for signs in level)


def _weight(signs: Iterable[str], held: Placed) -> int:
    return sum(held[sign][1] for sign in signs)


def _mean(signs: Set[str], held: Placed) -> float:
    return sum(held[sign][0] for sign in signs) / len(signs)
