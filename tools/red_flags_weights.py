"""Make chimed_rag/safety/red_flags/weights.safetensors again: what distinguishes emergencies from everyday questions.

    python -m tools.red_flags_weights --data SHARED_DATA

Learned from, as much as `WORTH` says: the rules' own sentences and their names asked about; the sentences of
tests/safety/red_flag_*.tsv and training/red_flags/*.tsv; the questions of training/asked; real questions that a reader
judged by their text alone (training/red_flags/judged.tsv: 12 digits of the question's SHA-256, then E for an emergency
now, U for what should be seen soon, which is left out, N for neither); everyday questions that no rule raises by its
words, real ones with an open licence and those of the project's own consultations. Of the everyday ones `HELD` are kept
apart; the least score that alarms is the one that `ALARMED` of them reach. No real question is written down. Printed:
what rules and score raise together of the sentences of each writer and of each third of the judged questions, by
weights that have not seen them. Needs scikit-learn.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from chimed_rag.encoders.adapt import consultations
from chimed_rag.encoders.ngram_weights import NgramWeights
from chimed_rag.safety.red_flags_score import FILE, plain
from chimed_rag.safety.triage import CALM, book, red_flags
from tools.check_starter import ASKED, ROOT

KINDS = {"natural_qa": 20_000, "natural_paraphrase": 4_000, "natural_typo_paraphrase": 2_000}
WORTH = {
    "trigger": 6.0,
    "near miss": 8.0,
    "emergency": 1.5,
    "harmless": 3.0,
    "asked": 0.1,
    "E": 4.0,
    "N": 2.0,
    "everyday": 1.0,
}
INVERSE_PENALTY = 3.0
"""Beside 10 more of the real emergencies with a rule's words stay at the same share of the others (see `CALM`)."""
HELD, ALARMED = 6_000, 0.0065
"""More alarms than that would take the 2,984 questions of huatuo_retrieval_dev above 3 %, which are looked at for this
number alone."""
WRITTEN = ROOT / "training" / "red_flags"
ASKED_ABOUT = ("怎么预防{}？", "什么是{}", "{}有哪些症状？", "{}的发病机制", "{}")
THIRDS = 3


class Row(NamedTuple):
    """A text, what it is (a key of `WORTH`, or U), and which part of the data it belongs to."""

    text: str
    kind: str
    part: str

    @property
    def alarming(self) -> bool:
        """Whether it tells of an emergency."""
        return self.kind in ("trigger", "emergency", "E") or self.part == "asked emergency"


