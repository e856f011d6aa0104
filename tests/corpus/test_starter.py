"""The starter literature: its form, and that its sentences are our own."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from datetime import date
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml

FOLDER = Path(str(resources.files("chimed_rag.corpus.starter")))
FILES = sorted(FOLDER.glob("*.md"))
KINDS = {"disease", "drug", "emergency", "test", "tcm", "prevention", "care"}
DRUG_SECTIONS = ["适应症", "用法用量", "禁忌", "慎用", "不良反应", "相互作用", "孕妇及哺乳期", "儿童", "老年人", "过量"]
UNIT = r"(?:%|克|毫克|℃|岁|周|天|年|个月|小时|分钟|次|mmol/L|mmHg|mL|ms|秒|月)"
RUN = 13

# Names that are longer than a run and cannot be said otherwise; none so far.
FIXED_TERMS: tuple[str, ...] = ()


def _read(path: Path) -> tuple[dict[str, Any], str]:
    _, head, body = path.read_text("utf-8").split("---\n", 2)
    return yaml.safe_load(head), body


def _lines(path: Path) -> list[str]:
    return [line for line in _read(path)[1].splitlines() if line and not line.startswith("## ")]


def test_there_are_24_entries_with_unique_titles_and_aliases() -> None:
    heads = [_read(path)[0] for path in FILES]
    names = [name for head in heads for name in {head["title"], *head["aliases"]}]
    assert len(FILES) == 24
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
class TestEntry:
    def test_file_name_is_an_ascii_slug_and_the_bytes_are_plain_utf8(self, path: Path) -> None:
        raw = path.read_bytes()
        assert re.fullmatch(r"[a-z0-9]+(?:-[a-z0-9]+)*\.md", path.name)
        assert not raw.startswith(b"\xef\xbb\xbf")
        assert b"\r" not in raw

    def test_front_matter_has_exactly_the_agreed_keys(self, path: Path) -> None:
        head, _ = _read(path)
        assert list(head) == (
            ["title", "aliases", "department", "kind", "keywords", "last_reviewed", "licence", "notice"]
        )
        assert head["kind"] in KINDS
        assert isinstance(head["last_reviewed"], date)
        assert head["licence"] == "Apache-2.0"
        assert head["notice"] == "demonstration"
        for key in ("aliases", "keywords"):
            assert head[key]
            assert all(isinstance(name, str) for name in head[key])

    def test_length_and_sections(self, path: Path) -> None:
        head, body = _read(path)
        headings = re.findall(r"^## (\S+)$", body, re.M)
        assert 300 <= len(re.findall(r"[\u4e00-\u9fff]", body)) <= 900
        assert len(headings) >= 3
        assert len(set(headings)) == len(headings)
        if head["kind"] == "drug":
            assert headings == DRUG_SECTIONS

    def test_each_line_is_one_short_sentence_that_stands_alone(self, path: Path) -> None:
        for line in _lines(path):
            assert line.endswith("。"), line
            assert line.count("。") == 1, line
            assert len(line) <= 100, line
            assert not re.match(r"其|该|它|此|这|上述|以上|本品|本药|同时|另外|因此|但", line), line

    def test_ranges_and_thresholds_carry_units(self, path: Path) -> None:
        for line in _lines(path):
            if "INR" in line:
                continue
            for found in re.finditer(r"(?:\d[\d.]*%?～|[≥≤]|低于|高于|超过|达到)(\d[\d./]*)(?!\d)\s?(.{0,6})", line):
                assert re.match(UNIT, found[2]), f"{found[0]} in {line}"

    def test_doses_are_customary_ones_under_advice(self, path: Path) -> None:
        """A line with an amount to take says that it is customary, a limit or a child's, and none says 您/你."""
        for line in _lines(path):
            assert not re.search(r"[您你]", line), line
            if re.search(r"每次\d", line):
                assert "常用量" in line, line

    def test_no_guideline_paper_or_statistic_is_named(self, path: Path) -> None:
        assert not re.search(r"指南|共识|《|et al|研究显示|发病率|患病率|死亡率", _read(path)[1])


def _squeeze(text: str) -> str:
    return re.sub(r"[^\w\u4e00-\u9fff]|_", "", text)


def _corpus_texts(folder: Path) -> Iterator[str]:
    for name in ("textbooks", "disease_encyclopedia"):
        with gzip.open(folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
            for line in lines:
                yield _squeeze(json.loads(line)["text"])


@pytest.mark.real_data
def test_no_sentence_is_taken_over_from_the_corpora(shared_data: Path) -> None:
    """No 13 characters in a row (letters, digits and Han only) stand in the textbooks or the encyclopedia.

    Every run of 13 covers one whole block of 7 that starts at a multiple of 7, so only those blocks are looked up.
    """
    folder = shared_data / "corpora"
    bodies = [_squeeze(line) for path in FILES for line in _lines(path)]
    runs = {body[i : i + RUN] for body in bodies for i in range(len(body) - RUN + 1)}
    blocks = {body[i : i + 7] for body in bodies for i in range(len(body) - 6)}
    shared = {
        run
        for text in _corpus_texts(folder)
        for at in range(0, len(text) - 6, 7)
        if text[at : at + 7] in blocks
        for run in (text[i : i + RUN] for i in range(max(0, at - 6), at + 1))
        if run in runs
    }
    assert {run for run in shared if not any(run in term for term in FIXED_TERMS)} == set()
