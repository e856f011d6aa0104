"""Conversations become rows of tokens with the mask of what is learned, and rows become batches; nothing is cut in two.

`render` is the one way from dialogues to tokens, through the renderer that serves. A conversation that is too long
loses its earliest exchanges, whole, until it fits; one whose last exchange does not fit is dropped and counted: a reply
without its end would teach the model not to stop. `audit` decodes what would be learned and compares it with the
replies. Not covered: several conversations in one row (`packing`).
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from chimed_rag.errors import InputError
from chimed_rag.generation.base import Message
from chimed_rag.generation.chat import Rendered, Renderer
from training.contracts import Dialogue
from training.packing import IGNORED, Packed, Piece, pack


class Conversations(NamedTuple):
    """Dialogues that fit, shortened where they had to be, and their tokens; `counts` says what became of all.

    `counts` has "read", "kept", "too long" (dropped; read = kept + too long), of the kept ones "shortened", and
    "replies as written" and "replies made harmless" of the audit.
    """

    dialogues: list[Dialogue]
    rendered: list[Rendered]
    counts: Counter[str]

    def __str__(self) -> str:
        tokens = sum(len(row.ids) for row in self.rendered)
        learned = sum(sum(row.mask) for row in self.rendered)
        of = self.counts
        return (
            f"{of['kept']:,} of {of['read']:,} conversations ({of['too long']:,} too long, {of['shortened']:,} without "
            f"their earliest exchanges), {tokens:,} tokens, {learned:,} of them learned; checked: each is part of one "
            f"of the {of['replies as written'] + of['replies made harmless']:,} replies or the token that ends it "
            f"({of['replies made harmless']:,} with turns or special tokens in them that were made harmless)"
        )


def render(
    renderer: Renderer, dialogues: Iterable[Dialogue], max_tokens: int, *, last_only: bool = False
) -> Conversations:
    """Renders and audits dialogues.

    Args:
        renderer: of the model that will be trained.
        dialogues: they say where they come from if one cannot be rendered.
        max_tokens: of a row.
        last_only: learn from the last reply alone.

    Raises:
        InputError: none fits, one cannot be rendered, or what would be learned is not what the replies say.
        GeneratorError: the chat template refuses one; see `Renderer.training`.
    """
    found = Conversations([], [], Counter())
    longest = 0
    for dialogue in dialogues:
        found.counts["read"] += 1
        messages = list(dialogue.messages)
        try:
            row = renderer.training(messages, last_only=last_only)
            while len(row.ids) > max_tokens and (shorter := without_earliest(messages)):
                messages = shorter
                row = renderer.training(messages, last_only=last_only)
        except InputError as error:
            raise InputError(f"{_name(dialogue)}: {error}") from error
        if len(row.ids) > max_tokens:
            found.counts["too long"] += 1
            longest = max(longest, len(row.ids))
            continue
        found.counts["kept"] += 1
        if len(messages) < len(dialogue.messages):
            found.counts["shortened"] += 1
            dialogue = dialogue.model_copy(update={"messages": messages})
        found.counts.update(audit(renderer, dialogue, row, last_only=last_only))
        found.dialogues.append(dialogue)
        found.rendered.append(row)
    if not found.rendered:
        why = f"; the longest has {longest:,} tokens: raise max_tokens ({max_tokens:,})" if longest else ""
        raise InputError(f"no conversation is left to learn from, of {found.counts['read']:,}{why}")
    return found


def without_earliest(messages: Sequence[Message]) -> list[Message]:
    """The conversation without its earliest exchange, a system message kept; empty if that was the only one."""
    start = int(messages[0]["role"] == "system")
    rest = list(messages[start + 2 :])
    return [*messages[:start], *rest] if rest else []


def audit(renderer: Renderer, dialogue: Dialogue, row: Rendered, *, last_only: bool = False) -> Counter[str]:
    """Checks that the tokens to learn are those of the replies with the token that ends each, by decoding them.

    Counts "replies as written", letter by letter, and "replies made harmless", in which the renderer wrote what looked
    like a turn or a special token with another sign, or whose signs the tokenizer folds; those are compared folded.

    Raises:
        InputError: they are not; names the dialogue and says what is wrong.
    """
    replies = [message["content"].strip() for message in dialogue.messages if message["role"] == "assistant"]
    if last_only:
        replies = replies[-1:]
    learned = [[token for token, _ in run] for is_learned, run in _runs(row) if is_learned]
    if len(learned) != len(replies):
        raise InputError(f"{_name(dialogue)}: {len(learned)} stretches would be learned, of {len(replies)} replies")
    found: Counter[str] = Counter()
    for place, (tokens, reply) in enumerate(zip(learned, replies, strict=True), 1):
        if tokens[-1] not in renderer.stop_ids:
            raise InputError(f"{_name(dialogue)}: the token that ends reply {place} would not be learned")
        text = renderer.tokenizer.decode(tokens[:-1], skip_special_tokens=False)
        if text == reply:
            found["replies as written"] += 1
        elif _folded(text) == _folded(reply):
            found["replies made harmless"] += 1
        else:
            raise InputError(f"{_name(dialogue)}: what would be learned of reply {place} is not what the reply says")
    return found


def labels(row: Rendered) -> list[int]:
    """The token where it is learned, else `IGNORED`."""
    return [token if learned else IGNORED for token, learned in zip(row.ids, row.mask, strict=True)]


def packed(rows: Sequence[Rendered], length: int, pad_id: int) -> Packed:
    """Conversations as packed rows of `length` tokens, none of which sees another; what is learned stays learned.

    Raises:
        InputError: one is longer than a row.
    """
    return pack((Piece(row.ids, row.mask) for row in rows), length, pad_id)


class Padded:
    """Rows as a data set of torch, whose batches are filled up on the right; rows of like length share a batch.

    Right or left makes no difference to what is learned: padding is neither seen nor a target.
    """

    def __init__(self, rows: Sequence[Rendered], pad_id: int) -> None:
        self._rows, self._pad = rows, pad_id

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, n: int) -> dict[str, list[int]]:
        return {"input_ids": self._rows[n].ids, "labels": labels(self._rows[n])}

    def collate(self, items: Sequence[dict[str, list[int]]]) -> dict[str, Any]:
        """What a causal model of transformers takes: tensors of shape (rows, tokens of the longest)."""
        import torch

        longest = max(len(item["input_ids"]) for item in items)

        def filled(values: list[int], filling: int) -> list[int]:
            return values + [filling] * (longest - len(values))

        return {
            "input_ids": torch.tensor([filled(item["input_ids"], self._pad) for item in items]),
            "attention_mask": torch.tensor([filled([1] * len(item["input_ids"]), 0) for item in items]),
            "labels": torch.tensor([filled(item["labels"], IGNORED) for item in items]),
        }


def _runs(row: Rendered) -> Iterator[tuple[bool, Iterator[tuple[int, bool]]]]:
    return groupby(zip(row.ids, row.mask, strict=True), key=lambda pair: pair[1])


def _folded(text: str) -> str:
    """Without width and blanks."""
    return "".join(unicodedata.normalize("NFKC", text).split())


def _name(dialogue: Dialogue) -> str:
    return f"{dialogue.source or 'a dialogue'}, row {dialogue.id}"
