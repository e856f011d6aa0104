"""The user's table of interactions: read strictly, found by trade name too, silent where a sentence warns."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from chimed_rag.errors import ConfigError
from chimed_rag.safety.interactions import Interaction, Interactions

HEADER = "drug_a,drug_b,severity,advice,source\n"
ROWS = (
    "华法林,阿司匹林,严重,出血风险增加，合用前咨询医生。,本院药学部\n"
    "芬必得,锂盐,中等,监测血锂,本院药学部\nMTX,磺胺,严重,避免合用,手册\n"
)


def table(folder: Path, text: str = HEADER + ROWS, encoding: str = "utf-8") -> Path:
    path = folder / "interactions.csv"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gbk", "gb18030", "utf-16"])
def test_encodings_of_office_programs_are_read(tmp_path: Path, encoding: str) -> None:
    read = Interactions.from_csv(table(tmp_path, encoding=encoding))
    assert len(read) == 3 and read.rows[0] == Interaction(
        "华法林", "阿司匹林", "严重", "出血风险增加，合用前咨询医生。", "本院药学部"
    )


def test_blank_lines_repetitions_quotes_and_line_ends(tmp_path: Path) -> None:
    text = (
        HEADER.replace("\n", "\r\n")
        + '\r\n华法林,阿司匹林,严重,"出血, 慎用",甲\r\n华法林,阿司匹林,严重,"出血, 慎用",甲\r\n'
    )
    (row,) = Interactions.from_csv(table(tmp_path, text)).rows
    assert row.advice == "出血, 慎用"


@pytest.fixture
def interactions(tmp_path: Path) -> Interactions:
    return Interactions.from_csv(table(tmp_path))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("华法林和阿司匹林能一起吃吗", ("华法林", "阿司匹林")),
        ("阿司匹林可以与华法林合用。", ("华法林", "阿司匹林")),
        ("华法林和阿司匹林不能一起吃吗？", ("华法林", "阿司匹林")),
        ("吃着锂盐，头疼可以吃布洛芬。", ("芬必得", "锂盐")),
        ("吃着锂盐，头疼可以吃芬必得。", ("芬必得", "锂盐")),
        ("服用mtx期间用磺胺消炎。", ("MTX", "磺胺")),
        ("拜阿司匹灵加华法林抗栓。", ("华法林", "阿司匹林")),
    ],
)
def test_both_drugs_in_a_sentence(interactions: Interactions, text: str, names: tuple[str, str]) -> None:
    (finding,) = interactions.check(text)
    assert (finding.kind, finding.names) == ("interaction", names)


@pytest.mark.parametrize(
    "text",
    [
        "华法林不宜与阿司匹林合用。",
        "避免华法林与阿司匹林同时使用。",
        "华法林抗凝。阿司匹林抗血小板。",
        "单用华法林即可。",
        "mtxa与磺胺无关。",
        "",
    ],
)
def test_warnings_and_single_drugs_raise_nothing(interactions: Interactions, text: str) -> None:
    assert interactions.check(text) == []


def test_what_the_reader_takes_is_held_against_the_answer(interactions: Interactions) -> None:
    (finding,) = interactions.check("可用阿司匹林。", context="我在吃华法林")
    assert finding.text == "华法林与阿司匹林（严重）：出血风险增加，合用前咨询医生。" and finding.rule == "本院药学部"
    assert interactions.check("多休息。", context="我在吃华法林和阿司匹林") == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", r"interactions\.csv: is empty; its first line is: drug_a,drug_b"),
        ("a,b\n", r"interactions\.csv, line 1: the first line is drug_a"),
        (ROWS, r"interactions\.csv, line 1: the first line is .*add it above the rows"),
        (HEADER + "华法林,阿司匹林,严重,出血,增加,甲\n", r"line 2: has 6 cells instead of 5; quote cells"),
        (HEADER + "华法林,阿司匹林,严重\n", r"line 2: has 3 cells"),
        (HEADER + "华法林,,严重,慎,甲\n", r"line 2: drug_b is empty"),
        (HEADER + "华法林,阿司匹林,严重,慎, \n", r"line 2: source is empty"),
        (HEADER + "ABC,abc,严重,慎,甲\n", r"line 2: drug_a and drug_b are both ABC"),
        (HEADER + "华法林,锂,严重,慎,甲\n", r"line 2: '锂' is too short"),
        (HEADER + ROWS + "阿司匹林,华法林,轻,无妨,乙\n", r"line 5: 阿司匹林 and 华法林 stand in line 2 already"),
        (HEADER + '华法林,阿司匹林,严重,"慎,甲\n', r"line 2: is not CSV"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Interactions.from_csv(table(tmp_path, text))


def test_files_that_are_no_text(tmp_path: Path) -> None:
    path = table(tmp_path)
    path.write_bytes(b"PK\x03\x04\x00\x00\xff\xff\x00")
    with pytest.raises(ConfigError, match=r"interactions\.csv: is not text but a ZIP archive"):
        Interactions.from_csv(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        Interactions.from_csv(tmp_path / "none.csv")
    with pytest.raises(ConfigError, match=r"interactions\.csv: 'klingon' is not a text encoding"):
        Interactions.from_csv(table(tmp_path), encoding="klingon")
    with pytest.raises(ConfigError, match=r"interactions\.csv, line 2: .* is not valid utf-8; .*iconv"):
        Interactions.from_csv(table(tmp_path, encoding="gbk"), encoding="utf-8")


def test_a_large_table_and_a_long_text_are_read_in_time() -> None:
    many = Interactions(Interaction(f"药品{i}甲", f"药品{i + 1}甲", "严重", "慎用", "表") for i in range(10_000))
    began = time.perf_counter()
    assert len(many.check("药品7甲与药品8甲同服。")) == 1
    assert many.check("药品1甲、" * 20_000) == []
    assert time.perf_counter() - began < 5
