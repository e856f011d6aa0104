"""Dialogues and ranked replies of the project's own, to try the training regime on: made of the consultations that its
encoder was trained on (`chimed_rag/encoders/consultations`, Apache-2.0), which ship with it.

A ranked list has the reply to a question first and the reply to another one, of nearly the same length, after it: what
is learned from them is what belongs together, and not that longer is better. Not covered: their use in a hospital; they
are for trying things out. Needs no numpy.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel

from training.contracts import Dialogue, RankedList, Reply

SOURCE, LICENCE = "consultations", "Apache-2.0"
DIALOGUES, RANKED = "dialogues.jsonl", "ranked.jsonl"
_DRAWN = 40
"""Replies of other questions, of which the one nearest in length is taken."""


class Consultation(NamedTuple):
    """A reply and the questions that it answers, shortest first."""

    id: str
    reply: str
    questions: list[str]


def consultations() -> Iterator[Consultation]:
    """All of them, in the order of the files' names."""
    folder = resources.files("chimed_rag.encoders") / SOURCE
    for file in sorted((file for file in folder.iterdir() if file.name.endswith(".tsv")), key=lambda file: file.name):
        for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
            reply, *questions = line.split("\t")
            if questions:
                yield Consultation(f"{file.name.removesuffix('.tsv')}-{number}", reply, sorted(questions, key=len))


def dialogues() -> Iterator[Dialogue]:
    """One for each question."""
    for one in consultations():
        for n, question in enumerate(one.questions, 1):
            messages = [{"role": "user", "content": question}, {"role": "assistant", "content": one.reply}]
            yield Dialogue.model_validate(
                {"id": f"{one.id}-{n}", "source": SOURCE, "licence": LICENCE, "messages": messages}
            )


def ranked(seed: int = 1) -> Iterator[RankedList]:
    """One for each consultation: its longest question, its reply, and a reply that belongs to another."""
    everything = list(consultations())
    for place, one in enumerate(everything):
        draw = random.Random(f"{seed} {place}")  # noqa: S311 - a choice, no secret
        others = [other.reply for other in draw.sample(everything, _DRAWN) if other.reply != one.reply]
        wrong = min(others, key=lambda reply: abs(len(reply) - len(one.reply)))
        replies = [Reply(text=one.reply, rank=1, author="own"), Reply(text=wrong, rank=2, author="other question")]
        yield RankedList(
            id=one.id, source=SOURCE, licence=LICENCE, replies=replies,
            prompt=[{"role": "user", "content": one.questions[-1]}],
        )  # fmt: skip


def write(folder: Path) -> None:
    """Writes both as JSONL into a folder; the same bytes every time (`prepare` of a pipeline)."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in ((DIALOGUES, dialogues()), (RANKED, ranked())):
        _write(folder / name, rows)


def _write(path: Path, rows: Iterator[BaseModel]) -> None:
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(row.model_dump_json() + "\n")
    partial.replace(path)
