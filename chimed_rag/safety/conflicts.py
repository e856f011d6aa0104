"""Two passages that disagree are shown side by side, not averaged.

What is covered, between a sentence of the answer (or, without an answer, of any passage) and a sentence of another
document that speaks of the same thing: numbers of the same attribute that do not overlap (dose, frequency, course,
reference range; two different maxima as well), opposite strength (禁用 against 可用, 推荐 against 不推荐, 慎用 against
禁用), different first choices. "The same thing" is strict, since a false alarm costs trust: the same drug or disease by
title, alias or name, the same population, route, severity and indication, and nearly the same other words in the
clause. With years in `date` or metadata the text says which one is newer; the newer one is not chosen.
What is not covered: contradictions within one document, in other words than those of `conflicts.yaml`, by inference,
between units that only a substance's factor converts (mmol/L, mg/dL), and which one is right.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Literal, NamedTuple

from chimed_rag.records import Evidence, Record, Sentence
from chimed_rag.text import HAN, fold, sentence_spans

Kind = Literal["number", "strength", "first_choice"]
Place = tuple[int, str]

SAME_FRAME = 0.7
"""How alike (Dice, over characters) two clauses are besides what is compared, at least."""
SAME_SENTENCE = 0.85
"""The same where no attribute is named (潜伏期为1～4天): the words around the number must tell it."""
LONGEST = 400
"""Longer sentences are enumerations and are not compared."""
LONGEST_PASSAGE = 4_000
"""So many characters of a passage are read at most."""
MOST_PAIRS = 20_000
"""So many pairs of sentences are compared at most."""
_TELLING = re.compile(
    r"[\d一二两三四五六七八九十半禁忌慎宜]|推荐|建议|首选|避免|可[以用安使服]|能[使服用吃]|不[得可应能]|应[使服常]"
)
_CLAUSE = re.compile(r"[，,；;。！？!?\n：:]+")
_AGE = re.compile(
    r"\d+(?:\.\d+)?[~～\-至到]?\d*(?:周?岁|月龄|周龄)(?:及?以上|及?以下|以内|内)?"
    r"|\d+[~～\-至到]?\d*个?月(?=(?:及?以[上下内]|内)?的?[婴幼小儿宝龄])|孕\d+周?[~～\-至到]?\d*周(?:及?以[前后上下])?"
)
_CONDITION = re.compile(
    rf"(?:用于|治疗|预防|适用于)(?!.?.?首选)([{HAN}]{{2,10}})|([{HAN}]{{2,8}}?)(?:患者|病人|发作时|时)(?![间候])"
)
_FIRST_CHOICE = re.compile(rf"首选(?:药物|用药|药|治疗|方案|检查|方法)?(?:为|是|用|应用)?([{HAN}A-Za-z0-9]{{2,14}})$")
_YEAR = re.compile(r"(?<!\d)(?:19|20)\d\d(?!\d)")
_FORM_ENDING = re.compile(
    r"(?:缓释|控释|肠溶|分散|咀嚼|泡腾)?(?:片|胶囊|颗粒|注射液|混悬液|口服液|滴眼液|软膏|乳膏|丸|散|糖浆|栓)$"
)
_MOTHERS = {"pregnancy", "early_pregnancy", "middle_pregnancy", "late_pregnancy", "nursing"}
_OPPOSITE = {
    frozenset(pair)
    for pair in (
        ("prohibited", "allowed"), ("prohibited", "advised"), ("prohibited", "caution"),
        ("discouraged", "advised"), ("caution", "allowed"),
    )
}  # fmt: skip
_UNITS = {
    "kg": ("g", 1e3), "g": ("g", 1.0), "mg": ("g", 1e-3), "μg": ("g", 1e-6), "ng": ("g", 1e-9), "L": ("L", 1.0),
    "mL": ("L", 1e-3), "μL": ("L", 1e-6), "min": ("h", 1 / 60), "h": ("h", 1.0), "d": ("h", 24.0), "w": ("h", 168.0),
    "月": ("h", 720.0), "年": ("h", 8760.0), "mmol": ("mol", 1e-3), "μmol": ("mol", 1e-6),
}  # fmt: skip


class Conflict(Record):
    """Two places that disagree: (number of the passage, its sentence) each, and what the reader is told."""

    kind: Kind
    a: Place
    b: Place
    text: str


class _Value(NamedTuple):
    attributes: frozenset[str]
    unit: str
    low: float
    high: float


@dataclass(frozen=True)
class _Clause:
    """What a clause says, and what must agree before it can contradict another one."""

    populations: frozenset[str]
    conditions: frozenset[str]
    forms: frozenset[str]
    qualifiers: frozenset[str]
    rest: Counter[str]
    values: tuple[_Value, ...]
    strength: str | None
    first_choice: str | None


@dataclass(frozen=True)
class _Statement:
    number: int
    passage: Evidence
    text: str
    names: frozenset[str]


class _Words(NamedTuple):
    populations: dict[str, str]
    attributes: dict[str, str]
    strengths: dict[str, str]
    forms: tuple[str, ...]
    qualifiers: tuple[str, ...]
    hedges: tuple[str, ...]
    removed: re.Pattern[str]


@cache
def _words() -> _Words:
    import yaml

    told = yaml.safe_load(files("chimed_rag.safety").joinpath("conflicts.yaml").read_text("utf-8"))
    populations, attributes, strengths = (_owners(told[key]) for key in ("populations", "attributes", "strengths"))
    removed = {*populations, *attributes, *told["forms"], *told["qualifiers"], *told["fillers"]}
    return _Words(
        populations, attributes, strengths, tuple(told["forms"]), tuple(told["qualifiers"]), tuple(told["hedges"]),
        re.compile("|".join(map(re.escape, sorted(removed, key=len, reverse=True)))),
    )  # fmt: skip


def _owners(table: dict[str, list[str]]) -> dict[str, str]:
    pairs = [(word, key) for key, words in table.items() for word in words]
    return dict(sorted(pairs, key=lambda pair: -len(pair[0])))


def conflicts(question: str, sentences: Sequence[Sentence], evidence: Sequence[Evidence]) -> list[Conflict]:
    """Where two documents disagree about what the answer says, each pair of documents and kind once.

    Args:
        question: the reader's question; without sentences, only passages that share a name with it are compared.
        sentences: the answer, each sentence with its citations; empty where there is none.
        evidence: all passages that were found, those that the answer cites among them.
    """
    everything = [statement for passage in evidence for statement in _statements(passage)]
    told = _cited(sentences, evidence) if sentences else [item for item in everything if _asked(question, item)]
    found: dict[tuple[str, frozenset[str]], Conflict] = {}
    looked = 0
    for one in told:
        for other in everything:
            if other.passage.document_id == one.passage.document_id or not _about_the_same(one, other):
                continue
            looked += 1
            if looked > MOST_PAIRS:
                return list(found.values())
            kind = _disagree(one, other)
            key = (str(kind), frozenset((one.passage.document_id, other.passage.document_id)))
            if kind is not None and key not in found:
                found[key] = _conflict(kind, one, other)
    return list(found.values())


def _statements(passage: Evidence) -> list[_Statement]:
    names = frozenset(_base(name) for name in passage.names if len(name) > 1)
    return [
        _Statement(passage.number, passage, passage.text[begin:end], names)
        for begin, end in sentence_spans(passage.text[:LONGEST_PASSAGE])
        if end - begin <= LONGEST and _TELLING.search(passage.text, begin, end)
    ]


def _cited(sentences: Sequence[Sentence], evidence: Sequence[Evidence]) -> list[_Statement]:
    """The answer's sentences as statements of the passages that they cite; an unsupported one is nobody's."""
    passages = {passage.number: passage for passage in evidence}
    return [
        _Statement(
            passage.number, passage, sentence.text, frozenset(_base(name) for name in passage.names if len(name) > 1)
        )
        for sentence in sentences
        for citation in sentence.citations[:1]
        if (passage := passages.get(citation.number)) is not None and len(sentence.text) <= LONGEST
    ]


def _base(name: str) -> str:
    folded = fold(name)
    shorter = _FORM_ENDING.sub("", folded)
    return shorter if len(shorter) > 1 else folded


def _asked(question: str, statement: _Statement) -> bool:
    folded = fold(question)
    return any(name in folded for name in statement.names)


def _about_the_same(one: _Statement, other: _Statement) -> bool:
    """Both speak of the same of the two documents' subjects; a sentence that names none speaks of its own."""
    if one.names & other.names:
        return True
    return _subjects(one, other) == _subjects(other, one)


