"""Other people's forms: what comes out of a file, what is dropped, what is an error. All rows are made up here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chimed_rag.errors import ConfigError, CorpusError
from training.contracts import Dialogue, RankedList, Row, Text
from training.files import Account, Ledger
from training.forms import FORMS, records
from training.sources import read_rows
from training.stages import Data


def written(path: Path, content: Any) -> str:
    if not isinstance(content, str):
        content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in content)
    path.write_text(content, "utf-8")
    return str(path)


def read(form: str, path: str, **fields: str) -> tuple[list[Any], Account]:
    data = Data.model_validate(
        {"sources": [{"path": path, "form": form, "fields": fields}], "hygiene": {"evaluation": None}, "redact": False}
    )
    kind: type[Row] = FORMS.get(form).kind
    ledger: Ledger = []
    return read_rows(data, kind, seed=1, ledger=ledger), ledger[0]


def said(dialogue: Dialogue) -> list[tuple[str, str]]:
    return [(message["role"][0], message["content"]) for message in dialogue.messages]


def test_every_form_is_there() -> None:
    kinds = {name: FORMS.get(name).kind for name in FORMS.names()}
    assert {name for name, kind in kinds.items() if kind is Text} == {
        *("texts", "jsonl", "medical_pretrain", "plain", "markdown")
    }
    assert {name for name, kind in kinds.items() if kind is RankedList} == {
        *("ranked", "chosen_rejected", "medical_reward")
    }
    assert len(kinds) == 19


# --- texts -----------------------------------------------------------------------------------------------------


def test_jsonl_joins_title_section_and_text(tmp_path: Path) -> None:
    rows = [
        {"id": "x", "title": "痛风", "section": "病因", "text": " 尿酸过高。\n"},
        {"text": "只有正文。", "title": ""},
        {"text": " "},
    ]
    texts, account = read("jsonl", written(tmp_path / "b.jsonl", rows))
    assert [text.text for text in texts] == ["痛风\n病因\n尿酸过高。", "只有正文。"]
    assert [(text.id, text.source, text.domain) for text in texts] == [("b:1", "b", "medical"), ("b:2", "b", "medical")]
    assert account.dropped == {"empty": 1}
    other, _ = read("jsonl", written(tmp_path / "c.jsonl", [{"body": "正文在这里。"}]), text="body")
    assert other[0].text == "正文在这里。"
    assert read("medical_pretrain", written(tmp_path / "p.json", [{"text": "百科一条。"}]))[0][0].text == "百科一条。"


def test_plain_text_by_line_and_by_file(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", "第一段文字\n\n  第二段文字\n")
    assert [(text.id, text.text) for text in read("plain", path)[0]] == [("a:1", "第一段文字"), ("a:3", "第二段文字")]
    assert [text.text for text in read("plain", path, by="file")[0]] == ["第一段文字\n第二段文字"]
    with pytest.raises(ConfigError, match="'line' or 'file', not 'page'"):
        read("plain", path, by="page")


def test_markdown_leaves_its_front_matter_behind(tmp_path: Path) -> None:
    path = written(tmp_path / "gout.md", "---\ntitle: 痛风\nlicence: CC0\n---\n\n## 病因\n\n尿酸过高。\n")
    (text,), _ = read("markdown", path)
    assert text.text == "痛风\n## 病因\n\n尿酸过高。"


# --- dialogues -------------------------------------------------------------------------------------------------


def test_alpaca_with_history_input_and_system(tmp_path: Path) -> None:
    rows = [
        {
            "instruction": "那要查什么",
            "input": "我今年六十岁",
            "output": "先查尿酸。",
            "history": [["脚趾疼", "疼了几天？"]],
            "system": "你是医生。",
        },
        {"instruction": "腹泻怎么办", "input": "", "output": "注意补液。", "history": None},
        {"instruction": "没有回答的问题", "output": " "},
        {"instruction": "", "output": "没有问题的回答"},
    ]
    dialogues, account = read("cmtmedqa", written(tmp_path / "a.json", rows))
    assert said(dialogues[0]) == [
        *(("s", "你是医生。"), ("u", "脚趾疼"), ("a", "疼了几天？")),
        *(("u", "那要查什么\n我今年六十岁"), ("a", "先查尿酸。")),
    ]
    assert said(dialogues[1]) == [("u", "腹泻怎么办"), ("a", "注意补液。")]
    assert account.dropped == {"no reply": 1, "no question": 1}
    for name in ("alpaca", "medical_finetune"):
        assert read(name, str(tmp_path / "a.json"))[0] == dialogues
    with pytest.raises(CorpusError, match=r"h\.json, line 1: the history is no list of \[question, answer\] pairs"):
        read("alpaca", written(tmp_path / "h.json", [{"instruction": "甲", "output": "乙", "history": [["一半"]]}]))


def test_an_array_of_objects_is_read_with_its_lines(tmp_path: Path) -> None:
    one, two = (
        '{"instruction": "头痛怎么办",\n  "output": "先休息。"}',
        '{"instruction": "腹痛怎么办", "output": "禁食。"}',
    )
    text = f"[\n {one},\n\n {two}\n]\n"
    path = tmp_path / "a.json"
    assert [line for line, _ in records(Path(written(path, text)))] == [2, 5]
    assert [dialogue.id for dialogue in read("alpaca", str(path))[0]] == ["a:2", "a:5"]
    with pytest.raises(CorpusError, match=r"a\.json, line 5: not JSON"):
        list(records(Path(written(path, text.replace('"禁食。"}\n]', '"禁食。"')))))
    with pytest.raises(CorpusError, match=r"a\.json, line 1: goes on after the array ends"):
        list(records(Path(written(path, '[{"a": 1}]\n[{"a": 2}]\n'))))
    with pytest.raises(CorpusError, match=r"a\.json, line 1: not a JSON object but int"):
        list(records(Path(written(path, "[1]"))))


def test_sharegpt_is_by_turns_or_an_error(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "头痛"}, {"from": "gpt", "value": "多久了？"}]
    (dialogue,), _ = read("sharegpt", written(tmp_path / "a.json", [{"conversations": turns, "system": "你是医生。"}]))
    assert said(dialogue) == [("s", "你是医生。"), ("u", "头痛"), ("a", "多久了？")]
    bad = written(tmp_path / "b.json", [{"conversations": turns}, {"conversations": [turns[0], *turns]}])
    with pytest.raises(CorpusError, match=r"b\.json, line 2: .*turn 2 is the user's and .*; the form turns joins"):
        read("sharegpt", bad)
    mended, account = read("turns", bad, turns="conversations", role="from", content="value")
    assert said(mended[1]) == [("u", "头痛\n头痛"), ("a", "多久了？")]
    assert account.changed == {"turns joined": 1}
    with pytest.raises(CorpusError, match="no such speaker: 'nurse'"):
        read("sharegpt", written(tmp_path / "c.json", [{"conversations": [{"from": "nurse", "value": "嗯"}]}]))


def test_turns_are_joined_and_trimmed_and_counted(tmp_path: Path) -> None:
    def turns(*texts: str) -> dict[str, Any]:
        roles = {"d": "assistant", "p": "user"}
        return {"turns": [{"role": roles[text[0]], "content": text[1:]} for text in texts]}

    rows = [turns("d您好", "p咳嗽", "p三天了", "d ", "d有痰吗", "p有"), turns("d您好"), turns("p发烧", "d多少度")]
    dialogues, account = read("turns", written(tmp_path / "a.jsonl", rows))
    assert [said(dialogue) for dialogue in dialogues] == [
        [("u", "咳嗽\n三天了"), ("a", "有痰吗")],
        [("u", "发烧"), ("a", "多少度")],
    ]
    assert account.dropped == {"no exchange": 1}
    assert account.changed == dict.fromkeys(
        ("blank turns left out", "opening of the assistant left out", "turns joined", "unanswered end left out"), 1
    )


def test_query_passage_with_filters(tmp_path: Path) -> None:
    def pair(query: str, kind: str, source: str, open_licence: bool = True) -> dict[str, Any]:
        return {
            "query": query,
            "passage": query + "的回答",
            "kind": kind,
            "source": source,
            "open_licence": open_licence,
        }

    rows = [
        pair("第一个问题", "qa", "甲"),
        pair("第二个问题", "qa", "乙"),
        pair("第三个问题", "typo", "甲"),
        pair("第四个问题", "exam", "甲"),
        pair("第五个问题", "qa", "甲", open_licence=False),
    ]
    path = written(tmp_path / "a.jsonl", rows)
    dialogues, account = read("query_passage", path, kinds="qa, exam", not_sources="乙", open_licence="yes")
    assert [(said(one)[0][1], one.task, one.source) for one in dialogues] == [
        ("第一个问题", "qa", "甲"),
        ("第四个问题", "exam", "甲"),
    ]
    assert account.dropped == {"source": 1, "kind": 1, "not open_licence": 1}
    assert len(read("query_passage", path)[0]) == 5


def test_huatuo_gives_a_dialogue_a_wording(tmp_path: Path) -> None:
    rows = [
        {"questions": [["痛风怎么治", "痛风的治疗"]], "answers": ["控制尿酸。"]},
        {"questions": ["问诊记录一条"], "answers": ["http://example.org/1"]},
        {"questions": [], "answers": ["没有问题。"]},
    ]
    dialogues, account = read("huatuo", written(tmp_path / "a.jsonl", rows))
    assert [(one.id, said(one)[0][1]) for one in dialogues] == [("a:1", "痛风怎么治"), ("a:1.2", "痛风的治疗")]
    assert (account.rows, account.read, account.dropped) == (3, 4, {"address only": 1, "no exchange": 1})


def test_chimed_rows_are_cleaned(tmp_path: Path) -> None:
    rows = [
        {
            "question": "脚趾关节红肿疼痛 补充问题：两天了",
            "answers": [
                {"text": "可能是痛风。提问者对于答案的评价：谢谢", "adopted": True, "recommended": False},
                {"text": "请打热线咨询。", "adopted": False, "recommended": True},
            ],
        },
        {"question": "咳嗽一周要不要拍片", "answers": ["先听诊再说。", ""]},
    ]
    dialogues, account = read("chimed", written(tmp_path / "a.jsonl", rows))
    assert [said(one) for one in dialogues] == [
        [("u", "脚趾关节红肿疼痛"), ("a", "可能是痛风。")],
        [("u", "咳嗽一周要不要拍片"), ("a", "先听诊再说。")],
    ]
    assert [one.task for one in dialogues] == ["adopted", ""]
    assert account.dropped == {"advertising": 1, "no reply": 1} and account.changed == {"cut": 1}
    columns = [{"q": "咳嗽一周要不要拍片", "one": "先听诊。", "two": "先验血。"}]
    assert len(read("chimed", written(tmp_path / "b.jsonl", columns), question="q", answers="one, two")[0]) == 2


def test_mc_blocks_become_dialogues(tmp_path: Path) -> None:
    lines = [
        *("id\t1\t科室\t内科\t疾病\t痛风", "D\t您好\tO", "P\t脚疼\tO", "P\t两天了\tO", "D\t红肿吗\tI"),
        *("SUM1\t脚疼两天", "", "id\t2\t科室\t儿科", "P\t孩子咳嗽\tO", "D\t多大了\tO", "P\t三岁\tO"),
    ]
    dialogues, account = read("mc", written(tmp_path / "train.dialog", "\n".join(lines)))
    assert [said(one) for one in dialogues] == [
        [("u", "脚疼\n两天了"), ("a", "红肿吗")],
        [("u", "孩子咳嗽"), ("a", "多大了")],
    ]
    assert [one.id for one in dialogues] == ["train:1", "train:8"] and account.read == 2
    with pytest.raises(CorpusError, match=r"x\.dialog, line 2: begins with none of id, P, D, SUM: 'X'"):
        read("mc", written(tmp_path / "x.dialog", "id\t1\nX\t甲"))


def test_meddialog_blocks_become_dialogues(tmp_path: Path) -> None:
    text = """id=7
