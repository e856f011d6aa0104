from time import perf_counter

import pytest

from chimed_rag.safety.abstention import judge
from chimed_rag.safety.subjects import _details, missing_details, missing_object, missing_subjects
from tests.contracts.generator_contract import passages

NOSE = passages(
    "过敏性鼻炎表现为喷嚏和清涕。鼻息肉手术后可能复发，应遵医嘱复查。",
    "过敏性鼻炎患者可以游泳，避免接触花粉。IgE检查有助于诊断。",
    title="过敏性鼻炎",
    headings=("概述",),
)
KNOWN = frozenset(["过敏", "敏性", "性鼻", "鼻炎", "患者", "可以", "游泳", "花粉", "喷嚏"])


def weight(term):
    """As an index weighs: an unheard term most."""
    return 3.0 if term in KNOWN else 9.0


@pytest.mark.parametrize(
    ("question", "missing"),
    [
        ("传染性软疣要挤掉吗", ["性软疣"]),
        ("盆腔积液严重吗", ["盆腔积液"]),
        ("脊柱侧弯怎么治", ["脊柱侧弯"]),
        ("鼻炎的Lund评分", ["lund"]),
    ],
)
def test_what_no_title_and_no_sentence_is_about(question, missing):
    assert missing_subjects(question, NOSE, weight) == missing


@pytest.mark.parametrize(
    "question",
    [
        "过敏性鼻炎怎么治",
        "鼻炎犯了怎么办",  # the kind of disease has an entry
        "鼻息肉手术后会复发吗",  # a sentence names it and covers the rest
        "鼻炎要查IgE吗",
        "看病挂什么科",  # no disease of its own
        "打喷嚏3mmol/L",
        "鼻炎对症吃什么药",
    ],
)
def test_what_is_there_or_names_nothing(question):
    assert missing_subjects(question, NOSE, weight) == []


def test_a_sentence_that_names_it_must_cover_the_rest_too():
    assert missing_subjects("鼻息肉激光治疗费用高不高", NOSE, weight) == ["鼻息肉"]


def test_two_sentences_about_it_are_enough():
    twice = passages("卵巢癌早期没有症状。卵巢癌多在绝经后发病。", title="肿瘤标志物")
    once = passages("卵巢癌早期没有症状。", title="肿瘤标志物")
    assert missing_subjects("卵巢癌化疗几次", twice, weight) == []
    assert missing_subjects("卵巢癌化疗几次", once, weight) == ["卵巢癌"]


def test_in_a_long_story_one_disease_known_is_enough():
    story = "我有过敏性鼻炎很多年了，去年体检还说有颈动脉斑块和甲状腺囊肿，最近早上起来一直打喷嚏流清涕怎么办"
    assert missing_subjects(story, NOSE, weight) == []
    assert missing_subjects("鼻炎和甲状腺囊肿", NOSE, weight) == ["状腺囊肿"]


@pytest.mark.parametrize(
    ("question", "missing"),
    [
        ("过敏性鼻炎能献血吗", ["献血"]),
        ("鼻炎喷雾哪个牌子好", ["牌子"]),
        ("过敏性鼻炎能跑步吗", []),  # 游泳 answers for sports
        ("过敏性鼻炎怎么预防", []),
    ],
)
def test_everyday_details(question, missing):
    assert missing_details(question, NOSE) == missing


def test_every_row_of_the_table_finds_what_it_is_made_for():
    assert len(_details()) >= 15
    for asked, answered in _details():
        assert not asked.search("") and (answered is None or not answered.search(""))  # an empty branch finds anything


@pytest.mark.parametrize(
    ("question", "missing"),
    [
        ("过敏性鼻炎能吃榴莲吗", ["榴莲"]),
        ("过敏性鼻炎能接触花粉吗", []),
        ("能吃榴莲吗", []),  # no document is named: what the answer must hold is not known
        ("过敏性鼻炎能跑步吗", []),  # a detail of the table
        ("过敏性鼻炎好几年了，昨天朋友送来一大箱东西，说是能吃榴莲吗", []),  # a story
    ],
)
def test_what_a_short_question_asks_leave_for(question, missing):
    assert missing_object(question, NOSE, weight) == missing


def test_without_the_weights_of_an_index_no_object_is_missed():
    assert missing_object("过敏性鼻炎能吃榴莲吗", NOSE) == []


@pytest.mark.parametrize("question", ["传染性软疣要挤掉吗", "过敏性鼻炎能献血吗", "过敏性鼻炎能吃榴莲吗"])
def test_the_refusal_names_it_and_an_emergency_is_never_refused_for_it(question):
    refused = judge(question, NOSE, term_weight=weight)
    assert refused is not None and refused.reason == "weak_evidence"
    assert "“" in refused.text and not (set(refused.text.split("“")[1].split("”")[0]) - set(question))
    urgent = judge("过敏性鼻炎能献血吗", NOSE, term_weight=weight, emergency=True)
    assert urgent is None


def test_without_titles_nothing_is_missed():
    assert judge("过敏性鼻炎能献血吗", passages("过敏性鼻炎患者避免接触花粉。", title="")) is None


def test_a_question_of_nothing_but_names_does_not_take_long():
    began = perf_counter()
    missing_subjects("甲乙炎丙丁病戊己癌abcd" * 7000, NOSE, weight)
    assert perf_counter() - began < 5
