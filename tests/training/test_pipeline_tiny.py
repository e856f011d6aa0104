"""The whole regime, really trained: `pipeline_tiny.yaml`, five stages; and that the other pipelines' keys are known."""

from __future__ import annotations

import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from training.lineage import lineage
from training.pipeline import Record, read_pipeline, run_pipeline
from training.report import report
from training.settings import ROOT
from training.verify import verify

STAGES = ("pretrain", "sft", "reward", "reject", "prefer")
CONFIGS = ROOT / "training" / "configs"

pytestmark = pytest.mark.skipif(
    not all(find_spec(f"training.{stage}") for stage in STAGES), reason="a stage's module is not in this checkout"
)


@pytest.mark.parametrize("name", ["pipeline_tiny.yaml", "pipeline_nano_cpu.yaml"])
def test_the_keys_are_known(name: str) -> None:
    _, steps = read_pipeline(CONFIGS / name)
    assert list(dict.fromkeys(step.stage for step in steps)) == list(STAGES)


def test_five_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    out = tmp_path / "tiny"
    said: list[str] = []
    begun = time.process_time()
    folder = run_pipeline(CONFIGS / "pipeline_tiny.yaml", [f"output_dir={out}"], say=said.append)
    assert time.process_time() - begun < 120  # of the processor: others use the machine too
    record = Record.model_validate_json((folder / "pipeline.json").read_bytes())
    assert [stage.state for stage in record.stages] == ["done"] * 5
    assert verify(folder) == []
    assert "reward: " in str(lineage(folder / "reject"))
    assert (report(folder, tmp_path / "page").parent / "curves.png").is_file()
    assert any("gate" in line for line in said)
