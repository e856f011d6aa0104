"""What machine a run asks for, whether it is there, and whether the trainer really got it.

The libraries beneath are silent where they should not be: accelerate's launcher runs one process on a CPU whatever it
was asked for, and FSDP asked for on a CPU is left out (accelerate 1.15, transformers 5.23). So what is asked is checked
before a file is read (`require`), and what was got is compared with it before the first step (`witness`).

Several devices are several processes of torchrun, one a device:

    torchrun --nproc_per_node 8 -m training sft --config training/configs/13b_fsdp2.yaml

`configs/accelerate/` says the same to accelerate's launcher. FSDP2 and ZeRO-3 need GPUs: here only what they are asked
for is tested, not what they do. Not covered: several machines. Needs no torch by itself.
"""

from __future__ import annotations

import os
from datetime import timedelta
from importlib.util import find_spec
from typing import Any, Literal

from pydantic import Field

from chimed_rag.errors import InputError
from training.settings import Settings

Distribution = Literal["single", "ddp", "fsdp2", "zero3"]
Optimizer = Literal["adamw", "adamw_8bit", "adafactor"]
SHARDED = ("fsdp2", "zero3")
SMALLER = 0.95
"""A device is as large as asked for with this share of it: part of what its name promises is never free."""


class Machine(Settings):
    """What a run is to run on, and how it keeps there.

    Args:
        devices: processes, one a device.
        distribution: `single`; `ddp`, all of the model on each device; `fsdp2` or `zero3`, weights, gradients and
            optimizer in parts on all of them.
        memory: GB (1e9 bytes) of each device; null takes what is there.
        weights: how they are kept while they are trained. In bfloat16 an update smaller than 1/256 of a weight is
            lost unless it is rounded by chance, which `adamw_8bit` does.
        optimizer: `adamw`, two states in the precision of the weights; `adamw_8bit`, two of a byte (torchao);
            `adafactor`, a row and a column a matrix (Shazeer and Stern 2018, arXiv:1804.04235).
        checkpointing: keep of each layer what goes into it alone, and compute the rest again.
        workers: processes that make the next batches ready meanwhile; a small model on a GPU waits for its batches
            without. The batches are the same.
    """

    devices: int = Field(1, ge=1)
    distribution: Distribution = "single"
    memory: float | None = Field(None, gt=0)
    weights: Literal["float32", "bfloat16"] = "float32"
    optimizer: Optimizer = "adamw"
    checkpointing: bool = False
    workers: int = Field(0, ge=0)


def require(machine: Machine, device: str, *, lora: bool = False) -> None:
    """Checks that this process can have what the machine asks for; costs nothing.

    Args:
        machine: what is asked for.
        device: that the run will use, as torch names it.
        lora: whether adapters are trained, and not the weights.

    Raises:
        InputError: it cannot; says what there is and the command that helps.
    """
    if (machine.devices > 1) != (machine.distribution != "single"):
        raise InputError(
            f"machine.devices is {machine.devices} and machine.distribution is {machine.distribution}: one device is "
            "single, several are ddp, fsdp2 or zero3"
        )
    if machine.weights == "bfloat16" and machine.optimizer != "adamw_8bit" and not lora:
        raise InputError(
            f"machine.weights is bfloat16 and machine.optimizer {machine.optimizer}: nearly all updates would be "
            "rounded away; take adamw_8bit, which rounds by chance, or weights: float32, or train adapters (lora)"
        )
    if machine.distribution in SHARDED and lora:
        raise InputError(
            f"adapters are merged by one process, and machine.distribution {machine.distribution} leaves it a part of "
            "the weights; take ddp or one device for lora"
        )
    if machine.distribution in SHARDED and device != "cuda":
        raise InputError(f"machine.distribution {machine.distribution} needs GPUs; torch sees none here")
    for library, needed in (
        ("torchao", machine.optimizer == "adamw_8bit"),
        ("deepspeed", machine.distribution == "zero3"),
    ):
        if needed and find_spec(library) is None:
            raise InputError(
                f"{library} is not installed, and the machine asked for needs it; run: pip install {library}"
            )
    _enough_devices(machine, device)


