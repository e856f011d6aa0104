"""Answers by quoting: the few sentences of the evidence that best answer the question, word for word.

Not covered: writing of its own, reconciling passages that contradict each other (both are quoted), inference.

The relevance of a sentence is the probability that it answers, by logistic regression on the `Features` below,
times how far its document is about the question (`query.aboutness`).
Sentences are then taken one by one by maximal marginal relevance, λ·relevance − (1 − λ) times the likeness to those
taken (Carbonell & Goldstein, SIGIR 1998, doi:10.1145/290941.291025); likeness is the Jaccard index of terms. Documents
that are not about the question are not quoted, unless none is: whether to answer at all is decided before. What a
doctor wrote of another patient is never quoted (`addressed`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import exp, log, sqrt
from typing import NamedTuple

from chimed_rag.addressed import is_to_someone
from chimed_rag.encoders.ngram import shipped
from chimed_rag.errors import InputError
from chimed_rag.generation.segments import Segment, segments
from chimed_rag.query.aboutness import MIN_ABOUTNESS, aboutness, name_share, positive
from chimed_rag.query.aspects import ASPECTS, Aspect, aspects, told_by
from chimed_rag.query.question import TermWeight, asked_names, matter
from chimed_rag.query.rewriting import clinical, corrected, wordings
from chimed_rag.records import Draft, DraftCitation, DraftSentence, Evidence
from chimed_rag.text import fold, terms

_ALIKE = 0.75  # sentences with this Jaccard index say the same, unless numbers or negations differ
_NEGATION = re.compile(r"[不无未非禁忌勿别没]")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_MOST_PLACES = 3
_HEADED = 0.3  # a heading alone speaks to what is asked this much
_LEANING = 0.5  # a sentence that refers to something not quoted
_HAN = re.compile("[\u4e00-\u9fff]")
_ASKS_ADVICE = re.compile(
    r"能[^，。？]{0,12}[吗不么？]|能不能|要不要|用不用|可不可以|可以[^，。]{0,10}[吗不么？]|[怎咋][么]?办|怎么(?:救|给|处理|弄)"
    r"|该(?:怎么|做什么|干什么)|行不|好不好|需不需要|用去|还要|还用|要紧|会不会|是不是"
)
_ADVISES = re.compile(r"立即|不要|不应|不能|不宜|禁用|慎用|避免|应(?:先|由|尽快|在|到|当)|可以|须|不需要|一般(?:不|可)")


class Features(NamedTuple):
    """What the relevance of a sentence is computed from; each but the first and the last is 0 to 1.

    Args:
        near: cosine of the vectors of the question and of the sentence behind its document's title and headings
            (避免辛辣饮食 says nothing of whom it is for), -1 to 1, by the encoder that comes with the package: the
            weights below are fitted to it, whatever encoder the index has.
        elsewhere: whether the headings tell something, and none of it is what is asked.
        alike: cosine of the sets of Chinese characters of question and sentence, those of the names left out.
        answers: how well the sentence speaks to what is asked (treatment, cause, dose, ...).
        advises: whether the question asks what to do or what one may do, and the sentence says so.
        named: share of its document's best name that the question says.
        document: score of its document over that of the best.
        passage: score of its passage over that of the best document.
        length: natural logarithm of the number of its characters.
    """

    near: float
    elsewhere: float
    alike: float
    answers: float
    advises: float
    named: float
    document: float
    passage: float
    length: float


WEIGHTS = Features(
    near=6.70,
    elsewhere=-0.40,
    alike=4.23,
    answers=0.90,
    advises=0.23,
    named=0.38,
    document=0.98,
    passage=1.11,
    length=0.71,
)
INTERCEPT = -10.00
"""Fitted by `python -m tools.fit_extractive` on the development and seen questions of the starter literature and on
2,785 sentences of books, graded for 240 patients' questions by language models.

