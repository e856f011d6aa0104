"""Marks: the words of a text that a class of `contrasts.tsv` or `populations.tsv` knows, and how two texts' are
paired.

What is covered: finding them in a `Reading`, and pairing a mark with that of the same class whose surroundings are
most alike. What is not covered: what follows from it (`polarity`, `population`).
Tried: exchanges told by likeness alone; a subject that is said once for two clauses then looked like one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from typing import NamedTuple

from chimed_rag.packaged import rows
from chimed_rag.safety.dictionary import Find
from chimed_rag.safety.reading import Reading, per_reading
from chimed_rag.safety.surroundings import Context, likeness, weight
from chimed_rag.text import fold

SWAPPED = 0.5
"""By so much must the surroundings of another mark fit better before two count as exchanged; see `fits_better`."""


class Mark(NamedTuple):
    """A word of a class in `reading.norm[start:end]`."""

    kind: str
    values: frozenset[str]
    start: int
    end: int
    reading: Reading
    stops: tuple[int, ...]
    """The places of the marks of its class, beyond which its surroundings do not go."""

    @property
    def context(self) -> Context:
        """What stands around it in its clause; made when asked for: few marks are."""
        return self.reading.context(self.start, self.end, self.stops, within=True)

    @property
    def text(self) -> str:
        """What the text says, in its own words."""
        return self.reading.raw_text(self.start, self.end)


@cache
def _table(name: str) -> tuple[Find, list[dict[str, frozenset[str]]], frozenset[tuple[str, str]]]:
    """(automaton, values by class of each word, classes that must not be added) of a table beside this file."""
    from ahocorasick_rs import AhoCorasick, MatchKind

    words: dict[str, dict[str, frozenset[str]]] = {}
    strict: set[tuple[str, str]] = set()
    for row in rows("chimed_rag.safety", name):
        kind, value, listed = row if len(row) == 3 else ("population", *row)
        if kind.endswith("!"):
            kind = kind[:-1]
            strict.add((kind, value))
        spelled = [fold(word) for word in listed.split()]
        for word in dict.fromkeys((*(Reading(word).norm for word in spelled), *spelled)):  # a name keeps its own words
            if kind.startswith("more"):  # 高钾 and 低钾 exclude each other, 高脂 and 低蛋白 do not
                kind = "more " + word[1:]
            known = words.setdefault(word, {})
            known[kind] = known.get(kind, frozenset()) | {value}
    automaton = AhoCorasick(list(words), matchkind=MatchKind.Standard)
    return partial(automaton.find_matches_as_indexes, overlapping=True), list(words.values()), frozenset(strict)


def strict_values(name: str) -> frozenset[tuple[str, str]]:
    """The (class, value) of a table that a sentence must not bring in by itself."""
    return _table(name)[2]


@per_reading
def find_marks(reading: Reading, name: str, *, named: bool = False) -> tuple[Mark, ...]:
    """The marks of a table in a text, in order; groups of people inside the name of a disease only if `named`."""
    find, meanings, _ = _table(name)
    inside = [(token.start, token.end) for token in reading.tokens if token.kind in ("drug", "disease", "herb")]
    people = not named and name == "populations.tsv"  # 妊娠期糖尿病 is a disease, not a pregnant woman
    spans = [
        (kind, values, start, end)
        for kind, values, start, end in _longest(find(reading.norm), meanings)
        if not people or not any(low <= start and end <= high and end - start < high - low for low, high in inside)
    ]
    places: dict[str, set[int]] = {}
    for kind, _, start, end in spans:
        places.setdefault(kind, set()).update(range(start, end))
    stops = {kind: tuple(found) for kind, found in places.items()}
    return tuple([Mark(kind, values, start, end, reading, stops[kind]) for kind, values, start, end in spans])


def _longest(
    found: list[tuple[int, int, int]], meanings: Sequence[dict[str, frozenset[str]]]
) -> list[tuple[str, frozenset[str], int, int]]:
    """Of matches that overlap, the longest of each class: 不可逆 and not 可逆, but 右侧 as well as 上腹 in 右上腹."""
    kept: list[tuple[str, frozenset[str], int, int]] = []
    taken: dict[str, int] = {}
    for index, start, end in sorted(found, key=lambda one: (one[1], -one[2])):
        for kind, values in meanings[index].items():
            if start >= taken.get(kind, 0):
                kept.append((kind, values, start, end))
                taken[kind] = end
    return kept


def best(mark: Mark, others: Iterable[Mark]) -> tuple[float, Mark | None]:
    """The mark whose surroundings are most alike, and how much; (0, None) if there is none."""
    scored = [(likeness(mark.context, other.context), -place, other) for place, other in enumerate(others)]
    if not scored:
        return 0.0, None
    score, _, found = max(scored, key=lambda one: one[:2])
    return score, found


def fits_better(place: Context, same: Context, other: Context, right: float = 0.5) -> float:
    """How much better a surrounding fits that of `other` than that of `same`, about -1 to 1.

    Only what the two do not have in common counts: of the nearest characters on the left that one has alone, the share
    that stands left of the place too; the right side counts `right`. Where nothing stands left of `same` its subject is
    that of the clause before, which speaks for neither.
    """
    left = share(other.near - same.left, place.left) - share(same.near - other.left, place.left) if same.near else 0.0
    after = share(other.right - same.right, place.right) - share(same.right - other.right, place.right)
    return left + right * after


def share(some: frozenset[str], here: frozenset[str]) -> float:
    """The share of some characters, by weight, that stands here."""
    return weight(some & here) / weight(some) if some else 0.0


def rival(
    mark: Mark,
    candidates: Sequence[Mark],
    agrees: Callable[[Mark, Mark], bool],
    *,
    least: float = 0.0,
    right: float = 0.5,
) -> tuple[bool, Mark | None]:
    """(whether some candidate agrees, the candidate that contradicts): one whose surroundings fit better than those of
    all that agree, or are as alike as `least` where none agrees."""
    same = [one for one in candidates if agrees(mark, one)]
    others = [one for one in candidates if not agrees(mark, one)]
    if not same:
        score, found = best(mark, others)
        return False, found if found is not None and score >= least else None
    for other in others:
        if all(fits_better(mark.context, one.context, other.context, right) > SWAPPED for one in same):
            return True, other
    return True, None
