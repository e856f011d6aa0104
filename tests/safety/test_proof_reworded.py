"""What the proof makes of misread print, of everyday words, of 都, 只有 and 先."""

import time

import pytest

from chimed_rag.records import Draft, DraftCitation, DraftSentence, Evidence
from chimed_rag.safety.citations import verify
from chimed_rag.safety.measures import measures
from chimed_rag.safety.scanning import mend, mend_names


def prove(text, passage, title=""):
    evidence = Evidence(
        number=1, chunk_id="c", document_id="d", text=passage, start=0, end=len(passage), score=1.0, title=title
    )
    draft = Draft(generator="t", sentences=(DraftSentence(text=text, citations=(DraftCitation(number=1),)),))
    (sentence,) = verify(draft, [evidence], {"d": passage}.__getitem__)
    assert all(passage[cited.start : cited.end] == cited.quote for cited in sentence.citations)
    return sentence


@pytest.mark.parametrize(
    ("printed", "meant"),
    [
        ("lOOmg", "100mg"),
        ("l2~24小时", "12~24小时"),
        ("IO mg", "10 mg"),
        ("2.5-5. Omg/kg", "2.5-5.0 mg/kg"),
        ("15µ,g", "15µg "),
        ("100xl09/L", "100x109/L"),
        ("由千病入大千", "由于病人大于"),
        ("10IU", "10IU"),
        ("HIV-l感染", "HIV-l感染"),
        ("5l水", "5l水"),
        ("病入院后3千克", "病入院后3千克"),
        ("成千上万", "成千上万"),
    ],
)
def test_misread_print_is_mended_in_place(printed, meant):
    assert mend(printed) == meant and len(mend(printed)) == len(printed)


@pytest.mark.parametrize(
    ("name", "kind", "passage", "found"),
    [
        ("酮康唑", "drug", "酮康嗤有肝毒性", True),
        ("左氧氟沙星", "drug", "左氧氮沙星口服", True),
        ("子痫前期", "disease", "重度子病前期", True),
        ("缬沙坦", "drug", "氯沙坦口服", False),  # another drug
        ("乙型肝炎", "disease", "丙型肝炎", False),
        ("甲硝唑", "drug", "替硝嗤", False),
        ("胃癌", "disease", "肺癌", False),  # too short to tell
    ],
)
def test_a_misread_name_is_found_and_another_one_is_not(name, kind, passage, found):
    mended = mend_names(passage, ((name, kind),))
    assert (name in mended) is found and len(mended) == len(passage)


@pytest.mark.parametrize(
    ("text", "low", "high", "unit"),
    [
        ("三到五成", 0.3, 0.5, ""),
        ("1/10~1/3", 0.1, 1 / 3, ""),
        ("一两个小时", 1 / 24, 2 / 24, "d"),
        ("一天半", 1.5, 1.5, "d"),
        ("一年半", 18.0, 18.0, "月"),
        ("＞14mmoVL", 0.014, 0.014, "mol/L"),
    ],
)
def test_measures_as_people_say_and_scanners_read_them(text, low, high, unit):
    (measure,) = measures(text)
    assert (measure.low, measure.high) == (pytest.approx(low), pytest.approx(high))
    assert (measure.unit, measure.text) == (unit, text)


KEPT = [
    ("有三到五成的人会头痛。", "30%～50%的患者出现头痛。"),
    ("用药后一天之内退热。", "用药后12～24小时内退热。"),
    ("近九成的人会退热。", "88%的患者退热。"),
    ("从每次5 mg起，可加到每次10 mg。", "开始每次5mg，以后可增加到每次lOmg。"),
    ("氟康唑口服吸收完全，主要由肾脏排出。", "氟康嗤为广谱抗真菌药。口服吸收完全，主要经肾排泄。"),
    ("得了乙肝要定期复查肝功能。", "乙型肝炎患者应定期复查肝功能。"),
    ("肾衰竭病人要限制饮水。", "肾功能衰竭患者需限制饮水。"),
    ("血压居高不下的人容易中风。", "血压持续升高的人易发生中风。"),
    ("可以口服补液。", "宜口服补液。"),
    ("不一定会发热。", "不一定有发热。"),
]


@pytest.mark.parametrize(("text", "passage"), KEPT)
def test_the_same_in_everyday_words_is_kept(text, passage):
    sentence = prove(text, passage)
    assert sentence.verdict == "supported", [check for check in sentence.checks if check.verdict == "failed"]


CAUGHT = [
    ("患者的红疹都在3天内消退。", "患者的红疹多在3天内消退。", "strength_agrees"),
    ("患者都有头痛。", "患者60%有头痛。", "strength_agrees"),
    ("只有发热时才需要复查血常规。", "无论是否发热，均应复查血常规。", "strength_agrees"),
    ("应先服退热药，再抽血化验。", "应先抽血化验，再服退热药。", "strength_agrees"),
    ("心功能不全的病人都可以用甲药。", "甲药用于心功能不全，但血压低者不宜使用。", "strength_agrees"),
    ("确诊肺炎时应拍胸片。", "怀疑肺炎时应拍胸片。", "strength_agrees"),
    ("不定期复查肝功能。", "应定期复查肝功能。", "strength_agrees"),
    ("拆线后几天内不要沾水。", "拆线后数周内不要沾水。", "strength_agrees"),
    ("旋覆花要先煎。", "旋覆花宜包煎。", "strength_agrees"),
    ("健康人应侧卧并保持呼吸道通畅。", "昏迷的人应侧卧，并保持呼吸道通畅。", "population_agrees"),
    ("有三到五成的人会头痛。", "20%～30%的患者出现头痛。", "numbers_agree"),
    ("用药后一天之内退热。", "用药后2～3天内退热。", "numbers_agree"),
    ("缬沙坦口服吸收完全，主要由肾脏排出。", "氯沙坦为降压药。口服吸收完全，主要经肾排泄。", "names_agree"),
]


@pytest.mark.parametrize(("text", "passage", "step"), CAUGHT)
def test_what_the_passage_does_not_say_is_caught_at_its_step(text, passage, step):
    sentence = prove(text, passage)
    assert sentence.verdict == "unsupported"
    assert step in [check.name for check in sentence.checks if check.verdict == "failed"]


@pytest.mark.parametrize("piece", ["l0", "lO.I", "先服药再", "都只有才", "唑嗤", "1/2~", "一两个半"])
def test_endless_text_does_not_hang(piece):
    text = piece * (20_000 // len(piece))
    start = time.perf_counter()
    mend(text)
    prove(text[:2000], "应先抽血，再服酮康嗤。" + text)
    assert time.perf_counter() - start < 5
