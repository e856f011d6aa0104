"""Readers of open questions and consultations, on made-up files in the official forms."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from importlib import import_module, resources
from pathlib import Path
from typing import Any

import pytest

from chimed_rag.corpus.jsonl import json_rows
from chimed_rag.errors import CorpusError
from chimed_rag.evaluation.readers import dialogues, texts
from chimed_rag.evaluation.samples import Card, Sample
from chimed_rag.evaluation.tasks.loading import Row
from chimed_rag.packaged import parsed

NAMES = ("open_qa", "huatuo26m", "chimed", "cmedqa2", "dialogue", "dialogue_turns", "cmtmedqa", "mc", "meddialog")


class Files:
    """The rows of JSONL files."""

    def __init__(self, *paths: Path) -> None:
        self.paths: Sequence[Path] = paths

    def rows(self) -> Iterator[Row]:
        for path in self.paths:
            for line, value in json_rows(path):
                yield Row(str(path), line, value)


def card(name: str, **settings: Any) -> Card:
    text = resources.files("chimed_rag.evaluation").joinpath(f"cards/{name}.yaml").read_text("utf-8")
    found = Card.model_validate(parsed(text))
    return found.model_copy(update={"settings": {**found.settings, **settings}})


def read(name: str, *paths: Path, **settings: Any) -> list[Sample]:
    module, _, function = card(name).reader.partition(":")
    return list(getattr(import_module(module), function)(Files(*paths), card(name, **settings)))


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def said(sample: Sample) -> list[tuple[str, str]]:
    return [(turn["role"], turn["content"]) for turn in sample.turns]


@pytest.mark.parametrize("name", NAMES)
def test_cards_name_a_reader_that_is_there(name: str) -> None:
    found = card(name)
    assert found.name == name
    module, _, function = found.reader.partition(":")
    assert callable(getattr(import_module(module), function))
    assert found.main_metric == "rougeL"
    assert found.protocols == ("strict-v1", "chimedgpt-legacy")


def test_huatuo_in_both_of_its_forms(tmp_path: Path) -> None:
    path = write(
        tmp_path / "test_datasets.jsonl",
        {"questions": "发烧怎么办？", "answers": "多喝水。"},
        {"questions": [["咳嗽吃什么？", "咳嗽咋办"]], "answers": ["止咳药。", " ", "止咳药。"]},
        {"questions": "看医生", "answers": "http://example.org/1"},
    )
    found = read("huatuo26m", path)
    assert [(one.id, one.text, one.references) for one in found] == [
        ("1", "发烧怎么办？", ("多喝水。",)),
        ("2", "咳嗽吃什么？", ("止咳药。",)),
    ]


def test_chimed_has_two_answers_and_is_cleaned_as_its_users_do(tmp_path: Path) -> None:
    rest = {"specialty_1": "内科", "specialty_2": "外科", "adopted_1": "true", "adopted_2": "false"}
    path = write(
        tmp_path / "ChiMed.v1.test.json",
        {
            "question": "胃痛？补充问题：多久",
            "answer_1": "吃药。提问者对于答案的评价：好",
            "answer_2": "检查。",
            **rest,
        },
        {"question": "头痛？", "answer_1": "请打电话", "answer_2": "休息。", **rest},
    )
    (one,) = read("chimed", path)
    assert (one.text, one.references, one.subject) == ("胃痛？", ("吃药。", "检查。"), "内科")
    assert len(read("chimed", path, clean="")) == 2


def test_beir_takes_what_is_judged_relevant(tmp_path: Path) -> None:
    corpus = write(tmp_path / "corpus.jsonl", {"_id": "a", "title": "", "text": "多喝水"}, {"_id": "b", "text": "休息"})
    qrels = write(
        tmp_path / "qrels.jsonl",
        {"query-id": "q", "corpus-id": "a", "score": 1},
        {"query-id": "q", "corpus-id": "b", "score": 0},
    )
    queries = write(tmp_path / "queries.jsonl", {"_id": "q", "text": "发烧"})
    (one,) = read("open_qa", corpus, qrels, queries)
    assert (one.id, one.text, one.references, one.passages) == ("q", "发烧", ("多喝水",), ("多喝水",))
    with pytest.raises(CorpusError, match=r"no rows of corpus\.jsonl"):
        read("open_qa", qrels, queries)
    write(qrels, {"query-id": "q", "corpus-id": "c", "score": 1})
    with pytest.raises(CorpusError, match=r"qrels\.jsonl, line 1: document 'c' is not in the corpus"):
        read("open_qa", corpus, qrels, queries)
    write(qrels, {"query-id": "other", "corpus-id": "a", "score": 1})
    with pytest.raises(CorpusError, match=r"queries\.jsonl, line 1: query 'q' has no answer"):
        read("open_qa", corpus, qrels, queries)


def test_cmedqa2_takes_all_right_answers(tmp_path: Path) -> None:
    question, answer, candidates = (tmp_path / name for name in ("question.csv", "answer.csv", "test_candidates.txt"))
    question.write_text('\ufeffquestion_id,content\n1,"头痛,两天"\n2,咳嗽\n', "utf-8")
    answer.write_text('ans_id,question_id,content\n10,1,"休息，\n多喝水"\n11,1,吃药\n20,2,止咳\n', "utf-8")
    candidates.write_text("question_id,ans_id,cnt,label\n1,10,0,1\n1,20,0,0\n1,11,0,1\n2,20,0,1\n", "utf-8")
    found = read("cmedqa2", answer, question, candidates)
    assert [(one.id, one.text, one.references) for one in found] == [
        ("1", "头痛,两天", ("休息，\n多喝水", "吃药")),
        ("2", "咳嗽", ("止咳",)),
    ]
    with pytest.raises(CorpusError, match=r"answer\.csv missing"):
        read("cmedqa2", question, candidates)
    candidates.write_text("question_id,ans_id,cnt,label\n1,10,0,1\n1,99,0,1\n", "utf-8")
    with pytest.raises(CorpusError, match=r"test_candidates\.txt, line 3: answer '99' is in no table"):
        read("cmedqa2", answer, question, candidates)
    candidates.write_text("question_id,ans_id,cnt,label\n1,10,0\n", "utf-8")
    with pytest.raises(CorpusError, match=r"line 2: 3 cells under 4 columns"):
        read("cmedqa2", answer, question, candidates)


def test_the_doctors_last_turn_with_what_was_said_before(tmp_path: Path) -> None:
    turns = [
        *[("assistant", "您好"), ("user", "发烧"), ("user", "三天了"), ("assistant", "多少度？"), ("user", " ")],
        *[
            ("assistant", "量过吗？"),
            ("user", "39度"),
            ("assistant", "吃布洛芬"),
            ("assistant", "多喝水"),
            ("user", "谢谢"),
        ],
    ]
    row = {"id": "d1", "department": "儿科", "turns": [{"role": role, "content": text} for role, text in turns]}
    path = write(tmp_path / "het_mc_test.jsonl", row, {"id": "d2", "turns": [{"role": "user", "content": "在吗"}]})
    (one,) = read("dialogue", path)
    assert (one.id, one.group, one.subject) == ("d1", "d1", "儿科")
    assert said(one) == [("user", "发烧\n三天了"), ("assistant", "多少度？\n量过吗？")]
    assert (one.text, one.references) == ("39度", ("吃布洛芬\n多喝水",))
    first, last = read("dialogue_turns", path)
    assert (first.id, first.group, first.turns, first.text) == ("d1:1", "d1", (), "发烧\n三天了")
    assert last == one.model_copy(update={"id": "d1:2"})


def test_cmtmedqa_in_its_own_form(tmp_path: Path) -> None:
    row = {"id": 7, "cate1": "外科", "history": [["疼", "哪里疼？"]], "instruction": "脚", "output": "拍片"}
    (one,) = read("cmtmedqa", write(tmp_path / "CMtMedQA.json", row))
    assert (one.id, said(one), one.text) == ("7", [("user", "疼"), ("assistant", "哪里疼？")], "脚")
    assert (one.references, one.subject) == (("拍片",), "外科")


MC = """id\t1
P\t头痛（男，30岁）\t1
D\t多久了？\t0
D\t吃过药吗？\t0
P\t没有\t0
D\t先休息\t2
SUM1\t头痛
SUM2.0\t休息

