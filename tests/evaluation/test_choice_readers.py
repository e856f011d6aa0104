from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator
from importlib import import_module, resources
from pathlib import Path
from typing import Any

import pytest

from chimed_rag.corpus.jsonl import json_rows
from chimed_rag.errors import CorpusError, DuplicateError
from chimed_rag.evaluation.samples import Card, Sample
from chimed_rag.evaluation.tasks.loading import Row
from chimed_rag.packaged import parsed, source

CARDS = (
    "ceval_medical", "ceval_chimedgpt", "cmmlu_medical", "cmmlu_chimedgpt", "mcmle", "mcmle_4opt", "cmexam", "cmb_exam",
    "cmle",
)  # fmt: skip
FIVE = {"A": "肝", "B": "心", "C": "脾", "D": "肺", "E": "肾"}


class Files:
    """Rows of files as the official sets have them."""

    def __init__(self, *paths: Path) -> None:
        self.paths = paths
        self.notes: list[str] = []

    def rows(self) -> Iterator[Row]:
        for path in self.paths:
            if path.suffix == ".csv":
                with path.open(encoding="utf-8", newline="") as file:
                    for line, value in enumerate(csv.DictReader(file), 2):
                        yield Row(str(path), line, dict(value))
            elif path.suffix == ".json":
                for line, value in enumerate(json.loads(path.read_text("utf-8")), 1):
                    yield Row(str(path), line, value)
            else:
                for line, value in json_rows(path):
                    yield Row(str(path), line, value)


def card(name: str, **settings: Any) -> Card:
    found = Card.model_validate(parsed(source("chimed_rag.evaluation", f"cards/{name}.yaml")))
    return found.model_copy(update={"settings": {**found.settings, **settings}})


def read(name: str, *paths: Path, **settings: Any) -> tuple[list[Sample], Files]:
    files, of = Files(*paths), card(name, **settings)
    module, _, function = of.reader.partition(":")
    return list(getattr(import_module(module), function)(files, of)), files