def _subjects(statement: _Statement, other: _Statement) -> frozenset[str]:
    text = fold(statement.text)
    own, foreign = (any(name in text for name in names) for names in (statement.names, other.names))
    documents = {statement.passage.document_id: own or not foreign, other.passage.document_id: foreign}
    return frozenset(document for document, named in documents.items() if named)


# --- comparing -------------------------------------------------------------------------------------------------


def _disagree(one: _Statement, other: _Statement) -> Kind | None:
    if fold(one.text) == fold(other.text):
        return None
    names = one.names | other.names
    for mine in _clauses(one.text, one.passage.headings, names):
        for theirs in _clauses(other.text, other.passage.headings, names):
            if not _comparable(mine, theirs):
                continue
            alike = _alike(mine.rest, theirs.rest)
            if alike >= SAME_FRAME:
                if frozenset((mine.strength, theirs.strength)) in _OPPOSITE:
                    return "strength"
                if mine.first_choice and theirs.first_choice and _different(mine.first_choice, theirs.first_choice):
                    return "first_choice"
                if _apart(mine.values, theirs.values, alike):
                    return "number"
    return None


def _comparable(mine: _Clause, theirs: _Clause) -> bool:
    if not ((mine.values and theirs.values) or (mine.strength and theirs.strength) or mine.first_choice):
        return False
    if mine.populations - {"adult"} != theirs.populations - {"adult"} or mine.qualifiers != theirs.qualifiers:
        return False
    if mine.forms != theirs.forms and not (mine.forms | theirs.forms) <= {"口服"}:
        return False
    return _matched(mine.conditions, theirs.conditions) and _matched(theirs.conditions, mine.conditions)


