"""A model behind a server: what is asked, what is read, and what fits into its context."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import chimed_rag
from chimed_rag.config import Generation
from chimed_rag.errors import GeneratorError, InputError
from chimed_rag.generation.language_model import Completion
from chimed_rag.generation.refusals import TooLongError
from chimed_rag.generation.reply import WithoutThoughts
from chimed_rag.generation.served import Served, estimate_tokens
from tests.contracts.generator_contract import TEXTS, GeneratorContract, passages
from tests.servers import ASKED, answers, data, event, lists, says, sends, user, whole

STARTER = Path(chimed_rag.__file__).parent / "corpus" / "starter"


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


def test_a_reply_comes_in_pieces_that_make_thewhole(make, server):
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
    shares = [len(tokenizer.encode(text).ids) / estimate_tokens(user(text)) for text in texts[1::2]]
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
        *_, draft = whole(model.write("发烧怎么办？", evidence))
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
