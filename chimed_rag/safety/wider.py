"""Classes and their members: 沙丁胺醇 where the literature says SABA, 抗生素 where it says 头孢曲松.

What is covered: the classes of drugs in `drug_classes.tsv`, which the literature may name by the class or by members.
A member is covered by its class only while the literature names no other member there: one of two that it tells apart
stands for itself. What is not covered: what holds of one member and not of its class.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
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


def is_member_or_class(name: str, following: str, sources: Sequence[Reading]) -> bool:
    """Whether the literature names the class of a drug, or a member of a class.

    Args:
        name: as the sentence has it.
        following: what stands after it there; after 等 or 一类 it is an example, and others may be named as well.
        sources: the window of the literature.
    """
    for one in _classes():
        member, called = one.members.search(name), one.called.search(name)
        if called and not member and any(one.members.search(reading.norm) for reading in sources):
            return True
        if member and any(one.called.search(_outside(name, reading.norm)) for reading in sources):
            if _SUCH.match(following) or not any(one.members.search(reading.norm) for reading in sources):
                return True
    return False


def _outside(name: str, text: str) -> str:
    return text.replace(name, " ")