def _matched(some: frozenset[str], others: frozenset[str]) -> bool:
    return all(any(_alike(Counter(one), Counter(other)) >= 0.6 for other in others) for one in some)


def _alike(one: Counter[str], other: Counter[str]) -> float:
    total = one.total() + other.total()
    return 1.0 if total <= 1 else 2 * (one & other).total() / total


def _different(one: str, other: str) -> bool:
    return one not in other and other not in one


def _apart(mine: tuple[_Value, ...], theirs: tuple[_Value, ...], alike: float) -> bool:
    for key in {(value.attributes, value.unit) for value in mine}:
        ours = [value for value in mine if (value.attributes, value.unit) == key]
        others = [value for value in theirs if (value.attributes, value.unit) == key]
        if len(ours) != len(others) or (not key[0] and alike < SAME_SENTENCE):
            continue
        if any(_disjoint(one, other) for one, other in zip(ours, others, strict=True)):
            return True
    return False


def _disjoint(one: _Value, other: _Value) -> bool:
    slack = 1e-9 * max(abs(bound) for bound in (one.low, one.high, other.low, other.high, 1e-12) if abs(bound) < 1e300)
    infinite = float("inf")
    if one.low == other.low == -infinite:  # two maxima
        return abs(one.high - other.high) > slack
    if one.high == other.high == infinite:  # two minima
        return abs(one.low - other.low) > slack
    if infinite in (one.high, other.high) or -infinite in (one.low, other.low):
        return False  # a bound and a value say different things
    return one.high < other.low - slack or other.high < one.low - slack


