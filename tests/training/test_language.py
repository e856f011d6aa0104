"""Language models: made, loaded, given adapters and scores, saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from chimed_rag.errors import GeneratorError, InputError

torch = pytest.importorskip("torch")
pytest.importorskip("peft")

from chimed_rag.generation.tiny import make_tiny_model  # noqa: E402
from training.language import Shape, load_policy, load_reward, new_model, save_model, with_lora  # noqa: E402
from training.stages import Lora  # noqa: E402

TEXT = "布洛芬用于缓解轻至中度疼痛，也用于退热。"


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


def logits(model: Any, tokenizer: Any) -> Any:
    with torch.no_grad():
        return model.eval()(**tokenizer(TEXT, return_tensors="pt", return_token_type_ids=False)).logits


def test_a_new_model_has_the_asked_size_and_depends_on_the_seed_alone(tiny_model: Path) -> None:
    _, tokenizer = load_policy(tiny_model)
    shape = Shape(hidden=16, layers=2, heads=2, feed_forward=24, context=64)
    before = torch.random.get_rng_state()
    one, same, other = (new_model(shape, tokenizer, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    # Embeddings once (tied); a layer: four square matrices, three of the feed-forward, two norms; the last norm.
    assert one.num_parameters() == len(tokenizer) * 16 + 2 * (4 * 16 * 16 + 3 * 16 * 24 + 2 * 16) + 16
    assert torch.equal(logits(one, tokenizer), logits(same, tokenizer))
    assert not torch.equal(logits(one, tokenizer), logits(other, tokenizer))
    assert (one.config.pad_token_id, one.config.bos_token_id, one.config.eos_token_id) == (0, 1, 2)


def test_a_shape_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValidationError, match="even multiple of heads"):
        Shape(hidden=20, heads=4)
    with pytest.raises(ValidationError, match="kv_heads"):
        Shape(hidden=16, heads=4, kv_heads=3)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("vocabulary", [True, False])
def test_adapters_are_merged_and_the_model_loads_without_them(
    tiny_model: Path, tmp_path: Path, tied: bool, vocabulary: bool
) -> None:
    _, tokenizer = load_policy(tiny_model)
    base = new_model(Shape(hidden=16, layers=2, heads=2, feed_forward=24, context=64, tied=tied), tokenizer, 1)
    start = logits(base, tokenizer)
    model = with_lora(base, Lora(rank=4, alpha=8), vocabulary=vocabulary)
    with torch.no_grad():  # as if trained: every weight that may move has moved
        for weight in model.parameters():
            if weight.requires_grad:
                weight += torch.randn(weight.shape, generator=torch.Generator().manual_seed(3)) * 0.1
    trained = logits(model, tokenizer)
    assert not torch.allclose(trained, start, atol=1e-2)
    save_model(model, tokenizer, tmp_path / "out")
    loaded, its_tokenizer = load_policy(tmp_path / "out")
    assert torch.allclose(logits(loaded, its_tokenizer), trained, atol=1e-5)
    assert not list((tmp_path / "out").glob("adapter*"))
    ties = loaded.get_input_embeddings().weight.data_ptr() == loaded.get_output_embeddings().weight.data_ptr()
    assert ties == tied


def test_a_policy_becomes_a_reward_model_and_is_loaded_again_as_one(tiny_model: Path, tmp_path: Path) -> None:
    policy, _ = load_policy(tiny_model)
    reward, tokenizer = load_reward(tiny_model, seed=5)
    assert torch.equal(reward.model.layers[0].mlp.up_proj.weight, policy.model.layers[0].mlp.up_proj.weight)
    score = logits(reward, tokenizer)
    assert score.shape == (1, 1)
    assert torch.equal(score, logits(load_reward(tiny_model, seed=5)[0], tokenizer))
    assert not torch.equal(score, logits(load_reward(tiny_model, seed=6)[0], tokenizer))
    model = with_lora(reward, Lora(rank=4, alpha=8))
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight += 0.05
    trained = logits(model, tokenizer)
    save_model(model, tokenizer, tmp_path / "reward")
    again, its_tokenizer = load_reward(tmp_path / "reward")
    assert torch.allclose(logits(again, its_tokenizer), trained, atol=1e-5)
    assert not torch.allclose(trained, score, atol=1e-3)
    with pytest.raises(GeneratorError, match="not a causal language model"):
        load_policy(tmp_path / "reward")


def changed(tiny_model: Path, folder: Path, **values: Any) -> Path:
    """A copy of the model whose tokenizer_config.json says otherwise."""
    model, tokenizer = load_policy(tiny_model)
    save_model(model, tokenizer, folder)
    for name in ("tokenizer_config.json", "config.json", "generation_config.json"):
        told = json.loads((folder / name).read_text("utf-8"))
        if name == "tokenizer_config.json":
            told |= values
        told = {key: value for key, value in told.items() if key != "pad_token_id" and value is not None}
        (folder / name).write_text(json.dumps(told), "utf-8")
    return folder


def test_a_model_without_padding_is_refused_and_the_end_is_not_taken_for_it(tiny_model: Path, tmp_path: Path) -> None:
    for name, pad in (("none", None), ("end", "</s>")):
        folder = changed(tiny_model, tmp_path / name, pad_token=pad)
        with pytest.raises(InputError, match="pad_token"):
            load_policy(folder)
        with pytest.raises(InputError, match="pad_token"):
            load_reward(folder)
    _, tokenizer = load_policy(changed(tiny_model, tmp_path / "unknown", pad_token=None, unk_token="<human>"))
    assert tokenizer.pad_token == "<human>"
    assert tokenizer.padding_side == "left"


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    model, tokenizer = load_policy(tiny_model)
    tokenizer.add_tokens(["幽门螺杆菌"])
    save_model(model, tokenizer, tmp_path / "more")
    with pytest.raises(InputError, match="3,073 tokens and the model rows for 3,072"):
        load_policy(tmp_path / "more")


def test_a_folder_that_cannot_be_written_is_told(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    model, tokenizer = load_policy(tiny_model)
    with pytest.raises(InputError, match="cannot be written"):
        save_model(model, tokenizer, tmp_path / "file" / "model")
