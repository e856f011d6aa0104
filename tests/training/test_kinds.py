"""Every kind trains on made-up data, is loaded again, and goes on after it was killed with the same result."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra `train`)")
pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed (extra `train`)")
pytest.importorskip("datasets", reason="datasets is not installed (extra `train`)")

import training.fitting  # noqa: E402
from chimed_rag.encoders.base import load_encoder  # noqa: E402
from chimed_rag.encoders.sentence import SentenceEncoder  # noqa: E402
from chimed_rag.errors import InputError  # noqa: E402
from training.card import Card  # noqa: E402
from training.retriever import KINDS, train_retriever  # noqa: E402
from training.settings import ROOT  # noqa: E402

CONFIGS = ROOT / "training" / "configs"
TRAINED_HERE = ("transformer", "cross-encoder", "late-interaction")
SHIPPED = {  # made in the place where the package carries it
    "retriever_static": "chimed_rag/encoders/shipped",
    "retriever_distilled": "chimed_rag/retrieval/shipped",
}


def config(kind: str) -> Path:
    return CONFIGS / f"retriever_{kind.replace('-', '_')}_tiny.yaml"


@pytest.fixture(scope="module")
def trained(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Path]]:
    """The uninterrupted run of a kind, trained once."""
    done: dict[str, Path] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINY", str(tiny_folder))

        def get(kind: str) -> Path:
            if kind not in done:
                out = tmp_path_factory.mktemp(kind)
                done[kind] = train_retriever(config(kind), [f"output_dir={out}/model"])
            return done[kind]

        yield get


def weights(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.safetensors")}


def curve(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "card.json").read_text("utf-8"))["curve"]
    return found


@pytest.mark.parametrize("kind", KINDS.names())
def test_there_is_a_tiny_and_a_real_configuration(kind: str, tiny: Path) -> None:
    from training.settings import read_yaml, validated

    for path in (config(kind), CONFIGS / f"retriever_{kind.replace('-', '_')}.yaml"):
        data = read_yaml(path)
        assert data["kind"] == kind
        assert data["output_dir"] == SHIPPED.get(path.stem, f"models/{path.stem}")
        validated(KINDS.get(kind).settings, data, path)


@pytest.mark.parametrize("kind", TRAINED_HERE)
def test_a_run_leaves_a_model_and_its_card(kind: str, trained: Callable[[str], Path]) -> None:
    folder = trained(kind)
    card = Card.model_validate_json((folder / "card.json").read_text("utf-8"))
    assert card.kind == kind and card.resumed == 0
    assert "model.safetensors" in card.files and not (folder / "work").exists()
    assert card.parameters == sum(
        tensor.numel() for path in folder.rglob("*.safetensors") for tensor in _tensors(path).values()
    )
    assert card.curve[0].phase == "mlm"
    assert {"recall@10", "mrr@10"} <= set(card.scores["bm25"])
    assert "医生" not in (folder / "README.md").read_text("utf-8")  # no training row in the card


def _tensors(path: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    found: dict[str, Any] = load_file(path)
    return found


def test_a_transformer_is_a_sentence_encoder(trained: Callable[[str], Path]) -> None:
    encoder = load_encoder(trained("transformer"), device="cpu")
    assert isinstance(encoder, SentenceEncoder) and encoder.spec.dimension == 32
    vectors = encoder.encode_documents(["痛风怎么治", "痛风一般先用第几号办法处理", ""])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)


def test_a_cross_encoder_scores_pairs(trained: Callable[[str], Path]) -> None:
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(trained("cross-encoder")), device="cpu", local_files_only=True)
    pairs = [("痛风怎么治", "痛风一般先用第6号办法处理"), ("痛风怎么治", "湿疹要查什么")]
    one, two = model.predict(pairs)
    assert np.isfinite([one, two]).all() and one != two
    assert model.predict(pairs[:1])[0] == pytest.approx(one, abs=1e-5)


def test_the_head_read_at_guessed_tokens_gives_the_loss_of_the_library() -> None:
    from transformers import BertConfig, BertForMaskedLM

    from training.mlm import masked_bert

    config = BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    ours = masked_bert(config)
    theirs = BertForMaskedLM(config)
    theirs.load_state_dict(ours.state_dict())
    ids = torch.randint(5, 50, (3, 12), generator=torch.Generator().manual_seed(1))
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.where(ids % 3 == 0, ids, -100)}
    losses = [model(**batch).loss for model in (ours, theirs)]
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-5)
    for loss in losses:
        loss.backward()
    for one, two in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(one.grad, two.grad, atol=1e-6)


def test_late_interaction_gives_maxsim(trained: Callable[[str], Path]) -> None:
    from training.late_interaction import scorer

    folder = trained("late-interaction")
    passages = ["痛风一般先用第6号办法处理", "湿疹要查什么，什么时候查"]
    scores = scorer(folder, "cpu")("痛风怎么治", passages)
    from sentence_transformers import MultiVectorEncoder

    model = MultiVectorEncoder(str(folder), device="cpu")
    asked = np.asarray(model.encode_query(["痛风怎么治"])[0])
    assert asked.shape[1] == 16
    for score, passage in zip(scores, passages, strict=True):
        read = np.asarray(model.encode_document([passage])[0])
        assert score == pytest.approx(float((asked @ read.T).max(axis=1).sum()), abs=1e-4)  # MaxSim by hand


KILLS = [("transformer", n) for n in (2, 5, 8)] + [("cross-encoder", 4), ("late-interaction", 4)]


@pytest.mark.parametrize(("kind", "after"), KILLS)
def test_a_killed_run_goes_on_with_the_same_result(
    kind: str, after: int, trained: Callable[[str], Path], tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while checkpoint number `after` is written: it lies there without a seal, the one before is resumed.

    The checkpoints of the transformer: three of masked language modelling, three of the first round, two of the second.
    """
    whole = trained(kind)
    seal, count = training.fitting.sealed, 0

    def killed(checkpoint: Path) -> None:
        nonlocal count
        count += 1
        if count == after:
            raise KeyboardInterrupt
        seal(checkpoint)

    override = [f"output_dir={tmp_path}/out"]
    with monkeypatch.context() as patch:
        patch.setattr(training.fitting, "sealed", killed)
        with pytest.raises(KeyboardInterrupt):
            train_retriever(config(kind), override)
    said: list[str] = []
    folder = train_retriever(config(kind), override, say=said.append)
    assert count == after and any("goes on from checkpoint-" in line for line in said)
    assert weights(folder) == weights(whole)
    assert curve(folder) == curve(whole)
    assert json.loads((folder / "card.json").read_text("utf-8"))["resumed"] == 1
    scores = [json.loads((place / "card.json").read_text("utf-8"))["scores"] for place in (folder, whole)]
    assert scores[0] == scores[1]


