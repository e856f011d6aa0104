"""Known encoders: right without reading a model card, on tiny models of the same architectures; no network."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported
torch = pytest.importorskip("torch", reason="torch is not installed (extra `models`)")
pytest.importorskip("sentence_transformers", reason="not installed (extra `models`)")

from chimed_rag import Document, MedQA  # noqa: E402
from chimed_rag.encoders import known  # noqa: E402
from chimed_rag.encoders.base import encoder_from_spec, load_encoder  # noqa: E402
from chimed_rag.encoders.known import KNOWN, known_encoder, recognised  # noqa: E402
from chimed_rag.encoders.sentence import SentenceEncoder  # noqa: E402
from chimed_rag.errors import EncoderError, UnknownNameError  # noqa: E402
from tests import tiny_models  # noqa: E402
from tests.contracts.encoder_contract import EncoderContract  # noqa: E402
from tests.tiny_models import COMMIT, WIDTH, by_hand, cached, make, with_modules  # noqa: E402

CASES = [
    ("BAAI/bge-large-zh-v1.5", "bert", "cls", "为这个句子生成表示以用于检索相关文章：", ""),
    ("thenlper/gte-base-zh", "bert", "cls", "", ""),
    ("moka-ai/m3e-base", "bert", "mean", "", ""),
    ("BAAI/bge-m3", "xlmr", "cls", "", ""),
    ("intfloat/multilingual-e5-small", "xlmr", "mean", "query: ", "passage: "),
    (
        "Qwen/Qwen3-Embedding-0.6B", "qwen3", "lasttoken",
        "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:", "",
    ),
]  # fmt: skip
TEXTS = ["高血压", "孕妇感冒发烧能吃布洛芬吗？", "糖尿病" * 6, "心"]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: make(tmp_path_factory.mktemp("tiny") / kind, kind) for kind in ("bert", "xlmr", "qwen3")}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SENTENCE_TRANSFORMERS_HOME", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.mark.parametrize("whole", [False, True], ids=["bare weights", "modules.json"])
@pytest.mark.parametrize(("name", "kind", "pooling", "query", "passage"), CASES)
def test_by_name(
    made: dict[str, Path], cache: Path, name: str, kind: str, pooling: str, query: str, passage: str, whole: bool
) -> None:
    snapshot = cached(cache, name, made[kind])
    if whole:
        with_modules(snapshot, pooling)
    encoder = load_encoder(name, batch_size=3)
    documents, queries = encoder.encode_documents(TEXTS), encoder.encode_queries(TEXTS)
    np.testing.assert_allclose(documents, by_hand(snapshot, [passage + t for t in TEXTS], pooling), atol=1e-5)
    np.testing.assert_allclose(queries, by_hand(snapshot, [query + t for t in TEXTS], pooling), atol=1e-5)
    assert np.allclose(documents, queries, atol=1e-4) == (query == passage)
    alone = np.vstack([encoder.encode_documents([text]) for text in TEXTS])
    np.testing.assert_allclose(documents, alone, atol=1e-5)
    settings = encoder.spec.settings
    assert (settings["query_prefix"], settings["document_prefix"]) == (query, passage)
    assert (settings["path"], settings["revision"], settings["known_as"]) == (name, COMMIT, name)
    assert encoder_from_spec(encoder.spec).spec == encoder.spec


@pytest.fixture(scope="module")
def encoder(made: dict[str, Path]) -> SentenceEncoder:
    return SentenceEncoder(made["qwen3"], known_as="Qwen/Qwen3-Embedding-0.6B", batch_size=3)


class TestContractOfAKnownEncoder(EncoderContract):
    """Left padding and the last token, with a prompt before questions."""


def test_an_index_of_a_known_encoder(made: dict[str, Path], cache: Path, tmp_path: Path) -> None:
    cached(cache, "BAAI/bge-large-zh-v1.5", made["bert"])
    documents = [
        Document(id="a", title="高血压", text="高血压患者应低盐饮食。"),
        Document(id="b", text="孕妇禁用布洛芬。"),
    ]
    MedQA.build(documents, tmp_path / "i", encoder="BAAI/bge-large-zh-v1.5", config=None).close()
    settings = json.loads((tmp_path / "i" / "manifest.json").read_text())["encoder"]["settings"]
    assert settings["revision"] == COMMIT
    assert settings["query_prefix"] == "为这个句子生成表示以用于检索相关文章："
    with MedQA.load(tmp_path / "i") as qa:
        assert len(qa.search("高血压吃什么", k=2)) == 2
        expected = qa.search("高血压吃什么", k=2)
        assert qa.encoder.spec.settings == settings
    # What the error of an absent model advises: its folder, brought along, with the weights in another format beside.
    folder = Path(shutil.copytree(made["bert"], tmp_path / "bge-large-zh-v1.5"))
    (folder / "pytorch_model.bin").write_bytes(b"not read")
    shutil.rmtree(cache)
    with pytest.raises(EncoderError, match=r"hf download BAAI/bge-large-zh-v1\.5 --revision c+ --local-dir"):
        MedQA.load(tmp_path / "i")
    with MedQA.load(tmp_path / "i", encoder=folder) as qa:
        assert qa.search("高血压吃什么", k=2) == expected


def test_a_revision_goes_through(made: dict[str, Path], cache: Path) -> None:
    snapshot = cached(cache, "someone/tiny", with_modules(shutil.copytree(made["bert"], cache / "x"), "mean"))
    older = snapshot.with_name("d" * 40)
    shutil.copytree(snapshot, older)
    (snapshot.parents[1] / "refs" / "v1").write_text("d" * 40)
    assert load_encoder("someone/tiny").spec.settings["revision"] == COMMIT
    for asked in ("v1", "d" * 40):
        assert load_encoder(f"someone/tiny@{asked}").spec.settings["revision"] == "d" * 40
        assert load_encoder("someone/tiny", revision=asked, local_files_only=True).spec.settings["revision"] == "d" * 40
    with pytest.raises(EncoderError, match="hf download someone/tiny --revision v2 --local-dir tiny"):
        load_encoder("someone/tiny@v2")
    with pytest.raises(EncoderError, match="a revision belongs to a hub model"):
        SentenceEncoder(made["bert"], revision="v1")


def test_what_the_caller_and_the_model_say_comes_first(made: dict[str, Path], cache: Path) -> None:
    snapshot = with_modules(cached(cache, "BAAI/bge-small-zh-v1.5", made["bert"]), "cls")
    assert load_encoder("BAAI/bge-small-zh-v1.5", query_prefix="").spec.settings["query_prefix"] == ""
    (snapshot / "config_sentence_transformers.json").write_text(json.dumps({"prompts": {"query": "问："}}))
    assert load_encoder("BAAI/bge-small-zh-v1.5").spec.settings["query_prefix"] == "问："


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table, as if these known models were as small as ours."""
    for name in ("BAAI/bge-large-zh-v1.5", "moka-ai/m3e-base"):
        monkeypatch.setitem(KNOWN, name, KNOWN[name]._replace(dimension=WIDTH))


