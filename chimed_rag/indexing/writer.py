"""Writing an index: build, add, upsert, delete, compact, repair; each call is one atomic commit of one generation.

Not covered: how a generation comes about (`commit`), reading sources (`corpus`), searching (`index`).
"""

from __future__ import annotations

import errno
import logging
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal, NamedTuple

from chimed_rag.config import Chunking
from chimed_rag.encoders.base import Encoder, require_same
from chimed_rag.errors import (
    ChiMedError,
    DuplicateError,
    IndexDamagedError,
    IndexError_,
    IndexLockedError,
    IndexMismatchError,
    IndexMissingError,
    InputError,
)
from chimed_rag.indexing.commit import Commit, Progress, from_caller, sweep
from chimed_rag.indexing.filters import Filter, parse
from chimed_rag.indexing.lock import exclusive
from chimed_rag.indexing.manifest import NAME, Manifest, Storage, damaged_files, read_manifest
from chimed_rag.records import Document

log = logging.getLogger(__name__)

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_OWN = {"segments", "lexical", "quarantine", "encoder", NAME, NAME + ".tmp", ".lock"}


class Changes(NamedTuple):
    """What a call did, in documents; `skipped` had no text that could be indexed."""

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    skipped: int = 0


@contextmanager
def _guarded(folder: Path, *, create: bool = False) -> Iterator[None]:
    """The lock of an index folder, and system errors told as what they mean for the user."""
    try:
        if create:
            folder.mkdir(parents=True, exist_ok=True)
        elif not folder.is_dir():
            raise IndexMissingError(
                f"{folder}: no such folder; build an index with: chimed build SOURCE... --out {folder}"
            )
        with exclusive(folder):
            yield
    except (OSError, sqlite3.Error) as error:
        if error.__dict__.get("from_caller"):
            raise
        number = error.errno if isinstance(error, OSError) else None
        text = str(error)
        if number in _FULL or "disk is full" in text:
            _make_room(folder)
            message = (
                f"{folder}: the disk is full; the index is as it was; free some space and run the same command again"
            )
            raise IndexError_(message) from error
        if number in (errno.EROFS, errno.EACCES, errno.EPERM) or "readonly" in text:
            message = f"{folder}: cannot be written ({text}); copy the index to a folder of your own and write there"
            raise IndexLockedError(message) from error
        if isinstance(error, FileExistsError | NotADirectoryError):
            raise InputError(f"{folder}: an index is a folder, this is a file; choose another name") from error
        raise IndexError_(f"{folder}: cannot be written ({text}); the index is as it was") from error


def _make_room(folder: Path) -> None:
    """Gives back what an unfinished call took of a full disk; it would only have spared some encoding."""
    with suppress(ChiMedError, OSError), exclusive(folder, wait=0):
        current = read_manifest(folder)
        sweep(folder, current, current)


def _current(folder: Path, encoder: Encoder | None) -> Manifest:
    manifest = read_manifest(folder)
    if encoder is not None:
        require_same(encoder, manifest.encoder)
    if problems := damaged_files(folder, manifest, hashes=False):
        raise IndexDamagedError(f"{folder}: {problems[0]}; run: chimed inspect {folder}")
    return manifest


def _told_apart(documents: Iterable[Document]) -> Iterator[Document]:
    with from_caller():
        iterator = iter(documents)
    while True:
        with from_caller():
            document = next(iterator, None)
        if document is None:
            return
        yield document


def _insert_all(commit: Commit, documents: Iterable[Document], mode: Literal["add", "upsert"]) -> Changes:
    seen: dict[str, str] = {}
    tally: Counter[str] = Counter()
    for document in _told_apart(documents):
        known = seen.get(document.id)
        if known is not None:
            if known != document.content_hash:
                raise DuplicateError(
                    f"document id {document.id!r} comes twice with different texts; give each its own id",
                    path=document.source or None,
                )
            tally["unchanged"] += 1
            continue
        seen[document.id] = document.content_hash
        entry = commit.store.find(document.id) if commit.store is not None else None
        if entry is not None and entry.content_hash == document.content_hash:
            tally["unchanged"] += 1
            continue
        if entry is not None and mode == "add":
            raise DuplicateError(
                f"document id {document.id!r} is in the index with another text; use upsert to replace it, "
                "or give the new text its own id", path=document.source or None,
            )  # fmt: skip
        if not commit.insert(document):
            log.warning("document %r holds no text to index; skipped", document.id)
            tally["skipped"] += 1
            continue
        if entry is not None:
            commit.remove(entry.number, entry.chunks)
        tally["updated" if entry is not None else "added"] += 1
    return Changes(**tally)


def require_free(folder: Path, *, overwrite: bool) -> None:
    """Makes sure that an index may be built in a folder; `build` asks, and whoever works long before it.

    Raises:
        InputError: the folder holds an index (and not `overwrite`) or other files.
    """
    if folder.is_dir() and (foreign := sorted(path.name for path in folder.iterdir() if path.name not in _OWN)):
        raise InputError(f"{folder}: holds other files ({foreign[0]}, ...); choose a new or empty folder")
    if not overwrite and (folder / NAME).exists():
        raise InputError(
            f"{folder}: already holds an index; add to it (MedQA.load(...).add), choose another folder, "
            "or replace it with --overwrite"
        )


