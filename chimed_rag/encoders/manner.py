"""Whom a question sounds like and what a passage reads like: which belong together, whatever they speak of.

Who tells what ails him is best served by the words with which a doctor replied to somebody like him; who asks for an
illness by its name, by an article. A cosine tells little of that, least where both speak of the same illness. So two
logistic regressions are fitted over the vectors of an encoder, where it is adapted to a literature (`adapt`): whether
a question is one that patients put to doctors, or one made of the literature's headings; whether a passage is a
doctor's reply, or one of the literature's passages that have a title. The patients and doctors are those of this
project's consultations, so no question, judgement or label of the literature is needed. In the fusion a passage gains
(`retrieval.retrievers`)

    gain(q, p) = reply_weight * P(q is a patient's) * P(p is a reply).

A literature without titles has no articles to tell replies from, and gets no manner.

What it is worth (`benchmarks/retrieval_quality.py`, adapted, nDCG@10 / Recall@100): 2,984 patients' questions, each
with the one reply it got, among 80,688 documents, most of them articles: .318 / .619 without, .331 / .644 with it;
3,000 questions made of the articles' own headings: .630 / .990 without, .627 / .988 with it. By weight, on another
build: 0 .318 / .616, .1 .323 / .628, .2 .328 / .633, .3 .331 / .634, .4 .333 / .634; headings lose .002 at .2 and .003
at .3. With .2 whatever the question sounds like patients have .3285 instead of .3256, and headings lose .005 to .008.
Beside an eighth of the articles only, .394 at any weight from 0 to .4 (n = 300): where replies are not outnumbered
there is nothing to win. Examinations over textbooks and encyclopedia, where no reply is: right option in ten passages
.2785 -> .2771 (n = 3,425). So this understands no question better: it prefers the kind of text that answers questions
of its kind. Where a literature holds replies and articles about the same illness, the former come somewhat earlier for
a patient's words. The passage's side tells that evaluation's replies from its articles with an area under the curve of
.90 to .93.

Tried instead: the mean of the replies' vectors added to the question's, weight .3: .332 / .647, but among replies alone
the vectors fall from .336 to .323 (a sum does not saturate, a probability does). The replies of the consultations whose
questions are most alike, mixed into the question's vector: .309 to .317 / .628 to .640, all of it by their mean; less
that mean .293 to .311 / .602 to .622. The passages that are likely replies as further examples, and the fit once or
twice more: .3327 / .645 and .3330 / .646 against .3309 / .643, headings the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from chimed_rag.encoders.base import Vectors
from chimed_rag.regression import logistic

Floats = NDArray[np.float32]

PENALTY = 10.0
"""The ridge on standardised features; 2.5 to 250 times as much gives the same nDCG@10 within .0015."""


class Manner(NamedTuple):
    """Two logistic models over vectors of dimension d, each float32 of shape (d + 1,), the intercept last."""

    question: Floats
    passage: Floats

    def asked(self, questions: Vectors) -> Floats:
        """How likely each question is one that a patient puts to a doctor; shape (n, d) to (n,)."""
        return _likely(questions @ self.question[:-1] + self.question[-1])

    def replied(self, products: Floats) -> Floats:
        """How likely passages are replies, from the inner products of their vectors with `passage[:-1]`."""
        return _likely(products + self.passage[-1])


def fitted(asked: Vectors, headings: Vectors, replies: Vectors, articles: Vectors) -> Manner:
    """The manner that tells patients' questions from those of headings, and replies from articles.

    Args:
        asked, headings, replies, articles: vectors of each kind, shape (n, d), at least one of each.
    """
    return Manner(_fitted(asked, headings), _fitted(replies, articles))


def _fitted(those: Vectors, others: Vectors) -> Floats:
    kinds: Sequence[bool] = [True] * len(those) + [False] * len(others)
    intercept, weights = logistic(np.concatenate([those, others]).astype(np.float64), np.array(kinds), PENALTY)
    return np.append(weights, intercept).astype(np.float32)


def _likely(logits: Floats) -> Floats:
    return (1 / (1 + np.exp(-np.clip(logits, -30, 30)))).astype(np.float32)
