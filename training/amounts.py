"""How many tokens a run will read: from its steps, from what was asked for, or from the files, before any is cleaned.

Not covered: the tokenizer, which may not be there yet.
"""

from __future__ import annotations

import json
from typing import Any

from chimed_rag.errors import CorpusError, InputError
from training.stages import Data, StageSettings

TOKENS_PER_CHARACTER = 0.8
"""Assumed of Chinese text; the tokenizer is not asked."""
TWICE = ("reward", "prefer")
"""Stages whose row is a pair: two replies go through together."""


def tokens_of(settings: StageSettings) -> tuple[int | None, str]:
    """How many tokens go through in training, and how that is known; None, and why it is not."""
    fit = settings.fit
    twice = 2 if settings.stage in TWICE else 1
    if fit.max_steps is not None:
        rows = fit.max_steps * fit.batch_size * fit.accumulate * fit.machine.devices
        return rows * settings.max_tokens * twice, "at most: every row of full length"
    if settings.data.tokens is not None:
        return int(settings.data.tokens * fit.epochs), "asked for, each pass"
    try:
        characters = _characters(settings.data)
    except (CorpusError, InputError) as error:
        return None, str(error)
    return int(characters * TOKENS_PER_CHARACTER * fit.epochs), f"{TOKENS_PER_CHARACTER} a character, before cleaning"


def _characters(data: Data) -> int:
    """Of the texts in all rows of the sources; of a limited source its share."""
    from training.files import lines, matching

    total = 0
    for source in data.sources:
        rows = characters = 0
        for _, path in matching(source.path):
            for _, line in lines(path):
                rows += 1
                characters += _length(line)
        total += characters if not source.limit else int(characters * min(1.0, source.limit / max(rows, 1)))
    return total


def _length(line: str) -> int:
    """Characters of the texts in a line of JSON, or of the line."""
    try:
        stack: list[Any] = [json.loads(line)]
    except ValueError:
        return len(line)
    total = 0
    while stack:
        value = stack.pop()
        if isinstance(value, str):
            total += len(value)
        elif isinstance(value, dict):
            stack.extend(value.values())
        elif isinstance(value, list):
            stack.extend(value)
    return total
