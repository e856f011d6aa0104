"""Two passages that disagree are shown side by side, not averaged.

What is covered, between a sentence of the answer (or, without an answer, of any passage) and a sentence of another
document that speaks of the same thing: numbers of the same attribute that do not overlap (dose, frequency, course,
reference range; two different maxima as well), opposite strength (禁用 against 可用, 推荐 against 不推荐, 慎用 against
禁用), different first choices. "The same thing" is strict, since a false alarm costs trust: the same drug or disease by
title, alias or name, the same population, route, severity and indication, and nearly the same other words in the
clause. With years in `date` or metadata the text says which one is newer; the newer one is not chosen.
What is not covered: contradictions within one document, in other words than those of `conflicts.yaml`, by inference,
between units that only a substance's factor converts (mmol/L, mg/dL), and which one is right.

Measured on 2026-11-27: of 309 starter sentences set against a copy with one number times 30 or one strength turned
round, 286 are told (most of the others have a reservation in the sentence); that is the easy case. False alarms: none
on 429 starter questions; among all sections of 8,791 diseases of an encyclopedia 7 pairs are raised, 5 of which do
disagree. Before a number was compared with all clauses that are as near, 18 were, 8 of them clauses paired wrongly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from chimed_rag.records import Evidence, Record, Sentence
from chimed_rag.safety.conflicts_reading import Clause, Value, clauses_of
from chimed_rag.safety.late import Late
from chimed_rag.text import fold, sentence_spans

Kind = Literal["number", "strength", "first_choice"]
Place = tuple[int, str]

SAME_FRAME = 0.7
"""How alike (Dice, over characters) two clauses are besides what is compared, at least."""
SAME_SENTENCE = 0.9
"""The same where no attribute is named (潜伏期为1～4天): the words around the number must tell it."""
LONGEST = 400
"""Longer sentences are enumerations and are not compared."""
LONGEST_PASSAGE = 4_000
"""So many characters of a passage are read at most."""
MOST_PAIRS = 20_000
"""So many pairs of sentences are compared at most."""
_TELLING = Late(
    r"[\d一二两三四五六七八九十半禁忌慎宜]|推荐|建议|首选|避免|可[以用安使服]|能[使服用吃]|不[得可应能]|应[使服常]"
)
_DENIAL = "不无未没非"
_YEAR = Late(r"(?<!\d)(?:19|20)\d\d(?!\d)")
_FORM_ENDING = Late(
    r"(?:缓释|控释|肠溶|分散|咀嚼|泡腾)?(?:片|胶囊|颗粒|注射液|混悬液|口服液|滴眼液|软膏|乳膏|丸|散|糖浆|栓)$"
)
_OPPOSITE = {
    frozenset(pair)
    for pair in (
        ("prohibited", "allowed"), ("prohibited", "advised"), ("prohibited", "caution"),
        ("discouraged", "advised"), ("caution", "allowed"),
    )
}  # fmt: skip


class Conflict(Record):
    """Two places that disagree: (number of the passage, its sentence) each, and what the reader is told."""

    kind: Kind
    a: Place
    b: Place
    text: str


@dataclass(frozen=True)
class _Statement:
    number: int
    passage: Evidence
    text: str
    names: frozenset[str]


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
    clauses = clauses_of(other.text, other.passage.headings, names)
    for mine in clauses_of(one.text, one.passage.headings, names):
        alike = [(theirs, _alike(mine.rest, theirs.rest)) for theirs in clauses if _comparable(mine, theirs)]
        near = [(theirs, likeness) for theirs, likeness in alike if likeness >= SAME_FRAME]
        for theirs, _ in near:
            if frozenset((mine.strength, theirs.strength)) in _OPPOSITE:
                return "strength"
            if mine.first_choice and theirs.first_choice and _different(mine.first_choice, theirs.first_choice):
                return "first_choice"
        # Where the other sentence says the same number too, in a clause that is as near, the rest is another matter.
        verdicts = [_apart(mine.values, theirs.values, likeness) for theirs, likeness in near]
        if True in verdicts and False not in verdicts:
            return "number"
    return None


def _comparable(mine: Clause, theirs: Clause) -> bool:
    if not ((mine.values and theirs.values) or (mine.strength and theirs.strength) or mine.first_choice):
        return False
    if mine.populations - {"adult"} != theirs.populations - {"adult"} or mine.qualifiers != theirs.qualifiers:
        return False
    if any(mine.rest[char] != theirs.rest[char] for char in _DENIAL):
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


def _apart(mine: tuple[Value, ...], theirs: tuple[Value, ...], alike: float) -> bool | None:
    """True where numbers of the same attribute do not overlap, False where they do, None where there are none."""
    verdict = None
    for key in {(value.attributes, value.unit) for value in mine}:
        ours = [value for value in mine if (value.attributes, value.unit) == key]
        others = [value for value in theirs if (value.attributes, value.unit) == key]
        if len(ours) != len(others) or (not key[0] and alike < SAME_SENTENCE):
            continue
        if any(_disjoint(one, other) for one, other in zip(ours, others, strict=True)):
            return True
        verdict = False
    return verdict


def _disjoint(one: Value, other: Value) -> bool:
    share = 0.03 if one.unit == "h" else 1e-9  # half a year is six months
    slack = share * max(abs(bound) for bound in (one.low, one.high, other.low, other.high, 1e-12) if abs(bound) < 1e300)
    infinite = float("inf")
    if one.low == other.low == -infinite:  # two maxima
        return abs(one.high - other.high) > slack
    if one.high == other.high == infinite:  # two minima
        return abs(one.low - other.low) > slack
    if infinite in (one.high, other.high) or -infinite in (one.low, other.low):
        return False  # a bound and a value say different things
    return one.high < other.low - slack or other.high < one.low - slack


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
