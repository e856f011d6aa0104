"""Fits the weights of `generation.extractive`: on the starter literature's questions, and on graded sentences of books.

    chimed build DATA/corpora/textbooks.jsonl.gz DATA/corpora/disease_encyclopedia.jsonl.gz --out BOOKS
    python -m tools.fit_extractive --books BOOKS --data DATA

Where the starter literature is asked, its few entries come whole, and the question shares words with the sentence that
answers it; among books the right illness, the right heading and a sentence that says something are what counts. So
both are fitted together, each with an intercept of its own, of which that of the books is kept; a graded sentence
counts twice as much as one of the starter literature. The graded ones (`graded_sentences.tsv`): 240 openly licensed
patients' questions of the shared pairs, each with eight sentences that the weights of that day put first, two more near
the question and two by chance, graded by language models in six parts: 0 of no use, 1 on the matter, 2 answers. One
part was graded twice, apart: Cohen's kappa .90 with linear weights. They lie here without their texts, which are not
ours. Passages come in the fused order, in which the graded sentences were found.

Prints WEIGHTS and INTERCEPT to put into `chimed_rag/generation/extractive.py`, and by 8-fold cross-validation over
questions how the best sentences were graded, and what a floor (`ExtractiveGenerator`) leaves of them. Needs scipy. The
starter literature's test questions are not read.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from chimed_rag import MedQA
from chimed_rag.config import Config
from chimed_rag.generation.extractive import Features, weighed
from chimed_rag.query.aboutness import aboutness
from tools.check_starter import QUESTIONS

GRADED = Path(__file__).parent / "graded_sentences.tsv"
GRADED_WEIGHT = 2.0
"""At 0 (the starter literature alone) an answer is among the best 1, 3 and 5 of its sentences in .689, .838 and .872 of
its questions, and the mean grade of the first and the first three of the books' is .571, .529; at 1 .687, .841, .884
and .733, .618; at 2 .690, .841, .883 and .717, .633; at 4 .675, .821, .884 and .750, .658."""
PENALTY = 1.0
"""Inverse strength of the ridge penalty on standardised features."""
FOLDS = 8
Weights = NDArray[np.float64]


class Sentences(NamedTuple):
    """Candidate sentences: features (n, d), grades (n,), the number of the question (n,), how far its document is about
    the question (n,)."""

    features: NDArray[np.float64]
    grades: NDArray[np.int64]
    questions: NDArray[np.int64]
    abouts: NDArray[np.float64]

    def part(self, chosen: NDArray[np.bool_]) -> Sentences:
        """Those that are chosen."""
        return Sentences(self.features[chosen], self.grades[chosen], self.questions[chosen], self.abouts[chosen])


def starter() -> Sentences:
    """Every sentence found for a question of the starter literature; 1 answers."""
    rows = [json.loads(line) for line in QUESTIONS.read_text("utf-8").splitlines()]
    asked = [row for row in rows if row["split"] != "test" and row["entries"]]
    found: list[tuple[Features, int, int, float]] = []
    with MedQA(reranker="none", config=Config(answerability="off")) as qa:
        weight = qa._view.index.lexical.inverse_document_frequency
        for n, (row, answer) in enumerate(zip(asked, qa.ask_many([row["question"] for row in asked]), strict=True)):
            for candidate in weighed(row["question"], answer.evidence, weight):
                found.append((candidate.features, candidate.text in row["sentences"], n, 1.0))
    return _sentences(found)


def graded(books: Path, data: Path) -> Sentences:
    """The graded sentences that are found again for their questions."""
    grades: dict[str, dict[tuple[str, str], int]] = {}
    for line in GRADED.read_text("utf-8").splitlines()[1:]:
        question, document, sentence, grade = line.split("\t")
        grades.setdefault(question, {})[document, sentence] = int(grade)
    found: list[tuple[Features, int, int, float]] = []
    with MedQA.load(books, reranker="none") as qa:
        weight = qa._view.index.lexical.inverse_document_frequency
        for n, question in enumerate(_questions(data, grades)):
            evidence = qa.ask(question).evidence
            abouts = aboutness(question, evidence, weight)
            wanted = dict(grades[_digest(question)])
            for candidate in weighed(question, evidence, weight):
                place = evidence[candidate.place].document_id, _digest(candidate.text)
                if place in wanted:
                    found.append((candidate.features, wanted.pop(place), n, abouts[candidate.place]))
    print(f"{len(found)} of {sum(map(len, grades.values()))} graded sentences were found again")
    return _sentences(found)


def _questions(data: Path, wanted: Mapping[str, object]) -> list[str]:
    with gzip.open(data / "pairs/query_passage.jsonl.gz", "rt", encoding="utf-8") as file:
        queries = dict.fromkeys(json.loads(line)["query"] for line in file)
    return [query for query in queries if _digest(query) in wanted]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _sentences(found: list[tuple[Features, int, int, float]]) -> Sentences:
    features, grades, questions, abouts = zip(*found, strict=True)
    return Sentences(np.array(features), np.array(grades, dtype=np.int64), np.array(questions), np.array(abouts))


def fitted(entries: Sentences, books: Sentences) -> tuple[Weights, float]:
    """Weights and the books' intercept of a logistic regression over both."""
    from scipy.optimize import minimize

    x = np.concatenate([entries.features, books.features])
    mean, scale = x.mean(0), x.std(0)
    from_books = np.repeat([0.0, 1.0], [len(entries.grades), len(books.grades)])
    z = np.c_[1 - from_books, from_books, (x - mean) / scale]
    sign = np.where(np.concatenate([entries.grades, books.grades]) > 0, 1.0, -1.0)
    counts = np.where(from_books > 0, GRADED_WEIGHT, 1.0)

    def loss(w: Weights) -> tuple[float, Weights]:
        margins = sign * (z @ w)
        slope = counts * sign / (1 + np.exp(margins))
        penalty = np.r_[0.0, 0.0, w[2:]] / PENALTY
        return float(counts @ np.logaddexp(0, -margins) + w @ penalty / 2), penalty - z.T @ slope

    found = minimize(loss, np.zeros(z.shape[1]), jac=True, method="L-BFGS-B").x
    weights = found[2:] / scale
    return weights, float(found[1] - weights @ mean)


