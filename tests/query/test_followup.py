"""What the surface of a follow-up shows: thanks, groups of people, pronouns, ordinals, matter of its own."""

from __future__ import annotations

import pytest

from chimed_rag.query.followup import groups, leans, names_activity, own_matter, references, without_courtesy


@pytest.mark.parametrize(
    ("question", "rest"),
    [
        ("好的，谢谢医生。那要吃几天？", "要吃几天？"),
        ("我会按时吃药的！请问多久复查", "多久复查"),
        ("好的，我会尽快去看医生。另外，能运动吗", "能运动吗"),
        ("谢谢", ""),
        ("那种药怎么吃", "那种药怎么吃"),
        ("那天吃坏了肚子", "那天吃坏了肚子"),
        ("感冒怎么办", "感冒怎么办"),
    ],
)
def test_thanks_and_greetings_are_left_out(question, rest):
    assert without_courtesy(question) == rest


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("那孕妇呢", ["孕妇"]),
        ("两岁的宝宝怎么吃", ["两岁的宝宝"]),
        ("孕妇和哺乳期妇女能吃吗", ["孕妇和哺乳期妇女"]),
        ("70岁了能吃吗", ["70岁"]),
        ("吃了一个月了", []),
        ("感冒了", []),
    ],
)
def test_groups_of_people(text, found):
    assert [text[start:end] for start, end in groups(text)] == found


@pytest.mark.parametrize(
    ("text", "said", "thing", "ordinal", "several"),
    [
        ("这个药怎么吃", "这个药", "drug", 0, False),
        ("前面说的那个药伤肝吗", "前面说的那个药", "drug", 0, False),
        ("这两种药能同时吃吗", "这两种药", "drug", 0, True),
        ("这种病会遗传吗", "这种病", "disease", 0, False),
        ("它们有区别吗", "它们", "any", 0, True),
        ("第二种怎么吃", "第二种", "any", 2, False),
        ("最后一种药怎么吃", "最后一种药", "drug", -1, False),
        ("前者伤胃吗", "前者", "any", 1, False),
    ],
)
def test_pronouns_and_ordinals(text, said, thing, ordinal, several):
    [one] = references(text)
    assert (text[one.start : one.end], one.thing, one.ordinal, one.several) == (said, thing, ordinal, several)


@pytest.mark.parametrize("text", ["其它办法", "这几天咳嗽", "第一次打疫苗", "第二天发烧", "第三个月孕检", "那时候"])
def test_what_is_no_pronoun(text):
    assert references(text) == []


def test_matter_of_its_own():
    assert own_matter("一天吃几次？") == ""
    assert own_matter("需要做手术吗") == ""
    assert own_matter("为什么抽筋") == "抽筋"
    assert leans("还有其他办法吗") and not leans("怎么减肥")
    assert names_activity("能喝酒吗") and not names_activity("能治好吗")
