"""What a run will take of memory and time, told before anything is spent; and afterwards, beside what it took.

`arithmetic` counts, `settings` say of what: the shape (of the base's config.json, or of a model made new), rows of full
length, the machine. Time is tokens × operations a token over a share of the rate at which this machine multiplies
matrices, measured in a tenth of a second, or given. That share is .5 on a CPU (.43 to .58 with models of 0.3 and 2.5
million weights on one core); on a GPU .4, the goal of `benchmarks/gpu_training.py`, and .15 for models whose matrices
are too small to fill one, both assumed. Not covered: the time in which replies are sampled (GRPO, rejection sampling)
or measured. A process on a CPU takes more than the plan where rows weigh more than the model (1.30 of it, for 0.5
million weights and 2,795 pairs compared with the evaluation sets).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from chimed_rag.errors import ConfigError
from chimed_rag.generation.memory import CHIMED_GPT, Shape, free_memory
from chimed_rag.generation.memory import plan as plan_of_shape
from training.amounts import TWICE, tokens_of
from training.arithmetic import Step
from training.stages import STAGES, StageSettings

GB = 1e9
SHARE = {"cpu": 0.5, "cuda": 0.4, "cuda, small": 0.15}
SMALL = 2048
"""A width below which matrices do not fill a GPU."""
LIBRARIES = 500_000_000
"""What a process holds on a CPU once torch, transformers and trl are imported: 489 MB, measured."""
KNOWN = {"SYNLP/ChiMed-GPT-1.0": CHIMED_GPT, "IDEA-CCNL/Ziya2-13B-Base": CHIMED_GPT}
"""Models whose shape is known without asking the hub."""


@dataclass(frozen=True)
class TrainingPlan:
    """The plan of one stage.

    Args:
        name: of the stage.
        step: one step on one device.
        tokens: in all; None if the data are not here.
        counted: how the tokens were counted.
        rate: operations a second of one device at matrices.
        device: cpu or cuda.
        memory: bytes of one device; None if it could not be found.
        devices: that share the work.
    """

    name: str
    step: Step
    tokens: int | None
    counted: str
    rate: float
    device: str
    memory: int | None
    devices: int

    @property
    def peak(self) -> int:
        """The most bytes of a device; on a CPU with the libraries, as the process holds them too."""
        return self.step.peak + (LIBRARIES if self.device == "cpu" else 0)

    @property
    def fits(self) -> bool:
        """Whether a device holds it; True if its memory is not known."""
        return self.memory is None or self.peak <= self.memory

    @property
    def share(self) -> float:
        """Of the matrix rate, what training is thought to reach."""
        small = self.device == "cuda" and self.step.shape.hidden < SMALL
        return SHARE["cuda, small" if small else self.device]

    @property
    def operations(self) -> float:
        """Of a token: of training it, and of reading it once more with the reference, where there is one."""
        read = 2 * self.step.multiplied if self.name == "prefer" else 0
        return self.step.operations + read

    @property
    def seconds(self) -> float | None:
        """Of training alone."""
        if self.tokens is None:
            return None
        return self.tokens * self.operations / (self.rate * self.share * self.devices)

    def advice(self) -> list[str]:
        """What would fit if this does not, each with its size; nothing if it does."""
        if self.fits:
            return []
        found: list[str] = []
        words: list[str] = []
        for word, step in _smaller(self.step):
            words.append(word)
            size = replace(self, step=step).peak
            if self.memory is not None and size <= self.memory:
                found.append(f"{'; '.join(words)} ({size / GB:.1f} GB)")
        return found[:3] or ["nothing of this kind: a larger device, or more of them"]

    def __str__(self) -> str:
        return "\n".join([*self._memory_lines(), *self._time_lines()])

    def _memory_lines(self) -> Iterable[str]:
        step = self.step
        adapters = "" if step.rank is None else f", adapters of rank {step.rank}"
        yield (
            f"{self.name}: {step.parameters:,} weights, {step.trainable:,} of them trained"
            if not adapters
            else (f"{self.name}: {step.parameters:,} weights{adapters}, {step.trainable:,} numbers trained")
        )
        yield f"  on each of {self.devices} devices ({self.device}), {step.rows} rows of {step.length:,} tokens at once"
        kept = "what goes into each layer" if step.checkpointing else "all that backward needs"
        lines = {
            f"weights ({step.dtype})": step.weights,
            "gradients": step.gradients,
            f"optimizer ({step.optimizer})": step.optimizer_states,
            "frozen models beside it": step.others,
            "copies in bfloat16 (autocast)": step.copies,
            "weights gathered from other devices": step.gathered,
            f"activations ({kept})": step.activations,
            "one layer at work": step.at_work,
            "logits": step.logits,
        }
        for name, size in lines.items():
            if size:
                yield f"  {name:<44} {size / GB:10.3f} GB"
        yield f"  {'peak (not all of it is there at one time)':<44} {self.peak / GB:10.3f} GB"
        if self.memory is None:
            yield "  fits: not known, no memory was found or given (fit.machine.memory)"
        else:
            yield f"  fits: {'yes' if self.fits else 'NO'}, of {self.memory / GB:.1f} GB"
        for one in self.advice():
            yield f"    what fits: {one}"

    def _time_lines(self) -> Iterable[str]:
        if self.tokens is None or self.seconds is None:
            yield f"  time: not planned: {self.counted}"
            return
        yield f"  tokens {self.tokens:,} ({self.counted}); {self.operations / 1e9:.3f} billion operations each"
        rate = self.rate * self.share
        speed = rate * self.devices / self.operations
        yield f"  {rate / 1e12:.3f} tera-operations/s a device ({self.share:g} of what matrices reach)"
        yield f"  time: {_duration(self.seconds)} at {speed:,.0f} tokens/s"


def plan(settings: StageSettings, *, rate: float | None = None, shape: Shape | None = None) -> TrainingPlan:
    """The plan of a stage.

    Args:
        settings: of the stage.
        shape: of the model, where the base is still to be made (a pipeline); None looks for it.
        rate: operations a second at which a device multiplies matrices; None measures it, or on a machine without the
            device takes that of an H200 in bfloat16 (790e12).

    Raises:
        ConfigError: the shape of the base cannot be known.
        GeneratorError: the base is of a family that cannot be planned.
    """
    machine, fit = settings.fit.machine, settings.fit
    device = _device(settings)
    shape = shape or shape_of(settings)
    sharded = machine.distribution in ("fsdp2", "zero3")
    step = Step(
        shape,
        rows=fit.batch_size * (2 if settings.stage in TWICE else 1),
        length=settings.max_tokens,
        accumulate=fit.accumulate,
        dtype=machine.weights,
        autocast=fit.bf16,
        optimizer=machine.optimizer,
        rank=None if settings.lora is None else settings.lora.rank,
        checkpointing=machine.checkpointing,
        devices=machine.devices if sharded else 1,
        head="score" if settings.stage == "reward" else "words",
        cuda=device == "cuda",
    )
    step = replace(step, others=_beside(settings, step))
    tokens, counted = tokens_of(settings)
    return TrainingPlan(
        settings.stage, step, tokens, counted, rate or _rate(device, fit.bf16 or machine.weights == "bfloat16"), device,
        _memory(settings, device), machine.devices,
    )  # fmt: skip


def plan_text(config: str | Path, overrides: Sequence[str] = (), *, stage: str | None = None) -> str:
    """The plan of a configuration as a table; beside what was used, if the run has been.

    Args:
        config: YAML file of a stage, or of a pipeline, whose stages are planned one after the other.
        overrides: `a.b=value`, put over the file's.
        stage: which it is, if the file does not say (`stage`).

    Raises:
        ConfigError: the configuration cannot be used; names file and key.
    """
    from training.settings import read_yaml, validated

    if "stages" in read_yaml(config):
        return _pipeline_text(config, overrides)
    data = read_yaml(config, overrides)
    name = stage or data.get("stage")
    if not isinstance(name, str):
        raise ConfigError(
            f"{config}: it does not say its stage; add --set stage=NAME, one of: {', '.join(STAGES.names())}"
        )
    settings = validated(STAGES.get(name).settings, {**data, "stage": name}, config)
    return _told(plan(settings), settings.output_dir)


def _pipeline_text(config: str | Path, overrides: Sequence[str]) -> str:
    """The plans of a pipeline's stages; a model that an earlier one makes has that one's shape."""
    from training.pipeline import read_pipeline
    from training.settings import validated

    parts, seconds = [], 0.0
    shapes: dict[str, Shape] = {}
    for step in read_pipeline(config, overrides)[1]:
        if step.skipped:
            continue
        data = {**step.settings, "stage": step.stage, "output_dir": step.folder}
        settings = validated(STAGES.get(step.stage).settings, data, config)
        planned = plan(settings, shape=shapes.get(settings.base or ""))
        shapes[step.folder] = planned.step.shape
        seconds += planned.seconds or 0.0
        parts.append(f"{step.name}\n{_told(planned, settings.output_dir)}")
    return "\n\n".join([*parts, f"all: {_duration(seconds)}, but for what is sampled and measured"])


def _told(planned: TrainingPlan, output_dir: str) -> str:
    from training.settings import located

    return "\n".join([str(planned), *compared(planned, located(output_dir))])


def compared(planned: TrainingPlan, folder: Path) -> list[str]:
    """Lines that set the plan beside the card of a finished run; none if there is no card."""
    card_file = folder / "card.json"
    if not card_file.is_file():
        return []
    card = json.loads(card_file.read_text("utf-8"))
    lines = []
    if planned.seconds and card.get("seconds"):
        share = card["seconds"] / planned.seconds
        lines.append(f"  took {_duration(card['seconds'])}, measuring included: {share:.2f} of the plan")
    if peak := card.get("peak_memory"):
        lines.append(f"  took {peak / GB:.3f} GB: {peak / planned.peak:.2f} of the plan")
    return lines


def shape_of(settings: StageSettings) -> Shape:
    """The shape of the model that a stage trains: of its own `shape`, or of the base's config.json.

    Raises:
        ConfigError: there is neither, or the base is not here.
    """
    from training.settings import located

    own = getattr(settings, "shape", None)
    if settings.base is None:
        if own is None:
            raise ConfigError(f"{settings.output_dir}: neither base nor shape; the model's size is not known")
        return plan_of_shape(
            {
                "model_type": "llama", "vocab_size": own.vocabulary, "hidden_size": own.hidden,
                "num_hidden_layers": own.layers, "num_attention_heads": own.heads,
                "num_key_value_heads": own.kv_heads or own.heads, "intermediate_size": own.feed_forward,
                "tie_word_embeddings": getattr(own, "tied", True),
            }
        ).shape  # fmt: skip
    file = located(settings.base) / "config.json"
    if file.is_file():
        return plan_of_shape(json.loads(file.read_text("utf-8"))).shape
    known = KNOWN.get(settings.base.partition("@")[0])
    if known is None:
        raise ConfigError(
            f"base: {settings.base} is not here; give a folder with a config.json, or one of: {', '.join(KNOWN)}"
        )
    return plan_of_shape(known).shape


def _beside(settings: StageSettings, step: Step) -> int:
    """Bytes of the frozen models that a stage keeps beside the one it trains."""
    if settings.stage != "prefer":
        return 0
    reference = step.rank is None and (getattr(settings, "method", "dpo") == "dpo" or getattr(settings, "beta", 0) > 0)
    return step.parameters * step.element * reference


def _smaller(step: Step) -> Iterable[tuple[str, Step]]:
    """Ways to need less, each put on top of those before it: what a configuration has to say, and what it gives."""
    if not step.checkpointing:
        step = replace(step, checkpointing=True)
        yield "fit.machine.checkpointing: true", step
    if step.rows > 1:
        step = replace(step, rows=1, accumulate=step.accumulate * step.rows)
        yield "fit.batch_size: 1", step
    if step.rank is None and step.optimizer != "adamw_8bit":
        step = replace(step, dtype="bfloat16", optimizer="adamw_8bit")
        yield "fit.machine.weights: bfloat16, optimizer: adamw_8bit", step
    if step.rank is None:
        yield "lora.rank: 64", replace(step, dtype="bfloat16", rank=64, optimizer="adamw")
    for devices in (2, 4, 8):
        if devices > step.devices:
            yield f"or fit.machine.devices: {devices}, distribution: fsdp2", replace(step, devices=devices)


def _device(settings: StageSettings) -> str:
    """cuda if it is asked for or there; also if the machine's memory is given, as of a GPU that is elsewhere."""
    import torch

    if settings.device == "cpu":
        return "cpu"
    there = torch.cuda.is_available() or settings.device == "cuda" or settings.fit.machine.memory is not None
    return "cuda" if there else "cpu"


def _memory(settings: StageSettings, device: str) -> int | None:
    if settings.fit.machine.memory is not None:
        return int(settings.fit.machine.memory * GB)
    found = [one.total if one.device.startswith("cuda") else one.free for one in free_memory() if device in one.device]
    return min(found, default=None)


def _rate(device: str, halves: bool) -> float:
    """Operations a second of a product of two matrices, the best of nine: others use the machine too."""
    from time import perf_counter

    import torch

    if device == "cuda" and not torch.cuda.is_available():
        return 790e12
    size = 8192 if device == "cuda" else 512
    dtype = torch.bfloat16 if halves else torch.float32
    one, other = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    times = []
    for _ in range(9):
        begin = perf_counter()
        one @ other
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(perf_counter() - begin)
    return float(2 * size**3 / min(times))


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
