"""What the starter literature answers: its questions asked, entries found, sentences quoted, refusals, emergencies.

    python benchmarks/starter.py                       # the test split
    python benchmarks/starter.py --split development --worst 20
    python benchmarks/starter.py --refusal 0.05        # with a refusal rule fitted on the other questions
    python benchmarks/starter.py --beir DIR            # the same questions as BEIR files for chimed evaluate retrieval

The questions lie in `tests/starter_questions.jsonl`: each with the entries and the sentences that answer it, or with
none of both where the literature holds no answer. "test" was written by people who did not read the code, after the
rules; "seen" holds test questions of earlier days, which were looked at too often to be one.

Recall@5: one of the entries is among the five best documents. Answer sentence: one of the sentences is quoted. Refused:
`abstention` is set. Wrong: of the answers given, those that cite no entry that answers. Emergency: a red flag is raised
where the question tells of one. Intervals are 95 % percentile bootstrap over questions.
Not measured: whether the sentences are true (see SOURCES.tsv beside the entries), and speed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _common import ROOT, report

QUESTIONS = ROOT / "tests" / "starter_questions.jsonl"
GOALS = {"Recall@5": 0.90, "answer sentence": 0.75, "refused, unanswerable": 0.70, "refused, answerable": 0.05}


def questions(split: str) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in QUESTIONS.read_text("utf-8").splitlines()]
    return [row for row in rows if split in ("all", row["split"])]


def outcomes(
    rows: list[dict[str, Any]], fitted: Sequence[dict[str, Any]] = (), risk: float = 0.05
) -> list[dict[str, Any]]:
    """Each question with what became of it, under a refusal rule fitted on other questions if there are some."""
    from chimed_rag import MedQA
    from chimed_rag.evaluation.retrievers import document_search

    with MedQA() as qa:
        search = document_search(qa)
        if fitted:
            known = [{"question": row["question"], "documents": [f"{e}.md" for e in row["entries"]]} for row in fitted]
            print(qa.calibrate(known, risk=risk).guarantee, file=sys.stderr)
        found = []
        for row, answer in zip(rows, qa.ask_many([row["question"] for row in rows]), strict=True):
            documents = [Path(document).stem for document, _ in search(row["question"], 5)]
            found.append(
                row
                | {
                    "documents": documents,
                    "found": bool(set(documents) & set(row["entries"])),
                    "said": [sentence.text for sentence in answer.sentences],
                    "answered": bool({sentence.text for sentence in answer.sentences} & set(row["sentences"])),
                    "refused": answer.abstention is not None,
                    "cited": bool({Path(c.document_id).stem for c in answer.citations} & set(row["entries"])),
                    "raised": any(notice.kind == "emergency" for notice in answer.notices),
                }
            )
        return found


def measures(found: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    from chimed_rag.evaluation.statistics import bootstrap_means

    known = [row for row in found if row["entries"]]
    unknown = [row for row in found if not row["entries"]]
    urgent = [row for row in found if row.get("kind") == "emergency"]
    calm = [row for row in found if row.get("kind") != "emergency"]
    groups = {
        "Recall@5": [row["found"] for row in known],
        "answer sentence": [row["answered"] for row in known],
        "first sentence": [row["said"][:1] != [] and row["said"][0] in row["sentences"] for row in known],
        "refused, unanswerable": [row["refused"] for row in unknown],
        "refused, answerable": [row["refused"] for row in known],
        "wrong, of the answered": [not row["cited"] for row in found if not row["refused"]],
        "red flag, emergencies": [row["raised"] for row in urgent],
        "red flag, others": [row["raised"] for row in calm],
    }
    table = {}
    for name, values in groups.items():
        if values:
            interval = bootstrap_means({name: np.asarray(values, float)})[name]
            table[name] = {"n": len(values), "value": interval.value, "low": interval.low, "high": interval.high}
    return table


def write_beir(folder: Path, rows: list[dict[str, Any]]) -> None:
    """queries.jsonl, corpus.jsonl and qrels.jsonl of the answerable questions over the entries."""
    from chimed_rag.corpus.sources import load

    folder.mkdir(parents=True, exist_ok=True)
    corpus = [
        {"_id": Path(document.id).stem, "title": " ".join(document.names), "text": document.text}
        for document in load(str(ROOT / "chimed_rag/corpus/starter/*.md"))
    ]
    asked = [(f"q{n}", row) for n, row in enumerate(rows) if row["entries"]]
    queries = [{"_id": key, "text": row["question"]} for key, row in asked]
    qrels = [{"query-id": key, "corpus-id": slug, "score": 1} for key, row in asked for slug in row["entries"]]
    for name, lines in (("corpus", corpus), ("queries", queries), ("qrels", qrels)):
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (folder / f"{name}.jsonl").write_text(text, "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", choices=("development", "seen", "test", "all"), default="test")
    parser.add_argument(
        "--refusal", type=float, metavar="RISK", help="with a rule fitted on the other splits' questions"
    )
    parser.add_argument("--worst", type=int, default=0, help="also show so many questions that went wrong")
    parser.add_argument("--beir", type=Path, help="write the questions as BEIR files there and stop")
    parser.add_argument("--json", type=Path, dest="json_file", help="also write the table there")
    options = parser.parse_args()
    rows = questions(options.split)
    if options.beir:
        write_beir(options.beir, rows)
        return
    others = [row for row in questions("all") if row["split"] != options.split] if options.refusal else []
    found = outcomes(rows, others, options.refusal or 0.05)
    table = measures(found)
    entries = len(list((ROOT / "chimed_rag/corpus/starter").glob("*.md")))
    report(
        f"Asking the starter literature, {options.split} split",
        ["measure", "value", "low", "high", "n", "goal"],
        [{"measure": name, "goal": GOALS.get(name, ""), **row} for name, row in table.items()],
        about={"entries": entries, "questions": len(rows)},
        packages=("scipy",),
        notes=[
            "low and high: 95 % percentile bootstrap over questions",
            "goal: at least; for refused, answerable at most",
        ],
        json_file=options.json_file,
    )
    wrong = [row for row in found if row["refused"] == bool(row["entries"]) or (row["entries"] and not row["answered"])]
    for row in wrong[: options.worst]:
        print(
            f"\n{row['question']}  {row['entries']}  found {row['found']}, refused {row['refused']}: {row['documents']}"
        )
        print("  wanted:", *row["sentences"][:2], sep="\n    ")
        print("  said:", *row["said"], sep="\n    ")


if __name__ == "__main__":
    sys.exit(main())
