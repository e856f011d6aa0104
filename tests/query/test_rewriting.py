"""Each step of the rewriting: what it makes, that it can be switched off, and that nothing written is taken away."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimed_rag.config import Rewriting
from chimed_rag.query.rewriting import (
    asked,
    clinical,
    corrected,
    holds_traditional,
    readings,
    rewrite,
    understood,
    wordings,
)
from chimed_rag.records import Reading
from chimed_rag.text import terms

VOCABULARY = Counter(dict.fromkeys(terms("高血压吃什么药"), 500))
STEPS = [
    ("full_width", "ＣＴ　检查", "normalised"),
    ("traditional", "頭痛怎麼辦", "traditional: 頭痛怎麼辦 → 头痛怎么办"),
    ("typos", "颠痫能好吗", "typos: 颠痫 → 癫痫"),
    ("typos", "高皿压吃什么药", "typos: 高皿压 → 高血压"),
    ("trade_names", "芬必得一天几次", "trade_names: 芬必得 → 布洛芬"),
    ("lay_terms", "拉肚子吃什么", "lay_terms: 拉肚子 → 腹泻"),
    ("abbreviations", "copd严重吗", "abbreviations: copd → 慢性阻塞性肺疾病 慢阻肺"),
    ("units", "吃500毫克够吗", "units: 500毫克 → 500mg 0.5g 0.5克"),
]


@pytest.mark.parametrize(("step", "question", "change"), STEPS)
def test_a_step_is_recorded_and_can_be_switched_off(step, question, change):
    query = rewrite(question, VOCABULARY.__getitem__)
    assert query.changes == (change,)
    assert query.original == question
    off = rewrite(question, VOCABULARY.__getitem__, Rewriting(**{step: False}))
    assert off.changes == () and off.readings == () and off.text == question


@pytest.mark.parametrize(("step", "question", "change"), STEPS[1:])
def test_the_text_keeps_what_was_written(step, question, change):
    query = rewrite(question, VOCABULARY.__getitem__)
    assert query.text == question
    (reading,) = query.readings
    assert reading.step == step
    assert reading.text == question.replace(*change.removeprefix(f"{step}: ").split(" → "))


def test_each_step_reads_what_the_one_before_made():
    query = rewrite("Ｘ 頭痛拉肚子，高皿压吃什么药", VOCABULARY.__getitem__)
    assert query.text == "x 頭痛拉肚子，高皿压吃什么药"
    assert query.readings == (
        Reading(step="traditional", text="x 头痛拉肚子，高皿压吃什么药"),
        Reading(step="typos", text="x 头痛拉肚子，高血压吃什么药"),
        Reading(step="lay_terms", text="x 头痛腹泻，高血压吃什么药"),
    )
    question = asked(query)
    assert corrected(question) == "x 头痛拉肚子，高血压吃什么药"
    assert clinical(question) == "x 头痛腹泻，高血压吃什么药"
    assert wordings(question) == (query.text, *(reading.text for reading in query.readings))
    assert understood(query) == "x 头痛拉肚子，高皿压吃什么药"
    assert readings(understood(query)) == query.readings


def test_without_an_index_only_the_table_mends():
    assert rewrite("高皿压吃什么药").readings == ()
    assert rewrite("颠痫").readings == (Reading(step="typos", text="癫痫"),)


@pytest.mark.parametrize("question", ["高血压吃什么药", "rate", "可定期复查", "流感", "200mgx", "a", "病", "😀", ""])
def test_near_misses_stay(question):
    query = rewrite(question, VOCABULARY.__getitem__)
    assert (query.text, query.changes, query.readings) == (question, (), ())


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("頭痛", True),
        ("头痛", False),
        ("皮膚乾", True),
        ("腘窝", True),
        ("😀ℳ", False),
        ("µg", False),
        ("\ud800", False),
    ],
)
def test_what_may_be_traditional(text, holds):
    assert holds_traditional(text) is holds


def test_traditional_words_follow_their_context():
    """著 is 着 in 著涼 but stays in 顯著; 後 is 后, 乾 is 干."""
    assert corrected(asked(rewrite("著涼後皮膚乾燥顯著"))) == "着凉后皮肤干燥显著"


def test_characters_beyond_both_scripts_change_nothing():
    assert rewrite("腘窝囊肿").readings == ()


@given(st.text(max_size=60))
def test_any_text_is_read_and_its_words_stay(question):
    query = rewrite(question, VOCABULARY.__getitem__)
    kept = Counter(terms(query.text))
    assert kept == Counter(terms(rewrite(question, settings=Rewriting()).text))
    assert wordings(asked(query))[0] == asked(query)


def test_a_long_question_is_read_in_one_piece():
    query = rewrite("拉肚子" * 1667, VOCABULARY.__getitem__)
    assert query.readings[-1].text == "腹泻" * 1667


def test_a_question_with_readings_is_text_to_all_others():
    question = asked(rewrite("芬必得"))
    assert question == "芬必得" and isinstance(question, str) and type(str(question)) is str
    assert readings(question) == (Reading(step="trade_names", text="布洛芬"),)
    assert readings(question.strip() + "") == readings("芬必得")  # new text has the readings that need no index
    assert readings(pickle.loads(pickle.dumps(question))) == readings(question)


def test_nothing_is_loaded_for_a_question_in_simplified_characters():
    code = (
        "import sys; from chimed_rag.query.rewriting import rewrite;"
        "rewrite('高血压吃什么药😀，拉肚子500毫克', lambda term: 0);"
        "sys.exit(any(name in sys.modules for name in ('opencc', 'pypinyin', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
