"""Rows of several sources are mixed by exact shares of their tokens.

A source gives what its share asks, drawn by chance without repetition. Its last row is the one that comes nearest to
what is still missing: what it gives may be more or less than asked, by at most half a row. Nothing is cut. A source
that is too small is an error, never read twice in silence: whoever wants to see rows again sets more epochs.
Not covered: curricula; everything is in one order drawn by chance.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from chimed_rag.errors import ConfigError, InputError

T = TypeVar("T")
_SLACK = 1e-6


class Part(NamedTuple):
    """What one source, or all sources without a share together, gives to a mixture; in tokens, but for `rows`."""

    name: str
    share: float
    available: int
    wanted: int
    taken: int
    rows: int


class Mixture(NamedTuple, Generic[T]):
    """The rows of a mixture in their order, those that were left over, and a part a source."""

    rows: list[T]
    left: list[T]
    parts: list[Part]


def mix(
    sources: Sequence[Sequence[T]],
    shares: Sequence[float | None],
    *,
    tokens: int | None = None,
    count: Callable[[T], int] = lambda _: 1,
    seed: int,
    names: Sequence[str] | None = None,
    unit: str = "tokens",
) -> Mixture[T]:
    """Draws rows so that each source makes up its share of all tokens.

    Args:
        sources: rows of each.
        shares: of each, or None; those with None form one pool that fills what the others leave.
        tokens: of the whole mixture. If left out: the pool is taken whole and the others are sized by it; without a
            pool, as much as the scarcest source allows.
        count: tokens of a row.
        seed: of draws and order.
        names: of the sources, for errors.
        unit: what is counted, for errors.

    Raises:
        ConfigError: the shares do not make up a whole.
        InputError: a source is empty, or has less than its share asks for; says how much it has.
    """
    names = names or [f"source {n}" for n in range(len(sources))]
    members = [[n] for n, share in enumerate(shares) if share is not None]
    asked = [share for share in shares if share is not None]
    if pool := [n for n, share in enumerate(shares) if share is None]:
        members.append(pool)
    rest = _rest(asked, bool(pool))
    asked += [rest] * bool(pool)
    rows = [[row for n in group for row in sources[n]] for group in members]
    sizes = [[count(row) for row in group] for group in rows]
    available = [sum(group) for group in sizes]
    titles = [" and ".join(names[n] for n in group) for group in members]
    if empty := [title for title, size in zip(titles, available, strict=True) if not size]:
        raise InputError(f"{empty[0]}: no row is left to mix; leave it out, or look at why its rows were dropped")
    whole = bool(pool) and tokens is None
    if tokens is None:
        limits = [size / share for size, share in zip(available, asked, strict=True)]
        tokens = round(limits[-1]) if pool else int(min(limits) + _SLACK)
    mixture: Mixture[T] = Mixture([], [], [])
    for g, share in enumerate(asked):
        wanted = available[g] if whole and g == len(asked) - 1 else round(share * tokens)
        if wanted > available[g]:
            raise InputError(
                f"{titles[g]}: {wanted:,} {unit} asked for ({share:.4g} of {tokens:,}), {available[g]:,} are there; "
                f"no row is repeated. Ask for at most {int(available[g] / share):,} in all, or for a share of at "
                f"most {available[g] / tokens:.4f}"
            )
        chosen = draw(sizes[g], wanted, random.Random(f"{seed} {g}"))  # noqa: S311
        for n, row in enumerate(rows[g]):
            (mixture.rows if n in chosen else mixture.left).append(row)
        taken = sum(sizes[g][n] for n in chosen)
        mixture.parts.append(Part(titles[g], share, available[g], wanted, taken, len(chosen)))
    random.Random(seed).shuffle(mixture.rows)  # noqa: S311
    return mixture


def draw(sizes: Sequence[int], wanted: int, chance: random.Random) -> set[int]:
    """Places of rows, drawn by chance, whose sizes add up to what is wanted as nearly as one last row can make it."""
    order = list(range(len(sizes)))
    chance.shuffle(order)
    chosen: set[int] = set()
    missing = wanted
    for place, n in enumerate(order):
        if sizes[n] > missing:
            last = min(order[place:], key=lambda m: abs(missing - sizes[m]))
            if abs(missing - sizes[last]) < missing:
                chosen.add(last)
            break
        chosen.add(n)
        missing -= sizes[n]
    return chosen


def _rest(shares: Sequence[float], pool: bool) -> float:
    rest = 1 - sum(shares)
    if rest < -_SLACK or (pool and rest < _SLACK) or (not pool and rest > _SLACK):
        wish = "less than 1, so that something is left for the sources without a share" if pool else "1"
        raise ConfigError(f"data.sources: the shares add up to {sum(shares):.4g}; they have to make {wish}")
    return rest
