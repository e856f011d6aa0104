"""What the experiments on durability share: documents of their own, a place to work, and how a run ends.

`durability.py` kills writers, `concurrent_reads.py` has readers beside one. Both write indexes of Chinese documents
that are made here, in memory where they can, and exit 1 if anything was found. Not covered: what they examine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from chimed_rag.config import Chunking
from chimed_rag.encoders.hashing import HashingEncoder
from chimed_rag.records import Document

ENCODER = HashingEncoder(64)
CHUNKING = Chunking(max_chars=60, min_chars=0)
_WORDS = re.findall(
    r"\S+",
    "高血压 糖尿病 冠心病 阿司匹林 布洛芬 对乙酰氨基酚 头痛 发热 咳嗽 孕妇 儿童 老年人 剂量 每日两次 口服 "
    "饭后 禁忌 慎用 肝功能 肾功能不全 患者 应当 监测 血糖 心率 感染 抗生素 过敏 皮疹 手术 复查 氨氯地平 二甲"
    "双胍 青霉素 胸痛 呼吸困难 立即 就医",
)


def document(seed: int, n: int, revision: int = 0) -> Document:
    """The n-th document of a seed; another revision has another text."""
    chance = random.Random(f"{seed}/{n}/{revision}")
    sentences = ["".join(chance.choices(_WORDS, k=chance.randint(2, 9))) + "。" for _ in range(chance.randint(1, 8))]
    return Document(
        id=f"doc-{n:03d}",
        text="".join(sentences),
        title=f"{chance.choice(_WORDS)}指南" if n % 2 else "",
        source="durability",
        metadata={"n": n, "revision": revision, "parity": ["even", "odd"][n % 2]},
    )


def workplace() -> Path:
    """A folder in memory where there is one: fsync costs nothing there, and for a SIGKILL it makes no difference."""
    memory = Path("/dev/shm")
    return memory if memory.is_dir() and os.access(memory, os.W_OK) else Path(tempfile.gettempdir())


def parser(description: str) -> argparse.ArgumentParser:
    """The options that each of the experiments has."""
    found = argparse.ArgumentParser(description=description)
    found.add_argument("--folder", type=Path, default=workplace(), help="where to work (default: in memory)")
    found.add_argument("--json", type=Path, metavar="FILE", help="write the results there")
    return found


def conclude(failures: Sequence[str], seconds: float, found: Mapping[str, Any], file: Path | None) -> int:
    """Tells the failures and writes what was found, with its surroundings, as JSON if asked; the exit status."""
    for failure in failures[:20]:
        print("FAILED", failure)
    print(f"\n{len(failures)} failures in {seconds:.0f} s")
    if file:
        body = {**_surroundings(), **found}
        file.write_text(json.dumps(body, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return 1 if failures else 0


def _surroundings() -> dict[str, Any]:
    with suppress(OSError, subprocess.CalledProcessError):
        found = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        revision = found.stdout.strip()
        return {"commit": revision, **_versions()}
    return _versions()


def _versions() -> dict[str, Any]:
    names = ("chimed-rag", "faiss-cpu", "numpy", "tantivy")
    versions = {"python": platform.python_version()}
    for name in names:
        with suppress(ModuleNotFoundError):
            versions[name] = version(name)
    machine = {"platform": platform.platform(), "cpus": os.cpu_count()}
    return {"date": datetime.now(timezone.utc).isoformat(timespec="seconds"), "versions": versions, "machine": machine}
