"""Entities found by their context: a conditional random field over characters (python-crfsuite), with lists of names.

A model is a folder: `crf.crfsuite` (weights), `tagger.json` (types, and the lists of names that its features look at)
and the card of its training. No pickle, no network. A list is of the training records, each name with how often it was
an entity where it stood; another is the package's lexicon as it was then. What is covered: marking spans of the types
that the model learned, in texts of any length, from many threads. What is not covered: training (`python -m training
tagger`), nested entities, entities across sentences, and what a name stands for (`lexicon`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from chimed_rag.entities.lexicon import names as lexicon_names
from chimed_rag.errors import InputError, MissingExtraError
from chimed_rag.text import HAN, fold

COMMAND = "python -m training tagger --config training/configs/tagger_ccks2019.yaml"
WEIGHTS, SETTINGS = "crf.crfsuite", "tagger.json"
FEATURES = 1
"""Version of what the field sees: weights learned of another are refused."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_HAN = re.compile(f"[{HAN}]")
_PIECE = re.compile(r"[^。！？\n]{0,1000}[。！？\n]|[^。！？\n]{1,1000}")
_CLAUSE = re.compile(r"[，,；;：:。！？]")
_NUMERALS = frozenset("一二三四五六七八九十百千两半")
_DEGREES = 4
"""Of how often a name was an entity, so many degrees are told apart."""


class Span(NamedTuple):
    """A marked entity: its words as written, its type, and its place (characters, half-open)."""

    text: str
    type: str
    start: int
    end: int


class Known(NamedTuple):
    """What is known of a name: what it mostly was, and in what share of its places it was that (0 to 1)."""

    type: str
    share: float


class Settings(BaseModel):
    """What `tagger.json` holds; `weights` is the SHA-256 of the file of weights, which `save_settings` takes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    features: int = FEATURES
    weights: str = ""
    types: list[str]
    names: dict[str, Known]
    lexicon: dict[str, Known]


class Names:
    """Where the names of a list stand in a text: the longest from the left, not overlapping."""

    def __init__(self, names: Mapping[str, Known]) -> None:
        from ahocorasick_rs import AhoCorasick, MatchKind

        self._known = list(names.values())
        self._search = AhoCorasick(list(names), matchkind=MatchKind.LeftmostLongest) if names else None

    def covers(self, folded: str) -> list[str]:
        """Of each character, the name that covers it: its type, how sure, and whether the character begins or ends it;
        O where none does."""
        covers = ["O"] * len(folded)
        for which, start, end in self._search.find_matches_as_indexes(folded) if self._search else ():
            known = self._known[which]
            told = f"{known.type}{int(known.share * _DEGREES + 0.5)}"
            covers[start:end] = [f"{sign}{told}" for sign in _signs(end - start)]
        return covers


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
        self._lists = [Names(self.settings.names), Names(self.settings.lexicon)]

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


# --- what a model is made of -----------------------------------------------------------------------------------


def known_names(records: Iterable[tuple[str, Sequence[Span]]]) -> dict[str, Known]:
    """The entities of records, folded, each with its usual type and the share of its places that were marked so."""
    from ahocorasick_rs import AhoCorasick

    folded = [(_folded(text), spans) for text, spans in records]
    types: dict[str, Counter[str]] = {}
    for text, spans in folded:
        for span in spans:
            types.setdefault(text[span.start : span.end], Counter())[span.type] += 1
    places: Counter[int] = Counter()
    search = AhoCorasick(list(types))
    for text, _ in folded:
        places.update(which for which, _, _ in search.find_matches_as_indexes(text, overlapping=True))
    found = {}
    for place, (name, kinds) in enumerate(types.items()):
        kind, count = max(kinds.items(), key=lambda one: (one[1], one[0]))
        found[name] = Known(kind, round(count / max(places[place], count), 3))
    return found


def lexicon() -> dict[str, Known]:
    """The names of the package's lexicon with their kinds."""
    return {name: Known(meant.kind, 1.0) for name, meant in lexicon_names().items()}


# --- what the field sees ---------------------------------------------------------------------------------------


def pieces(text: str) -> list[tuple[int, int]]:
    """The sentences that are looked at one by one, blank ones too: half-open, in order, without gaps; a sentence of
    more than 1,000 characters is cut."""
    return [match.span() for match in _PIECE.finditer(text)]


