"""What `from chimed_rag.evaluation import …` gives, and that it gives it lazily."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import chimed_rag.evaluation as evaluation


def test_every_name_is_there() -> None:
    assert dir(evaluation) == sorted(evaluation.__all__)
    for name in evaluation.__all__:
        assert getattr(evaluation, name).__name__ == name
    with pytest.raises(AttributeError, match="nothing"):
        evaluation.nothing  # noqa: B018


def test_importing_it_loads_no_numpy() -> None:
    code = "import sys, chimed_rag.evaluation; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_function_of_ones_own(tmp_path: Path) -> None:
    options = {letter: f"选项{letter}" for letter in "ABCDE"}
    rows = [{"question": f"问题{n}", "options": options, "answer": "选项A", "answer_idx": "A"} for n in range(6)]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")

    def mine(sample: evaluation.Sample) -> str:
        return "A" if sample.text in ("问题0", "问题1") else "B" if sample.text == "问题2" else "不知道"

    result = evaluation.evaluate("mcmle", mine, data=tmp_path / "q.jsonl")
    assert result.system == "mine" and result.n == 6
    assert {name: n for name, n in result.counts.items() if n} == {"correct": 2, "wrong": 1, "invalid": 3}
    assert result.metrics["accuracy"].value == pytest.approx(2 / 6, abs=1e-6)
