"""A language model as a system: how it is asked, what it is shown, and what becomes of failures."""

from __future__ import annotations

import math
import random

import pytest

from chimed_rag.errors import GeneratorError, InputError, MissingExtraError
from chimed_rag.evaluation.running import evaluate
from chimed_rag.evaluation.samples import Sample
from chimed_rag.evaluation.systems import models as room
from chimed_rag.evaluation.systems.base import BatchSystem, open_system
from chimed_rag.evaluation.systems.models import deranged
from chimed_rag.generation.echo import EchoGenerator
from tests.asked import Continued, Plain, Telling, setting, task
from tests.scripted import ScriptedModel

OPTIONS = {"A": "肝", "B": "肾", "C": "脾"}


def choices(count, **more):
    return [Sample(id=f"q{n}", text=f"问题{n}", options=OPTIONS, answer="B", **more) for n in range(count)]


def with_passages(count):
    return [Sample(id=f"q{n}", text=f"问题{n}", passages=(f"文献{n}。",)) for n in range(count)]


def opened(name, samples, model, kind="choice", protocol=Plain, **more):
    system = open_system(name, setting(samples, kind, protocol=protocol, generator=model, **more))
    assert isinstance(system, BatchSystem)
    return system


def untimed(predictions):
    return [one.model_copy(update={"seconds": None}) for one in predictions]


# --- how it is asked ---------------------------------------------------------------------------------------------


def test_a_model_that_tells_probabilities_is_asked_for_them_alone():
    model, samples = Telling(), choices(3)
    predictions = list(opened("closed_book", samples, model).predict(samples))
    assert [one.id for one in predictions] == ["q0", "q1", "q2"]
    assert {one.text for one in predictions} == {""}
    assert not model.prompts
    assert predictions[0].logprobs == pytest.approx({"A": math.log(0.1), "B": math.log(0.7), "C": math.log(0.1)})
    assert predictions[0].confidence == pytest.approx(0.7)
    assert predictions[0].seconds is not None


def test_a_model_that_tells_none_replies():
    samples = choices(2)
    system = opened("closed_book", samples, ScriptedModel("选B"))
    predictions = list(system.predict(samples))
    assert [(one.text, one.logprobs, one.finish) for one in predictions] == [("选B", None, "stop")] * 2
    assert system.versions["mode"] == "text"


def test_probabilities_name_one_letter_so_questions_with_several_get_a_reply():
    several = choices(1, multiple=True)
    [one] = opened("closed_book", several, Telling("BC")).predict(several)
    assert (one.text, one.logprobs) == ("BC", None)
    [one] = opened("closed_book", several, Telling("BC"), options={"mode": "logprobs"}).predict(several)
    assert one.text == ""
    assert one.logprobs is not None


@pytest.mark.parametrize(("mode", "replies", "tells"), [("text", 1, False), ("logprobs", 0, True), ("both", 1, True)])
def test_the_mode_can_be_chosen(mode, replies, tells):
    model, samples = Telling(), choices(1)
    [one] = opened("closed_book", samples, model, options={"mode": mode}).predict(samples)
    assert len(model.prompts) == replies
    assert bool(one.text) == bool(replies)
    assert (one.logprobs is not None) == tells


def test_probabilities_of_a_model_that_tells_none_cannot_be_chosen():
    with pytest.raises(InputError, match=r"gives no probabilities; use mode=text"):
        opened("closed_book", choices(1), ScriptedModel("B"), options={"mode": "logprobs"})


def test_where_a_server_tells_of_none_of_the_options_the_model_replies():
    samples = choices(2)
    predictions = list(opened("closed_book", samples, Telling("C", knows=False)).predict(samples))
    assert [(one.text, one.logprobs) for one in predictions] == [("C", None)] * 2


def test_a_protocol_with_a_plain_text_has_the_letters_weighed_behind_it():
    model, samples = Telling(), choices(1)
    list(opened("closed_book", samples, model, protocol=Continued).predict(samples))
    assert model.weighed[-1] == "问题0\n答案："


def test_other_kinds_are_replies_and_carry_why_they_ended():
    samples = [Sample(id="q", text="发烧怎么办？")]
    system = opened("closed_book", samples, Telling("多喝水。"), "open_qa")
    one = system(samples[0])
    assert (one.text, one.finish, one.logprobs, one.passages) == ("多喝水。", "stop", None, ())


