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
    called: re.Pattern[str]
    members: re.Pattern[str]


@cache
def _classes() -> list[_Class]:
    return [_Class(_any(called), _any(members)) for called, members in rows("chimed_rag.safety", _TABLE)]


def _any(words: str) -> re.Pattern[str]:
    """Any of the words, as `Reading.norm` has them and as they are written."""
    known = {form for word in words.split() for form in (word, read(word).norm)}
    return re.compile("|".join(map(re.escape, sorted(known, key=lambda word: (-len(word), word)))))


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
    found = ((one, bool(one.members.search(name))) for one in _classes())
    return [(one, is_member) for one, is_member in found if is_member or one.called.search(name)]


def _tells(
    one: _Class, is_member: bool, name: str, following: str, sources: Sequence[Reading], context: Sequence[Reading]
) -> bool:
    has_members = any(one.members.search(reading.norm) for reading in sources)
    if not is_member:
        return has_members
    if has_members and not _SUCH.match(following):
        return False
    return any(one.called.search(reading.norm.replace(name, " ")) for reading in (*sources, *context))
