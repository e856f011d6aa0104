"""The proof on pairs written by hand: what follows from a passage is kept, the rest is caught, at the right step."""

from pathlib import Path

import pytest

from chimed_rag.records import Draft, DraftCitation, DraftSentence, Evidence
from chimed_rag.safety.citations import CHECKS, verify

STEP = {
    "number": {"numbers_agree"},
    "unit": {"numbers_agree"},
    "frequency": {"numbers_agree"},
    "negation": {"negation_agrees", "strength_agrees"},
    "strength": {"strength_agrees", "negation_agrees"},
    "population": {"population_agrees", "names_agree", "strength_agrees"},
    "drug": {"names_agree"},
    "disease": {"names_agree", "strength_agrees"},
}


def pairs():
    passage = None
    for line in Path(__file__).with_name("proof_by_hand.tsv").read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            kind, text = line.split("\t")
            if kind == "p":
                passage = text.split("|")
            else:
                yield kind, text, *passage


def prove(text, title, heading, passage):
    evidence = Evidence(
        number=1, chunk_id="c", document_id="d", text=passage, start=0, end=len(passage), score=1.0, title=title,
        headings=(heading,),
    )  # fmt: skip
    draft = Draft(generator="t", sentences=(DraftSentence(text=text, citations=(DraftCitation(number=1),)),))
    (sentence,) = verify(draft, [evidence], {"d": passage}.__getitem__)
    assert all(passage[cited.start : cited.end] == cited.quote for cited in sentence.citations)
    assert tuple(check.name for check in sentence.checks) == CHECKS
    return sentence


def test_there_are_enough_of_each():
    kinds = [kind for kind, *_ in pairs()]
    assert kinds.count("+") >= 90 and len(kinds) - kinds.count("+") >= 150


def test_what_follows_is_kept():
    lost = [text for kind, text, *place in pairs() if kind == "+" and prove(text, *place).verdict != "supported"]
    assert len(lost) <= 0.03 * 93, lost


def test_what_does_not_follow_is_caught_at_its_step():
    proved, elsewhere = [], []
    false = [pair for pair in pairs() if pair[0] != "+"]
    for kind, text, *place in false:
        sentence = prove(text, *place)
        failed = {check.name for check in sentence.checks if check.verdict == "failed"}
        if sentence.verdict == "supported":
            proved.append(text)
        elif not failed & (STEP.get(kind, failed) | {"quote_found"}):
            elsewhere.append((kind, text, failed))
    assert len(proved) <= 0.05 * len(false), proved
    assert len(elsewhere) <= 0.05 * len(false), elsewhere


DOSE = ("甲药", "用法", "成人每次50 mg，每日三次，儿童每次5 mg。孕妇禁用，老年人慎用。")


@pytest.mark.parametrize(
    ("text", "step", "told"),
    [
        ("成人每次5 mg，每日三次。", "numbers_agree", "不同于原文的“成人每次50 mg”"),
        ("成人每次50 g，每日三次。", "numbers_agree", "“50 g”不同于原文的“50 mg”"),
        ("成人每次50 mg，每日两次。", "numbers_agree", "“每日两次”不同于原文的“每日三次”"),
        ("成人每次70 mg，每日三次。", "numbers_agree", "“70 mg”不同于原文的“50 mg”"),
        ("孕妇慎用，老年人禁用。", "strength_agrees", "“慎用”不同于原文的“禁用”"),
        ("老年人每次50 mg，每日三次。", "population_agrees", "“老年人”不同于原文的“成人”"),
        ("孕妇不禁用。", "negation_agrees", "“不禁用”"),
    ],
)
def test_the_reason_names_both_sides(text, step, told):
    checks = {check.name: check for check in prove(text, *DOSE).checks}
    assert checks[step].verdict == "failed"
    assert told in checks[step].detail


@pytest.mark.parametrize(
    "text",
    ["大人一次0.05 g，tid；小孩一次5 mg。", "成年人每回服50毫克，一天三次。", "老年人应谨慎使用，怀孕妇女不能用。"],
)
def test_the_same_in_other_words_passes(text):
    assert prove(text, *DOSE).verdict == "supported"


def test_a_part_of_a_sentence_is_no_quote():
    """It stands there word for word, but for the 不 before it."""
    passage = ("甲药", "", "本品不适用于12岁以下儿童。")
    assert prove("适用于12岁以下儿童。", *passage).verdict == "unsupported"
    assert prove("本品不适用于12岁以下儿童。", *passage).verdict == "supported"


@pytest.mark.parametrize(
    ("text", "passage"),
    [
        ("常见不良反应是皮疹。", "皮疹是常见的副作用。"),  # 不 inside a word denies nothing
        ("非甾体抗炎药可引起出血。", "非甾体抗炎药会导致出血。"),
        ("皮试阳性的人必须停药。", "皮试阳性的人不得不停药。"),  # two denials make a demand
        ("不过，多数患者可以痊愈。", "多数患者可治愈。"),
    ],
)
def test_what_only_looks_like_a_denial(text, passage):
    assert prove(text, "", "", passage).verdict == "supported"


def test_a_restriction_must_not_be_dropped():
    passage = ("甲药", "禁忌", "儿童禁用甲药。")
    sentence = prove("禁用甲药。", *passage)
    (failed,) = [check for check in sentence.checks if check.verdict == "failed"]
    assert (failed.name, failed.detail) == ("population_agrees", "丢了原文的“儿童”")


def test_a_title_supplies_the_subject_and_no_other_does():
    passage = ("华法林", "不良反应", "可引起牙龈出血和皮肤坏死。")
    assert prove("华法林可引起牙龈出血和皮肤坏死。", *passage).verdict == "supported"
    assert prove("阿司匹林可引起牙龈出血和皮肤坏死。", *passage).verdict == "unsupported"


def test_items_and_numbers_go_by_rank():
    passage = ("", "", "白细胞、血小板的下限分别为4和100。")
    assert prove("血小板的下限为100。", *passage).verdict == "supported"
    assert prove("血小板的下限为4。", *passage).verdict == "unsupported"
