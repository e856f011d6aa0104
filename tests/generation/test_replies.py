"""Replies to choices and extraction: what counts as an answer, and what as none."""

import pytest

from chimed_rag.generation.replies import NOT_TOLD, is_not_told, read_choice, read_choices, read_entities


@pytest.mark.parametrize(
    "text",
    [
        "B", "Ｂ", " B\n", "B.", "B。", "(B)", "（B）", "[B]", "**B**", "B. 肾", "B、肾", "B：肾", "B 肾",
        "选项B", "答案：B", "答案是B", "答案为B。", "答案是：B", "正确答案：B. 肾", "【答案】B",
        "**答案**：B", "答案选B", "本题选B", "故选B。", "回答：B",
        "<think>A还是B？答案是A。不对。</think>B", "```\nB\n```", "B。A错在剂量，C错在人群。",
        "肾排泄该药，所以答案是B。", "A. 肝\nB. 肾\n答案：B", "B\n解析：\nA. 错。\nB. 对。",
        "答案是 B 选项", "答案的编号是B", "答案：B（肾）", "B（肾），由肾排泄",
    ],
)  # fmt: skip
def test_one_letter(text):
    assert read_choice(text, "ABCDE") == "B"


@pytest.mark.parametrize(
    "text",
    [
        "", "无", "A或B", "A和B", "A、B", "A, B", "AB", "A/B", "A 或者 B", "A还是B", "答案是A或B",
        "答案是A、B", "答案：A\n答案：B", "A\nB", "A。更正：答案是B", "A. 肝\nB. 肾", "答案不是A",
        "不应选A", "A型流感", "维生素A", "ACE抑制剂", "F", "答案是F", "答案是A吗", "肝是A的意思", "Answer",
        "a", "我认为A对", "CT检查", "A1", "答案是ARDS", "<think>答案是A",
        "A（错误）B（正确）", "答案：A（错），B（对）", "B（或C）",
    ],
)  # fmt: skip
def test_no_letter(text):
    assert read_choice(text, "ABCDE") is None


def test_several_letters():
    for text in ("ACD", "A、C、D", "D,C,A", "A C D", "答案：ACD", "答案是A、C和D。", "（ACD）"):
        assert read_choices(text, "ABCDE") == "ACD"
    assert read_choices("B", "ABCDE") == "B"
    for text in ("", "ACF", "A或C", "答案：AC\n答案：AD"):
        assert read_choices(text, "ABCDE") is None


def test_the_letters_are_those_of_the_question():
    assert read_choice("E", "ABCD") is None
    assert read_choice("E", "ABCDE") == "E"


def test_entities():
    text = "1. 胃癌 疾病\n- 奥美拉唑：药物\n胃癌 疾病\nHp 感染 疾病\n多喝水\n阿司匹林 药品\n\n无"
    assert read_entities(text, ["疾病", "药物"]) == [("胃癌", "疾病"), ("奥美拉唑", "药物"), ("Hp 感染", "疾病")]
    assert read_entities("无", ["疾病"]) == []


def test_entities_as_they_were_scored():
    assert read_entities("胃癌 疾病 多余\n奥美拉唑\n胃癌 疾病\n腹痛\t症状") == [("胃癌", "疾病"), ("腹痛", "症状")]


def test_not_told():
    assert is_not_told(f"{NOT_TOLD}。")
    assert not is_not_told("文献说明孕妇禁用。")


@pytest.mark.parametrize("piece", ["A", "答案是", "A、", "- ", "（", " ", "\n", "答案是A\n", "A（"])
def test_endless_replies_are_read(piece):
    text = piece * (20_000 // len(piece))
    assert read_choice(text, "ABCDE") in (None, "A")
    assert read_entities(text, ["疾病"]) == []