id\t2
P\t咳嗽\t1
D\t吃止咳药\t2
"""


def test_mc_and_its_last_dialogues(tmp_path: Path) -> None:
    path = tmp_path / "train.dialog"
    path.write_text(MC, "utf-8")
    first, second = read("mc", path)
    assert said(first) == [("user", "头痛（男，30岁）"), ("assistant", "多久了？\n吃过药吗？")]
    assert (first.id, first.text, first.references, first.group) == ("1", "没有", ("先休息",), "1")
    assert [one.id for one in read("mc", path, last=1)] == ["2"] == [second.id]
    zipped = tmp_path / "train.dialog.gz"
    zipped.write_bytes(gzip.compress(MC.encode()))
    assert [one.text for one in read("mc", zipped)] == ["没有", "咳嗽"]
    path.write_text(MC + "X\t什么\n", "utf-8")
    with pytest.raises(CorpusError, match=r"train\.dialog, line 13: begins with none of id, P, D, SUM"):
        read("mc", path)
    path.write_bytes(MC.encode("gb18030"))
    with pytest.raises(CorpusError, match=r"line 2: not UTF-8.*iconv -f GB18030"):
        read("mc", path)


RAW = """id=1
https://example.org/1
Doctor faculty
内科

Description
疾病：感冒

