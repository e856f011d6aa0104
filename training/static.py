"""Kind `static`: a table of n-gram vectors, the encoder that comes with the package (`chimed_rag.encoders.ngram`).

One pass over pairs, over questions made of the headings of a literature, and over sentences with the text they were
taken from; in numpy, by the same trainer that adapts the encoder where an index is built. Needs no torch. Resumes from
its one phase: the whole training takes less than a minute.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from chimed_rag.corpus.sources import load
from chimed_rag.encoders.adapt import Passage, heading_pairs, sentence_pairs
from chimed_rag.encoders.contrastive import BATCH, LEARNING_RATE, SCALE, Pairs, Step, Trainer, train
from chimed_rag.encoders.ngram import NgramEncoder
from chimed_rag.encoders.ngrams import Vocabulary
from chimed_rag.text import sentence_spans
from training.card import Point
from training.files import Account, Ledger, account, matching
from training.literature import passages_in
from training.measure import HeldOut
from training.pairs import Pair
from training.retriever import Kind, RetrieverSettings, pairs_of
from training.run import Run

_SMALLEST_IDF, _LENGTH = 0.5, 160.0  # of the random vectors at the beginning; their scale decides how fast rows turn


class StaticSettings(RetrieverSettings):
    """Keys of the kind `static`.

    Args:
        vocabulary: how many n-grams have a vector.
        dimension: of the vectors.
        literature: files or globs that are read as `chimed build` reads them; their headings become questions.
        sentences: sources of the pairs, and "literature", whose passages give sentences to find them by.
        sentences_each: how many of each passage.
        asked: sources of the pairs whose passages are sentences of the literature; their questions also learn to find
            the passage around the sentence.
        batch_size, learning_rate, scale: see `chimed_rag.encoders.contrastive`.
    """

    kind: Literal["static"]
    vocabulary: int = Field(60_000, ge=100)
    dimension: int = Field(256, ge=8)
    literature: list[str] = Field(default_factory=list)
    sentences: list[str] = Field(default_factory=list)
    sentences_each: int = Field(1, ge=1)
    asked: list[str] = Field(default_factory=list)
    batch_size: int = Field(BATCH, ge=2)
    learning_rate: float = Field(LEARNING_RATE, gt=0)
    scale: float = Field(SCALE, gt=0)


def run_static(settings: StaticSettings, run: Run) -> None:
    """Reads, trains, scores, writes the card."""
    ledger: Ledger = []
    passages = _literature(settings, ledger)
    pairs, held_out = pairs_of(settings, run, ledger)

    def make(folder: Path) -> list[Point]:
        tasks = _tasks(settings, pairs, passages)
        encoder, steps = _trained(settings, tasks)
        encoder.save(folder / "model")
        run.say(f"{len(steps):,} batches, last losses " + ", ".join(f"{s.task} {s.loss:.2f}" for s in steps[-4:]))
        return [Point(phase=f"{step.task}", step=n, loss=round(step.loss, 4)) for n, step in enumerate(steps, 1)]

    place = run.phase("fit", make)
    encoder = NgramEncoder(place)
    run.card.parameters = encoder.codes.size
    if held_out:
        test = HeldOut(held_out, [pair.passage for pair in pairs])
        run.card.scores = {"bm25": test.bm25(), "model": test.encoder(encoder)}
        run.card.scores_of = f"Dense search alone beside BM25; {test}."
    run.finish(place)


def _literature(settings: StaticSettings, ledger: Ledger) -> list[Passage]:
    """The passages of the literature, one account for each pattern."""
    passages: list[Passage] = []
    for pattern in settings.literature:
        files = matching(pattern)
        digest = hashlib.sha256()
        entry = account(*files[0])
        for _, path in files:
            digest.update(path.read_bytes())
            for document in load(str(path)):
                entry.rows += 1
                passages += passages_in(document)
        count = entry.rows
        ledger.append(Account(path=pattern, sha256=digest.hexdigest(), rows=count, read=count, kept=count))
    return passages


def _tasks(settings: StaticSettings, pairs: list[Pair], passages: list[Passage]) -> dict[str, Pairs]:
    rng = random.Random(settings.seed)  # noqa: S311
    tasks: dict[str, list[tuple[str, str]]] = {}
    for pair in pairs:
        tasks.setdefault(pair.source, []).append((pair.query, pair.passage))
    asked = [pair for name in settings.asked for pair in tasks.get(name, ())]
    texts = {name: list(dict.fromkeys(passage for _, passage in found)) for name, found in tasks.items()}
    texts["literature"] = [passage.text for passage in passages]
    if passages:
        tasks["literature"] = [pair for named in (True, False) for pair in heading_pairs(passages, rng, named=named)]
    if asked:
        tasks["asked_passages"] = asked_passages(passages, asked)
    chosen = [text for name in settings.sentences for text in texts.get(name, ())]
    if chosen:
        tasks["sentences"] = [pair for _ in range(settings.sentences_each) for pair in sentence_pairs(chosen, rng)]
    return dict(tasks)


def asked_passages(passages: list[Passage], pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The pairs whose answer is a sentence of the literature, with the whole passage that holds it instead."""
    holding = {
        text[begin:end]: passage
        for passage in passages
        for text in [passage.text]
        for begin, end in sentence_spans(text)
    }
    return [(question, holding[sentence].whole()) for question, sentence in pairs if sentence in holding]


def encoder_of(settings: StaticSettings, pairs: list[Pair]) -> NgramEncoder:
    """The encoder that the settings train on pairs, without a run and its card."""
    return _trained(settings, _tasks(settings, pairs, _literature(settings, [])))[0]


def _trained(settings: StaticSettings, tasks: Mapping[str, Pairs]) -> tuple[NgramEncoder, list[Step]]:
    texts = [text for pairs in tasks.values() for pair in pairs for text in pair]
    vocabulary, counts = Vocabulary.most_frequent(texts, settings.vocabulary)
    frequencies = (counts / len(texts)).astype(np.float32)
    # A random vector as long as the n-gram is rare is a random projection of a tf-idf vector: a fair start.
    lengths = np.maximum(-np.log(frequencies), _SMALLEST_IDF) / _LENGTH
    noise = np.random.default_rng(settings.seed).standard_normal((len(vocabulary), settings.dimension))
    trainer = Trainer(vocabulary, (noise * lengths[:, None]).astype(np.float32), scale=settings.scale)
    steps = train(
        trainer, tasks, seed=settings.seed, learning_rate=settings.learning_rate, batch=settings.batch_size
    )  # fmt: skip
    name = Path(settings.output_dir).name
    card = {"name": name, "licence": settings.licence, "ngrams": len(vocabulary), "dimension": settings.dimension}
    return NgramEncoder.from_table(vocabulary, trainer.table, frequencies, card, trainer.squares), steps


KIND = Kind(StaticSettings, run_static)
