"""How training texts are compared: duplicates, near duplicates, and traces of the evaluation sets.

Not covered: meaning. Texts are compared by their skeletons (folded letters, digits and Chinese characters, nothing
else), so that width, case, blanks and punctuation make no difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chimed_rag.errors import ConfigError
from chimed_rag.evaluation.grams import Hashes, grams, skeleton, texts_in
from training.files import lines

SHORTEST = 5
"""Texts of fewer characters (options, names, labels) are too common to be a trace of an evaluation set."""


def similarity(a: str, b: str, n: int = 3) -> float:
    """Jaccard similarity of the sets of n-grams of two skeletons; texts shorter than n are alike only if equal."""
    if a == b:
        return 1.0
    one, two = np.unique(grams(a, n)), np.unique(grams(b, n))
    if not len(one) or not len(two):
        return 0.0
    common = len(np.intersect1d(one, two, assume_unique=True))
    return common / (len(one) + len(two) - common)


class NearDuplicates:
    """Finds texts whose n-gram sets are alike among those seen before.

    MinHash signatures in bands (Broder 1997; Leskovec et al., "Mining of Massive Datasets", ch. 3), each candidate then
    checked exactly. Eight bands of four: a text alike to .9 is missed once in some 4,000 times.

    Args:
        threshold: Jaccard similarity of character trigrams from which on two texts count as the same.
    """

    _BANDS, _ROWS, _MOST = 8, 4, 8

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        random = np.random.default_rng(0)
        size = (self._BANDS * self._ROWS, 1)
        self._factors = random.integers(1, 2**63, size, dtype=np.uint64) | np.uint64(1)
        self._terms = random.integers(0, 2**63, size, dtype=np.uint64)
        self._buckets: dict[bytes, list[int]] = {}
        self._texts: list[str] = []

    def see(self, bones: str) -> list[int]:
        """Numbers of the texts seen before that are alike (of many, the first few); then remembers this one.

        Texts are numbered 0, 1, 2, ... in the order in which they were seen.
        """
        keys = self._keys(bones)
        candidates = dict.fromkeys(n for key in keys for n in self._buckets.get(key, ()))
        alike = [n for n in candidates if similarity(bones, self._texts[n]) >= self._threshold]
        for key in keys:
            bucket = self._buckets.setdefault(key, [])
            if len(bucket) < self._MOST:
                bucket.append(len(self._texts))
        self._texts.append(bones)
        return alike

    def _keys(self, bones: str) -> list[bytes]:
        found = grams(bones, 3)
        if not len(found):
            return [bones.encode("utf-8", "surrogatepass")]
        smallest = (self._factors * found + self._terms).min(axis=1)
        return [
            bytes([band]) + smallest[band * self._ROWS : (band + 1) * self._ROWS].tobytes()
            for band in range(self._BANDS)
        ]


class Contamination:
    """Knows every n-gram of the evaluation sets.

    Args:
        folder: all files beneath it are read; JSONL gives each text of each row, any other file its lines.
        n: characters of a gram.

    Raises:
        ConfigError: no such folder, or it holds no file.
    """

    def __init__(self, folder: Path, n: int = 13) -> None:
        self.n = n
        self.files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
        if not self.files:
            raise ConfigError(f"{folder}: holds no evaluation file to decontaminate against; null switches it off")
        whole: set[str] = set()
        parts: list[Hashes] = []
        for path in self.files:
            found = {skeleton(text) for _, line in lines(path) for text in texts_in(line)}
            whole |= {bones for bones in found if SHORTEST <= len(bones) < n}
            # One long text at a time: a gram across two texts of no evaluation set would cost a row without reason.
            parts.extend(grams(bones, n) for bones in found if len(bones) >= n)
        self._grams = np.unique(np.concatenate(parts)) if parts else np.zeros(0, np.uint64)
        self._short = frozenset(whole)

    def __len__(self) -> int:
        return len(self._grams)

    def share(self, bones: str) -> float:
        """Of the n-grams of a skeleton, the share that an evaluation set holds too.

        A skeleton shorter than n counts as a whole (0 or 1); one of fewer than `SHORTEST` characters gives 0.
        """
        if len(bones) < self.n:
            return float(bones in self._short)
        found = grams(bones, self.n)
        if not len(self._grams):
            return 0.0
        places = np.minimum(np.searchsorted(self._grams, found), len(self._grams) - 1)
        return float((self._grams[places] == found).mean())

    def shares(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """`share` of the skeleton of each text, shape (n,)."""
        return np.array([self.share(skeleton(text)) for text in texts], dtype=np.float64)
