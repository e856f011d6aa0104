"""Tables of expressions and what is looked for in their place: two columns, tab-separated, beside this module.

Not covered: which table is used when (`rewriting`); words whose meaning hangs on what was said before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

from chimed_rag import packaged
from chimed_rag.text import fold

Change = tuple[str, str]
"""(what was said, what is looked for instead)."""


class Table:
    """Replaces expressions, the longest first at each place; words of Latin letters and digits only as a whole."""

    def __init__(self, words: Mapping[str, str]) -> None:
        self.words = dict(words)
        lengths: dict[str, set[int]] = {}
        for said in self.words:
            lengths.setdefault(said[0], set()).add(len(said))
        # of the expressions that begin with a character, longest first
        self._lengths = {first: sorted(found, reverse=True) for first, found in lengths.items()}

    def apply(self, text: str) -> tuple[str, list[Change]]:
        """The folded text with every expression replaced, and what was replaced by what, in order."""
        pieces: list[str] = []
        changes: list[Change] = []
        place = kept = 0
        while place < len(text):
            for length in self._lengths.get(text[place], ()):
                end = place + length
                said = text[place:end]
                meant = self.words.get(said)
                if meant is not None and not (_splits_word(text, place) or _splits_word(text, end)):
                    pieces += (text[kept:place], meant)
                    changes.append((said, meant))
                    place = kept = end
                    break
            else:
                place += 1
        return ("".join((*pieces, text[kept:])), changes) if changes else (text, changes)


def _splits_word(text: str, place: int) -> bool:
    """Whether a word of Latin letters and digits runs across this place: "ra" is not said in "rate"."""
    return 0 < place < len(text) and _is_latin(text[place - 1]) and _is_latin(text[place])


def _is_latin(char: str) -> bool:
    return char.isascii() and char.isalnum()


def rows(name: str) -> list[list[str]]:
    """The rows of a table file of this package, folded, without comments."""
    return [[fold(cell) for cell in row] for row in packaged.rows("chimed_rag.query", name)]


@cache
def replacements(name: str) -> Table:
    """A file whose second column stands for the first."""
    return Table(dict(rows(name)))


@cache
def synonyms(name: str) -> Table:
    """A file whose rows are names of one thing, the first before the tab, the others after it, by blanks.

    Each name is replaced by the others; the first comes first.
    """
    groups: Iterable[list[str]] = ([first, *others.split()] for first, others in rows(name))
    return Table({name: " ".join(other for other in group if other != name) for group in groups for name in group})
