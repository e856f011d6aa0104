"""Red flags: how many emergencies are found, how many everyday questions are alarmed, and in what time.

    python benchmarks/triage.py
    python benchmarks/triage.py --paraphrases FILE...  # TSV: rule, tab, sentence; rule "-" where none may be raised

Recall of the rules' own triggers is 1 by construction (the tests see to it). A paraphrase counts as found when its own
rule is raised; "any" counts whatever is raised. Alarms: the share of real patient questions, most of which are no
emergency, that raise anything; how many of these are true emergencies was judged by hand (NOTES). Time: one process,
warm, wall clock. Shares have 95 % score intervals (Wilson).
Not measured: emergencies among the questions that raise nothing.
"""

from __future__ import annotations

import gzip
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from _common import ROOT, Row, parser, report

from chimed_rag.evaluation.statistics import percentiles, proportion
from chimed_rag.safety.triage import red_flags, triage

QUESTIONS = "eval/huatuo_retrieval_dev/queries.jsonl.gz"
LONG = range(250, 351)
NOTES = [
    "of the 86 questions alarmed a reader calls 26 emergencies now, 38 to be seen the same day or soon, 22 neither; of"
    " 76 that the rules alone had alarmed their author called 41 emergencies or urgent, 10 more so but in hospital",
    "1,418 real questions with an open licence, chosen for looking alarming and judged by a reader; by weights that"
    " have not seen them .80 of 184 emergencies, .50 of 511 to be seen soon and .36 of 723 others are raised; by the"
    " rules before such weights .74, .46 and .46. Of 1,600 more, those that came closest without a rule's words, the"
    " readers call 122 emergencies, mostly for want of any time in a short title: .04 are raised",
    "low and high: 95 % score interval",
]


def raised(sentence: str) -> list[str]:
    return [notice.rule or "" for notice in triage(sentence)]


def share(measure: str, hits: int, n: int) -> Row:
    found = proportion(hits, n)
    return {"measure": measure, "value": found.value, "low": found.low, "high": found.high, "n": n}


def rules() -> list[Row]:
    flags = red_flags()
    triggers = [flag.id in raised(sentence) for flag in flags for sentence in flag.triggers]
    misses = [bool(raised(sentence)) for flag in flags for sentence in flag.near_misses]
    return [
        {"measure": "rules", "value": len(flags)},
        share("triggers found", sum(triggers), len(triggers)),
        share("near misses raised", sum(misses), len(misses)),
    ]


def alarms(file: Path) -> tuple[list[Row], Counter[str]]:
    """Alarms on real questions, and the time that they take, the long ones apart."""
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        questions = [json.loads(line)["text"] for line in lines]
    found = [raised(question) for question in questions]  # compiles what is needed
    spent: list[tuple[int, float]] = []
    for question in questions:
        begin = time.perf_counter()
        triage(question)
        spent.append((len(question), 1e3 * (time.perf_counter() - begin)))
    rows = [share("questions alarmed", sum(map(bool, found)), len(found))]
    for name, times in (
        ("a question", [took for _, took in spent]),
        (f"one of {LONG[0]} to {LONG[-1]} characters", [took for length, took in spent if length in LONG]),
    ):
        at = percentiles(times)
        rows += [
            {"measure": f"{name}, ms, p50", "value": at.p50, "n": len(times)},
            {"measure": f"{name}, ms, p95", "value": at.p95, "n": len(times)},
        ]
    return rows, Counter(rule for rules in found for rule in rules)


def paraphrases(files: Sequence[Path]) -> tuple[list[Row], Counter[str]]:
    """Recall on sentences written apart from the rules, and which rules miss how many."""
    pairs = [line.split("\t", 1) for file in files for line in file.read_text("utf-8").splitlines() if "\t" in line]
    found = [(rule, raised(sentence)) for rule, sentence in pairs]
    own = [rule in rules for rule, rules in found if rule != "-"]
    some = [bool(rules) for rule, rules in found if rule != "-"]
    calm = [bool(rules) for rule, rules in found if rule == "-"]
    rows = [share("paraphrases, own rule", sum(own), len(own)), share("paraphrases, any rule", sum(some), len(some))]
    if calm:
        rows.append(share("their near misses raised", sum(calm), len(calm)))
    return rows, Counter(rule for rule, rules in found if rule not in ("-", *rules))


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--paraphrases", type=Path, nargs="+", help="TSV of rule and sentence; rule - for near misses")
    options.set_defaults(json_file=ROOT / "benchmarks/results/triage.json")
    chosen = options.parse_args()
    rows, notes = rules(), [*NOTES]
    if (chosen.data / QUESTIONS).is_file():
        more, by_rule = alarms(chosen.data / QUESTIONS)
        rows += more
        notes.append("rules raised by real questions: " + ", ".join(f"{r} {n}" for r, n in by_rule.most_common()))
    else:
        print(f"{chosen.data / QUESTIONS} is not there: alarms and times are left out; see --data", file=sys.stderr)
    if chosen.paraphrases:
        more, missed = paraphrases(chosen.paraphrases)
        rows += more
        notes.append("paraphrases missed: " + (", ".join(f"{r} {n}" for r, n in missed.most_common()) or "none"))
    report(
        "Red flags",
        ["measure", "value", "low", "high", "n"],
        rows,
        about={"questions": QUESTIONS},
        packages=("scipy",),
        notes=notes,
        json_file=chosen.json_file,
    )


if __name__ == "__main__":
    main()
