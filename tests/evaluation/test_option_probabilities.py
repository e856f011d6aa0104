"""How probable options are: against a pass of transformers for one prompt at a time, and what servers tell."""

from __future__ import annotations

import math
import os

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported
torch = pytest.importorskip("torch", reason="torch is not installed (extra `models`)")
pytest.importorskip("transformers", reason="transformers is not installed (extra `models`)")

from chimed_rag.errors import GeneratorError  # noqa: E402
from chimed_rag.generation.chimed_gpt import ChiMedGPT  # noqa: E402
from chimed_rag.generation.language_model import NoProbabilitiesError, log_sum  # noqa: E402
from chimed_rag.generation.likelihood import LEAST, Likelihood, Question  # noqa: E402
from tests.scripted import ScriptedModel  # noqa: E402
from tests.tiny_writer import make_writer  # noqa: E402

LETTERS = ["A", "B", "C", "D"]
WORDS = ["非常同意", "同意", "不同意"]
KINDS = ("llama", "qwen3")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("writers")
    made = {kind: ChiMedGPT(make_writer(root / kind, kind), device="cpu", max_batch=4) for kind in KINDS}
    yield made
    for model in made.values():
        model.close()


@pytest.fixture(params=KINDS)
def model(models, request) -> ChiMedGPT:
    return models[request.param]


def said(text):
    return [{"role": "user", "content": text}]


QUESTIONS = [said("高血压" * n + "应选哪一项？") for n in (1, 9, 4, 2, 30, 3)]


def network(model):
    return model._batcher._decoder._model


def by_hand(model, prompt, reply) -> float:
    """The sum over the reply's tokens, each from a pass of its own without padding."""
    total = 0.0
    for place, token in enumerate(reply):
        ids = torch.tensor([[*prompt, *reply[:place]]])
        with torch.inference_mode():
            logits = network(model)(input_ids=ids).logits[0, -1]
        total += float(logits.double().log_softmax(-1)[token])
    return total


def token(model, text) -> list[int]:
    return model._renderer.tokenizer(text, add_special_tokens=False)["input_ids"]


def test_letters_have_the_probability_of_their_token_among_the_whole_vocabulary(model):
    found = model.option_logprobs(QUESTIONS, [LETTERS] * len(QUESTIONS))
    for messages, one in zip(QUESTIONS, found, strict=True):
        prompt = model._render(messages)
        assert list(one) == LETTERS
        for letter, value in one.items():
            # This vocabulary learned no letter with a blank before it: there is one token for each.
            assert len(token(model, letter)) == 1
            assert value == pytest.approx(by_hand(model, prompt, token(model, letter)), abs=2e-4)
        assert math.fsum(map(math.exp, one.values())) < 1


def test_an_option_of_several_tokens_has_the_product_of_theirs(model):
    [found] = model.option_logprobs(QUESTIONS[:1], [WORDS])
    prompt = model._render(QUESTIONS[0])
    for word in WORDS:
        reply = token(model, word)
        assert len(reply) > 1
        assert found[word] == pytest.approx(by_hand(model, prompt, reply), abs=5e-4)


def test_a_batch_gives_what_one_by_one_gives_in_any_order(model):
    options = [LETTERS, WORDS, LETTERS[:2], [*LETTERS, *WORDS], LETTERS, WORDS]
    together = model.option_logprobs(QUESTIONS, options)
    alone = [model.option_logprobs([one], [each])[0] for one, each in zip(QUESTIONS, options, strict=True)]
    back = model.option_logprobs(QUESTIONS[::-1], options[::-1])[::-1]
    for a, b, c in zip(together, alone, back, strict=True):
        assert a == pytest.approx(b, abs=1e-4)
        assert a == pytest.approx(c, abs=1e-4)


def test_all_tokens_together_have_probability_one(models):
    model = models["llama"]
    vocabulary = model._vocabulary
    question = Question(model._render(QUESTIONS[0]), {str(n): ((n,),) for n in range(vocabulary)})
    [found] = model._likelihood.ask([question])
    assert math.fsum(map(math.exp, found.values())) == pytest.approx(1, abs=1e-5)


