"""Checkpoints that can be trusted: each is sealed with the SHA-256 of its files, and only a whole one is resumed from.

The trainers beneath read a checkpoint with a flipped byte or without its optimizer state in silence, and fail on an
empty newest one; here the newest whole one is taken. Not covered: what is in a checkpoint (`fitting`). Needs no torch.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chimed_rag.errors import ChiMedError

SEAL = "SEAL.json"
CHECKPOINTS = "checkpoint-*"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_log = logging.getLogger(__name__)


class TrainingError(ChiMedError):
    """Training cannot go on: the loss is no number, or nothing more can be written; what was whole before is kept."""


def seal(folder: Path) -> None:
    """Writes, last and at once, the hashes of all files of the folder; it counts as whole from then on.

    Checkpoints in it do not count: a phase is sealed before its own are removed.
    """
    partial = folder / (SEAL + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        json.dump(_hashes(folder), file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(folder / SEAL)


def is_whole(folder: Path) -> bool:
    """Whether the folder is sealed and holds, byte for byte, what it held then."""
    try:
        sealed = json.loads((folder / SEAL).read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return bool(sealed == _hashes(folder))


def newest_whole(folder: Path) -> Path | None:
    """The `checkpoint-N` of the folder with the largest N that is whole, or None.

    Newer ones that are not are removed, with a warning: they were being written when the run was killed, or were
    damaged.
    """
    for path in sorted(folder.glob(CHECKPOINTS), key=lambda path: int(path.name.rpartition("-")[2]), reverse=True):
        if is_whole(path):
            return path
        _log.warning("%s is not whole and is removed", path)
        shutil.rmtree(path)
    return None


def _hashes(folder: Path) -> dict[str, str]:
    return {
        name.as_posix(): file_sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and not path.name.startswith(SEAL)
        and not (name := path.relative_to(folder)).parts[0].startswith("checkpoint-")
    }


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turns the many ways in which libraries say that a disk is full into one.

    Raises:
        TrainingError: nothing more can be written.
    """
    try:
        yield
    except Exception as error:
        if not _is_full(error):
            raise
        raise TrainingError(
            f"{folder}: nothing more can be written there ({error}). What was whole before is kept: free some space, "
            "start the same command again, and it goes on from there"
        ) from error


def _is_full(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in _FULL
    # safetensors has an error of its own, with the number in its text; torch's writer says only that it failed.
    text = str(error)
    return any(f"(os error {number})" in text for number in _FULL) or (
        isinstance(error, RuntimeError) and ("inline_container.cc" in text or "PytorchStreamWriter failed" in text)
    )


def file_sha256(path: Path) -> str:
    """SHA-256 (hex) of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
