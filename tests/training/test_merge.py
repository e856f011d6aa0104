"""Adapters merged and verified: policies, reward models, extended vocabularies; what does not agree is not written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from chimed_rag import MedQA
from chimed_rag.errors import InputError

torch = pytest.importorskip("torch")
pytest.importorskip("peft")

from chimed_rag.generation.tiny import make_tiny_model  # noqa: E402
from training import merge as module  # noqa: E402
from training.language import Shape, load_policy, load_reward, new_model, save_model, with_lora  # noqa: E402
from training.merge import merge, save_merged  # noqa: E402
from training.stages import Lora  # noqa: E402
from training.vocabulary import extend  # noqa: E402

TEXT = "布洛芬用于缓解轻至中度疼痛，幽门螺杆菌阳性的人慎用。"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with few weights, and the tokenizer of the tiny one."""
    folder = tmp_path_factory.mktemp("merge")
    _, tokenizer = load_policy(make_tiny_model(folder / "tiny"))
    shape = Shape(hidden=16, layers=2, heads=2, feed_forward=24, context=4096)
    save_model(new_model(shape, tokenizer, 1), tokenizer, folder / "base")
    return folder / "base"


def shaken(model: Any) -> Any:
    """As if trained: every weight that may move has moved."""
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight += torch.randn(weight.shape, generator=draw) * 0.1
    return model.eval()


def said(model: Any, tokenizer: Any) -> Any:
    with torch.no_grad():
        return model.eval()(**tokenizer(TEXT, return_tensors="pt", return_token_type_ids=False)).logits.float()


@pytest.fixture(scope="module")
def adapters(base: Path) -> dict[str, tuple[Path, Any]]:
    """Folders of adapters of a policy and of a reward model, and what these say of a text."""
    made = {}
    for kind, load in (("policy", load_policy), ("reward", load_reward)):
        model, tokenizer = load(base)
        model = shaken(with_lora(model, Lora(rank=4, alpha=8)))
        folder = base.parent / kind
        model.save_pretrained(folder)
        made[kind] = (folder, said(model, tokenizer))
    return made


def test_a_merged_policy_says_the_same_and_answers_in_medqa(
    adapters: dict[str, tuple[Path, Any]], tmp_path: Path, ward: Path
) -> None:
    folder, before = adapters["policy"]
    found = merge(folder, tmp_path / "merged")
    assert found.difference <= 1e-5 and found.rounding == 0 and found.probes == 4
    assert str(found).startswith("merged, verified on 4 texts")
    model, tokenizer = load_policy(tmp_path / "merged")
    assert float((said(model, tokenizer) - before).abs().max()) <= 1e-5
    assert not list((tmp_path / "merged").glob("adapter*"))
    config = json.loads((tmp_path / "merged" / "generation_config.json").read_text("utf-8"))
    assert (config["eos_token_id"], config["pad_token_id"]) == ([2], 0)
    with MedQA.load(ward, generator=tmp_path / "merged") as qa:
        answer = qa.ask("布洛芬一天最多吃几次？")
    assert answer.generator == "chimed-gpt:merged"
    assert answer.text


def test_a_merged_reward_model_keeps_its_score(adapters: dict[str, tuple[Path, Any]], tmp_path: Path) -> None:
    folder, before = adapters["reward"]
    merge(folder, tmp_path / "merged")
    model, tokenizer = load_reward(tmp_path / "merged")
    assert said(model, tokenizer).shape == (1, 1)
    assert float((said(model, tokenizer) - before).abs().max()) <= 1e-5


@pytest.mark.parametrize("kind", ["policy", "reward"])
def test_rounded_weights_are_the_merged_ones_to_the_bit(
    adapters: dict[str, tuple[Path, Any]], tmp_path: Path, kind: str
) -> None:
    folder, _ = adapters[kind]
    load = load_policy if kind == "policy" else load_reward
    merge(folder, tmp_path / "whole")
    found = merge(folder, tmp_path / "half", dtype="bfloat16")
    assert 0 < found.rounding < 0.05 and found.dtype == "bfloat16" and "rounding to bfloat16" in str(found)
    whole, half = load(tmp_path / "whole")[0].state_dict(), load(tmp_path / "half", dtype="bfloat16")[0].state_dict()
    assert all(torch.equal(half[name], weight.to(torch.bfloat16)) for name, weight in whole.items())


