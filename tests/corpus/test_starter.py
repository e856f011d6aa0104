"""The starter literature: that its sentences are our own and its ledger speaks of real places.

Its form is checked by `tools/check_starter.py` (see `tests/test_check_starter.py`).
"""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tools.check_starter import STARTER, Entry, read_entry

ENTRIES = [read_entry(path) for path in sorted(STARTER.glob("*.md"))]
RUN = 13

# Names that are longer than a run and cannot be said otherwise; none so far.
FIXED_TERMS: tuple[str, ...] = ()


def _ledger() -> list[dict[str, str]]:
    with (STARTER / "SOURCES.tsv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def _of_kind(kind: str) -> list[Entry]:
    return [entry for entry in ENTRIES if entry.head["kind"] == kind]


def test_what_the_literature_covers() -> None:
    assert len(ENTRIES) >= 240
    assert len({entry.head["department"] for entry in ENTRIES}) >= 16
    assert len(_of_kind("drug")) >= 50
    assert len(_of_kind("emergency")) >= 30
    assert len(_of_kind("test")) >= 30
    assert len(_of_kind("tcm")) >= 25


def test_few_statements_rest_on_nothing_but_general_knowledge() -> None:
    verdicts = Counter(row["verdict"] for row in _ledger())
    assert verdicts["uncertain"] < 0.12 * verdicts.total()


def _rows(path: Path) -> Iterator[Mapping[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def _squeeze(text: str) -> str:
    return re.sub(r"[^\w\u4e00-\u9fff]|_", "", text)


@pytest.mark.real_data
def test_no_sentence_is_taken_over_from_the_corpora(shared_data: Path) -> None:
    """No 13 characters in a row (letters, digits and Han only) stand in the textbooks or the encyclopedia.

    Every run of 13 covers one whole block of 7 that starts at a multiple of 7, so only those blocks are looked up.
    """
    folder = shared_data / "corpora"
    bodies = [_squeeze(sentence) for entry in ENTRIES for _, _, sentence in entry.sentences]
    runs = {body[i : i + RUN] for body in bodies for i in range(len(body) - RUN + 1)}
    blocks = {body[i : i + 7] for body in bodies for i in range(len(body) - 6)}
    shared = {
        run
        for name in ("textbooks", "disease_encyclopedia")
        for text in (_squeeze(row["text"]) for row in _rows(folder / f"{name}.jsonl.gz"))
        for at in range(0, len(text) - 6, 7)
        if text[at : at + 7] in blocks
        for run in (text[i : i + RUN] for i in range(max(0, at - 6), at + 1))
        if run in runs
    }
    assert {run for run in shared if not any(run in term for term in FIXED_TERMS)} == set()


def _places(folder: Path) -> dict[str, str]:
    """What the corpora say under each heading that a ledger can name."""
    texts: dict[str, list[str]] = defaultdict(list)
    for row in _rows(folder / "textbooks.jsonl.gz"):
        texts[row["title"]].append(row["text"])
    for row in _rows(folder / "disease_encyclopedia.jsonl.gz"):
        texts[f"疾病百科：{row['title']} > {row['section']}"].append(row["text"])
    for row in _rows(folder / "tcm_classics.jsonl.gz"):
        texts[f"{row['book']} > {row['section']}"].append(row["text"])
    herb = ""
    with gzip.open(folder / "pharmacopoeia_2022_herbs.txt.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            if re.fullmatch(r"[\u4e00-\u9fff（）()]{1,12}", line.strip()):
                herb = line.strip()
            texts[f"中国药典2020（中药材） > {herb}"].append(line)
    return {place: " ".join(found) for place, found in texts.items()}


_DIGITS = dict(zip("一二两三四五六七八九十", map(str, [1, 2, 2, 3, 4, 5, 6, 7, 8, 9, 10]), strict=True))


def _numbers(text: str) -> set[str]:
    """The numbers of a text as the books were scanned: l and O for 1 and 0, blanks within numbers."""
    plain = re.sub(r"(?<=[\d.]) (?=\d)", "", text.translate(str.maketrans("lOo０", "1000")))
    return set(re.findall(r"\d+(?:\.\d+)?", plain)) | {_DIGITS[char] for char in set(plain) & set(_DIGITS)}


def _same_amount(number: str, there: set[str]) -> bool:
    """As it stands or in a neighbouring unit (g and mg, cm and mm)."""
    return any(f"{float(number) * factor:g}" in there for factor in (1, 10, 0.1, 1000, 0.001)) or number in there


@pytest.mark.real_data
def test_the_ledger_names_real_places_and_their_numbers(shared_data: Path) -> None:
    """Every place exists; under 3 % of the agreeing statements have a number that is not found there (scan errors)."""
    places = _places(shared_data / "corpora")
    # Leaflets carry no names in the corpus; the ledger names the medicine, and only they are not looked up.
    named = [
        row for row in _ledger() if row["source"] not in ("-", "—") and not row["source"].startswith("中成药说明书")
    ]
    assert [row["source"] for row in named if row["source"] not in places] == []
    agreeing = [row for row in named if row["verdict"] == "agrees"]
    strange = []
    for row in agreeing:
        statement = re.sub(r"HbA1c|维生素[A-Z]\d*|CA\d+(?:-\d+)?|拨打120|×10", "", row["statement"])
        there = _numbers(places[row["source"]])
        if not all(_same_amount(number, there) for number in re.findall(r"\d+(?:\.\d+)?", statement)):
            strange.append(row["statement"])
    assert len(agreeing) > 1000
    assert len(strange) < 0.03 * len(agreeing), strange
