"""Decides, before anything is generated, whether the evidence can answer the question at all.

What is covered: no evidence; questions without searchable or medical content; names of drugs and of diseases that the
evidence does not contain; what a question turns on beside them (`subjects`: 献血, 评分, 榴莲); evidence of which
nothing is about what is asked (`query.aboutness`).
What is not covered: other evidence on the right matter that does not hold the answer (for example the right drug but
not the population asked about), synonyms, and calibrated probabilities (`calibration`).

Whether a question is medical is read from its own words: how much of it the evidence covers did not tell 500 real
patient questions from 100 about other things (median .32 against .45, because patients tell long stories).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from chimed_rag.query.aboutness import MIN_ABOUTNESS, aboutness
from chimed_rag.query.aspects import aspects
from chimed_rag.query.question import (
    Run,
    TermWeight,
    asked_names,
    asks_no_medicine,
    content,
    content_runs,
    is_medical,
    matter,
    substance_names,
)
from chimed_rag.query.rewriting import clinical, wordings
from chimed_rag.records import Abstention, Evidence
from chimed_rag.safety.subjects import missing_details, missing_object, missing_subjects
from chimed_rag.text import fold, terms

MIN_NAME_COVERAGE = 0.7
"""A name counts as found if one passage has this share of it ("阿莫西林克拉维酸" for "阿莫西林克拉维酸钾")."""

MIN_DISEASE_COVERAGE = 0.5
"""The same for a disease: its name shares more with others, and a patient spells it less exactly."""

_TITLE_PART = 3  # so many characters of the question in a title or heading make it a question to this literature
_HAN = re.compile(r"[\u3400-\u9fff]")
_CLAUSE_END = re.compile(r"[，,。.？?！!；;\s]+")
_ASKS = re.compile("[吗么几怎啥哪]|[要能用可行](?:不|否)|多少|什么|如何|是否|还是")
_TAKING = re.compile("[吃服喝停补掰嚼]|药|剂量|成分")
# Stems of the Chinese generic names (药品通用名称) behind two characters, and pills; a verb before it begins no name.
_DRUG = re.compile(
    r"(?![吃买有服用喝打开是和与带换加人童妇婴])[\u4e00-\u9fff]{2}(?:沙班|沙坦|普利|地平|洛尔|他汀|列汀|列净|替尼|单抗|西林|沙星"
    r"|霉素|硝唑|康唑|拉唑|替丁|洛韦|普坦|司他|昔布|膦酸|鲁肽|西泮|唑仑|昔康|洛芬|双胍)"
    r"|(?:(?![吃买服用喝开])[\u4e00-\u9fff]){3,9}丸(?!子)"
)
# A noun before 性 and an ending of illness; 急性, 慢性 and the like make no name of their own.
_DISEASE = re.compile(
    r"(?!.{0,2}(?:[急慢良恶男女]|原发|继发|先天|后天)性)"
    r"[\u4e00-\u9fff]{2}性[\u4e00-\u9fff]{1,6}?(?:综合[征症]|硬化|囊肿|[炎症病瘤癌])"
)
ADVICE = "建议换用疾病、症状或药品的规范名称再问，或在文献库中加入相关资料；需要个人诊疗意见时请咨询医生或药师。"

_WEAK = f"文献中没有找到与{{}}直接相关的内容，现有资料不足以回答这个问题，因此不作回答。{ADVICE}"


def judge(
    question: str, evidence: Sequence[Evidence], *, term_weight: TermWeight | None = None, emergency: bool = False
) -> Abstention | None:
    """None if the evidence may answer the question, else the reason why no answer is given, in Chinese.

    Args:
        question: as the patient wrote it; its readings count too (`query.rewriting.readings`).
        evidence: what was found, best first.
        term_weight: inverse document frequency in the whole index; without it every term weighs the same.
        emergency: whether triage raised a red flag, which puts the question in scope whatever its words.
    """
    runs = content_runs(matter(question), term_weight)
    vocabularies = [
        frozenset(terms("\n".join((*passage.names, *passage.headings, passage.text)))) for passage in evidence
    ]
    about = max(aboutness(question, evidence, term_weight), default=0.0)
    if not runs or not (emergency or _in_scope(question, runs, evidence, about)):
        return _out_of_scope(question, runs)
    if asks_no_medicine(question) and not emergency:
        return Abstention(
            reason="out_of_scope", text=f"价格、医院、医生、法律和动物诊疗等问题，医学文献不作回答。{ADVICE}"
        )
    if not evidence:
        return Abstention(
            reason="no_evidence", text=f"文献中没有检索到与{_quoted(runs)}相关的内容，因此不作回答。{ADVICE}"
        )
    lost = _lost_drugs(question, vocabularies, term_weight)
    if all(passage.title for passage in evidence):
        lost += _lost(_DISEASE.findall(content(question)), vocabularies, term_weight, MIN_DISEASE_COVERAGE)
    if not (lost or emergency) and (unheard := _unheard(question, evidence, term_weight)):
        return Abstention(reason="weak_evidence", text=_WEAK.format("、".join(f"“{name}”" for name in unheard[:3])))
    if not lost and about >= MIN_ABOUTNESS:
        return None
    missing = lost or [run for run in runs if _best(run, vocabularies) < run.weight() / 2] or runs
    return Abstention(
        reason="weak_evidence",
        text=_WEAK.format(_quoted(missing)),
    )


def _unheard(question: str, evidence: Sequence[Evidence], term_weight: TermWeight | None) -> list[str]:
    """What the question turns on and the evidence, if it has titles, is not about."""
    if not all(passage.title for passage in evidence):
        return []
    return (
        missing_subjects(question, evidence, term_weight)
        or missing_details(question, evidence)
        or missing_object(question, evidence, term_weight)
    )


def _lost_drugs(question: str, vocabularies: Sequence[frozenset[str]], term_weight: TermWeight | None) -> list[Run]:
    """Drugs that the question is about and no passage names; one told in passing does not count.

    It is about those that make up much of it or stand in a clause that asks, and about all of them if it asks about
    taking something and no drug of it is found ("漏服了…，要补吗").
    """
    meant = clinical(question)
    asking = [clause for clause in _CLAUSE_END.split(meant) if _ASKS.search(clause) or aspects(clause)]
    about = dict.fromkeys([*asked_names(meant), *(name for clause in asking for name in _drugs(clause))])
    lost = _lost(about, vocabularies, term_weight, MIN_NAME_COVERAGE)
    if not lost and any(_TAKING.search(clause) for clause in asking):
        named = _drugs(meant)
        missing = _lost(named, vocabularies, term_weight, MIN_NAME_COVERAGE)
        lost = missing if len(missing) == len(named) else []
    return lost


def _drugs(text: str) -> list[str]:
    return list(dict.fromkeys([*substance_names(text), *_DRUG.findall(content(text))]))


def _lost(
    names: Iterable[str], vocabularies: Sequence[frozenset[str]], term_weight: TermWeight | None, share: float
) -> list[Run]:
    """The names of which no passage has that share, by weight."""
    runs = [run for name in names for run in content_runs(name, term_weight)]
    return [run for run in runs if _best(run, vocabularies) < share * run.weight()]


def _in_scope(question: str, runs: list[Run], evidence: Sequence[Evidence], about: float) -> bool:
    """Has medical words, names the title of a passage, or shares a stretch with one."""
    if not _HAN.search(question):  # "HbA1c" is a question to this literature only if all of it is found there
        found = frozenset(term for passage in evidence for term in terms("\n".join((*passage.names, passage.text))))
        return bool(runs) and len(runs) <= 3 and all(run.covered(found) == run.weight() for run in runs)
    if is_medical(question) or (about >= MIN_ABOUTNESS and _is_first_of_both(evidence[0])):
        return True
    titles = [fold(title).strip() for passage in evidence for title in (*passage.names, *passage.headings)]
    said = [fold(wording) for wording in wordings(question)]
    return any(len(title) > 1 and title in folded for title in titles for folded in said) or any(
        run.text[place : place + _TITLE_PART] in title
        for run in runs
        for place in range(len(run.text) - _TITLE_PART + 1)
        for title in titles
    )


def _is_first_of_both(passage: Evidence) -> bool:
    """One retriever put it first and the other among the first two.

    Without the ranks, 9 of 35 questions about other things count as medical over the starter literature, with them 3.
    """
    dense, lexical = passage.ranks.get("dense"), passage.ranks.get("lexical")
    return dense is not None and lexical is not None and dense.rank + lexical.rank <= 3


def _out_of_scope(question: str, runs: list[Run]) -> Abstention:
    if not runs:
        told = "没有读到可以检索的内容。请用中文写出想了解的疾病、症状、检查或药品。"
    elif not _HAN.search(question):
        told = f"文献以中文为主，没有找到与{_quoted(runs)}相关的内容。请用中文提问。"
    else:
        told = f"{_quoted(runs)}似乎不是这套医学文献能够回答的问题，因此不作回答。{ADVICE}"
    return Abstention(reason="out_of_scope", text=told)


def _best(run: Run, vocabularies: Sequence[frozenset[str]]) -> float:
    return max((run.covered(vocabulary) for vocabulary in vocabularies), default=0.0)


def _quoted(runs: Sequence[Run], most: int = 3, length: int = 12) -> str:
    """The heaviest few runs in the order of the question, each shortened: “布洛芬”、“……”."""
    heaviest = sorted([run for run in runs if len(run.text) > 1] or runs, key=lambda run: -run.weight())[:most]
    shown = [run.text if len(run.text) <= length else run.text[:length] + "…" for run in runs if run in heaviest]
    return "、".join(f"“{text}”" for text in shown)
