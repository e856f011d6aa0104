"""ChiMed-GPT 13B at its true shape on one GPU: how fast it reads and writes, beside what the machine allows.

Weights are random (`_random_model`), so no file is needed; the two ceilings, bytes a second and bf16 operations a
second, are measured in the same run, and every other number stands beside the floor that follows from them. Parts:

    ceilings    a large copy, a large read, a large matrix product
    prefill     seconds to read a prompt; floor: operations over the matrix rate; goal 40 %
    decode      tokens a second at batch 1, 32, 128: transformers as it comes, static cache, CUDA graph of a whole step;
                floor: weights and caches read once a step, over the read rate; goal 60 % at batch 1
    memory      the peak beside `chimed_rag.generation.memory.plan`; goal within 10 %
    batch       128 prompts of mixed lengths at once against one by one; goal 25 times; the share of equal replies
    chimed      our ChiMedGPT without its static cache: decode, and the same comparison
    sentence    time to the first sentence of `write`, and to the first proven one of `MedQA.stream`
    static      our ChiMedGPT with its static cache, which transformers compiles: decode, and what the first call takes
    continuous  transformers' continuous batching against one left-padded batch, mixed lengths of prompts and replies
    compiled    transformers alone: torch.compile with CUDA graphs ("reduce-overhead"), and what compiling takes

A part that fails says why and the rest goes on; the JSON is written after each. On a machine that holds torch and
transformers but neither this package nor a network, bring wheels (benchmarks/README.md) and run

    PYTHONPATH=.site:. python3 benchmarks/gpu_generation.py --json "$OUT/gpu_generation.json"

`--tiny` runs everything on the CPU in seconds with a model of 600,000 parameters: it shows that the script works, and
measures nothing. Not measured: trained weights, several GPUs, quantized weights, other servers.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from _common import Row, parser, report
from _decoding import captured, finish, generate
from _gpu_bench import SMALL, AbsentError, Bench, Prompts, Sizes, compared, failed
from _our_generation import chimed, sentence, static
from _random_model import CHIMED_GPT, TINY, Shape, make_model, make_tokenizer

COLUMNS = ["part", "way", "batch", "prompt", "new", "ms", "rate", "unit", "floor", "of floor", "goal", "note"]
CPU_PAGES = {"num_blocks": 8, "max_batch_tokens": 64}
Part = Callable[[Bench], list[Row]]


def ceilings(bench: Bench) -> list[Row]:
    copy, read = _bandwidths(bench)
    square = bench.sizes.square
    bench.reads, bench.operations = max(copy, read), _matrix_rate(bench, square)
    return [
        {"part": "ceilings", "way": "copy, read and written", "rate": copy / 1e9, "unit": "GB/s"},
        {"part": "ceilings", "way": "read (sum)", "rate": read / 1e9, "unit": "GB/s"},
        {"part": "ceilings", "way": f"matrix product {square}³", "rate": bench.operations / 1e12, "unit": "TFLOP/s"},
    ]


def _bandwidths(bench: Bench) -> tuple[float, float]:
    """Bytes a second of a copy, both ways counted, and of a reduction, on random data."""
    import torch

    one = torch.randn(bench.sizes.copied // 4, device=bench.device)
    other = torch.empty_like(one)
    moved = one.numel() * one.element_size()
    return 2 * moved / bench.median(lambda: other.copy_(one), times=10), moved / bench.median(one.sum, times=10)


def _matrix_rate(bench: Bench, square: int) -> float:
    """Operations a second of a product of two random matrices in the model's dtype."""
    import torch

    one, other = (torch.randn(square, square, device=bench.device, dtype=bench.model.dtype) for _ in range(2))
    return 2 * square**3 / bench.median(lambda: one @ other, times=10)


def prefill(bench: Bench) -> list[Row]:
    import torch

    rows = []
    for length in bench.sizes.prefill:
        ids = torch.tensor(bench.prompts([length]), device=bench.device)

        def read(ids: Any = ids) -> None:
            with torch.inference_mode():
                bench.model(ids, use_cache=True, logits_to_keep=1)

        took, least = bench.median(read), bench.shape.prefill_operations(length) / bench.operations
        rows.append(
            {"part": "prefill", "way": "transformers", "batch": 1, "prompt": length, "ms": took * 1000,
             "rate": length / took, "unit": "tokens/s", "floor": length / least, "of floor": least / took,
             "goal": "0.40"}
        )  # fmt: skip
    return rows


