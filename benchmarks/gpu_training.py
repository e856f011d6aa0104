"""A training step of ChiMed-GPT 13B at its true shape on one GPU: tokens a second, share of the matrix rate, memory.

Weights are random (`_random_model`) and rows are full: 2,048 random tokens, all of them learned. The rate at which the
GPU multiplies matrices is measured in the same run. Ways:

    lora        adapters of rank 64 on all matrices; weights frozen in bfloat16, adapters float32 under autocast
    full        all weights, in bfloat16; AdamW where its two states fit, Adafactor where they do not; and AdamW of two
                bytes a weight that rounds by chance, where torchao is installed
    kept        whatever backward needs is kept
    recomputed  what goes into each layer is kept, and the rest computed again

each with as many rows at once as the plan (`training.arithmetic`) lets into 92 % of the memory, and with one. Goals:
40 % of the matrix rate, at 6N operations a token (full) or 4N (lora), N without the matrix that reads tokens, attention
and what is computed again not counted; and a peak within 10 % of the plan. The loss is computed by 1,024 tokens at a
time. AdamW on bfloat16 without rounding by chance is here for its speed and its memory: it would not learn.

A way that fails says why and the rest goes on; the JSON is written after each. On a machine that holds torch,
transformers and peft but not this package, bring it (benchmarks/README.md; pydantic alone is needed besides) and run

    PYTHONPATH=.site:. python3 benchmarks/gpu_training.py --json "$OUT/gpu_training.json"

`--tiny` runs everything on the CPU in seconds with a model of 600,000 parameters: it shows that the script works, and
measures nothing. Not measured: trained weights, several GPUs, reading data.
"""

from __future__ import annotations

import gc
import json
import statistics
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

from _common import Row, parser, report
from _decoding import finish
from _random_model import CHIMED_GPT, TINY, make_model

COLUMNS = [
    "way", "rows", "length", "ms", "tokens/s", "TFLOP/s", "of matrices", "goal", "GB", "plan GB", "of plan", "note",
]  # fmt: skip
RANK, CHUNK, ROOM = 64, 1024, 0.92
ROWS = (8, 6, 4, 3, 2, 1)


@dataclass
class Bench:
    """What all ways share."""

    config: dict[str, int]
    device: str
    dtype: Any
    length: int
    repeat: int
    seconds: float
    memory: int
    began: float = field(default_factory=perf_counter)
    operations: float = float("nan")

    def left(self) -> float:
        return self.seconds - (perf_counter() - self.began)

    def step(self, **how: Any) -> Any:
        """The plan of a step."""
        from chimed_rag.generation.memory import plan
        from training.arithmetic import Step

        shape = plan({**self.config, "model_type": "llama"}).shape
        dtype, cuda = str(self.dtype).removeprefix("torch."), self.device.startswith("cuda")
        return Step(shape, length=self.length, chunk=CHUNK, dtype=dtype, cuda=cuda, **how)


def matrix_rate(bench: Bench, square: int) -> float:
    """Operations a second of a product of two random matrices, the median of ten."""
    import torch

    one, other = (torch.randn(square, square, device=bench.device, dtype=bench.dtype) for _ in range(2))
    times = []
    for _ in range(12):
        begin = finish(bench.device)
        one @ other
        times.append(finish(bench.device) - begin)
    return 2 * square**3 / statistics.median(times[2:])


def ways(bench: Bench) -> Iterator[tuple[str, Any]]:
    """Names and plans: each mode kept and recomputed, with all the rows that fit and with one."""
    lora = bench.step(rows=1, rank=RANK, autocast=bench.device.startswith("cuda"))
    full = bench.step(rows=1)
    if replace(full, checkpointing=True).peak > ROOM * bench.memory:
        full = replace(full, optimizer="adafactor")
    small = [("full", replace(full, optimizer="adamw_8bit"))] if find_spec("torchao") is not None else []
    for mode, start in [("lora", lora), ("full", full), *small]:
        for kind, again in (("recomputed", True), ("kept", False)):
            one = replace(start, checkpointing=again)
            fitting = [n for n in ROWS if replace(one, rows=n).peak <= ROOM * bench.memory]
            if not fitting:
                yield f"{mode}, {kind}, {one.optimizer}: {one.peak / 1e9:.0f} GB do not fit", None
            for rows in sorted({*fitting[:1], *fitting[-1:]}, reverse=True):
                yield f"{mode}, {kind}, {one.optimizer}", replace(one, rows=rows)


def loss_of(model: Any, ids: Any) -> Any:
    """Mean loss of each token but the first of a row, from logits of `CHUNK` tokens at a time."""
    import torch
    from torch.utils.checkpoint import checkpoint

    base = model.get_base_model() if hasattr(model, "get_base_model") else model

    def part(states: Any, wanted: Any) -> Any:
        return torch.nn.functional.cross_entropy(base.lm_head(states).float(), wanted, reduction="sum")

    states = base.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1].flatten(0, 1)
    wanted = ids[:, 1:].flatten()
    pieces = zip(states.split(CHUNK), wanted.split(CHUNK), strict=True)
    return sum(checkpoint(part, *piece, use_reentrant=False) for piece in pieces) / len(wanted)


