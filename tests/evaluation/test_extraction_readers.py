"""Readers of entity sets: the official forms, what does not fit named by file and line, places that always hold."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from chimed_rag.corpus.jsonl import json_rows
from chimed_rag.errors import CorpusError
from chimed_rag.evaluation.readers import extraction
from chimed_rag.evaluation.samples import Card, Sample
from chimed_rag.evaluation.tasks.loading import Reader, Row
from chimed_rag.packaged import parsed, source


class Files:
    """A source over files of JSON lines."""

    def __init__(self, *paths: Path) -> None:
        self.paths: Sequence[Path] = paths

    def rows(self) -> Iterator[Row]:
        for path in self.paths:
            for line, value in json_rows(path):
                yield Row(str(path), line, value)


def card(name: str, **settings: Any) -> Card:
    found = Card.model_validate(parsed(source("chimed_rag.evaluation", f"cards/{name}.yaml")))
    return found.model_copy(update={"settings": {**found.settings, **settings}})


def made(tmp_path: Path, *rows: dict[str, Any], bom: bool = False) -> Files:
    path = tmp_path / "rows.jsonl"
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n"
    path.write_text(lines, "utf-8-sig" if bom else "utf-8")
    return Files(path)


def spans(sample: Sample) -> list[tuple[str, str, int | None, int | None]]:
    return [(entity.text, entity.type, entity.start, entity.end) for entity in sample.entities]


def ccks_row(*entities: tuple[str, int, int], text: str = "行阑尾切除术，术后口服头孢克洛。") -> dict[str, Any]:
    return {
        "originalText": text,
        "entities": [
            {"label_type": kind, "overlap": 0, "start_pos": start, "end_pos": end} for kind, start, end in entities
        ],
    }


def test_ccks_places_are_half_open_and_a_repeated_entity_is_one(tmp_path: Path) -> None:
    rows = made(tmp_path, ccks_row(("药物", 11, 15), ("手术", 1, 6), ("手术", 1, 6)), bom=True)
    [sample] = extraction.ccks(rows, card("ccks2019"))
    assert spans(sample) == [("阑尾切除术", "手术", 1, 6), ("头孢克洛", "药物", 11, 15)]
    assert sample.metadata["types"] == ["疾病和诊断", "影像检查", "实验室检验", "手术", "药物", "解剖部位"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (ccks_row(("药物", 11, 99)), "does not lie in a text of 16"),
        (ccks_row(("药物", 3, 3)), "from 3 to 3"),
        (ccks_row(("方剂", 1, 3)), "'方剂'; there are: 疾病和诊断"),
        ({"text": "一", "entities": []}, "'originalText' is missing"),
        (
            {"originalText": "一二", "entities": [{"label_type": "药物", "start_pos": "一", "end_pos": 2}]},
            "'start_pos'",
        ),
        ({"originalText": "一二"}, "'entities' is missing or no list"),
    ],
)
def test_what_does_not_fit_names_file_and_line(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    with pytest.raises(CorpusError, match=said) as raised:
        list(extraction.ccks(made(tmp_path, ccks_row(), row), card("ccks2019")))
    assert (raised.value.path, raised.value.line) == (str(tmp_path / "rows.jsonl"), 2)


def mention(words: str, offset: Any, kind: str = "drug") -> dict[str, Any]:
    return {"mention": words, "type": kind, "offset": offset}


def test_cmedqaner_takes_the_texts_own_case_and_moves_as_far_as_allowed(tmp_path: Path) -> None:
    row = {"text": "吃维生素b1，再吃维生素c", "mention_data": [mention("维生素B1", "1"), mention("维生素C", 10)]}
    [sample] = extraction.cmedqaner(made(tmp_path, row), card("cmedqaner"))
    assert spans(sample) == [("维生素b1", "药物", 1, 6), ("维生素c", "药物", 9, 13)]
    assert sample.metadata["moved"] == 1
    with pytest.raises(CorpusError, match="do not stand at 10") as raised:
        list(extraction.cmedqaner(made(tmp_path, row), card("cmedqaner", moved=0)))
    assert raised.value.line == 1


def cmeee_row(beyond: int, *, words: str | None = None) -> dict[str, Any]:
    entities = [
        {"start_idx": start, "end_idx": end - beyond, "type": kind, "entity": words or "急性上呼吸道感染"[start:end]}
        for start, end, kind in ((0, 8, "dis"), (2, 6, "bod"))
    ]
    return {"text": "急性上呼吸道感染", "entities": entities}


@pytest.mark.parametrize("beyond", [1, 0], ids=["version 1, inclusive", "version 2, exclusive"])
@pytest.mark.parametrize("reader", [extraction.cmeee, extraction.tagged])
def test_cmeee_keeps_nested_entities_of_both_versions(tmp_path: Path, beyond: int, reader: Reader) -> None:
    [sample] = reader(made(tmp_path, cmeee_row(beyond)), card("cmeee"))
    assert spans(sample) == [("急性上呼吸道感染", "疾病", 0, 8), ("上呼吸道", "身体", 2, 6)]


def test_a_cmeee_file_of_two_versions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="not those from 0 to 8") as raised:
        list(extraction.cmeee(made(tmp_path, cmeee_row(1), cmeee_row(1), cmeee_row(0)), card("cmeee")))
    assert raised.value.line == 3


def tagged(tmp_path: Path, text: str, encoding: str = "utf-8") -> list[Sample]:
    path = tmp_path / "test.txt"
    path.write_text(text, encoding)
    return list(extraction.tagged(Files(path), card("chimst")))


def test_tagged_characters_in_bio_and_bies(tmp_path: Path) -> None:
    bio = "胃 B-病\n癌 I-病\n肝 B-位\n痛 O\n\n\n肝\tB-位\n"
    bies = "胃 B-病\n癌 E-病\n肝 S-位\n痛 O\n\n肝 S-位"
    for text in (bio, bies):
        first, second = tagged(tmp_path, text)
        assert spans(first) == [("胃癌", "病", 0, 2), ("肝", "位", 2, 3)]
        assert (spans(second), second.id) == ([("肝", "位", 0, 1)], "2")
        assert first.metadata["types"] == ["位", "病"]


@pytest.mark.parametrize(
    ("text", "encoding", "line", "said"),
    [
        ("胃 B-病\n癌 I-位\n", "utf-8", 2, "continues no entity"),
        ("胃 I-病\n", "utf-8", 1, "continues no entity"),
        ("胃 O\n癌\n", "utf-8", 2, "character tag"),
        ("胃 X-病\n", "utf-8", 1, "character tag"),
        ("术后 O\n", "gb18030", 1, "not UTF-8; convert it"),
    ],
)
def test_tags_that_do_not_fit(tmp_path: Path, text: str, encoding: str, line: int, said: str) -> None:
    with pytest.raises(CorpusError, match=said) as raised:
        tagged(tmp_path, text, encoding)
    assert raised.value.line == line


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("file", "reader", "counts"),
    [
        ("ccks2019_train", extraction.ccks, (1000, 17653, 0)),
        ("ccks2019_test_first200", extraction.ccks, (200, 3596, 0)),
        ("cmedqaner_train", extraction.cmedqaner, (1673, 12625, 15)),
        ("cmedqaner_test", extraction.cmedqaner, (215, 1350, 0)),
    ],
)
def test_the_real_files_are_read_whole(
    shared_data: Path, file: str, reader: Reader, counts: tuple[int, int, int]
) -> None:
    rows = Files(shared_data / "eval" / f"{file}.jsonl.gz")
    samples = list(reader(rows, card(file.partition("_")[0])))
    entities = [entity for sample in samples for entity in sample.entities]
    assert (len(samples), len(entities), sum(int(str(one.metadata.get("moved", 0))) for one in samples)) == counts
    assert all(entity.text == one.text[entity.start : entity.end] for one in samples for entity in one.entities)
