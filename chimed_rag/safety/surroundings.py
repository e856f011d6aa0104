"""What stands around a word, and how alike two surroundings are.

What is covered: characters of matter and measures, left, right and in the clause. What is not covered: syntax.
Tried: two empty sides as half alike, not wholly; a lost restriction was then no longer seen.
"""

from __future__ import annotations

from typing import NamedTuple


class Context(NamedTuple):
    """What stands around a place: the characters of matter left and right of it, the nearest on the left again, and
    those of its whole clause; measures count as characters."""

    near: frozenset[str]
    left: frozenset[str]
    right: frozenset[str]
    clause: frozenset[str]


def likeness(one: Context, other: Context) -> float:
    """How alike two surroundings are, 0 to 1: a weighted mean of Dice's coefficients; a measure counts as three."""
    return (
        0.3 * _dice(one.near, other.near)
        + 0.25 * _dice(one.left, other.left)
        + 0.1 * _dice(one.right, other.right)
        + 0.35 * _dice(one.clause, other.clause)
    )


def _dice(one: frozenset[str], other: frozenset[str]) -> float:
    if not one and not other:
        return 1.0
    return 2 * weight(one & other) / (weight(one) + weight(other))


def weight(chars: frozenset[str]) -> int:
    """How much characters tell: one each, a measure three."""
    return len(chars) + 2 * sum("\ue000" <= char < "\uf900" for char in chars)