def decode(bench: Bench) -> list[Row]:
    ways: dict[str, Callable[..., Any]] = {
        "transformers, dynamic cache": generate,
        "static cache": lambda *a: generate(*a, cache_implementation="static", disable_compile=True),
        "static cache, CUDA graph": captured,
    }
    rows = []
    for batch in bench.sizes.batches:
        context = bench.fitting(batch)
        prompts, expected = bench.prompts([context] * batch), None
        for way, run in ways.items():
            try:
                tries = bench.repeated(partial(run, bench.model, prompts, bench.sizes.new))
            except Exception as error:  # one way may not fit or not be captured; the others stand
                rows.append(failed("decode", error) | {"way": way, "batch": batch, "prompt": context})
                continue
            finally:
                bench.tidy()
            tokens = tries[-1][1].tokens
            expected = tokens if expected is None else expected
            same = (tokens == expected).all(dim=1).float().mean().item()
            step = statistics.median(one.step for _, one in tries)
            rows.append(bench.decode_row("decode", way, batch, context, step, f"same as the first way: {same:.2f}"))
    return rows


def memory(bench: Bench) -> list[Row]:
    try:
        from chimed_rag.generation.memory import plan
    except ImportError as error:
        raise AbsentError(f"chimed_rag.generation.memory: {error}") from None
    import torch

    rows = []
    config, dtype = bench.model.config.to_dict(), str(bench.model.dtype).removeprefix("torch.")
    for batch in bench.sizes.batches[:2]:
        prompt, new = bench.fitting(batch), bench.sizes.new
        planned = plan(config, dtype=dtype, batch=batch, context=prompt + new, prefill=batch * prompt).total
        row = {"part": "memory", "way": "generate, beside the plan", "batch": batch, "prompt": prompt, "new": new}
        row |= {"unit": "GB", "floor": planned / 1e9, "goal": "0.9 to 1.1"}
        if bench.device.startswith("cuda"):
            bench.tidy()
            torch.cuda.reset_peak_memory_stats()
            generate(bench.model, bench.prompts([prompt] * batch), new)
            free, total = torch.cuda.mem_get_info()
            # What CUDA and its libraries hold is in the plan, and not in what torch counts.
            outside = total - free - torch.cuda.memory_reserved()
            peak, held = torch.cuda.max_memory_allocated() + outside, torch.cuda.max_memory_reserved() + outside
            note = f"{outside / 1e9:.2f} GB outside of torch; {held / 1e9:.1f} GB held by the allocator"
            row |= {"rate": peak / 1e9, "of floor": peak / planned, "note": note}
        else:
            row["note"] = "floor is the plan; only a GPU is measured"
        rows.append(row)
    return rows


def batch(bench: Bench) -> list[Row]:
    new = bench.sizes.new // 2

    def answers(prompts: Prompts) -> list[list[Any]]:
        found: list[list[Any]] = generate(bench.model, prompts, new).tokens.tolist()
        return found

    return [compared(bench, "batch", "transformers, dynamic cache", answers, new)]


def compiled(bench: Bench) -> list[Row]:
    if not bench.device.startswith("cuda"):
        raise AbsentError("transformers compiles on a GPU only")
    from transformers import CompileConfig

    rows: list[Row] = []
    how = {"cache_implementation": "static", "compile_config": CompileConfig(mode="reduce-overhead", dynamic=False)}
    cost = 0.0
    for size in bench.sizes.batches:
        if bench.left() < 1.5 * cost:
            rows.append({"part": "compiled", "batch": size, "note": f"left out: {bench.left():.0f} s are left"})
            break
        context = bench.fitting(size)
        prompts = bench.prompts([context] * size)
        begin = perf_counter()
        generate(bench.model, prompts, bench.sizes.new, **how)
        cost = perf_counter() - begin
        tries = bench.repeated(partial(generate, bench.model, prompts, bench.sizes.new, **how), warm=False)
        step = statistics.median(one.step for _, one in tries)
        note = f"first call, compiling: {cost:.0f} s"
        rows.append(bench.decode_row("compiled", "static cache, torch.compile", size, context, step, note))
        bench.tidy()
    return rows


def continuous(bench: Bench) -> list[Row]:
    draw = random.Random(2)
    prompts = bench.mixed()
    news = [draw.randint(*bench.sizes.mixed_new) for _ in prompts]
    # Weights once for each step of the longest reply, every cache once for each of its tokens, every prompt once.
    caches = sum(sum(range(len(one), len(one) + new)) for one, new in zip(prompts, news, strict=True))
    read = max(news) * bench.shape.step_bytes(0, 0) + caches * bench.shape.kv_bytes
    least = read / bench.reads + sum(bench.shape.prefill_operations(len(one)) for one in prompts) / bench.operations

    def row(way: str, took: float, note: str) -> Row:
        return {
            "part": "continuous", "way": way, "batch": len(prompts), "ms": took * 1000, "rate": sum(news) / took,
            "unit": "tokens/s", "floor": sum(news) / least, "of floor": least / took, "note": note,
        }  # fmt: skip

    took = bench.median(lambda: generate(bench.model, prompts, max(news)), times=1)
    rows = [row("one left-padded batch", took, f"all to {max(news)} tokens, {sum(news)} of them wanted")]
    bench.tidy()
    took, warm = _continuous(bench, prompts, news)
    return [*rows, row("continuous batching", took, f"after {warm:.1f} s of warming up")]


