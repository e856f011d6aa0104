"""What counts as a denial or a word of strength, and what only looks like one."""

import pytest

from chimed_rag.safety.degrees import compared, graded
from chimed_rag.safety.marks import find_marks
from chimed_rag.safety.polarity import denials, ladder_marks, level
from chimed_rag.safety.reading import Reading
from chimed_rag.safety.strength import CONTRASTS


@pytest.mark.parametrize(
    "text",
    [
        "先查有没有结核。", "看是不是骨折。", "有无出血应由医生判断。", "查一查清干净没有。", "皮肤黄不黄要看自然光。",
        "没几分钟就起风团。", "没过多久又发热。", "不做活检就没法确诊。", "这种人非手术不可。",
    ],
)  # fmt: skip
def test_a_question_or_a_set_phrase_denies_nothing(text):
    assert [mark.text for mark in denials(Reading(text))] == []


@pytest.mark.parametrize(
    ("text", "denied"), [("茶水顶替不了降压药。", "顶替"), ("药物控制不了血压。", "控制"), ("本病不会传染。", "传染")]
)
def test_the_verb_before_a_complement_is_denied(text, denied):
    (mark,) = denials(Reading(text))
    assert any(denied in value for value in mark.values)


@pytest.mark.parametrize(
    "text",
    [
        "能不能用由医生决定。",
        "不是绝对不能用。",
        "光吃药不行。",
        "几分钟就要命。",
        "这不等于可以自己停药。",
        "可一旦出血就严重。",
    ],
)
def test_what_binds_nothing(text):
    assert [mark.text for mark in ladder_marks(Reading(text))] == []


@pytest.mark.parametrize(
    ("text", "step"),
    [("甭吃柚子。", -2), ("犯不着复查。", 0), ("使用时可别饮酒。", -2), ("没必要空腹。", 0), ("饭后吃药可不行。", -2)],
)
def test_words_of_speech_stand_on_the_ladder(text, step):
    assert [level(mark) for mark in ladder_marks(Reading(text))] == [step]


def test_a_word_belongs_to_each_of_its_classes():
    assert {mark.kind for mark in find_marks(Reading("贫血使血沉加快。"), CONTRASTS)} == {"direction", "help", "pace"}


@pytest.mark.parametrize(
    ("said", "told", "agrees"),
    [
        ("老年人恢复得更快。", "老年人恢复较慢。", False),
        ("老年人恢复得更慢。", "老年人恢复较慢。", True),
        ("容易血钠过高。", "容易出现低血钠。", False),
        ("容易血钠过高。", "容易出现血钠升高。", True),
        ("血钾越高症状越重。", "血钾不低。", True),
    ],
)
def test_degrees(said, told, agrees):
    assert (graded(Reading(said), [Reading(told)]) == "") is agrees


@pytest.mark.parametrize(
    ("said", "agrees"),
    [
        ("胃镜比钡餐准确。", True),
        ("钡餐比胃镜准确。", False),
        ("钡餐不如胃镜准确。", True),
        ("胃镜不如钡餐准确。", False),
    ],
)
def test_comparisons(said, agrees):
    assert (compared(Reading(said), [Reading("胃镜比钡餐更准确。")]) == "") is agrees
