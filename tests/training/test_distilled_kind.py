"""The kind `distilled`: a student nearer to its teacher with each step, gone on with after a kill, read with numpy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra `train`)")
pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed (extra `train`)")

import training.distilled  # noqa: E402
import training.fitting  # noqa: E402
from chimed_rag.encoders.compact import PASSAGE, QUESTION, CompactTransformer  # noqa: E402
from chimed_rag.errors import ConfigError, EncoderError, InputError  # noqa: E402
from chimed_rag.retrieval.windows import WindowReranker  # noqa: E402
from tests.tiny_models import make  # noqa: E402
from training.card import Card  # noqa: E402
from training.retriever import KINDS, train_retriever  # noqa: E402
from training.settings import ROOT, read_yaml, validated  # noqa: E402

CONFIGS = ROOT / "training" / "configs"
CONFIG = CONFIGS / "retriever_distilled_tiny.yaml"
FILES = ("model.safetensors", "tokenizer.json", "config.json")
TEXTS = ["痛风怎么治", "湿疹有什么表现", "痛风一般先用第6号办法处理，一周内复查一次。", ""]


def trained(out: Path, *overrides: str, **options: Any) -> Path:
    return train_retriever(CONFIG, [f"output_dir={out}/model", *overrides], **options)


def card_of(folder: Path) -> Card:
    return Card.model_validate_json((folder / "card.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def whole(tiny_folder: Path, teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINY", str(tiny_folder))
        return trained(tmp_path_factory.mktemp("whole"))


def tokenizer_of(folder: Path) -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def test_the_configurations_are_valid(tiny: Path) -> None:
    for path in (CONFIG, CONFIGS / "retriever_distilled.yaml"):
        assert validated(KINDS.get("distilled").settings, read_yaml(path), path).kind == "distilled"


def test_a_run_leaves_a_reranker_and_its_card(whole: Path) -> None:
    card = card_of(whole)
    assert card.kind == "distilled" and card.resumed == 0
    assert set(card.files) == set(FILES) and (whole / "README.md").is_file() and not (whole / "work").exists()
    assert {"recall@10", "mrr@10"} <= set(card.scores["bm25"]) == set(card.scores["reranked"])
    manifest = json.loads((whole / "manifest.json").read_text("utf-8"))
    assert manifest["parents"]["teacher"]["path"] == "$TINY/teacher"
    readme = (whole / "README.md").read_text("utf-8")
    assert "医生" not in readme and "痛风" not in readme  # no training row in the card
    about = json.loads((whole / "config.json").read_text("utf-8"))
    assert (about["layers"], about["heads"], about["longest"]) == (2, 4, 48)
    model = CompactTransformer(whole)
    words = tokenizer_of(whole).get_vocab_size()
    layer = 32 * (4 * 32 + 2 * 32) + 4 * 32 + 32 + 32 + 4 * 32  # matrices, their biases, two normalisations
    assert card.parameters == 32 * (words + 48 + 2 + 2) + 2 * layer + 32 * 32 + 32
    assert np.linalg.norm(model.encode(TEXTS, PASSAGE), axis=1) == pytest.approx(1, abs=1e-5)
    scores = WindowReranker(whole).score(TEXTS[0], TEXTS[1:3])
    assert len(scores) == 2 and all(-1.0001 <= score <= 1.0001 for score in scores)


def test_the_student_comes_nearer_to_its_teacher(whole: Path) -> None:
    losses = [point.loss for point in card_of(whole).curve]
    assert len(losses) == 6 and losses[-1] < losses[1] < losses[0] and losses[-1] < 0.6 * losses[0]


def test_numpy_reads_what_torch_learned(
    tiny: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    students: list[Any] = []
    save = training.distilled._save

    def kept(student: Any, *rest: Any) -> None:
        students.append(student.eval())
        save(student, *rest)

    monkeypatch.setattr(training.distilled, "_save", kept)
    folder = trained(tmp_path, "learning.max_steps=5")
    tokenizer, (student,) = tokenizer_of(folder), students

    def read(text: str, segment: int) -> Any:
        ids = torch.tensor([tokenizer.encode(text).ids])
        with torch.inference_mode():
            states = student.bert(input_ids=ids, token_type_ids=torch.full_like(ids, segment)).last_hidden_state
            return torch.nn.functional.normalize(student.head(states.mean(1))[0], dim=0).numpy()

    model, tasks = CompactTransformer(folder), [(text, segment) for text in TEXTS for segment in (QUESTION, PASSAGE)]
    vectors = [model.encode([text], segment)[0] for text, segment in tasks]
    assert min(vector @ read(*task) for vector, task in zip(vectors, tasks, strict=True)) > 0.99
    for name, matrix in student.named_parameters():  # rounded as they are stored
        if matrix.ndim == 2 and "position" not in name and "token_type" not in name:
            scales = matrix.detach().abs().amax(1, keepdim=True) / 127
            matrix.data = (matrix.detach() / scales).round() * scales
    assert min(vector @ read(*task) for vector, task in zip(vectors, tasks, strict=True)) > 0.99999


def test_a_student_begins_as_layers_and_units_of_its_teacher(tiny: Path, teacher: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    folder = trained(tmp_path, "learning.max_steps=1", "learning.learning_rate=1.0e-12")
    small, large = load_file(folder / FILES[0]), load_file(teacher / "model.safetensors")

    def read(name: str) -> Any:
        return small[name] * small[f"{name}.scales"][:, None]

    for number, layer in enumerate([0, 2]):
        name, prefix = f"layers.{number}.", f"encoder.layer.{layer}."
        up, down = (large[f"{prefix}{part}.dense.weight"] for part in ("intermediate", "output"))
        mine = read(name + "up")
        units = [int(np.argmin(np.square(up - row).sum(1))) for row in mine]  # which of the teacher's each is
        weights = np.linalg.norm(up, axis=1) * np.linalg.norm(down, axis=0)
        assert set(units) == set(np.argsort(-weights)[:32].tolist())
        assert np.allclose(mine, up[units], atol=0.01) and np.allclose(read(name + "down"), down[:, units], atol=0.01)
        assert np.allclose(small[name + "up_bias"], large[prefix + "intermediate.dense.bias"][units], atol=1e-6)
        assert np.allclose(read(name + "out"), large[prefix + "attention.output.dense.weight"], atol=0.01)
    vocabulary = tokenizer_of(teacher).get_vocab()
    for piece, place in tokenizer_of(folder).get_vocab().items():
        row = large["embeddings.word_embeddings.weight"][vocabulary[piece]]
        assert np.allclose(read("words")[place], row, atol=0.01)


def test_a_killed_run_goes_on_with_the_same_result(
    whole: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while the second checkpoint is written: it lies there without a seal, the first is resumed."""
    seal, count = training.fitting.sealed, 0

    def killed(checkpoint: Path) -> None:
        nonlocal count
        count += 1
        if count == 2:
            raise KeyboardInterrupt
        seal(checkpoint)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training.fitting, "sealed", killed)
        trained(tmp_path)
    said: list[str] = []
    folder = trained(tmp_path, say=said.append)
    assert "teach: was finished before" in said and "learn: goes on from checkpoint-20" in said
    assert (folder / FILES[0]).read_bytes() == (whole / FILES[0]).read_bytes()
    assert (folder / FILES[1]).read_bytes() == (whole / FILES[1]).read_bytes()
    one, other = card_of(folder), card_of(whole)
    assert (one.resumed, one.curve, one.scores) == (1, other.curve, other.scores)


