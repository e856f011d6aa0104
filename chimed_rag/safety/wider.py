"""Classes and their members: 沙丁胺醇 where the literature says SABA, 抗生素 where it says 头孢曲松.

What is covered: the classes of drugs in `drug_classes.tsv`, which the literature may name by the class or by members.
A member is covered by its class only while the literature names no other member there: one of two that it tells apart
stands for itself. What is not covered: what holds of one member and not of its class.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import NamedTuple

from chimed_rag.packaged import rows
from chimed_rag.safety.alignment import read
from chimed_rag.safety.reading import Reading

_TABLE = "drug_classes.tsv"
_SUCH = re.compile("(?:等|之类|一类|这类|这样|那样|[^，。；]{0,4}类)")


class _Class(NamedTuple):
    """The names of a class and of its members, as `Reading.norm` has them and as they are written."""

    called: tuple[str, ...]
    members: tuple[str, ...]


@cache
def _classes() -> list[_Class]:
    return [_Class(_forms(called), _forms(members)) for called, members in rows("chimed_rag.safety", _TABLE)]


def _forms(words: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(form for word in words.split() for form in (word, read(word).norm)))


def _has(text: str, words: Sequence[str]) -> bool:
    return any(word in text for word in words)


def is_member_or_class(name: str, following: str, sources: Sequence[Reading], context: Sequence[Reading] = ()) -> bool:
    """Whether the literature names the class of a drug, or a member of a class.

    Args:
        name: as the sentence has it.
        following: what stands after it there; after 等 or 一类 it is an example, and others may be named as well.
        sources: the window of the literature.
        context: title and headings, which may name the class.
    """
    return any(_tells(one, is_member, name, following, sources, context) for one, is_member in _classes_of(name))


@lru_cache(maxsize=1024)
def _classes_of(name: str) -> list[tuple[_Class, bool]]:
    """The classes that a name tells of, and whether it names a member."""
    found = ((one, _has(name, one.members)) for one in _classes())
    return [(one, is_member) for one, is_member in found if is_member or _has(name, one.called)]


def _tells(
    one: _Class, is_member: bool, name: str, following: str, sources: Sequence[Reading], context: Sequence[Reading]
) -> bool:
    has_members = any(_has(reading.norm, one.members) for reading in sources)
    if not is_member:
        return has_members
    if has_members and not _SUCH.match(following):
        return False
    return any(_has(reading.norm.replace(name, " "), one.called) for reading in (*sources, *context))
