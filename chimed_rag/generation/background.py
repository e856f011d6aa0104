"""An event loop in a thread of its own: what is begun there can be cancelled from any thread, at any moment.

A blocking read of a socket cannot be interrupted from another thread; a coroutine can, also while it connects, waits
for its turn or for a second attempt. Not covered: several loops, processes that fork after the first call.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from chimed_rag.errors import GeneratorError

T = TypeVar("T")
Last = Callable[[], Awaitable[None]]


class Background:
    """Runs coroutines; its thread begins with the first and ends with `close`, or when nobody holds the object.

    Args:
        last: awaited at the end, after everything that still ran was cancelled. It must not hold this object.
    """

    def __init__(self, last: Last) -> None:
        self._last = last
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: Callable[[], Any] | None = None
        self._is_closed = False

    def begin(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Begins the coroutine; cancelling the future cancels it.

        Raises:
            GeneratorError: this was closed.
        """
        with self._lock:
            if self._is_closed:
                work.close()
                raise GeneratorError("this generator was closed; make a new one")
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                thread = threading.Thread(target=_run, args=(self._loop,), name="chimed-endpoint", daemon=True)
                thread.start()
                self._end = weakref.finalize(self, _end, self._loop, thread, self._last)
            return asyncio.run_coroutine_threadsafe(work, self._loop)

    def close(self) -> None:
        """Cancels what still runs and ends the thread; a second call does nothing."""
        with self._lock:
            self._is_closed = True
        if self._end is not None:
            self._end()


def _run(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def _end(loop: asyncio.AbstractEventLoop, thread: threading.Thread, last: Last) -> None:
    asyncio.run_coroutine_threadsafe(_cancel_all(last), loop)
    if threading.current_thread() is not thread:  # it is where the last reference was dropped by the loop itself
        thread.join()


async def _cancel_all(last: Last) -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    try:
        await asyncio.gather(*others, return_exceptions=True)
        await last()
    finally:
        asyncio.get_running_loop().stop()
