"""What all training loops share: settings of the optimisation, the arguments of the trainers, resuming.

On a CPU, a run that was killed and goes on ends with the same weights as one that was not: the order of the batches
comes from the seed, and a checkpoint carries weights, optimizer, schedule and random states. A loss that is no number
is an error. Not covered: losses and data (a module a kind). Needs torch and transformers.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from training.card import Point
from training.checkpoints import TrainingError, newest_whole, seal
from training.launch import Machine, is_first, wait, witness
from training.launch import arguments as of_machine
from training.settings import Settings


class Optimisation(Settings):
    """How long and how fast weights move (AdamW).

    Args:
        epochs: passes through the data.
        max_steps: optimizer steps, instead of epochs.
        batch_size: examples that go through together on one device.
        accumulate: batches an optimizer step; negatives of a batch do not see those of another.
        learning_rate: at its highest.
        warmup: share of the steps in which it rises to that.
        schedule: how it falls.
        weight_decay: of AdamW.
        bf16: compute in bfloat16 (faster on GPUs, and on CPUs that have avx512_bf16; elsewhere slower).
        save_every: steps between checkpoints.
        log_every: steps between readings of the loss.
        machine: what it is to run on, and how it keeps there (`launch`).
    """

    epochs: float = Field(1.0, gt=0)
    max_steps: int | None = Field(None, ge=1)
    batch_size: int = Field(32, ge=1)
    accumulate: int = Field(1, ge=1)
    learning_rate: float = Field(2e-4, gt=0)
    warmup: float = Field(0.1, ge=0, lt=1)
    schedule: Literal["linear", "cosine", "constant_with_warmup"] = "linear"
    weight_decay: float = Field(0.01, ge=0)
    bf16: bool = False
    save_every: int = Field(500, ge=1)
    log_every: int = Field(50, ge=1)
    machine: Machine = Machine()


LIVE = ("learning_rate", "schedule", "warmup", "epochs", "max_steps", "save_every", "log_every")
"""Keys of the optimisation that may change while a run is under way (`Run`'s `accept`): `fit` makes them take effect.
A batch size or a seed would deal the remaining batches anew, so that some rows are never seen; weight decay lies in the
optimizer's state."""

Device = Literal["auto", "cpu", "cuda"]


def device_name(device: Device) -> str:
    """The device as torch names it; `auto` takes cuda if there is one."""
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device


def quiet(seed: int) -> None:
    """Sets every seed, and leaves of the libraries' messages the errors alone."""
    from transformers import set_seed
    from transformers.utils import logging

    set_seed(seed)
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def arguments(settings: Optimisation, folder: Path, *, seed: int, device: str) -> dict[str, Any]:
    """The keyword arguments of transformers' TrainingArguments, which those of sentence-transformers take as well."""
    return {
        "output_dir": str(folder),
        "num_train_epochs": settings.epochs,
        "max_steps": settings.max_steps or -1,
        "per_device_train_batch_size": settings.batch_size,
        "gradient_accumulation_steps": settings.accumulate,
        "learning_rate": settings.learning_rate,
        "warmup_steps": settings.warmup,  # below 1, a share of all steps
        "lr_scheduler_type": settings.schedule,
        "weight_decay": settings.weight_decay,
        "bf16": settings.bf16,
        "use_cpu": device == "cpu",
        "dataloader_pin_memory": device != "cpu",
        "seed": seed,
        "data_seed": seed,
        "save_strategy": "steps",
        "save_steps": settings.save_every,
        "save_total_limit": 2,
        "logging_steps": settings.log_every,
        "logging_nan_inf_filter": False,  # would write the mean of earlier losses in place of one that is no number
        "report_to": "none",
        "disable_tqdm": True,
        **of_machine(settings.machine),
    }


def fit(trainer: Any, folder: Path, say: Callable[[str], None], *, machine: Machine = Machine()) -> list[Point]:  # noqa: B008
    """Trains, from the newest whole checkpoint in the folder if there is one; returns the curve of the whole phase.

    Raises:
        InputError: the trainer did not get the processes and the distribution that `machine` asks for.
        TrainingError: a loss or a weight is no finite number; the newest whole checkpoint of before is kept.
    """
    from transformers import PrinterCallback

    witness(trainer, machine)
    wait()
    if is_first():
        newest_whole(folder)  # removes damaged ones, before the others look
    wait()
    trainer.remove_callback(PrinterCallback)  # prints to standard output
    trainer.add_callback(_watcher(folder.name, say))
    _watch_losses(trainer, folder)
    checkpoint = newest_whole(folder)
    if checkpoint is not None:
        say(f"{folder.name}: goes on from {checkpoint.name}")
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    readings = [entry for entry in trainer.state.log_history if "loss" in entry]
    return [Point(phase=folder.name, step=entry["step"], loss=round(float(entry["loss"]), 6)) for entry in readings]


def whole(trainer: Any) -> Any:
    """The trained model with all its weights in the process that writes files; None in the others.

    Weights in parts (FSDP2, ZeRO-3) are put together on the CPU; all processes have to come here. Read in accelerate
    1.15 and not run: there was one GPU at most.
    """
    accelerator = trainer.accelerator
    model = accelerator.unwrap_model(trainer.model)
    if not accelerator.is_fsdp2 and accelerator.state.deepspeed_plugin is None:
        return model if is_first() else None
    weights = accelerator.get_state_dict(trainer.model_wrapped)
    if not is_first():
        return None
    plain = type(model)(model.config)
    plain.load_state_dict(weights)
    plain.generation_config = model.generation_config
    return plain


def _watch_losses(trainer: Any, folder: Path) -> None:
    """Looks at each batch's loss before the optimizer's step: callbacks see means of many, and see them late."""
    step = trainer.training_step

    def watched(*args: Any, **how: Any) -> Any:
        loss = step(*args, **how)
        if not loss.isfinite().all():
            raise _not_finite(f"the loss is {loss.item()}", folder, trainer.state.global_step)
        return loss

    trainer.training_step = watched


def _not_finite(what: str, folder: Path, step: int) -> TrainingError:
    return TrainingError(
        f"{folder.name}: {what} after step {step:,}; checkpoints of before are kept in {folder}. Take a lower "
        "learning_rate or a longer warmup, and look for rows that are odd"
    )


def _watcher(phase: str, say: Callable[[str], None]) -> Any:
    """A callback that seals checkpoints once they are written, lets changed settings count, and tells the loss."""
    from transformers import TrainerCallback

    class Watcher(TrainerCallback):  # type: ignore[misc, unused-ignore]
        def on_train_begin(self, args: Any, state: Any, control: Any, **what: Any) -> None:
            state.save_steps, state.logging_steps = args.save_steps, args.logging_steps
            _set_rate(what["lr_scheduler"], what["optimizer"], args.learning_rate)

        def on_save(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            folder = Path(args.output_dir)
            if model is not None and not all(_finite(weight) for weight in model.parameters()):
                raise _not_finite("a weight is no finite number", folder, state.global_step)
            wait()  # each process writes its random state into the checkpoint
            if is_first():
                sealed(folder / f"checkpoint-{state.global_step}")
            wait()

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if logs and "loss" in logs:
                say(f"{phase}: step {state.global_step:,} of {state.max_steps:,}, loss {float(logs['loss']):.4f}")

    return Watcher()


def _finite(weight: Any) -> bool:
    here = weight.to_local() if hasattr(weight, "to_local") else weight  # the part that this process has
    return bool(here.isfinite().all())


def _set_rate(scheduler: Any, optimizer: Any, rate: float) -> None:
    """Puts the settings' learning rate and schedule over those that a checkpoint brought, which else win in silence.

    Without a change it computes the very numbers that are there.
    """
    if not hasattr(scheduler, "lr_lambdas"):
        return  # DeepSpeed keeps its own
    scheduler.base_lrs = [rate for _ in scheduler.base_lrs]
    rates = [rate * factor(scheduler.last_epoch) for factor in scheduler.lr_lambdas]
    for group, now in zip(optimizer.param_groups, rates, strict=True):
        group["initial_lr"], group["lr"] = rate, now
    scheduler._last_lr = rates


def sealed(checkpoint: Path) -> None:
    """Seals a checkpoint that was just written."""
    seal(checkpoint)


def without_model_cards(trainer: type[Any], model: Any, **how: Any) -> Any:
    """A trainer of sentence-transformers that writes no pages of its own.

    It would put training rows into each checkpoint's page, and look models up on the hub for it.
    """
    model._create_model_card = lambda *_, **__: None
    plain = type(trainer.__name__, (trainer,), {"add_model_card_callback": lambda self, defaults: None})
    return plain(model=model, **how)
