"""Compares a sentence with its window in the five ways that `COMPARED` names; each gives an outcome and says why.

What is covered: putting the modules of the single steps together, and numbers here. What is not covered: finding the
window (`alignment`) and deciding over several citations (`citations`).
Tried: numbers as exchanged only if both of two fit worse; nothing changed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Literal

from chimed_rag.safety.alignment import Window
from chimed_rag.safety.contraries import contrary
from chimed_rag.safety.conversion import Measure, agree, comparable
from chimed_rag.safety.items import misplaced
from chimed_rag.safety.marks import SWAPPED, fits_better
from chimed_rag.safety.naming import naming
from chimed_rag.safety.negation import negation
from chimed_rag.safety.placing import is_placed
from chimed_rag.safety.population import population
from chimed_rag.safety.quoting import COMPARED
from chimed_rag.safety.reading import Reading
from chimed_rag.safety.reckoning import is_reckoned
from chimed_rag.safety.siblings import exchanged
from chimed_rag.safety.strength import strength
from chimed_rag.safety.surroundings import Context, likeness

_RATIO = re.compile("[\ue000-\uf8ff][：:比][\ue000-\uf8ff]")
_RESPECTIVELY = re.compile("分别|依次")
_ALL_OF_THEM = re.compile("[二两三四五几]者|^其")
_ITEM = re.compile("[、，,和与及]|以及")

Outcome = Literal["passed", "failed", "not_applicable"]
Outcomes = dict[str, tuple[Outcome, str]]
Found = tuple[Measure, Context, Reading, int]


def compare(
    sentence: Reading,
    window: Window,
    context: Sequence[Reading],
    used: Sequence[tuple[Reading, int, int]],
) -> Outcomes:
    """Outcome and detail (in Chinese) of each comparison."""
    sources = window.readings
    results = (
        numbers(sentence, sources, context, window.passages),
        negation(sentence, sources, context),
        _first_fault(strength(sentence, sources, context, used), lambda: contrary(sentence, sources, window.passages)),
        population(sentence, window, context, used),
        _first_fault(
            naming(sentence, window, context),
            lambda: exchanged(sentence, sources, window.passages) or misplaced(sentence, window.passages(), context),
        ),
    )
    return {
        name: ("failed" if fault else "passed" if applies else "not_applicable", fault)
        for name, (applies, fault) in zip(COMPARED, results, strict=True)
    }


def _first_fault(result: tuple[bool, str], further: Callable[[], str]) -> tuple[bool, str]:
    applies, fault = result
    fault = fault or further()
    return applies or bool(fault), fault


def numbers(
    sentence: Reading,
    sources: Sequence[Reading],
    context: Sequence[Reading],
    passages: Callable[[], Sequence[Reading]] = tuple,
) -> tuple[bool, str]:
    """(whether the sentence has numbers, what is wrong): each must stand in the window, of the same thing, or follow
    from it; one of a kind that the window has none of may stand elsewhere in the passages."""
    if not sentence.measures:
        return False, ""
    source = _all_placed(sources)
    headed = [measure for reading in context for measure, _, _ in reading.measures]
    names = "".join(reading.norm for reading in context)
    for found in _placed(sentence):
        said, surroundings, _, place = found
        before = sentence.norm[max(0, place - 30) : place] + names
        same = [one for one in source if agree(said, one[0], before)]
        alike = [one for one in source if comparable(said, one[0])]
        others = [one for one in alike if one not in same]
        if same:
            for other in others:
                if all(_is_exchanged(found, one, other) for one in same):
                    return True, f"“{_told(sentence, said, place)}”不同于原文的“{_told(other[2], other[0], other[3])}”"
        elif not (
            any(agree(said, measure, before) for measure in headed)
            or _follows(found, sources, source)
            or (not alike and _stands_elsewhere(found, before, passages))
        ):
            _, nearest = _nearest(surroundings, others or source)
            return True, f"“{said.text}”不同于原文的“{nearest[0].text}”" if nearest else f"原文没有“{said.text}”"
    return True, ""


def _follows(found: Found, sources: Sequence[Reading], source: Sequence[Found]) -> bool:
    """Whether a measure counts nothing, or is a case or a product of what the literature says."""
    said, surroundings, sentence, place = found
    return (
        _is_idle(said, sources)
        or _is_rate(said, sentence, sources)
        or is_placed(said, surroundings, sentence, place, source)
        or is_reckoned(said, _measures(sentence), [_measures(reading) for reading in sources])
    )


def _stands_elsewhere(found: Found, before: str, passages: Callable[[], Sequence[Reading]]) -> bool:
    said, surroundings, sentence, place = found
    elsewhere = _all_placed(passages())
    if any(agree(said, one[0], before) for one in elsewhere):
        return True
    return "岁" in said.text and is_placed(said, surroundings, sentence, place, elsewhere)


def _measures(reading: Reading) -> list[Measure]:
    return [measure for measure, _, _ in reading.measures]


def _placed(reading: Reading) -> list[Found]:
    """The measures of a text with what stands around them; after 分别 each belongs to the item of its own rank."""
    cached: list[Found] | None = reading.__dict__.get("placed")
    if cached is None:
        cached = []
        items = _respectively(reading)
        for measure, start, end in reading.measures:
            stops = frozenset(at for other, at, _ in reading.measures if comparable(measure, other))
            around = reading.context(start, end, stops)
            if start in items:
                item = frozenset(items[start])
                around = around._replace(near=item, left=item, right=frozenset())
            cached.append((measure, around, reading, start))
        reading.__dict__["placed"] = cached
    return cached


_MOST, _LEAST = 0.8, 0.2


def _is_exchanged(found: Found, same: Found, other: Found) -> bool:
    """Whether a measure stands where the literature has another one: its surroundings fit better, or its clause has
    what the clause of that other says alone and little of what that of its own does; lacking some of that will do where
    the sentence tells the other measure too, in a clause of another kind."""
    here = found[1]
    if fits_better(here, same[1], other[1]) > SWAPPED:
        return True
    mine, theirs = _matter(same[1].clause - other[1].clause), _matter(other[1].clause - same[1].clause)
    if not mine or not theirs or mine <= here.clause:
        return False
    if theirs <= here.clause:
        told = (one[1].clause for one in _placed(found[2]) if agree(one[0], other[0]))
        if any(not theirs <= clause for clause in told):
            return True
    return len(theirs & here.clause) >= _MOST * len(theirs) and len(mine & here.clause) <= _LEAST * len(mine)


def _matter(chars: frozenset[str]) -> frozenset[str]:
    return frozenset(char for char in chars if not "\ue000" <= char < "\uf900")


def _all_placed(readings: Sequence[Reading]) -> list[Found]:
    return [found for reading in readings for found in _placed(reading)]


def _respectively(reading: Reading) -> dict[int, str]:
    """The item that each measure after 分别 or in a ratio belongs to, by place: 甲、乙和丙分别为10、20和30."""
    found: dict[int, str] = {}
    for match in _RESPECTIVELY.finditer(reading.norm):
        after = [(measure, at) for measure, at, _ in reading.measures if match.end() <= at < match.end() + 40]
        same = [at for measure, at in after if comparable(measure, after[0][0])]
        _pair(found, reading, match.start(), same)
    for match in _RATIO.finditer(reading.norm):
        _pair(found, reading, match.start(), [match.start(), match.end() - 1])
    return found


def _pair(found: dict[int, str], reading: Reading, place: int, measured: list[int]) -> None:
    """Gives the last of the items that stand before a place in its sentence to the measures, by rank."""
    before = _ITEM.split(re.split("[。；！？]", reading.norm[max(0, place - 80) : place])[-1])
    before = [item for item in before if item and not _ALL_OF_THEM.search(item)]
    if len(measured) > 1 and len(before) >= len(measured):
        found.update(zip(measured, before[-len(measured) :], strict=True))


def _nearest(surroundings: Context, found: Sequence[Found]) -> tuple[float, Found | None]:
    scored = [(likeness(surroundings, one[1]), -place, one) for place, one in enumerate(found)]
    score, _, best = max(scored, key=lambda one: one[:2], default=(0.0, 0, None))
    return score, best


def _is_idle(measure: Measure, sources: Sequence[Reading]) -> bool:
    """一次 and 一种 as words, not as counts; 一天 and 24小时 where the literature counts by the day; 每升."""
    if measure.unit == "d" and measure.low == measure.high and abs(measure.low - 1) < 1e-9:
        return any(
            "每日" in reading.norm or any(one.per == "day" or one.unit == "次/d" for one, _, _ in reading.measures)
            for reading in sources
        )
    if measure.text[:1] == "每" and measure.unit in ("L", "g"):
        return True
    return (
        measure.low == measure.high == 1
        and measure.text[:1] in "一1"
        and measure.unit in ("次", "种", "个", "度", "类")
    )


_EVERY = {
    ("d", 1.0): "每[日天]|/[ ]?(?:[日天d]|24)|24小时",
    ("d", 7.0): "每个?(?:周|星期|礼拜)|/[ ]?周",
    ("d", 1 / 24): "每个?(?:小时|钟头)|/[ ]?(?:小时|h)",
    ("d", 1 / 1440): "每分|/[ ]?(?:分|min)",
    ("月", 1.0): "每个?月|/[ ]?月",
    ("月", 12.0): "每年|/[ ]?年",
}
"""How the literature counts by a unit of time."""


def _is_rate(measure: Measure, sentence: Reading, sources: Sequence[Reading]) -> bool:
    """一周 as 每周: where the literature counts by that unit; 一天 before 吃 or 喝, whose own number counts."""
    if measure.bound or measure.low != measure.high or not measure.text.startswith("一"):
        return False
    if sentence.folded[measure.end : measure.end + 2] == "到头":
        return False
    every = next(
        (said for (unit, value), said in _EVERY.items() if unit == measure.unit and abs(value - measure.low) < 1e-6), ""
    )
    if every and any(re.search(every, reading.folded) for reading in sources):
        return True
    return bool(every) and measure.unit == "d" and sentence.folded[measure.end : measure.end + 1] in tuple("多吃喝用服")


def _told(reading: Reading, measure: Measure, place: int) -> str:
    begin = max(reading.clause_at(place)[0], place - 6)
    return reading.raw_text(begin, place) + measure.text if begin < place else measure.text
