"""What training takes, counted: weights and optimizer states of real small models exactly, the peak within 8 %."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification, Qwen2Config, Qwen2ForCausalLM

from chimed_rag.errors import ConfigError
from chimed_rag.generation.memory import CHIMED_GPT
from chimed_rag.generation.memory import plan as plan_of_shape
from training.arithmetic import Step
from training.language import with_lora
from training.plan import LIBRARIES, compared, plan, plan_text
from training.prefer import PreferSettings
from training.settings import ROOT, read_yaml, validated
from training.stages import STAGES, Lora

SIZES: dict[str, Any] = {
    "vocab_size": 1000, "hidden_size": 64, "intermediate_size": 176, "num_hidden_layers": 3, "num_attention_heads": 4,
    "max_position_embeddings": 256,
}  # fmt: skip


def model(**changes: Any) -> Any:
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**{**SIZES, "tie_word_embeddings": False, **changes}))


def step_of(model: Any, rows: int = 2, length: int = 32, **how: Any) -> Step:
    return Step(plan_of_shape(model.config.to_dict()).shape, rows, length, **how)


def adapted(model: Any, rank: int) -> Any:
    return with_lora(model, Lora(rank=rank))


def numbers(model: Any, *, trained: bool = False) -> int:
    return sum(one.numel() for one in model.parameters() if one.requires_grad or not trained)


def test_weights_are_counted_exactly() -> None:
    for made in (
        model(), model(tie_word_embeddings=True), model(num_key_value_heads=2), model(attention_bias=True),
        Qwen2ForCausalLM(Qwen2Config(**SIZES, num_key_value_heads=2, tie_word_embeddings=False)),
    ):  # fmt: skip
        step = step_of(made)
        assert step.parameters == step.trainable == numbers(made)
        embedding = made.get_input_embeddings().weight.numel()
        vectors = sum(one.numel() for one in made.parameters() if one.dim() == 1)
        assert step.multiplied == numbers(made) - vectors - embedding * (made.config.tie_word_embeddings is False)
    scored = LlamaForSequenceClassification(LlamaConfig(**SIZES, num_labels=1))
    assert step_of(scored, head="score").parameters == numbers(scored)


def test_adapters_are_counted_exactly() -> None:
    before = numbers(model(num_key_value_heads=2))
    made = adapted(model(num_key_value_heads=2), 8)
    step = Step(plan_of_shape({**SIZES, "model_type": "llama", "num_key_value_heads": 2}).shape, 2, 32, rank=8)
    assert (step.parameters, step.trainable) == (before, numbers(made, trained=True))
    scored = adapted(LlamaForSequenceClassification(LlamaConfig(**SIZES, num_labels=1, pad_token_id=0)), 8)
    step = Step(plan_of_shape({**SIZES, "model_type": "llama"}).shape, 2, 32, rank=8, head="score")
    assert step.trainable == numbers(scored, trained=True)


def one_step(model: Any, optimizer: Any, rows: int, length: int, autocast: bool = False) -> None:
    ids = torch.arange(rows * length).reshape(rows, length) * 7 % 1000
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = model(input_ids=ids, labels=ids, use_cache=False).loss
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def remembered(optimizer: Any) -> int:
    counters = ("step", "RMS")  # a number a tensor
    states = [one for state in optimizer.state.values() for name, one in state.items() if name not in counters]
    return sum(one.numel() * one.element_size() for one in states if torch.is_tensor(one))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_optimizer_states_are_counted_exactly(dtype: torch.dtype) -> None:
    from transformers import Adafactor

    name = str(dtype).removeprefix("torch.")
    made = model().to(dtype)
    adamw = torch.optim.AdamW(made.parameters())
    one_step(made, adamw, 2, 16)
    assert step_of(made, dtype=name).optimizer_states == remembered(adamw)
    adafactor = Adafactor(made.parameters(), scale_parameter=False, relative_step=False, lr=1e-3)
    one_step(made, adafactor, 2, 16)
    assert step_of(made, dtype=name, optimizer="adafactor").optimizer_states == remembered(adafactor)


def test_the_8_bit_optimizer_by_hand() -> None:
    """Two bytes a weight and a float32 for each 256 of each state; vectors of 64 stay as they are."""
    shape = plan_of_shape({**SIZES, "model_type": "llama"}).shape
    step = Step(shape, 1, 16, dtype="bfloat16", optimizer="adamw_8bit")
    vectors = (2 * 3 + 1) * 64
    matrices = step.parameters - vectors
    assert step.optimizer_states == 2 * matrices + 2 * 4 * matrices // 256 + 2 * 2 * vectors


PEAKS = [
    {},
    {"checkpointing": True},
    {"dtype": "bfloat16"},
    {"dtype": "bfloat16", "checkpointing": True},
    {"rank": 8},
    {"rank": 8, "dtype": "bfloat16", "checkpointing": True},
    {"rank": 8, "dtype": "bfloat16", "autocast": True},
    {"rank": 8, "dtype": "bfloat16", "autocast": True, "checkpointing": True},
    {"autocast": True},
]


@pytest.mark.parametrize("how", PEAKS, ids=lambda how: " ".join(how) or "plain")
def test_the_peak_is_what_torch_allocates(how: dict[str, Any]) -> None:
    """Torch's profiler sees each allocation of a step; weights and states were there before."""
    made = model(hidden_size=128, intermediate_size=352).to(getattr(torch, how.get("dtype", "float32"))).train()
    step = step_of(made, 8, 128, **how)
    if step.rank is not None:
        made = adapted(made, step.rank)
        made.enable_input_require_grads()
    if step.checkpointing:
        made.activation_checkpointing_enable({"use_reentrant": False})
    optimizer = torch.optim.AdamW([one for one in made.parameters() if one.requires_grad], fused=True)
    one_step(made, optimizer, 8, 128, step.autocast)
    there = remembered(optimizer) + sum(one.numel() * one.element_size() for one in made.parameters())
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as seen:
        one_step(made, optimizer, 8, 128, step.autocast)
    events = [one for one in seen.profiler.kineto_results.events() if one.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda one: one.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    assert step.peak == pytest.approx(there + peak, rel=0.08)


def test_the_plan_is_within_a_tenth_of_what_an_h200_took() -> None:
    rows = json.loads((ROOT / "benchmarks" / "results" / "gpu_training.json").read_text("utf-8"))["rows"]
    shape = plan_of_shape(CHIMED_GPT).shape
    measured = [row for row in rows if "GB" in row]
    for row in measured:
        mode, kind, optimizer = row["way"].split(", ")
        step = Step(
            shape, row["rows"], row["length"], dtype="bfloat16", optimizer=optimizer, chunk=1024, cuda=True,
            rank=64 if mode == "lora" else None, autocast=mode == "lora", checkpointing=kind == "recomputed",
        )  # fmt: skip
        assert step.peak / 1e9 == pytest.approx(row["GB"], rel=0.1), row["way"]
    assert len(measured) == 11


def test_chimed_gpt_by_hand() -> None:
    """Full training in bfloat16 with an 8-bit optimizer is 6 bytes a weight; float32 with AdamW is 16."""
    shape = plan_of_shape(CHIMED_GPT).shape
    full = Step(shape, 1, 2048, dtype="bfloat16", optimizer="adamw_8bit", checkpointing=True)
    assert full.parameters == 13_091_742_720
    resident = full.weights + full.gradients + full.optimizer_states
    assert resident == pytest.approx(6 * full.parameters * (1 + 8 / 256 / 6), rel=1e-3)
    assert full.activations == 40 * 2048 * 5120 * 2
    plain = Step(shape, 1, 2048)
    assert plain.weights + plain.gradients + plain.optimizer_states == 16 * plain.parameters
    spread = replace(plain, devices=8)
    assert spread.weights + spread.gradients + spread.optimizer_states == 2 * plain.parameters
    attention = 6 * 2048 * 5120 * 40
    assert full.operations == 6 * (13_091_742_720 - 39410 * 5120 - 81 * 5120) + attention
    assert replace(full, rank=64).operations == full.operations * 2 / 3 + attention / 3


# -- of a configuration -------------------------------------------------------------------------------------------


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "base").mkdir()
    made = {**CHIMED_GPT, "num_hidden_layers": 4}
    (tmp_path / "base" / "config.json").write_text(json.dumps(made), "utf-8")
    row = {"id": "1", "prompt": [{"role": "user", "content": "问" * 40}], "replies": [{"text": "答" * 60, "rank": 1}]}
    (tmp_path / "ranked.jsonl").write_text((json.dumps(row) + "\n") * 50, "utf-8")
    monkeypatch.setenv("HERE", str(tmp_path))
    path = tmp_path / "c.yaml"
    path.write_text(
        "stage: prefer\nbase: $HERE/base\noutput_dir: $HERE/out\nmax_tokens: 512\n"
        "data: {sources: [{path: $HERE/ranked.jsonl, form: ranked}], hygiene: {evaluation: null}}\n"
        "fit: {batch_size: 8, epochs: 2, machine: {memory: 141}}\n",
        "utf-8",
    )
    return path


