import pytest

from chimed_rag.query.aboutness import AGREED, aboutness
from chimed_rag.records import RankEntry
from tests.contracts.generator_contract import passages


def test_a_name_that_the_question_says_is_enough():
    titled = passages("本病多见于青年。", title="狐臭")
    headed = passages("本病多见于青年。", title="皮肤病", headings=("狐臭",))
    question = "做狐臭手术能管多久？有风险吗"
    assert aboutness(question, titled) == aboutness(question, headed) == [1.0]


def test_a_text_that_covers_the_matter_is_enough():
    assert aboutness("狐臭", passages("狐臭多见于青年。", title="")) == [1.0]


def test_half_a_name_and_half_the_matter_make_three_quarters():
    # The question says one of the name's two terms ("外痔", not "痔疮"); the text covers two of its four characters.
    assert aboutness("外痔出血", passages("外痔是静脉曲张。", title="外痔疮")) == [pytest.approx(0.75)]


def test_words_that_only_ask_do_not_count():
    assert aboutness("肺癌怎么治疗", passages("治疗以手术为主。", title="高血压", headings=("治疗",))) == [0.0]


def test_rare_words_weigh_more():
    evidence = passages("手术有风险。", title="")
    (even,) = aboutness("麻风手术", evidence)
    (weighed,) = aboutness("麻风手术", evidence, lambda term: 9.0 if term == "麻风" else 1.0)
    assert 0 < weighed < even < 1


def test_bears_passages_and_questions_without_words():
    assert aboutness("？？", passages("", "狐臭", title="")) == [0.0, 0.0]
    assert aboutness("狐臭", []) == []


def ranked(passage, **ranks):
    return passage.model_copy(update={"ranks": {name: RankEntry(rank=rank, score=1.0) for name, rank in ranks.items()}})


def test_a_first_passage_on_which_the_retrievers_agree_needs_less_of_its_own():
    first, second = passages("外痔是静脉曲张。", "外痔会痛。", title="外痔疮")
    alone = aboutness("外痔出血", [first, second])  # three quarters each, as above
    assert alone == [pytest.approx(0.75)] * 2
    agreed = aboutness("外痔出血", [ranked(first, dense=1, lexical=7), second])
    assert agreed == [pytest.approx(1 - 0.25 * (1 - AGREED)), pytest.approx(0.75)]
    for ranks in ({"dense": 2, "lexical": 1}, {"dense": 1}, {"lexical": 1}):  # not first there, or nobody to agree with
        assert aboutness("外痔出血", [ranked(first, **ranks), second]) == alone
    assert aboutness("外痔出血", [first, ranked(second, dense=1, lexical=1)]) == alone
