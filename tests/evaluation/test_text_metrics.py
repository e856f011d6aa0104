"""BLEU and ROUGE by characters, against hand arithmetic and second libraries."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

pytest.importorskip("sacrebleu")
pytest.importorskip("rouge_score")
pytest.importorskip("scipy")

from chimed_rag.errors import InputError
from chimed_rag.evaluation.metrics.text import (
    Characters,
    bleu,
    bleu_counts,
    bleu_of_sums,
    bleu_signature,
    common_length,
    distinct_n,
    length_ratio,
    rouge,
)

REFERENCE = "成人一次口服一片"
"""Eight characters, 一 twice."""


def texts(count: int, seed: int, signs: str = "感冒发烧咳嗽吃药。，", longest: int = 40) -> list[str]:
    drawn = random.Random(seed)
    return ["".join(drawn.choices(signs, k=drawn.randint(8, longest))) for _ in range(count)]


def test_by_hand() -> None:
    counts = bleu_counts(["成人口服一片"], [[REFERENCE]])
    # All 6 characters are in the reference; of the 5 pairs 4 (人口 is not), of the 4 triples 2 (口服一, 服一片), of
    # the 3 fours 1 (口服一片).
    assert counts.tolist() == [[6, 8, 6, 4, 2, 1, 6, 5, 4, 3]]
    found = bleu(counts, [""])
    brevity = math.exp(1 - 8 / 6)
    assert found["bleu1"].value == pytest.approx(brevity)
    assert found["bleu2"].value == pytest.approx(brevity * math.sqrt(4 / 5))
    assert found["bleu4"].value == pytest.approx(brevity * (4 / 5 * 2 / 4 * 1 / 3) ** 0.25)
    assert rouge("成人口服一片", [REFERENCE]) == pytest.approx((12 / 14, 8 / 12, 12 / 14))
    assert length_ratio(counts, [""]).value == 6 / 8


def test_a_corpus_is_no_mean_of_its_rows() -> None:
    # 2 of 2 characters and 1 of 8 are met: 3 of 10, where the mean of the rows would be above .5.
    counts = bleu_counts(["感冒", "一一一一一一一一"], [["感冒"], ["一成人次口服片剂"]])
    assert bleu(counts, ["", ""])["bleu1"].value == pytest.approx(3 / 10)


def test_an_empty_reply_is_zero_and_counts() -> None:
    assert rouge("", [REFERENCE]) == rouge(" \n", [REFERENCE]) == (0, 0, 0)
    assert set(bleu_of_sums(bleu_counts([""], [[REFERENCE]])[0].tolist()).values()) == {0.0}
    # Beside a perfect reply it takes half of the length: exp(1 - 16/8).
    counts = bleu_counts([REFERENCE, ""], [[REFERENCE], [REFERENCE]])
    assert bleu(counts, ["", ""])["bleu4"].value == pytest.approx(math.exp(-1))


def test_a_repeated_character_counts_as_often_as_the_reference_has_it() -> None:
    assert bleu(bleu_counts(["一" * 8], [[REFERENCE]]), [""])["bleu1"].value == pytest.approx(2 / 8)
    assert rouge("一" * 8, [REFERENCE]).rouge1 == pytest.approx(2 / 8)


def test_of_several_references_the_best_counts() -> None:
    references = ["口服一片", "成人一次口服两片"]
    assert rouge(REFERENCE, references) == rouge(REFERENCE, [*references, "无"]) == rouge(REFERENCE, references[1:])
    # What either has is met, as often as the one that has most: 一 once of twice. The closest length is 8, not 4.
    assert bleu_counts([REFERENCE], [references])[0].tolist()[:3] == [8, 8, 7]
    assert "nrefs:2" in bleu_signature([references])
    assert "nrefs:var" in bleu_signature([references, ["无"]])


def test_latin_words_and_numbers_are_whole_and_width_makes_no_difference_to_rouge() -> None:
    assert bleu_counts(["服500mg"], [["服500mg"]])[0].tolist()[:2] == [2, 2]
    assert rouge("ＣＴ 检查", ["ct检查"]) == (1, 1, 1)


@pytest.mark.parametrize("references", [1, 3])
def test_bleu_is_sacrebleus_and_nltks(references: int) -> None:
    nltk = pytest.importorskip("nltk.translate.bleu_score")
    from sacrebleu.metrics.bleu import BLEU

    replies = texts(30, 0)
    wanted = [texts(references, seed + 100) for seed in range(30)]
    found = bleu(bleu_counts(replies, wanted), [""] * 30)
    columns = [[row[place] for row in wanted] for place in range(references)]
    for order in (1, 2, 4):
        ours = found[f"bleu{order}"].value
        theirs = BLEU(tokenize="zh", max_ngram_order=order).corpus_score(replies, columns)
        assert ours == pytest.approx(theirs.score / 100, abs=1e-12)
        lists = [[list(one) for one in row] for row in wanted]
        assert ours == pytest.approx(nltk.corpus_bleu(lists, list(map(list, replies)), [1 / order] * order), abs=1e-9)
    metric = BLEU(tokenize="zh")
    metric.corpus_score(replies, columns)
    assert bleu_signature(wanted) == str(metric.get_signature())


def test_rouge_is_rouge_scores_and_rouge_l_that_of_rouge_chinese() -> None:
    chinese = pytest.importorskip("rouge_chinese")
    from rouge_score.rouge_scorer import RougeScorer

    kinds = ["rouge1", "rouge2", "rougeL"]
    scorer = RougeScorer(kinds, tokenizer=Characters())
    for reply, reference in zip(texts(60, 1), texts(60, 2), strict=True):
        ours = rouge(reply, [reference])
        theirs = scorer.score(reference, reply)
        assert ours == pytest.approx([theirs[kind].fmeasure for kind in kinds], abs=1e-12)
        third = chinese.Rouge(["rouge-l"]).get_scores(" ".join(reply), " ".join(reference))[0]["rouge-l"]["f"]
        assert ours.rougeL == pytest.approx(third, abs=1e-6)


def test_the_longest_common_subsequence_by_hand() -> None:
    assert common_length("ABCBDAB", "BDCABA") == 4  # BCBA (Cormen et al., 15.4)
    assert common_length("", "A") == common_length("A", "") == 0
    assert common_length("甲乙", "乙甲") == 1


def test_intervals_resample_groups_and_hold_the_value() -> None:
    replies, wanted = texts(40, 3), [[one] for one in texts(40, 4)]
    counts = bleu_counts(replies, wanted)
    alone = bleu(counts, [""] * 40)["bleu2"]
    assert alone.low < alone.value < alone.high
    one = bleu(counts, ["all"] * 40)["bleu2"]
    assert one.low == one.value == one.high == pytest.approx(alone.value)
    # Each row four times, in groups of four, is no more evidence than each row once.
    names = [str(row) for row in range(40) for _ in range(4)]
    again = bleu(np.repeat(counts, 4, axis=0), names)["bleu2"]
    assert (again.low, again.high) == pytest.approx((alone.low, alone.high))
    narrower = bleu(np.repeat(counts, 4, axis=0), [""] * 160)["bleu2"]
    assert narrower.high - narrower.low < 0.7 * (alone.high - alone.low)


def test_a_better_reply_never_scores_lower() -> None:
    """A character of the reference set right where a foreign one stood: no n-gram that was met is lost."""
    for seed in range(20):
        reference = texts(1, seed)[0]
        order = list(range(len(reference)))
        random.Random(seed).shuffle(order)
        signs = ["无"] * len(reference)
        last = (0.0,) * 6
        for place in order:
            signs[place] = reference[place]
            reply = "".join(signs)
            now = (*rouge(reply, [reference]), *bleu_of_sums(bleu_counts([reply], [[reference]])[0].tolist()).values())
            assert all(new >= old - 1e-12 for new, old in zip(now[:5], last[:5], strict=True))
            last = now
        assert last == pytest.approx((1,) * 6)


def test_distinct_pairs() -> None:
    # 感冒 冒药 / 感冒 冒了: 3 of 4.
    assert distinct_n(["感冒药", "感冒了"], 2) == 3 / 4
    assert distinct_n(["", "一"], 2) == 0


def test_what_cannot_be_compared_is_an_error() -> None:
    with pytest.raises(InputError, match="reference"):
        rouge("甲", [])
    with pytest.raises(InputError, match="2 replies"):
        bleu_counts(["甲", "乙"], [["甲"]])
    with pytest.raises(InputError, match="at least one"):
        bleu(bleu_counts([], []), [])
