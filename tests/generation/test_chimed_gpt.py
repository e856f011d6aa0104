"""ChiMed-GPT in this process, with tiny random models: the text of transformers' own `generate`, for many at once."""

from __future__ import annotations

import gc
import os
import random
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported
torch = pytest.importorskip("torch", reason="torch is not installed (extra `models`)")
pytest.importorskip("transformers", reason="transformers is not installed (extra `models`)")

from chimed_rag.config import Generation  # noqa: E402
from chimed_rag.errors import GeneratorError, InputError  # noqa: E402
from chimed_rag.generation.chimed_gpt import ChiMedGPT  # noqa: E402
from chimed_rag.generation.language_model import Completion  # noqa: E402
from tests.contracts.generator_contract import GeneratorContract, passages  # noqa: E402
from tests.tiny_writer import TEXT, make_writer  # noqa: E402

KINDS = ("llama", "qwen3")
SHORT = Generation(max_new_tokens=24, seconds=None)
DRAWN = Generation(max_new_tokens=16, temperature=0.9, top_p=0.95, seed=11, seconds=None)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("writers")
    return {kind: make_writer(root / f"tiny-{kind}", kind) for kind in KINDS}


@pytest.fixture(scope="module")
def models(folders):
    made = {kind: ChiMedGPT(folder, device="cpu", settings=SHORT) for kind, folder in folders.items()}
    yield made
    for model in made.values():
        model.close()


@pytest.fixture(scope="module", params=KINDS)
def model(models, request) -> ChiMedGPT:
    return models[request.param]


def said(text):
    return [{"role": "user", "content": text}]


def questions(count, seed=0):
    """Questions from one character to some hundred."""
    draw = random.Random(seed)
    return [said("".join(draw.choices(TEXT, k=int(1.35**number) + 1))) for number in range(count)]


def own_generate(model: ChiMedGPT, messages, count: int, **options: Any) -> list[int]:
    """What transformers writes by itself, for one prompt without padding."""
    ids = torch.tensor([model._render(messages)])
    network = model._batcher._decoder._model
    done = network.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=count, do_sample=False, **options)
    return done[0, ids.shape[1] :].tolist()


def text_of(model: ChiMedGPT, ids) -> str:
    return model._text._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def drain(pieces):
    given = []
    while True:
        try:
            given.append(next(pieces))
        except StopIteration as end:
            return given, end.value


class TestWriter(GeneratorContract):
    @pytest.fixture(autouse=True)
    def _model(self, models):
        self.model = models["llama"]

    def make(self):
        return self.model

    def test_cites_only_given_passages_and_places_within_them(self):
        pytest.skip("random weights write no sentences to cite from")

    def test_takes_term_weights(self):
        pytest.skip("random weights write no sentences")

    def test_bears_odd_questions_and_passages(self):
        evidence = passages("", "\n\n", "。。。", "一", "：：：\n1.\n2.")
        for question in ("", "？？？", "\ud800"):
            self.model.generate(question, evidence)
        with pytest.raises(GeneratorError, match="there is room for"):
            self.model.generate("a" * 5000, evidence)  # more than a context of 2,048


def test_greedy_is_what_generate_gives_token_for_token(model):
    asked = questions(16)
    expected = [own_generate(model, messages, 24) for messages in asked]
    assert len({tuple(ids) for ids in expected}) > 8  # not one reply to everything
    for messages, ids in zip(asked, expected, strict=True):
        done = model.complete(messages)
        assert done.new_tokens == len(ids)
        assert done.text == text_of(model, ids)
        assert done.prompt_tokens == model.count_tokens(messages)


def test_a_batch_gives_what_one_by_one_gives(model):
    asked = questions(16)
    assert max(map(model.count_tokens, asked)) > 7 * min(map(model.count_tokens, asked))
    assert model.complete_many(asked) == [model.complete(messages) for messages in asked]


def test_pieces_together_are_the_completion(model):
    for messages in questions(8, seed=1):
        pieces, whole = drain(model.stream(messages))
        assert "".join(pieces) == whole.text
        assert whole == model.complete(messages)
        assert all(pieces)


