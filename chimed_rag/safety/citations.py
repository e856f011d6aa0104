"""Proves each sentence of a draft against the literature, step by step; what fails a step is not supported.

Each step leaves one `Check` in `Sentence.checks`, in this order and under these names (`CHECKS`): `passage_exists`,
`quote_found`, `numbers_agree`, `negation_agrees`, `strength_agrees`, `population_agrees`, `names_agree`,
`entailment`.

What is covered: citations of passages that were never retrieved; places outside a passage; citations that a draft
forgot; quotes that a removed page header interrupts (one citation for each part); sentences that word their passage
otherwise or join two passages, with their numbers, units, negations, strengths, populations and names (see the module
of each step). What a doctor's reply tells of the patient it was written to (`addressed`) supports nothing, not even
word for word: the reader is another one, and `population_agrees` fails. What is not covered: inference beyond what the
words say, arithmetic, temporal order, and whether the literature is right.

What helps is many pairs by many writers: rules were mended on 4,719 pairs on plain passages, then on 3,486 in the
manner of textbooks (`training/proof_pairs`). Of 4,689 pairs by four other writers they kept .608 after the first
round and .680 after the second, and caught .762 and .774; of 200 textbook pairs by hand .662 before, .688 and .738
kept, .758, .817 and .825 caught; on the test templates nothing moved (.921, .930). As many lines of rules mended on
200 pairs had gained nothing on pairs that their author had not seen. Such pairs do not tell what becomes of a
sentence beside a passage that speaks of something else: mended on them alone, the rules let pass twice as many right
sentences with another passage of their entry (.030, then .063, by the first three writers); a greater
`alignment.MIN_ALIKE` took that back (.039), for .02 of what was kept.
Tried and left: a logistic regression over what sentence and passage share, the n-grams that one has and
the other lacks, and the outcome of each check, learned from 7,604 pairs (`training/proof_pairs`): area under the curve
.92 on a writer it had not seen, .73 on textbook pairs by others, where the rules alone are better (.73 caught with .72
kept, it .73 with .61): it learned how right and wrong sentences sounded there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from chimed_rag.addressed import stands_to_someone
from chimed_rag.records import Check, Citation, Draft, DraftCitation, DraftSentence, Evidence, Sentence
from chimed_rag.safety.quoting import COMPARED, cite, literal, squeezed

CHECKS = ("passage_exists", "quote_found", *COMPARED, "entailment")
"""The names of the checks, in order; other programs rely on them."""
MIN_ENTAILMENT = 0.5
"""Probability of entailment from which an NLI model's word counts as agreement."""
MAX_CHARACTERS = 2000
"""A longer sentence is no sentence: unsupported, unless it is a literal quote."""

Entails = Callable[[list[tuple[str, str]]], Sequence[float]]
"""Pairs of (premise, hypothesis) to the probability that the premise entails the hypothesis."""
Outcome = Literal["passed", "failed", "not_applicable"]
_AGREED: tuple[Outcome, str] = ("passed", "")
_LETTER = re.compile(r"[^\W_]")


@dataclass
class _Proof:
    """What became of a sentence under one choice of citations: outcome and detail by check."""

    numbers: tuple[int, ...] = ()
    outcomes: dict[str, tuple[Outcome, str]] = field(default_factory=dict)
    citations: tuple[Citation, ...] = ()
    premise: str = ""

    @property
    def is_proved(self) -> bool:
        return all(outcome != "failed" for outcome, _ in self.outcomes.values())

    @property
    def reached(self) -> tuple[int, int]:
        """For choosing among failures: the first step that failed, then how many did not."""
        failed = [name in self.outcomes and self.outcomes[name][0] == "failed" for name in CHECKS]
        return (failed.index(True) if True in failed else len(CHECKS), -sum(failed))


