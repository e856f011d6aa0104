"""Small documents come whole: the passages beside those that were found."""

from __future__ import annotations

from pathlib import Path

import pytest

from chimed_rag import MedQA
from chimed_rag.config import Config, EvidenceBudget

SECTIONS = ("适应症", "用法用量", "禁忌", "不良反应", "过量")


def entry(name: str, sections: tuple[str, ...] = SECTIONS) -> dict[str, str]:
    filler = "患者用药前应当仔细阅读说明书，有疑问时询问医生或者药师。" * 4
    return {
        "id": name,
        "title": name,
        "text": "\n".join(f"## {section}\n{name}的{section}。{filler}" for section in sections),
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    many = tuple(f"第{n}节" for n in range(20))
    rows = [entry("甲氧那明"), entry("乙胺丁醇"), entry("丙硫氧嘧啶", many)]
    MedQA.build(rows, tmp_path / "i", chunking={"max_chars": 160, "min_chars": 20}).close()
    return tmp_path / "i"


def asked(folder: Path, question: str, **budget: int) -> list[tuple[str, str, bool]]:
    config = Config(evidence=EvidenceBudget(passages=1, **budget))
    with MedQA(folder, config=config) as qa:
        evidence = qa.ask(question).evidence
    assert [passage.number for passage in evidence] == list(range(1, len(evidence) + 1))
    return [(passage.document_id, passage.headings[-1], bool(passage.ranks)) for passage in evidence]


def test_the_rest_of_a_small_document_follows_in_order(folder: Path) -> None:
    found = asked(folder, "甲氧那明过量")
    assert found[0][:2] == ("甲氧那明", "过量")
    assert [heading for _, heading, _ in found[1:]] == ["适应症", "用法用量", "禁忌", "不良反应"]
    assert {document for document, _, _ in found} == {"甲氧那明"}


def test_none_is_added_when_none_is_wanted(folder: Path) -> None:
    assert len(asked(folder, "甲氧那明过量", whole_documents=0)) == 1


def test_a_long_document_is_not_added(folder: Path) -> None:
    assert [document for document, _, _ in asked(folder, "丙硫氧嘧啶第3节")] == ["丙硫氧嘧啶"]


def test_the_characters_of_the_budget_hold(folder: Path) -> None:
    assert len(asked(folder, "甲氧那明过量", characters=300)) == 2