@pytest.mark.usefixtures("small")
def test_a_copy_in_a_folder_is_recognised(made: dict[str, Path], tmp_path: Path) -> None:
    prefix = KNOWN["BAAI/bge-large-zh-v1.5"].query_prefix
    copy = Path(shutil.copytree(made["bert"], tmp_path / "bge-large-zh-v1.5"))
    assert SentenceEncoder(copy).spec.settings["query_prefix"] == prefix
    np.testing.assert_allclose(SentenceEncoder(copy).encode_documents(TEXTS), by_hand(copy, TEXTS, "cls"), atol=1e-5)
    assert SentenceEncoder(copy, known_as="").spec.settings["query_prefix"] == ""
    np.testing.assert_allclose(
        SentenceEncoder(copy, known_as="").encode_documents(TEXTS), by_hand(copy, TEXTS, "mean"), atol=1e-5
    )
    elsewhere = Path(shutil.copytree(made["bert"], tmp_path / "mine"))
    assert SentenceEncoder(elsewhere).spec.settings["known_as"] == ""
    assert SentenceEncoder(elsewhere, known_as="BAAI/bge-large-zh-v1.5").spec.settings["query_prefix"] == prefix
    config = json.loads((elsewhere / "config.json").read_text())
    (elsewhere / "config.json").write_text(json.dumps({**config, "_name_or_path": "BAAI/bge-large-zh-v1.5"}))
    assert SentenceEncoder(elsewhere).spec.settings["known_as"] == "BAAI/bge-large-zh-v1.5"
    assert SentenceEncoder(elsewhere).spec.fingerprint != SentenceEncoder(elsewhere, known_as="").spec.fingerprint


@pytest.mark.usefixtures("small")
def test_a_name_alone_does_not_make_a_copy(made: dict[str, Path], tmp_path: Path) -> None:
    pooled = with_modules(Path(shutil.copytree(made["bert"], tmp_path / "bge-large-zh-v1.5")), "mean")
    assert SentenceEncoder(pooled).spec.settings["known_as"] == ""
    wide = Path(shutil.copytree(made["bert"], tmp_path / "bge-base-zh-v1.5"))  # 768 in the table, 32 here
    other = SentenceEncoder(wide)
    assert (other.spec.settings["known_as"], other.spec.settings["query_prefix"]) == ("", "")
    np.testing.assert_allclose(other.encode_documents(TEXTS), by_hand(wide, TEXTS, "mean"), atol=1e-5)