def verify(
    draft: Draft, evidence: Sequence[Evidence], documents: Callable[[str], str], *, nli: Entails | None = None
) -> tuple[Sentence, ...]:
    """One sentence for each of the draft, in order, with its verdict, its citations and the checks behind them.

    A sentence is supported if one of its citations passes every check, or all of them together do; citations that fail
    are dropped and named in the checks. A sentence without citations gets a passage that passes every check.
    `Citation.number` is that of the passage; for every citation `documents(document_id)[start:end] == quote` holds.

    Args:
        draft: what a generator wrote.
        evidence: the passages it was given.
        documents: `Document.text` by document id; a `LookupError` says that there is no such document.
        nli: asked last, once, for the sentences that passed all else.
    """
    prover = _Prover({passage.number: passage for passage in evidence}, documents)
    proofs = [prover.sentence(sentence) for sentence in draft.sentences]
    if nli is not None:
        _ask(nli, draft, [tried for tried, _ in proofs])
    return tuple(_sentence(said, tried, lost) for said, (tried, lost) in zip(draft.sentences, proofs, strict=True))


def _ask(nli: Entails, draft: Draft, proofs: Sequence[_Proof]) -> None:
    asked = [place for place, proof in enumerate(proofs) if proof.is_proved]
    pairs = [(proofs[place].premise, draft.sentences[place].text) for place in asked]
    for place, probability in zip(asked, nli(pairs) if pairs else (), strict=True):
        entailed = probability >= MIN_ENTAILMENT
        detail = "" if entailed else f"模型认为原文不支持这句话（{probability:.2f}）"
        proofs[place].outcomes["entailment"] = ("passed" if entailed else "failed", detail)


def _sentence(said: DraftSentence, proof: _Proof, lost: str) -> Sentence:
    stopped = False
    checks = []
    for name in CHECKS:
        outcome, detail = proof.outcomes.get(name, ("not_applicable", ""))
        if name == "passage_exists" and lost:
            detail = "；".join(filter(None, (detail, lost)))
        if stopped or not detail:
            checks.append(_check(name, "not_applicable" if stopped else outcome))
        else:
            checks.append(Check(name=name, verdict=outcome, detail=detail))
        stopped = stopped or (outcome == "failed" and name in CHECKS[:2])
    citations = proof.citations if proof.is_proved else ()
    verdict: Literal["supported", "unsupported"] = "supported" if citations else "unsupported"
    return Sentence(text=said.text, citations=citations, verdict=verdict, checks=tuple(checks))


@lru_cache(maxsize=64)
def _check(name: str, outcome: Outcome) -> Check:
    """A check without a detail: records do not change, and most of them are such."""
    return Check(name=name, verdict=outcome, detail="")


