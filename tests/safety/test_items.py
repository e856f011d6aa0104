"""What one item of a list says, said of another, and superlatives given to another thing."""

import time

import pytest

from chimed_rag.safety.alignment import read
from chimed_rag.safety.items import misplaced
from chimed_rag.safety.superlatives import misgiven


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
            "外痔位于齿线以下，疼痛明显。内痔便血鲜红，呈喷射状。",
            "痔",
            "便血鲜红、呈喷射状的多半不是外痔，是内痔。",
            "外痔便血鲜红，呈喷射状。",
        ),
        ("增强作用:氟康唑、甲硝唑；减弱作用:利福平、苯妥英钠。", "相互作用", "苯妥英钠的减弱作用。", "苯妥英钠的增强作用。"),
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


@pytest.mark.parametrize(
    ("told", "right", "wrong"),
    [
        ("胰头癌最常见，胰尾癌少见。", "最常见的是胰头癌。", "胰尾癌最常见。"),
        ("骨折首选手法复位；脱位首选牵引。", "脱位首选牵引。", "骨折首选牵引。"),
    ],
)
def test_a_superlative_belongs_to_what_has_it(told, right, wrong):
    assert not misgiven(read(right), lambda: [read(told)])
    if "首选" not in told:
        assert misgiven(read(wrong), lambda: [read(told)])


def test_time_is_linear():
    short, long = ([read(f"药物{at}:作用{at}，剂量{at}mg。") for at in range(most)] for most in (30, 110))
    spans = []
    for passages in (short, long):
        begin = time.perf_counter()
        misplaced(read("药物3的作用是剂量9mg。"), passages, [])
        spans.append(time.perf_counter() - begin)
    assert spans[1] < 20 * spans[0] + 0.05
