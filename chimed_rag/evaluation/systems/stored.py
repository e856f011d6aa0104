"""A system that says what another one said before: replies that the samples carry in `metadata["model_predictions"]`.

    chimed evaluate cmle --data FILE --system stored --set model=NAME

Not covered: asking anybody, and replies that lie in a file of their own (a stored run is read by `load_run`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from chimed_rag.errors import InputError
from chimed_rag.evaluation.samples import Prediction, Sample
from chimed_rag.evaluation.systems.base import Setting

REPLIES = "model_predictions"


class Stored:
    """The replies of one model; a sample without one is an error of kind "missing".

    Args:
        model: its name in the samples.
    """

    def __init__(self, model: str) -> None:
        self.model = model
        self.name = f"stored:{model}"
        self.versions = {"model": model}

    def __call__(self, sample: Sample) -> Prediction:
        """What was said to the sample, as it was written down."""
        replies = sample.metadata.get(REPLIES)
        reply = replies.get(self.model) if isinstance(replies, Mapping) else None
        if not isinstance(reply, str):
            return Prediction(id=sample.id, error=f"missing: no reply of {self.model} is stored")
        return Prediction(id=sample.id, text=reply)

    def predict(self, samples: Sequence[Sample]) -> Iterator[Prediction]:
        """See `BatchSystem.predict`."""
        return map(self, samples)


def stored_models(samples: Sequence[Sample]) -> list[str]:
    """The models whose replies the samples carry, sorted."""
    replies = (sample.metadata.get(REPLIES) for sample in samples)
    return sorted({str(name) for one in replies if isinstance(one, Mapping) for name in one})


def stored(setting: Setting) -> Stored:
    """The system of the option `model`.

    Raises:
        InputError: no model is named, or the samples carry no reply of it; the message lists those they do.
    """
    there = stored_models(setting.task.samples)
    model = (setting.options or {}).get("model", "")
    if model not in there:
        known = f"--set model=NAME with one of: {', '.join(there)}" if there else f"{setting.task.name} carries none"
        raise InputError(f"no stored replies of {model!r}; {known}" if model else f"which stored replies? {known}")
    return Stored(model)
