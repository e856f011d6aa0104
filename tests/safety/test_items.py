"""What one item of a list says, said of another."""

import time

import pytest

from chimed_rag.safety.alignment import read
from chimed_rag.safety.items import misplaced


@pytest.mark.parametrize(
    ("told", "title", "right", "wrong"),
    [
        (
            "甲型血友病:缺凝血因子Ⅷ，可用去氨加压素。乙型血友病:缺凝血因子Ⅸ，用凝血酶原复合物。",
            "血友病",
            "乙型血友病用凝血酶原复合物。",
            "甲型血友病用凝血酶原复合物。",
        ),
        (
            "荆芥辛，微温，祛风解表，透疹。薄荷辛，凉，疏散风热，清利头目。",
            "荆芥、薄荷",
            "能清利头目的是薄荷。",
            "能清利头目的是荆芥。",
        ),
        (
            "前脱位呈方肩畸形，肩峰下空虚。后脱位上肢内旋固定，易漏诊。",
            "肩关节脱位",
            "后脱位容易漏诊，上肢内旋固定。",
            "前脱位上肢内旋固定，易漏诊。",
        ),
        ("增强作用:氟康唑、甲硝唑；减弱作用:利福平。", "相互作用", "甲硝唑有增强作用。", "利福平有增强作用。"),
    ],
)  # fmt: skip
def test_what_another_item_says_is_told_and_what_its_own_says_is_not(told, title, right, wrong):
    passages, context = [read(f"{part}。") for part in told.split("。") if part], [read(title)]
    assert misplaced(read(wrong), passages, context)
    assert not misplaced(read(right), passages, context)


def test_what_the_only_name_of_a_title_is_about_may_stand_in_any_item():
    passages = [read("氟康唑:首剂加倍。"), read("伏立康唑:可致视觉异常。")]
    said = read("氟康唑可致视觉异常。")
    assert misplaced(said, passages, [read("抗真菌药")])
    assert not misplaced(said, passages, [read("氟康唑")])


def test_a_name_that_the_item_mentions_is_no_other():
    passages = [read("地高辛:慢性心衰用。"), read("维拉帕米:使地高辛血药浓度升高，须减量。")]
    assert not misplaced(read("地高辛的血药浓度会升高，须减量。"), passages, [read("用药")])


def test_time_is_linear():
    short, long = ([read(f"药物{at}:作用{at}，剂量{at}mg。") for at in range(most)] for most in (30, 110))
    spans = []
    for passages in (short, long):
        begin = time.perf_counter()
        misplaced(read("药物3的作用是剂量9mg。"), passages, [])
        spans.append(time.perf_counter() - begin)
    assert spans[1] < 20 * spans[0] + 0.05
