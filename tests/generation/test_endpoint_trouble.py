"""A server that is busy, refuses, breaks off or stalls: what is asked again, and what is an error."""

from __future__ import annotations

import time

import pytest

from chimed_rag.config import Generation
from chimed_rag.errors import GeneratorError
from chimed_rag.generation import refusals
from chimed_rag.generation.language_model import Completion
from tests.contracts.generator_contract import TEXTS, passages
from tests.servers import (
    ASKED,
    answers,
    data,
    event,
    hangs_up,
    says,
    sends,
    stalls,
)

KEY = "sk-secret-4711"


# -- other attempts -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trouble", [answers(429), answers(500), answers(502), answers(503), answers(504), hangs_up])
def test_trouble_that_passes_is_waited_for(make, server, trouble):
    server.script = [trouble, trouble, says("好")]
    assert make().complete(ASKED).text == "好"
    assert len(server.replies) == 3


def test_trouble_that_stays_is_an_error_after_so_many_attempts(make, server):
    server.script = [answers(500)]
    with pytest.raises(GeneratorError, match=r"answers 500: scripted 500 \(attempts: 3\)"):
        make(attempts=3).complete(ASKED)
    assert len(server.replies) == 3


def test_a_server_that_is_not_there_is_named(make, server):
    with pytest.raises(GeneratorError, match=r"127.0.0.1:9/v1/models does not answer .*vllm serve.*attempts: 2"):
        make("http://127.0.0.1:9/v1", attempts=2).complete(ASKED)


def test_retry_after_is_heeded_within_reason(make, server, monkeypatch):
    monkeypatch.setattr(refusals, "LONGEST_WAIT", 0.3)
    server.script = [answers(429, Retry_After="3600"), says("好")]
    began = time.monotonic()
    assert make().complete(ASKED).text == "好"
    assert 0.3 <= time.monotonic() - began < 2


def test_retry_after_may_be_a_date():
    assert refusals._seconds("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert refusals._seconds("Wed, 21 Oct 2099 07:28:00 GMT") == refusals._seconds("99") == refusals.LONGEST_WAIT
    assert refusals._seconds("7") == 7 and refusals._seconds("soon") == refusals._seconds("") == 0


@pytest.mark.parametrize(
    ("status", "said"),
    [(401, "CHIMED_API_KEY holds no key"), (403, "CHIMED_API_KEY"), (404, "scripted 404"), (418, "scripted 418")],
)
def test_a_refusal_is_asked_once(make, server, status, said):
    server.script = [answers(status)]
    with pytest.raises(GeneratorError, match=f"answers {status}: .*{said}"):
        make().complete(ASKED)
    assert len(server.replies) == 1


def test_a_bad_request_is_asked_once_more_without_what_may_be_unknown(make, server):
    server.script = [answers(400, {"detail": "temperature"})]
    with pytest.raises(GeneratorError, match="answers 400: temperature"):
        make().complete(ASKED)
    assert ["stream_options" in asked.body for asked in server.replies] == [True, False]


def test_a_server_that_does_not_stream_is_told_so(make, server):
    server.script = [answers(200, {"choices": []}, Content_Type="application/json")]
    with pytest.raises(GeneratorError, match="answers with 'application/json', not with an event stream"):
        make().complete(ASKED)


def test_a_wrong_model_is_told_the_right_ones(make, server):
    server.script = [answers(404, {"error": {"message": "The model `big` does not exist."}})]
    with pytest.raises(GeneratorError, match="no model 'big', but tiny"):
        make(model="big").complete(ASKED)


# -- replies that break off -----------------------------------------------------------------------------------------

MANGLED = {
    "cut": (sends(event("多喝"), cut=True), "broke off"),
    "ended": (sends(event("多喝")), "broke off before its end"),
    "stall": (stalls("多喝"), "sent nothing for 0.2 s"),
    "no json": (sends(event("多喝"), data(b'{"choices": [')), "an event that is no JSON"),
    "no object": (sends(event("多喝"), data([1])), "no JSON object"),
    "other": (sends(event("多喝"), data({"choices": [{"delta": "水"}]})), "not of OpenAI's protocol"),
    "odd": (sends(event("多喝"), data({"choices": [{"finish_reason": ["stop"]}]})), "not of OpenAI's protocol"),
    "deep": (sends(event("多喝"), data(b"[" * 100_000)), "no JSON"),
    "utf-8": (sends(event("多喝") + b'data: {"choices": [{"delta": {"content": "\xff\xfe"}}]}\n\n'), "not UTF-8"),
    "half a character": (sends(event("多喝"), "水".encode()[:2]), "not UTF-8"),
    "error": (sends(event("多喝"), data({"error": {"message": "out of memory"}})), "error: out of memory"),
    "error text": (sends(event("多喝"), data({"error": "out of memory"})), "error: out of memory"),
    "error event": (sends(event("多喝"), b'event: error\ndata: {"message": "oom"}\n\n'), "error: oom"),
    "filter": (sends(event("多喝"), event(finish="content_filter")), "reason 'content_filter'"),
}


@pytest.mark.parametrize("kind", MANGLED)
def test_what_came_before_the_trouble_was_given(make, server, kind):
    behaviour, said = MANGLED[kind]
    server.script = [behaviour]
    stream = make(stall_seconds=0.2).stream(ASKED)
    assert next(stream) == "多喝"
    with pytest.raises(GeneratorError, match=f"{said}.*after 2 characters"):
        next(stream)
    assert len(server.replies) == 1  # no other attempt once a reply has begun


def test_silence_before_a_reply_is_a_stall_too(make, server):
    server.script = [stalls(begin=False)]
    with pytest.raises(GeneratorError, match=r"sent nothing for 0\.2 s"):
        make(stall_seconds=0.2).complete(ASKED)
    assert len(server.replies) == 1


def test_at_its_time_a_reply_ends_with_what_came(make, server):
    server.script = [stalls("多喝")]
    model = make(settings=Generation(seconds=0.2))
    assert model.complete(ASKED) == Completion("多喝", "time")
    assert server.gone.wait(2)
    assert model.generate("发烧怎么办？", passages(*TEXTS)).finish == "time"
