"""The card of a trained model: card.json for programs, README.md for readers.

What it was made of (files with rows, SHA-256, licences, why rows were dropped), how (settings, seed, versions, commit,
the command that makes it again), and what came out (curve, scores with intervals and n). Not covered: taking the
scores.
"""

from __future__ import annotations

import platform
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from chimed_rag.evaluation.statistics import Interval
from training.checkpoints import file_sha256
from training.files import Account
from training.gates import Gate
from training.settings import ROOT

_LIBRARIES = (
    *("accelerate", "chimed-rag", "datasets", "model2vec", "numpy", "peft", "python-crfsuite", "sentence-transformers"),
    *("tantivy", "tokenizers", "torch", "transformers", "trl"),
)
_LISTED = (".safetensors", ".json", ".txt", ".npz", ".npy", ".jinja", ".model", ".crfsuite")
_ABOUT = ("card.json", "manifest.json")


class Point(BaseModel):
    """One reading of the loss: the phase of the run, the optimizer step in it, the mean loss since the last reading."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    phase: str
    step: int
    loss: float


class Card(BaseModel):
    """All that is recorded of a trained model."""

    model_config = ConfigDict(extra="forbid")

    schema_version: int = 1
    name: str
    stage: str
    kind: str
    description: str = ""
    licence: str
    command: str
    created: str = ""
    commit: str = ""
    """Of the checkout when the run was started; several, joined by a comma, if it went on with another."""
    seed: int
    configuration: dict[str, JsonValue]
    """As written, with what --set put over it."""
    settings: dict[str, JsonValue]
    """All keys, with the values of those that were not written."""
    versions: dict[str, str] = Field(default_factory=dict)
    machine: str = ""
    data: list[Account] = Field(default_factory=list)
    checked_against: str = ""
    """The evaluation sets that no training text shares an n-gram with."""
    training_pairs: int = 0
    negatives: dict[str, dict[str, int]] = Field(default_factory=dict)
    """Per phase: how the negatives were mined (`mining.mine`)."""
    parameters: int = 0
    curve: list[Point] = Field(default_factory=list)
    scores: dict[str, dict[str, Interval]] = Field(default_factory=dict)
    """Per system (the model, and what it is compared with) the metrics with 95 % intervals."""
    scores_of: str = ""
    """What was scored: how many held-out pairs, among how many passages."""
    gates: list[Gate] = Field(default_factory=list)
    """What the model had to reach, and whether it did."""
    peak_memory: int = 0
    """Bytes that the process held at the most (`launch.peak_memory`): of the GPU if one was used."""
    seconds: float = 0.0
    """Wall time of the last start of the run; a resumed run took longer in all."""
    resumed: int = 0
    """How many times the run was started again."""
    accepted: list[str] = Field(default_factory=list)
    """Settings that were changed while it was under way."""
    manifest: str = ""
    """SHA-256 of manifest.json (`lineage`)."""
    files: dict[str, str] = Field(default_factory=dict)
    """SHA-256 of the model's files."""


def write_card(card: Card, folder: Path) -> None:
    """Completes the card (date, versions, machine, files) and writes card.json and README.md."""
    card.created = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    card.versions = versions()
    card.machine = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    card.files = card.files or model_files(folder)
    (folder / "README.md").write_text(_page(card), "utf-8")
    # At once and last: where there is a card.json, the model is complete.
    partial = folder / "card.json.partial"
    partial.write_text(card.model_dump_json(indent=1) + "\n", "utf-8")
    partial.replace(folder / "card.json")


