"""A FAISS that ends the process at its first search on a GPU ends another process, never the caller's."""

from __future__ import annotations

from pathlib import Path

import pytest

from chimed_rag.indexing import gpu

STAND_IN = """
import os, sys
class GpuIndexFlatConfig:
    device = 0
def StandardGpuResources():
    return None
class GpuIndexFlatIP:
    def __init__(self, resources, dimension, options):
        self.device = options.device
    def add(self, vectors):
        if self.device == 1:
            print("Faiss assertion failed; details: CUDA error 209 no kernel image is available", file=sys.stderr)
            sys.stderr.flush()
            os.abort()
        if self.device == 2:
            raise RuntimeError("out of memory")
    def search(self, vectors, k):
        import numpy
        found = numpy.arange(4)
        return found, found if self.device == 0 else found[::-1]
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "faiss.py").write_text(STAND_IN, "utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    gpu.refusal.cache_clear()


@pytest.mark.usefixtures("stand_in")
def test_what_ends_the_process_becomes_a_reason() -> None:
    assert gpu.refusal(0) is None
    assert "no code for this GPU" in (gpu.refusal(1) or "")
    assert "out of memory" in (gpu.refusal(2) or "")
    assert "a trial search failed" in (gpu.refusal(3) or ""), "wrong neighbours are a reason too"


def test_the_cpu_build_is_refused_with_its_own_words() -> None:
    faiss = pytest.importorskip("faiss")
    if hasattr(faiss, "GpuIndexFlatConfig"):
        pytest.skip("this FAISS is a GPU build")
    gpu.refusal.cache_clear()
    assert "GpuIndexFlatConfig" in (gpu.refusal(0) or "")
