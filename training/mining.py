"""Hard negatives: passages that a retriever ranks high for a query and that do not answer it.

Found by BM25 (`chimed_rag`'s lexical index) or by an encoder, also the one in training. Not covered: judging meaning;
what looks like an unmarked answer is filtered by form alone, so some false negatives remain. Needs no torch by itself.

Negatives come from the positive's own source unless told otherwise: else a model learns to tell the style of one source
from another's instead of what is asked.
"""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field

from chimed_rag.encoders.base import Encoder
from chimed_rag.evaluation.grams import skeleton
from chimed_rag.indexing.lexical import LexicalIndex, LexicalWriter
from chimed_rag.query.question import content_terms
from chimed_rag.records import Chunk, Document
from chimed_rag.text import terms
from training.hygiene import similarity
from training.pairs import Pair
from training.settings import Settings


class Mined(NamedTuple):
    """A query, the passage that answers it, and passages that do not, hardest first unless drawn by chance."""

    query: str
    positive: str
    negatives: tuple[str, ...]
    source: str


class Mining(Settings):
    """How negatives are chosen.

    Args:
        by: `bm25`; `self`, the encoder in training (where a kind has one); or an encoder as `chimed build --encoder`
            takes it.
        number: negatives for each pair.
        depth: of how many best passages they are taken.
        skip: how many of the best are left out, as they may answer.
        draw: `top`, the hardest that pass the filters; `chance`, any of them.
        share: a passage that scores above this share of the positive's score is taken for an answer (Moreira et al.
            2024, "NV-Retriever", arXiv:2407.15831: .95); null for no such filter. With BM25, a positive that is not
            among the `depth` best has no score to compare with, and the filter rests.
        alike: a passage whose similarity to the positive (Jaccard, character trigrams) reaches this is taken for a
            copy.
        same_source: only passages of the positive's source.
    """

    by: str = "bm25"
    number: int = Field(1, ge=1)
    depth: int = Field(50, ge=1)
    skip: int = Field(0, ge=0)
    draw: Literal["top", "chance"] = "top"
    share: float | None = Field(0.95, gt=0)
    alike: float = Field(0.6, gt=0, le=1)
    same_source: bool = True


class Candidates(NamedTuple):
    """For one query: (score, number in the pool) of the best passages, best first; the positive's score, if known."""

    ranked: list[tuple[float, int]]
    positive: float | None


