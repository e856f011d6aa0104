"""Responders without a mind: one answer to everything, and a seeded draw. What they score is what a score begins at.

Not covered: responders that need to know what is being measured (always the longest option, a tolerant one): those are
baselines of the protocols.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

from chimed_rag.errors import InputError
from chimed_rag.evaluation.samples import Entity, Prediction, Sample
from chimed_rag.evaluation.systems.base import Setting
from chimed_rag.evaluation.systems.options import Options, read_options

ADVICE = "请及时到医院就诊，由医生当面检查后决定。"
"""What the constant responder says where no option is to be chosen."""
_PER_ENTITY = 20
"""The random responder marks one span in so many characters."""
_LONGEST = 6


class ConstantOptions(Options):
    """`answer`: what `Setting.answer` says otherwise; `text`: what is said where no option is to be chosen."""

    answer: str | None = None
    text: str = ADVICE


class Mindless:
    """A system of a function that looks at one sample.

    Args:
        name: of the system.
        versions: what it depends on.
        says: what it says.
    """

    def __init__(self, name: str, versions: dict[str, str], says: Callable[[Sample], Prediction]) -> None:
        self.name, self.versions, self._says = name, versions, says

    def __call__(self, sample: Sample) -> Prediction:
        """What it says to one sample."""
        return self._says(sample)

    def predict(self, samples: Sequence[Sample]) -> Iterator[Prediction]:
        """What it says to each, in order."""
        yield from map(self._says, samples)


def constant(setting: Setting) -> Mindless:
    """One answer to everything: an option, the same text, no entity.

    `setting.answer` is a label, or a letter that stands for a place: "A" is the first option whatever the labels are.
    Where there are fewer options, it is the last.

    Raises:
        InputError: the answer is neither a label of the task nor one letter A to Z.
    """
    options, kind = read_options(ConstantOptions, setting), setting.task.card.kind
    answer = setting.answer if options.answer is None else options.answer
    labels = {label for sample in setting.task.samples for label in sample.options}
    if labels and answer not in labels and not (len(answer) == 1 and "A" <= answer <= "Z"):
        raise InputError(
            f"constant: {answer!r} is no option; there are: {', '.join(sorted(labels))}, or letters A to Z"
        )

    def says(sample: Sample) -> Prediction:
        if sample.options:
            return Prediction(id=sample.id, text=answer if answer in sample.options else _nth(sample, answer))
        if kind == "extraction":
            return Prediction(id=sample.id, entities=())
        return Prediction(id=sample.id, text=options.text)

    said = answer if labels else "" if kind == "extraction" else options.text
    return Mindless("constant", {"answer": said}, says)


def _nth(sample: Sample, letter: str) -> str:
    labels = list(sample.options)
    return labels[min(ord(letter) - ord("A"), len(labels) - 1)]


def random_(setting: Setting) -> Mindless:
    """A draw for each sample, by the seed and the sample's id, so that order does not matter.

    An option (of questions with several right ones, any non-empty set of them); where texts are wanted, a reference of
    another sample, of another group; in texts to mark, a span of up to six characters in each twenty, of a type that
    the task has.
    """
    read_options(Options, setting)
    ordered = sorted(setting.task.samples, key=lambda sample: sample.id)
    texts = [(_group(sample), text) for sample in ordered for text in sample.references]
    types = sorted({entity.type for sample in ordered for entity in sample.entities})
    kind = setting.task.card.kind

    def says(sample: Sample) -> Prediction:
        draw = random.Random(f"{setting.seed}:{sample.id}")  # noqa: S311 - a baseline, no secret
        if sample.options:
            return Prediction(id=sample.id, text=_drawn_options(sample, draw))
        if kind == "extraction":
            return Prediction(id=sample.id, entities=tuple(_drawn_entities(sample.text, types, draw)))
        return Prediction(id=sample.id, text=_drawn_text(sample, texts, draw))

    return Mindless("random", {"seed": str(setting.seed)}, says)


def _drawn_options(sample: Sample, draw: random.Random) -> str:
    labels = list(sample.options)
    if not sample.multiple:
        return draw.choice(labels)
    chosen = draw.randrange(1, 1 << len(labels))
    return "".join(label for place, label in enumerate(labels) if chosen >> place & 1)


def _drawn_text(sample: Sample, texts: Sequence[tuple[tuple[str, str], str]], draw: random.Random) -> str:
    """Of another group, the first from a drawn place on; `ADVICE` where there is none."""
    if texts:
        start = draw.randrange(len(texts))
        for step in range(len(texts)):
            owner, text = texts[(start + step) % len(texts)]
            if owner != _group(sample):
                return text
    return ADVICE


def _group(sample: Sample) -> tuple[str, str]:
    return ("group", sample.group) if sample.group else ("sample", sample.id)


def _drawn_entities(text: str, types: Sequence[str], draw: random.Random) -> Iterator[Entity]:
    if not types:
        return
    for start in range(0, len(text), _PER_ENTITY):
        begin = start + draw.randrange(_PER_ENTITY - _LONGEST)
        end = min(begin + draw.randint(1, _LONGEST), len(text))
        if begin < end:
            yield Entity(text=text[begin:end], type=draw.choice(types), start=begin, end=end)
