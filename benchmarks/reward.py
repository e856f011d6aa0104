"""How often a reward model trained here picks the reply that GPT-4 preferred, beside a judge that takes the longer one.

    python benchmarks/reward.py [--folds 5] [--seeds 1 2 3] [--json FILE]

The pairs of `preference/gpt4_judged_train`, parted into folds that share no prompt; each fold is judged by a linear
reward model (`training.linear_reward`) that learned from the others and chose its regularisation on folds within them.
A seed parts anew. Intervals are bootstraps over prompts, 95 %. Not measured: transformers, whose cards tell.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from sklearn.model_selection import GroupKFold

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from chimed_rag.evaluation.grams import skeleton
from training.card import commit, versions
from training.contracts import RankedList, pairs
from training.linear_reward import Linear, fit
from training.pairs import Hygiene
from training.reward_report import RewardReport, reward_report
from training.scoring import Conversation, Scorer
from training.sources import read_rows
from training.stages import Data, Source

DEFAULT = "$CHIMED_SHARED/data/preference/gpt4_judged_train.jsonl.gz"


class OutOfFold:
    """The scorer of each prompt is the one that did not learn from it."""

    def __init__(self) -> None:
        self.of: dict[str, Scorer] = {}

    def score(self, conversations: Sequence[Conversation]) -> list[float]:
        found = [0.0] * len(conversations)
        places: dict[int, list[int]] = {}
        for place, messages in enumerate(conversations):
            places.setdefault(id(self.of[_prompt(messages[:-1])]), []).append(place)
        for group in places.values():
            scorer = self.of[_prompt(conversations[group[0]][:-1])]
            for place, score in zip(group, scorer.score([conversations[n] for n in group]), strict=True):
                found[place] = score
        return found


def _prompt(messages: Conversation) -> str:
    return skeleton("\n".join(message["content"] for message in messages))


def measured(lists: Sequence[RankedList], folds: int, seed: int) -> RewardReport:
    groups = [_prompt(ranked.prompt) for ranked in lists]
    scorer = OutOfFold()
    for known, new in GroupKFold(folds, shuffle=True, random_state=seed).split(lists, groups=groups):
        model, _ = fit([pair for n in known for pair in pairs(lists[n])], Linear(), seed)
        scorer.of.update({groups[n]: model for n in new})
    return reward_report(scorer, lists)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", default=DEFAULT)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--json", type=Path, dest="json_file")
    chosen = parser.parse_args()
    source = Source(path=chosen.file, form="chosen_rejected")
    ledger: list[Any] = []
    data = Data(sources=[source], hygiene=Hygiene(evaluation=None, near_duplicates=None), redact=False)
    lists = read_rows(data, RankedList, seed=0, ledger=ledger)
    print(f"{ledger[0].read:,} rows, {ledger[0].kept:,} kept ({dict(ledger[0].dropped)})")
    rows = []
    for seed in chosen.seeds:
        begin = time.perf_counter()
        report = measured(lists, chosen.folds, seed)
        seconds = time.perf_counter() - begin
        for name, part in (("all", report.all), ("length-matched", report.length_matched)):
            assert part is not None
            parts = [
                f"{title} {one.value:.3f} [{one.low:.3f}, {one.high:.3f}]"
                for title, one in (("model", part.model), ("longest", part.longest), ("difference", part.difference))
            ]
            print(f"seed {seed} {name}: {', '.join(parts)}, {part.pairs:,} pairs, {part.prompts:,} prompts", flush=True)
        print(f"seed {seed}: calibration error {report.calibration:.3f}, {seconds:.0f} s")
        rows.append({"seed": seed, "seconds": round(seconds, 1), **report.model_dump()})
    if chosen.json_file:
        head = {"date": date.today().isoformat(), "commit": commit(), "cores": os.cpu_count(), "versions": versions()}
        account = ledger[0].model_dump(include={"sha256", "rows", "read", "kept", "dropped"})
        found = {**head, "data": account, "folds": chosen.folds, "runs": rows}
        chosen.json_file.write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
