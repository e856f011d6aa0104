"""Tokens a second of the stage "pretrain" beside a bare PyTorch loop: same model, packed rows, batch and arithmetic.

    OMP_NUM_THREADS=2 python benchmarks/pretraining.py

The model is that of `training/configs/pretrain_nano_cpu.yaml`, the text the starter literature, packed as the stage
packs it. Bare is what one would write by hand: forward, cross entropy, backward, clipping, fused AdamW, a schedule; no
logs, no checkpoints, no look at the loss. The stage's time is that of its trainer from the start to the last step, with
a checkpoint, its seal and a reading of the loss at the configuration's pace. Both run in one process, round by round,
in changing order, each with a fresh model; `of bare` is the median of the ratios within a round.
Not measured: reading and tokenizing texts, and what the model learns. Needs no data beside the checkout.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any

from _common import ROOT, Row, parser, report

sys.path.insert(0, str(ROOT))
CONFIG = ROOT / "training/configs/pretrain_nano_cpu.yaml"
STARTER = ROOT / "chimed_rag/corpus/starter"
GOAL = 0.9
COLUMNS = ["way", "tokens/s p50", "of bare", "by processor's time", "goal", "ms a step", "n"]


def bare(model: Any, packed: Any, settings: Any, steps: int, bf16: bool) -> None:
    """The loop that one would write by hand."""
    import torch
    from torch.nn.functional import cross_entropy
    from transformers import get_cosine_schedule_with_warmup

    fit = settings.fit
    ids, positions, labels = (torch.from_numpy(part.astype("int64")) for part in packed[:3])
    optimizer = torch.optim.AdamW(model.parameters(), lr=fit.learning_rate, weight_decay=fit.weight_decay, fused=True)
    schedule = get_cosine_schedule_with_warmup(optimizer, int(fit.warmup * steps), steps)
    order = torch.randperm(len(ids), generator=torch.Generator().manual_seed(settings.seed))
    batches = cycle(order[: len(order) // fit.batch_size * fit.batch_size].split(fit.batch_size))
    model.train()
    for batch in islice(batches, steps):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            logits = model(input_ids=ids[batch], position_ids=positions[batch], use_cache=False).logits
        loss = cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[batch][:, 1:].flatten(), ignore_index=-100)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()


def stage(model: Any, packed: Any, settings: Any, steps: int, bf16: bool) -> None:
    """The stage's own trainer, with its checkpoints and readings."""
    from training.fitting import fit
    from training.pretrain import trainer_of

    how = settings.fit.model_copy(update={"max_steps": steps, "bf16": bf16})
    with TemporaryDirectory() as folder:
        trainer = trainer_of(model, packed, how, Path(folder) / "train", seed=settings.seed, device="cpu")
        fit(trainer, Path(folder) / "train", lambda _: None)


def timed(run: Callable[[], None]) -> tuple[float, float]:
    """Seconds by the clock and by the processor."""
    clock, processor = perf_counter(), process_time()
    run()
    return perf_counter() - clock, process_time() - processor


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--steps", type=int, default=60, help="optimizer steps of each run")
    given = options.parse_args()
    import torch

    from training.fitting import quiet
    from training.language import fast_bf16, new_model
    from training.pretrain import PretrainSettings, packed_texts
    from training.settings import read_yaml, validated
    from training.vocabulary import learn_tokenizer

    settings = validated(PretrainSettings, read_yaml(CONFIG), CONFIG)
    assert settings.shape is not None
    shape, length, bf16 = settings.shape, settings.max_tokens, fast_bf16("cpu")
    quiet(settings.seed)
    texts = [file.read_text("utf-8") for file in sorted(STARTER.glob("*.md"))]
    tokenizer = learn_tokenizer(texts, vocabulary=shape.vocabulary, context=shape.context, sample=len(texts))
    packed = packed_texts(tokenizer, texts, length)
    ways = {"bare": bare, "stage": stage}

    def once(way: str, steps: int) -> tuple[float, float]:
        model = new_model(shape, tokenizer, settings.seed)
        return timed(lambda: ways[way](model, packed, settings, steps, bf16))

    for way in ways:
        once(way, 3)  # the first use of a kernel compiles it
    took: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for n in range(given.repeat):
        for way in list(ways)[:: 1 if n % 2 else -1]:
            took[way].append(once(way, given.steps))
            print("...", n + 1, way, f"{took[way][-1][0]:.1f} s", file=sys.stderr)
    tokens = given.steps * settings.fit.batch_size * length
    rows: list[Row] = []
    for way, seconds in took.items():
        middle = statistics.median(clock for clock, _ in seconds)
        row: Row = {"way": way, "tokens/s p50": tokens / middle, "ms a step": 1000 * middle / given.steps}
        if way == "stage":
            ratios = [
                [one[kind] / other[kind] for one, other in zip(took["bare"], seconds, strict=True)] for kind in (0, 1)
            ]
            row |= {"of bare": statistics.median(ratios[0]), "by processor's time": statistics.median(ratios[1])}
            row["goal"] = f"at least {GOAL}"
        rows.append(row | {"n": len(seconds)})
    about = {
        "parameters": f"{new_model(shape, tokenizer, settings.seed).num_parameters():,}",
        "batch": f"{settings.fit.batch_size} rows of {length} tokens",
        "steps": given.steps,
        "arithmetic": "bfloat16 (autocast)" if bf16 else "float32",
        "threads": torch.get_num_threads(),
        "texts": f"starter literature, {len(texts)} files, {packed.learned:,} tokens to learn",
    }
    report(
        "Pre-training beside a bare loop", COLUMNS, rows,
        about=about, packages=("torch", "transformers", "accelerate"), json_file=given.json_file,
    )  # fmt: skip


if __name__ == "__main__":
    main()
