"""The rule that makes follow-ups stand alone: by hand-written cases, in pieces, and on odd input."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from chimed_rag.condensing import condense

CASES = [json.loads(line) for line in (Path(__file__).parent / "followups.jsonl").read_text("utf-8").splitlines()]
FEVER = "感冒发烧能吃布洛芬吗？"


def right(case, text):
    if "has" not in case:
        return text == case["question"]
    return all(word in text for word in case["has"]) and not any(word in text for word in case["lacks"])


@pytest.mark.parametrize(
    ("split", "is_new", "least"),
    [("development", False, 42), ("development", True, 24), ("test", False, 37), ("test", True, 23)],
)
def test_follow_ups_and_new_topics_written_by_hand(split, is_new, least):
    chosen = [one for one in CASES if one["split"] == split and (one["group"] == "stand alone") is is_new]
    good = [right(one, condense(one["question"], one["history"], one["answers"]).text) for one in chosen]
    assert sum(good) >= least


def test_the_cases_are_what_they_should_be():
    new = [one for one in CASES if one["group"] == "stand alone"]
    assert len(CASES) >= 120 and len(new) >= 40
    assert all(one["expected"] == [one["question"]] for one in new)
    for one in CASES:  # what is expected passes its own test
        assert all(right(one, text) for text in one["expected"]), one["id"]


@pytest.mark.parametrize(
    ("question", "history", "answers", "text", "kind"),
    [
        ("那孕妇呢？", [FEVER], [], "孕妇感冒发烧能吃布洛芬吗？", "replaced"),
        ("那儿童呢？", ["孕妇感冒发烧能吃布洛芬吗？"], [], "儿童感冒发烧能吃布洛芬吗？", "replaced"),
        ("换成对乙酰氨基酚呢", [FEVER], [], "感冒发烧能吃对乙酰氨基酚吗？", "replaced"),
        ("肺结核呢？", ["肺炎会传染吗"], [], "肺结核会传染吗", "replaced"),
        ("饭前吃还是饭后吃", ["布洛芬能退烧吗"], [], "布洛芬饭前吃还是饭后吃", "completed"),
        ("孕妇能吃吗", ["布洛芬能退烧吗"], [], "孕妇能吃布洛芬吗", "completed"),
        ("它的副作用呢", ["头孢克肟是治什么的？"], [], "头孢克肟的副作用呢", "resolved"),
        ("第二种怎么吃", ["发烧用什么药"], ["常用布洛芬和对乙酰氨基酚。"], "对乙酰氨基酚怎么吃", "resolved"),
        ("为什么？", ["华法林能吃菠菜吗？"], [], "华法林能吃菠菜吗？为什么？", "joined"),
        ("谢谢医生！那该挂什么科？", ["痛风怎么治"], [], "痛风该挂什么科？", "completed"),
    ],
)
def test_what_becomes_of_a_follow_up(question, history, answers, text, kind):
    condensed = condense(question, history, answers)
    assert (condensed.text, condensed.kind) == (text, kind)
    assert condensed.changes


def test_without_history_nothing_is_changed():
    assert condense("那孕妇呢？", []).text == "那孕妇呢？"
    assert condense("那孕妇呢？", ["谢谢", "好的"]) == ("那孕妇呢？", "stands_alone", ())


def test_thanks_between_do_not_hide_the_topic():
    assert condense("那孕妇呢？", [FEVER, "谢谢医生"]).text == "孕妇感冒发烧能吃布洛芬吗？"


def test_a_group_goes_before_the_clause_that_it_is_asked_of():
    history = ["我叫〔姓名1〕，感冒发烧能吃布洛芬吗？"]
    assert condense("那孕妇呢？", history).text == "孕妇感冒发烧能吃布洛芬吗？"


@pytest.mark.parametrize(
    "question",
    [
        "",
        "   ",
        "？",
        "。。。",
        "它" * 500,
        "第二种" * 300,
        "\ud800那孕妇呢",
        "😀",
        "那\u200b孕妇呢",
        "A" * 3000,
        "那那那那",
    ],
)
@pytest.mark.parametrize("history", [[FEVER], ["\ud800"], [""], ["😀" * 50], ["？"]])
def test_odd_input_is_borne(question, history):
    condensed = condense(question, history, ["\udfff", "第一种是布洛芬"])
    assert isinstance(condensed.text, str)
    if condensed.kind == "stands_alone":
        assert condensed.text == question


@pytest.mark.parametrize(
    "piece", ["它", "布洛芬", "孩子布洛芬", "第二种药", "好的，", "还有吗", "我会去的。", "3岁", "那", "感冒和"]
)
def test_time_is_linear(piece):
    def seconds(times):
        text = piece * times + "？"
        began = time.process_time()
        condense(text, [text], [text])
        return time.process_time() - began

    seconds(10)
    short, long = min(seconds(400) for _ in range(2)), min(seconds(3200) for _ in range(2))
    assert long < 24 * short + 0.1  # eight times the text; quadratic would be 64 times
