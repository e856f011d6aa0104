"""Pickled shards become safetensors, one by one, with the same bytes."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported
torch = pytest.importorskip("torch", reason="torch is not installed (extra `models`)")
transformers = pytest.importorskip("transformers", reason="not installed (extra `models`)")

from chimed_rag.encoders import convert as room  # noqa: E402
from chimed_rag.errors import GeneratorError  # noqa: E402
from chimed_rag.generation.convert import convert  # noqa: E402

INDEX = "model.safetensors.index.json"
SHARDS = [f"model-0000{k}-of-00003.safetensors" for k in (1, 2, 3)]


def published(folder: Path) -> Path:
    """A Llama as ChiMed-GPT is published: three pickled shards with an index, and what lies beside them."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2
    )
    model = transformers.LlamaForCausalLM(config).to(torch.bfloat16)
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(folder)
    state = model.state_dict()
    table = {}
    for k in range(3):
        part = dict(list(state.items())[k::3])
        file = f"pytorch_model-0000{k + 1}-of-00003.bin"
        torch.save(part, folder / file)
        table.update(dict.fromkeys(part, file))
    size = sum(tensor.numel() * 2 for tensor in state.values())
    (folder / "pytorch_model.bin.index.json").write_text(
        json.dumps({"metadata": {"total_size": size}, "weight_map": table})
    )
    (folder / "tokenizer.model").write_bytes(b"sentencepiece")
    (folder / "training_args.bin").write_bytes(b"a pickle that nobody needs")
    return folder