def test_layers_that_a_copy_lacks_are_not_guessed(made: dict[str, Path], tmp_path: Path) -> None:
    copy = Path(shutil.copytree(made["bert"], tmp_path / "Conan-embedding-v1"))
    with pytest.raises(EncoderError, match=r"holds no modules\.json.*hf download TencentBAC/Conan-embedding-v1"):
        SentenceEncoder(copy)


@pytest.mark.parametrize("name", [name for name, entry in KNOWN.items() if entry.remote_code])
def test_code_of_a_model_is_not_run_unless_one_says_so(made: dict[str, Path], cache: Path, name: str) -> None:
    with pytest.raises(EncoderError, match=r"SentenceEncoder\('.*', trust_remote_code=True\)"):
        load_encoder(name)
    copy = Path(shutil.copytree(made["bert"], cache / name.partition("/")[2]))
    with pytest.raises(EncoderError, match="trust_remote_code=True"):
        load_encoder(copy)
    cached(cache, name, made["bert"])
    assert load_encoder(name, trust_remote_code=True).spec.name == name


@pytest.mark.parametrize("options", [{}, {"local_files_only": True}])
def test_a_model_that_is_not_here(cache: Path, options: dict[str, bool]) -> None:
    with pytest.raises(EncoderError) as caught:
        load_encoder("BAAI/bge-large-zh-v1.5", **options)
    for part in ("not on this machine", "HF_HUB_OFFLINE", "hf download BAAI/bge-large-zh-v1.5 --local-dir"):
        assert part in str(caught.value)


def test_a_hub_that_is_not_reached(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without HF_HUB_OFFLINE the hub is asked, which the tests' guard against the network refuses."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with pytest.raises(
        EncoderError, match=r"BAAI/bge-m3 is not on this machine, and the hub is not reached.*hf download"
    ):
        load_encoder("BAAI/bge-m3")


def test_pickled_weights_on_the_hub(made: dict[str, Path], cache: Path) -> None:
    snapshot = cached(cache, "BAAI/bge-large-zh-v1.5", made["bert"])
    (snapshot / "model.safetensors").rename(snapshot / "pytorch_model.bin")
    with pytest.raises(
        EncoderError, match=r"hf download BAAI/bge-large-zh-v1\.5 --local-dir DIR && python -m .*convert DIR"
    ):
        load_encoder("BAAI/bge-large-zh-v1.5")


def test_the_table_holds_together() -> None:
    assert all(name == entry.name and name.count("/") == 1 for name, entry in KNOWN.items())
    for entry in KNOWN.values():
        assert entry.facts.keys() == {"dimension", "tokens", "pooling", "licence", "prefix"}, entry.name
        assert all(set(letters.split(", ")[0]) <= set("MFCR") for letters in entry.facts.values()), entry.name
        assert entry.licence
        assert all(score is None or 0 < score < 100 for score in entry.scores)
    folders = [name.partition("/")[2].casefold() for name in KNOWN]
    assert len(set(folders)) == len(folders)
    assert known_encoder("baai/BGE-large-zh-v1.5") is KNOWN["BAAI/bge-large-zh-v1.5"]
    assert known_encoder("BAAI/bge-large-zh") is None
    with pytest.raises(UnknownNameError, match="BAAI/bge-m3"):
        known.require_known("BAAI/bge-large")


@pytest.mark.parametrize(
    ("place", "config", "name"),
    [
        ("models--BAAI--bge-m3/snapshots/" + COMMIT, {}, "BAAI/bge-m3"),
        ("models/BAAI/bge-m3", {}, "BAAI/bge-m3"),
        ("models/Qwen--Qwen3-Embedding-4B", {}, "Qwen/Qwen3-Embedding-4B"),
        ("models/GTE-large-zh", {}, "thenlper/gte-large-zh"),
        ("models/mine", {"_name_or_path": "moka-ai/m3e-base"}, "moka-ai/m3e-base"),
        ("models/mine", {"_name_or_path": 7}, None),
        ("models/gte-large-zh-ours", {}, None),
    ],
)
def test_what_a_folder_claims(place: str, config: dict[str, object], name: str | None) -> None:
    entry = recognised(Path("/") / place, config)
    assert (entry.name if entry is not None else None) == name


def test_the_tiny_tokenizers_know_the_prompts() -> None:
    """Else the prefix tests would compare unknown signs with unknown signs."""
    characters = set(tiny_models._TEXT) | set(tiny_models._CHARACTERS)
    assert all(set(query + passage) <= characters for *_, query, passage in CASES)
