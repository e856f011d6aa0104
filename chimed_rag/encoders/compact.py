"""A small transformer computed in numpy, without torch: BERT's layers (Devlin et al. 2019, arXiv:1810.04805) with
ReLU, whose vectors tell whether a text answers a question.

Two kinds of text are told apart by BERT's segment embedding: questions and passages. Matrices are stored as int8 with a
scale for each row. Not covered: making such a model (the training stage `retriever`, kind `distilled`), and which
texts are worth reading (`retrieval.windows`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chimed_rag.encoders.base import Vectors, normalised, says_kind, well_formed
from chimed_rag.errors import EncoderError

WEIGHTS, TOKENIZER, CARD = "model.safetensors", "tokenizer.json", "config.json"
QUESTION, PASSAGE = 0, 1
"""Segments: what a text is read as."""

_VERSION = 1
_PADDED_TOKENS = 768
"""Tokens in one pass, padding included: of 256 to 1,536 the fastest."""
_EPSILON = np.float32(1e-12)
_HIGHEST = np.float32(80)
"""Of an attention's logits: float32 holds e to the 88th."""

Floats = NDArray[np.float32]


class _Layer(NamedTuple):
    """Matrices of shape (inputs, outputs); those of the queries are divided by the root of a head's width."""

    qkv: Floats
    qkv_bias: Floats
    out: Floats
    out_bias: Floats
    first_norm: Floats
    first_shift: Floats
    up: Floats
    up_bias: Floats
    down: Floats
    down_bias: Floats
    second_norm: Floats
    second_shift: Floats