def loaded(folder: Path) -> dict[str, Any]:
    """Transformers' own reading of a folder; it takes safetensors before pickles."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True, dtype=torch.bfloat16)
    state: dict[str, Any] = model.state_dict()
    return state


def test_shards_are_converted_in_place(tmp_path: Path) -> None:
    folder = published(tmp_path)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    seen: list[tuple[str, int]] = []
    written = convert(folder, progress=lambda name, done: seen.append((name, done)))
    assert written == [folder / name for name in (*SHARDS, INDEX)]
    assert [name for name, _ in seen] == [f"pytorch_model-0000{k}-of-00003.bin" for k in (1, 2, 3)]
    assert {file.name for file in folder.iterdir()} == {*before, *SHARDS, INDEX}
    assert all((folder / name).read_bytes() == raw for name, raw in before.items())
    state = loaded(folder)
    originals: dict[str, Any] = {}
    for k in (1, 2, 3):
        originals |= torch.load(folder / f"pytorch_model-0000{k}-of-00003.bin", weights_only=True)
    assert state.keys() == originals.keys()
    assert all(torch.equal(state[name], originals[name]) for name in state)
    index = json.loads((folder / INDEX).read_text())
    assert index["metadata"] == json.loads(before["pytorch_model.bin.index.json"])["metadata"]
    assert convert(folder) == []


def test_out_gives_a_whole_folder_and_leaves_the_other(tmp_path: Path) -> None:
    folder = published(tmp_path / "hub")
    before = sorted(folder.iterdir())
    folder.chmod(0o555)
    out = tmp_path / "models" / "chimed"
    convert(folder, out)
    folder.chmod(0o755)
    assert sorted(folder.iterdir()) == before
    beside = {"config.json", "tokenizer.model"}
    assert {file.name for file in out.iterdir()} == {*SHARDS, INDEX, *beside}
    assert len(loaded(out)) == 21
    assert convert(folder, folder / "safe")[-1] == folder / "safe" / INDEX
    assert convert(folder, folder / "safe") == []


def test_an_interrupted_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = published(tmp_path)
    real = room._convert

    def killed(job: Any, error: Any) -> None:
        if job.target.name == SHARDS[2]:
            job.target.with_suffix(".partial").write_bytes(b"half of it")
            raise KeyboardInterrupt
        real(job, error)

    monkeypatch.setattr(room, "_convert", killed)
    with pytest.raises(KeyboardInterrupt):
        convert(folder)
    assert not (folder / INDEX).exists()
    monkeypatch.setattr(room, "_convert", real)
    (folder / SHARDS[1]).write_bytes((folder / SHARDS[1]).read_bytes()[:40])  # and one that lost its end
    kept = (folder / SHARDS[0]).stat().st_mtime_ns
    assert convert(folder) == [folder / name for name in (*SHARDS[1:], INDEX)]
    assert (folder / SHARDS[0]).stat().st_mtime_ns == kept
    assert not list(folder.glob("*.partial"))
    assert len(loaded(folder)) == 21


def test_tied_views_and_old_formats(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    weight = torch.arange(12, dtype=torch.float16).reshape(3, 4)
    tensors = {
        "a": weight, "tied": weight, "turned": weight.T, "part": weight[1], "scalar": torch.tensor(float("nan")),
        "empty": torch.empty(0, 3), "long": torch.tensor([2**40]),
    }  # fmt: skip
    for modern in (True, False):
        folder = tmp_path / str(modern)
        folder.mkdir()
        torch.save(tensors, folder / "pytorch_model.bin", _use_new_zipfile_serialization=modern)
        assert convert(folder) == [folder / "model.safetensors"]
        read = load_file(folder / "model.safetensors")
        assert read.keys() == tensors.keys()
        for name, tensor in tensors.items():
            torch.testing.assert_close(read[name], tensor, rtol=0, atol=0, equal_nan=True)


def test_a_shard_that_was_not_written_as_it_was_read_gets_no_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import safetensors.torch

    folder = published(tmp_path)
    real = safetensors.torch.save_file

    def forgetful(tensors: dict[str, Any], file: Path, metadata: dict[str, str]) -> None:
        real({name: tensor * 1.01 for name, tensor in tensors.items()}, file, metadata=metadata)

    monkeypatch.setattr(safetensors.torch, "save_file", forgetful)
    with pytest.raises(GeneratorError, match="was not written as it was read"):
        convert(folder)
    assert not list(folder.glob("model*")) and not list(folder.glob("*.partial"))


class _Attack:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("attacked"),))


def damage(folder: Path, how: str) -> None:
    index, first = folder / "pytorch_model.bin.index.json", folder / "pytorch_model-00001-of-00003.bin"
    body = json.loads(index.read_text())
    if how == "no index":
        index.unlink()
    elif how == "no JSON":
        index.write_text("{")
    elif how == "no table":
        index.write_text("[]")
    elif how == "a path":
        body["weight_map"]["model.norm.weight"] = "../secret.bin"
        index.write_text(json.dumps(body))
    elif how == "a shard is gone":
        first.unlink()
    elif how == "cut off":
        first.write_bytes(first.read_bytes()[:-500])
    elif how == "another shard":
        shutil.copy(folder / "pytorch_model-00002-of-00003.bin", first)
    elif how == "code":
        first.write_bytes(pickle.dumps({"x": _Attack()}))
    elif how == "pointer":
        first.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    elif how == "nothing":
        for file in folder.glob("*.bin"):
            file.unlink()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("no index", r"no pytorch_model\.bin\.index\.json; download it again"),
        ("no JSON", r"index\.json is damaged"),
        ("no table", r"index\.json is damaged"),
        ("a path", r"index\.json names '\.\./secret\.bin'"),
        ("a shard is gone", r"holds no pytorch_model-00001-of-00003\.bin"),
        ("cut off", r"00001-of-00003\.bin: cannot be read as plain tensors"),
        ("another shard", r"00001-of-00003\.bin and pytorch_model\.bin\.index\.json disagree about 14 tensors"),
        ("code", r"00001-of-00003\.bin: cannot be read as plain tensors"),
        ("pointer", r"git lfs pull"),
        ("nothing", r"there is nothing to convert"),
    ],
)
def test_what_is_damaged_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    folder = published(tmp_path / "model")
    damage(folder, how)
    with pytest.raises(GeneratorError, match=message):
        convert(folder)
    assert not list(folder.glob("model*")) and not (tmp_path / "attacked").exists()


def test_a_full_disk_is_seen_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = published(tmp_path)
    usage = shutil.disk_usage(folder)._replace(free=10)
    monkeypatch.setattr(room.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(
        GeneratorError, match=r"0\.0 GiB are free; make room, or give another folder \(chimed convert DIR --out OTHER\)"
    ):
        convert(folder)
    assert not list(folder.glob("model*"))


def test_the_command_takes_shards_too(tmp_path: Path) -> None:
    folder = published(tmp_path)
    command = [sys.executable, "-m", "chimed_rag.encoders.convert", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, str(folder / INDEX)), done.stderr
