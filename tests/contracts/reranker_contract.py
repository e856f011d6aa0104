"""What every reranker must do; a test class of each implementation inherits it and gives the fixture `reranker`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from math import isfinite

import numpy as np

from chimed_rag.retrieval.rerank import Reranker, load_reranker

QUERY = "孕妇感冒发烧能吃布洛芬吗？"
PASSAGES = [
    "孕晚期妇女禁用布洛芬。",
    "高血压患者应低盐饮食。",
    "心",
    "",
    "血压\n血糖 🙂 \ud800",
    "糖尿病" * 700,
    "布洛芬\n用法\n一次0.2g",
]


class RerankerContract:
    tolerance = 1e-4

    def test_fulfils_the_protocol(self, reranker: Reranker) -> None:
        assert isinstance(reranker, Reranker)
        assert reranker.name

    def test_one_finite_number_for_each_passage(self, reranker: Reranker) -> None:
        scores = list(reranker.score(QUERY, PASSAGES))
        assert len(scores) == len(PASSAGES)
        assert all(isfinite(float(score)) for score in scores)
        assert len({round(float(score), 6) for score in scores}) > 2

    def test_no_passages(self, reranker: Reranker) -> None:
        assert list(reranker.score(QUERY, [])) == []

    def test_odd_queries(self, reranker: Reranker) -> None:
        for query in ("心", "🙂🙂", "\ud800", "头痛" * 2500):
            assert all(isfinite(float(score)) for score in reranker.score(query, PASSAGES[:3]))

    def test_a_score_does_not_depend_on_the_passages_beside_it(self, reranker: Reranker) -> None:
        together = np.array(reranker.score(QUERY, PASSAGES), dtype=np.float64)
        alone = [reranker.score(QUERY, [passage])[0] for passage in PASSAGES]
        np.testing.assert_allclose(together, alone, atol=self.tolerance)
        np.testing.assert_allclose(reranker.score(QUERY, PASSAGES[::-1])[::-1], together, atol=self.tolerance)

    def test_many_threads(self, reranker: Reranker) -> None:
        expected = reranker.score(QUERY, PASSAGES)
        with ThreadPoolExecutor(4) as pool:
            for scores in pool.map(lambda _: reranker.score(QUERY, PASSAGES), range(8)):
                np.testing.assert_allclose(scores, expected, atol=self.tolerance)

    def test_a_loaded_reranker_is_given_back(self, reranker: Reranker) -> None:
        assert load_reranker(reranker) is reranker
