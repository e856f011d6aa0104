"""What the safety of an answer costs: milliseconds of each step for drafts of ten sentences, without NLI.

    python benchmarks/safety.py

Each of 200 questions of `tests/starter_questions.jsonl` (development half) is asked of the starter literature; the
draft is the first ten sentences of its evidence, cited by number without a place, as a language model cites, every
second one with its first clause moved to the end, so that the proof has to search. Times are those of the trace.
Not measured: what the steps decide (see proof.py, redaction.py, triage.py, abstention.py).
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _common import ROOT, report

QUESTIONS = ROOT / "tests" / "starter_questions.jsonl"
STEPS = ("redaction", "triage", "injection", "citations", "conflicts", "policy")
GOAL = 15.0  # milliseconds for redaction, triage, citations and policy together


class TenSentences:
    """Drafts the first ten sentences of the evidence, every second one reordered."""

    name = "ten sentences"

    def generate(self, question: str, evidence: Sequence[Any], *, term_weight: Any = None) -> Any:
        from chimed_rag.records import Draft, DraftCitation, DraftSentence
        from chimed_rag.text import sentence_spans

        drafted = []
        for passage in evidence:
            for begin, end in sentence_spans(passage.text):
                text = passage.text[begin:end].strip()
                if len(text) > 8 and text.endswith("。"):
                    drafted.append(DraftSentence(text=text, citations=(DraftCitation(number=passage.number),)))
        drafted = drafted[:10]
        for place in range(0, len(drafted), 2):
            clauses = re.split("[，。]", drafted[place].text)[:-1]
            text = "，".join((*clauses[1:], clauses[0])) + "。"
            drafted[place] = drafted[place].model_copy(update={"text": text})
        return Draft(generator=self.name, sentences=tuple(drafted))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--json", type=Path, dest="json_file", help="also write the table there")
    options = parser.parse_args()
    from chimed_rag import MedQA
    from chimed_rag.config import Config

    rows = [json.loads(line) for line in QUESTIONS.read_text("utf-8").splitlines()]
    asked = [row["question"] for row in rows if row["split"] == "development" and row["entries"]][: options.limit]
    with MedQA(generator=TenSentences(), config=Config(least_supported=0, unsupported="flag")) as qa:
        for question in asked[:10]:  # tables and patterns are read once in a process
            qa.ask(question)
        answers = [qa.ask(question) for question in asked]
    traces = [answer.trace for answer in answers if answer.abstention is None]
    times = [{step.step: step.milliseconds for step in trace if step.step in STEPS} for trace in traces]
    columns = {step: [one.get(step, 0.0) for one in times] for step in STEPS}
    columns["redaction + triage + citations + policy"] = [
        sum(one.get(step, 0.0) for step in ("redaction", "triage", "citations", "policy")) for one in times
    ]
    columns["all"] = [sum(one.values()) for one in times]
    table = [
        {
            "step": step,
            "p50": round(statistics.median(values), 2),
            "p95": round(sorted(values)[int(0.95 * len(values))], 2),
            "goal": GOAL if "+" in step else "",
        }
        for step, values in columns.items()
    ]
    report(
        "Milliseconds of safety for an answer of ten sentences",
        ["step", "p50", "p95", "goal"],
        table,
        about={"questions": len(asked), "answered": len(times)},
        notes=["wall clock, from the trace; passages of the starter literature are short (about 120 characters)"],
        json_file=options.json_file,
    )


if __name__ == "__main__":
    sys.exit(main())
