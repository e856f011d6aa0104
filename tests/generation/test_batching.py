"""Who waits, what shares a batch, and what happens when a batch fails; with a writer that only counts."""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Callable, Sequence
from threading import Event, Thread

import pytest

from chimed_rag.config import Generation
from chimed_rag.errors import GeneratorError
from chimed_rag.generation.batching import PATIENCE, Batcher
from chimed_rag.generation.request import Request

WAIT = 20
STOP = -1


class Counter:
    """Writes prompt[0], prompt[0] + 1, …; a prompt of two numbers stops there."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.goes_on = Event()
        self.goes_on.set()
        self.has_begun = Event()
        self.frees = 0
        self.trouble: Callable[[Sequence[Request]], BaseException | None] = lambda batch: None

    def decode(self, batch: Sequence[Request], leaves_off: Callable[[], bool]) -> None:
        self.batches.append([request.prompt[0] for request in batch])
        self.has_begun.set()
        while not all(request.done.is_set() for request in batch):
            assert self.goes_on.wait(WAIT)
            if error := self.trouble(batch):
                raise error
            for request in batch:
                if not request.done.is_set():
                    number = request.prompt[0] + len(request.ids)
                    stops = number in request.prompt[1:]
                    request.take(STOP if stops else number, stops=stops, ends=lambda ids: False)
            if leaves_off():
                return

    def free(self) -> None:
        self.frees += 1


@pytest.fixture
def counter():
    return Counter()


@pytest.fixture
def batcher(counter):
    made = Batcher(counter, most_rows=4, most_tokens=10_000)
    yield made
    counter.goes_on.set()
    made.close()
    made.join(WAIT)
    assert not [thread for thread in threading.enumerate() if thread.name == "chimed-generation"]


def ask(*prompt, most=5, **options):
    settings = Generation(seconds=options.pop("seconds", None))
    return Request(prompt, settings, most, **options)


def all_done(*requests):
    assert all(request.done.wait(WAIT) for request in requests)


def test_replies_end_by_themselves_or_at_their_limit(batcher):
    stops, runs_on = ask(10, 13), ask(20, most=3)
    batcher.submit([stops, runs_on])
    all_done(stops, runs_on)
    assert (stops.ids, stops.finish) == ([10, 11, 12, STOP], "stop")
    assert (runs_on.ids, runs_on.finish) == ([20, 21, 22], "length")


def test_a_listener_hears_each_token_but_the_one_that_stops(batcher):
    request = ask(10, 13, listens=True)
    batcher.submit([request])
    assert request.heard.get(timeout=WAIT) == [10]  # the first at once
    assert heard(request) == [11, 12]


def heard(request):
    """What else is heard, to the end."""
    tokens = []
    while (more := request.heard.get(timeout=WAIT)) is not None:
        tokens += more
    return tokens


def test_what_waits_goes_together_in_the_order_it_came(batcher, counter):
    counter.goes_on.clear()
    first = ask(0)
    batcher.submit([first])
    assert counter.has_begun.wait(WAIT)
    others = [ask(100 * number) for number in range(1, 7)]
    for request in others:
        batcher.submit([request])
    counter.goes_on.set()
    all_done(first, *others)
    assert counter.batches == [[0], [100, 200, 300, 400], [500, 600]]


def test_a_batch_is_bounded_by_tokens_with_padding(counter):
    batcher = Batcher(counter, most_rows=10, most_tokens=60)
    requests = [ask(number, *[-9] * (size - 6)) for number, size in enumerate((10, 20, 30, 100, 10), 1)]
    batcher.submit(requests)
    all_done(*requests)
    batcher.close()
    batcher.join(WAIT)
    # 2 x 20 and then 3 x 30 > 60; 30, and 2 x 100 > 60; the one of 100 tokens alone, though it is larger
    assert counter.batches == [[1, 2], [3], [4], [5]]


def test_cancelling_one_leaves_the_others(batcher, counter):
    counter.goes_on.clear()
    cancel = Event()
    unwanted, wanted = ask(10, most=50, cancel=cancel), ask(20, most=4)
    batcher.submit([unwanted, wanted])
    assert counter.has_begun.wait(WAIT)
    cancel.set()
    counter.goes_on.set()
    all_done(unwanted, wanted)
    assert (unwanted.ids, unwanted.finish) == ([10], "cancelled")
    assert (wanted.ids, wanted.finish) == ([20, 21, 22, 23], "length")


def test_who_waits_and_is_cancelled_need_not_wait_for_the_batch(batcher, counter):
    cancel, seen = Event(), []
    long = ask(0, most=10**6)
    batcher.submit([long])
    assert counter.has_begun.wait(WAIT)
    late = [ask(7, cancel=cancel, most=10**6), *[ask(8, cancel=cancel, most=10**6) for _ in range(9)]]
    cancel.set()
    batcher.submit(late)
    all_done(*late)
    seen.append(long.done.is_set())
    long.abandon()
    all_done(long)
    assert seen == [False]
    assert {request.finish for request in late} == {"cancelled"}
    assert all(request.ids == [] for request in late)


def test_cancelled_before_it_began_writes_nothing(batcher, counter):
    request = ask(1)
    request.abandon()
    batcher.submit([request])
    all_done(request)
    assert (request.finish, request.ids, counter.batches) == ("cancelled", [], [])


def test_time_counts_from_the_beginning_of_the_writing(batcher, counter):
    counter.goes_on.clear()
    first = ask(0)
    batcher.submit([first])
    assert counter.has_begun.wait(WAIT)
    waiting, slow = ask(50, most=2, seconds=1.0), ask(60, most=10**7, seconds=0.1)
    batcher.submit([waiting, slow])
    time.sleep(1.05)
    counter.goes_on.set()
    all_done(waiting, slow)
    assert (waiting.finish, waiting.ids) == ("length", [50, 51])
    assert slow.finish == "time"
    assert slow.ids == list(range(60, 60 + len(slow.ids)))


def test_those_who_wait_join_a_batch_that_they_at_least_double(batcher, counter):
    counter.goes_on.clear()
    long = ask(0, most=3 * PATIENCE)
    batcher.submit([long])
    assert counter.has_begun.wait(WAIT)
    short = ask(1000, most=2)
    batcher.submit([short])
    counter.goes_on.set()
    all_done(long, short)
    assert counter.batches == [[0], [0, 1000]]
    assert long.ids == list(range(3 * PATIENCE))  # goes on where it was
    assert short.ids == [1000, 1001]


def test_one_that_waits_does_not_make_three_begin_again(batcher, counter):
    counter.goes_on.clear()
    three = [ask(100 * number, most=3 * PATIENCE) for number in range(3)]
    batcher.submit(three)
    assert counter.has_begun.wait(WAIT)
    late = ask(1000)
    batcher.submit([late])
    counter.goes_on.set()
    all_done(late, *three)
    assert counter.batches == [[0, 100, 200], [1000]]


def test_a_failure_fails_its_batch_and_no_other(batcher, counter):
    counter.goes_on.clear()
    counter.trouble = lambda batch: ValueError("a bad day") if any(r.prompt[0] == 13 for r in batch) else None
    first = ask(0)
    batcher.submit([first])
    assert counter.has_begun.wait(WAIT)
    bad = [ask(13, listens=True), ask(14), ask(15), ask(16)]
    good = [ask(17), ask(18)]
    batcher.submit([*bad, *good])
    counter.goes_on.set()
    all_done(first, *bad, *good)
    assert first.error is None
    for request in bad:
        assert isinstance(request.error, GeneratorError)
        assert "failed while it wrote: a bad day" in str(request.error)
    assert len({id(request.error) for request in bad}) == 4  # each caller raises its own
    assert heard(bad[0]) == []
    assert [request.ids[0] for request in good] == [17, 18]
    again = ask(1)
    batcher.submit([again])
    all_done(again)
    assert again.finish == "length"


class OutOfMemoryError(RuntimeError):
    """As torch names it."""


def test_without_memory_half_as_many_go_on_where_they_were(batcher, counter, caplog):
    counter.trouble = lambda batch: (
        OutOfMemoryError("CUDA out of memory") if len(batch) > 1 and len(batch[0].ids) >= 2 else None
    )
    requests = [ask(10 * number, listens=True) for number in range(4)]
    with caplog.at_level(logging.WARNING):
        batcher.submit(requests)
        all_done(*requests)
    for number, request in enumerate(requests):
        assert request.ids == list(range(10 * number, 10 * number + 5))
        assert heard(request) == request.ids  # nothing twice
    assert counter.batches[:2] == [[0, 10, 20, 30], [0, 10]]
    assert counter.frees > 0
    assert "no memory for 4 replies at once; going on with 2" in caplog.text


def test_one_reply_without_memory_is_an_error_that_says_how_large_it_was(batcher, counter):
    counter.trouble = lambda batch: MemoryError() if batch[0].prompt[0] == 9 else None
    request, next_one = ask(9, 8, 7, most=50), ask(1)
    batcher.submit([request])
    batcher.submit([next_one])
    all_done(request, next_one)
    assert "a prompt of 3 tokens and a reply of 50" in str(request.error)
    assert next_one.finish == "length"


def test_a_writer_that_writes_nothing_is_an_error(batcher, counter):
    counter.decode = lambda batch, leaves_off: None
    request = ask(1)
    batcher.submit([request])
    all_done(request)
    assert "wrote nothing" in str(request.error)


def test_closing_ends_what_is_written_and_fails_what_waits(batcher, counter):
    counter.goes_on.clear()
    running = ask(0, most=10**6)
    batcher.submit([running])
    assert counter.has_begun.wait(WAIT)
    waiting = ask(1)
    batcher.submit([waiting])
    batcher.close()
    counter.goes_on.set()
    all_done(running, waiting)
    assert running.finish == "cancelled"
    assert "was closed before it wrote this" in str(waiting.error)
    with pytest.raises(GeneratorError, match="was closed; load it again"):
        batcher.submit([ask(2)])
    batcher.close()  # twice is no mistake


def test_what_was_answered_is_held_no_longer(batcher):
    request = ask(1)
    batcher.submit([request])
    all_done(request)
    deadline = time.monotonic() + WAIT
    while batcher._running and time.monotonic() < deadline:
        time.sleep(0.01)
    gc.collect()
    assert not [one for one in gc.get_referrers(request) if isinstance(one, list | tuple)]


def test_many_threads_get_their_own_replies(batcher):
    wrong = []

    def work(number: int) -> None:
        for turn in range(20):
            start = 1_000_000 * number + 1_000 * turn
            request = ask(start, most=1 + (number + turn) % 7)
            batcher.submit([request])
            all_done(request)
            if request.ids != list(range(start, start + request.most)):
                wrong.append((number, turn, request.ids))

    threads = [Thread(target=work, args=(number,)) for number in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert not wrong