def lines(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def table(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


@pytest.mark.parametrize("name", CARDS)
def test_cards_name_what_is_there(name: str) -> None:
    found = card(name)
    assert (found.name, found.kind, found.main_metric) == (name, "choice", "accuracy")
    assert found.files and found.contamination and found.protocols[0] == "strict-v1"
    assert resources.files("chimed_rag.evaluation").joinpath(f"cards/{name}.yaml").is_file()


def test_ceval(tmp_path: Path) -> None:
    head = "id,question,A,B,C,D,answer,explanation\n"
    clinical = table(tmp_path / "clinical_medicine_val.csv", head + '0,"胆汁由谁产生，",肝,心,脾,肺,A,由肝细胞\n')
    basic = table(tmp_path / "basic_medicine_val.csv", head + "0,泵血的是,肝,心,脾,肺,B,\n")
    found, _ = read("ceval_chimedgpt", clinical, basic)
    assert [one.id for one in found] == ["clinical_medicine-0", "basic_medicine-0"]
    assert found[0].text == "胆汁由谁产生，" and found[0].options == {"A": "肝", "B": "心", "C": "脾", "D": "肺"}
    assert (found[0].passages, found[1].passages) == (("由肝细胞",), ())
    assert found[1].metadata["subject_zh"] == "基础医学" and found[1].answer == "B"
    with pytest.raises(CorpusError, match="no question of physician"):
        read("ceval_medical", clinical, basic)
    hidden = table(tmp_path / "basic_medicine_test.csv", "id,question,A,B,C,D\n0,泵血的是,肝,心,脾,肺\n")
    with pytest.raises(CorpusError, match=r"basic_medicine_test.csv, line 2: has no column 'answer'"):
        read("ceval_chimedgpt", clinical, hidden)


def test_cmmlu_in_both_forms(tmp_path: Path) -> None:
    text = ",Question,A,B,C,D,Answer\n0,胆汁由谁产生,肝,心,脾,肺,A\n1,泵血的是,肝,心,脾,肺,B\n"
    official, _ = read("cmmlu_chimedgpt", table(tmp_path / "anatomy.csv", text), subjects=["anatomy"])
    assert [(one.id, one.subject, one.answer) for one in official] == [
        ("anatomy-0", "anatomy", "A"),
        ("anatomy-1", "anatomy", "B"),
    ]
    row = {"subject": "anatomy", "question": "泵血的是", "options": dict(list(FIVE.items())[:4]), "answer": "B"}
    rows = lines(
        tmp_path / "cmmlu.jsonl",
        {**row, "split": "dev"},
        {**row, "split": "test"},
        {**row, "split": "test", "subject": "law"},
    )
    found, _ = read("cmmlu_chimedgpt", rows, subjects={"anatomy": "解剖学"})
    assert [(one.id, one.metadata["subject_zh"]) for one in found] == [("anatomy-2", "解剖学")]
    with pytest.raises(CorpusError, match="no question of clinical_knowledge"):
        read("cmmlu_chimedgpt", rows)


def test_medqa(tmp_path: Path) -> None:
    row = {"question": "胆汁由谁产生", "options": FIVE, "answer": "肝", "meta_info": "生理学", "answer_idx": "A"}
    [found], _ = read("mcmle", lines(tmp_path / "mcmle_test.jsonl", row))
    assert (found.id, found.answer, found.metadata["meta_info"]) == ("1", "A", "生理学")
    path = tmp_path / "bad.jsonl"
    for change, message in (
        ({"answer_idx": "F"}, "line 2: the answer 'F' is outside the options A, B, C, D, E"),
        ({"answer": "心"}, "line 2: the answer is A, but"),
        ({"options": dict(list(FIVE.items())[:4])}, "line 2: has 4 options, and mcmle is the set with 5"),
        ({"options": "肝"}, "line 2: 'options' is no object"),
        ({"question": ""}, "line 2: column 'question' is no text"),
        ({"answer_idx": None}, "line 2: has no answer; a card with skip_unanswered"),
    ):
        with pytest.raises(CorpusError, match=message):
            read("mcmle", lines(path, row, {**row, **change}))
    renamed = {("stem" if key == "question" else key): value for key, value in row.items()}
    with pytest.raises(CorpusError, match="line 1: has no column 'question'; there are: 'stem', 'options'"):
        read("mcmle", lines(path, renamed))


def test_cmexam(tmp_path: Path) -> None:
    row = {
        "Question": "胆汁由谁产生",
        "Options": "A 肝\\nB 心\\nC 脾 脏\\nD 肺",
        "Answer": "A",
        "Explanation": "肝细胞",
    }
    several = {**row, "Answer": "BA", "Explanation": "nan", "Options": "A 肝\nB 心\n续行"}
    found, files = read("cmexam", lines(tmp_path / "x.jsonl", row, several, {**row, "Answer": "nan"}))
    assert found[0].options == {"A": "肝", "B": "心", "C": "脾 脏", "D": "肺"} and found[0].multiple
    assert (found[1].answer, found[1].options, found[1].passages) == ("AB", {"A": "肝", "B": "心 续行"}, ())
    assert files.notes == ["1 of 3 rows have no answer and are left out"]
    official = table(tmp_path / "test.csv", 'Question,Options,Answer,Explanation\n胆汁,"A 肝\nB 心",B,心\n')
    assert [(one.answer, one.passages) for one in read("cmexam", official)[0]] == [("B", ("心",))]
    with pytest.raises(CorpusError, match="do not begin with a letter"):
        read("cmexam", lines(tmp_path / "y.jsonl", {**row, "Options": "肝\\n心"}))


def test_cmb_joins_questions_and_answers(tmp_path: Path) -> None:
    question = {
        "id": 1, "exam_type": "医师考试", "exam_class": "执业医师", "exam_subject": "口腔", "question": "胆汁由谁产生",
        "question_type": "单项选择题", "option": {"A": "肝", "B": "心", "C": "", "D": "肺"},
    }  # fmt: skip
    several = {**question, "id": 2, "question_type": "多项选择题"}
    questions = tmp_path / "CMB-test-choice-question-merge.json"
    questions.write_text(json.dumps([question, several]), "utf-8")
    answers = tmp_path / "CMB-test-choice-answer.json"
    for bare in (True, False):  # the answers' rows may repeat the questions
        told = [
            {**({"id": one["id"]} if bare else one), "answer": said} for one, said in ((question, "A"), (several, "AB"))
        ]
        answers.write_text(json.dumps(told), "utf-8")
        found, _ = read("cmb_exam", answers, questions)
        assert [(one.id, one.answer, one.multiple) for one in found] == [("1", "A", False), ("2", "AB", True)]
    assert list(found[0].options) == ["A", "B", "D"]
    assert (found[0].subject, found[0].metadata["exam_type"]) == ("执业医师", "医师考试")
    with pytest.raises(CorpusError, match="the answer of question 1 is in no file"):
        read("cmb_exam", questions)
    whole = {key: value for key, value in question.items() if key != "id"} | {"answer": "A", "explanation": "肝细胞"}
    validation = tmp_path / "CMB-val-merge.json"
    validation.write_text(json.dumps([whole]), "utf-8")
    assert [(one.id, one.passages) for one in read("cmb_exam", validation)[0]] == [("1", ("肝细胞",))]


def test_cmle(tmp_path: Path) -> None:
    row = {
        "year": "2021", "unit": "1", "type": "A1", "no": "1", "question": "胆汁由谁产生", "options": FIVE,
        "answer": "A", "is_valid": "1", "model_predictions": {"m": "A"},
    }  # fmt: skip
    lost = {**row, "no": "2", "answer": "E", "options": {"A": "肝", "B": "心"}}
    found, _ = read("cmle", lines(tmp_path / "cmle.jsonl", row, lost))
    assert [(one.id, one.answer) for one in found] == [("2021-1-1", "A"), ("2021-1-2", "E")]
    assert found[0].metadata["model_predictions"] == {"m": "A"}
    with pytest.raises(CorpusError, match="line 2: the answer 'E' is outside"):
        read("cmle", lines(tmp_path / "cmle.jsonl", row, lost), lost_options=False)
    with pytest.raises(DuplicateError, match=r"line 2: question '2021-1-1' came before \(line 1\)"):
        read("cmle", lines(tmp_path / "cmle.jsonl", row, row))
    with pytest.raises(CorpusError, match="line 1: has no answer"):
        read("cmle", lines(tmp_path / "cmle.jsonl", {**row, "is_valid": "0"}))


@pytest.mark.real_data
def test_the_real_files(shared_data: Path) -> None:
    folder = shared_data / "eval"
    seven, _ = read("cmmlu_chimedgpt", folder / "cmmlu_medical.jsonl.gz")
    assert len(seven) == 1166
    assert dict(Counter(one.subject for one in seven)) == {
        "anatomy": 148, "clinical_knowledge": 237, "college_medical_statistics": 106, "genetics": 176,
        "nutrition": 145, "traditional_chinese_medicine": 185, "virology": 169,
    }  # fmt: skip
    assert len(read("cmmlu_medical", folder / "cmmlu_medical.jsonl.gz")[0]) == 2481
    for name, file, n in (
        ("mcmle", "mcmle_dev", 3425),
        ("mcmle_4opt", "mcmle_4opt_dev", 3425),
        ("cmle", "cmle_2020_2021", 1200),
    ):
        found, _ = read(name, folder / f"{file}.jsonl.gz")
        assert len(found) == n
    found, files = read("cmexam", folder / "cmexam_dev.jsonl.gz")
    assert len(found) == 1693 and files.notes
    with pytest.raises(CorpusError, match="has 4 options"):
        read("mcmle", folder / "mcmle_4opt_dev.jsonl.gz")
