"""Fits the weights of `generation.extractive` on the development and seen questions of the starter literature.

    python -m tools.fit_extractive

Two weights are held (`HELD`): whether a sentence speaks to what is asked and whether its document's name is said matter
where questions and sentences share fewer words than here, and the fit would give them nearly nothing (a name said even
less than nothing) for no gain: an answer among the best 1, 3 and 5 .709, .843 and .888 with them held, .700, .844 and
.891 without.

Prints WEIGHTS and INTERCEPT to put into `chimed_rag/generation/extractive.py`, and how often one of the five best
sentences answers, by 8-fold cross-validation over questions. Needs scipy. The test questions are not read.
"""

from __future__ import annotations

import json

import numpy as np
from numpy.typing import NDArray

from chimed_rag import MedQA
from chimed_rag.config import Config
from chimed_rag.generation.extractive import Features, weighed
from tools.check_starter import QUESTIONS

PENALTY = 1.0
"""Inverse strength of the ridge penalty on standardised features."""
HELD = {"answers": 1.5, "named": 0.6}
FREE = [place for place, name in enumerate(Features._fields) if name not in HELD]
Weights = NDArray[np.float64]


def candidates() -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.int64]]:
    """Features (n, d) of every candidate sentence, whether it answers (n,), and the number of its question (n,)."""
    rows = [json.loads(line) for line in QUESTIONS.read_text("utf-8").splitlines()]
    asked = [row for row in rows if row["split"] != "test" and row["entries"]]
    features, answers, groups = [], [], []
    with MedQA(config=Config(answerability="off")) as qa:
        weight = qa._view.index.lexical.inverse_document_frequency
        for n, (row, answer) in enumerate(zip(asked, qa.ask_many([row["question"] for row in asked]), strict=True)):
            for candidate in weighed(row["question"], answer.evidence, weight):
                features.append(candidate.features)
                answers.append(candidate.text in row["sentences"])
                groups.append(n)
    return np.array(features), np.array(answers), np.array(groups)


def fitted(x: NDArray[np.float64], y: NDArray[np.bool_]) -> tuple[Weights, float]:
    """Weights and intercept of a logistic regression in which `HELD` does not move."""
    from scipy.optimize import minimize

    mean, scale = x[:, FREE].mean(0), x[:, FREE].std(0)
    z = np.c_[np.ones(len(x)), (x[:, FREE] - mean) / scale]
    offset = sum((x[:, Features._fields.index(name)] * weight for name, weight in HELD.items()), np.zeros(len(x)))
    sign = np.where(y, 1.0, -1.0)

    def loss(w: Weights) -> tuple[float, Weights]:
        margins = sign * (z @ w + offset)
        slope = sign / (1 + np.exp(margins))
        penalty = np.r_[0.0, w[1:]] / PENALTY
        return float(np.logaddexp(0, -margins).sum() + w[1:] @ penalty[1:] / 2), penalty - z.T @ slope

    found = minimize(loss, np.zeros(z.shape[1]), jac=True, method="L-BFGS-B").x
    weights = np.array([HELD.get(name, 0.0) for name in Features._fields])
    weights[FREE] = found[1:] / scale
    return weights, float(found[0] - weights[FREE] @ mean)


def main() -> None:
    """Fits, cross-validates, prints."""
    x, y, groups = candidates()
    scores = np.empty(len(y))
    for held_out in range(8):
        out = groups % 8 == held_out
        scores[out] = x[out] @ fitted(x[~out], y[~out])[0]
    ranked = [y[groups == n][np.argsort(-scores[groups == n])] for n in np.unique(groups)]
    print(f"{len(ranked)} questions, {len(y)} sentences, {y.sum()} of them answers")
    for most in (1, 3, 5):
        print(f"an answer among the best {most}: {np.mean([found[:most].any() for found in ranked]):.3f}")
    weights, intercept = fitted(x, y)
    named = ", ".join(f"{name}={value:.2f}" for name, value in zip(Features._fields, weights, strict=True))
    print(f"WEIGHTS = Features({named})\nINTERCEPT = {intercept:.2f}")


if __name__ == "__main__":
    main()
