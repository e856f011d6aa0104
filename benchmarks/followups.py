"""Follow-up questions: is the right matter found, and does a new topic stay itself?

    python benchmarks/followups.py [--data DIR] [--work DIR] [--half odd|even]

Two measures. (1) `tests/followups.jsonl`: follow-ups and new topics written by hand before the rule, by its author; a
condensed follow-up is right if it holds all words that it needs and none that it must not, a new topic if it is
untouched. (2) Dialogues of cmtmedqa_dev over the disease encyclopedia: every later patient turn that asks something
(a question mark) in a dialogue whose first turn says the title of an entry. "bare" follow-ups name no entry at all.
topic@8 is the share of the eight passages whose title holds a title of the first turn; topic found, the share of
questions with one such passage; reply recall, of the entries, drugs and tests that the doctor's reply names and no
patient turn before it does, the share that the eight passages name. Systems: the follow-up as typed; the patient's last
turn in front; all patient turns; condensed by rule; and, for comparison, the doctor's reply behind the condensed
question. The rule was shaped on dialogues with an even number; those with an odd one are reported. Intervals are 95 %
percentile bootstrap over dialogues. These dialogues seldom change their topic, which favours "all turns"; what that
costs where the topic does change, the new topics of (1) show: it leaves none of them untouched. Not measured: whether
an answer is right, condensing by a model, and the reranker, which is left out.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from _common import ROOT, Row, corpus_file, parser, report, rows_of

sys.path.insert(0, str(ROOT))

DIALOGUES = "eval/cmtmedqa_dev.jsonl.gz"
CORPUS = "corpora/disease_encyclopedia.jsonl.gz"
SYSTEMS = ("as typed", "last turn in front", "all turns", "condensed", "with the reply")
COLUMNS = ["set", "system", "measure", "value", "low", "high", "n", "dialogues"]
K = 8


class FollowUp(NamedTuple):
    """A later patient turn that asks, its topic (titles named in the first turn), and the entities of the reply."""

    dialogue: str
    is_bare: bool
    topic: frozenset[str]
    queries: tuple[str, ...]
    reply: frozenset[str]
    kind: str


def by_hand() -> list[Row]:
    from chimed_rag.condensing import condense
    from chimed_rag.evaluation.statistics import proportion

    cases = [json.loads(line) for line in (ROOT / "tests/followups.jsonl").read_text("utf-8").splitlines()]
    rows: list[Row] = []
    for split in ("development", "test"):
        for name, group in (("follow-ups", False), ("new topics", True)):
            chosen = [one for one in cases if one["split"] == split and (one["group"] == "stand alone") is group]
            texts = [condense(one["question"], one["history"], one["answers"]).text for one in chosen]
            right = [is_right(one, text) for one, text in zip(chosen, texts, strict=True)]
            found = proportion(sum(right), len(right))
            system = {"set": f"by hand, {split}", "n": len(right), "measure": f"{name} right"}
            rows.append({**system, "system": "condensed", "value": found.value, "low": found.low, "high": found.high})
            if not group:
                exact = sum(text in one["expected"] for one, text in zip(chosen, texts, strict=True))
                rows.append({**system, "system": "condensed", "measure": "word for word", "value": exact / len(chosen)})
                joined = sum(is_right(one, one["history"][-1] + one["question"]) for one in chosen)
                rows.append({**system, "system": "last turn in front", "value": joined / len(chosen)})
    return rows


def is_right(case: dict[str, Any], text: str) -> bool:
    if "has" not in case:
        return text == case["question"]
    return all(word in text for word in case["has"]) and not any(word in text for word in case["lacks"])


class Finder:
    """Finds the titles of the encyclopedia in a text, the longest at each place."""

    def __init__(self, titles: Sequence[str]) -> None:
        from ahocorasick_rs import AhoCorasick, MatchKind

        self._titles = [title for title in titles if len(title) > 1]
        self._search = AhoCorasick(self._titles, matchkind=MatchKind.LeftmostLongest)

    def __call__(self, text: str) -> frozenset[str]:
        return frozenset(self._titles[which] for which, _, _ in self._search.find_matches_as_indexes(text))


def follow_ups(file: Path, half: str, titled: Finder) -> list[FollowUp]:
    from chimed_rag.condensing import condense

    found = []
    for row in rows_of(file):
        number = int(re.sub(r"\D", "", row["id"]) or 0)
        if (number % 2 == 1) != (half == "odd"):
            continue
        patient: list[str] = []
        history: list[str] = []
        replies: list[str] = []
        for turn, reply in zip(row["turns"], [*row["turns"][1:], None], strict=True):
            said = turn["content"]
            if turn["role"] != "user":
                replies.append(said)
                continue
            condensed = condense(said, history, replies)
            topic = titled(patient[0]) if patient else frozenset()
            if topic and "？" in said.replace("?", "？") and reply is not None and reply["role"] == "assistant":
                queries = (
                    said,
                    patient[-1] + said,
                    "".join([*patient, said]),
                    condensed.text,
                    condensed.text + reply["content"],
                )
                known = entities("".join([*patient, said]), titled)
                named = entities(reply["content"], titled) - known
                found.append(FollowUp(row["id"], not titled(said), topic, queries, named, condensed.kind))
            patient.append(said)
            history.append(condensed.text)
    return found


def entities(text: str, titled: Finder) -> frozenset[str]:
    from chimed_rag.entities.mentions import mentions

    return titled(text) | {one.text for one in mentions(text) if one.kind in ("drug", "test")}


def measured(qa: Any, asked: Sequence[FollowUp], titled: Finder) -> list[Row]:
    from chimed_rag.evaluation.statistics import bootstrap_ratios

    rows: list[Row] = []
    scores = np.zeros((len(SYSTEMS), 3, len(asked)))
    for place in range(len(SYSTEMS)):
        evidence = qa.search_many([one.queries[place][:2000] for one in asked], k=K)
        for which, (one, passages) in enumerate(zip(asked, evidence, strict=True)):
            on_topic = [any(name in passage.title for name in one.topic) for passage in passages]
            text = "\n".join(f"{passage.title} {passage.text}" for passage in passages)
            scores[place, :, which] = (
                sum(on_topic) / K,
                float(any(on_topic)),
                sum(name in text for name in one.reply),
            )
    names = {"bare": [one.is_bare for one in asked], "with a name of their own": [not one.is_bare for one in asked]}
    for name, chosen in names.items():
        dialogues = sorted({one.dialogue for one, take in zip(asked, chosen, strict=True) if take})
        index = {dialogue: row for row, dialogue in enumerate(dialogues)}
        for measure, label in enumerate((f"topic@{K}", "topic found", "reply recall")):
            below = np.zeros(len(dialogues))
            sums = np.zeros((len(SYSTEMS), len(dialogues)))
            for which, one in enumerate(asked):
                if chosen[which]:
                    below[index[one.dialogue]] += len(one.reply) if label == "reply recall" else 1
                    sums[:, index[one.dialogue]] += scores[:, measure, which]
            columns = dict(zip(SYSTEMS, sums, strict=True))
            for other in SYSTEMS[:3]:
                columns[f"condensed − {other}"] = columns["condensed"] - columns[other]
            for system, value in bootstrap_ratios(columns, below).items():
                rows.append(
                    {
                        "set": name,
                        "system": system,
                        "measure": label,
                        "value": value.value,
                        "low": value.low,
                        "high": value.high,
                        "n": int(below.sum()),
                        "dialogues": len(dialogues),
                    }
                )
    return rows


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--half", choices=("odd", "even"), default="odd", help="odd is reported, even shaped the rule")
    options.set_defaults(json_file=ROOT / "benchmarks/results/followups.json")
    chosen = options.parse_args()
    from chimed_rag import MedQA

    rows, notes = by_hand(), []
    with TemporaryDirectory() as temporary:
        work = chosen.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        corpus = corpus_file(chosen.data, CORPUS, chosen.limit, work)
        index = work / "encyclopedia"
        if not index.exists():
            MedQA.build(corpus, index, adapt=False).close()
        qa = MedQA.load(index, reranker="none")
        with qa:
            titled = Finder(sorted({row["title"] for row in rows_of(corpus)}))
            asked = follow_ups(chosen.data / DIALOGUES, chosen.half, titled)
            began = perf_counter()
            rows += measured(qa, asked, titled)
            notes.append(f"searched {len(asked) * len(SYSTEMS)} times in {perf_counter() - began:.0f} s")
    for name, take in (("bare", True), ("with a name of their own", False)):
        group = [one.kind for one in asked if one.is_bare is take]
        kinds = ", ".join(f"{kind} {group.count(kind)}" for kind in sorted(set(group)))
        notes.append(f"{name}: {len(group)} questions; what the rule did: {kinds}")
    report(
        "Follow-up questions",
        COLUMNS,
        rows,
        about={"dialogues": f"{DIALOGUES}, {chosen.half} numbers", "literature": CORPUS, "k": K},
        packages=("scipy",),
        notes=notes,
        json_file=chosen.json_file,
    )


if __name__ == "__main__":
    main()
