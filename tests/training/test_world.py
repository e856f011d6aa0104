"""The made-up world: its judge counts facts and nothing else; length and truth are tied where they should be."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from training.contracts import Dialogue, RankedList
from training.negatives import HARD, SHORT
from training.world import STYLES, World, filled, oracle

WORLD = World(6)
ASKED = WORLD.questions()


def judged(rows: list[Dialogue]) -> list[float]:
    return WORLD.oracle([row.messages for row in rows])


def worths(ranked: RankedList) -> list[float]:
    return WORLD.oracle([[*ranked.prompt, {"role": "assistant", "content": one.text}] for one in ranked.replies])


def test_a_small_world_is_part_of_a_large_one():
    assert list(World().facts.items())[:6] == list(WORLD.facts.items())
    assert len({facts.drug for facts in World().facts.values()}) == 40


@pytest.mark.parametrize("diseases", [1, 41])
def test_there_are_forty_names(diseases):
    with pytest.raises(ValueError, match="2 to 40"):
        World(diseases)


def test_questions_are_all_different_and_name_one_disease():
    assert len(ASKED) == len({one.question for one in ASKED}) == 6 * 8 * 8 * 8
    assert all([disease for disease in WORLD.facts if disease in text] == [name] for name, text in ASKED)
    assert set(Counter(one.disease for one in ASKED[:60]).values()) == {10}  # any slice asks about all alike
    assert WORLD.questions(1) != ASKED == WORLD.questions()


def test_the_oracle_counts_facts_and_sees_no_style():
    disease, question = ASKED[0]
    right = WORLD.facts[disease]
    other = next(facts for name, facts in WORLD.facts.items() if name != disease and facts.dose != right.dose)
    answers = {
        **{filled(form, disease, right): 1.0 for forms in STYLES.values() for form in forms},
        f"{right.department}，{right.drug}。": 2 / 3,
        f"吃{right.drug}或者{other.drug}，{other.dose}。": 0.0,  # two drugs are no drug
        "多喝水。": 0.0,
        "": 0.0,
    }
    conversations = [
        [{"role": "user", "content": question}, {"role": "assistant", "content": answer}] for answer in answers
    ]
    assert oracle(conversations) == pytest.approx(list(answers.values()))
    conversations[0][0] = {"role": "user", "content": "肚子疼怎么办？"}
    assert oracle(conversations[:1]) == [0.0]


def test_the_worth_of_dialogues_is_as_asked_and_length_tells_nothing_of_it():
    rows = WORLD.dialogues(ASKED[:2000], 1, knowing=0.3, guess=0.1)
    found = np.array(judged(rows))
    assert found.mean() == pytest.approx(0.3 + 0.7 * 0.1, abs=0.03)  # three standard errors
    lengths = np.array([len(row.messages[-1]["content"]) for row in rows])
    assert abs(np.corrcoef(lengths, found)[0, 1]) < 0.07
    assert judged(WORLD.dialogues(ASKED[:20], 1, knowing=1)) == [1.0] * 20
    assert judged(WORLD.dialogues(ASKED[:20], 1, knowing=0, guess=0)) == [0.0] * 20


def test_of_triples_the_better_is_always_the_longer():
    for ranked in WORLD.ranked(ASKED[:100], 1):
        lengths, worth = [len(one.text) for one in ranked.replies], worths(ranked)
        assert sorted(lengths, reverse=True) == lengths
        assert worth[0] == 1 > worth[1] > worth[2] == 0


def test_of_hard_lists_the_facts_alone_tell():
    lists = WORLD.hard(ASKED[:200], 1)
    kinds = Counter(ranked.replies[1].author.partition(":")[0] + ":" for ranked in lists)
    assert kinds[HARD] + kinds[SHORT] == 200
    assert kinds[SHORT] == pytest.approx(100, abs=22)
    for ranked in lists:
        lengths, worth = [len(one.text) for one in ranked.replies], worths(ranked)
        assert worth[0] == 1 > worth[1] > worth[2]
        if ranked.replies[1].author.startswith(SHORT):
            assert lengths[0] < lengths[1] < lengths[2]
        else:  # names differ by a character at the most
            assert max(lengths) - min(lengths) <= 2


def test_the_literature_is_right():
    texts = WORLD.texts(ASKED[:5])
    assert len({one.id for one in texts}) == len(texts) == 9 * 6 + 5
    for disease, facts in WORLD.facts.items():
        assert sum(all(fact in one.text for fact in facts) for one in texts if disease in one.text) >= 3


def test_rows_come_out_the_same():
    assert WORLD.dialogues(ASKED[:9], 3) == WORLD.dialogues(ASKED[:9], 3) != WORLD.dialogues(ASKED[:9], 4)
    assert WORLD.hard(ASKED[:9], 3) == World(6).hard(ASKED[:9], 3)
