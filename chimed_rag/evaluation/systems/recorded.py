"""The system `recorded`: says again what was said before, so that stored answers are scored without a model.

Not covered: tasks whose samples carry no answer (`readers.grounding.answers` makes those that do).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from chimed_rag.errors import InputError
from chimed_rag.evaluation.readers.grounding import PREDICTION
from chimed_rag.evaluation.samples import Prediction, Sample
from chimed_rag.evaluation.systems.base import Setting


class Recorded:
    """Gives back the prediction that a sample carries."""

    name = "recorded"

    def __init__(self) -> None:
        self.versions: dict[str, str] = {}

    def __call__(self, sample: Sample) -> Prediction:
        """What was said.

        Raises:
            InputError: the sample carries no prediction.
        """
        if PREDICTION not in sample.metadata:
            raise InputError(f"sample {sample.id!r} carries no answer; `recorded` serves the task `grounding`")
        return Prediction.model_validate(sample.metadata[PREDICTION])

    def predict(self, samples: Sequence[Sample]) -> Iterator[Prediction]:
        """What was said to each, in order."""
        yield from map(self, samples)


def recorded(setting: Setting) -> Recorded:
    """The system, whatever the setting."""
    return Recorded()
