"""Answers by quoting: the few sentences of the evidence that best answer the question, word for word.

Not covered: writing of its own, reconciling passages that contradict each other (both are quoted), inference.

The relevance of a sentence is the share of the question's inverse document frequency that its words cover, its title
and headings counting in part, raised where it speaks to the aspect asked about (treatment, cause, ...), lowered with
the rank of its passage, and multiplied by how far that passage is about the question at all (`query.aboutness`).
Sentences are then taken one by one by maximal marginal relevance, λ·relevance − (1 − λ) times the likeness to those
taken (Carbonell & Goldstein, SIGIR 1998, doi:10.1145/290941.291025); likeness is the Jaccard index of terms.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from chimed_rag.errors import InputError
from chimed_rag.generation.segments import Segment, segments
from chimed_rag.query.aboutness import MIN_ABOUTNESS, aboutness
from chimed_rag.query.aspects import ASPECTS, Aspect, aspects
from chimed_rag.query.question import TermWeight, asked_names, question_terms
from chimed_rag.records import Draft, DraftCitation, DraftSentence, Evidence
from chimed_rag.text import fold, terms

_CONTEXT = 0.8  # a word in the title counts this much of a word in the sentence
_SAID, _HEADED, _BOTH = 0.8, 0.5, 1.8  # what speaking to the aspect adds: by its own words, by its heading, by both
_RANK = 0.12  # passage n + 1 weighs 1 / (1 + _RANK * n)
_COMFORTABLE = 120  # characters; longer sentences cover more words without answering more
_LEANING = 0.5  # a sentence that refers to something not quoted
_ALIKE = 0.75  # sentences with this Jaccard index say the same, unless numbers or negations differ
_NEGATION = re.compile(r"[不无未非禁忌勿别没]")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_MOST_PLACES = 3
_ASPECT_TERMS = frozenset(
    terms("治疗 症状 表现 病因 预防 检查 诊断 调理 处理 用药 药物 饮食 引起 导致 效果 疗效 副作用 禁忌 治好 治愈 吃药")
)


@dataclass
class _Candidate:
    """A segment with what the choice needs; `place` is its passage's position in the evidence."""

    place: int
    segment: Segment
    text: str
    words: frozenset[str]
    relevance: float
    answers: bool  # speaks to the aspect asked about
    names_it: bool  # it, its title or a heading names the drug asked about
    twins: list[_Candidate] = field(default_factory=list)


class ExtractiveGenerator:
    """Quotes the sentences that answer the question; deterministic, without a language model.

    Args:
        max_sentences: at most so many sentences.
        max_chars: at most so many characters in all; a sentence is never cut to fit.
        trade_off: λ of maximal marginal relevance, 1 for relevance alone.
        floor: a sentence whose relevance is below this share of the best one's is left out.

    Raises:
        InputError: an argument is out of range.
    """

    name = "extractive"

    def __init__(
        self, max_sentences: int = 5, max_chars: int = 500, *, trade_off: float = 0.75, floor: float = 0.45
    ) -> None:
        if max_sentences < 1 or max_chars < 1 or not 0 <= trade_off <= 1 or not 0 <= floor <= 1:
            raise InputError("max_sentences and max_chars must be positive, trade_off and floor within 0 and 1")
        self._max_sentences, self._max_chars = max_sentences, max_chars
        self._trade_off, self._floor = trade_off, floor

    def generate(self, question: str, evidence: Sequence[Evidence], *, term_weight: TermWeight | None = None) -> Draft:
        """The quoted sentences, the most relevant first, the others by passage and position."""
        candidates = _merge(_weighed(question, evidence, term_weight))
        chosen = self._choose(candidates)
        order = sorted(chosen[1:], key=lambda candidate: (candidate.place, candidate.segment.spans))
        return Draft(generator=self.name, sentences=tuple(_sentences([*chosen[:1], *order], evidence)))

    def _choose(self, candidates: list[_Candidate]) -> list[_Candidate]:
        """Maximal marginal relevance within the budget, the most relevant first."""
        pool = [candidate for candidate in candidates if candidate.names_it] or candidates
        best = max((candidate.relevance for candidate in pool), default=0.0)
        pool = [candidate for candidate in pool if candidate.relevance >= self._floor * best]
        pool = [candidate for candidate in pool if candidate.answers] or pool
        pool = [candidate for candidate in pool if not candidate.segment.leans] or pool
        alike = [0.0] * len(pool)
        chosen: list[_Candidate] = []
        sentences, chars = self._max_sentences, self._max_chars
        while pool:
            marginal = [
                self._trade_off * candidate.relevance / (best or 1.0) - (1 - self._trade_off) * likeness
                for candidate, likeness in zip(pool, alike, strict=True)
            ]
            taken = pool[max(range(len(pool)), key=lambda place: (marginal[place], -place))]
            new = [span for span in taken.segment.spans if not _quoted(taken.place, span, chosen)]
            cost = sum(end - begin for begin, end in new)
            if len(new) <= sentences and cost <= chars:
                sentences, chars = sentences - len(new), chars - cost
                chosen.append(taken)
            keep = [place for place, other in enumerate(pool) if other is not taken and not _repeats(other, chosen)]
            alike = [max(alike[place], _likeness(pool[place].words, taken.words)) for place in keep]
            pool = [pool[place] for place in keep]
        return chosen


