"""What a sentence says contrary to its window, in words that no single check pairs."""

import pytest

from chimed_rag.safety import contraries, degrees, siblings
from chimed_rag.safety.alignment import read


@pytest.mark.parametrize(
    ("find", "told", "right", "wrong"),
    [
        ("reassured", "胸痛伴出汗应立即拨打120。", "胸口痛还出汗，赶紧叫120。", "胸口痛还出汗，歇会儿就好。"),
        ("reassured", "吞入异物后应尽快就医。", "吞了异物要快点去医院。", "吞了异物先在家观察，没排出来再去医院。"),
        ("alone", "激素的减量由医生决定。", "激素怎么减要听医生的。", "症状好了可以自己减激素。"),
        ("permitted", "冻伤处不要用火烤或雪搓。", "冻伤了别用雪搓。", "冻伤处用雪搓一搓，再拿火烤。"),
        ("permitted", "脂肪瘤一般不会变成癌症。", "脂肪瘤不太会变癌。", "脂肪瘤拖久了会变成癌症。"),
        ("turned", "抗酸药会减少铁剂的吸收。", "铁剂的吸收会因抗酸药下降。", "抗酸药能促进铁剂的吸收。"),
        ("turned", "体温越高，心率越快。", "体温越低，心率越慢。", "体温越低，心率越快。"),
        ("turned", "久坐可引起腰痛。", "腰痛可由久坐引起。", "久坐可预防腰痛。"),
        ("reordered", "应先测血糖，再注射胰岛素。", "先测血糖，然后打胰岛素。", "先注射胰岛素，再测血糖。"),
        ("reordered", "先缝合肌膜，后缝合皮肤。", "缝皮肤之前先缝肌膜。", "先缝合皮肤，再缝合肌膜。"),
        ("reordered", "使用造影剂前应查肾功能。", "用造影剂前要查肾功能。", "造影剂用完后再查肾功能。"),
        ("compared", "婴儿的呼吸比成人快。", "婴儿呼吸要比成人快些。", "成人的呼吸比婴儿快。"),
        ("exchanged", "甲型肝炎经粪口传播，乙型肝炎经血液传播。", "乙型肝炎经血液传播。", "甲型肝炎经血液传播。"),
        ("exchanged", "湿性坏疽边界模糊，干性坏疽发展缓慢。", "湿性坏疽边界模糊。", "干性坏疽边界模糊。"),
    ],
)
def test_the_contrary_is_told_and_the_same_in_other_words_is_not(find, told, right, wrong):
    source = [read(told)]
    found = getattr({"exchanged": siblings, "compared": degrees}.get(find, contraries), find)
    assert found(read(wrong), source)
    assert not found(read(right), source)


def test_an_exchange_that_the_passage_says_elsewhere_is_none():
    told, elsewhere = read("甲型肝炎经粪口传播，乙型肝炎经血液传播。"), read("甲型肝炎也可经血液传播。")
    said = read("甲型肝炎经血液传播。")
    assert siblings.exchanged(said, [told])
    assert not siblings.exchanged(said, [told], lambda: [told, elsewhere])


@pytest.mark.parametrize("piece", ["体温越高，", "先甲再乙", "甲比乙快", "蜜蜂蜇人，", "不要自行停药"])
def test_endless_text_does_not_hang(piece):
    said, told = read(piece * 300), [read(piece * 100), read(piece * 99)]
    contraries.contrary(said, told)
    siblings.exchanged(said, told)
