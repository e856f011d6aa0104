"""Do Chinese identifiers leave the text, and do doses, values, dates and codes stay? How long does it take?

    python benchmarks/redaction.py [--data DIR] [--json FILE] [--misses N] [--harms N]

Identifiers are generated with a seed (numbers with their check digits by formulas written here, names from lists) and
planted in the frames of `redaction_frames.yaml`; `{q}` of a frame is filled with a real question. 2,000 are planted in
the frames used to build, 2,000 in those held out; then names in three sets of frames written later. An identifier
counts as found only if every character of it was replaced. "also replaced": the share of sentences of which more was.
Harm: 2,000 real sentences that hold a dose, a value, a date or an ICD code, from textbooks, dialogues, questions and
clinical records; one counts as harmed if any digit of it was replaced. Beside them, what patients wrote as it comes.
Not measured: identifiers of real people (there are none in the data), names without any cue beside them.
"""

from __future__ import annotations

import gzip
import json
import random
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

from _common import ROOT, Row, parser, report
from _identifiers import LISTS, MAKERS

sys.path.insert(0, str(ROOT))

from chimed_rag.evaluation.statistics import percentiles, proportion
from chimed_rag.safety.redaction import Redactor
from chimed_rag.text import sentence_spans

SEED = 20261127
COUNTS = {
    "身份证": 300, "身份证wrong": 100, "手机": 250, "座机": 100, "姓名": 500, "称呼": 150, "编号": 200, "住址": 120,
    "邮箱": 40, "车牌": 60, "银行卡": 100, "微信": 20, "QQ": 20, "证件": 20, "出生日期": 20,
}  # fmt: skip
FREE_FORMS = ("姓名", "称呼", "住址")
"""Kinds without a fixed form: the goal for them is .9, for all others .99."""

OWN_QUESTIONS = (
    "血压145/90要吃药吗？",
    "这个药饭前吃还是饭后吃？",
    "感冒了能打疫苗吗？",
    "半夜老是咳嗽怎么办",
    "胃疼三天了，吃什么药好",
)


class Planted(NamedTuple):
    kind: str
    frame: str
    text: str
    start: int
    end: int


def plant(kind: str, frame: str, rng: random.Random, questions: Sequence[str]) -> Planted:
    """A frame with its slots filled, and where the identifier lies in it (for {s}: the surname with its title)."""
    slot = next(match for match in re.finditer(r"\{([xsphj])\}", frame))
    value = MAKERS[slot[1] if slot[1] in "phj" else kind](rng)

    def filled(part: str) -> str:
        part = re.sub(r"\{n\}", lambda _: str(rng.randrange(2, 60)), part)
        return part.replace("{q}", rng.choice(questions))

    before, after = filled(frame[: slot.start()]), filled(frame[slot.end() :])
    return Planted(kind, frame, before + value + after, len(before), len(before) + len(value))


def planted(half: int, questions: Sequence[str]) -> list[Planted]:
    """2,000 identifiers in the frames in even (0) or odd (1) places."""
    frames = LISTS
    rng = random.Random(SEED + half)
    return [
        plant(kind, frames[kind][half::2][number % len(frames[kind][half::2])], rng, questions)
        for kind, count in COUNTS.items()
        for number in range(count)
    ]


# --- real sentences ------------------------------------------------------------------------------------------------

NUMERIC = re.compile(
    r"\d\s*(?:mg|g|ml|mmol|μmol|umol|%|片|粒|U|IU|kg|mmHg|℃|cm|mm|次|岁|天|周)|\d{4}[-年./]\d{1,2}|[A-TV-Z]\d\d\.\w|\d+[.～~-]\d+"
)


def texts(file: Path) -> Iterator[str]:
    """Whatever is written by or for people in the rows of a JSONL file."""
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            row: dict[str, Any] = json.loads(line)
            for turn in row.get("turns", ()):
                yield turn["content"]
            for key in ("text", "query", "passage", "originalText"):
                if isinstance(row.get(key), str):
                    yield row[key]


def icd_lines(file: Path) -> Iterator[str]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield "诊断：" + " ".join(str(value) for value in json.loads(line).values() if isinstance(value, str))[:80]


def sample(pool: Iterator[str], count: int, rng: random.Random, *, numeric: bool) -> list[str]:
    """So many different sentences of the pool; with `numeric` only those with a dose, value, date or code."""
    found = {one for text in pool for one in split(text) if not numeric or NUMERIC.search(one)}
    return rng.sample(sorted(found), min(count, len(found)))


def split(text: str) -> list[str]:
    return [text[begin:end] for begin, end in sentence_spans(text)]


SOURCES = {
    "textbooks": ("corpora/textbooks.jsonl.gz", texts),
    "dialogues": ("dialogue/cmdd_train_dev.jsonl.gz", texts),
    "questions and answers": ("pairs/query_passage.jsonl.gz", texts),
    "clinical records": ("eval/ccks2019_train.jsonl.gz", texts),
    "ICD-10 codes": ("lexicons/icd10_clinical_2.0.jsonl.gz", icd_lines),
}


