"""Trains the vectors of n-grams so that a question lies near its passage and far from the others of its batch.

In-batch softmax over cosines in both directions ("InfoNCE": van den Oord et al. 2018, arXiv:1807.03748; as a retrieval
loss: Henderson et al. 2017, arXiv:1705.00652), row-wise Adagrad. In numpy, because it also runs where an index is
built (`adapt`), without torch. Not covered: what the pairs are.

What was tried (nDCG@10 of the vectors alone / fused with BM25, 2,984 patient questions, 80,688 documents; trained on
openly licensed pairs and this project's own consultations as they were then): the choice below .181 / .302. Batches of
128, 256, 1,024, 2,048: .174, .173, .172, .162 / all .301. Scale 20: .183 / .302; 40: .165 to .179 / .302 to .305; 60:
.152 / .297; 10 was far worse. Vocabularies of 40,000 .167, 160,000 .174; 512 columns .169, 128 .155. A second epoch
hurts (.170 / .300): rows are learned by heart. Leaving out half of the n-grams at random, batches of neighbours as hard
negatives, and general pairs first with natural questions last: no gain, or less than mixing them. With questions asked
of the starter literature as pairs too: .306 to .308 fused, as before; of 254 such questions by others, those with an
answer among the five nearest sentences of what is found .764 -> .878. With 1,475 further consultations by two more
writers: .307, adapted .315 instead of .318. Pairs of several sources in the same batches, as `adapt` has them (eight
trainings, which sources and which seed): .184 to .196 / .307 to .310, Recall@10 of the held-out pairs .656 -> .726 or
.734; but once adapted .319 to .323 as without, and the starter literature is found .007 to .008 less (Recall@5, n =
869).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from chimed_rag.encoders.ngrams import Bags, Vocabulary, bag_sums

Pairs = Sequence[tuple[str, str]]
"""Questions with the passage that answers each."""

Floats = NDArray[np.float32]

BATCH = 512
SCALE = 25.0
"""Of the cosines before the softmax: the inverse of its temperature."""
LEARNING_RATE = 0.05
_FEW = 32


class Step(NamedTuple):
    """What a batch did."""

    task: str
    loss: float


class Trainer:
    """Changes a table of n-gram vectors, in place, one batch at a time.

    Args:
        vocabulary: the n-grams of the table's rows.
        table: float32 of shape (n-grams, d).
        scale: see `SCALE`.
        squares: those of the training that is gone on with, float32 of shape (n-grams,); they are copied.
    """

    def __init__(
        self, vocabulary: Vocabulary, table: Floats, *, scale: float = SCALE, squares: Floats | None = None
    ) -> None:
        self.vocabulary, self.table, self.scale = vocabulary, table, scale
        self.squares = np.full(len(table), 1e-8, dtype=np.float32) if squares is None else squares.copy()
        """Adagrad's sum of mean squared gradients, of each row."""

    def step(self, pairs: Pairs, learning_rate: float = LEARNING_RATE) -> float:
        """Learns one batch; a passage that answers several of its questions is no negative for any of them.

        Returns:
            The mean negative log-likelihood of the right passages, in nats.
        """
        queries = self.vocabulary.bags([question for question, _ in pairs])
        passages = self.vocabulary.bags([passage for _, passage in pairs])
        q, q_length = _unit(bag_sums(queries, self.table))
        p, p_length = _unit(bag_sums(passages, self.table))
        loss, gradient = self._softmax(q @ p.T * self.scale, [passage for _, passage in pairs])
        q_gradient = _through_unit(gradient @ p, q, q_length)
        p_gradient = _through_unit(gradient.T @ q, p, p_length)
        self._update(queries, passages, np.concatenate([q_gradient, p_gradient]), learning_rate)
        return loss

    def _softmax(self, scores: Floats, passages: Sequence[str]) -> tuple[float, Floats]:
        """The loss, and the gradient with respect to the cosines, both directions weighing half."""
        n, numbers = len(scores), {text: number for number, text in enumerate(dict.fromkeys(passages))}
        same = np.array([numbers[text] for text in passages])
        scores[(same[:, None] == same) & ~np.eye(n, dtype=bool)] = -np.inf
        by_query, by_passage = _probabilities(scores), _probabilities(scores.T).T
        loss = float(-np.log(np.maximum(by_query.diagonal(), 1e-12)).mean())
        gradient = (by_query + by_passage) / 2
        gradient[np.arange(n), np.arange(n)] -= 1
        return loss, gradient * np.float32(self.scale / n)

    def _update(self, queries: Bags, passages: Bags, gradient: Floats, learning_rate: float) -> None:
        ids = np.concatenate([queries.ids, passages.ids])
        rows = np.concatenate([queries.rows(), passages.rows() + len(queries)])
        weights = np.concatenate([queries.weights, passages.weights])
        used, sums = _gathered(ids, rows, weights, gradient)
        self.squares[used] += np.square(sums).mean(axis=1)
        self.table[used] -= sums * (learning_rate / np.sqrt(self.squares[used]))[:, None]


