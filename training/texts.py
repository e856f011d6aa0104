"""Corpora become plain texts for masked language modelling; every row accounted for.

Reasons for dropping: "empty", "duplicate" (by skeleton), "evaluation" (n-grams), "beyond the limit". Not covered:
cutting texts into blocks of tokens (`mlm`).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from chimed_rag.evaluation.grams import skeleton
from training.files import Account, Ledger, account, lines, matching, rows
from training.hygiene import Contamination
from training.pairs import Hygiene
from training.settings import Settings, located


class TextFile(Settings):
    """A file or glob of texts: JSONL (by its name), or one text a line.

    Args:
        path: see `settings`.
        fields: of a JSONL row, joined by line breaks; those that are missing or empty are passed over.
        licence: of the file, for the card.
        limit: at most so many rows, drawn by chance.
    """

    path: str
    fields: list[str] = Field(default=["title", "section", "text"], min_length=1)
    licence: str = ""
    limit: int | None = Field(None, ge=1)


def read_texts(files: list[TextFile], hygiene: Hygiene, *, seed: int, ledger: Ledger) -> list[str]:
    """The texts of the files that are left, in order; their accounts are added to the ledger.

    Raises:
        CorpusError: a file is missing or cannot be read.
        ConfigError: the folder of evaluation sets is not there.
    """
    traces = (
        None if hygiene.evaluation is None or not files else Contamination(located(hygiene.evaluation), hygiene.gram)
    )
    seen: set[str] = set()
    texts: list[str] = []
    for file in files:
        for name, path in matching(file.path):
            entry = account(name, path, file.licence)
            ledger.append(entry)
            found = list(_texts(file, path, entry))
            if file.limit is not None and len(found) > file.limit:
                entry.drop("beyond the limit", len(found) - file.limit)
                chosen = sorted(random.Random(f"{seed} {name}").sample(range(len(found)), file.limit))  # noqa: S311
                found = [found[n] for n in chosen]
            for text in found:
                bones = skeleton(text)
                if not bones:
                    entry.drop("empty")
                elif bones in seen:
                    entry.drop("duplicate")
                elif traces is not None and traces.share(bones) > hygiene.share:
                    entry.drop("evaluation")
                else:
                    seen.add(bones)
                    texts.append(text)
    return texts


def _texts(file: TextFile, path: Path, entry: Account) -> Iterator[str]:
    jsonl = ".jsonl" in path.suffixes
    for text in (_joined(row, file.fields) for _, row in rows(path)) if jsonl else (line for _, line in lines(path)):
        entry.rows += 1
        entry.read += 1
        entry.kept += 1
        yield text


def _joined(row: dict[str, object], fields: list[str]) -> str:
    return "\n".join(value for name in fields if isinstance(value := row.get(name), str) and value.strip())
