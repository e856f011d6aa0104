"""Make chimed_rag/safety/red_flags/weights.tsv again: what distinguishes emergencies from everyday questions.

    python tools/red_flags_weights.py --data SHARED_DATA

Emergencies: the triggers of the rules and the sentences of tests/safety/red_flag_*.tsv. Everyday: near misses (three
times the weight) and real questions with an open licence which no rule but the loose ones raises. No row is written:
only runs of at most three characters and their weights. Needs scikit-learn.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from chimed_rag.safety.red_flags_score import LONGEST, plain
from chimed_rag.safety.triage import book, red_flags

ROOT = Path(__file__).resolve().parents[1]
KINDS = {"natural_qa": 20_000, "natural_paraphrase": 4_000, "natural_typo_paraphrase": 2_000}
KEPT = 6000


def everyday(data: Path) -> list[str]:
    """Real questions, so many of each kind, without those that a rule raises."""
    by_kind: dict[str, set[str]] = {kind: set() for kind in KINDS}
    with gzip.open(data / "pairs/query_passage.jsonl.gz", "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            if row["open_licence"] and row["kind"] in by_kind:
                by_kind[row["kind"]].add(row["query"])
    chosen = random.Random(3)  # noqa: S311
    taken = [q for kind, n in KINDS.items() for q in chosen.sample(sorted(by_kind[kind]), min(n, len(by_kind[kind])))]
    with gzip.open(data / "dialogue/cmdd_train_dev.jsonl.gz", "rt", encoding="utf-8") as lines:
        turns = (json.loads(line)["turns"] for line in lines)
        taken += ["，".join(turn["content"] for turn in story if turn["role"] == "user")[:200] for story in turns]
    return [q for q in taken if all(rule.score is not None for rule in book().raised(q))]


def main() -> None:
    """Fit, keep the most telling runs, fit again, write."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data", type=Path, required=True, help="the folder with pairs/ and dialogue/")
    pairs = [
        line.split("\t")
        for name in ("red_flag_sentences.tsv", "red_flag_any.tsv")
        for line in (ROOT / "tests/safety" / name).read_text("utf-8").splitlines()
    ]
    alarming = [text for rule, text in pairs if rule != "-"] + [text for flag in red_flags() for text in flag.triggers]
    calm = [text for rule, text in pairs if rule == "-"] + [text for flag in red_flags() for text in flag.near_misses]
    rest = everyday(options.parse_args().data)
    texts = alarming + calm + rest
    wanted = [1] * len(alarming) + [0] * (len(calm) + len(rest))
    worth = [1.0] * len(alarming) + [3.0] * len(calm) + [1.5] * len(rest)

    def counted(**options: object) -> CountVectorizer:
        return CountVectorizer(analyzer="char", ngram_range=(1, LONGEST), binary=True, preprocessor=plain, **options)

    def fitted(seen: object) -> LogisticRegression:
        return LogisticRegression(C=0.25, max_iter=500).fit(seen, wanted, worth)

    first = counted(min_df=4)
    seen = first.fit_transform(texts)
    telling = np.abs(fitted(seen).coef_[0]) * np.sqrt(np.asarray(seen.mean(0))[0])
    kept = sorted(first.get_feature_names_out()[np.argsort(-telling, kind="stable")[:KEPT]])
    model = fitted(counted(vocabulary=kept).transform(texts))
    lines = [
        "# Made by tools/red_flags_weights.py; see chimed_rag/safety/red_flags_score.py.",
        f"\t{model.intercept_[0]:.3f}",
    ]
    lines += [f"{run}\t{weight:.3f}" for run, weight in zip(kept, model.coef_[0], strict=True) if abs(weight) >= 5e-4]
    (ROOT / "chimed_rag/safety/red_flags/weights.tsv").write_text("\n".join(lines) + "\n", "utf-8")
    print(
        f"{len(alarming)} emergencies, {len(calm)} near misses, {len(rest)} everyday questions; {len(lines) - 2} runs"
    )


if __name__ == "__main__":
    main()