def test_a_block_of_fixed_size_gives_the_same_text(folders, model, models):
    kind = next(kind for kind in KINDS if models[kind] is model)
    block = ChiMedGPT(folders[kind], device="cpu", settings=SHORT, static=True, max_batch=3)
    asked = questions(7)
    expected = model.complete_many(asked)
    assert block.complete_many(asked) == expected  # batches of 3, filled up to 4
    assert [block.complete(messages) for messages in asked] == expected  # one block, used again
    block.close()


def stopping(model: ChiMedGPT, stop: int) -> ChiMedGPT:
    """The same network, with another token that stops."""
    from transformers import GenerationConfig

    network = model._batcher._decoder._model
    had = network.generation_config
    network.generation_config = GenerationConfig(eos_token_id=[stop])
    made = ChiMedGPT.from_parts(network, model._text._tokenizer, name="stopping", settings=SHORT)
    network.generation_config = had
    return made


def test_a_token_that_stops_ends_the_reply_and_is_not_text(model):
    messages = questions(6)[5]
    ids = own_generate(model, messages, 24)
    stop = ids[10]
    before = ids[: ids.index(stop)]
    with_stop = stopping(model, stop)
    done = with_stop.complete(messages)
    assert done == Completion(text_of(model, before), "stop", done.prompt_tokens, len(before) + 1)
    assert drain(with_stop.stream(messages))[1] == done
    # Others in the batch go on, whether they meet it or not.
    asked = questions(8)
    assert with_stop.complete_many(asked) == [with_stop.complete(one) for one in asked]
    with_stop.close()


def test_an_empty_reply_is_a_completion(model):
    messages = questions(6)[5]
    with_stop = stopping(model, own_generate(model, messages, 1)[0])
    done = with_stop.complete(messages)
    assert (done.text, done.finish, done.new_tokens) == ("", "stop", 1)
    assert drain(with_stop.stream(messages)) == ([], done)
    draft = with_stop.generate("孕妇", passages("发热时应多饮水。"))
    assert draft.generator == "chimed-gpt:stopping"
    with_stop.close()


def test_generation_that_never_stops_ends_at_its_limits(models):
    model = models["llama"]
    endless = said("发热")
    long = model.complete(endless, settings=Generation(max_new_tokens=40, seconds=None))
    assert (long.finish, long.new_tokens) == ("length", 40)
    short = model.complete(endless, settings=Generation(max_new_tokens=1500, seconds=0.2))
    assert short.finish == "time"
    assert 0 < short.new_tokens < 1500
    both = text_of(model, own_generate(model, endless, 1500))
    assert both.startswith(short.text.rstrip("\ufffd"))


def test_a_reply_never_leaves_the_context(folders):
    small = ChiMedGPT(folders["llama"], device="cpu", settings=Generation(context_tokens=256, max_new_tokens=512))
    assert small.context_tokens == 256
    messages = said("发热时" * 70)
    done = small.complete(messages)
    assert done.prompt_tokens + done.new_tokens == 256
    assert done.finish == "length"
    too_long = said("高血压" * 300)
    count = small.count_tokens(too_long)
    with pytest.raises(GeneratorError, match=rf"the prompt has {count:,} tokens; the context of 256 leaves none"):
        small.complete(too_long)
    with pytest.raises(GeneratorError, match="leaves none"):
        next(small.stream(too_long))
    failed, well = small.complete_many([too_long, messages])
    assert isinstance(failed, GeneratorError)
    assert well == done
    small.close()


def test_the_context_is_the_models_own_or_4096_at_most(folders, tmp_path):
    assert ChiMedGPT(folders["llama"], device="cpu").context_tokens == 2048
    long = make_writer(tmp_path / "long", context=32_768)
    assert ChiMedGPT(long, device="cpu").context_tokens == 4096
    assert ChiMedGPT(long, device="cpu", settings=Generation(context_tokens=9000)).context_tokens == 9000
    asks_too_much = Generation(context_tokens=99_999)
    assert ChiMedGPT(long, device="cpu", settings=asks_too_much).context_tokens == 32_768