def _best(sentences: Sentences, relevances: NDArray[np.float64], most: int) -> list[NDArray[np.float64]]:
    """For each question (relevance, grade) of its best sentences, in order."""
    both = np.c_[relevances, sentences.grades]
    own = (both[sentences.questions == n] for n in np.unique(sentences.questions))
    return [each[np.argsort(-each[:, 0], kind="stable")][:most] for each in own]


def _above(best: list[NDArray[np.float64]], floor: float) -> str:
    """What is left of each question's best sentences (`_best`) above a share of the first one's relevance."""
    left = [each[each[:, 0] >= floor * each[0, 0], 1] for each in best]
    useless, answered = np.mean(np.concatenate(left) == 0), np.mean([(grades > 0).any() for grades in left])
    good = np.mean([(grades > 1).any() for grades in left])
    return f"{np.mean([*map(len, left)]):.2f} sentences, of no use {useless:.3f}; graded 1, 2 {answered:.3f} {good:.3f}"


def main() -> None:
    """Fits, cross-validates, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--books", type=Path, required=True, help="folder of the index of textbooks and encyclopedia")
    parser.add_argument("--data", type=Path, required=True, help="folder with pairs/")
    options = parser.parse_args()
    both = starter(), graded(options.books, options.data)
    relevances = [np.empty(len(sentences.grades)) for sentences in both]
    for fold in range(FOLDS):
        out = [sentences.questions % FOLDS == fold for sentences in both]
        weights, intercept = fitted(*(one.part(~held) for one, held in zip(both, out, strict=True)))
        for one, held, relevance in zip(both, out, relevances, strict=True):
            likely = 1 / (1 + np.exp(-(one.features[held] @ weights + intercept)))
            relevance[held] = likely * one.abouts[held]
    for name, one, relevance in zip(("starter", "books"), both, relevances, strict=True):
        print(f"{name}: {len(np.unique(one.questions))} questions, {len(one.grades)} sentences")
        for most in (1, 3, 5):
            grades = [each[:, 1] for each in _best(one, relevance, most)]
            shares = " ".join(f"{np.mean([(each >= least).any() for each in grades]):.3f}" for least in (1, 2))
            print(f"  among the best {most}: one graded 1, 2 {shares}; mean {np.mean([e.mean() for e in grades]):.3f}")
        for floor in (0.15, 0.4, 0.5):
            print(f"  of the best five, from {floor} of the best on: {_above(_best(one, relevance, 5), floor)}")
    weights, intercept = fitted(*both)
    named = ", ".join(f"{name}={value:.2f}" for name, value in zip(Features._fields, weights, strict=True))
    print(f"WEIGHTS = Features({named})\nINTERCEPT = {intercept:.2f}")


if __name__ == "__main__":
    main()
