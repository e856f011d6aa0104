"""The tagger: labels and places, pieces that lose nothing, names with their shares, refused folders, threads."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pycrfsuite
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimed_rag import MedQA
from chimed_rag.config import Config
from chimed_rag.entities.features import Known, Lists, Names, Span, decoded, encoded, features, known_names, pieces
from chimed_rag.entities.tagger import SETTINGS, WEIGHTS, Settings, Tagger, save_settings
from chimed_rag.errors import InputError, MissingExtraError
from chimed_rag.text import fold

DRUGS, SITES = ["奥美拉唑", "阿司匹林", "头孢克洛", "维生素B1"], ["胃", "肝", "左肺"]


def record(*parts: str) -> tuple[str, list[Span]]:
    """A text of parts, those that are names marked."""
    text, spans = "", []
    for part in parts:
        kind = "药物" if part in DRUGS else "部位" if part in SITES else ""
        if kind:
            spans.append(Span(part, kind, len(text), len(text) + len(part)))
        text += part
    return text, spans


RECORDS = [record("口服", drug, "，", site, "不适。", "无肝炎。") for drug in DRUGS for site in SITES]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tagger of twelve made-up records, trained in a moment."""
    folder = tmp_path_factory.mktemp("tagger")
    names = known_names(RECORDS)
    trainer = pycrfsuite.Trainer(algorithm="lbfgs", verbose=False)
    trainer.set_params({"c1": 0.0, "c2": 0.1, "max_iterations": 30})
    lists = Lists({}, {})
    for text, spans in RECORDS:
        labels = encoded(len(text), [(span.type, span.start, span.end) for span in spans])
        for begin, end in pieces(text):
            trainer.append(pycrfsuite.ItemSequence(features(text[begin:end], lists)), labels[begin:end])
    trainer.train(str(folder / WEIGHTS))
    save_settings(Settings(name="test", types=["药物", "部位"], names=names, lexicon={}), folder)
    return folder


def test_names_know_how_often_they_were_entities() -> None:
    names = known_names(RECORDS)
    assert names["阿司匹林"] == Known("药物", 1.0)
    assert names["维生素b1"] == Known("药物", 1.0)
    # 肝 stands in each of the 12 records in 肝炎 and in 4 by itself.
    assert names["肝"] == Known("部位", 0.25)


def test_the_longest_name_covers_its_characters() -> None:
    names = Names({"左肺": Known("部位", 1.0), "肺": Known("部位", 0.5), "胃": Known("部位", 0.1)})
    assert names.covers("左肺肺胃，") == ["B部位4", "E部位4", "S部位2", "S部位0", "O"]
    assert Names({}).covers("胃") == ["O"]


def test_beginnings_and_endings_of_two_names_are_known() -> None:
    names = {
        name: Known(kind, 1.0) for name, kind in (("胃癌", "病"), ("肝癌", "病"), ("肝脏", "位"), ("胃大切", "术"))
    }
    lists = Lists(names, {})
    assert lists.endings == {"癌": "病1"}
    # 胃 and 肝 begin two names each, of two types: no type has two.
    assert lists.beginnings == {}
    assert lists.affixes("肺癌。", 1) == ["e1病1"]
    assert lists.affixes("肺癌。", 0) == ["E1病1"]
    assert lists.affixes("肺癌。", 2) == lists.affixes("癌", 0)[1:] == []


@given(st.text(alphabet="肝，。！\n\ud800a", max_size=40))
def test_pieces_lose_nothing_and_every_character_has_features(text: str) -> None:
    assert "".join(text[begin:end] for begin, end in pieces(text)) == text
    assert all(len(features(text[begin:end], Lists({}, {}))) == end - begin for begin, end in pieces(text))


def test_a_text_without_a_stop_is_cut() -> None:
    assert [end - begin for begin, end in pieces("肝" * 2500 + "。")] == [1000, 1000, 501]


