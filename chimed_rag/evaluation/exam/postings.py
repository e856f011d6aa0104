"""A literature as BM25 postings in memory, cut three ways: sentences, passages, and all passages under one title.

An examination option needs the score of every passage, not of the best few, for the question and for the option apart;
tantivy gives neither, so the postings lie here as a sparse matrix (scipy). About 300 bytes a passage and 0.3 ms a
question of 200,000 passages. Not covered: searching for people (`indexing`).
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chimed_rag.errors import MissingExtraError
from chimed_rag.records import names
from chimed_rag.text import sentence_spans, terms

if TYPE_CHECKING:
    from chimed_rag.indexing.index import Index

K1, B = 1.2, 0.75

Weights = Mapping[int, float]
"""Number of a term to its weight in a question or an option."""


class Level:
    """Term postings of n units of text, weighted as BM25 weighs them (Robertson and Zaragoza 2009, k1 1.2, b 0.75).

    Args:
        counts: how often each term occurs in each unit; scipy sparse, shape (n, terms).
    """

    def __init__(self, counts: Any) -> None:
        columns = counts.tocsc()
        columns.sum_duplicates()
        self.n = columns.shape[0]
        lengths = np.asarray(columns.sum(axis=1), dtype=np.float32).ravel()
        frequency = np.diff(columns.indptr)
        self.idf: NDArray[np.float32] = np.log(1 + (self.n - frequency + 0.5) / (frequency + 0.5)).astype(np.float32)
        damping = K1 * (1 - B + B * lengths / max(float(lengths.mean()), 1e-9))
        self._starts, self._units = columns.indptr, columns.indices
        self._values = columns.data * (K1 + 1) / (columns.data + damping[columns.indices])

    def units(self, term: int) -> NDArray[np.int32]:
        """The units that hold a term, ascending."""
        units: NDArray[np.int32] = self._units[self._starts[term] : self._starts[term + 1]]
        return units

    def scores(self, weights: Weights) -> NDArray[np.float32]:
        """BM25 of every unit, as a share of what a unit would get that holds each term very often; shape (n,)."""
        total = np.zeros(self.n, dtype=np.float32)
        most = 1e-6
        for term, weight in weights.items():
            part = slice(self._starts[term], self._starts[term + 1])
            total[self._units[part]] += self._values[part] * (weight * self.idf[term])
            most += weight * float(self.idf[term]) * (K1 + 1)
        total /= np.float32(most)
        return total


class Literature(NamedTuple):
    """The postings of a literature; terms are numbered alike at all levels."""

    vocabulary: dict[str, int]
    sentences: Level
    passages: Level
    documents: Level
    titles: Level
    """A passage's titles and headings alone, in the order of `passages`."""

    def numbers(self, text: str) -> list[int]:
        """The distinct terms of a text that the literature knows, in order."""
        known = (self.vocabulary.get(term) for term in terms(text))
        return list(dict.fromkeys(number for number in known if number is not None))


def read_literature(index: Index, progress: Callable[[str, int], None] | None = None) -> Literature:
    """Counts the terms of every living passage of an index; 50 s for 190,000 passages.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    try:
        from scipy.sparse import csr_matrix
    except ImportError as error:
        raise MissingExtraError("scipy", "evaluation") from error
    vocabulary: dict[str, int] = {}
    cuts = {name: _Counts(vocabulary) for name in ("sentences", "passages", "titles")}
    groups: dict[str, int] = {}
    group_of: list[int] = []
    for _, title, heading, text in passages_of(index):
        cuts["titles"].add(heading)
        cuts["passages"].add(f"{heading}\n{text}")
        for start, end in sentence_spans(text):
            cuts["sentences"].add(text[start:end])
        group_of.append(groups.setdefault(title, len(groups)))
        if progress is not None and len(group_of) % 1000 == 0:
            progress("reading", len(group_of))
    counted = {name: csr_matrix(cut.parts(), shape=(len(cut), len(vocabulary))) for name, cut in cuts.items()}
    ones = np.ones(len(group_of), dtype=np.float32)
    together = csr_matrix((ones, (group_of, np.arange(len(group_of)))), shape=(len(groups), len(group_of)))
    counted["documents"] = together @ counted["passages"]
    return Literature(vocabulary=vocabulary, **{name: Level(counts) for name, counts in counted.items()})


class _Counts:
    """Rows of term numbers, as a sparse matrix is made of."""

    def __init__(self, vocabulary: dict[str, int]) -> None:
        self._vocabulary, self._numbers, self._ends = vocabulary, array("i"), array("q", [0])

    def add(self, text: str) -> None:
        known = self._vocabulary
        self._numbers.extend(known.setdefault(term, len(known)) for term in terms(text))
        self._ends.append(len(self._numbers))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def parts(self) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int64]]:
        numbers = np.array(self._numbers, dtype=np.int32)
        return np.ones(len(numbers), dtype=np.float32), numbers, np.array(self._ends, dtype=np.int64)


def passages_of(index: Index, batch: int = 500) -> Iterator[tuple[str, str, str, str]]:
    """(document id, title, title with aliases and headings, text) of every living passage, in order."""
    rows: Iterable[int] = index.store.rows[index.store.alive].tolist()
    ordered = list(rows)
    for start in range(0, len(ordered), batch):
        for _, (chunk, document) in sorted(index.passages(ordered[start : start + batch]).items()):
            headings = "\n".join((*names(document.title, document.metadata), *chunk.headings))
            yield document.id, document.title, headings, chunk.text
