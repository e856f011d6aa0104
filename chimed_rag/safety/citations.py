"""Proves each sentence of a draft against the literature: does the passage exist, is the quote there, do numbers agree.

What is covered: citations of passages that were never retrieved; places outside a passage; sentences that differ from
what stands there; quotes that a removed page header interrupts (one citation for each part); numbers, in digits or in
Chinese before a unit of counting, that the quote does not have; a negation more or less than the quote.
What is not covered: units, the scope of a negation, the population or dose form meant, paraphrases, inference, and
whether the literature is right. The complete cascade is a later module; until then a sentence that is not nearly the
text of its passage is unsupported, even if it follows from it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from chimed_rag.records import Check, Citation, Draft, DraftCitation, DraftSentence, Evidence, Sentence
from chimed_rag.text import fold

MIN_ALIGNED = 12
"""Characters that must agree, at least, where a sentence is not literally in its passage."""
MIN_SHARE = 0.8
"""Share of the sentence's characters that must agree there."""

_BLANK = re.compile(r"\s+")
_LETTER = re.compile(r"[^\W_]")
_NUMBER = re.compile(
    r"\d+(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|[〇零一二两三四五六七八九十百千万半]+(?=个?[次天日周月年岁片粒丸袋支滴倍度小毫微克升])"
)
_NEGATION = re.compile(r"[不无未非禁忌勿别没]")

Span = tuple[int, int]
Outcome = Literal["passed", "failed", "not_applicable"]


@dataclass(frozen=True)
class _Proof:
    """What became of one draft citation: how far it got, why it stopped there, and its citations if it did not."""

    reached: int  # steps passed: 0 none, 1 passage exists, 2 quote found, 3 numbers agree
    detail: str = ""
    citations: tuple[Citation, ...] = ()


def verify(draft: Draft, evidence: Sequence[Evidence], documents: Callable[[str], str]) -> tuple[Sentence, ...]:
    """One sentence for each of the draft, in order, with its verdict, its citations and the checks behind them.

    A sentence is supported if at least one of its citations passes every check; the others are dropped and named in the
    checks. `Citation.number` is the number of the passage; for every citation `documents(document_id)[start:end] ==
    quote` holds.

    Args:
        draft: what a generator wrote.
        evidence: the passages it was given.
        documents: `Document.text` by document id; a `LookupError` says that there is no such document.
    """
    passages = {passage.number: passage for passage in evidence}
    return tuple(_sentence(sentence, passages, documents) for sentence in draft.sentences)


def _sentence(sentence: DraftSentence, passages: dict[int, Evidence], documents: Callable[[str], str]) -> Sentence:
    outcomes = [_prove(sentence.text, cited, passages, documents) for cited in dict.fromkeys(sentence.citations)]
    reached = max((outcome.reached for outcome in outcomes), default=0)
    failures = [outcome for outcome in outcomes if outcome.reached < 3]
    details = {step: "；".join(outcome.detail for outcome in failures if outcome.reached == step) for step in range(3)}
    if not outcomes:
        details[0] = "没有引用任何文献"
    numbers_pass: Outcome = "passed" if _numbers(sentence.text) else "not_applicable"
    checks = (
        Check(name="passage_exists", verdict="passed" if reached > 0 else "failed", detail=details[0]),
        Check(name="quote_found", verdict=_verdict(reached, 1), detail=details[1]),
        Check(name="numbers_agree", verdict=numbers_pass if reached > 2 else _verdict(reached, 2), detail=details[2]),
    )
    citations = tuple(citation for outcome in outcomes for citation in outcome.citations)
    return Sentence(
        text=sentence.text, citations=citations, verdict="supported" if citations else "unsupported", checks=checks
    )


