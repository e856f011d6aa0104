"""What the clauses of a sentence say that another may contradict: numbers with their attribute, strength, choice.

Also what must agree first: population, indication, route, severity, and the other words. The words lie in
`conflicts.yaml`. Not covered: the scope of a negation beyond its clause, pronouns, and which clause an enumeration
resumes. What disagrees is decided in `conflicts`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import NamedTuple

from chimed_rag.packaged import parsed, source
from chimed_rag.safety.late import Late
from chimed_rag.text import HAN, fold

_CLAUSE = re.compile(r"[，,；;。！？!?\n：:]+")
_AGE = Late(
    r"\d+(?:\.\d+)?[~～\-至到]?\d*(?:周?岁|月龄|周龄)(?:及?以上|及?以下|以内|内)?"
    r"|\d+[~～\-至到]?\d*个?月(?=(?:及?以[上下内]|内)?的?[婴幼小儿宝龄])|孕\d+周?[~～\-至到]?\d*周(?:及?以[前后上下])?",
    "岁龄月周",
)
_CONDITION = Late(
    rf"(?:用于|治疗|预防|适用于)(?!.?.?首选)([{HAN}]{{2,10}})|([{HAN}]{{2,8}}?)(?:患者|病人|发作时|时)(?![间候])",
    "于疗防者人时",
)
_FIRST_CHOICE = Late(rf"首选(?:药物|用药|药|治疗|方案|检查|方法)?(?:为|是|用|应用)?([{HAN}A-Za-z0-9]{{2,14}})$", "选")
_MOTHERS = {"pregnancy", "early_pregnancy", "middle_pregnancy", "late_pregnancy", "nursing"}
_UNITS = {
    "kg": ("g", 1e3), "g": ("g", 1.0), "mg": ("g", 1e-3), "μg": ("g", 1e-6), "ng": ("g", 1e-9), "L": ("L", 1.0),
    "mL": ("L", 1e-3), "μL": ("L", 1e-6), "min": ("h", 1 / 60), "h": ("h", 1.0), "d": ("h", 24.0), "w": ("h", 168.0),
    "月": ("h", 720.0), "年": ("h", 8760.0), "mmol": ("mol", 1e-3), "μmol": ("mol", 1e-6),
}  # fmt: skip


class Value(NamedTuple):
    """A number: what it is of (may be empty), and its range in a unit that numbers of its kind share."""

    attributes: frozenset[str]
    unit: str
    low: float
    high: float


@dataclass(frozen=True)
class Clause:
    """What a clause says, and what must agree before it can contradict another one."""

    populations: frozenset[str]
    conditions: frozenset[str]
    forms: frozenset[str]
    qualifiers: frozenset[str]
    rest: Counter[str]
    values: tuple[Value, ...]
    strength: str | None
    first_choice: str | None


class _Words(NamedTuple):
    populations: dict[str, str]
    attributes: dict[str, str]
    strengths: dict[str, str]
    forms: tuple[str, ...]
    qualifiers: tuple[str, ...]
    hedges: tuple[str, ...]
    reservations: tuple[str, ...]
    removed: re.Pattern[str]


@cache
def _words() -> _Words:
    told = parsed(source("chimed_rag.safety", "conflicts.yaml"))
    populations, attributes, strengths = (_owners(told[key]) for key in ("populations", "attributes", "strengths"))
    removed = {*populations, *attributes, *told["forms"], *told["qualifiers"], *told["fillers"]}
    return _Words(
        populations, attributes, strengths, tuple(told["forms"]), tuple(told["qualifiers"]), tuple(told["hedges"]),
        tuple(told["reservations"]),
        re.compile("|".join(map(re.escape, sorted(removed, key=len, reverse=True)))),
    )  # fmt: skip


def _owners(table: dict[str, list[str]]) -> dict[str, str]:
    pairs = [(word, key) for key, words in table.items() for word in words]
    return dict(sorted(pairs, key=lambda pair: -len(pair[0])))


@lru_cache(maxsize=512)
def _pattern(names: frozenset[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, sorted(names, key=len, reverse=True))) or r"(?!)")


@lru_cache(maxsize=512)
def clauses_of(text: str, headings: tuple[str, ...], names: frozenset[str]) -> tuple[Clause, ...]:
    """The clauses of a sentence that say something comparable.

    Args:
        text: the sentence.
        headings: of its passage; they tell the population where the sentence does not.
        names: of its subject, which say nothing more.
    """
    return tuple(_read(text, headings, names))


def _read(text: str, headings: tuple[str, ...], names: frozenset[str]) -> Iterator[Clause]:
    words, folded = _words(), fold(text)
    about = fold(" ".join(headings))
    inherited = _populations(about, words)
    sentence_conditions = _conditions(folded, words)
    sentence_forms = frozenset(word for word in words.forms if word in folded)
    hedged, reserved = (any(word in folded for word in some) for some in (words.hedges, words.reservations))
    lead = ""  # what the sentence said before: a clause of numbers alone is about that
    for clause in _CLAUSE.split(folded):
        inherited = _populations(clause, words) or inherited
        bare = _pattern(names).sub("", clause)
        values, rest = _values(bare, words)
        strengths = [] if hedged else _strengths(bare, words)
        strength = words.strengths[strengths[0]] if len(strengths) == 1 else None
        if strength in ("allowed", "advised") and reserved:
            strength = None
        choice = _FIRST_CHOICE.search(bare)
        for word in strengths:
            rest = rest.replace(word, "")
        if choice:
            rest = rest.replace(choice[0], "")
        kept = "".join(char for char in words.removed.sub("", _AGE.sub("", rest)) if char.isalnum())
        lead = kept if len(kept) > 2 else lead + kept
        if not (values or strengths or "首选" in bare):
            continue
        yield Clause(
            populations=inherited,
            conditions=sentence_conditions,
            forms=sentence_forms,
            qualifiers=frozenset(word for word in words.qualifiers if word in folded),
            rest=Counter(lead),
            values=values,
            strength=strength,
            first_choice=choice[1] if choice and not re.search(r"[、或和与及]", choice[1]) else None,
        )


def _populations(text: str, words: _Words) -> frozenset[str]:
    found = set(_AGE.findall(text))
    for word, key in words.populations.items():
        if word in text:
            found.add(key)
            text = text.replace(word, "　")
    if found & _MOTHERS:
        found.discard("female")
    return frozenset(found)


def _conditions(text: str, words: _Words) -> frozenset[str]:
    found = (words.removed.sub("", match[1] or match[2]) for match in _CONDITION.finditer(text))
    return frozenset(condition for condition in found if len(condition) > 1)


def _strengths(clause: str, words: _Words) -> list[str]:
    found = []
    for word in words.strengths:
        if word in clause:
            found.append(word)
            clause = clause.replace(word, "　")
    return found


def _values(clause: str, words: _Words) -> tuple[tuple[Value, ...], str]:
    """The numbers of a clause with what each is of, and the clause without them."""
    from chimed_rag.quantities import quantities

    if not re.search(r"[\d一二两三四五六七八九十半]|[bqt]\.?i?\.?d", clause):
        return (), clause
    ages = [match.span() for match in _AGE.finditer(clause)]
    values, rest, before = [], [], 0
    for quantity in quantities(clause):
        if any(begin < quantity.end and quantity.start < end for begin, end in ages):
            continue
        if quantity.unit == "次" and quantity.high == 1:  # 一次0.2g: what the next number is of
            continue
        attributes = {key for word, key in words.attributes.items() if word in clause[before : quantity.start]}
        if quantity.low == float("-inf"):
            attributes.add("maximum")
        unit, factor = _unit(quantity.unit, attributes)
        values.append(Value(frozenset(attributes), unit, quantity.low * factor, quantity.high * factor))
        rest.append(clause[before : quantity.start])
        before = quantity.end
    return tuple(values), "".join([*rest, clause[before:]])


def _unit(unit: str, attributes: set[str]) -> tuple[str, float]:
    """The unit in which numbers of its kind are compared, and the factor; 次/8h becomes three times a day."""
    first, _, per = unit.partition("/")
    if first == "次" and per:
        hours = re.fullmatch(r"(\d+(?:\.\d+)?)?(h|d|w)", per)
        if hours is None:
            return unit, 1.0
        return "次/d", 24 / (float(hours[1] or 1) * _UNITS[hours[2]][1])
    if per in ("次", "d"):
        attributes.add("single" if per == "次" else "daily")
        per = ""
    base, factor = _UNITS.get(first, (first, 1.0))
    return (f"{base}/{per}" if per else base), factor
