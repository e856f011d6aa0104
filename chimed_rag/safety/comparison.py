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
from chimed_rag.safety.aspects import is_of_another_aspect
from chimed_rag.safety.belonging import is_of_another
from chimed_rag.safety.bounding import agrees_otherwise
from chimed_rag.safety.contraries import contrary
from chimed_rag.safety.conversion import Measure, agree, comparable, raw_values
from chimed_rag.safety.items import misplaced
from chimed_rag.safety.marks import SWAPPED, fits_better
from chimed_rag.safety.naming import naming
from chimed_rag.safety.negation import negation
from chimed_rag.safety.placing import cases, speaks_of_another
from chimed_rag.safety.population import population
from chimed_rag.safety.quoting import COMPARED
from chimed_rag.safety.reading import Reading, per_reading
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
    told_cases = _cases(sentence, source)
    for found in _placed(sentence):
        said, surroundings, _, place = found
        before = sentence.norm[max(0, place - 30) : place] + names
        same = [one for one in source if agree(said, one[0], before) and not _is_taken_otherwise(said, one)]
        alike = [one for one in source if comparable(said, one[0]) or (said.unit == "数" and raw_values(one[0]))]
        others = [one for one in alike if one not in same]
        is_here = (
            same
            or any(agree(said, measure, before) for measure in headed)
            or _follows(found, sources, source)
            or (bool(alike) and _is_reckoned(said, sentence, passages()))
        )
        if not is_here and (alike or not _stands_elsewhere(found, before, passages)):
            _, nearest = _nearest(surroundings, others or source)
            return True, f"“{said.text}”不同于原文的“{nearest[0].text}”" if nearest else f"原文没有“{said.text}”"
        if is_of_another_aspect(said, sentence, place, [(one[2], one[3]) for one in same]):
            return True, f"“{_told(sentence, said, place)}”在原文中说的是另一回事"
        is_another = speaks_of_another(found, same, told_cases, source)
        if is_another or (is_another is None and is_of_another(sentence, said, place, lambda: [*sources, *passages()])):
            return True, f"“{_told(sentence, said, place)}”在原文中说的是另一种情况"
        for other in others if same and is_another is None else ():
            if all(_is_exchanged(found, one, other) for one in same):
                return True, f"“{_told(sentence, said, place)}”不同于原文的“{_told(other[2], other[0], other[3])}”"
    return True, ""


def _is_taken_otherwise(said: Measure, one: Found) -> bool:
    """Whether a dose that is told by the day is there a single one, taken more or less often, or a rate (每天一次) the
    word for a single dose (一次6g)."""
    if said.unit == "次/d" and one[0].text in ("一次", "1次"):
        return any(other.unit == "次/d" for other, _, _ in one[2].measures)
    if said.per != "day" or one[0].per not in ("", "dose"):
        return False
    often = [other.low for other, at, _ in one[2].measures if other.unit == "次/d" and 0 < at - one[3] < 4]
    return bool(often) and abs(often[0] - 1) > 1e-3


def _cases(sentence: Reading, source: Sequence[Found]) -> list[Found]:
    """The ages and ranges of the literature of which the sentence tells a case."""
    found = []
    for said, surroundings, _, place in _placed(sentence):
        if not any(agree(said, one[0]) for one in source):
            found += cases(said, surroundings, sentence, place, source)
    return found


def _follows(found: Found, sources: Sequence[Reading], source: Sequence[Found]) -> bool:
    """Whether a measure counts nothing, or is a case or a product of what the literature says."""
    said, surroundings, sentence, place = found
    return (
        _is_idle(said, sources, sentence)
        or _is_rate(said, sentence, sources)
        or _is_bounded_otherwise(found, source)
        or bool(cases(said, surroundings, sentence, place, source))
        or _is_reckoned(said, sentence, sources)
    )


def _is_bounded_otherwise(found: Found, source: Sequence[Found]) -> bool:
    said, _, sentence, place = found
    around = _sides(sentence, place)
    return any(
        agrees_otherwise(said, around, one[0], _sides(one[2], one[3]), agree) and not _fits_others(found, one, source)
        for one in source
        if comparable(said, one[0]) or (said.unit == "数" and raw_values(one[0]))
    )


def _fits_others(found: Found, one: Found, source: Sequence[Found]) -> bool:
    return any(
        fits_better(found[1], one[1], other[1]) > SWAPPED
        for other in source
        if other is not one and comparable(found[0], other[0])
    )


def _sides(reading: Reading, place: int) -> tuple[str, str]:
    """What stands before and after a place in its clause."""
    begin, end = reading.clause_at(place)
    return reading.norm[begin:place], reading.norm[place + 1 : end]


