"""Chunks: whole sentences, doses and values, headings that travel along, offsets that lead back."""

from __future__ import annotations

import gzip
import json
import random
import re
from bisect import bisect_left
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from chimed_rag.config import Chunking
from chimed_rag.corpus.chunker import chunk
from chimed_rag.corpus.cleaner import clean
from chimed_rag.quantities import protected_spans
from chimed_rag.records import Chunk, Document
from chimed_rag.text import fold, sentence_spans

FEW = settings(max_examples=100, deadline=None)
SMALL = Chunking(max_chars=60, min_chars=15)

DRUGS = st.sampled_from(["布洛芬", "阿莫西林胶囊 ", "NT-proBNP ", "空腹血糖≥", "血钾：", "维生素B12 "])
NUMBERS = st.sampled_from(["0.2", "5", "0.5~1.0", "3.9-6.1", "1850"])
UNITS = st.sampled_from(["g", "mg/kg·d", "mmol/L", "pg/mL", "片", "g/次，一日3次", "%"])
DOSES = st.builds("{}{}{}".format, DRUGS, NUMBERS, UNITS)
CLAUSES = st.one_of(DOSES, st.text(alphabet="患者的治疗方案应当谨慎", min_size=1, max_size=30))
MARKS = st.sampled_from(["，", "、", "。", "；", "\n", "。\n", " ", ",", "！", ""])
HEADINGS = st.sampled_from(
    ["【适应症】", "\n## 用法\n", "\n# 总论\n", "\n一、概述\n", "\n（一）病因\n", "\n第二章 治疗\n", "\n1.1 标题\n"]
)
PIECES = st.one_of(
    CLAUSES, CLAUSES, MARKS, HEADINGS, st.sampled_from(["\u200b", "１２", "\r\n", "\u3000", "（见上。）"])
)
TEXTS = st.lists(PIECES, max_size=60).map("".join)
SETTINGS = st.builds(Chunking, max_chars=st.integers(20, 120), min_chars=st.integers(0, 60))


def document(text: str, **fields: object) -> Document:
    return Document.model_validate({"id": "d", "text": text, **fields})


def without_blanks(text: str) -> str:
    return re.sub(r"\s", "", text)


def splits(spans: list[tuple[int, int]], place: int) -> bool:
    i = bisect_left(spans, (place,)) - 1
    return i >= 0 and spans[i][1] > place


def assert_sound(source: Document, chunks: list[Chunk], chunking: Chunking) -> None:
    """What holds for every chunking without overlap."""
    view = clean(source.text, source.pages)
    assert without_blanks("".join(found.text for found in chunks)) == without_blanks(view.text)
    assert [found.id for found in chunks] == [f"{source.id}#{n:04d}" for n in range(len(chunks))]
    protected = protected_spans(view.text)
    sentences = [span for span in sentence_spans(view.text) if span[1] - span[0] <= chunking.max_chars]
    offset = 0
    for found in chunks:
        begin = view.text.index(found.text, offset)
        offset = begin + len(found.text)
        assert found.text == found.text.strip() != ""
        assert not splits(protected, begin)
        assert not splits(protected, offset)
        assert not splits(sentences, offset) or "【" in view.text  # an inline heading may open inside a sentence
        assert_leads_back(source, found)