def test_drawing_is_the_same_for_the_same_seed_alone_and_beside_others(model):
    asked = questions(6)
    alone = [model.complete(messages, settings=DRAWN) for messages in asked]
    assert model.complete_many(asked, settings=DRAWN) == alone
    assert model.complete(asked[3], settings=DRAWN.model_copy(update={"seed": 12})) != alone[3]
    assert model.complete(asked[3]) != alone[3]
    torch.manual_seed(99)  # nobody else's random numbers move it
    state = torch.get_rng_state()
    assert model.complete(asked[3], settings=DRAWN) == alone[3]
    assert torch.equal(torch.get_rng_state(), state)  # and it moves nobody else's


def test_each_may_have_settings_of_its_own(model):
    seeds = [DRAWN.model_copy(update={"seed": seed}) for seed in (1, 2, 3)]
    asked = [questions(6)[3]] * 3
    drawn = model.complete_many(asked, settings=seeds)
    assert drawn == [model.complete(asked[0], settings=how) for how in seeds]
    assert len({one.text for one in drawn}) == 3
    with pytest.raises(InputError, match="3 conversations, and settings for 2"):
        model.complete_many(asked, settings=seeds[:2])


def test_greedy_drawn_and_penalised_requests_share_a_batch_and_stay_themselves(model):
    from chimed_rag.generation.request import Request

    penal = Generation(max_new_tokens=16, repetition_penalty=1.3, seconds=None)
    other = DRAWN.model_copy(update={"seed": 5, "temperature": 1.4, "repetition_penalty": 1.1})
    asked = list(zip(questions(4), (SHORT, DRAWN, penal, other), strict=True))
    alone = [model.complete(messages, settings=settings) for messages, settings in asked]
    requests = [Request(model._render(messages), settings, settings.max_new_tokens) for messages, settings in asked]
    model._batcher._decoder.decode(requests, lambda: False)
    assert [model._completion(request) for request in requests] == alone


def test_the_penalty_is_transformers_own(model):
    settings = Generation(max_new_tokens=20, repetition_penalty=1.5, seconds=None)
    for messages in questions(6):
        expected = own_generate(model, messages, 20, repetition_penalty=1.5)
        assert model.complete(messages, settings=settings).text == text_of(model, expected)


def test_padding_is_no_repetition():
    """Token 0 fills the first row up and was said in the second; a penalty of 4 divides what was said."""
    from chimed_rag.generation.decoding import _Draw
    from chimed_rag.generation.request import Request

    settings = Generation(repetition_penalty=4.0)
    rows = [Request([1], settings, 1), Request([0, 1], settings, 1)]
    scores = torch.tensor([[2.0, 1.0, 3.0]] * 2)
    penalised = _Draw(rows, [0, 1], 2)(torch.tensor([[0, 1], [0, 1]]), scores)
    assert penalised.tolist() == [[2.0, 0.25, 3.0], [0.5, 0.25, 3.0]]


def test_draws_follow_the_distribution_that_top_p_leaves():
    """10,000 draws from four known probabilities: .5 .3 .15 .05, of which top_p = .9 keeps three."""
    from chimed_rag.generation.decoding import _Draw
    from chimed_rag.generation.request import Request

    rows = [Request([1], Generation(temperature=1.0, top_p=0.9, seed=seed), 1) for seed in range(10_000)]
    scores = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log().repeat(len(rows), 1)
    drawn = _Draw(rows, range(len(rows)), 1)(torch.ones(len(rows), 1, dtype=torch.long), scores).argmax(-1)
    counts = torch.bincount(drawn, minlength=4).tolist()
    assert counts[3] == 0
    for count, share in zip(counts, (0.5 / 0.95, 0.3 / 0.95, 0.15 / 0.95), strict=False):
        assert abs(count / 10_000 - share) < 0.02  # four standard deviations


def test_a_low_temperature_is_greedy(model):
    cold = Generation(max_new_tokens=24, temperature=0.001, top_p=1.0, seconds=None)
    asked = questions(4)
    assert model.complete_many(asked, settings=cold) == model.complete_many(asked)


