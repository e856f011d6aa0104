"""The result of predictions: each is scored by the protocol, every one counts, and what failed is named.

Not covered: asking (`asking`), keeping (`run_folder`), comparing (`comparing`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from chimed_rag.errors import UnknownNameError
from chimed_rag.evaluation.protocols.base import Protocol
from chimed_rag.evaluation.protocols.base import protocol as find_protocol
from chimed_rag.evaluation.result import Judged, TaskResult, library_versions, rounded
from chimed_rag.evaluation.run_folder import Header
from chimed_rag.evaluation.samples import Card, Outcome, Prediction, Score
from chimed_rag.evaluation.statistics import percentiles
from chimed_rag.evaluation.tasks.loading import Task

_OUTCOMES: tuple[Outcome, ...] = ("correct", "wrong", "scored", "invalid", "error")
_ALWAYS = ("invalid", "error")
"""Told even where there are none."""


def rules_of(name: str, card: Card) -> Protocol:
    """The protocol of that name for a task.

    Raises:
        UnknownNameError: no protocol of the task's kind is called so, or its card does not name it.
    """
    if name not in card.protocols:
        raise UnknownNameError(f"{card.name} is not scored by {name!r}; its protocols are: {', '.join(card.protocols)}")
    return find_protocol(name, card.kind)


def judged(
    task: Task, rules: Protocol, predictions: Sequence[Prediction], header: Header, notes: Sequence[str] = ()
) -> TaskResult:
    """What predictions, one a sample and in the order of the samples, are worth.

    Args:
        header: who was asked, by which protocol and with what versions.
        notes: what a reader must know besides.
    """
    samples = task.samples
    scores = [rules.score(sample, said) for sample, said in zip(samples, predictions, strict=True)]
    ended = Counter(score.outcome for score in scores)
    counts: dict[Outcome, int] = {kind: ended[kind] for kind in _OUTCOMES if ended[kind] or kind in _ALWAYS}
    took = [said.seconds * 1000 for said in predictions if said.seconds is not None]
    result = TaskResult(
        task=task.name,
        system=header.system,
        protocol=rules.name,
        n=len(samples),
        data_sha256=task.data_sha256,
        metrics=rounded(rules.metrics(samples, predictions, scores)),
        latency_ms=percentiles(took) if took else None,
        versions=library_versions(*rules.libraries) | rules.versions,
        counts=counts,
        groups={name: rounded(one) for name, one in rules.groups(samples, predictions, scores).items()},
        baselines=rules.baselines(samples),
        warning=rules.warning,
        notes=(*task.notes, *notes, *_failures(predictions, scores), *rules.notes(samples, predictions, scores)),
        card=task.card,
        asked_with="" if header.protocol == rules.name else header.protocol,
        system_versions=header.system_versions,
        seed=header.seed,
    )
    result._run = Judged(task, tuple(predictions), tuple(scores))
    return result


def _failures(predictions: Sequence[Prediction], scores: Sequence[Score]) -> list[str]:
    """How the system failed, by kind; what it said that could not be read."""
    notes, n = [], len(predictions)
    kinds = Counter(said.error.partition(":")[0] for said in predictions if said.error)
    if kinds:
        named = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common())
        notes.append(f"{kinds.total()} of {n} samples failed: {named}")
    invalid = [said for said, score in zip(predictions, scores, strict=True) if score.outcome == "invalid"]
    if invalid:
        empty = sum(not said.text.strip() for said in invalid)
        notes.append(
            f"{len(invalid)} of {n} replies could not be read as an answer" + f", {empty} were empty" * bool(empty)
        )
    return notes
