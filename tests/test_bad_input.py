"""Broken encoders, model folders with files missing, and odd questions: a clear error, and nothing lost."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chimed_rag import Document, MedQA
from chimed_rag.config import Config
from chimed_rag.encoders.base import checked
from chimed_rag.encoders.hashing import HashingEncoder
from chimed_rag.errors import EncoderError, IndexMismatchError, InputError

os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported

HOW = ["nan", "infinite", "dimension", "fewer", "flat", "none", "words", "ragged"]


def spoilt(vectors: Any, how: str) -> Any:
    """What an encoder must not give, made of what it should."""
    if how == "nan":
        vectors[-1, 3] = np.nan
    elif how == "infinite":
        vectors[0, 0] = -np.inf
    return {
        "dimension": vectors[:, :-1], "fewer": vectors[:-1], "flat": vectors.ravel(), "none": None, "words": "vectors",
        "ragged": [[1.0], *vectors[1:].tolist(), [1.0, 2.0]], "zero": np.zeros_like(vectors),
    }.get(how, vectors)  # fmt: skip


class Spoilt(HashingEncoder):
    """Right for passages, questions, both or neither; its spec is that of a right one."""

    def __init__(self, documents: str = "", queries: str = "") -> None:
        super().__init__(32)
        self.documents, self.queries = documents, queries

    def encode_documents(self, texts: Sequence[str]) -> Any:
        return spoilt(super().encode_documents(texts), self.documents)

    def encode_queries(self, texts: Sequence[str]) -> Any:
        return spoilt(super().encode_documents(texts), self.queries)


def files(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file() and f.name != ".lock"}


@pytest.fixture
def index(tmp_path: Path, documents: list[Document]) -> Path:
    MedQA.build(documents, tmp_path / "ward", encoder=Spoilt()).close()
    return tmp_path / "ward"


@pytest.mark.parametrize("how", [*HOW, "zero"])
def test_a_broken_encoder_builds_nothing(tmp_path: Path, documents: list[Document], how: str) -> None:
    with pytest.raises(EncoderError, match="encoder hashing gave"):
        MedQA.build(documents, tmp_path / "i", encoder=Spoilt(documents=how))
    assert not (tmp_path / "i").exists()
    with MedQA.build(documents, tmp_path / "i", encoder=Spoilt()) as qa:
        assert qa.search("高血压", k=1)[0].document_id == "hypertension"


@pytest.mark.parametrize("how", [*HOW, "zero"])
def test_an_index_survives_a_broken_encoder(index: Path, how: str) -> None:
    before = files(index)
    more = [Document(id=f"more{i}", text=f"第{i}种药物用于治疗高血压。") for i in range(8)]
    with pytest.raises(EncoderError), MedQA.load(index, encoder=Spoilt(documents=how)) as qa:
        qa.add(more)
    with pytest.raises(EncoderError):
        MedQA.build(more, index, encoder=Spoilt(documents=how), overwrite=True)
    assert files(index) == before
    with MedQA.load(index, encoder=Spoilt()) as qa:
        assert qa.add(more).added == 8


@pytest.mark.parametrize("how", HOW)
def test_asking_with_a_broken_encoder(index: Path, how: str) -> None:
    before = files(index)
    with MedQA.load(index, encoder=Spoilt(queries=how)) as qa:
        for call in (qa.search, qa.ask):
            with pytest.raises(EncoderError, match="encoder hashing gave"):
                call("高血压怎么治疗")
        lexical = MedQA.load(
            index, encoder=Spoilt(queries=how), config=Config.model_validate({"retrieval": {"mode": "lexical"}})
        )
        assert lexical.search("高血压", k=1)[0].document_id == "hypertension"  # what needs no encoder still works
    assert files(index) == before


def test_a_question_the_encoder_knows_nothing_of(index: Path) -> None:
    """Passages that all tie at 0 are not fused: the order is that of the words alone."""
    plain: dict[str, Any] = {"reranker": "none"}
    with (
        MedQA.load(index, encoder=Spoilt(queries="zero"), **plain) as blind,
        MedQA.load(index, encoder=Spoilt(), **plain) as seeing,
    ):
        found = blind.search("血钾的参考范围", k=3)
        assert found[0].document_id == "potassium"
        assert all(set(item.ranks) == {"lexical"} for item in found)
        assert set(seeing.search("血钾的参考范围", k=1)[0].ranks) == {"lexical", "dense"}


def test_passages_without_words_may_have_zero_vectors(tmp_path: Path) -> None:
    with MedQA.build([Document(id="a", text="……！！")], tmp_path / "i", encoder=Spoilt()) as qa:
        assert len(qa) == 1


@pytest.mark.parametrize("given", [None, "x", [[1.0, 2.0], [3.0]], [["a", "b"]], object()])
def test_what_is_no_array_is_told_as_such(given: Any) -> None:
    with pytest.raises(EncoderError, match="encoder mine gave"):
        checked(given, 1, 2, "mine")


@pytest.mark.parametrize(
    ("question", "found"),
    [("钾", True), ("🙂", False), ("血钾🙂🩺" * 20, True), ("血钾偏低怎么办，" * 625, True), ("\ud800血钾", True)],
)
def test_odd_questions(index: Path, question: str, found: bool) -> None:
    with MedQA.load(index, encoder=Spoilt(), config=Config(max_question_characters=5000)) as qa:
        if found:
            assert qa.search(question, k=1)[0].document_id == "potassium"
            assert qa.ask(question).question == question
        else:
            with pytest.raises(InputError, match="holds no word"):
                qa.ask(question)
    with MedQA.load(index, encoder=Spoilt()) as qa, pytest.raises(InputError, match="ask in at most 4,000"):
        qa.ask("血钾偏低怎么办，" * 625)


def test_an_encoder_of_another_dimension(index: Path) -> None:
    with pytest.raises(IndexMismatchError, match=r"dimension 32.*dimension 64.*chimed build"):
        MedQA.load(index, encoder=HashingEncoder(64))
    with pytest.raises(InputError, match="which has no folder"):
        MedQA.load(index, encoder=index)


# -- models in folders -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("torch", reason="torch is not installed (extra `models`)")
    pytest.importorskip("sentence_transformers", reason="not installed (extra `models`)")
    from tests.tiny_models import make, with_modules

    return with_modules(make(tmp_path_factory.mktemp("tiny") / "bert", "bert"), "cls")


NEEDED = ["config.json", "tokenizer.json", "model.safetensors", "1_Pooling/config.json"]


@pytest.mark.parametrize("name", NEEDED)
@pytest.mark.parametrize("damage", ["gone", "empty", "cut"])
def test_a_model_folder_with_a_bad_file(
    model: Path, tmp_path: Path, documents: list[Document], name: str, damage: str
) -> None:
    """Building and asking: the error names the folder; nothing is left, the index stays and serves again."""
    copy = Path(shutil.copytree(model, tmp_path / "model"))
    index = tmp_path / "i"
    MedQA.build(documents, index, encoder=copy).close()
    before = files(index)
    whole = (copy / name).read_bytes()
    if damage == "gone":
        (copy / name).unlink()
    else:
        (copy / name).write_bytes(b"" if damage == "empty" else whole[: len(whole) // 2])
    for call in (
        lambda: MedQA.build(documents, tmp_path / "new", encoder=copy),
        lambda: MedQA.build(documents, index, encoder=copy, overwrite=True),
        lambda: MedQA.load(index),
    ):
        with pytest.raises(EncoderError) as caught:
            call()
        assert str(copy) in str(caught.value)
        if damage == "gone":
            assert Path(name).name in str(caught.value)
    assert not (tmp_path / "new").exists()
    assert files(index) == before
    (copy / name).write_bytes(whole)
    with MedQA.load(index) as qa:
        assert len(qa.search("高血压", k=4)) == 4


@pytest.mark.parametrize("name", ["modules.json", "tokenizer_config.json", "sentence_bert_config.json"])
def test_a_file_whose_loss_changes_vectors_is_noticed(
    model: Path, tmp_path: Path, documents: list[Document], name: str
) -> None:
    copy = Path(shutil.copytree(model, tmp_path / "model"))
    MedQA.build(documents, tmp_path / "i", encoder=copy).close()
    (copy / name).unlink()
    with pytest.raises((IndexMismatchError, EncoderError)):
        MedQA.load(tmp_path / "i")


def test_a_model_of_another_dimension_in_its_place(model: Path, tmp_path: Path, documents: list[Document]) -> None:
    from transformers import BertConfig, BertModel

    copy = Path(shutil.copytree(model, tmp_path / "model"))
    MedQA.build(documents, tmp_path / "i", encoder=copy).close()
    config = BertConfig.from_pretrained(copy)
    config.hidden_size = 16
    BertModel(config).save_pretrained(copy)
    pooling = copy / "1_Pooling" / "config.json"
    pooling.write_text(pooling.read_text().replace("32", "16"))
    with pytest.raises(IndexMismatchError, match=r"dimension 32.*dimension 16.*chimed build"):
        MedQA.load(tmp_path / "i")


def test_a_model_whose_weights_give_nan(model: Path, tmp_path: Path, documents: list[Document]) -> None:
    from safetensors.torch import load_file, save_file

    copy = Path(shutil.copytree(model, tmp_path / "model"))
    weights = load_file(copy / "model.safetensors")
    weights["encoder.layer.0.output.dense.bias"][0] = float("nan")
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EncoderError, match="gave NaN or infinity"):
        MedQA.build(documents, tmp_path / "i", encoder=copy)
    assert not (tmp_path / "i").exists()


@pytest.mark.parametrize("question", ["钾", "血钾" * 2500, "血钾🙂\ud800"])
def test_odd_questions_to_a_model(model: Path, tmp_path: Path, documents: list[Document], question: str) -> None:
    config = Config(max_question_characters=5000)
    with MedQA.build(documents, tmp_path / "i", encoder=model, config=config) as qa:
        assert len(qa.search(question, k=4)) == 4
        with pytest.raises(InputError, match="holds no word"):
            qa.search("🙂🙂")
