"""One event of a streamed reply, read; and what a reasoning model thinks before it speaks, left out.

Not covered: how events arrive (`wire`); a chain of thought whose opening tag stands in the prompt, not in the reply.
"""

from __future__ import annotations

import json
from typing import Any, Literal, NamedTuple

_ENDS: dict[str, Literal["stop", "length"]] = {
    "stop": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "max_tokens": "length",
}
_OPEN, _CLOSE = "<think>", "</think>"


class Piece(NamedTuple):
    """What an event says; counts in tokens. `finish` is None until the reply has ended."""

    text: str = ""
    finish: Literal["stop", "length"] | None = None
    prompt_tokens: int | None = None
    new_tokens: int | None = None
    is_last: bool = False

    def followed_by(self, other: Piece) -> Piece:
        """Both without their text, what the later one says first."""
        counts = other if other.new_tokens is not None else self
        finish = self.finish or other.finish
        if other.is_last and finish is None:
            finish = "stop"  # [DONE] without a reason is an end too
        return Piece("", finish, counts.prompt_tokens, counts.new_tokens, other.is_last)


def read_event(kind: str, data: str) -> Piece:
    """The event of a chat (`delta.content`) or a text completion (`text`); `reasoning_content` is ignored.

    Raises:
        ValueError: no JSON, not of this protocol, or the server says that it failed; says which.
    """
    if data.strip() == "[DONE]":
        return Piece(is_last=True)
    try:
        told: Any = json.loads(data) if data.strip() else {}
    except (ValueError, RecursionError):
        raise ValueError("sent an event that is no JSON") from None
    if not isinstance(told, dict):
        raise ValueError("sent an event that is no JSON object")
    if kind == "error" or told.get("error"):
        raise ValueError(f"reports an error: {_message(told) or data}")
    try:
        choice = (told.get("choices") or [{}])[0]
        text = (choice.get("delta") or {}).get("content") or choice.get("text") or ""
        text = text.encode("utf-8", "replace").decode()  # JSON can hold lone surrogates
        reason = choice.get("finish_reason")
        finish = _ENDS[reason] if reason else None
        usage = told.get("usage") or {}
        counts = [usage.get(key) for key in ("prompt_tokens", "completion_tokens")]
    except KeyError:
        raise ValueError(f"ended the reply for the reason {str(reason)[:40]!r}") from None
    except (AttributeError, IndexError, TypeError):
        raise ValueError("sent an event that is not of OpenAI's protocol") from None
    prompt_tokens, new_tokens = (count if isinstance(count, int) else None for count in counts)
    return Piece(text, finish, prompt_tokens, new_tokens)


def _message(told: Any) -> str:
    """The innermost text under "error" and "message"."""
    for key in ("error", "message"):
        if isinstance(told, dict) and key in told:
            told = told[key]
    return told if isinstance(told, str) else json.dumps(told, ensure_ascii=False)


class WithoutThoughts:
    """Takes <think>…</think> from the beginning of a text that comes in pieces.

    >>> reader = WithoutThoughts()
    >>> reader.feed("<thi"), reader.feed("nk>嗯</think>"), reader.feed("多喝水。")
    ('', '', '多喝水。')
    """

    def __init__(self) -> None:
        self._held = ""
        self._state: Literal["begins", "thinks", "pauses", "speaks"] = "begins"

    def feed(self, piece: str) -> str:
        """What of the text so far is speech and was not given yet."""
        if self._state == "pauses":  # blank lines between thought and speech
            piece = piece.lstrip()
            self._state = "speaks" if piece else "pauses"
        if self._state in ("pauses", "speaks"):
            return piece
        self._held += piece
        if self._state == "begins":
            begun = self._held.lstrip()
            if not begun.startswith(_OPEN):
                return "" if _OPEN.startswith(begun) else self.rest()
            self._held, self._state = begun[len(_OPEN) :], "thinks"
        thought, closed, speech = self._held.partition(_CLOSE)
        if closed:
            self._state = "pauses"
            return self.feed(speech)
        self._held = thought[-len(_CLOSE) :]  # the tag may come in two pieces
        return ""

    def rest(self) -> str:
        """What was held back and turned out to be speech; an unfinished thought is none."""
        held = self._held if self._state == "begins" else ""
        self._state = "speaks"
        return held
