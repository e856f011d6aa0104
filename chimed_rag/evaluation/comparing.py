"""Whether one system is better than another on the same samples; and over many tasks.

Not covered: systems run on different data, protocols or versions: that is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from chimed_rag.evaluation.result import TaskResult
from chimed_rag.evaluation.statistics import Interval
from chimed_rag.records import Record


class Comparison(Record):
    """`b` minus `a` on one metric.

    Attributes:
        difference: with its paired bootstrap interval over groups.
        p: of the exact McNemar test where samples are right or wrong, else of a paired permutation test (two-sided).
        test: which of them.
        p_holm: p after Holm's correction, where several were made together.
        only_a, only_b: samples that only the one had right (McNemar's discordant pairs).
    """

    task: str
    protocol: str
    metric: str
    a: str
    b: str
    n: int
    groups: int
    difference: Interval
    p: float = Field(ge=0, le=1)
    test: str
    p_holm: float | None = None
    only_a: int | None = None
    only_b: int | None = None


def compare(a: TaskResult, b: TaskResult, *, metric: str | None = None) -> Comparison:
    """Compares two results sample by sample.

    Raises:
        InputError: they differ in task, data, protocol, samples or the versions that the numbers depend on; the message
            names both sides.
    """
    raise NotImplementedError


def compare_all(pairs: Sequence[tuple[TaskResult, TaskResult]], *, metric: str | None = None) -> list[Comparison]:
    """Compares each pair, and corrects for their number (Holm 1979)."""
    raise NotImplementedError