def model_files(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of a model's folder, by its path in there; not of its papers, nor of a run under way."""
    return {
        name.as_posix(): file_sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.suffix in _LISTED and (name := path.relative_to(folder)).name not in _ABOUT and name.parts[0] != "work"
    }


def versions() -> dict[str, str]:
    """The versions of Python and of those libraries that are installed."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def command(stage: str, config: str | Path, overrides: Sequence[str]) -> str:
    """The command that makes a model again, with the configuration's path from the checkout if it lies in there."""
    path = Path(config).resolve()
    shown = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name
    sets = "".join(f" --set {shlex.quote(override)}" for override in overrides)
    return f"python -m training {stage} --config {shown}{sets}"


def commit() -> str:
    """The commit of the checkout, with "+changes" if files differ from it; "unknown" without git."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _page(card: Card) -> str:
    """The card as Markdown, with the front matter that model hubs read."""
    import yaml

    configuration = yaml.safe_dump(card.configuration, allow_unicode=True, sort_keys=False)
    parts = [
        f"---\nlanguage: zh\nlicense: {card.licence.lower()}\n---\n\n# {card.name}\n",
        card.description,
        f"A {card.kind} {card.stage} with {card.parameters:,} parameters, trained on {card.training_pairs:,} pairs "
        f"(seed {card.seed}) at commit {card.commit[:12]} on {card.created[:10]}. Made again by:\n\n"
        f"```bash\n{card.command}\n```",
        "## Scores",
        card.scores_of,
        _table(("system", "metric", "mean", "95 % interval"), _score_rows(card.scores)),
        "## Gates" if card.gates else "",
        _table(("gate", "measured", "95 % interval", "bound", "n", "verdict"), _gate_rows(card.gates)),
        "## Data",
        _table(
            ("file", "licence", "rows", "read", "kept", "characters", "changed", "dropped", "SHA-256"),
            _data_rows(card.data),
        ),
        f"Checked against the evaluation sets: {card.checked_against or 'not checked'}.",
        *(_mined_lines(card.negatives)),
        "## Training curve",
        _table(("phase", "step", "loss"), [(p.phase, str(p.step), f"{p.loss:.4f}") for p in _thinned(card.curve)]),
        "## Configuration",
        f"```yaml\n{configuration}```",
        "The values of all other keys are in card.json (`settings`).",
        "Versions: " + ", ".join(f"{name} {number}" for name, number in card.versions.items()) + f". {card.machine}.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(head: tuple[str, ...], body: list[tuple[str, ...]]) -> str:
    if not body:
        return ""
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ("---",) * len(head), *body))


def _score_rows(scores: Mapping[str, Mapping[str, Interval]]) -> list[tuple[str, ...]]:
    return [
        (system, metric, f"{mean.value:.3f}", f"{mean.low:.3f} to {mean.high:.3f}")
        for system, metrics in scores.items()
        for metric, mean in metrics.items()
    ]


def _gate_rows(gates: Sequence[Gate]) -> list[tuple[str, ...]]:
    return [
        (
            gate.name,
            f"{gate.value:.4g}",
            f"{gate.low:.4g} to {gate.high:.4g}",
            f"{gate.direction.replace('_', ' ')} {gate.bound:.4g}",
            f"{gate.n:,}",
            "passed" if gate.passed else "**failed**",
        )
        for gate in gates
    ]


_MANY = 5
"""Of so many files of one folder, the page has one row for all; card.json has each."""


def by_folder(data: Sequence[Account]) -> list[tuple[Account, int]]:
    """Accounts with how many files each is of: the many files of one folder and licence have one together."""
    folders: dict[tuple[str, str], list[Account]] = {}
    for entry in data:
        folders.setdefault((entry.path.rpartition("/")[0], entry.licence), []).append(entry)
    found = []
    for (folder, licence), entries in folders.items():
        if len(entries) < _MANY:
            found += [(entry, 1) for entry in entries]
            continue
        whole = Account(path=f"{folder}/", sha256="", licence=licence)
        for entry in entries:
            whole.rows += entry.rows
            whole.read += entry.read
            whole.kept += entry.kept
            whole.characters += entry.characters
            whole.changed.update(entry.changed)
            whole.dropped.update(entry.dropped)
        found.append((whole, len(entries)))
    return found


def _data_rows(data: Sequence[Account]) -> list[tuple[str, ...]]:
    rows = []
    for entry, files in by_folder(data):
        name = f"`{entry.path}`" + (f" ({files} files)" if files > 1 else "")
        digest = "in card.json" if files > 1 else f"`{entry.sha256[:16]}…`"
        changed, dropped = (
            ", ".join(f"{reason} {n:,}" for reason, n in sorted(one.items())) or "none"
            for one in (entry.changed, entry.dropped)
        )
        counts = (f"{n:,}" for n in (entry.rows, entry.read, entry.kept))
        length = f"{entry.characters:,}" if entry.characters else "–"  # where nobody counted them
        rows.append((name, entry.licence or "not stated", *counts, length, changed, dropped, digest))
    return rows


def _mined_lines(negatives: Mapping[str, Mapping[str, int]]) -> list[str]:
    return [
        f"Negatives of {phase}: " + ", ".join(f"{reason} {n:,}" for reason, n in sorted(counts.items())) + "."
        for phase, counts in negatives.items()
    ]


def _thinned(curve: list[Point], most: int = 30) -> list[Point]:
    """At most about so many points, the first and the last among them; card.json has all."""
    if len(curve) <= most:
        return curve
    step = len(curve) / (most - 1)
    return [curve[int(n * step)] for n in range(most - 1)] + [curve[-1]]


def plain(settings: BaseModel) -> dict[str, Any]:
    """Settings as JSON values."""
    dumped: dict[str, Any] = settings.model_dump(mode="json")
    return dumped
