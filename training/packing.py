"""Several texts in one row of a fixed length, none of which sees another: exact, and as fast as rows without borders.

Positions begin at 0 with each text, and no attention mask is given: transformers makes a block-diagonal one of the
positions. A row is as long as asked and a batch is a few rows, not all of them in one line as trl's "padding-free"
does: without FlashAttention that costs the square of the batch (2.5 M weights, 16 rows of 256, two CPU cores, n = 6 and
2 steps: 7,800 tokens/s in rows, 2,000 in one line, 7,300 in rows whose texts do see each other). Padding is rows'
rest, each token of it a text of its own. `check` compares packed with separate on the model that will be trained.
Not covered: which texts (`sources`), and cutting conversations (`batches`). Importing this needs numpy alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chimed_rag.errors import InputError

IGNORED = -100
"""The label of a token that is not learned, as torch has it."""
TOLERANCE = {"float32": 1e-5, "bfloat16": 5e-2, "float16": 5e-3}
"""How far packed and separate logits may lie apart, as a share of the largest (of 1, if none is larger)."""


class Piece(NamedTuple):
    """Tokens that lie in one row side by side; `learned` says which of them are targets, null for all but the first."""

    ids: Sequence[int]
    learned: Sequence[bool] | None = None


class Packed(NamedTuple):
    """Rows of tokens, each array of shape (rows, length).

    `positions` is 0 where a text begins; `labels` is the token itself where it is learned, else `IGNORED`, for a loss
    that shifts them by one. `padding` counts the tokens that fill up rows.
    """

    ids: NDArray[np.int32]
    positions: NDArray[np.int32]
    labels: NDArray[np.int32]
    padding: int

    @property
    def learned(self) -> int:
        """Targets in all."""
        return int((self.labels != IGNORED).sum())


def pieces(documents: Iterable[Sequence[int]], length: int) -> Iterator[Piece]:
    """Documents cut to pieces of at most `length` tokens; each token but a document's first is a target once.

    A piece begins with the last token of the piece before it: trl's `bfd_split` begins with the next one, which no
    piece then learns. A document of one token has nothing to learn and gives none.
    """
    for ids in documents:
        for start in range(0, len(ids) - 1, length - 1):
            yield Piece(ids[start : start + length])


def pack(found: Iterable[Piece], length: int, pad_id: int) -> Packed:
    """Puts each piece into the row with the least room that holds it, the longest first (best fit decreasing).

    Args:
        found: pieces, none longer than `length`; the same ones in the same order give the same rows.
        length: tokens of a row.
        pad_id: what fills it up.

    Raises:
        InputError: there is no piece, or one is longer than a row.
    """
    items = sorted(found, key=lambda piece: -len(piece.ids))
    if not items:
        raise InputError("there is nothing to pack: no text has two tokens")
    if len(items[0].ids) > length:
        raise InputError(f"a piece has {len(items[0].ids):,} tokens and a row {length:,}")
    rows: list[list[Piece]] = []
    with_room: list[list[int]] = [[] for _ in range(length + 1)]  # numbers of the rows that have so much room
    some = 0  # bit n is set if a row has room for n
    for piece in items:
        size = len(piece.ids)
        if fitting := some >> size:
            room = size + (fitting & -fitting).bit_length() - 1
            row = with_room[room].pop()
            if not with_room[room]:
                some &= ~(1 << room)
        else:
            room, row = length, len(rows)
            rows.append([])
        rows[row].append(piece)
        if room > size:
            with_room[room - size].append(row)
            some |= 1 << (room - size)
    return _filled(rows, length, pad_id)


def _filled(rows: Sequence[Sequence[Piece]], length: int, pad_id: int) -> Packed:
    shape = (len(rows), length)
    packed = Packed(
        np.full(shape, pad_id, np.int32), np.zeros(shape, np.int32), np.full(shape, IGNORED, np.int32),
        len(rows) * length - sum(len(piece.ids) for row in rows for piece in row),
    )  # fmt: skip
    for n, row in enumerate(rows):
        start = 0
        for ids, learned in row:
            end = start + len(ids)
            packed.ids[n, start:end] = ids
            packed.positions[n, start:end] = np.arange(len(ids))
            targets = np.ones(len(ids), bool) if learned is None else np.array(learned, bool)
            targets[0] = False  # the token before it belongs to another text
            packed.labels[n, start:end] = np.where(targets, packed.ids[n, start:end], IGNORED)
            start = end
    return packed


class Rows:
    """Packed rows as a data set of torch: of numbers, so that a batch is cut out of the arrays at once (`collate`)."""

    def __init__(self, packed: Packed) -> None:
        self._packed = packed

    def __len__(self) -> int:
        return len(self._packed.ids)

    def __getitem__(self, n: int) -> int:
        return n

    def collate(self, numbers: Sequence[int]) -> dict[str, Any]:
        """The batch of these rows: what a causal model of transformers takes, tensors of shape (batch, length)."""
        import torch

        ids, positions, labels = (part[list(numbers)].astype(np.int64) for part in self._packed[:3])
        # With a cache, or with an attention mask of ones, transformers would not look for texts in the positions.
        return {
            "input_ids": torch.from_numpy(ids),
            "position_ids": torch.from_numpy(positions),
            "labels": torch.from_numpy(labels),
            "use_cache": False,
        }


def check(model: Any, packed: Packed, *, rows: int = 2) -> float:
    """Compares the logits of packed texts with those of each text by itself, on this model; returns the difference.

    Args:
        model: as it will be trained; the arithmetic is that of its weights' dtype.
        packed: rows; those with most texts are looked at.
        rows: so many of them, in one batch.

    Raises:
        InputError: they lie further apart than `TOLERANCE`: the texts of a row see each other.
    """
    import torch

    borders = (packed.positions == 0) & (packed.labels == IGNORED)
    starts_of = (borders[:, :-1] & (packed.positions[:, 1:] == 1)).sum(axis=1)
    chosen = np.argsort(-starts_of, kind="stable")[:rows]
    batch = Rows(packed).collate(chosen.tolist())
    device, training = model.device, model.training
    batch = {name: value.to(device) if hasattr(value, "to") else value for name, value in batch.items()}
    batch.pop("labels")
    model.eval()
    try:
        with torch.no_grad():
            difference, largest = _difference(lambda **inputs: model(**inputs).logits, batch)
    finally:
        model.train(training)
    allowed = TOLERANCE[str(model.dtype).removeprefix("torch.")] * max(1.0, largest)
    if not difference <= allowed:
        raise InputError(
            f"packed texts are not read as they would be alone: logits differ by {difference:.2g} (of {allowed:.2g} "
            "allowed), so the texts of a row see each other; this model cannot be trained on packed rows"
        )
    return difference


def _difference(logits: Callable[..., Any], batch: dict[str, Any]) -> tuple[float, float]:
    """The largest difference of logits, packed and separate, and the largest logit."""
    together = logits(**batch).float()
    worst = largest = 0.0
    for n, positions in enumerate(batch["position_ids"].tolist()):
        starts = [place for place, position in enumerate(positions) if position == 0]
        for start, end in zip(starts, [*starts[1:], len(positions)], strict=True):
            if end - start > 1:
                alone = logits(input_ids=batch["input_ids"][n : n + 1, start:end], use_cache=False).float()[0]
                worst = max(worst, float((together[n, start:end] - alone).abs().max()))
                largest = max(largest, float(alone.abs().max()))
    return worst, largest
