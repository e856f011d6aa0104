"""Whether a passage is about what a question asks: the gate before quoting, and before answering at all.

A passage is about the question as far as its name is (the share of its title, an alias or a heading that the question
says), or as far as its text is (the share of the question's matter that it covers): 1 - (1 - name)(1 - text), each
share weighted by inverse document frequency. A medical text says in its title what it is about, so the name tells more
than any count of words found; the text serves where there is no title. A document that both retrievers bring and the
dense one puts first needs less of both (`AGREED`): words in common are what a lay question lacks.

Not covered: whether a passage on the right matter holds the answer (the right disease, but not its prognosis).

Chosen on 1,799 sentences offered for 160 patient questions over an encyclopedia and textbooks, each judged once; 44 %
of the questions had nothing to the point among them. Area under the ROC curve for telling those, by the best passage:
.79 (by the name alone .73, by the text alone .63, by logistic regression on nine such features .75, cross-validated).
At 0.4, 26 % of the questions are refused: 46 % of those 44 %, 7 % of the questions with a good answer; of the quoted
sentences 60 % are on the right matter, instead of 43 % (at 0.45: 30 %, 51 %, 14 % and 63 %).

Agreement was weighed on 4,000 open consultations, half of their answers taken away: where no document has 0.4 of its
own, the one ranked first is right in 40 % of 307 questions with agreement and in 2 % of 881 without. On the starter
development questions it took false refusals from .058 to .037 and quoted answers from .768 to .805.
"""

from __future__ import annotations

from collections.abc import Sequence

from chimed_rag.query.question import TermWeight, content_runs, matter
from chimed_rag.query.rewriting import wordings
from chimed_rag.records import Evidence
from chimed_rag.text import terms

MIN_ABOUTNESS = 0.4
"""Passages below are not quoted; a question for which no passage reaches it is not answered."""
AGREED = 0.35
"""What agreement of the retrievers on the first passage counts: its document then needs .08 of its own, not .4."""


def aboutness(question: str, evidence: Sequence[Evidence], term_weight: TermWeight | None = None) -> list[float]:
    """How far the document of each passage, told by those of its passages given, is about the question: 0 to 1.

    The wording of the question (`rewriting.wordings`) that fits best counts.
    Without `term_weight` every term weighs the same. `evidence` comes best first.
    """
    weigh = positive(term_weight)
    matters = [matter(wording) for wording in wordings(question)]
    asked = [(frozenset(terms(what)), content_runs(what, weigh)) for what in matters]
    documents: dict[str, list[Evidence]] = {}
    for passage in evidence:
        documents.setdefault(passage.document_id, []).append(passage)

    def about(passages: Sequence[Evidence]) -> float:
        called = list(dict.fromkeys(name for one in passages for name in (*one.names, *one.headings)))
        vocabulary = frozenset(terms("\n".join((*called, *(one.text for one in passages)))))
        covered = max(
            sum(run.covered(vocabulary) for run in runs) / (sum(run.weight() for run in runs) or 1.0)
            for _, runs in asked
        )
        named = max((name_share(name, said, weigh) for name in called for said, _ in asked), default=0.0)
        return 1 - (1 - named) * (1 - covered)

    found = {document: about(passages) for document, passages in documents.items()}
    if evidence and _is_agreed(evidence[0]):
        first = evidence[0].document_id
        found[first] = 1 - (1 - found[first]) * (1 - AGREED)
    return [found[passage.document_id] for passage in evidence]


def _is_agreed(passage: Evidence) -> bool:
    dense = passage.ranks.get("dense")
    return dense is not None and dense.rank == 1 and "lexical" in passage.ranks


def name_share(name: str, said: frozenset[str], weigh: TermWeight) -> float:
    """How much of a name's weight is among the terms said."""
    weights = {term: weigh(term) for term in terms(name)}
    return sum(weight for term, weight in weights.items() if term in said) / (sum(weights.values()) or 1.0)


def positive(term_weight: TermWeight | None) -> TermWeight:
    """Weights above 0: a term that every passage has weighs next to nothing, but a name may hold no other."""
    return (lambda term: max(term_weight(term), 1e-6)) if term_weight is not None else lambda _: 1.0
