"""The systems that mark without a language model: by names as the card translates kinds, and by a trained tagger."""

from __future__ import annotations

from pathlib import Path

import pycrfsuite
import pytest

from chimed_rag.entities.features import Known, Lists, encoded, features
from chimed_rag.entities.tagger import SETTINGS, WEIGHTS, Settings, save_settings
from chimed_rag.errors import InputError
from chimed_rag.evaluation.protocols.base import protocol
from chimed_rag.evaluation.samples import Card, Entity, Sample
from chimed_rag.evaluation.systems.base import BatchSystem, Setting, open_system
from chimed_rag.evaluation.tasks.loading import Task
from chimed_rag.packaged import parsed, source

SAMPLE = Sample(id="1", text="口服阿司匹林，查血肌酐。", metadata={"types": ["药物"]})


def setting(name: str = "ccks2019", **options: str) -> Setting:
    card = Card.model_validate(parsed(source("chimed_rag.evaluation", f"cards/{name}.yaml")))
    return Setting(Task(card, (SAMPLE,), "0"), protocol("strict-v1", "extraction"), options=options)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    text, place = SAMPLE.text, ("药物", 2, 6)
    trainer = pycrfsuite.Trainer(algorithm="lbfgs", verbose=False)
    trainer.append(pycrfsuite.ItemSequence(features(text, Lists({}, {}))), encoded(len(text), [place]))
    trainer.train(str(tmp_path / WEIGHTS))
    names = {"阿司匹林": Known("药物", 1.0)}
    save_settings(Settings(name="test", types=["药物"], names=names, lexicon={}), tmp_path)
    return tmp_path


def test_the_lexicon_marks_names_by_the_cards_types() -> None:
    system = open_system("lexicon", setting())
    assert isinstance(system, BatchSystem)
    [prediction] = system.predict([SAMPLE])
    assert prediction.entities == (
        Entity(text="阿司匹林", type="药物", start=2, end=6),
        Entity(text="血肌酐", type="实验室检验", start=8, end=11),
    )
    assert prediction.id == "1"
    assert prediction.seconds is not None


def test_a_card_without_types_for_the_lexicon_is_refused() -> None:
    with pytest.raises(InputError, match="card of chimst does not say"):
        open_system("lexicon", setting("chimst"))


def test_a_trained_tagger(model: Path) -> None:
    system = open_system("tagger", setting(tagger=str(model)))
    assert system(SAMPLE).entities == (Entity(text="阿司匹林", type="药物", start=2, end=6),)
    before = system.versions
    (model / SETTINGS).write_text((model / SETTINGS).read_text("utf-8").replace("test", "another"), "utf-8")
    assert open_system("tagger", setting(tagger=str(model))).versions != before


def test_a_tagger_that_cannot_serve_is_refused(model: Path) -> None:
    with pytest.raises(InputError, match="--set tagger=FOLDER; train one: python -m training tagger"):
        open_system("tagger", setting())
    with pytest.raises(InputError, match="no whole tagger"):
        open_system("tagger", setting(tagger=str(model / "nowhere")))
    save_settings(Settings(name="test", types=["基因"], names={}, lexicon={}), model)
    with pytest.raises(InputError, match="marks 基因, and ccks2019 knows"):
        open_system("tagger", setting(tagger=str(model)))


@pytest.mark.parametrize("name", ["lexicon", "tagger"])
def test_other_kinds_of_tasks_are_refused(name: str) -> None:
    one = setting(tagger="nowhere")
    choice = one.task.card.model_copy(update={"kind": "choice", "name": "mcmle"})
    with pytest.raises(InputError, match="mcmle is a task of choice"):
        open_system(name, Setting(Task(choice, (SAMPLE,), "0"), one.protocol, options=one.options))
