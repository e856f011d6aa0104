"""The reranker that comes with the package: how each n-gram of the question finds its like in a passage, weighed.

Soft matching with kernels over similarities, after K-NRM (Xiong et al. 2017, arXiv:1706.06613), beside exact coverage,
the nearness of whole and best sentence, and length; a small network, trained on lists (`training.interaction`), makes
one score of them. In numpy alone. Not covered: models that read word order (`cross_encoder`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chimed_rag.encoders.base import Encoder
from chimed_rag.encoders.ngram import NgramEncoder
from chimed_rag.encoders.ngrams import LONGEST, Bags
from chimed_rag.errors import EncoderError
from chimed_rag.text import sentence_spans

Floats = NDArray[np.float32]

SHIPPED = Path(__file__).with_name("interaction.json")
"""The network that comes with the package."""

KERNELS = (0.9, 0.7, 0.5, 0.35)
_SATURATION, _SLOPE, _TYPICAL = 1.2, 0.75, 200.0  # k1, b and mean length (in distinct n-grams) of BM25's formula
_LONGEST_SENTENCE = 120
_PASSAGE = 2000  # characters that are read of a passage
_QUERY = 500

FEATURES = (
    "cosine",
    "best sentence",
    *(f"{kind} {n}" for n in range(1, LONGEST + 1) for kind in ("coverage", "saturated", "soft")),
    *(f"above {kernel}" for kernel in KERNELS),
    "length",
    "question",
)


class InteractionReranker:
    """Scores passages by the features of `FEATURES`; a score does not depend on the passages beside it.

    Args:
        path: a file written by `python -m training retriever` (kind `interaction`); None takes the one that comes with
            the package.
        encoder: whose n-gram vectors are compared; None takes the shipped one. `MedQA` gives that of the index, which
            may be adapted to it.

    Raises:
        EncoderError: the file is missing or holds something else.
    """

    name = "interaction"

    def __init__(self, path: str | Path | None = None, encoder: NgramEncoder | None = None) -> None:
        self._layers = _read(SHIPPED if path is None else Path(path))
        self.encoder = encoder or NgramEncoder()
        self._reader = FeatureReader(self.encoder)

    def with_encoder(self, encoder: Encoder) -> InteractionReranker:
        """The same network over the vectors of another n-gram encoder; itself for any other kind."""
        if not isinstance(encoder, NgramEncoder) or encoder.spec.fingerprint == self.encoder.spec.fingerprint:
            return self
        other = object.__new__(InteractionReranker)
        other._layers, other.encoder, other._reader = self._layers, encoder, FeatureReader(encoder)
        return other

    def score(self, query: str, passages: Sequence[str]) -> list[float]:
        """One score for each passage, larger is better; see `Reranker`."""
        if not passages:
            return []
        return [float(value) for value in network(self._layers, self._reader.features(query, passages))]


def network(layers: Mapping[str, Floats], features: Floats) -> Floats:
    """The scores of a network with one hidden layer of rectified units over standardised features; shape (n,)."""
    hidden = (features - layers["mean"]) / layers["deviation"] @ layers["hidden"] + layers["hidden_bias"]
    scores: Floats = np.maximum(hidden, 0) @ layers["output"]
    return scores


class FeatureReader:
    """Computes `FEATURES` with the vectors of an encoder, which are brought to length 1 once."""

    def __init__(self, encoder: NgramEncoder) -> None:
        self._encoder = encoder
        table = encoder.table()
        self._lengths = np.sqrt(np.square(table).sum(axis=1))
        self._directions = table / np.maximum(self._lengths, 1e-9)[:, None]
        self._rarity = -np.log(np.clip(encoder.frequencies, 1e-7, 1.0))
        self._orders = encoder.vocabulary.lengths()

    def features(self, query: str, passages: Sequence[str]) -> Floats:
        """What the network sees: shape (passages, len(FEATURES))."""
        vocabulary = self._encoder.vocabulary
        asked = vocabulary.bags([query[:_QUERY]])
        read = vocabulary.bags([passage[:_PASSAGE] for passage in passages])
        found = np.zeros((len(passages), len(FEATURES)), dtype=np.float32)
        direction = self._encoder.vectors(asked)[0]
        found[:, 0] = self._encoder.vectors(read) @ direction
        found[:, 1] = self._best_sentences(passages, direction)
        if len(asked.ids):
            found[:, 2:-2] = self._matches(asked, read)
        found[:, -2] = np.log1p(np.diff(read.offsets))
        found[:, -1] = np.log1p(len(asked.ids))
        return found

    def _best_sentences(self, passages: Sequence[str], direction: Floats) -> Floats:
        """The highest cosine of a sentence (or line) of each passage; 0 for a passage without any."""
        sentences: list[str] = []
        owners: list[int] = []
        for number, passage in enumerate(passages):
            text = passage[:_PASSAGE]
            for begin, end in sentence_spans(text):
                sentences.append(text[begin : min(end, begin + _LONGEST_SENTENCE)])
                owners.append(number)
        best = np.full(len(passages), -1.0, dtype=np.float32)
        if sentences:
            cosines = self._encoder.encode_documents(sentences) @ direction
            np.maximum.at(best, np.array(owners), cosines)
        return np.where(best == -1.0, np.float32(0), best)

    def _matches(self, asked: Bags, read: Bags) -> Floats:
        """Exact coverage, saturated coverage and soft coverage for each length of n-gram, then the kernels."""
        present, places = np.unique(read.ids, return_inverse=True)
        similar = self._directions[asked.ids] @ self._directions[present].T
        rarity, length = self._rarity[asked.ids], self._lengths[asked.ids]
        orders = self._orders[asked.ids]
        shares = [_shares(rarity * (orders == n)) for n in range(1, LONGEST + 1)]
        soft_shares = [_shares(length * (orders == n)) for n in range(1, LONGEST + 1)]
        overall = _shares(rarity * length)
        rows = np.zeros((len(read), 3 * LONGEST + len(KERNELS)), dtype=np.float32)
        for number, (begin, end) in enumerate(zip(read.offsets[:-1], read.offsets[1:], strict=True)):
            if begin == end:
                continue
            exact, weight = _exact(asked.ids, read.ids[begin:end], read.weights[begin:end])
            norm = _SATURATION * (1 - _SLOPE + _SLOPE * (end - begin) / _TYPICAL)
            saturated = np.where(exact, weight / (weight + norm), 0)
            soft = similar[:, places[begin:end]].max(axis=1)
            row = rows[number]
            for n in range(LONGEST):
                row[3 * n] = shares[n] @ exact
                row[3 * n + 1] = shares[n] @ saturated
                row[3 * n + 2] = soft_shares[n] @ soft
            row[3 * LONGEST :] = [overall @ (soft > kernel) for kernel in KERNELS]
        return rows


def _exact(asked: NDArray[np.int64], read: NDArray[np.int64], weights: Floats) -> tuple[NDArray[np.bool_], Floats]:
    """Which n-grams of the question stand in a passage, and how often (damped); both lists of ids ascend."""
    places = np.minimum(np.searchsorted(read, asked), len(read) - 1)
    found = read[places] == asked
    return found, np.where(found, weights[places], 0).astype(np.float32)


def _shares(weights: Floats) -> Floats:
    total = weights.sum()
    shares: Floats = (weights / total if total > 0 else weights).astype(np.float32)
    return shares


def _read(path: Path) -> dict[str, Floats]:
    try:
        data: Any = json.loads(path.read_text("utf-8"))
        layers = {name: np.array(values, dtype=np.float32) for name, values in data["layers"].items()}
        features = tuple(data["features"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EncoderError(f"{path}: is no interaction reranker ({error})") from None
    if features != FEATURES:
        raise EncoderError(f"{path}: was trained on other features than this version computes; train it again")
    hidden = layers["hidden_bias"].shape[0] if "hidden_bias" in layers else 0
    due = {
        "mean": (len(FEATURES),), "deviation": (len(FEATURES),), "hidden": (len(FEATURES), hidden),
        "hidden_bias": (hidden,), "output": (hidden,),
    }  # fmt: skip
    for name, shape in due.items():
        if name not in layers or layers[name].shape != shape or not np.isfinite(layers[name]).all():
            raise EncoderError(f"{path}: layer {name!r} is missing or damaged; copy it again, or train it again")
    return layers
