"""A query becomes ranked chunks: dense, lexical, and both fused; with what each gave kept beside the result.

Not covered: fusion formulas (`fusion`), reranking (`rerank`), turning chunks into evidence (`evidence`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Literal, NamedTuple, Protocol

import numpy as np

from chimed_rag.config import Retrieval
from chimed_rag.encoders.base import Encoder, Vectors, checked
from chimed_rag.encoders.manner import Manner
from chimed_rag.indexing.filters import Filter
from chimed_rag.indexing.index import Index, Scored
from chimed_rag.query.question import content_terms
from chimed_rag.query.rewriting import corrected, readings
from chimed_rag.records import RankEntry
from chimed_rag.retrieval.fusion import cosine_fusion, reciprocal_rank_fusion, weighted_fusion
from chimed_rag.text import terms


class Ranked(NamedTuple):
    """A chunk in the final order, with the rank and score that each retriever gave it."""

    row: int
    score: float
    ranks: dict[str, RankEntry]


class Retriever(Protocol):
    """Finds chunks for several queries at once."""

    name: str

    def search(self, queries: Sequence[str], k: int, filter: Filter | None = None) -> list[list[Scored]]:
        """At most k (score, row) for each query, ordered by (−score, chunk id); k of them whenever k exist."""


class DenseRetriever:
    """Inner product of the query's vector with every stored vector.

    The encoder gets the query in the characters that are likely meant. nDCG@10 with the encoder "hashing" alone, on the
    questions below with a typing error each: .146 from the query as typed, .158 so; without errors .168 both ways.
    """

    name = "dense"

    def __init__(self, index: Index, encoder: Encoder) -> None:
        self._index, self._encoder = index, encoder

    def search(
        self,
        queries: Sequence[str],
        k: int,
        filter: Filter | None = None,
        *,
        also: Sequence[Sequence[int]] | None = None,
        vectors: Vectors | None = None,
    ) -> list[list[Scored]]:
        """See `Retriever.search`; a query whose vector is all zero (the encoder knows nothing of it) finds nothing.

        All passages would tie at score 0, and the fusion would take the first ids for the best.

        Args:
            queries, k, filter: as there.
            also: for each query the rows of chunks whose scores are wanted too; those that are not among the k best
                come after them, in no order.
            vectors: those of the queries, where they are at hand.
        """
        vectors = self.vectors(queries) if vectors is None else vectors
        found = self._index.rank_dense(vectors, k, filter)
        if also is not None:
            for vector, hits, rows in zip(vectors, found, also, strict=True):
                held = {row for _, row in hits}
                hits += self._index.score_dense(vector, [row for row in rows if row not in held])
        return [hits if vector.any() else [] for vector, hits in zip(vectors, found, strict=True)]

    def vectors(self, queries: Sequence[str]) -> Vectors:
        """The queries' vectors, shape (n, d)."""
        spec = self._encoder.spec
        meant = [str(corrected(query)) for query in queries]
        return checked(self._encoder.encode_queries(meant), len(queries), spec.dimension, spec.name)


CORRECTED_WEIGHT = {"traditional": 1.0, "typos": 0.9}
"""Weight of the words of these readings, beside 1 for the query's own: simplified characters say the very same."""


LEAST_GAIN = 0.01
"""A passage that would gain less by its manner gains nothing."""


