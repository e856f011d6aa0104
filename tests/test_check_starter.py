"""The checker of the starter literature: what it finds, and that it finds nothing in what ships."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools.check_starter import STARTER, bare_numbers, main, needs_source, problems

GOOD = """---
title: 痛风
aliases: [痛风病]
department: 风湿免疫科
kind: disease
keywords: [痛风]
last_reviewed: 2026-11-21
licence: Apache-2.0
notice: demonstration
---

## 概述
{filler}
## 症状
痛风急性发作常见大脚趾关节红肿热痛。
## 检查
痛风患者的血尿酸目标一般低于360μmol/L。
"""
FILLER = "痛风患者应当遵照医生的安排按时服药，饮食清淡，多饮水，少饮酒，避免受凉和劳累，并定期复查血尿酸。\n" * 8
LEDGER = "entry\tstatement\tsource\tverdict\n"
ROW = "gout\t痛风患者的血尿酸目标一般低于360μmol/L。\t内科学 > 痛风\tagrees\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "gout.md").write_text(GOOD.format(filler=FILLER), "utf-8")
    (tmp_path / "SOURCES.tsv").write_text(LEDGER + ROW, "utf-8")
    return tmp_path


def found(folder: Path) -> str:
    return "\n".join(problems(folder, folder / "questions.jsonl", folder / "asked"))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")


def test_what_ships_is_in_order() -> None:
    assert problems() == []


def test_a_good_entry(folder: Path) -> None:
    assert found(folder) == ""


@pytest.mark.parametrize(
    ("old", "new", "line", "told"),
    [
        ("title: 痛风\n", "", 1, "keys"),
        ("kind: disease", "kind: illness", 5, "illness"),
        ("aliases: [痛风病]", "aliases: []", 3, "aliases"),
        ("2026-11-21", "soon", 7, "date"),
        ("360μmol/L", "360", 25, "no unit"),
        ("痛风急性发作常见", "其急性发作常见", 23, "leans"),
        ("痛风急性发作", "您的痛风", 23, "您"),
        ("痛风急性发作常见", "研究显示痛风常见", 23, "研究显示"),
        ("红肿热痛。", "红肿热痛", 23, "one sentence"),
        ("红肿热痛。", "红肿。热痛。", 23, "one sentence"),
        ("红肿热痛。", "红肿热痛，每次0.5毫克。", 23, "常用量"),
        ("痛风急性发作", "痛" * 101, 23, "longer"),
        ("## 症状", "## 概述", 10, "headings"),
        ("kind: disease", "kind: drug", 10, "适应症"),
        (FILLER, FILLER * 3, 1, "characters"),
        (FILLER, "", 1, "characters"),
    ],
)
def test_each_fault_is_named_with_its_line(folder: Path, old: str, new: str, line: int, told: str) -> None:
    edit(folder / "gout.md", old, new)
    lines = [problem for problem in found(folder).splitlines() if problem.startswith(f"{folder / 'gout.md'}:{line}:")]
    assert any(told in problem for problem in lines), found(folder)


def test_a_name_belongs_to_one_entry(folder: Path) -> None:
    (folder / "podagra.md").write_text(GOOD.format(filler=FILLER).replace("title: 痛风", "title: 痛风石"), "utf-8")
    assert "podagra.md:2: '痛风病' is also a name of gout.md" in found(folder)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (ROW, "", "needs a row"),
        ("gout\t", "goat\t", "there is no entry 'goat'"),
        ("360μmol/L。", "300μmol/L。", "has no sentence"),
        ("agrees", "right", "verdict 'right'"),
        ("内科学 > 痛风", "内科学", "book and a heading"),
        ("\tagrees", "", "has 3 columns"),
        (LEDGER, "", "first line"),
    ],
)
def test_faults_of_the_ledger(folder: Path, old: str, new: str, told: str) -> None:
    edit(folder / "SOURCES.tsv", old, new)
    assert told in found(folder)
    assert "SOURCES.tsv:" in found(folder)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"entries": ["goat"]}, "there is no entry 'goat'"),
        ({"sentences": ["痛风会传染。"]}, "has the sentence"),
        ({"sentences": []}, "needs both"),
        ({"split": "train"}, "split"),
    ],
)
def test_faults_of_the_questions(folder: Path, change: dict[str, object], told: str) -> None:
    row: dict[str, object] = {
        "question": "痛风哪里疼",
        "entries": ["gout"],
        "sentences": ["痛风急性发作常见大脚趾关节红肿热痛。"],
        "split": "test",
    }
    path = folder / "questions.jsonl"
    path.write_text(json.dumps(row, ensure_ascii=False), "utf-8")
    assert found(folder) == ""
    path.write_text(json.dumps(row | change, ensure_ascii=False), "utf-8")
    assert f"{path}:1: " in found(folder)
    assert told in found(folder)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"sentences": ["痛风会传染。"]}, "no entry has the sentence '痛风会传染。'"),
        ({"sentences": []}, "kind 'short' with 0 sentences"),
        ({"kind": "absent_aspect"}, "kind 'absent_aspect' with 1 sentences"),
        ({"question": "痛风哪里疼"}, "is a question of questions.jsonl as well"),
    ],
)
def test_faults_of_the_questions_asked(folder: Path, change: dict[str, object], told: str) -> None:
    answer = ["痛风急性发作常见大脚趾关节红肿热痛。"]
    measured = {"question": "痛风哪里疼", "entries": ["gout"], "sentences": answer, "split": "test"}
    (folder / "questions.jsonl").write_text(json.dumps(measured, ensure_ascii=False), "utf-8")
    row: dict[str, object] = {"kind": "short", "question": "痛风 大脚趾", "sentences": answer}
    path = folder / "asked" / "some.jsonl"
    path.parent.mkdir()
    path.write_text(json.dumps(row, ensure_ascii=False), "utf-8")
    assert found(folder) == ""
    path.write_text("\n".join(json.dumps(one, ensure_ascii=False) for one in (row | change, row, row)), "utf-8")
    assert f"{path}:1: {told}" in found(folder)
    assert f"{path}:3: is asked twice" in found(folder)


def test_numbers_and_their_units() -> None:
    assert bare_numbers("血钾为3.5～5.5mmol/L，每日2次，共7天，拨打120，HbA1c与INR为2。") == []
    assert bare_numbers("血钾为3.5～5.5，维生素B12，C反应蛋白低于10mg/L。") == ["3.5～5.5"]


def test_what_needs_a_source() -> None:
    assert needs_source("孕妇禁用布洛芬。")
    assert needs_source("体温超过38.5℃。")
    assert not needs_source("应立即拨打120。")


def test_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    monkeypatch.setattr("sys.argv", ["check_starter", str(folder), str(folder / "none"), str(folder / "none")])
    assert main() == 0
    edit(folder / "gout.md", "360μmol/L", "360")
    assert main() == 1
    assert "gout.md:25" in capsys.readouterr().out
    assert STARTER.is_dir()
