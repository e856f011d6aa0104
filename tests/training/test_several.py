"""Stages of several processes, by torchrun on the CPU: the first alone writes and speaks, and all go on together."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from training.settings import ROOT
from training.verify import verify

TEXTS = [f"这一条讲第{n}种病：先问病史，再查体，必要时化验，第{n % 7}天复查，仍有不适者请到医院。" for n in range(60)]

CONFIGURATION = """
output_dir: {out}
shared:
  seed: 1
  device: cpu
  gates: false
  max_tokens: 64
  data: {{hygiene: {{evaluation: null, near_duplicates: null}}}}
  fit: {{batch_size: 2, max_steps: 3, save_every: 2, log_every: 1, machine: {{devices: 2, distribution: ddp}}}}
stages:
  - name: pretrain
    stage: pretrain
    shape: {{vocabulary: 400, hidden: 32, layers: 2, heads: 2, feed_forward: 64, context: 128}}
    data: {{sources: [{{path: {texts}, form: jsonl}}], held_out: 6}}
  - name: sft
    stage: sft
    base: "{{previous}}"
    max_new_tokens: 8
    data: {{sources: [{{path: {dialogues}, form: alpaca}}], held_out: 4}}
"""


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    texts, dialogues = tmp_path / "texts.jsonl", tmp_path / "dialogues.jsonl"
    texts.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS), "utf-8")
    rows = ({"instruction": f"第{n}种病怎么办？", "input": "", "output": f"先做第{n}项检查。"} for n in range(30))
    dialogues.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    path = tmp_path / "two.yaml"
    path.write_text(CONFIGURATION.format(out=tmp_path / "out", texts=texts, dialogues=dialogues), "utf-8")
    return path


def torchrun(configuration: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--rdzv_backend", "c10d",
         "--rdzv_endpoint", "127.0.0.1:0", "-m", "training", "pipeline", "--config", str(configuration)],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip


def test_two_processes_make_one_pipeline(configuration: Path) -> None:
    done = torchrun(configuration)
    assert done.returncode == 0, done.stderr[-3000:]
    out = configuration.parent / "out"
    assert verify(out) == []
    for stage in ("pretrain", "sft"):
        assert not (out / stage / "work").exists()
        card = json.loads((out / stage / "card.json").read_text("utf-8"))
        assert [point["step"] for point in card["curve"] if point["phase"] in ("train", "fit")] == [1, 2, 3]
    assert len(re.findall("stage 1 of 2, pretrain", done.stderr)) == 1, "the first process alone speaks"
