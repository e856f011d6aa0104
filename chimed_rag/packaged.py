"""The tables and lists that lie beside the modules: tab-separated rows, and YAML read by the fast loader.

Not covered: the user's own files, whose errors have to name file and line (`config`, `corpus`).
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any


def source(package: str, name: str) -> str:
    """The text of a file beside the modules of a package."""
    return resources.files(package).joinpath(name).read_text("utf-8")


@cache
def rows(package: str, name: str) -> list[list[str]]:
    """The rows of a tab-separated table, without blank lines and comments (#)."""
    return [line.split("\t") for line in source(package, name).splitlines() if line and not line.startswith("#")]


def parsed(text: str) -> Any:
    """What a YAML text says; libyaml, where the build has it, reads it ten times faster.

    Raises:
        yaml.YAMLError: it is not YAML.
    """
    import yaml

    return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe
