"""A passage that reads as a reply gains where the question reads as a patient's, by as much as the settings say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from chimed_rag import MedQA
from chimed_rag.config import Config
from chimed_rag.encoders.manner import Manner
from chimed_rag.encoders.ngram import NgramEncoder
from chimed_rag.records import Document
from tests.tiny_ngrams import tiny_encoder

TEXTS = ["头痛发热三天，建议多喝水，注意休息。", "头痛发热见于感冒。", "咳嗽见于支气管炎。", "头痛发热咳嗽。"]
QUESTION = "头痛发热"


@pytest.fixture
def encoder() -> NgramEncoder:
    encoder = tiny_encoder(TEXTS * 2, dimension=6)
    question, passages = encoder.encode_queries([QUESTION])[0], encoder.encode_documents(TEXTS)
    # Solved so that the question is a patient's by 3/4, and the first passage a reply by 9/10, the others by 1/10.
    steep = np.linalg.lstsq(np.c_[passages, np.ones(4)], np.log(9) * np.array([1, -1, -1, -1]), rcond=None)[0]
    encoder.manner = Manner(np.append(np.log(3) * question, 0).astype(np.float32), steep.astype(np.float32))
    return encoder


def scores(encoder: NgramEncoder, folder: Path, **retrieval: object) -> dict[str, float]:
    documents = [Document(id=f"d{n}", text=text, source="made_up.jsonl") for n, text in enumerate(TEXTS)]
    config = Config.model_validate({"retrieval": {"reranker": None, **retrieval}})
    with MedQA.build(documents, folder, encoder=encoder, adapt=False, storage="fp32", config=config) as qa:
        return {hit.document_id: hit.score for hit in qa.search(QUESTION, 4)}


def test_the_gain_by_hand(encoder: NgramEncoder, tmp_path: Path) -> None:
    with_it, without = scores(encoder, tmp_path / "a"), scores(encoder, tmp_path / "b", reply_weight=0)
    assert with_it.keys() == without.keys() and len(with_it) == 4
    gains = {key: with_it[key] - without[key] for key in with_it}
    assert gains == pytest.approx({"d0": 0.2 * 0.75 * 0.9, **dict.fromkeys(("d1", "d2", "d3"), 0.2 * 0.75 * 0.1)})
    twice = scores(encoder, tmp_path / "c", reply_weight=0.4)
    assert twice["d0"] - without["d0"] == pytest.approx(0.4 * 0.75 * 0.9)


def test_the_ranks_tell_it(encoder: NgramEncoder, tmp_path: Path) -> None:
    documents = [Document(id=f"d{n}", text=text, source="made_up.jsonl") for n, text in enumerate(TEXTS)]
    config = Config.model_validate({"retrieval": {"reply_weight": 0.1}})  # the others gain .0075
    with MedQA.build(documents, tmp_path / "a", encoder=encoder, adapt=False, storage="fp32", config=config) as qa:
        hits = {hit.document_id: hit for hit in qa.search(QUESTION, 4)}
    told = hits["d0"].ranks["reply"]
    assert told.rank == 1 and told.score == pytest.approx(0.1 * 0.75 * 0.9)
    assert all("reply" not in hits[key].ranks for key in ("d1", "d2", "d3"))


def test_other_questions_gain_nothing(encoder: NgramEncoder, tmp_path: Path) -> None:
    assert encoder.manner is not None
    encoder.manner = encoder.manner._replace(question=np.array([0] * 6 + [-9], np.float32))
    assert scores(encoder, tmp_path / "a") == scores(encoder, tmp_path / "b", reply_weight=0)


@pytest.mark.parametrize(
    "settings", [{"fusion": "rrf"}, {"fusion": "weighted"}, {"mode": "dense"}, {"mode": "lexical"}]
)
def test_it_is_part_of_one_fusion_alone(encoder: NgramEncoder, tmp_path: Path, settings: dict[str, object]) -> None:
    with_it = scores(encoder, tmp_path / "a", **settings)
    encoder.manner = None
    assert scores(encoder, tmp_path / "b", **settings) == with_it
