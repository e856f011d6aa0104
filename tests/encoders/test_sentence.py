"""The sentence encoder on a tiny BERT made here: random weights, two layers, no network."""

from __future__ import annotations

import builtins
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported
torch = pytest.importorskip("torch", reason="torch is not installed (extra `models`)")
sentence_transformers = pytest.importorskip("sentence_transformers", reason="not installed (extra `models`)")

from chimed_rag.encoders.base import Encoder, encoder_from_spec, load_encoder  # noqa: E402
from chimed_rag.encoders.sentence import SentenceEncoder  # noqa: E402
from chimed_rag.errors import EncoderError, MissingExtraError  # noqa: E402
from tests.contracts.encoder_contract import TEXTS, EncoderContract  # noqa: E402

COMMIT = "a" * 40


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """BERT, hidden size 32, over three hundred characters, mean pooling; deterministic."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    bert = tmp_path_factory.mktemp("bert")
    characters = (
        [chr(code) for code in range(0x4E00, 0x4E00 + 200)] + sorted(set("".join(TEXTS) + "问文：")) + list("abc")
    )
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(char for char in characters if char.strip())]
    vocabulary = [word for word in dict.fromkeys(vocabulary) if word.isprintable()]
    (bert / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    BertTokenizerFast(vocab=str(bert / "vocab.txt"), model_max_length=64).save_pretrained(bert)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.3,
    )
    BertModel(config).save_pretrained(bert)
    path = tmp_path_factory.mktemp("models") / "tiny"
    model = sentence_transformers.SentenceTransformer(str(bert), device="cpu")  # adds mean pooling by itself
    model.save(str(path), create_model_card=False)
    return path


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Encoder:
    return SentenceEncoder(folder, device="cpu")


class TestSentenceContract(EncoderContract):
    """The fixture `encoder` stands above: the model is loaded once."""


def test_loading_a_folder_is_quiet(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    SentenceEncoder(folder).encode_documents(["高血压"])
    assert capfd.readouterr() == ("", "")


def test_a_folder_is_recognised(folder: Path) -> None:
    encoder = load_encoder(folder, batch_size=4)
    assert isinstance(encoder, SentenceEncoder)
    assert encoder.spec.dimension == 32
    assert encoder.spec.settings["batch_size"] == 4


def test_vectors_are_those_of_the_library(folder: Path) -> None:
    model = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
    expected = model.encode(["高血压", "文：高血压"], normalize_embeddings=True)
    vectors = SentenceEncoder(folder, document_prefix="文：").encode_documents(["高血压"])
    np.testing.assert_allclose(vectors[0], expected[1], atol=1e-5)
    np.testing.assert_allclose(SentenceEncoder(folder).encode_queries(["高血压"])[0], expected[0], atol=1e-5)


def test_batches_of_one_and_of_eight_agree(folder: Path) -> None:
    texts = ["高血压" * n for n in range(1, 12)]
    one = SentenceEncoder(folder, batch_size=1).encode_documents(texts)
    np.testing.assert_allclose(SentenceEncoder(folder, batch_size=8).encode_documents(texts), one, atol=1e-5)


def test_prefixes_are_applied_and_told_apart(folder: Path) -> None:
    plain, prefixed = SentenceEncoder(folder), SentenceEncoder(folder, query_prefix="问：")
    np.testing.assert_array_equal(plain.encode_queries(["糖尿病"]), plain.encode_documents(["糖尿病"]))
    np.testing.assert_allclose(prefixed.encode_queries(["糖尿病"]), plain.encode_queries(["问：糖尿病"]), atol=1e-5)
    assert not np.allclose(prefixed.encode_queries(["糖尿病"]), prefixed.encode_documents(["糖尿病"]), atol=1e-3)
    assert plain.spec.fingerprint != prefixed.spec.fingerprint


def test_the_models_own_prompts_are_the_default(copy: Path) -> None:
    file = copy / "config_sentence_transformers.json"
    prompts = {"query": "问：", "passage": "文：", "other": "心"}
    file.write_text(json.dumps({**json.loads(file.read_text()), "prompts": prompts, "default_prompt_name": "other"}))
    own = SentenceEncoder(copy)
    assert (own.spec.settings["query_prefix"], own.spec.settings["document_prefix"]) == ("问：", "文：")
    bare = SentenceEncoder(copy, query_prefix="", document_prefix="")
    np.testing.assert_allclose(bare.encode_queries(["问：糖尿病"]), own.encode_queries(["糖尿病"]), atol=1e-5)
    np.testing.assert_allclose(bare.encode_documents(["文：糖尿病"]), own.encode_documents(["糖尿病"]), atol=1e-5)


def test_max_seq_length_cuts_and_counts(folder: Path) -> None:
    short = SentenceEncoder(folder, max_seq_length=5)
    np.testing.assert_allclose(short.encode_queries(["高血压糖尿病"]), short.encode_queries(["高血压心"]), atol=1e-5)
    assert short.spec.fingerprint != SentenceEncoder(folder).spec.fingerprint
    assert encoder_from_spec(short.spec).spec == short.spec


def test_fingerprint_follows_the_weights_and_not_the_place(folder: Path, copy: Path) -> None:
    from safetensors.numpy import load_file, save_file

    fingerprint = SentenceEncoder(folder).spec.fingerprint
    (copy / "README.md").write_text("notes")
    assert SentenceEncoder(copy, batch_size=2).spec.fingerprint == fingerprint
    weights = load_file(copy / "model.safetensors")
    weights["embeddings.word_embeddings.weight"][7, 0] += 1
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    assert SentenceEncoder(copy).spec.fingerprint != fingerprint


def test_a_folder_may_say_what_its_cosines_weigh(folder: Path, copy: Path) -> None:
    assert SentenceEncoder(folder).cosine_weight is None
    (copy / "fusion.json").write_text('{"cosine_weight": 3}')
    told = SentenceEncoder(copy)
    assert told.cosine_weight == 3.0 and told.spec.fingerprint == SentenceEncoder(folder).spec.fingerprint
    for wrong in ("{", "[]", '{"cosine_weight": "much"}', '{"cosine_weight": NaN}', '{"cosine_weight": -1}'):
        (copy / "fusion.json").write_text(wrong)
        with pytest.raises(EncoderError, match=r"fusion\.json: write .* or remove the file"):
            SentenceEncoder(copy)


def test_a_changed_pooling_is_another_encoder(folder: Path, copy: Path) -> None:
    file = next(copy.glob("1_Pooling/config.json"))
    config = json.loads(file.read_text())
    file.write_text(
        json.dumps({**config, "note": 1}) if "pooling_mode" not in config else file.read_text().replace("mean", "cls")
    )
    assert SentenceEncoder(copy).spec.fingerprint != SentenceEncoder(folder).spec.fingerprint


def test_a_hub_model_is_named_by_its_commit(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tmp_path / "models--someone--tiny"
    shutil.copytree(folder, store / "snapshots" / COMMIT)
    (store / "refs").mkdir()
    (store / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path), raising=False)
    monkeypatch.setenv("SENTENCE_TRANSFORMERS_HOME", str(tmp_path))
    encoder = load_encoder("someone/tiny", local_files_only=True)
    assert encoder.spec.name == "someone/tiny"
    assert encoder.spec.settings["revision"] == COMMIT
    np.testing.assert_array_equal(
        encoder.encode_queries(["高血压"]), SentenceEncoder(folder).encode_queries(["高血压"])
    )
    assert encoder_from_spec(encoder.spec).spec == encoder.spec


def test_permissions_and_device_do_not_travel(folder: Path) -> None:
    settings = SentenceEncoder(folder, device="cpu", trust_remote_code=True).spec.settings
    assert not {"trust_remote_code", "device", "local_files_only"} & set(settings)


def test_wrong_folders_are_told_apart(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="not a folder"):
        SentenceEncoder(tmp_path / "gone")
    with pytest.raises(EncoderError, match=r"neither modules\.json nor config\.json"):
        SentenceEncoder(tmp_path)
    (tmp_path / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    with pytest.raises(EncoderError, match="generator"):
        SentenceEncoder(tmp_path)
    (copy / "model.safetensors").unlink()
    with pytest.raises(EncoderError, match="holds no safetensors weights"):
        SentenceEncoder(copy)


def test_pickled_weights_are_refused(copy: Path) -> None:
    from safetensors.torch import load_file

    torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    with pytest.raises(EncoderError, match=f"python -m chimed_rag.encoders.convert {copy}"):
        SentenceEncoder(copy)


@pytest.fixture
def without_library(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    real = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("sentence_transformers"):
            raise ModuleNotFoundError(name=name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    yield


@pytest.mark.usefixtures("without_library")
def test_a_missing_library_names_the_command(folder: Path) -> None:
    with pytest.raises(MissingExtraError, match=r"pip install 'chimed-rag\[models\]'"):
        SentenceEncoder(folder)
