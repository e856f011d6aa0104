"""Texts as skeletons, and skeletons as hashed n-grams: how texts are compared where width, case and signs do not count.

Training takes evaluation sets out of its data by these, and evaluation looks for its questions in an index by them. Not
covered: meaning.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chimed_rag.text import HAN, fold

Hashes = NDArray[np.uint64]
_OTHER = re.compile(rf"[^0-9a-z\u00b5\u0370-\u03ff{HAN}]+")
_BASE, _MIX = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9)


def skeleton(text: str) -> str:
    """Folded letters, digits and Chinese characters of a text."""
    return _OTHER.sub("", fold(text))


def grams(bones: str, n: int) -> Hashes:
    """64-bit hashes of the overlapping n-grams of a skeleton, in order, shape (max(0, len - n + 1),).

    Polynomial hashes modulo 2⁶⁴, mixed once; two different n-grams share one with a probability of about 2⁻⁶⁴.
    """
    codes = np.frombuffer(bones.encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)
    count = max(0, len(codes) - n + 1)
    hashes = np.zeros(count, dtype=np.uint64)
    for i in range(n):
        hashes = hashes * _BASE + codes[i : i + count]
    hashes ^= hashes >> np.uint64(31)
    hashes *= _MIX
    mixed: Hashes = hashes ^ (hashes >> np.uint64(29))
    return mixed


def texts_in(line: str) -> Iterator[str]:
    """Every text in a line of JSON, or the line itself where it is none."""
    try:
        stack: list[Any] = [json.loads(line)]
    except (ValueError, RecursionError):
        yield line
        return
    while stack:
        value = stack.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            stack.extend(value.values())
        elif isinstance(value, list):
            stack.extend(value)
