"""What a sentence adds where the literature has nothing of the kind."""

import pytest

from chimed_rag.safety.additions import added

PASSAGE = "甲药用于乙病,一次2片,一日3次;孕妇禁用,肝病患者慎用。"


@pytest.mark.parametrize(
    ("sentence", "claim"),
    [
        ("乙病患者吃甲药很安全。", "安全"),
        ("甲药对胃没有影响。", "没有影响"),
        ("甲药配牛奶喝效果更好。", "效果更好"),
        ("两药合用可增强疗效。", "增强疗效"),
        ("乙病最适合用甲药。", "最适合"),
        ("乙病缓解后次日即可停甲药。", "次日即"),
    ],
)
def test_a_claim_without_its_like_is_found(sentence, claim):
    assert added(sentence, [PASSAGE]) == claim


@pytest.mark.parametrize(
    ("sentence", "passage"),
    [
        ("孕妇吃甲药不安全。", PASSAGE),
        ("治乙病最适合的是甲药。", PASSAGE + "乙病首选甲药。"),
        ("甲药当天就起效。", PASSAGE + "服后24小时内起效。"),
        ("甲药对胃没有影响。", PASSAGE + "甲药耐受良好。"),
        ("房间里要装安全带和安全阀。", PASSAGE),
        ("甲药一次吃两片。", PASSAGE),
    ],
)
def test_what_is_denied_or_told_alike_is_none(sentence, passage):
    assert added(sentence, [passage]) == ""


def test_of_several_texts_one_is_enough():
    assert added("甲药很安全。", [PASSAGE, "甲药的安全性"]) == ""


def test_the_words_looked_for_first_are_in_every_match():
    from chimed_rag.safety import additions

    for claimed, _ in additions._CLASSES:
        for text in ("没坏处", "不伤身", "药力最强", "值得提倡", "理想", "最灵", "当晚就", "翌日马上", "第二天便"):
            assert not claimed.compiled.search(text) or claimed.possible(text)