def test_the_models_own_advice_does_not_change_how_it_writes(models):
    from transformers import GenerationConfig

    model = models["llama"]
    network = model._batcher._decoder._model
    had = network.generation_config
    network.generation_config = GenerationConfig(repetition_penalty=3.0, suppress_tokens=list(range(100)))
    advised = ChiMedGPT.from_parts(network, model._text._tokenizer, name="advised", settings=SHORT)
    asked = questions(3)
    assert advised.complete_many(asked) == model.complete_many(asked)
    network.generation_config = had
    advised.close()


def test_the_reader_is_not_played(models):
    """A network that writes the reader's next turn, whatever it was asked."""
    model = models["llama"]
    tokenizer = model._text._tokenizer
    script = tokenizer("应多饮水。\n[human]:发热吗", add_special_tokens=False)["input_ids"]
    network = model._batcher._decoder._model
    made = ChiMedGPT.from_parts(network, tokenizer, name="player", settings=SHORT)
    prompt = len(made._render(said("发热")))
    original = network.generate

    def follows(ids: Any, scores: Any) -> Any:
        place = ids.shape[1] - prompt
        return torch.full_like(scores, -1.0).index_fill(1, torch.tensor([script[place % len(script)]]), 1.0)

    made._batcher._decoder._model = _Scripted(network, original, follows)
    done = made.complete(said("发热"))
    assert (done.text, done.finish) == ("应多饮水。\n", "stop")
    assert done.new_tokens < len(script)  # it was stopped, not only cut
    pieces, whole = drain(made.stream(said("发热")))
    assert whole == done
    assert "".join(pieces) == done.text
    made.close()


class _Scripted:
    """A network whose `generate` has one more processor of scores."""

    def __init__(self, network: Any, generate: Any, processor: Any) -> None:
        self._network, self._generate, self._processor = network, generate, processor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)

    def generate(self, ids: Any, *, logits_processor: Any, **options: Any) -> Any:
        return self._generate(ids, logits_processor=[*logits_processor, self._processor], **options)


def test_without_a_padding_token_a_batch_is_right_too(tmp_path):
    bare = make_writer(tmp_path / "bare", pad_token=None)
    writer = ChiMedGPT(bare, device="cpu", settings=SHORT)
    assert writer._text._tokenizer.pad_token_id is None
    asked = questions(8)
    expected = [text_of(writer, own_generate(writer, messages, 24)) for messages in asked]
    assert [done.text for done in writer.complete_many(asked)] == expected
    writer.close()


def test_cancelling_before_between_and_after(models):
    model = models["llama"]
    cancel = Event()
    cancel.set()
    never = model.complete(said("发热"), cancel=cancel)
    assert (never.text, never.finish, never.new_tokens) == ("", "cancelled", 0)
    cancel.clear()
    pieces = model.stream(said("发热"), settings=Generation(max_new_tokens=1900, seconds=None), cancel=cancel)
    first = next(pieces)
    cancel.set()
    rest, done = drain(pieces)
    assert done.finish == "cancelled"
    assert done.new_tokens < 1900
    assert first + "".join(rest) == done.text


def test_closing_a_stream_stops_the_model(models):
    model = models["llama"]
    pieces = model.stream(said("发热"), settings=Generation(max_new_tokens=1900, seconds=None))
    next(pieces)
    [request] = model._batcher._running
    pieces.close()
    assert request.done.wait(20)
    assert request.finish == "cancelled"
    assert len(request.ids) < 1900


def test_an_exception_of_the_network_is_an_error_and_the_next_question_is_answered(models, monkeypatch):
    model = models["llama"]
    network = model._batcher._decoder._model
    monkeypatch.setattr(network, "generate", lambda *args, **options: 1 / 0)
    failed = model.complete_many(questions(3))
    assert all("failed while it wrote: division by zero" in str(error) for error in failed)
    with pytest.raises(GeneratorError, match="division by zero"):
        next(model.stream(said("发热")))
    monkeypatch.undo()
    assert model.complete(said("发热")).finish == "length"


