from __future__ import annotations

import json
import logging
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from chimed_rag.errors import CorpusError
from chimed_rag.evaluation.exam import choice
from chimed_rag.evaluation.exam.postings import Level, Literature, read_literature
from chimed_rag.evaluation.tasks.exam_evidence import Item, exam_evidence_result, read_items, stands_in
from chimed_rag.indexing.index import Index
from chimed_rag.medqa import MedQA
from chimed_rag.records import Document

TEXTS = {
    "百日咳": "百日咳的特征为阵发性痉挛性咳嗽，咳嗽末有鸡鸣样吸气吼声。治疗首选红霉素。",
    "大叶性肺炎": "大叶性肺炎起病急，寒战高热，胸痛，咳铁锈色痰。多由肺炎链球菌引起，治疗首选青霉素。",
    "肺结核": "肺结核有低热、盗汗、消瘦、咯血。治疗用异烟肼和利福平。",
    "哮喘": "哮喘有发作性呼气性呼吸困难，两肺布满哮鸣音。治疗用沙丁胺醇。",
}
ITEMS = [
    Item(
        "患儿阵发性痉挛性咳嗽，咳嗽末有鸡鸣样吼声，首选的治疗是",
        ("青霉素", "红霉素", "异烟肼", "沙丁胺醇"),
        frozenset([1]),
    ),
    Item("男，30岁。寒战高热，咳铁锈色痰。最可能的诊断是", ("百日咳", "肺结核", "大叶性肺炎", "哮喘"), frozenset([2])),
    Item("低热、盗汗、咯血，最可能的诊断是（　　）。", ("肺结核", "哮喘", "百日咳", "大叶性肺炎"), frozenset([0])),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exam") / "index"
    MedQA.build([Document(id=title, title=title, text=text) for title, text in TEXTS.items()], path).close()
    return path


@pytest.fixture(scope="module")
def literature(folder: Path) -> Literature:
    return read_literature(Index.open(folder))


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def medqa(item: Item) -> dict[str, Any]:
    letters = dict(zip("ABCDE", item.options, strict=False))
    return {"question": item.question, "options": letters, "answer_idx": "ABCDE"[min(item.right)]}


def test_bm25_by_hand() -> None:
    # Two units: term 0 twice and term 1 once; term 1 alone. Mean length 2.
    level = Level(csr_matrix(np.array([[2.0, 1.0], [0.0, 1.0]], dtype=np.float32)))
    idf = math.log(1 + 1.5 / 1.5)
    assert level.idf[0] == pytest.approx(idf)
    gained = 2 * 2.2 / (2 + 1.2 * (0.25 + 0.75 * 3 / 2))
    assert level.scores({0: 1.0}).tolist() == pytest.approx([gained / 2.2, 0.0])
    assert level.units(1).tolist() == [0, 1]


def test_the_levels_of_a_literature(literature: Literature) -> None:
    assert literature.passages.n == literature.titles.n == literature.documents.n == 4
    assert literature.sentences.n == 8
    cough = literature.numbers("咳嗽")
    assert len(literature.passages.units(cough[0])) == 1
    assert literature.numbers("没有这些字 xyz") == []


def test_negated_stems() -> None:
    for stem in ("下列不属于其特点的是", "错误的叙述是", "治疗中除外哪项", "关于肺炎，不正确的是（　　）。"):
        assert choice.is_negated(stem)
    for stem in ("首选的治疗是", "最可能的诊断是"):
        assert not choice.is_negated(stem)
    assert not choice.is_negated(
        "男，30岁，不发热，" + "咳嗽、咳痰、胸痛、乏力、食欲下降、睡眠差、大便干、小便黄、体重减轻" * 2 + "，诊断是"
    )


def test_evidence_chooses(literature: Literature) -> None:
    for item in ITEMS:
        assert int(choice.choose(literature, item.question, item.options).argmax()) in item.right


def test_measures_by_hand(literature: Literature) -> None:
    found = choice.measures(literature, "铁锈色痰", ["大叶性肺炎", "哮喘", "没有这些字"])
    assert found.shape == (3, len(choice.MEASURES))
    backward = choice.MEASURES.index("passages.backward")
    # Every term of the question stands in the passage on 大叶性肺炎, and none where 哮喘 is.
    q = literature.passages.scores(dict.fromkeys(literature.numbers("铁锈色痰"), 1.0))
    assert found[:2, backward].tolist() == pytest.approx([float(q.max()), 0.0])
    assert np.isfinite(choice.standardised(found)).all()
    assert choice.standardised(found).mean(axis=0) == pytest.approx(0.0, abs=1e-9)


def test_a_question_of_examiners_phrases_alone(literature: Literature) -> None:
    scores = choice.choose(literature, "下列错误的是", ["红霉素", "青霉素"])
    assert np.isfinite(scores).all()


def test_rewriting_for_evidence() -> None:
    query = choice.evidence_query("首选的治疗是红霉素", ["红霉素", "青霉素", "青霉烯"])
    assert query["红霉"] == 1.0  # the question's own word keeps its weight
    assert query["青霉"] == pytest.approx(0.5 * 2 / 3)
    assert query["霉烯"] == 0.5


def test_both_forms_of_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cmexam = {"Question": "选", "Options": "A 甲\\nB 乙 2\\nC 丙", "Answer": "AC", "Explanation": ""}
    assert read_items(write(tmp_path / "c", [cmexam])) == [Item("选", ("甲", "乙 2", "丙"), frozenset([0, 2]))]
    assert read_items(write(tmp_path / "m", [medqa(ITEMS[0])])) == [ITEMS[0]]
    for bad in ({"Question": "选", "Options": "甲 乙", "Answer": "A"}, {"question": "q"}, {**cmexam, "Answer": "nan"}):
        with pytest.raises(CorpusError, match=r"line 1|no question with an answer"):
            read_items(write(tmp_path / "bad", [bad]))
    with caplog.at_level(logging.WARNING):
        assert len(read_items(write(tmp_path / "c", [cmexam, {**cmexam, "Answer": "nan"}]))) == 1
    assert "1 of 2 questions have no usable answer" in caplog.text


def test_standing_in_a_passage() -> None:
    assert stands_in("铁锈色 痰", ["咳铁锈\n色痰。"])
    assert not stands_in("铁锈色痰", ["铁锈，色素"])
    assert not stands_in("（）", ["（）"])


def test_from_files_to_a_result(tmp_path: Path, folder: Path) -> None:
    data = write(tmp_path / "data", [medqa(item) for item in ITEMS])
    result = exam_evidence_result(data, folder)
    assert result.n == 3
    assert result.metrics["accuracy"].value == 1.0
    assert result.metrics["found@10"].value == result.metrics["found@10_options"].value == 1.0
    command = [sys.executable, "-m", "chimed_rag.cli", "evaluate", "exam_evidence", "--no-find"]
    command += ["--data", str(data), "--index", str(folder), "--limit", "2", "--json"]
    printed = json.loads(subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout)
    assert (printed["n"], set(printed["metrics"])) == (2, {"accuracy", "bm25_accuracy"})
