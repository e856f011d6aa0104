"""Giving up a reply of a server, and many of them at once."""

from __future__ import annotations

import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from chimed_rag.errors import GeneratorError
from chimed_rag.generation.endpoint import EndpointGenerator
from chimed_rag.generation.language_model import Completion
from tests.contracts.generator_contract import TEXTS, passages
from tests.servers import ASKED, answers, echoes, says, stalls, user, whole


def test_closing_the_stream_closes_the_connection(make, server):
    server.script = [stalls("多")]
    stream = make().stream(ASKED)
    assert next(stream) == "多"
    assert not server.gone.is_set()
    stream.close()
    assert server.gone.wait(1)


@pytest.mark.parametrize("begin", [True, False])
def test_cancelling_closes_the_connection(make, server, begin):
    server.script = [stalls("多" if begin else "", begin=begin)]
    cancel = threading.Event()
    stream = make().stream(ASKED, cancel=cancel)
    threading.Timer(0.2, cancel.set).start()
    *pieces, end = whole(stream)
    assert "".join(pieces) == end.text == ("多" if begin else "") and end.finish == "cancelled"
    assert server.gone.wait(1)


def test_cancelling_the_sentences_does_too(make, server):
    server.script = [stalls("多喝水。[1]\n", "注意休息。[2]\n", "再")]
    cancel = threading.Event()
    sentences = make().write("发烧怎么办？", passages(*TEXTS), cancel=cancel)
    threading.Timer(0.2, cancel.set).start()
    *said, draft = whole(sentences)
    assert draft.finish == "cancelled" and list(draft.sentences) == said
    assert server.gone.wait(1)


def test_cancelling_one_leaves_the_others(make, server):
    server.script = [says("多", "喝", "水", seconds=0.15)]
    model, cancel = make(), threading.Event()
    with ThreadPoolExecutor(2) as threads:
        one = threads.submit(model.complete, ASKED, cancel=cancel)
        other = threads.submit(model.complete, ASKED)
        time.sleep(0.1)
        cancel.set()
        assert one.result().finish == "cancelled"
        assert other.result().text == "多喝水"


def test_cancelling_many_keeps_what_is_done(make, server):
    def behave(handler, asked):
        text = asked.body["messages"][-1]["content"]
        (stalls("半") if text == "慢" else says(text))(handler, asked)

    server.script = [behave]
    cancel = threading.Event()
    threading.Timer(0.3, cancel.set).start()
    done = make().complete_many([user("快"), user("慢")], cancel=cancel)
    assert done == [Completion("快", "stop", 7, 3), Completion("半", "cancelled")]
    assert server.gone.wait(1)


def test_many_keep_their_order_and_one_that_fails_leaves_the_others(make, server):
    def behave(handler, asked):
        text = asked.body["messages"][-1]["content"]
        (answers(403) if text == "3" else says(text, seconds=0.02 * (9 - int(text))))(handler, asked)

    server.script = [behave]
    done = make(concurrency=4).complete_many([user(str(number)) for number in range(9)])
    assert [one.text for one in done if isinstance(one, Completion)] == list("01245678")
    assert isinstance(done[3], GeneratorError) and "403" in str(done[3])
    assert make().complete_many([]) == []


def test_at_most_so_many_at_once_over_all_threads(make, server):
    server.script = [echoes(seconds=0.05)]
    model = make(concurrency=3)
    with ThreadPoolExecutor(6) as threads:
        batches = [[user(f"{batch}-{place}") for place in range(4)] for batch in range(6)]
        done = list(threads.map(model.complete_many, batches))
    assert [[one.text for one in batch] for batch in done] == [[f"{b}-{p}" for p in range(4)] for b in range(6)]
    assert server.most_at_once == 3


def test_200_at_once_are_neither_lost_nor_mixed(make, server):
    server.script = [echoes()]
    model = make()
    with ThreadPoolExecutor(32) as threads:
        said = list(threads.map(lambda number: model.complete(user(f"问{number}")).text, range(200)))
    assert said == [f"问{number}" for number in range(200)]


def test_closing_breaks_off_what_is_written_and_ends_the_thread(make, server):
    server.script = [stalls("多")]
    model = make()
    stream = model.stream(ASKED)
    next(stream)
    model.close()
    with pytest.raises(GeneratorError, match="closed"):
        next(stream)
    with pytest.raises(GeneratorError, match="closed"):
        model.complete(ASKED)
    assert server.gone.wait(1)
    assert not _threads()
    model.close()


def test_the_thread_ends_with_the_last_reference(server):
    model = EndpointGenerator(server.url)
    model.complete(ASKED)
    assert len(_threads()) == 1
    del model
    gc.collect()
    for thread in _threads():
        thread.join(2)
    assert not _threads()


def _threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "chimed-endpoint"]