# --- measuring -----------------------------------------------------------------------------------------------------


def recall_rows(half: str, cases: Sequence[Planted], misses: list[str]) -> list[Row]:
    """One row a kind: how many were found whole, under the right kind, and how often anything else went too."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for case in cases:
        redactor = Redactor()
        text, found = redactor.redact(case.text)
        covered = {place for one in found for place in range(one.start, one.end)}
        inside = set(range(case.start, case.end))
        whole, more = inside <= covered, bool(covered - inside - SLACK[case.kind](case))
        count = counts[case.kind]
        count["n"] += 1
        count["found"] += whole
        count["kind"] += whole and any(
            one.start <= case.start < one.end and right_kind(case, one.kind) for one in found
        )
        count["more"] += more
        if not whole or more:
            misses.append(
                f"{half} {case.kind} {'missed' if not whole else 'too much'}: {case.text[:90]} -> {text[:90]}"
            )
        again = redactor.redact(text)
        assert again.text == text, "not idempotent"
        assert whole is False or case.text[case.start : case.end] not in text or case.kind == "称呼"
    fixed = sum((count for kind, count in counts.items() if kind not in FREE_FORMS), Counter[str]())
    names = sum((counts[kind] for kind in ("姓名", "称呼")), Counter[str]())
    every = sum(counts.values(), Counter[str]())
    shown = {**counts, "fixed forms": fixed, "names": names, "all": every}
    return [
        {
            "kind": kind, "frames": half, "n": count["n"], "found": count["found"],
            "recall": count["found"] / count["n"],
            "low": proportion(count["found"], count["n"]).low, "right kind": count["kind"] / count["n"],
            "also replaced": count["more"] / count["n"],
        }
        for kind, count in shown.items()
        if count["n"]
    ]  # fmt: skip


def later_rows(ending: str, questions: Sequence[str], misses: list[str]) -> list[Row]:
    """Names in the frames written last, each twenty times."""
    frames = LISTS
    rng = random.Random(SEED + len(ending))
    cases = [
        plant(kind, frame, rng, questions)
        for kind in ("姓名", "称呼")
        for frame in frames[kind + ending]
        for _ in range(20)
    ]
    return [row for row in recall_rows(ending, cases, misses) if row["kind"] in ("姓名", "称呼", "names")]


def author_rows(data: Path, misses: list[str]) -> list[Row]:
    """Names that nobody here wrote down: the authors of the classics, in the frames for whole names held out."""
    names = set()
    with gzip.open(data / "corpora/tcm_classics.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            author = json.loads(line)["author"]
            if re.fullmatch(r"[\u4e00-\u9fff]{2,4}", author) and not re.search(
                r"[等撰编着著氏佚不朝清明宋太僧释]", author
            ):
                names.add(author)
    frames = LISTS["姓名"][1::2]
    rng = random.Random(SEED)
    cases = []
    for place, name in enumerate(sorted(names) * 2):
        case = plant("姓名", frames[place % len(frames)], rng, OWN_QUESTIONS)
        text = case.text[: case.start] + name + case.text[case.end :]
        cases.append(Planted("姓名", case.frame, text, case.start, case.start + len(name)))
    return [{**row, "kind": "姓名, authors of the classics"} for row in recall_rows("held-out", cases, misses)[:1]]


def around_title(case: Planted) -> set[int]:
    """张某某, 老张 and 李XX are replaced whole: the characters beside the surname are no harm."""
    return set(range(case.start - 1, case.end + 2))


def nothing(case: Planted) -> set[int]:
    return set()


SLACK: dict[str, Callable[[Planted], set[int]]] = defaultdict(lambda: nothing, {"称呼": around_title})
OWN_KINDS = {
    "身份证wrong": {"身份证"}, "称呼": {"姓名"}, "证件": {"护照", "通行证", "军官证"},
    "编号": {"住院号", "门诊号", "病案号", "病历号", "医保号", "社保卡", "就诊卡"},
}  # fmt: skip


def right_kind(case: Planted, kind: str) -> bool:
    return kind in OWN_KINDS.get(case.kind, {case.kind})


def harm_rows(data: Path, harmed: list[str]) -> tuple[list[Row], int, int]:
    """2,000 sentences with numbers, 400 of each source: in how many was a number replaced?"""
    rows, rng, total, count = [], random.Random(SEED), 0, 0
    for name, (file, read) in SOURCES.items():
        found = sample(read(data / file), 400, rng, numeric=True)
        hit = 0
        for one in found:
            redaction = Redactor().redact(one)
            hit += any(char.isdigit() for f in redaction.found for char in one[f.start : f.end])
            if redaction.found:
                harmed.append(
                    f"{name}: {' '.join(f.kind for f in redaction.found)}: {one[:80]} -> {redaction.text[:80]}"
                )
        rows.append(
            {"kind": name, "frames": "real sentences", "n": len(found), "found": hit, "also replaced": hit / len(found)}
        )
        total, count = total + len(found), count + hit
    rows.append({"kind": "all", "frames": "real sentences", "n": total, "found": count, "also replaced": count / total})
    return rows, count, total


def prevalence(data: Path, changed: list[str]) -> Row:
    """10,000 patients' questions and turns as they come: how many hold anything that is replaced?"""
    rng = random.Random(SEED + 5)
    files = ("pairs/query_passage.jsonl.gz", "dialogue/cmdd_train_dev.jsonl.gz", "dialogue/covid_dialogue.jsonl.gz")
    pool = sorted({text for file in files for text in patients(data / file)})
    chosen = rng.sample(pool, min(10000, len(pool)))
    hit = 0
    for text in chosen:
        redaction = Redactor().redact(text)
        hit += bool(redaction.found)
        for one in redaction.found:
            changed.append(
                f"{one.kind} [{text[one.start : one.end]}]: …{text[max(0, one.start - 14) : one.end + 14]}…".replace(
                    "\n", " "
                )
            )
    return {
        "kind": "patients' own words",
        "frames": "real texts",
        "n": len(chosen),
        "found": hit,
        "also replaced": hit / len(chosen),
    }