https://example.org/7
Description
病情描述：
手抖
Dialogue
病人：
医生您好
我手抖
医生：
多久了？

Diagnosis and suggestions
不在对话里

id=8
Dialogue
Patient: My hand hurts.
Doctor:
Since when?
"""
    dialogues, _ = read("meddialog", written(tmp_path / "2020.txt", text))
    assert [said(one) for one in dialogues] == [
        [("u", "医生您好\n我手抖"), ("a", "多久了？")],
        [("u", "My hand hurts."), ("a", "Since when?")],
    ]
    with pytest.raises(CorpusError, match=r"y\.txt, line 1: no line id= before it"):
        read("meddialog", written(tmp_path / "y.txt", "随便一行"))


# --- ranked lists ----------------------------------------------------------------------------------------------


def test_chosen_and_rejected(tmp_path: Path) -> None:
    rows = [
        {"prompt": "痛风吃什么药", "chosen": "先就医。", "rejected": "不知道。", "score_chosen": 9.0},
        {"prompt": "两个一样的回答", "chosen": "相同。", "rejected": " 相同。"},
        {"prompt": "空的回答", "chosen": "有。", "rejected": ""},
        {"prompt": "", "chosen": "甲。", "rejected": "乙。"},
        {
            "prompt": [{"role": "user", "content": "咳嗽怎么办"}],
            "chosen": [{"role": "assistant", "content": "查原因。"}],
            "rejected": [{"role": "assistant", "content": "没事。"}],
        },
    ]
    lists, account = read("chosen_rejected", written(tmp_path / "a.jsonl", rows))
    assert [[(reply.rank, reply.text) for reply in one.replies] for one in lists] == [
        [(1, "先就医。"), (2, "不知道。")],
        [(1, "查原因。"), (2, "没事。")],
    ]
    assert account.dropped == {"same text": 1, "no reply": 1, "no question": 1}


def test_medical_reward_says_who_wrote_what(tmp_path: Path) -> None:
    row = {"question": "痛风吃什么药", "response_chosen": "先就医。", "response_rejected": "不知道。"}
    full = {**row, "question": "那饮食呢", "system": "你是医生。", "history": [["脚疼", "像痛风。"]]}
    lists, _ = read("medical_reward", written(tmp_path / "a.json", [row, full]))
    assert [reply.author for reply in lists[0].replies] == ["doctor", "model"]
    assert [message["content"] for message in lists[1].prompt] == ["你是医生。", "脚疼", "像痛风。", "那饮食呢"]


@pytest.mark.parametrize(
    ("form", "row", "message"),
    [
        ("chosen_rejected", {"prompt": "甲", "chosen": "乙"}, "the field rejected or response_rejected is missing"),
        ("alpaca", {"instruction": 1, "output": "乙"}, "the field instruction is no text but int"),
        ("turns", {"turns": "甲"}, "the field turns is no list of turns"),
        ("chimed", {"question": "甲", "answers": "乙"}, "the field answers is no list of answers"),
        ("jsonl", {"title": "甲"}, "the field text is missing; there are: title"),
    ],
)
def test_a_malformed_row_names_file_and_line(tmp_path: Path, form: str, row: dict[str, Any], message: str) -> None:
    with pytest.raises(CorpusError, match=rf"a\.jsonl, line 1: {message}"):
        read(form, written(tmp_path / "a.jsonl", [row]))
