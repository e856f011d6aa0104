"""Literal quotes: where a sentence stands word for word, and the citation of a place in its document.

What is covered: differences of width, case and blanks; whole sentences only (a part may have lost its 不); quotes
that a removed page header interrupts. What is not covered: whether a sentence that words it otherwise follows
(`citations`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from chimed_rag.records import Citation, Evidence
from chimed_rag.text import fold

COMPARED = ("numbers_agree", "negation_agrees", "strength_agrees", "population_agrees", "names_agree")
"""In what a sentence is compared with its passage (`comparison`); a literal quote agrees in all of it."""
_BLANK = re.compile(r"\s+")
_MOST_PLACES = 20  # where the same words stand more often, the first few decide
_EDGE = "。．.！!？?；;，,：: \t\n"


@lru_cache(maxsize=2048)
def squeezed(text: str) -> str:
    """A text as literal quotes are compared: folded, without blanks."""
    return _BLANK.sub("", fold(text))


@lru_cache(maxsize=256)
def _squeezed_places(text: str) -> tuple[str, str, Sequence[int]]:
    """The folded text, the same without blanks, and where each of its characters stood."""
    folded = fold(text)
    if not _BLANK.search(folded):
        return folded, folded, range(len(folded))
    kept = [at for at, char in enumerate(folded) if not char.isspace()]
    return folded, "".join(folded[at] for at in kept), kept


def literal(text: str, passage: Evidence, place: tuple[int, int] | None) -> tuple[Evidence, int, int] | None:
    """Where a sentence stands word for word, but for blanks, width and case: at its place, or as whole sentences."""
    sought = squeezed(text)
    if place is not None:
        return (passage, *place) if squeezed(passage.text[slice(*place)]) == sought else None
    sought = sought.rstrip(_EDGE) or sought
    if sought not in squeezed(passage.text):
        return None
    folded, bare, kept = _squeezed_places(passage.text)
    begin = bare.find(sought)
    for _ in range(_MOST_PLACES):
        if begin < 0:
            break
        end = begin + len(sought)
        opens = begin == 0 or bare[begin - 1] in "。！？!?；;…”" or "\n" in folded[kept[begin - 1] + 1 : kept[begin]]
        closes = end == len(bare) or bare[end] in "。！？!?；;…." or "\n" in folded[kept[end - 1] + 1 : kept[end]]
        if opens and closes:
            while end < len(bare) and bare[end] in "。！？!?；;…”":
                end += 1
            return passage, kept[begin], kept[end - 1] + 1
        begin = bare.find(sought, begin + 1)
    return None


def cite(passage: Evidence, begin: int, stop: int, document: str) -> list[Citation] | None:
    """One citation for each part of `passage.text[begin:stop]` in its document, without blank edges; None if that says
    otherwise."""
    spans = []
    for start, end in passage.source_spans(begin, stop):
        end = min(end, len(document))
        while start < end and document[start].isspace():
            start += 1
        while start < end and document[end - 1].isspace():
            end -= 1
        if start < end:
            spans.append((start, end))
    quoted = "".join(document[start:end] for start, end in spans)
    if not spans or squeezed(quoted) != squeezed(passage.text[begin:stop]):
        return None
    return [_citation(passage, document, span) for span in spans]


def _citation(passage: Evidence, document: str, span: tuple[int, int]) -> Citation:
    start, end = span
    return Citation(
        number=passage.number,
        document_id=passage.document_id,
        chunk_id=passage.chunk_id,
        title=passage.title,
        headings=passage.headings,
        quote=document[start:end],
        start=start,
        end=end,
        page=passage.page,
        source=passage.source,
        url=passage.url,
        date=passage.date,
        licence=passage.licence,
    )
