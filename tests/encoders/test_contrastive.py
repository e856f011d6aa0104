"""Training of n-gram vectors: one step against finite differences, sums against a dense product, and what it learns."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from chimed_rag.encoders import contrastive
from chimed_rag.encoders.contrastive import SCALE, Pairs, Trainer, train
from chimed_rag.encoders.ngrams import Vocabulary
from tests.tiny_ngrams import literature

PAIRS = [("头痛怎么办", "偏头痛要休息"), ("血压高", "高血压要限盐"), ("肚子痛", "腹痛要查因"), ("咳", "咳嗽多喝水")]


def trainer_of(pairs: Pairs, dimension: int = 5, *, seed: int = 0, least: int = 1) -> Trainer:
    vocabulary, _ = Vocabulary.most_frequent([text for pair in pairs for text in pair], 5000, least)
    table = np.random.default_rng(seed).normal(size=(len(vocabulary), dimension)) / 10
    return Trainer(vocabulary, table.astype(np.float32))


def dense(vocabulary: Vocabulary, texts: list[str]) -> NDArray[np.float64]:
    bags = vocabulary.bags(texts)
    matrix = np.zeros((len(texts), len(vocabulary)))
    matrix[bags.rows(), bags.ids] = bags.weights
    return matrix


def losses(trainer: Trainer, pairs: Pairs) -> Callable[[NDArray[np.float64]], tuple[float, float]]:
    """As functions of the table, in float64, pair by pair: the loss of finding passages, and that of finding questions.

    What has the same passage as the pair in question takes no part.
    """
    q, p = (dense(trainer.vocabulary, [pair[side] for pair in pairs]) for side in (0, 1))

    def both(table: NDArray[np.float64]) -> tuple[float, float]:
        one, two = q @ table, p @ table
        one, two = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-6) for x in (one, two))
        scores = SCALE * one @ two.T
        sums = [0.0, 0.0]
        for i, (_, right) in enumerate(pairs):
            rivals = [j for j, (_, other) in enumerate(pairs) if j == i or other != right]
            for way, row in enumerate((scores[i], scores[:, i])):
                sums[way] += float(np.log(np.exp(row[rivals]).sum()) - row[i])
        return sums[0] / len(pairs), sums[1] / len(pairs)

    return both


@pytest.mark.parametrize(
    "pairs",
    [
        PAIRS,
        [*PAIRS, ("头很痛", PAIRS[0][1]), ("头疼", PAIRS[0][1])],  # three questions with the same passage
        [*PAIRS, ("", "无题的答复"), ("没有答复", "🙂")],
    ],
)
def test_a_step_goes_down_the_gradient(pairs: Pairs) -> None:
    """The gradient by central differences of the loss, and from it the step that Adagrad is to take."""
    trainer = trainer_of(pairs)
    table, both = trainer.table.astype(np.float64), losses(trainer, pairs)
    slope = np.zeros_like(table)
    for place in np.ndindex(*table.shape):
        moved = [table.copy(), table.copy()]
        moved[0][place] += 1e-5
        moved[1][place] -= 1e-5
        slope[place] = (np.mean(both(moved[0])) - np.mean(both(moved[1]))) / 2e-5
    mean_square = np.square(slope).mean(axis=1, keepdims=True)
    assert (mean_square > 1e-6).mean() > 0.9
    expected = table - 0.1 * slope / np.sqrt(1e-8 + mean_square)
    loss = trainer.step(pairs, 0.1)
    assert loss == pytest.approx(both(table)[0], abs=1e-4)
    # Rows whose gradient is next to nothing go by its rounding errors.
    clear = mean_square[:, 0] > 1e-6
    np.testing.assert_allclose(trainer.table[clear], expected[clear], atol=1e-3)
    before, after = np.mean(both(table)), np.mean(both(trainer.table.astype(np.float64)))
    assert after < before
    np.testing.assert_allclose(trainer.squares[clear], 1e-8 + mean_square[clear, 0], rtol=5e-3)


def test_sums_are_those_of_a_dense_product() -> None:
    chance = np.random.default_rng(0)
    ids = np.concatenate([np.full(100, 3), np.full(33, 8), np.full(32, 9), chance.integers(10, 60, 150), [99]])
    rows = chance.integers(0, 40, len(ids))
    weights = chance.random(len(ids)).astype(np.float32)
    gradient = chance.normal(size=(40, 6)).astype(np.float32)
    product = np.zeros((100, 40))
    np.add.at(product, (ids, rows), weights)
    order = chance.permutation(len(ids))
    used, sums = contrastive._gathered(ids[order], rows[order], weights[order], gradient)
    assert used.tolist() == sorted(set(ids.tolist()))
    np.testing.assert_allclose(sums, (product @ gradient)[used], atol=1e-5)
    none, empty = contrastive._gathered(ids[:0], rows[:0], weights[:0], gradient)
    assert len(none) == 0 and empty.shape == (0, 6)


def test_passages_that_repeat_are_no_negatives() -> None:
    same = [(question, "同一个答复") for question, _ in PAIRS]
    trainer = trainer_of(same)
    before = trainer.table.copy()
    assert trainer.step(same) == 0  # nothing to tell it apart from
    np.testing.assert_array_equal(trainer.table, before)
    # With a stranger among them, each has one rival; the stranger has all of them.
    pairs = [*same, PAIRS[0]]
    trainer = trainer_of(pairs)
    table = trainer.table.astype(np.float64)
    q, p = (dense(trainer.vocabulary, [pair[side] for pair in pairs]) @ table for side in (0, 1))
    q, p = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (q, p))
    scores = SCALE * q @ p.T
    own = [np.logaddexp(scores[i, i], scores[i, 4]) - scores[i, i] for i in range(4)]
    last = np.logaddexp.reduce([scores[4, 4], *scores[4, :4]]) - scores[4, 4]
    assert trainer.step(pairs) == pytest.approx((sum(own) + last) / 5, abs=1e-4)


def toy() -> list[tuple[str, str]]:
    return [(p.title, p.text) for p in literature(places=8, complaints=8)]


def test_the_loss_falls_and_the_ranks_rise() -> None:
    pairs = toy()
    trainer = trainer_of(pairs, 16)

    def right() -> float:
        q, p = (dense(trainer.vocabulary, [pair[side] for pair in pairs]) @ trainer.table for side in (0, 1))
        q, p = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (q, p))
        best = (q @ p.T).argmax(axis=1)
        return float(np.mean([pairs[i][0] == pairs[n][0] for n, i in enumerate(best)]))

    before = right()
    steps = [step for seed in range(15) for step in train(trainer, {"toy": pairs}, seed=seed, batch=32)]
    assert len(steps) == 15 * 4
    assert np.mean([s.loss for s in steps[-4:]]) < np.mean([s.loss for s in steps[:4]]) / 2
    assert before < 0.1 and right() > 0.5


def test_the_same_seed_gives_the_same_bytes() -> None:
    def trained(seed: int) -> tuple[bytes, list[contrastive.Step]]:
        trainer = trainer_of(toy(), 16)
        steps = train(trainer, {"one": toy()[:60], "two": toy()[60:]}, seed=seed, batch=16, last=0.2)
        return trainer.table.tobytes(), steps

    assert trained(3) == trained(3)
    assert trained(3)[0] != trained(4)[0]


class Watching(Trainer):
    """Notes what it is given instead of learning it."""

    def step(self, pairs: Pairs, learning_rate: float = 1.0) -> float:
        self.seen = [*getattr(self, "seen", []), (list(pairs), learning_rate)]
        return 0.0


def test_a_batch_has_one_task_and_each_pair_comes_once() -> None:
    tasks = {name: [(f"{name}{n}", f"{name}答{n}") for n in range(size)] for name, size in (("甲", 20), ("乙", 7))}
    trainer = Watching(*(lambda t: (t.vocabulary, t.table))(trainer_of(PAIRS)))
    told: list[tuple[int, int]] = []
    steps = train(
        trainer, tasks, seed=0, batch=8, learning_rate=1.0, last=0.5, progress=lambda *done: told.append(done)
    )
    seen = [pairs for pairs, _ in trainer.seen]
    names = [{question[0] for question, _ in pairs} for pairs in seen]
    assert all(len(name) == 1 for name in names)
    assert [name for found in names for name in found] == [step.task for step in steps]
    # 20 = 8 + 8 + 4: four are not more than half a batch, and are left out. Seven are a batch of their own.
    assert sorted(map(len, seen)) == [7, 8, 8]
    everything = [pair for pairs in seen for pair in pairs]
    assert len(set(everything)) == len(everything) == 23
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert [rate for _, rate in trainer.seen] == pytest.approx([1, 1 - 0.5 / 3, 1 - 1 / 3])


@pytest.mark.parametrize(
    ("size", "batches"), [(0, []), (1, [1]), (8, [8]), (12, [8]), (13, [5, 8]), (16, [8, 8]), (17, [8, 8])]
)
def test_what_is_left_after_the_last_whole_batch(size: int, batches: list[int]) -> None:
    trainer = Watching(*(lambda t: (t.vocabulary, t.table))(trainer_of(PAIRS)))
    train(trainer, {"甲": [(str(n), str(n)) for n in range(size)]}, seed=1, batch=8)
    assert sorted(len(pairs) for pairs, _ in getattr(trainer, "seen", [])) == batches


@pytest.mark.parametrize(
    "tasks",
    [{}, {"甲": []}, {"甲": PAIRS[:1]}, {"甲": [("", "")]}, {"甲": [("", ""), ("🙂", "，"), *PAIRS]}],
)
def test_little_or_nothing_to_learn_does_no_harm(tasks: dict[str, Pairs]) -> None:
    trainer = trainer_of(PAIRS)
    steps = train(trainer, tasks, seed=0)
    assert len(steps) == sum(1 for pairs in tasks.values() if pairs)
    assert all(np.isfinite(step.loss) for step in steps)
    assert np.isfinite(trainer.table).all()