def assert_leads_back(source: Document, found: Chunk) -> None:
    for begin, end in [(0, len(found.text)), (0, len(found.text) // 2), (len(found.text) // 3, len(found.text))]:
        original = "".join(source.text[low:high] for low, high in found.source_spans(begin, end))
        assert re.sub(r"\s", " ", fold(original)) == re.sub(r"\s", " ", fold(found.text[begin:end]))
    spans = found.source_spans(0, len(found.text))
    assert (spans[0][0], spans[-1][1]) == (found.start, found.end)


@FEW
@given(TEXTS, SETTINGS)
def test_chunks_are_sound(text: str, chunking: Chunking) -> None:
    source = document(text)
    assert_sound(source, chunk(source, chunking), chunking)


@FEW
@given(st.lists(DOSES, min_size=5, max_size=30), st.sampled_from(["", "，", "。", "、"]))
def test_doses_and_values_are_never_split(doses: list[str], mark: str) -> None:
    text = mark.join(doses)
    source = document(text)
    chunks = chunk(source, Chunking(max_chars=40))
    assert_sound(source, chunks, Chunking(max_chars=40))
    if mark:
        assert all(any(dose in found.text for found in chunks) for dose in doses)


def test_a_short_text_is_one_chunk() -> None:
    (found,) = chunk(document("  布洛芬０.２g，一日3次。\n饭后服用。 \n"))
    assert (found.text, found.start, found.end, found.runs) == ("布洛芬0.2g，一日3次。\n饭后服用。", 2, 21, ())
    assert (found.id, found.page, found.headings, found.metadata) == ("d#0000", None, (), {})


@pytest.mark.parametrize("text", ["", " \n\u3000", "\u200b\ufeff"])
def test_nothing_gives_nothing(text: str) -> None:
    assert chunk(document(text)) == []


def test_headings_travel_along() -> None:
    body = "这一段写得足够长，" * 9 + "到此为止。"
    chunks = chunk(document(f"# 高血压\n开头。\n## 治疗\n### 药物\n{body}\n## 预防\n{body}", title="高血压"))
    assert [found.headings for found in chunks] == [(), ("治疗", "药物"), ("预防",)]
    assert chunks[1].text == f"## 治疗\n### 药物\n{body}"
    text = f"第二章 预防\n一、饮食\n（一）限盐\n{body}\n（二）限酒\n{body}\n二、运动\n{body}\n第三章 护理\n{body}"
    assert [found.headings for found in chunk(document(text))] == [
        ("第二章 预防", "一、饮食", "（一）限盐"),
        ("第二章 预防", "一、饮食", "（二）限酒"),
        ("第二章 预防", "二、运动"),
        ("第三章 护理",),
    ]


def test_decimal_headings_but_not_values_or_list_items() -> None:
    body = "说明文字，" * 30 + "完。"
    text = f"1.1 定义\n{body}\n1.2 诊断\n{body}\n3.5 mmol/L\n1.5倍\n一、多喝水，少熬夜。\n（一）注意休息；\n{body}"
    assert {found.headings for found in chunk(document(text))} == {("1.1 定义",), ("1.2 诊断",)}


def test_a_leaflet_keeps_its_sections() -> None:
    dose = "【用法用量】" + "口服。成人一次0.2g，一日3次，饭后服用。" * 24
    text = f"【药品名称】布洛芬片\n【性状】白色片。{dose}\n【禁忌】" + "孕妇禁用，" * 20 + "详见【注意事项】。"
    chunks = chunk(document(text))
    assert 400 < len(dose) <= 600
    assert [(found.headings, found.text[:6]) for found in chunks] == [
        ((), "【药品名称】"),
        (("用法用量",), "【用法用量】"),
        (("禁忌",), "【禁忌】孕妇"),
    ]
    assert chunks[1].text == dose
    assert chunks[2].text.endswith("详见【注意事项】。")


def test_a_long_section_is_cut_at_sentences_with_its_heading() -> None:
    chunks = chunk(document("【药理】" + "本品抑制环氧合酶，减少前列腺素合成。" * 80))
    assert len(chunks) > 2
    assert {found.headings for found in chunks} == {("药理",)}
    assert all(len(found.text) <= 400 and found.text.endswith("。") for found in chunks)


def test_paragraphs_are_preferred_and_titles_stay_with_their_text() -> None:
    paragraph = "患者应当规律服药。" * 30
    chunks = chunk(document(f"{paragraph}\n慢性型\n{paragraph}"))
    assert [found.text for found in chunks] == [paragraph, f"慢性型\n{paragraph}"]


def test_a_long_sentence_is_cut_at_clauses() -> None:
    chunks = chunk(document("患者服用阿莫西林0.5g，" * 100), Chunking(max_chars=100))
    assert all(len(found.text) <= 100 and found.text.endswith("，") for found in chunks)


def test_overlap_repeats_sentences_within_the_size() -> None:
    text = "".join(f"第{n}句说明应当按时服药。" for n in "甲乙丙丁戊己庚辛壬癸")
    chunks = chunk(document(text), Chunking(max_chars=60, overlap_sentences=1))
    assert all(len(found.text) <= 60 for found in chunks)
    for before, after in pairwise(chunks):
        assert before.end > after.start
        assert after.text.startswith(before.text.split("。")[-2])


def test_pages_and_an_interrupted_sentence() -> None:
    pages = ["指南共识\n患者应当按时服用\n1\n", "指南共识\n布洛芬0.2g。\n2\n", "指南共识\n完。\n3\n"]
    starts = (0, len(pages[0]), len(pages[0] + pages[1]))
    source = document("".join(pages), pages=starts)
    (found,) = chunk(source)
    assert found.text == "患者应当按时服用布洛芬0.2g。\n完。"
    assert found.page == 1
    spans = found.source_spans(6, 15)
    assert [source.text[begin:end] for begin, end in spans] == ["服用", "布洛芬0.2g"]
    assert [piece.page for piece in chunk(source, Chunking(max_chars=20))] == [1]
    long_pages = ["甲" * 30 + "。\n", "乙" * 30 + "。\n"]
    source = document("".join(long_pages), pages=(0, 32))
    assert [piece.page for piece in chunk(source, Chunking(max_chars=40))] == [1, 2]


def test_settings_are_checked() -> None:
    with pytest.raises(ValidationError):
        Chunking.model_validate({"max_chars": 0})
    with pytest.raises(ValidationError):
        Chunking.model_validate({"size": 100})


@pytest.mark.parametrize("piece", ["患者", "布洛芬0.2g", "，", "（（"])
def test_a_million_characters_in_one_line(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    chunks = chunk(document(text))
    assert sum(len(without_blanks(found.text)) for found in chunks) == len(without_blanks(clean(text).text))


@pytest.mark.parametrize("piece", ["1次,", "【甲】", "x\u200b", "# 甲\n", "甲。\n"])
def test_awkward_long_text(piece: str) -> None:
    text = piece * (100_000 // len(piece))
    chunks = chunk(document(text))
    assert sum(len(without_blanks(found.text)) for found in chunks) == len(without_blanks(clean(text).text))


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["disease_encyclopedia", "textbooks", "drug_leaflets"])
def test_real_literature(name: str, shared_data: Path) -> None:
    with gzip.open(shared_data / f"corpora/{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [row for line in lines if len(row := json.loads(line)["text"]) > 100]
    for text in random.Random(7).sample(rows, 300):
        for chunking in (SMALL, Chunking()):
            source = document(text)
            assert_sound(source, chunk(source, chunking), chunking)
