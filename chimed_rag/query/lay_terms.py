"""Lay words and misspellings, and the clinical words that a literature uses in their place: 拉肚子 and 腹泻.

The tables `misspellings.tsv` and `lay_terms.tsv` were written for this project; the one is applied before the other.
Not covered: misspellings that are not in the table, and words whose meaning hangs on what was said before.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

from chimed_rag.text import fold


class _Table:
    """Replaces expressions, the longest first at each place."""

    def __init__(self, name: str) -> None:
        source = resources.files("chimed_rag.query").joinpath(name).read_text("utf-8")
        rows = (line.split("\t") for line in source.splitlines() if line and not line.startswith("#"))
        self.words = {fold(said): fold(meant) for said, meant in rows}
        self._lengths: dict[str, list[int]] = {}  # of the expressions that begin with a character, longest first
        for said in self.words:
            self._lengths.setdefault(said[0], []).append(len(said))
        self._lengths = {first: sorted(set(lengths), reverse=True) for first, lengths in self._lengths.items()}

    def apply(self, text: str) -> str:
        pieces: list[str] = []
        place = 0
        while place < len(text):
            for length in self._lengths.get(text[place], ()):
                meant = self.words.get(text[place : place + length])
                if meant is not None:
                    pieces.append(meant)
                    place += length
                    break
            else:
                pieces.append(text[place])
                place += 1
        return "".join(pieces)


@cache
def _table(name: str) -> _Table:
    return _Table(name)


def lay_terms() -> dict[str, str]:
    """Lay expression to the clinical ones, separated by blanks."""
    return _table("lay_terms.tsv").words


def misspellings() -> dict[str, str]:
    """Misspelt word to the right one."""
    return _table("misspellings.tsv").words


def clinical(question: str) -> str:
    """The question, folded, as one would put it in clinical words; where nothing changes, the folded question."""
    return _table("lay_terms.tsv").apply(_table("misspellings.tsv").apply(fold(question)))
