"""A task by name: its card, and its samples from a file, a folder or a hub.

Not covered: what the files look like (`readers`), and their encoding and form (`tasks.sources`).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module, resources
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from chimed_rag.errors import ChiMedError, ConfigError, CorpusError, DuplicateError, InputError, UnknownNameError
from chimed_rag.evaluation.beir import data_sha256
from chimed_rag.evaluation.samples import Card, Sample
from chimed_rag.evaluation.tasks.sources import FileSource, HubSource, Row, Source, find_files
from chimed_rag.packaged import parsed
from chimed_rag.packaged import source as packaged_source

__all__ = ["Reader", "Row", "Source", "Task", "load_card", "load_task", "read_task", "register_card", "task_names"]

_registered: dict[str, Card] = {}


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
        notes: what its reader warned of, such as rows left out, and that it is a trial.
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
    """The tasks that have a card, sorted. Reads names of files alone."""
    return sorted({*_packaged(), *_registered})


def register_card(card: Card) -> None:
    """Adds a task of one's own, or replaces one, for as long as the program runs; `card.reader` must be importable."""
    _registered[card.name] = card


def load_card(name: str) -> Card:
    """The card of a task.

    Raises:
        UnknownNameError: no task is called so; the message lists those that are. ConfigError: its card is not valid.
    """
    if name in _registered:
        return _registered[name]
    if name not in _packaged():
        raise UnknownNameError(f"no task is called {name!r}; there are: {', '.join(task_names())}")
    try:
        return Card.model_validate(parsed(packaged_source("chimed_rag.evaluation", f"cards/{name}.yaml")))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ConfigError(f"the card of {name} is not valid: {place}: {first['msg']}") from error


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
    return read_task(load_card(name), data, limit=limit)


def read_task(card: Card, data: str | Path | None = None, *, limit: int | None = None) -> Task:
    """As `load_task`, of a card at hand."""
    if limit is not None and limit < 1:
        raise InputError(f"a limit is at least 1 sample, not {limit}")
    source, path = _open(card, data)
    with _warnings() as warned:
        samples = _samples(_Watched(source), card, path)
    # All are read whatever the limit: a fault further down shows early, and the hash is that of the whole task.
    digest = data_sha256(source.paths) if source.paths else _samples_sha256(samples)
    if limit is not None and limit < len(samples):
        warned.insert(0, f"a trial on the first {limit} of {len(samples)} samples, not a result")
        samples = samples[:limit]
    return Task(card, tuple(samples), digest, path, tuple(warned))


def _packaged() -> set[str]:
    folder = resources.files("chimed_rag.evaluation").joinpath("cards")
    files = folder.iterdir() if folder.is_dir() else iter(())
    return {file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml")}


def _open(card: Card, data: str | Path | None) -> tuple[Source, str]:
    """Where the samples come from, and what to call it."""
    if data is None:
        if card.hub:
            return _hub(card, card.hub), card.hub
        if card.files and not card.settings.get("packaged"):
            raise CorpusError(
                f"{card.name} has no items of its own; name a file, or a folder that holds {' or '.join(card.files)}: "
                f"chimed evaluate {card.name} --data PATH" + (f" (they are at {card.url})" if card.url else "")
            )
        return FileSource(()), ""
    path = Path(data)
    if path.is_file():
        return FileSource([path]), str(data)
    if path.is_dir():
        return FileSource(find_files(path, card)), str(data)
    owner, _, rest = str(data).partition("/")
    if owner and rest and "/" not in rest and owner[0].isalnum() and not Path(owner).exists():
        return _hub(card, str(data)), str(data)
    raise CorpusError("no such file or folder", path=str(data))


def _hub(card: Card, name: str) -> HubSource:
    name, _, revision = name.partition("@")
    own = card.revision if name == card.hub else ""
    return HubSource(name, config=card.hub_config, split=card.hub_split, revision=revision or own)


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """What the readers warn of in their log, such as rows left out: the task's notes."""
    said: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("chimed_rag.evaluation.readers")
    logger.addHandler(handler)
    try:
        yield said
    finally:
        logger.removeHandler(handler)


class _Watched:
    """A source that remembers the row last given out, so that a fault of its reader has a place."""

    def __init__(self, source: Source) -> None:
        self.paths = source.paths
        self.at: Row | None = None
        self._source = source

    def rows(self) -> Iterator[Row]:
        for row in self._source.rows():
            self.at = row
            yield row
        self.at = None  # a reader that collects all rows first has no place any more

    def place(self, path: str) -> tuple[str | None, int | None]:
        if self.at is not None:
            return self.at.path, self.at.line
        return (str(self.paths[0]) if len(self.paths) == 1 else path or None), None


def _samples(source: _Watched, card: Card, path: str) -> list[Sample]:
    module, _, attribute = card.reader.partition(":")
    reader: Reader = getattr(import_module(module), attribute)
    samples: list[Sample] = []
    first: dict[str, tuple[str | None, int | None]] = {}
    try:
        for sample in reader(source, card):
            file, line = source.place(path)
            if sample.id in first:
                _, earlier = first[sample.id]
                before = f" (line {earlier})" if earlier else ""
                raise DuplicateError(f"sample {sample.id!r} came before{before}", path=file, line=line)
            first[sample.id] = file, line
            samples.append(sample)
    except ChiMedError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        file, line = source.place(path)
        raise CorpusError(f"not a row of {card.name}: {_told(error)}", path=file, line=line) from error
    if not samples:
        raise CorpusError(f"holds no sample of {card.name}", path=source.place(path)[0])
    return samples


def _told(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    if isinstance(error, KeyError):
        return f"it has no {error}"
    return f"{type(error).__name__}: {error}"


def _samples_sha256(samples: Sequence[Sample]) -> str:
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(sample.model_dump_json().encode() + b"\n")
    return digest.hexdigest()
