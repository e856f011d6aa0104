"""What language models are trained on: texts, dialogues, ranked replies, pairs of them, and candidates.

Each is one line of JSONL in our own form; `sources` reads other people's forms into these. Not covered: how a
conversation becomes tokens (`chimed_rag.generation.chat`).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from chimed_rag.generation.base import Message

Domain = Literal["medical", "general"]


class Row(BaseModel):
    """Base of all rows: frozen, unknown fields refused; `id` names it within its source."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(min_length=1)
    source: str = ""
    licence: str = ""


class Text(Row):
    """A text to learn language from."""

    text: str = Field(min_length=1)
    domain: Domain = "medical"


class Dialogue(Row):
    """A conversation whose replies are learned: user and assistant by turns, a system message before them at most."""

    messages: list[Message] = Field(min_length=2)
    task: str = ""

    @field_validator("messages")
    @classmethod
    def _by_turns(cls, messages: list[Message]) -> list[Message]:
        require_turns(messages, last="assistant")
        return messages

    @property
    def prompt(self) -> list[Message]:
        """All but the last reply."""
        return self.messages[:-1]


class Reply(BaseModel):
    """One reply of a ranked list; rank 1 is the best, equal ranks are ties."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str = Field(min_length=1)
    rank: int = Field(ge=1)
    author: str = ""


class RankedList(Row):
    """A prompt with replies of different worth, two or more, at least two ranks."""

    prompt: list[Message] = Field(min_length=1)
    replies: list[Reply] = Field(min_length=2)

    @model_validator(mode="after")
    def _ranked(self) -> RankedList:
        require_turns(self.prompt, last="user")
        if len({reply.rank for reply in self.replies}) < 2:
            raise ValueError("all replies have the same rank; nothing can be learned from them")
        if len({reply.text for reply in self.replies}) < len(self.replies):
            raise ValueError("two replies have the same text")
        return self


class Preference(BaseModel):
    """A pair made of a ranked list.

    Args:
        list_id: of the list; all pairs of a list lie in the same split.
        margin: how many ranks lie between them.
        kind: who beats whom ("doctor>gpt-4"), or what was spoilt ("hard:dose").
        weight: all pairs of one list weigh 1 together, so that a list of k does not count k(k − 1)/2 times.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    list_id: str
    prompt: list[Message]
    chosen: str
    rejected: str
    margin: int = Field(1, ge=1)
    kind: str = ""
    weight: float = Field(1.0, gt=0)


class Candidate(BaseModel):
    """A reply that a policy wrote to a prompt, and what became of it (`reject`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt_id: str
    k: int = Field(ge=0)
    seed: int
    text: str
    finish: str
    tokens: int
    reward: float | None = None


def pairs(ranked: RankedList) -> Iterator[Preference]:
    """Every pair of a list that is no tie, the better one chosen."""
    found = [
        (better, worse)
        for one, other in combinations(ranked.replies, 2)
        for better, worse in [(one, other) if one.rank < other.rank else (other, one)]
        if better.rank != worse.rank
    ]
    for better, worse in found:
        yield Preference(
            list_id=ranked.id,
            prompt=ranked.prompt,
            chosen=better.text,
            rejected=worse.text,
            margin=worse.rank - better.rank,
            kind=f"{better.author or better.rank}>{worse.author or worse.rank}",
            weight=1 / len(found),
        )


def require_turns(messages: list[Message], *, last: Literal["user", "assistant"]) -> None:
    """Whether user and assistant speak by turns, the user first.

    Raises:
        ValueError: they do not; says where.
    """
    spoken = messages[1:] if messages and messages[0]["role"] == "system" else messages
    for place, message in enumerate(spoken, 1):
        expected = "user" if place % 2 else "assistant"
        if message["role"] != expected:
            raise ValueError(f"turn {place} is the {message['role']}'s and should be the {expected}'s")
        if not message["content"].strip():
            raise ValueError(f"turn {place} is empty")
    if not spoken or spoken[-1]["role"] != last:
        raise ValueError(f"the last turn has to be the {last}'s")