def test_a_gpu_without_memory_for_all_writes_them_half_by_half(folders, models, monkeypatch):
    expected = models["llama"].complete_many(questions(8))
    model = ChiMedGPT(folders["llama"], device="cpu", settings=SHORT)
    network = model._batcher._decoder._model
    original, rows = network.forward, []

    def forward(*args: Any, **options: Any) -> Any:
        ids = options["input_ids"]
        rows.append(ids.shape[0])
        if ids.shape[0] > 3 and len(rows) > 9:  # in the middle of the writing
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(*args, **options)

    forward.__signature__ = __import__("inspect").signature(original)
    monkeypatch.setattr(network, "forward", forward)
    assert model.complete_many(questions(8)) == expected
    assert rows[0] == 8
    assert rows[-1] <= 3
    model.close()


def test_a_tokenizer_of_another_model_is_an_error_and_no_crash(models):
    model = models["llama"]
    tokenizer = __import__("copy").deepcopy(model._text._tokenizer)
    tokenizer.add_tokens([f"词{number}" for number in range(200)])
    wrong = ChiMedGPT.from_parts(model._batcher._decoder._model, tokenizer, name="wrong", settings=SHORT)
    with pytest.raises(GeneratorError, match="do not belong together"):
        wrong.complete(said("词199"))
    assert wrong.complete(said("发热")).finish == "length"
    wrong.close()


def test_many_threads_one_object_no_reply_lost_or_mixed(model):
    asked = questions(12, seed=3) * 3
    expected = [model.complete(messages) for messages in asked[:12]] * 3
    wrong: list[Any] = []
    doomed = Event()

    def work(number: int) -> None:
        if number == 7:  # one that is cancelled on its way, among the others
            long = Generation(max_new_tokens=1500, seconds=None)
            done = model.complete(said("发热"), settings=long, cancel=doomed)
            if done.finish != "cancelled":
                wrong.append(done)
            return
        for turn in range(3):
            place = (number + 5 * turn) % len(asked)
            if turn == 1:
                done = drain(model.stream(asked[place]))[1]
            else:
                [done] = model.complete_many([asked[place]])
            if turn == 2 and number == 3:
                doomed.set()
            if done != expected[place]:
                wrong.append((number, turn, done))

    threads = [Thread(target=work, args=(number,)) for number in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert not wrong


def test_it_says_what_it_is(models):
    told = models["qwen3"].describe()
    assert told["model"] == "chimed-gpt:tiny-qwen3"
    assert told.keys() >= {"prompt", "prompt_sha256", "sha256", "dtype", "device"}


def test_closed_or_forgotten_it_leaves_no_thread_and_no_weights(folders):
    closed = ChiMedGPT(folders["llama"], device="cpu", settings=SHORT)
    forgotten = ChiMedGPT(folders["llama"], device="cpu", settings=SHORT)
    assert closed._batcher._thread is None  # none before the first question
    closed.complete(said("发热"))
    forgotten.complete(said("发热"))
    threads = [one._batcher._thread for one in (closed, forgotten)]
    assert all(thread in threading.enumerate() for thread in threads)
    closed.close()
    with pytest.raises(GeneratorError, match="was closed"):
        closed.complete(said("发热"))
    network = weakref.ref(forgotten._batcher._decoder._model)
    del forgotten
    gc.collect()
    assert not any(thread in threading.enumerate() for thread in threads)
    assert network() is None


def test_a_process_may_end_while_it_writes(folders):
    code = (
        "import sys, threading\nfrom chimed_rag.generation.chimed_gpt import ChiMedGPT\n"
        "from chimed_rag.config import Generation\n"
        "model = ChiMedGPT(sys.argv[1], device='cpu', settings=Generation(max_new_tokens=1900))\n"
        "pieces = model.stream([{'role': 'user', 'content': '发热'}])\nnext(pieces)\nprint('bye')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folders["llama"])], capture_output=True, text=True, check=False, timeout=120,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "bye\n"), done.stderr
