"""The reranker in the wheel: a small transformer compares the question with the best window of each passage.

A window is a run of sentences of at most `LONGEST` characters; the best one holds most of the question's n-grams, rare
ones counting more. It is read behind the lines that name what the passage is about (title, headings).
Not covered: the transformer (`encoders.compact`), its training (`training/distilled.py`), and models that read question
and passage together (`cross_encoder`).

What was tried, on every tenth of the 2,984 patient questions over 80,688 documents (n = 300, nDCG@10, adapted encoder
fused with BM25 .310; differences of .02 are within the interval). By weight beside the fused score 1, 1.25, 1.5 and
windows of 32 characters .343, .343, .340; 40 .353, .351, .352; 48 .360, .361, .362; 64 .363, .363, .364, which take a
fifth longer than those of 48. The 16, 20, 24 best instead of 30, windows of 48: .352, .355, .359. Three layers instead
of two, which take 1.4 times as long: .370, and .372 instead of .363 over all questions. The teacher itself,
multilingual-e5-small, whose layers have nine times the weights, over the 40 best: whole passages .383, windows
of 60 characters .365. A third of the training, with three layers: .352.
Vectors of single n-grams by the teacher, added up, in place of the default encoder: .087 to .109 for the vectors alone,
where it has .177; so what the teacher knows lies in the context.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from chimed_rag.encoders.compact import PASSAGE, QUESTION, CompactTransformer
from chimed_rag.encoders.ngram import shipped
from chimed_rag.text import sentence_spans

SHIPPED = Path(__file__).parent / "shipped"
"""The folder of the model that comes with the package."""

LONGEST = 48
"""Characters of a window."""
_NAME = 30
_MOST_NAMES = 4
_COMMAS = "，,、：:"
_ENDS = tuple("。！？；…!?;" + _COMMAS)


class WindowReranker:
    """Scores are cosines of the question's vector and the window's.

    Args:
        path: a folder written by the training stage `retriever`, kind `distilled`; None takes the model that comes with
            the package.

    Raises:
        EncoderError: no such folder, or a file of it is missing, damaged or of another kind.
    """

    name = "windows"
    depth = 30
    beside_fused = 1.25

    def __init__(self, path: str | Path | None = None) -> None:
        self._model = _shipped() if path is None else CompactTransformer(Path(path).expanduser())

    def score(self, query: str, passages: Sequence[str]) -> list[float]:
        """One score for each passage, in [-1, 1]; larger is better."""
        if not passages:
            return []
        asked = self._model.encode([query], QUESTION)[0]
        read = self._model.encode(best_windows(query, passages), PASSAGE)
        return [float(score) for score in read @ asked]


@cache
def _shipped() -> CompactTransformer:
    """Read once: many objects of a process share it, and it is never written to."""
    return CompactTransformer(SHIPPED)


def readable(passage: str, longest: int = LONGEST) -> list[str]:
    """All that may be read of a passage: each window of so many characters behind the names."""
    names, body = _divided(passage)
    return [_behind(names, window) for window in windows(body, longest)]


def best_windows(query: str, passages: Sequence[str]) -> list[str]:
    """What is read of each passage: its names, and the window that shares most with the query; the first where none."""
    named = [_divided(passage) for passage in passages]
    candidates = [windows(body) for _, body in named]
    encoder = shipped()
    bags = encoder.vocabulary.bags([query, *(window for found in candidates for window in found)])
    asked = np.zeros(len(encoder.vocabulary), np.float32)
    ids = bags.ids[: bags.offsets[1]]
    asked[ids] = -np.log(encoder.frequencies[ids])
    shared = np.add.reduceat(np.append(asked[bags.ids], np.float32(0)), bags.offsets[1:-1])
    shared[np.diff(bags.offsets[1:]) == 0] = 0
    best, begin = [], 0
    for (names, _), found in zip(named, candidates, strict=True):
        window = found[int(np.argmax(shared[begin : begin + len(found)]))]
        best.append(_behind(names, window))
        begin += len(found)
    return best


def windows(text: str, longest: int = LONGEST) -> list[str]:
    """From each sentence on, as many as fit into so many characters; longer sentences are cut, at commas if possible.

    A run that ends where the one before it ended is left out. At least one, if empty.
    """
    spans = [piece for begin, end in sentence_spans(text) for piece in _pieces(text, begin, end, longest)]
    found: list[str] = []
    read = last = 0
    for number, (begin, _) in enumerate(spans):
        last = max(last, number)
        while last + 1 < len(spans) and spans[last + 1][1] - begin <= longest:
            last += 1
        if spans[last][1] > read:
            read = spans[last][1]
            found.append(text[begin:read])
    return found or [text[:longest]]


def _pieces(text: str, begin: int, end: int, longest: int) -> Iterator[tuple[int, int]]:
    while end - begin > longest:
        comma = max(text.rfind(mark, begin, begin + longest) for mark in _COMMAS)
        stop = comma + 1 if comma > begin else begin + longest
        yield begin, stop
        begin = stop
    yield begin, end


def _behind(names: Sequence[str], window: str) -> str:
    return "\n".join(filter(None, (" ".join(names), window)))


def _divided(passage: str) -> tuple[list[str], str]:
    """The lines at the beginning that look like a title or headings, and the rest."""
    lines = passage.split("\n")
    count = 0
    while count < min(_MOST_NAMES, len(lines) - 1) and _is_name(lines[count]):
        count += 1
    return lines[:count], "\n".join(lines[count:])


def _is_name(line: str) -> bool:
    return 0 < len(line.strip()) <= _NAME and not line.endswith(_ENDS)
