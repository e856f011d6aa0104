"""Samples of grounding: answers given before, and questions with passages made easy, noisy, useless or false.

`answers` reads the predictions of any run, or answers as `chimed ask --json` prints them; the system `recorded` then
says them again, so that they are scored without a model.

`noise` builds what RGB builds of news (Chen et al. 2023, arXiv:2309.01431), of questions whose passage is known: a
folder in BEIR form, or questions to the starter literature (`{"question", "entries", "sentences"}`). Of each question:

    noise           k passages, of which 0, .2, .4, .6, .8 are distractors; the rest are gold, as far as there are so
                    many: beside one gold passage stand 0 to 4 distractors
    rejection       k distractors: right is to say that they do not tell
    counterfactual  the gold passage made false (`falsehoods`) with distractors: right is not to repeat it
    conflict        the false passage and the true one with distractors: right is not to repeat the false one

Distractors are the passages of other documents that BM25 ranks first for the question, but none that holds the
answer; passages stand in an order drawn from the seed and the sample's id. Not covered: answers spread over passages
(RGB's integration), and whether a distractor answers in other words.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING

from pydantic import JsonValue, ValidationError

from chimed_rag.errors import CorpusError, DuplicateError, MissingExtraError
from chimed_rag.evaluation.readers.falsehoods import KINDS, falsified
from chimed_rag.evaluation.readers.grounding_sources import Passage, Question, of_beir, of_starter
from chimed_rag.evaluation.samples import Card, Prediction, Sample
from chimed_rag.evaluation.tasks.loading import Source
from chimed_rag.records import Answer
from chimed_rag.safety.quoting import squeezed
from chimed_rag.text import sentence_spans, terms

if TYPE_CHECKING:
    from chimed_rag.evaluation.exam.postings import Level

LEVELS = (0.0, 0.2, 0.4, 0.6, 0.8)
"""Shares of distractors."""
HOLDS = 0.6
"""A passage with this share of the terms of a right answer is no distractor."""
TITLES = "titles"
"""Key of a sample's metadata under which the titles of its passages lie, in their order ("" for none); a passage that
has one shows it on its first line."""
PREDICTION = "prediction"
"""Key of a sample's metadata under which an answer that was given already lies."""

# --- answers of a run -------------------------------------------------------------------------------------------


def answers(source: Source, card: Card) -> Iterator[Sample]:
    """The stored predictions or answers of files, each as a sample that carries it.

    Raises:
        CorpusError: a row is neither. DuplicateError: an id came before.
    """
    seen: set[str] = set()
    for row in source.rows():
        try:
            if "question" in row.value and "evidence" in row.value:
                answer = Answer.model_validate(row.value)
                said = Prediction(id=f"answer-{len(seen) + 1}", text=answer.text, answer=answer)
            else:
                said = Prediction.model_validate(row.value)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise CorpusError(
                f"neither a prediction of a run nor an answer: {place}: {first['msg']}", path=row.path, line=row.line
            ) from None
        if said.id in seen:
            raise DuplicateError(f"prediction {said.id!r} came before", path=row.path, line=row.line)
        seen.add(said.id)
        kept: JsonValue = said.model_dump(mode="json", exclude_defaults=True)
        question = said.answer.question if said.answer else ""
        yield Sample(id=said.id, text=question, metadata={PREDICTION: kept})


# --- noise, rejection, falsehood --------------------------------------------------------------------------------


def noise(source: Source, card: Card) -> Iterator[Sample]:
    """The samples of each question in turn; `card.settings` may name k, seed, and how many questions (0: all).

    Raises:
        CorpusError: a row cannot be used, or a question's passage is not there.
        MissingExtraError: scipy is not installed.
    """
    k, seed, most = (_whole(card, name, default) for name, default in (("k", 5), ("seed", 0), ("questions", 300)))
    rows = list(source.rows())
    questions, passages = of_beir(rows) if any("_id" in row.value for row in rows) else of_starter(rows)
    if most:
        drawn = sorted(questions, key=lambda one: sha256(f"{seed}:{one.id}".encode()).digest())[:most]
        chosen = {one.id for one in drawn}
        questions = [one for one in questions if one.id in chosen]
    pool = _Pool(passages)
    for question in questions:
        yield from _samples(question, pool.distractors(question, k), k, seed)


