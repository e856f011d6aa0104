"""What every encoder must do; a test class of each implementation inherits it and gives the fixture `encoder`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from chimed_rag.encoders.base import Encoder, EncoderSpec, checked, encoder_from_spec, load_encoder, require_same
from chimed_rag.errors import IndexMismatchError

TEXTS = [
    "高血压患者应低盐饮食。",
    "孕妇感冒发烧能吃布洛芬吗？",
    "",
    "ＨｂＡ１ｃ 6.5%",
    "血压\n血糖 🙂 \ud800",
    "糖尿病" * 400,
    "心",
]


class EncoderContract:
    tolerance = 1e-5

    def test_fulfils_the_protocol(self, encoder: Encoder) -> None:
        assert isinstance(encoder, Encoder)
        assert 0 < encoder.fusion_weight <= 1

    @pytest.mark.parametrize("call", ["encode_documents", "encode_queries"])
    def test_shape_type_and_length(self, encoder: Encoder, call: str) -> None:
        vectors = getattr(encoder, call)(TEXTS)
        assert vectors.dtype == np.float32
        assert vectors.flags.c_contiguous
        checked(vectors, len(TEXTS), encoder.spec.dimension, encoder.spec.name)
        lengths = np.linalg.norm(vectors, axis=1)
        assert np.all((np.abs(lengths - 1) < 1e-5) | (lengths == 0))
        assert lengths[0] > 0

    @pytest.mark.parametrize("call", ["encode_documents", "encode_queries"])
    def test_no_texts(self, encoder: Encoder, call: str) -> None:
        assert getattr(encoder, call)([]).shape == (0, encoder.spec.dimension)

    def test_a_vector_does_not_depend_on_its_neighbours(self, encoder: Encoder) -> None:
        alone = np.vstack([encoder.encode_documents([text]) for text in TEXTS])
        np.testing.assert_allclose(encoder.encode_documents(TEXTS), alone, atol=self.tolerance)
        np.testing.assert_allclose(encoder.encode_documents(TEXTS[::-1])[::-1], alone, atol=self.tolerance)

    def test_same_text_same_vector(self, encoder: Encoder) -> None:
        np.testing.assert_array_equal(encoder.encode_queries(TEXTS), encoder.encode_queries(TEXTS))

    def test_many_threads(self, encoder: Encoder) -> None:
        expected = encoder.encode_queries(TEXTS)
        with ThreadPoolExecutor(4) as pool:
            for vectors in pool.map(lambda _: encoder.encode_queries(TEXTS), range(16)):
                np.testing.assert_allclose(vectors, expected, atol=self.tolerance)

    def test_spec_is_json_and_loads_the_same_encoder(self, encoder: Encoder) -> None:
        spec = EncoderSpec.model_validate_json(encoder.spec.model_dump_json())
        assert spec == encoder.spec
        again = encoder_from_spec(spec)
        assert again.spec == spec
        np.testing.assert_array_equal(again.encode_documents(TEXTS), encoder.encode_documents(TEXTS))

    def test_another_fingerprint_is_refused(self, encoder: Encoder) -> None:
        other = encoder.spec.model_copy(update={"fingerprint": "0" * 64})
        with pytest.raises(IndexMismatchError, match="chimed build") as caught:
            encoder_from_spec(other)
        assert "0" * 16 in str(caught.value)
        assert encoder.spec.fingerprint[:16] in str(caught.value)
        require_same(encoder, encoder.spec)

    def test_a_loaded_encoder_is_given_back(self, encoder: Encoder) -> None:
        assert load_encoder(encoder) is encoder