Dialogue
病人：
发烧怎么办？
两天了。
医生：
多喝水。

Diagnosis and suggestions
休息。

id=2
Dialogue
病人：在吗
"""


def test_meddialog_raw_and_processed(tmp_path: Path) -> None:
    raw = tmp_path / "2020.txt"
    raw.write_text(RAW, "utf-8")
    (one,) = read("meddialog", raw)
    assert (one.id, one.text, one.references) == ("2020:1", "发烧怎么办？\n两天了。", ("多喝水。",))
    processed = tmp_path / "test_data.json"
    rows = [["病人：发烧怎么办？", "医生：多喝水。"], ["病人：咳", "医生：多久？", "病人：三天", "医生：拍片。"]]
    processed.write_text(json.dumps(rows, ensure_ascii=False, indent=1), "utf-8")
    found = read("meddialog", processed)
    assert [(one.id, one.text) for one in found] == [("test_data:1", "发烧怎么办？"), ("test_data:2", "三天")]
    hub = write(tmp_path / "hub.jsonl", {"utterances": rows[1]})
    assert next(dialogues.conversations(Files(hub), card("meddialog"))).references == ("拍片。",)


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("huatuo26m", {"answers": "多喝水"}, r"line 1: no question \(question or questions"),
        ("huatuo26m", {"question": "发烧？", "reply": "多喝水"}, r"line 1: no answer .*there are: question, reply"),
        ("huatuo26m", {"question": " ", "answer": "多喝水"}, "line 1: the question is empty"),
        ("dialogue", {"messages": []}, "line 1: no turns, utterances, or history and output; there are: messages"),
        ("dialogue", {"turns": [{"role": "nurse", "content": "好"}]}, "line 1: no such speaker: 'nurse'"),
        ("dialogue", {"turns": [{"role": "user"}]}, "line 1: a turn has no text"),
        ("dialogue", {"utterances": ["好"]}, "line 1: an utterance begins neither"),
        ("dialogue", {"history": ["好"], "output": "是"}, "line 1: the history is no list of"),
    ],
)
def test_what_cannot_be_used_is_named_with_its_line(
    tmp_path: Path, name: str, row: dict[str, Any], message: str
) -> None:
    with pytest.raises(CorpusError, match=message):
        read(name, write(tmp_path / "data.jsonl", row))


def test_ids_of_several_files_do_not_meet(tmp_path: Path) -> None:
    rows = {"id": "1", "history": [], "instruction": "疼", "output": "拍片"}
    found = read("dialogue", write(tmp_path / "cmtmedqa_dev.jsonl", rows), write(tmp_path / "het_mc_test.jsonl", rows))
    assert [one.id for one in found] == ["cmtmedqa_dev:1", "het_mc_test:1"]


def test_lines_that_are_missing(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="cannot be read"):
        texts.lines(tmp_path / "none.txt")


@pytest.mark.real_data
def test_the_development_sets(shared_data: Path) -> None:
    folder = shared_data / "eval"
    parts = [folder / "huatuo_retrieval_dev" / f"{name}.jsonl.gz" for name in ("corpus", "qrels", "queries")]
    questions = read("open_qa", *parts)
    assert len(questions) == len({one.id for one in questions}) == 2984
    assert all(len(one.references) == 1 for one in questions)
    talks = read("dialogue", folder / "cmtmedqa_dev.jsonl.gz", folder / "het_mc_test.jsonl.gz")
    assert len(talks) == len({one.id for one in talks}) == 589 + 18
    every = read("dialogue_turns", folder / "cmtmedqa_dev.jsonl.gz", folder / "het_mc_test.jsonl.gz")
    assert len(every) == sum(len(one.turns) // 2 + 1 for one in talks)
    assert all(one.turns[0]["role"] == "user" for one in talks if one.turns)
