"""Finds where a sentence stands in a literature that words it otherwise: the few sentences that together cover it.

What is covered: reordered clauses, a clause from another sentence of the passages, a subject that the title or a
heading supplies. What is not covered: whether what they say is the same (the other modules compare that); inference
over more than `MOST_UNITS` sentences.
Tried: `MIN_COVERED` for all; among sentences that pass every other check it tells those of a passage from those of its
neighbours with an AUC of .73, single characters without the title's with one of .87, the encoder's cosine with .76.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from chimed_rag.entities.lexicon import unknown_drugs
from chimed_rag.records import Evidence
from chimed_rag.safety.conversion import CONTRARY_BOUNDS
from chimed_rag.safety.dictionary import POLAR
from chimed_rag.safety.morphemes import akin
from chimed_rag.safety.reading import KEPT, Reading
from chimed_rag.safety.scanning import mend_names
from chimed_rag.text import fold, sentence_spans

MOST_UNITS = 4
"""Sentences of the literature that may support one sentence together."""
MOST_READ = 8
"""Sentences of one passage that are looked at closely."""
MIN_COVERED = 0.45
"""Share of a sentence's matter that its window, title and headings must hold, where it has little of its own."""
MIN_ALIKE = 0.3
"""Share of a sentence's own characters that one sentence of the window must hold."""
_FEW = 2  # characters that are not the title's below which `MIN_COVERED` decides
_BRIEF, _MIN_BRIEF = 10, 0.58  # characters of matter below which a sentence must be held to a greater share
_WEAK = 0.35  # what a single character of matter counts that only stands there by itself
_LONE = 0.5  # what such a character counts in choosing the sentences of a window, where the title has it not
_HOME = 3  # by how much more a sentence must hold of a clause that others hold together
_NUMBER = 2  # what a number counts beside a character
_GAIN = 0.3  # share of a clause that a further sentence must add
_LONGEST = 600
_USED = 0.6  # share of a clause of the literature that a sentence must hold to count as repeating it
_AKIN = 0.7  # what a character counts of which there only stands another of its class
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
    alike: float | None = None
    """The share of a sentence's characters that one unit holds; None for too few beside those of the title."""

    def holds(self, sentence: Reading) -> bool:
        """Whether enough of a sentence is there for it to be compared."""
        if self.alike is None:
            return self.covered >= (_MIN_BRIEF if len(sentence.matter) < _BRIEF else MIN_COVERED)
        return self.alike >= MIN_ALIKE

    @property
    def readings(self) -> tuple[Reading, ...]:
        """Of the units."""
        return tuple(unit.reading for unit in self.units)

    def before(self, sentence: Reading) -> list[list[Reading]]:
        """For each unit the sentences of its passage before it, in order; names misread as when it was found."""
        found = []
        for unit in self.units:
            text = mend_names(unit.passage.text, said_names(sentence.raw))
            found.append([read(text[begin:end]) for begin, end in _spans(unit.passage.text) if end <= unit.begin])
        return found

    def passages(self) -> tuple[Reading, ...]:
        """All sentences of the passages, for a subject that one of them names for all."""
        texts = dict.fromkeys(unit.passage.text for unit in self.units)
        return tuple(read(text[begin:end]) for text in texts for begin, end in _spans(text))


@lru_cache(maxsize=KEPT)
def read(text: str) -> Reading:
    """The reading of a text; the latest are kept."""
    return Reading(text)


def units(passage: Evidence, sought: str, place: tuple[int, int] | None = None) -> list[Unit]:
    """The sentences of a passage at a place, or the `MOST_READ` that share most with a sentence, in order."""
    spans, text = _spans(passage.text), mend_names(passage.text, said_names(sought))
    if place is not None:
        spans = [(begin, end) for begin, end in spans if begin < place[1] and place[0] < end]
    if len(spans) > MOST_READ:
        chars = _raw_pairs(sought)
        scores = [len(chars & _raw_pairs(text[begin:end])) for begin, end in spans]
        best = sorted(range(len(spans)), key=lambda place: (-scores[place], place))[:MOST_READ]
        spans = [spans[place] for place in sorted(best)]
    return [Unit(passage, begin, end, read(text[begin:end])) for begin, end in spans]