def _continuous(bench: Bench, prompts: Prompts, news: Sequence[int]) -> tuple[float, float]:
    """Seconds for all replies by transformers' manager, and seconds until it was ready."""
    from transformers import ContinuousBatchingConfig, GenerationConfig

    how = GenerationConfig(max_new_tokens=max(news), do_sample=False, eos_token_id=-1)
    # By itself it takes most of a GPU's free memory for its pages, and on a CPU most of the machine's.
    paged = ContinuousBatchingConfig(**({} if bench.device.startswith("cuda") else CPU_PAGES))
    begin = perf_counter()
    times = []
    with bench.model.continuous_batching_context_manager(how, True, 30, paged) as manager:
        warm = finish(bench.device) - begin
        for _ in range(2):  # the first round also sets up what warming up leaves out
            begin = perf_counter()
            wanted = {manager.add_request(one, max_new_tokens=new): new for one, new in zip(prompts, news, strict=True)}
            while wanted:
                done = manager.get_result(timeout=1)
                if done is None:
                    if not manager.is_running() or bench.left() < 0:
                        raise RuntimeError(f"the manager stopped with {len(wanted)} replies missing")
                elif done.error or (done.is_finished() and len(done.generated_tokens) != wanted[done.request_id]):
                    raise RuntimeError(f"a reply failed: {done.error or 'of another length than asked for'}")
                elif done.is_finished():
                    del wanted[done.request_id]
            times.append(perf_counter() - begin)
    return times[-1], warm


PARTS: dict[str, Part] = {
    "ceilings": ceilings, "prefill": prefill, "decode": decode, "memory": memory, "batch": batch, "chimed": chimed,
    "sentence": sentence, "static": static, "continuous": continuous, "compiled": compiled,
}  # fmt: skip


def measured(bench: Bench, parts: Sequence[str], written: Path | None) -> list[Row]:
    """The rows of all parts; after each, what there is so far is written."""
    rows: list[Row] = []
    for name in parts:
        print(f"... {name} ({bench.left():.0f} s left)", file=sys.stderr, flush=True)
        begin = perf_counter()
        try:
            if bench.left() < 0:
                raise AbsentError("no time left; --seconds gives more, --parts chooses")
            found = PARTS[name](bench)
        except AbsentError as reason:
            found = [{"part": name, "note": f"not measured: {reason}"}]
        except Exception as error:
            traceback.print_exc()
            found = [failed(name, error)]
        rows += [*found, {"part": name, "way": "the whole part", "ms": (perf_counter() - begin) * 1000}]
        bench.tidy()
        if written is not None:
            written.parent.mkdir(parents=True, exist_ok=True)
            written.write_text(json.dumps({"rows": rows}, ensure_ascii=False, indent=1) + "\n", "utf-8")
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__)
    options.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="only these, in this order")
    options.add_argument("--seconds", type=float, default=450, help="no part begins after so long")
    options.add_argument("--device", default="cuda:0", help="the GPU")
    options.add_argument("--tiny", action="store_true", help="a small model on the CPU: does the script work?")
    chosen = options.parse_args(arguments)
    import torch

    if not (chosen.tiny or torch.cuda.is_available()):
        print("not measured: torch sees no NVIDIA GPU on this machine; --tiny shows that the script works")
        return
    device, config, sizes = ("cpu", TINY, SMALL) if chosen.tiny else (chosen.device, CHIMED_GPT, Sizes())
    dtype = torch.float32 if chosen.tiny else torch.bfloat16
    began = perf_counter()
    model = make_model(config, device, dtype)
    bench = Bench(
        model, make_tokenizer(config["vocab_size"]), Shape.of(config, dtype.itemsize), device, sizes,
        chosen.repeat, chosen.seconds, began,
    )  # fmt: skip
    about = {
        "gpu": "none" if chosen.tiny else torch.cuda.get_device_name(device), "dtype": str(dtype).split(".")[1],
        "parameters": bench.shape.parameters, "seconds to make": round(finish(device) - began, 1),
        "runs at most": chosen.repeat, "allocator": os.environ.get("PYTORCH_CUDA_ALLOC_CONF", "as it comes"),
    }  # fmt: skip
    parts = chosen.parts if "ceilings" in chosen.parts else ["ceilings", *chosen.parts]
    rows = measured(bench, parts, chosen.json_file)
    notes = [
        "weights and prompts are random; times are of the wall, with nothing left to do on the device on either side",
        "floor: weights and caches at the read rate, or operations at the matrix rate; both measured in this run",
        "ms: of one step (decode, chimed, compiled, static), one prompt (prefill), one reply (at once ÷ one by one)",
        "random weights choose between almost equal tokens: trained ones give more equal replies than these",
    ]
    report(
        "ChiMed-GPT 13B, random weights, one GPU" if not chosen.tiny else "A tiny model on the CPU: no measurement",
        COLUMNS, rows, about=about, notes=notes, packages=("torch", "transformers"), json_file=chosen.json_file,
    )  # fmt: skip


if __name__ == "__main__":
    main()