def settings(config: Path, *overrides: str) -> PreferSettings:
    return validated(PreferSettings, read_yaml(config, overrides), config)


def test_a_configuration_is_planned(config: Path) -> None:
    planned = plan(settings(config), rate=800e12)
    step = planned.step
    assert (planned.device, step.rows, step.length, step.others) == ("cuda", 16, 512, step.weights)
    # 50 rows of 40 + 60 characters and the words of their fields ("1", "user"), 0.8 tokens each, twice.
    assert planned.tokens == int(50 * (100 + 1 + 4) * 0.8 * 2)
    assert planned.seconds == pytest.approx(planned.tokens * (step.operations + 2 * step.multiplied) / (0.4 * 800e12))
    adapters = plan(settings(config, "lora.rank=8", "fit.machine.weights=bfloat16"), rate=1.0)
    assert adapters.step.others == 0 and adapters.step.rank == 8
    steps = plan(settings(config, "fit.max_steps=10", "fit.accumulate=3"), rate=1.0)
    assert steps.tokens == 10 * 8 * 3 * 2 * 512


def test_what_does_not_fit_is_told_what_would(config: Path) -> None:
    planned = plan(settings(config, "fit.machine.memory=30"), rate=1.0)
    assert not planned.fits
    said = str(planned)
    assert "fits: NO, of 30.0 GB" in said
    first = planned.advice()[0]
    assert first.startswith("fit.machine.checkpointing: true")
    smaller = plan(
        settings(
            config, "fit.machine.checkpointing=true", "fit.batch_size=1", "fit.machine.weights=bfloat16",
            "fit.machine.optimizer=adamw_8bit",
        ),
        rate=1.0,
    )  # fmt: skip
    assert smaller.fits == (smaller.peak <= smaller.memory if smaller.memory else False)
    assert plan(settings(config, "fit.machine.memory=1"), rate=1.0).advice() == [
        "nothing of this kind: a larger device, or more of them"
    ]


