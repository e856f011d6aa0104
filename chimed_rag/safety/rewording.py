"""A sentence that words its passages otherwise: where they say the same, and whether the two agree.

What is covered: putting `alignment`, `additions` and `comparison` together. What is not covered: literal quotes
(`quoting`), which need none of this; what is imported here is half of what a first answer loads, so quotes do without.
"""

from __future__ import annotations

from collections.abc import Sequence

from chimed_rag.records import Evidence
from chimed_rag.safety.additions import added
from chimed_rag.safety.alignment import MIN_COVERED, Window, align, context_of, read, units, used_clauses
from chimed_rag.safety.comparison import Outcomes, compare
from chimed_rag.safety.population import group_places

Span = tuple[Evidence, int, int]
"""`passage.text[begin:end]`."""


def share_held(text: str, passage: Evidence) -> float:
    """How much of a sentence a passage holds, up to 1; 0 for too little to compare the two."""
    window = _window(text, [passage], None)
    return window.covered if window is not None and window.covered > MIN_COVERED else 0.0


def compared(
    text: str, passages: Sequence[Evidence], place: tuple[int, int] | None
) -> tuple[list[Span], Outcomes] | None:
    """The sentences of the passages that a sentence rewords and how each comparison went; None if there are none, or
    if the sentence adds what they have nothing of.

    Args:
        place: only what touches this place of the first passage counts.
    """
    sentence, window = read(text), _window(text, passages, place)
    if window is None or not window.holds(sentence) or added(text, _told(passages)):
        return None
    context = context_of([unit.passage for unit in window.units])
    used = used_clauses(sentence, window, group_places)
    return [(unit.passage, unit.begin, unit.end) for unit in window.units], compare(sentence, window, context, used)


def _window(text: str, passages: Sequence[Evidence], place: tuple[int, int] | None) -> Window | None:
    candidates = [unit for passage in passages for unit in units(passage, text, place)]
    return align(read(text), candidates, context_of(passages))


def _told(passages: Sequence[Evidence]) -> list[str]:
    """All that the passages say, titles and headings included."""
    return [text for passage in passages for text in (passage.text, *passage.names, *passage.headings) if text]
