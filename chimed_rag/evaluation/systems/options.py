"""What a named system takes besides (`--set key=value`), checked before anything is loaded.

Not covered: what the keys mean; each system says so.
"""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from chimed_rag.errors import InputError
from chimed_rag.evaluation.systems.base import Setting


class Options(BaseModel):
    """Options of a system; values come as text."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Kind = TypeVar("Kind", bound=Options)


def read_options(kind: type[Kind], setting: Setting) -> Kind:
    """The options of a setting as a system knows them.

    Raises:
        InputError: one that the system does not know, or a value that it cannot use; lists those there are.
    """
    try:
        return kind.model_validate(setting.options or {})
    except ValidationError as error:
        first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
        key = ".".join(map(str, first["loc"]))
        known = ", ".join(kind.model_fields) or "none"
        raise InputError(f"--set {key}={first['input']}: {first['msg']}; there are: {known}") from None
