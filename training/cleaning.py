"""What rows of all sources are compared with: each other, the evaluation sets, and the forms of identifiers.

A row has two sides, what is asked and what is replied (a text has the second alone); rows are one if both are, so that
three replies to one question stay three rows. Not covered: what a text means; rows that share one side only (`split`
of `sources` keeps those with one prompt together).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from chimed_rag.evaluation.grams import skeleton
from chimed_rag.generation.base import Message
from chimed_rag.safety.redaction import Redactor
from training.contracts import Dialogue, RankedList, Row, Text
from training.files import Account
from training.hygiene import Contamination, NearDuplicates, similarity
from training.pairs import Hygiene
from training.settings import located


class Kept(NamedTuple):
    """A row that is still wanted, the account of its file, the number of its source, and what was done to it."""

    row: Any
    entry: Account
    source: int
    changes: tuple[str, ...] = ()


def opening(row: Row) -> str:
    """What a row begins with: the user's first turn, or the text."""
    if isinstance(row, Text):
        return row.text
    return next(message["content"] for message in _messages(row) if message["role"] == "user")


def said(row: Row) -> list[str]:
    """All texts of a row: its messages in order, then its ranked replies."""
    if isinstance(row, Text):
        return [row.text]
    replies = [reply.text for reply in row.replies] if isinstance(row, RankedList) else []
    return [*(message["content"] for message in _messages(row)), *replies]


def characters(row: Row) -> int:
    """How long all texts of a row are together."""
    return sum(map(len, said(row)))


def clean(found: Iterable[Kept], hygiene: Hygiene) -> Iterator[Kept]:
    """The rows that are none of: empty, too short, repeating itself, duplicate, evaluation, near duplicate.

    Raises:
        ConfigError: the folder of evaluation sets is not there.
    """
    evaluation = hygiene.evaluation
    traces = None if evaluation is None else Contamination(located(evaluation), hygiene.gram)
    near = None if hygiene.near_duplicates is None else _Near(hygiene.near_duplicates)
    seen: set[tuple[str, str]] = set()
    for item in found:
        prompt, reply = sides = _sides(item.row)
        prompted = not isinstance(item.row, Text)
        if not reply or (prompted and not prompt):
            item.entry.drop("empty")
        elif len(reply) < hygiene.shortest_passage or (prompted and len(prompt) < hygiene.shortest_query):
            item.entry.drop("too short")
        elif prompt == reply:
            item.entry.drop("repeats itself")
        elif sides in seen:
            item.entry.drop("duplicate")
        elif traces is not None and any(traces.share(bones) > hygiene.share for bones in _telling(item.row, traces.n)):
            item.entry.drop("evaluation")
        elif near is not None and near.known(prompt, reply):
            item.entry.drop("near duplicate")
        else:
            seen.add(sides)
            yield item


def redacted(found: Iterable[Kept]) -> Iterator[Kept]:
    """The rows with pseudonyms in place of identifiers, the same one throughout a row.

    A ranked list whose replies differ by an identifier alone is dropped.
    """
    for item in found:
        redactor, texts = Redactor(), said(item.row)
        cleaned = [redactor.redact(text).text for text in texts]
        if cleaned == texts:
            yield item
        elif isinstance(item.row, RankedList) and len(set(cleaned[-len(item.row.replies) :])) < len(item.row.replies):
            item.entry.drop("redacted away")
        else:
            yield item._replace(row=_with(item.row, iter(cleaned)), changes=(*item.changes, "redacted"))


def _with(row: Row, texts: Iterator[str]) -> Row:
    """The row with other texts, in the order of `said`."""
    if isinstance(row, Text):
        return row.model_copy(update={"text": next(texts)})
    messages = [Message(role=message["role"], content=next(texts)) for message in _messages(row)]
    if isinstance(row, Dialogue):
        return row.model_copy(update={"messages": messages})
    replies = [reply.model_copy(update={"text": next(texts)}) for reply in row.replies]  # type: ignore[attr-defined]
    return row.model_copy(update={"prompt": messages, "replies": replies})


def _messages(row: Row) -> list[Message]:
    if isinstance(row, Dialogue):
        return row.messages
    if isinstance(row, RankedList):
        return row.prompt
    raise TypeError(f"{type(row).__name__} has no messages")


def _sides(row: Row) -> tuple[str, str]:
    """Skeletons of what is asked and of what is replied, the best reply first."""
    if isinstance(row, Text):
        return "", skeleton(row.text)
    turns = {role: [m["content"] for m in _messages(row) if m["role"] == role] for role in ("user", "assistant")}
    if isinstance(row, RankedList):
        turns["assistant"] += [reply.text for reply in sorted(row.replies, key=lambda reply: reply.rank)]
    return skeleton("".join(turns["user"])), skeleton("".join(turns["assistant"]))


def _telling(row: Row, n: int) -> Iterator[str]:
    """Skeletons of the texts that may betray an evaluation set: the opening, and all that are as long as a gram.

    A short turn inside a conversation, or a short reply, stands in any set by chance ("how long has that been so").
    """
    if len(first := skeleton(opening(row))) < n:
        yield first
    yield from (bones for text in said(row) if len(bones := skeleton(text)) >= n)


class _Near:
    """Rows that are alike on both sides."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._replies = NearDuplicates(threshold)
        self._prompts: list[str] = []

    def known(self, prompt: str, reply: str) -> bool:
        """Whether a row like this was seen before; remembers it."""
        alike = self._replies.see(reply)
        self._prompts.append(prompt)
        return any(similarity(prompt, self._prompts[n]) >= self._threshold for n in alike)
