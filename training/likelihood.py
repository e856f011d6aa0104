"""How likely a policy finds what was written, and what it writes by its own probabilities; both as tokens.

Tokens and not texts: a sampled text made tokens again need not be the tokens that were drawn. Not covered: greedy
replies, as they are served (`chimed_rag.generation.chimed_gpt`). Needs torch and transformers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chimed_rag.generation.base import Message
from chimed_rag.generation.chat import Renderer


def log_probabilities(model: Any, rows: Sequence[tuple[list[int], list[int]]], batch: int) -> NDArray[np.float64]:
    """The log-probability of each continuation after its prompt, in nats, shape (n,).

    Args:
        model: of transformers, on its device.
        rows: tokens of a prompt and of what follows it.
        batch: so many at once.
    """
    import torch

    model.eval()
    found: list[float] = []
    for begin in range(0, len(rows), batch):
        part = [(one + other, len(one)) for one, other in rows[begin : begin + batch]]
        width = max(len(ids) for ids, _ in part)
        ids = torch.zeros(len(part), width, dtype=torch.long)
        counts = torch.zeros(len(part), width, dtype=torch.bool)
        seen = torch.zeros(len(part), width, dtype=torch.long)
        for n, (row, start) in enumerate(part):
            ids[n, : len(row)] = torch.tensor(row)
            counts[n, start : len(row)], seen[n, : len(row)] = True, 1
        ids, counts, seen = (one.to(model.device) for one in (ids, counts, seen))
        with torch.inference_mode():
            logits = model(input_ids=ids, attention_mask=seen, use_cache=False).logits[:, :-1].float()
        chosen = logits.log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
        found += (chosen * counts[:, 1:]).sum(1).tolist()
    return np.array(found, dtype=np.float64)


def sampled(
    model: Any, renderer: Renderer, prompts: Sequence[list[Message]], most: int, batch: int, seed: int
) -> list[tuple[list[int], list[int]]]:
    """Tokens of prompts and of replies drawn by the model's own probabilities, with the stop token that ends them."""
    import torch
    from transformers import GenerationConfig

    pad = renderer.stop_ids[0]
    how = GenerationConfig(
        do_sample=True, top_k=0, top_p=1.0, temperature=1.0, max_new_tokens=most, eos_token_id=list(renderer.stop_ids),
        pad_token_id=pad,
    )  # fmt: skip
    found = []
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.inference_mode():
        torch.manual_seed(seed)
        for begin in range(0, len(prompts), batch):
            part = [renderer.prompt(one) for one in prompts[begin : begin + batch]]
            width = max(map(len, part))
            ids = torch.tensor([[pad] * (width - len(one)) + one for one in part], device=model.device)
            seen = torch.tensor([[0] * (width - len(one)) + [1] * len(one) for one in part], device=model.device)
            replies = model.generate(input_ids=ids, attention_mask=seen, generation_config=how)[:, width:].tolist()
            for prompt, reply in zip(part, replies, strict=True):
                ends = [place + 1 for place, token in enumerate(reply) if token in renderer.stop_ids]
                found.append((prompt, reply[: min(ends, default=len(reply))]))
    return found
