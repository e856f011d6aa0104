"""What the parts of `gpu_generation.py` share: the model, the ceilings, prompts, timing, rows beside their floor.

Not covered: what is measured (`gpu_generation`, `_our_generation`), how a batch is decoded (`_decoding`).
"""

from __future__ import annotations

import gc
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from _common import Row
from _decoding import finish
from _random_model import Shape

PATIENCE = 6.0
"""No repetition of a measurement begins after so many seconds."""
Prompts = list[list[int]]
Run = Callable[[], Any]


class AbsentError(Exception):
    """What a part needs is not on this machine."""


@dataclass
class Sizes:
    """How much of everything; the small ones are for `--tiny`."""

    batches: tuple[int, ...] = (1, 32, 128)
    context: int = 1024
    new: int = 64
    prefill: tuple[int, ...] = (512, 2048, 3500)
    many: int = 128
    alone: int = 16
    mixed_prompt: tuple[int, int] = (32, 256)
    mixed_new: tuple[int, int] = (16, 128)
    copied: int = 4 << 30
    square: int = 8192


SMALL = Sizes((1, 2), 40, 8, (16, 32), 6, 3, (8, 24), (4, 8), 1 << 24, 256)


@dataclass
class Bench:
    """The model and the machine; `reads` and `operations` a second are what `ceilings` measured."""

    model: Any
    tokenizer: Any
    shape: Shape
    device: str
    sizes: Sizes
    repeat: int
    seconds: float
    began: float = field(default_factory=perf_counter)
    reads: float = float("nan")
    operations: float = float("nan")

    def left(self) -> float:
        """Seconds that the run still has."""
        return self.seconds - (perf_counter() - self.began)

    def repeated(self, run: Run, *, times: int | None = None, warm: bool = True) -> list[tuple[float, Any]]:
        """Seconds and result of each run, after one that warms up; slow ones are repeated less often."""
        if warm:
            run()
        found: list[tuple[float, Any]] = []
        began = perf_counter()
        while not found or (len(found) < (times or self.repeat) and perf_counter() - began < PATIENCE):
            begin = finish(self.device)
            result = run()
            found.append((finish(self.device) - begin, result))
        return found

    def median(self, run: Run, *, times: int | None = None, warm: bool = True) -> float:
        """Median seconds of a run."""
        return statistics.median(took for took, _ in self.repeated(run, times=times, warm=warm))

    def prompts(self, lengths: Sequence[int], seed: int = 0) -> Prompts:
        """Random prompts of these lengths."""
        draw = random.Random(seed)
        return [[draw.randrange(200, self.shape.vocabulary) for _ in range(length)] for length in lengths]

    def mixed(self) -> Prompts:
        """`many` prompts of mixed lengths."""
        draw = random.Random(1)
        return self.prompts([draw.randint(*self.sizes.mixed_prompt) for _ in range(self.sizes.many)], 1)

    def fitting(self, batch: int) -> int:
        """The context of a batch, less where the caches would not fit into memory beside the weights."""
        if not self.device.startswith("cuda"):
            return self.sizes.context
        import torch

        total = torch.cuda.get_device_properties(self.device).total_memory
        # While a prompt is read, a token also needs three rows of the feed-forward and a dozen of the hidden width.
        beside = (3 * self.shape.ffn + 12 * self.shape.hidden) * self.shape.element
        free = 0.92 * total - self.shape.parameters * self.shape.element
        return min(self.sizes.context, int(free / batch / (self.shape.kv_bytes + beside)) - self.sizes.new) // 16 * 16

    def decode_row(self, part: str, way: str, batch: int, prompt: int, step: float, note: str = "") -> Row:
        """A rate of decoding beside its floor, at the context in the middle of the reply."""
        floor = self.reads / self.shape.step_bytes(batch, prompt + self.sizes.new // 2) * batch
        if self.device.startswith("cuda") and batch / step > 1.05 * floor:
            note = f"no rate: more than the floor allows, so the batch was written in parts; {note}"
        row = {
            "part": part, "way": way, "batch": batch, "prompt": prompt, "new": self.sizes.new, "ms": step * 1000,
            "rate": batch / step, "unit": "tokens/s", "floor": floor, "of floor": batch / step / floor, "note": note,
        }  # fmt: skip
        return row | ({"goal": "0.60"} if batch == 1 else {})

    def tidy(self) -> None:
        """Gives the device's memory back between two measurements."""
        # transformers makes each static cache as long as the longest before it; measurements would depend on order.
        vars(self.model).pop("_previous_max_cache_length", None)
        gc.collect()
        if self.device.startswith("cuda"):
            import torch

            torch.cuda.empty_cache()


def failed(part: str, error: BaseException) -> Row:
    """A row that says why there is no number."""
    said = " ".join(str(error).split())
    return {"part": part, "note": f"failed: {type(error).__name__}: {said[:200]}"}


Answers = Callable[[Prompts], list[list[Any]]]


def compared(bench: Bench, part: str, way: str, answers: Answers, new: int) -> Row:
    """Many at once against some of them one by one, in replies a second; and how many replies are the same."""
    prompts = bench.mixed()
    alone = prompts[: bench.sizes.alone]
    answers(alone[:1])  # warm
    begin = finish(bench.device)
    single = [answers([one])[0] for one in alone]
    one_by_one = (finish(bench.device) - begin) / len(alone)
    answers(prompts)  # warm
    begin = finish(bench.device)
    batched = answers(prompts)
    at_once = (finish(bench.device) - begin) / len(prompts)
    parted = [first_difference(a, b) for a, b in zip(single, batched, strict=False)]
    same = sum(place is None for place in parted) / len(parted)
    first = min((place for place in parted if place is not None), default=None)
    return {
        "part": part, "way": f"{way}: at once ÷ one by one", "batch": len(prompts), "new": new, "ms": at_once * 1000,
        "rate": one_by_one / at_once, "unit": "times", "goal": "25", "same replies": same, "first divergence": first,
        "note": f"{one_by_one * 1000:.0f} ms alone (n = {len(alone)}); same {same:.2f}, first divergence {first}",
    }  # fmt: skip


def first_difference(one: Sequence[Any], other: Sequence[Any]) -> int | None:
    """The first place where two replies differ, None if they are the same."""
    for place, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return place
    return None if len(one) == len(other) else min(len(one), len(other))
