"""A literature as training material: its passages as they are indexed, and questions that lead to them.

Nothing is labelled: a question made of title and heading leads to its passage, and so does a sentence to the passage
it was taken from, as where the shipped encoder adapts itself (`chimed_rag.encoders.adapt`). Needs no torch.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from chimed_rag.config import Chunking
from chimed_rag.corpus.chunker import chunk
from chimed_rag.corpus.sources import load
from chimed_rag.encoders.adapt import Passage, heading_pairs, sentence_pairs
from chimed_rag.errors import CorpusError
from chimed_rag.indexing.commit import with_section
from chimed_rag.indexing.index import Index
from chimed_rag.indexing.manifest import NAME
from chimed_rag.records import Chunk, Document

_AT_ONCE = 2000


def passages_of(path: Path) -> list[Passage]:
    """The passages of a file, cut as `chimed build` cuts it by default, or those of an index's folder.

    Raises:
        CorpusError: the file cannot be read, or the folder is no index.
        ChimedError: the index cannot be opened.
    """
    if not path.is_dir():
        return [passage for document in load(str(path)) for passage in passages_in(document)]
    if not (path / NAME).is_file():
        raise CorpusError(
            f"a folder without {NAME} is no index; name its files ({path.name}/**/*.md), or build one: "
            f"chimed build {path} --out INDEX",
            path=str(path),
        )
    index = Index.open(path)
    rows = index.store.rows.tolist()
    found = []
    for begin in range(0, len(rows), _AT_ONCE):
        stored = index.passages(rows[begin : begin + _AT_ONCE])
        for row in rows[begin : begin + _AT_ONCE]:
            found.append(_passage(stored[row].document.title, stored[row].chunk))
    return found


def passages_in(document: Document) -> list[Passage]:
    """The passages of a document, cut as `chimed build` cuts it by default."""
    return [_passage(document.title, piece) for piece in with_section(document, chunk(document, Chunking()))]


def literature_pairs(
    passages: list[Passage], source: str, rng: random.Random, times: int
) -> Iterator[tuple[str, str, str]]:
    """(query, passage, source) of two sources, "SOURCE headings" and "SOURCE sentences".

    A batch of one source tells nothing by its style.

    Args:
        times: questions, and sentences, of each passage that has a title, and several sentences.
    """
    titles, texts = [passage.title for passage in passages], [passage.text for passage in passages]
    for _ in range(times):
        for asked, text in heading_pairs(passages, rng):
            yield asked, text, f"{source} headings"
        for sentence, text in sentence_pairs(texts, rng, titles):
            yield sentence, text, f"{source} sentences"


def _passage(title: str, piece: Chunk) -> Passage:
    return Passage(title, piece.headings[0] if piece.headings else "", piece.text)
