"""Names in a text, by a list: the longest one at each place, under its main name.

Covered: other names of the same thing, and longer words that hold a name and mean something else (甘草酸 is no 甘草).
Not covered: names that are not on the list, typing errors, and what a name refers to in its sentence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from chimed_rag.text import fold

_HIDDEN = re.compile(
    r"[\u00ad\u200b-\u200f\u2060\ufeff]+|(?<![!-~\s])[ \t\u00a0\u3000]+(?![!-~\s])"  # blanks between Latin words stay
)


def plain(text: str) -> str:
    """A text as rules read it: folded, without invisible characters and without blanks between Chinese characters."""
    return _HIDDEN.sub("", fold(text))


_SURROGATE = re.compile("[\ud800-\udfff]")


class Found(NamedTuple):
    """A name in a text: the main name of what is meant, and where it stands there (characters, half-open)."""

    name: str
    start: int
    end: int


class Names:
    """Finds names in time linear in the text; words of Latin letters and digits only as a whole.

    Args:
        words: what is written (folded), and the main name of what it means; an empty main name hides what it holds.
    """

    def __init__(self, words: Mapping[str, str]) -> None:
        from ahocorasick_rs import AhoCorasick, MatchKind

        self._words = list(words)
        self._names = list(words.values())
        self._search = AhoCorasick(self._words, matchkind=MatchKind.LeftmostLongest) if self._words else None

    def find(self, folded: str) -> list[Found]:
        """The names of a folded text, in order, not overlapping."""
        if self._search is None:
            return []
        folded = _SURROGATE.sub("\ufffd", folded)  # the search takes UTF-8, which has no half of a pair
        return [
            Found(self._names[which], start, end)
            for which, start, end in self._search.find_matches_as_indexes(folded)
            if self._names[which] and not (_splits(folded, start) or _splits(folded, end))
        ]


def _splits(text: str, place: int) -> bool:
    """Whether a word of Latin letters and digits runs across this place."""
    if not 0 < place < len(text):
        return False
    before, after = text[place - 1], text[place]
    return before.isascii() and after.isascii() and before.isalnum() and after.isalnum()


def words(entries: Iterable[tuple[str, str, str]]) -> dict[str, str]:
    """What `Names` takes, of (main name, other names by blanks, words that mean something else by blanks)."""
    found: dict[str, str] = {}
    for name, others, hidden in entries:
        for word in (name, *others.split()):
            found.setdefault(fold(word), name)
        for word in hidden.split():
            found[fold(word)] = ""
    return found