def real_questions(data: Path) -> dict[str, list[str]]:
    """Real questions with an open licence by kind, and the first words of consultations as "dialogue"."""
    found: dict[str, set[str]] = {kind: set() for kind in KINDS}
    with gzip.open(data / "pairs/query_passage.jsonl.gz", "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            if row["open_licence"] and row["kind"] in found:
                found[row["kind"]].add(row["query"])
    with gzip.open(data / "dialogue/cmdd_train_dev.jsonl.gz", "rt", encoding="utf-8") as lines:
        turns = [json.loads(line)["turns"] for line in lines]
    said = ["，".join(turn["content"] for turn in story if turn["role"] == "user")[:200] for story in turns]
    return {kind: sorted(questions) for kind, questions in found.items()} | {"dialogue": said}


def judged_and_everyday(data: Path) -> Iterator[Row]:
    """The real questions that were judged, and the everyday ones, in an order by chance."""
    lines = (WRITTEN / "judged.tsv").read_text("utf-8").splitlines()
    labels = dict(line.split("\t") for line in lines)
    real, chance = real_questions(data), random.Random(3)  # noqa: S311
    everyday = [question for question, _ in consultations()]
    for kind, questions in real.items():
        for question in dict.fromkeys(questions):
            if label := labels.pop(key(question), ""):
                yield Row(question, label, f"judged {int(key(question), 16) % THIRDS}")
        everyday += chance.sample(questions, min(KINDS.get(kind, len(questions)), len(questions)))
    if labels:
        raise SystemExit(f"{len(labels)} of the judged questions are not in {data}")
    known = {line.split("\t")[0] for line in lines}
    everyday = [q for q in everyday if key(q) not in known and not book().particular(q)]
    chance.shuffle(everyday)
    for place, question in enumerate(everyday):
        yield Row(question, "everyday", "held" if place < HELD else "everyday")


def own_rows() -> Iterator[Row]:
    """What was written for this project."""
    for flag in red_flags():
        yield from (Row(sentence, "trigger", "rules") for sentence in flag.triggers)
        yield from (Row(sentence, "near miss", "rules") for sentence in flag.near_misses)
        yield from (Row(form.format(flag.name), "harmless", "rules") for form in ASKED_ABOUT)
    for kinds, files in (
        (("near miss", "trigger"), sorted((ROOT / "tests/safety").glob("red_flag_*.tsv"))),
        (("harmless", "emergency"), sorted(set(WRITTEN.glob("*.tsv")) - {WRITTEN / "judged.tsv"})),
    ):
        for file in files:
            for line in file.read_text("utf-8").splitlines():
                label, sentence = line.split("\t")
                yield Row(sentence, kinds[label != "-"], file.stem)
    for file in sorted(ASKED.glob("*.jsonl")):
        for row in map(json.loads, file.read_text("utf-8").splitlines()):
            yield Row(row["question"], "asked", "asked emergency" if row["kind"] == "emergency" else "asked")


def key(question: str) -> str:
    """How judged.tsv names a question."""
    return hashlib.sha256(question.encode()).hexdigest()[:12]


def fitted(rows: list[Row], without: str = "") -> tuple[Callable[[str], float], NgramWeights]:
    """The score of a text, and the weights with the least score that alarms; a part can be left out."""
    used = [row for row in rows if row.part not in ("held", without) and row.kind != "U"]
    weights = NgramWeights.fit(
        [plain(row.text) for row in used],
        [row.alarming for row in used],
        worth=[WORTH[row.kind] for row in used],
        inverse_penalty=INVERSE_PENALTY,
    )
    intercept = weights.numbers[0]

    def score(text: str) -> float:
        return intercept + weights.of(plain(text))

    least = float(np.quantile([score(row.text) for row in rows if row.part == "held"], 1 - ALARMED))
    return score, replace(weights, numbers=(intercept, least))


def is_measured(part: str) -> bool:
    """Whether a part of the data is left out once, to see what is reached on it."""
    return part.startswith("judged") or (WRITTEN / f"{part}.tsv").exists()


def told(found: dict[str, list[bool]]) -> str:
    """The share of each kind, and of how many."""
    return ", ".join(f"{kind} {np.mean(hits):.3f} of {len(hits)}" for kind, hits in sorted(found.items()))


def main() -> None:
    """Says what is reached with each part left out; then fits with all, and writes."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, required=True, help="the folder with pairs/ and dialogue/")
    rows = [*own_rows(), *judged_and_everyday(options.parse_args().data)]
    judged: dict[str, list[bool]] = {}
    spoken: dict[str, list[bool]] = {}
    for part in [part for part in dict.fromkeys(row.part for row in rows) if is_measured(part)]:
        score, weights = fitted(rows, without=part)
        raised: dict[str, list[bool]] = {}
        for row in (row for row in rows if row.part == part):
            heard, has_words = score(row.text), bool(book().particular(row.text))
            sounds = (heard >= CALM and has_words) or heard >= weights.numbers[1]
            (judged if part.startswith("judged") else raised).setdefault(row.kind, []).append(sounds)
            if part.startswith("judged") and has_words:
                spoken.setdefault(row.kind, []).append(heard >= CALM)
        if raised:
            print(f"without {part}: raised {told(raised)}")
    print(f"judged questions, each by weights without its third: raised {told(judged)}")
    print(f"of those with the words of a rule, not silenced by CALM: {told(spoken)}")
    _, weights = fitted(rows)
    weights.save(FILE)
    print(f"{len(rows):,} texts; alarming from {weights.numbers[1]:.2f} on")


if __name__ == "__main__":
    main()
