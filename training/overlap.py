"""How written replies compare with references, by characters, and with themselves: BLEU, ROUGE, repetition, stops.

BLEU is sacrebleu's with its tokenizer `zh` (each Chinese character is a token, Latin words and numbers are whole);
ROUGE is rouge-score's with `Characters` in place of its own tokenizer, which drops all that is not Latin. Scores lie
between 0 and 1. Not covered: whether what is written is true, and intervals (`gates`, `evaluation.statistics`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from chimed_rag.errors import InputError
from chimed_rag.evaluation.metrics.text import Characters
from chimed_rag.generation.language_model import Completion

Scores = NDArray[np.float64]


class Overlap(NamedTuple):
    """Arrays of shape (rows,), in the order of the rows; `corpus_bleu` is one number for all of them.

    `bleu1` and `bleu2` are of each row by itself, of n-grams up to that order (a row that has none of an order is
    judged by the shorter ones: sacrebleu's effective order); `corpus_bleu` is of n-grams up to 4 (Papineni et al.
    2002). `rouge1`, `rouge2` and `rouge_l` are F1 (Lin 2004).
    """

    bleu1: Scores
    bleu2: Scores
    rouge1: Scores
    rouge2: Scores
    rouge_l: Scores
    corpus_bleu: float


def text_overlap(candidates: Sequence[str], references: Sequence[str]) -> Overlap:
    """Compares each candidate with the reference of its row. An empty text shares nothing with any.

    Raises:
        InputError: no rows, or more of one than of the other.
    """
    from rouge_score.rouge_scorer import RougeScorer
    from sacrebleu.metrics.bleu import BLEU

    if not candidates or len(candidates) != len(references):
        raise InputError(
            f"{len(candidates)} candidates cannot be compared with {len(references)} references, row by row"
        )
    one, two = (BLEU(tokenize="zh", max_ngram_order=order, effective_order=True) for order in (1, 2))
    kinds = ("rouge1", "rouge2", "rougeL")
    rouge = RougeScorer(list(kinds), tokenizer=Characters())
    rows = np.zeros((len(candidates), 5))
    for row, candidate, reference in zip(rows, candidates, references, strict=True):
        if not candidate.strip() or not reference.strip():
            continue
        found = rouge.score(reference, candidate)
        row[:2] = [bleu.sentence_score(candidate, [reference]).score / 100 for bleu in (one, two)]
        row[2:] = [found[kind].fmeasure for kind in kinds]
    corpus = BLEU(tokenize="zh").corpus_score(list(candidates), [list(references)]).score / 100
    bleu1, bleu2, rouge1, rouge2, rouge_l = rows.T
    return Overlap(bleu1, bleu2, rouge1, rouge2, rouge_l, corpus)


def repetition_rate(texts: Sequence[str], n: int = 4) -> Scores:
    """Of each text, the share of its n-grams of characters that stood in it before, shape (rows,).

    `seq-rep-n` of Welleck et al. 2019 (arXiv:1908.04319). 0 for a text shorter than n.
    """
    return np.array([1 - len(set(grams)) / len(grams) if (grams := _grams(text, n)) else 0.0 for text in texts])


def stop_rate(completions: Sequence[Completion]) -> float:
    """The share that ended by itself, and not at a limit of tokens or of time; 0 where there is none.

    A model in ChiMed-GPT's own form that goes on to write `[human]:` counts as one that ended, as it does in serving.
    """
    return stopped(completions) / len(completions) if completions else 0.0


def stopped(completions: Sequence[Completion]) -> int:
    """How many ended by themselves."""
    return sum(completion.finish == "stop" for completion in completions)


def length_ratio(candidates: Sequence[str], references: Sequence[str]) -> float:
    """All characters of the candidates over all of the references.

    Raises:
        InputError: the references are empty.
    """
    below = sum(map(len, references))
    if not below:
        raise InputError("lengths cannot be compared with those of empty references")
    return sum(map(len, candidates)) / below


def _grams(text: str, n: int) -> list[str]:
    return [text[start : start + n] for start in range(len(text) - n + 1)]
