"""Checks the form of the starter literature, its ledger and its questions; `make check` runs it.

    python -m tools.check_starter [FOLDER] [QUESTIONS] [ASKED]

Each problem is printed as `file:line: what is wrong`; the exit code is 1 if there is any. Checked: front matter, unique
names, length, sections, one sentence a line that stands alone, numbers with units, nothing that prescribes or cites a
guideline; that `SOURCES.tsv` holds every sentence with a dose, range, threshold or contraindication, and names only
entries and sentences that exist; that every question names an entry and a sentence that exist, and every question asked
to learn from (training/asked) a sentence, unless its kind says that the answer is absent, and none a test question.
Not checked: whether a sentence is true (that is what the ledger is for).
"""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
STARTER = ROOT / "chimed_rag" / "corpus" / "starter"
QUESTIONS = ROOT / "tests" / "starter_questions.jsonl"
ASKED = ROOT / "training" / "asked"

KEYS = ["title", "aliases", "department", "kind", "keywords", "last_reviewed", "licence", "notice"]
KINDS = {"disease", "drug", "emergency", "test", "tcm", "prevention", "care"}
DRUG_SECTIONS = ["适应症", "用法用量", "禁忌", "慎用", "不良反应", "相互作用", "孕妇及哺乳期", "儿童", "老年人", "过量"]
SHORTEST, LONGEST = 300, 900
LONGEST_LINE = 100
SPLITS = ("development", "seen", "test")  # seen: was a test half, and was looked at too often
VERDICTS = {"agrees", "newer", "uncertain"}
LEDGER = ["entry", "statement", "source", "verdict"]

_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:\s?[～~×/:：-]\s?\d+(?:\.\d+)?)*")
_UNIT = re.compile(
    r"\s?(?:[%‰℃°]|m?mol|μmol|nmol|pmol|m?μ?n?p?[gLl](?![a-z])|mg|μg|ng|pg|[kd]?g|m?[lL]|fL|mmHg|kPa|cmH|ms|mm|cm|kg|kcal"
    r"|m?IU|μ?mIU|k?U(?![a-z])|mEq|mOsm|×10|10\^|Hz|分贝|毫米|厘米|米|毫克|微克|千克|公斤|克|毫升|升|国际单位|万?单位|千卡|千帕|公里"
    r"|[周个]?岁|孕?周|天|日|年|个?月|月龄|小时|分钟|秒|次|倍|片|粒|支|袋|滴|喷|揿|吸|剂|针|个|种|位|名|人|例|餐|份|杯|口|步"
    r"|层|度|级|期|分(?![子化泌])|根|味|代|项|类|胎|寸|横?指|下|颗|块|对|型|价|万|千(?!克)|百|比|号|条|节|处|拍|点|屈光度|联)"
)
_NAMES = re.compile(  # names that hold a digit
    r"HbA1c|CA\s?\d+(?:-\d+)?|CYFRA21-1|CK-?MB|维生素[A-Z]\d*|[BDKTH]\d{1,2}(?!\d)|FT[34]|25-羟|α1|β2|β1|α2|G6PD|P2Y12"
    r"|PM2\.5|(?:GAD|PHQ|SAS)-\d+|碳1[34]|[ABHN]\d{1,2}N?\d*|COX-\d|SGLT-?2|GLP-?1|DPP-?4|HPV\s?\d+|(?:拨打|致电)1[12][09](?:或1[12][09])*|12[03]56|SpO2|PaO2"
    r"|PaCO2|CO2|CD4|IgG4|5-羟|5-HT\d?|5α|2019|ω-?3|C3|C4|1\.73|L\d|S\d|ST2|V\d|12导联|T[34]|INR|1,25|3P|24小时动态"
)
_NO_UNIT = re.compile(r"INR|pH|比重|比值|指数|国际标准化")
_LEANS = re.compile(r"其(?!他|它|余|中)|该|它|此|这|上述|以上|本品|本药|同时|另外|因此|但")
_FORBIDDEN = re.compile(r"指南|共识|《|et al|研究显示|研究表明|发病率|患病率|死亡率|[您你]")
_CHECKABLE = re.compile(r"禁用|慎用|禁忌(?!证的判断)")


@dataclass
class Entry:
    """One file: its front matter, and its sentences with their lines and headings."""

    path: Path
    head: dict[str, Any]
    sentences: list[tuple[int, str, str]] = field(default_factory=list)
    """(line, heading, sentence)."""
    headings: list[tuple[int, str]] = field(default_factory=list)