def test_the_tokenizer_keeps_the_tokens_that_texts_use(whole: Path, teacher: Path) -> None:
    large, small = tokenizer_of(teacher), tokenizer_of(whole)
    assert small.get_vocab_size() < large.get_vocab_size()
    assert [small.id_to_token(n) for n in range(4)] == ["<s>", "<pad>", "</s>", "<unk>"]
    for text in TEXTS:
        assert small.encode(text).tokens == large.encode(text).tokens
    assert "怎么治" in small.encode("痛风怎么治").tokens  # in many texts
    assert large.encode("高血压").tokens == ["<s>", "▁", "高血压", "</s>"]
    assert small.encode("高血压").tokens == ["<s>", "▁", "高", "血", "压", "</s>"]  # no text has it


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("layers=[0,3]", r"layers: 3 is none of the teacher's; it has 3, from 0"),
        ("layers=[-1]", r"layers: -1 is none of the teacher's"),
        ("feed_forward=65", r"feed_forward: 65 is more than the teacher's 64"),
        ("longest=65", r"longest: 65 is more than the teacher's 64"),
        ("learning.batch_size=2", r"learning\.batch_size: stays 1"),
    ],
)
def test_a_student_that_cannot_be_is_refused_before_anything_is_read(
    override: str, message: str, tiny: Path, teacher: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        trained(tmp_path, override)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("kind", "message"),
    [("xlmr", "a xlm-roberta with a WordLevel tokenizer"), ("bert", "a bert with a WordLevel tokenizer")],
)
def test_a_teacher_of_another_architecture_is_refused(kind: str, message: str, tiny: Path, tmp_path: Path) -> None:
    folder = make(tmp_path / kind, kind)
    with pytest.raises(InputError, match=rf"teacher: .*{message}, not a BERT with a Unigram one"):
        trained(tmp_path, f"teacher={folder}")


def test_a_teacher_that_is_not_there_is_refused(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="is not a folder"):
        trained(tmp_path, "teacher=$TINY/gone/teacher")
    with pytest.raises(ConfigError, match=r"the environment variable \$NOWHERE is not set"):
        trained(tmp_path, "teacher=$NOWHERE/teacher")
    with pytest.raises(ConfigError, match="layers"):
        trained(tmp_path, "layers=[]")
