"""What the makers of proof pairs share: passages, sentences in them, candidates, and the tables beside this module."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

DEVELOPMENT, TEST = "development", "test"
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Passage:
    """A section of an entry, or a paragraph of a book; `sentences` stand in `text`, in order."""

    entry: str
    title: str
    names: tuple[str, ...]
    group: str
    kind: str
    headings: tuple[str, ...]
    text: str
    sentences: tuple[str, ...]
    whole: str = field(default="", compare=False, repr=False)
    """All text of the entry, for what must not stand elsewhere in it."""

    @property
    def shown(self) -> str:
        """The passage as a pair holds it: title and headings in the first line, then the text."""
        return " > ".join((self.title, *self.headings)) + "\n" + self.text


class Spot(NamedTuple):
    """A sentence in its passage."""

    passage: Passage
    place: int

    @property
    def sentence(self) -> str:
        """The sentence itself."""
        return self.passage.sentences[self.place]


class Candidate(NamedTuple):
    """A changed sentence, what was changed into what, and the passage it is cited with where that is another one."""

    sentence: str
    old: str
    new: str
    passage: Passage | None = None


Template = Callable[[Spot], Iterator[Candidate]]


@cache
def table(name: str) -> Any:
    """A YAML file beside this module."""
    return yaml.safe_load((HERE / f"{name}.yaml").read_text("utf-8"))