class _Pool:
    """The distinct passages of one group of sources, with their skeletons."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.bones: list[str] = []
        self.numbers: dict[str, int] = {}
        self.pairs: list[int] = []

    def add(self, passage: str) -> None:
        bones = skeleton(passage)
        if bones not in self.numbers:
            self.numbers[bones] = len(self.texts)
            self.texts.append(passage)
            self.bones.append(bones)


def mine(
    pairs: Sequence[Pair],
    settings: Mining,
    *,
    seed: int,
    encoder: Encoder | None = None,
    more: Sequence[tuple[str, str]] = (),
    counts: Counter[str] | None = None,
) -> list[Mined]:
    """Negatives for each pair, `settings.number` each.

    Where the filters leave too few, passages of the same pool drawn by chance fill up; a pair whose pool holds no other
    passage at all is left out.

    Args:
        pairs: their passages are the pool; all of them count as answers to their queries.
        settings: see there.
        seed: of everything drawn by chance.
        encoder: finds the candidates; BM25 does where it is left out (`settings.by` is the caller's to load).
        more: further passages for the pool, (text, source).
        counts: what was done is counted here: "mined", "filled by chance", "pairs without a negative", and why
            candidates were refused.
    """
    counts = Counter() if counts is None else counts
    pools: dict[str, _Pool] = {}
    for n, pair in enumerate(pairs):
        pool = pools.setdefault(pair.source if settings.same_source else "", _Pool())
        pool.add(pair.passage)
        pool.pairs.append(n)
    for text, source in more:
        pools.setdefault(source if settings.same_source else "", _Pool()).add(text)
    answers: dict[str, set[str]] = {}
    for pair in pairs:
        answers.setdefault(skeleton(pair.query), set()).add(skeleton(pair.passage))
    found: dict[int, Mined] = {}
    for group, pool in pools.items():
        asked = [pairs[n] for n in pool.pairs]
        positives = [pool.numbers[skeleton(pair.passage)] for pair in asked]
        queries = [pair.query for pair in asked]
        depth = settings.depth + settings.skip
        by = (
            bm25_candidates(queries, positives, pool.texts, depth)
            if encoder is None
            else encoder_candidates(queries, positives, pool.texts, depth, encoder)
        )
        chance = random.Random(f"{seed} {group}")  # noqa: S311
        for n, pair, positive, candidates in zip(pool.pairs, asked, positives, by, strict=True):
            known = answers[skeleton(pair.query)]
            negatives = _chosen(pair, positive, candidates, pool, known, settings, chance, counts)
            if negatives:
                found[n] = Mined(pair.query, pair.passage, tuple(pool.texts[m] for m in negatives), pair.source)
    return [found[n] for n in sorted(found)]


def _chosen(
    pair: Pair,
    positive: int,
    candidates: Candidates,
    pool: _Pool,
    answers: set[str],
    settings: Mining,
    chance: random.Random,
    counts: Counter[str],
) -> list[int]:
    ranked = candidates.ranked[settings.skip :]
    if settings.draw == "chance":
        chance.shuffle(ranked)
    limit = float("inf")
    if settings.share is not None and candidates.positive is not None and candidates.positive > 0:
        limit = settings.share * candidates.positive
    query = skeleton(pair.query)
    chosen: list[int] = []
    for score, n in ranked:
        if len(chosen) == settings.number:
            break
        reason = _refused(pool.bones[n], pool.bones[positive], query, answers, score > limit, settings.alike)
        if reason:
            counts[reason] += 1
        else:
            chosen.append(n)
    counts["mined"] += len(chosen)
    # Chance passages may be answers that nobody marked as well, but hardly ever.
    rest = chance.sample(range(len(pool.texts)), min(len(pool.texts), settings.number + len(answers) + len(chosen) + 1))
    for n in rest:
        if (
            len(chosen) < settings.number
            and n not in chosen
            and not (pool.bones[n] in answers or pool.bones[n] == query)
        ):
            chosen.append(n)
            counts["filled by chance"] += 1
    if len(chosen) < settings.number:
        counts["pairs without a negative"] += 1
        return []
    return chosen


def _refused(bones: str, positive: str, query: str, answers: set[str], scores_high: bool, alike: float) -> str:
    """Why a passage is no negative; an empty text if it is one. The dearest question comes last."""
    if bones == positive:
        return "the positive"
    if bones in answers:
        return "answers the same query"
    if bones == query:
        return "the query itself"
    if scores_high:
        return "scores like the positive"
    return "a copy of the positive" if similarity(bones, positive) >= alike else ""


def bm25_candidates(
    queries: Sequence[str], positives: Sequence[int], passages: Sequence[str], depth: int
) -> list[Candidates]:
    """The `depth` best passages for each query by BM25 over the queries' content terms, ties by number."""
    # A reader of tantivy may lay down a lock file while the folder is being removed: seen once, after the training.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        writer = LexicalWriter(Path(place) / "lexical", None)
        for n, text in enumerate(passages):
            name = str(n)
            chunk = Chunk(id=name, document_id=name, text=text, start=0, end=len(text))
            writer.add(n, Document(id=name, text=text), [chunk])
        writer.commit()
        index = LexicalIndex(Path(place) / "lexical")
        found = []
        for query, positive in zip(queries, positives, strict=True):
            weights = dict(Counter(content_terms(query) or terms(query)))
            hits = sorted(
                index.search({term: float(n) for term, n in weights.items()}, depth), key=lambda hit: (-hit[0], hit[1])
            )
            found.append(Candidates(hits, next((score for score, n in hits if n == positive), None)))
    return found


_BLOCK = 256


def encoder_candidates(
    queries: Sequence[str], positives: Sequence[int], passages: Sequence[str], depth: int, encoder: Encoder
) -> list[Candidates]:
    """The `depth` passages nearest to each query by the encoder, ties by number."""
    vectors, asked = encoder.encode_documents(passages), encoder.encode_queries(queries)
    depth = min(depth, len(passages))
    found = []
    for start in range(0, len(queries), _BLOCK):
        scores = asked[start : start + _BLOCK] @ vectors.T
        best = np.argpartition(-scores, depth - 1, axis=1)[:, :depth]
        for row, numbers, positive in zip(scores, best, positives[start : start + _BLOCK], strict=True):
            order = numbers[np.lexsort((numbers, -row[numbers]))]
            found.append(Candidates([(float(row[n]), int(n)) for n in order], float(row[positive])))
    return found