def test_a_letter_with_a_blank_before_it_is_the_same_letter(models):
    model = models["llama"]
    prompt = model._render(QUESTIONS[0])
    with_blank, without = 50, 60  # two tokens, whatever they say
    [found] = model._likelihood.ask([Question(prompt, {"A": ((with_blank,), (without,))})])
    both = [math.exp(by_hand(model, prompt, [one])) for one in (with_blank, without)]
    assert math.exp(found["A"]) == pytest.approx(sum(both), rel=1e-4)


def test_the_renderer_knows_both_tokens_of_a_letter(tmp_path):
    """A vocabulary of byte pairs in which "A" and "ĠA" are tokens."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    from chimed_rag.generation.chat import Renderer

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet, show_progress=False, min_frequency=1
    )
    bpe.train_from_iterator(["x A x A x A"] * 9, trainer)
    renderer = Renderer(
        PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token="<s>", eos_token="</s>"), style="native"
    )
    known = renderer.tokenizer.get_vocab()
    assert renderer.ways("A") == ((known["A"],), (known["ĠA"],))
    assert renderer.ways("B") == ((known["B"],),)  # no token has a blank before it
    assert renderer.ways("AB") == ((known["A"], known["B"]),)


def test_a_continuation_is_what_the_text_with_it_has_more(model):
    text = "题目：血钾的参考范围\n答案："
    [found] = model.continuation_logprobs([text], [LETTERS])
    for letter, value in found.items():
        whole = model._renderer.plain(text + letter)
        prompt = model._renderer.plain(text)
        assert whole[: len(prompt)] == prompt
        assert value == pytest.approx(by_hand(model, prompt, whole[len(prompt) :]), abs=5e-4)


def test_blanks_at_the_end_of_a_text_belong_to_the_option(models):
    model = models["llama"]
    [found] = model.continuation_logprobs(["答案： "], [["A"]])
    blank_and_letter = token(model, " A")
    assert found["A"] == pytest.approx(by_hand(model, token(model, "答案："), blank_and_letter), abs=5e-4)


def test_one_that_is_too_long_is_an_error_and_the_others_stand(model):
    long = said("血" * 3000)
    found = model.option_logprobs([QUESTIONS[0], long, QUESTIONS[1]], [LETTERS] * 3)
    assert isinstance(found[1], GeneratorError)
    assert "context" in str(found[1])
    assert found[0] == pytest.approx(model.option_logprobs(QUESTIONS[:1], [LETTERS])[0], abs=1e-4)
    [empty] = model.continuation_logprobs([""], [LETTERS])
    assert isinstance(empty, GeneratorError)


def test_where_memory_lacks_fewer_rows_are_read_at_a_time():
    class Small:
        device = "cpu"

        def forward(self, input_ids, attention_mask, use_cache):
            raise NotImplementedError

        def __call__(self, input_ids, attention_mask, use_cache):
            if len(input_ids) > 1:
                raise MemoryError
            if int(input_ids[0, -1]) == 9:
                raise ValueError("broken row")

            class Said:
                logits = torch.zeros(len(input_ids), input_ids.shape[1], 4)

            return Said

    likelihood = Likelihood(Small(), pad_id=0, most_rows=8, most_tokens=1000)
    asked = [Question([place], {"A": ((1,),)}) for place in (5, 6)]
    assert likelihood.ask(asked) == [pytest.approx({"A": math.log(0.25)})] * 2
    [broken] = likelihood.ask([Question([9], {"A": ((1,),)})])
    assert "broken row" in str(broken)


def test_nothing_is_as_good_as_impossible():
    assert log_sum([]) == -math.inf
    assert log_sum([math.log(0.25), math.log(0.5), -math.inf]) == pytest.approx(math.log(0.75))
    assert math.exp(LEAST) == 0


def test_a_cancelled_question_is_an_error(models):
    from threading import Event

    stop = Event()
    stop.set()
    found = models["llama"].option_logprobs(QUESTIONS[:2], [LETTERS] * 2, cancel=stop)
    assert all(isinstance(one, GeneratorError) for one in found)


def test_a_model_that_does_not_tell_says_so():
    model = ScriptedModel("A")
    assert [type(one) for one in model.option_logprobs([said("x")] * 2, [LETTERS] * 2)] == [NoProbabilitiesError] * 2
    assert [type(one) for one in model.continuation_logprobs(["x"], [LETTERS])] == [NoProbabilitiesError]
