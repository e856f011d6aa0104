"""What may be shown, to whom, and what must be said with it: the last step from sentences to an answer.

Covered: two audiences; the prescription lock (`safety.prescription`); incompatibilities, pregnancy, ceilings of toxic
herbs (`safety.incompatibility`) and the user's interaction table (`safety.interactions`), on the question and on every
sentence that stays; disclaimers that can be reworded but not emptied; the order of all notices.
Not covered: deciding whether something is an emergency (`safety.triage`), whether the evidence suffices, or whether a
sentence is supported by it; the label of generated content, which every `Answer` makes itself. A notice informs the
reader; it makes no answer safe. Not every dangerous combination is in a table: silence never means that there is none.

    audience    a quoted Rp. or ×7天   an unsupported general dose   a general dose   findings and disclaimer say
    patient     dropped                dropped                       with a note      先问医生或药师，不要自行用药
    doctor      kept                   as the configuration says     without          核对原文，结合患者判断
    both: a sentence that doses or prescribes to the reader is dropped unless it is word for word in a cited source.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Literal, NamedTuple

from chimed_rag.config import Disclaimers
from chimed_rag.errors import InputError
from chimed_rag.records import Notice, Sentence
from chimed_rag.safety.incompatibility import incompatibilities
from chimed_rag.safety.interactions import Interactions
from chimed_rag.safety.late import Late
from chimed_rag.safety.prescription import Locked, asks_for_prescription, lock

Audience = Literal["patient", "doctor"]

_ITEM = Late(
    r"[\d.、)）]{0,4}\s?[\u4e00-\u9fff（）()]{2,14}\s?\d{1,4}(?:\.\d{1,3})?\s?(?:g|克|mg|毫克)(?:[（(].{0,8}[）)])?[，,。；;、]?",
    "g克",
)


class _Audience(NamedTuple):
    """How one audience differs; see the table at the top."""

    forms: bool  # a quoted sentence in the form of a prescription stays
    unproven: bool  # a general dose without a supported verdict stays
    dose_note: str
    asked: str
    advice: str  # what the notice of a finding ends with


AUDIENCES: Mapping[str, _Audience] = MappingProxyType(
    {
        "patient": _Audience(
            forms=False,
            unproven=False,
            dose_note="文中的剂量是文献里的一般信息，不是为您确定的剂量。请按医嘱或药品说明书用药。",
            asked="这里不开处方，也不为个人确定用药和剂量。用什么药、用多少，请由医生面诊后决定，用药时可咨询药师。",
            advice="请先问医生或药师，不要自行用药。",
        ),
        "doctor": _Audience(
            forms=True,
            unproven=True,
            dose_note="",
            asked="这里不开具处方。文献中的剂量为一般信息，处方请由医师结合患者情况开具。",
            advice="请核对原文，结合患者情况判断。",
        ),
    }
)
"""What each audience gets."""

_DROPPED = "有内容涉及个人的处方或用药剂量，在文献原文中没有逐字的依据，已经略去。"
_FAMILIES = {"eighteen": ("incompatibility", "eighteen"), "nineteen": ("incompatibility", "nineteen")}
_FAMILIES |= {"pregnancy": ("pregnancy", "pregnancy"), "ceiling": ("dose_ceiling", "dose_ceiling")}


class Reviewed(NamedTuple):
    """What may be shown, in the order it came, and all notices, in the order in which they are read."""

    sentences: tuple[Sentence, ...]
    notices: tuple[Notice, ...]


def review(
    question: str,
    sentences: Sequence[Sentence],
    *,
    audience: Audience = "patient",
    starter: bool = False,
    triage_notices: Sequence[Notice] = (),
    interactions: Interactions | None = None,
    disclaimers: Disclaimers | None = None,
    extra: Sequence[Notice] = (),
) -> Reviewed:
    """The sentences that may be shown, and what the reader must know with them.

    Order of notices: emergencies, prescription, incompatibility and pregnancy and ceilings, interactions, `extra`
    (identifiers taken out, injected orders, conflicts), starter, disclaimer. Sentences may all go: an answer without
    any is an abstention, which is for the caller to say.

    Args:
        question: the reader's question.
        sentences: of the answer, proved (`safety.citations`).
        audience: who reads the answer.
        starter: whether any of the evidence comes from the starter literature.
        triage_notices: what `safety.triage` raised for the question, in its order.
        interactions: the user's table, if there is one.
        disclaimers: texts in place of the built-in ones.
        extra: notices of other steps.

    Raises:
        InputError: no such audience.
    """
    reader, texts = _audience(audience), disclaimers or Disclaimers()
    locked = lock(sentences, forms=reader.forms, unproven=reader.unproven)
    between = (
        *_prescription(question, locked, reader),
        *_findings(question, locked.sentences, reader),
        *_interactions(question, locked.sentences, interactions),
        *extra,
    )
    return Reviewed(locked.sentences, _ordered(audience, triage_notices, between, starter, texts))


def showable(sentences: Sequence[Sentence], *, audience: Audience = "patient") -> tuple[Sentence, ...]:
    """The sentences alone that `review` would let through, for an answer that is still being written.

    Whether a sentence stays depends on those before it only.

    Raises:
        InputError: no such audience.
    """
    reader = _audience(audience)
    return lock(sentences, forms=reader.forms, unproven=reader.unproven).sentences


def notices(
    question: str,
    *,
    starter: bool,
    audience: Audience = "patient",
    triage_notices: Sequence[Notice] = (),
) -> tuple[Notice, ...]:
    """The fixed notices alone, for callers that show no sentences: emergencies, `starter`, the disclaimer.

    Raises:
        InputError: no such audience.
    """
    _audience(audience)
    return _ordered(audience, triage_notices, (), starter, Disclaimers())


def _audience(name: str) -> _Audience:
    if name not in AUDIENCES:
        raise InputError(f"no audience is called {name!r}; there are: {', '.join(AUDIENCES)}")
    return AUDIENCES[name]


def _ordered(
    audience: Audience, urgent: Sequence[Notice], between: Sequence[Notice], starter: bool, texts: Disclaimers
) -> tuple[Notice, ...]:
    last = [Notice(kind="starter", text=texts.starter, rule="starter_literature")] if starter else []
    text = texts.patient if audience == "patient" else texts.doctor
    return (*urgent, *between, *last, Notice(kind="disclaimer", text=text, rule=f"disclaimer_{audience}"))


def _prescription(question: str, locked: Locked, reader: _Audience) -> Iterator[Notice]:
    if asked := asks_for_prescription(question):
        yield Notice(kind="prescription", text=reader.asked, rule=asked)
    if locked.dropped:
        yield Notice(kind="prescription", text=_DROPPED, rule="dropped:" + ",".join(locked.dropped))
    if locked.dosed and reader.dose_note:
        yield Notice(kind="prescription", text=reader.dose_note, rule="general_dose")


def _findings(question: str, sentences: Sequence[Sentence], reader: _Audience) -> Iterator[Notice]:
    """One notice for each family of rules that the question or the answer goes against."""
    found = dict.fromkeys(incompatibilities(question, context=question))
    for text in _listed(sentences):
        found.update(dict.fromkeys(incompatibilities(text, context=question)))
    families: dict[tuple[str, str], list[str]] = {}
    for finding in found:
        families.setdefault(_FAMILIES[finding.kind], []).append(finding.text)
    for (kind, rule), told in families.items():
        yield Notice(kind=kind, text="".join(dict.fromkeys(told)) + reader.advice, rule=rule)


def _interactions(question: str, sentences: Sequence[Sentence], table: Interactions | None) -> Iterator[Notice]:
    """One notice for each interaction, whose advice is its own."""
    if table is None:
        return
    found = dict.fromkeys(table.check(question, context=question))
    for text in _listed(sentences):
        found.update(dict.fromkeys(table.check(text, context=question)))
    for finding in found:
        yield Notice(kind="interaction", text=f"{finding.text}（来源：{finding.rule}）", rule="-".join(finding.names))


def _listed(sentences: Iterable[Sentence]) -> list[str]:
    """The texts of the sentences; a formula that was cut into lines (附子10g / 半夏9g) is one text again."""
    texts: list[str] = []
    in_list = False
    for sentence in sentences:
        item = bool(_ITEM.fullmatch(sentence.text.strip()))
        if item and in_list:
            texts[-1] += "，" + sentence.text.strip().rstrip("。；;")
        else:
            texts.append(sentence.text.strip().rstrip("。；;") if item else sentence.text)
        in_list = item
    return texts
