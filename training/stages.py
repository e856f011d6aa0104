"""The stages that make a language model: what their settings share, how one is found by name, how one is run.

Not covered: what a stage does (a module each). Needs torch only where a stage does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field

from chimed_rag.registry import Registry
from training.card import command
from training.fitting import Device, Optimisation, device_name
from training.launch import require
from training.pairs import Hygiene
from training.run import Run, carry_out
from training.settings import Settings, read_yaml, validated

_log = logging.getLogger(__name__)


class Source(Settings):
    """One file or glob of rows, and how much of it is wanted.

    Args:
        path: see `settings`.
        form: `texts`, `dialogues`, `ranked` are our own (`contracts`); of the others see `sources`.
        licence: of the file, for the card.
        share: of all tokens (texts; of characters where a new model has no tokenizer yet), or rows (else), that this
            source makes up; null takes all there is.
        domain: of its texts.
        limit: at most so many rows, drawn by chance.
        fields: which fields of a row hold what, where the form asks for it.
    """

    path: str
    form: str = "dialogues"
    licence: str = ""
    share: float | None = Field(None, gt=0, le=1)
    domain: Literal["medical", "general"] = "medical"
    limit: int | None = Field(None, ge=1)
    fields: dict[str, str] = Field(default_factory=dict)


class Data(Settings):
    """The rows that a stage learns from.

    Args:
        sources: files.
        hygiene: what is taken out of them; `evaluation` must be written, if only as null.
        redact: replace identifiers (`chimed_rag.safety.redaction`).
        held_out: rows kept apart to measure on, all rows of one prompt on the same side.
        tokens: of a text stage, so many in all, mixed by the shares of the sources; null takes what there is.
    """

    sources: list[Source] = Field(min_length=1)
    hygiene: Hygiene
    redact: bool = True
    held_out: int = Field(200, ge=0)
    tokens: int | None = Field(None, ge=1)


class Lora(Settings):
    """Low-rank adapters (Hu et al. 2021, arXiv:2106.09685) on all linear layers, in place of the weights themselves.

    Args:
        rank, alpha, dropout: as in peft.
    """

    rank: int = Field(64, ge=1)
    alpha: int = Field(128, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)


class StageSettings(Settings):
    """The keys that every stage has.

    Args:
        stage: a name of STAGES.
        output_dir: where the model and its card go.
        base: the folder of the model to begin with (that of an earlier stage), or a hub name.
        seed: of every draw and every initial weight.
        device: auto takes a GPU if there is one.
        data: what it learns from.
        fit: how weights move.
        max_tokens: of one row; what is longer is cut where the stage says so, or dropped and counted.
        lora: train adapters; null trains all weights.
        gates: whether a failed gate (`gates`) is an error; they are measured and written down in any case.
        licence, description: for the card.
    """

    stage: str
    output_dir: str = Field(min_length=1)
    base: str | None = None
    seed: int = Field(1, ge=0)
    device: Device = "auto"
    data: Data
    fit: Optimisation = Optimisation()
    max_tokens: int = Field(1024, ge=16)
    lora: Lora | None = None
    gates: bool = True
    licence: str = "Apache-2.0"
    description: str = ""


class Stage(NamedTuple):
    """What a module of a stage offers: its settings, and its training.

    `train(settings, run)` reads its rows by `sources.read`, trains in phases of the run, notes `run.card.scores` and
    gates, and ends with `run.finish(folder of the model)`.
    """

    settings: type[StageSettings]
    train: Callable[[Any, Run], None]


STAGES = Registry(
    "stage",
    {
        "pretrain": "training.pretrain:STAGE",
        "sft": "training.sft:STAGE",
        "reward": "training.reward:STAGE",
        "reject": "training.reject:STAGE",
        "prefer": "training.prefer:STAGE",
    },
)


def run_stage(
    name: str,
    config: str | Path,
    overrides: Sequence[str] = (),
    *,
    fresh: bool = False,
    accept: Sequence[str] = (),
    say: Callable[[str], None] = _log.info,
) -> Path:
    """Runs one stage, or goes on with it; returns the folder of the model. A finished one is left as it is.

    Args:
        name: of the stage.
        config: its YAML file.
        overrides: `a.b=value`, put over the file's.
        fresh: begin anew in a folder that an earlier run left.
        accept: keys that may differ from those of an earlier start (`Run`).
        say: where progress is told.

    Raises:
        ConfigError, InputError: the configuration or the folder cannot be used; names file and key.
        CorpusError: a data file cannot be read.
        GateError: a gate failed; the model is there, and the card says which.
    """
    made_by = command(name, config, overrides)
    return run_settings(name, read_yaml(config, overrides), config, made_by, fresh, say, accept=accept)


def run_settings(
    name: str,
    data: dict[str, Any],
    where: str | Path,
    made_by: str,
    fresh: bool,
    say: Callable[[str], None],
    *,
    accept: Sequence[str] = (),
) -> Path:
    """`run_stage` for keys that are there already (`pipeline`)."""
    stage: Stage = STAGES.get(name)
    settings = validated(stage.settings, {"stage": name, **data}, where)
    require(settings.fit.machine, device_name(settings.device), lora=settings.lora is not None)
    return carry_out(
        stage.train,
        settings,
        stage=name,
        kind="language model",
        made_by=made_by,
        configuration=data,
        fresh=fresh,
        accept=accept,
        say=say,
    )
