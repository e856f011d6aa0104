"""How found entities compare with marked ones: strict counts a document, and the four schemes of nervaluate.

Strict is what CCKS-2019 and CoNLL score: type and both ends must be right. Its counts come of sets, so that a thing
said twice counts once and order makes no difference; on spans that do not overlap they are those of seqeval in its mode
`strict` with IOB2 (`seqeval_strict`; its default mode, which forgives what is not IOB2, is never used) and of
nervaluate's strict scheme, as the tests hold to 1e-6. Nested spans cannot be written as tags; there sets and nervaluate
remain.
Not covered: texts without places (`protocols.extraction`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from chimed_rag.errors import InputError, MissingExtraError
from chimed_rag.evaluation.statistics import Interval, bootstrap_ratios, sums_by_group

SCHEMES = ("strict", "exact", "partial", "type")
"""Right ends and type; right ends; spans that overlap count half; right type of those that do (SemEval 2013, 9.1)."""


class Place(NamedTuple):
    """An entity's type and its place (characters, half-open)."""

    type: str
    start: int
    end: int


class Counts(NamedTuple):
    """Of one document: right, found but wrong, missed. Halves come of partial matches."""

    tp: float
    fp: float
    fn: float


def strict_counts(gold: Collection[Place], found: Collection[Place]) -> Counts:
    """Counts of spans that are equal in type and both ends; repeated ones count once.

    >>> strict_counts([Place("药物", 0, 3)], [Place("药物", 0, 3), Place("药物", 0, 2)])
    Counts(tp=1, fp=1, fn=0)
    """
    right, said = set(gold), set(found)
    return Counts(len(right & said), len(said - right), len(right - said))


def micro(counts: Sequence[Counts], groups: Sequence[str] = ()) -> dict[str, Interval]:
    """Micro-averaged `f1`, `precision` and `recall` with bootstrap intervals over documents, or over groups of them.

    Args:
        counts: one a document.
        groups: what each document belongs to; an empty name is a group of its own.

    Raises:
        InputError: no documents. MissingExtraError: scipy is not installed.
    """
    table = np.array(counts, dtype=np.float64).reshape(-1, 3)
    if groups:
        table = sums_by_group(table, groups)
    tp, fp, fn = table.T
    return {
        **bootstrap_ratios({"f1": 2 * tp}, 2 * tp + fp + fn),
        **bootstrap_ratios({"precision": tp}, tp + fp),
        **bootstrap_ratios({"recall": tp}, tp + fn),
    }


def schemes(gold: Sequence[Collection[Place]], found: Sequence[Collection[Place]]) -> dict[str, list[Counts]]:
    """Counts a document by each of `SCHEMES`, as nervaluate 1.x makes them.

    nervaluate's result hangs on the order of nested spans, since a wrong span uses up the marked one that it overlaps;
    here right spans come first, so that its strict scheme is that of sets. Its ends are inclusive.

    Raises:
        MissingExtraError: nervaluate is not installed; it needs Python 3.11.
    """
    try:
        from nervaluate import Evaluator
    except ImportError as error:
        raise MissingExtraError("nervaluate (from Python 3.11 on)", "evaluation") from error
    kinds = {"strict": "strict", "exact": "exact", "partial": "partial", "type": "ent_type"}
    made: dict[str, list[Counts]] = {name: [] for name in SCHEMES}
    for right, said in zip(gold, found, strict=True):
        both = set(right) & set(said)
        sides = [
            [{"label": one.type, "start": one.start, "end": one.end - 1} for one in (*sorted(both), *sorted(rest))]
            for rest in (set(right) - both, set(said) - both)
        ]
        types = sorted({one.type for one in (*right, *said)})
        result = Evaluator(*([side] for side in sides), tags=types, loader="dict").evaluate()["overall"]
        for name, kind in kinds.items():
            one = result[kind]
            tp = one.correct + 0.5 * one.partial
            made[name].append(Counts(tp, one.actual - tp, one.possible - tp))
    return made


def seqeval_strict(
    gold: Sequence[Collection[Place]], found: Sequence[Collection[Place]], lengths: Sequence[int]
) -> Mapping[str, float]:
    """Micro-averaged `f1`, `precision` and `recall` by seqeval, mode strict, scheme IOB2.

    Args:
        lengths: characters of each document.

    Raises:
        InputError: spans of one side overlap, or lie outside of their document.
        MissingExtraError: seqeval is not installed.
    """
    try:
        from seqeval.metrics.v1 import precision_recall_fscore_support
        from seqeval.scheme import IOB2
    except ImportError as error:
        raise MissingExtraError("seqeval", "evaluation") from error
    tags = [[iob2(one, length) for one, length in zip(side, lengths, strict=True)] for side in (gold, found)]
    precision, recall, f1, _ = precision_recall_fscore_support(*tags, average="micro", scheme=IOB2, zero_division=0)
    return {"f1": float(f1), "precision": float(precision), "recall": float(recall)}


def iob2(places: Collection[Place], length: int) -> list[str]:
    """A tag a character: B-TYPE, I-TYPE or O.

    Raises:
        InputError: two places overlap, or one lies outside of the text.
    """
    tags = ["O"] * length
    for kind, start, end in sorted(set(places), key=lambda one: (one.start, one.end)):
        if not 0 <= start < end <= length or any(tag != "O" for tag in tags[start:end]):
            raise InputError(f"a span from {start} to {end} of {length} characters overlaps another or the end")
        tags[start:end] = [f"B-{kind}", *[f"I-{kind}"] * (end - start - 1)]
    return tags
