"""What follows from the numbers of a passage, and whose they are."""

import pytest

from chimed_rag.safety.alignment import read
from chimed_rag.safety.comparison import numbers


def fault(sentence, passage):
    sources = [read(passage)]
    return numbers(read(sentence), sources, [], lambda: sources)[1]


@pytest.mark.parametrize(
    ("sentence", "passage"),
    [
        ("术后第四天发热。", "术后3～6天可发热。"),
        ("三级烧伤可手术。", "Ⅱ～Ⅳ级烧伤可手术。"),
        ("七岁的孩子一次吃两片。", "4～6岁一次1片，7～9岁一次2片。"),
        ("至少要吃半年。", "疗程6～12个月。"),
        ("最多放三天。", "必要时可延至72小时。"),
        ("两天内不能吃该药。", "造影后停用至少48小时。"),
        ("停药五周以后才能换药。", "停药后隔5周换药。"),
        ("静推30毫克，至少要十分钟。", "静推不超过3mg/min。"),
        ("5克甲物需乙物50毫克。", "1g甲物需乙物10mg。"),
        ("一天总共1.5克。", "口服0.5g，tid。"),
        ("连用三天共1.5克。", "每日1次，0.5g，共3天。"),
        ("用量是平时的四倍。", "平时0.2g，重症0.8g。"),
        ("他隔十二小时吃一回。", "口服，q12h。"),
        ("一瓶药都可以冷藏。", "药可冷藏。"),
        ("碘131治疗后多饮水。", "¹³¹I治疗后多饮水。"),
    ],
)
def test_what_follows(sentence, passage):
    assert fault(sentence, passage) == ""


@pytest.mark.parametrize(
    ("sentence", "passage"),
    [
        ("术后第九天发热。", "术后3～6天可发热。"),
        ("七岁的孩子一次吃一片。", "4～6岁一次1片，7～9岁一次2片。"),
        ("至少要吃一年。", "疗程6～12个月。"),
        ("最多放五天。", "必要时可延至72小时。"),
        ("静推30毫克，至少要五分钟。", "静推不超过3mg/min。"),
        ("5克甲物需乙物80毫克。", "1g甲物需乙物10mg。"),
        ("每日口服15毫克。", "口服15mg，每周1次。"),
        ("用量是平时的五倍。", "平时0.2g，重症0.8g。"),
        ("4小时起效。", "1小时起效，维持4小时。"),
        ("维持量300mg。", "首剂300mg，继以100mg。"),
        ("阿司匹林维持10小时。", "阿司匹林维持4小时；布洛芬维持10小时。"),
        ("每天只吃一次。", "一次6g，一日3次。"),
    ],
)
def test_what_does_not(sentence, passage):
    assert fault(sentence, passage)