class CompactTransformer:
    """Reads texts of at most `longest` tokens; what is beyond is not read.

    Args:
        folder: with model.safetensors, tokenizer.json and config.json, as the training stage writes them.

    Raises:
        EncoderError: no such folder, or a file of it is missing, damaged or of another kind.
    """

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        tensors, card = _read(folder)
        try:
            self._tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        except Exception as error:  # tokenizers raises bare exceptions of its own
            raise EncoderError(f"{folder / TOKENIZER} cannot be read: {error}; copy it again") from error
        if problem := _fault(tensors, card, self._tokenizer.get_vocab_size()):
            raise EncoderError(f"{folder}: {problem}; copy it again from where the model came from")
        self._heads, self.longest = card["heads"], card["longest"]
        self._tokenizer.enable_truncation(self.longest)
        self._tokenizer.no_padding()
        self._codes, self._scales = tensors["words"], tensors["words.scales"]
        self._positions, self._segments = tensors["positions"], tensors["segments"]
        self._norm, self._shift = tensors["norm"], tensors["shift"]
        self._layers = [_layer(tensors, f"layers.{n}.", self._heads) for n in range(card["layers"])]
        self._head, self._head_bias = _matrix(tensors, "head"), tensors["head_bias"]
        self.dimension = len(self._head_bias)

    def encode(self, texts: Sequence[str], segment: int) -> Vectors:
        """The texts' vectors of length 1, shape (n, dimension); those of a text without a token are zero.

        A vector depends on its text alone, up to the rounding of sums of another length.
        """
        vectors = np.zeros((len(texts), self.dimension), np.float32)
        ids = [entry.ids for entry in self._tokenizer.encode_batch(well_formed(texts), add_special_tokens=True)]
        for places in _batches([len(tokens) for tokens in ids]):
            width = len(ids[places[-1]])
            padded = np.zeros((len(places), width), np.int64)
            for row, place in enumerate(places):
                padded[row, : len(ids[place])] = ids[place]
            lengths = np.array([len(ids[place]) for place in places])
            vectors[places] = self._read(padded, lengths, segment)
        return vectors

    def _read(self, ids: NDArray[np.int64], lengths: NDArray[np.int64], segment: int) -> Vectors:
        count, width = ids.shape
        counted = np.arange(width) < lengths[:, None]
        states = self._codes[ids] * self._scales[ids][..., None]
        states += self._positions[:width] + self._segments[segment]
        states = _normed(states.reshape(count * width, -1), self._norm, self._shift)
        hidden = np.where(counted, np.float32(0), np.float32(-1e4))[:, None, None, :]
        for layer in self._layers:
            states = self._through(layer, states, hidden, count, width)
        sums = np.matmul(counted[:, None, :].astype(np.float32), states.reshape(count, width, -1))[:, 0]
        return normalised(sums / lengths[:, None].astype(np.float32) @ self._head + self._head_bias)

    def _through(self, layer: _Layer, states: Floats, hidden: Floats, count: int, width: int) -> Floats:
        # In place where it can be: new arrays of megabytes cost more than what is computed in them.
        heads, size = self._heads, states.shape[1] // self._heads
        mixed = states @ layer.qkv
        mixed += layer.qkv_bias
        queries, keys, values = mixed.reshape(count, width, 3, heads, size).transpose(2, 0, 3, 1, 4)
        weights = queries @ keys.swapaxes(2, 3)
        weights += hidden
        np.minimum(weights, _HIGHEST, out=weights)  # instead of less the row's highest: numpy is slow at short rows
        np.exp(weights, out=weights)
        weights /= weights.sum(axis=3, keepdims=True) + np.finfo(np.float32).tiny
        seen = (weights @ values).transpose(0, 2, 1, 3).reshape(count * width, -1)
        states += seen @ layer.out
        states += layer.out_bias
        states = _normed(states, layer.first_norm, layer.first_shift)
        raised = states @ layer.up
        raised += layer.up_bias
        np.maximum(raised, 0, out=raised)
        states += raised @ layer.down
        states += layer.down_bias
        return _normed(states, layer.second_norm, layer.second_shift)


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Places of texts of like length, shortest first; texts without tokens are left out."""
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        if not lengths[place]:
            continue
        if batch and (len(batch) + 1) * lengths[place] > _PADDED_TOKENS:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def _normed(states: Floats, weight: Floats, shift: Floats) -> Floats:
    """Layer normalisation, in place."""
    states -= states @ np.full((states.shape[1], 1), 1 / states.shape[1], np.float32)
    spread = np.sqrt(np.einsum("ij,ij->i", states, states) / np.float32(states.shape[1]) + _EPSILON)
    states /= spread[:, None]
    states *= weight
    states += shift
    return states


def _matrix(tensors: Mapping[str, NDArray[Any]], name: str) -> Floats:
    """A stored matrix (outputs, inputs) as float32 (inputs, outputs)."""
    return np.ascontiguousarray((tensors[name].astype(np.float32) * tensors[f"{name}.scales"][:, None]).T)


def _layer(tensors: Mapping[str, NDArray[Any]], prefix: str, heads: int) -> _Layer:
    matrices = {name: _matrix(tensors, prefix + name) for name in ("qkv", "out", "up", "down")}
    rest = {name: tensors[prefix + name].astype(np.float32) for name in _Layer._fields if name not in matrices}
    width = matrices["out"].shape[0]
    root = np.float32((width // heads) ** 0.5)
    matrices["qkv"][:, :width] /= root
    rest["qkv_bias"][:width] /= root
    return _Layer(**matrices, **rest)


def is_compact_folder(folder: Path) -> bool:
    """Whether a folder says that it holds a model of this kind."""
    return says_kind(folder, "compact")


def _read(folder: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    for name in (WEIGHTS, TOKENIZER, CARD):
        if not (folder / name).is_file():
            raise EncoderError(f"{folder} holds no {name}; copy it again from where the model came from")
    from safetensors.numpy import load_file

    try:
        tensors, card = load_file(folder / WEIGHTS), json.loads((folder / CARD).read_text("utf-8"))
    except Exception as error:  # safetensors raises bare exceptions of its own
        raise EncoderError(f"{folder} cannot be read: {error}; copy it again") from error
    if not isinstance(card, dict) or card.get("kind") != "compact" or card.get("version") != _VERSION:
        raise EncoderError(f"{folder / CARD} is no card of a compact transformer, version {_VERSION}")
    return tensors, card


def _fault(tensors: Mapping[str, NDArray[Any]], card: Mapping[str, Any], words: int) -> str | None:
    """What is wrong with a model's card and tensors, if anything is."""
    counts = [card.get(name) for name in ("layers", "heads", "longest")]
    if not all(isinstance(count, int) and count > 0 for count in counts):
        return f"layers, heads and longest in {CARD} are {counts}, not three positive numbers"
    layers, heads, longest = (int(count or 0) for count in counts)
    width = tensors["segments"].shape[-1] if "segments" in tensors else 0
    dimension = len(tensors.get("head_bias", ()))
    if width == 0 or width % heads:
        return f"vectors of {width} numbers cannot be shared by {heads} heads"
    due = {"segments": (2, width), "norm": (width,), "shift": (width,), "head_bias": (dimension,)}
    matrices = {"words": (words, width), "head": (dimension, width)}
    for prefix in (f"layers.{n}." for n in range(layers)):
        units = len(tensors.get(prefix + "up_bias", ()))
        matrices |= {prefix + "qkv": (3 * width, width), prefix + "out": (width, width)}
        matrices |= {prefix + "up": (units, width), prefix + "down": (width, units)}
        due |= {f"{prefix}{name}_bias": (matrices[prefix + name][0],) for name in ("qkv", "out", "up", "down")}
        due |= {f"{prefix}{place}_{what}": (width,) for place in ("first", "second") for what in ("norm", "shift")}
    due |= matrices | {f"{name}.scales": shape[:1] for name, shape in matrices.items()}
    for name, shape in due.items():
        found, kind = tensors.get(name), "int8" if name in matrices else "float32"
        if found is None or found.shape != shape or str(found.dtype) != kind:
            return f"the tensor {name!r} is missing, or is not {kind} of shape {shape}"
        if not np.isfinite(found).all():
            return f"the tensor {name!r} holds NaN or infinity"
    positions = tensors.get("positions")
    if (
        positions is None
        or str(positions.dtype) != "float32"
        or positions.shape != (max(len(positions), longest), width)
    ):
        return f"the tensor 'positions' is missing, or is not float32 with {longest} rows or more of {width}"
    return None if np.isfinite(positions).all() else "the tensor 'positions' holds NaN or infinity"