def patients(file: Path) -> Iterator[str]:
    """What patients wrote: questions, and their turns in dialogues."""
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            row: dict[str, Any] = json.loads(line)
            yield from (turn["content"] for turn in row.get("turns", ()) if turn["role"] == "user")
            if row.get("kind") == "natural_qa":
                yield row["query"]


def speed(questions: Sequence[str]) -> list[str]:
    """Milliseconds for texts of 300 characters, and for 100,000, in what a note can hold."""
    text = "".join(questions)
    text *= 1 + 300_000 // len(text)
    pieces = [text[begin : begin + 300] for begin in range(0, 300_000, 300)]
    milliseconds = []
    for piece in pieces:
        redactor = Redactor()
        began = perf_counter()
        redactor.redact(piece)
        milliseconds.append((perf_counter() - began) * 1000)
    found = percentiles(milliseconds)
    notes = [f"300 characters, n = {len(pieces):,}: p50 {found.p50:.2f} ms, p95 {found.p95:.2f} ms"]
    longest = {"real text": text, "digits": "1 ", "one letter": "a", "surnames": "王", "addresses": "北京市朝阳区路"}
    for name, piece in {**longest, "cues": "患者我叫"}.items():
        long = (piece * (1 + 100_000 // len(piece)))[:100_000]
        began = perf_counter()
        Redactor().redact(long)
        notes.append(f"{len(long):,} characters of {name}: {(perf_counter() - began) * 1000:.0f} ms")
    return notes


def real_questions(data: Path) -> list[str]:
    """Patients' questions for the slot {q}, or a few own ones where the data are not."""
    file = data / "pairs/query_passage.jsonl.gz"
    if not file.is_file():
        return list(OWN_QUESTIONS)
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        rows = (json.loads(line) for line in lines)
        return [
            row["query"].replace("\n", " ") for row in rows if row["kind"] == "natural_qa" and len(row["query"]) < 150
        ]


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--half", choices=("build", "held-out"), help="only the frames used to build, or held out")
    arguments.add_argument("--misses", type=int, default=0, help="print so many of the identifiers missed (build half)")
    arguments.add_argument("--harms", type=int, default=0, help="print so many replacements in real texts")
    options = arguments.parse_args()
    questions = real_questions(options.data)
    misses: list[str] = []
    rows: list[Row] = []
    for half, name in enumerate(("build", "held-out")):
        if options.half in (None, name):
            rows += recall_rows(name, planted(half, questions), misses)
    for ending in ("later", "last", "unseen"):
        rows += later_rows(ending, questions, misses)
    harmed: list[str] = []
    changed: list[str] = []
    notes = speed(questions)
    if (options.data / "corpora").is_dir():
        more, count, total = harm_rows(options.data, harmed)
        rows += [*author_rows(options.data, misses), *more, prevalence(options.data, changed)]
        notes.insert(
            0, f"real sentences with a dose, value, date or code of which a number was replaced: {count} of {total:,}"
        )
    report(
        "Redaction: identifiers found, and what else was replaced",
        ["kind", "frames", "n", "found", "recall", "low", "right kind", "also replaced"],
        rows,
        about={
            "identifiers": f"{sum(COUNTS.values()):,} a half, seed {SEED}",
            "questions for {q}": f"{len(questions):,}",
        },
        packages=("python-stdnum", "phonenumbers"),
        notes=[
            *notes,
            "low: lower end of the 95 % interval of the recall",
            "found, in real text: sentences with a replacement",
        ],
        json_file=options.json_file,
    )
    rng = random.Random(SEED)
    shown = [miss for miss in misses if miss.startswith("build")]
    for line in rng.sample(shown, min(options.misses, len(shown))):
        print(line)
    for line in [*harmed[: options.harms], *rng.sample(changed, min(options.harms, len(changed)))]:
        print(line)


if __name__ == "__main__":
    main()
