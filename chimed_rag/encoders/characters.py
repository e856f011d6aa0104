"""The characters of many texts as one array of code points, folded: what hashing and n-gram encoders begin with.

Not covered: what is made of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from chimed_rag.text import fold

# Digits, Latin letters, the micro sign, Greek letters, 〇 and Chinese characters, as in `text.terms`; in code points.
_COUNTED = (
    (0x30, 0x39),
    (0x61, 0x7A),
    (0xB5, 0xB5),
    (0x370, 0x3FF),
    (0x3007, 0x3007),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
)


def folded_characters(texts: Sequence[str]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """The folded code points of all texts, 0 for one that does not count, and the number of the text of each.

    Each text is closed by a 0, so that no n-gram spans two of them.
    """
    joined = "".join(f"{text}\n" for text in texts)
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint32)
    lengths = np.fromiter((len(text) + 1 for text in texts), dtype=np.int64, count=len(texts))
    folded = _folded()
    # Beyond the table lie Chinese extensions, which fold to themselves, and signs, which do not count.
    extension = (codes >= 0x20000) & (codes < 0x40000)
    codes = np.where(codes < len(folded), folded[np.minimum(codes, len(folded) - 1)], np.where(extension, codes, 0))
    return codes, np.repeat(np.arange(len(texts)), lengths)


@cache
def _folded() -> NDArray[np.uint32]:
    """For each code point below 0x10000 its folded form, 0 if it does not count."""
    plane = fold("".join(map(chr, range(0x10000))))
    codes = np.frombuffer(plane.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint32)
    counted = np.zeros(len(codes), dtype=bool)
    for low, high in _COUNTED:
        counted |= (codes >= low) & (codes <= high)
    return np.where(counted, codes, np.uint32(0))