def read_entry(path: Path) -> Entry:
    """An entry; a front matter that cannot be read gives an empty `head`."""
    lines = path.read_text("utf-8").split("\n")
    end = lines.index("---", 1) if lines[0] == "---" and "---" in lines[1:] else 0
    try:
        head = yaml.safe_load("\n".join(lines[1:end])) if end else {}
    except yaml.YAMLError:
        head = {}
    entry = Entry(path, head if isinstance(head, dict) else {})
    heading = ""
    for number, line in enumerate(lines[end + 1 :], end + 2):
        if line.startswith("## "):
            heading = line[3:]
            entry.headings.append((number, heading))
        elif line:
            entry.sentences.append((number, heading, line))
    return entry


def entry_problems(entry: Entry) -> Iterator[tuple[int, str]]:
    """(line, problem) of one entry."""
    raw = entry.path.read_bytes()
    if not re.fullmatch(r"[a-z0-9]+(?:-[a-z0-9]+)*\.md", entry.path.name):
        yield 1, "the file name is not an ASCII slug"
    if raw.startswith(b"\xef\xbb\xbf") or b"\r" in raw:
        yield 1, "has a byte order mark or carriage returns; save it as plain UTF-8 with line feeds"
    head = entry.head
    if list(head) != KEYS:
        yield 1, f"the front matter must hold exactly these keys in order: {', '.join(KEYS)}"
        return
    if head["kind"] not in KINDS:
        yield 5, f"kind {head['kind']!r} is none of {', '.join(sorted(KINDS))}"
    for key in ("aliases", "keywords"):
        if not head[key] or not all(isinstance(name, str) for name in head[key]):
            yield KEYS.index(key) + 2, f"{key} must be a list of names"
    if not isinstance(head["last_reviewed"], date):
        yield 7, "last_reviewed must be a date"
    if head["licence"] != "Apache-2.0" or head["notice"] != "demonstration":
        yield 8, "licence must be Apache-2.0 and notice demonstration"
    length = len(re.findall(r"[\u4e00-\u9fff]", "".join(sentence for _, _, sentence in entry.sentences)))
    if not SHORTEST <= length <= LONGEST:
        yield 1, f"has {length} characters; {SHORTEST} to {LONGEST} are allowed"
    headings = [heading for _, heading in entry.headings]
    if len(headings) < 3 or len(set(headings)) < len(headings):
        yield 10, "needs at least three different headings"
    if head["kind"] == "drug" and headings != DRUG_SECTIONS:
        yield 10, f"a drug has exactly these headings in order: {', '.join(DRUG_SECTIONS)}"
    for number, heading, sentence in entry.sentences:
        if not heading:
            yield number, "a sentence before the first heading"
        for problem in sentence_problems(sentence):
            yield number, problem


def sentence_problems(sentence: str) -> Iterator[str]:
    """What is wrong with the form of one sentence."""
    if not sentence.endswith("。") or sentence.count("。") != 1:
        yield "one sentence a line, ending in 。"
    if len(sentence) > LONGEST_LINE:
        yield f"longer than {LONGEST_LINE} characters"
    if _LEANS.match(sentence):
        yield "begins with a word that leans on another sentence; name the matter"
    if found := _FORBIDDEN.search(sentence):
        yield f"{found[0]!r}: addresses the reader, or names a guideline, paper or statistic"
    if re.search(r"每次\d", sentence) and "常用量" not in sentence:
        yield "an amount to take must be called 常用量"
    for number in bare_numbers(sentence):
        yield f"{number!r} has no unit"


def bare_numbers(sentence: str) -> list[str]:
    """Numbers that are followed by no unit."""
    if _NO_UNIT.search(sentence):
        return []
    named = _NAMES.sub("", sentence)
    return [found[0] for found in _NUMBER.finditer(named) if not _UNIT.match(named, found.end())]


def needs_source(sentence: str) -> bool:
    """Whether a sentence states a dose, range, threshold or contraindication."""
    return bool(_CHECKABLE.search(sentence) or _NUMBER.search(_NAMES.sub("", sentence)))


def name_problems(entries: list[Entry]) -> Iterator[tuple[Path, int, str]]:
    """Titles and aliases that two entries share."""
    owner: dict[str, str] = {}
    for entry in entries:
        for name in dict.fromkeys([entry.head.get("title"), *(entry.head.get("aliases") or [])]):
            if name in owner:
                yield entry.path, 2, f"{name!r} is also a name of {owner[name]}"
            owner.setdefault(str(name), entry.path.name)


