"""Is a committed document ever lost? Processes are killed while they write an index.

`python benchmarks/durability.py --kills 200` makes two experiments on Chinese documents of its own, prints one table of
both, and exits 1 if any of them found a failure:

- random moments: SIGKILL at moments spread over the whole duration of build, add, upsert, delete and compact.
- every point: the same, killed just before each call that makes something durable or visible (fsync, replace, link,
  unlink, mkdir, a finished segment, a finished lexical index), so that no gap between two of them is left to luck.

`_killing.py` has the calls and the processes that die, `_judging.py` what the index must then be. Not covered: readers
beside a writer (`concurrent_reads.py`), power loss (the kernel lives on, so what was written but not fsynced survives a
SIGKILL) and Windows. `tests/indexing/test_durability.py` runs the same functions with small counts.
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from _durability import conclude, parser
from _judging import Judge, Kills
from _killing import OPERATIONS, Workers, prepare


class _Bases:
    """Copies of the index that an operation starts from; for `build` there is none."""

    def __init__(self, folder: Path, operation: str, seed: int) -> None:
        self._base, self._work = folder / f"{operation}-{seed}-base", folder / f"{operation}-{seed}-work"
        shutil.rmtree(self._base, ignore_errors=True)
        if operation != "build":
            prepare(self._base, seed)

    def copy(self) -> Path:
        shutil.rmtree(self._work, ignore_errors=True)
        if self._base.exists():
            shutil.copytree(self._base, self._work)
        return self._work


def kill_randomly(workers: Workers, operation: str, kills: int, seed: int, folder: Path) -> Kills:
    """Kills an operation at moments spread evenly over its duration, a little longer at the end."""
    result, chance = Kills(operation, "random moments"), random.Random(f"{operation}/{seed}")
    variants = max(1, min(8, kills // 8))
    for variant in range(variants):
        bases, judge = _Bases(folder, operation, seed + variant), Judge(operation, seed + variant)
        seconds = sorted(workers.run(operation, seed + variant, bases.copy())[3] for _ in range(3))[1]
        share = range(variant, kills, variants)
        for i in share:
            delay = seconds * 1.15 * (i + chance.random()) / kills
            work = bases.copy()
            begun, acknowledged, killed, _ = workers.run(operation, seed + variant, work, delay=delay)
            result.kills += 1
            result.mid_operation += begun and killed and not acknowledged
            label = f"{operation} seed {seed + variant} killed after {delay * 1000:.1f} of {seconds * 1000:.1f} ms"
            judge.judge(work, acknowledged, result, label, again=chance.random() < 0.5)
    return result


def kill_at_points(workers: Workers, operation: str, seed: int, folder: Path, *, step: int = 1) -> Kills:
    """Kills an operation before every (or every step-th) call by which something becomes durable or visible."""
    result = Kills(operation, "every point")
    bases, judge = _Bases(folder, operation, seed), Judge(operation, seed)
    for point in range(0, 10_000, step):
        work = bases.copy()
        _, acknowledged, killed, _ = workers.run(operation, seed, work, point=point)
        if not killed:
            return result
        result.kills += 1
        result.mid_operation += not acknowledged
        label = f"{operation} seed {seed} killed at point {point}"
        judge.judge(work, acknowledged, result, label, again=point % 2 == 1)
    raise AssertionError("more points than can be")


def _print_kills(results: Sequence[Kills]) -> None:
    head = (
        "operation",
        "killed at",
        "kills",
        "mid-op",
        "before",
        "after",
        "whole",
        "lost",
        "extra",
        "equal after compact",
    )
    rows = [
        (
            r.operation, r.experiment, r.kills, r.mid_operation, r.found_before, r.found_after, r.whole, r.lost,
            r.extra, f"{r.equal_after_compact}/{r.compared}",
        )
        for r in results
    ]  # fmt: skip
    widths = [max(len(str(row[i])) for row in (head, *rows)) for i in range(len(head))]
    for row in (head, *rows):
        print("  ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)))


def main() -> int:
    """The command line; 1 if anything was found."""
    arguments = parser("Kill writers: is a committed document ever lost?")
    arguments.add_argument("--kills", type=int, default=200, help="kills per operation (default 200)")
    clock = int(time.time()) % 1_000_000
    arguments.add_argument("--seed", type=int, default=clock, help="seed (default: from the clock)")
    options = arguments.parse_args()
    print(f"seed {options.seed}\n")
    start = time.monotonic()
    with tempfile.TemporaryDirectory(dir=options.folder) as name, Workers() as workers:
        folder = Path(name)
        kills = [kill_randomly(workers, op, options.kills, options.seed, folder) for op in OPERATIONS]
        kills += [kill_at_points(workers, op, options.seed + n, folder) for n, op in enumerate(OPERATIONS)]
        _print_kills(kills)
    failures = [failure for result in kills for failure in result.failures]
    found = {"seed": options.seed, "kills": [asdict(r) for r in kills]}
    return conclude(failures, time.monotonic() - start, found, options.json)


if __name__ == "__main__":
    sys.exit(main())
