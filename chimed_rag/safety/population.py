"""Whom a sentence is about: children, pregnant women, the old, those whose kidneys fail ...

What is covered: the groups of `populations.tsv`; a group that the passage and its headings do not name; a group that the
passage restricts a statement to and the sentence leaves out. What is not covered: that infants are children (a rule for
children is not quoted for infants), groups by disease, and ages, which `measures` compares.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from chimed_rag.safety.alignment import Window
from chimed_rag.safety.marks import Mark, find_marks, rival
from chimed_rag.safety.reading import Reading

POPULATIONS = "populations.tsv"
_RESTRICTED = re.compile("者|患者|病人|的人|人群|史|期|时|岁")


def population(
    sentence: Reading, window: Window, context: Sequence[Reading], used: Sequence[tuple[Reading, int, int]]
) -> tuple[bool, str]:
    """(whether anyone is named on either side, what is wrong, in Chinese); arguments as for `polarity.strength`."""
    said = find_marks(sentence, POPULATIONS)
    source = [mark for reading in window.readings for mark in find_marks(reading, POPULATIONS)]
    if not said and not source:
        return False, ""
    headings = [mark for reading in context for mark in find_marks(reading, POPULATIONS, named=True)]
    headed = frozenset(value for mark in headings for value in mark.values)
    if source and len({mark.values for mark in headings}) > 1:
        headed = frozenset()  # under 孕妇及哺乳期 the sentence itself tells which
    everyone = {mark.values for reading in window.others for mark in _all(reading)}
    if len(everyone) == 1:  # the passage is about one group, and names it where it likes
        headed |= next(iter(everyone))
    kept = frozenset(value for mark in said for value in mark.values)
    for mark in said:
        agreed, other = rival(mark, source, _same)
        if agreed and (other is None or other.values & kept) or mark.values & headed:
            continue
        return True, f"“{mark.text}”不同于原文的“{other.text}”" if other else f"原文没有说到“{mark.text}”"
    for reading, begin, end in used:
        lost = [mark for mark in find_marks(reading, POPULATIONS) if begin <= mark.start < end]
        if lost and not any(mark.values & kept for mark in lost):
            restricts = [mark for mark in lost if _restricts(mark, begin, sentence)]
            if restricts:
                return True, f"丢了原文的“{restricts[0].text}”"
    return True, ""


def _all(reading: Reading) -> list[Mark]:
    return find_marks(reading, POPULATIONS)


def _same(one: Mark, other: Mark) -> bool:
    return bool(one.values & other.values)


def _restricts(mark: Mark, begin: int, sentence: Reading) -> bool:
    """Whether a group opens its clause, so that what follows is said of it alone."""
    reading = mark.reading
    before = [place for place in reading.matter if begin <= place < mark.start]
    named = {token.start for token in reading.tokens if token.kind not in ("", "light")}
    if not before or before[0] in named and len(before) < 8:
        return True
    words = {reading.norm[place] for place in before}
    return len(words & sentence.char_set) < len(words) / 2
