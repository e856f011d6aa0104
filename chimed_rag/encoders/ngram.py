"""Vectors from a table of trained n-gram vectors: the encoder that comes with the package, and its adapted copies.

Read and added up with numpy alone. The table is stored as model2vec stores one (`embeddings`, here int8, times
`weights`), with the n-grams (`ngrams`) in the place of a tokenizer. Not covered: training (`contrastive`, `adapt`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from chimed_rag.encoders.base import EncoderSpec, Vectors, normalised, says_kind
from chimed_rag.encoders.manner import Manner
from chimed_rag.encoders.ngrams import Bags, Vocabulary
from chimed_rag.errors import EncoderError

SHIPPED = Path(__file__).parent / "shipped"
"""The folder of the encoder that comes with the package."""

WEIGHTS, CARD = "model.safetensors", "config.json"
_VERSION = 1  # of everything in this room that changes a vector
_BATCH = 1024


class NgramEncoder:
    """The weighted sum of the vectors of a text's n-grams, brought to length 1. Documents and queries are alike.

    A text without a known n-gram gives a zero row.

    Args:
        path: a folder written by `save`; None takes the encoder that comes with the package.

    Raises:
        EncoderError: no such folder, or a file of it is missing, damaged or of another kind.
    """

    fusion_weight = 0.7
    cosine_weight = 1.75
    spec: EncoderSpec
    squares: NDArray[np.float32] | None = None
    """How much each n-gram's row has learned, for `adapt`; has no part in the vectors."""
    manner: Manner | None = None
    """What `adapt` found of patients' questions and replies; has no part in the vectors."""

    def __init__(self, path: str | Path | None = None) -> None:
        folder = SHIPPED if path is None else Path(path).expanduser()
        tensors, card = _read(folder)
        self._set(tensors["embeddings"], tensors["weights"], tensors["ngrams"], tensors["frequencies"], card)
        self.squares = tensors.get("squares")
        if "manner" in tensors:
            self.manner = Manner(*tensors["manner"])
        settings: dict[str, JsonValue] = {} if path is None else {"path": str(path)}
        self.spec = self.spec.model_copy(update={"settings": settings})

    @classmethod
    def from_table(
        cls,
        vocabulary: Vocabulary,
        table: NDArray[np.float32],
        frequencies: NDArray[np.float32],
        card: Mapping[str, Any],
        squares: NDArray[np.float32] | None = None,
    ) -> NgramEncoder:
        """An encoder of a trained table; its vectors are those of the table rounded to 255 steps a row.

        Args:
            vocabulary: the n-grams of the rows.
            table: float32 of shape (n-grams, d).
            frequencies: the share of texts that hold each n-gram, in (0, 1].
            card: what `save` writes beside the weights: name, data, scores.
            squares: the trainer's (`contrastive.Trainer.squares`), kept so that the training can be gone on with.
        """
        weights = np.maximum(np.abs(table).max(axis=1), 1e-9).astype(np.float32) / np.float32(127)
        codes = np.rint(table / weights[:, None]).astype(np.int8)
        encoder = cls.__new__(cls)
        encoder._set(codes, weights, vocabulary.keys, frequencies.astype(np.float32), card)
        encoder.squares = squares
        return encoder

    def _set(
        self,
        codes: NDArray[np.int8],
        weights: NDArray[np.float32],
        keys: NDArray[np.uint64],
        frequencies: NDArray[np.float32],
        card: Mapping[str, Any],
    ) -> None:
        self.vocabulary, self.codes, self.weights, self.frequencies = Vocabulary(keys), codes, weights, frequencies
        self.card = dict(card)
        digest = hashlib.sha256(f"ngram {_VERSION}\0".encode())
        for array in (codes, weights, keys, frequencies):
            digest.update(np.ascontiguousarray(array).view(np.uint8).data)
        self.spec = EncoderSpec(
            kind="ngram",
            name=str(self.card.get("name", "ngram")),
            dimension=int(codes.shape[1]),
            fingerprint=digest.hexdigest(),
        )

    def table(self) -> NDArray[np.float32]:
        """The vectors of the n-grams, float32 of shape (n-grams, d)."""
        return self.codes.astype(np.float32) * self.weights[:, None]

    def vectors(self, bags: Bags) -> Vectors:
        """The vectors of bags, shape (bags, d)."""
        sums = np.zeros((len(bags), self.codes.shape[1]), dtype=np.float32)
        weights = bags.weights * self.weights[bags.ids]
        for row, (begin, end) in enumerate(zip(bags.offsets[:-1], bags.offsets[1:], strict=True)):
            if end > begin:
                sums[row] = weights[begin:end] @ self.codes[bags.ids[begin:end]].astype(np.float32)
        return normalised(sums)

    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        """Vectors of passages, shape (n, dimension)."""
        parts = [
            self.vectors(self.vocabulary.bags(texts[begin : begin + _BATCH])) for begin in range(0, len(texts), _BATCH)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, self.spec.dimension), dtype=np.float32)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Vectors of questions, shape (n, dimension)."""
        return self.encode_documents(texts)

    def save(self, folder: Path) -> list[Path]:
        """Writes weights and card into a folder, which is made; returns the files."""
        from safetensors.numpy import save_file

        folder.mkdir(parents=True, exist_ok=True)
        tensors = {
            "embeddings": self.codes,
            "weights": self.weights,
            "ngrams": self.vocabulary.keys,
            "frequencies": self.frequencies,
        }
        if self.squares is not None:
            tensors["squares"] = self.squares
        if self.manner is not None:
            tensors["manner"] = np.stack(self.manner)
        save_file({name: np.ascontiguousarray(array) for name, array in tensors.items()}, folder / WEIGHTS)
        (folder / WEIGHTS).chmod(0o644)
        card = {"kind": "ngram", "version": _VERSION, **self.card}
        (folder / CARD).write_text(json.dumps(card, ensure_ascii=False, indent=2) + "\n", "utf-8")
        return [folder / WEIGHTS, folder / CARD]


@cache
def shipped() -> NgramEncoder:
    """The encoder that comes with the package, read once in a process."""
    return NgramEncoder()


def ngram_encoder(path: str | Path | None = None) -> NgramEncoder:
    """What the registry makes: the encoder of a folder, or the shared one that comes with the package."""
    return shipped() if path is None else NgramEncoder(path)


def is_ngram_folder(folder: Path) -> bool:
    """Whether a folder says that it holds an encoder of this kind."""
    return says_kind(folder, "ngram")


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    if not folder.is_dir():
        raise EncoderError(f"{folder} is not a folder; an n-gram encoder is loaded from a folder with {WEIGHTS}")
    for name in (WEIGHTS, CARD):
        if not (folder / name).is_file():
            raise EncoderError(f"{folder} holds no {name}; copy it again from where the model came from")
    if not is_ngram_folder(folder):
        raise EncoderError(f'{folder / CARD} is no card of an n-gram encoder ("kind": "ngram")')
    from safetensors.numpy import load_file

    try:
        tensors = load_file(folder / WEIGHTS)
        card = json.loads((folder / CARD).read_text("utf-8"))
    except Exception as error:  # safetensors raises bare exceptions of its own
        raise EncoderError(f"{folder / WEIGHTS} cannot be read: {error}; copy it again") from error
    if card.get("version") != _VERSION:
        raise EncoderError(f"{folder / CARD}: version {card.get('version')}, but this chimed_rag reads {_VERSION}")
    if problem := _fault(tensors):
        raise EncoderError(f"{folder / WEIGHTS}: {problem}; copy it again from where the model came from")
    return tensors, card


def _fault(tensors: Mapping[str, NDArray[Any]]) -> str | None:
    """What is wrong with the tensors of a model, if anything is."""
    due = {"embeddings": ("int8", 2), "weights": ("float32", 1), "ngrams": ("uint64", 1), "frequencies": ("float32", 1)}
    for name, (kind, axes) in due.items():
        found = tensors.get(name)
        if found is None or str(found.dtype) != kind or found.ndim != axes:
            return f"the tensor {name!r} is missing, or is not {kind} with {axes} axes"
    extra = tensors.get("squares")
    if extra is not None and (str(extra.dtype) != "float32" or extra.ndim != 1 or not (extra > 0).all()):
        return "the tensor 'squares' does not hold positive float32 numbers"
    manner = tensors.get("manner")
    if manner is not None and (
        str(manner.dtype) != "float32"
        or manner.shape != (2, tensors["embeddings"].shape[1] + 1)
        or not np.isfinite(manner).all()
    ):
        return "the tensor 'manner' does not hold two rows of finite float32 numbers, one longer than a vector"
    lengths = {len(tensors[name]) for name in (*due, *({"squares"} & tensors.keys()))}
    if len(lengths) != 1 or not tensors["embeddings"].size:
        return "its tensors do not have one row for each n-gram"
    if not np.isfinite(tensors["weights"]).all() or not np.isfinite(tensors["frequencies"]).all():
        return "a weight is NaN or infinite"
    if not (tensors["ngrams"][1:] > tensors["ngrams"][:-1]).all():
        return "its n-grams are not in ascending order"
    return None
