"""The prescription lock: what doses the reader goes unless it is quoted; what is general, or another's words, stays."""

from __future__ import annotations

import time

import pytest

from chimed_rag.records import Citation, Sentence
from chimed_rag.safety.prescription import asks_for_prescription, doses, doses_reader, is_quote, lock

# The first half of each list was written before the patterns, the rest where trying them out suggested it.
ASKING = [
    "给我开个药方",
    "帮我开点头孢",
    "我该吃几片",
    "请给我开个处方吧",
    "医生您好，能帮我妈开点降压药吗",
    "我要打多少单位胰岛素",
    "孩子15公斤，布洛芬混悬液喂几毫升",
    "宝宝8个月发烧，美林吃多少毫升",
    "求一个治失眠的药方",
    "我这种情况阿莫西林一次吃几粒合适？",
    "我爸肌酐高，二甲双胍用量该是多少",
    "可以开药吗",
    "麻烦替我配几副中药",
    "请医生给我开个方子",
    "女儿6岁20kg，阿奇霉素用多大剂量",
]
NOT_ASKING = [
    "布洛芬一天最多吃几次",
    "医生给我开了头孢，饭前吃还是饭后吃",
    "处方药和非处方药有什么区别",
    "开塞露怎么用",
    "开始吃药后多久见效",
    "孕妇一天吃几片叶酸",
    "孩子一天喝多少毫升奶",
    "我血糖多少算正常",
    "医院给我爸开的药能一起吃吗",
    "阿司匹林的常用剂量是多少",
    "什么药需要凭处方购买",
    "我想知道对乙酰氨基酚成人一次吃几片",
    "给我讲讲高血压的治疗",
    "帮我开导一下孩子",
    "我每天该喝多少毫升水",
]
DOSING = [
    "你每天吃两片。",
    "我给您开阿莫西林胶囊。",
    "建议您服用布洛芬400mg。",
    "建议您口服阿莫西林，一次0.5g，一日三次。",
    "根据您的体重，每次应服用300毫克。",
    "先吃两片布洛芬，四小时后再吃一片。",
    "您可以停药了。",
    "请把胰岛素减到10单位，您再观察。",
    "给孩子喂5毫升美林。",
    "处方：阿莫西林胶囊0.5g，口服，每日三次。",
    "Rp. 阿莫西林 0.25g×24粒",
    "为您开具处方如下。",
    "您的用药方案：氨氯地平5mg，每天一次。",
    "每晚吃一片安眠药就行。",
    "你这个情况，头孢一次用两粒。",
    "1. 头孢呋辛片 0.25g 口服 每日2次 ×7天",
    "您可以把二甲双胍加到每天三片。",
    "Sig. 0.5g tid po",
    "您一天服三次即可。",
    "宝宝每次喝2.5ml。",
    "药方如下：麻黄9g、桂枝6g。",
    "请服用对乙酰氨基酚１片。",
    "可以给你配七副中药。",
    "您需要的剂量为每日20mg。",
]
NOT_DOSING = [
    "成人一次0.2g，每日不超过4次。",
    "您不要自行停药。",
    "请您咨询医生或药师后再用药。",
    "需由医生给您开药。",
    "您可以看说明书：成人一次0.2g。",
    "血钾的参考范围为3.5~5.5mmol/L。",
    "您提到每天吃两片，请与医生核对。",
    "请每天喝1500毫升水。",
    "患者每天吃两片，持续一周后好转。",
    "本品须凭处方购买。",
    "您是否停药，请听医生的意见。",
    "误吃两片以上应立即就医。",
    "您的血压是150/95mmHg。",
    "【用法用量】口服，一次1片，一日3次。",
    "您每天测三次血压。",
    "早餐吃两片面包。",
    "您的血糖为7.8mmol/L，尿蛋白3g/L。",
    "处方药必须凭医师处方销售。",
    "请不要一次吃两片。",
    "您如果想减量，请先咨询医生。",
    "儿童按体重一次5~10mg/kg。",
    "您可以开始散步了。",
    "医生可能会把您的药换成氨氯地平。",
    "高血压的治疗方案包括限盐和减重。",
]


@pytest.mark.parametrize("question", ASKING)
def test_a_question_that_asks_for_a_prescription(question: str) -> None:
    assert asks_for_prescription(question)


@pytest.mark.parametrize("question", NOT_ASKING)
def test_a_question_that_only_asks_to_know(question: str) -> None:
    assert asks_for_prescription(question) is None


@pytest.mark.parametrize("text", DOSING)
def test_a_sentence_that_doses_the_reader(text: str) -> None:
    assert doses_reader(text)


@pytest.mark.parametrize("text", NOT_DOSING)
def test_a_sentence_that_doses_nobody_in_particular(text: str) -> None:
    assert doses_reader(text) is None
