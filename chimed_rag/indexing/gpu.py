"""Whether this FAISS can search on a GPU at all, tried where nothing is lost.

A FAISS that was built without code for a GPU ends the whole process at the first search on it, past every `except`: the
wheel faiss-gpu-cu12 1.14.1 (compute capability 7.0 to 8.9) did so on an H200 (9.0). So one small search is tried in a
process of its own. Not covered: whether there is memory for an index.
"""

from __future__ import annotations

import subprocess
import sys
from functools import cache

_TRIAL = """
import sys
import faiss, numpy
options = faiss.GpuIndexFlatConfig()
options.device = int(sys.argv[1])
index = faiss.GpuIndexFlatIP(faiss.StandardGpuResources(), 4, options)
index.add(numpy.eye(4, dtype="float32"))
_, found = index.search(numpy.eye(4, dtype="float32"), 1)
assert found.ravel().tolist() == [0, 1, 2, 3], found
"""
SECONDS = 120


@cache
def refusal(ordinal: int) -> str | None:
    """Why FAISS cannot search on this GPU, in one line; None where a trial search brought what it should.

    Some seconds the first time, for FAISS and CUDA are loaded anew; then remembered for the life of this process.
    """
    command = [sys.executable, "-c", _TRIAL, str(ordinal)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return f"a trial search did not end within {SECONDS} s"
    except OSError as error:
        return f"a trial search could not begin: {error}"
    if not done.returncode:
        return None
    said = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), f"exit code {done.returncode}")
    if "no kernel image" in done.stderr:
        return "this FAISS has no code for this GPU; Meta's faiss-gpu-cuvs (CUDA 13) has more, or build FAISS for it"
    return f"a trial search failed: {said.strip()[:300]}"
