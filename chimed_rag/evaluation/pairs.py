"""Scores given texts for a query by our own retrievers, whatever else an index would have brought.

The texts are indexed as documents, so idf and lengths are their own, and each query is asked with a filter on the ids
of its candidates. Not covered: metrics (`evaluation.tasks`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from chimed_rag.config import Config, Retrieval
from chimed_rag.errors import InputError
from chimed_rag.records import Document
from chimed_rag.text import terms

if TYPE_CHECKING:
    from typing_extensions import Self

    from chimed_rag.encoders.base import Encoder
    from chimed_rag.retrieval.rerank import Reranker

SYSTEMS = ("bm25", "lexical", "dense", "hybrid")
"""`bm25` is plain BM25 over character pairs; `lexical`, `dense` are our retrievers, `hybrid` both together."""


class PairScorer:
    """Scores of candidate texts; a context manager, whose index lies in a temporary folder until it is left.

    Args:
        texts: all candidates of all queries.
        encoder: a name, a model folder or hub name, or an encoder.
        dense_weight: what the dense score weighs in `hybrid`; None takes the encoder's own.
        reranker: reads query and text and gives the score of "lexical", "dense" and "hybrid" in their place.

    Raises:
        InputError: no text that is not blank; and what `MedQA.build` raises.
    """

    def __init__(
        self,
        texts: Iterable[str],
        *,
        encoder: str | Path | Encoder = "ngram",
        dense_weight: float | None = None,
        reranker: Reranker | None = None,
    ) -> None:
        from chimed_rag.medqa import MedQA
        from chimed_rag.retrieval.retrievers import dense_weight_of

        self._ids = {text: str(n) for n, text in enumerate(dict.fromkeys(texts)) if text.strip()}
        if not self._ids:
            raise InputError("there is no text to score")
        self._folder = TemporaryDirectory(prefix="chimed-pairs-")
        path = Path(self._folder.name) / "index"
        documents = [Document(id=key, text=text) for text, key in self._ids.items()]
        built = MedQA.build(
            documents, path, encoder=encoder, adapt=False
        )  # the encoder as it is, not as it could learn
        built.close()
        self.weight = dense_weight_of(Retrieval(dense_weight=dense_weight), built.encoder)
        self._systems = {
            mode: MedQA(
                path,
                encoder=built.encoder,
                reranker=reranker,
                # A search log holds queries of a doctor's name alone: without it there is nothing to rank by.
                config=Config(retrieval=Retrieval(mode=mode), redaction=False),
            )
            for mode in ("lexical", "dense")
        }
        self._plain = self._systems["lexical"]._view.index

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for qa in self._systems.values():
            qa.close()
        self._folder.cleanup()

    def scores(self, system: str, query: str, texts: Sequence[str]) -> NDArray[np.float64]:
        """The score of each text for the query, shape (len(texts),); larger is better, 0 is nothing in common.

        Raises:
            InputError: an unknown system, or a query that cannot be asked.
        """
        if system not in SYSTEMS:
            raise InputError(f"no system is called {system!r}; there are: {', '.join(SYSTEMS)}")
        if system == "hybrid":
            # Both on their own scale: a cosine, and BM25 as a share of what the best candidate gets.
            lexical, dense = self.scores("lexical", query, texts), self.scores("dense", query, texts)
            return lexical / (lexical.max() or 1.0) + self.weight * dense
        ids = [self._ids.get(text, "") for text in texts]
        condition = {"id": {"$in": sorted(set(ids))}}
        depth = 8 * len(ids)
        if system == "bm25":
            query_terms = {term: float(n) for term, n in Counter(terms(query)).items()}
            hits = self._plain.search_lexical([query_terms], depth, condition)[0]
        else:
            hits = self._systems[system].search_keys(query, depth, condition)
        best: dict[str, float] = {}
        for hit in hits:
            best[hit.document_id] = max(hit.score, best.get(hit.document_id, hit.score))
        return np.array([best.get(key, 0.0) for key in ids])