def test_batches_made_ready_by_other_processes_are_the_same(
    trained: Callable[[str], Path], tiny: Path, tmp_path: Path
) -> None:
    ahead = [f"{part}.machine.workers=1" for part in ("backbone.scratch.mlm", "rounds.0", "rounds.1")]
    folder = train_retriever(config("transformer"), [f"output_dir={tmp_path}/out", *ahead])
    assert weights(folder) == weights(trained("transformer"))


def test_sources_are_repeated_and_share_batches() -> None:
    from training.mining import Mined
    from training.transformer import TransformerSettings, dealt

    examples = [Mined(f"q{n}", f"p{n}", (), source) for n, source in enumerate(["one", "two", "three"])]
    keys = {"kind": "transformer", "output_dir": "x", "licence": "x", "rounds": [{}], "backbone": {"base": "x"}}
    keys["data"] = {"files": [{"path": "x"}], "hygiene": {"evaluation": None}}
    settings = TransformerSettings.model_validate(keys | {"repeat": {"two": 2}, "together": [["one", "two"]]})
    found = [(item.query, item.source) for item in dealt(settings, examples)]
    assert found == [("q0", "one + two"), ("q1", "one + two"), ("q1", "one + two"), ("q2", "three")]
    settings = TransformerSettings.model_validate(keys | {"together": [["one", "four"]]})
    with pytest.raises(InputError, match=r"no pair is of source 'four'; sources: one, three, two"):
        dealt(settings, examples)