def features(piece: str, lists: Sequence[Names]) -> list[list[str]]:
    """What the field sees of each character of a sentence: a list of attributes a character.

    Characters and n-grams around it, classes of characters, names of the lists that cover it, and the first two
    characters of its clause (where 予, 行 and 示 announce what follows). Tried without gain on held-out records of
    CCKS-2019: n-grams that reach further than two characters.
    """
    folded = _folded(piece)
    n = len(folded)
    chars = ["<2", "<1", *folded, ">1", ">2"]
    shapes = ["<", *map(_shape, folded), ">"]
    openings = _openings(folded)
    covers = [["<", *names.covers(folded), ">"] for names in lists]
    found = []
    for i in range(n):
        a, b, c, d, e = chars[i : i + 5]
        row = [
            *(f"0{c}", f"-1{b}", f"+1{d}", f"-2{a}", f"+2{e}"),
            *(f"-10{b}{c}", f"01{c}{d}", f"-21{a}{b}", f"12{d}{e}", f"-11{b}|{d}"),
            *(f"-101{b}{c}{d}", f"-210{a}{b}{c}", f"012{c}{d}{e}"),
            f"s{shapes[i]}{shapes[i + 1]}{shapes[i + 2]}",
            f"c{openings[i]}",
        ]
        for place, cover in enumerate(covers):
            before, here, after = cover[i : i + 3]
            row += [f"{place}n{here}", f"{place}n-{before}|{here}", f"{place}n+{here}|{after}", f"{place}n{here}|{c}"]
        found.append(row)
    return found


def _folded(text: str) -> str:
    return _SURROGATE.sub("\ufffd", fold(text))


def _shape(char: str) -> str:
    if char in _NUMERALS:
        return "N"
    if char.isdigit():
        return "9"
    if char.isascii():
        return "a" if char.isalpha() else char
    return "H" if _HAN.match(char) else "."


def _openings(folded: str) -> list[str]:
    """Of each character, the two first characters of its clause."""
    found: list[str] = []
    begin = 0
    for match in [*_CLAUSE.finditer(folded), None]:
        end = match.end() if match else len(folded)
        found += [folded[begin : begin + 2]] * (end - begin)
        begin = end
    return found


# --- labels ----------------------------------------------------------------------------------------------------


def encoded(length: int, places: Iterable[tuple[str, int, int]]) -> list[str]:
    """A label a character (B-, I-, E-, S-TYPE or O) of (type, start, end); of overlapping ones the first, the longest.

    >>> encoded(4, [("药物", 0, 3)])
    ['B-药物', 'I-药物', 'E-药物', 'O']
    """
    labels = ["O"] * length
    free = 0
    for kind, start, end in sorted(places, key=lambda one: (one[1], -one[2], one[0])):
        if free <= start < end <= length:
            labels[start:end] = [f"{sign}-{kind}" for sign in _signs(end - start)]
            free = end
    return labels


def decoded(labels: Sequence[str]) -> list[tuple[str, int, int]]:
    """(type, start, end) of labels; one that lacks its beginning or its end is taken as far as it goes.

    >>> decoded(["B-药物", "E-药物", "O", "I-药物"])
    [('药物', 0, 2), ('药物', 3, 4)]
    """
    found: list[tuple[str, int, int]] = []
    begin, kind = 0, ""
    for place, label in enumerate([*labels, "O"]):
        sign, _, now = label.partition("-")
        if kind and (sign in ("O", "B", "S") or now != kind):
            found.append((kind, begin, place))
            kind = ""
        if not kind and sign != "O":
            begin, kind = place, now
        if sign in ("E", "S"):
            found.append((kind, begin, place + 1))
            kind = ""
    return found


def _signs(length: int) -> list[str]:
    return ["S"] if length == 1 else ["B", *["I"] * (length - 2), "E"]


def save_settings(settings: Settings, folder: Path) -> None:
    """Writes `tagger.json` beside the weights, which must be there."""
    weights = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    content = settings.model_copy(update={"weights": weights}).model_dump(mode="json")
    (folder / SETTINGS).write_text(json.dumps(content, ensure_ascii=False, indent=0) + "\n", "utf-8")
