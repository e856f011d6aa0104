"""How probable options are, as a server tells it: the first token's most probable values."""

from __future__ import annotations

import math
from threading import Event

import pytest

from chimed_rag.errors import GeneratorError
from chimed_rag.generation.language_model import NoProbabilitiesError
from tests.servers import ASKED, answers, user

LETTERS = ["A", "B", "C"]
TOP = {"A": -0.5, " A": -3.0, "B": -1.5, "答案": -2.0, "AB": -4.0}


def chat(top):
    rows = [{"token": token, "logprob": value, "bytes": None} for token, value in top.items()]
    first = {"token": "A", "logprob": -0.5, "top_logprobs": rows}
    return answers(200, {"choices": [{"index": 0, "message": {"content": "A"}, "logprobs": {"content": [first]}}]})


def completions(top):
    return answers(200, {"choices": [{"index": 0, "text": "A", "logprobs": {"tokens": ["A"], "top_logprobs": [top]}}]})


def test_letters_among_the_top_tokens_have_theirs_and_others_none(server, make):
    server.script = [chat(TOP)]
    [found] = make().option_logprobs([ASKED], [LETTERS])
    assert found == {"A": pytest.approx(math.log(math.exp(-0.5) + math.exp(-3.0))), "B": -1.5}
    [asked] = server.replies
    assert asked.path == "/v1/chat/completions"
    told = {key: asked.body[key] for key in ("max_tokens", "logprobs", "top_logprobs", "temperature")}
    assert told == {"max_tokens": 1, "logprobs": True, "top_logprobs": 20, "temperature": 0.0}
    assert "stream" not in asked.body


def test_the_native_form_goes_as_text(server, make):
    server.script = [completions(TOP)]
    [found] = make(api="completions").option_logprobs([ASKED], [["B"]])
    assert found == {"B": -1.5}
    [asked] = server.replies
    assert asked.path == "/v1/completions"
    assert asked.body["logprobs"] == 20
    assert asked.body["prompt"].endswith("\n[bot]:")


def test_a_continuation_is_sent_without_template_and_without_blanks_at_its_end(server, make):
    server.script = [completions({" A": -0.1})]
    assert make().continuation_logprobs(["题目：甲\n答案： "], [LETTERS]) == [{"A": -0.1}]
    assert server.replies[0].body["prompt"] == "题目：甲\n答案："


def test_the_form_of_llama_cpp_is_read_on_both_paths(server, make):
    server.script = [chat({"B": -0.7})]
    assert make().continuation_logprobs(["答案："], [LETTERS]) == [{"B": -0.7}]


@pytest.mark.parametrize(
    "behaviour",
    [
        answers(400),
        answers(501),
        answers(200, {"choices": [{"index": 0, "message": {"content": "A"}, "logprobs": None}]}),
        answers(200, {"choices": []}),
        answers(200, ["?"]),
        chat({}),
    ],
    ids=["refused", "not implemented", "null", "no choice", "no object", "none told"],
)
def test_a_server_that_tells_none_is_an_error_of_its_own_kind(server, make, behaviour):
    server.script = [behaviour]
    [found] = make().option_logprobs([ASKED], [LETTERS])
    assert isinstance(found, NoProbabilitiesError)


def test_trouble_is_an_error_for_its_question_alone(server, make):
    server.script = [answers(403), chat(TOP)]
    found = make(concurrency=1).option_logprobs([ASKED, user("血压？")], [LETTERS, LETTERS])
    kinds = [type(one) for one in found]
    assert kinds.count(dict) == 1
    [error] = [one for one in found if isinstance(one, GeneratorError)]
    assert not isinstance(error, NoProbabilitiesError)
    assert "403" in str(error)


def test_a_cancelled_call_leaves_errors(server, make):
    stop = Event()
    stop.set()
    [found] = make().option_logprobs([ASKED], [LETTERS], cancel=stop)
    assert isinstance(found, GeneratorError)


def test_values_that_are_no_numbers_are_left_out(server, make):
    server.script = [chat({"A": -0.5, "B": float("-inf")})]
    assert make().option_logprobs([ASKED], [LETTERS]) == [{"A": -0.5}]
