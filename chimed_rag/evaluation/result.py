"""The record that every task gives back, and the versions that belong in it.

Not covered: how a number comes about (one module a task), and its interval (`evaluation.statistics`).
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

from pydantic import Field

from chimed_rag import __version__
from chimed_rag.evaluation.statistics import Interval, Percentiles
from chimed_rag.records import Record


class Result(Record):
    """What a system scored on a task; `chimed evaluate TASK --json` prints this object.

    `metrics` have 95 % bounds, `n` counts what they are over, `latency_ms` is per question in milliseconds where it was
    taken; `data_sha256` is that of the files read, one after the other.
    """

    task: str
    system: str
    protocol: str
    n: int = Field(ge=1)
    data_sha256: str
    metrics: dict[str, Interval]
    latency_ms: Percentiles | None = None
    versions: dict[str, str] = Field(default_factory=dict)


def rounded(metrics: Mapping[str, Interval]) -> dict[str, Interval]:
    """The metrics with six decimals."""
    return {
        name: Interval(value=round(mean.value, 6), low=round(mean.low, 6), high=round(mean.high, 6))
        for name, mean in metrics.items()
    }


def library_versions(*packages: str) -> dict[str, str]:
    """chimed_rag, Python, numpy, scipy and further packages, by the name under which each is installed."""
    found = {"chimed_rag": __version__, "python": platform.python_version()}
    for package in ("numpy", *packages, "scipy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # vendored without its metadata
            found[package] = "unknown"
    return found
