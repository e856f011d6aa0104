"""Patients' questions and doctors' replies are told from headings and articles, and the encoder's folder keeps how."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from chimed_rag.encoders.base import normalised
from chimed_rag.encoders.manner import Manner, fitted
from chimed_rag.encoders.ngram import WEIGHTS, NgramEncoder
from chimed_rag.errors import EncoderError
from tests.tiny_ngrams import tiny_encoder


def vectors(lean: dict[int, float], n: int, seed: int) -> np.ndarray:
    """Unit vectors of eight dimensions that lean along some of them."""
    noise = np.random.default_rng(seed).normal(size=(n, 8)).astype(np.float32)
    for axis, much in lean.items():
        noise[:, axis] += much
    return normalised(noise)


def test_each_side_is_told_by_its_own_axis() -> None:
    kinds = [{0: 3.0}, {0: -3.0}, {1: 3.0}, {1: -3.0}]
    manner = fitted(*(vectors(lean, 200, n) for n, lean in enumerate(kinds)))
    asked, headings, replies, articles = (vectors(lean, 50, 9 + n) for n, lean in enumerate(kinds))
    assert (manner.asked(asked) > 0.5).mean() > 0.9 > 0.1 > (manner.asked(headings) > 0.5).mean()
    likely, unlikely = (manner.replied(these @ manner.passage[:-1]) for these in (replies, articles))
    assert (likely > 0.5).mean() > 0.9 > 0.1 > (unlikely > 0.5).mean()
    assert manner.asked(asked[:0]).shape == (0,) and manner.question.dtype == manner.passage.dtype == np.float32


def test_probabilities_by_hand() -> None:
    manner = Manner(np.array([2.0, 0.0, 1.0], np.float32), np.array([0.0, 4.0, -1.0], np.float32))
    questions = np.array([[1, 0], [-0.5, 9]], np.float32)
    np.testing.assert_allclose(manner.asked(questions), [1 / (1 + np.exp(-3)), 0.5], rtol=1e-6)
    np.testing.assert_allclose(manner.replied(np.array([1.0], np.float32)), [0.5])
    assert manner.replied(np.array([1e9, -1e9], np.float32)).tolist() == pytest.approx([1, 0], abs=1e-9)


def test_a_folder_keeps_it(tmp_path: Path) -> None:
    encoder = tiny_encoder(["头痛发热", "头痛咳嗽", "发热咳嗽"], dimension=3)
    before = encoder.spec.fingerprint
    encoder.save(tmp_path / "without")
    encoder.manner = Manner(*np.arange(8, dtype=np.float32).reshape(2, 4))
    encoder.save(tmp_path / "with")
    again = NgramEncoder(tmp_path / "with")
    assert again.manner is not None and again.spec.fingerprint == before
    np.testing.assert_array_equal(np.stack(again.manner), np.stack(encoder.manner))
    assert NgramEncoder(tmp_path / "without").manner is None


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((2, 3), np.float32), np.zeros(8, np.float32), np.zeros((2, 4)), np.full((2, 4), np.nan, np.float32)],
    ids=["short", "flat", "double", "NaN"],
)
def test_a_damaged_one_is_told(tmp_path: Path, wrong: np.ndarray) -> None:
    tiny_encoder(["头痛发热", "头痛咳嗽"], dimension=3).save(tmp_path / "m")
    save_file({**load_file(tmp_path / "m" / WEIGHTS), "manner": wrong}, tmp_path / "m" / WEIGHTS)
    with pytest.raises(EncoderError, match=f"{WEIGHTS}: the tensor 'manner'"):
        NgramEncoder(tmp_path / "m")