def build(
    folder: Path,
    documents: Iterable[Document],
    encoder: Encoder,
    *,
    chunking: Chunking | None = None,
    storage: Storage = "int8",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> tuple[Manifest, Changes]:
    """Builds an index from documents; a killed build resumes when the same call is made again.

    Raises:
        InputError: the folder holds an index (and not `overwrite`) or other files.
        DuplicateError: one id came with two texts.
        IndexLockedError: another process is writing there, or the folder is read-only.
        IndexError_: nothing to index, or the disk is full.
    """
    require_free(folder, overwrite=overwrite)  # before the lock, which would leave its own file among others
    with _guarded(folder, create=True):
        base = None
        require_free(folder, overwrite=overwrite)
        if (folder / NAME).exists():
            try:
                base = read_manifest(folder)
                if damaged_files(folder, base, hashes=True):
                    _set_aside(folder, base)
            except (IndexDamagedError, IndexMismatchError):
                _set_aside(folder, None)
        commit = Commit(folder, base, encoder, chunking or Chunking(), storage, keep=False, progress=progress)
        try:
            changes = _insert_all(commit, documents, "add")
            if not changes.added:
                raise IndexError_("there is nothing to index: no document with text was found in the sources")
            return commit.finish(), changes
        except BaseException:
            commit.discard()
            if base is None:
                _remove_empty(folder)
            raise


def _remove_empty(folder: Path) -> None:
    """A build that failed leaves no folder behind, unless passages were encoded that the next attempt will take up."""
    with suppress(OSError):
        for name in ("lexical", "segments"):
            (folder / name).rmdir()
        (folder / ".lock").unlink()
        folder.rmdir()


def _set_aside(folder: Path, current: Manifest | None) -> None:
    """Keeps a damaged index in its quarantine folder; nothing is deleted.

    One whose manifest can still be read is copied and stays in place until the new one is committed; else everything
    is moved, since none of it may be taken up again.
    """
    quarantine = _quarantine(folder)
    if current is not None:
        for name in [NAME, *current.files]:
            if (folder / name).exists():
                (quarantine / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(folder / name, quarantine / name)
    else:
        for name in ("segments", "lexical", "encoder", NAME):
            if (folder / name).exists():
                (folder / name).rename(quarantine / name)
    log.warning("the damaged index was set aside in %s", quarantine)


def _quarantine(folder: Path) -> Path:
    """A new folder for damaged files."""
    stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S.%f")
    path = folder / "quarantine" / stamp
    path.mkdir(parents=True)
    return path


def update(
    folder: Path,
    documents: Iterable[Document],
    encoder: Encoder,
    *,
    mode: Literal["add", "upsert"],
    progress: Progress | None = None,
) -> Changes:
    """Adds documents; an id that is there with the same hash is skipped, with another replaced (`upsert`) or refused.

    Raises:
        DuplicateError: `add` met an id with another text, or one id came twice.
        IndexMismatchError, IndexDamagedError, IndexMissingError, IndexLockedError, IndexError_: see `errors`.
    """
    with _guarded(folder):
        base = _current(folder, encoder)
        commit = Commit(folder, base, encoder, base.chunking, base.vectors.storage, progress=progress)
        try:
            changes = _insert_all(commit, documents, mode)
            if changes.added or changes.updated:
                commit.finish()
            else:
                commit.discard()
            return changes
        except BaseException:
            commit.discard()
            raise


def delete(folder: Path, *, ids: Sequence[str] = (), where: Filter | None = None) -> Changes:
    """Deletes documents by id, by filter, or both; ids that are not there are ignored. `compact` reclaims the space.

    Raises:
        InputError: neither ids nor a filter, or a filter that cannot be read.
    """
    if not ids and not where:
        raise InputError("delete needs ids=[...] or where={...}; an empty filter would delete everything")
    if isinstance(ids, str):
        raise InputError(f"ids is a list of document ids; write ids=[{ids!r}]")
    with _guarded(folder):
        base = _current(folder, None)
        commit = Commit(folder, base, None, base.chunking, base.vectors.storage)
        try:
            assert commit.store is not None
            numbers = dict(commit.store.entries(commit.store.mask(parse(where)))) if where else {}
            numbers |= {entry.number: entry.chunks for i in ids if (entry := commit.store.find(i)) is not None}
            for number, count in numbers.items():
                commit.remove(number, count)
            if numbers:
                commit.finish()
            else:
                commit.discard()
            return Changes(deleted=len(numbers))
        except BaseException:
            commit.discard()
            raise


def _from_truth(folder: Path, base: Manifest, progress: Progress | None, *, compacting: bool) -> Manifest:
    commit = Commit(folder, base, None, base.chunking, base.vectors.storage, derive=True, progress=progress)
    try:
        if compacting:
            return commit.compact()
        commit.derive_lexical()
        return commit.write()
    except BaseException:
        commit.discard()
        raise


def compact(folder: Path, *, progress: Progress | None = None) -> Manifest:
    """Drops deleted documents for good and merges segments; nothing is read or encoded again."""
    with _guarded(folder):
        return _from_truth(folder, _current(folder, None), progress, compacting=True)


def repair(folder: Path, *, progress: Progress | None = None) -> Manifest:
    """Derives a damaged lexical index anew; the damaged one is copied to `quarantine/`.

    Raises:
        IndexDamagedError: the store itself is damaged; the message says how to rebuild.
    """
    with _guarded(folder):
        base = read_manifest(folder)
        problems = damaged_files(folder, base, hashes=True)
        if truth := [line for line in problems if line.startswith(("segments/", "encoder/"))]:
            raise IndexDamagedError(
                f"{folder}: {truth[0]}; the store cannot be derived: restore it from a backup, or rebuild: "
                f"chimed build SOURCE... --out {folder} --overwrite (the damaged one is set aside)"
            )
        if not problems:
            return base
        if (folder / base.lexical).exists():
            shutil.copytree(folder / base.lexical, _quarantine(folder) / base.lexical)
        return _from_truth(folder, base, progress, compacting=False)
