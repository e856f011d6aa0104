"""Finds where a sentence stands in a literature that words it otherwise: the few sentences that together cover it.

What is covered: reordered clauses, a clause from another sentence of the passages, a subject that the title or a heading
supplies. What is not covered: whether what they say is the same (the other modules compare that); inference over more
than `MOST_UNITS` sentences.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from chimed_rag.records import Evidence
from chimed_rag.safety.reading import Reading
from chimed_rag.text import sentence_spans

MOST_UNITS = 3
"""Sentences of the literature that may support one sentence together."""
MIN_COVERED = 0.62
"""Share of a sentence's matter that its window, title and headings must hold."""
_WEAK = 0.35  # what a single character of matter counts that only stands there by itself
_GAIN = 0.3  # share of a clause that a further sentence must add
_USED = 0.6  # share of a clause of the literature that a sentence must hold to count as repeating it
_CONTEXT = 0.5  # what a title or heading must leave to the window itself


@dataclass(frozen=True)
class Unit:
    """A sentence of a passage, `passage.text[begin:end]`, read."""

    passage: Evidence
    begin: int
    end: int
    reading: Reading


@dataclass(frozen=True)
class Window:
    """The sentences of the literature that a sentence is compared with, and how much of it they hold (0 to 1)."""

    units: tuple[Unit, ...]
    covered: float
    novel: tuple[tuple[int, int], ...] = ()
    others: tuple[Reading, ...] = ()
    """All sentences of the passages, for a subject that one of them names for all."""

    @property
    def readings(self) -> tuple[Reading, ...]:
        """Of the units."""
        return tuple(unit.reading for unit in self.units)


@lru_cache(maxsize=4096)
def read(text: str) -> Reading:
    """The reading of a text; the latest are kept."""
    return Reading(text)


def units(passage: Evidence) -> list[Unit]:
    """The sentences of a passage."""
    return [Unit(passage, begin, end, read(passage.text[begin:end])) for begin, end in _spans(passage.text)]


@lru_cache(maxsize=512)
def _spans(text: str) -> list[tuple[int, int]]:
    return sentence_spans(text)


def context_of(passages: Sequence[Evidence]) -> tuple[Reading, ...]:
    """Titles, aliases and headings, read."""
    texts = dict.fromkeys(text for passage in passages for text in (*passage.names, *passage.headings) if text)
    return tuple(map(read, texts))


def align(sentence: Reading, candidates: Sequence[Unit], context: Sequence[Reading]) -> Window | None:
    """The best window of up to `MOST_UNITS` sentences; None if nothing is shared at all."""
    if not sentence.matter or not candidates:
        return None
    by_clause = _clauses(sentence)
    overlaps = [
        {place for place, pairs in sentence.pairs.items() if not unit.reading.pair_set.isdisjoint(pairs)}
        for unit in candidates
    ]
    marks = {char for char in sentence.norm if "\ue000" <= char <= "\uf8ff"}
    scores = [
        len(held) + 0.5 * sum(mark in unit.reading.norm for mark in marks)
        for held, unit in zip(overlaps, candidates, strict=True)
    ]
    first = max(range(len(candidates)), key=lambda place: (scores[place], -place))
    if not scores[first] and not sentence.char_set & candidates[first].reading.char_set:
        return None
    chosen, held = [first], set(overlaps[first])
    for clause in by_clause:
        if len(chosen) == MOST_UNITS:
            break
        missing = clause - held
        if len(missing) < max(2, _GAIN * len(clause)):
            continue
        place = max(range(len(candidates)), key=lambda at: (len(overlaps[at] & missing), scores[at], -at))
        if place not in chosen and len(overlaps[place] & missing) >= max(2, _GAIN * len(clause)):
            chosen.append(place)
            held |= overlaps[place]
    picked = tuple(candidates[place] for place in sorted(chosen))
    window = _measured(sentence, picked, held, context)
    return replace(window, others=tuple(unit.reading for unit in candidates))


def _measured(sentence: Reading, picked: tuple[Unit, ...], held: set[int], context: Sequence[Reading]) -> Window:
    pairs = frozenset().union(*(reading.pair_set for reading in context))
    singles = frozenset().union(*(unit.reading.char_set for unit in picked))
    headed = {place for place, found in sentence.pairs.items() if place not in held and not pairs.isdisjoint(found)}
    covered = len(held) + min(len(headed), _CONTEXT * len(sentence.matter))
    lone = [place for place in sentence.matter if place not in held and place not in headed]
    covered += _WEAK * sum(sentence.norm[place] in singles for place in lone)
    return Window(picked, covered / len(sentence.matter), tuple(_runs(sentence, frozenset(lone))))


def _runs(sentence: Reading, lone: frozenset[int]) -> Iterator[tuple[int, int]]:
    """Stretches of matter that the window does not hold, as spans of `sentence.norm`."""
    begin = last = -1
    clause = sentence.clause_numbers
    for place in sentence.matter:
        if place in lone and begin >= 0 and clause[begin] == clause[place]:
            last = place
            continue
        if begin >= 0:
            yield begin, last + 1
        begin = last = place if place in lone else -1
    if begin >= 0:
        yield begin, last + 1


def _clauses(sentence: Reading) -> list[set[int]]:
    found: dict[int, set[int]] = {}
    for place in sentence.matter:
        found.setdefault(sentence.clause_numbers[place], set()).add(place)
    return list(found.values())


def used_clauses(sentence: Reading, window: Window) -> list[tuple[Reading, int, int]]:
    """The clauses of the window that the sentence repeats, numbers included, as (reading, begin, end)."""
    found = []
    for reading in window.readings:
        for begin, end in reading.clauses:
            matter = [place for place in reading.matter if begin <= place < end]
            held = sum(not sentence.pair_set.isdisjoint(reading.pairs[place]) for place in matter)
            marks = [reading.norm[place] for _, place, _ in reading.measures if begin <= place < end]
            held += 3 * sum(mark in sentence.norm for mark in marks)
            if matter and held >= _USED * (len(matter) + 3 * len(marks)):
                found.append((reading, begin, end))
    return found
