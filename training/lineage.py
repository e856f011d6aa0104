"""Where a model comes from: its manifest, and those of the models that it was made of.

A manifest names the SHA-256 of the model's files and of its parents' manifests, which name theirs: whoever trusts one
digest can check the whole tree (`verify`). Not covered: curves, scores and what the data were (`card`, which names the
manifest's digest). Needs no torch.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from chimed_rag.errors import ConfigError, InputError
from training.card import Card, model_files, versions
from training.checkpoints import file_sha256
from training.settings import located

FILE = "manifest.json"


class Parent(BaseModel):
    """A model that another was made of: its path as the settings write it, and its `digest`, empty for the hub's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    digest: str


class DataFile(BaseModel):
    """A file of rows: its hash, and how many items it gave."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    sha256: str
    read: int
    kept: int


class Hardware(BaseModel):
    """What it was trained on; `memory` in bytes, 0 where unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    machine: str
    processor: str
    cores: int
    memory: int
    gpus: list[str] = Field(default_factory=list)
    processes: int = 1


class Manifest(BaseModel):
    """What a model is, by hashes; no time stands in it, so that a model that comes out the same has the same manifest.

    Args:
        settings: SHA-256 of all settings (`settings_digest`).
        commit: of the checkout; several, joined by a comma, if the run went on with another.
        parents: by the key of the settings that names them.
        outputs: SHA-256 of each file of the model.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = 1
    name: str
    stage: str
    seed: int
    settings: str
    commit: str
    versions: dict[str, str]
    hardware: Hardware
    data: list[DataFile]
    parents: dict[str, Parent]
    outputs: dict[str, str]


class Node(BaseModel):
    """A model in the tree of `lineage`; one without a manifest (a hub's, or another program's) has no parents."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    manifest: Manifest | None = None
    parents: dict[str, Node] = Field(default_factory=dict)

    def __str__(self) -> str:
        return "\n".join(self._lines(""))

    def _lines(self, key: str) -> Iterator[str]:
        what = f"{self.manifest.stage}, seed {self.manifest.seed}" if self.manifest else "no manifest"
        yield f"{key}{self.path} ({what})"
        for name, parent in self.parents.items():
            for line in parent._lines(f"{name}: "):
                yield f"  {line}"


def parents_of(settings: Mapping[str, Any]) -> dict[str, Parent]:
    """The models that settings name, by key: every value that is the folder of one, and a base from the hub."""
    found = {}
    for key, value in _texts(settings):
        folder = model_folder(value)
        if key != "output_dir" and (folder is not None or key == "base"):
            found[key] = Parent(path=value, digest="" if folder is None else digest(folder))
    return found


def model_folder(path: str) -> Path | None:
    """The folder of a model that a value of the settings means, or None: another text, or a model of the hub."""
    try:
        folder = located(path or "no path")
        there = folder.is_dir() and any((folder / name).is_file() for name in (FILE, "card.json", "config.json"))
    except (ConfigError, OSError, ValueError):
        return None  # a long text is no path either
    return folder if there else None


def digest(folder: Path) -> str:
    """SHA-256 of a model: of its manifest, or, where it has none, of the list of its files' hashes."""
    if (folder / FILE).is_file():
        return file_sha256(folder / FILE)
    return _sha256(model_files(folder))


def settings_digest(settings: Mapping[str, Any]) -> str:
    """SHA-256 of settings as JSON with sorted keys; where the model goes does not count."""
    return _sha256({key: value for key, value in settings.items() if key != "output_dir"})


def write_manifest(card: Card, folder: Path, parents: Mapping[str, Parent]) -> str:
    """Writes the manifest of a model whose card is filled in; returns its SHA-256."""
    manifest = Manifest(
        name=card.name,
        stage=card.stage,
        seed=card.seed,
        settings=settings_digest(card.settings),
        commit=card.commit,
        versions=versions(),
        hardware=hardware(),
        data=[DataFile(path=d.path, sha256=d.sha256, read=d.read, kept=d.kept) for d in card.data],
        parents=dict(parents),
        outputs=card.files,
    )
    partial = folder / (FILE + ".partial")
    partial.write_text(manifest.model_dump_json(indent=1) + "\n", "utf-8")
    partial.replace(folder / FILE)
    return file_sha256(folder / FILE)


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a model, or None if it has none.

    Raises:
        InputError: it cannot be read.
    """
    file = folder / FILE
    if not file.is_file():
        return None
    try:
        return Manifest.model_validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        raise InputError(f"{file} is no manifest: {error}") from None


def lineage(folder: str | Path) -> Node:
    """The tree of a model and all it was made of.

    Raises:
        InputError: no model is there, or a manifest cannot be read.
    """
    place = located(str(folder))
    if not place.is_dir():
        raise InputError(f"{folder}: no such folder")
    return _node(str(folder), place, frozenset())


def parent_folder(child: Path, parent: Parent) -> Path | None:
    """Where a parent lies now: at its path, or beside the child, if the folder of both was moved; None if nowhere."""
    beside = child.parent / Path(parent.path).name
    places = [place for place in (model_folder(parent.path), model_folder(str(beside))) if place is not None]
    return next((place for place in places if digest(place) == parent.digest), places[0] if places else None)


def _node(path: str, place: Path, above: frozenset[Path]) -> Node:
    manifest, here = read_manifest(place), above | {place.resolve()}
    parents = {}
    for key, parent in manifest.parents.items() if manifest else ():
        found = parent_folder(place, parent)
        # A folder cannot be its own forebear; one that was trained over with a descendant would look so.
        if found is None or found.resolve() in here:
            parents[key] = Node(path=parent.path)
        else:
            parents[key] = _node(parent.path, found, here)
    return Node(path=path, manifest=manifest, parents=parents)


def hardware() -> Hardware:
    """The machine, as far as it says; GPUs where torch is in use."""
    torch = sys.modules.get("torch")
    gpus = torch.cuda.device_count() if torch is not None and torch.cuda.is_available() else 0
    return Hardware(
        machine=f"{platform.system()} {platform.machine()}",
        processor=_processor(),
        cores=os.cpu_count() or 0,
        memory=_memory(),
        gpus=[] if torch is None else [torch.cuda.get_device_name(n) for n in range(gpus)],
        processes=int(os.environ.get("WORLD_SIZE", "1")),
    )


def _processor() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def _memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 0


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """The texts in nested settings with their dotted keys."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _texts(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for n, inner in enumerate(value):
            yield from _texts(inner, f"{key}.{n}")


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, ensure_ascii=False, sort_keys=True).encode()).hexdigest()
