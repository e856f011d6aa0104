"""The kind `static`: trained without torch, gone on with after a kill, with a card that tells what it is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import training.run
import training.static
from chimed_rag.encoders.adapt import Passage
from chimed_rag.encoders.base import load_encoder
from chimed_rag.encoders.ngram import NgramEncoder
from chimed_rag.errors import CorpusError, InputError
from training.card import Card
from training.retriever import KINDS, train_retriever
from training.settings import ROOT, read_yaml, validated

CONFIGS = ROOT / "training" / "configs"
CONFIG = CONFIGS / "retriever_static_tiny.yaml"
FILES = ("model.safetensors", "config.json")


def trained(out: Path, *overrides: str, **options: object) -> Path:
    return train_retriever(CONFIG, [f"output_dir={out}/model", *overrides], **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def whole(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINY", str(tiny_folder))
        return trained(tmp_path_factory.mktemp("whole"))


def test_the_configurations_are_valid(tiny: Path) -> None:
    for path in (CONFIG, CONFIGS / "retriever_static.yaml"):
        assert validated(KINDS.get("static").settings, read_yaml(path), path).kind == "static"


def test_a_run_leaves_an_encoder_and_its_card(whole: Path) -> None:
    card = Card.model_validate_json((whole / "card.json").read_text("utf-8"))
    encoder = load_encoder(whole)
    assert isinstance(encoder, NgramEncoder) and encoder.spec.dimension == 32
    assert card.kind == "static" and card.resumed == 0
    assert set(card.files) == set(FILES) and not (whole / "work").exists()
    assert card.parameters == encoder.codes.size < 2000 * 32  # there are fewer n-grams than there might be
    assert {point.phase for point in card.curve} == {"made_up", "consultations"}  # none has two sentences
    assert [point.step for point in card.curve] == list(range(1, len(card.curve) + 1))
    assert {"recall@10", "mrr@10"} <= set(card.scores["bm25"]) == set(card.scores["model"])
    readme = (whole / "README.md").read_text("utf-8")
    assert "医生" not in readme and "痛风" not in readme  # no training row in the card
    vectors = encoder.encode_documents(["痛风怎么治", ""])
    assert np.linalg.norm(vectors, axis=1).tolist() == pytest.approx([1, 0])


@pytest.mark.parametrize("moment", ["train", "seal", "write_card"])
def test_a_killed_run_goes_on_with_the_same_result(
    moment: str, whole: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    place = training.static if moment == "train" else training.run
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(place, moment, killed)
        trained(tmp_path)
    said: list[str] = []
    folder = trained(tmp_path, say=said.append)
    assert any("going on" in line for line in said)
    # The one phase counts once it is sealed.
    assert any("was finished before" in line for line in said) == (moment == "write_card")
    for name in FILES:
        assert (folder / name).read_bytes() == (whole / name).read_bytes()
    cards = [json.loads((place / "card.json").read_text("utf-8")) for place in (folder, whole)]
    assert [card["resumed"] for card in cards] == [1, 0]
    for part in ("curve", "scores", "parameters", "files", "data"):
        assert cards[0][part] == cards[1][part]


def test_a_finished_run_is_left_as_it_is(whole: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training.static, "train", None)
    said: list[str] = []
    assert trained(whole.parent, say=said.append) == whole
    assert any("holds this model already" in line for line in said)
    with pytest.raises(InputError, match=r"other settings .*dimension"):
        trained(whole.parent, "dimension=16")


def test_headings_of_a_literature_become_questions(tiny: Path, tmp_path: Path) -> None:
    folder = trained(tmp_path, "literature=[$TINY/corpus.jsonl.gz]", "sentences=[literature]", "seed=9")
    card = Card.model_validate_json((folder / "card.json").read_text("utf-8"))
    assert {"literature", "sentences"} <= {point.phase for point in card.curve}
    (entry,) = [entry for entry in card.data if entry.path.endswith("corpus.jsonl.gz")]
    assert entry.path == "$TINY/corpus.jsonl.gz"
    assert (entry.rows, entry.read, entry.kept) == (64, 64, 64)  # 16 diseases, four aspects
    with pytest.raises(CorpusError, match="no such file"):
        trained(tmp_path / "gone", "literature=[$TINY/gone.md]")


WITHOUT = """
import sys
class Absent:
    def find_spec(self, name, *_):
        if name in ("torch", "transformers", "sentence_transformers", "datasets", "accelerate"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
from training.retriever import train_retriever
train_retriever(sys.argv[1], ["output_dir=" + sys.argv[2]])
"""


def test_questions_also_find_the_passage_around_the_sentence() -> None:
    passages = [Passage("痛风", "饮食", "痛风患者应限酒。啤酒可诱发痛风。"), Passage("痛风", "检查", "应查血尿酸。")]
    pairs = [("痛风能喝酒吗", "啤酒可诱发痛风。"), ("尿酸怎么查", "应查血尿酸。"), ("痛风怕冷吗", "别处的话。")]
    assert training.static.asked_passages(passages, pairs) == [
        ("痛风能喝酒吗", "痛风\n饮食\n痛风患者应限酒。啤酒可诱发痛风。"),
        ("尿酸怎么查", "痛风\n检查\n应查血尿酸。"),
    ]


def test_it_needs_no_torch(whole: Path, tiny: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", WITHOUT, str(CONFIG), str(tmp_path / "model")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
