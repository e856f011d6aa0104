"""The filter language: `{"department": "心内科", "year": {"$gte": 2020}}` becomes a tree that both searches apply.

Operators: `$eq $ne $in $nin $gt $gte $lt $lte $exists` on a key, `$and $or $not` around conditions; several keys, or
several operators on one key, must all hold. Keys are metadata keys, `title`, `source`, `date`, `licence`, `id`.
A condition holds for a list if it holds for one of its items; `$ne`, `$nin` and `$not` also hold where the key is
missing; strings compare with strings, numbers with numbers. Not covered: regular expressions and nested objects.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from chimed_rag.errors import InputError
from chimed_rag.indexing.segment import Scalar, scalars

Filter = Mapping[str, Any]
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "$gt": operator.gt, "$gte": operator.ge, "$lt": operator.lt, "$lte": operator.le,
}  # fmt: skip


@dataclass(frozen=True)
class Condition:
    """One of the values of `key` satisfies `test`; `values` lists them when they are known beforehand."""

    key: str
    values: tuple[Scalar, ...] | None
    test: Callable[[Scalar], bool]


@dataclass(frozen=True)
class All:
    """Every part holds."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Either:
    """At least one part holds."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Not:
    """The part does not hold."""

    part: Node


Node = Condition | All | Either | Not


def parse(condition: Filter) -> Node:
    """The tree of a filter.

    Raises:
        InputError: an unknown operator, or a value that cannot be compared; the message shows the part and the
            operators there are.
    """
    if not isinstance(condition, Mapping):
        raise InputError(f"a filter is a mapping such as {{'department': '心内科'}}, not {condition!r}")
    parts: list[Node] = []
    for key, value in condition.items():
        if not isinstance(key, str):
            raise InputError(f"filter: keys are text, not {key!r}")
        if key in ("$and", "$or"):
            if not isinstance(value, list | tuple) or not value:
                raise InputError(f"filter: {key} takes a non-empty list of filters, not {value!r}")
            parts.append((All if key == "$and" else Either)(tuple(_part(key, part) for part in value)))
        elif key == "$not":
            parts.append(Not(_part(key, value)))
        elif key.startswith("$"):
            raise InputError(f"filter: unknown operator {key!r}; around conditions there are: $and, $or, $not")
        elif isinstance(value, Mapping):
            if not value:
                raise InputError(
                    f"filter: {key} has no condition; write {{{key!r}: 'value'}} or {{{key!r}: {{'$gte': 1}}}}"
                )
            parts.extend(_operator(key, name, operand) for name, operand in value.items())
        else:
            parts.append(_operator(key, "$in" if isinstance(value, list | tuple) else "$eq", value))
    return parts[0] if len(parts) == 1 else All(tuple(parts))


def _part(key: str, part: Any) -> Node:
    # An empty part holds for everything: in a deletion that would be a catastrophe, so it must be an oversight.
    if isinstance(part, Mapping) and not part:
        raise InputError(f"filter: {key} holds an empty filter; leave it out")
    return parse(part)


def _operator(key: str, name: str, operand: Any) -> Node:
    if name == "$exists":
        present = Condition(key, None, lambda value: True)
        return present if operand else Not(present)
    values = tuple(scalars(operand))
    if name in ("$eq", "$ne", "$in", "$nin"):
        if name in ("$in", "$nin") and not isinstance(operand, list | tuple):
            raise InputError(f"filter: {key} {name} takes a list, not {operand!r}")
        if not values and operand not in ([], ()):
            raise InputError(f"filter: {key} {name}: {operand!r} cannot be compared; use text, numbers, or $exists")
        node = Condition(key, values, lambda value: value in values)
        return node if name in ("$eq", "$in") else Not(node)
    if name not in _COMPARE:
        raise InputError(
            f"filter: unknown operator {name!r} on {key!r}; there are: "
            f"{', '.join(['$eq', '$ne', '$in', '$nin', *_COMPARE, '$exists'])}"
        )
    if len(values) != 1 or isinstance(operand, list | tuple):
        raise InputError(f"filter: {key} {name} takes one text or number, not {operand!r}")
    bound, compare = values[0], _COMPARE[name]
    textual = isinstance(bound, str)
    return Condition(key, None, lambda value: isinstance(value, str) == textual and compare(value, bound))