# --- what it is shown --------------------------------------------------------------------------------------------


def test_the_oracle_shows_the_samples_own_passages_and_closed_book_none():
    samples = with_passages(2)
    for name, shown in (("oracle_passage", ("文献1。",)), ("closed_book", ())):
        model = ScriptedModel("好")
        predictions = list(opened(name, samples, model, "open_qa").predict(samples))
        assert predictions[1].passages == shown
        assert ("文献1。" in model.prompts[1][0]["content"]) == bool(shown)


def test_shuffled_shows_each_sample_anothers_passages_whatever_their_order():
    samples = with_passages(9)
    predictions = list(opened("shuffled_passage", samples, ScriptedModel("好"), "open_qa", seed=3).predict(samples))
    for sample, one in zip(samples, predictions, strict=True):
        assert one.passages
        assert one.passages != sample.passages
    assert len({one.passages for one in predictions}) == 9  # a circle: everyone's are shown once
    mixed = random.Random(1).sample(samples, 9)
    again = opened("shuffled_passage", mixed, ScriptedModel("好"), "open_qa", seed=3).predict(mixed)
    assert {one.id: one.passages for one in again} == {one.id: one.passages for one in predictions}
    assert deranged(samples, 4) != deranged(samples, 3)


def test_shuffling_passes_by_the_same_group_and_the_same_passages():
    samples = [Sample(id=f"{g}{n}", text="x", passages=(f"{g}{n}",), group=g) for g in "ab" for n in range(3)]
    twin = Sample(id="z", text="x", passages=("a0",), group="c")
    bare = Sample(id="y", text="x")
    given = deranged([*samples, twin, bare], 0)
    assert all(given[one.id][0][0] != one.group for one in samples)
    assert given["z"] != ("a0",)
    assert given["a0"] != ("a0",)
    assert given["y"]


def test_nothing_to_show_is_an_error_at_once():
    for name in ("oracle_passage", "shuffled_passage"):
        with pytest.raises(InputError, match="bring no passages"):
            opened(name, choices(2), Telling())
    with pytest.raises(InputError, match="two at least"):
        opened("shuffled_passage", with_passages(1), Telling(), "open_qa")


def test_passages_that_do_not_fit_are_left_out_from_the_last_on_and_the_first_is_cut_at_a_sentence():
    model = ScriptedModel("好")
    model.context_tokens = 300  # a character is a token here; the reply keeps a third of it
    long = Sample(id="long", text="问题", passages=("甲" * 99 + "。", "乙" * 99 + "。"))
    huge = Sample(id="huge", text="问题", passages=("丙" * 79 + "。" + "丁" * 400,))
    one, other = opened("oracle_passage", [long, huge], model, "open_qa").predict([long, huge])
    assert one.passages == long.passages[:1]
    assert other.passages == ("丙" * 79 + "。",)
    assert not one.error + other.error


def test_only_so_many_passages_are_shown():
    samples = [Sample(id="q", text="问题", passages=("甲。", "乙。", "丙。"))]
    [one] = opened("oracle_passage", samples, ScriptedModel("好"), "open_qa", options={"k": "2"}).predict(samples)
    assert one.passages == ("甲。", "乙。")


# --- what fails --------------------------------------------------------------------------------------------------


def test_what_fails_is_an_error_of_its_sample_and_the_others_stand():
    def script(messages):
        yield GeneratorError("out of paper") if "问题1" in messages[0]["content"] else "B"

    samples = [*choices(3), Sample(id="odd", text="unaskable", options=OPTIONS)]
    predictions = list(opened("closed_book", samples, ScriptedModel(script)).predict(samples))
    assert [one.text for one in predictions] == ["B", "", "B", ""]
    assert [one.error for one in predictions] == [
        "", "GeneratorError: out of paper", "", "ValueError: cannot be asked",
    ]  # fmt: skip


def test_a_model_that_raises_for_a_whole_batch_is_asked_one_by_one():
    class Fragile(ScriptedModel):
        def complete_many(self, conversations, *, settings=None, cancel=None):
            if any("问题1" in one[0]["content"] for one in conversations):
                raise InputError("no such conversation")
            return super().complete_many(conversations, settings=settings, cancel=cancel)

    samples = choices(3)
    predictions = list(opened("closed_book", samples, Fragile("B")).predict(samples))
    assert [one.error for one in predictions] == ["", "InputError: no such conversation", ""]