def _prove(text: str, cited: DraftCitation, passages: dict[int, Evidence], documents: Callable[[str], str]) -> _Proof:
    """Takes one draft citation through the checks, in order, until one fails."""
    passage = passages.get(cited.number)
    if passage is None:
        return _Proof(0, f"没有编号为 {cited.number} 的文献")
    try:
        document = documents(passage.document_id)
    except LookupError:
        return _Proof(0, f"文献 {cited.number} 的原文已不在文献库中")
    if not _LETTER.search(text):
        return _Proof(1, "句子没有内容")
    if cited.begin is not None and cited.end is not None:
        place: Span | None = (cited.begin, cited.end)
    else:
        place = _find(text, passage.text)
    if place is None:
        return _Proof(1, f"在文献 {cited.number} 中找不到这句话")
    try:
        spans = [_trimmed(document, span) for span in passage.source_spans(*place)]
    except ValueError:
        return _Proof(1, f"所引位置不在文献 {cited.number} 之内")
    spans = [(start, end) for start, end in spans if start < end]
    quote = "".join(document[start:end] for start, end in spans)
    if not _agree(text, quote):
        return _Proof(1, f"与文献 {cited.number} 的原文不符")
    lost = _numbers(text) - _numbers(quote)
    if lost and _squeezed(text) != _squeezed(quote):
        return _Proof(2, f"数字 {'、'.join(sorted(lost))} 不见于文献 {cited.number} 的引文")
    return _Proof(3, citations=tuple(_citation(passage, document, span) for span in spans))


def _verdict(reached: int, step: int) -> Outcome:
    return "passed" if reached > step else "failed" if reached == step else "not_applicable"


def _trimmed(document: str, span: Span) -> Span:
    """The span without blank edges, within the document: empty if nothing is left."""
    start, end = span[0], min(span[1], len(document))
    while start < end and document[start].isspace():
        start += 1
    while start < end and document[end - 1].isspace():
        end -= 1
    return start, end


def _squeezed(text: str) -> str:
    return _BLANK.sub("", fold(text))


def _numbers(text: str) -> set[str]:
    """The numbers of a text as they are compared: 1,000 is 1000 and 0.50 is 0.5."""
    found = (number.replace(",", "") for number in _NUMBER.findall(fold(text)))
    return {number.rstrip("0").rstrip(".") if "." in number else number for number in found}


def _agree(text: str, quote: str) -> bool:
    """The same but for blanks, width and case; or nearly the same, with as many negations."""
    one, other = _squeezed(text), _squeezed(quote)
    if one == other:
        return True
    if not other or not MIN_SHARE <= len(one) / len(other) <= 1 / MIN_SHARE:
        return False
    if sorted(_NEGATION.findall(one)) != sorted(_NEGATION.findall(other)):
        return False
    aligned = sum(length for _, length in _aligned(one, other))
    return aligned >= MIN_ALIGNED and aligned >= MIN_SHARE * max(len(one), len(other))


def _aligned(sentence: str, passage: str) -> list[Span]:
    """(start in the passage, length) of the stretches that agree, in order, around the longest one."""
    from difflib import SequenceMatcher  # only for sentences that are not literally there

    longest = SequenceMatcher(None, passage, sentence, autojunk=False).find_longest_match()
    slack = len(sentence) // 4
    low = max(0, longest.a - longest.b - slack)
    window = passage[low : longest.a - longest.b + len(sentence) + slack]
    blocks = SequenceMatcher(None, window, sentence, autojunk=False).get_matching_blocks()
    return [(low + block.a, block.size) for block in blocks if block.size > 1]


def _find(text: str, passage: str) -> Span | None:
    """Where a sentence stands in a passage: literally but for blanks, width and case, or else nearly."""
    folded = fold(passage)
    kept = [place for place, char in enumerate(folded) if not char.isspace()]
    squeezed, sought = "".join(folded[place] for place in kept), _squeezed(text)
    begin = squeezed.find(sought)
    if begin >= 0:
        return kept[begin], kept[begin + len(sought) - 1] + 1
    blocks = _aligned(sought, squeezed)
    if not blocks:
        return None
    return kept[blocks[0][0]], kept[sum(blocks[-1]) - 1] + 1


def _citation(passage: Evidence, document: str, span: Span) -> Citation:
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