def _whole(card: Card, name: str, default: int) -> int:
    value = card.settings.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise CorpusError(f"card {card.name}: settings.{name} must be a whole number, not {value!r}")
    return value


def _samples(question: Question, distractors: Sequence[Passage], k: int, seed: int) -> Iterator[Sample]:
    def made(condition: str, passages: Sequence[Passage], name: str, **known: JsonValue) -> Sample:
        shuffled = list(passages)
        key = f"{question.id}/{name}"
        random.Random(f"{seed}:{key}").shuffle(shuffled)  # noqa: S311 - repeatable, not secret
        return Sample(
            id=key,
            text=question.text,
            references=question.references,
            passages=tuple(one.shown for one in shuffled),
            group=question.id,
            metadata={"condition": condition, TITLES: [one.title for one in shuffled], **known},
        )

    others, gold = list(distractors), question.gold
    if gold:
        for level in LEVELS:
            noisy = round(level * k)
            yield made("noise", [*gold[: k - noisy], *others[:noisy]], f"noise-{level}", level=level)
    yield made("rejection", others[:k], "rejection")
    lie = _lie(question, seed) if gold else None
    if lie is not None:
        false, known = lie
        yield made("counterfactual", [false, *others[: k - 1]], "counterfactual", **known)
        yield made("conflict", [false, gold[0], *others[: k - 2]], "conflict", **known)


def _lie(question: Question, seed: int) -> tuple[Passage, dict[str, JsonValue]] | None:
    """The first gold passage made false where it answers; which kind comes first is drawn for each question."""
    draw = random.Random(f"{seed}:{question.id}")  # noqa: S311 - repeatable, not secret
    turn = draw.randrange(len(KINDS))
    gold = question.gold[0]
    text, about = gold.text, f"{question.text}\n{gold.title}"
    spans = [(begin, end) for begin, end in sentence_spans(text) if squeezed(text[begin:end])]
    answering = [
        (begin, end)
        for begin, end in spans
        if any(squeezed(text[begin:end]).rstrip("。") in squeezed(one) for one in question.references)
    ]
    for kinds in ((KINDS[turn],), KINDS[turn:] + KINDS[:turn]):
        for span in answering:
            if (found := falsified(text, span, kinds, draw, about=about)) is not None:
                known: dict[str, JsonValue] = {"kind": found.kind, "true": found.true, "false": found.false}
                return replace(gold, text=found.text), {**known, "sentence": found.sentence}
    return None


class _Pool:
    """All passages, ranked by BM25 for a question."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        try:
            from scipy.sparse import csr_matrix
        except ImportError as error:
            raise MissingExtraError("scipy", "evaluation") from error
        from chimed_rag.evaluation.exam.postings import Level

        self._passages = sorted(passages, key=lambda one: one.id)  # ties fall by id, whatever the order of the files
        self._vocabulary: dict[str, int] = {}
        columns: list[int] = []
        ends = [0]
        for one in self._passages:
            columns += [self._vocabulary.setdefault(term, len(self._vocabulary)) for term in terms(one.shown)]
            ends.append(len(columns))
        counts = csr_matrix(([1.0] * len(columns), columns, ends), shape=(len(ends) - 1, len(self._vocabulary)))
        self._level: Level = Level(counts)

    def distractors(self, question: Question, k: int) -> list[Passage]:
        """The first k passages of other documents that do not hold the answer."""
        import numpy as np

        weights = {self._vocabulary[term]: 1.0 for term in terms(question.text) if term in self._vocabulary}
        order = np.argsort(-self._level.scores(weights), kind="stable")
        right = [frozenset(terms(one)) for one in question.references]
        found: list[Passage] = []
        for place in order:
            one = self._passages[int(place)]
            held = frozenset(terms(one.shown))
            if one.document not in question.documents and not any(len(r & held) >= HOLDS * len(r) for r in right if r):
                found.append(one)
                if len(found) == k:
                    break
        return found
