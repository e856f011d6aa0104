"""Attitude scales: every item becomes samples, one for each wording, order of options and style of labels.

An answer to a scale by a language model moves with the wording, with the order of the options and with their labels
(Shu et al. 2023; Rupprecht et al. 2025), so the grid is part of the measurement: `original`, three paraphrases and a
negated form x ascending and descending x letters, digits and words. CAMI's items are the package's own Chinese
wordings, unvalidated; MICA-4 is under copyright, so its text comes from a file of the user's (JSONL, JSON, CSV, TSV or
YAML rows of `number` and `text`; an optional `wording` names a paraphrase or the negated form).

Not covered: asking several items in one context (a sample is one item), and scoring (`protocols.attitude`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import product
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from chimed_rag.config import read_yaml
from chimed_rag.errors import ConfigError, CorpusError, DuplicateError
from chimed_rag.evaluation.samples import Card, Sample
from chimed_rag.evaluation.tasks.loading import Source
from chimed_rag.packaged import parsed
from chimed_rag.packaged import source as packaged_source

Keyed = Literal["pro", "anti"]

WORDINGS = ("original", "paraphrase1", "paraphrase2", "paraphrase3", "negated")
ORDERS = ("ascending", "descending")
"""Ascending begins with the strongest disagreement, descending with the strongest agreement."""
STYLES = ("letters", "digits", "words")

GRIDS: dict[str, tuple[Sequence[str], Sequence[str], Sequence[str]]] = {
    "full": (WORDINGS, ORDERS, STYLES),
    "quick": (WORDINGS[:1], ORDERS, STYLES[:1]),
}
_LABELS = {"letters": "ABCDEFG", "digits": "1234567"}


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Subscale(_Part):
    """A subscale: 1 where a high score is stigma, -1 where it is tolerance."""

    title: str
    stigma: Literal[1, -1]


class Item(_Part):
    """An item: `keyed` says whether agreeing raises its subscale; wordings are empty where the text is not ours."""

    number: int = Field(ge=1)
    subscale: str
    keyed: Keyed
    verified: bool
    original: str = ""
    paraphrases: tuple[str, ...] = ()
    negated: str = ""

    @property
    def wordings(self) -> dict[str, str]:
        """Name of the wording to its text."""
        texts = (self.original, *self.paraphrases)
        named = {name: text for name, text in zip(WORDINGS, texts, strict=False) if text}
        return named | ({"negated": self.negated} if self.negated else {})


class Instrument(_Part):
    """A scale as `evaluation/items/*.yaml` has it; `scale` goes from the strongest disagreement upwards."""

    name: str
    title: str
    validated: bool
    topic: str
    scale: tuple[str, ...] = Field(min_length=3, max_length=7)
    subscales: dict[str, Subscale]
    items: tuple[Item, ...]


@cache
def instrument(file: str) -> Instrument:
    """The instrument of a file in `evaluation/items`."""
    return Instrument.model_validate(parsed(packaged_source("chimed_rag.evaluation", f"items/{file}")))


def scale(source: Source, card: Card) -> Iterator[Sample]:
    """The samples of an attitude scale; see `evaluation.tasks.loading.Reader`.

    Settings of the card: `items`, the file with the key (and the wordings, where they are ours); `grid`, "full" or
    "quick" (originals in both orders, with letters), or any of `wordings`, `orders`, `styles` as lists.

    Raises:
        ConfigError: a setting is not known. CorpusError: the user's file lacks an item, or a row has no usable number
        or text. DuplicateError: it has one twice.
    """
    made = instrument(str(card.settings["items"]))
    wordings, orders, styles = _grid(card.settings)
    texts = {item.number: item.wordings for item in made.items}
    if not all(texts.values()):
        texts = _users_texts(source, made)
    for item in made.items:
        for wording, order, style in product(wordings, orders, styles):
            if text := texts[item.number].get(wording):
                yield _sample(made, item, text, wording, order, style)


def _grid(settings: Mapping[str, JsonValue]) -> tuple[Sequence[str], Sequence[str], Sequence[str]]:
    name = str(settings.get("grid", "full"))
    if name not in GRIDS:
        raise ConfigError(f"no grid of an attitude scale is called {name!r}; there are: {', '.join(GRIDS)}")
    chosen = []
    known = (("wordings", WORDINGS), ("orders", ORDERS), ("styles", STYLES))
    for (key, all_names), default in zip(known, GRIDS[name], strict=True):
        value = settings.get(key, list(default))
        if not isinstance(value, list) or not value or not set(map(str, value)) <= set(all_names):
            raise ConfigError(f"{key} of an attitude scale is a list of {', '.join(all_names)}, not {value!r}")
        chosen.append([str(one) for one in value])
    return chosen[0], chosen[1], chosen[2]


def _sample(made: Instrument, item: Item, text: str, wording: str, order: str, style: str) -> Sample:
    points = list(range(1, len(made.scale) + 1))
    if order == "descending":
        points.reverse()
    words = [made.scale[point - 1] for point in points]
    labels = words if style == "words" else list(_LABELS[style][: len(words)])
    keyed: Keyed = item.keyed if wording != "negated" else ("anti" if item.keyed == "pro" else "pro")
    return Sample(
        id=f"{made.name}-{item.number:02}-{wording}-{order}-{style}",
        text=text,
        options=dict(zip(labels, words, strict=True)),
        subject=item.subscale,
        group=f"{made.name}-{item.number:02}",
        metadata={
            "instrument": made.name,
            "topic": made.topic,
            "item": item.number,
            "subscale": item.subscale,
            "stigma": made.subscales[item.subscale].stigma,
            "keyed": keyed,
            "points": dict(zip(labels, points, strict=True)),
            "wording": wording,
            "order": order,
            "style": style,
            "validated": made.validated,
        },
    )


def _users_texts(source: Source, made: Instrument) -> dict[int, dict[str, str]]:
    """The wordings that a file of the user's gives to each item."""
    texts: dict[int, dict[str, str]] = {item.number: {} for item in made.items}
    path = None
    for path, line, row in _users_rows(source):
        wording = str(row.get("wording") or "original")
        text = str(row.get("text") or "").strip()
        number = str(row.get("number", "")).strip()
        if not number.isdecimal() or int(number) not in texts:
            numbers = f"{min(texts)} to {max(texts)}"
            raise CorpusError(f"number is that of an item, {numbers}, not {number!r}", path=path, line=line)
        if not text or wording not in WORDINGS:
            wrong = f"has no text, or a wording that is none of {', '.join(WORDINGS)}"
            raise CorpusError(f"item {number} {wrong}", path=path, line=line)
        if wording in texts[int(number)]:
            raise DuplicateError(f"item {number} ({wording}) came before", path=path, line=line)
        texts[int(number)][wording] = text
    if missing := [str(number) for number, named in texts.items() if "original" not in named]:
        raise CorpusError(
            f"the text of {made.title} is not in this package; name a file with a number and a text for each item "
            f"(--data FILE); missing: {', '.join(missing)}",
            path=path,
        )
    return texts


def _users_rows(source: Source) -> Iterator[tuple[str, int | None, Mapping[str, JsonValue]]]:
    """Rows with file and line; YAML is a list of rows, or number to text, and its rows have no lines."""
    if not source.paths or not str(source.paths[0]).endswith((".yaml", ".yml")):
        for path, line, row in source.rows():
            yield path, line, row
        return
    for file in source.paths:
        try:
            found = read_yaml(file)
        except ConfigError as error:
            raise CorpusError(str(error)) from error
        if isinstance(found, dict):
            found = [{"number": number, "text": text} for number, text in found.items()]
        if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
            raise CorpusError("not a list of rows with number and text", path=str(file))
        for row in found:
            yield str(file), None, row
