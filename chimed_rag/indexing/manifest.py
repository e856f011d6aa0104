"""The manifest of an index folder: which files make up the current generation, and the proof that they are whole.

Written last and replaced atomically, it is the commit. Not covered: what the files mean (`segment`, `lexical`).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from chimed_rag.config import Chunking
from chimed_rag.encoders.base import EncoderSpec
from chimed_rag.errors import IndexDamagedError, IndexMismatchError, IndexMissingError

FORMAT_VERSION = 1
NAME = "manifest.json"
Storage = Literal["fp32", "fp16", "int8"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileEntry(_Part):
    """Size in bytes and SHA-256 of one file of the generation."""

    size: int
    sha256: str


class SegmentEntry(_Part):
    """One immutable segment: `segments/NAME.sqlite` and `segments/NAME.vectors`; rows counts chunks."""

    name: str
    rows: int


class VectorFormat(_Part):
    """How vectors are stored; `scale` is the largest magnitude an int8 code can express (unused otherwise)."""

    storage: Storage
    dimension: int
    scale: float = 1.0

    @property
    def code_size(self) -> int:
        """Bytes per vector."""
        return self.dimension * {"fp32": 4, "fp16": 2, "int8": 1}[self.storage]


class Counts(_Part):
    """Living documents and chunks, and chunks that are deleted but not yet compacted away."""

    documents: int = 0
    chunks: int = 0
    deleted_chunks: int = 0


class Manifest(_Part):
    """One generation of an index."""

    format_version: int = FORMAT_VERSION
    generation: int
    created: str
    library_version: str
    encoder: EncoderSpec
    vectors: VectorFormat
    chunking: Chunking
    counts: Counts
    next_row: int
    segments: tuple[SegmentEntry, ...]
    lexical: str
    sources: dict[str, int] = Field(default_factory=dict)
    licences: dict[str, int] = Field(default_factory=dict)
    files: dict[str, FileEntry]


def sha256_file(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def is_whole(path: Path, entry: FileEntry) -> bool:
    """Whether a file is there and is, byte for byte, what was committed."""
    return path.is_file() and path.stat().st_size == entry.size and sha256_file(path) == entry.sha256


def fsync_file(path: Path) -> None:
    """Makes the bytes of a file that was written and closed durable."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def fsync_folder(folder: Path) -> None:
    """Makes renames in a folder durable; a no-op where folders cannot be opened (Windows)."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _seal(body: dict[str, Any]) -> str:
    canonical = json.dumps(body, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replaces the manifest atomically; after this call returns, the generation is committed and durable."""
    body = manifest.model_dump(mode="json")
    text = json.dumps({**body, "sha256": _seal(body)}, ensure_ascii=False, indent=1, sort_keys=True)
    temporary = folder / (NAME + ".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / NAME)
    fsync_folder(folder)


def read_manifest(folder: Path) -> Manifest:
    """Reads and verifies the manifest itself (not yet the files that it names).

    Raises:
        IndexMissingError: there is no index in the folder.
        IndexDamagedError: the manifest was changed or cut.
        IndexMismatchError: it is of a newer format version than this library reads.
    """
    path = folder / NAME
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        hint = (
            "its build did not finish; run the same build command again, it resumes"
            if (folder / "segments").is_dir()
            else None
        )
        hint = hint or "build one with: chimed build SOURCE... --out DIR"
        raise IndexMissingError(f"{folder}: no index here ({NAME} is missing); {hint}") from None
    except NotADirectoryError:
        raise IndexMissingError(f"{folder}: an index is a folder, this is a file") from None
    try:
        body = json.loads(raw)
        version = body.get("format_version")
        if isinstance(version, int) and version > FORMAT_VERSION:
            raise IndexMismatchError(
                f"{path}: index format {version}, this library reads up to {FORMAT_VERSION}; "
                "run: pip install --upgrade chimed-rag"
            )
        if body.pop("sha256", None) != _seal(body):
            raise ValueError("its own checksum does not match")
        return Manifest.model_validate(body)
    except (ValueError, AttributeError, ValidationError) as error:
        reason = "does not follow the format" if isinstance(error, ValidationError) else str(error)
        raise IndexDamagedError(
            f"{path}: damaged ({reason}); restore the folder from a backup, or rebuild it: "
            f"chimed build SOURCE... --out {folder} --overwrite (the damaged one is set aside)"
        ) from None


def damaged_files(folder: Path, manifest: Manifest, *, hashes: bool) -> list[str]:
    """What is wrong with the files of a generation, a line each; with `hashes`, every byte is read."""
    problems = []
    for name, entry in sorted(manifest.files.items()):
        path = folder / name
        try:
            size = path.stat().st_size
        except OSError:
            problems.append(f"{name}: missing")
            continue
        if size != entry.size:
            problems.append(f"{name}: {size} bytes, committed were {entry.size}")
        elif hashes and (found := sha256_file(path)) != entry.sha256:
            problems.append(f"{name}: sha256 {found[:12]}…, committed was {entry.sha256[:12]}…")
    return problems


def describe_files(folder: Path, names: Iterable[str], known: dict[str, FileEntry]) -> dict[str, FileEntry]:
    """Size and hash of each file; a name in `known` is not read again (files never change once written)."""
    entries = {}
    for name in names:
        path = folder / name
        entries[name] = known.get(name) or FileEntry(size=path.stat().st_size, sha256=sha256_file(path))
    return entries