def _weighed(question: str, evidence: Sequence[Evidence], term_weight: TermWeight | None) -> list[_Candidate]:
    """Every segment of the evidence with its relevance, in order of reading."""
    named = [_terms(name) for name in asked_names(question)]
    weights = _topical(question_terms(question, term_weight), named, evidence)
    total = sum(weights.values()) or 1.0
    aspects_asked = [ASPECTS[name] for name in aspects(question)]
    found: list[_Candidate] = []
    about = aboutness(question, evidence, term_weight)
    for place, passage in enumerate(evidence):
        if about[place] < MIN_ABOUTNESS:
            continue
        headings = " ".join(passage.headings)
        context = _context(passage, weights)
        is_titled = any(name <= _terms(" ".join((*passage.names, headings))) for name in named)
        asked = [(aspect, aspect.heading.search(fold(headings)) is not None) for aspect in aspects_asked]
        for segment in segments(passage.text):
            text = passage.text[slice(*segment.spans[-1])]
            words = _terms(text)
            covered = sum(
                weight * (1.0 if term in words else context.get(term, 0.0)) for term, weight in weights.items()
            )
            answers = _answers(fold(text), asked)
            relevance = (0.05 + covered / total) * (1 + answers) / (1 + _RANK * place)
            relevance *= about[place] * min(1.0, _COMFORTABLE / len(text)) ** 0.5 * (_LEANING if segment.leans else 1.0)
            names_it = is_titled or any(name <= words for name in named)
            found.append(_Candidate(place, segment, text, words, relevance, answers > 0, names_it))
    return found


def _answers(folded: str, asked: Sequence[tuple[Aspect, bool]]) -> float:
    """How well a sentence speaks to what is asked: to the aspect it serves best; `asked` says whose heading fits."""
    best = 0.0
    for aspect, is_headed in asked:
        says = aspect.answered.search(folded) is not None
        best = max(best, _BOTH if says and is_headed else _SAID if says else _HEADED if is_headed else 0.0)
    return best


def _topical(
    weights: dict[str, float], named: Sequence[frozenset[str]], evidence: Sequence[Evidence]
) -> dict[str, float]:
    """A word of a title or of a drug's name is the matter itself and weighs more; the rarest words weigh less.

    What is asked about a matter (治疗, 症状) is weighed by `ASPECTS` and counts little as a word. Words that hardly any
    text has are mostly colloquial, or cross a word boundary.
    """
    highest = max(weights.values(), default=0.0)
    titled = frozenset[str]().union(*named, *(_terms(name) for passage in evidence for name in passage.names))
    return {
        term: min(weight, 0.7 * highest) * (2.0 if term in titled else 0.3 if term in _ASPECT_TERMS else 1.0)
        for term, weight in weights.items()
    }


def _terms(text: str) -> frozenset[str]:
    return frozenset(terms(text))


def _context(passage: Evidence, weights: dict[str, float]) -> dict[str, float]:
    """How much each word of title and headings counts for the sentences below them.

    A title that says more than was asked ("妊娠合并甲亢" to a question on "甲亢") is about something else: it counts by
    the share of its words that the question has.
    """
    title = set(terms(passage.title))
    shared = sum(term in weights for term in title) / len(title) if title else 0.0
    counts = dict.fromkeys(terms(" ".join(passage.headings)), _CONTEXT)
    counts.update(dict.fromkeys(title, _CONTEXT * (0.5 + 0.5 * shared)))
    return counts


def _merge(candidates: list[_Candidate]) -> list[_Candidate]:
    """One candidate for each saying; its twins in other places become further citations."""
    kept: list[_Candidate] = []
    for candidate in sorted(candidates, key=lambda one: -one.relevance):
        twin = next((one for one in kept if _same(one, candidate)), None) if len(candidate.segment.spans) == 1 else None
        if twin is None:
            kept.append(candidate)
        elif len(twin.twins) + 1 < _MOST_PLACES and all(candidate.place != one.place for one in (twin, *twin.twins)):
            twin.twins.append(candidate)
    return kept


def _same(one: _Candidate, other: _Candidate) -> bool:
    """Nearly the same words, with the same numbers and as many negations."""
    if len(one.segment.spans) > 1 or _likeness(one.words, other.words) < _ALIKE:
        return False
    return one.text == other.text or (
        sorted(_NUMBER.findall(fold(one.text))) == sorted(_NUMBER.findall(fold(other.text)))
        and sorted(_NEGATION.findall(one.text)) == sorted(_NEGATION.findall(other.text))
    )


def _likeness(one: frozenset[str], other: frozenset[str]) -> float:
    """Jaccard index: shared over all."""
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared) if shared else 0.0


def _quoted(place: int, span: tuple[int, int], chosen: Sequence[_Candidate]) -> bool:
    return any(one.place == place and span in one.segment.spans for one in chosen)


def _repeats(candidate: _Candidate, chosen: Sequence[_Candidate]) -> bool:
    """Its own sentence is quoted already, alone, as a predecessor, or within a list (or a list around it)."""
    begin, end = candidate.segment.spans[-1]
    spans = [span for one in chosen if one.place == candidate.place for span in one.segment.spans]
    return any(begin < stop and start < end for start, stop in spans)


def _sentences(chosen: Sequence[_Candidate], evidence: Sequence[Evidence]) -> list[DraftSentence]:
    """Each span once, in the order given; the last span of a segment also cites the places of its twins."""
    said: set[tuple[int, tuple[int, int]]] = set()
    sentences: list[DraftSentence] = []
    for candidate in chosen:
        passage = evidence[candidate.place]
        for span in candidate.segment.spans:
            if (candidate.place, span) in said:
                continue
            said.add((candidate.place, span))
            places = [(candidate.place, span)]
            if span == candidate.segment.spans[-1]:
                places += [(twin.place, twin.segment.spans[-1]) for twin in candidate.twins]
            citations = tuple(
                DraftCitation(number=evidence[place].number, begin=begin, end=end) for place, (begin, end) in places
            )
            sentences.append(DraftSentence(text=passage.text[slice(*span)], citations=citations))
    return sentences