class LexicalRetriever:
    """BM25 over the query's index terms; a term that the query repeats weighs as often, filler weighs less.

    BM25 alone takes "请问医生" for rare and telling words. nDCG@10 on 2,984 patient questions over 80,688 documents,
    lexical alone: .279 at filler weight 1, .286 at .8, .293 at .6, .292 at .5, .290 at .4; without them .270.

    Tried without gain (nDCG@10 / Recall@100 fused with the adapted encoder, .3172 / .617 as it is): weights of terms
    learned by a softmax over BM25 (after DeepCT: Dai & Callan 2019, arXiv:1910.10687) from 10,000 questions and
    answers, as 20 features of a term (filler, idf, log odds in questions, cohesion, place, ...) .318 / .614, as one
    free weight for each term .316 / .614; the features fitted to half of the very questions give the other half +.005.
    A term weighed less where its neighbours are cohesive (pointwise mutual information): +.002 to +.005 with five
    encoders. Single characters as terms too, at .4: +.002 / +.002 for half as much index again and four times the
    search; trigrams lose. k1 = .6: +.002 / -.004; b = .9: +.004 / +.005, which tantivy does not offer; b = .4 loses .01
    to .02. A vector's weight by the question's length: nothing.
    """

    name = "lexical"

    def __init__(self, index: Index, settings: Retrieval | None = None) -> None:
        self._index, self._settings = index, settings or Retrieval()

    def search(self, queries: Sequence[str], k: int, filter: Filter | None = None) -> list[list[Scored]]:
        """See `Retriever.search`; only chunks that share a term with the query are found."""
        return self._index.rank_lexical([self._weighted(query) for query in queries], k, filter)

    def _weighted(self, query: str) -> dict[str, float]:
        """The query's own terms, and those that its readings add.

        The words of a reading weigh together no more than `clinical_weight` times as much as the words that they stand
        for: 慢性阻塞性肺疾病 has seven terms, 慢阻肺 two, and would drown the rest of the question. nDCG@10 on the
        questions above: .2915 without other words, .2880 with each at .6, before they were weighed so.
        """
        weighted = self._own(query)
        before = frozenset(content_terms(query))
        for reading in readings(query):
            found = content_terms(reading.text)
            if (corrected := CORRECTED_WEIGHT.get(reading.step)) is not None:
                added = {term: corrected * weight for term, weight in self._own(reading.text).items()}
            else:
                gone, new = len(before.difference(found)), sum(term not in before for term in found)
                share = min(1.0, max(1, gone) / max(1, new))
                added = dict.fromkeys(found, self._settings.clinical_weight * share)
            weighted = added | weighted
            before = frozenset(found)
        return weighted

    def _own(self, text: str) -> dict[str, float]:
        content, filler = frozenset(content_terms(text)), self._settings.filler_weight
        return {term: n if term in content else n * filler for term, n in Counter(terms(text)).items()}


def fusion_of(settings: Retrieval, encoder: Encoder) -> Literal["cosine", "weighted", "rrf"]:
    """The fusion that the settings mean for this encoder."""
    if settings.fusion == "auto":
        return "weighted" if getattr(encoder, "cosine_weight", None) is None else "cosine"
    return settings.fusion


def dense_weight_of(settings: Retrieval, encoder: Encoder) -> float:
    """The weight of the dense list: the settings' own, or else the encoder's for this fusion."""
    if settings.dense_weight is not None:
        return settings.dense_weight
    weight = getattr(encoder, "cosine_weight", None) if fusion_of(settings, encoder) == "cosine" else None
    return float(encoder.fusion_weight if weight is None else weight)


