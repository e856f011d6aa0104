"""Mixing by shares: the exact numbers, nothing read twice, the same mixture again."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimed_rag.errors import ConfigError, InputError
from training.mixing import draw, mix

Row = tuple[str, int, int]
"""Source, number, size."""


def made(name: str, rows: int, size: int) -> list[Row]:
    return [(name, n, size) for n in range(rows)]


def mixed(*sources: list[Row], shares: list[float | None], **asked: Any) -> Any:
    return mix(sources, shares, count=lambda row: row[2], **{"seed": 1, **asked})


def test_shares_are_of_tokens_not_of_rows() -> None:
    mixture = mixed(made("long", 100, 50), made("short", 1000, 5), shares=[0.75, 0.25], tokens=4000)
    assert [(part.wanted, part.taken, part.rows) for part in mixture.parts] == [(3000, 3000, 60), (1000, 1000, 200)]
    assert len(mixture.rows) == 260 and len(mixture.left) == 840
    assert len(set(mixture.rows)) == 260  # nothing twice
    assert not set(mixture.rows) & set(mixture.left)


def test_the_order_is_drawn_by_the_seed() -> None:
    sources = [made("a", 50, 1), made("b", 50, 1)]
    one = mixed(*sources, shares=[0.5, 0.5], tokens=40).rows
    assert one == mixed(*sources, shares=[0.5, 0.5], tokens=40).rows
    assert one != mixed(*sources, shares=[0.5, 0.5], tokens=40, seed=2).rows
    assert {name for name, *_ in one[:20]} == {"a", "b"}


def test_without_a_number_the_scarcest_source_decides() -> None:
    # .2 of the whole is 100, so the whole is 500
    mixture = mixed(made("scarce", 10, 10), made("plenty", 1000, 10), shares=[0.2, 0.8])
    assert [part.taken for part in mixture.parts] == [100, 400]


def test_a_pool_without_share_is_taken_whole_and_sizes_the_others() -> None:
    # 300 + 600 are .9 of the whole, so the whole is 1,000 and "c" gives 100
    mixture = mixed(made("a", 30, 10), made("b", 60, 10), made("c", 99, 10), shares=[None, None, 0.1], seed=3)
    assert [part.taken for part in mixture.parts] == [100, 900]
    assert {row[0] for row in mixture.left} == {"c"}
    # with a number, the pool fills what is left, from all its sources alike
    few = mixed(made("a", 30, 10), made("b", 60, 10), made("c", 99, 10), shares=[None, None, 0.1], tokens=500)
    assert [part.taken for part in few.parts] == [50, 450]
    assert {row[0] for row in few.rows} == {"a", "b", "c"}


def test_a_source_that_is_too_small_is_an_error_with_numbers() -> None:
    with pytest.raises(InputError) as caught:
        mixed(made("a", 10, 10), made("b", 90, 10), shares=[0.5, 0.5], tokens=400, names=["a.jsonl", "b.jsonl"])
    assert str(caught.value) == (
        "a.jsonl: 200 tokens asked for (0.5 of 400), 100 are there; no row is repeated. Ask for at most 200 "
        "in all, or for a share of at most 0.2500"
    )
    with pytest.raises(InputError, match="a: no row is left to mix"):
        mixed([], made("b", 9, 10), shares=[0.5, 0.5], names=["a", "b"])
    with pytest.raises(InputError, match="b: 300 rows asked for"):
        mixed(made("a", 10, 10), made("b", 9, 10), shares=[None, 0.75], names=["a", "b"], unit="rows")


@pytest.mark.parametrize(
    ("shares", "message"),
    [([0.5, 0.4], "add up to 0.9; they have to make 1"), ([0.7, 0.7], "1.4"), ([1.0, None], "less than 1")],
)
def test_shares_that_make_no_whole(shares: list[float | None], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        mixed(made("a", 10, 1), made("b", 10, 1), shares=shares)


def test_a_share_is_exact_to_a_thousandth_with_rows_of_real_lengths() -> None:
    chance = random.Random(0)
    sources = [[(name, n, int(chance.lognormvariate(5, 1))) for n in range(3000)] for name in "abc"]
    mixture = mixed(*sources, shares=[0.6, 0.3, 0.1], tokens=200_000)
    whole = sum(part.taken for part in mixture.parts)
    assert [round(part.taken / whole, 3) for part in mixture.parts] == [0.6, 0.3, 0.1]


@settings(max_examples=200, deadline=None)
@given(sizes=st.lists(st.integers(1, 60), min_size=1, max_size=40), wanted=st.integers(1, 500), seed=st.integers(0, 9))
def test_a_draw_misses_by_half_a_row_at_most(sizes: list[int], wanted: int, seed: int) -> None:
    chosen = draw(sizes, wanted, random.Random(seed))
    taken = sum(sizes[n] for n in chosen)
    if sum(sizes) <= wanted:
        assert len(chosen) == len(sizes)
    else:
        assert abs(taken - wanted) <= max(sizes) / 2
