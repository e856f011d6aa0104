"""The probabilities of first tokens, as OpenAI-style servers tell them: the most probable ones alone, with their text.

Both forms are read: that of /chat/completions (`logprobs.content[0].top_logprobs`, a list; llama.cpp has it on both
paths) and that of /completions (`logprobs.top_logprobs[0]`, a mapping). A server tells what the model's own
distribution says, before temperature (vLLM, SGLang and llama.cpp by default).
Not covered: options of several tokens, which are not among first tokens: they are left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chimed_rag.generation.language_model import NoProbabilitiesError, log_sum
from chimed_rag.generation.refusals import RefusedError
from chimed_rag.generation.wire import Wire

MOST = 20
"""As many as vLLM and OpenAI tell unless they are set otherwise."""
_REFUSING = {400, 404, 405, 422, 501}


async def first_tokens(wire: Wire, path: str, prompt: Mapping[str, Any]) -> list[tuple[str, float]]:
    """The most probable first tokens of a reply with the logarithms of their probabilities.

    Args:
        wire: to the server.
        path: "/chat/completions" or "/completions".
        prompt: `model` with `messages` or `prompt`.

    Raises:
        NoProbabilitiesError: the server refuses, or tells none. GeneratorError: as `Wire.ask`.
    """
    wanted = {"logprobs": True, "top_logprobs": MOST} if "chat" in path else {"logprobs": MOST}
    body = {**prompt, "max_tokens": 1, "temperature": 0.0, **wanted}
    try:
        answer = await wire.ask("POST", wire.url + path, body)
    except RefusedError as error:
        if error.status in _REFUSING:
            raise NoProbabilitiesError(f"no probabilities of options: {error}") from None
        raise
    found = list(_read(answer))
    if not found:
        raise NoProbabilitiesError(f"{wire.url}{path} answers without `logprobs`")
    return found


def _read(answer: Any) -> Iterator[tuple[str, float]]:
    """Whatever is not of one of the forms is nothing."""
    try:
        told = answer["choices"][0]["logprobs"]
        content = told.get("content")
        top = content[0]["top_logprobs"] if content else told["top_logprobs"][0]
        pairs = top.items() if isinstance(top, dict) else [(one["token"], one["logprob"]) for one in top]
        yield from ((str(token), float(value)) for token, value in pairs if math.isfinite(float(value)))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        return


def among(tokens: Sequence[tuple[str, float]], options: Sequence[str]) -> dict[str, float]:
    """The options that stand among the tokens; with and without a blank before it is one option, both are added.

    >>> among([("A", -1.0), ("答", -2.0)], ["A", "B"])
    {'A': -1.0}
    """
    found: dict[str, list[float]] = {option: [] for option in options}
    for token, value in tokens:
        if (said := token.lstrip(" ▁Ġ")) in found:
            found[said].append(value)
    return {option: log_sum(values) for option, values in found.items() if values}
