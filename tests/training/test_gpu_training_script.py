"""`benchmarks/gpu_training.py`: all of it runs without a GPU, its loss is the model's own, and a failure is told."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def script() -> Iterator[Any]:
    """The script, with its folder where its imports look."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        yield importlib.import_module("gpu_training")
        for name in [name for name, one in sys.modules.items() if str(FOLDER) in str(getattr(one, "__file__", ""))]:
            del sys.modules[name]


def test_it_runs_on_the_cpu(script: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    script.main(["--tiny", "--repeat", "1", "--json", str(tmp_path / "out" / "found.json")])
    rows = json.loads((tmp_path / "out" / "found.json").read_text("utf-8"))["rows"]
    assert [row for row in rows if "note" in row] == []
    assert {row["way"].split(", ")[0] for row in rows} == {"lora", "full"}
    assert {row["way"].split(", ")[1] for row in rows} == {"kept", "recomputed"}
    assert {row["rows"] for row in rows} == {1, 8}
    assert all(row["tokens/s"] > 0 and 0 < row["of matrices"] < 1.5 for row in rows)
    assert "no measurement" in capsys.readouterr().out


def bench(script: Any, **changes: Any) -> Any:
    from _random_model import TINY

    return replace(script.Bench(TINY, "cpu", torch.float32, 24, 1, 100.0, 50_000_000), **changes)


def test_the_loss_in_pieces_is_the_model_s_own(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "CHUNK", 5)
    one = bench(script)
    model, _ = script.made(one, one.step(rows=2))
    ids = torch.arange(48).reshape(2, 24) * 7 % 4000
    assert script.loss_of(model, ids).item() == pytest.approx(model(ids, labels=ids).loss.item(), abs=1e-5)


def test_it_is_planned_what_a_13b_model_takes(script: Any) -> None:
    """On 141 GB AdamW's states fit beside the weights; on 80 they do not, and Adafactor's do."""
    from _random_model import CHIMED_GPT

    big = bench(script, config=CHIMED_GPT, dtype=torch.bfloat16, length=2048, device="cuda:0", memory=150 * 10**9)
    large = [(name, step) for name, step in script.ways(big) if step is not None]
    assert {name for name, _ in large} >= {"lora, kept, adamw", "full, recomputed, adamw"}
    assert all(step.peak <= 0.92 * big.memory for _, step in large)
    small = replace(big, memory=85 * 10**9)
    assert {step.optimizer for name, step in script.ways(small) if step is not None and "full" in name} == {"adafactor"}
    lora = next(step for name, step in large if name.startswith("lora"))
    assert lora.matrix_operations == 4 * (40 * (4 * 5120**2 + 3 * 5120 * 13824) + 39410 * 5120)


def test_a_way_that_fails_or_has_no_time_says_so(script: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def breaks(*_: Any) -> Any:
        raise RuntimeError("no room\nfor this")

    monkeypatch.setattr(script, "made", breaks)
    rows = script.all_ways(bench(script), tmp_path / "found.json")
    assert {row["note"] for row in rows} == {"failed: RuntimeError: no room for this"}
    assert json.loads((tmp_path / "found.json").read_text("utf-8"))["rows"] == rows
    assert all("no time left" in row["note"] for row in script.all_ways(bench(script, seconds=0.0), None))
    assert all(row["note"] == "not measured" for row in script.all_ways(bench(script, memory=1000), None))
