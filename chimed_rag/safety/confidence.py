"""What there is to judge by whether evidence answers a question, in numbers: the input of a refusal rule.

Not covered: the weights, which `calibration` fits, and whether a sentence answers (`generation`). Of thirty such
numbers these twelve were left by backward elimination on the development questions of the starter literature and on
2,000 open consultations, with half of the answers taken away.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import exp, log, log1p
from typing import NamedTuple

from chimed_rag.query.aboutness import aboutness, name_share, positive
from chimed_rag.query.question import TermWeight, content, content_runs, matter
from chimed_rag.query.rewriting import wordings
from chimed_rag.records import Evidence
from chimed_rag.text import HAN, sentence_spans, terms

_FIRST = 8  # passages that were ranked; those that only came with their document follow
_TEMPERATURE = 3.0  # of BM25 scores, for their entropy
_HAN = re.compile(f"[{HAN}]")


class Features(NamedTuple):
    """What the confidence is computed from; shares are weighted by inverse document frequency, 0 to 1.

    Args:
        about: `query.aboutness` of the best document.
        named: share of a name or heading of the first document that the question says.
        covered: share of the question's matter in what was found of the first document.
        passage: share of the question's content in the best passage.
        sentence: highest cosine of the sets of Chinese characters of a sentence and the question.
        dense: highest score of the dense retriever.
        agreement: 1 / rank of the first passage in the dense list.
        both: share of the first passages that both retrievers found.
        fused: score of the first passage, all that a plain threshold looks at.
        spread: entropy (nats) of the documents' names among the first passages.
        entropy: entropy (nats) of the lexical scores, as softmax.
        weight: natural logarithm of the weight of the question's terms: long questions score high on anything.
    """

    about: float
    named: float
    covered: float
    passage: float
    sentence: float
    dense: float
    agreement: float
    both: float
    fused: float
    spread: float
    entropy: float
    weight: float


def features(question: str, evidence: Sequence[Evidence], term_weight: TermWeight | None = None) -> Features:
    """What there is to judge the evidence by, best passage first; all 0 but the weight where there is none."""
    weigh = positive(term_weight)
    contents = [frozenset(terms(content(wording))) for wording in wordings(question)]
    weight = log1p(sum(weigh(term) for term in contents[0]))
    if not evidence:
        return Features._make([*[0.0] * (len(Features._fields) - 1), weight])
    called, _ = _first_document(evidence)
    matters = [matter(wording) for wording in wordings(question)]
    ranked = evidence[:_FIRST]
    vocabularies = [frozenset(terms("\n".join((*one.names, *one.headings, one.text)))) for one in ranked]
    dense = evidence[0].ranks.get("dense")
    titles = [one.title or one.document_id for one in ranked]
    lexical = [one.ranks["lexical"].score for one in ranked if "lexical" in one.ranks]
    return Features(
        about=max(aboutness(question, evidence, term_weight)),
        named=max(
            (name_share(name, frozenset(terms(what)), weigh) for name in called for what in matters), default=0.0
        ),
        covered=covered(question, evidence, term_weight),
        passage=max(_share(said, vocabulary, weigh) for said in contents for vocabulary in vocabularies),
        sentence=_likest_sentence(matters, evidence),
        dense=max((one.ranks["dense"].score for one in evidence if "dense" in one.ranks), default=0.0),
        agreement=1 / dense.rank if dense is not None else 0.0,
        both=sum({"dense", "lexical"} <= one.ranks.keys() for one in ranked) / len(ranked),
        fused=evidence[0].score,
        spread=_entropy([titles.count(title) for title in dict.fromkeys(titles)]),
        entropy=_entropy([exp((value - max(lexical)) / _TEMPERATURE) for value in lexical]),
        weight=weight,
    )


def covered(question: str, evidence: Sequence[Evidence], term_weight: TermWeight | None = None) -> float:
    """The share of the question's matter, in the wording that fits best, in what was found of the first document."""
    if not evidence:
        return 0.0
    weigh, held = positive(term_weight), _first_document(evidence)[1]
    return max(_covered(matter(wording), held, weigh) for wording in wordings(question))


def _first_document(evidence: Sequence[Evidence]) -> tuple[list[str], frozenset[str]]:
    """The names and headings of the first document, and the terms of these and of what was found of it."""
    first = [one for one in evidence if one.document_id == evidence[0].document_id]
    called = list(dict.fromkeys(name for one in first for name in (*one.names, *one.headings)))
    return called, frozenset(terms("\n".join((*called, *(one.text for one in first)))))


def _covered(what: str, held: frozenset[str], weigh: TermWeight) -> float:
    runs = content_runs(what, weigh)
    return sum(run.covered(held) for run in runs) / (sum(run.weight() for run in runs) or 1.0)


def _share(said: frozenset[str], held: frozenset[str], weigh: TermWeight) -> float:
    return sum(weigh(term) for term in said & held) / (sum(map(weigh, said)) or 1.0)


def _likest_sentence(matters: Sequence[str], evidence: Sequence[Evidence]) -> float:
    asked = [characters for what in matters if (characters := frozenset(_HAN.findall(what)))]
    best = 0.0
    for passage in evidence:
        for begin, end in sentence_spans(passage.text):
            said = frozenset(_HAN.findall(passage.text, begin, end))
            for characters in asked if said else ():
                best = max(best, len(said & characters) / (len(said) * len(characters)) ** 0.5)
    return best


def _entropy(parts: Sequence[float]) -> float:
    whole = sum(parts)
    return -sum(part / whole * log(part / whole) for part in parts if part > 0) if whole else 0.0
