"""The eight models whose replies come with the licensing examinations of 2020 and 2021: scored, neighbours compared.

    python benchmarks/stored_models.py [--data FILE] [--protocol NAME] [--json FILE]

Accuracy with Wilson's interval, invalid replies and missing ones, all of n; then each model beside the next worse one:
the difference, McNemar's exact test, and p after Holm's correction for the seven comparisons. No model is asked.
Not measured: how the models were asked, which the file does not tell; some were asked for the number of the option.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from chimed_rag.evaluation.comparing import Comparison, compare_all
from chimed_rag.evaluation.result import TaskResult
from chimed_rag.evaluation.running import scored
from chimed_rag.evaluation.systems.stored import Stored, stored_models
from chimed_rag.evaluation.tasks.loading import Task, load_task

DEFAULT = "$CHIMED_SHARED/data/eval/cmle_2020_2021.jsonl.gz"


def ladder(task: Task, protocol: str) -> list[TaskResult]:
    """A result for each stored model, the best first, ties by name."""
    results = [
        scored(task, list(Stored(model).predict(task.samples)), protocol=protocol, system=model)
        for model in stored_models(task.samples)
    ]
    return sorted(results, key=lambda result: (-result.metrics["accuracy"].value, result.system))


def neighbours(results: Sequence[TaskResult]) -> list[Comparison]:
    """Each model beside the next worse one."""
    return compare_all([(worse, better) for better, worse in pairwise(results)], metric="accuracy")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", default=DEFAULT)
    options.add_argument("--protocol", default="strict-v1")
    options.add_argument("--json")
    given = options.parse_args()
    os.environ.setdefault("CHIMED_SHARED", str(Path(__file__).resolve().parents[2] / "shared"))
    task = load_task("cmle", os.path.expandvars(given.data))
    began = time.perf_counter()
    results = ladder(task, given.protocol)
    seconds = time.perf_counter() - began
    pairs = neighbours(results)
    print(f"{task.name}, n = {len(task.samples)}, {given.protocol}, data {task.data_sha256[:12]}, {seconds:.1f} s")
    print(f"{'model':24}{'accuracy':>9}  {'95 %':15}{'invalid':>8}{'missing':>8}")
    for result in results:
        accuracy, counts = result.metrics["accuracy"], result.counts
        print(
            f"{result.system:24}{100 * accuracy.value:9.2f}  [{100 * accuracy.low:.1f}, {100 * accuracy.high:.1f}]   "
            f"{counts.get('invalid', 0):8}{counts.get('error', 0):8}"
        )
    print(f"\n{'better − worse':46}{'difference':>11}  {'95 %':15}{'only':>9}{'p':>9}{'Holm':>9}")
    for pair in pairs:
        gap = pair.difference
        print(
            f"{pair.b + ' − ' + pair.a:46}{100 * gap.value:11.2f}  [{100 * gap.low:.1f}, {100 * gap.high:.1f}]     "
            f"{f'{pair.only_b}/{pair.only_a}':>9}{pair.p:9.2g}{pair.p_holm or 1:9.2g}"
        )
    if given.json:
        rows = [result.model_dump(mode="json", exclude={"card"}) for result in results]
        made = {"results": rows, "neighbours": [pair.model_dump(mode="json") for pair in pairs]}
        Path(given.json).write_text(json.dumps(made, ensure_ascii=False, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
