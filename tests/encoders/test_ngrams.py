"""Bags of n-grams, beside a count in plain Python that packs and folds one character at a time."""

from __future__ import annotations

import math
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chimed_rag.encoders import ngrams
from chimed_rag.encoders.ngrams import LONGEST, Vocabulary, bag_sums
from chimed_rag.text import HAN, fold

COUNTS = re.compile(rf"[0-9a-z\u00b5\u0370-\u03ff{HAN}]")
# Any character at all, and often ones that count, so that n-grams repeat.
TEXTS = st.lists(
    st.text(
        st.one_of(
            st.sampled_from("高血压患者Ａa1１µΣ〇，。 \n\0🙂\ud83d\udc00𠮷\U0003ffff"), st.characters(codec=None)
        ),
        max_size=12,
    ),
    max_size=6,
)


def counted(text: str) -> Counter[int]:
    """The packed n-grams of a text with how often each occurs."""
    folded = fold(text)
    found: Counter[int] = Counter()
    for n in range(1, LONGEST + 1):
        for begin in range(len(folded) - n + 1):
            gram = folded[begin : begin + n]
            if all(COUNTS.match(character) for character in gram):
                key = 0
                for character in gram:
                    key = (key << 21) + ord(character)
                found[key] += 1
    return found


def by_hand(texts: list[str], keys: list[int]) -> list[dict[int, float]]:
    """For each text the weights of those of its n-grams that have a place in the vocabulary, by place."""
    places = {key: place for place, key in enumerate(keys)}
    return [
        {places[key]: 1 + math.log(count) for key, count in counted(text).items() if key in places} for text in texts
    ]


@given(TEXTS)
@example(["", "\n", "高"])
@example(["a\ud800b", "🙂高🙂血", "İ高", "ﬀ高血"])
@settings(max_examples=150, deadline=None)
def test_bags_are_a_plain_count(texts: list[str]) -> None:
    everything = sorted(set().union(*map(counted, texts), set()))
    for keys in (everything, everything[::2], []):
        bags = Vocabulary(np.array(keys, dtype=np.uint64)).bags(texts)
        assert len(bags) == len(texts) and bags.offsets[0] == 0 and bags.offsets[-1] == len(bags.ids)
        assert (bags.weights.dtype, bags.ids.dtype) == (np.float32, np.int64)
        expected = by_hand(texts, keys)
        for row, (begin, end) in enumerate(zip(bags.offsets[:-1], bags.offsets[1:], strict=True)):
            ids = bags.ids[begin:end].tolist()
            assert ids == sorted(expected[row])
            assert bags.weights[begin:end].tolist() == pytest.approx([expected[row][i] for i in ids], rel=1e-6)
        assert bags.rows().tolist() == [row for row, found in enumerate(expected) for _ in found]


def test_a_key_by_hand() -> None:
    vocabulary, counts = Vocabulary.most_frequent(["Ａ压"], 9, least=1)
    a, press = 0x61, 0x538B  # a full-width A is a small a
    assert vocabulary.keys.tolist() == [a, press, (a << 21) + press]
    assert counts.tolist() == [1, 1, 1] and vocabulary.lengths().tolist() == [1, 1, 2]
    bags = vocabulary.bags(["压压a", "，"])
    assert bags.ids.tolist() == [0, 1] and bags.offsets.tolist() == [0, 2, 2]
    assert bags.weights.tolist() == pytest.approx([1, 1 + math.log(2)])


@given(TEXTS, st.integers(0, 40), st.integers(1, 3))
@settings(max_examples=100, deadline=None)
def test_the_most_frequent_are_those_of_a_counter(texts: list[str], size: int, least: int) -> None:
    in_texts: Counter[int] = Counter()
    for text in texts:
        in_texts.update(counted(text).keys())
    order = sorted((key for key, count in in_texts.items() if count >= least), key=lambda key: (-in_texts[key], key))
    vocabulary, counts = Vocabulary.most_frequent(texts, size, least)
    assert vocabulary.keys.tolist() == sorted(order[:size])
    assert counts.tolist() == [in_texts[key] for key in sorted(order[:size])]
    assert vocabulary.lengths().tolist() == [1 + (key >= 1 << 21) + (key >= 1 << 42) for key in sorted(order[:size])]


def test_many_batches_are_counted_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = np.random.default_rng(0)
    texts = ["".join(chance.choice(list("高血压病人的药"), 5)) for _ in range(60)]
    vocabulary, counts = Vocabulary.most_frequent(texts, 100, least=2)
    monkeypatch.setattr(ngrams, "_BATCH", 3)  # 20 parts, which are added up when there are eight
    again, recounted = Vocabulary.most_frequent(texts, 100, least=2)
    np.testing.assert_array_equal(again.keys, vocabulary.keys)
    np.testing.assert_array_equal(recounted, counts)
    assert counts.max() <= 60


def test_no_texts_and_no_vocabulary() -> None:
    vocabulary, counts = Vocabulary.most_frequent([], 10)
    assert (len(vocabulary), len(counts)) == (0, 0) and vocabulary.lengths().tolist() == []
    assert vocabulary.bags([]).offsets.tolist() == [0]
    assert vocabulary.bags(["高", ""]).offsets.tolist() == [0, 0, 0]


def test_sums_are_a_product_with_the_counts() -> None:
    texts = ["高血压高血压", "", "血压计", "🙂"]
    vocabulary, _ = Vocabulary.most_frequent(texts, 100, least=1)
    bags = vocabulary.bags(texts)
    table = np.random.default_rng(0).normal(size=(len(vocabulary), 3)).astype(np.float32)
    dense = np.zeros((4, len(vocabulary)))
    dense[bags.rows(), bags.ids] = bags.weights
    np.testing.assert_allclose(bag_sums(bags, table), dense @ table, atol=1e-5)
    assert not bag_sums(bags, table)[[1, 3]].any()
