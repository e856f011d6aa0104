"""Blocking work beside an event loop: awaited, or its results one by one; and given up when nobody waits any more.

`asyncio.to_thread` shares one small pool with the whole program and leaves a cancelled call running; here the work is
told. Not covered: what the work is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Executor
from contextlib import suppress
from threading import Event
from typing import TypeVar

T = TypeVar("T")


async def in_thread(work: Callable[[], T], threads: Executor, cancel: Event) -> T:
    """What `work` returns; if the task is cancelled, `cancel` is set, and the work not waited for."""
    try:
        return await asyncio.get_running_loop().run_in_executor(threads, work)
    except asyncio.CancelledError:
        cancel.set()
        raise


async def from_thread(items: Iterator[T], threads: Executor, cancel: Event) -> AsyncGenerator[T, None]:
    """The items of a blocking iterator, which one thread reads ahead.

    When the reader leaves, `cancel` is set, and the thread closes the iterator at the next item.
    """
    loop = asyncio.get_running_loop()
    arrived: asyncio.Queue[tuple[bool, T | BaseException | None]] = asyncio.Queue()

    def put(is_item: bool, what: T | BaseException | None) -> None:
        with suppress(RuntimeError):  # the loop was closed: nobody reads any more
            loop.call_soon_threadsafe(arrived.put_nowait, (is_item, what))

    def read() -> None:
        try:
            for item in items:
                if cancel.is_set():
                    break
                put(True, item)
        except BaseException as error:  # it is raised where the items are read
            put(False, error)
        else:
            put(False, None)
        finally:
            if close := getattr(items, "close", None):
                close()

    threads.submit(read)
    try:
        while True:
            is_item, what = await arrived.get()
            if is_item:
                yield what  # type: ignore[misc]
            elif what is not None:
                raise what  # type: ignore[misc]
            else:
                return
    finally:
        cancel.set()
