"""Adapts the encoder to the documents that are about to be indexed, which are read once and kept on disk meanwhile.

Not covered: learning itself (`encoders.adapt`).
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from chimed_rag.config import Chunking
from chimed_rag.corpus.chunker import chunk
from chimed_rag.corpus.jsonl import json_rows
from chimed_rag.encoders.adapt import LEAST_PASSAGES, MOST_PASSAGES, Adaptation, Passage, adapt
from chimed_rag.encoders.base import INSIDE, Encoder
from chimed_rag.encoders.ngram import NgramEncoder
from chimed_rag.errors import CorpusError, InputError
from chimed_rag.indexing.commit import Progress, with_section
from chimed_rag.records import Document

log = logging.getLogger(__name__)

OwnPairs = str | Path | Iterable[tuple[str, str]]
"""Questions, each with a text that answers it, or a file of them (`read_pairs`)."""
_FORM = '{"query": "问题", "passage": "回答"}'


def read_pairs(path: str | Path) -> list[tuple[str, str]]:
    """Questions with the text that answers each, from JSONL rows {"query": …, "passage": …}, plain or gzip.

    Raises:
        CorpusError: the file cannot be read, or a line is no such row; file and line are named.
    """
    found = []
    for line, row in json_rows(path):
        query, passage = (str(row.get(name) or "").strip() for name in ("query", "passage"))
        if not query or not passage:
            raise CorpusError("no pair; a line reads " + _FORM, path=str(path), line=line)
        found.append((query, passage))
    if not found:
        raise CorpusError("holds no pair; a line reads " + _FORM, path=str(path))
    return found


def _checked(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    found = [(pair,) if isinstance(pair, str) else tuple(pair) for pair in pairs]
    for number, pair in enumerate(found, 1):
        if len(pair) != 2 or not all(isinstance(text, str) and text.strip() for text in pair):
            raise InputError(f"pair {number} is not a question with a text that answers it, but {pair!r:.80}")
    return found  # type: ignore[return-value]


@contextmanager
def adapted(
    documents: Iterable[Document],
    encoder: Encoder,
    chunking: Chunking,
    *,
    wanted: bool | None,
    pairs: OwnPairs | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Iterator[tuple[Iterable[Document], Encoder, Adaptation | None]]:
    """The documents, the encoder to index them with, and what came of adapting it (None where it was not tried).

    Args:
        documents: gone through once.
        wanted: None adapts the shipped kind of encoder to a literature from `LEAST_PASSAGES` passages on, or if there
            are pairs.
        pairs: a user's own, learnt from as well.
        seed: of the sample and of the training.

    Raises:
        InputError: `wanted`, but this encoder or this literature does not allow it; or pairs, but not `wanted`.
        CorpusError: the file of pairs cannot be read.
    """
    own: list[tuple[str, str]] = []
    if pairs is not None:
        if wanted is False:
            raise InputError("pairs are for the encoder to learn from; leave --no-adapt out, or --pairs")
        own, wanted = read_pairs(pairs) if isinstance(pairs, (str, Path)) else _checked(pairs), True
    if wanted is False or (wanted is None and not isinstance(encoder, NgramEncoder)):
        yield documents, encoder, None
        return
    if not isinstance(encoder, NgramEncoder):
        raise InputError(
            f"encoder {encoder.spec.name} cannot be adapted, only {'ngram'!r} can; leave --adapt and --pairs out"
        )
    with TemporaryFile("w+", encoding="utf-8") as spool:
        passages = _passages(_sampled(documents, spool, seed, progress), chunking, seed)
        outcome = None
        if wanted or len(passages) >= LEAST_PASSAGES:
            try:
                outcome = adapt(encoder, passages, pairs=own, seed=seed, progress=progress)
            except InputError:
                if wanted:
                    raise
        if outcome is not None:
            log.info("%s", outcome.report())
        yield _read_back(spool), _placed(outcome) if outcome and outcome.kept else encoder, outcome


def _placed(outcome: Adaptation) -> NgramEncoder:
    """The adapted encoder, told that it will lie in the index."""
    encoder = outcome.encoder
    encoder.spec = encoder.spec.model_copy(update={"settings": {"path": INSIDE + encoder.spec.fingerprint[:16]}})
    return encoder


def _sampled(documents: Iterable[Document], spool: IO[str], seed: int, progress: Progress | None) -> list[Document]:
    """At most `MOST_PASSAGES` documents, each as likely as another (reservoir sampling); all go to the spool."""
    rng = random.Random(seed)  # noqa: S311
    sample: list[Document] = []
    for number, document in enumerate(documents):
        # Not pydantic's JSON, which refuses lone surrogates and makes NaN null: what is wrong is told as without this.
        spool.write(json.dumps(document.model_dump()) + "\n")
        if len(sample) < MOST_PASSAGES:
            sample.append(document)
        elif (place := rng.randrange(number + 1)) < MOST_PASSAGES:
            sample[place] = document
        if progress is not None and number % 1000 == 999:
            progress("read", number + 1)
    return sample


def _passages(documents: Iterable[Document], chunking: Chunking, seed: int) -> list[Passage]:
    passages = [
        Passage(document.title, piece.headings[0] if piece.headings else "", piece.text)
        for document in documents
        for piece in with_section(document, chunk(document, chunking))
    ]
    if len(passages) <= MOST_PASSAGES:
        return passages
    chosen = sorted(random.Random(seed).sample(range(len(passages)), MOST_PASSAGES))  # noqa: S311
    return [passages[i] for i in chosen]


def _read_back(spool: IO[str]) -> Iterator[Document]:
    spool.seek(0)
    for line in spool:
        yield Document.model_validate(json.loads(line))