def places(spans: Sequence[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    return sorted(spans, key=lambda one: one[1])


@given(st.lists(st.tuples(st.sampled_from("甲乙"), st.integers(0, 9), st.integers(0, 9)), max_size=6))
def test_labels_and_places_are_one(spans: list[tuple[str, int, int]]) -> None:
    kept = decoded(encoded(9, spans))
    assert set(kept) <= set(spans)
    assert decoded(encoded(9, kept)) == places(kept)


def test_overlapping_places_and_broken_labels() -> None:
    assert decoded(encoded(5, [("乙", 1, 3), ("甲", 0, 3), ("甲", 0, 2), ("乙", 3, 4)])) == [("甲", 0, 3), ("乙", 3, 4)]
    assert decoded(["I-甲", "I-乙", "B-乙", "S-乙", "E-甲"]) == [
        ("甲", 0, 1), ("乙", 1, 2), ("乙", 2, 3), ("乙", 3, 4), ("甲", 4, 5),
    ]  # fmt: skip


def test_it_marks_what_it_learned_and_by_context(model: Path) -> None:
    tagger = Tagger(model)
    assert tagger.types == ["药物", "部位"]
    text, spans = record("口服", "维生素B1", "，", "左肺", "不适。")
    assert tagger.tag(text) == spans
    assert tagger.tag("请口服青霉素钠，无肝炎。")[0][:2] == ("青霉素钠", "药物")
    assert tagger.tag("") == tagger.tag("。\n\n") == []


def test_places_hold_in_long_and_odd_texts(model: Path) -> None:
    tagger = Tagger(model)
    text = "\ud800口服阿司匹林，" * 300
    found = tagger.tag(text)
    assert len(found) > 200
    assert all(text[span.start : span.end] == span.text for span in found)
    assert [span.start for span in found] == sorted(span.start for span in found)


def test_many_threads_get_what_one_gets(model: Path) -> None:
    tagger = Tagger(model)
    texts = [text * 3 for text, _ in RECORDS] * 10
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(tagger.tag, texts)) == [tagger.tag(text) for text in texts]


def test_a_folder_that_is_none_is_refused_with_the_command(model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no whole tagger.*python -m training tagger"):
        Tagger(tmp_path)
    broken = shutil.copytree(model, tmp_path / "cut")
    weights = (broken / WEIGHTS).read_bytes()
    (broken / WEIGHTS).write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    with pytest.raises(InputError, match=r"crf.crfsuite is damaged"):
        Tagger(broken)
    older = shutil.copytree(model, tmp_path / "old")
    settings = json.loads((older / SETTINGS).read_text("utf-8"))
    (older / SETTINGS).write_text(json.dumps(settings | {"features": 0}), "utf-8")
    with pytest.raises(InputError, match="trained on features 0"):
        Tagger(older)
    (older / SETTINGS).write_text(json.dumps(settings | {"unknown": 0}), "utf-8")
    with pytest.raises(InputError, match="no whole tagger"):
        Tagger(older)


def test_without_crfsuite_the_message_names_the_command(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycrfsuite", None)
    with pytest.raises(MissingExtraError, match=r"pycrfsuite is not installed; run: pip install"):
        Tagger(model)


def test_medqa_extracts_by_names_or_by_a_tagger(model: Path, ward: Path) -> None:
    with MedQA.load(ward) as qa:
        assert [(one.text, one.kind) for one in qa.extract("口服芬必得")] == [("芬必得", "drug")]
    with MedQA.load(ward, config=Config(tagger=str(model))) as qa:
        [drug, *_] = qa.extract("口服阿司匹林，胃不适。")
        assert (drug.text, drug.canonical, drug.kind, drug.start, drug.end) == ("阿司匹林", "阿司匹林", "药物", 2, 6)
    with MedQA.load(ward, config=Config(tagger=str(model / "nowhere"))) as qa, pytest.raises(InputError):
        qa.extract("胃")


def test_the_words_of_a_span_are_the_texts_own(model: Path) -> None:
    [span] = Tagger(model).tag("口服维生素ｂ１。")
    assert (span.text, fold(span.text)) == ("维生素ｂ１", "维生素b1")
