"""Ranking metrics beside a second library, ranx, where it is installed (it brings 700 MB, so nothing here asks for it).

pip install ranx
"""

from __future__ import annotations

import random

import numpy as np
import pytest

from chimed_rag.evaluation.metrics.ranking import ranking_metrics

ranx = pytest.importorskip("ranx", exc_type=ImportError)
NAMES = {"ndcg@10": "ndcg@10", "recall@10": "recall@10", "recall@100": "recall@100", "mrr@10": "mrr@10"}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(3))
def test_ranx_says_the_same(seed: int) -> None:
    """Graded and binary judgements, rankings of all lengths, one of nothing that is relevant."""
    draw = random.Random(seed)
    documents = [f"d{n}" for n in range(200)]
    qrels = {f"q{n}": {key: draw.randint(0, 3) for key in draw.sample(documents, 15)} | {"d0": 1} for n in range(40)}
    rankings = {query: draw.sample(documents, draw.randint(1, 150)) for query in qrels}
    rankings["q0"] = [key for key in documents if key not in qrels["q0"]][:20]
    ours = ranking_metrics(rankings, qrels)
    run = {query: {key: 1000.0 - rank for rank, key in enumerate(keys)} for query, keys in rankings.items()}
    theirs = ranx.evaluate(ranx.Qrels(qrels), ranx.Run(run), list(NAMES.values()), return_mean=False)
    order = list(ranx.Qrels(qrels).keys())
    for name, other in NAMES.items():
        aligned = dict(zip(order, theirs[other], strict=True))
        assert np.allclose(ours[name], [aligned[query] for query in qrels], atol=1e-6), name
