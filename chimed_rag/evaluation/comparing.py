"""Whether one system is better than another on the same samples; and over many tasks.

A metric is compared where it is a mean over samples, another ratio of two sums over them (`Protocol.parts`), or a
function of sums over the corpus, such as BLEU (`Protocol.corpus`); that is checked against the result's own number. Not
covered: systems run on different data, protocols or versions: that is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import Field

from chimed_rag.errors import InputError
from chimed_rag.evaluation.protocols.base import protocol
from chimed_rag.evaluation.result import TaskResult, rounded
from chimed_rag.evaluation.run_folder import ids_sha256
from chimed_rag.evaluation.significance import (
    Parts,
    Sums,
    by_group,
    corpus_difference,
    corpus_permutation,
    difference,
    holm,
    mcnemar,
    permutation,
)
from chimed_rag.evaluation.statistics import Interval, sums_by_group
from chimed_rag.records import Record


class Comparison(Record):
    """`b` minus `a` on one metric.

    Attributes:
        difference: with its paired bootstrap interval over groups.
        p: of the exact McNemar test where samples are right or wrong, each for itself, else of a paired permutation
            test that swaps whole groups (two-sided).
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
    """Compares two results sample by sample; an invalid reply and an error are as wrong as a wrong one.

    Args:
        metric: the result's first if None.

    Raises:
        InputError: they differ in task, data, protocol, samples or the versions that the numbers depend on (the message
            names both sides); or the metric cannot be taken apart by samples (it lists those that can).
        MissingExtraError: scipy is not installed.
    """
    _alike(a, b)
    name = metric or next(iter(a.metrics))
    one, two = _parts(a, name), _parts(b, name)
    if one is None or two is None:
        if (whole := _sums(a, name)) is not None and (other_whole := _sums(b, name)) is not None:
            gap, p = corpus_difference(whole, other_whole), corpus_permutation(whole, other_whole)
            return _told(a, b, name, gap, groups=len(whole.rows), p=p, test="approximate randomization")
        able = [other for other in a.metrics if all((_parts(r, other) or _sums(r, other)) is not None for r in (a, b))]
        raise InputError(
            f"{a.task} by {a.protocol} cannot be compared by {name}"
            + (": it is not taken sample by sample" if name in a.metrics else ": there is no such number")
            + f"; compare by: {', '.join(able) or 'none'}"
        )
    groups = [sample.group for sample in a.run.task.samples]
    binary = all(((part.below == 1) & ((part.above == 0) | (part.above == 1))).all() for part in (one, two))
    only_a = int(((one.above == 1) & (two.above == 0)).sum())
    only_b = int(((one.above == 0) & (two.above == 1)).sum())
    grouped_a, grouped_b = by_group(one, groups), by_group(two, groups)
    if binary and len(grouped_a.above) == len(groups):
        test, p = "exact McNemar", mcnemar(only_a, only_b)
    else:
        test, p = "paired permutation", permutation(grouped_a, grouped_b)
    found = _told(a, b, name, difference(grouped_a, grouped_b), groups=len(grouped_a.above), p=p, test=test)
    return found.model_copy(update={"only_a": only_a, "only_b": only_b}) if binary else found


def _told(a: TaskResult, b: TaskResult, metric: str, gap: Interval, *, groups: int, p: float, test: str) -> Comparison:
    return Comparison(
        task=a.task,
        protocol=a.protocol,
        metric=metric,
        a=a.system,
        b=b.system,
        n=a.n,
        groups=groups,
        difference=rounded({"": gap})[""],
        p=p,
        test=test,
    )


def _sums(result: TaskResult, metric: str) -> Sums | None:
    """What each group adds to a metric of the corpus; None where it is none, or does not give the result's number."""
    if metric not in result.metrics:
        return None
    run = result.run
    found = protocol(result.protocol, result.card.kind).corpus(run.task.samples, run.scores)
    if found is None:
        return None
    rows, worth = found
    total = worth(rows.sum(axis=0).tolist())
    if abs(total.get(metric, float("inf")) - result.metrics[metric].value) > 2e-6:
        return None
    return Sums(sums_by_group(rows, [one.group for one in run.task.samples]), lambda sums: worth(sums)[metric])


def compare_all(pairs: Sequence[tuple[TaskResult, TaskResult]], *, metric: str | None = None) -> list[Comparison]:
    """Compares each pair, and corrects for their number (Holm 1979).

    Raises:
        InputError: as `compare`.
    """
    made = [compare(a, b, metric=metric) for a, b in pairs]
    corrected = holm([one.p for one in made])
    return [one.model_copy(update={"p_holm": p}) for one, p in zip(made, corrected, strict=True)]


def _alike(a: TaskResult, b: TaskResult) -> None:
    """Refuses what are not two systems on one task."""
    for what, one, two in (
        ("task", a.task, b.task),
        ("data", a.data_sha256, b.data_sha256),
        ("protocol", a.protocol, b.protocol),
        ("protocol that asked", a.asked_with or a.protocol, b.asked_with or b.protocol),
        ("number of samples", a.n, b.n),
        ("samples", ids_sha256(a.run.task.samples), ids_sha256(b.run.task.samples)),
        ("versions", _relevant(a.versions), _relevant(b.versions)),
    ):
        if one != two:
            raise InputError(
                f"two results of different {what} cannot be compared: {a.system} has {one}, {b.system} {two}"
            )


def _relevant(versions: Mapping[str, str]) -> dict[str, str]:
    """The versions that a score depends on: not those that the intervals alone are made with."""
    return {name: version for name, version in versions.items() if name not in ("python", "numpy", "scipy")}


def _parts(result: TaskResult, metric: str) -> Parts | None:
    """What each sample adds to the metric; None where that does not add up to the result's number."""
    if metric not in result.metrics:
        return None
    found = protocol(result.protocol, result.card.kind).parts(metric, result.run.scores)
    if found is None:
        return None
    parts = Parts(*(np.asarray(column, dtype=np.float64) for column in found))
    return parts if abs(parts.value - result.metrics[metric].value) < 2e-6 else None  # the number is rounded
