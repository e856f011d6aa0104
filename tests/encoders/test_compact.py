"""The small transformer in numpy: beside transformers' BERT with the same weights, odd texts, damaged folders."""

from __future__ import annotations

import json
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from chimed_rag.encoders.compact import CARD, PASSAGE, QUESTION, TOKENIZER, WEIGHTS, CompactTransformer
from chimed_rag.errors import EncoderError
from tests.tiny_compact import DIMENSION, HEADS, WIDTH, altered, make

TEXTS = ["高血压患者应低盐饮食。", "心", "孕妇感冒发烧能吃布洛芬吗？", "头痛，发烧\n一次", "未知的字与高血压"]
ODD = ["", " ", "\n", "\0", "🙂🙂", "\ud800", "高\udc00血压", "abc"]
LONGEST = 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("compact") / "tiny", longest=LONGEST)


@pytest.fixture(scope="module")
def model(folder: Path) -> CompactTransformer:
    return CompactTransformer(folder)


def by_transformers(folder: Path, texts: list[str], segment: int) -> np.ndarray:
    """The vectors by BertModel and torch, one text at a time."""
    torch = pytest.importorskip("torch", reason="torch is not installed (extra `models`)")
    pytest.importorskip("transformers", reason="not installed (extra `models`)")
    from tokenizers import Tokenizer
    from transformers import BertConfig, BertModel

    tensors, card = load_file(folder / WEIGHTS), json.loads((folder / CARD).read_text())
    whole = {
        name: tensors[name] * tensors[f"{name}.scales"][:, None] for name in tensors if f"{name}.scales" in tensors
    }
    weights = {
        "embeddings.word_embeddings.weight": whole["words"],
        "embeddings.position_embeddings.weight": tensors["positions"],
        "embeddings.token_type_embeddings.weight": tensors["segments"],
        "embeddings.LayerNorm.weight": tensors["norm"],
        "embeddings.LayerNorm.bias": tensors["shift"],
    }
    names = {"out": "attention.output.dense", "up": "intermediate.dense", "down": "output.dense"}
    norms = {"first": "attention.output.LayerNorm", "second": "output.LayerNorm"}
    for number in range(card["layers"]):
        ours, theirs = f"layers.{number}.", f"encoder.layer.{number}."
        three = zip(np.split(whole[ours + "qkv"], 3), np.split(tensors[ours + "qkv_bias"], 3), strict=True)
        for name, (weight, bias) in zip(("query", "key", "value"), three, strict=True):
            weights |= {f"{theirs}attention.self.{name}.weight": weight, f"{theirs}attention.self.{name}.bias": bias}
        for name, there in names.items():
            weights |= {
                f"{theirs}{there}.weight": whole[ours + name],
                f"{theirs}{there}.bias": tensors[f"{ours}{name}_bias"],
            }
        for name, there in norms.items():
            weights |= {f"{theirs}{there}.weight": tensors[f"{ours}{name}_norm"]}
            weights |= {f"{theirs}{there}.bias": tensors[f"{ours}{name}_shift"]}
    config = BertConfig(
        vocab_size=len(whole["words"]),
        hidden_size=whole["words"].shape[1],
        num_hidden_layers=card["layers"],
        num_attention_heads=card["heads"],
        intermediate_size=len(whole["layers.0.up"]),
        max_position_embeddings=len(tensors["positions"]),
        hidden_act="relu",
    )
    bert = BertModel(config, add_pooling_layer=False).eval()
    bert.load_state_dict({name: torch.from_numpy(values.astype(np.float32)) for name, values in weights.items()})
    tokenizer, rows = Tokenizer.from_file(str(folder / TOKENIZER)), []
    for text in texts:
        ids = torch.tensor([tokenizer.encode(text).ids])
        with torch.inference_mode():
            states = bert(input_ids=ids, token_type_ids=torch.full_like(ids, segment)).last_hidden_state[0].numpy()
        rows.append(whole["head"] @ states.mean(axis=0) + tensors["head_bias"])
    return np.stack([row / np.linalg.norm(row) for row in rows])


@pytest.mark.parametrize("segment", [QUESTION, PASSAGE])
def test_vectors_are_those_of_transformers(folder: Path, model: CompactTransformer, segment: int) -> None:
    expected = by_transformers(folder, TEXTS, segment)
    np.testing.assert_allclose(model.encode(TEXTS, segment), expected, atol=1e-5)
    assert np.abs(expected @ expected.T - np.eye(len(TEXTS))).max() < 0.999  # no two texts have the same vector


