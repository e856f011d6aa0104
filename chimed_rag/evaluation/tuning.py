"""Chooses the settings of retrieval on a user's own questions: `chimed evaluate retrieval --tune`.

Each query is retrieved once per list and fused many times. Half of the queries (seeded) choose, the other half says
what the choice is worth. One knob after the other: it keeps its value unless another is better by more than chance
(95 % paired bootstrap of nDCG@10), and of the values that are as good as the best, the one nearest to its own is taken.
So few questions change little, and no setting is chosen on a difference inside the interval.

Not covered: the index (chunking, encoder), the reranker, and searching all combinations of the knobs.

Tried and left out (every fourth question of `huatuo_retrieval_dev` over the disease encyclopedia, n = 746, lexical
nDCG@10 .275, difference with its 95 % interval). Names and headings counted once more beside the text, the best 100
hits rescored: weight .1 -.007 [-.011, -.004], .3 -.020, 1 -.061; the answers sought there have no title, so this set
can only lose. Pseudo-relevance feedback (RM3's weights, times idf) from 10 passages, 10 terms, weight .05: +.000
[-.002, +.003]; from 3, 10 terms, .1: -.002 [-.006, +.002], .3: -.013 [-.020, -.006]; from 10, 20 terms, .1: -.002, .3:
-.013. It does not pay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from chimed_rag.config import Config, Retrieval
from chimed_rag.errors import InputError
from chimed_rag.evaluation.beir import BeirCorpus, data_sha256, judged_queries, read_qrels, read_queries
from chimed_rag.evaluation.metrics.ranking import ranking_metrics
from chimed_rag.evaluation.result import library_versions, rounded
from chimed_rag.evaluation.retrieval import best_chunk_per_document
from chimed_rag.evaluation.statistics import SEED, Interval, bootstrap_means
from chimed_rag.records import Record
from chimed_rag.retrieval.retrievers import (
    DenseRetriever,
    HybridRetriever,
    LexicalRetriever,
    dense_weight_of,
    fusion_of,
)

if TYPE_CHECKING:
    from chimed_rag.encoders.base import Encoder, Vectors
    from chimed_rag.indexing.commit import Progress
    from chimed_rag.indexing.index import Index, Scored

KNOBS: dict[str, tuple[Any, ...]] = {
    "fusion": ("cosine", "weighted", "rrf"),
    "dense_weight": (0.0, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0),
    "rrf_k": (10, 30, 60),
    "candidates": (50, 100, 200),
    "filler_weight": (0.0, 0.3, 0.5, 0.7, 1.0),
    "clinical_weight": (0.0, 0.3, 0.6, 0.9),
    "reply_weight": (0.0, 0.1, 0.2, 0.4),
}
"""What is tried, in this order, and `dense_weight` once more at the end if a knob after it has moved."""

METRIC = "ndcg@10"


class Trial(Record):
    """One value of one knob, the others being as chosen so far: nDCG@10 on the half that chooses."""

    knob: str
    value: str | float | int
    score: Interval
    gain: Interval
    """Over the value that the knob had, query by query."""


class TuningResult(Record):
    """What was tried, what was chosen, and what that is worth on either half; `--tune --json` prints this object."""

    task: Literal["tune"] = "tune"
    system: str
    n: int = Field(ge=2)
    n_chosen_on: int
    data_sha256: str
    default: Retrieval
    chosen: Retrieval
    trials: list[Trial]
    chosen_on: dict[str, Interval]
    """nDCG@10 on the half that chose: "default", "chosen", and their "difference"."""
    held_out: dict[str, Interval]
    """The same on the other half: what to believe."""
    versions: dict[str, str] = Field(default_factory=dict)


class _CachedLexical(LexicalRetriever):
    """Looks up what was found before."""

    def __init__(self, index: Index, found: Mapping[str, list[Scored]]) -> None:
        super().__init__(index)
        self._found = found

    def search(self, queries: Sequence[str], k: int, filter: Any = None) -> list[list[Scored]]:
        return [self._found[query][:k] for query in queries]


class _CachedDense(DenseRetriever):
    """Looks up what was found before; only what other lists want scored is computed."""

    def __init__(self, index: Index, encoder: Encoder, found: Mapping[str, list[Scored]]) -> None:
        super().__init__(index, encoder)
        self._found = found

    def search(
        self,
        queries: Sequence[str],
        k: int,
        filter: Any = None,
        *,
        also: Sequence[Sequence[int]] | None = None,
        vectors: Vectors | None = None,
    ) -> list[list[Scored]]:
        lists = [self._found[query][:k] for query in queries]
        if also is not None:
            held = [{row for _, row in hits} for hits in lists]
            wanted = [[row for row in rows if row not in seen] for rows, seen in zip(also, held, strict=True)]
            scored = super().search(queries, 0, also=wanted, vectors=vectors)
            lists = [[*hits, *more] for hits, more in zip(lists, scored, strict=True)]
        return lists


class Bench:
    """Scores settings over one index by fusing lists that were retrieved once.

    Args:
        index, encoder: what is searched.
        queries: judged queries, id to text as the retrievers get it.
        qrels: their judgements.
    """

    def __init__(
        self, index: Index, encoder: Encoder, queries: Mapping[str, str], qrels: Mapping[str, Mapping[str, int]]
    ) -> None:
        self._index, self._encoder, self._queries, self._qrels = index, encoder, dict(queries), qrels
        self._lists: dict[tuple[Any, ...], dict[str, list[Scored]]] = {}
        self._documents: dict[int, str] = {}

    def scores(self, settings: Retrieval) -> NDArray[np.float64]:
        """nDCG@10 of each query, shape (n,)."""
        hybrid = HybridRetriever(self._index, self._encoder, settings)
        if hybrid.dense is not None:
            hybrid.dense = _CachedDense(self._index, self._encoder, self._found(hybrid.dense, settings))
        if hybrid.lexical is not None:
            hybrid.lexical = _CachedLexical(self._index, self._found(hybrid.lexical, settings))
        ranked = hybrid.search(list(self._queries.values()), 100)
        if new := {item.row for items in ranked for item in items} - self._documents.keys():
            keys = self._index.store.keys(new)
            self._documents |= {row: key[0] for row, key in keys.items()}
        rankings = {
            key: [
                document
                for document, _ in best_chunk_per_document(
                    ((self._documents[item.row], item.score) for item in items), 100
                )
            ]
            for key, items in zip(self._queries, ranked, strict=True)
        }
        return ranking_metrics(rankings, self._qrels)[METRIC]

    def _found(self, retriever: Any, settings: Retrieval) -> dict[str, list[Scored]]:
        weights = (settings.filler_weight, settings.clinical_weight) if retriever.name == "lexical" else ()
        key = (retriever.name, *weights)
        if key not in self._lists:
            texts = list(dict.fromkeys(self._queries.values()))
            hits = [
                list_
                for start in range(0, len(texts), 256)
                for list_ in retriever.search(texts[start : start + 256], _DEEPEST)
            ]
            self._lists[key] = dict(zip(texts, hits, strict=True))
        return self._lists[key]


_DEEPEST = max(KNOBS["candidates"])


def tune(
    scores: Callable[[Retrieval], NDArray[np.float64]],
    chooses: NDArray[np.bool_],
    default: Retrieval,
    *,
    knobs: Mapping[str, Sequence[Any]] = KNOBS,
    weight: Callable[[Retrieval], float] | None = None,
    progress: Callable[[str, int], None] | None = None,
) -> tuple[Retrieval, list[Trial]]:
    """Turns one knob after the other, as the module says.

    Args:
        scores: settings to the score of each query, shape (n,).
        chooses: which queries may choose, shape (n,).
        default: where to begin.
        knobs: field of `Retrieval` to its values, in order.
        weight: the weight that a `dense_weight` of None means under some settings; without it none may be None.
        progress: called with a stage and how many settings have been scored.
    """
    trials: list[Trial] = []

    def turned(knob: str, settings: Retrieval) -> Retrieval:
        own = getattr(settings, knob)
        values = list(dict.fromkeys((own, *knobs[knob])))
        found = {value: scores(settings.model_copy(update={knob: value}))[chooses] for value in values}
        best = max(values, key=lambda value: float(found[value].mean()))
        for value in values:
            both = bootstrap_means({"score": found[value], "gain": found[value] - found[own]})
            trials.append(Trial(knob=knob, value=value, **rounded(both)))
            if progress is not None:
                progress("fusing", len(trials))
        if _by_chance(found[best] - found[own]):
            return settings
        good = [value for value in values if _by_chance(found[best] - found[value])]
        return settings.model_copy(update={knob: min(good, key=lambda value: _distance(own, value))})

    chosen = weighed = default
    for knob in knobs:
        if knob == "dense_weight" and chosen.dense_weight is None and weight is not None:
            chosen = chosen.model_copy(update={"dense_weight": weight(chosen)})
        if knob != "rrf_k" or chosen.fusion == "rrf":
            chosen = turned(knob, chosen)
        if knob == "dense_weight":
            weighed = chosen
    if "dense_weight" in knobs and chosen != weighed:  # what the lists hold has changed, and with it what they deserve
        chosen = turned("dense_weight", chosen)
    return chosen, trials


def _by_chance(gains: NDArray[np.float64]) -> bool:
    return bootstrap_means({"gain": gains})["gain"].low <= 0


def _distance(own: Any, value: Any) -> float:
    return float(value != own) if isinstance(own, str) else abs(value - own)


def tuning_result(
    queries: str | Path,
    corpora: Sequence[str | Path],
    qrels: str | Path,
    *,
    config: Config | None = None,
    encoder: str | Path | Encoder = "ngram",
    adapt: bool | None = None,
    progress: Progress | None = None,
) -> tuple[TuningResult, Config]:
    """Builds a temporary index, tunes on half of the questions, and gives the settings to keep beside what they score.

    Args:
        queries, corpora, qrels: files in BEIR form, see `evaluation.beir`.
        config: where to begin; its other parts are kept as they are.
        encoder: a name, a model folder or hub name, or an encoder.
        adapt: handed to `MedQA.build` where it is not None.
        progress: called with a stage and a count.

    Raises:
        InputError: fewer than 20 judged queries, or a mode other than hybrid; what `run_file` and `build` raise.
    """
    from chimed_rag.medqa import MedQA
    from chimed_rag.query.rewriting import rewrite

    config = config or Config()
    if config.retrieval.mode != "hybrid":
        raise InputError(f"only the hybrid mode has knobs to tune, not {config.retrieval.mode!r}")
    asked, judgements = judged_queries(read_queries(queries), read_qrels(qrels))
    if len(asked) < _FEWEST:
        raise InputError(f"{len(asked)} judged queries are too few to choose on; tuning needs at least {_FEWEST}")
    options: dict[str, Any] = {} if adapt is None else {"adapt": adapt}
    with TemporaryDirectory(prefix="chimed-tune-") as folder:
        documents = BeirCorpus(corpora)
        qa = MedQA.build(documents, Path(folder) / "index", encoder=encoder, progress=progress, **options)
        try:
            texts = {key: rewrite(text).text for key, text in asked.items()}
            bench = Bench(qa._view.index, qa.encoder, texts, judgements)
            default, encoder_used = config.retrieval, qa.encoder
            begin = default.model_copy(update={"fusion": fusion_of(default, encoder_used)})
            chooses = np.random.default_rng(SEED).permutation(len(asked)) < len(asked) // 2
            own = partial(dense_weight_of, encoder=encoder_used)
            chosen, trials = tune(bench.scores, chooses, begin, weight=own, progress=progress)
            before, after = bench.scores(begin), bench.scores(chosen)
            name = qa.encoder.spec.name
        finally:
            qa.close()
    if default.fusion == "auto" and chosen.fusion == begin.fusion:
        chosen = chosen.model_copy(update={"fusion": "auto"})
    if default.dense_weight is None and chosen.dense_weight == own(chosen.model_copy(update={"dense_weight": None})):
        chosen = chosen.model_copy(update={"dense_weight": None})

    def compared(half: NDArray[np.bool_]) -> dict[str, Interval]:
        one, two = before[half], after[half]
        return rounded(bootstrap_means({"default": one, "chosen": two, "difference": two - one}))

    result = TuningResult(
        system=f"hybrid, encoder {name}",
        n=len(asked),
        n_chosen_on=int(chooses.sum()),
        data_sha256=data_sha256([queries, *corpora, qrels]),
        default=default,
        chosen=chosen,
        trials=trials,
        chosen_on=compared(chooses),
        held_out=compared(~chooses),
        versions=library_versions("pytrec-eval-terrier"),
    )
    return result, config.model_copy(update={"retrieval": chosen})


_FEWEST = 20
