"""How probable given replies are to a causal language model of transformers: forward passes, nothing is written.

A row holds a prompt and all tokens of a reply but its last; rows of many prompts share a pass, padded on the left. In
float32 a row has the same values alone and among others (to 1e-5); in bfloat16 their last digits depend on the company.
Not covered: which tokens an option has (`chat`, `language_model`), and servers (`top_tokens`).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Iterator, Sequence
from threading import Event, Lock
from typing import Any, NamedTuple

from chimed_rag.errors import GeneratorError
from chimed_rag.generation.base import Message
from chimed_rag.generation.batching import is_out_of_memory
from chimed_rag.generation.chat import Renderer
from chimed_rag.generation.language_model import log_sum

Tokens = tuple[int, ...]
LEAST = -9999.0
"""Stands for the logarithm of 0, which JSON cannot write; servers (vLLM) say the same."""


class Question(NamedTuple):
    """A prompt and what may follow: each option is said in one or several ways (a letter with and without a blank)."""

    prompt: Sequence[int]
    options: dict[str, tuple[Tokens, ...]]

    @property
    def rows(self) -> list[Tokens]:
        """What is read behind the prompt: replies without their last token; one that begins another is read with it."""
        found = sorted({way[:-1] for ways in self.options.values() for way in ways}, key=lambda row: (-len(row), row))
        return [row for place, row in enumerate(found) if not any(o[: len(row)] == row for o in found[:place])]

    @property
    def size(self) -> int:
        """Tokens of the prompt with its longest option."""
        return len(self.prompt) + 1 + max(map(len, self.rows), default=0)


def of_reply(renderer: Renderer, messages: Sequence[Message], options: Sequence[str]) -> Question:
    """Options as the beginning of the reply to a conversation."""
    return Question(renderer.prompt(messages), {option: renderer.ways(option) for option in options})


def of_text(renderer: Renderer, text: str, options: Sequence[str]) -> Question:
    """Options behind a plain text; blanks at its end belong to them (as lm-evaluation-harness has it).

    Raises:
        GeneratorError: there is no text, or the tokenizer melts its end and an option into one token.
    """
    from chimed_rag.encoders.base import well_formed

    [text] = well_formed([text])
    prompt = renderer.plain(text.rstrip())
    if not prompt:
        raise GeneratorError("there is no text that an option could follow")
    ways: dict[str, tuple[Tokens, ...]] = {
        option: (tuple(renderer.plain(text + option)[len(prompt) :]),) for option in options
    }
    if melted := [option for option, (way, *_) in ways.items() if not way]:
        raise GeneratorError(f"the tokenizer makes one token of {text[-1:]!r} and {melted[0]!r}")
    return Question(prompt, ways)


class _Row(NamedTuple):
    place: int
    """Of the question it belongs to."""
    prompt: Sequence[int]
    reply: Tokens


class Likelihood:
    """Asks a model; calls of several threads wait for each other, beside whatever is being written.

    Args:
        model: of transformers, in eval mode.
        pad_id: what fills rows up; it is masked, so any token will do.
        most_rows, most_tokens: of a pass; a single row may be larger.
    """

    def __init__(self, model: Any, *, pad_id: int, most_rows: int, most_tokens: int) -> None:
        self._model, self._pad, self._most_rows, self._most_tokens = model, pad_id, most_rows, most_tokens
        self._lock = Lock()
        self._takes = inspect.signature(model.forward).parameters

    def ask(
        self, questions: Sequence[Question], cancel: Event | None = None
    ) -> list[dict[str, float] | GeneratorError]:
        """The logarithm of each option's probability; a question that failed is its error, and the others stand."""
        found: list[dict[Tokens, float]] = [{} for _ in questions]
        failed: dict[int, GeneratorError] = {}
        rows = [_Row(place, one.prompt, row) for place, one in enumerate(questions) for row in one.rows]
        wanted = [{way for ways in one.options.values() for way in ways} for one in questions]
        with self._lock:
            for batch in self._batches(rows):
                if cancel is not None and cancel.is_set():
                    failed |= {row.place: GeneratorError("cancelled before it was asked") for row in batch}
                    continue
                try:
                    for row, known in zip(batch, self._read(batch, wanted), strict=True):
                        found[row.place] |= known
                except Exception as error:  # torch raises what it likes; the other passes may go well
                    failed |= {row.place: GeneratorError(f"the language model failed: {error}") for row in batch}
        return [
            failed[place] if place in failed else _added(one.options, found[place])
            for place, one in enumerate(questions)
        ]

    def _batches(self, rows: Iterable[_Row]) -> Iterator[list[_Row]]:
        """Rows of like length share a pass, the longest first: want of memory shows at once."""
        batch: list[_Row] = []
        for row in sorted(rows, key=lambda row: -len(row.prompt) - len(row.reply)):
            longest = len((batch or [row])[0].prompt) + len((batch or [row])[0].reply)
            if batch and (len(batch) >= self._most_rows or longest * (len(batch) + 1) > self._most_tokens):
                yield batch
                batch = []
            batch.append(row)
        if batch:
            yield batch

    def _read(self, batch: Sequence[_Row], wanted: Sequence[set[Tokens]]) -> list[dict[Tokens, float]]:
        """Of each row, the replies that it decides; half as many rows at a time where memory lacks."""
        try:
            return self._pass(batch, wanted)
        except Exception as error:
            if len(batch) == 1 or not is_out_of_memory(error):
                raise
        half = len(batch) // 2
        return self._read(batch[:half], wanted) + self._read(batch[half:], wanted)

    def _pass(self, batch: Sequence[_Row], wanted: Sequence[set[Tokens]]) -> list[dict[Tokens, float]]:
        import torch

        texts = [[*row.prompt, *row.reply] for row in batch]
        longest, kept = max(map(len, texts)), max(len(row.reply) for row in batch) + 1
        device = self._model.device
        ids = torch.tensor([[self._pad] * (longest - len(text)) + text for text in texts], device=device)
        mask = torch.tensor([[0] * (longest - len(text)) + [1] * len(text) for text in texts], device=device)
        more: dict[str, Any] = {"logits_to_keep": kept} if "logits_to_keep" in self._takes else {}
        if "position_ids" in self._takes:  # padding does not count
            more["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)
        with torch.inference_mode():
            logits = self._model(input_ids=ids, attention_mask=mask, use_cache=False, **more).logits[:, -kept:]
            said = logits.float().log_softmax(-1)
        return [
            _decided(row, said[place, kept - len(row.reply) - 1 :], wanted[row.place])
            for place, row in enumerate(batch)
        ]


def _decided(row: _Row, said: Any, wanted: set[Tokens]) -> dict[Tokens, float]:
    """The wanted replies of which all tokens but the last stand in this row; `said`: (its tokens + 1, vocabulary)."""
    ways = [way for way in wanted if row.reply[: len(way) - 1] == way[:-1]]
    steps = [(step, token) for way in ways for step, token in enumerate(way)]
    values = iter(said[[step for step, _ in steps], [token for _, token in steps]].tolist())
    return {way: math.fsum(next(values) for _ in way) for way in ways}


def _added(options: dict[str, tuple[Tokens, ...]], found: dict[Tokens, float]) -> dict[str, float]:
    """Of each option, the logarithm of the sum over the ways in which it is said."""
    return {option: max(log_sum([found[way] for way in ways]), LEAST) for option, ways in options.items()}
