"""A model behind a server: what is asked, what is read, and what happens when the server misbehaves."""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import ssl
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import chimed_rag
from chimed_rag.config import Generation
from chimed_rag.errors import GeneratorError, InputError
from chimed_rag.generation import refusals, wire
from chimed_rag.generation.endpoint import EndpointGenerator
from chimed_rag.generation.language_model import Completion
from chimed_rag.generation.refusals import TooLongError
from chimed_rag.generation.reply import WithoutThoughts
from chimed_rag.generation.served import Served, estimate_tokens
from tests.contracts.generator_contract import TEXTS, GeneratorContract, passages
from tests.servers import (
    ScriptedServer,
    answers,
    data,
    echoes,
    event,
    hangs_up,
    lists,
    says,
    sends,
    stalls,
)

ASKED = [{"role": "user", "content": "发烧怎么办？"}]
KEY = "sk-secret-4711"
STARTER = Path(chimed_rag.__file__).parent / "corpus" / "starter"


_SSL_CONTEXT = functools.cache(ssl.create_default_context)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Short pauses between attempts, and certificates that are read once for all clients."""
    monkeypatch.setattr(ssl, "create_default_context", _SSL_CONTEXT)
    monkeypatch.setattr(wire, "_BACKOFF", lambda state: 0.01)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "CHIMED_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as one:
        yield one


@pytest.fixture
def make(server):
    made = []

    def maker(url: str = "", **arguments) -> EndpointGenerator:
        made.append(EndpointGenerator(url or server.url, **arguments))
        return made[-1]

    yield maker
    for one in made:
        one.close()


class TestContract(GeneratorContract):
    @pytest.fixture(autouse=True)
    def _served(self, server, make):
        server.script = [says("布洛芬用于退热。", "[1]\n多饮水", "。[2]")]
        self.make = make

    def make(self): ...


# -- what is asked and what is read ---------------------------------------------------------------------------------


def test_making_one_asks_the_server_nothing(make, server):
    make()
    assert server.asked == []
    assert make("http://nowhere.invalid:1/v1").name == "endpoint:nowhere.invalid:1/v1"


def test_a_reply_comes_in_pieces_that_make_the_whole(make, server):
    server.script = [says("多", "喝水", "。")]
    model = make()
    stream = model.stream(ASKED)
    assert [next(stream) for _ in range(3)] == ["多", "喝水", "。"]
    with pytest.raises(StopIteration) as end:
        next(stream)
    assert end.value.value == model.complete(ASKED) == Completion("多喝水。", "stop", 7, 3)
    assert model.name == "endpoint:tiny"


@pytest.mark.parametrize(
    ("settings", "body"),
    [
        (Generation(), {"max_tokens": 512, "temperature": 0.0}),
        (
            Generation(temperature=0.7, top_p=0.8, seed=5, max_new_tokens=9, repetition_penalty=1.1),
            {"max_tokens": 9, "temperature": 0.7, "top_p": 0.8, "seed": 5, "repetition_penalty": 1.1},
        ),
    ],
)
def test_settings_reach_the_server(make, server, settings, body):
    make(settings=settings).complete(ASKED)
    streamed = {"model": "tiny", "stream": True, "stream_options": {"include_usage": True}}
    assert server.replies[0].body == {**streamed, "messages": ASKED, **body}


def test_each_conversation_may_have_settings_of_its_own(make, server):
    seeds = [Generation(temperature=1.0, seed=seed) for seed in (1, 2, 3)]
    make().complete_many([ASKED] * 3, settings=seeds)
    assert sorted(one.body["seed"] for one in server.replies) == [1, 2, 3]
    with pytest.raises(InputError, match="3 conversations, and settings for 1"):
        make().complete_many([ASKED] * 3, settings=seeds[:1])


def test_chimed_gpts_own_form_goes_as_text(make, server):
    server.script = [says("多喝水。")]
    said = make(api="completions").complete([{"role": "system", "content": "简短。"}, *ASKED])
    [asked] = server.replies
    assert said.text == "多喝水。" and asked.path == "/v1/completions"
    assert asked.body["prompt"] == "[human]:简短。\n发烧怎么办？\n[bot]:"
    assert asked.body["stop"] == ["</s>", "[human]:"] and "messages" not in asked.body


def test_texts_from_outside_open_no_turn(make, server):
    make().complete([{"role": "user", "content": "a<|im_end|>b</s>c[human]:d[INST]e<start_of_turn>f\ud800 x<5 [1]"}])
    assert server.replies[0].body["messages"][0]["content"] == (
        "a＜|im_end|>b＜/s>c［human]:d［INST]e＜start_of_turn>f? x<5 [1]"
    )


def test_a_reply_that_is_cut_at_its_limit_says_so(make, server):
    server.script = [says("多", finish="length")]
    assert make().complete(ASKED).finish == "length"


def test_an_empty_reply_is_no_error(make, server):
    server.script = [says()]
    assert make().complete(ASKED) == Completion("", "stop", 7, 3)
    assert make().generate("发烧怎么办？", passages(*TEXTS)).sentences == ()


def test_an_end_without_a_reason_and_a_reason_without_an_end_both_do(make, server):
    server.script = [sends(event("好"), data(b"[DONE]")), sends(event("好"), event(finish="stop"), cut=True)]
    assert [make().complete(ASKED) for _ in range(2)] == [Completion("好"), Completion("好")]


def test_a_comment_keeps_the_connection_and_is_no_text(make, server):
    server.script = [sends(b": keep-alive\n\n", event("好"), b":\n\n", event(finish="stop"))]
    assert make().complete(ASKED).text == "好"


@pytest.mark.parametrize("thought", ["嗯", "", "a</b>\n\n"])
@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_thoughts_are_left_out_however_they_are_cut(thought, size):
    def read(text):
        reader = WithoutThoughts()
        pieces = [reader.feed(text[place : place + size]) for place in range(0, len(text), size)]
        return "".join(pieces) + reader.rest()

    assert read(f"\n<think>{thought}</think>\n\n多喝水。<think>") == "多喝水。<think>"
    assert read("<thinking>好") == "<thinking>好"
    assert read("<think>没有说完") == "" and read("<thi") == "<thi"


def test_reasoning_content_is_ignored(make, server):
    thinking = data({"choices": [{"delta": {"reasoning_content": "嗯", "content": None}}]})
    server.script = [sends(thinking, event("<think>嗯"), event("</think>好"), event(finish="stop"))]
    assert make().complete(ASKED).text == "好"


def test_half_a_surrogate_pair_does_not_get_through(make, server):
    server.script = [sends(data(b'{"choices": [{"delta": {"content": "a\\ud800b"}, "finish_reason": "stop"}]}'))]
    assert make().complete(ASKED).text == "a?b"


def test_a_server_that_knows_no_stream_options_is_asked_without(make, server):
    server.script = [answers(400), says("好"), says("好")]
    model = make()
    assert [model.complete(ASKED).text for _ in range(2)] == ["好", "好"]
    assert ["stream_options" in asked.body for asked in server.replies] == [True, False, False]


# -- models, contexts, counts ---------------------------------------------------------------------------------------


def test_the_only_model_is_found_once_also_by_many_threads(make, server):
    model = make()
    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(lambda _: model.model, range(32))) == {"tiny"}
    assert len(server.asked) == 1


@pytest.mark.parametrize(("names", "said"), [(("a", "b"), "several models.*: a, b"), ((), "no model")])
def test_no_model_or_several_is_an_error(make, server, names, said):
    server.pages["GET /v1/models"] = lists(*names)
    with pytest.raises(GeneratorError, match=said):
        make().complete(ASKED)
    assert not server.replies


@pytest.mark.parametrize(
    ("page", "settings", "context"),
    [
        (lists("tiny", max_model_len=8192), None, 8192),
        (lists("tiny", meta={"n_ctx": 2048, "n_ctx_train": 32768}), None, 2048),
        (lists("tiny"), None, 4096),
        (lists("other", max_model_len=8192), None, 4096),
        (answers(404), None, 4096),
        (lists("tiny", max_model_len=8192), Generation(context_tokens=1000), 1000),
    ],
)
def test_the_context_is_what_settings_or_server_say(make, server, page, settings, context):
    server.pages["GET /v1/models"] = page
    model = make(model="tiny", settings=settings)
    assert model.context_tokens == model.context_tokens == context
    assert len(server.asked) == (settings is None)


def test_vllm_counts(make, server):
    server.pages["POST /tokenize"] = answers(200, {"count": 123, "max_model_len": 4096, "tokens": []})
    model = make()
    assert model.count_tokens(ASKED) == model.count_tokens(ASKED) == 123
    counted = [asked for asked in server.asked if asked.path == "/tokenize"]
    assert [asked.body for asked in counted] == [
        {"model": "tiny", "messages": ASKED, "add_generation_prompt": True}
    ] * 2


def test_llama_cpp_counts(make, server):
    server.pages["POST /apply-template"] = answers(200, lambda asked: {"prompt": asked.body["messages"][0]["content"]})
    server.pages["POST /tokenize"] = answers(200, lambda asked: {"tokens": list(asked.body.get("content", ""))})
    model = make()
    assert model.count_tokens(ASKED) == model.count_tokens(ASKED) == len("发烧怎么办？")
    paths = [asked.path for asked in server.asked]
    assert paths == ["/v1/models", "/tokenize", *["/apply-template", "/tokenize"] * 2]


def test_elsewhere_it_is_estimated_and_the_server_asked_once(make, server):
    model = make()
    # 6 characters at 1.5, 4 digits and signs, 2 letters at a half; a message 8, a template 48
    assert [model.count_tokens([{"role": "user", "content": "发烧怎么办？38.5mg"}]) for _ in range(2)] == [70, 70]
    assert [asked.path for asked in server.asked] == ["/v1/models", "/tokenize"]


def test_an_estimate_is_above_the_count_of_a_vocabulary_that_knows_chinese():
    tokenizers = pytest.importorskip("tokenizers", reason="not installed (extra `models`)")
    texts = [path.read_text(encoding="utf-8") for path in sorted(STARTER.glob("*.md"))]
    tokenizer = tokenizers.ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(texts[::2], vocab_size=2000, show_progress=False)  # far smaller than real ones
    shares = [len(tokenizer.encode(text).ids) / estimate_tokens(_user(text)) for text in texts[1::2]]
    assert len(shares) > 100 and 0.3 < max(shares) < 1


def test_a_busy_server_may_count_the_next_time(make, server):
    model = make(attempts=1)
    server.pages["POST /tokenize"] = answers(503)
    assert model.count_tokens(ASKED) == 65
    server.pages["POST /tokenize"] = answers(200, {"count": 12})
    assert model.count_tokens(ASKED) == 12


def test_a_reply_gets_the_room_that_is_left(make, server):
    server.pages["POST /tokenize"] = answers(200, {"count": 290})
    long = [{"role": "user", "content": "烧" * 200}]
    make(settings=Generation(context_tokens=300)).complete(long)
    assert server.replies[-1].body["max_tokens"] == 10
    with pytest.raises(GeneratorError, match=r"290 tokens.*context of 280"):
        make(settings=Generation(context_tokens=280)).complete(long)
    del server.pages["POST /tokenize"]
    make(settings=Generation(context_tokens=300)).complete(long)  # an estimate of 356: the server decides
    assert server.replies[-1].body["max_tokens"] == 100


TOO_LONG = answers(400, {"error": {"message": "This model's maximum context length is 1024 tokens."}})


@pytest.mark.parametrize("way", ["generate", "write"])
def test_what_the_server_finds_too_long_is_asked_with_less_evidence(make, server, way):
    server.script = [TOO_LONG, says("多饮水。[1]")]
    model, evidence = make(), passages(*["发热时应多饮水。" * 60] * 6)
    if way == "generate":
        draft = model.generate("发烧怎么办？", evidence)
    else:
        *_, draft = _whole(model.write("发烧怎么办？", evidence))
    assert [sentence.text for sentence in draft.sentences] == ["多饮水。"]
    first, second = (len(asked.body["messages"][-1]["content"]) for asked in server.replies)
    assert second < 0.7 * first and model.context_tokens == 2048


def test_questions_that_are_too_long_together_halve_the_context_once(make, server):
    server.script = [TOO_LONG, TOO_LONG, TOO_LONG, says("多饮水。[1]")]
    model = make()
    drafts = model.generate_many([("发烧怎么办？", passages(*TEXTS))] * 3)
    assert [len(draft.sentences) for draft in drafts] == [1, 1, 1]
    assert model.context_tokens == 2048 and len(server.replies) == 6


def test_a_late_refusal_does_not_raise_the_context_again():
    served = Served(None, "tiny", 1024)
    contexts = []
    for believed in (4096, 1024, 4096):
        error = TooLongError("")
        error.context = believed
        served.halve_context(error)
        contexts.append(asyncio.run(served.context()))
    assert contexts == [1024, 512, 512]


def test_too_long_again_is_an_error_that_says_so(make, server):
    server.script = [TOO_LONG]
    with pytest.raises(GeneratorError, match=r"do not fit into the context.*1024 tokens"):
        make().generate("发烧怎么办？", passages(*TEXTS))
    assert len(server.replies) == 2


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


# -- giving up, many at once ----------------------------------------------------------------------------------------


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
    *pieces, end = _whole(stream)
    assert "".join(pieces) == end.text == ("多" if begin else "") and end.finish == "cancelled"
    assert server.gone.wait(1)


def test_cancelling_the_sentences_does_too(make, server):
    server.script = [stalls("多喝水。[1]\n", "注意休息。[2]\n", "再")]
    cancel = threading.Event()
    sentences = make().write("发烧怎么办？", passages(*TEXTS), cancel=cancel)
    threading.Timer(0.2, cancel.set).start()
    *said, draft = _whole(sentences)
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
    done = make().complete_many([_user("快"), _user("慢")], cancel=cancel)
    assert done == [Completion("快", "stop", 7, 3), Completion("半", "cancelled")]
    assert server.gone.wait(1)


def test_many_keep_their_order_and_one_that_fails_leaves_the_others(make, server):
    def behave(handler, asked):
        text = asked.body["messages"][-1]["content"]
        (answers(403) if text == "3" else says(text, seconds=0.02 * (9 - int(text))))(handler, asked)

    server.script = [behave]
    done = make(concurrency=4).complete_many([_user(str(number)) for number in range(9)])
    assert [one.text for one in done if isinstance(one, Completion)] == list("01245678")
    assert isinstance(done[3], GeneratorError) and "403" in str(done[3])
    assert make().complete_many([]) == []


def test_at_most_so_many_at_once_over_all_threads(make, server):
    server.script = [echoes(seconds=0.05)]
    model = make(concurrency=3)
    with ThreadPoolExecutor(6) as threads:
        batches = [[_user(f"{batch}-{place}") for place in range(4)] for batch in range(6)]
        done = list(threads.map(model.complete_many, batches))
    assert [[one.text for one in batch] for batch in done] == [[f"{b}-{p}" for p in range(4)] for b in range(6)]
    assert server.most_at_once == 3


def test_200_at_once_are_neither_lost_nor_mixed(make, server):
    server.script = [echoes()]
    model = make()
    with ThreadPoolExecutor(32) as threads:
        said = list(threads.map(lambda number: model.complete(_user(f"问{number}")).text, range(200)))
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


# -- the key, the address, the log ----------------------------------------------------------------------------------


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


def _user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def _whole(stream):
    """What a generator yields, and then what it returns."""
    while True:
        try:
            yield next(stream)
        except StopIteration as end:
            yield end.value
            return


def _threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "chimed-endpoint"]
