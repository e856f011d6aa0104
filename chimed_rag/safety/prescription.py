"""The prescription lock: nothing here prescribes, and a dose is shown only as the literature's, never as the reader's.

Covered: questions that ask for a prescription or for a dose for someone (我该吃几片); sentences that prescribe, that
have the form of a prescription (Rp., 处方：, ×7天), that address a dose or a change of it to the reader (你每天吃两片,
您可以停药了) or tell it in the words in which one tells a patient (先吃两片). Such a sentence is kept only where it is
word for word what a cited source says; the form Rp. is kept for doctors alone. For patients a general dose
(成人一次0.2g) needs a supported verdict, and goes with a note. Rules and words: `prescription.yaml`.
Not covered: the wish to be told a drug (我该吃什么药), an amount asked for nobody (用量是多少), fractions in words
(四分之一片 is read as 一片), traditional characters, other languages, advice without any amount, and whether a dose
is right. What no pattern knows passes as a general sentence.

Measured: of 271 lines in which doctors of three public sets of dialogues name an amount (patterns were mended on them),
81 are read as doses for the reader, and 238 as that or as a general dose, which patients get only proved; the rest is
mostly food, water and remarks. Of 25,024 textbook sentences, 4 are read as doses for the reader.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from chimed_rag.packaged import parsed, source
from chimed_rag.records import Sentence
from chimed_rag.safety.late import Late
from chimed_rag.text import fold

_BLANK = re.compile(r"[\s\u00ad\u200b-\u200f\u2060\ufeff]+")
_MENTION = re.compile(r"<(\w+)>")
_SENTENCE = re.compile(r"[^。！？!?；;]+")
_CLAUSE = re.compile(r"[^，,：:。！？!?；;]+[，,：:]?")
_NEAR = 4  # characters after an amount in which food makes it one of food
_MOST = 2000  # of a longer sentence only so many characters are read at a time


class _Rule(NamedTuple):
    id: str
    matches: Late
    unless: Late | None
    needs: Late | None


class _Book(NamedTuple):
    questions: tuple[_Rule, ...]
    sentences: tuple[_Rule, ...]
    words: dict[str, Late]


@cache
def _book() -> _Book:
    raw: dict[str, Any] = parsed(source("chimed_rag.safety", "prescription.yaml"))
    words: dict[str, str] = {}

    def spelled(expression: str) -> str:
        return _MENTION.sub(lambda found: f"(?:{words[found[1]]})", expression)

    for name, expression in raw.pop("words").items():
        words[name] = spelled(expression)

    def rules(entries: list[dict[str, str]]) -> tuple[_Rule, ...]:
        return tuple(
            _Rule(
                entry["id"],
                Late(spelled(entry["matches"]), entry.get("holds", "")),
                Late(spelled(entry["unless"])) if "unless" in entry else None,
                Late(spelled(entry["needs"])) if "needs" in entry else None,
            )
            for entry in entries
        )

    questions, sentences, holds = rules(raw.pop("questions")), rules(raw.pop("sentences")), raw.pop("holds")
    own = {name: Late(spelled(expression), holds.get(name, "")) for name, expression in raw.items()}
    shared = {name: Late(words[name]) for name in ("dose", "often", "take", "food")}
    return _Book(questions, sentences, own | shared)


def _read(text: str) -> list[str]:
    """The sentences of a text as the rules read them; an endless one comes in pieces."""
    found = _SENTENCE.findall(_BLANK.sub("", fold(text)))
    return [piece[begin : begin + _MOST] for piece in found for begin in range(0, len(piece), _MOST)]


_KNOWING = Late("我(?:只)?(?:想|要|来)(?:问|知道|了解|咨询|请教)(?:一?下)?", "我")


def asks_for_prescription(question: str) -> str | None:
    """The rule by which the question asks for a prescription or a dose for someone; None for most questions."""
    whole = "。".join(_read(question))
    for sentence in _read(question):
        sentence = _KNOWING.sub("", sentence)
        for rule in _book().questions:
            if rule.needs and not rule.needs.search(_KNOWING.sub("", whole)):
                continue
            for clause in _CLAUSE.findall(sentence):
                if rule.matches.search(clause) and not (rule.unless and rule.unless.search(clause)):
                    return rule.id
    return None


def doses_reader(text: str) -> str | None:
    """The rule by which a text prescribes or doses its reader; None for general statements.

    `prescribes`, `template`, `addressed` (您…两片), `told` (先吃两片), `adjusted` (您可以停药了).
    """
    for sentence in _read(text):
        for rule in _book().sentences:
            if rule.matches.search(sentence) and not (rule.unless and rule.unless.search(sentence)):
                return rule.id
        if found := _addressed(sentence):
            return found
    return None


def _addressed(sentence: str) -> str | None:
    """Whether a dose or a change of one goes to the reader: in a clause of the address, or in one that follows it."""
    words = _book().words
    reader = bool(words["reader"].search(sentence))
    reported = bool(words["reported"].search(sentence))
    begun = taken = False  # the reader was addressed; and was told to take something
    for clause in _CLAUSE.findall(sentence):
        begun = begun or bool(words["reader"].search(clause))
        of_anyone = bool(words["general"].search(clause))
        if words["forbidden"].search(clause) or (of_anyone and not begun):
            continue
        takes = bool(words["take"].search(clause))
        taken = taken or (begun and (takes or bool(words["amount"].search(clause))))
        amount = _has_dose(clause) or (takes and words["often"].search(clause) and not words["food"].search(clause))
        if amount and not (reported or of_anyone):
            if taken:
                return "addressed"
            if words["told"].search(clause) and not words["not_told"].search(clause):
                return "told"
        asked = reader or clause.startswith("请")
        if asked and words["adjusted"].search(clause) and not words["advised"].search(sentence):
            return "adjusted"
    return None


def doses(text: str) -> bool:
    """Whether a text holds a dose of a drug at all, for whomever."""
    return any(
        _has_dose(clause)
        for sentence in _read(text)
        if _book().words["dosed"].search(sentence)
        for clause in _CLAUSE.findall(sentence)
    )


def _has_dose(clause: str) -> bool:
    """Whether an amount stands in a clause that is not one of food: no food before it, and none just after it."""
    words = _book().words
    first_food = words["food"].search(clause)
    for amount in words["dose"].finditer(clause):
        if first_food and first_food.start() < amount.start():
            return False
        if not words["food"].search(clause, amount.end(), amount.end() + _NEAR):
            return True
    return False


def is_quote(sentence: Sentence) -> bool:
    """Whether a sentence is supported and is, but for blanks, width and case, what one of its citations quotes.

    Citations of one passage that follow each other are one quote (a page header lay between them).
    """
    if sentence.verdict != "supported":
        return False
    text = _squeezed(sentence.text)
    quotes: dict[str, str] = {}
    for citation in sentence.citations:
        quote = _squeezed(citation.quote)
        quotes[citation.chunk_id] = quotes.get(citation.chunk_id, "") + quote
        if quote == text:
            return True
    return bool(text) and text in quotes.values()


def _squeezed(text: str) -> str:
    return _BLANK.sub("", fold(text))


class Locked(NamedTuple):
    """What the lock left: sentences in order, the rules by which others went, and whether a dose is among the kept."""

    sentences: tuple[Sentence, ...]
    dropped: tuple[str, ...]
    dosed: bool


def lock(sentences: Sequence[Sentence], *, forms: bool, unproven: bool) -> Locked:
    """Drops what doses the reader and is no quote; `policy.AUDIENCES` says what each audience gets.

    Args:
        sentences: of an answer, proved.
        forms: whether a quoted sentence in the form of a prescription (Rp., ×7天) may stay.
        unproven: whether a general dose without a supported verdict may stay.
    """
    kept: list[Sentence] = []
    dropped: list[str] = []
    dosed = in_form = False
    for sentence in sentences:
        rule, dose, quoted = doses_reader(sentence.text), doses(sentence.text), is_quote(sentence)
        if rule is None and dose and not quoted and in_form:
            rule = "template"  # the lines below a 处方： that went
        if rule is None and dose and sentence.verdict != "supported" and not unproven:
            rule = "unproven_dose"
        if rule is None or (quoted and (forms or not _form(sentence.text))):
            kept.append(sentence)
            dosed, in_form = dosed or dose or rule is not None, False
        else:
            dropped.append(rule)
            in_form = rule in ("template", "prescribes")
    return Locked(tuple(kept), tuple(dict.fromkeys(dropped)), dosed)


def _form(text: str) -> bool:
    """Whether it looks like what a pharmacy would fill; a 处方： before the herbs of a formula does not."""
    first = next(rule for rule in _book().sentences if rule.id == "template")
    return any(first.matches.search(sentence) for sentence in _read(text))
