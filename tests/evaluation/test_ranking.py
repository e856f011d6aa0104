from __future__ import annotations

import sys
from math import log2

import numpy as np
import pytest

from chimed_rag.errors import InputError, MissingExtraError
from chimed_rag.evaluation.metrics.ranking import ranking_metrics
from chimed_rag.evaluation.statistics import bootstrap_means, percentiles


def one(ranking: list[str], judged: dict[str, int]) -> dict[str, float]:
    return {name: float(column[0]) for name, column in ranking_metrics({"q": ranking}, {"q": judged}).items()}


def test_binary_relevance_by_hand() -> None:
    """Relevant a and b; a at rank 2, b at rank 12."""
    ranking = ["x1", "a", *(f"x{i}" for i in range(3, 12)), "b"]
    assert one(ranking, {"a": 1, "b": 1, "x1": 0}) == pytest.approx(
        {
            "ndcg@10": (1 / log2(2 + 1)) / (1 / log2(1 + 1) + 1 / log2(2 + 1)),
            "recall@10": 1 / 2,
            "recall@100": 2 / 2,
            "mrr@10": 1 / 2,
        }
    )


def test_graded_relevance_has_linear_gain() -> None:
    ideal = 3 / log2(2) + 1 / log2(3)
    assert one(["a", "x", "b"], {"a": 1, "b": 3})["ndcg@10"] == pytest.approx((1 / log2(2) + 3 / log2(4)) / ideal)


@pytest.mark.parametrize(("rank", "found"), [(10, 1 / 10), (11, 0.0)])
def test_mrr_is_cut_at_ten(rank: int, found: float) -> None:
    ranking = [f"x{i}" for i in range(1, rank)] + ["a"]
    assert one(ranking, {"a": 1})["mrr@10"] == pytest.approx(found)


@pytest.mark.parametrize(("rank", "found"), [(100, 1.0), (101, 0.0)])
def test_recall_is_cut_at_a_hundred(rank: int, found: float) -> None:
    ranking = [f"x{i}" for i in range(1, rank)] + ["a"]
    assert one(ranking, {"a": 1})["recall@100"] == found


def test_the_given_order_is_what_is_scored() -> None:
    """trec_eval breaks ties by descending id; had ranks become equal scores, z would come first."""
    assert one(["a", "z"], {"a": 1})["mrr@10"] == 1.0
    assert one(["z", "a"], {"a": 1})["mrr@10"] == 0.5


def test_queries_without_answer_count_as_zero_in_the_order_of_the_judgements() -> None:
    qrels = {"q3": {"a": 1}, "absent": {"a": 1}, "q1": {"a": 1}, "empty": {"a": 1}, "nothing": {"a": 0}, "none": {}}
    metrics = ranking_metrics({"q1": ["x", "a"], "q3": ["a"], "empty": [], "nothing": ["a"], "none": ["a"]}, qrels)
    assert list(metrics) == ["ndcg@10", "recall@10", "recall@100", "mrr@10"]
    assert metrics["mrr@10"].tolist() == [1.0, 0.0, 0.5, 0.0, 0.0, 0.0]
    assert all(column.shape == (6,) and column.dtype == np.float64 for column in metrics.values())


def test_no_ranking_at_all_is_zero() -> None:
    assert ranking_metrics({}, {"q": {"a": 1}})["ndcg@10"].tolist() == [0.0]


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(InputError, match="'other'"):
        ranking_metrics({"other": ["a"]}, {"q": {"a": 1}})
    with pytest.raises(InputError, match="twice"):
        ranking_metrics({"q": ["a", "a"]}, {"q": {"a": 1}})


def test_a_missing_library_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pytrec_eval", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'chimed-rag\[evaluation\]'"):
        ranking_metrics({}, {"q": {"a": 1}})
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    with pytest.raises(MissingExtraError, match="scipy"):
        bootstrap_means({"m": np.array([0.0, 1.0])})


def test_interval_agrees_with_the_normal_approximation() -> None:
    """900 hits of 3,000: mean .3, standard error sqrt(.3 * .7 / 3000), 95 % within 1.96 of them."""
    values = np.array([1.0] * 900 + [0.0] * 2100)
    interval = bootstrap_means({"m": values})["m"]
    half = 1.96 * (0.3 * 0.7 / 3000) ** 0.5
    assert interval.value == pytest.approx(900 / 3000)
    assert (interval.low, interval.high) == pytest.approx((0.3 - half, 0.3 + half), abs=0.1 * half)
    assert bootstrap_means({"m": values})["m"] == interval


def test_columns_are_resampled_together() -> None:
    values = np.array([0.0, 1.0, 1.0, 0.5])
    intervals = bootstrap_means({"one": values, "twice": 2 * values})
    assert intervals["twice"].low == pytest.approx(2 * intervals["one"].low)
    assert intervals["twice"].high == pytest.approx(2 * intervals["one"].high)


def test_intervals_without_spread() -> None:
    for values in ([0.25], [0.25, 0.25, 0.25]):
        interval = bootstrap_means({"m": np.array(values)})["m"]
        assert (interval.value, interval.low, interval.high) == (0.25, 0.25, 0.25)


def test_means_of_nothing_are_refused() -> None:
    for columns in ({}, {"m": np.array([])}, {"m": np.array([1.0]), "o": np.array([1.0, 2.0])}):
        with pytest.raises(InputError, match="one length"):
            bootstrap_means(columns)


def test_percentiles_by_hand() -> None:
    # 21 values 0, 1 … 20: the 95th percentile lies at place 0.95 * 20 = 19.
    found = percentiles([float(i) for i in reversed(range(21))])
    assert (found.p50, found.p95) == pytest.approx((10.0, 19.0))
    with pytest.raises(InputError):
        percentiles([])
