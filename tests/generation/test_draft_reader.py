"""The draft that comes in pieces is the draft that comes whole, and a sentence comes as soon as it can."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chimed_rag.generation import markers
from chimed_rag.generation.markers import DraftReader, read_draft
from chimed_rag.generation.wrappings import Unwrapper, unwrapped
from chimed_rag.text import plain_forms

WRITTEN = """
水 多喝水 每日三次 。 。” ． . ！ ； … [1] ［1，2］ （1） (2) 〔4、5〕 [1-3] [ ] ( （
） ) 1 12 1. - * # > 文 文献 [文献 1] 一 第 、 章 ， “ ” 《 》 「 」 x mg e.g. 5
： 回答 ``` <think> </think> _ ? 长长长长长长长长长长长长长长长长长长长
"""
PARTS = "<think> </think> < think> 回答 ： 答 ** ``` ` ~~~ text 水 。 【 】 : A"


def joined(parts, *others, most):
    return st.lists(st.sampled_from([*parts.split(), "\n", " ", "\r\n", *others]), max_size=most).map("".join)


def read(pieces, is_whole=True):
    reader = DraftReader()
    given = [one for piece in pieces for one in reader.feed(piece)]
    return [(one.text, [c.number for c in one.citations]) for one in given + reader.rest(is_whole=is_whole)]


def whole(text):
    """What `read_draft` reads, without what it repeats."""
    told = dict.fromkeys(read_draft("", text).sentences)
    return [(one.text, [c.number for c in one.citations]) for one in told]


@settings(max_examples=300, deadline=None)
@given(joined(WRITTEN, "\ud800", "长" * 79, most=30), st.lists(st.integers(1, 6), min_size=1, max_size=8))
@example("（甲。乙，\n1）5）好", [1])  # an item, or the rest of a bracket: the last character decides
@example("甲。乙丙丁戊己庚辛壬癸子丑寅卯辰巳午未申酉\n戌亥。", [1])  # a long line that goes on
@example("（1）水；" + "长" * 30 + "。（2）盐。（3）油。糖", [1])
@example("多喝水。\n- [1]\n休息。", [2])
@example("“好。”.水", [1])
def test_pieces_give_what_the_whole_gives(text, lengths):
    pieces, begin, turn = [], 0, 0
    while begin < len(text):
        pieces.append(text[begin : begin + lengths[turn % len(lengths)]])
        begin, turn = begin + len(pieces[-1]), turn + 1
    assert read(pieces) == whole(text)


@pytest.mark.parametrize(
    ("before", "last", "sentence"),
    [
        ("多喝水。[1]", "休", ("多喝水。", [1])),
        ("多喝水[1]。", "休", ("多喝水。", [1])),
        ("多喝水。\n[1][2]\n", "休", ("多喝水。", [1, 2])),
        ("- 多喝水（温水；每日两升）。[1]\n- ", "休", ("多喝水（温水；每日两升）。", [1])),
        ("1. 多喝水[1]\n2. ", "休", ("多喝水", [1])),
        ("回答：多喝水。【1】", "休", ("多喝水。", [1])),
    ],
)
def test_a_sentence_comes_with_the_first_character_of_the_next(before, last, sentence):
    reader = DraftReader()
    assert [one for char in before for one in reader.feed(char)] == []
    assert [(one.text, [c.number for c in one.citations]) for one in reader.feed(last)] == [sentence]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("多喝水。每次0.", ["多喝水。"]),
        ("多喝水。孕妇可用[1]", ["多喝水。"]),
        ("多喝水。孕妇可用[1]\n", ["多喝水。", "孕妇可用"]),
        ("多喝水。孕妇可用。[1", ["多喝水。", "孕妇可用。"]),
        ("多喝水。孕妇可用（遵医嘱。儿童", ["多喝水。"]),
        ("多喝水；", ["多喝水；"]),
        ("Vitamin D is good.", ["Vitamin D is good."]),
        ("<think>多喝水。", []),
        ("", []),
    ],
)
def test_half_a_sentence_is_left_out_of_a_text_that_broke_off(text, left):
    assert [said for said, _ in read([text], is_whole=False)] == left


def test_a_sentence_is_said_once_unless_it_cites_others():
    assert read(["多喝水。[1]休息。[1]"] * 50 + ["多喝水。[2]"]) == [
        ("多喝水。", [1]), ("休息。", [1]), ("多喝水。", [2]),
    ]  # fmt: skip


@pytest.mark.parametrize("piece", ["水", "（水。", "\n1.", "- [1]\n", "“水", "<think>", "`"])
def test_what_is_read_again_is_linear_in_the_text(piece, monkeypatch):
    looked = []
    monkeypatch.setattr(markers, "plain_forms", lambda text: looked.append(len(text)) or plain_forms(text))
    text = piece * (4_000 // len(piece))
    read(text)
    assert sum(looked) <= 150 * len(text)  # a reader that begins anew each time looks at 2,000 and more for each


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>先想\n再想</think>\n\n回答：多喝水。", "多喝水。"),
        ("```markdown\n多喝水。[1]\n```\n", "多喝水。[1]\n"),
        ("**回答：**多喝水。", "多喝水。"),
        ("【答案】A", "A"),
        ("答应我：多喝水。", "答应我：多喝水。"),
        ("```多喝水```", "```多喝水```"),
        ("多喝水。回答：是。", "多喝水。回答：是。"),
        ("<think>没有想完", ""),
    ],
)
def test_wrappings_are_taken_off(text, answer):
    assert unwrapped(text) == answer


@settings(max_examples=300, deadline=None)
@given(joined(PARTS, most=14))
def test_wrappings_are_taken_off_piecemeal_too(text):
    unwrapper = Unwrapper()
    assert "".join(map(unwrapper.feed, text)) + unwrapper.rest() == unwrapped(text)
