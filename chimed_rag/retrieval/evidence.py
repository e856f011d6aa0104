"""Ranked chunks become evidence: deduplicated, numbered, within a budget; small documents are added whole.

Not covered: choosing sentences (`generation`). Passages are never cut: one that exceeds the budget is left out, unless
it is the first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chimed_rag.config import EvidenceBudget
from chimed_rag.indexing.index import Index
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


MOST_PASSAGES = 12
"""A document with more passages than these is not added as a whole."""


def with_whole_documents(
    evidence: Sequence[Evidence], ranked: Sequence[Ranked], index: Index, budget: EvidenceBudget
) -> list[Evidence]:
    """The evidence, and after it the other passages of its best documents, as far as the characters reach.

    The passage that answers often says the question's words less than its neighbours do: the section on overdose does
    not name the fever for which the drug was taken. What the retrievers gave an added passage is kept; one that they
    did not find has score 0 and no ranks.
    """
    found = {item.row: item for item in ranked}
    held = {passage.chunk_id for passage in evidence}
    room = budget.characters - sum(len(passage.text) for passage in evidence)
    widened = list(evidence)
    for document in list(dict.fromkeys(passage.document_id for passage in evidence))[: budget.whole_documents]:
        rows = index.rows_of(document)
        if len(rows) > MOST_PASSAGES:
            continue
        for row, stored in sorted(index.passages(rows).items()):
            if stored.chunk.id not in held and len(stored.chunk.text) <= room:
                room -= len(stored.chunk.text)
                widened.append(_evidence(len(widened) + 1, found.get(row, Ranked(row, 0.0, {})), stored))
    return widened


def _evidence(number: int, item: Ranked, stored: StoredChunk) -> Evidence:
    chunk, document = stored.chunk, stored.document
    return Evidence(
        number=number, chunk_id=chunk.id, document_id=document.id, text=chunk.text, start=chunk.start, end=chunk.end,
        runs=chunk.runs, page=chunk.page, title=document.title, headings=chunk.headings, source=document.source,
        url=document.url, date=document.date, licence=document.licence, metadata=document.metadata,
        score=item.score, ranks=item.ranks,
    )  # fmt: skip
