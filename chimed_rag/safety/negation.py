"""Negation: a sentence denies what its passage denies, and nothing that it affirms.

What is covered: a denial that was added, lost or moved to another word, told by what follows it and by its
surroundings; two denials that cancel out. What is not covered: a denial in other words (不升高 for 正常), a scope
that crosses a comma.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from chimed_rag.safety.marks import Mark
from chimed_rag.safety.polarity import denials, head, ladder_marks, level
from chimed_rag.safety.reading import Reading
from chimed_rag.safety.surroundings import likeness

_FORBIDDING = ("禁用", "慎用", "不应", "不建议", "禁忌证")
_ALIKE = 0.45  # likeness of surroundings from which two denials are one, whatever they deny
_FORBIDDEN = 0.35  # and a denial and a forbidding word


def negation(sentence: Reading, sources: Sequence[Reading], context: Sequence[Reading]) -> tuple[bool, str]:
    """(whether anything is denied on either side, what is wrong)."""
    said = denials(sentence)
    source = [mark for reading in sources for mark in denials(reading)]
    if not said and not source:
        return False, ""
    forbidden = [mark for reading in (*sources, *context) for mark in ladder_marks(reading) if level(mark) <= 0]
    paired: set[int] = set()
    for mark in said:
        found = _denied_alike(mark, [one for one in source if id(one) not in paired or one.values == mark.values])
        if found is not None and not _same_head(mark, found) and _is_affirmed_there(mark, sources):
            return True, f"原文没有否定：“{_shown(mark)}”"
        if found is not None:
            paired.add(id(found))
        elif not _is_told(mark, sources):
            continue  # 居高不下: what is denied is nowhere told
        elif _head_of(mark).startswith(_FORBIDDING) or not any(
            likeness(mark.context, other.context) > _FORBIDDEN or _head_of(mark)[:2] in _after(other)
            for other in forbidden
        ):
            return True, f"原文没有否定：“{_shown(mark)}”"
    for mark in source:
        if id(mark) not in paired and (affirmed := _affirmed(mark, sentence, sources)):
            return True, f"“{affirmed}”不同于原文的“{_shown(mark)}”"
    return True, ""


def _head_of(mark: Mark) -> str:
    return next(iter(mark.values))


def _after(mark: Mark) -> str:
    return head(mark.reading, mark.end, 6)


def _denied_alike(mark: Mark, source: Sequence[Mark]) -> Mark | None:
    """A denial in the literature of the same thing, or in like surroundings."""
    scored = []
    for other in source:
        same = _same_head(mark, other)
        score = likeness(mark.context, other.context) + (1.0 if same else 0.0)
        scored.append((score, other))
    if not scored:
        return None
    score, found = max(scored, key=lambda one: one[0])
    return found if score >= _ALIKE else None


def _same_head(one: Mark, other: Mark) -> bool:
    mine, theirs = _head_of(one), _head_of(other)
    return (bool(mine[:1]) and mine[:1] == theirs[:1]) or _share_pair(mine, theirs)


def _is_affirmed_there(mark: Mark, sources: Sequence[Reading]) -> bool:
    """Whether the literature says without a denial what a sentence denies."""
    words = _head_of(mark)[:2]
    return len(words) == 2 and any(
        not _is_denied(reading, place) for reading in sources for place in _places(reading, words)
    )


def _is_told(mark: Mark, sources: Sequence[Reading]) -> bool:
    """Whether the literature speaks of what a sentence denies."""
    words = _head_of(mark)[:2]
    return len(words) < 2 or any(words in reading.norm for reading in sources)


def _share_pair(one: str, other: str) -> bool:
    return any(one[place : place + 2] in other for place in range(len(one) - 1))


def _affirmed(mark: Mark, sentence: Reading, sources: Sequence[Reading]) -> str:
    """What the sentence says of the thing that the literature denies, where it says so without a denial."""
    words = _head_of(mark)[:2]
    if not words:
        return ""
    for place in _places(sentence, words):
        if _is_denied(sentence, place):
            continue
        here = sentence.context(place, place + 1)
        there = mark.reading.context(mark.end, mark.end + 1)
        affirmed = max(
            (
                likeness(here, reading.context(at, at + 1))
                for reading in sources
                for at in _places(reading, words)
                if not _is_denied(reading, at)
            ),
            default=0.0,
        )
        if likeness(here, there) > max(0.25, affirmed + 0.05):
            low, high = max(0, place - 4), min(len(sentence.norm), place + len(words) + 2)
            return sentence.raw_text(low, high)
    return ""


def _places(reading: Reading, words: str) -> list[int]:
    return [match.start() for match in re.finditer(re.escape(words), reading.norm)]


def _is_denied(reading: Reading, place: int) -> bool:
    """Whether an odd number of denials and forbidding words stands before a place in its clause."""
    begin, _ = reading.clause_at(place)
    marks = (*denials(reading), *(mark for mark in ladder_marks(reading) if level(mark) <= 0))
    return sum(begin <= mark.start and mark.end <= place for mark in marks) % 2 == 1


def _shown(mark: Mark) -> str:
    end = min(mark.end + 4, mark.reading.clause_at(mark.start)[1])
    return mark.reading.raw_text(mark.start, end)
