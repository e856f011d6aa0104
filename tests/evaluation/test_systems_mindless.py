"""Responders without a mind."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from chimed_rag.errors import InputError
from chimed_rag.evaluation.samples import Entity, Sample
from chimed_rag.evaluation.systems.base import BatchSystem, open_system
from chimed_rag.evaluation.systems.mindless import ADVICE
from tests.asked import setting

OPTIONS = {"A": "肝", "B": "肾", "C": "脾", "D": "肺"}
CHOICES = [Sample(id=f"q{n}", text="x", options=OPTIONS) for n in range(400)]
TEXTS = [Sample(id=f"t{n}", text="x", references=(f"答{n}",)) for n in range(5)]
RECORDS = [
    Sample(id=f"r{n}", text="患者三天前出现发热，伴有咳嗽、咳痰，" * 5, entities=(Entity(text="发热", type="症状"),))
    for n in range(5)
]


def opened(name, samples, kind="choice", **more):
    system = open_system(name, setting(samples, kind, **more))
    assert isinstance(system, BatchSystem)
    return system


def test_the_constant_responder_says_one_thing():
    assert {one.text for one in opened("constant", CHOICES, answer="C").predict(CHOICES)} == {"C"}
    assert {one.text for one in opened("constant", TEXTS, "open_qa").predict(TEXTS)} == {ADVICE}
    assert opened("constant", TEXTS, "open_qa", options={"text": "多喝水。"})(TEXTS[0]).text == "多喝水。"
    assert opened("constant", RECORDS, "extraction")(RECORDS[0]).entities == ()


def test_a_letter_stands_for_a_place_where_labels_are_others():
    samples = [
        Sample(id="up", text="x", options={"1": "不同意", "2": "同意"}),
        Sample(id="words", text="x", options={"同意": "同意", "不同意": "不同意"}),
        Sample(id="letters", text="x", options=OPTIONS),
    ]
    said = [one.text for one in opened("constant", samples, "attitude", answer="B").predict(samples)]
    assert said == ["2", "不同意", "B"]
    assert opened("constant", samples, "attitude", answer="E")(samples[0]).text == "2"
    assert opened("constant", samples, "attitude", answer="同意")(samples[1]).text == "同意"
    assert opened("constant", samples, "attitude", options={"answer": "B"})(samples[0]).text == "2"


@pytest.mark.parametrize("answer", ["", "AB", "b", "?"])
def test_what_is_no_option_is_refused(answer):
    with pytest.raises(InputError, match="no option"):
        opened("constant", CHOICES, answer=answer)


def test_options_that_are_not_known_are_refused():
    with pytest.raises(InputError, match="there are: answer, text"):
        opened("constant", CHOICES, options={"word": "x"})
    with pytest.raises(InputError, match="there are: none"):
        opened("random", CHOICES, options={"word": "x"})


@pytest.mark.parametrize(("samples", "kind"), [(CHOICES, "choice"), (TEXTS, "open_qa"), (RECORDS, "extraction")])
def test_a_draw_depends_on_seed_and_sample_and_on_nothing_else(samples, kind):
    said = {one.id: one for one in opened("random", samples, kind).predict(samples)}
    mixed = random.Random(5).sample(samples, len(samples))
    again = {one.id: one for one in opened("random", mixed, kind).predict(mixed)}
    assert said == again
    assert said != {one.id: one for one in opened("random", samples, kind, seed=1).predict(samples)}


def test_options_are_drawn_alike():
    counts = Counter(one.text for one in opened("random", CHOICES).predict(CHOICES))
    assert set(counts) == set(OPTIONS)
    # Of 400 draws with p = 1/4 the standard deviation is 8.7; five of them are 43.
    assert all(abs(count - 100) < 43 for count in counts.values())


def test_of_several_right_options_any_set_but_none_is_drawn():
    samples = [one.model_copy(update={"multiple": True}) for one in CHOICES]
    counts = Counter(one.text for one in opened("random", samples).predict(samples))
    assert len(counts) == 15
    assert all(said == "".join(sorted(said)) for said in counts)


def test_a_text_is_anothers_reference():
    for sample, one in zip(TEXTS, opened("random", TEXTS, "open_qa").predict(TEXTS), strict=True):
        assert one.text in {f"答{n}" for n in range(5)} - set(sample.references)
    alike = [one.model_copy(update={"group": "g"}) for one in TEXTS[:4]] + TEXTS[4:]
    assert {one.text for one in opened("random", alike, "open_qa").predict(alike[:4])} == {"答4"}
    alone = TEXTS[:1]
    assert opened("random", alone, "open_qa")(alone[0]).text == ADVICE


def test_spans_lie_where_they_say_and_have_types_of_the_task():
    for sample, one in zip(RECORDS, opened("random", RECORDS, "extraction").predict(RECORDS), strict=True):
        assert one.entities
        for entity in one.entities:
            assert sample.text[entity.start : entity.end] == entity.text
            assert entity.type == "症状"
    assert opened("random", RECORDS, "extraction")(Sample(id="empty", text="")).entities == ()
