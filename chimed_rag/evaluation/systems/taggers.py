"""Systems that mark entities without a language model: by names alone, and by a trained tagger.

Not covered: what a model is trained on (`python -m training tagger`), and kinds of tasks other than extraction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from time import perf_counter

from chimed_rag import __version__
from chimed_rag.entities.mentions import mentions
from chimed_rag.entities.tagger import COMMAND, SETTINGS, WEIGHTS, Tagger
from chimed_rag.errors import InputError
from chimed_rag.evaluation.samples import Entity, Prediction, Sample
from chimed_rag.evaluation.systems.base import BatchSystem, Setting


class Marker:
    """A system that marks each text by a function of it; a `BatchSystem`."""

    def __init__(self, name: str, versions: dict[str, str], mark: Callable[[str], Sequence[Entity]]) -> None:
        self.name, self.versions, self._mark = name, versions, mark

    def __call__(self, sample: Sample) -> Prediction:
        """The entities of the sample's text."""
        began = perf_counter()
        found = tuple(self._mark(sample.text))
        return Prediction(id=sample.id, entities=found, finish="stop", seconds=perf_counter() - began)

    def predict(self, samples: Sequence[Sample]) -> Iterator[Prediction]:
        """Sample by sample."""
        return map(self, samples)


def lexicon(setting: Setting) -> BatchSystem:
    """Names of drugs, diseases and so on, known or of a known form (`entities.mentions`); the card's setting `lexicon`
    says which of its types each kind is.

    Raises:
        InputError: the task is none of extraction, or its card names no types for the lexicon.
    """
    types = setting.task.card.settings.get("lexicon")
    if _of_extraction(setting, "lexicon") and not (isinstance(types, dict) and types):
        raise InputError(f"the card of {setting.task.name} does not say which of its types the lexicon's kinds are")
    named = {kind: str(name) for kind, name in types.items()} if isinstance(types, dict) else {}

    def mark(text: str) -> list[Entity]:
        return [
            Entity(text=one.text, type=named[one.kind], start=one.start, end=one.end)
            for one in mentions(text)
            if one.kind in named
        ]

    return Marker("lexicon", {"lexicon": __version__}, mark)


def tagger(setting: Setting) -> BatchSystem:
    """A trained tagger; the option `tagger` is its folder.

    Raises:
        InputError: the task is none of extraction, there is no such option, the folder holds no tagger, or it marks
            none of the task's types.
        MissingExtraError: python-crfsuite is not installed.
    """
    _of_extraction(setting, "tagger")
    folder = (setting.options or {}).get("tagger")
    if not folder:
        raise InputError(f"the system tagger needs a model: --set tagger=FOLDER; train one: {COMMAND}")
    model = Tagger(folder)
    types = setting.task.card.settings.get("types")
    known = {str(name) for name in types.values()} if isinstance(types, dict) else set()
    if known and not known & set(model.types):
        raise InputError(
            f"{folder}: marks {', '.join(model.types)}, and {setting.task.name} knows {', '.join(sorted(known))}; "
            "train a tagger on its own records"
        )

    def mark(text: str) -> list[Entity]:
        return [Entity(text=one.text, type=one.type, start=one.start, end=one.end) for one in model.tag(text)]

    content = b"".join((model.folder / file).read_bytes() for file in (WEIGHTS, SETTINGS))
    return Marker("tagger", {"tagger": hashlib.sha256(content).hexdigest()}, mark)


def _of_extraction(setting: Setting, name: str) -> bool:
    if setting.task.card.kind != "extraction":
        raise InputError(f"the system {name} marks entities; {setting.task.name} is a task of {setting.task.card.kind}")
    return True