def test_the_table_of_a_file_and_what_it_took_afterwards(config: Path, tmp_path: Path) -> None:
    said = plan_text(config)
    weights = 4 * (4 * 5120**2 + 3 * 5120 * 13824 + 2 * 5120) + 2 * 39410 * 5120 + 5120
    for part in (f"prefer: {weights:,} weights", "optimizer (adamw)", "frozen models beside it", "fits: yes, of 141.0"):
        assert part in said, said
    assert "took" not in said
    planned = plan(settings(config), rate=800e12)
    (tmp_path / "out").mkdir()
    card = {"seconds": planned.seconds, "peak_memory": planned.peak // 2}
    (tmp_path / "out" / "card.json").write_text(json.dumps(card), "utf-8")
    time, memory = compared(planned, tmp_path / "out")
    assert "1.00 of the plan" in time and "0.50 of the plan" in memory
    assert "took" in plan_text(config)


def test_a_cpu_holds_the_libraries_too(config: Path) -> None:
    planned = plan(settings(config, "device=cpu", "fit.machine.memory=null"), rate=1e11)
    assert planned.device == "cpu"
    assert planned.peak == planned.step.peak + LIBRARIES


def test_what_cannot_be_planned_says_why(config: Path) -> None:
    with pytest.raises(ConfigError, match=r"base: someone/else is not here; give a folder.*SYNLP/ChiMed-GPT-1\.0"):
        plan(settings(config, "base=someone/else"), rate=1.0)
    missing = plan(settings(config, "data.sources.0.path=$HERE/gone.jsonl"), rate=1.0)
    assert missing.tokens is None and "not planned" in str(missing) and "gone.jsonl" in str(missing)
    with pytest.raises(ConfigError, match="does not say its stage; add --set stage=NAME, one of: "):
        plan_text(config, ["stage=null"])


def test_the_stages_of_a_pipeline_are_planned_one_after_the_other(config: Path, tmp_path: Path) -> None:
    """The second stage's base is still to be made; it has the shape of the first."""
    path = tmp_path / "pipeline.yaml"
    path.write_text(
        "output_dir: $HERE/chain\n"
        "shared: {device: cpu, max_tokens: 64, data: {hygiene: {evaluation: null}}, fit: {max_steps: 5}}\n"
        "stages:\n"
        "  - name: first\n    stage: pretrain\n"
        "    shape: {vocabulary: 1000, hidden: 64, layers: 3, feed_forward: 176}\n"
        "    data: {sources: [{path: $HERE/ranked.jsonl, form: texts}]}\n"
        '  - name: last\n    stage: prefer\n    base: "{previous}"\n'
        "    data: {sources: [{path: $HERE/ranked.jsonl, form: ranked}]}\n",
        "utf-8",
    )
    said = plan_text(path, ["stages.last.fit.batch_size=4"])
    tied = numbers(model(tie_word_embeddings=True))
    assert said.count(f"{tied:,} weights") == 2 and "8 rows of 64 tokens at once" in said
    assert said.splitlines()[0] == "first" and said.splitlines()[-1].startswith("all: ")


# -- the configurations that come with it -------------------------------------------------------------------------

CONFIGS = ROOT / "training" / "configs"
STAGED = sorted(
    path.name for path in CONFIGS.glob("*.yaml") if path.name.startswith(("13b_", "prefer_", "pretrain_nano_gpu"))
)


@pytest.mark.parametrize("name", STAGED)
def test_every_configuration_is_valid_and_can_be_planned(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text(json.dumps({**SIZES, "model_type": "llama"}), "utf-8")
    monkeypatch.setenv("TINY", str(tmp_path))
    data = read_yaml(CONFIGS / name)
    known = STAGES.get(data["stage"]).settings
    settings = validated(known, data, name)
    if settings.base and "/" in settings.base and not settings.base.startswith(("SYNLP", "$")):
        settings = validated(known, {**data, "base": "$TINY/base"}, name)  # made by the stage before
    planned = plan(settings, rate=1e12)
    assert planned.fits, planned


def test_one_gpu_of_141_gb_trains_all_of_13_billion_weights() -> None:
    """The plan of the profile, with room: 79 GB of states and what a batch takes."""
    data = read_yaml(CONFIGS / "13b_full.yaml")
    planned = plan(validated(STAGES.get("sft").settings, data, "13b_full.yaml"), rate=1e12)
    states = planned.step.weights + planned.step.gradients + planned.step.optimizer_states
    assert states == pytest.approx(79e9, rel=0.01) and planned.peak < 0.7 * 141e9
