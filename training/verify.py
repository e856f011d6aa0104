"""Whether a model is what its papers say: its files, its card, and the models that it was made of.

Not covered: whether it is any good (its gates and scores say that), and checkpoints, which are verified whenever one is
resumed from (`checkpoints`). Needs no torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from chimed_rag.errors import InputError
from training.card import Card, model_files
from training.checkpoints import file_sha256
from training.gates import FILE as GATES
from training.gates import read_gates
from training.lineage import FILE, Manifest, digest, parent_folder, read_manifest, settings_digest
from training.settings import located


class Problem(BaseModel):
    """Something that is not as it should be, and where."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: str
    what: str

    def __str__(self) -> str:
        return f"{self.folder}: {self.what}"


def verify(folder: str | Path) -> list[Problem]:
    """All that is wrong with a model, or with all models of a pipeline's folder; nothing, if all is well.

    The models that it was made of are looked at too, each once, as far back as they have manifests.

    Raises:
        InputError: neither a model of ours nor a pipeline is there.
    """
    place = located(str(folder))
    models = [place] if _is_model(place) else sorted(one for one in place.glob("*/") if _is_model(one))
    if not models:
        raise InputError(f"{folder}: holds no card.json or {FILE}; give the folder of a finished run or of a pipeline")
    seen: set[Path] = set()
    return [problem for model in models for problem in _problems(model, seen)]


def _is_model(folder: Path) -> bool:
    return (folder / "card.json").is_file() or (folder / FILE).is_file()


def _problems(folder: Path, seen: set[Path]) -> Iterator[Problem]:
    if folder.resolve() in seen:
        return
    seen.add(folder.resolve())

    def problem(what: str) -> Problem:
        return Problem(folder=str(folder), what=what)

    try:
        manifest = read_manifest(folder)
    except InputError as error:
        yield problem(str(error))
        return
    if manifest is None:
        yield problem(f"{FILE} is missing")
        return
    for what in [*_files(folder, manifest), *_card(folder, manifest)]:
        yield problem(what)
    for key, parent in manifest.parents.items():
        place = parent_folder(folder, parent) if parent.digest else None
        if place is None:
            if parent.digest:
                yield problem(f"{key}: {parent.path} is not there any more")
        elif digest(place) != parent.digest:
            yield problem(f"{key}: {parent.path} is not the model that this one was made of")
        elif _is_model(place):
            yield from _problems(place, seen)


def _files(folder: Path, manifest: Manifest) -> Iterator[str]:
    now = model_files(folder)
    for name, sha256 in manifest.outputs.items():
        if name not in now:
            yield f"{name} is missing"
        elif now[name] != sha256:
            yield f"{name} is not what was trained"
    for name in sorted(now.keys() - manifest.outputs.keys()):
        yield f"{name} does not belong to it"


def _card(folder: Path, manifest: Manifest) -> Iterator[str]:
    """What is wrong with the card and with what it says of the manifest."""
    file = folder / "card.json"
    if not file.is_file():
        yield "card.json is missing"
        return
    try:
        card = Card.model_validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        yield f"card.json cannot be read: {'.'.join(map(str, first['loc']))}: {first['msg']}"
        return
    if card.manifest != file_sha256(folder / FILE):
        yield f"card.json tells of another {FILE}"
    if card.files != manifest.outputs:
        yield f"card.json and {FILE} name other files"
    if settings_digest(card.settings) != manifest.settings:
        yield f"the settings in card.json are not those of {FILE}"
    for key in ("command", "commit", "created", "licence", "machine", "versions"):
        if not getattr(card, key):
            yield f"card.json does not say {key}"
    for entry in card.data:
        if entry.read != entry.kept + sum(entry.dropped.values()):
            yield f"{entry.path}: {entry.read} read, {entry.kept} kept and {sum(entry.dropped.values())} dropped"
    if json.dumps([g.model_dump() for g in card.gates]) != json.dumps([g.model_dump() for g in read_gates(folder)]):
        yield f"card.json and {GATES} tell of other gates"
    if not (folder / "README.md").is_file():
        yield "README.md is missing"
