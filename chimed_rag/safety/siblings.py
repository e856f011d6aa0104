"""Exchanged halves: a clause that says of A what the literature says of its sibling B.

What is covered: one clause against two of the window whose heads name different things of a kind (see `exchange` for
two clauses at once). What is not covered: exchanges in lists.
Tried for lists: neighbouring items of one form, and the one clause that holds most of a sentence and a word there that
excludes the sentence's own, as checks beside this one (286 lines, 7 % more time): caught .787 -> .808 of the pairs in
textbook manner that they were written on, kept the same; of writers not seen .774 -> .784 caught, .680 -> .676 kept; of
hand pairs on textbooks .825 -> .842, .738 -> .700. Items not alike in form join right sentences as often as wrong ones.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from itertools import pairwise
from typing import NamedTuple

from chimed_rag.safety.exchange import crossed
from chimed_rag.safety.marks import find_marks
from chimed_rag.safety.reading import Reading, per_reading

_LATIN = re.compile("[a-z0-9]+")
_NAMING = frozenset(("drug", "disease", "test", "herb", "term", "part", "germ"))
_CONDITION = re.compile("如果|[如若]|(?:[时后前者]|的人)$")
_MOST_LIKE = 10  # clauses of the window that are compared with a clause
_OPENS = 4  # places of matter from the head of a clause at which its subject stands
_MIN_LOST = 2  # characters said of the subject that the clause must lack
_MIN_TAIL = 0.4  # share of what is said of the sibling that the clause must hold


class Clause(NamedTuple):
    """A clause of a text, its places of matter and measures, and its pairs by their rank there."""

    reading: Reading
    begin: int
    end: int
    places: tuple[int, ...]
    pairs: Mapping[str, int]


def exchanged(sentence: Reading, sources: Sequence[Reading], passages: Callable[[], Sequence[Reading]] = tuple) -> str:
    """A clause that begins as one clause of the window and goes on as another, which says it of a sibling.

    Nothing is said of a clause that a sentence of the passages holds together, or whose second half is a condition.

    Args:
        sentence: what is said.
        sources: the window of the literature.
        passages: all sentences of the passages, asked for when two halves seem exchanged.
    """
    theirs = [clause for reading in sources for clause in _clauses(reading)]
    holding: dict[str, list[int]] = {}
    for place, clause in enumerate(theirs):
        for pair in clause.pairs:
            holding.setdefault(pair, []).append(place)
    for mine in _clauses(sentence):
        counts = Counter(place for pair in mine.pairs for place in holding.get(pair, ()))
        held = [theirs[place] for place, _ in counts.most_common(_MOST_LIKE)]
        for one in held:
            for other in held:
                halves = _crossed(mine, one, other) if other is not one else None
                if halves is None or any(_hold_both(clause.pairs.keys(), *halves) for clause in theirs):
                    continue
                split = one.reading is other.reading
                rest = [reading for reading in (*sources, *passages()) if not (split and reading is one.reading)]
                if not any(_hold_both(reading.pair_set, *halves) for reading in rest):
                    said = sentence.raw_text(mine.begin, mine.end)
                    return f"“{said}”：原文说的是“{other.reading.raw_text(other.begin, other.end)}”"
    said = crossed(sentence, lambda: passages() or sources)
    return f"“{said}”与原文交叉" if said else ""


@per_reading
def _clauses(reading: Reading) -> tuple[Clause, ...]:
    found: list[Clause] = []
    for begin, end in reading.clauses:
        places = tuple([at for at in range(begin, end) if reading.tells(at)])
        pairs = {reading.norm[a] + reading.norm[b]: rank for rank, (a, b) in enumerate(pairwise(places))}
        if pairs:
            found.append(Clause(reading, begin, end, places, pairs))
    return tuple(found)


def _crossed(mine: Clause, one: Clause, other: Clause) -> tuple[frozenset[str], frozenset[str]] | None:
    """The pairs that a clause has from the head of `one` and from the tail of `other`, whose own head is a sibling."""
    head = {pair: rank for pair, rank in mine.pairs.items() if pair in one.pairs and pair not in other.pairs}
    tail = {pair: rank for pair, rank in mine.pairs.items() if pair in other.pairs and pair not in one.pairs}
    if not head or len(tail) < 2 or max(head.values()) >= min(tail.values()):
        return None
    last, first = max(one.pairs[pair] for pair in head), min(other.pairs[pair] for pair in tail)
    if min(one.pairs[pair] for pair in head) > _OPENS or not first:
        return None
    lost = [pair for pair, rank in one.pairs.items() if rank > last and pair not in mine.pairs]
    instead = [pair for pair, rank in other.pairs.items() if rank < first and pair not in mine.pairs]
    said_there = sum(rank >= first for rank in other.pairs.values())
    unsaid = set("".join(lost)).difference(*mine.pairs)
    if len(unsaid) < _MIN_LOST or not instead or len(tail) < _MIN_TAIL * said_there:
        return None
    if other.reading is one.reading and _CONDITION.search(other.reading.norm[other.begin : other.end]):
        return None
    stop = one.places[min(last + 1, len(one.places) - 1)] + 1
    apart = (one.reading, one.begin, stop), (other.reading, other.begin, other.places[first] + 1)
    return (frozenset(head), frozenset(tail)) if _are_siblings(mine, *apart) else None


def _hold_both(pairs: Set[str], head: frozenset[str], tail: frozenset[str]) -> bool:
    return not head.isdisjoint(pairs) and 2 * len(tail & pairs) > len(tail)


def _are_siblings(mine: Clause, one: tuple[Reading, int, int], other: tuple[Reading, int, int]) -> bool:
    """Whether two heads name different things of a kind, of which the clause names the first alone."""
    names, others, words = _words(*one), _words(*other), _words(mine.reading, mine.begin, mine.end)
    only, instead = (names - others) & words, others - names - words
    if {kind for kind, _ in only} & {kind for kind, _ in instead}:
        return True
    here, there = _stretch(*one), _stretch(*other)
    ends = {pair[1] for pair in (here - there) & mine.pairs.keys()}
    return not ends.isdisjoint(pair[1] for pair in there - here - mine.pairs.keys())  # 马蜂 and 蜜蜂


def _words(reading: Reading, begin: int, end: int) -> set[tuple[str, str]]:
    """(class, word) of the names, contrasts, groups of people and Latin letters in `norm[begin:end]`."""
    found = {
        (token.kind, token.canonical)
        for token in reading.tokens
        if token.kind in _NAMING and begin <= token.start and token.end <= end
    }
    for table in ("contrasts.tsv", "populations.tsv"):
        marks = [mark for mark in find_marks(reading, table) if begin <= mark.start and mark.end <= end]
        found.update((mark.kind, value) for mark in marks for value in mark.values)
    found.update(("latin", match[0]) for match in _LATIN.finditer(reading.norm, begin, end))
    return found


def _stretch(reading: Reading, begin: int, end: int) -> frozenset[str]:
    return frozenset(
        reading.norm[at : at + 2] for at in range(begin, end - 1) if reading.tells(at) and reading.tells(at + 1)
    )
