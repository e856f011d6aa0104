"""All stages, one after the other, from one configuration: from nothing to an aligned model with one command.

    output_dir: models/nano              each stage goes to output_dir/NAME
    shared: {seed: 1, device: cpu}       keys that every stage has unless it says otherwise, nested ones too
    skip: []                             names of stages to leave out (an ablation); give it an output_dir of its own
    prepare: training.own:write          what writes rows into output_dir/data before all else, where one is needed
    stages:
      - {name: pretrain, stage: pretrain, …}               the settings of that stage
      - {name: sft, stage: sft, base: "{previous}", …}     the policy before it
      - {name: reward, stage: reward, base: "{previous}", …}
      - {name: reject, stage: reject, base: "{previous}", reward: "{reward.folder}", …}

`{NAME.folder}` is an earlier stage's model; `{previous}` that of the last stage before which makes a policy, so reward
models are passed over; `{prepared}` is output_dir/data. All settings are checked before the first stage begins. A
failed gate stops the pipeline; killed and started again it goes on in the stage where it was. Not covered: what stages
do; several at once.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from chimed_rag.errors import ConfigError
from training.card import command
from training.gates import GateError, read_gates
from training.launch import is_first, wait
from training.settings import Settings, located, read_yaml, validated
from training.stages import STAGES, StageSettings, run_settings

FILE = "pipeline.json"
DATA = "data"
JUDGES = ("reward",)
"""Stages whose model is no policy."""
UNTRAINED = {"gates": False, "fit": {"max_steps": 1, "warmup": 0.5}}
"""What a skipped stage without a base runs with: its single step is one of the warm-up, at a rate of zero."""
_REFERENCE = re.compile(r"\{(previous|prepared|[\w-]+\.folder)\}")
_NOTHING = {"previous": "no stage before it makes a policy", "prepared": "the pipeline has no `prepare`"}
_NAME = re.compile(r"[A-Za-z0-9][\w-]*")
_log = logging.getLogger(__name__)


class PipelineSettings(Settings):
    """The keys of a pipeline; see the module.

    Args:
        output_dir: each stage's model goes into a folder of its name in there.
        shared: keys of every stage (`stages.StageSettings`), beneath a stage's own.
        skip: stages to leave out. What refers to one gets the model that it would have begun with; one that would
            have begun from nothing leaves its model untrained. A reward model has nothing that could stand for it.
        prepare: "module:function" that is given output_dir/data and writes rows there, the same ones every time.
        stages: each with `name`, `stage` and the settings of that stage but output_dir.
        description: for the report.
    """

    output_dir: str = Field(min_length=1)
    shared: dict[str, Any] = Field(default_factory=dict)
    skip: list[str] = Field(default_factory=list)
    prepare: str | None = Field(None, pattern=r"^[\w.]+:\w+$")
    stages: list[dict[str, Any]] = Field(min_length=1)
    description: str = ""


class Step(NamedTuple):
    """A stage of the pipeline, its references resolved; `skipped` if it is not to be run at all."""

    name: str
    stage: str
    settings: dict[str, Any]
    folder: str
    skipped: bool


class Progress(BaseModel):
    """What became of a stage; `why` is the error that ended it."""

    model_config = ConfigDict(extra="forbid")

    name: str
    stage: str
    state: Literal["waiting", "running", "done", "failed", "skipped"] = "waiting"
    why: str = ""


class Record(BaseModel):
    """pipeline.json: how far a pipeline has come."""

    model_config = ConfigDict(extra="forbid")

    schema_version: int = 1
    name: str
    description: str = ""
    command: str
    stages: list[Progress]


def read_pipeline(config: str | Path, overrides: Sequence[str] = ()) -> tuple[PipelineSettings, list[Step]]:
    """A configuration with its stages resolved and their settings checked; runs nothing.

    Args:
        config: YAML file.
        overrides: `a.b=value`, put over the file's; a stage is meant by its name or place (`stages.sft.seed=2`).

    Raises:
        ConfigError: a key, a name or a reference is wrong; names the stage.
        UnknownNameError: no such stage.
    """
    named = [stage.get("name") for stage in _maps(read_yaml(config).get("stages"))]
    places = {f"stages.{name}.": f"stages.{n}." for n, name in enumerate(named)}
    pointed = [
        next((place + one[len(key) :] for key, place in places.items() if one.startswith(key)), one)
        for one in overrides
    ]
    settings = validated(PipelineSettings, read_yaml(config, pointed), config)
    return settings, _steps(settings, config)


def _maps(stages: Any) -> list[Mapping[str, Any]]:
    return [stage for stage in stages if isinstance(stage, Mapping)] if isinstance(stages, list) else []


def run_pipeline(
    config: str | Path,
    overrides: Sequence[str] = (),
    *,
    fresh: bool = False,
    say: Callable[[str], None] = _log.info,
) -> Path:
    """Runs all stages, or goes on with them; returns the folder of the pipeline. Finished stages are left as they are.

    Args:
        config, overrides: as `read_pipeline`.
        fresh: begin all stages anew.
        say: where progress is told.

    Raises:
        ConfigError, UnknownNameError: as `read_pipeline`, before anything is begun.
        GateError: a gate of a stage failed, now or before; those that come after are not begun.
        ChiMedError: a stage's own.
    """
    settings, steps = read_pipeline(config, overrides)
    made_by = command("pipeline", config, overrides)
    folder = located(settings.output_dir)
    record = Record(
        name=folder.name,
        description=settings.description,
        command=made_by,
        stages=[Progress(name=s.name, stage=s.stage, state="skipped" if s.skipped else "waiting") for s in steps],
    )
    begun = time.monotonic()
    if not is_first():
        say = _silent
    if settings.prepare is not None:
        module, _, function = settings.prepare.partition(":")
        if is_first():
            getattr(import_module(module), function)(folder / DATA)
        wait()
    for n, (step, progress) in enumerate(zip(steps, record.stages, strict=True), 1):
        if step.skipped:
            say(f"stage {n} of {len(steps)}, {step.name}: skipped")
            continue
        say(f"stage {n} of {len(steps)}, {step.name}")
        _keep(record, folder, progress, "running")
        where = f"{config}: {step.name}"
        try:
            run_settings(step.stage, step.settings, where, made_by, fresh, lambda text: say(f"{step.name}: {text}"))  # noqa: B023
        except BaseException as error:
            _keep(record, folder, progress, "failed", f"{type(error).__name__}: {error}".rstrip(": "))
            if isinstance(error, GateError):
                raise GateError(f"stage {step.name}: {error}") from error
            raise
        _keep(record, folder, progress, "done")
    _sum_up(steps, say, time.monotonic() - begun)
    return folder


def _silent(_: str) -> None:
    """Says nothing: of several processes the first speaks."""


def _sum_up(steps: Sequence[Step], say: Callable[[str], None], seconds: float) -> None:
    gates = [(step.name, gate) for step in steps if not step.skipped for gate in read_gates(located(step.folder))]
    for name, gate in gates:
        say(f"{name}: {gate}")
    passed = sum(gate.passed for _, gate in gates)
    say(f"all stages are done, {passed} of {len(gates)} gates passed, {seconds:,.0f} s since this start")


def _keep(record: Record, folder: Path, progress: Progress, state: Any, why: str = "") -> None:
    progress.state, progress.why = state, why
    if not is_first():
        return
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / (FILE + ".partial")
    partial.write_text(json.dumps(record.model_dump(), ensure_ascii=False, indent=1) + "\n", "utf-8")
    partial.replace(folder / FILE)


def _steps(settings: PipelineSettings, where: str | Path) -> list[Step]:
    if unknown := sorted(settings.shared.keys() - StageSettings.model_fields.keys()):
        known = ", ".join(StageSettings.model_fields)
        raise ConfigError(f"{where}: shared: {unknown[0]!r} is no key of every stage; there are: {known}")
    models: dict[str, str | None] = {}  # what `{NAME.folder}` stands for; None if nothing can
    previous: str | None = None
    prepared = f"{settings.output_dir.rstrip('/')}/{DATA}" if settings.prepare else None
    steps = []
    for n, own in enumerate(settings.stages):
        name, stage, place = _named(own, f"{where}: stages.{n}", models)
        folder = f"{settings.output_dir.rstrip('/')}/{name}"
        if "output_dir" in own or "output_dir" in settings.shared:
            raise ConfigError(f"{place}: output_dir: is the pipeline's, {folder}")
        keys = _over(settings.shared, {key: value for key, value in own.items() if key not in ("name", "stage")})
        skipped = name in settings.skip and (stage in JUDGES or keys.get("base") is not None)
        if skipped:
            keys = {"base": keys.get("base")}  # all that is still asked of it
        elif name in settings.skip:
            keys = _over(keys, UNTRAINED)
        keys = _resolved(keys, {**models, "previous": previous, "prepared": prepared}, place) | {"output_dir": folder}
        if not skipped:
            validated(STAGES.get(stage).settings, {"stage": stage, **keys}, place)
        steps.append(Step(name, stage, keys, folder, skipped))
        models[name] = (None if stage in JUDGES else keys["base"]) if skipped else folder
        if stage not in JUDGES:
            previous = models[name]
    if unknown := [name for name in settings.skip if name not in models]:
        raise ConfigError(f"{where}: skip: no stage is called {unknown[0]!r}; there are: {', '.join(models)}")
    return steps


def _named(own: Mapping[str, Any], place: str, others: Mapping[str, Any]) -> tuple[str, str, str]:
    """Name and stage of an entry, and how an error should call it."""
    name, stage = own.get("name"), own.get("stage")
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name in ("previous", "prepared", DATA):
        raise ConfigError(f"{place}: needs a name of letters, digits, _ and -, not {name!r}")
    if name in others:
        raise ConfigError(f"{place}: another stage is called {name}, too")
    if not isinstance(stage, str):
        raise ConfigError(f"{place} ({name}): stage: is {stage!r}; there are: {', '.join(STAGES.names())}")
    return name, stage, f"{place} ({name})"


def _over(beneath: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Two mappings as one; where both have one beneath a key, those are merged the same way."""
    merged = dict(beneath)
    for key, value in above.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _over(merged[key], value) if both else value
    return merged


def _resolved(value: Any, models: Mapping[str, str | None], where: str) -> Any:
    """The same with its references replaced; `models` holds what they stand for."""

    def model(found: re.Match[str]) -> str:
        name = found[1].removesuffix(".folder")
        if name not in models:
            others = ", ".join(other for other in models if other not in _NOTHING)
            raise ConfigError(f"{where}: {found[0]}: no stage before it is called {name!r}; there are: {others}")
        place = models[name]
        if place is None:
            why = _NOTHING.get(name, f"{name} is skipped, and nothing can stand for it; skip this one too")
            raise ConfigError(f"{where}: {found[0]}: {why}")
        return place

    if isinstance(value, str):
        return _REFERENCE.sub(model, value)
    if isinstance(value, Mapping):
        return {key: _resolved(inner, models, f"{where}: {key}") for key, inner in value.items()}
    if isinstance(value, list):
        return [_resolved(inner, models, where) for inner in value]
    return value