def _enough_devices(machine: Machine, device: str) -> None:
    """That many processes were started, and that each finds a device of its own, large enough."""
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if device == "cuda":
        import torch

        there = torch.cuda.device_count()
        here = int(os.environ.get("LOCAL_WORLD_SIZE", started))
        if there < max(here, machine.devices):
            raise InputError(
                f"the configuration wants {machine.devices} GPUs and torch sees {there}; take a configuration for "
                f"{there}, or a machine with {machine.devices}"
            )
        size = min(torch.cuda.get_device_properties(n).total_memory for n in range(here))
        if machine.memory is not None and size < SMALLER * machine.memory * 1e9:
            raise InputError(
                f"the configuration wants GPUs of {machine.memory:g} GB and there is one of {size / 1e9:.0f}; "
                "python -m training plan says what would fit"
            )
    if started != machine.devices:
        starter = f"torchrun --nproc_per_node {machine.devices}" if machine.devices > 1 else "python"
        raise InputError(
            f"the configuration wants {machine.devices} processes, one a device, and {started} were started; run: "
            f"{starter} -m training ..."
        )


def witness(trainer: Any, machine: Machine) -> None:
    """Compares what a trainer of transformers got with what was asked for, before its first step.

    Raises:
        InputError: they differ, in the number of processes or in how the model is spread over them.
    """
    accelerator, arguments = trainer.accelerator, trainer.args
    if arguments.n_gpu > 1:
        raise InputError(
            f"torch sees {arguments.n_gpu} GPUs, and the trainer would spread each batch over them; run one process a "
            "GPU by torchrun, or show it one: CUDA_VISIBLE_DEVICES=0"
        )
    kind = str(getattr(accelerator.distributed_type, "value", accelerator.distributed_type))
    got = {"NO": "single", "MULTI_GPU": "ddp", "MULTI_CPU": "ddp", "FSDP": "fsdp1", "DEEPSPEED": "zero"}.get(kind, kind)
    if got == "fsdp1" and accelerator.is_fsdp2:
        got = "fsdp2"
    if got == "zero":
        got = f"zero{accelerator.state.deepspeed_plugin.zero_stage}"
    asked = (machine.devices, machine.distribution)
    if (accelerator.num_processes, got) != asked:
        raise InputError(
            f"asked for {asked[0]} processes ({asked[1]}), and the trainer got {accelerator.num_processes} ({got}); "
            "nothing was trained"
        )


def arguments(machine: Machine) -> dict[str, Any]:
    """The keyword arguments of transformers' TrainingArguments that give what a machine asks for."""
    # trl recomputes activations unless told not to; FSDP does it by itself, without gathering a second time.
    found: dict[str, Any] = {
        "activation_checkpointing": machine.checkpointing and machine.distribution != "fsdp2",
        "dataloader_num_workers": machine.workers,
    }
    if machine.optimizer != "adamw":
        found["optim"] = {"adamw_8bit": "adamw_torch_8bit", "adafactor": "adafactor"}[machine.optimizer]
    if machine.optimizer == "adamw_8bit" and machine.weights == "bfloat16":
        found["optim_args"] = "bf16_stochastic_round=True"
    if machine.distribution == "ddp":
        found["ddp_find_unused_parameters"] = False
    if machine.distribution == "fsdp2":
        found |= {"fsdp": True, "fsdp_config": fsdp2(machine)}
    if machine.distribution == "zero3":
        found["deepspeed"] = zero3(machine)
    return found


def fsdp2(machine: Machine) -> dict[str, Any]:
    """`fsdp_config` of TrainingArguments: each layer in parts, gathered for its own forward and backward pass alone."""
    return {
        "version": 2,
        "reshard_after_forward": True,
        "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        "cpu_ram_efficient_loading": True,
        "state_dict_type": "FULL_STATE_DICT",
        "activation_checkpointing": machine.checkpointing,
    }


def zero3(machine: Machine) -> dict[str, Any]:
    """DeepSpeed's configuration; what it shares with TrainingArguments is "auto", taken from there."""
    return {
        "bf16": {"enabled": "auto"},
        "zero_optimization": {
            "stage": 3,
            "overlap_comm": True,
            "contiguous_gradients": True,
            "stage3_gather_16bit_weights_on_model_save": True,
        },
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
    }


def is_first() -> bool:
    """Whether this process is the one that writes files; the only one, unless torchrun started several."""
    return int(os.environ.get("RANK", "0")) == 0


LONGEST = timedelta(days=2)
"""So long one process may do what is its alone (measuring, merging) while the others wait."""


def wait() -> None:
    """Until all processes of the run have come here; nothing if there is one."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        import torch
        from accelerate import PartialState

        PartialState(cpu=not torch.cuda.is_available(), timeout=LONGEST).wait_for_everyone()


def peak_memory() -> int:
    """The most bytes this process held: of the GPU if torch used one, of the machine otherwise (Linux and macOS)."""
    import sys

    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return int(torch.cuda.max_memory_allocated())
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
