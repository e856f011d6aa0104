"""Marks: the words of a text that a class of `contrasts.tsv` or `populations.tsv` knows, and how two texts' are paired.

What is covered: finding them in a `Reading`, and pairing a mark with that of the same class whose surroundings are most
alike. What is not covered: what follows from it (`polarity`, `population`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from importlib import resources
from typing import NamedTuple

from chimed_rag.safety.reading import Context, Find, Reading, likeness
from chimed_rag.text import fold

SWAPPED = 0.2
"""By so much must the surroundings of another mark be more alike before two marks count as exchanged."""


class Mark(NamedTuple):
    """A word of a class in `reading.norm[start:end]`."""

    kind: str
    values: frozenset[str]
    start: int
    end: int
    reading: Reading
    context: Context

    @property
    def text(self) -> str:
        """What the text says, in its own words."""
        return self.reading.raw_text(self.start, self.end)


@cache
def _table(name: str) -> tuple[Find, list[tuple[str, frozenset[str]]], frozenset[str]]:
    """(automaton, class and values of each of its words, classes that must not be added) of a table beside this file."""
    from ahocorasick_rs import AhoCorasick, MatchKind

    words: dict[str, tuple[str, frozenset[str]]] = {}
    strict = set()
    source = resources.files("chimed_rag.safety").joinpath(name).read_text("utf-8")
    for line in source.splitlines():
        if not line or line.startswith("#"):
            continue
        kind, value, listed = line.split("\t") if line.count("\t") == 2 else ("population", *line.split("\t"))
        if kind.endswith("!"):
            strict.add(kind := kind[:-1])
        for word in listed.split():
            canonical = Reading(fold(word)).norm
            values = frozenset((value,)) | (
                words[canonical][1] if words.get(canonical, ("",))[0] == kind else frozenset()
            )
            words[canonical] = (kind, values)
    automaton = AhoCorasick(list(words), matchkind=MatchKind.LeftmostLongest)
    return automaton.find_matches_as_indexes, list(words.values()), frozenset(strict)


def strict_classes(name: str) -> frozenset[str]:
    """The classes of a table that a sentence must not bring in by itself."""
    return _table(name)[2]


def find_marks(reading: Reading, name: str) -> list[Mark]:
    """The marks of a table in a text, in order; words inside the name of a disease or a drug are none."""
    cached: list[Mark] | None = reading.__dict__.get(name)
    if cached is not None:
        return cached
    find, meanings, _ = _table(name)
    named = [(token.start, token.end) for token in reading.tokens if token.kind not in ("", "light", "term")]
    spans = [
        (*meanings[index], start, end)
        for index, start, end in find(reading.norm)
        if not any(low <= start and end <= high and end - start < high - low for low, high in named)
    ]
    places: dict[str, set[int]] = {}
    for kind, _, start, end in spans:
        places.setdefault(kind, set()).update(range(start, end))
    stops = {kind: frozenset(found) for kind, found in places.items()}
    marks = [
        Mark(kind, values, start, end, reading, reading.context(start, end, stops[kind]))
        for kind, values, start, end in spans
    ]
    reading.__dict__[name] = marks
    return marks


def best(mark: Mark, others: Iterable[Mark]) -> tuple[float, Mark | None]:
    """The mark whose surroundings are most alike, and how much; (0, None) if there is none."""
    scored = [(likeness(mark.context, other.context), -place, other) for place, other in enumerate(others)]
    if not scored:
        return 0.0, None
    score, _, found = max(scored, key=lambda one: one[:2])
    return score, found


def rival(
    mark: Mark, candidates: Sequence[Mark], agrees: Callable[[Mark, Mark], bool], *, least: float = 0.0
) -> tuple[bool, Mark | None]:
    """(whether some candidate agrees, the candidate that contradicts): a contradiction is one whose surroundings are more
    alike than those of all that agree, by `SWAPPED`, or any above `least` where none agrees."""
    same, _ = best(mark, (one for one in candidates if agrees(mark, one)))
    agreeing = any(agrees(mark, one) for one in candidates)
    other, found = best(mark, (one for one in candidates if not agrees(mark, one)))
    if agreeing:
        return True, found if found is not None and other > same + SWAPPED else None
    return False, found if found is not None and other >= least else None
