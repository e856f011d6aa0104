"""Vectors from a table of token vectors: a model2vec folder, read and averaged with numpy alone.

Not covered: making such a model (`adapt`, and the training stage `retriever`), and models that need torch (`sentence`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from chimed_rag.encoders.base import EncoderSpec, Vectors, fingerprint, normalised, well_formed
from chimed_rag.errors import EncoderError

_TABLES = ("model.safetensors", "0_StaticEmbedding/model.safetensors")
_FILES = ("config.json", "config_sentence_transformers.json", "modules.json", "tokenizer.json", "model.safetensors")
_TENSORS = {"embeddings", "embedding.weight"}  # as model2vec and as sentence-transformers name the table


class StaticEncoder:
    """The mean of the vectors of a text's tokens, brought to length 1. Documents and queries are encoded alike.

    A text without a known token gives a zero row. The fingerprint covers weights, tokenizer and configuration, not
    the place of the folder.

    Args:
        path: a folder written by model2vec, or by sentence-transformers around a `StaticEmbedding`.

    Raises:
        EncoderError: no such folder, a file of it is missing or damaged, or it holds another kind of model.
    """

    fusion_weight = 1.0

    def __init__(self, path: str | Path) -> None:
        folder = Path(path).expanduser().resolve()
        _require_static(folder)
        # Imported once the folder is known to be right: a slip in a path is told without waiting.
        from model2vec import StaticModel

        try:
            self._model: Any = StaticModel.from_pretrained(folder)
        except Exception as error:  # safetensors and tokenizers raise bare exceptions of their own
            raise EncoderError(f"{folder}: the model cannot be loaded: {error}") from error
        self._lock = Lock()
        inner = folder / "0_StaticEmbedding"
        files = [file for root in (folder, inner) for name in _FILES if (file := root / name).is_file()]
        self.spec = EncoderSpec(
            kind="static",
            name=folder.name,
            dimension=int(self._model.dim),
            fingerprint=fingerprint({"static": 1}, folder, files),
            settings={"path": str(folder)},
        )

    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        """Vectors of passages, shape (n, dimension)."""
        if not len(texts):
            return np.zeros((0, self.spec.dimension), dtype=np.float32)
        # The model sets its tokenizer's truncation at every call, which must not happen under another thread's feet.
        # Its own threads are not asked for: they switch off the tokenizer's, for the whole process.
        with self._lock:
            return normalised(self._model.encode(well_formed(texts), normalize=False, use_multiprocessing=False))

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Vectors of questions, shape (n, dimension)."""
        return self.encode_documents(texts)


def is_static_folder(folder: Path) -> bool:
    """Whether a folder holds a table of token vectors and nothing else that would have to be run."""
    return _table(folder) is not None and _only_static_modules(folder)


def _require_static(folder: Path) -> None:
    if not folder.is_dir():
        raise EncoderError(f"{folder} is not a folder; a static encoder is loaded from a model2vec folder")
    weights = next((file for name in _TABLES if (file := folder / name).is_file()), None)
    if weights is None:
        raise EncoderError(f"{folder} holds no model.safetensors; it is not a model2vec folder, or not a whole one")
    if not is_static_folder(folder):
        raise EncoderError(f"{folder} is not a model2vec folder; load it as a sentence encoder: --encoder {folder}")
    if not (weights.parent / "tokenizer.json").is_file():
        raise EncoderError(f"{weights.parent} holds no tokenizer.json; copy it again from where the model came from")
    if not any((folder / name).is_file() for name in _FILES[:2]):
        raise EncoderError(f"{folder} holds no config.json; copy it again from where the model came from")


def _table(folder: Path) -> Path | None:
    return next((file for name in _TABLES if (file := folder / name).is_file() and _tensors(file) & _TENSORS), None)


def _tensors(file: Path) -> set[str]:
    """The names in a safetensors file: 8 bytes length (little-endian), then that much JSON, keyed by name."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = stream.read(length) if length < file.stat().st_size else b""
    try:
        return set(json.loads(header))
    except ValueError:
        return set()


def _only_static_modules(folder: Path) -> bool:
    """Whether sentence-transformers would run nothing after the table but a normalisation."""
    file = folder / "modules.json"
    if not file.is_file():
        return True
    try:
        kinds = {str(module["type"]).rpartition(".")[2] for module in json.loads(file.read_text(encoding="utf-8"))}
    except (ValueError, KeyError, TypeError):
        return False
    return kinds <= {"StaticEmbedding", "Normalize"}
