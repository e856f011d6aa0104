"""The static encoder on a tiny model2vec model made here: eight characters, hand-made vectors."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from model2vec import StaticModel
from safetensors.numpy import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split

from chimed_rag import MedQA
from chimed_rag.encoders.base import Encoder, encoder_from_spec, load_encoder
from chimed_rag.encoders.static import StaticEncoder, is_static_folder
from chimed_rag.errors import EncoderError, IndexMismatchError
from tests.contracts.encoder_contract import EncoderContract

VOCABULARY = ["[UNK]", *"高血压糖尿病心"]
TABLE = np.random.default_rng(0).normal(size=(len(VOCABULARY), 6)).astype(np.float32)


def save(folder: Path, table: np.ndarray = TABLE) -> Path:
    tokenizer = Tokenizer(WordLevel({char: i for i, char in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Split("", "isolated")
    StaticModel(table, tokenizer, normalize=False).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save(tmp_path / "tiny")


class TestStaticContract(EncoderContract):
    @pytest.fixture
    def encoder(self, folder: Path) -> Encoder:
        return StaticEncoder(folder)


def test_is_the_mean_of_the_known_tokens(folder: Path) -> None:
    vectors = StaticEncoder(folder).encode_documents(["高血压", "血x压", "x"])
    mean = TABLE[[1, 2, 3]].mean(axis=0)
    np.testing.assert_allclose(vectors[0], mean / np.linalg.norm(mean), atol=1e-6)
    mean = TABLE[[2, 3]].mean(axis=0)
    np.testing.assert_allclose(vectors[1], mean / np.linalg.norm(mean), atol=1e-6)
    assert not vectors[2].any()


def test_a_folder_is_recognised(folder: Path) -> None:
    assert isinstance(load_encoder(folder), StaticEncoder)
    assert isinstance(load_encoder(str(folder)), StaticEncoder)
    assert isinstance(load_encoder("static", path=folder), StaticEncoder)


def test_half_precision_weights(tmp_path: Path) -> None:
    encoder = StaticEncoder(save(tmp_path / "half", TABLE.astype(np.float16)))
    assert encoder.encode_queries(["糖尿病"]).dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(encoder.encode_queries(["糖尿病"])), 1, atol=1e-6)


def test_the_sentence_transformers_layout_gives_the_same_vectors(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "layout" / "0_StaticEmbedding"
    other.mkdir(parents=True)
    shutil.copy(folder / "tokenizer.json", other)
    save_file({"embedding.weight": TABLE}, other / "model.safetensors")
    (other.parent / "config_sentence_transformers.json").write_text("{}")
    modules = [
        {"idx": 0, "name": "0", "path": "0_StaticEmbedding", "type": "sentence_transformers.models.StaticEmbedding"}
    ]
    (other.parent / "modules.json").write_text(json.dumps(modules))
    vectors = StaticEncoder(other.parent).encode_queries(["高血压"])
    np.testing.assert_allclose(vectors, StaticEncoder(folder).encode_queries(["高血压"]), atol=1e-6)
    modules.append({"idx": 1, "name": "1", "path": "1_Dense", "type": "sentence_transformers.models.Dense"})
    (other.parent / "modules.json").write_text(json.dumps(modules))
    assert not is_static_folder(other.parent)


def test_fingerprint_follows_the_files_and_not_the_place(folder: Path, tmp_path: Path) -> None:
    spec = StaticEncoder(folder).spec
    moved = Path(shutil.copytree(folder, tmp_path / "moved"))
    assert StaticEncoder(moved).spec.fingerprint == spec.fingerprint
    shutil.rmtree(folder)
    with pytest.raises(EncoderError, match="not a folder"):
        encoder_from_spec(spec)
    assert encoder_from_spec(spec, path=moved).spec.settings == {"path": str(moved)}
    (moved / "README.md").write_text("notes")
    assert StaticEncoder(moved).spec.fingerprint == spec.fingerprint
    assert StaticEncoder(save(tmp_path / "other", TABLE + 1)).spec.fingerprint != spec.fingerprint
    config = json.loads((moved / "config.json").read_text())
    (moved / "config.json").write_text(json.dumps({**config, "max_length": 7}))
    assert StaticEncoder(moved).spec.fingerprint != spec.fingerprint


@pytest.mark.parametrize("name", ["tokenizer.json", "model.safetensors", "config.json"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(EncoderError, match=name):
        StaticEncoder(folder)


def test_a_damaged_table_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(EncoderError, match="model2vec"):
        StaticEncoder(folder)


def test_a_cut_table_is_refused(folder: Path) -> None:
    table = folder / "model.safetensors"
    table.write_bytes(table.read_bytes()[:-4])
    with pytest.raises(EncoderError, match="cannot be loaded"):
        StaticEncoder(folder)


def test_another_kind_of_model_is_refused(folder: Path) -> None:
    save_file({"embeddings.word_embeddings.weight": TABLE}, folder / "model.safetensors")
    with pytest.raises(EncoderError, match="not a model2vec folder"):
        StaticEncoder(folder)


def test_an_index_with_a_model_folder_survives_its_move(folder: Path, tmp_path: Path) -> None:
    """Built with a folder, loaded from the manifest, moved, refused when it is another model."""
    rows = [{"id": "a", "text": "高血压要限盐。"}, {"id": "b", "text": "糖尿病要查血糖。"}]
    index = tmp_path / "index"
    with MedQA.build(rows, index, encoder=folder) as built:
        expected = built.search("高血压", k=2)
    assert expected[0].document_id == "a"
    assert set(expected[0].ranks) == {"dense", "lexical", "windows"}
    with MedQA.load(index) as again:
        assert again.search("高血压", k=2) == expected
    moved = folder.rename(tmp_path / "moved")
    with pytest.raises(EncoderError, match="tiny"):
        MedQA.load(index)
    with MedQA.load(index, encoder=moved) as again:
        assert again.search("高血压", k=2) == expected
    with pytest.raises(IndexMismatchError, match="chimed build"):
        MedQA.load(index, encoder=save(tmp_path / "other", -TABLE))
