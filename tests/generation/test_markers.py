import pytest

from chimed_rag.generation.markers import read_draft


def read(text):
    return [(sentence.text, [one.number for one in sentence.citations]) for sentence in read_draft("t", text).sentences]


@pytest.mark.parametrize(
    "text",
    [
        "多喝水。[1][2]",
        "多喝水。[1,2]",
        "多喝水。［1，2］",
        "多喝水。【1】【2】",
        "多喝水。〔1、2〕",
        "多喝水。（1）(2)",
        "多喝水。[1-2]",
        "多喝水。[文献1][来源 2]",
        "多喝水[1][2]。",
        "多喝水。\n[1] [2]",
        "- 多喝水。[1][2]",
        "1. 多喝水。[1][2]",
    ],
)
def test_marks_in_all_shapes(text):
    assert read(text) == [("多喝水。", [1, 2])]


def test_each_sentence_has_its_own():
    assert read("多喝水[1]。注意休息【3】。不必用药。") == [("多喝水。", [1]), ("注意休息。", [3]), ("不必用药。", [])]


def test_a_range_is_all_of_it_and_a_silly_one_its_ends():
    assert read("多喝水[1-3]。") == [("多喝水。", [1, 2, 3])]
    assert read("多喝水[1-99]。") == [("多喝水。", [1, 99])]
    assert read("多喝水[3-1]。") == [("多喝水。", [3, 1])]


def test_a_list_in_round_brackets_is_no_citation():
    assert read("（1）多喝水；（2）休息。[3]") == [("多喝水；", []), ("休息。", [3])]
    assert read("分为(1)轻型和(2)重型。") == [("分为(1)轻型和(2)重型。", [])]


def test_a_mark_within_a_sentence_counts_and_leaves_it():
    assert read("布洛芬可退热[1]，但孕晚期禁用[2]。") == [("布洛芬可退热，但孕晚期禁用。", [1, 2])]


def test_markup_stays_text():
    text = "<script>alert(1)</script>**不要**服用。[1]"
    assert read(text) == [("<script>alert(1)</script>**不要**服用。", [1])]


@pytest.mark.parametrize("text", ["", " \n", "。。。", "[1]", "---"])
def test_what_says_nothing_gives_no_sentence(text):
    assert read(text) == []


@pytest.mark.parametrize("piece", ["水", "[", "（1", "[1]", "(1)", "[1,", "1-", "\ud800"])
def test_endless_text_is_read(piece):
    assert len(read(piece * (20_000 // len(piece)))) <= 1


def test_numbers_keep_their_units():
    assert read("每次5 mg/次，每日3次[12]。") == [("每次5 mg/次，每日3次。", [12])]