def train(
    trainer: Trainer,
    tasks: Mapping[str, Pairs],
    *,
    seed: int,
    learning_rate: float = LEARNING_RATE,
    last: float = 1.0,
    batch: int = BATCH,
    progress: Callable[[int, int], None] | None = None,
) -> list[Step]:
    """One pass over the pairs of all tasks, in batches of one task each, shuffled.

    A batch never mixes tasks: which source a passage is from would tell it apart from the others. Sources that a search
    has to tell apart belong into one task (see `adapt`).

    Args:
        trainer: whose table is changed.
        tasks: name to pairs.
        seed: of the order.
        learning_rate: at the beginning.
        last: the share of it that is left at the end, reached linearly.
        batch: pairs in one step; what is left of a task after its last whole batch is used if it is more than
            half a batch.
        progress: called after each batch with (batches done, batches in all).

    Returns:
        The losses, in order.
    """
    rng = np.random.default_rng(seed)
    batches: list[tuple[str, NDArray[np.int64]]] = []
    for name, pairs in tasks.items():
        size = min(batch, len(pairs))
        order = rng.permutation(len(pairs))
        batches += [(name, order[begin : begin + size]) for begin in range(0, len(pairs) - size // 2, max(size, 1))]
    steps = []
    for done, number in enumerate(rng.permutation(len(batches)), 1):
        name, chosen = batches[number]
        rate = learning_rate * (1 - (1 - last) * (done - 1) / len(batches))
        steps.append(Step(name, trainer.step([tasks[name][i] for i in chosen], rate)))
        if progress is not None:
            progress(done, len(batches))
    return steps


def _unit(sums: Floats) -> tuple[Floats, Floats]:
    lengths = np.maximum(np.sqrt(np.square(sums).sum(axis=1, keepdims=True)), np.float32(1e-6))
    return sums / lengths, lengths


def _through_unit(gradient: Floats, unit: Floats, lengths: Floats) -> Floats:
    """The gradient with respect to a vector, from that with respect to the vector brought to length 1."""
    along = (gradient * unit).sum(axis=1, keepdims=True)
    result: Floats = (gradient - along * unit) / lengths
    return result


def _probabilities(scores: Floats) -> Floats:
    exponentials: Floats = np.exp(scores - scores.max(axis=1, keepdims=True))
    result: Floats = exponentials / exponentials.sum(axis=1, keepdims=True)
    return result


def _gathered(
    ids: NDArray[np.int64], rows: NDArray[np.int64], weights: Floats, gradient: Floats
) -> tuple[NDArray[np.int64], Floats]:
    """The distinct ids, and for each the sum of `weights * gradient[rows]` over its entries.

    Most n-grams stand in a few texts only: these are added one occurrence at a time, for all ids at once; a product
    serves each of the others. Four times faster than one dense product, and scipy is not needed.
    """
    order = np.argsort(ids, kind="stable")
    ids, rows, weights = ids[order], rows[order], weights[order]
    begins = np.flatnonzero(np.diff(ids, prepend=-1))
    counts = np.diff(begins, append=len(ids))
    sums = gradient[rows[begins]] * weights[begins, None]
    few, nth = np.flatnonzero((counts > 1) & (counts <= _FEW)), 1
    while len(few):
        places = begins[few] + nth
        sums[few] += gradient[rows[places]] * weights[places, None]
        nth += 1
        few = few[counts[few] > nth]
    for number in np.flatnonzero(counts > _FEW):
        part = slice(begins[number], begins[number] + counts[number])
        sums[number] = weights[part] @ gradient[rows[part]]
    return ids[begins], sums
