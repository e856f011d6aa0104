"""Fits the weights of `generation.extractive` on the development questions of the starter literature.

    python -m tools.fit_extractive

Prints WEIGHTS and INTERCEPT to put into `chimed_rag/generation/extractive.py`, and how often one of the five best
sentences answers, by 8-fold cross-validation over questions. Needs scikit-learn. The test questions are not read.
"""

from __future__ import annotations

import json

import numpy as np
from numpy.typing import NDArray

from chimed_rag import MedQA
from chimed_rag.generation.extractive import Features, weighed
from tools.check_starter import QUESTIONS

PENALTY = 1.0
"""Inverse strength of the ridge penalty on standardised features."""


def candidates() -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.int64]]:
    """Features (n, 5) of every candidate sentence, whether it answers (n,), and the number of its question (n,)."""
    rows = [json.loads(line) for line in QUESTIONS.read_text("utf-8").splitlines()]
    asked = [row for row in rows if row["split"] == "development" and row["entries"]]
    features, answers, groups = [], [], []
    with MedQA() as qa:
        weight = qa._view.index.lexical.inverse_document_frequency
        for n, (row, answer) in enumerate(zip(asked, qa.ask_many([row["question"] for row in asked]), strict=True)):
            for candidate in weighed(row["question"], answer.evidence, weight):
                features.append(candidate.features)
                answers.append(candidate.text in row["sentences"])
                groups.append(n)
    return np.array(features), np.array(answers), np.array(groups)


def main() -> None:
    """Fits, cross-validates, prints."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y, groups = candidates()
    model = make_pipeline(StandardScaler(), LogisticRegression(C=PENALTY, max_iter=1000))
    scores = cross_val_predict(model, x, y, groups=groups, cv=GroupKFold(8), method="predict_proba")[:, 1]
    ranked = [y[groups == n][np.argsort(-scores[groups == n])] for n in np.unique(groups)]
    print(f"{len(ranked)} questions, {len(y)} sentences, {y.sum()} of them answers")
    for most in (1, 5):
        print(f"an answer among the best {most}: {np.mean([found[:most].any() for found in ranked]):.3f}")
    scale, regression = model.fit(x, y)[0], model[1]
    weights = regression.coef_[0] / scale.scale_
    intercept = regression.intercept_[0] - float(weights @ scale.mean_)
    named = ", ".join(f"{name}={value:.2f}" for name, value in zip(Features._fields, weights, strict=True))
    print(f"WEIGHTS = Features({named})\nINTERCEPT = {intercept:.2f}")


if __name__ == "__main__":
    main()
