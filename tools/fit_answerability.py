"""Make chimed_rag/corpus/starter/answerability again: which questions the starter literature answers.

    python -m tools.fit_answerability

Words and neighbours are learned from the questions of training/asked; the few numbers that weigh them against the
evidence, and the least score, from the development and seen questions of tests/starter_questions.jsonl, which other
people wrote: the encoder has read training/asked, so its cosines say nothing there. The least score is the one below
which `SPARED` of the answerable questions lie. Test questions are not read. Evidence comes in the fused order: the
reranker came later. Needs scikit-learn; run it after `make starter`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from chimed_rag import MedQA
from chimed_rag.config import Config
from chimed_rag.encoders.ngram_weights import NgramWeights
from chimed_rag.literature import STARTER_ANSWERABILITY
from chimed_rag.safety.answerability import Answerability, Asked
from tools.check_starter import ASKED, QUESTIONS

PARTS = "WBPC"
SPARED = 0.035
"""Share of answerable questions that the least score refuses where it was fitted; .05 is what is to hold elsewhere."""


def rows_of(files: Sequence[Path]) -> list[dict[str, object]]:
    """The rows of JSONL files."""
    return [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines()]


def main() -> None:
    """Fits, cross-validates, writes."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    asked = rows_of(sorted(ASKED.glob("*.jsonl")))
    known = [bool(row["sentences"]) for row in asked]
    asked_for = [str(row["question"]) for row in asked]
    words, before = NgramWeights.fit(asked_for, known), Asked.of(asked_for, known)
    half = Answerability(words, before)
    judged = [row for row in rows_of([QUESTIONS]) if row["split"] != "test"]
    questions = [str(row["question"]) for row in judged]
    answered = np.array([bool(row["entries"]) for row in judged])
    with MedQA(reranker="none", config=Config(answerability="off")) as qa:
        weight = qa._view.index.lexical.inverse_document_frequency
        evidence = [answer.evidence for answer in qa.ask_many(questions)]
    x = np.array([half.features(q, found, weight) for q, found in zip(questions, evidence, strict=True)])
    model = LogisticRegression(C=1e3, max_iter=1000)  # four numbers need no shrinking
    folds = StratifiedKFold(10, shuffle=True, random_state=0)
    for count in range(1, len(PARTS) + 1):
        scores = cross_val_predict(model, x[:, :count], answered, cv=folds, method="decision_function")
        refused = np.mean(scores[~answered] < np.quantile(scores[answered], SPARED))
        print(
            f"cross-validated, {PARTS[:count]}: area under the ROC curve {roc_auc_score(answered, scores):.3f}; refused"
            f" {refused:.3f} of those without an answer where {SPARED} of the others are"
        )
    model.fit(x, answered)
    fitted = model.decision_function(x)
    least = float(np.quantile(fitted[answered], SPARED))
    numbers = (float(model.intercept_[0]), *map(float, model.coef_[0]), least)
    Answerability(replace(words, numbers=numbers), before).save(STARTER_ANSWERABILITY)
    print(
        f"{len(asked):,} questions asked, {sum(known):,} of them answered; numbers of {len(judged)} others:"
        f" {', '.join(f'{number:.3f}' for number in numbers)}"
    )


if __name__ == "__main__":
    main()
