"""One reply in the making: what it is written from, how far it is, and why it ended; who waits for it hears its tokens.

Not covered: when it is written (`batching`) and how (`decoding`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from threading import Event
from typing import Any

from chimed_rag.config import Generation
from chimed_rag.errors import GeneratorError
from chimed_rag.generation.language_model import Finish

HANDED_OVER = 0.01
"""Seconds between two wakings of a listener: where tokens come faster, it is handed several at once."""


class Request:
    """A reply in the making.

    Args:
        prompt: tokens after which it is written.
        settings: how.
        most: tokens it may have.
        cancel: set by whoever does not want it any more.
        listens: the tokens are put into `heard` as they come, without the one that stops, and None at the end.
    """

    def __init__(
        self,
        prompt: Sequence[int],
        settings: Generation,
        most: int,
        *,
        cancel: Event | None = None,
        listens: bool = False,
    ) -> None:
        self.prompt, self.settings, self.most = list(prompt), settings, most
        self.ids: list[int] = []
        self.finish: Finish | None = None
        self.error: GeneratorError | None = None
        self.done = Event()
        self.heard: SimpleQueue[list[int] | None] | None = SimpleQueue() if listens else None
        self.random: Any = None  # where its random numbers come from: `decoding` keeps it here from batch to batch
        self._cancel, self._is_abandoned, self._until = cancel, False, float("inf")
        self._unheard: list[int] = []
        self._last_heard = float("-inf")

    @property
    def size(self) -> int:
        """The tokens it may come to, prompt and reply."""
        return len(self.prompt) + self.most

    def begin(self) -> None:
        """Its time counts from here, not from when it began to wait."""
        if self._until == float("inf") and self.settings.seconds is not None:
            self._until = time.monotonic() + self.settings.seconds

    def abandon(self) -> None:
        """Nobody waits for it any more."""
        self._is_abandoned = True

    @property
    def is_cancelled(self) -> bool:
        """Whether somebody does not want it any more."""
        return self._is_abandoned or (self._cancel is not None and self._cancel.is_set())

    def take(self, token: int, *, stops: bool, ends: Callable[[Sequence[int]], bool]) -> None:
        """Notes a token that was written, and whether the reply ends with it.

        Args:
            token: its number.
            stops: it is a token that stops.
            ends: tells of all tokens whether their text ends the reply.
        """
        self.ids.append(token)
        now = time.monotonic()
        if self.heard is not None and not stops:
            self._unheard.append(token)
            if now - self._last_heard >= HANDED_OVER:
                self.heard.put(self._unheard)
                self._unheard, self._last_heard = [], now
        if stops or ends(self.ids):
            self.end("stop")
        elif self.is_cancelled:
            self.end("cancelled")
        elif len(self.ids) >= self.most:
            self.end("length")
        elif now >= self._until:
            self.end("time")

    def end(self, finish: Finish | None, error: GeneratorError | None = None) -> None:
        """Wakes whoever waits, with a reason or an error; only the first end counts."""
        if self.done.is_set():
            return
        self.finish, self.error = finish, error
        self.done.set()
        if self.heard is not None:
            self.heard.put(self._unheard)
            self.heard.put(None)
