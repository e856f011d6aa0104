"""Replies that many threads ask for are written together: who waits, what shares a batch, what if one fails.

One thread of its own does the writing (CUDA graphs belong to the thread that recorded them); it starts with the first
request and ends with `close`. Requests with different settings share a batch. A reply may be written in several
batches, each going on behind the tokens that are there: where memory lacked, half as many go on together; where many
wait and few are being written, the batch leaves off and begins again with all of them.
Not covered: how a batch is written (`decoding`); letting a request in without reading the others' prompts again.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from threading import Condition, Thread, current_thread
from typing import Protocol

from chimed_rag.errors import GeneratorError
from chimed_rag.generation.request import Request

log = logging.getLogger(__name__)


PATIENCE = 16
"""A batch writes so many tokens before it leaves off for those that wait: beginning again reads its prompts again."""


class Decoder(Protocol):
    """Writes a batch."""

    def decode(self, batch: Sequence[Request], leaves_off: Callable[[], bool]) -> None:
        """Writes, behind the tokens that are there, until each has ended or `leaves_off`, asked after each token."""
        ...

    def free(self) -> None:
        """Gives back memory that nothing uses."""
        ...


class Batcher:
    """Collects requests and has them written, one batch after the other, in the order in which they came.

    Args:
        decoder: what writes.
        most_rows: requests in a batch.
        most_tokens: a batch is no larger than that, padding and room for the replies counted; a single request may be.
    """

    def __init__(self, decoder: Decoder, most_rows: int, most_tokens: int) -> None:
        self._decoder, self.most_rows, self.most_tokens = decoder, most_rows, most_tokens
        self._waiting: deque[Request] = deque()
        self._changed = Condition()
        self._running: Sequence[Request] = ()
        self._steps = 0  # tokens that the running batch has written
        self._thread: Thread | None = None
        self._is_closed = False

    def submit(self, requests: Iterable[Request]) -> None:
        """Has them written; each tells by itself when it is done.

        Raises:
            GeneratorError: it was closed.
        """
        with self._changed:
            if self._is_closed:
                raise GeneratorError("the language model was closed; load it again")
            self._waiting.extend(requests)
            if self._thread is None or not self._thread.is_alive():
                self._thread = Thread(target=self._work, name="chimed-generation", daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        """Cancels what is being written, fails what waits, and ends the thread."""
        with self._changed:
            self._is_closed = True
            self._sweep(closing=True)
            for request in self._running:
                request.abandon()
            self._changed.notify_all()

    def join(self, seconds: float) -> None:
        """Waits until the thread has ended; not in that thread itself, where a forgotten object may be collected."""
        if self._thread is not None and self._thread is not current_thread():
            self._thread.join(seconds)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._is_closed)
                if self._is_closed:
                    return
                self._running = self._next()
            self._write(self._running)
            with self._changed:
                self._running = ()  # what was answered is held no longer

    def _next(self) -> list[Request]:
        return [self._waiting.popleft() for _ in range(self._fitting([]))]

    def _fitting(self, rows: Sequence[Request]) -> int:
        """So many of those that wait fit into a batch beside these rows."""
        longest = max((row.size for row in rows), default=0)
        count = 0
        for request in self._waiting:
            longest, size = max(longest, request.size), len(rows) + count + 1
            if size > self.most_rows or (size > 1 and longest * size > self.most_tokens):
                break
            count += 1
        return count

    def _leaves_off(self) -> bool:
        """After each token: forgets who waits and need not; whether a batch twice as large, or larger, can be made."""
        self._steps += 1
        if not self._waiting:
            return False
        with self._changed:
            self._sweep()
            writing = [request for request in self._running if not request.done.is_set()]
            return self._steps >= PATIENCE and self._fitting(writing) >= max(1, len(writing))

    def _write(self, batch: Sequence[Request]) -> None:
        """Writes a batch once; what is unfinished then waits again, unless it failed."""
        for request in batch:
            request.begin()
            if request.is_cancelled:
                request.end("cancelled")
        batch = [request for request in batch if not request.done.is_set()]
        if not batch:
            return
        self._steps, trouble, lacks_memory = 0, "", False
        try:
            self._decoder.decode(batch, self._leaves_off)
        except BaseException as error:  # whatever it is, nobody may wait for ever
            trouble, lacks_memory = f"failed while it wrote: {error}", is_out_of_memory(error)
        batch = [request for request in batch if not request.done.is_set()]
        if not batch:
            return
        if lacks_memory:
            self._decoder.free()
            self.most_tokens = max(request.size for request in batch) * max(1, len(batch) // 2)
            log.warning("no memory for %d replies at once; going on with %d", len(batch), len(batch) // 2)
        if lacks_memory and len(batch) == 1:
            trouble += (
                f"; there is no memory for a prompt of {len(batch[0].prompt):,} tokens and a reply of "
                f"{batch[0].most:,}: give less evidence or a smaller context_tokens, or load it in 8 or 4 bit"
            )
        elif lacks_memory or (not trouble and self._steps):
            self._wait_again(batch)
            return
        for request in batch:
            request.end(None, GeneratorError(f"the language model {trouble or 'wrote nothing'}"))

    def _wait_again(self, batch: Sequence[Request]) -> None:
        with self._changed:
            self._waiting.extendleft(reversed(batch))
            if self._is_closed:
                self._sweep(closing=True)

    def _sweep(self, *, closing: bool = False) -> None:
        """Those that wait and are not wanted any more need not wait for a batch."""
        for request in [one for one in self._waiting if closing or one.is_cancelled]:
            self._waiting.remove(request)
            if request.is_cancelled:
                request.end("cancelled")
            else:
                request.end(None, GeneratorError("the language model was closed before it wrote this"))


def is_out_of_memory(error: BaseException) -> bool:
    """Of a GPU, as torch calls it, or of the CPU, where it is a bare RuntimeError."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
    )
