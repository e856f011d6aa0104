"""A language model alone, shown the passages that hold the answer, or shown another sample's.

The three differ in the passages alone, so that their differences say what passages do: oracle_passage over closed_book
is what evidence brings, closed_book over shuffled_passage what wrong evidence spoils.

Not covered: finding passages (`systems.medqa`), and asking (`systems.model_system`).
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from chimed_rag.config import Generation
from chimed_rag.errors import InputError
from chimed_rag.evaluation.samples import Sample
from chimed_rag.evaluation.systems.base import Setting
from chimed_rag.evaluation.systems.model_system import ModelSystem, Shows
from chimed_rag.generation.choosing import load_generator
from chimed_rag.generation.language_model import LanguageModel


def _of_model(name: str, setting: Setting, shows: Shows, versions: Mapping[str, str] | None = None) -> ModelSystem:
    """A system of the setting's model.

    Raises:
        InputError: what is named is no language model. GeneratorError, MissingExtraError: it cannot be loaded.
    """
    meant = "auto" if setting.generator is None else setting.generator
    model = load_generator(meant, Generation())
    if not isinstance(model, LanguageModel):
        raise InputError(
            f"{name} needs a language model, and {model.name!r} is none: --generator DIR, OWNER/NAME or http://HOST/v1 "
            "names one, as do the environment variables CHIMED_MODEL and CHIMED_ENDPOINT"
        )
    close = model.close if isinstance(meant, str | Path) else None
    return ModelSystem(name, setting, model, shows, versions, close)


def closed_book(setting: Setting) -> ModelSystem:
    """The model alone; options as `ModelOptions`."""
    return _of_model("closed_book", setting, lambda sample: ())


def oracle_passage(setting: Setting) -> ModelSystem:
    """The model, shown the passages that the task says hold the answer; options as `ModelOptions`.

    Raises:
        InputError: the task has no passages.
    """
    _require_passages(setting, "oracle_passage")
    return _of_model("oracle_passage", setting, lambda sample: sample.passages)


def shuffled_passage(setting: Setting) -> ModelSystem:
    """The model, shown the passages of another sample, drawn with `setting.seed`; options as `ModelOptions`.

    A sample of the same group, or with the same passages, is no other one. Whose passages are shown depends on the
    task's samples and the seed, not on their order.

    Raises:
        InputError: the task has no passages, or none of another sample.
    """
    _require_passages(setting, "shuffled_passage")
    given = deranged(setting.task.samples, setting.seed)

    def shows(sample: Sample) -> Sequence[str]:
        if sample.id not in given:
            raise InputError(f"sample {sample.id!r} is none of the task {setting.task.name!r}")
        return given[sample.id]

    return _of_model("shuffled_passage", setting, shows, {"passages": f"shuffled with seed {setting.seed}"})


def deranged(samples: Sequence[Sample], seed: int) -> dict[str, tuple[str, ...]]:
    """The id of each sample to another one's passages.

    All samples that have passages stand in a circle, in an order drawn with the seed; each gets those of the next one
    that is of another group and has other passages. One without passages gets those of somebody in the circle.

    Raises:
        InputError: there is no such other sample for one of them.
    """
    draw = random.Random(seed)  # noqa: S311 - an order, no secret
    ordered = sorted(samples, key=lambda sample: sample.id)
    circle = [sample for sample in ordered if sample.passages]
    draw.shuffle(circle)
    places = {sample.id: place for place, sample in enumerate(circle)}
    found: dict[str, tuple[str, ...]] = {}
    for sample in ordered:
        place = places[sample.id] if sample.passages else draw.randrange(len(circle))
        others = (circle[(place + step) % len(circle)] for step in range(1, len(circle) + 1))
        other = next((one for one in others if _is_other(sample, one)), None)
        if other is None:
            raise InputError(f"no other sample has passages to show for {sample.id!r}; shuffling takes two at least")
        found[sample.id] = other.passages
    return found


def _is_other(sample: Sample, other: Sample) -> bool:
    return (
        other.id != sample.id
        and other.passages != sample.passages
        and not (sample.group and other.group == sample.group)
    )


def _require_passages(setting: Setting, name: str) -> None:
    if not any(sample.passages for sample in setting.task.samples):
        raise InputError(f"{name}: the samples of {setting.task.name!r} bring no passages; use closed_book or medqa")
