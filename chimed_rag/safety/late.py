"""Regular expressions that are compiled when a text first needs them: most questions need few of them.

Compiling an expression takes 0.3 to 5 ms, which the first question of a process pays; looking for the characters that
every match contains takes microseconds, and spares most texts the matching as well.
Not covered: finding those characters (whoever writes an expression tells them; tests/safety/test_late.py proves them).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property

Match = re.Match[str]


class Late:
    """A regular expression, with the methods of a compiled one that are used here.

    Args:
        source: the expression.
        needs: characters or words one of which is in every text that holds a match; none where nothing is known. They
            are looked for where a whole text is searched, not at a place or within bounds: the time stays linear.
        flags: of `re.compile`.
    """

    def __init__(self, source: str, needs: Iterable[str] = (), flags: int = 0) -> None:
        self.source = source
        self.needs = tuple(dict.fromkeys(needs))
        self.flags = flags

    @cached_property
    def compiled(self) -> re.Pattern[str]:
        """The expression as `re` has it. Raises re.error."""
        return re.compile(self.source, self.flags)

    def possible(self, text: str) -> bool:
        """Whether a text holds what a match contains."""
        return not self.needs or any(need in text for need in self.needs)

    def finditer(self, text: str, *bounds: int) -> Iterator[Match]:
        """All matches, in order."""
        return self.compiled.finditer(text, *bounds) if bounds or self.possible(text) else iter(())

    def search(self, text: str, *bounds: int) -> Match | None:
        """The first match."""
        return self.compiled.search(text, *bounds) if bounds or self.possible(text) else None

    def match(self, text: str, *bounds: int) -> Match | None:
        """The match that begins at a place."""
        return self.compiled.match(text, *bounds)

    def fullmatch(self, text: str) -> Match | None:
        """The match that is the text."""
        return self.compiled.fullmatch(text) if self.possible(text) else None

    def findall(self, text: str) -> list[str]:
        """All matches as texts, of an expression without groups."""
        return [found[0] for found in self.finditer(text)]

    def sub(self, new: str | Callable[[Match], str], text: str) -> str:
        """The text with every match replaced."""
        return self.compiled.sub(new, text) if self.possible(text) else text
