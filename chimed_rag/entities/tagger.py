"""Entities found by their context: a conditional random field over characters (python-crfsuite), with lists of names.

A model is a folder: `crf.crfsuite` (weights), `tagger.json` (types, and the lists of names that its features look at)
and the card of its training. No pickle, no network. What is covered: marking spans of the types that the model learned,
in texts of any length, from many threads. What is not covered: training (`python -m training tagger`), nested entities,
entities across sentences, and what a name stands for (`lexicon`).
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from threading import Lock
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from chimed_rag.entities.features import Known, Lists, Span, decoded, features, pieces
from chimed_rag.errors import InputError, MissingExtraError

COMMAND = "python -m training tagger --config training/configs/tagger_ccks2019.yaml"
WEIGHTS, SETTINGS = "crf.crfsuite", "tagger.json"
FEATURES = 1
"""Version of what the field sees: weights learned of another are refused."""


class Settings(BaseModel):
    """What `tagger.json` holds; `weights` is the SHA-256 of the file of weights, which `save_settings` takes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    features: int = FEATURES
    weights: str = ""
    types: list[str]
    names: dict[str, Known]
    lexicon: dict[str, Known]


class Tagger:
    """A trained model; may be used from many threads at once.

    Args:
        folder: as `python -m training tagger` leaves it.

    Raises:
        InputError: the folder holds no tagger, a damaged one, or one that this version cannot read.
        MissingExtraError: python-crfsuite is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        crfsuite = crfsuite_module()
        self.folder = Path(folder)
        try:
            self.settings = Settings.model_validate_json((self.folder / SETTINGS).read_text("utf-8"))
            weights = (self.folder / WEIGHTS).read_bytes()
        except (OSError, ValidationError) as error:
            first = str(error).splitlines()[0]
            raise InputError(f"{folder}: holds no whole tagger ({first}); train one: {COMMAND}") from None
        if self.settings.features != FEATURES:
            raise InputError(
                f"{folder}: was trained on features {self.settings.features}, this version makes {FEATURES}; train it "
                f"anew: {COMMAND}"
            )
        # crfsuite reads what it is given without checks: a damaged file would end the process.
        if hashlib.sha256(weights).hexdigest() != self.settings.weights:
            raise InputError(f"{folder}: {WEIGHTS} is damaged; train it anew: {COMMAND}")
        self._sequence, self._lock = crfsuite.ItemSequence, Lock()
        self._tagger = crfsuite.Tagger()
        self._tagger.open_inmemory(weights)
        self._weights = weights  # crfsuite reads them where they lie and keeps no hold on them
        self._lists = Lists(self.settings.names, self.settings.lexicon)

    @property
    def types(self) -> list[str]:
        """The types that it marks, sorted."""
        return list(self.settings.types)

    def tag(self, text: str) -> list[Span]:
        """The entities of a text, in order, not overlapping. Time and memory are linear in the text."""
        found = []
        for begin, end in pieces(text):
            items = self._sequence(features(text[begin:end], self._lists))
            with self._lock:  # the field keeps one sequence at a time
                labels = self._tagger.tag(items)
            found += [Span(text[begin + a : begin + b], kind, begin + a, begin + b) for kind, a, b in decoded(labels)]
        return found


def crfsuite_module() -> Any:
    """python-crfsuite.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import pycrfsuite
    except ImportError as error:
        raise MissingExtraError("pycrfsuite", "evaluation") from error
    return pycrfsuite


def save_settings(settings: Settings, folder: Path) -> None:
    """Writes `tagger.json` beside the weights, which must be there."""
    weights = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    content = settings.model_copy(update={"weights": weights}).model_dump(mode="json")
    (folder / SETTINGS).write_text(json.dumps(content, ensure_ascii=False, indent=0) + "\n", "utf-8")
