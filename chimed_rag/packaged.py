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
def rows(package: str, name: str) -> tuple[tuple[str, ...], ...]:
    """The rows of a tab-separated table, without blank lines and comments (#)."""
    lines = source(package, name).splitlines()
    return tuple([tuple(line.split("\t")) for line in lines if line and not line.startswith("#")])


def parsed(text: str) -> Any:
    """What a YAML text says; libyaml, where the build has it, reads it ten times faster.

    Raises:
        yaml.YAMLError: it is not YAML.
    """
    import yaml

    return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe
