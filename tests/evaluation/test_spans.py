"""Counts of spans: by hand, by seqeval and nervaluate to 1e-6, nested, empty, repeated, in any order."""

from __future__ import annotations

import random
import sys
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimed_rag.errors import InputError
from chimed_rag.evaluation.metrics.spans import (
    SCHEMES,
    Counts,
    Place,
    iob2,
    micro,
    schemes,
    seqeval_strict,
    strict_counts,
)

with_nervaluate = pytest.mark.skipif(sys.version_info < (3, 11), reason="nervaluate needs Python 3.11")
DRUG, SITE = "药物", "部位"
LENGTH = 12


def value(counts: list[Counts], metric: str = "f1") -> float:
    return micro(counts)[metric].value


def test_by_hand() -> None:
    # Document 1: of two marked, one is found, one has a wrong end, one is invented; document 2: one missed.
    one = strict_counts(
        [Place(DRUG, 0, 3), Place(SITE, 4, 6)], [Place(DRUG, 0, 3), Place(SITE, 4, 5), Place(SITE, 8, 9)]
    )
    two = strict_counts([Place(SITE, 0, 1)], [])
    assert (one, two) == (Counts(1, 2, 1), Counts(0, 0, 1))
    found = micro([one, two])
    assert found["precision"].value == pytest.approx(1 / 3)
    assert found["recall"].value == pytest.approx(1 / 3)
    assert found["f1"].value == pytest.approx(2 / (2 + 2 + 2))
    assert found["f1"].low <= found["f1"].value <= found["f1"].high


def test_a_right_place_of_a_wrong_type_is_wrong_and_missed() -> None:
    assert strict_counts([Place(DRUG, 0, 2)], [Place(SITE, 0, 2)]) == Counts(0, 1, 1)


def test_what_is_said_twice_counts_once() -> None:
    assert strict_counts([Place(DRUG, 0, 2)] * 2, [Place(DRUG, 0, 2)] * 3) == Counts(1, 0, 0)


@with_nervaluate
def test_nothing_marked_and_nothing_found_is_zero_not_an_error() -> None:
    assert value([strict_counts([], [])]) == 0
    assert schemes([[]], [[]]) == {name: [Counts(0, 0, 0)] for name in SCHEMES}


def test_groups_are_resampled_as_one() -> None:
    counts = [Counts(1, 0, 0), Counts(0, 1, 1)] * 4
    alone, together = micro(counts), micro(counts, ["a", "a", "b", "b", "c", "c", "d", "d"])
    assert alone["f1"].value == together["f1"].value == 0.5
    assert together["f1"].low == together["f1"].high == 0.5
    assert alone["f1"].low < 0.5 < alone["f1"].high


@with_nervaluate
def test_nervaluates_schemes_by_hand() -> None:
    gold, found = [[Place(DRUG, 0, 4), Place(SITE, 6, 8)]], [[Place(DRUG, 0, 3), Place(DRUG, 6, 8)]]
    made = schemes(gold, found)
    assert {name: value(made[name]) for name in SCHEMES} == {"strict": 0, "exact": 0.5, "partial": 0.75, "type": 0.5}


@with_nervaluate
def test_neighbours_do_not_overlap_in_nervaluate() -> None:
    assert schemes([[Place(DRUG, 0, 2)]], [[Place(DRUG, 2, 4)]])["partial"] == [Counts(0, 1, 1)]


@with_nervaluate
def test_nested_spans_are_counted_whatever_their_order() -> None:
    gold = [Place(DRUG, 0, 8), Place(SITE, 2, 6)]
    found = [Place(SITE, 2, 7), Place(SITE, 2, 6), Place(DRUG, 0, 8)]
    for seed in range(4):
        shuffled = random.Random(seed).sample(found, len(found))
        assert strict_counts(gold, shuffled) == Counts(2, 1, 0)
        assert schemes([gold], [shuffled])["strict"] == [Counts(2, 1, 0)]
    with pytest.raises(InputError, match="overlaps another"):
        iob2(gold, LENGTH)


def test_tags() -> None:
    assert iob2([Place(SITE, 3, 4), Place(SITE, 1, 3)], 5) == ["O", "B-部位", "I-部位", "B-部位", "O"]
    with pytest.raises(InputError, match="from 4 to 6 of 5"):
        iob2([Place(SITE, 4, 6)], 5)


@st.composite
def flat(draw: st.DrawFn) -> list[Place]:
    """Spans that do not overlap."""
    ends = sorted(draw(st.sets(st.integers(0, LENGTH), max_size=8)))
    kinds = draw(st.lists(st.sampled_from([DRUG, SITE, ""]), min_size=len(ends), max_size=len(ends)))
    return [Place(kind, *pair) for kind, pair in zip(kinds, pairwise(ends), strict=False) if kind]


@with_nervaluate
@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(flat(), flat()), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_seqeval_and_nervaluate_agree_on_flat_spans(
    pairs: list[tuple[list[Place], list[Place]]], any_: random.Random
) -> None:
    gold, found = [list(one) for one, _ in pairs], [any_.sample(other, len(other)) for _, other in pairs]
    ours = [strict_counts(one, other) for one, other in zip(gold, found, strict=True)]
    summed = Counts(*map(sum, zip(*ours, strict=True)))
    for name, said in seqeval_strict(gold, found, [LENGTH] * len(pairs)).items():
        below = {"f1": (2 * summed.tp + summed.fp + summed.fn) / 2, "precision": summed.tp + summed.fp}
        expected = summed.tp / below.get(name, summed.tp + summed.fn) if summed.tp else 0
        assert said == pytest.approx(expected, abs=1e-6)
    assert schemes(gold, found)["strict"] == ours
    assert micro(ours)["f1"].value == pytest.approx(micro(ours[::-1])["f1"].value, abs=1e-12)
