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
_GROUP = 192
"""Tokens, padding included, whose attention is computed together: few, so that texts of like length share their padding
and what is computed stays in the cache. All else is computed for a whole pass: matrix products like to be large."""
_PASS = 2048
"""Tokens of a pass, padding included: each takes about 12 KB."""
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
        for groups in _passes([len(tokens) for tokens in ids]):
            places = [place for group in groups for place in group]
            vectors[places] = self._read([[ids[place] for place in group] for group in groups], segment)
        return vectors

    def _read(self, texts: Sequence[Sequence[list[int]]], segment: int) -> Vectors:
        groups, ids, positions = _laid_out(texts)
        states = self._codes[ids] * self._scales[ids][:, None]
        states += self._positions[positions]
        states += self._segments[segment]
        states = _normed(states, self._norm, self._shift)
        for layer in self._layers:
            states = self._through(layer, states, groups)
        means = np.concatenate([group.means(states) for group in groups])
        return normalised(means @ self._head + self._head_bias)

    def _through(self, layer: _Layer, states: Floats, groups: Sequence[_Group]) -> Floats:
        # In place where it can be: new arrays of megabytes cost more than what is computed in them.
        mixed, seen = states @ layer.qkv, np.empty_like(states)
        for group in groups:
            mixed[group.rows] += layer.qkv_bias
            seen[group.rows] = self._attended(mixed[group.rows], group)
        states += seen @ layer.out
        states += layer.out_bias
        states = _normed(states, layer.first_norm, layer.first_shift)
        raised = states @ layer.up
        raised += layer.up_bias
        np.maximum(raised, 0, out=raised)
        states += raised @ layer.down
        states += layer.down_bias
        return _normed(states, layer.second_norm, layer.second_shift)

    def _attended(self, mixed: Floats, group: _Group) -> Floats:
        count, width = group.counted.shape
        heads, size = self._heads, mixed.shape[1] // 3 // self._heads
        queries, keys, values = mixed.reshape(count, width, 3, heads, size).transpose(2, 0, 3, 1, 4)
        weights = queries @ keys.swapaxes(2, 3)
        weights += np.where(group.counted, np.float32(0), np.float32(-1e4))[:, None, None, :]
        np.minimum(weights, _HIGHEST, out=weights)  # instead of less the row's highest: numpy is slow at short rows
        np.exp(weights, out=weights)
        sums = (weights.reshape(-1, width) @ np.ones(width, np.float32)).reshape(count, heads, width, 1)
        weights *= 1 / (sums + np.finfo(np.float32).tiny)
        seen: Floats = (weights @ values).transpose(0, 2, 1, 3).reshape(count * width, -1)
        return seen


class _Group(NamedTuple):
    """Texts of like length in a pass, each padded to the longest one's tokens."""

    rows: slice
    """Of the pass's states."""
    counted: NDArray[np.bool_]
    """Which tokens are none of the padding, shape (texts, tokens)."""

    def means(self, states: Floats) -> Floats:
        """Of the states of each text's tokens."""
        counted = self.counted[:, None, :].astype(np.float32)
        sums = np.matmul(counted, states[self.rows].reshape(*self.counted.shape, -1))[:, 0]
        means: Floats = sums / counted.sum(axis=2)
        return means


def _laid_out(texts: Sequence[Sequence[list[int]]]) -> tuple[list[_Group], NDArray[np.int64], NDArray[np.int64]]:
    """The groups of a pass, and of each of its tokens the id and the place in its text."""
    groups: list[_Group] = []
    ids: list[NDArray[np.int64]] = []
    begin = 0
    for group in texts:
        padded = np.zeros((len(group), max(map(len, group))), np.int64)
        for row, tokens in enumerate(group):
            padded[row, : len(tokens)] = tokens
        counted = np.arange(padded.shape[1]) < np.array([len(tokens) for tokens in group])[:, None]
        groups.append(_Group(slice(begin, begin + padded.size), counted))
        ids.append(padded)
        begin += padded.size
    positions = [np.broadcast_to(np.arange(padded.shape[1]), padded.shape).ravel() for padded in ids]
    return groups, np.concatenate([padded.ravel() for padded in ids]), np.concatenate(positions)


def _passes(lengths: Sequence[int]) -> Iterator[list[list[int]]]:
    """Places of texts in groups of like length, shortest first, as many as make a pass; none without tokens."""
    groups: list[list[int]] = []
    read = 0
    for group in _grouped(lengths):
        tokens = len(group) * lengths[group[-1]]
        if groups and read + tokens > _PASS:
            yield groups
            groups, read = [], 0
        groups.append(group)
        read += tokens
    if groups:
        yield groups


def _grouped(lengths: Sequence[int]) -> Iterator[list[int]]:
    group: list[int] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        if not lengths[place]:
            continue
        if group and (len(group) + 1) * lengths[place] > _GROUP:
            yield group
            group = []
        group.append(place)
    if group:
        yield group


def _normed(states: Floats, weight: Floats, shift: Floats) -> Floats:
    """Layer normalisation, in place."""
    states -= states @ np.full((states.shape[1], 1), 1 / states.shape[1], np.float32)
    spread = np.sqrt(np.einsum("ij,ij->i", states, states) / np.float32(states.shape[1]) + _EPSILON)
    states *= (1 / spread)[:, None]
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
