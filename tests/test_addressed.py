"""What a doctor wrote of another patient is not quoted to the reader; what is said to every reader is."""

from __future__ import annotations

import pytest

from chimed_rag.addressed import is_to_someone, stands_to_someone
from chimed_rag.generation.extractive import ExtractiveGenerator
from tests.contracts.generator_contract import passages


@pytest.mark.parametrize(
    "text",
    [
        "您已做了很正规的手术和化疗，整个疗程结束，可以不继续吃药了。",
        "你家孩子体温才是低热，不需要用退烧药的。",
        "您的症状可以确诊为高血压了。",
        "你的这个症状主要考虑心脏的疾病。",
        "根据你的描述，考虑是感冒引起的咳嗽。",
        "意见建议：你已经过了2周，需要尽快采取措施。",
        "你好，你的情况可能是月经不正常。",
        "看描述像是腱鞘炎。",
        "你在7月16日做的手术，到今天已13天。",
        "不知道你什么原因导致的失血过多。",
        "你可能是缺钙引起。",
        "你这个年龄前列腺增大是正常现象。",
        "你的宝宝睡觉不踏实，属于正常反应。",
        "以上是对“宝宝干呕怎么办”这个问题的建议，希望对您有帮助，祝您健康！",
    ],
)
def test_what_is_told_of_one_patient(text: str) -> None:
    assert is_to_someone(text)


@pytest.mark.parametrize(
    "text",
    [
        "高血压患者应低盐饮食。",
        "如果您的情况没有好转，请及时就医。",
        "建议您定期测量血压。",
        "术前您需要禁食8小时，并告诉您的医生正在服用的药物。",
        "您的孩子应按时接种疫苗。",
        "你好，甲状腺功能亢进是甲状腺激素分泌过多所致的疾病。",
        "漱口水可以帮助你清除牙垢。",
        "若您现在正在服用华法林，请勿同服。",
        "一旦你已经怀孕，应立即停药。",
        "早期文献就描述了这一现象。",
        "避免加重您的症状。",
        "",
    ],
)
def test_what_is_said_to_every_reader(text: str) -> None:
    assert not is_to_someone(text)


def test_it_is_never_quoted() -> None:
    told = "您已做了结肠癌手术和化疗，可以不继续吃药了。"
    general = "结肠癌手术后应定期复查，化疗期间不可自行停药。"
    said = ExtractiveGenerator().generate("结肠癌手术化疗后可以不继续吃药了吗", passages(told + general))
    assert [sentence.text for sentence in said.sentences] == [general]
    assert ExtractiveGenerator().generate("结肠癌手术化疗后可以不继续吃药了吗", passages(told)).sentences == ()


def test_a_part_of_such_a_sentence_is_about_that_patient_too() -> None:
    text = "结肠癌术后应定期复查。您已做了手术，可以不继续吃药了。祝早日康复。"
    part = text.index("可以")
    assert stands_to_someone(text, part, part + 3)
    assert not stands_to_someone(text, 0, text.index("您"))
    assert not stands_to_someone(text, text.index("祝"), len(text))
