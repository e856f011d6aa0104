from itertools import pairwise

import pytest

from chimed_rag.safety.conversion import agree, comparable
from chimed_rag.safety.measures import measures


def one(text):
    (found,) = measures(text)
    return found


def same(said, source, before=""):
    return agree(one(said), one(source), before)


@pytest.mark.parametrize(
    ("said", "source"),
    [
        ("0.2 g", "200毫克"),
        ("50微克", "0.05 mg"),
        ("TID", "每日三次"),
        ("每8小时一次", "一日3次"),
        ("q12h", "每日2次"),
        ("一天最多4次", "24小时内不超过4次"),
        ("每日口服三次", "3次/日"),
        ("隔日一次", "qod"),
        ("24小时", "1天"),
        ("4周", "28天"),
        ("半年", "6个月"),
        ("60分钟", "1小时"),
        ("未满12岁", "12岁以下"),
        ("不少于3天", "至少3天"),
        ("≥7.0mmol/L", ">7.0 mmol/L"),
        ("5‰", "0.5%"),
        ("百分之二十", "20%"),
        ("三分之一", "1/3"),
        ("Ⅱ型", "2型"),
        ("第一剂", "首剂"),
        ("12 g/dL", "120 g/L"),
        ("10万/μL", "100×10^9/L"),  # 1e5 in 1e-6 L are 1e11 in a litre
        ("每分钟100～120次", "100～120次/分"),
        ("0.1 U/(kg·h)", "每小时每千克体重0.1单位"),
        ("半小时至1小时", "30～60分钟"),
        ("6个月至5岁", "6月龄～60月龄"),
        ("孕20周前", "孕20周以前"),
        ("5分钟之内", "5分钟内"),
        ("300mg/d", "每日300毫克"),
        ("0.2g/次", "每次200mg"),
        ("别拖过六个钟头", "不超过6小时"),
        ("每升1克", "1g/L"),
        ("每分钟4mg", "4mg/min"),
        ("六个单位", "6U"),
        ("每次1/4片", "0.25片/次"),
        ("每四小时吃一次", "q4h"),
    ],
)
def test_the_same_in_other_words(said, source):
    assert same(said, source) and same(source, said)


@pytest.mark.parametrize(
    ("said", "source"),
    [
        ("5 mg", "50 mg"),
        ("5 mg", "5 g"),
        ("5 mg", "5 mL"),
        ("每日两次", "每日三次"),
        ("每8小时一次", "每日2次"),
        ("12岁", "12个月"),
        ("12岁以上", "12岁以下"),
        ("≤5.1mmol/L", "≥5.1mmol/L"),
        ("4次", "不超过4次"),  # a bound that was lost
        ("每次5mg", "每日5mg"),
        ("10～20 mg", "10 mg"),
        ("孕20周后", "孕20周前"),
        ("Ⅱ期", "Ⅲ期"),
        ("130 mmHg", "130 kPa"),
        ("每月", "每年"),
    ],
)
def test_another_value(said, source):
    assert not same(said, source)


@pytest.mark.parametrize(
    ("said", "source", "substance"),
    [
        ("126 mg/dL", "7.0 mmol/L", "空腹血糖"),  # 7.0 * 18.016 = 126.1
        ("200 mg/dL", "5.2 mmol/L", "总胆固醇"),  # 5.2 * 38.67 = 201.1
        ("150 mg/dL", "1.7 mmol/L", "甘油三酯"),  # 1.7 * 88.57 = 150.6
        ("7 mg/dL", "420 μmol/L", "血尿酸"),  # 7 * 59.48 = 416.4
        ("1.5 mg/dL", "133 μmol/L", "血肌酐"),  # 1.5 * 88.4 = 132.6
        ("10 mg/dL", "2.5 mmol/L", "血钙"),  # 2.5 * 4.008 = 10.02
        ("20 mg/dL", "342 μmol/L", "总胆红素"),  # 20 * 17.1 = 342
    ],
)
def test_amounts_and_masses_convert_by_the_substance(said, source, substance):
    assert same(said, source, substance) and same(source, said, substance)
    assert not same(said, source, "")  # nobody knows of what
    assert not same("12 mg/dL", "7.0 mmol/L", substance)


def test_a_week_is_no_day():
    week, day = measures("每周减轻1 kg")[-1], one("每日减轻1 kg")
    assert (week.per, day.per) == ("week", "day") and not agree(week, day)


def test_what_compares_with_what():
    assert comparable(one("5 mg"), one("5 kg")) and comparable(one("7 mmol/L"), one("126 mg/dL"))
    assert not comparable(one("5 mg"), one("5 mL"))


def test_names_with_digits_are_no_numbers():
    assert measures("维生素B12、CA125和HbA1c") == []
    assert [measure.text for measure in measures("拨打120，服5天")] == ["120", "5天"]


def test_a_bound_takes_its_words_along_but_no_modal():
    assert one("不得超过5天").text == "不得超过5天"
    found = one("至少应坚持1年")
    assert (found.text, found.bound) == ("1年", "more")


def test_measures_do_not_overlap_in_whatever_text():
    text = "1/2片，第1天5～10mg/kg，每日3次，不超过4次；6个月至5岁≥7.0×10^9/L。" * 50
    found = measures(text)
    assert all(one.end <= other.start for one, other in pairwise(found))
    assert all(0 <= measure.start < measure.end <= len(text) for measure in found)


SPOKEN = [
    ("两个半小时", "2.5小时"), ("一升七", "1700毫升"), ("三个礼拜", "21天"), ("一刻钟", "15分钟"), ("七成五", "75%"),
    ("三十八度五", "38.5℃"), ("一百六十毫克", "160毫克"), ("一千五百毫升", "1.5升"), ("二三十分钟", "20～30分钟"),
    ("零点二五毫克", "0.25毫克"), ("5.6毫摩尔每升", "5.6 mmol/L"), ("一分钟110下", "110次/分"),
    ("一周吃两回", "每周2次"),
    ("三个多月", "3个月以上"), ("年逾60岁", "60岁以上"), ("四十岁往上", "40岁以上"), ("百分之三十到五十", "30%～50%"),
]  # fmt: skip


@pytest.mark.parametrize(("spoken", "printed"), SPOKEN)
def test_what_people_say_is_what_books_print(spoken, printed):
    assert agree(one(spoken), one(printed)), measures(spoken)


def test_a_bare_number_takes_the_unit_and_a_pressure_the_bound_of_the_next():
    assert [found.key for found in measures("15和20毫克")] == [found.key for found in measures("15毫克和20毫克")]
    assert [found.bound for found in measures("低于130/80毫米汞柱")] == ["less", "less"]


def test_words_with_one_are_no_numbers():
    assert measures("那一型靠这药，另一半也要治，摸着一颗颗的，几十天") == []
