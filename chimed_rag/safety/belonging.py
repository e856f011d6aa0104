"""Whose a number is: in a list of things with their values, the value of one must not be told of another.

What is covered: a drug, a herb, a germ or a disease that the literature names before its values (普鲁卡因维持30～45min;
布比卡因维持5～10h); names that are told together (甲、乙各10mg) share what follows. What is not covered: pronouns,
things that are told by other words than their names, and phases of one treatment.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from chimed_rag.safety.conversion import Measure, agree, comparable

if TYPE_CHECKING:
    from chimed_rag.safety.reading import Reading

_KINDS = ("drug", "herb", "germ")
_ITEM_ENDS = frozenset("。；！？;!?\n")


def is_of_another(sentence: Reading, measure: Measure, place: int, literature: Callable[[], Sequence[Reading]]) -> bool:
    """Whether all places where the literature has a value say it of another thing than the sentence does.

    Args:
        sentence: what is said.
        measure: the value.
        place: of the value, in the norm of the sentence.
        literature: all its sentences, asked for where the sentence names something.
    """
    everywhere = {token.canonical for token in sentence.tokens}
    for kind in _KINDS:
        if mine := _named(sentence, place, kind):
            readings = literature()
            places = [(reading, at) for reading in readings for one, at, _ in reading.measures if agree(measure, one)]
            if places and all((others := _named(*one, kind)) and not others & everywhere for one in places):
                return any(_has_its_own(reading, measure, mine, kind) for reading in readings)
    return False


def _named(reading: Reading, place: int, kind: str) -> set[str]:
    """The names of a kind that stand before a place in its item of a list."""
    low = max((reading.norm.rfind(end, 0, place) for end in _ITEM_ENDS), default=-1) + 1
    return {
        token.canonical for token in reading.tokens if token.kind == kind and low <= token.start and token.end <= place
    }


def _has_its_own(reading: Reading, measure: Measure, names: set[str], kind: str) -> bool:
    """Whether a text says a value of the same sort of one of the names."""
    return any(
        comparable(measure, other) and names & _named(reading, place, kind) for other, place, _ in reading.measures
    )
