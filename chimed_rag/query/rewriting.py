"""A question becomes a query: each step is recorded and can be switched off; no word is taken away.

In order: full-width forms and white space; traditional characters (OpenCC); typing errors, by a table and by the
index's own words (`spelling`); trade names, lay words, abbreviations, units. Each step reads what the one before made
of the question; what it makes is a further reading, not a replacement.
Not covered: how much the words of a reading weigh (`retrieval.retrievers`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from chimed_rag.config import Rewriting
from chimed_rag.query.spelling import DocumentFrequency, mended
from chimed_rag.query.tables import Change, replacements, synonyms
from chimed_rag.query.units import other_units
from chimed_rag.records import Query, Reading
from chimed_rag.text import HAN, fold

_TABLES: Mapping[str, Callable[[str], tuple[str, list[Change]]]] = {
    "trade_names": lambda text: replacements("trade_names.tsv").apply(text),
    "lay_terms": lambda text: replacements("lay_terms.tsv").apply(text),
    "abbreviations": lambda text: synonyms("abbreviations.tsv").apply(text),
    "units": other_units,
}
_ALL = Rewriting()
_INVISIBLE = ("Cc", "Cf", "Zs", "Zl", "Zp")
CORRECTIONS = frozenset({"traditional", "typos"})
"""Steps whose reading says the same in the right characters; the others put it in other words."""


def rewrite(question: str, frequency: DocumentFrequency | None = None, settings: Rewriting = _ALL) -> Query:
    """The query of a question.

    Args:
        question: as it was typed.
        frequency: in how many rows of the index a term occurs; without it, only the typing errors of a table are seen.
        settings: which steps to take.

    Returns:
        `Query.changes` holds "normalised" if the first step changed anything, then "step: said → meant" in order.
    """
    text = _normalised(question) if settings.full_width else question
    changes = ["normalised"] if text != question else []
    readings: list[Reading] = []
    current = fold(text)
    for step, made, replaced in _steps(current, frequency, settings):
        if made != current:
            readings.append(Reading(step=step, text=made))
            changes += [f"{step}: {said} → {meant}" for said, meant in replaced]
            current = made
    return Query(original=question, text=text, changes=tuple(changes), readings=tuple(readings))


def _steps(text: str, frequency: DocumentFrequency | None, settings: Rewriting) -> Any:
    """(step, what it made of the text, what it replaced) of each step that is switched on."""
    if settings.traditional and holds_traditional(text):
        simplified = fold(_converter().convert(text))
        yield "traditional", simplified, [(text, simplified)]
        text = simplified
    if settings.typos:
        corrected, replaced = replacements("misspellings.tsv").apply(text)
        if frequency is not None:
            corrected, more = mended(corrected, frequency)
            replaced = [*replaced, *more]
        yield "typos", corrected, replaced
        text = corrected
    for step, apply in _TABLES.items():
        if getattr(settings, step):
            made, replaced = apply(text)
            yield step, made, replaced
            text = made


def _normalised(question: str) -> str:
    if question.isascii() and question.isprintable():
        visible = question
    else:
        visible = "".join(" " if unicodedata.category(char) in _INVISIBLE else char for char in question)
    return " ".join(fold(visible).split())


# --- traditional characters ------------------------------------------------------------------------------------------

_CHINESE = re.compile(f"[{HAN}]")
_IN_BOTH = re.compile("[乾菸薹捱摺後徵夥於麴醣麽]")
"""Traditional characters that GB 2312, the set of simplified ones, holds all the same."""


def holds_traditional(text: str) -> bool:
    """Whether a text may hold traditional characters: Chinese ones beyond the 6,763 of GB 2312, or one of a few within.

    Rare characters that are used in both scripts are among those beyond.
    """
    try:
        text.encode("gb2312")
    except UnicodeEncodeError:
        if any(_is_beyond(char) for char in _CHINESE.findall(text)):
            return True
    return _IN_BOTH.search(text) is not None


def _is_beyond(char: str) -> bool:
    try:
        char.encode("gb2312")
    except UnicodeEncodeError:
        return True
    return False


@cache
def _converter() -> Any:
    from opencc import OpenCC  # 15 ms, and 7 MB on disk: only who writes traditional characters loads it

    return OpenCC("tw2s")


# --- readings for those who get the question alone -------------------------------------------------------------------


class Asked(str):
    """A question that brings its readings along: text to whoever wants text, more to `readings` and `wordings`."""

    __slots__ = ("readings",)
    readings: tuple[Reading, ...]

    def __new__(cls, text: str, readings: tuple[Reading, ...]) -> Asked:
        """The text with these readings."""
        asked = super().__new__(cls, text)
        asked.readings = readings
        return asked

    def __getnewargs__(self) -> tuple[str, tuple[Reading, ...]]:  # type: ignore[override]
        return str(self), self.readings


def asked(query: Query) -> Asked:
    """The query as text, in the reader's own words, with its readings."""
    return Asked(query.text, query.readings)


def understood(query: Query) -> Asked:
    """`asked`, but in simplified characters: what patterns and language models read."""
    simplified = (reading.text for reading in query.readings if reading.step == "traditional")
    return Asked(next(simplified, query.text), query.readings)


def readings(question: str) -> tuple[Reading, ...]:
    """The readings that a question brings along; for plain text those that need no index."""
    return question.readings if isinstance(question, Asked) else rewrite(question).readings


def wordings(question: str) -> tuple[str, ...]:
    """The question and its readings, each text once, the question first."""
    return tuple(dict.fromkeys((question, *(reading.text for reading in readings(question)))))


def corrected(question: str) -> str:
    """The question in the characters that are likely meant; itself where nothing was corrected."""
    found = [reading.text for reading in readings(question) if reading.step in CORRECTIONS]
    return found[-1] if found else question


def clinical(question: str) -> str:
    """The question, folded, as a literature would put it: the last of its readings."""
    found = readings(question)
    return found[-1].text if found else fold(question)