class HybridRetriever:
    """Runs the retrievers that the settings ask for and fuses what they give.

    Tried and left, though it raises every figure: that a section loses where its heading tells another aspect than the
    question asks for (`query.aspects`: causes, where treatment is asked for). Of patients' questions .331 / .644
    (nDCG@10 / Recall@100) become .347 / .656 with a loss of .2, and of questions made of headings .648 becomes .687;
    where only the sections of an illness lose of which a fitting one was found too, .3, .343 / .652 and .695. A reader
    (a language model) who did not know which was which saw no good in it: of 32 answers from encyclopedia and textbooks
    that changed he liked 10 better and 10 less; with the second kind of 27 answers 6 and 14, of 60 lists of four
    passages 21 and 30. The right illness under the wrong heading gave way to wrong illnesses, and replies have no
    headings at all.
    """

    def __init__(self, index: Index, encoder: Encoder, settings: Retrieval) -> None:
        self._index, self._settings = index, settings
        self._fusion = fusion_of(settings, encoder)
        dense_weight = dense_weight_of(settings, encoder)
        # An encoder that carries no weight in the fusion is not asked.
        mode = "lexical" if settings.mode == "hybrid" and dense_weight == 0 else settings.mode
        self.dense = DenseRetriever(index, encoder) if mode != "lexical" else None
        self.lexical = LexicalRetriever(index, settings) if mode != "dense" else None
        self._weights = {"dense": dense_weight, "lexical": 1.0}
        wanted = self._fusion == "cosine" and mode == "hybrid" and settings.reply_weight > 0
        self._manner: Manner | None = getattr(encoder, "manner", None) if wanted else None

    @property
    def retrievers(self) -> list[Retriever]:
        """Those that are asked."""
        return [retriever for retriever in (self.dense, self.lexical) if retriever is not None]

    def search(self, queries: Sequence[str], k: int, filter: Filter | None = None) -> list[list[Ranked]]:
        """At most k chunks for each query, ordered by (−score, chunk id)."""
        depth = max(k, self._settings.candidates)
        # One after the other: each uses all cores for many queries, and for one query a second thread was tried and won
        # nothing measurable (both hand the interpreter's lock to and fro while they build queries and read hits).
        lists: dict[str, list[list[Scored]]] = {}
        gains: list[dict[int, float]] = [{} for _ in queries]
        if self.lexical is not None:
            lists["lexical"] = self.lexical.search(queries, depth, filter)
        if self.dense is not None:
            found = lists.get("lexical") if self._fusion == "cosine" else None
            also = [[row for _, row in hits] for hits in found] if found is not None else None
            vectors = self.dense.vectors(queries) if self._manner is not None else None
            lists["dense"] = self.dense.search(queries, depth, filter, also=also, vectors=vectors)
            if self._manner is not None and vectors is not None:
                gains = self._gains(self._manner, vectors, lists["dense"])
        return [
            self._fused({name: hits[i] for name, hits in lists.items()}, gains[i], k, depth)
            for i in range(len(queries))
        ]

    def _gains(self, manner: Manner, vectors: Vectors, found: Sequence[list[Scored]]) -> list[dict[int, float]]:
        """What each passage found gains by its manner, highest first; less than `LEAST_GAIN` is left out."""
        gains: list[dict[int, float]] = []
        for weight, hits in zip(self._settings.reply_weight * manner.asked(vectors), found, strict=True):
            rows = [row for _, row in hits] if weight >= LEAST_GAIN else []
            products = [product for product, _ in self._index.score_dense(manner.passage[:-1], rows)]
            gained = weight * manner.replied(np.array(products, dtype=np.float32))
            order = np.argsort(-gained, kind="stable")[: np.count_nonzero(gained >= LEAST_GAIN)]
            gains.append({rows[place]: float(gained[place]) for place in order.tolist()})
        return gains

    def _fused(self, lists: Mapping[str, list[Scored]], gains: Mapping[int, float], k: int, depth: int) -> list[Ranked]:
        rankings = {name: [(row, score) for score, row in hits] for name, hits in lists.items()}
        if len(rankings) == 1:
            fused = next(iter(rankings.values()))
        elif self._fusion == "rrf":
            fused = reciprocal_rank_fusion(rankings, self._settings.rrf_k, self._weights)
        elif self._fusion == "cosine":
            lexical = rankings["lexical"]
            full = len(lexical) == depth
            fused = cosine_fusion(lexical, rankings["dense"], self._weights["dense"], full=full, gains=gains)
        else:
            fused = weighted_fusion(rankings, self._weights)
        last = fused[min(k, len(fused)) - 1][1] if fused else 0.0
        best = self._index.settle([(score, row) for row, score in takewhile(lambda hit: hit[1] >= last, fused)], k)
        ranks: dict[int, dict[str, RankEntry]] = {row: {} for _, row in best}
        for name, hits in lists.items():
            for rank, (score, row) in enumerate(hits[:depth], 1):
                if row in ranks:
                    ranks[row][name] = RankEntry(rank=rank, score=score)
        for rank, (row, gain) in enumerate(gains.items(), 1):
            if row in ranks:
                ranks[row]["reply"] = RankEntry(rank=rank, score=gain)
        return [Ranked(row, score, ranks[row]) for score, row in best]
