"""One batch of replies, written by transformers' `generate`: padded on the left, looked at after every token.

Greedy rows are transformers' own greedy choice. Rows with a temperature draw from a generator of their own, seeded
with `Generation.seed`, through transformers' own penalty, temperature and top-p: the same seed gives the same text,
alone or beside others, as far as the scores are the same. A batch of another size rounds otherwise in the last bits:
of 450 drawn replies of tiny models in float32 one differed, for a random number 6e-8 beside a border.
With `static`, keys and values lie in one block that stays, so that a GPU's steps can be compiled and replayed as CUDA
graphs; transformers compiles by itself where it finds such a block on a GPU.
Not covered: who shares a batch (`batching`), text (`pieces`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from threading import Lock
from typing import Any

from chimed_rag.config import Generation
from chimed_rag.generation.request import Request

_BLOCK = 512
"""A static cache has a multiple of so many places, so that few lengths need a recording each."""


class TransformersDecoder:
    """Writes batches with a causal language model.

    Args:
        model: of transformers, in eval mode.
        stop_ids: tokens that end a reply.
        pad_id: what fills rows up; it is masked, so any token will do.
        ends: whether tokens end a reply by their text.
        static: keep keys and values in one block of fixed size.
    """

    def __init__(
        self,
        model: Any,
        *,
        stop_ids: Collection[int],
        pad_id: int,
        ends: Callable[[Sequence[int]], bool],
        static: bool = False,
    ) -> None:
        self._model, self._pad, self._ends, self._static = model, pad_id, ends, static
        self._stops = frozenset(stop_ids)
        self._cache: tuple[int, int, Any] = (0, 0, None)  # rows, places, and the block
        self._is_ready = False

    def decode(self, batch: Sequence[Request], leaves_off: Callable[[], bool]) -> None:
        """Writes until each request has ended or `leaves_off`, with one call of `generate`."""
        from transformers import GenerationConfig

        self._prepare_thread()
        rows = 1 << (len(batch) - 1).bit_length() if self._static else len(batch)  # few sizes, few recordings
        ids, mask = self._padded([[*request.prompt, *request.ids] for request in batch], rows)
        steps = max(request.most - len(request.ids) for request in batch)
        drawing = [place for place, request in enumerate(batch) if _needs_processing(request.settings)]
        settings = GenerationConfig(
            do_sample=False,
            max_new_tokens=steps,
            eos_token_id=list(self._stops),
            pad_token_id=self._pad,
            disable_compile=not self._static,
        )
        more = {"past_key_values": self._block(rows, ids.shape[1] + steps)} if self._static else {}
        self._model.generate(
            ids,
            attention_mask=mask,
            generation_config=settings,
            logits_processor=[_Draw(batch, drawing, ids.shape[1])] if drawing else [],
            stopping_criteria=[_Look(batch, self._stops, self._ends, leaves_off)],
            **more,
        )

    def most_tokens(self, wanted: int) -> int:
        """How many tokens, padding and all, a batch may hold: four fifths of what a GPU has free are for them."""
        if self._model.device.type != "cuda":
            return wanted
        import torch

        config = self._model.config.get_text_config()
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        each = 2 * config.num_hidden_layers * heads * width * self._model.dtype.itemsize  # keys and values of one token
        free = int(torch.cuda.mem_get_info(self._model.device)[0])
        return max(1, min(wanted, int(0.8 * free) // int(each)))

    def free(self) -> None:
        """Gives back the block and what torch keeps for later."""
        import torch

        self._cache = (0, 0, None)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _padded(self, prompts: Sequence[Sequence[int]], rows: int) -> tuple[Any, Any]:
        """Token numbers and mask, (rows, longest), int64; rows beyond the prompts hold one token."""
        import torch

        prompts = [*prompts, *[[self._pad]] * (rows - len(prompts))]
        longest = max(map(len, prompts))
        ids = [[self._pad] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
        mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        device = self._model.device
        return torch.tensor(ids, device=device), torch.tensor(mask, device=device)

    def _block(self, rows: int, places: int) -> Any:
        """Room for keys and values; the last one again if it is large enough, for its addresses are in the graphs."""
        from transformers import StaticCache

        had_rows, had_places, block = self._cache
        if had_rows == rows and had_places >= places:
            block.reset()
            return block
        self.free()
        places = -(-places // _BLOCK) * _BLOCK
        self._cache = rows, places, StaticCache(config=self._model.config, max_cache_len=places)
        return self._cache[2]

    def _prepare_thread(self) -> None:
        """Before torch 2.13 CUDA graphs work only in the thread that imported them (pytorch/pytorch#123177)."""
        if self._is_ready:
            return
        self._is_ready = True
        if self._static and self._model.device.type == "cuda":
            from torch._inductor import cudagraph_trees

            if not hasattr(cudagraph_trees, "_initialize_tls"):
                cudagraph_trees.local.tree_manager_containers = {}
                cudagraph_trees.local.tree_manager_locks = defaultdict(Lock)


def _needs_processing(settings: Generation) -> bool:
    return settings.temperature > 0 or settings.repetition_penalty != 1


class _Look:
    """A stopping criterion: hands each row its newest token, and tells which rows have ended."""

    def __init__(
        self,
        batch: Sequence[Request],
        stops: frozenset[int],
        ends: Callable[[Sequence[int]], bool],
        leaves_off: Callable[[], bool],
    ) -> None:
        self._batch, self._stops, self._ends, self._leaves_off = batch, stops, ends, leaves_off

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        import torch

        newest: list[int] = input_ids[:, -1].tolist()
        for request, token in zip(self._batch, newest, strict=False):  # rows beyond the batch are filling
            if not request.done.is_set():
                request.take(token, stops=token in self._stops, ends=self._ends)
        leaves_off = self._leaves_off()
        ended = [leaves_off or request.done.is_set() for request in self._batch]
        return torch.tensor(ended + [True] * (len(newest) - len(ended)), device=input_ids.device)


class _Draw:
    """A logits processor: rows with a penalty or a temperature get the scores, and the choice, that their settings ask.

    Where a row draws, all but the drawn token become impossible, and greedy choice takes it.
    """

    def __init__(self, batch: Sequence[Request], rows: Sequence[int], width: int) -> None:
        from transformers import LogitsProcessorList, RepetitionPenaltyLogitsProcessor
        from transformers import TemperatureLogitsWarper as Temperature
        from transformers import TopPLogitsWarper as TopP

        self._batch, self._groups = batch, defaultdict[tuple[float, float, float], list[int]](list)
        for row in rows:
            one = batch[row].settings
            self._groups[one.repetition_penalty, one.temperature, one.top_p].append(row)
        self._processors = {key: LogitsProcessorList() for key in self._groups}
        for (penalty, temperature, top_p), processors in self._processors.items():
            if penalty != 1:
                processors.append(RepetitionPenaltyLogitsProcessor(float(penalty)))
            if temperature > 0:
                processors.append(Temperature(float(temperature)))
            if temperature > 0 and top_p < 1:
                processors.append(TopP(float(top_p)))
        self._starts = [width - len(request.prompt) - len(request.ids) for request in batch]

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        import torch

        scores = scores.clone()
        for key, rows in self._groups.items():
            ids = input_ids[rows].clone()
            for place, row in enumerate(rows):  # padding is no repetition: the first real token stands in for it
                ids[place, : self._starts[row]] = input_ids[row, self._starts[row]]
            ours = self._processors[key](ids, scores[rows])
            if key[1] > 0:
                # The inverse of the cumulated distribution at a uniform number, in float64: one number a token.
                uniform = torch.tensor([[_uniform(self._batch[row])] for row in rows], dtype=torch.float64)
                sums = ours.double().softmax(-1).cumsum(-1)
                drawn = torch.searchsorted(sums, uniform.to(sums.device) * sums[:, -1:], right=True)
                drawn = drawn.clamp(max=ours.shape[-1] - 1)
                ours = torch.full_like(ours, float("-inf")).scatter(-1, drawn, 0.0)
            scores[rows] = ours
        return scores


def _uniform(request: Request) -> float:
    """The next random number of a row, in [0, 1); those of other rows do not move it."""
    import torch

    if request.random is None:
        request.random = torch.Generator().manual_seed(request.settings.seed)
    return float(torch.rand((), generator=request.random, dtype=torch.float64))
