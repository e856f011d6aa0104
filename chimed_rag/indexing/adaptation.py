"""Adapts the encoder to the documents that are about to be indexed, which are read once and kept on disk meanwhile.

Not covered: learning itself (`encoders.adapt`).
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import IO

from chimed_rag.config import Chunking
from chimed_rag.corpus.chunker import chunk
from chimed_rag.encoders.adapt import LEAST_PASSAGES, MOST_PASSAGES, Adaptation, Passage, adapt
from chimed_rag.encoders.base import INSIDE, Encoder
from chimed_rag.encoders.ngram import NgramEncoder
from chimed_rag.errors import InputError
from chimed_rag.indexing.commit import Progress, with_section
from chimed_rag.records import Document

log = logging.getLogger(__name__)


@contextmanager
def adapted(
    documents: Iterable[Document],
    encoder: Encoder,
    chunking: Chunking,
    *,
    wanted: bool | None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Iterator[tuple[Iterable[Document], Encoder, Adaptation | None]]:
    """The documents, the encoder to index them with, and what came of adapting it (None where it was not tried).

    Args:
        documents: gone through once.
        wanted: None adapts the shipped kind of encoder to a literature from `LEAST_PASSAGES` passages on.
        seed: of the sample and of the training.

    Raises:
        InputError: `wanted`, but this encoder or this literature does not allow it.
    """
    if wanted is False or (wanted is None and not isinstance(encoder, NgramEncoder)):
        yield documents, encoder, None
        return
    if not isinstance(encoder, NgramEncoder):
        raise InputError(f"encoder {encoder.spec.name} cannot be adapted, only {'ngram'!r} can; leave --adapt out")
    with TemporaryFile("w+", encoding="utf-8") as spool:
        passages = _passages(_sampled(documents, spool, seed, progress), chunking, seed)
        outcome = None
        if wanted or len(passages) >= LEAST_PASSAGES:
            try:
                outcome = adapt(encoder, passages, seed=seed, progress=progress)
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