class _Prover:
    """Proves sentences against one set of passages."""

    def __init__(self, passages: dict[int, Evidence], documents: Callable[[str], str]) -> None:
        self._passages, self._documents = passages, documents

    def sentence(self, said: DraftSentence) -> tuple[_Proof, str]:
        """The best proof of a sentence, and what is to be said of citations that were dropped."""
        cited = list(dict.fromkeys(said.citations))
        if not cited:
            return self._forgotten(said.text), ""
        proofs = [self._cited(said.text, one) for one in cited]
        proved = [proof for proof in proofs if proof.is_proved]
        if not proved and len(cited) > 1:
            whole = self._prove(said.text, [one.number for one in cited if one.number in self._passages])
            proved = [whole] if whole.is_proved else []
        lost = [detail for proof in proofs if not proof.is_proved for detail in [_told(proof)]]
        if not proved:
            best = max(proofs, key=lambda proof: proof.reached)
            others = [_told(proof) for proof in proofs if proof is not best]
            return best, "；".join(others)
        merged = _Proof(outcomes=proved[0].outcomes, premise=proved[0].premise)
        merged.citations = tuple(dict.fromkeys(citation for proof in proved for citation in proof.citations))
        dropped = {one.number for one in cited} - {citation.number for citation in merged.citations}
        return merged, "；".join(lost) if dropped else ""

    def _forgotten(self, text: str) -> _Proof:
        """A sentence without citations, against all passages: the first that passes every check is cited."""
        sought = squeezed(text)
        scored = []
        for number, passage in self._passages.items():
            is_there = bool(sought) and sought in squeezed(passage.text)
            scored.append((2.0 if is_there else _share_held(text, passage), -number))
        tried = [self._prove(text, [-number]) for share, number in sorted(scored, reverse=True)[:3] if share]
        for proof in tried:
            if proof.is_proved:
                proof.outcomes["passage_exists"] = ("passed", f"草稿没有标注出处，出处是文献 {proof.numbers[0]}")
                return proof
        proof = max(tried, key=lambda one: one.reached) if tried else _Proof()
        detail = "没有引用任何文献，检索到的文献也不支持这句话"
        return _Proof(
            outcomes={**proof.outcomes, "passage_exists": ("failed", "；".join(filter(None, (detail, _told(proof)))))}
        )

    def _cited(self, text: str, cited: DraftCitation) -> _Proof:
        if cited.begin is None or cited.end is None:
            return self._prove(text, [cited.number])
        return self._prove(text, [cited.number], (cited.begin, cited.end))

    def _prove(self, text: str, numbers: Sequence[int], place: tuple[int, int] | None = None) -> _Proof:
        """Takes a sentence through the checks, against passages or the given place of one."""
        proof = _Proof(numbers=tuple(numbers))
        found = [self._passages[number] for number in numbers if number in self._passages]
        if not found:
            proof.outcomes["passage_exists"] = ("failed", f"没有编号为 {'、'.join(map(str, numbers))} 的文献")
            return proof
        try:
            texts = {passage.number: self._documents(passage.document_id) for passage in found}
        except LookupError:
            proof.outcomes["passage_exists"] = ("failed", f"文献 {found[0].number} 的原文已不在文献库中")
            return proof
        proof.outcomes["passage_exists"] = ("passed", "")
        fault = self._quoted(proof, text, found, place, texts)
        proof.outcomes["quote_found"] = ("failed", fault) if fault else ("passed", "")
        return proof

    def _quoted(
        self, proof: _Proof, text: str, found: list[Evidence], place: tuple[int, int] | None, texts: dict[int, str]
    ) -> str:
        """Finds the quote and compares it; returns why there is none, or ""."""
        shown = "、".join(str(passage.number) for passage in found)
        if not _LETTER.search(text):
            return "句子没有内容"
        if place is not None and not 0 <= place[0] < place[1] <= len(found[0].text):
            return f"所引位置不在文献 {shown} 之内"
        whole = next((spot for passage in found if (spot := literal(text, passage, place))), None)
        spans: list[tuple[Evidence, int, int]]
        if whole is not None:
            spans, outcomes = [whole], dict.fromkeys(COMPARED, _AGREED)
        elif len(text) > MAX_CHARACTERS:
            return f"在文献 {shown} 中找不到这句话：它过长，不像一句话"
        else:
            from chimed_rag.safety.rewording import compared

            outcome = compared(text, found, place)
            if outcome is None:
                return f"在文献 {shown} 中找不到这句话" if place is None else f"与文献 {shown} 的原文不符"
            spans, outcomes = outcome
        citations = [cite(passage, begin, end, texts[passage.number]) for passage, begin, end in spans]
        if None in citations:
            return f"文献 {shown} 的原文与检索到的不同"
        proof.citations = tuple(dict.fromkeys(citation for parts in citations for citation in parts or ()))
        titles = dict.fromkeys(name for passage in found for name in (*passage.names, *passage.headings) if name)
        proof.premise = "\n".join((*titles, *(one.quote for one in proof.citations)))
        proof.outcomes.update(outcomes)
        if any(stands_to_someone(passage.text, begin, end) for passage, begin, end in spans):
            proof.outcomes["population_agrees"] = ("failed", "原文是医生对另一位患者说的")
        return ""


def _share_held(text: str, passage: Evidence) -> float:
    if len(squeezed(text)) > MAX_CHARACTERS:
        return 0.0
    from chimed_rag.safety.rewording import share_held

    return share_held(text, passage)


def _told(proof: _Proof) -> str:
    failed = [detail for outcome, detail in proof.outcomes.values() if outcome == "failed" and detail]
    where = f"文献 {'、'.join(map(str, proof.numbers))}：" if proof.numbers else ""
    return where + "；".join(failed) if failed else ""
