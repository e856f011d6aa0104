"""What a run asks of a machine: refused before time is spent, handed to the trainers, compared with what they got."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from pydantic import ValidationError

from chimed_rag.errors import InputError
from training.fitting import Optimisation
from training.fitting import arguments as trainer_arguments
from training.launch import Machine, arguments, is_first, peak_memory, require, wait, witness
from training.settings import ROOT


@dataclass
class Card:
    total_memory: int


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes torch see so many GPUs of so many GB."""

    def see(number: int, size: int = 80) -> None:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: number)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda n: Card(size * 10**9))

    return see


@pytest.mark.parametrize(
    ("machine", "device", "message"),
    [
        (Machine(devices=8, distribution="ddp"), "cuda", r"wants 8 GPUs and torch sees 1"),
        (Machine(memory=141), "cuda", r"GPUs of 141 GB and there is one of 80"),
        (
            Machine(devices=2, distribution="ddp"),
            "cpu",
            r"wants 2 processes.*1 were started.*torchrun --nproc_per_node 2",
        ),
        (Machine(devices=2), "cpu", r"devices is 2 and machine\.distribution is single"),
        (Machine(distribution="fsdp2"), "cuda", r"devices is 1 and machine\.distribution is fsdp2"),
        (Machine(devices=2, distribution="fsdp2"), "cpu", r"fsdp2 needs GPUs"),
        (Machine(devices=2, distribution="zero3"), "cuda", r"pip install deepspeed"),
        (Machine(optimizer="adamw_8bit"), "cuda", r"pip install torchao"),
        (Machine(weights="bfloat16"), "cpu", r"rounded away; take adamw_8bit"),
        (Machine(weights="bfloat16", optimizer="adafactor"), "cpu", r"rounded away; take adamw_8bit"),
    ],
)
def test_what_is_not_there_is_said_before_anything_is_spent(
    machine: Machine, device: str, message: str, gpus: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus(1)
    monkeypatch.setattr("training.launch.find_spec", lambda name: None)
    with pytest.raises(InputError, match=message):
        require(machine, device)


def test_what_is_there_is_taken(gpus: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    require(Machine(), "cpu")
    require(Machine(weights="bfloat16"), "cpu", lora=True)
    gpus(8)
    require(Machine(memory=80), "cuda")
    monkeypatch.setenv("WORLD_SIZE", "8")
    require(Machine(devices=8, distribution="fsdp2", memory=80), "cuda")
    with pytest.raises(InputError, match="wants 1 processes, one a device, and 8 were started; run: python -m"):
        require(Machine(), "cuda")


def trainer(kind: str, processes: int, gpus: int = 1, **more: Any) -> Any:
    accelerator = SimpleNamespace(distributed_type=SimpleNamespace(value=kind), num_processes=processes, **more)
    return SimpleNamespace(accelerator=accelerator, args=SimpleNamespace(n_gpu=gpus))


def test_what_the_trainer_got_is_compared_with_what_was_asked_for() -> None:
    zero = SimpleNamespace(deepspeed_plugin=SimpleNamespace(zero_stage=3))
    witness(trainer("NO", 1), Machine())
    witness(trainer("MULTI_GPU", 4), Machine(devices=4, distribution="ddp"))
    witness(trainer("FSDP", 4, is_fsdp2=True), Machine(devices=4, distribution="fsdp2"))
    witness(trainer("DEEPSPEED", 4, state=zero), Machine(devices=4, distribution="zero3"))
    for got, machine, said in [
        (trainer("NO", 1), Machine(devices=2, distribution="ddp"), r"asked for 2 .*\(ddp\).*got 1 \(single\)"),
        (trainer("MULTI_CPU", 2), Machine(devices=2, distribution="fsdp2"), r"2 processes \(fsdp2\).*got 2 \(ddp\)"),
        (trainer("FSDP", 2, is_fsdp2=False), Machine(devices=2, distribution="fsdp2"), r"got 2 \(fsdp1\)"),
        (trainer("MULTI_GPU", 2), Machine(), r"asked for 1 .*got 2 \(ddp\)"),
        (trainer("NO", 1, gpus=2), Machine(), r"torch sees 2 GPUs.*CUDA_VISIBLE_DEVICES=0"),
    ]:
        with pytest.raises(InputError, match=said):
            witness(got, machine)


def test_trainers_get_what_the_machine_asks_for(tmp_path: Path) -> None:
    from transformers import TrainingArguments
    from trl import DPOConfig

    plain = trainer_arguments(Optimisation(), tmp_path, seed=1, device="cpu")
    assert DPOConfig(**plain).activation_checkpointing is False  # trl's own default is True
    ahead = Optimisation(machine=Machine(workers=3))
    assert TrainingArguments(**trainer_arguments(ahead, tmp_path, seed=1, device="cpu")).dataloader_num_workers == 3
    full = Machine(weights="bfloat16", optimizer="adamw_8bit", checkpointing=True)
    made = TrainingArguments(**trainer_arguments(Optimisation(machine=full), tmp_path, seed=1, device="cpu"))
    assert (made.optim.value, made.optim_args) == ("adamw_torch_8bit", "bf16_stochastic_round=True")
    assert made.activation_checkpointing is True
    sharded = Machine(devices=2, distribution="fsdp2", checkpointing=True)
    made = TrainingArguments(**trainer_arguments(Optimisation(machine=sharded), tmp_path, seed=1, device="cpu"))
    assert made.activation_checkpointing is False  # FSDP's own, without a second gathering
    assert made.fsdp_plugin_args == {
        "fsdp_version": 2, "reshard_after_forward": True, "activation_checkpointing": True,
        "auto_wrap_policy": "TRANSFORMER_BASED_WRAP", "state_dict_type": "FULL_STATE_DICT",
        "cpu_ram_efficient_loading": True,
    }  # fmt: skip


def test_zero3_asks_deepspeed_for_stage_3_and_whole_weights_at_the_end() -> None:
    made = arguments(Machine(devices=8, distribution="zero3", checkpointing=True))
    assert made["activation_checkpointing"] is True
    assert made["deepspeed"]["zero_optimization"]["stage"] == 3
    assert made["deepspeed"]["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"] is True
    assert made["deepspeed"]["train_batch_size"] == "auto"


@pytest.mark.parametrize("kind", ["fsdp2", "zero3"])
def test_the_launcher_is_told_what_the_configuration_says(kind: str) -> None:
    """Processes alone; the rest stands in one place."""
    configs = ROOT / "training" / "configs"
    launcher = yaml.safe_load((configs / "accelerate" / f"{kind}.yaml").read_text("utf-8"))
    machine = Machine(**yaml.safe_load((configs / f"13b_{kind}.yaml").read_text("utf-8"))["fit"]["machine"])
    assert (launcher["num_processes"], machine.distribution) == (machine.devices, kind)
    assert not {"fsdp_config", "deepspeed_config"} & launcher.keys()


def test_a_machine_knows_its_keys() -> None:
    with pytest.raises(ValidationError):
        Machine(gpus=2)  # type: ignore[call-arg]


def test_one_process_is_the_first_and_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    wait()
    assert is_first()
    monkeypatch.setenv("RANK", "1")
    assert not is_first()


def test_peak_memory_is_that_of_this_process() -> None:
    import psutil

    held = psutil.Process().memory_info().rss
    assert 0.95 * held <= peak_memory() <= psutil.virtual_memory().total  # the kernel counts both by and by


SCRIPT = """
    import sys, torch
    from pathlib import Path
    from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments
    from training.fitting import Optimisation, arguments, fit
    from training.launch import Machine, require
    machine = Machine(devices=2, distribution="ddp")
    require(machine, "cpu")
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=31, hidden_size=8, intermediate_size=16, num_hidden_layers=1,
                                         num_attention_heads=2))
    rows = [{"input_ids": torch.arange(6) * n % 31, "labels": torch.arange(6) * n % 31} for n in range(8)]
    settings = Optimisation(max_steps=2, batch_size=2, log_every=1, machine=machine)
    folder = Path(sys.argv[1])
    trainer = Trainer(model=model, args=TrainingArguments(**arguments(settings, folder, seed=1, device="cpu")),
                      train_dataset=rows)
    points = fit(trainer, folder, lambda _: None, machine=machine)
    total = sum(float(weight.detach().double().sum()) for weight in model.parameters())
    print(f"rank {trainer.args.process_index} of {trainer.args.world_size}: {len(points)} {total:.12f}")
"""


def test_two_processes_train_one_model(tmp_path: Path) -> None:
    """torchrun, on the CPU: both ranks see a world of two, and end with the same weights."""
    (tmp_path / "two.py").write_text(textwrap.dedent(SCRIPT), "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_addr", "127.0.0.1",
         "--master_port", "0", "--rdzv_backend", "c10d", "--rdzv_endpoint", "127.0.0.1:0",
         str(tmp_path / "two.py"), str(tmp_path / "out")],
        cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    said = sorted(re.findall(r"rank \d of \d: \d+ \d+\.\d{12}", done.stdout))  # two processes may share a line
    assert len(said) == 2, done.stderr[-2000:]
    assert said[0].startswith("rank 0 of 2: 2 ") and said[1].startswith("rank 1 of 2: ")
    assert said[0].split()[-1] == said[1].split()[-1]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
