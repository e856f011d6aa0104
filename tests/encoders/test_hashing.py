"""The hashing encoder against a slow second writing of its definition, and the parts of `base` that need no model."""

from __future__ import annotations

import math
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimed_rag.encoders.base import Encoder, EncoderSpec, checked, encoder_from_spec, load_encoder, normalised
from chimed_rag.encoders.hashing import _COMMON, HashingEncoder
from chimed_rag.errors import EncoderError, InputError, UnknownNameError
from chimed_rag.text import fold
from tests.contracts.encoder_contract import EncoderContract


class TestHashingContract(EncoderContract):
    tolerance = 0.0

    @pytest.fixture
    def encoder(self) -> Encoder:
        return HashingEncoder()


def mixed(value: int) -> int:
    value ^= value >> 16
    value = value * 0x7FEB352D & 0xFFFFFFFF
    value ^= value >> 15
    value = value * 0x846CA68B & 0xFFFFFFFF
    return value ^ value >> 16


def counts(char: str) -> bool:
    return (char.isascii() and char.isalnum()) or char in "µ〇" or any(
        low <= char <= high
        for low, high in ("\u0370\u03ff", "\u3400\u4dbf", "\u4e00\u9fff", "\uf900\ufaff", "\U00020000\U0003ffff")
    )  # fmt: skip


def weight(char: str) -> float:
    rank = _COMMON.find(char)
    return 1.0 if rank < 0 else round(16 * (math.log1p(rank) / math.log1p(300)) ** 3) / 16


def reference(text: str, dimension: int) -> np.ndarray:
    """One text, by the book: a loop over its n-grams in Python integers."""
    text = "".join(fold(char) for char in text)
    singles = Counter(char for char in text if counts(char))
    pairs = Counter(a + b for a, b in pairwise(text) if counts(a) and counts(b))
    sums = np.zeros(dimension)
    for gram, count in (singles + pairs).items():
        value, share = mixed(ord(gram[0])), weight(gram[0])
        if len(gram) == 2:
            value = mixed((value + ord(gram[1]) * 0x9E3779B1) & 0xFFFFFFFF)
            share = 0.5 * (share + weight(gram[1])) / 2
        damped = round(16 * (1 + math.log(count))) / 16
        sums[(value >> 1) * dimension >> 31] += (-1 if value & 1 else 1) * damped * share
    length = math.sqrt(math.fsum(sums * sums))
    return (sums / (length or 1)).astype(np.float32)


@pytest.mark.parametrize("dimension", [1, 7, 512])
@pytest.mark.parametrize(
    "text", ["高血压高血压，的", "ＨｂＡ１ｃ 6.5% αΣ µg", "𠮷野家〇", "\ud800", "", "，。！", "是不是" * 99, "癌"]
)
def test_agrees_with_the_reference(text: str, dimension: int) -> None:
    vector = HashingEncoder(dimension).encode_queries([text, "旁边的文本"])[0]
    np.testing.assert_array_equal(vector, reference(text, dimension))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(st.sampled_from("的高血压糖尿病心aB1１ ，\n𠮷é"), max_size=30), max_size=6))
def test_agrees_with_the_reference_on_any_batch(texts: list[str]) -> None:
    vectors = HashingEncoder(64).encode_documents(texts)
    assert vectors.shape == (len(texts), 64)
    for vector, text in zip(vectors, texts, strict=True):
        np.testing.assert_array_equal(vector, reference(text, 64))


def test_likeness_follows_shared_words() -> None:
    encoder = HashingEncoder()
    query = encoder.encode_queries(["高血压吃什么药"])
    right, wrong = (query @ encoder.encode_documents(["高血压的药物治疗", "骨折的康复训练"]).T)[0]
    assert right > 0.4 > wrong


def test_texts_without_characters_give_zero_rows() -> None:
    assert not HashingEncoder(8).encode_documents(["", " \n", "，。！🙂", "的"]).any()


def test_width_and_case_do_not_matter() -> None:
    vectors = HashingEncoder().encode_documents(["HbA1c", "ＨＢＡ１Ｃ"])
    np.testing.assert_array_equal(vectors[0], vectors[1])


def test_long_batches_agree_with_short_ones() -> None:
    texts = [f"第{i}例 患者血压 {i}" * 40 for i in range(200)]
    encoder = HashingEncoder(32)
    np.testing.assert_array_equal(encoder.encode_documents(texts)[150], encoder.encode_documents(texts[150:151])[0])


def test_fingerprint_tells_settings_apart() -> None:
    assert HashingEncoder(64).spec.fingerprint != HashingEncoder(65).spec.fingerprint
    assert HashingEncoder(64).spec == HashingEncoder(64).spec


def test_dimension_must_be_positive() -> None:
    with pytest.raises(InputError, match="dimension"):
        HashingEncoder(0)


def test_the_common_characters_are_300_distinct_ones() -> None:
    assert len(_COMMON) == len(set(_COMMON)) == 300


def test_load_by_name() -> None:
    assert load_encoder("hashing", dimension=64).spec == HashingEncoder(64).spec


def test_load_refuses_what_it_cannot_use(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="hashing, ngram, sentence, static"):
        load_encoder("hashin")
    with pytest.raises(EncoderError, match="not a folder"):
        load_encoder(tmp_path / "gone")
    with pytest.raises(EncoderError, match="not a folder"):
        load_encoder("./models/gone.v1")
    with pytest.raises(InputError, match="dimensions"):
        load_encoder("hashing", dimensions=64)
    with pytest.raises(InputError, match="path"):
        load_encoder("static")
    with pytest.raises(InputError, match="loaded encoder"):
        load_encoder(HashingEncoder(8), dimension=8)


def test_a_spec_of_an_unknown_kind_is_refused() -> None:
    spec = EncoderSpec(kind="quantum", name="q", dimension=4, fingerprint="0" * 64)
    with pytest.raises(UnknownNameError, match="quantum"):
        encoder_from_spec(spec)


def test_checked_refuses_what_an_index_cannot_hold() -> None:
    good = checked([[1, 0], [0, 1]], 2, 2, "toy")
    assert good.dtype == np.float32
    assert good.flags.c_contiguous
    with pytest.raises(EncoderError, match=r"toy gave vectors of shape \(2, 2\) where \(3, 2\)"):
        checked(good, 3, 2, "toy")
    with pytest.raises(EncoderError, match=r"NaN or infinity in 1 of 2 vectors \(row 1\)"):
        checked([[1.0, 0.0], [np.nan, 0.0]], 2, 2, "toy")
    assert checked(np.zeros((0, 2)), 0, 2, "toy").shape == (0, 2)


def test_normalised_keeps_zero_rows_and_survives_extremes() -> None:
    rows = normalised(np.array([[3, 4], [0, 0], [3e30, 4e30], [3e-30, 4e-30]], dtype=np.float32))
    np.testing.assert_allclose(rows, [[0.6, 0.8], [0, 0], [0.6, 0.8], [0.6, 0.8]], rtol=1e-6)


def test_importing_it_is_light() -> None:
    code = "import sys, chimed_rag.encoders.hashing; print({'torch', 'model2vec', 'transformers'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
