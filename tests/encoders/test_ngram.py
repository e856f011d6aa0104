"""The n-gram encoder: the contract, its folder (round trip, damage), and the one that comes with the package."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from chimed_rag.encoders.base import Encoder, EncoderSpec, encoder_from_spec, inside, load_encoder
from chimed_rag.encoders.ngram import CARD, SHIPPED, WEIGHTS, NgramEncoder
from chimed_rag.encoders.ngrams import Vocabulary
from chimed_rag.errors import EncoderError, InputError
from tests.contracts.encoder_contract import TEXTS, EncoderContract
from tests.tiny_ngrams import tiny_encoder


@pytest.fixture(scope="module")
def shipped() -> NgramEncoder:
    return NgramEncoder()


@pytest.fixture
def tiny() -> NgramEncoder:
    return tiny_encoder(TEXTS * 2)


@pytest.fixture
def folder(tiny: NgramEncoder, tmp_path: Path) -> Path:
    tiny.save(tmp_path / "tiny")
    return tmp_path / "tiny"


class TestNgramContract(EncoderContract):
    @pytest.fixture
    def encoder(self, folder: Path) -> Encoder:
        return NgramEncoder(folder)


class TestShippedContract(EncoderContract):
    @pytest.fixture
    def encoder(self, shipped: NgramEncoder) -> Encoder:
        return shipped


def test_a_vector_by_hand() -> None:
    keys = np.array([ord("压"), ord("高"), ord("高") << 21 | ord("压")], dtype=np.uint64)
    table = np.array([[1, 0], [0, 2], [-4, 0]], dtype=np.float32)
    encoder = NgramEncoder.from_table(Vocabulary(keys), table, np.full(3, 0.5, np.float32), {"name": "by hand"})
    np.testing.assert_allclose(encoder.table(), table, rtol=1e-6)  # the largest of each row is exact
    vectors = encoder.encode_documents(["高压", "压，高高", "水", "压"])
    twice = 1 + np.log(2)
    np.testing.assert_allclose(vectors[0], np.array([1 - 4, 2]) / np.hypot(3, 2), atol=1e-6)
    np.testing.assert_allclose(vectors[1], np.array([1, 2 * twice]) / np.hypot(1, 2 * twice), atol=1e-6)
    assert vectors[2].tolist() == [0, 0] and vectors[3].tolist() == [1, 0]


def test_rounding_is_half_a_step_at_most(tiny: NgramEncoder) -> None:
    table = np.random.default_rng(1).normal(size=(len(tiny.vocabulary), 7)).astype(np.float32)
    table[3] = 0
    stored = NgramEncoder.from_table(tiny.vocabulary, table, tiny.frequencies, {}).table()
    steps = np.abs(table).max(axis=1, keepdims=True) / 127
    assert (np.abs(stored - table) <= steps * 0.501).all() and not stored[3].any()


def test_a_folder_gives_the_same_encoder_again(tiny: NgramEncoder, folder: Path, tmp_path: Path) -> None:
    again = NgramEncoder(folder)
    np.testing.assert_array_equal(again.encode_documents(TEXTS), tiny.encode_documents(TEXTS))
    assert again.spec == tiny.spec.model_copy(update={"settings": {"path": str(folder)}})
    assert again.spec.name == "tiny"
    again.save(tmp_path / "again")
    for name in (WEIGHTS, CARD):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()
    moved = folder.rename(tmp_path / "moved")
    with pytest.raises(EncoderError, match="not a folder"):
        encoder_from_spec(again.spec)
    assert encoder_from_spec(again.spec, path=moved).spec.fingerprint == tiny.spec.fingerprint


def test_the_fingerprint_follows_the_weights_and_not_the_card(tiny: NgramEncoder) -> None:
    def made(**changes: Any) -> str:
        parts = {"vocabulary": tiny.vocabulary, "table": tiny.table(), "frequencies": tiny.frequencies, "card": {}}
        return NgramEncoder.from_table(**{**parts, **changes}).spec.fingerprint  # type: ignore[arg-type]

    fingerprint = made()
    assert made(card={"name": "other"}) == fingerprint
    assert made(table=tiny.table() * 2) != fingerprint
    assert made(frequencies=tiny.frequencies / 2) != fingerprint
    keys = tiny.vocabulary.keys.copy()
    keys[-1] += 1
    assert made(vocabulary=Vocabulary(keys)) != fingerprint


def test_the_kind_of_a_folder_is_found(folder: Path) -> None:
    for given in (folder, str(folder)):
        assert isinstance(load_encoder(given), NgramEncoder)
    assert isinstance(load_encoder("ngram", path=folder), NgramEncoder)
    with pytest.raises(InputError, match="it takes"):
        load_encoder("ngram", dimension=3)


def _tensors(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        tensors: dict[str, Any] = load_file(folder / WEIGHTS)
        change(tensors)
        save_file({name: np.ascontiguousarray(array) for name, array in tensors.items()}, folder / WEIGHTS)

    return damage


def _card(**changes: object) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        card = json.loads((folder / CARD).read_text("utf-8"))
        (folder / CARD).write_text(json.dumps({**card, **changes}), "utf-8")

    return damage


def _cut(name: str, rest: int) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / name).write_bytes((folder / name).read_bytes()[:rest])

    return damage


def _put(name: str, value: float) -> Callable[[Path], None]:
    return _tensors(lambda tensors: tensors[name].__setitem__(2, value))


DAMAGES: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "no folder": (shutil.rmtree, "tiny", "not a folder"),
    "no weights": (lambda f: (f / WEIGHTS).unlink(), WEIGHTS, "holds no"),
    "no card": (lambda f: (f / CARD).unlink(), CARD, "holds no"),
    "empty weights": (_cut(WEIGHTS, 0), WEIGHTS, "cannot be read"),
    "cut weights": (_cut(WEIGHTS, -4), WEIGHTS, "cannot be read"),
    "cut header": (_cut(WEIGHTS, 60), WEIGHTS, "cannot be read"),
    "other bytes": (lambda f: (f / WEIGHTS).write_bytes(b"\xff" * 99), WEIGHTS, "cannot be read"),
    "cut card": (_cut(CARD, 20), CARD, "no card"),
    "no text": (lambda f: (f / CARD).write_bytes(b"\xff\xfe\0"), CARD, "no card"),
    "a list": (lambda f: (f / CARD).write_text("[1]"), CARD, "no card"),
    "another kind": (_card(kind="static"), CARD, "no card"),
    "another version": (_card(version=2), CARD, "version 2.* reads 1"),
    "no version": (_card(version=None), CARD, "version None"),
    "no n-grams": (_tensors(lambda t: t.pop("ngrams")), WEIGHTS, "'ngrams' is missing"),
    "float table": (_tensors(lambda t: t.update(embeddings=t["embeddings"] / 2.0)), WEIGHTS, "'embeddings'.* int8"),
    "flat table": (_tensors(lambda t: t.update(embeddings=t["embeddings"][:, 0])), WEIGHTS, "with 2 axes"),
    "double weights": (_tensors(lambda t: t.update(weights=t["weights"] * 1.0e0 + np.float64(0))), WEIGHTS, "float32"),
    "signed n-grams": (_tensors(lambda t: t.update(ngrams=t["ngrams"].astype(np.int64))), WEIGHTS, "uint64"),
    "short weights": (_tensors(lambda t: t.update(weights=t["weights"][1:])), WEIGHTS, "one row for each n-gram"),
    "nothing": (_tensors(lambda t: t.update({k: v[:0] for k, v in t.items()})), WEIGHTS, "one row for each n-gram"),
    "NaN weight": (_put("weights", np.nan), WEIGHTS, "NaN"),
    "infinite frequency": (_put("frequencies", np.inf), WEIGHTS, "NaN or infinite"),
    "unsorted": (_tensors(lambda t: t.update(ngrams=t["ngrams"][::-1])), WEIGHTS, "ascending"),
    "twice": (_tensors(lambda t: t["ngrams"].__setitem__(1, t["ngrams"][0])), WEIGHTS, "ascending"),
    "huge n-gram": (_tensors(lambda t: t["ngrams"].__setitem__(-2, 1 << 63)), WEIGHTS, "ascending"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_told_with_the_name_of_the_file(folder: Path, name: str) -> None:
    damage, file, message = DAMAGES[name]
    NgramEncoder(folder)
    damage(folder)
    with pytest.raises(EncoderError, match=message) as caught:
        NgramEncoder(folder)
    assert str(folder) in str(caught.value) and file in str(caught.value)


@pytest.mark.parametrize("name", ["cut weights", "another version", "unsorted"])
def test_damage_is_told_by_the_folder_alone_too(folder: Path, name: str) -> None:
    damage, file, message = DAMAGES[name]
    damage(folder)
    with pytest.raises(EncoderError, match=message) as caught:
        load_encoder(folder)
    assert file in str(caught.value)


def test_only_its_own_place_is_inside_an_index(tiny: NgramEncoder) -> None:
    def spec(path: str, **changes: str) -> EncoderSpec:
        return tiny.spec.model_copy(update={"settings": {"path": path}, **changes})

    own = f"encoder/{tiny.spec.fingerprint[:16]}"
    assert inside(spec(own)) == own
    # A folder of the user's own, relative to where the index was built, may be called so, too.
    assert inside(spec("encoder/mine")) is None and inside(spec(f"encoder/../{own}")) is None
    assert inside(spec(own, kind="static")) is None and inside(tiny.spec) is None


# --- the one that comes with the package ------------------------------------------------------------------------


def test_the_shipped_encoder_has_its_card() -> None:
    card = json.loads((SHIPPED / "card.json").read_text("utf-8"))
    encoder = NgramEncoder()
    assert card["kind"] == "static" and card["parameters"] == encoder.codes.size
    assert card["licence"] == "Apache-2.0" and card["data"]
    assert card["scores"]["model"]["recall@10"] and card["scores_of"]
    readme = (SHIPPED / "README.md").read_text("utf-8")
    assert card["name"] in readme
    # The command makes it again in any checkout: no path of the machine that it was made on.
    assert not re.search(r"(?<![\w.:/])/\w+/", json.dumps(card["configuration"]) + card["command"]), card["command"]
    for name, digest in card["files"].items():
        assert hashlib.sha256((SHIPPED / name).read_bytes()).hexdigest() == digest


def test_the_shipped_encoder_encodes_a_thousand_passages() -> None:
    encoder = load_encoder("ngram")
    assert isinstance(encoder, NgramEncoder) and encoder.spec.settings == {}
    # More than a batch, with an end that is not one.
    texts = [f"第{n}位患者，血压{100 + n}/80mmHg，每日口服降压药，{n % 30}天后复诊。" for n in range(1030)]
    vectors = encoder.encode_documents(texts)
    assert vectors.shape == (1030, encoder.spec.dimension)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(vectors[1020:], encoder.encode_documents(texts[1020:]))


def test_the_shipped_encoder_knows_lay_words() -> None:
    encoder = NgramEncoder()
    passages = [
        "腹泻时应少量多次补液，防止脱水。",
        "偏头痛发作时宜在安静避光处休息。",
        "痔疮出血者应多食蔬菜，温水坐浴。",
    ]
    asked = ["拉肚子怎么办", "脑袋一边疼", "大便带血，屁股疼"]
    scores = encoder.encode_queries(asked) @ encoder.encode_documents(passages).T
    assert scores.argmax(axis=1).tolist() == [0, 1, 2]
