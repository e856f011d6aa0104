"""Settings of a training run: YAML and `--set key=value` become pydantic models; errors name file and key.

Not covered: what the keys mean, which stands with each model. A path in a configuration is relative to the current
folder (the checkout); `$CHIMED_SHARED` in it is the folder of the shared data, beside the checkout if the variable is
not set. What is recorded is the path as written, so that a card names no machine.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from chimed_rag import config
from chimed_rag.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]
SHARED = "CHIMED_SHARED"
_VARIABLE = re.compile(r"\$(\w+|\{\w+\})")


class Settings(BaseModel):
    """Base of all settings: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


AnySettings = TypeVar("AnySettings", bound=Settings)


def located(path: str) -> Path:
    """Where a path of a configuration lies on this machine.

    Raises:
        ConfigError: it names an environment variable that is not set.
    """
    shared = os.environ.get(SHARED) or str(ROOT.parent / "shared")
    found = os.path.expandvars(path.replace(f"${{{SHARED}}}", shared).replace(f"${SHARED}", shared))
    if unset := _VARIABLE.search(found):
        raise ConfigError(f"{path}: the environment variable {unset[0]} is not set")
    return Path(found).expanduser()


def read_yaml(path: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The mapping of a YAML file, with each override `a.b=value` put in its place.

    Values are YAML too (`--set rounds.0.epochs=2`, `--set "data.kinds=[natural_qa]"`); a number in the key is a place
    in a list.

    Raises:
        ConfigError: the file cannot be read or is no mapping, or an override does not fit it.
    """
    import yaml

    data = config.read_yaml(path)
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: holds no keys, but {type(data).__name__}")
    for override in overrides:
        key, sign, text = override.partition("=")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            raise ConfigError(f"--set {override}: the value is not YAML") from None
        if not sign or not key.strip():
            raise ConfigError(f"--set {override}: write it as key=value, for example --set seed=2")
        _put(data, key.strip().split("."), value, f"--set {override}")
    return data


def _put(data: Any, keys: Sequence[str], value: Any, what: str) -> None:
    for key in keys[:-1]:
        if isinstance(data, list):
            data = data[_place(data, key, what)]
        elif isinstance(data, dict):
            data = data.setdefault(key, {})
    if isinstance(data, list):
        data[_place(data, keys[-1], what)] = value
    elif isinstance(data, dict):
        data[keys[-1]] = value
    else:
        raise ConfigError(f"{what}: there is a plain value where {keys[-1]!r} should stand beneath it")


def _place(data: list[Any], key: str, what: str) -> int:
    if not key.isdecimal() or int(key) >= len(data):
        raise ConfigError(f"{what}: {key!r} is no place in a list of {len(data)} (0 to {len(data) - 1})")
    return int(key)


def validated(model: type[AnySettings], data: dict[str, Any], where: str | Path) -> AnySettings:
    """The settings as `model` knows them.

    Raises:
        ConfigError: a key is unknown, missing or has a wrong value; the message names `where` and the key.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        # An unknown key first: a misspelt one also leaves a needed one missing.
        first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
        key = ".".join(str(part) for part in first["loc"]) or "the file"
        known = ""
        if first["type"] == "extra_forbidden":
            known = _known(model, first["loc"][:-1])
        raise ConfigError(f"{where}: {key}: {first['msg']}{known}") from None


def _known(model: type[BaseModel], path: Sequence[str | int]) -> str:
    """What keys there are at a place of nested settings, as an addition to an error."""
    for part in path:
        if isinstance(part, int) or part not in model.model_fields:
            continue  # a place in a list, or the tag of a union
        inner = _models(model.model_fields[part].annotation)
        if len(inner) != 1:
            return ""
        model = inner[0]
    return f"; there are: {', '.join(model.model_fields)}"


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _models(part)]