def _stands_elsewhere(found: Found, before: str, passages: Callable[[], Sequence[Reading]]) -> bool:
    said, surroundings, sentence, place = found
    readings = passages()
    elsewhere = _all_placed(readings)
    return (
        any(agree(said, one[0], before) for one in elsewhere)
        or _is_idle(said, readings, sentence)
        or _is_reckoned(said, sentence, readings)
        or _is_bounded_otherwise(found, elsewhere)
        or ("岁" in said.text and bool(cases(said, surroundings, sentence, place, elsewhere)))
    )


def _is_reckoned(said: Measure, sentence: Reading, sources: Sequence[Reading]) -> bool:
    texts = [reading.folded for reading in sources]
    return is_reckoned(said, _measures(sentence), [_measures(reading) for reading in sources], texts)


def _measures(reading: Reading) -> list[Measure]:
    return [measure for measure, _, _ in reading.measures]


@per_reading
def _placed(reading: Reading) -> tuple[Found, ...]:
    """The measures of a text with what stands around them; after 分别 each belongs to the item of its own rank."""
    found: list[Found] = []
    items = _respectively(reading)
    for measure, start, end in reading.measures:
        stops = frozenset(at for other, at, _ in reading.measures if comparable(measure, other))
        around = reading.context(start, end, stops)
        if start in items:
            item = frozenset(items[start])
            around = around._replace(near=item, left=item, right=frozenset())
        found.append((measure, around, reading, start))
    return tuple(found)


_MOST, _LEAST = 0.8, 0.2


def _is_exchanged(found: Found, same: Found, other: Found) -> bool:
    """Whether a measure stands where the literature has another one: its surroundings fit better, or its clause has
    what the clause of that other says alone and little of what that of its own does; lacking some of that will do where
    the sentence tells the other measure too, in a clause of another kind."""
    here = found[1]
    if found[0].bound and found[0].bound == same[0].bound and not other[0].bound:
        return False
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


def _is_idle(measure: Measure, sources: Sequence[Reading], sentence: Reading) -> bool:
    """一次 and 一种 as words, not as counts; 一天 and 24小时 where the literature counts by the day; 每升."""
    if measure.text in ("二天", "2天", "2日", "二日") and sentence.folded[measure.start - 1 : measure.start] == "第":
        return any(_NEXT_DAY.search(reading.folded) for reading in sources)
    if measure.unit == "d" and measure.low == measure.high and abs(measure.low - 1) < 1e-9:
        return any(
            "每日" in reading.norm or any(one.per == "day" or one.unit == "次/d" for one, _, _ in reading.measures)
            for reading in sources
        )
    if measure.text[:1] == "每" and measure.unit in ("L", "g"):
        return True
    is_one = measure.low == measure.high == 1 and measure.text[:1] in "一1"
    is_dose = measure.per == "day" or _FURTHER.search(sentence.folded[max(0, measure.start - 3) : measure.start])
    if is_one and measure.unit in _CONTAINERS and not (measure.bound or is_dose):
        return not any(comparable(measure, one) for reading in sources for one, _, _ in reading.measures)
    if measure.unit == "第" and measure.text in ("第一次", "第1次"):
        return not any(one.unit == "第" for reading in sources for one, _, _ in reading.measures)
    return (
        measure.low == measure.high == 1
        and measure.text[:1] in "一1"
        and measure.unit in ("次", "种", "个", "度", "类", "疗程")
    )


_NEXT_DAY = re.compile("次[日晨]|翌|隔[日天]|第[二2][日天]")
_FURTHER = re.compile("[补换加再多少]")
_CONTAINERS = frozenset("片粒颗丸袋支包瓶滴剂贴喷杯勺匙枚")

_EVERY = {
    ("d", 1.0): "每[日天]|/[ ]?(?:[日天d]|24)|24小时",
    ("d", 7.0): "每个?(?:周|星期|礼拜)|/[ ]?周",
    ("d", 1 / 24): "每个?(?:小时|钟头)|/[ ]?(?:小时|h)",
    ("d", 1 / 1440): "每分|/[ ]?(?:分|min)",
    ("月", 1.0): "每个?月|/[ ]?月",
    ("月", 12.0): "每年|/[ ]?年",
}
"""How the literature counts by a unit of time."""


_APART = re.compile("(?:每隔?|相?[隔距]开?|间隔|错开)[约为着]?$")


def _is_rate(measure: Measure, sentence: Reading, sources: Sequence[Reading]) -> bool:
    """一周 as 每周: where the literature counts by that unit; 一天 before 吃 or 喝, whose own number counts."""
    if measure.bound or measure.low != measure.high:
        return False
    if measure.unit == "d" and _APART.search(sentence.folded[max(0, measure.start - 4) : measure.start]):
        rates = (one for reading in sources for one, _, _ in reading.measures if one.unit == "次/d")
        return any(abs(one.low * measure.low - 1) < 1e-3 for one in rates)
    if not measure.text.startswith("一"):
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
