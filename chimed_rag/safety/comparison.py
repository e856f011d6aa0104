"""Compares a sentence with its window in the five ways that `COMPARED` names; each gives an outcome and says why.

What is covered: putting the modules of the single steps together, and numbers here. What is not covered: finding the window
(`alignment`) and deciding over several citations (`citations`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from chimed_rag.safety.alignment import Window
from chimed_rag.safety.marks import SWAPPED, find_marks, fits_better
from chimed_rag.safety.measures import Measure, agree, comparable
from chimed_rag.safety.naming import NAME_KINDS, naming
from chimed_rag.safety.polarity import CONTRASTS, denials, ladder_marks, negation, strength
from chimed_rag.safety.population import POPULATIONS, population
from chimed_rag.safety.reading import Context, Reading, likeness

_RESPECTIVELY = re.compile("分别|依次")
_ALL_OF_THEM = re.compile("[二两三四五几]者|^其")
_ITEM = re.compile("[、，,和与及]|以及")
COMPARED = ("numbers_agree", "negation_agrees", "strength_agrees", "population_agrees", "names_agree")

Outcome = Literal["passed", "failed", "not_applicable"]
Outcomes = dict[str, tuple[Outcome, str]]
Found = tuple[Measure, Context, Reading, int]


def compare(
    sentence: Reading,
    window: Window,
    context: Sequence[Reading],
    used: Sequence[tuple[Reading, int, int]],
    *,
    is_literal: bool,
) -> Outcomes:
    """Outcome and detail (in Chinese) of each comparison; a literal quote agrees in all that it has."""
    if is_literal:
        present = (
            sentence.measures,
            denials(sentence),
            ladder_marks(sentence) or find_marks(sentence, CONTRASTS),
            find_marks(sentence, POPULATIONS),
            any(token.kind in NAME_KINDS for token in sentence.tokens),
        )
        return {
            name: ("passed" if there else "not_applicable", "") for name, there in zip(COMPARED, present, strict=True)
        }
    sources = window.readings
    results = (
        numbers(sentence, sources, context),
        negation(sentence, sources, context),
        strength(sentence, sources, context, used),
        population(sentence, window, context, used),
        naming(sentence, window, context),
    )
    return {
        name: ("failed" if fault else "passed" if applies else "not_applicable", fault)
        for name, (applies, fault) in zip(COMPARED, results, strict=True)
    }


def numbers(sentence: Reading, sources: Sequence[Reading], context: Sequence[Reading]) -> tuple[bool, str]:
    """(whether the sentence has numbers, what is wrong): each must stand in the window, of the same thing."""
    if not sentence.measures:
        return False, ""
    source = [found for reading in sources for found in _placed(reading)]
    headed = [measure for reading in context for measure, _, _ in reading.measures]
    names = "".join(reading.norm for reading in context)
    for said, surroundings, _, place in _placed(sentence):
        before = sentence.norm[max(0, place - 30) : place] + names
        same = [one for one in source if agree(said, one[0], before)]
        alike = [one for one in source if comparable(said, one[0])]
        others = [one for one in alike if one not in same]
        if same:
            for other in others:
                if all(fits_better(surroundings, one[1], other[1]) > SWAPPED for one in same):
                    return True, f"“{_told(sentence, said, place)}”不同于原文的“{_told(other[2], other[0], other[3])}”"
        elif not any(agree(said, measure, before) for measure in headed) and not _is_idle(said, sources):
            _, nearest = _nearest(surroundings, others or source)
            return True, f"“{said.text}”不同于原文的“{nearest[0].text}”" if nearest else f"原文没有“{said.text}”"
    return True, ""


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


def _respectively(reading: Reading) -> dict[int, str]:
    """The item that each measure after 分别 belongs to, by the place of the measure: 甲、乙和丙分别为10、20和30."""
    found: dict[int, str] = {}
    for match in _RESPECTIVELY.finditer(reading.norm):
        after = [(measure, at) for measure, at, _ in reading.measures if match.end() <= at < match.end() + 40]
        same = [at for measure, at in after if comparable(measure, after[0][0])]
        before = _ITEM.split(re.split("[。；！？]", reading.norm[max(0, match.start() - 80) : match.start()])[-1])
        before = [item for item in before if item and not _ALL_OF_THEM.search(item)]
        if len(same) > 1 and len(before) >= len(same):
            found.update(zip(same, before[-len(same) :], strict=True))
    return found


def _nearest(surroundings: Context, found: Sequence[Found]) -> tuple[float, Found | None]:
    scored = [(likeness(surroundings, one[1]), -place, one) for place, one in enumerate(found)]
    score, _, best = max(scored, key=lambda one: one[:2], default=(0.0, 0, None))
    return score, best


def _is_idle(measure: Measure, sources: Sequence[Reading]) -> bool:
    """一次 and 一种 as words, not as counts; 一天 where the literature says 每日."""
    if measure.text in ("一天", "一日", "1天", "1日", "每天"):
        return any("每日" in reading.norm for reading in sources)
    return measure.low == measure.high == 1 and measure.text[:1] in "一1" and measure.unit in ("次", "种", "个", "度")


def _told(reading: Reading, measure: Measure, place: int) -> str:
    begin = max(reading.clause_at(place)[0], place - 6)
    return reading.raw_text(begin, place) + measure.text if begin < place else measure.text
