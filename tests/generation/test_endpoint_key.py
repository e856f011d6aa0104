"""The key of a server goes there and nowhere else; nor does a question; and which addresses can be used."""

from __future__ import annotations

import logging
import traceback

import pytest

from chimed_rag.errors import GeneratorError, InputError
from chimed_rag.generation.endpoint import EndpointGenerator
from tests.servers import (
    ASKED,
    ScriptedServer,
    answers,
    data,
    event,
    hangs_up,
    says,
    sends,
)

KEY = "sk-secret-4711"


def test_the_key_goes_to_the_server_and_nowhere_else(make, server, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    repeats = answers(500, lambda asked: {"error": f"no: {asked.headers['authorization']}"})
    refuses = answers(401, lambda asked: {"error": {"message": f"bad key {asked.headers['authorization']}"}})
    mangles = sends(data({"error": f"what is {KEY}"}))
    server.script = [says("好"), refuses, repeats, mangles, hangs_up, sends(event("多喝"), cut=True)]
    monkeypatch.setenv("WARD_KEY", KEY)
    model = make(api_key_env="WARD_KEY", attempts=1)
    assert model.complete(ASKED).text == "好"
    assert server.replies[0].headers["authorization"] == f"Bearer {KEY}"
    seen = [repr(model), str(model.describe()), str(vars(model)), str(vars(model._wire))]
    refused, repeated, mangled = "WARD_KEY holds a key that", r"answers 500: no: Bearer \*\*\*", r"what is \*\*\*"
    for said in (refused, repeated, mangled, "does not answer", "broke off"):
        with pytest.raises(GeneratorError, match=said) as caught:
            model.complete(ASKED)
        assert caught.value.__context__ is None and caught.value.__cause__ is None
        seen.append("".join(traceback.format_exception(caught.value)))
    assert "httpcore" in caplog.text and KEY not in caplog.text
    assert not [text for text in seen if KEY in text]


def test_nothing_is_logged_of_a_question(make, server, caplog):
    caplog.set_level(logging.INFO)
    make().complete(ASKED)
    assert "发烧" not in caplog.text


def test_a_key_is_read_for_each_request(make, server, monkeypatch):
    model = make()
    for key in ("", "first", " second\n"):
        monkeypatch.setenv("CHIMED_API_KEY", key)
        model.complete(ASKED)
    sent = [asked.headers.get("authorization") for asked in server.replies]
    assert sent == [None, "Bearer first", "Bearer second"]


@pytest.mark.parametrize("key", ["sk-\nsecret-4711", "sk-秘密-4711"])
def test_a_key_that_no_header_can_carry_is_not_repeated(make, server, monkeypatch, key):
    monkeypatch.setenv("CHIMED_API_KEY", key)
    with pytest.raises(GeneratorError, match="CHIMED_API_KEY holds what no header can carry") as caught:
        make().complete(ASKED)
    assert "4711" not in "".join(traceback.format_exception(caught.value)) and not server.asked


def test_a_redirect_does_not_take_the_key_along(make, server, monkeypatch):
    monkeypatch.setenv("CHIMED_API_KEY", KEY)
    with ScriptedServer() as other:
        server.script = [answers(307, Location=other.url + "/chat/completions")]
        with pytest.raises(GeneratorError, match="answers 307: it redirects"):
            make().complete(ASKED)
        assert not other.asked


@pytest.mark.parametrize(
    "url",
    ["ftp://llm/v1", "llm:8000", "http://", "http://u:sk-secret-4711@llm/v1", "http://llm/v1?key=sk-secret-4711", ""],
)
def test_an_address_that_cannot_be_used_is_an_input_error(url):
    with pytest.raises(InputError, match="address of") as caught:
        EndpointGenerator(url)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("wrong", [{"api": "grpc"}, {"concurrency": 0}, {"attempts": 0}, {"stall_seconds": 0}])
def test_arguments_out_of_range_are_input_errors(wrong):
    with pytest.raises(InputError):
        EndpointGenerator("http://llm/v1", **wrong)
