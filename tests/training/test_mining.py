"""Hard negatives: ranked by BM25 or an encoder, without what may be an answer, from the positive's source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from chimed_rag.encoders.base import EncoderSpec, Vectors
from chimed_rag.encoders.hashing import HashingEncoder
from training.mining import Mining, bm25_candidates, encoder_candidates, mine
from training.pairs import Pair

PAIRS = [
    Pair("高血压吃什么药", "高血压患者可以服用氨氯地平。", "甲"),
    Pair("高血压怎么预防", "预防高血压要少吃盐。", "甲"),
    Pair("糖尿病吃什么药", "糖尿病患者可以服用二甲双胍。", "甲"),
    Pair("高血压吃什么药好", "治疗高血压的药很多，遵医嘱。", "乙"),
    Pair("感冒吃什么药", "感冒多喝水。", "乙"),
]


class Fixed:
    """An encoder whose vectors stand in a table."""

    fusion_weight = 1.0
    spec = EncoderSpec(kind="fixed", name="fixed", dimension=2, fingerprint="0" * 64)

    def __init__(self, table: dict[str, tuple[float, float]]) -> None:
        self.table = table

    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        return np.array([self.table[text] for text in texts], dtype=np.float32)

    encode_queries = encode_documents


def test_bm25_ranks_by_shared_terms() -> None:
    passages = [pair.passage for pair in PAIRS]
    found, other = bm25_candidates(["高血压药", "完全没有"], [0, 1], passages, 3)
    assert [n for _, n in found.ranked][:2] in ([3, 0], [0, 3], [3, 1], [1, 3], [0, 1], [1, 0])
    assert [score for score, _ in found.ranked] == sorted((score for score, _ in found.ranked), reverse=True)
    assert found.positive == next((score for score, n in found.ranked if n == 0), None)
    assert (other.ranked, other.positive) == ([], None)


def test_an_encoder_ranks_by_its_own_scores() -> None:
    passages = [pair.passage for pair in PAIRS] * 60  # more than one block
    queries = [pair.query for pair in PAIRS] * 60
    encoder = HashingEncoder(64)
    expected = encoder.encode_queries(queries) @ encoder.encode_documents(passages).T
    found = encoder_candidates(queries, list(range(300)), passages, 7, encoder)
    for n, item in enumerate(found):
        assert [score for score, _ in item.ranked] == pytest.approx(np.sort(expected[n])[::-1][:7].tolist())
        assert item.positive == pytest.approx(expected[n, n])
        assert all(score == pytest.approx(expected[n, m]) for score, m in item.ranked)


def test_negatives_come_from_the_same_source_and_never_answer() -> None:
    for item in mine(PAIRS, Mining(number=1, share=None), seed=1):
        source = {pair.passage for pair in PAIRS if pair.source == item.source}
        assert set(item.negatives) <= source - {item.positive}
    # Only the whole pool holds four other passages.
    free = mine(PAIRS, Mining(number=3, share=None, same_source=False), seed=1)
    assert [len(set(item.negatives)) for item in free] == [3] * 5
    assert mine(PAIRS, Mining(number=1, share=None), seed=1)[0].negatives == ("预防高血压要少吃盐。",)


def test_false_negatives_are_refused_by_reason() -> None:
    long = "".join(chr(0x4E00 + 7 * n) for n in range(60))
    pairs = [
        Pair("问", "正确答案一", "甲"),
        Pair("问", "正确答案二", "甲"),  # answers the same query
        Pair("别的问题", long, "甲"),
        Pair("又一问题", long[:30] + "改" + long[31:], "甲"),  # a copy of the positive before it
        Pair("还有问题", "无关之事", "甲"),
    ]
    table = {
        "问": (1.0, 0.0),
        "正确答案一": (1.0, 0.0),
        "正确答案二": (0.9, 0.0),
        "别的问题": (0.5, 0.5),
        "又一问题": (0, 1),
    }
    table |= {long: (0.8, 0.2), pairs[3].passage: (0.7, 0.3), "无关之事": (0.5, 0.0), "还有问题": (1.0, 0.0)}
    counts: Counter[str] = Counter()
    settings = Mining(number=1, share=0.75, alike=0.8)
    mined = mine(pairs, settings, seed=1, encoder=Fixed(table), counts=counts)  # type: ignore[arg-type]
    # The positive scores 1, so what scores above .75 is refused: `long` (.8); 正确答案二 answers too; .7 is taken.
    assert mined[0].negatives == (pairs[3].passage,)
    assert counts["answers the same query"] >= 1
    assert counts["scores like the positive"] >= 1
    only = [Pair("别的问题", long, "甲"), Pair("又一问题", pairs[3].passage, "甲"), Pair("还有问题", "无关之事", "甲")]
    counts.clear()
    first = mine(only, Mining(number=1, share=None, alike=0.8), seed=1, encoder=Fixed(table), counts=counts)[0]  # type: ignore[arg-type]
    assert (first.negatives, counts["a copy of the positive"]) == (("无关之事",), 2)


def test_the_query_itself_is_no_negative() -> None:
    pairs = [Pair("头痛怎么办", "头疼怎么办", "甲"), Pair("头疼咋办", "头痛怎么办", "甲"), Pair("脚痛", "脚疼呢", "甲")]
    first = mine(pairs, Mining(share=None), seed=1, encoder=HashingEncoder(64))[0]
    assert first.negatives == ("脚疼呢",)


def test_too_few_are_filled_up_by_chance_and_counted() -> None:
    counts: Counter[str] = Counter()
    pairs = [Pair("甲甲", "乙乙", "源"), Pair("丙丙", "丁丁", "源"), Pair("独自", "一人", "孤")]
    mined = mine(pairs, Mining(number=1), seed=1, counts=counts)  # no term is shared: BM25 finds nothing
    assert [item.negatives for item in mined] == [("丁丁",), ("乙乙",)]
    assert (counts["filled by chance"], counts["pairs without a negative"], counts["mined"]) == (2, 1, 0)
    more = mine(pairs[2:], Mining(number=1), seed=1, more=[("别人", "孤"), ("外人", "源")])
    assert more[0].negatives == ("别人",)


def test_drawn_by_chance_but_the_same_again() -> None:
    pairs = [Pair(f"第{n}种高血压的药", f"高血压药物之{chr(0x4E00 + 40 * n)}号说明", "甲") for n in range(40)]
    settings = Mining(number=2, draw="chance", share=None, skip=3)
    one, two = mine(pairs, settings, seed=1), mine(pairs, settings, seed=1)
    assert one == two != mine(pairs, settings, seed=2)
    assert all(len(set(item.negatives) - {item.positive}) == 2 for item in one)
