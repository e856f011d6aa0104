"""Ranked chunks become evidence: deduplicated, numbered, within a budget of passages and characters.

Not covered: choosing sentences (`generation`). Passages are never cut: one that exceeds the budget is left out, unless
it is the first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chimed_rag.config import EvidenceBudget
from chimed_rag.indexing.segment import StoredChunk
from chimed_rag.records import Evidence
from chimed_rag.retrieval.retrievers import Ranked
from chimed_rag.text import fold


def collect_evidence(
    ranked: Sequence[Ranked], passages: Mapping[int, StoredChunk], budget: EvidenceBudget, *, distinct: bool = True
) -> list[Evidence]:
    """The passages behind ranked chunks, best first, numbered from 1.

    With `distinct`, a passage whose text equals an earlier one (compared folded, without blanks) is left out.
    """
    evidence: list[Evidence] = []
    seen: set[str] = set()
    room = budget.characters
    for item in ranked:
        if len(evidence) == budget.passages:
            break
        stored = passages[item.row]
        if evidence and len(stored.chunk.text) > room:
            continue
        if distinct:
            key = "".join(fold(stored.chunk.text).split())
            if key in seen:
                continue
            seen.add(key)
        room -= len(stored.chunk.text)
        evidence.append(_evidence(len(evidence) + 1, item, stored))
    return evidence


def _evidence(number: int, item: Ranked, stored: StoredChunk) -> Evidence:
    chunk, document = stored.chunk, stored.document
    return Evidence(
        number=number, chunk_id=chunk.id, document_id=document.id, text=chunk.text, start=chunk.start, end=chunk.end,
        runs=chunk.runs, page=chunk.page, title=document.title, headings=chunk.headings, source=document.source,
        url=document.url, date=document.date, licence=document.licence, metadata=document.metadata,
        score=item.score, ranks=item.ranks,
    )  # fmt: skip