def test_a_missing_library_fails_them_all():
    class Bare(ScriptedModel):
        def complete_many(self, conversations, *, settings=None, cancel=None):
            raise MissingExtraError("torch", "models")

    with pytest.raises(MissingExtraError):
        list(opened("closed_book", choices(2), Bare("B")).predict(choices(2)))


def test_only_a_model_that_was_opened_for_it_is_closed(monkeypatch):
    closed = []
    model = ScriptedModel("B")
    monkeypatch.setattr(model, "close", lambda: closed.append(1))
    opened("closed_book", choices(1), model).close()
    assert not closed
    monkeypatch.setattr(room, "load_generator", lambda meant, settings: model)
    opened("closed_book", choices(1), "models/some").close()
    assert closed == [1]


def test_a_run_scores_what_a_model_says():
    samples = choices(4)
    asked = task(samples, protocols=("strict-v1",))
    system = opened("closed_book", samples, Telling(wants="B"))
    result = evaluate(asked, system)
    assert result.metrics["accuracy"].value == 1
    assert result.metrics["off_option"].value == pytest.approx(0.1)
    assert result.counts["correct"] == 4
    named = evaluate(asked, "closed_book", generator=ScriptedModel("都不对"))
    assert named.counts["invalid"] == 4
    assert named.system_versions["mode"] == "text"


def test_batches_and_order_change_nothing():
    samples = [
        *choices(5),
        Sample(id="m", text="多选", options=OPTIONS, multiple=True),
    ]
    whole = untimed(opened("closed_book", samples, Telling("BC")).predict(samples))
    small = opened("closed_book", samples, Telling("BC"), options={"batch": "1"})
    assert untimed(small.predict(samples)) == whole
    assert untimed(small.predict(samples[::-1])) == whole[::-1]
    assert list(small.predict([])) == []


@pytest.mark.parametrize("generator", ["extractive", None, EchoGenerator()], ids=["named", "auto", "object"])
def test_what_is_no_language_model_is_refused(generator, monkeypatch):
    for name in ("CHIMED_ENDPOINT", "CHIMED_MODEL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match="closed_book needs a language model"):
        opened("closed_book", choices(1), generator)


@pytest.mark.parametrize("options", [{"modes": "text"}, {"mode": "words"}, {"batch": "0"}])
def test_an_option_that_is_not_known_is_refused(options):
    with pytest.raises(InputError, match=r"--set \w+=.*there are: mode, batch, max_new_tokens, temperature, k"):
        opened("closed_book", choices(1), Telling(), options=options)


def test_versions_tell_model_words_and_settings():
    class Polite(Plain):
        greeting = "您好"

    one = opened("closed_book", choices(1), Telling()).versions
    other = opened("closed_book", choices(1), Telling(), protocol=Polite).versions
    assert one["model"] == "scripted"
    assert (one["mode"], one["max_new_tokens"], one["temperature"]) == ("auto", "64", "0")
    assert one["prompt_sha256"] != other["prompt_sha256"]
    drawn = opened("closed_book", choices(1), Telling(), seed=5, options={"temperature": "0.8"}).versions
    assert (drawn["temperature"], drawn["seed"]) == ("0.8", "5")


def test_a_tiny_model_chooses_by_probability_and_is_cut_at_its_length(tmp_path):
    pytest.importorskip("transformers", reason="transformers is not installed (extra `models`)")
    from chimed_rag.generation.chimed_gpt import ChiMedGPT
    from tests.tiny_writer import make_writer

    model = ChiMedGPT(make_writer(tmp_path / "tiny"), device="cpu")
    try:
        samples = choices(3)
        system = opened("closed_book", samples, model, options={"mode": "both", "max_new_tokens": "4"})
        for sample, one in zip(samples, system.predict(samples), strict=True):
            messages = Plain("choice").messages(sample)
            assert one.logprobs == pytest.approx(model.option_logprobs([messages], [list(OPTIONS)])[0], abs=1e-4)
            assert one.finish == "length"
            assert not one.error
    finally:
        model.close()
