"""What a model takes, from its config.json alone: beside transformers' own models, and by hand."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from chimed_rag.errors import GeneratorError, InputError
from chimed_rag.generation.memory import GIB, OVERHEAD, advice, free_memory, plan

# Ziya2-13B-Base's dimensions, which are ChiMed-GPT's
CHIMED: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 5120, "num_hidden_layers": 40, "num_attention_heads": 40,
    "num_key_value_heads": 40, "intermediate_size": 13824, "vocab_size": 39410, "tie_word_embeddings": False,
}  # fmt: skip
TINY: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 56, "vocab_size": 101,
    "max_position_embeddings": 64,
}  # fmt: skip


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("llama", {}),
        ("llama", {"num_key_value_heads": 2, "tie_word_embeddings": True}),
        ("llama", {"attention_bias": True, "mlp_bias": True, "head_dim": 16, "num_key_value_heads": 1}),
        ("mistral", {"num_key_value_heads": 2, "head_dim": 8}),
        ("qwen2", {"num_key_value_heads": 2, "tie_word_embeddings": True}),
        ("qwen3", {"num_key_value_heads": 2, "head_dim": 16}),
        ("qwen3", {"num_key_value_heads": 4, "head_dim": 8, "attention_bias": True, "tie_word_embeddings": True}),
    ],
)
@pytest.mark.parametrize("quiet", [False, True])
def test_parameters_and_cache_are_those_of_the_model(family: str, options: dict[str, Any], quiet: bool) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed (extra `models`)")
    transformers = pytest.importorskip("transformers", reason="not installed (extra `models`)")
    made = transformers.AutoConfig.for_model(family, **TINY, **options)
    model = transformers.AutoModelForCausalLM.from_config(made, dtype=torch.bfloat16).eval()
    config = {"model_type": family, **TINY, **options} if quiet else made.to_dict()  # as written short, and in full
    planned = plan(config, batch=2, context=7)
    weights = list(model.parameters())
    assert planned.parameters == sum(one.numel() for one in weights)
    assert planned.weights == sum(one.nbytes for one in weights)
    with torch.inference_mode():
        cache = model(torch.ones(2, 7, dtype=torch.long)).past_key_values
    assert planned.cache == sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)


def test_chimed_gpt() -> None:
    one = plan(CHIMED)
    layer = 4 * 5120 * 5120 + 3 * 5120 * 13824 + 2 * 5120
    assert one.parameters == 40 * layer + 5120 + 2 * 39410 * 5120 == 13_091_742_720
    assert one.weights == 26_183_485_440  # the published shards have 9.97 + 9.96 + 6.25 GB
    assert one.cache == 2 * 40 * 5120 * 2 * 4096 == 3_355_443_200  # 0.82 MB a token
    assert plan(CHIMED, dtype="float32").weights == 2 * one.weights
    assert plan(CHIMED, batch=8, context=1024).cache == 2 * one.cache
    matrices, others = 40 * (layer - 2 * 5120), 13_091_742_720 - 40 * (layer - 2 * 5120)
    rows = 40 * (4 * 5120 + 2 * 13824 + 5120)
    assert plan(CHIMED, quantization="8bit").weights == 2 * others + matrices + 4 * rows
    assert plan(CHIMED, quantization="4bit").weights == 2 * others + matrices * 4.5 / 8


def test_workspace_of_a_prompt_by_hand() -> None:
    one = plan(CHIMED, context=1000)
    # a token: state, copy and float32 norm of 5,120; three inner states of 13,824
    assert one.workspace == 1000 * (5120 * (2 + 2 + 4) + 3 * 13824 * 2) + 39410 * 16 + OVERHEAD
    two = plan(CHIMED, batch=2, context=1000)
    assert two.workspace - OVERHEAD == 2 * (one.workspace - OVERHEAD) + 2 * 1000**2 * 3  # and a mask for padding
    assert plan(CHIMED, batch=2, context=1000, prefill=500).workspace < one.workspace + 4_000_000
    assert one.total == one.weights + one.cache + one.workspace


def test_it_is_printed_in_gib() -> None:
    lines = str(plan(CHIMED, quantization="4bit", batch=3, context=2048)).splitlines()
    assert lines[0] == f"weights (13.092 billion, 4bit, bfloat16) {7_944_335_360 / GIB:8.2f} GiB"
    assert lines[1].startswith("cache (3 x 2048 tokens)") and lines[1].endswith("    4.69 GiB")
    assert [line.split()[0] for line in lines] == ["weights", "cache", "workspace", "total"]
    assert len({len(line) for line in lines}) == 1


@pytest.mark.parametrize(
    ("free", "batch", "fitting"),
    [
        (80, 1, []),
        (26.5, 1, ["context_tokens=1024", "quantization='8bit'", "quantization='4bit'"]),
        (24, 1, ["quantization='8bit'", "quantization='4bit'"]),
        (12.8, 1, ["quantization='4bit'"]),
        (10, 1, ["quantization='4bit', context_tokens=2048"]),
        (40, 8, ["max_batch=4", "quantization='8bit', max_batch=4", "quantization='4bit'"]),
        (4, 1, []),
    ],
)
def test_advice_names_what_fits(free: float, batch: int, fitting: list[str]) -> None:
    needed = plan(CHIMED, batch=batch)
    said = advice(needed, int(free * GIB))
    assert bool(said) is not needed.fits(int(free * GIB))
    if free == 80:
        return
    assert f"{needed.total / GIB:.1f} GiB are needed and {free:.1f} GiB are free" in said
    assert "http://HOST:8000/v1" in said
    for way in fitting:
        assert f"{way} (" in said, said
    sizes = [float(part.rpartition("(")[2]) for part in said.partition("what fits")[2].split(" GiB)")[:-1]]
    assert all(size <= free + 0.05 for size in sizes)
    assert len(sizes) >= len(fitting)
    if free == 4:
        assert not sizes


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "None model cannot be planned"),
        ({"model_type": "bloom"}, "bloom model cannot be planned; of these it can: llama"),
        ({**CHIMED, "hidden_size": None}, r"config\.json: hidden_size is None"),
        ({**CHIMED, "num_hidden_layers": "40"}, r"num_hidden_layers is '40'"),
        ({**CHIMED, "vocab_size": 0}, r"vocab_size is 0"),
        ({**CHIMED, "model_type": "qwen2", "num_key_value_heads": None}, "num_key_value_heads is None"),
    ],
)
def test_what_cannot_be_planned(config: dict[str, Any], message: str) -> None:
    with pytest.raises(GeneratorError, match=message):
        plan(config)


@pytest.mark.parametrize("options", [{"dtype": "int8"}, {"quantization": "2bit"}, {"batch": 0}, {"prefill": 0}])
def test_options_that_are_not(options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        plan(CHIMED, **options)


def test_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed (extra `models`)")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda number: (number + 1, 10))
    gpus = free_memory()[:2]
    assert [tuple(one) for one in gpus] == [("cuda:0", 10, 1), ("cuda:1", 10, 2)]
    for machine in free_memory()[2:]:
        assert machine.device == "cpu" and 0 < machine.free <= machine.total


def test_a_plan_needs_no_torch() -> None:
    code = (
        "import sys; from chimed_rag.generation.memory import plan; "
        f"plan({CHIMED!r}); print({{'torch', 'transformers', 'numpy'}} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
