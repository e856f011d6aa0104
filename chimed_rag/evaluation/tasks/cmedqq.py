"""cMedQQ: do two patients ask the same thing; AUC, and F1 at a threshold that the other half of the data chose.

Data: ChineseBLUE (Zhang et al. 2020), development set, Apache-2.0; rows `{"q1", "q2", "label"}`. A BERT-base fine-tuned
on its training set is published with F1 86.5; nothing is fine-tuned here, and always saying yes gives .663.

Each half of the rows (seeded) is judged at the threshold with the best F1 on the other, so every row counts once and
none chose its own threshold. A pair's lexical score is the mean of both directions, each as a share of what the asking
question gives itself; the dense one is the mean of both cosines. Not covered: training on pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chimed_rag.corpus.jsonl import json_rows
from chimed_rag.errors import CorpusError
from chimed_rag.evaluation.beir import data_sha256
from chimed_rag.evaluation.metrics.binary import auc, best_threshold, f1
from chimed_rag.evaluation.pairs import PairScorer
from chimed_rag.evaluation.result import Result, library_versions, rounded
from chimed_rag.evaluation.statistics import SEED, Interval

if TYPE_CHECKING:
    from chimed_rag.encoders.base import Encoder


class QuestionPair(NamedTuple):
    """Two questions, and whether people say that they ask the same."""

    one: str
    two: str
    same: bool


def read_question_pairs(path: str | Path) -> list[QuestionPair]:
    """The pairs of a file, in its order.

    Raises:
        CorpusError: a line cannot be read, or the file holds no pair.
    """
    found = []
    for line, row in json_rows(path):
        one, two, label = row.get("q1"), row.get("q2"), str(row.get("label"))
        if not isinstance(one, str) or not isinstance(two, str) or label not in ("0", "1"):
            raise CorpusError("not a row with q1, q2 and a label of 0 or 1", path=str(path), line=line)
        found.append(QuestionPair(one, two, label == "1"))
    if not found:
        raise CorpusError("holds no pair", path=str(path))
    return found


def cmedqq_result(
    data: str | Path,
    *,
    system: str = "hybrid",
    encoder: str | Path | Encoder = "ngram",
    dense_weight: float | None = None,
    limit: int | None = None,
    progress: Callable[[str, int], None] | None = None,
) -> Result:
    """F1 and AUC of a system, and of plain BM25 beside it, in 0..1.

    Args:
        data: the file.
        system, encoder, dense_weight: see `evaluation.pairs.PairScorer`.
        limit: only so many pairs, the first ones.
        progress: called with a stage and how many pairs are done.

    Raises:
        CorpusError: the file cannot be read; InputError: an unknown system, or too few pairs.
        MissingExtraError: scipy is not installed.
    """
    pairs = read_question_pairs(data)[:limit]
    labels = np.array([pair.same for pair in pairs])
    names = dict.fromkeys((system, "bm25"))
    scores: dict[str, list[float]] = {name: [] for name in names}
    texts = (text for pair in pairs for text in (pair.one, pair.two))
    with PairScorer(texts, encoder=encoder, dense_weight=dense_weight) as scorer:
        for done, pair in enumerate(pairs, 1):
            for name in names:
                both = _likeness(scorer, name, pair.one, pair.two), _likeness(scorer, name, pair.two, pair.one)
                scores[name].append(sum(both) / 2)
            if progress is not None:
                progress("comparing", done)
    metrics: dict[str, Interval] = {}
    for name in names:
        prefix = "" if name == system else f"{name}_"
        values = np.array(scores[name])
        metrics[f"{prefix}f1"] = f1(cross_judged(values, labels), labels)
        metrics[f"{prefix}auc"] = auc(values, labels)
    return Result(
        task="cmedqq",
        system=system,
        protocol="each half at the threshold that the other half chose",
        n=len(pairs),
        data_sha256=data_sha256([data]),
        metrics=rounded(metrics),
        versions=library_versions(),
    )


def cross_judged(scores: NDArray[np.float64], labels: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Yes or no for each row, shape (n,), at the threshold that the other half of the rows chose; n at least 2."""
    shuffled = np.random.default_rng(SEED).permutation(len(scores))
    halves = shuffled[: len(scores) // 2], shuffled[len(scores) // 2 :]
    said = np.zeros(len(scores), dtype=bool)
    for judged, chosen_on in (halves, halves[::-1]):
        said[judged] = scores[judged] >= best_threshold(scores[chosen_on], labels[chosen_on])
    return said


def _likeness(scorer: PairScorer, system: str, question: str, other: str) -> float:
    if system == "hybrid":
        lexical, dense = (_likeness(scorer, part, question, other) for part in ("lexical", "dense"))
        return (lexical + scorer.weight * dense) / (1 + scorer.weight)
    itself, found = scorer.scores(system, question, [question, other])
    return float(found) if system == "dense" else float(found / itself) if itself > 0 else 0.0