# --- reading ---------------------------------------------------------------------------------------------------


@lru_cache(maxsize=512)
def _pattern(names: frozenset[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, sorted(names, key=len, reverse=True))) or r"(?!)")


@lru_cache(maxsize=4096)
def _clauses(text: str, headings: tuple[str, ...], names: frozenset[str]) -> tuple[_Clause, ...]:
    return tuple(_read(text, headings, names))


def _read(text: str, headings: tuple[str, ...], names: frozenset[str]) -> Iterator[_Clause]:
    words, folded = _words(), fold(text)
    about = fold(" ".join(headings))
    inherited = _populations(about, words)
    sentence_conditions = _conditions(folded, words)
    sentence_forms = frozenset(word for word in words.forms if word in folded)
    lead = ""  # what the sentence said before: a clause of numbers alone is about that
    for clause in _CLAUSE.split(folded):
        inherited = _populations(clause, words) or inherited
        bare = _pattern(names).sub("", clause)
        values, rest = _values(bare, words)
        hedged = any(word in folded for word in words.hedges)
        strengths = [] if hedged else _strengths(bare, words)
        choice = _FIRST_CHOICE.search(bare)
        for word in strengths:
            rest = rest.replace(word, "")
        if choice:
            rest = rest.replace(choice[0], "")
        kept = "".join(char for char in words.removed.sub("", _AGE.sub("", rest)) if char.isalnum())
        lead = kept if len(kept) > 2 else lead + kept
        if not (values or strengths or "首选" in bare):
            continue
        yield _Clause(
            populations=inherited,
            conditions=sentence_conditions,
            forms=sentence_forms,
            qualifiers=frozenset(word for word in words.qualifiers if word in folded),
            rest=Counter(lead),
            values=values,
            strength=words.strengths[strengths[0]] if len(strengths) == 1 else None,
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
    found = (words.removed.sub("", first or second) for first, second in _CONDITION.findall(text))
    return frozenset(condition for condition in found if len(condition) > 1)


def _strengths(clause: str, words: _Words) -> list[str]:
    found = []
    for word in words.strengths:
        if word in clause:
            found.append(word)
            clause = clause.replace(word, "　")
    return found


def _values(clause: str, words: _Words) -> tuple[tuple[_Value, ...], str]:
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
        values.append(_Value(frozenset(attributes), unit, quantity.low * factor, quantity.high * factor))
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


# --- telling ---------------------------------------------------------------------------------------------------


def _year(passage: Evidence) -> int | None:
    for told in (
        passage.metadata.get("year"),
        passage.date,
        passage.metadata.get("date"),
        passage.metadata.get("published"),
    ):
        match = _YEAR.search(str(told)) if told is not None else None
        if match:
            return int(match[0])
    return None


_SUBJECT = {"number": "数值", "strength": "是否可用的说法", "first_choice": "首选"}


def _conflict(kind: Kind, one: _Statement, other: _Statement) -> Conflict:
    years = _year(one.passage), _year(other.passage)
    told = [
        f"文献 {item.number}{f'（{year}年）' if year else ''}：“{item.text.strip()}”"
        for item, year in zip((one, other), years, strict=True)
    ]
    text = f"文献之间对{_SUBJECT[kind]}的说法不一致。{told[0]} {told[1]} "
    if years[0] and years[1] and years[0] != years[1]:
        newer, older = (one, other) if years[0] > years[1] else (other, one)
        text += f"文献 {newer.number}（{_year(newer.passage)}年）比文献 {older.number}（{_year(older.passage)}年）新；"
        text += "新旧不等于对错，请核对原文。"
    else:
        text += "请核对原文，不要自行取其中间值。"
    return Conflict(kind=kind, a=(one.number, one.text.strip()), b=(other.number, other.text.strip()), text=text)