@lru_cache(maxsize=1024)
def said_names(text: str) -> tuple[tuple[str, str], ...]:
    """(name, kind) of the names of drugs, diseases and so on in a sentence, folded, as it says them."""
    reading = read(text)
    named = [(token.start, token.end, token.kind) for token in reading.tokens if token.kind not in ("", "light")]
    for begin, end in unknown_drugs(reading.norm):
        known = [token for token in reading.tokens if token.start < end and begin < token.end]
        begin = max([begin, *(token.end for token in known)])  # 首选双膦酸 is 双膦酸
        if begin < end - 2:
            named.append((begin, end, "drug"))
    return tuple(dict.fromkeys((fold(reading.raw_text(begin, end)), kind) for begin, end, kind in named))


@lru_cache(maxsize=512)
def _raw_pairs(text: str) -> frozenset[str]:
    return frozenset(map("".join, pairwise(text)))


@lru_cache(maxsize=512)
def _spans(text: str) -> list[tuple[int, int]]:
    """Sentences; what is longer than `_LONGEST` is cut at commas, or anywhere."""
    found: list[tuple[int, int]] = []
    for begin, end in sentence_spans(text):
        while end - begin > _LONGEST:
            cut = max(text.rfind(mark, begin + 1, begin + _LONGEST) for mark in "，、,") + 1
            cut = cut if cut > begin else begin + _LONGEST
            found.append((begin, cut))
            begin = cut
        found.append((begin, end))
    return found


def context_of(passages: Sequence[Evidence]) -> tuple[Reading, ...]:
    """Titles, aliases and headings, read."""
    texts = dict.fromkeys(text for passage in passages for text in (*passage.names, *passage.headings) if text)
    return tuple(map(read, texts))


def align(sentence: Reading, candidates: Sequence[Unit], context: Sequence[Reading]) -> Window | None:
    """The best window of up to `MOST_UNITS` sentences; None if nothing is shared at all."""
    if not sentence.matter or not candidates:
        return None
    overlaps = [_overlap(sentence, unit.reading) for unit in candidates]
    lone = _lone(sentence, candidates, overlaps, context)
    measured = {place for _, place, _ in sentence.measures}

    def size(places: set[int]) -> int:
        return len(places) + (len(places & measured) if measured else 0)  # a number tells more than a character

    def weighed(places: set[int], single: set[int]) -> float:
        return size(places) + _LONE * len(single)

    sizes = list(map(size, overlaps))
    first = max(range(len(candidates)), key=lambda place: (weighed(overlaps[place], lone[place]), -place))
    if not overlaps[first] and not sentence.char_set & candidates[first].reading.char_set:
        return None
    chosen, held = [first], set(overlaps[first])
    telling = measured.union(sentence.matter)
    for clause in _clauses(sentence):
        if len(chosen) == MOST_UNITS:
            break
        least = max(2, _GAIN * size(clause & telling))
        missing = clause - held
        gains = [weighed(overlap & missing, single & missing) for overlap, single in zip(overlaps, lone, strict=True)]
        place = max(range(len(candidates)), key=lambda at: (gains[at], sizes[at], -at))
        if gains[place] < least:  # nothing new, but perhaps the same said in one place
            here = [size(overlap & clause) for overlap in overlaps]
            place = max(range(len(candidates)), key=lambda at: (here[at], sizes[at], -at))
            if here[place] < max(here[at] for at in chosen) + _HOME:
                continue
        if place not in chosen:
            chosen.append(place)
            held |= overlaps[place]
    numbers = len(held & measured)
    held &= set(sentence.matter)
    picked = tuple(candidates[place] for place in sorted(chosen))
    return _measured(sentence, picked, held, numbers, context)


def _lone(
    sentence: Reading, candidates: Sequence[Unit], overlaps: Sequence[set[int]], context: Sequence[Reading]
) -> list[set[int]]:
    """For each unit the places of a sentence whose characters it holds by themselves; those of the titles do not count,
    which would draw a sentence to whatever names its subject."""
    headed = frozenset().union(*(reading.char_set for reading in context))
    own: dict[str, set[int]] = {}
    for place in sentence.matter:
        if sentence.norm[place] not in headed:
            own.setdefault(sentence.norm[place], set()).add(place)
    return [
        set().union(*(own[char] for char in own.keys() & unit.reading.char_set)) - overlap
        for unit, overlap in zip(candidates, overlaps, strict=True)
    ]


