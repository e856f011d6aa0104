"""A literature as training material: read from documents or their index, learned by the real configurations."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from chimed_rag.encoders.adapt import Passage
from chimed_rag.encoders.base import load_encoder
from chimed_rag.errors import CorpusError
from chimed_rag.literature import STARTER_INDEX
from chimed_rag.medqa import MedQA
from training.files import Ledger
from training.literature import literature_pairs, passages_of
from training.pairs import Pair, PairData, read_pairs
from training.settings import ROOT

CONFIGS = ROOT / "training" / "configs"
ENTRY = ROOT / "chimed_rag" / "corpus" / "starter" / "acarbose.md"


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "docs" / "acarbose.md"
    path.parent.mkdir()
    path.write_bytes(ENTRY.read_bytes())
    return path


def read(path: Path, **keys: object) -> tuple[list[Pair], Ledger]:
    file = {"path": str(path), "form": "literature", **keys}
    data = PairData.model_validate({"files": [file], "hygiene": {"evaluation": None, "near_duplicates": None}})
    ledger: Ledger = []
    return read_pairs(data, seed=1, ledger=ledger), ledger


def test_documents_and_their_index_give_the_same_passages(document: Path, tmp_path: Path) -> None:
    MedQA.build(document, tmp_path / "index")
    passages = passages_of(document)
    assert {passage.title for passage in passages} == {"阿卡波糖"} and passages[0].heading == "适应症"
    assert passages_of(tmp_path / "index") == passages
    assert len(passages_of(STARTER_INDEX)) == 1903


def test_its_headings_and_sentences_become_pairs(document: Path) -> None:
    pairs, (account,) = read(document, times=2)
    headings = [pair for pair in pairs if pair.source == "literature headings"]
    sentences = [pair for pair in pairs if pair.source == "literature sentences"]
    assert len(headings) + len(sentences) == len(pairs) == account.kept
    passages = passages_of(document)
    texts = "".join(passage.text for passage in passages)
    assert len(headings) > len(passages) < 2 * sum("阿卡波糖" in pair.query for pair in headings)  # or a trade name
    assert sentences and all(pair.query in texts for pair in sentences)
    assert account.rows == len(passages) and 2 * len(passages) <= account.read == account.kept + account.dropped.total()
    assert read(document, times=2)[0] == pairs
    assert {pair.source for pair in read(document, source="mine")[0]} == {"mine headings", "mine sentences"}


def test_passages_without_title_or_of_one_sentence_give_nothing() -> None:
    passages = [Passage("", "", "只有一句话。"), Passage("", "", "第一句说了头痛怎么办。第二句说了要休息几天。")]
    found = list(literature_pairs(passages, "x", random.Random(1), 1))
    assert [source for _, _, source in found] == ["x sentences"]


def test_a_folder_that_is_no_index_is_told_so(document: Path) -> None:
    with pytest.raises(CorpusError, match=r"docs: a folder without manifest\.json is no index; name its files"):
        read(document.parent)


def test_the_real_configurations_learn_a_literature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Encoder, reranker on top, an index with both; small sizes put over the configurations' own."""
    pytest.importorskip("torch", reason="torch is not installed (extra `train`)")
    pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed (extra `train`)")
    pytest.importorskip("datasets", reason="datasets is not installed (extra `train`)")
    from training.retriever import train_retriever

    data = [f"data.files.0.path={STARTER_INDEX}", "data.limit=1200", "held_out=20", "device=cpu"]
    size = {"hidden": 32, "layers": 1, "heads": 2, "feed_forward": 64, "max_length": 64, "tokenizer.vocabulary": 3000}
    size |= {"mlm.batch_size": 16, "mlm.max_steps": 4, "mlm.block": 64, "mlm.bf16": "false", "mlm.machine": "{}"}
    encoder = train_retriever(
        CONFIGS / "retriever_literature.yaml",
        [f"output_dir={tmp_path}/encoder", *data, "rounds=[{batch_size: 32, max_steps: 4}]"]
        + [f"backbone.scratch.{key}={value}" for key, value in size.items()],
    )
    card = json.loads((encoder / "card.json").read_text("utf-8"))
    assert {point["phase"] for point in card["curve"]} <= {"mlm", "round-1"} and card["scores"]["model"]
    places = [f"output_dir={tmp_path}/reranker", f"backbone.base={encoder}", f"lists.by={encoder}"]
    short = ["max_length=64", "optimisation={batch_size: 8, max_steps: 2}"]
    reranker = train_retriever(CONFIGS / "retriever_literature_reranker.yaml", [*places, *data, *short])
    assert load_encoder(encoder, device="cpu").cosine_weight == 2.0
    documents = sorted((ROOT / "chimed_rag/corpus/starter").glob("*.md"))[:3]
    qa = MedQA.build(documents, tmp_path / "index", encoder=str(encoder), reranker=str(reranker))
    answer = qa.ask("阿卡波糖什么时候吃？")
    assert answer.evidence and np.isfinite([one.score for one in answer.evidence]).all()