Of these questions the first sentence answers in .229 and is on the matter in .487, by cross-validation (.200 and .396
by the weights before, which were fitted to the starter literature alone, without title, headings and `elsewhere`); the
mean grade, 0 to 2, of the first, the best three and the best five is .717, .633 and .553 (.596, .549, .501). Of 80
answers to other questions that changed, two such readers, who did not know which was which, liked 27 better and 11
less; the cosine without title and headings was a feature then too, which changes nothing and takes as long again. A
relevance is no measure for refusing: below .2 lie the best sentences of 29 % of the books' questions that none of the
sentences answers and of 4 % of the others, but of 18 % of those that the starter literature answers.
"""


@dataclass
class Candidate:
    """A segment with what the choice needs.

    `place` is its passage's position in the evidence; `order` sorts by document (the best first) and place in it.
    """

    place: int
    order: tuple[int, int, int]
    segment: Segment
    text: str
    words: frozenset[str]
    features: Features
    relevance: float
    headed: bool  # stands under a heading that speaks to what is asked
    names_it: bool  # it, its title or a heading names the drug asked about
    twins: list[Candidate] = field(default_factory=list)


class ExtractiveGenerator:
    """Quotes the sentences that answer the question; deterministic, without a language model.

    Args:
        max_sentences: at most so many sentences.
        max_chars: at most so many characters in all; a sentence is never cut to fit.
        trade_off: λ of maximal marginal relevance, 1 for relevance alone.
        floor: a sentence whose relevance is below this share of the best one's is left out. From .15, .4 and .5 on, of
            the best five sentences 4.9, 3.7 and 3.2 are left for the starter literature's questions, and one answers
            .883, .871 and .866 of them; of those from books .598, .567 and .548 are of no use, and one answers .458,
            .458 and .438 of the questions (`tools.fit_extractive`).

    Raises:
        InputError: an argument is out of range.
    """

    name = "extractive"

    def __init__(
        self, max_sentences: int = 5, max_chars: int = 500, *, trade_off: float = 0.75, floor: float = 0.4
    ) -> None:
        if max_sentences < 1 or max_chars < 1 or not 0 <= trade_off <= 1 or not 0 <= floor <= 1:
            raise InputError("max_sentences and max_chars must be positive, trade_off and floor within 0 and 1")
        self._max_sentences, self._max_chars = max_sentences, max_chars
        self._trade_off, self._floor = trade_off, floor

    def generate(self, question: str, evidence: Sequence[Evidence], *, term_weight: TermWeight | None = None) -> Draft:
        """The quoted sentences, the most relevant first, the others by document and position."""
        candidates = _merge(
            [one for one in weighed(question, evidence, term_weight) if not _is_to_someone(one, evidence)]
        )
        chosen = self._choose(candidates)
        order = sorted(chosen[1:], key=lambda candidate: candidate.order)
        return Draft(generator=self.name, sentences=tuple(_sentences([*chosen[:1], *order], evidence)))

    def _choose(self, candidates: list[Candidate]) -> list[Candidate]:
        """Maximal marginal relevance within the budget, the most relevant first."""
        fitting = [one for one in candidates if sum(end - begin for begin, end in one.segment.spans) <= self._max_chars]
        pool = _section(fitting) or [candidate for candidate in fitting if candidate.names_it] or fitting
        best = max((candidate.relevance for candidate in pool), default=0.0)
        pool = [candidate for candidate in pool if candidate.relevance >= self._floor * best]
        pool = [candidate for candidate in pool if not candidate.segment.leans] or pool
        alike = [0.0] * len(pool)
        chosen: list[Candidate] = []
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


def _section(candidates: list[Candidate]) -> list[Candidate]:
    """The sentences that answer where only a name and something about it are asked (烫伤怎么处理), else none.

    They are those of the best document of that name that speak to what is asked, in order: under a heading that does
    and by their own words, or under such a heading, or by their own words.
    """
    called = [candidate for candidate in candidates if candidate.features.named == 1.0]
    best = max((candidate.features.document for candidate in called), default=0.0)
    of_best = [candidate for candidate in called if candidate.features.document == best]
    if any(candidate.features.alike for candidate in of_best):
        return []
    saying = [candidate for candidate in of_best if candidate.features.answers == 1.0]
    headed = [candidate for candidate in of_best if candidate.headed]
    both = [candidate for candidate in saying if candidate.headed]
    return [replace(one, relevance=1.0) for one in sorted(both or headed or saying, key=lambda one: one.order)]


def weighed(question: str, evidence: Sequence[Evidence], term_weight: TermWeight | None = None) -> list[Candidate]:
    """Every segment of the passages that are about the question, with its relevance, in order of reading."""
    matters = [matter(wording) for wording in wordings(question)]
    characters = [frozenset(_HAN.findall(what)) for what in matters]
    said = frozenset(term for what in matters for term in terms(what))
    spelled = dict.fromkeys((question, corrected(question)))
    asked = dict.fromkeys(name for wording in spelled for name in aspects(wording))
    asks_advice = any(_ASKS_ADVICE.search(wording) for wording in spelled)
    named = [_terms(name) for name in asked_names(clinical(question))]
    weigh, vector = positive(term_weight), shipped().encode_queries([question])[0]
    scores = _scores(evidence)
    documents = _document_scores(evidence, scores)
    first: dict[str, int] = {}
    for place, passage in enumerate(evidence):
        first.setdefault(passage.document_id, place)
    best = max(documents.values(), default=1.0) or 1.0
    found: list[Candidate] = []
    abouts = aboutness(question, evidence, term_weight)
    least = min(MIN_ABOUTNESS, max(abouts, default=0.0))  # whether to answer at all was decided before
    for place, (passage, about) in enumerate(zip(evidence, abouts, strict=True)):
        if about < least:
            continue
        names, headings = _terms("\n".join(passage.names)), _terms("\n".join(passage.headings))
        called = frozenset("".join(passage.names))
        share = max((name_share(name, said, weigh) for name in passage.names), default=0.0)
        is_titled = any(name <= names | headings for name in named)
        told = told_by(passage.headings)
        under = [(ASPECTS[name], name in told) for name in asked]
        headed = any(fits for _, fits in under)
        elsewhere = bool(asked and told) and not headed
        parts = list(segments(passage.text))
        texts = [passage.text[slice(*segment.spans[-1])] for segment in parts]
        above = "\n".join(part for part in (passage.title, *passage.headings) if part)
        cosines = shipped().encode_documents([f"{above}\n{text}" for text in texts]) @ vector
        for segment, text, near in zip(parts, texts, cosines, strict=True):
            words, folded = _terms(text), fold(text)
            features = Features(
                near=float(near),
                elsewhere=float(elsewhere),
                alike=max(_cosine(frozenset(_HAN.findall(text)) - called, each - called) for each in characters),
                answers=_answers(folded, under),
                advises=float(asks_advice and _ADVISES.search(text) is not None),
                named=share,
                document=documents[passage.document_id] / best,
                passage=scores[place] / best,
                length=log(len(text)),
            )
            relevance = _relevance(features) * about * (_LEANING if segment.leans else 1.0)
            names_it = is_titled or any(name <= words for name in named)
            order = (first[passage.document_id], passage.start, segment.spans[0][0])
            found.append(Candidate(place, order, segment, text, words, features, relevance, headed, names_it))
    return found


def _scores(evidence: Sequence[Evidence]) -> list[float]:
    """The scores of the passages, none below 0: those of a reranker (or cosines) that go below are squashed, and a
    passage that only came with its document stays at 0."""
    if all(passage.score >= 0 for passage in evidence):
        return [passage.score for passage in evidence]
    return [_logistic(passage.score) if passage.score or passage.ranks else 0.0 for passage in evidence]


def _document_scores(evidence: Sequence[Evidence], scores: Sequence[float]) -> dict[str, float]:
    """The score of each document: that of its best passage and three tenths of those of its next three."""
    found: dict[str, list[float]] = {}
    for passage, score in zip(evidence, scores, strict=True):
        found.setdefault(passage.document_id, []).append(score)
    ordered = {document: sorted(each, reverse=True) for document, each in found.items()}
    return {document: each[0] + 0.3 * sum(each[1:4]) for document, each in ordered.items()}


def _answers(folded: str, asked: Sequence[tuple[Aspect, bool]]) -> float:
    """How well a sentence speaks to what is asked, by the aspect it serves best; `asked` says whose heading fits."""
    best = 0.0
    for aspect, is_headed in asked:
        says = aspect.answered.search(folded) is not None
        best = max(best, 1.0 if says else _HEADED if is_headed else 0.0)
    return best


def _relevance(features: Features) -> float:
    return _logistic(INTERCEPT + sum(weight * value for weight, value in zip(WEIGHTS, features, strict=True)))


def _logistic(value: float) -> float:
    return 1.0 / (1.0 + exp(-max(-700.0, value)))  # exp overflows beyond


def _cosine(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / sqrt(len(one) * len(other)) if one and other else 0.0


def _terms(text: str) -> frozenset[str]:
    return frozenset(terms(text))


def _merge(candidates: list[Candidate]) -> list[Candidate]:
    """One candidate for each saying; its twins in other places become further citations."""
    kept: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda one: -one.relevance):
        twin = next((one for one in kept if _same(one, candidate)), None) if len(candidate.segment.spans) == 1 else None
        if twin is None:
            kept.append(candidate)
        elif len(twin.twins) + 1 < _MOST_PLACES and all(candidate.place != one.place for one in (twin, *twin.twins)):
            twin.twins.append(candidate)
    return kept


def _same(one: Candidate, other: Candidate) -> bool:
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


def _is_to_someone(candidate: Candidate, evidence: Sequence[Evidence]) -> bool:
    text = evidence[candidate.place].text
    return any(is_to_someone(text[slice(*span)]) for span in candidate.segment.spans)


def _quoted(place: int, span: tuple[int, int], chosen: Sequence[Candidate]) -> bool:
    return any(one.place == place and span in one.segment.spans for one in chosen)


def _repeats(candidate: Candidate, chosen: Sequence[Candidate]) -> bool:
    """Its own sentence is quoted already, alone, as a predecessor, or within a list (or a list around it)."""
    begin, end = candidate.segment.spans[-1]
    spans = [span for one in chosen if one.place == candidate.place for span in one.segment.spans]
    return any(begin < stop and start < end for start, stop in spans)


def _sentences(chosen: Sequence[Candidate], evidence: Sequence[Evidence]) -> list[DraftSentence]:
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