def _overlap(sentence: Reading, unit: Reading) -> set[int]:
    """The places of a sentence that a unit holds: matter in pairs, and measures."""
    held = sentence.held_by(unit.pair_set)
    for said, place, _ in sentence.measures:
        if any(
            unit.norm[at] == sentence.norm[place] and frozenset((said.bound, measure.bound)) not in CONTRARY_BOUNDS
            for measure, at, _ in unit.measures
        ):
            held.add(place)
    polar = {token.canonical for token in unit.tokens if token.canonical in POLAR}
    return held | {token.start for token in sentence.tokens if token.canonical in polar}


def _measured(
    sentence: Reading, picked: tuple[Unit, ...], held: set[int], numbers: int, context: Sequence[Reading]
) -> Window:
    pairs = frozenset().union(*(reading.pair_set for reading in context))
    singles = frozenset().union(*(unit.reading.char_set for unit in picked))
    headed = sentence.held_by(pairs) - held
    covered = len(held) + min(len(headed), _CONTEXT * len(sentence.matter))
    lone = [place for place in sentence.matter if place not in held and place not in headed]
    covered += _WEAK * sum(sentence.norm[place] in singles for place in lone)
    total = len(sentence.matter) + _NUMBER * numbers  # those that differ are compared later
    novel = tuple(_runs(sentence, frozenset(lone)))
    return Window(picked, (covered + _NUMBER * numbers) / total, novel, _alike(sentence, picked, context))


def _alike(sentence: Reading, picked: Sequence[Unit], context: Sequence[Reading]) -> float | None:
    """The greatest share of a sentence that one unit holds, by classes of characters and numbers; those of title and
    headings, which all that is said of a thing shares, do not count. None for `_FEW` characters or less, or where no
    title tells which those are."""
    headed = frozenset().union(*(reading.char_set for reading in context))
    own = [sentence.norm[place] for place in sentence.matter if sentence.norm[place] not in headed]
    if len(own) <= _FEW or not headed:
        return None
    classes = tuple(zip(own, akin(own), strict=True))
    numbers = {sentence.norm[place] for _, place, _ in sentence.measures}
    best = 0.0
    for unit in picked:
        shared = _NUMBER * len(numbers.intersection(unit.reading.norm))
        chars = unit.reading.char_set
        kin = frozenset(akin(chars))
        held = shared + sum(1.0 if char in chars else _AKIN * (kind in kin) for char, kind in classes)
        best = max(best, held / (shared + len(own) + 1))
    return best


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
    polar = [token.start for token in sentence.tokens if token.canonical in POLAR]
    for place in (*sentence.matter, *polar, *(at for _, at, _ in sentence.measures)):
        found.setdefault(sentence.clause_numbers[place], set()).add(place)
    return list(found.values())


def used_clauses(
    sentence: Reading, window: Window, apart: Callable[[Reading], frozenset[int]]
) -> list[tuple[Reading, int, int]]:
    """The clauses of the window that the sentence repeats, numbers included, as (reading, begin, end).

    `apart` gives the places that do not count, those of groups of people: that one was left out is what is looked for.
    """
    found = []
    for reading in window.readings:
        totals = [0] * len(reading.clauses)
        helds = [0] * len(reading.clauses)
        uncounted, numbers = apart(reading), reading.clause_numbers
        for place in reading.matter:
            if place not in uncounted:
                totals[numbers[place]] += 1
        for place in reading.held_by(sentence.pair_set).difference(uncounted):
            helds[numbers[place]] += 1
        for _, place, _ in reading.measures:
            totals[numbers[place]] += 3
            helds[numbers[place]] += 3 * (reading.norm[place] in sentence.norm)
        for (begin, end), total, held in zip(reading.clauses, totals, helds, strict=True):
            if total and held >= _USED * total:
                found.append((reading, begin, end))
    return found