def made(bench: Bench, step: Any) -> tuple[Any, Any]:
    """A new model as the plan has it, and its optimizer."""
    import torch

    model = make_model(bench.config, bench.device, bench.dtype).requires_grad_(True).train()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # names that differ between the releases it runs on
        if step.rank is not None:
            from peft import LoraConfig, get_peft_model

            lora = LoraConfig(r=step.rank, lora_alpha=2 * step.rank, target_modules="all-linear", task_type="CAUSAL_LM")
            model = get_peft_model(model, lora)
            model.enable_input_require_grads()
        if step.checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
    weights = [one for one in model.parameters() if one.requires_grad]
    if step.optimizer == "adafactor":
        from transformers import Adafactor

        return model, Adafactor(weights, lr=1e-5, scale_parameter=False, relative_step=False)
    if step.optimizer == "adamw_8bit":
        from torchao.optim import AdamW8bit

        return model, AdamW8bit(weights, lr=1e-5, bf16_stochastic_round=True)
    return model, torch.optim.AdamW(weights, lr=1e-5, fused=True)


def measured(bench: Bench, name: str, step: Any) -> Row:
    """One way: seconds of a step, what that is of the matrix rate, and the peak beside the plan."""
    import torch

    cuda = bench.device.startswith("cuda")
    model, optimizer = made(bench, step)
    ids = torch.randint(200, bench.config["vocab_size"], (step.rows, bench.length), device=bench.device)

    def once() -> float:
        begin = finish(bench.device)
        with torch.autocast(bench.device.partition(":")[0], torch.bfloat16, enabled=step.autocast):
            loss = loss_of(model, ids)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return finish(bench.device) - begin

    once()  # its states come to be
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    took = statistics.median(once() for _ in range(bench.repeat))
    rate = step.tokens / took
    done = rate * step.matrix_operations
    row: Row = {
        "way": name, "rows": step.rows, "length": bench.length, "ms": took * 1000, "tokens/s": rate,
        "TFLOP/s": done / 1e12, "of matrices": done / bench.operations,
        "goal": "0.40; 0.9 to 1.1", "plan GB": step.peak / 1e9,
    }  # fmt: skip
    if cuda:
        free, total = torch.cuda.mem_get_info()
        outside = total - free - torch.cuda.memory_reserved()  # in the plan, and not in what torch counts
        peak = torch.cuda.max_memory_allocated() + outside
        row |= {"GB": peak / 1e9, "of plan": peak / step.peak, "note": f"{outside / 1e9:.2f} GB outside of torch"}
    return row


def all_ways(bench: Bench, written: Path | None) -> list[Row]:
    rows: list[Row] = []
    for name, step in ways(bench):
        print(f"... {name} ({bench.left():.0f} s left)", file=sys.stderr, flush=True)
        row: Row = {"way": name}
        if step is None:
            row["note"] = "not measured"
        elif bench.left() < 0:
            row["note"] = "not measured: no time left; --seconds gives more"
        else:
            try:
                row = measured(bench, name, step)
            except Exception as error:  # one way may not fit; the others stand
                traceback.print_exc()
                row |= {
                    "rows": step.rows,
                    "note": f"failed: {type(error).__name__}: {' '.join(str(error).split())[:200]}",
                }
        rows.append(row)
        gc.collect()
        if bench.device.startswith("cuda"):
            import torch

            torch.cuda.empty_cache()
        if written is not None:
            written.parent.mkdir(parents=True, exist_ok=True)
            written.write_text(json.dumps({"rows": rows}, ensure_ascii=False, indent=1) + "\n", "utf-8")
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__)
    options.add_argument("--seconds", type=float, default=400, help="no way begins after so long")
    options.add_argument("--device", default="cuda:0", help="the GPU")
    options.add_argument("--length", type=int, default=2048, help="tokens of a row")
    options.add_argument("--tiny", action="store_true", help="a small model on the CPU: does the script work?")
    chosen = options.parse_args(arguments)
    import torch

    if not (chosen.tiny or torch.cuda.is_available()):
        print("not measured: torch sees no NVIDIA GPU on this machine; --tiny shows that the script works")
        return
    if chosen.tiny:
        bench = Bench(TINY, "cpu", torch.float32, 48, chosen.repeat, chosen.seconds, 50_000_000)
    else:
        total = torch.cuda.get_device_properties(chosen.device).total_memory
        bench = Bench(
            CHIMED_GPT, chosen.device, torch.bfloat16, chosen.length, chosen.repeat, chosen.seconds, total
        )  # fmt: skip
    bench.operations = matrix_rate(bench, 256 if chosen.tiny else 8192)
    about = {
        "gpu": "none" if chosen.tiny else torch.cuda.get_device_name(chosen.device),
        "memory GB": round(bench.memory / 1e9, 1), "matrix TFLOP/s": round(bench.operations / 1e12, 3),
        "parameters": bench.step(rows=1).parameters, "runs": chosen.repeat,
    }  # fmt: skip
    notes = [
        "of matrices: 6N operations a token (full) or 4N (lora) over the rate of a large matrix product",
        "weights and rows are random; a step is forward, backward and optimizer, without data",
    ]
    report(
        "A training step of 13 billion weights on one GPU" if not chosen.tiny else "A tiny model: no measurement",
        COLUMNS, all_ways(bench, chosen.json_file), about=about, notes=notes, json_file=chosen.json_file,
        packages=("torch", "transformers", "peft", "torchao"),
    )  # fmt: skip


if __name__ == "__main__":
    main()
