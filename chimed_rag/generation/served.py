"""What a server tells of itself: its model, the size of its context, and how many tokens a prompt has.

Servers differ here: vLLM, SGLang and llama.cpp each tell in their own way, others nothing; then it is estimated.
Not covered: replies (`endpoint`).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any, NamedTuple

from chimed_rag.errors import GeneratorError
from chimed_rag.generation.base import Message
from chimed_rag.generation.refusals import AgainError, TooLongError, UnreachableError
from chimed_rag.generation.wire import Wire

CONTEXT_TOKENS = 4096
"""Where neither the settings nor the server say; a server that has less says so when asked for too much."""
_LETTER = re.compile("[A-Za-z]")
_PER_CHARACTER, _PER_LETTER, _PER_MESSAGE, _FOR_TEMPLATE = 1.5, 0.5, 8, 48


class Count(NamedTuple):
    """The tokens of a prompt; an estimate is above the truth."""

    tokens: int
    is_exact: bool


def estimate_tokens(messages: Sequence[Message]) -> int:
    """An upper estimate: 1.5 a character, 1 an ASCII sign or digit, half an ASCII letter, 8 a message, 48 a template.

    The assumption is a vocabulary that knows Chinese: of 13,283 medical texts (encyclopedia, textbooks, classics,
    leaflets, questions, starter) none had more tokens in those of Qwen and of DeepSeek, which take 0.6 to 0.9 a
    character; on average the estimate is 1.6 to 2.4 times the count. A vocabulary that falls back to bytes takes up to
    3 a character: its server, if it does not count, refuses what is too long, and less evidence is tried.
    """
    tokens = 0.0
    for message in messages:
        text = message["content"]
        ascii_only = text.encode("ascii", "ignore").decode()
        letters = len(_LETTER.findall(ascii_only))
        tokens += _PER_CHARACTER * (len(text) - len(ascii_only))
        tokens += len(ascii_only) - letters + _PER_LETTER * letters + _PER_MESSAGE
    return ceil(tokens) + _FOR_TEMPLATE


class Served:
    """One model of one server; what was found out once is kept.

    Args:
        wire: to the server.
        model: None takes the only one it has.
        context_tokens: None asks the server.
    """

    def __init__(self, wire: Wire, model: str | None, context_tokens: int | None) -> None:
        self.name, self._wire, self._context = model, wire, context_tokens
        self._counts_as = "unknown"
        self._finding = asyncio.Lock()

    async def models(self) -> list[dict[str, Any]]:
        """What GET /models lists.

        Raises:
            GeneratorError: the server cannot be reached, or there is no such list.
        """
        told = await self._wire.ask("GET", self._wire.url + "/models")
        models = told.get("data") if isinstance(told, dict) else None
        if not isinstance(models, list):
            raise GeneratorError(f"{self._wire.url}/models lists no models; does the address end in /v1?")
        return [one for one in models if isinstance(one, dict) and isinstance(one.get("id"), str)]

    async def model(self) -> str:
        """The name of the model.

        Raises:
            GeneratorError: as `models`; or there is none, or several, which it lists.
        """
        async with self._finding:
            if self.name is None:
                names = [one["id"] for one in await self.models()]
                if len(names) != 1:
                    held = f"several models, name one (model=…): {', '.join(names[:20])}" if names else "no model"
                    raise GeneratorError(f"{self._wire.url} has {held}")
                self.name = names[0]
            return self.name

    async def context(self) -> int:
        """The tokens that prompt and reply may have together: as vLLM and SGLang say (`max_model_len`), or llama.cpp.

        Raises:
            GeneratorError: the server cannot be reached.
        """
        name = await self.model()
        async with self._finding:
            if self._context is None:
                try:
                    found = [_context_of(one) for one in await self.models() if one["id"] == name]
                except UnreachableError:
                    raise
                except GeneratorError:  # not every server has this list
                    found = []
                self._context = next(filter(None, found), CONTEXT_TOKENS)
            return self._context

    def halve_context(self, error: TooLongError) -> None:
        """For good: a context that is smaller than believed, or tokens that are more, stay so for the next question."""
        half = error.context // 2  # of what was believed then; a late refusal does not raise it again
        self._context = min(half, self._context or half)

    async def count(self, body: Mapping[str, Any], messages: Sequence[Message]) -> Count:
        """The tokens of a prompt: vLLM and SGLang have /tokenize, llama.cpp has it with /apply-template.

        Args:
            body: what a request for a reply holds: `model` with `messages` or `prompt`.
            messages: the same, for the estimate.
        """
        try:
            for kind, ask in (("vllm", self._ask_vllm), ("llama.cpp", self._ask_llama)):
                if self._counts_as in ("unknown", kind) and (tokens := await ask(body)) is not None:
                    self._counts_as = kind
                    return Count(tokens, is_exact=True)
            self._counts_as = "none"
        except AgainError:  # busy or away just now: that says nothing about what it can do
            pass
        except GeneratorError:
            self._counts_as = "none"
        return Count(estimate_tokens(messages), is_exact=False)

    async def _ask_vllm(self, body: Mapping[str, Any]) -> int | None:
        more = {"add_generation_prompt": True} if "messages" in body else {}
        told = await self._wire.ask("POST", self._wire.root + "/tokenize", {**body, **more})
        count = told.get("count") if isinstance(told, dict) else None
        return count if isinstance(count, int) else None

    async def _ask_llama(self, body: Mapping[str, Any]) -> int | None:
        """Its /tokenize takes text alone, and answers what vLLM is asked with an empty list."""
        text = body.get("prompt")
        if text is None:
            told = await self._wire.ask("POST", self._wire.root + "/apply-template", {"messages": body["messages"]})
            text = told.get("prompt") if isinstance(told, dict) else None
        asked = {"content": text, "add_special": True, "parse_special": True}
        told = await self._wire.ask("POST", self._wire.root + "/tokenize", asked) if text else None
        tokens = told.get("tokens") if isinstance(told, dict) else None
        return len(tokens) if isinstance(tokens, list) and tokens else None


def _context_of(model: dict[str, Any]) -> int | None:
    meta = model.get("meta")
    said = model.get("max_model_len") or (meta.get("n_ctx") if isinstance(meta, dict) else None)
    return said if isinstance(said, int) and said > 0 else None
