"""Checkpoints that can be trusted: each is sealed with the SHA-256 of its files, and only a whole one is resumed from.

The trainers beneath read a checkpoint with a flipped byte or without its optimizer state in silence, and fail on an
empty newest one; here the newest whole one is taken. Not covered: what is in a checkpoint (`fitting`). Needs no torch.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from pathlib import Path

SEAL = "SEAL.json"
_log = logging.getLogger(__name__)


def seal(folder: Path) -> None:
    """Writes, last and at once, the hashes of all files of the folder; it counts as whole from then on."""
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
    for path in sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]), reverse=True):
        if is_whole(path):
            return path
        _log.warning("%s is not whole and is removed", path)
        shutil.rmtree(path)
    return None


def _hashes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): file_sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(SEAL)
    }


def file_sha256(path: Path) -> str:
    """SHA-256 (hex) of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
