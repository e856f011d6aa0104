"""Answers Chinese medical questions from a literature you choose, each sentence tied to the place that supports it.

The face is lazy on purpose: `import chimed_rag` loads no numpy, faiss, torch or transformers; a name below loads its
module when it is first touched (PEP 562).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chimed_rag.errors import ChiMedError
    from chimed_rag.medqa import MedQA
    from chimed_rag.records import Answer, Citation, Document, Evidence

__version__ = "0.1.0"

__all__ = ["Answer", "ChiMedError", "Citation", "Document", "Evidence", "MedQA", "__version__"]

_HOME = {
    "Answer": "records",
    "ChiMedError": "errors",
    "Citation": "records",
    "Document": "records",
    "Evidence": "records",
    "MedQA": "medqa",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'chimed_rag' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"chimed_rag.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
