"""One training run: its folder, its phases, and how it goes on after it was killed.

    output_dir/           the model, card.json, manifest.json, gates.json if it was judged, README.md
    work/ (in output_dir) while the run lasts: run.json (settings, data hashes) and a folder a phase (checkpoint-N while
                          it is trained, then model/ and curve.json, sealed)

A run that is started again with the same settings, data and parents goes on where it was; with others it is refused,
as the trainers beneath would silently keep the old learning rate and batch size. Some settings may be changed under way
if they are accepted by name (`fitting.LIVE`). Of several processes (`launch`) all take part in a phase that is trained
together; the first alone writes, speaks, and does what remains. Not covered: what a phase does.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from pydantic import JsonValue

from chimed_rag.errors import InputError
from training.card import Card, Point, commit, model_files, plain, write_card
from training.checkpoints import CHECKPOINTS, is_whole, seal, writing
from training.files import Ledger
from training.fitting import LIVE
from training.gates import FILE as GATES
from training.gates import Gate, read_gates, require, write_gates
from training.launch import is_first, peak_memory, wait
from training.lineage import FILE as MANIFEST
from training.lineage import Parent, parents_of, read_manifest, write_manifest
from training.settings import Settings, located

STATE = "run.json"
_PASSED_OVER = {"output_dir": None, "gates": None}
"""Settings that do not change the model: where it lies, and whether a failed gate is an error."""


class Trained(Protocol):
    """The keys that the settings of every run have."""

    @property
    def output_dir(self) -> str:
        """Where the model and its card go."""

    @property
    def seed(self) -> int:
        """Of every draw and every initial weight."""

    @property
    def licence(self) -> str:
        """Of the model."""

    @property
    def description(self) -> str:
        """For the card."""


def carry_out(
    train: Callable[[Any, Run], None],
    settings: Any,
    *,
    stage: str,
    kind: str,
    made_by: str,
    configuration: dict[str, JsonValue],
    fresh: bool = False,
    accept: Sequence[str] = (),
    say: Callable[[str], None],
) -> Path:
    """Trains what settings ask for, or goes on with it; returns the folder of the model. A finished one stays as it is.

    Args:
        train: given the settings and the run.
        settings: with the keys of `Trained`.
        stage, kind, made_by, configuration: for the card.
        fresh, accept, say: as of `Run`.

    Raises:
        InputError, GateError: as `Run`; and what `train` raises.
    """
    named: Trained = settings
    card = Card(
        name=Path(named.output_dir).name,
        stage=stage,
        kind=kind,
        description=named.description,
        licence=named.licence,
        command=made_by,
        seed=named.seed,
        configuration=configuration,
        settings=plain(settings),
    )
    run = Run(settings, named.output_dir, card, fresh=fresh, accept=accept, say=say)
    if run.finished:
        run.say(f"{run.folder} holds this model already; --fresh trains it anew")
    else:
        with suppress(_RestingError):
            train(settings, run)
        wait()
        run.say(f"done: {run.folder}")
    return run.folder


class Run:
    """A run in its folder.

    Args:
        settings: all that determines the model; compared with those of an earlier start.
        output_dir: where the model goes, as the configuration writes it.
        card: filled in as the run goes on.
        accept: keys of the settings (`fit.learning_rate`) that may differ from those of an earlier start; they count
            for what is still to be done.
        fresh: throw away what an earlier start left (the work folder and the card) and begin anew.
        say: where progress is told.

    Raises:
        InputError: the folder belongs to a run with other settings or parents, or holds files that no run made; or a
            key to be accepted cannot be changed under way.
        GateError: it is finished, and a gate of it failed that the settings enforce.
    """

    def __init__(
        self,
        settings: Settings,
        output_dir: str,
        card: Card,
        *,
        accept: Sequence[str] = (),
        fresh: bool = False,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.first = is_first()
        if not self.first:
            say = _silent
        self.folder, self.card, self.say = located(output_dir), card, say
        self.work = self.folder / "work"
        self._started = time.monotonic()
        self.gates: list[Gate] = []
        now = plain(settings) | _PASSED_OVER
        self._parents = parents_of(plain(settings))
        state, card_file = self.work / STATE, self.folder / "card.json"
        if fresh and self.first:
            self._clear(card_file)
        wait()
        self.finished = False
        if card_file.is_file():
            self._same(json.loads(card_file.read_text("utf-8"))["settings"] | _PASSED_OVER, now, ())
            manifest = read_manifest(self.folder)
            self._same_parents(manifest.parents if manifest else {})
            self.finished = True
            self.gates = read_gates(self.folder)
            if plain(settings).get("gates", False):
                require(self.gates, self.folder)
            if self.first:
                shutil.rmtree(self.work, ignore_errors=True)  # killed just before it would have been removed
        elif state.is_file():
            self._state = {"accepted": [], "parents": {}} | json.loads(state.read_text("utf-8"))
            self._state["resumed"] += 1
            changes = self._same(self._state["settings"], now, accept)
            self._state["accepted"] += [f"{change}, from restart {self._state['resumed']} on" for change in changes]
            self._state["settings"] = now
            self._same_parents({key: Parent(**parent) for key, parent in self._state["parents"].items()})
            self.gates = read_gates(self.folder)
            say("; ".join([f"going on in {self.folder}", *changes]))
        else:
            if self.folder.exists() and any(self.folder.iterdir()) and not fresh:
                raise InputError(
                    f"{self.folder} holds other files; give another output_dir, or --fresh to write over them"
                )
            # Nothing is written before the data were read: a first start that fails leaves the folder free.
            parents = {key: parent.model_dump() for key, parent in self._parents.items()}
            self._state = {"settings": now, "data": {}, "resumed": 0, "negatives": {}, "commits": [], "accepted": []}
            self._state["parents"] = parents
        wait()  # nobody writes before all have read

    def data(self, ledger: Ledger) -> None:
        """Notes the data; call it once all files are read, before anything is trained.

        Raises:
            InputError: a file is not what it was when the run was first started.
        """
        now = {entry.path: entry.sha256 for entry in ledger}
        then = self._state["data"]
        if then and then != now:
            changed = sorted(path for path in then.keys() | now.keys() if then.get(path) != now.get(path))
            raise InputError(f"{changed[0]} is not what it was when this run began; start anew with --fresh")
        self._state["data"] = now
        self._state["commits"] = list(dict.fromkeys([*self._state["commits"], commit()]))
        self._keep()
        self.card.data = ledger

    def phase(self, name: str, make: Callable[[Path], list[Point]], *, together: bool = False) -> Path:
        """The folder of the model that a phase gives, trained now or finished before.

        Args:
            name: of the phase; a folder in `work`.
            make: trains, given the phase's folder; leaves the model in its `model/` and returns the curve.
            together: all processes make it, and the first writes the model; else the first makes it alone.

        Raises:
            TrainingError: the disk is full.
        """
        folder = self.work / name
        curve = folder / "curve.json"
        finished = is_whole(folder)
        wait()  # nobody writes there before all have looked
        if finished:
            self.say(f"{name}: was finished before")
        elif together or self.first:
            with writing(folder):
                folder.mkdir(parents=True, exist_ok=True)
                self.say(f"{name}: begins")
                points = make(folder)
                if self.first:
                    curve.write_text(json.dumps([point.model_dump() for point in points]), "utf-8")
                    seal(folder)
        wait()
        for checkpoint in folder.glob(CHECKPOINTS) if self.first else ():
            shutil.rmtree(checkpoint)
        self.card.curve += [Point(**point) for point in json.loads(curve.read_text("utf-8"))]
        return folder / "model"

    def rest(self) -> None:
        """What follows is for the first process alone: the others go on after the run (`carry_out`)."""
        if not self.first:
            raise _RestingError

    def note_negatives(self, phase: str, counts: Mapping[str, int]) -> None:
        """Keeps how the negatives of a phase were mined, for the card; also for a later start that skips the phase."""
        self._state["negatives"][phase] = dict(counts)
        self._keep()

    def write(self, name: str, text: str) -> None:
        """Writes a file beside the card to be, at once; what is in a phase's folder is sealed and may not change."""
        if not self.first:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / (name + ".partial")
        partial.write_text(text, "utf-8")
        partial.replace(self.folder / name)

    def note_gates(self, gates: Sequence[Gate]) -> None:
        """Keeps gates, each in place of an earlier one of its name, beside the card to be."""
        named = {gate.name: gate for gate in [*self.gates, *gates]}
        self.gates = list(named.values())
        if self.first:
            write_gates(self.gates, self.folder)

    def finish(self, model: Path) -> None:
        """Moves the last model into the run's folder, writes manifest and card, and removes the work folder.

        Raises:
            TrainingError: the disk is full.
        """
        if not self.first:
            return
        with writing(self.folder):
            shutil.copytree(model, self.folder, dirs_exist_ok=True)
            self.card.commit = ", ".join(self._state["commits"])
            self.card.negatives = self._state["negatives"]
            self.card.accepted = self._state["accepted"]
            self.card.gates = self.gates
            self.card.resumed = self._state["resumed"]
            self.card.peak_memory = peak_memory()
            self.card.seconds = round(time.monotonic() - self._started, 1)
            self.card.files = model_files(self.folder)
            self.card.manifest = write_manifest(self.card, self.folder, self._parents)
            write_card(self.card, self.folder)
        self.finished = True
        shutil.rmtree(self.work)

    def _clear(self, card_file: Path) -> None:
        """Removes what an earlier run wrote, and nothing else."""
        shutil.rmtree(self.work, ignore_errors=True)
        (self.folder / GATES).unlink(missing_ok=True)
        if card_file.is_file():
            for name in [*json.loads(card_file.read_text("utf-8"))["files"], "README.md", MANIFEST, "card.json"]:
                (self.folder / name).unlink(missing_ok=True)

    def _same(self, then: dict[str, Any], now: dict[str, Any], accept: Sequence[str]) -> list[str]:
        """Whether the settings are the same but for what is accepted; says what that changes."""
        changes = {key: f"{key}: {one!r} then, {other!r} now" for key, one, other in _differences(then, now)}
        if dead := [key for key in changes if key in accept and key.rpartition(".")[2] not in LIVE]:
            raise InputError(
                f"{changes[dead[0]]}: this cannot be changed while a run is under way; what can: {', '.join(LIVE)}. "
                "Begin anew with --fresh"
            )
        for key, change in changes.items():
            if key not in accept:
                live = not (self.folder / "card.json").is_file() and key.rpartition(".")[2] in LIVE
                raise InputError(
                    f"{self.folder} belongs to a run with other settings ({change}); give another output_dir, or "
                    "--fresh to begin anew there" + (f", or --accept {key} to go on with the new value" if live else "")
                )
        return list(changes.values())

    def _same_parents(self, then: Mapping[str, Parent]) -> None:
        for key, parent in then.items():
            now = self._parents.get(key)
            if now is not None and now.digest != parent.digest:
                raise InputError(
                    f"{key}: {now.path} is not the model that it was when {self.folder} was begun; start anew with "
                    "--fresh"
                )

    def _keep(self) -> None:
        if not self.first:
            return
        self.work.mkdir(parents=True, exist_ok=True)
        partial = self.work / (STATE + ".partial")
        partial.write_text(json.dumps(self._state, ensure_ascii=False, indent=1), "utf-8")
        partial.replace(self.work / STATE)


class _RestingError(Exception):
    """Takes a process that is not the first out of a run whose rest is the first's."""


def _silent(_: str) -> None:
    """Says nothing."""


def _differences(then: Any, now: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Dotted key, value then and value now of all that differs."""
    if isinstance(then, dict) and isinstance(now, dict):
        for name in {**then, **now}:
            yield from _differences(then.get(name), now.get(name), f"{key}.{name}" if key else name)
    elif isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        for n, (one, other) in enumerate(zip(then, now, strict=True)):
            yield from _differences(one, other, f"{key}.{n}")
    elif then != now:
        yield key, then, now
