"""Fits the weights of `evaluation.exam.choice` on questions with options, and prints them to be pasted there.

    python -m tools.fit_exam_evidence --data cmexam_train.jsonl.gz --index DIR

A multinomial logit over the options of each question: the likelihood of the right one, less a quadratic penalty on the
weights of affirmative and negated stems in common and apart. Prints the accuracy in ten-fold cross-validation too.
Not covered: any set that is kept for measuring; give training questions only.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from chimed_rag.evaluation.exam.choice import MEASURES, is_negated, measures, standardised
from chimed_rag.evaluation.exam.postings import read_literature
from chimed_rag.evaluation.tasks.exam_evidence import Item, read_items
from chimed_rag.indexing.index import Index

PENALTY = 0.3
Row = tuple[NDArray[np.float64], NDArray[np.float64], bool]
"""Standardised measures (options, measures), the share that each option has of being right, whether negated."""


def expanded(rows: list[Row]) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Measures in common, and beside them with the sign of the stem."""
    return [(np.hstack([values, values * (1 if negated else -1)]), share) for values, share, negated in rows]


def fit(rows: list[Row]) -> NDArray[np.float64]:
    """Weights in common and by sign, shape (2 * measures,)."""
    data = expanded(rows)

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        total, slope = PENALTY * float(weights @ weights) / 2, PENALTY * weights
        for values, share in data:
            scores = values @ weights
            scores -= scores.max() + np.log(np.exp(scores - scores.max()).sum())
            total -= float(share @ scores) / len(data)
            slope = slope - (share - np.exp(scores)) @ values / len(data)
        return total, slope

    start = np.zeros(2 * len(MEASURES))
    result: Any = minimize(loss, start, jac=True, method="L-BFGS-B")
    weights: NDArray[np.float64] = result.x
    return weights


def accuracy(rows: list[Row], items: list[Item], weights: NDArray[np.float64]) -> list[bool]:
    """Whether each question's choice is the one right option."""
    return [
        {int((values @ weights).argmax())} == item.right
        for (values, _), item in zip(expanded(rows), items, strict=True)
    ]


def main() -> None:
    """Reads, measures, fits, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--index", type=Path, required=True)
    parser.add_argument("--keep", type=Path, help="keep the measures there (npz) and read them from there")
    options = parser.parse_args()
    items = read_items(options.data)
    if options.keep is not None and options.keep.exists():
        kept = np.load(options.keep)
        raw = [kept[str(n)] for n in range(len(items))]
    else:
        literature = read_literature(Index.open(options.index))
        raw = []
        for item in items:
            raw.append(measures(literature, item.question, item.options))
            if len(raw) % 200 == 0:
                print(f"{len(raw)} of {len(items)}", file=sys.stderr)
        if options.keep is not None:
            np.savez(options.keep, **{str(n): values for n, values in enumerate(raw)})
    typical = np.mean([values.std(axis=0) for values in raw], axis=0)
    rows = []
    for item, values in zip(items, raw, strict=True):
        share = np.array([float(place in item.right) / len(item.right) for place in range(len(item.options))])
        rows.append((standardised(values, typical.tolist()), share, is_negated(item.question)))
    folds = np.random.default_rng(0).integers(0, 10, len(rows))
    right = np.zeros(len(rows), dtype=bool)
    for fold in range(10):
        weights = fit([row for row, at in zip(rows, folds, strict=True) if at != fold])
        held = np.flatnonzero(folds == fold)
        right[held] = accuracy([rows[n] for n in held], [items[n] for n in held], weights)
    print(f"# {right.mean():.3f} of {len(rows)} right in ten-fold cross-validation")
    weights = fit(rows)
    common, signed = np.split(weights, 2)
    print("TYPICAL =", tuple(float(f"{value:.3g}") for value in typical))
    print(
        "WEIGHTS =",
        {negated: tuple((common + (signed if negated else -signed)).round(3).tolist()) for negated in (False, True)},
    )


if __name__ == "__main__":
    main()
