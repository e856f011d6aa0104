"""A folder that cannot be used as a language model says what is wrong with it, and what to do."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported
torch = pytest.importorskip("torch", reason="torch is not installed (extra `models`)")
pytest.importorskip("transformers", reason="transformers is not installed (extra `models`)")

from chimed_rag.errors import GeneratorError  # noqa: E402
from chimed_rag.generation import weights  # noqa: E402
from chimed_rag.generation.weights import load  # noqa: E402
from tests.tiny_models import COMMIT, cached, make, with_modules  # noqa: E402
from tests.tiny_writer import make_writer  # noqa: E402


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_writer(tmp_path_factory.mktemp("models") / "tiny-gpt")


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return shutil.copytree(whole, tmp_path / "tiny-gpt")


def refused(path, **options):
    with pytest.raises(GeneratorError) as caught:
        load(path, **{"device": "cpu", **options})
    return str(caught.value)


def test_loads_in_float32_on_a_cpu_and_says_which_weights(whole: Path):
    loaded = load(whole, device="cpu")
    assert loaded.name == "tiny-gpt"
    assert loaded.model.dtype == torch.float32
    assert not loaded.model.training
    assert loaded.facts.keys() == {"sha256", "dtype", "device"}
    assert (loaded.facts["dtype"], loaded.facts["device"]) == ("float32", "cpu")
    assert load(whole, device="cpu", dtype="bfloat16").model.dtype == torch.bfloat16


def test_a_hub_model_bears_its_commit(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cached(tmp_path, "someone/tiny-gpt", whole)
    monkeypatch.setenv("SENTENCE_TRANSFORMERS_HOME", str(tmp_path))
    loaded = load("someone/tiny-gpt", device="cpu", local_files_only=True)
    assert (loaded.name, loaded.facts["revision"]) == ("tiny-gpt", COMMIT)


def test_a_hub_model_that_is_not_here_names_the_command():
    assert "hf download someone/absent --local-dir absent" in refused("someone/absent")


def test_no_such_folder(tmp_path: Path):
    assert "is not a folder; give the folder of a model" in refused(tmp_path / "absent")


def test_no_config(folder: Path):
    (folder / "config.json").unlink()
    text = refused(folder)
    assert "holds no config.json" in text
    assert "modules.json" not in text


def test_a_broken_config(folder: Path):
    (folder / "config.json").write_text("{")
    assert "config.json cannot be read" in refused(folder)


def test_no_tokenizer(folder: Path):
    (folder / "tokenizer.json").unlink()
    assert f"{folder} holds no tokenizer" in refused(folder)


def test_a_broken_tokenizer(folder: Path):
    (folder / "tokenizer.json").write_text("{}")
    assert "the tokenizer cannot be loaded" in refused(folder)


def test_a_sentencepiece_tokenizer_names_the_libraries_that_read_it(folder: Path, monkeypatch: pytest.MonkeyPatch):
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.model").write_bytes(b"\0")
    monkeypatch.setattr(weights, "_is_there", lambda name: False)
    assert "pip install sentencepiece protobuf" in refused(folder)


def test_pickled_weights_only_names_the_command_that_converts_them(folder: Path):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    text = refused(folder)
    assert "pickled ones are not loaded" in text
    assert text.endswith(f"chimed convert {folder}")


def test_a_damaged_file_is_named(folder: Path):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    assert f"{file} is damaged" in refused(folder)


def test_a_missing_weight_is_not_made_up(folder: Path):
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    del tensors["lm_head.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert "1 weights are missing (lm_head.weight" in refused(folder)


def test_a_missing_shard_is_named(folder: Path):
    index = {"weight_map": {"lm_head.weight": "model-00001-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "holds no model-00001-of-00002.safetensors" in refused(folder)


@pytest.mark.parametrize(("kind", "meant"), [("bert", "--encoder"), ("xlmr", "--encoder"), ("reranker", "--reranker")])
def test_a_model_of_another_kind_is_refused(tmp_path: Path, kind: str, meant: str):
    assert f"not a causal language model; did you mean {meant}?" in refused(make(tmp_path / kind, kind))


def test_an_embedding_model_made_of_a_language_model_is_refused(tmp_path: Path):
    folder = with_modules(make(tmp_path / "qwen3", "qwen3"), "lasttoken")
    assert "is an encoder, not a language model" in refused(folder)


def test_a_models_own_code_is_not_run(folder: Path):
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoModelForCausalLM": "modeling.Own"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "modeling.py").write_text("raise SystemExit('run')")
    assert "needs code of its own, which is not run" in refused(folder)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"dtype": "int8"}, "dtype 'int8' is not one of bfloat16, float16, float32"),
        ({"dtype": "float"}, "dtype 'float' is not one of"),
        ({"device": "gpu"}, "there is no device 'gpu'"),
        ({"quantization": "2bit"}, "quantization '2bit' is not one of 8bit, 4bit"),
        ({"quantization": "8bit"}, "8bit weights need a GPU"),
    ],
)
def test_settings_that_cannot_be(whole: Path, options, expected):
    assert expected in refused(whole, **options)


def test_a_gpu_that_is_not_there(whole: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "CUDA cannot be used here" in refused(whole, device="cuda:0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert "there is no 'cuda:7'; the last one is 'cuda:1'" in refused(whole, device="cuda:7")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch):
    """Looks like one GPU with 800 MiB free, until something is put there."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (800 * 2**20, 16 * 2**30))


def test_a_gpu_that_is_too_small_gets_a_plan_and_the_ways_out(folder: Path, gpu):
    config = json.loads((folder / "config.json").read_text())
    config |= {"hidden_size": 5120, "num_hidden_layers": 40, "num_attention_heads": 40, "num_key_value_heads": 40}
    config |= {"intermediate_size": 13_824, "vocab_size": 39_410, "head_dim": 128}
    (folder / "config.json").write_text(json.dumps(config))
    text = refused(folder, device=None)
    # 13.0917e9 weights of 2 bytes are 24.39 GiB; a context of 2,048 takes 2 x 40 x 5,120 x 2 bytes a token
    for part in (
        "does not fit on cuda",
        "13.092 billion, bfloat16)    24.39 GiB",
        "cache (1 x 2048 tokens)",
        "1.56 GiB",
    ):
        assert part in text
    assert "0.8 GiB are free; what fits: a server that holds it elsewhere (generator='http://HOST:8000/v1')" in text


def test_a_family_whose_memory_nobody_can_tell_is_not_refused_for_it(folder: Path, gpu, monkeypatch):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "gpt2", "architectures": None}))
    model = weights.find_model(folder, revision=None, local_files_only=True)
    assert weights._require_room(model, torch.device("cuda"), "bfloat16", None, 4096) is None


def test_few_bits_without_their_library_name_the_command(whole: Path, gpu):
    if weights._is_there("bitsandbytes"):
        pytest.skip("bitsandbytes is installed")
    assert "pip install bitsandbytes accelerate" in refused(whole, device="cuda", quantization="4bit")