def test_an_extended_vocabulary_goes_along(base: Path, tmp_path: Path) -> None:
    model, tokenizer = load_policy(base)
    words = extend(model, tokenizer, ["幽门螺杆菌阳性的人"])
    adapted = shaken(with_lora(model, Lora(rank=4, alpha=8), vocabulary=True))
    before = said(adapted, tokenizer)
    adapted.save_pretrained(tmp_path / "adapter")
    tokenizer.save_pretrained(tmp_path / "adapter")
    merge(tmp_path / "adapter", tmp_path / "merged", base=str(base))
    loaded, its = load_policy(tmp_path / "merged")
    assert len(words) == 1 and len(its) == loaded.get_input_embeddings().num_embeddings == len(tokenizer)
    assert its("幽门螺杆菌阳性的人", add_special_tokens=False)["input_ids"] == [len(its) - 1]
    assert float((said(loaded, its) - before).abs().max()) <= 1e-5
    # A tokenizer with words for which neither base nor adapter has rows: they would be read as chance.
    shutil.copytree(base.parent / "policy", tmp_path / "wordless")
    tokenizer.save_pretrained(tmp_path / "wordless")
    with pytest.raises(InputError, match=r"has 3,073 tokens, the base rows for 3,072, and the adapter brings none"):
        merge(tmp_path / "wordless", tmp_path / "refused")


def test_what_does_not_agree_is_not_written(
    adapters: dict[str, tuple[Path, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = module.save_model

    def damaged(model: Any, tokenizer: Any, folder: Path) -> None:
        with torch.no_grad():
            next(model.parameters())[0, 0] += 1e-3
        save(model, tokenizer, folder)
        with torch.no_grad():
            next(model.parameters())[0, 0] -= 1e-3

    monkeypatch.setattr(module, "save_model", damaged)
    with pytest.raises(InputError, match=r"the weight model\.embed_tokens\.weight was not written as it was merged"):
        merge(adapters["policy"][0], tmp_path / "merged")
    assert list(tmp_path.iterdir()) == []


def test_a_merge_that_changes_the_model_is_noticed(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = load_policy(base)
    adapted = shaken(with_lora(model, Lora(rank=4, alpha=8)))
    monkeypatch.setattr(type(adapted), "merge_and_unload", lambda self, **_: self.unload(), raising=False)
    with pytest.raises(InputError, match="the model with adapters and the merged one differ by"):
        save_merged(adapted, tokenizer, tmp_path / "merged")
    assert list(tmp_path.iterdir()) == []


def test_adapters_that_cannot_be_used(adapters: dict[str, tuple[Path, Any]], base: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder, _ = adapters["policy"]
    with pytest.raises(InputError, match="is no folder of adapters"):
        merge(base, tmp_path / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(InputError, match="is there already"):
        merge(folder, tmp_path / "full")
    with pytest.raises(InputError, match="dtype 'int8' is not one of"):
        merge(folder, tmp_path / "out", dtype="int8")

    def changed(name: str, **keys: Any) -> Path:
        copy = tmp_path / name
        shutil.copytree(folder, copy)
        config = json.loads((copy / "adapter_config.json").read_text("utf-8"))
        (copy / "adapter_config.json").write_text(json.dumps(config | keys), "utf-8")
        return copy

    with pytest.raises(InputError, match="names no base model"):
        merge(changed("homeless", base_model_name_or_path=None), tmp_path / "out")
    with pytest.raises(InputError, match="task_type is 'TOKEN_CLS'"):
        merge(changed("labels", task_type="TOKEN_CLS"), tmp_path / "out")
    with pytest.raises(InputError, match="does not fit"):
        merge(changed("other rank", r=2), tmp_path / "out")
    torn = changed("torn")
    weights = load_file(torn / "adapter_model.safetensors")
    lacking = min(weights)
    save_file({name: weight for name, weight in weights.items() if name != lacking}, torn / "adapter_model.safetensors")
    with pytest.raises(InputError, match=f"1 weights are missing .{lacking}"):
        merge(torn, tmp_path / "out")
    (torn / "adapter_model.safetensors").write_bytes(b"no weights")
    with pytest.raises(InputError, match="cannot be read"):
        merge(torn, tmp_path / "out")
    assert not (tmp_path / "out").exists()
