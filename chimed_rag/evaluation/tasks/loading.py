"""A task by name: its card, and its samples from a file, a folder or a hub.

Not covered: what the files look like (`readers`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from pydantic import JsonValue

from chimed_rag.evaluation.samples import Card, Sample


class Row(NamedTuple):
    """One row of a source and where it stands, for errors: `CorpusError(..., path=row.path, line=row.line)`."""

    path: str
    line: int
    value: dict[str, JsonValue]


class Source(Protocol):
    """Where samples come from: files on the disk, or a hub's rows."""

    paths: Sequence[Path]
    """The files, in order; none where it is a hub."""

    def rows(self) -> Iterator[Row]:
        """The rows of all files: JSONL and JSON (plain or gzip), CSV and TSV with a header, a hub's rows.

        Raises:
            CorpusError: a file or a line cannot be read.
        """
        ...


class Reader(Protocol):
    """Makes samples of a source. It raises `CorpusError` with file and line for whatever it cannot use: a missing
    column, an answer outside of the options, a repeated id (`DuplicateError`)."""

    def __call__(self, source: Source, card: Card) -> Iterator[Sample]:
        """The samples, in the order of the source."""
        ...


@dataclass(frozen=True)
class Task:
    """A card with its samples.

    Attributes:
        data_sha256: of the files, one after the other (`evaluation.beir.data_sha256`); of the samples' JSON for a hub
            and for the package's own items.
        path: where the data were read, as given; empty for the package's own.
    """

    card: Card
    samples: tuple[Sample, ...]
    data_sha256: str
    path: str = ""
    notes: tuple[str, ...] = field(default=())

    @property
    def name(self) -> str:
        """The card's."""
        return self.card.name


def task_names() -> list[str]:
    """The tasks that have a card, sorted."""
    raise NotImplementedError


def load_card(name: str) -> Card:
    """The card of a task.

    Raises:
        UnknownNameError: no task is called so; the message lists those that are.
    """
    raise NotImplementedError


def load_task(name: str, data: str | Path | None = None, *, limit: int | None = None) -> Task:
    """Reads a task.

    Args:
        name: as in `task_names`.
        data: a file, a folder that holds the official files, or the name of a set on a hub; None takes the package's
            own items, or the card's hub name.
        limit: only so many samples, the first ones (a trial, not a result).

    Raises:
        UnknownNameError: no such task.
        CorpusError: a file is missing or cannot be used; the message names file, line and what was looked for.
        DuplicateError: two samples of one id.
        MissingExtraError: a hub needs the package `datasets`.
    """
    raise NotImplementedError
