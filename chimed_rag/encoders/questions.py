"""Questions as patients type them, made from the title and the heading under which the answer stands.

An encoder learns from them on literature that nobody has asked about. The words are in `questions.yaml`; this module
joins them: complaint, age, medicine taken, fear, politeness, lay words and slips around a core that asks for one
aspect. Not covered: questions about two entries, and whether the section really answers (it is taken at its heading).
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from typing import Any

import yaml

from chimed_rag.encoders.complaints import complaint_in
from chimed_rag.encoders.entry_names import Entry, describe, kind_of, parts, plain, stage

PLAIN = 0.4  # share of questions that are a bare core
LAY = 0.25
SLIP = 0.08
COMPLAINT = 0.6  # of the dressed questions whose section has a sentence
STRESS = 0.05
MARK = 0.5

_PERSON = re.compile(
    "月经|例假|奶|孕|流产|月子|男的|女的|我[妈爸]|老[人年爷公]|小孩|孩子|宝宝|婴|小朋友|小儿|年纪|岁|家里|要不要命"
)
_GROWN_UP = re.compile("夫妻|同房|上班|烟|酒|开车|生育|干活|接吻|老花|咖啡")
_NOT_OF_A_SYMPTOM = re.compile(
    "细菌|染上|怎么得|为啥会得|绝症|癌变|生存率|期什么|几期|期怎么|期晚期|活检|根治|恶性|晚期|哪一型|分几级|断根|扩散|误诊"
)
_SUBJECT = re.compile(
    "^(?:小孩|宝宝|孩子|婴儿|小朋友|小儿|老年人|老人|孕妇|怀孕了?)(?=能|可以|有|吃|喝|打|抹|用|会|为什么|老|\\{)"
)
_LEADS_ON = (
    "怎",
    "咋",
    "能",
    "要",
    "会",
    "可",
    "吃",
    "需",
    "多久",
    "用",
    "该",
    "应",
    "好",
    "严重",
    "平时",
    "挂",
    "看",
    "有什",
    "有哪",
    "一",
    "饭",
    "早上",
)
_STRESSED = re.compile("(?=怎么(?:治|办|处理|预防|缓解|护理|确诊|诊断|吃)|要不要|能不能|会不会)")
_TOLD_AS_QUESTION = {"symptom", "diagnosis", "overview", "differential", "cause"}
_BLAMED_ON_DRUG = {"side_effect", "precautions", "overdose", "interaction"}
_OF_NOBODY = {"overview", "composition", "indication", "reference"}
_MEASURED = {"high", "low", "reference"}
_SPANS = [
    "两天",
    "三天",
    "四五天",
    "一个星期",
    "十来天",
    "半个月",
    "一个月",
    "快两个月",
    "三个月",
    "半年",
    "一年多",
    "三年",
    "好几年",
]
_SHORT_SPANS = 6  # of `_SPANS`, those one may suffer from something sudden
_AGES_OF_CHILDREN = [
    "40天",
    "四个月",
    "6个月",
    "8个月",
    "10个月",
    "一岁多",
    "两岁半",
    "3岁",
    "4岁",
    "5岁",
    "7岁",
    "十一岁",
]
_BETWEEN = ("，",) * 8 + (" ", " ", "。", "")
_MARKS = ("？",) * 8 + ("?", "??")
_NAMELESS = {"disease": "这个病", "symptom": "这个症状", "drug": "这个药", "test": "这个检查"}


@dataclass(frozen=True)
class _Words:
    """The data file, read once."""

    aspects: dict[str, dict[str, Any]]
    headings: re.Pattern[str]
    groups: dict[str, dict[str, tuple[str, ...]]]
    opening: tuple[str, ...]
    closing: tuple[str, ...]
    stress: tuple[str, ...]
    slips: dict[str, tuple[str, ...]]
    lay: dict[str, tuple[str, ...]]


def _reversed(table: str) -> dict[str, tuple[str, ...]]:
    """Clinical or right word to what is said or typed for it. Read as a resource: encoders stand beside `query`."""
    found: dict[str, list[str]] = {}
    for line in resources.files("chimed_rag").joinpath("query").joinpath(table).read_text("utf-8").splitlines():
        said, _, meant = line.partition("\t")
        if len(meant) > 1 and " " not in meant and not line.startswith("#"):
            found.setdefault(meant, []).append(said)
    return {meant: tuple(said) for meant, said in found.items()}


@cache
def words() -> _Words:
    """The words of `questions.yaml` and the two tables of the query side, reversed."""
    data = yaml.safe_load(resources.files("chimed_rag.encoders").joinpath("questions.yaml").read_text("utf-8"))
    aspects = data["aspects"]
    for aspect in aspects.values():
        aspect["cores"] = {kind: tuple(lines.splitlines()) for kind, lines in aspect["cores"].items()}
    groups = {
        part: {group: tuple(lines.splitlines()) for group, lines in data[part].items()}
        for part in ("people", "history", "complaints", "taken", "fear")
    }
    slips = {right: tuple(typed) for right, typed in data["slips"].items()} | _reversed("misspellings.tsv")
    headings = re.compile("|".join(f"(?P<{name}>{aspect['headings']})" for name, aspect in aspects.items()))
    opening, closing = tuple(data["opening"].splitlines()), tuple(data["closing"].splitlines())
    stress = tuple(data["stress"].split())
    return _Words(aspects, headings, groups, opening, closing, stress, slips, _reversed("lay_terms.tsv"))


def aspects_of(heading: str) -> tuple[str, ...]:
    """The aspects of `questions.yaml` that a heading names, in the order of the heading; ("other",) for none."""
    bare = plain(heading)
    found = dict.fromkeys(match.lastgroup for match in words().headings.finditer(bare) if match[0])
    return tuple(name for name in found if name) or (("other",) if bare else ("overview",))


@dataclass(frozen=True)
class _Asked:
    """All that questions on one section have in common: how its entry is named and the cores of each aspect."""

    entry: Entry
    lay: tuple[str, ...]
    heading: str
    cores: tuple[tuple[str, tuple[str, ...]], ...]  # aspect, its cores with the words of the entry, but for {t}


@lru_cache(maxsize=1 << 15)
def _asked(title: str, heading: str) -> _Asked:
    path, heading = parts(title), plain(heading)
    while len(path) > 1 and len(path[-1]) <= 6 and aspects_of(path[-1]) != ("other",) and not kind_of(path[-1]):
        heading = heading or path[-1]
        path.pop()
    name = path[-1] if path else ""
    found = aspects_of(heading)
    entry = describe(name, words().aspects[found[0]]["kind"])
    if entry.kind != "test":  # 颅内压增高 is no value of a test
        found = tuple(aspect for aspect in found if aspect not in _MEASURED) or ("other",)
    if not name:
        name = heading if found == ("other",) and heading else _NAMELESS[entry.kind]
        found = ("overview",) if name == heading else found
    about = heading.removeprefix(name).removeprefix("的") or heading
    shown = name + stage(heading) if stage(heading) not in name and "other" not in found else name
    lay = _lay_forms(name)
    entry = Entry(shown, entry.kind, entry.verb, entry.unit, entry.sudden, entry.whom)
    cores = tuple(
        (aspect, _filled(aspect, entry.kind, entry.verb, entry.unit, _got(entry), entry.whom)) for aspect in found
    )
    return _Asked(entry, lay, about, cores)


def _lay_forms(name: str) -> tuple[str, ...]:
    """What people say for the name, or for its end: 慢性便秘 is not 血尿酸, in which 血尿 stands by accident."""
    for start in range(len(name) - 1):
        said = words().lay.get(name[start:])
        if said:
            return tuple(name[:start] + form for form in said)
    return ()


def _got(entry: Entry) -> str:
    return "老是" if entry.kind == "symptom" else "" if entry.sudden else "得了"


@lru_cache(maxsize=1 << 12)
def _filled(aspect: str, kind: str, verb: str, unit: str, got: str, whom: str) -> tuple[str, ...]:
    """The cores that fit an entry; of people it concerns alone no others are spoken."""
    told = words().aspects[aspect]["cores"]
    own = told.get("disease" if kind == "symptom" else kind, ())
    cores = (*told.get("any", ()), *own, *own)  # those written for the kind weigh twice
    if kind == "symptom":
        cores = tuple(core for core in cores if not _NOT_OF_A_SYMPTOM.search(core))
    if whom:
        ruled_out = _GROWN_UP if whom == "child" else None
        fit = tuple(c for c in cores if not _PERSON.search(c) and not (ruled_out and ruled_out.search(c)))
        cores = fit or cores
    before = "" if kind in ("disease", "symptom") else verb
    table = (("{v}", verb), ("{u}", unit), ("{g}", got), ("{y}", before))
    for mark, word in table:
        cores = tuple(core.replace(mark, word) for core in cores)
    return cores


def question(title: str, heading: str, rng: random.Random, sentence: str = "", *, plain: float = PLAIN) -> str:
    """One question, as a patient types it, that the section `heading` of the entry `title` answers.

    Args:
        title: a disease, drug, test, herb, procedure or the path of a book (`内科学 > 第二篇 > 肺炎`); may be empty.
        heading: name of the section; one that no aspect knows is asked for by its name; may be empty.
        rng: decides everything; the same state gives the same question.
        sentence: of the section; what it says of symptoms may be told as a complaint.
        plain: the share of questions that are a bare core, without age, complaint, fear or politeness.

    Returns:
        One line without line breaks, never empty.
    """
    asked = _asked(title, heading)
    draw = rng.random
    aspect, cores = asked.cores[int(draw() * len(asked.cores))]
    core = _pick(cores, rng)
    before: Sequence[str] = ()
    after: Sequence[str] = ()
    if draw() >= plain:
        before, core, after = _dressed(asked.entry, aspect, core, rng, sentence)
    if draw() < STRESS and "到底" not in core:
        core = _STRESSED.sub(_pick(words().stress, rng), core, count=1)
    text = _joined(before, core, after, rng)
    name = _pick(asked.lay, rng) if asked.lay and draw() < LAY else asked.entry.name
    if "{" in text:
        text = _told(text, asked.entry, rng).replace("{h}", asked.heading).replace("{t}", name)
    return _slipped(text, rng) if draw() < SLIP else text


def _pick(choices: Sequence[str], rng: random.Random) -> str:
    return choices[int(rng.random() * len(choices))]


def _dressed(
    entry: Entry, aspect: str, core: str, rng: random.Random, sentence: str
) -> tuple[list[str], str, list[str]]:
    """What is said before the core, the core, what is said after it; one thing or more beside the core."""
    draw, groups = rng.random, words().groups
    kind = entry.kind if entry.kind in ("drug", "test") else "disease"
    before: list[str] = []
    after: list[str] = []
    complaint = complaint_in(sentence, entry.name, rng) if sentence and draw() < COMPLAINT else ""
    if complaint:
        complaint = _in_lay_words(complaint, rng) if draw() < LAY else complaint
        if kind == "disease" and aspect in _TOLD_AS_QUESTION and draw() < 0.6:
            core = _pick(groups["complaints"]["ask"], rng)
        elif kind == "drug" and aspect in _BLAMED_ON_DRUG:
            core = _pick(groups["complaints"]["drug"], rng)
        else:
            before.append(_pick(groups["complaints"]["before"], rng).replace("{f}", complaint))
        core = core.replace("{f}", complaint)
    elif words().aspects[aspect]["ill"] and draw() < 0.3 and core.startswith("{t}") and core[3:].startswith(_LEADS_ON):
        told = "sudden" if entry.sudden and kind == "disease" else "symptom" if entry.kind == "symptom" else kind
        before.append(_pick(groups["history"][told], rng))
        core = core[3:]
    if draw() < (0.15 if aspect in _OF_NOBODY else 0.5):
        who, core = _who(entry, aspect, core, rng)
        before[:0] = who
    if kind != "test" and not complaint and draw() < 0.15 and words().aspects[aspect]["ill"]:
        before.append(_pick(groups["taken"][kind], rng))
    if draw() < 0.2:
        (after if draw() < 0.7 else before).append(_pick(groups["fear"][kind], rng))
    silent = not (before or after or complaint)
    if draw() < (0.6 if silent else 0.25):
        before.insert(0, _pick(words().opening, rng))
        silent = False
    if silent or draw() < 0.2:
        after.append(_pick(words().closing, rng))
    return before, core, after


def _who(entry: Entry, aspect: str, core: str, rng: random.Random) -> tuple[list[str], str]:
    """Who is ill, and the core without a subject that would name another; nobody where the core speaks of people."""
    group = {"pregnancy": "pregnant", "child": "child", "elderly": "elder"}.get(aspect) or entry.whom
    bare = _SUBJECT.sub("", core) if group in ("child", "elder", "pregnant") and "{t}" in core else core
    if _PERSON.search(bare) or (aspect == "child" and group != "child"):
        return [], core
    if not group:
        group = _pick(("man", "woman", "man", "woman", "anyone", "anyone", "elder", "child"), rng)
    if group == "child" and _GROWN_UP.search(bare):
        return [], core
    who = _pick(words().groups["people"][group], rng)
    if entry.kind in ("drug", "test") and "{d}" in who:  # it is an illness that lasts
        return [], core
    return [who], bare


def _joined(before: Sequence[str], core: str, after: Sequence[str], rng: random.Random) -> str:
    """The parts with commas, blanks or nothing between them, with or without a mark behind the core."""
    draw = rng.random
    text = ""
    for part in before:
        close = part.endswith(("请问", "问一下", "问下", "问问")) and draw() < 0.4
        text += part + ("" if close else _pick(_BETWEEN, rng))
    marked = draw() < MARK
    text += core + (_pick(_MARKS, rng) if marked else "")
    for part in after:
        text += part if marked else _pick(_BETWEEN, rng) + part
        marked = False
    return text


def _told(text: str, entry: Entry, rng: random.Random) -> str:
    """The text with ages, spans of time and the verb of a drug in place of their marks."""
    if "{d}" in text:
        text = text.replace("{d}", _SPANS[int(rng.random() * (_SHORT_SPANS if entry.sudden else len(_SPANS)))])
    if "{a}" in text:
        text = text.replace("{a}", str(18 + int(rng.random() * 43)))
    if "{o}" in text:
        text = text.replace("{o}", str(60 + int(rng.random() * 29)))
    if "{w}" in text:
        text = text.replace("{w}", str(5 + int(rng.random() * 35)))
    if "{c}" in text:
        text = text.replace("{c}", _pick(_AGES_OF_CHILDREN, rng))
    return text.replace("{v}", entry.verb)


def _in_lay_words(text: str, rng: random.Random) -> str:
    return _replaced(text, words().lay, rng)


def _slipped(text: str, rng: random.Random) -> str:
    return _replaced(text, words().slips, rng)


def _replaced(text: str, table: dict[str, tuple[str, ...]], rng: random.Random) -> str:
    """The text with one word of the table, any that it holds, replaced by what stands for it there."""
    held = [
        text[start : start + length]
        for start in range(len(text))
        for length in range(2, 7)
        if text[start : start + length] in table
    ]
    if not held:
        return text
    word = _pick(held, rng)
    return text.replace(word, _pick(table[word], rng), 1)
