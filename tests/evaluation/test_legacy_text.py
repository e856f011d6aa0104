"""The columns of ChiMed-GPT's paper, against the libraries that its code calls."""

from __future__ import annotations

import random
import warnings

import pytest

pytest.importorskip("sacrebleu")
pytest.importorskip("scipy")
pytest.importorskip("rouge")

from chimed_rag.evaluation.metrics.legacy_text import (
    legacy_bleu,
    legacy_bleu_of_sums,
    legacy_counts,
    legacy_rouge,
    on_random_texts,
    random_texts,
    spaced,
)
from chimed_rag.evaluation.metrics.text import bleu_counts, bleu_of_sums


def texts(count: int, seed: int, longest: int = 40) -> list[str]:
    drawn = random.Random(seed)
    return ["".join(drawn.choices("感冒发烧咳嗽吃药。，“3ab. \n", k=drawn.randint(1, longest))) for _ in range(count)]


def nltk_bleu(replies: list[str], references: list[list[str]]) -> list[float]:
    """As ChiMed-GPT's code calls it: strings where lists of words belong."""
    nltk = pytest.importorskip("nltk.translate.bleu_score")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns where no n-gram of a length is met
        found: list[float] = nltk.corpus_bleu(
            [[spaced(one) for one in row] for row in references],
            list(map(spaced, replies)),
            weights=[(0.5, 0.5), (0.333, 0.333, 0.334)],
        )
    return found


def test_the_check_pair_of_the_authors() -> None:
    """A cell of their notebook (test.ipynb at commit be59e1e) prints [0.713124819752481, 0.6417315248668485]."""
    reply, reference = "冠心病的一百种症状", "冠心病有什么症状"
    found = legacy_bleu(legacy_counts([reply], [[reference]]), [""])
    assert found["B-1"].value == pytest.approx(0.713124819752481, abs=1e-15)
    assert found["B-2"].value == pytest.approx(0.6417315248668485, abs=1e-15)
    # Five of nine characters are right, and three of eight pairs: what BLEU is.
    proper = bleu_of_sums(bleu_counts([reply], [[reference]])[0].tolist())
    assert proper["bleu1"] == pytest.approx(5 / 9)
    assert proper["bleu2"] == pytest.approx((5 / 9 * 3 / 8) ** 0.5)


def test_the_rouge_cell_of_the_authors() -> None:
    found = legacy_rouge("冠心病的表现", "冠心病有什么症状")
    assert found == (0.4285714236734694, 0.33333332847222225, 0.4285714236734694)


@pytest.mark.parametrize("longest", [3, 40])
def test_bleu_is_nltks_on_strings(longest: int) -> None:
    for seed in range(12):
        replies = [*texts(5, seed, longest), ""]
        references = [texts(1 + seed % 2, 50 + seed + row, longest) for row in range(6)]
        found = legacy_bleu_of_sums(legacy_counts(replies, references).sum(axis=0).tolist())
        assert list(found.values()) == pytest.approx(nltk_bleu(replies, references), abs=1e-12)


def test_nothing_in_common_is_zero_as_in_nltk() -> None:
    assert legacy_bleu_of_sums(legacy_counts([""], [["感冒"]])[0].tolist()) == {"B-1": 0, "B-2": 0}
    # Blanks are in common: two texts that share no character score.
    assert legacy_bleu_of_sums(legacy_counts(["甲乙丙"], [["子丑寅"]])[0].tolist())["B-1"] > 0.4


def test_rouge_is_the_packages_to_the_last_bit() -> None:
    from rouge import Rouge

    for reply, reference in zip(texts(150, 7), texts(150, 8), strict=True):
        if not spaced(reply).strip(".") or not spaced(reference).strip("."):
            continue
        theirs = Rouge().get_scores(spaced(reply), spaced(reference))[0]
        assert legacy_rouge(reply, reference) == tuple(theirs[f"rouge-{kind}"]["f"] for kind in "12l")


def test_an_empty_text_is_zero_where_the_package_raises() -> None:
    from rouge import Rouge

    with pytest.raises(ValueError, match="empty"):
        Rouge().get_scores("", "感 冒")
    for reply, reference in (("", "感冒"), ("感冒", ""), ("...", "感冒"), (" \n", "感冒")):
        assert legacy_rouge(reply, reference) == (0, 0, 0)


def test_long_texts_end_in_a_score_where_the_package_ends_in_an_error() -> None:
    from rouge import Rouge

    one, other = random_texts(2, 700)
    with pytest.raises(RecursionError):
        Rouge().get_scores(spaced(one), spaced(other))
    assert 0 < legacy_rouge(one, other).rl < 1


def test_blanks_stand_where_sacrebleu_and_the_authors_put_them() -> None:
    """Their table of ranges is sacrebleu's, mistyped escapes included."""
    from sacrebleu.tokenizers.tokenizer_zh import TokenizerZh

    for code in (*range(0x10000), 0x20000, 0x2F800, 0x1F600):
        sign = chr(code)
        if not sign.isspace():  # edges are stripped before
            assert (spaced(sign) == f" {sign} ") == TokenizerZh._is_chinese_char(sign), hex(code)


def test_random_texts_score_what_the_paper_prints_for_its_best_model() -> None:
    found = on_random_texts()
    assert found["B-1"] == pytest.approx(0.447, abs=0.01)
    assert found["B-2"] == pytest.approx(0.350, abs=0.012)
    assert found["bleu1"] == pytest.approx(0.215, abs=0.02)
    assert found["bleu2"] == pytest.approx(0.033, abs=0.02)
    assert on_random_texts(60, reply_length=150, reference_length=150)["B-1"] > 0.58


def test_the_order_of_pairs_makes_no_difference() -> None:
    replies, references = texts(20, 9), [[one] for one in texts(20, 10)]
    forward = legacy_bleu_of_sums(legacy_counts(replies, references).sum(axis=0).tolist())
    assert forward == legacy_bleu_of_sums(legacy_counts(replies[::-1], references[::-1]).sum(axis=0).tolist())
