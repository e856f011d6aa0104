"""Citation recall and precision after ALCE: each branch by hand, and beside a restatement of the definition."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from chimed_rag.evaluation.metrics.citations import Cited, count, longest_common, numbers_agree, sentences_of
from chimed_rag.evaluation.metrics.judges import FunctionJudge, ProofJudge, evidence_of
from chimed_rag.records import Answer, Citation, Evidence, Sentence

PASSAGES = evidence_of(["甲", "乙", "丙"])
SENTENCE = "一句话。"


class Table:
    """A judge that knows by heart which sets of passages entail a sentence."""

    name, version = "table", "1"

    def __init__(self, entailing: Sequence[set[int]]) -> None:
        self._entailing = [frozenset(one) for one in entailing]

    def __call__(self, passages: Sequence[Evidence], claim: str) -> bool:
        return frozenset(one.number for one in passages) in self._entailing


@pytest.mark.parametrize(
    ("cited", "entailing", "recall", "precision"),
    [
        ((), [], 0.0, 0.0),  # cites nothing
        ((1,), [{1}], 1.0, 1.0),  # one citation: precision is recall
        ((1,), [], 0.0, 0.0),
        ((4,), [{1}, {2}], 0.0, 0.0),  # no such passage
        ((1, 4), [{1}], 0.0, 0.0),  # one of two is not there
        ((1, 2), [{1}, {2}], 0.0, 0.0),  # not entailed together: nothing is relevant
        ((1, 2), [{1, 2}], 1.0, 1.0),  # both needed: neither entails alone, nor without the other
        ((1, 2), [{1, 2}, {1}], 1.0, 0.5),  # 2 entails not, and 1 does without it
        ((1, 2), [{1, 2}, {1}, {2}], 1.0, 1.0),  # each entails alone
        ((1, 2, 3), [{1, 2, 3}, {1, 2}], 1.0, 2 / 3),  # 3 alone is superfluous
        ((1, 2, 3), [{1, 2, 3}, {1, 2}, {1, 3}, {2, 3}], 1.0, 0.0),  # any one could go
    ],
)
def test_each_branch(cited: tuple[int, ...], entailing: list[set[int]], recall: float, precision: float) -> None:
    found = count([Cited(SENTENCE, cited)], PASSAGES, Table(entailing))
    assert found.recall == pytest.approx(recall)
    assert found.precision == pytest.approx(precision)


def test_sentences_of_one_answer_are_pooled() -> None:
    """Two of three sentences entailed; citations 1, 1+2 (2 superfluous), and 9, which ALCE leaves out of precision."""
    said = [Cited("甲。", (1,)), Cited("乙。", (1, 2)), Cited("丙。", (9,))]
    found = count(said, PASSAGES, Table([{1}, {1, 2}]))
    assert found.recall == pytest.approx(2 / 3)
    assert found.precision == pytest.approx(2 / 3)
    assert found.f1 == pytest.approx(2 / 3)
    assert (found.citations, found.valid, found.counted) == (4, 3, 3)


def test_agrees_with_the_definition_on_random_tables() -> None:
    draw = random.Random(7)
    subsets = [{1}, {2}, {3}, {1, 2}, {1, 3}, {2, 3}, {1, 2, 3}]
    for _ in range(300):
        entailing = [one for one in subsets if draw.random() < 0.5]
        said = [
            Cited(SENTENCE, tuple(draw.sample([1, 2, 3, 4], draw.randint(0, 3)))) for _ in range(draw.randint(0, 5))
        ]
        found = count(said, PASSAGES, Table(entailing))
        inside = [set(one.numbers) for one in said if one.numbers and 4 not in one.numbers]
        held = [one for one in inside if one in entailing]
        relevant = sum({n} in entailing or one - {n} not in entailing for one in held for n in one)
        citations = sum(map(len, inside))
        assert found.recall == pytest.approx(len(held) / len(said) if said else 0.0)
        assert found.precision == pytest.approx(relevant / citations if citations else 0.0)
        shuffled = draw.sample(said, len(said))
        assert count(shuffled, PASSAGES, Table(entailing)) == found


def test_no_sentence_is_zero_everywhere() -> None:
    found = count([], PASSAGES, Table([{1}]))
    assert set(found) == {0}
    assert (found.recall, found.precision, found.f1) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("marks", ["[1][2]", "【1】【2】", "［1］［2］", "[1,2]", "[1、2]", "（1）（2）", "[1-2]"])
@pytest.mark.parametrize("form", ["发热时可用布洛芬{}。每日三次。", "发热时可用布洛芬。{}每日三次。"])
def test_reads_all_forms_of_marks(marks: str, form: str) -> None:
    first, second = sentences_of(form.format(marks))
    assert first == Cited("发热时可用布洛芬。", (1, 2))
    assert second == Cited("每日三次。", ())


def test_a_passage_cited_twice_counts_once_and_a_refusal_is_no_sentence() -> None:
    assert sentences_of("水是液体。[1][1]") == (Cited("水是液体。", (1,)),)
    assert sentences_of("所给文献没有说明。") == ()
    assert sentences_of("") == ()


def test_reads_answers() -> None:
    cited = Citation(number=2, document_id="d", chunk_id="c", quote="水是液体。", start=0, end=5)
    answer = Answer(question="水？", text="", sentences=(Sentence(text="水是液体。", citations=(cited, cited)),))
    assert sentences_of(answer) == (Cited("水是液体。", (2,)),)


def test_coverage_validity_support_and_overlap_by_hand() -> None:
    passages = evidence_of(["布洛芬用于退热。", "孕晚期禁用布洛芬。"])
    said = [
        Cited("布洛芬用于退热。", (1,)),  # 8 characters, all copied
        Cited("孕晚期禁用布洛芬。", ()),  # 9, copied, but cites nothing
        Cited("布洛芬可以治疗骨折。", (2, 7)),  # 10, of which 布洛芬
    ]
    found = count(said, passages, ProofJudge())
    assert (found.sentences, found.citing, found.entailed, found.supported) == (3, 2, 1, 2)
    assert (found.citations, found.valid) == (3, 2)
    assert (found.copied, found.characters) == (8 + 9 + 3, 8 + 9 + 10)


@pytest.mark.parametrize(
    ("sentence", "has_numbers", "agrees"),
    [
        ("成人一次200mg。", True, True),  # 0.2 g in other units
        ("成人一次0.4g。", True, False),
        ("成人一次0.2g，24小时内不超过4次。", True, True),
        ("成人一次0.2g，24小时内不超过6次。", True, False),
        ("布洛芬用于退热。", False, True),
    ],
)
def test_numbers_and_units(sentence: str, has_numbers: bool, agrees: bool) -> None:
    passages = evidence_of(["布洛芬：成人一次0.2g，24小时内不超过4次。"])
    assert numbers_agree(sentence, passages) == (has_numbers, agrees)
    found = count([Cited(sentence, (1,))], passages, Table([]))
    assert (found.numeric, found.agreeing) == (has_numbers, has_numbers and agrees)


def test_numbers_of_a_sentence_without_citation_agree_with_nothing() -> None:
    assert numbers_agree("一次0.2g。", ()) == (True, False)


def test_longest_common_stretch() -> None:
    assert longest_common("甲乙丙丁", "丙丁甲乙丙") == 3
    assert longest_common("", "甲") == 0
    assert longest_common("甲", "乙") == 0


def test_a_plain_function_judges() -> None:
    def says(premise: str, claim: str) -> bool:
        return claim in premise

    judge = FunctionJudge(says)
    assert judge.name == "says"
    assert count([Cited("甲", (1, 2))], PASSAGES, judge).recall == 1.0
    assert count([Cited("丁", (1, 2))], PASSAGES, judge).recall == 0.0
