"""The slot for a reranker, which reads the query with each of the best passages and orders them anew.

Not covered: the models: one that comes with the package (`windows`), and cross-encoders (`cross_encoder`).

Tried before there was one that ships, over the 50 best of the adapted encoder fused with BM25 (nDCG@10, 2,984 patient
questions): soft matching between the n-grams of question and passage (after K-NRM, Xiong et al. 2017) with a small
network trained on lists of openly licensed replies. With features standardised within each list .311 -> .328, of which
all but .005 came from the length of the passage; with absolute features .309 -> .298, and .279 where our own
consultations were among the lists. Fitted to the evaluation questions themselves (4 folds, only to see what such
features could reach): .327 without length, .361 with it. Later, with what replies gain (`encoders.manner`), also by
coverage of the question's n-grams, soft matches and likeness to the other candidates: among the replies alone .413 ->
.426 by logistic regression as by trees, and no such feature added with a weight of its own gains .004; among all .331
-> .350 and .359, most of it from telling replies from articles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

from chimed_rag.encoders.compact import is_compact_folder
from chimed_rag.encoders.hub import HUB_NAME
from chimed_rag.errors import EncoderError, InputError, UnknownNameError
from chimed_rag.indexing.lexical import index_text
from chimed_rag.indexing.segment import StoredChunk
from chimed_rag.records import RankEntry
from chimed_rag.registry import rerankers
from chimed_rag.retrieval.retrievers import Ranked

DEPTH = 50
"""How many passages a reranker reads that does not say."""


@runtime_checkable
class Reranker(Protocol):
    """Scores passages for a query; larger is better. May be called from several threads at once.

    One that tells only part of what the retrievers know may also say, as `beside_fused`, what its score weighs beside a
    passage's fused score as a share of the best; without it, its scores alone make the order. And it may say, as
    `depth`, how many passages are worth its time.
    """

    name: str

    def score(self, query: str, passages: Sequence[str]) -> Sequence[float]:
        """One finite score for each passage, which does not depend on the passages beside it."""


def load_reranker(name_or_path: str | Path | Reranker, **settings: Any) -> Reranker:
    """The reranker that a user means.

    Args:
        name_or_path: a name of the registry, a folder of a cross-encoder or of a model for `windows`, a cross-encoder
            on the hub ("owner/name" or "owner/name@revision"), or a reranker, which is given back as it is.
        settings: keyword arguments of its class.

    Raises:
        UnknownNameError: a plain word that is neither a registry name nor a folder.
        InputError: settings that this kind does not take.
        EncoderError: the folder is not there, or holds no reranker.
        MissingExtraError: the library for this kind is not installed.
    """
    if not isinstance(name_or_path, (str, Path)):
        if settings:
            raise InputError("settings can be given with a reranker's name or folder, not with a loaded reranker")
        return name_or_path
    name = str(name_or_path)
    kind, given = "cross-encoder", {"path": name, **settings}
    if isinstance(name_or_path, str) and name in rerankers:
        kind, given = name, settings
    elif is_compact_folder(Path(name).expanduser()):
        kind = "windows"
    elif not Path(name).expanduser().is_dir() and not HUB_NAME.fullmatch(name):
        if Path(name).name == name:
            raise UnknownNameError(
                f"no reranker is called {name!r} and no such folder is here; there are: "
                f"{', '.join(rerankers.names())}, any cross-encoder's folder, and hub models as owner/name"
            )
        raise EncoderError(f"{name} is not a folder; give the folder of a reranker, or a hub model as owner/name")
    return cast("Reranker", rerankers.make(kind, given))


def depth_of(reranker: Reranker) -> int:
    """How many of the best passages a reranker reads, where the configuration does not say."""
    return int(getattr(reranker, "depth", DEPTH))


def passage_text(stored: StoredChunk) -> str:
    """What a reranker reads of a passage: its document's names, its headings and its text, as the retrievers saw it.

    A section on contraindications often does not name its drug; the title does.
    """
    return index_text(stored.document, stored.chunk)


def rerank(
    reranker: Reranker,
    query: str,
    ranked: Sequence[Ranked],
    passages: Mapping[int, StoredChunk],
    most: int | None = None,
) -> list[Ranked]:
    """The ranked chunks ordered by (−score, chunk id), with the reranker's own rank and score noted in `ranks`.

    The score is the reranker's, or, where it says what that weighs beside the fused one (`Reranker`), both added up.

    Args:
        reranker, query: who reads, and for which question.
        ranked: by descending fused score.
        passages: those that are read, by row.
        most: only so many are read; the others follow in their order, as far below as they were.

    Raises:
        InputError: the reranker did not give one finite score for each passage.
    """
    cut = len(ranked) if most is None else most
    ranked, rest = ranked[:cut], ranked[cut:]
    scores = [float(score) for score in reranker.score(query, [passage_text(passages[item.row]) for item in ranked])]
    if len(scores) != len(ranked) or not all(map(isfinite, scores)):
        raise InputError(
            f"reranker {reranker.name!r} gave {len(scores)} scores for {len(ranked)} "
            "passages, or one that is not finite"
        )
    ids = [passages[item.row].chunk.id for item in ranked]
    places = sorted(range(len(ranked)), key=lambda place: (-scores[place], ids[place]))
    noted = {place: RankEntry(rank=rank, score=scores[place]) for rank, place in enumerate(places, 1)}
    weight = getattr(reranker, "beside_fused", None)
    totals = scores if weight is None else _totals([item.score for item in ranked], scores, float(weight))
    order = sorted(range(len(ranked)), key=lambda place: (-totals[place], ids[place]))
    found = [
        ranked[place]._replace(score=totals[place], ranks={**ranked[place].ranks, reranker.name: noted[place]})
        for place in order
    ]
    below = found[-1].score - ranked[-1].score if found else 0.0
    return found + [item._replace(score=item.score + below) for item in rest]


def _totals(fused: Sequence[float], scores: Sequence[float], weight: float) -> list[float]:
    best = max(fused, default=0.0)
    shares = [score / best if best > 0 else 0.0 for score in fused]
    return [share + weight * score for share, score in zip(shares, scores, strict=True)]
