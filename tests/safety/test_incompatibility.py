"""What must not go together, who must not take it, how much is too much; and what only warns of it."""

from __future__ import annotations

import pytest

from chimed_rag.safety.incompatibility import Finding, incompatibilities

# The first half of each list was written before the patterns. Names: what must be found, in the order of the rule.
COMBINED = [
    ("甘草和甘遂能一起吃吗", "eighteen", ("甘草", "甘遂")),
    ("方用炙甘草6g、海藻15g。", "eighteen", ("甘草", "海藻")),
    ("附子和法半夏可以同煎吗？", "eighteen", ("附子", "半夏")),
    ("制附片配天花粉清热。", "eighteen", ("附子", "天花粉")),
    ("川乌与浙贝母同用。", "eighteen", ("川乌", "浙贝母")),
    ("草乌、白及研末冲服。", "eighteen", ("草乌", "白及")),
    ("党参和藜芦能不能同用", "eighteen", ("藜芦", "党参")),
    ("细辛配藜芦。", "eighteen", ("藜芦", "细辛")),
    ("人参炖五灵脂可以吗", "nineteen", ("人参", "五灵脂")),
    ("丁香与郁金同煎。", "nineteen", ("丁香", "郁金")),
    ("肉桂和赤石脂一起用行吗", "nineteen", ("肉桂", "赤石脂")),
    ("巴豆霜加牵牛子泻下。", "nineteen", ("巴豆", "牵牛子")),
    ("硫磺和芒硝可以合用吗", "nineteen", ("硫黄", "芒硝")),
    ("甘草和甘遂不能一起吃吗？", "eighteen", ("甘草", "甘遂")),
    ("三棱10g，玄明粉6g。", "nineteen", ("芒硝", "三棱")),
    ("京大戟配国老同服。", "eighteen", ("甘草", "大戟")),
]
NOT_COMBINED = [
    "甘草不宜与甘遂同用。",
    "为什么甘草不能和甘遂一起用？",
    "附子反半夏、瓜蒌、贝母、白蔹、白及。",
    "十八反指甘草反甘遂、大戟、海藻、芫花等。",
    "甘草酸二铵可以和海藻糖同用。",
    "甘草味甘。海藻味咸。",
    "病人参加了藜芦研究。",
    "白藜芦醇和人参皂苷是两种成分。",
    "丁香园上有人介绍郁金香。",
    "丁香畏郁金，二者忌同用。",
    "水银柱血压计读数。",
    "人参与五灵脂配伍属于禁忌。",
    "避免将川乌与半夏合用。",
    "丹参酮与藜芦碱的结构不同。",
    "用三棱针点刺，再以芒硝外敷。",
    "玄参科植物和藜芦分布很广。",
]
PREGNANT = [
    ("孕妇能吃利巴韦林吗", "利巴韦林"),
    ("怀孕三个月可以吃红花吗", "红花"),
    ("孕期可用多西环素治疗。", "四环素类"),
    ("妊娠期高血压可选依那普利。", "普利类（血管紧张素转换酶抑制剂）"),
    ("孕晚期发烧能吃布洛芬吗", "非甾体抗炎药"),
    ("怀孕了能用麝香膏药吗", "麝香"),
    ("孕妇血脂高可以服用阿托伐他汀。", "他汀类"),
    ("我怀孕了，在吃华法林，要紧吗", "华法林"),
]
NOT_PREGNANT = [
    "孕妇禁用利巴韦林。",
    "孕妇不宜服用红花。",
    "避孕期间可以使用阿托伐他汀。",
    "没有怀孕，能吃布洛芬吗",
    "妊娠期应避免使用依那普利。",
    "孕妇可以补充叶酸。",
    "不孕症患者可用红花调经吗",
    "利巴韦林有致畸作用，孕妇忌用。",
]
TOO_MUCH = [
    ("附子60g，先煎两小时。", "附子"),
    ("细辛用到9克可以吗", "细辛"),
    ("制川乌（先煎）10g。", "川乌"),
    ("蜈蚣每日10~15g。", "蜈蚣"),
    ("朱砂2g冲服。", "朱砂"),
    ("30克附子煎汤。", "附子"),
    ("蟾酥50mg，入丸散。", "蟾酥"),
    ("法半夏30g。", "半夏"),
]
NOT_TOO_MUCH = [
    "附子9g，先煎。",
    "附子用量不得超过15g。",
    "细辛3g，麻黄9g。",
    "附子煎液灌胃，30g/kg，小鼠。",
    "有人服附子60g后中毒。",
    "苍耳子、蛇床子各30g，煎汤外洗。",
    "附子理中丸一次9g。",
    "半夏9g，茯苓30g。",
]


def _kinds(findings: list[Finding]) -> list[tuple[str, tuple[str, ...]]]:
    return [(finding.kind, finding.names) for finding in findings]


@pytest.mark.parametrize(("text", "kind", "names"), COMBINED)
def test_what_does_not_go_together_is_found(text: str, kind: str, names: tuple[str, ...]) -> None:
    assert _kinds(incompatibilities(text)) == [(kind, names)]


@pytest.mark.parametrize(("text", "name"), PREGNANT)
def test_what_pregnant_women_must_not_take_is_found(text: str, name: str) -> None:
    assert _kinds(incompatibilities(text)) == [("pregnancy", (name,))]


@pytest.mark.parametrize(("text", "name"), TOO_MUCH)
def test_more_than_the_pharmacopoeia_allows_is_found(text: str, name: str) -> None:
    assert _kinds(incompatibilities(text)) == [("ceiling", (name,))]


@pytest.mark.parametrize("text", [*NOT_COMBINED, *NOT_PREGNANT, *NOT_TOO_MUCH])
def test_warnings_and_other_words_are_not(text: str) -> None:
    assert incompatibilities(text) == []
