"""Does rejection sampling make answers right, or only long? In a made-up world with an exact judge.

    python benchmarks/reject.py [--seeds 1 2 3] [--json benchmarks/results/reject.json]

A policy of 0.15 M weights learns answers of mixed worth, in which length says nothing of truth. Two reward models are
trained by the stage `reward`: A on triples doctor > mid > bad, in which the better answer is always the longer one; B
on the same triples and on lists in which the facts alone tell. Both choose among the same eight candidates of each
held-out prompt; the policy is fine-tuned on the choices of each by the stage `reject`, two rounds, its gates written
down and not enforced. The oracle counts right facts and is the judge; neither reward model knows of it.
Not measured: anything about medicine, or about large models.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

from _common import ROOT, Row, report

JUDGE = "training.world:oracle"


class Size(NamedTuple):
    """How large the experiment is; `prompts` are learned on, and as many held out."""

    diseases: int = 16
    dialogues: int = 1600
    triples: int = 300
    hard: int = 900
    prompts: int = 160
    pretrain_steps: int = 800
    sft_epochs: int = 8
    reward_epochs: int = 8
    rounds: int = 2
    hidden: int = 64


FULL = Size()
SMALL = Size(
    diseases=5, dialogues=1000, triples=120, hard=480, prompts=80, pretrain_steps=400, reward_epochs=6, rounds=1
)


class Experiment:
    """A world's rows in a folder, and the stages on them.

    Args:
        folder: where rows and models go.
        seed: of rows, weights and draws.
        size: see there.
        say: where progress is told.
    """

    def __init__(self, folder: Path, seed: int, size: Size, say: Callable[[str], None]) -> None:
        from training.world import World

        self.folder, self.seed, self.size, self.say = folder, seed, size, say
        world = World(size.diseases)
        asked = iter(world.questions(seed))

        def take(n: int) -> list[Any]:
            return [next(asked) for _ in range(n)]

        self._write("texts", world.texts(take(20 * size.diseases)))
        self._write("dialogues", world.dialogues(take(size.dialogues), seed))
        triples = world.ranked(take(size.triples), seed)
        self._write("confounded", triples)
        self._write("hard", [*triples, *world.hard(take(size.hard), seed)])
        self._write("prompts", world.dialogues(take(2 * size.prompts), seed + 1))
        self.tests = world.hard(take(200), seed + 2, short_beats_long=0)

    def _write(self, name: str, rows: Sequence[Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        lines = "".join(row.model_dump_json() + "\n" for row in rows)
        (self.folder / f"{name}.jsonl").write_text(lines, "utf-8")

    def stage(self, stage: str, name: str, rows: str, held_out: int, **keys: Any) -> Path:
        """Runs a stage on a file of rows; returns the model's folder."""
        from training.stages import run_settings

        forms = {"pretrain": "texts", "reward": "ranked"}
        settings = {
            "output_dir": str(self.folder / name),
            "seed": self.seed,
            "device": "cpu",
            "gates": False,
            "max_tokens": 128,
            "data": {
                "sources": [{"path": str(self.folder / f"{rows}.jsonl"), "form": forms.get(stage, "dialogues")}],
                "hygiene": {"evaluation": None, "near_duplicates": None},
                "redact": False,
                "held_out": held_out,
            },
            **keys,
        }
        return run_settings(stage, settings, "benchmarks/reject.py", "benchmarks/reject.py", False, self.say)

    def policy(self) -> Path:
        """A language model of the world's literature that has learned to answer, well or badly."""
        size = self.size
        shape = {"vocabulary": 700, "hidden": size.hidden, "layers": 2, "heads": 4, "context": 256}
        first = self.stage(
            "pretrain", "pretrain", "texts", 0,
            shape={**shape, "feed_forward": size.hidden * 5 // 2}, max_tokens=64,
            fit=_fit(batch_size=4, max_steps=size.pretrain_steps, learning_rate=3e-3),
        )  # fmt: skip
        return self.stage(
            "sft", "policy", "dialogues", 0, base=str(first),
            fit=_fit(batch_size=8, epochs=size.sft_epochs, learning_rate=3e-3),
        )  # fmt: skip

    def reward(self, name: str, rows: str, policy: Path) -> Path:
        """A reward model, the policy with a score."""
        return self.stage(
            "reward", name, rows, 40, base=str(policy),
            fit=_fit(batch_size=32, epochs=self.size.reward_epochs, learning_rate=2e-3),
        )  # fmt: skip

    def reject(self, name: str, policy: Path, reward: Path, **keys: Any) -> Path:
        """The policy fine-tuned on what the reward chooses."""
        return self.stage(
            "reject", name, "prompts", self.size.prompts, base=str(policy), reward=str(reward), judge=JUDGE,
            **{"k": 8, "rounds": self.size.rounds, "max_new_tokens": 64, "together": 256, **keys},
            fit=_fit(batch_size=8, epochs=4, learning_rate=1e-3),
        )  # fmt: skip

    def hard_accuracy(self, reward: Path) -> Any:
        """Accuracy on pairs of the same words with another fact, whose lengths match."""
        from training.reward_report import reward_report
        from training.scoring import load

        return reward_report(load(reward, device="cpu"), self.tests).all.model


def _fit(**keys: Any) -> dict[str, Any]:
    return {"save_every": 100_000, "log_every": 100, **keys}


def run(folder: Path, seed: int, size: Size, say: Callable[[str], None]) -> list[Row]:
    """A row for each reward model."""
    experiment = Experiment(folder, seed, size, say)
    policy = experiment.policy()
    rows = []
    for name, lists in (("A, length tells", "confounded"), ("B, facts tell", "hard")):
        start = time.monotonic()
        short = name[0]
        reward = experiment.reward(f"reward-{short}", lists, policy)
        model = experiment.reject(f"reject-{short}", policy, reward)
        rows.append({"reward model": name, "seed": seed, **_row(experiment, reward, model)})
        rows[-1]["seconds"] = round(time.monotonic() - start, 1)
    return rows


def _row(experiment: Experiment, reward: Path, model: Path) -> Row:
    from training.gates import read_gates
    from training.rejection_report import FILE

    found = json.loads((model / FILE).read_text("utf-8"))
    gates = read_gates(model)
    last = found["systems"][f"round {experiment.size.rounds}"]
    changes = {
        gate.name.split(": ")[-1]: gate for gate in gates if gate.name.startswith(f"round {experiment.size.rounds}")
    }
    return {
        "hard pairs right": _interval(experiment.hard_accuracy(reward).model_dump()),
        **{f"oracle, best of {best['k']}": round(best["judge"]["value"], 3) for best in found["curve"]},
        "reward": f"{found['systems']['before']['reward']['value']:.2f} → {last['reward']['value']:.2f}",
        "oracle": f"{found['systems']['before']['judge']['value']:.3f} → {last['judge']['value']:.3f}",
        "change of oracle": _interval(changes["judge, change"].model_dump()),
        "length": round(changes["length, ratio to before"].value, 2),
        "drift": round(changes["drift, nats a token"].value, 3),
        "distinct": round(changes["distinct bigrams, ratio to before"].value, 2),
        "gates failed": "; ".join(gate.name for gate in gates if not gate.passed) or "none",
        "gates": [str(gate) for gate in gates],
    }


def _interval(one: Row) -> str:
    return f"{one['value']:.3f} [{one['low']:.3f}, {one['high']:.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--small", action="store_true", help="the size of the tests (a trial, not a result)")
    parser.add_argument("--work", type=Path, help="keep models in this folder instead of a temporary one")
    parser.add_argument("--json", type=Path, dest="json_file", help="also write the table there")
    options = parser.parse_args()
    import sys

    sys.path.insert(0, str(ROOT))
    logging.getLogger("chimed_rag").setLevel(logging.ERROR)
    size = SMALL if options.small else FULL
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for seed in options.seeds:
            rows += run((options.work or Path(temporary)) / str(seed), seed, size, lambda text: print(text, flush=True))
    columns = [name for name in rows[0] if name != "gates"]
    report(
        "Rejection sampling in a made-up world: does the oracle follow the reward?",
        columns,
        rows,
        about={"held-out prompts": size.prompts, "candidates": 8, **size._asdict()},
        packages=("torch", "transformers", "trl"),
        notes=["A and B choose among the same candidates of one policy a seed; intervals are bootstraps over prompts."],
        json_file=options.json_file,
    )


if __name__ == "__main__":
    main()