def test_masks_depend_on_the_seed_and_the_batch_alone() -> None:
    from training.mlm import MaskedBlocks, Masking, blocks
    from training.tokenizer import TokenizerSettings, train_tokenizer

    texts = [f"高血压患者第{n}天应当低盐饮食并且测量血压" for n in range(300)]
    tokenizer = train_tokenizer(texts, TokenizerSettings(vocabulary=200), 64)
    rows = blocks(texts, tokenizer, 32)
    assert rows.shape[1] == 32
    assert (rows[:, 0] == tokenizer.cls_token_id).all() and (rows[:, -1] == tokenizer.sep_token_id).all()
    ids = tokenizer(texts[0], add_special_tokens=False)["input_ids"]
    assert rows[0, 1 : len(ids) + 2].tolist() == [*ids, tokenizer.sep_token_id]
    one, two = (MaskedBlocks(rows, tokenizer, Masking(epochs=2), seed=5) for _ in range(2))
    assert len(one) == 2 * len(rows)
    first, again, next_epoch = one[3], two[3], one[3 + len(rows)]
    assert torch.equal(first["input_ids"], again["input_ids"])
    assert not torch.equal(first["labels"], next_epoch["labels"])
    batch, same, other = one.__getitems__([3, 4]), two.__getitems__([3, 4]), one.__getitems__([4, 3])
    assert torch.equal(batch["labels"], same["labels"]) and not torch.equal(batch["labels"], other["labels"].flip(0))
    everything = one.__getitems__(range(len(one)))
    guessed, shown = everything["labels"] != -100, everything["input_ids"]
    truth = torch.from_numpy(rows[np.arange(len(one)) % len(rows)].astype(np.int64))
    assert (shown[~guessed] == truth[~guessed]).all()
    assert not torch.isin(truth[guessed], torch.tensor(tokenizer.all_special_ids)).any()
    assert float(guessed.float().mean()) == pytest.approx(0.15 * 28 / 32, abs=0.02)  # of 32, about 4 are special
    hidden = (shown[guessed] == tokenizer.mask_token_id).float().mean()
    assert float(hidden) == pytest.approx(0.8, abs=0.04)


def test_a_tokenizer_knows_its_characters() -> None:
    from training.tokenizer import TokenizerSettings, train_tokenizer

    texts = ["高血压患者，HbA1c 7.0%", "糖尿病患者的饮食"] * 5 + ["".join(chr(0x4E00 + n) for n in range(1500))] * 2
    tokenizer = train_tokenizer(texts, TokenizerSettings(vocabulary=2000), 16)
    assert tokenizer.tokenize("高血压ＨｂＡ１ｃ") == ["高", "血", "压", "hba1c"]
    assert tokenizer.unk_token not in tokenizer.tokenize(texts[-1])  # the trainer's own limit is 1,000 characters
    pair = tokenizer("高", "血")
    assert tokenizer.convert_ids_to_tokens(pair["input_ids"]) == ["[CLS]", "高", "[SEP]", "血", "[SEP]"]
    assert pair["token_type_ids"] == [0, 0, 0, 1, 1]
    assert len(tokenizer("高" * 50, truncation=True)["input_ids"]) == 16
    words = train_tokenizer(texts, TokenizerSettings(vocabulary=2000, pieces="words"), 16, types=False)
    assert words.tokenize("高血压患者") == ["高血压患者"]  # seen five times, as a run
    assert "token_type_ids" not in words("患者")
    again = train_tokenizer(texts, TokenizerSettings(vocabulary=2000), 16)
    assert again.get_vocab() == tokenizer.get_vocab()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("backbone.base=gone/folder/deep", "is no folder; train it first"),
        ("backbone.scratch.heads=3", "not a multiple of heads"),
        ("backbone.scratch.mlm.block=128", r"longer than max_length \(64\)"),
        ("backbone.revision=main", None),
    ],
)
def test_backbones_that_cannot_be(override: str, message: str | None, tiny: Path, tmp_path: Path) -> None:
    from chimed_rag.errors import InputError

    overrides = [f"output_dir={tmp_path}/out", override]
    if "base" in override.split("=")[0].split(".")[-1]:
        overrides.append("backbone.scratch=null")
    if message is None:
        overrides[-1] = "backbone.base=x/y"
        message = "give either base or scratch"
    with pytest.raises(InputError, match=message):
        train_retriever(config("transformer"), overrides)
