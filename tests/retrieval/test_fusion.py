from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimed_rag.errors import InputError
from chimed_rag.retrieval.fusion import UNFOUND, cosine_fusion, reciprocal_rank_fusion, weighted_fusion

DENSE = [("a", 0.9), ("b", 0.7), ("c", 0.5)]
LEXICAL = [("d", 12.0), ("c", 9.0), ("a", 3.0)]
rankings_of_keys = st.dictionaries(
    st.sampled_from(["dense", "lexical", "other"]),
    st.lists(st.sampled_from("abcdefgh"), unique=True),
    min_size=1,
)


def test_rrf_by_hand() -> None:
    assert reciprocal_rank_fusion({"dense": DENSE, "lexical": LEXICAL}) == [
        ("a", 1 / (60 + 1) + 1 / (60 + 3)),
        ("c", 1 / (60 + 3) + 1 / (60 + 2)),
        ("d", 1 / (60 + 1)),
        ("b", 1 / (60 + 2)),
    ]


def test_rrf_weights_and_k_by_hand() -> None:
    fused = reciprocal_rank_fusion({"dense": DENSE, "lexical": LEXICAL}, k=1, weights={"dense": 0.25, "lexical": 2.0})
    assert fused == [
        ("d", 2 / (1 + 1)),
        ("c", 0.25 / (1 + 3) + 2 / (1 + 2)),
        ("a", 0.25 / (1 + 1) + 2 / (1 + 3)),
        ("b", 0.25 / (1 + 2)),
    ]


def test_rrf_reads_ranks_and_not_scores() -> None:
    assert reciprocal_rank_fusion({"r": [("x", -5.0), ("y", 100.0)]}) == [("x", 1 / 61), ("y", 1 / 62)]


def test_equal_ranks_tie_exactly_and_are_ordered_by_key() -> None:
    # Each key holds the ranks 1, 2 and 3 once; added in another order, floats would differ in the last place.
    lists = {"one": "abc", "two": "bca", "three": "cab"}
    for order in permutations(lists):
        fused = reciprocal_rank_fusion({name: [(key, 0.0) for key in lists[name]] for name in order})
        assert [key for key, _ in fused] == ["a", "b", "c"]
        assert len({score for _, score in fused}) == 1


@given(rankings_of_keys)
def test_rrf_keeps_every_key_once_in_order_whatever_the_order_of_the_mapping(lists: dict[str, list[str]]) -> None:
    rankings = {name: [(key, 0.0) for key in keys] for name, keys in lists.items()}
    fused = reciprocal_rank_fusion(rankings)
    assert {key for key, _ in fused} == {key for keys in lists.values() for key in keys}
    assert fused == sorted(dict(fused).items(), key=lambda hit: (-hit[1], hit[0]))
    assert fused == reciprocal_rank_fusion(dict(reversed(rankings.items())))


def test_nothing_in_nothing_out() -> None:
    assert reciprocal_rank_fusion({}) == []
    assert reciprocal_rank_fusion({"dense": [], "lexical": []}) == []
    assert weighted_fusion({"dense": []}, {"dense": 1.0}) == []


def test_minmax_by_hand() -> None:
    fused = weighted_fusion({"dense": DENSE, "lexical": LEXICAL}, {"dense": 0.6, "lexical": 0.4})
    expected = {
        "a": 0.6 * 1 + 0.4 * 0,
        "b": 0.6 * (0.7 - 0.5) / (0.9 - 0.5),
        "c": 0.6 * 0 + 0.4 * (9 - 3) / (12 - 3),
        "d": 0.4 * 1,
    }
    assert dict(fused) == pytest.approx(expected)
    assert [key for key, _ in fused] == ["a", "d", "b", "c"]


