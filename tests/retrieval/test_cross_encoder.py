"""The cross-encoder reranker on a tiny XLM-R with one score, as bge-reranker-* is; random weights, no network."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported
torch = pytest.importorskip("torch", reason="torch is not installed (extra `models`)")
sentence_transformers = pytest.importorskip("sentence_transformers", reason="not installed (extra `models`)")

from chimed_rag import MedQA  # noqa: E402
from chimed_rag.encoders.sentence import SentenceEncoder  # noqa: E402
from chimed_rag.errors import EncoderError, InputError  # noqa: E402
from chimed_rag.retrieval.cross_encoder import CrossEncoderReranker  # noqa: E402
from chimed_rag.retrieval.rerank import load_reranker  # noqa: E402
from tests.contracts.reranker_contract import PASSAGES, QUERY, RerankerContract  # noqa: E402
from tests.tiny_models import COMMIT, cached, make, with_modules  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("tiny") / "reranker", "reranker")


@pytest.fixture(scope="module")
def reranker(folder: Path) -> CrossEncoderReranker:
    return CrossEncoderReranker(folder, batch_size=3)


class TestCrossEncoderContract(RerankerContract):
    """The fixture `reranker` stands above: the model is loaded once."""


def test_scores_are_the_logits_of_transformers(folder: Path, reranker: CrossEncoderReranker) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype="float32").eval()
    passages = [passage for passage in PASSAGES if "\ud800" not in passage]
    expected = []
    for passage in passages:
        with torch.inference_mode():
            inputs = tokenizer([(QUERY, passage)], return_tensors="pt", truncation="longest_first", max_length=128)
            expected.append(float(model(**inputs).logits[0, 0]))
    np.testing.assert_allclose(reranker.score(QUERY, passages), expected, atol=1e-4)


def test_loading_is_quiet(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    CrossEncoderReranker(folder).score("心", ["心"])
    assert capfd.readouterr() == ("", "")


def test_max_length_cuts(folder: Path) -> None:
    short = CrossEncoderReranker(folder, max_length=12)
    same = short.score("高血压", ["患者应低盐", "患者应低盐饮食和运动"])
    assert same[0] == pytest.approx(same[1], abs=1e-5)  # 4 signs around the pair, 8 for the texts
    long = CrossEncoderReranker(folder).score("高血压", ["患者应低盐", "患者应低盐饮食和运动"])
    assert abs(long[0] - long[1]) > 1e-3


def test_half_precision(folder: Path, reranker: CrossEncoderReranker) -> None:
    half = CrossEncoderReranker(folder, dtype="bfloat16").score(QUERY, PASSAGES[:3])
    np.testing.assert_allclose(half, reranker.score(QUERY, PASSAGES[:3]), atol=0.3)
    assert half != reranker.score(QUERY, PASSAGES[:3])


def test_from_the_hub_at_one_commit(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENTENCE_TRANSFORMERS_HOME", str(tmp_path))
    cached(tmp_path, "BAAI/bge-reranker-base", folder)
    for name in ("BAAI/bge-reranker-base", f"BAAI/bge-reranker-base@{COMMIT}"):
        found = load_reranker(name, local_files_only=True)
        assert isinstance(found, CrossEncoderReranker)
        assert (found.name, found.revision) == ("BAAI/bge-reranker-base", COMMIT)
    with pytest.raises(EncoderError, match="hf download BAAI/bge-reranker-v2-m3 --local-dir bge-reranker-v2-m3"):
        load_reranker("BAAI/bge-reranker-v2-m3")


def test_as_the_library_saves_it(folder: Path, tmp_path: Path, reranker: CrossEncoderReranker) -> None:
    model = sentence_transformers.CrossEncoder(str(folder), device="cpu")
    model.save_pretrained(str(tmp_path / "saved"))
    again = CrossEncoderReranker(tmp_path / "saved")
    np.testing.assert_allclose(again.score(QUERY, PASSAGES), reranker.score(QUERY, PASSAGES), atol=1e-5)
    with pytest.raises(EncoderError, match="did you mean --reranker"):
        SentenceEncoder(tmp_path / "saved")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_missing_file_is_named(folder: Path, tmp_path: Path, name: str) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copy / name).unlink()
    with pytest.raises(EncoderError, match=name.replace(".", r"\.")):
        CrossEncoderReranker(copy)


def test_other_models_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="gives 3 numbers for a pair"):
        CrossEncoderReranker(make(tmp_path / "labels", "labels"))
    with pytest.raises(EncoderError, match="is a generator, not a cross-encoder; did you mean --generator"):
        CrossEncoderReranker(make(tmp_path / "qwen3", "qwen3"))
    bert = make(tmp_path / "bert", "bert")
    with pytest.raises(EncoderError, match="a model without a head, not a cross-encoder"):
        CrossEncoderReranker(bert)
    with pytest.raises(EncoderError, match="is a SentenceTransformer, not a cross-encoder; did you mean --encoder"):
        CrossEncoderReranker(with_modules(bert, "mean"))
    with pytest.raises(EncoderError, match="is a CrossEncoder, not an encoder; did you mean --reranker"):
        SentenceEncoder(folder)
    with pytest.raises(EncoderError, match="is not a folder"):
        CrossEncoderReranker(tmp_path / "gone")


def test_weights_that_give_nan(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    weights = load_file(copy / "model.safetensors")
    weights["classifier.out_proj.bias"][0] = float("nan")
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EncoderError, match="reranker copy gave NaN"):
        CrossEncoderReranker(copy).score(QUERY, PASSAGES)


def test_in_the_flow(ward: Path, folder: Path, reranker: CrossEncoderReranker, tmp_path: Path) -> None:
    with MedQA.load(ward, reranker=str(folder)) as qa:
        found = qa.search("布洛芬的禁忌", k=4)
        texts = ["\n".join((e.title, *e.headings, e.text)) for e in found]
        np.testing.assert_allclose([e.score for e in found], reranker.score("布洛芬的禁忌", texts), atol=1e-4)
        assert [e.score for e in found] == sorted((e.score for e in found), reverse=True)
        assert [e.ranks["reranker"].rank for e in found] == [1, 2, 3, 4]
        answer = qa.ask("布洛芬的禁忌是什么")
        step = next(entry for entry in answer.trace if entry.step == "retrieval")
        assert step.detail["reranker"] == "reranker"
    (tmp_path / "c.yaml").write_text(f"retrieval: {{reranker: {json.dumps(str(folder))}}}\n")
    with MedQA.load(ward, config=tmp_path / "c.yaml") as qa:
        assert [e.chunk_id for e in qa.search("布洛芬的禁忌", k=4)] == [e.chunk_id for e in found]


def test_settings_it_does_not_take(folder: Path, reranker: CrossEncoderReranker) -> None:
    with pytest.raises(InputError, match="'temperature'"):
        load_reranker(folder, temperature=1)
    with pytest.raises(InputError, match="not with a loaded reranker"):
        load_reranker(reranker, batch_size=1)
    with pytest.raises(InputError, match="'path'"):
        load_reranker("cross-encoder")