def ledger_problems(path: Path, entries: dict[str, Entry]) -> Iterator[tuple[int, str]]:
    """(line, problem) of the ledger, and every sentence that it should hold and does not."""
    stated = {slug: {sentence for _, _, sentence in entry.sentences} for slug, entry in entries.items()}
    held: dict[str, set[str]] = {slug: set() for slug in entries}
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        if next(rows, None) != LEDGER:
            yield 1, f"the first line must be: {' '.join(LEDGER)} (tab-separated)"
        for number, row in enumerate(rows, 2):
            if len(row) != len(LEDGER):
                yield number, f"has {len(row)} columns instead of {len(LEDGER)}"
                continue
            slug, statement, source, verdict = row
            if slug not in entries:
                yield number, f"there is no entry {slug!r}"
            elif statement not in stated[slug]:
                yield number, f"{slug}.md has no sentence {statement!r}"
            else:
                held[slug].add(statement)
            if verdict not in VERDICTS:
                yield number, f"verdict {verdict!r} is none of {', '.join(sorted(VERDICTS))}"
            if verdict != "uncertain" and " > " not in source:
                yield number, "the source must be a book and a heading: 药理学 > ..."
    for slug, entry in entries.items():
        for line, _, sentence in entry.sentences:
            if needs_source(sentence) and sentence not in held[slug]:
                yield 1, f"{slug}.md:{line}: {sentence!r} needs a row"


def question_problems(path: Path, entries: dict[str, Entry]) -> Iterator[tuple[int, str]]:
    """(line, problem) of the questions."""
    seen: set[str] = set()
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        row = json.loads(line)
        if row["question"] in seen:
            yield number, "is asked twice"
        seen.add(row["question"])
        if row["split"] not in SPLITS:
            yield number, f"split {row['split']!r} is none of {', '.join(SPLITS)}"
        for slug in row["entries"]:
            if slug not in entries:
                yield number, f"there is no entry {slug!r}"
        sentences = {s for slug in row["entries"] if slug in entries for _, _, s in entries[slug].sentences}
        for sentence in row["sentences"]:
            if sentence not in sentences:
                yield number, f"none of its entries has the sentence {sentence!r}"
        if bool(row["entries"]) != bool(row["sentences"]):
            yield number, "needs both entries and sentences, or neither (a question that cannot be answered)"


def asked_problems(folder: Path, entries: dict[str, Entry], questions: Path) -> Iterator[tuple[Path, int, str]]:
    """(file, line, problem) of the questions that are learned from."""
    sentences = {sentence for entry in entries.values() for _, _, sentence in entry.sentences}
    kept = questions.read_text("utf-8").splitlines() if questions.exists() else []
    measured = {json.loads(line)["question"] for line in kept}
    seen: set[str] = set()
    for path in sorted(folder.glob("*.jsonl")):
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            row = json.loads(line)
            if row["question"] in seen:
                yield path, number, "is asked twice"
            if row["question"] in measured:
                yield path, number, f"is a question of {questions.name} as well"
            seen.add(row["question"])
            for sentence in row["sentences"]:
                if sentence not in sentences:
                    yield path, number, f"no entry has the sentence {sentence!r}"
            if row["kind"].startswith("absent") == bool(row["sentences"]):
                yield path, number, f"kind {row['kind']!r} with {len(row['sentences'])} sentences"


def problems(folder: Path = STARTER, questions: Path = QUESTIONS, asked: Path = ASKED) -> list[str]:
    """Every problem as `file:line: what is wrong`, in order."""
    entries = [read_entry(path) for path in sorted(folder.glob("*.md"))]
    by_slug = {entry.path.stem: entry for entry in entries}
    found = [(entry.path, *problem) for entry in entries for problem in entry_problems(entry)]
    found += name_problems(entries)
    ledger = folder / "SOURCES.tsv"
    if ledger.exists():
        found += [(ledger, *problem) for problem in ledger_problems(ledger, by_slug)]
    else:
        found.append((ledger, 1, "is missing"))
    if questions.exists():
        found += [(questions, *problem) for problem in question_problems(questions, by_slug)]
    found += asked_problems(asked, by_slug, questions)
    return [f"{path}:{line}: {problem}" for path, line, problem in found]


def main() -> int:
    """Prints the problems; 1 if there are any."""
    found = problems(*map(Path, sys.argv[1:4]))
    if found:
        print("\n".join(found[:200]))
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
