"""What of the evidence fits into a prompt: the best sentences of it; instructions and question never go.

Not covered: what the prompt says (`prompts`), how many passages were retrieved (`config.EvidenceBudget`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from chimed_rag.errors import GeneratorError
from chimed_rag.generation.base import Message
from chimed_rag.generation.prompts import Prompt
from chimed_rag.records import Evidence


class Fitted(NamedTuple):
    """A prompt that fits, and the passages in it, in their order; a passage that was cut holds fewer sentences."""

    messages: list[Message]
    evidence: list[Evidence]


def fit(
    prompt: Prompt,
    question: str,
    evidence: Sequence[Evidence],
    count_tokens: Callable[[Sequence[Message]], int],
    room: int,
) -> Fitted:
    """The prompt with as much of the evidence as `room` tokens hold.

    Raises:
        GeneratorError: instructions and question alone do not fit; says by how much.
    """
    kept = list(evidence)
    while True:
        messages = prompt.messages(question=question, evidence=kept)
        if (needed := count_tokens(messages)) <= room:
            return Fitted(messages, kept)
        if not kept:
            raise GeneratorError(f"the question needs {needed} tokens with its instructions; there is room for {room}")
        kept.pop()
