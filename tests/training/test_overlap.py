"""Measures of written text, against hand arithmetic and nltk."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("sacrebleu")
pytest.importorskip("rouge_score")

from chimed_rag.errors import InputError
from chimed_rag.evaluation.metrics.text import distinct_n
from chimed_rag.generation.language_model import Completion
from training.overlap import (
    length_ratio,
    repetition_rate,
    stop_rate,
    text_overlap,
)

REFERENCE = "成人一次口服一片"
"""Eight characters, 一 twice."""


def test_bleu_and_rouge_by_hand() -> None:
    found = text_overlap(["成人口服一片"], [REFERENCE])
    # All 6 characters stand in the reference; of the 5 pairs 4 do (人口 does not); 6 of 8 characters: exp(1 − 8/6).
    brevity = math.exp(1 - 8 / 6)
    assert found.bleu1 == pytest.approx([brevity])
    assert found.bleu2 == pytest.approx([brevity * math.sqrt(1 * 4 / 5)])
    # F1 of precision 6/6 and recall 6/8; of 4/5 and 4/7; the longest common subsequence is the candidate itself.
    assert found.rouge1 == pytest.approx([2 * 6 / (6 + 8)])
    assert found.rouge2 == pytest.approx([2 * 4 / (5 + 7)])
    assert found.rouge_l == pytest.approx([2 * 6 / (6 + 8)])


def test_a_character_counts_as_often_as_the_reference_has_it() -> None:
    found = text_overlap(["一一一一一一一一"], [REFERENCE])
    assert found.bleu1 == pytest.approx([2 / 8])
    assert found.rouge1 == pytest.approx([2 / 8])


def test_the_same_text_is_one_and_an_empty_one_zero() -> None:
    found = text_overlap([REFERENCE, "", REFERENCE], [REFERENCE, REFERENCE, " "])
    for scores in found[:5]:
        assert scores == pytest.approx([1, 0, 0])


def test_order_counts_in_rouge_l_but_not_in_rouge_1() -> None:
    found = text_overlap(["乙甲"], ["甲乙"])
    assert (found.rouge1[0], found.rouge_l[0], found.rouge2[0]) == (1, 0.5, 0)


def test_width_case_and_blanks_make_no_difference_to_rouge() -> None:
    assert text_overlap(["ＣＴ 检查"], ["ct检查"]).rouge_l == pytest.approx([1])


def test_bleu_is_that_of_a_second_library() -> None:
    nltk = pytest.importorskip("nltk.translate.bleu_score")
    pairs = [("孕妇慎用布洛芬片", "孕晚期禁用布洛芬片剂"), ("多饮水多休息注意体温", "注意休息多饮水监测体温变化")]
    found = text_overlap(*map(list, zip(*pairs, strict=True)))
    for n, (candidate, reference) in enumerate(pairs):
        for scores, weights in ((found.bleu1, (1,)), (found.bleu2, (0.5, 0.5))):
            assert scores[n] == pytest.approx(nltk.sentence_bleu([list(reference)], list(candidate), weights))
    whole = nltk.corpus_bleu([[list(reference)] for _, reference in pairs], [list(candidate) for candidate, _ in pairs])
    assert found.corpus_bleu == pytest.approx(whole)


def test_rows_must_match() -> None:
    for candidates, references in (([], []), (["一"], []), (["一", "二"], ["一"])):
        with pytest.raises(InputError, match="cannot be compared"):
            text_overlap(candidates, references)


def test_distinct_and_repetition_by_hand() -> None:
    # 甲乙 乙甲 甲乙 and 甲乙: two different ones of four.
    assert distinct_n(["甲乙甲乙", "甲乙"], 2) == 0.5
    assert distinct_n(["甲"], 2) == 0
    # 甲甲甲甲甲甲 has three 4-grams, all alike; 甲乙丙丁戊 two different ones; 甲 none.
    assert repetition_rate(["甲甲甲甲甲甲", "甲乙丙丁戊", "甲"]) == pytest.approx([2 / 3, 0, 0])


def test_stops_and_lengths() -> None:
    ends = [Completion("甲", "stop"), Completion("乙", "length"), Completion("丙", "time"), Completion("丁", "stop")]
    assert stop_rate(ends) == 0.5 and stop_rate([]) == 0
    assert length_ratio(["甲乙丙", "甲"], ["甲", "乙"]) == 2
    with pytest.raises(InputError, match="empty references"):
        length_ratio(["甲"], [""])