def test_vectors_have_length_one(model: CompactTransformer) -> None:
    vectors = model.encode(TEXTS + ODD, QUESTION)
    assert vectors.shape == (len(TEXTS + ODD), DIMENSION) and vectors.dtype == np.float32
    assert model.dimension == DIMENSION and model.longest == LONGEST
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_a_vector_does_not_depend_on_its_neighbours(model: CompactTransformer) -> None:
    texts = [("高血压患者应低盐" * 5)[: n % 40] for n in range(120)] + TEXTS + ODD  # more than one pass holds
    alone = np.concatenate([model.encode([text], PASSAGE) for text in texts])
    np.testing.assert_allclose(model.encode(texts, PASSAGE), alone, atol=1e-6)
    np.testing.assert_allclose(model.encode(texts[::-1], PASSAGE)[::-1], alone, atol=1e-6)


def test_questions_are_not_read_as_passages_are(model: CompactTransformer) -> None:
    questions, passages = model.encode(TEXTS, QUESTION), model.encode(TEXTS, PASSAGE)
    assert (np.abs(questions - passages).max(axis=1) > 0.01).all()


def test_what_is_beyond_the_longest_is_not_read(model: CompactTransformer) -> None:
    room = LONGEST - 2  # <s> and </s> stay
    head = "高头" * (room // 2)
    cut, more, other, less = model.encode([head, head + "心", head + "痛" * 5000, head[:-1]], PASSAGE)
    np.testing.assert_allclose(more, cut, atol=1e-6)
    np.testing.assert_allclose(other, cut, atol=1e-6)
    assert np.abs(less - cut).max() > 1e-3


def test_no_texts_give_no_rows(model: CompactTransformer) -> None:
    assert model.encode([], QUESTION).shape == (0, DIMENSION)


def test_a_text_without_tokens_gives_a_zero_row(tmp_path: Path) -> None:
    model = CompactTransformer(make(tmp_path / "bare", template=False))
    vectors = model.encode(["", "心", "", "高血压"], QUESTION)
    assert not vectors[[0, 2]].any()
    np.testing.assert_allclose(np.linalg.norm(vectors[[1, 3]], axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(vectors[1], model.encode(["心"], QUESTION)[0], atol=1e-6)
    assert not model.encode(["", ""], QUESTION).any()


def test_a_lone_surrogate_is_read_as_an_unknown_character(model: CompactTransformer) -> None:
    broken, known = model.encode(["高\udc00血压", "高\ufffd血压"], QUESTION)
    np.testing.assert_allclose(broken, known, atol=1e-6)


def test_many_threads(model: CompactTransformer) -> None:
    texts = TEXTS * 20
    expected = model.encode(texts, PASSAGE)
    with ThreadPoolExecutor(8) as pool:
        for vectors in pool.map(lambda _: model.encode(texts, PASSAGE), range(16)):
            np.testing.assert_allclose(vectors, expected, atol=1e-6)


@pytest.mark.parametrize("factor", [1e2, 1e4])
def test_huge_attention_logits_give_no_nan(folder: Path, tmp_path: Path, factor: float) -> None:
    scales = load_file(folder / WEIGHTS)["layers.0.qkv.scales"] * np.float32(factor)
    model = CompactTransformer(altered(folder, tmp_path / "huge", {"layers.0.qkv.scales": scales}))
    vectors = model.encode(TEXTS + ODD, PASSAGE)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("shift", [-32, -8, 40, 64])
def test_what_is_added_to_all_logits_changes_nothing(folder: Path, tmp_path: Path, shift: float) -> None:
    tensors, name = load_file(folder / WEIGHTS), "layers.0.qkv"
    matrix, bias = tensors[name], tensors[f"{name}_bias"]
    matrix[:WIDTH], bias[:WIDTH] = 0, 4  # the same query everywhere: what its product with the keys' bias is, all get
    moved = bias.copy()
    moved[WIDTH : 2 * WIDTH] += np.float32(shift / 4 / (WIDTH // HEADS) ** 0.5)
    here, there = (
        CompactTransformer(altered(folder, tmp_path / place, {name: matrix, f"{name}_bias": values}))
        for place, values in (("here", bias), ("there", moved))
    )
    np.testing.assert_allclose(there.encode(TEXTS, PASSAGE), here.encode(TEXTS, PASSAGE), atol=1e-5)


# --- folders that cannot be used -------------------------------------------------------------------------------------


def refused(folder: Path, reason: str) -> None:
    with pytest.raises(EncoderError, match=re.escape(str(folder)) + ".*" + reason):
        CompactTransformer(folder)


@pytest.mark.parametrize("name", [WEIGHTS, TOKENIZER, CARD])
def test_a_missing_file_is_named(folder: Path, tmp_path: Path, name: str) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copy / name).unlink()
    refused(copy, re.escape(name))


def test_a_missing_folder_is_named(folder: Path, tmp_path: Path) -> None:
    refused(tmp_path / "gone", "copy it again")
    refused(folder / CARD, "copy it again")


@pytest.mark.parametrize("change", [{"kind": "ngram"}, {"version": 2}, {"kind": None}])
def test_a_card_of_another_kind_is_refused(folder: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copy / CARD).write_text(json.dumps(json.loads((copy / CARD).read_text()) | change))
    refused(copy, "is no card of a compact transformer, version 1")


@pytest.mark.parametrize("text", ["[]", "7", "null"])
def test_a_card_that_is_no_object_is_refused(folder: Path, tmp_path: Path, text: str) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copy / CARD).write_text(text)
    refused(copy, "is no card of a compact transformer")


@pytest.mark.parametrize("name", [WEIGHTS, TOKENIZER, CARD])
@pytest.mark.parametrize("kept", [0, 20, 0.5], ids=["empty", "head", "half"])
def test_a_file_that_was_cut_is_told(folder: Path, tmp_path: Path, name: str, kept: float) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    whole = (copy / name).read_bytes()
    (copy / name).write_bytes(whole[: int(kept * len(whole) if kept < 1 else kept)])
    refused(copy, "copy it again")


@pytest.mark.parametrize(
    "name", ["words", "words.scales", "positions", "layers.1.qkv", "layers.0.up_bias", "head_bias"]
)
def test_a_missing_tensor_is_named(folder: Path, tmp_path: Path, name: str) -> None:
    refused(altered(folder, tmp_path / "copy", {name: None}), re.escape(name))


@pytest.mark.parametrize("key", ["heads", "layers", "longest"])
def test_a_card_without_a_number_is_told(folder: Path, tmp_path: Path, key: str) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    card = json.loads((copy / CARD).read_text())
    del card[key]
    (copy / CARD).write_text(json.dumps(card))
    refused(copy, key)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("words", lambda values: values[:-1]),
        ("positions", lambda values: values[: LONGEST - 1]),
        ("segments", lambda values: values[:1]),
        ("head", lambda values: values[:, :-1]),
        ("layers.0.up", lambda values: values[:, :-1]),
        ("layers.1.second_norm", lambda values: values * np.float32("nan")),
        ("positions", lambda values: values * np.float32("inf")),
    ],
)
def test_tensors_that_do_not_fit_are_told_at_once(folder: Path, tmp_path: Path, name: str, change: Any) -> None:
    values = change(load_file(folder / WEIGHTS)[name])
    with pytest.raises(EncoderError, match=f"tensor '{name}'"):
        CompactTransformer(altered(folder, tmp_path / "odd", {name: values}))


@pytest.mark.parametrize("change", [{"heads": 3}, {"heads": 0}, {"longest": -1}, {"layers": "two"}, {"layers": 3}])
def test_a_card_that_does_not_fit_is_told_at_once(folder: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    odd = altered(folder, tmp_path / "odd", {})
    card = json.loads((odd / CARD).read_text("utf-8"))
    (odd / CARD).write_text(json.dumps(card | change), "utf-8")
    with pytest.raises(EncoderError, match=r"odd: .*copy it again"):
        CompactTransformer(odd)


def test_padding_that_the_tokenizer_brings_along_does_not_count(folder: Path, tmp_path: Path) -> None:
    padding = altered(folder, tmp_path / "padding", {})
    form = json.loads((padding / TOKENIZER).read_text("utf-8"))
    form["padding"] = {
        "strategy": "BatchLongest", "direction": "Right", "pad_to_multiple_of": None, "pad_id": 1, "pad_type_id": 0,
        "pad_token": "<pad>",
    }  # fmt: skip
    (padding / TOKENIZER).write_text(json.dumps(form), "utf-8")
    model, other = CompactTransformer(folder), CompactTransformer(padding)
    np.testing.assert_allclose(other.encode(TEXTS, PASSAGE), model.encode(TEXTS, PASSAGE), atol=1e-6)
