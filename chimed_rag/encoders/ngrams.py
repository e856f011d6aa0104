"""Texts as bags of character n-grams (one to three characters) over a fixed vocabulary, in numpy alone.

A key packs the folded code points of an n-gram into 63 bits, 21 for each, so that a vocabulary is one sorted array and
a look-up one binary search for all texts at once. Not covered: the vectors of the n-grams (`ngram`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from chimed_rag.encoders.characters import folded_characters

LONGEST = 3
_BITS = np.uint64(21)
_BATCH = 4096


class Bags(NamedTuple):
    """Bags of n-grams, one after the other: those of text i lie in `offsets[i]:offsets[i + 1]`, without repetitions.

    `ids` are places in the vocabulary, ascending within a bag; `weights` 1 + ln(how often it occurs).
    """

    ids: NDArray[np.int64]
    weights: NDArray[np.float32]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def rows(self) -> NDArray[np.int64]:
        """The number of the text that each entry belongs to."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))


class Vocabulary:
    """A set of n-grams.

    Args:
        keys: the packed n-grams, ascending, uint64 of shape (n,).
    """

    def __init__(self, keys: NDArray[np.uint64]) -> None:
        self.keys = keys

    def __len__(self) -> int:
        return len(self.keys)

    @classmethod
    def most_frequent(cls, texts: Sequence[str], size: int, least: int = 3) -> tuple[Vocabulary, NDArray[np.int64]]:
        """At most `size` n-grams that stand in most texts, in `least` of them or more; and in how many each stands."""
        parts: list[tuple[NDArray[np.uint64], NDArray[np.int64]]] = []
        for begin in range(0, len(texts), _BATCH):
            keys, rows = _packed(texts[begin : begin + _BATCH])
            order = np.lexsort((keys, rows))
            keys, rows = keys[order], rows[order]
            first = np.ones(len(keys), dtype=bool)
            first[1:] = (keys[1:] != keys[:-1]) | (rows[1:] != rows[:-1])
            parts.append(np.unique(keys[first], return_counts=True))
            if len(parts) == 8:
                parts = [_added(parts)]
        keys, counts = _added(parts)
        keys, counts = keys[counts >= least], counts[counts >= least]
        chosen = np.sort(np.argsort(-counts, kind="stable")[:size])
        return cls(keys[chosen]), counts[chosen]

    def bags(self, texts: Sequence[str]) -> Bags:
        """The bags of the texts; n-grams that the vocabulary does not hold are left out."""
        keys, rows = _packed(texts)
        ids = np.minimum(np.searchsorted(self.keys, keys), max(len(self) - 1, 0)).astype(np.int64)
        known = self.keys[ids] == keys if len(self) else np.zeros(len(keys), dtype=bool)
        cells = np.sort(rows[known] * len(self) + ids[known])
        first = np.flatnonzero(np.diff(cells, prepend=-1))
        counts = np.diff(first, append=len(cells))
        rows, ids = np.divmod(cells[first], max(len(self), 1))
        offsets = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(texts)))])
        return Bags(ids, (1 + np.log(counts)).astype(np.float32), offsets)

    def lengths(self) -> NDArray[np.int8]:
        """How many characters each n-gram has."""
        lengths = np.ones(len(self), dtype=np.int8)
        for n in range(1, LONGEST):
            lengths += self.keys >> (_BITS * np.uint64(n)) > 0
        return lengths


def bag_sums(bags: Bags, table: NDArray[np.float32]) -> NDArray[np.float32]:
    """For each bag the weighted sum of its rows of a table (n-grams, d); shape (bags, d)."""
    sums = np.zeros((len(bags), table.shape[1]), dtype=np.float32)
    for row, (begin, end) in enumerate(zip(bags.offsets[:-1], bags.offsets[1:], strict=True)):
        if end > begin:
            sums[row] = bags.weights[begin:end] @ table[bags.ids[begin:end]]
    return sums


def _packed(texts: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The keys of all n-grams of all texts, with repetitions, and the number of the text of each."""
    codes, rows = folded_characters(texts)
    characters, counted = codes.astype(np.uint64), codes != 0
    keys, found = characters, counted
    parts = [(keys[found], rows[found])]
    for n in range(1, LONGEST):
        keys, found = keys[:-1] << _BITS | characters[n:], found[:-1] & counted[n:]
        parts.append((keys[found], rows[: len(keys)][found]))
    return np.concatenate([part for part, _ in parts]), np.concatenate([part for _, part in parts])


def _added(
    parts: Iterable[tuple[NDArray[np.uint64], NDArray[np.int64]]],
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    parts = list(parts)
    if not parts:
        return np.empty(0, np.uint64), np.empty(0, np.int64)
    keys, places = np.unique(np.concatenate([keys for keys, _ in parts]), return_inverse=True)
    counts = np.bincount(places, weights=np.concatenate([counts for _, counts in parts]), minlength=len(keys))
    return keys, counts.astype(np.int64)
