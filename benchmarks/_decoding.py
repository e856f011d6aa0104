"""Ways to decode one batch greedily, each timed by the step: transformers' `generate`, and a step captured by hand.

A step is timed between two moments at which the device has nothing left to do: after the first token, and after the
last. Not covered: sampling, stopping (every reply has the same length), and what the steps are compared with.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any, NamedTuple

from _random_model import PAD

WARM = 3
"""Steps before the capture; their tokens count, their time does not."""


class Decoded(NamedTuple):
    """The tokens of each reply, int64 (batch, new); and seconds, of a step and from the call to the first token."""

    tokens: Any
    step: float
    first: float


def finish(device: str) -> float:
    """Waits until the device has done all it was given; the time then."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize()
    return perf_counter()


def left_padded(prompts: list[list[int]], device: str) -> tuple[Any, Any]:
    """Token ids and attention mask, int64 (n, longest prompt)."""
    import torch

    longest = max(map(len, prompts))
    ids = [[PAD] * (longest - len(prompt)) + prompt for prompt in prompts]
    mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


class _Clock:
    """A stopping criterion that stops nothing and notes when the first token was there."""

    def __init__(self, batch: int, device: str) -> None:
        import torch

        self.first: float | None = None
        self._device = device
        self._go_on = torch.zeros(batch, dtype=torch.bool, device=device)

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        if self.first is None:
            self.first = finish(self._device)
        return self._go_on


def generate(model: Any, prompts: list[list[int]], new: int, **how: Any) -> Decoded:
    """`model.generate`, told how by its own arguments (`cache_implementation`, `compile_config`, ...)."""
    device = str(model.device)
    ids, mask = left_padded(prompts, device)
    clock = _Clock(len(prompts), device)
    began = finish(device)
    out = model.generate(
        ids, attention_mask=mask, max_new_tokens=new, min_new_tokens=None, do_sample=False,
        stopping_criteria=[clock], **how,
    )  # fmt: skip
    ended = finish(device)
    assert clock.first is not None
    return Decoded(out[:, ids.shape[1] :], (ended - clock.first) / (new - 1), clock.first - began)


def captured(model: Any, prompts: list[list[int]], new: int) -> Decoded:
    """A static cache and one CUDA graph of a whole step, embedding to argmax, replayed: no launches, no compiler.

    Prompts must be of one length. The mask is kept by the graph itself, in four dimensions, because transformers asks
    the device about a two-dimensional one, and a capture may not wait for an answer. On the CPU, where there are no
    graphs, the same step runs as it stands.
    """
    import torch
    from transformers import StaticCache

    ids = torch.tensor(prompts, device=model.device)
    batch, prompt = ids.shape
    longest = -(-(prompt + new) // 16) * 16  # kernels that take a mask want rows of whole 16s
    on_gpu = ids.is_cuda
    began = finish(str(ids.device))
    with torch.inference_mode():
        cache = StaticCache(config=model.config, max_cache_len=longest)
        logits = model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
        token = logits[:, -1].argmax(-1, keepdim=True)
        first = finish(str(ids.device)) - began
        position = torch.full((1, 1), prompt, device=ids.device)
        seen = (torch.arange(longest, device=ids.device) < prompt).expand(batch, 1, 1, longest).clone()

        def step() -> None:
            seen.index_fill_(-1, position[0], True)
            out = model(
                token, attention_mask=seen, position_ids=position.expand(batch, 1),
                past_key_values=cache, use_cache=True,
            )  # fmt: skip
            token.copy_(out.logits[:, -1].argmax(-1, keepdim=True))
            position.add_(1)

        tokens, replay = [token.clone()], step
        if on_gpu:
            graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(WARM):  # what libraries set up at their first call may not be captured
                    step()
                    tokens.append(token.clone())
            torch.cuda.current_stream().wait_stream(stream)
            with torch.cuda.graph(graph, stream=stream):
                step()
            replay = graph.replay
        rest = new - len(tokens)
        start = finish(str(ids.device))
        for _ in range(rest):
            replay()
            tokens.append(token.clone())
        ended = finish(str(ids.device))
    return Decoded(torch.cat(tokens, dim=1), (ended - start) / rest, first)
