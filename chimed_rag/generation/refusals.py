"""What servers say when they will not, or cannot just now: which error it is, and whether asking again may help.

Not covered: what breaks off a reply that has begun (`wire`).
"""

from __future__ import annotations

import json
import re
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

from chimed_rag.errors import GeneratorError

LONGEST_WAIT = 30.0
"""Seconds; a server that asks for more patience (Retry-After) is asked again after this."""
_PASSING = {429, 500, 502, 503, 504}
_TOO_LONG = re.compile(
    r"context (?:length|size|window)|exceed_context_size|maximum context|prompt is too long|too many tokens", re.I
)


class AgainError(GeneratorError):
    """Worth another attempt, after `wait` seconds at least."""

    def __init__(self, message: str, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = wait


class UnreachableError(AgainError):
    """Nothing answers at that address."""


class RefusedError(GeneratorError):
    """The server understood and will not; `status` is HTTP's."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class TooLongError(GeneratorError):
    """Prompt and reply do not fit into the server's context; it was believed to have `context` tokens."""

    context = 0


def refusal(url: str, status: int, told: str, retry_after: str = "") -> GeneratorError:
    """The error for an answer other than 200.

    Args:
        url: that was asked.
        status: of HTTP.
        told: what the server says, see `told_by`.
        retry_after: the header of that name.
    """
    if _TOO_LONG.search(told):
        return TooLongError(f"{url}: prompt and reply do not fit into the context of the server ({told})")
    if status in _PASSING:
        return AgainError(f"{url} answers {status}: {told}", _seconds(retry_after))
    if 300 <= status < 400:
        told = "it redirects, which is not followed; give the address it leads to"
    return RefusedError(f"{url} answers {status}: {told}", status)


def told_by(body: bytes) -> str:
    """What the body of a refusal says, whichever form it has: {"error": {"message": …}}, {"detail": …}, text."""
    text = body.decode("utf-8", "replace")
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return text
    for key in ("error", "detail", "message"):
        if isinstance(told, dict) and key in told:
            told = told[key]
    return told if isinstance(told, str) else json.dumps(told, ensure_ascii=False)


def _seconds(said: str) -> float:
    """Of a Retry-After header, which is a number or a date; 0 for none."""
    try:
        seconds = float(said) if said.strip().isdigit() else _until(said)
    except (ValueError, TypeError):
        return 0.0
    return min(max(seconds, 0.0), LONGEST_WAIT)


def _until(date: str) -> float:
    when = parsedate_to_datetime(date)
    return (when - datetime.now(timezone.utc if when.tzinfo else None)).total_seconds()
