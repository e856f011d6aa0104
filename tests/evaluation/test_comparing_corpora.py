"""BLEU of two systems, compared as sacrebleu's own paired test compares it."""

from __future__ import annotations

import random

import numpy as np
import pytest

pytest.importorskip("sacrebleu")
pytest.importorskip("rouge_score")

from chimed_rag.errors import InputError
from chimed_rag.evaluation.comparing import compare
from chimed_rag.evaluation.running import scored
from chimed_rag.evaluation.samples import Prediction, Sample
from chimed_rag.evaluation.significance import Sums, corpus_difference, corpus_permutation
from chimed_rag.evaluation.statistics import sums_by_group
from chimed_rag.evaluation.tasks.loading import Task, load_card

SIGNS = "头痛发热咳嗽胸闷腹泻高血压糖尿病服药就诊复查休息饮水"


def task(count: int, groups: int = 0, seed: int = 1) -> Task:
    draw = random.Random(seed)
    samples = [
        Sample(
            id=f"s{n}",
            text="怎么办？",
            references=("".join(draw.choices(SIGNS, k=draw.randint(12, 30))),),
            group=f"g{n % groups}" if groups else "",
        )
        for n in range(count)
    ]
    return Task(load_card("open_qa"), tuple(samples), "0" * 64)


def spoilt(made: Task, share: float, seed: int) -> list[str]:
    """References with a share of their signs replaced."""
    draw = random.Random(seed)
    return [
        "".join(draw.choice(SIGNS) if draw.random() < share else sign for sign in sample.references[0])
        for sample in made.samples
    ]


def result(made: Task, replies: list[str], system: str):
    said = [Prediction(id=sample.id, text=reply) for sample, reply in zip(made.samples, replies, strict=True)]
    return scored(made, said, system=system)


@pytest.mark.parametrize(("shares", "order"), [((0.5, 0.42), 2), ((0.5, 0.5), 4), ((0.6, 0.3), 1)])
def test_it_agrees_with_sacrebleu(shares: tuple[float, float], order: int) -> None:
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.significance import PairedTest

    made = task(40)
    replies = [spoilt(made, share, seed) for seed, share in enumerate(shares)]
    found = compare(result(made, replies[0], "a"), result(made, replies[1], "b"), metric=f"bleu{order}")
    references = [[sample.references[0] for sample in made.samples]]
    metric = BLEU(tokenize="zh", max_ngram_order=order, references=references)
    theirs = PairedTest(
        [("a", replies[0]), ("b", replies[1])], {"BLEU": metric}, references, test_type="ar", n_samples=2000
    )()[1]["BLEU"]
    assert found.test == "approximate randomization"
    assert found.difference.value == pytest.approx((theirs[1].score - theirs[0].score) / 100, abs=1e-6)
    assert found.p == pytest.approx(theirs[1].p_value, abs=0.04)  # both draw: 2,000 times
    assert found.difference.low < found.difference.value < found.difference.high


def test_the_order_of_samples_does_not_matter_and_a_system_equals_itself() -> None:
    made = task(30)
    a, b = result(made, spoilt(made, 0.5, 1), "a"), result(made, spoilt(made, 0.3, 2), "b")
    same = compare(a, a, metric="bleu4")
    assert (same.difference.value, same.difference.low, same.difference.high, same.p) == (0, 0, 0, 1)
    rows = np.random.default_rng(1).integers(0, 9, size=(20, 3))
    other = np.random.default_rng(2).integers(0, 9, size=(20, 3))
    order = np.random.default_rng(3).permutation(20)

    def worth(sums: list[int]) -> float:
        return sums[0] / (sums[1] + sums[2])

    one = Sums(rows, worth), Sums(other, worth)
    shuffled = Sums(rows[order], worth), Sums(other[order], worth)
    assert corpus_difference(*one) == corpus_difference(*shuffled)
    assert corpus_permutation(*one) == corpus_permutation(*shuffled)
    assert compare(a, b, metric="bleu2").difference.value > 0
    with pytest.raises(InputError, match="one row of each"):
        corpus_difference(one[0], Sums(other[:5], worth))


def test_groups_are_swapped_whole() -> None:
    rows = np.array([[1, 2], [3, 4], [5, 6], [7, 8]])
    assert sums_by_group(rows, ["x", "", "x", ""]).tolist() == [[6, 8], [3, 4], [7, 8]]
    made = task(24, groups=3)
    a, b = result(made, spoilt(made, 0.6, 1), "a"), result(made, spoilt(made, 0.2, 2), "b")
    found = compare(a, b, metric="bleu2")
    assert found.groups == 3
    assert found.p >= 0.2  # three groups: of eight ways of swapping two are as far apart