def test_theoretical_minima_by_hand() -> None:
    """TM2C2: BM25 cannot fall below 0, a cosine not below -1."""
    fused = weighted_fusion(
        {"dense": DENSE, "lexical": LEXICAL},
        {"dense": 0.6, "lexical": 0.4},
        "theoretical",
        {"dense": -1.0, "lexical": 0.0},
    )
    expected = {
        "a": 0.6 * (0.9 + 1) / (0.9 + 1) + 0.4 * 3 / 12,
        "b": 0.6 * (0.7 + 1) / (0.9 + 1),
        "c": 0.6 * (0.5 + 1) / (0.9 + 1) + 0.4 * 9 / 12,
        "d": 0.4 * 12 / 12,
    }
    assert dict(fused) == pytest.approx(expected)
    assert [key for key, _ in fused] == ["c", "a", "b", "d"]


def test_equal_scores_are_all_the_best_of_their_list_under_minmax() -> None:
    hits = [("y", 2.0), ("x", 2.0)]
    assert weighted_fusion({"r": hits}, {"r": 0.5}) == [("x", 0.5), ("y", 0.5)]
    assert weighted_fusion({"r": hits}, {"r": 0.5}, "theoretical", {"r": 2.0}) == [("x", 0.0), ("y", 0.0)]


def test_a_score_below_the_theoretical_minimum_counts_as_it() -> None:
    assert weighted_fusion({"r": [("x", 1.0), ("y", -0.5)]}, {"r": 1.0}, "theoretical", {"r": 0.0}) == [
        ("x", 1.0),
        ("y", 0.0),
    ]


def test_what_cannot_be_used_is_refused() -> None:
    with pytest.raises(InputError, match="k must"):
        reciprocal_rank_fusion({"r": DENSE}, k=-1)
    with pytest.raises(InputError, match="weights are for"):
        reciprocal_rank_fusion({"r": DENSE}, weights={"q": 1.0})
    with pytest.raises(InputError, match="at least 0"):
        reciprocal_rank_fusion({"r": DENSE}, weights={"r": -1.0})
    with pytest.raises(InputError, match="r ranks a key twice"):
        reciprocal_rank_fusion({"r": [("x", 1.0), ("x", 0.5)]})
    with pytest.raises(InputError, match="not finite"):
        weighted_fusion({"r": [("x", float("nan"))]}, {"r": 1.0})
    with pytest.raises(InputError, match="least score of each of: r"):
        weighted_fusion({"r": DENSE}, {"r": 1.0}, "theoretical")
    with pytest.raises(InputError, match="there are: minmax, theoretical"):
        weighted_fusion({"r": DENSE}, {"r": 1.0}, "softmax")  # type: ignore[arg-type]


def test_cosine_fusion_adds_the_share_of_the_best_bm25_and_the_weighted_cosine() -> None:
    fused = dict(cosine_fusion([("a", 8.0), ("b", 4.0)], [("c", 0.9), ("a", 0.5), ("b", -0.1)], 2.0, full=False))
    assert fused == pytest.approx({"a": 8 / 8 + 2 * 0.5, "b": 4 / 8 - 2 * 0.1, "c": 2 * 0.9})


def test_what_a_full_lexical_list_does_not_hold_may_have_scored_almost_its_last() -> None:
    fused = dict(cosine_fusion([("a", 8.0), ("b", 4.0)], [("c", 0.9)], 1.0, full=True))
    assert fused["c"] == pytest.approx(0.9 + UNFOUND * 4 / 8)
    assert fused["b"] == pytest.approx(0.5)  # no cosine was given: it counts as 0


def test_cosine_fusion_adds_gains() -> None:
    lists = [("a", 8.0), ("b", 4.0)], [("c", 0.9), ("a", 0.5), ("b", -0.1)]
    fused = dict(cosine_fusion(*lists, 2.0, full=False, gains={"b": 0.25, "c": 0.5}))
    assert fused == pytest.approx({"a": 2.0, "b": 0.3 + 0.25, "c": 1.8 + 0.5})


def test_cosine_fusion_does_without_either_list() -> None:
    assert cosine_fusion([], [("a", 0.5)], 2.0, full=False) == [("a", 1.0)]
    assert cosine_fusion([("a", 3.0), ("b", 3.0)], [], 2.0, full=False) == [("a", 1.0), ("b", 1.0)]
    with pytest.raises(InputError, match="finite"):
        cosine_fusion([("a", float("nan"))], [("a", 1.0)], 1.0, full=False)
