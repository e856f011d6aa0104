"""Makes a passage false by rule, in one place that is known: a number, a drug, or a negation.

Numbers are doubled (shares over one half are halved); a drug that is not what the question is about becomes another one
of the lexicon throughout the passage; a word that forbids becomes one that allows (`TURNED`). Not covered: whether what
comes out is plausible, or happens to be true: doubled doses may be doses too. Tested systems are never told, so nothing
of this may enter a literature.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import NamedTuple

from chimed_rag.entities.lexicon import names
from chimed_rag.entities.mentions import mentions
from chimed_rag.safety.conversion import agree
from chimed_rag.safety.measures import measures
from chimed_rag.text import HAN, fold

KINDS = ("number", "drug", "negation")
TURNED = (
    ("禁用", "可用"),
    ("禁服", "可服"),
    ("不宜", "适宜"),
    ("不建议", "建议"),
    ("不应", "应"),
    ("不能", "能"),
    ("不可以", "可以"),
    ("不要", "要"),
    ("不得", "应"),
    ("避免", "建议"),
    ("无需", "需要"),
    ("不需要", "需要"),
    ("不必", "必须"),
    ("不会", "会"),
)
"""What forbids or denies, and what it is turned into."""
_DIGITS = re.compile(r"\d+(?:\.\d+)?")
_AFTER = 4
"""Characters behind a turned word that tell it from others of its kind."""
_DRUG = re.compile(rf"[{HAN}]{{2,6}}")


class Falsehood(NamedTuple):
    """A passage made false.

    Attributes:
        text: the passage.
        kind: of `KINDS`.
        true, false: what it said and says now: a measure, a drug, or a turned word with what follows it.
        sentence: the false sentence.
    """

    text: str
    kind: str
    true: str
    false: str
    sentence: str


def falsified(
    text: str, sentence: tuple[int, int], kinds: Sequence[str], draw: random.Random, *, about: str = ""
) -> Falsehood | None:
    """The passage with a sentence of it made false, in the first of these ways that the sentence allows.

    Args:
        text: the passage.
        sentence: its place in it, half-open.
        kinds: of `KINDS`, in the order of preference.
        draw: of the other drug.
        about: what the passage is about; drugs named there stay, or it would be about something else.
    """
    ways: dict[str, Callable[[], Falsehood | None]] = {
        "number": lambda: _number(text, sentence),
        "drug": lambda: _drug(text, sentence, draw, about),
        "negation": lambda: _negation(text, sentence),
    }
    found = (ways[kind]() for kind in kinds)
    return next((one for one in found if one is not None), None)


def _number(text: str, sentence: tuple[int, int]) -> Falsehood | None:
    begin, end = sentence
    said = text[begin:end]
    there = measures(text)
    for one in measures(said):
        if one.unit in ("第", "型", "期", "级") or not _DIGITS.search(one.text):
            continue
        factor = 0.5 if not one.unit and one.high > 0.5 else 2.0
        changed = _DIGITS.sub(partial(_times, factor), one.text)
        false = said[: one.start] + changed + said[one.end :]
        now = [new for new in measures(false) if new.start == one.start]
        if now and not any(agree(now[0], other) for other in there):
            return Falsehood(text[:begin] + false + text[end:], "number", one.text, changed, false)
    return None


def _times(factor: float, digits: re.Match[str]) -> str:
    return f"{float(digits[0]) * factor:.10g}"


def _drug(text: str, sentence: tuple[int, int], draw: random.Random, about: str) -> Falsehood | None:
    begin, end = sentence
    subjects = {one.canonical for one in mentions(about)}
    drugs = [one for one in mentions(text[begin:end]) if one.kind == "drug" and one.canonical not in subjects]
    if not drugs:
        return None
    true = drugs[0].text
    here = subjects | {one.canonical for one in mentions(text)}
    others = [name for name in _drugs() if name not in here and not any(name in one or one in name for one in here)]
    false = draw.choice([name for name in others if name not in fold(text)])
    return Falsehood(text.replace(true, false), "drug", true, false, text[begin:end].replace(true, false))


@cache
def _drugs() -> tuple[str, ...]:
    return tuple(
        sorted({one.canonical for one in names().values() if one.kind == "drug" and _DRUG.fullmatch(one.canonical)})
    )


def _negation(text: str, sentence: tuple[int, int]) -> Falsehood | None:
    begin, end = sentence
    said = text[begin:end]
    found = [(said.find(true), -len(true), true, false) for true, false in TURNED if true in said]
    if not found:
        return None
    place, _, true, false = min(found)
    after = said[place + len(true) : place + len(true) + _AFTER]
    changed = said[:place] + false + said[place + len(true) :]
    if false + after in text.replace(true + after, "\n"):  # 不能服用 holds 能服用
        return None
    return Falsehood(text[:begin] + changed + text[end:], "negation", true + after, false + after, changed)
