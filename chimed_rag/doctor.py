"""What this machine can do: which rung of the ladder, what is missing, and the command that adds it.

Not covered: the health of an index (`chimed inspect`).
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path
from typing import Literal, NamedTuple

from chimed_rag import __version__


class Finding(NamedTuple):
    """One thing looked at; `remedy` is a command, empty where nothing needs doing."""

    what: str
    state: Literal["ready", "missing", "broken"]
    detail: str
    remedy: str = ""


_RUNGS = (
    ("loaders for pdf, docx and html", ("pypdf", "python-docx", "selectolax"), "documents"),
    ("sentence encoders and rerankers, ChiMed-GPT", ("sentence-transformers", "transformers", "torch"), "models"),
    ("LangChain", ("langchain-core",), "langchain"),
    ("evaluation", ("pytrec-eval-terrier", "scipy"), "evaluation"),
)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _faiss() -> list[Finding]:
    names = {(d.metadata["Name"] or "").lower() for d in distributions()}
    wheels = sorted(name for name in names if name.startswith("faiss-"))
    if not wheels:
        return [Finding("dense search", "broken", "FAISS is not installed", "pip install 'chimed-rag[cpu]'")]
    if len(wheels) > 1:
        keep = next((name for name in wheels if "gpu" in name), wheels[0])
        others = " ".join(name for name in wheels if name != keep)
        remedy = f"pip uninstall -y {' '.join(wheels)} && pip install {keep}"
        return [Finding("dense search", "broken", f"{keep} and {others} overwrite each other's module", remedy)]
    try:
        import faiss
    except ImportError as error:
        return [
            Finding(
                "dense search",
                "broken",
                f"{wheels[0]} does not load: {error}",
                f"pip install --force-reinstall {wheels[0]}",
            )
        ]
    findings = [
        Finding("dense search", "ready", f"{wheels[0]} {_version(wheels[0])}, {faiss.omp_get_max_threads()} threads")
    ]
    gpus = faiss.get_num_gpus() if hasattr(faiss, "StandardGpuResources") else 0
    if gpus:
        from chimed_rag.indexing.gpu import refusal

        if reason := refusal(0):
            remedy = f"pip uninstall -y {wheels[0]} && pip install faiss-gpu-cuvs"
            findings.append(Finding("FAISS on GPU", "broken", reason, remedy))
        else:
            findings.append(Finding("FAISS on GPU", "ready", f"{gpus} device(s); use device='cuda:0'"))
    elif shutil.which("nvidia-smi"):
        remedy = "pip uninstall -y faiss-cpu && pip install 'chimed-rag[gpu]'"
        findings.append(
            Finding("FAISS on GPU", "missing", "an NVIDIA driver is here, this FAISS does not use it", remedy)
        )
    return findings


def _starter() -> Finding:
    from chimed_rag.errors import ChiMedError
    from chimed_rag.medqa import STARTER_INDEX, MedQA

    try:
        with MedQA() as qa:
            return Finding("starter literature", "ready", f"{len(qa):,} passages")
    except ChiMedError as error:
        return Finding(
            "starter literature", "broken", str(error), f"pip install --force-reinstall chimed-rag=={__version__}"
        )
    except Exception as error:  # a doctor reports what it meets
        return Finding(
            "starter literature",
            "broken",
            f"{STARTER_INDEX}: {error!r}",
            f"pip install --force-reinstall chimed-rag=={__version__}",
        )


def _encoders() -> Finding | None:
    """Which known encoders lie in the hub's cache here; nothing where the library that would load them is missing."""
    if _version("sentence-transformers") is None or _version("huggingface-hub") is None:
        return None
    from huggingface_hub import constants

    from chimed_rag.encoders.known import KNOWN

    cache = Path(os.environ.get("SENTENCE_TRANSFORMERS_HOME") or constants.HF_HUB_CACHE)
    here = [name for name in KNOWN if (cache / f"models--{name.replace('/', '--')}" / "snapshots").is_dir()]
    if here:
        return Finding("known encoders", "ready", f"{', '.join(here)}; use --encoder {here[0]}")
    remedy = "hf download BAAI/bge-small-zh-v1.5 --local-dir bge-small-zh-v1.5  # then --encoder bge-small-zh-v1.5"
    return Finding("known encoders", "missing", f"none of {len(KNOWN)} is in {cache}; a folder will do as well", remedy)


def _language_models() -> list[Finding]:
    """What "auto" would take, and what ChiMed-GPT would need here (torch is loaded, if it is installed)."""
    from chimed_rag.generation.choosing import ENDPOINT, MODEL
    from chimed_rag.generation.memory import CHIMED_GPT, GIB, advice, free_memory, plan

    rungs = [f"{name}={os.environ[name]}" for name in (ENDPOINT, MODEL) if os.environ.get(name)]
    detail = ", then ".join([*rungs, "extractive"])
    findings = [Finding("generator='auto'", "ready", f"{detail} ({ENDPOINT}: a server, {MODEL}: a folder)")]
    needed = plan(CHIMED_GPT)
    told = (
        f"takes {needed.total / GIB:.1f} GiB in bfloat16 for one question of {needed.context:,} tokens (weights "
        f"{needed.weights / GIB:.1f}, cache {needed.cache / GIB:.1f}, work {needed.workspace / GIB:.1f})"
    )
    gpus = [device for device in free_memory() if device.device != "cpu"]
    for gpu in gpus:
        lacking = advice(needed, gpu.free)
        state: Literal["ready", "missing"] = "missing" if lacking else "ready"
        what = f"{gpu.device} has {gpu.free / GIB:.1f} GiB free; {told}" + lacking.partition(" are free")[2]
        findings.append(Finding("ChiMed-GPT 13B", state, what))
    if not gpus:
        findings.append(
            Finding("ChiMed-GPT 13B", "missing", f"no GPU is seen; {told}; or use a server: http://HOST:8000/v1")
        )
    return findings


def examine() -> list[Finding]:
    """Looks at Python, memory, FAISS, the starter index, the optional libraries and the models in the hub's cache."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30 if hasattr(os, "sysconf") else 0.0
    system = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB"
    machine = f"Python {platform.python_version()} on {system}"
    findings = [
        Finding("machine", "ready", machine),
        Finding("chimed_rag", "ready", f"{__version__} in {sys.prefix}"),
        *_faiss(),
        _starter(),
    ]
    for what, packages, extra in _RUNGS:
        found = {package: _version(package) for package in packages}
        missing = [package for package, number in found.items() if number is None]
        detail = "needs " + ", ".join(missing) if missing else ", ".join(f"{p} {n}" for p, n in found.items())
        remedy = f"pip install 'chimed-rag[{extra}]'" if missing else ""
        findings.append(Finding(what, "missing" if missing else "ready", detail, remedy))
    if (encoders := _encoders()) is not None:
        findings.append(encoders)
    return [*findings, *_language_models()]


def report(findings: list[Finding]) -> str:
    """The findings as lines for a terminal."""
    marks = {"ready": "ok     ", "missing": "missing", "broken": "BROKEN "}
    lines = []
    for finding in findings:
        lines.append(f"{marks[finding.state]}  {finding.what}: {finding.detail}")
        if finding.remedy:
            lines.append(f"         run: {finding.remedy}")
    return "\n".join(lines)
