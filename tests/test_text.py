"""Normal forms, sentences, protected spans, numbers and units."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimed_rag.quantities import canonical_unit, protected_spans, quantities
from chimed_rag.text import SEEN_BEFORE, fold, plain_forms, sentence_spans, terms

FEW = settings(max_examples=100, deadline=None)
MEDICAL = st.text(
    alphabet="患者血糖布洛芬片每日一二三两次，。；！？、：\n .()（）“”《》【】0123456789gmL/%~-～≥×℃aB·^１．\u3000",
    max_size=200,
)
DRUGS = st.sampled_from(["布洛芬", "阿莫西林胶囊", "二甲双胍", "aspirin", "复方新诺明", "α-干扰素"])
TESTS = st.sampled_from(["NT-proBNP", "血钾", "空腹血糖", "HbA1c", "白细胞", "CA125"])
NUMBERS = st.sampled_from(["0.2", "5", "1,000", "0.5~1.0", "3.9-6.1", "10～15", "２．５", "4.0×10^9"])
UNITS = st.sampled_from(["g", "mg", "片", "毫升", "mg/kg·d", "mmol/L", "pg/mL", "%", "‰", "mmHg", "/L", "万U", "℃"])
VALUE_UNITS = st.sampled_from(["mmol/L", "pg/mL", "%", "‰", "mmHg", "/L", "g/dL", "℃", "μg"])
RATES = st.sampled_from(["", "，一日3次", "，每日三次", "，每8小时1次", " tid"])
BLANK = st.sampled_from(["", " "])


def slices(text: str, spans: list[tuple[int, int]]) -> list[str]:
    return [text[begin:end] for begin, end in spans]


def sentences(text: str) -> list[str]:
    return slices(text, sentence_spans(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("多喝水。注意休息！发热吗？是", ["多喝水。", "注意休息！", "发热吗？", "是"]),
        ("先查血；再查尿;最后复诊……好", ["先查血；", "再查尿;", "最后复诊……", "好"]),
        ("第一行\n\n  第二行 \n", ["第一行", "第二行"]),
        ("1.早期，咳嗽。2.晚期，气喘。", ["1.早期，咳嗽。", "2.晚期，气喘。"]),
        ("咳嗽.发热.1.对症治疗.", ["咳嗽.", "发热.", "1.对症治疗."]),
        ("剂量0.5g，版本v1.2，NT-proBNP升高。", ["剂量0.5g，版本v1.2，NT-proBNP升高。"]),
        ("口服0.5g.一日三次", ["口服0.5g.", "一日三次"]),
        ("抗凝药(e.g.华法林)及E.coli感染", ["抗凝药(e.g.华法林)及E.coli感染"]),
        (
            "It is safe. The dose is 0.5 g. Smith et al. agree.",
            ["It is safe.", "The dose is 0.5 g.", "Smith et al. agree."],
        ),
        ("医生说“多喝水。”然后走了。", ["医生说“多喝水。”", "然后走了。"]),
        ("禁用（见下。慎用！）于孕妇。可用", ["禁用（见下。慎用！）于孕妇。", "可用"]),
        ("《能吃吗？》一文。", ["《能吃吗？》一文。"]),
        ("一.概述", ["一.概述"]),
        ("", []),
        (" \n\u3000\n", []),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


def test_a_wrapped_line_reads_on_but_a_list_does_not() -> None:
    wrapped = "本研究纳入了在三级医院心内科住院的老年高血压患\n者，均长期服药。"
    assert sentences(wrapped) == [wrapped]
    assert len(sentences("本研究纳入了在三级医院心内科住院的老年高血压患者\n1.低盐饮食\n2.适度运动")) == 3


@FEW
@given(MEDICAL)
def test_sentences_cover_every_character_once(text: str) -> None:
    spans = sentence_spans(text)
    assert spans == sorted(spans)
    covered = [i for begin, end in spans for i in range(begin, end)]
    assert len(covered) == len(set(covered))
    assert {i for i, char in enumerate(text) if not char.isspace()} <= set(covered)
    assert all(text[begin:end] == text[begin:end].strip() for begin, end in spans)


@settings(max_examples=200)
@given(st.text(alphabet="水长。．.\n，1、[](（“”》《ag ", max_size=90))
def test_sentences_from_where_one_ended_are_those_of_the_whole(text: str) -> None:
    spans = sentence_spans(text)
    for place, (begin, _) in enumerate(spans):
        cut = max(0, begin - SEEN_BEFORE)
        rest = sentence_spans(text[cut:], begin - cut)
        assert [(start + cut, end + cut) for start, end in rest] == spans[place:]


@FEW
@given(MEDICAL)
def test_no_sentence_ends_inside_a_protected_span(text: str) -> None:
    edges = {edge for span in sentence_spans(text) for edge in span}
    protected = protected_spans(text)
    assert protected == sorted(protected)
    assert all(left[1] <= right[0] for left, right in pairwise(protected))
    assert not [span for span in protected for edge in edges if span[0] < edge < span[1]]


@FEW
@given(DRUGS, BLANK, NUMBERS, BLANK, UNITS, RATES)
def test_a_drug_and_its_dose_are_one_stretch(
    drug: str, blank: str, number: str, gap: str, unit: str, rate: str
) -> None:
    dose = f"{drug}{blank}{number}{gap}{unit}{rate}"
    assert dose in slices(f"可用，{dose}。", protected_spans(f"可用，{dose}。"))


@FEW
@given(TESTS, st.sampled_from(["", " ", "：", ":", "≥", "<"]), NUMBERS, BLANK, VALUE_UNITS)
def test_a_test_and_its_value_are_one_stretch(name: str, sign: str, number: str, gap: str, unit: str) -> None:
    value = f"{name}{sign}{number}{gap}{unit}"
    assert value in slices(f"（{value}）", protected_spans(f"（{value}）"))


@pytest.mark.parametrize(
    "stretch",
    [
        "阿莫西林0.5~1.0g/次，一日3次",
        "血压120/80mmHg",
        "布洛芬（芬必得）0.3g",
        "布洛芬 每次 0.2 g",
        "阿莫西林，口服，一次0.5g，一日3次",
        "血小板(30～80)×109/L",
        "于2023年5月1日",
        "2023-05-01",
        "两片，每日三次",
        "eGFR 60ml/min/1.73m2",
        "体温38.5℃以上",
    ],
)
def test_one_protected_stretch(stretch: str) -> None:
    assert slices(f"。{stretch}。", protected_spans(f"。{stretch}。")) == [stretch]


@pytest.mark.parametrize(
    ("text", "low", "high", "unit"),
    [
        ("0.5~1.0g", 0.5, 1.0, "g"),
        ("１０ｍｇ", 10, 10, "mg"),
        ("2毫克", 2, 2, "mg"),
        ("1,000ML", 1000, 1000, "mL"),
        ("5mg/kg·d", 5, 5, "mg/kg·d"),
        ("≥7.0mmol/L", 7, math.inf, "mmol/L"),
        ("不超过4g", -math.inf, 4, "g"),
        ("3岁以下", -math.inf, 3, "岁"),
        ("4.0×10^9/L", 4e9, 4e9, "/L"),
        ("2～5×10⁹/L", 2e9, 5e9, "/L"),
        ("30～80)×109/L", 30e9, 80e9, "/L"),
        ("1～2万U", 1e4, 2e4, "U"),
        ("5.0±0.5mmol/L", 4.5, 5.5, "mmol/L"),
        ("10%～20%", 10, 20, "%"),
        ("80次/分", 80, 80, "次/min"),
        ("一日3次", 3, 3, "次/d"),
        ("每日二至三次", 2, 3, "次/d"),
        ("每8小时一次", 1, 1, "次/8h"),
        ("q8h", 1, 1, "次/8h"),
        ("tid", 3, 3, "次/d"),
        ("两片", 2, 2, "片"),
        ("半片", 0.5, 0.5, "片"),
        ("二十四小时", 24, 24, "h"),
        ("三五天", 3, 5, "d"),
        ("7.35-7.45", 7.35, 7.45, ""),
        ("5年", 5, 5, "年"),
    ],
)
def test_quantities(text: str, low: float, high: float, unit: str) -> None:
    (found,) = quantities(f"为{text}。")
    assert (found.text, found.start, found.end) == (text, 1, 1 + len(text))
    assert found.unit == unit
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


@pytest.mark.parametrize(
    "text", ["1.早期", "维生素B12片", "2023年5月1日", "十二指肠", "百日咳", "一次性", "半月板", "2型糖尿病"]
)
def test_no_quantities(text: str) -> None:
    assert quantities(text) == []


def test_blood_pressure_is_two_quantities() -> None:
    assert [(q.low, q.unit, q.text) for q in quantities("血压120/80mmHg")] == [
        (120, "mmHg", "120"),
        (80, "mmHg", "80mmHg"),
    ]


@FEW
@given(st.one_of(MEDICAL, st.text(max_size=60)))
def test_quantities_lie_in_order_where_they_say(text: str) -> None:
    found = quantities(text)
    assert all(text[q.start : q.end] == q.text and q.low <= q.high for q in found)
    assert all(left.end <= right.start for left, right in pairwise(found))


@FEW
@given(st.text(max_size=60))
def test_folding_keeps_the_length(text: str) -> None:
    assert len(fold(text)) == len(plain_forms(text)) == len(text)
    assert plain_forms(fold(text)) == fold(text)


def test_radicals_in_the_place_of_characters_are_the_characters() -> None:
    assert fold("⼝服，成⼈⻓期⽤⻝盐⻅效") == "口服，成人长期用食盐见效"
    assert terms("⼝服") == ["口服"]


def test_terms_and_units() -> None:
    assert terms("ＨｂＡ１ｃ偏高，癌 0.5g") == ["hba1c", "偏高", "癌", "0.5g"]
    assert [canonical_unit(unit) for unit in ("MG", "毫克/公斤", "ug/ml", "次/分", "碗")] == [
        "mg", "mg/kg", "μg/mL", "次/min", "碗",
    ]  # fmt: skip


@pytest.mark.parametrize("piece", ["患", "(a", "“", "1次,", "1-", "一", "\n", "a.", "（（）", "1g"])
def test_long_input_without_a_sentence_end(piece: str) -> None:
    text = piece * (200_000 // len(piece))
    assert sentence_spans(text) or not text.strip()
    assert isinstance(protected_spans(text), list)
