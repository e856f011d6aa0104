"""What a system is, and the named ones: any callable that makes a prediction of a sample.

    medqa             MedQA over an index, with any generator; it sees the question, never options' letters as right
    closed_book       a language model alone
    oracle_passage    the same model, shown the passages that hold the answer
    shuffled_passage  the same model, shown another sample's passages
    evidence_only     no model: what the index says, the option that evidence supports, the extractive answer
    tagger            entities by a trained tagger; lexicon: by names alone
    constant          one answer to everything; random: a seeded draw
    recorded          no model: the answer that a sample of the task `grounding` carries
    stored            replies that the samples carry

Not covered: judging (`protocols`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from chimed_rag.evaluation.protocols.base import Protocol as EvaluationProtocol
from chimed_rag.evaluation.samples import Prediction, Sample
from chimed_rag.evaluation.tasks.loading import Task
from chimed_rag.registry import Registry

SYSTEMS = Registry(
    "system",
    {
        "medqa": "chimed_rag.evaluation.systems.medqa:medqa",
        "evidence_only": "chimed_rag.evaluation.systems.medqa:evidence_only",
        "closed_book": "chimed_rag.evaluation.systems.models:closed_book",
        "oracle_passage": "chimed_rag.evaluation.systems.models:oracle_passage",
        "shuffled_passage": "chimed_rag.evaluation.systems.models:shuffled_passage",
        "lexicon": "chimed_rag.evaluation.systems.taggers:lexicon",
        "tagger": "chimed_rag.evaluation.systems.taggers:tagger",
        "constant": "chimed_rag.evaluation.systems.mindless:constant",
        "random": "chimed_rag.evaluation.systems.mindless:random_",
        "recorded": "chimed_rag.evaluation.systems.recorded:recorded",
        "stored": "chimed_rag.evaluation.systems.stored:stored",
    },
)
"""Name to a function of `Setting` that makes the system."""


@runtime_checkable
class System(Protocol):
    """Makes predictions. A plain function will do: its `__name__` is then its name."""

    def __call__(self, sample: Sample) -> Prediction:
        """What it says to one sample."""
        ...


@runtime_checkable
class BatchSystem(Protocol):
    """A system that is faster with many samples at once.

    Attributes:
        name: as the result calls it.
        versions: what its predictions depend on: the model with its revision, the index with its hash, the prompt.
    """

    name: str
    versions: dict[str, str]

    def __call__(self, sample: Sample) -> Prediction:
        """What it says to one sample."""
        ...

    def predict(self, samples: Sequence[Sample]) -> Iterator[Prediction]:
        """A prediction for each sample, in order, as they come; a failure is one with an `error`, no exception."""
        ...


@dataclass(frozen=True)
class Setting:
    """What a named system is made of.

    Attributes:
        task, protocol: what it is asked and how.
        index: the folder of an index; None takes the starter literature.
        generator: a name, a folder, a hub name, an address, or a generator; None takes "auto" where a model is needed.
        answer: what the constant responder says ("A").
        seed: of whatever is drawn.
        options: whatever else a system takes (`--set key=value` on the command line), such as `tagger=FOLDER`, `k=5`.
    """

    task: Task
    protocol: EvaluationProtocol
    index: Path | None = None
    generator: Any = None
    answer: str = "A"
    seed: int = 0
    options: dict[str, str] | None = None


def open_system(name: str, setting: Setting) -> BatchSystem:
    """The named system.

    Raises:
        UnknownNameError: no system is called so. InputError: it needs what the setting lacks; the message says what.
    """
    made: BatchSystem = SYSTEMS.get(name)(setting)
    return made
