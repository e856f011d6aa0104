"""Replies that a policy wrote to prompts, kept so that none is ever written twice: `sample` draws, `Store` keeps.

    candidates-0000.jsonl   one line a prompt, with all of its candidates and the line's SHA-256; lines are added, never
                            changed; a next file after so many

A kill at any moment costs at most what was being written: a line that is not whole is cut off when the store is opened
again, and its prompt is drawn anew, from the same seeds. What a candidate was drawn by (policy, prompt, seed) is the
caller's to fix; a store holds one policy's candidates. Not covered: choosing among them (`selection`).
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import ValidationError

from chimed_rag.config import Generation
from chimed_rag.errors import CorpusError, GeneratorError
from chimed_rag.generation.base import Message
from training.contracts import Candidate, Dialogue

if TYPE_CHECKING:
    from chimed_rag.generation.language_model import Completion, LanguageModel

SHARD = 1000
"""Prompts a file."""
_AT_ONCE = 256
"""Candidates that are asked for together; so much work a kill can cost."""
_log = logging.getLogger(__name__)

Score = Callable[[list[list[Message]]], Sequence[float]]
"""Gives each conversation a score; see `scoring.Scorer`."""


class Prompt(NamedTuple):
    """What is to be answered; `id` is made of the messages (`prompts_of`), `reference` is an answer somebody gave."""

    id: str
    messages: list[Message]
    reference: str

    def answered(self, text: str) -> list[Message]:
        """The conversation with this reply."""
        return [*self.messages, {"role": "assistant", "content": text}]


class Group(NamedTuple):
    """A prompt and the candidates that answer it, in the order of their k."""

    prompt: Prompt
    candidates: list[Candidate]


def prompts_of(dialogues: Iterable[Dialogue]) -> list[Prompt]:
    """The prompts of dialogues, each once; the first reply to it is the reference."""
    found: dict[str, Prompt] = {}
    for dialogue in dialogues:
        form = json.dumps(dialogue.prompt, ensure_ascii=False, sort_keys=True)
        name = hashlib.sha256(form.encode()).hexdigest()[:16]
        found.setdefault(name, Prompt(name, dialogue.prompt, dialogue.messages[-1]["content"]))
    return list(found.values())


def seed_of(run: str, prompt_id: str, k: int) -> int:
    """The seed of a candidate, 31 bits: of the run (its seed, and what else tells draws apart), the prompt, and k."""
    return int.from_bytes(hashlib.sha256(f"{run} {prompt_id} {k}".encode()).digest()[:4], "big") >> 1


class Store:
    """The candidates of a folder.

    Args:
        folder: made if it is not there. What a killed process left unfinished at the end of a file is cut off.
        shard: prompts a file.

    Raises:
        CorpusError: a line was changed after it was written; names file and line.
    """

    def __init__(self, folder: Path, *, shard: int = SHARD) -> None:
        self.folder, self._shard = folder, shard
        folder.mkdir(parents=True, exist_ok=True)
        self._groups: dict[str, list[Candidate]] = {}
        self._full, self._lines = 0, 0  # files that are full, and lines of the one that is not
        files = sorted(folder.glob("candidates-*.jsonl"))
        for number, file in enumerate(files):
            self._lines = self._read(file, last=number == len(files) - 1)
            self._full = number
        self._next()

    def __len__(self) -> int:
        return len(self._groups)

    def __contains__(self, prompt_id: str) -> bool:
        return prompt_id in self._groups

    def __getitem__(self, prompt_id: str) -> list[Candidate]:
        return self._groups[prompt_id]

    def add(self, prompt_id: str, candidates: Sequence[Candidate]) -> None:
        """Keeps the candidates of a prompt; they are on the disk when this returns.

        Raises:
            ValueError: they are there already.
        """
        if prompt_id in self._groups:
            raise ValueError(f"{self.folder}: the candidates of {prompt_id} are there already")
        with (self.folder / f"candidates-{self._full:04d}.jsonl").open("ab") as file:
            file.write(_line(prompt_id, candidates))
            file.flush()
            os.fsync(file.fileno())
        self._groups[prompt_id] = list(candidates)
        self._lines += 1
        self._next()

    def _next(self) -> None:
        if self._lines >= self._shard:
            self._full, self._lines = self._full + 1, 0

    def _read(self, file: Path, *, last: bool) -> int:
        whole, lines = 0, 0
        for raw in file.read_bytes().splitlines(keepends=True):
            group = _parsed(raw)
            if group is None:
                if raw.endswith(b"\n") or not last:
                    raise CorpusError(
                        "is not what was written; remove the file, and its prompts are answered anew",
                        path=str(file),
                        line=lines + 1,
                    )
                _log.warning("%s: the last line is not whole and is cut off", file)
                with file.open("r+b") as stream:
                    stream.truncate(whole)
                break
            self._groups[group[0]] = group[1]
            whole, lines = whole + len(raw), lines + 1
        return lines


def _line(prompt_id: str, candidates: Sequence[Candidate]) -> bytes:
    row = {"prompt_id": prompt_id, "candidates": [one.model_dump(mode="json") for one in candidates]}
    return (json.dumps({**row, "sha256": _digest(row)}, ensure_ascii=False) + "\n").encode()


def _parsed(raw: bytes) -> tuple[str, list[Candidate]] | None:
    """The prompt's id and the candidates of a line, or None if it is not what `_line` wrote."""
    try:
        row = json.loads(raw)
        if not raw.endswith(b"\n") or row.pop("sha256") != _digest(row):
            return None
        return row["prompt_id"], [Candidate.model_validate(one) for one in row["candidates"]]
    except (ValueError, KeyError, AttributeError, TypeError, ValidationError):
        return None


def _digest(row: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(row, ensure_ascii=False, sort_keys=True).encode()).hexdigest()


def sample(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    store: Store,
    *,
    k: int,
    run: str,
    how: Generation,
    score: Score | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> list[Group]:
    """k candidates of each prompt, from the store where they are there, else drawn, scored and stored.

    Args:
        model: the policy, in this process or behind a server.
        prompts: see `prompts_of`.
        store: of this policy.
        k: candidates a prompt.
        run: part of each candidate's seed (`seed_of`); another one gives other candidates.
        how: temperature, top-p, length; its seed does not count.
        score: fills in `Candidate.reward`.
        say: where progress is told.

    Raises:
        GeneratorError: the model failed; what it wrote before is kept.
    """
    missing = [prompt for prompt in prompts if prompt.id not in store]
    if kept := len(prompts) - len(missing):
        say(f"{kept:,} of {len(prompts):,} prompts were answered before")
    step = max(1, _AT_ONCE // k)
    for begin in range(0, len(missing), step):
        part = missing[begin : begin + step]
        seeds = [[seed_of(run, prompt.id, n) for n in range(k)] for prompt in part]
        written = model.complete_many(
            [prompt.messages for prompt in part for _ in range(k)],
            settings=[how.model_copy(update={"seed": seed}) for row in seeds for seed in row],
        )
        _keep(store, part, seeds, [written[n * k : n * k + k] for n in range(len(part))], score)
        say(f"{kept + begin + len(part):,} of {len(prompts):,} prompts answered {k} times")
    return [Group(prompt, store[prompt.id]) for prompt in prompts]


def _keep(
    store: Store,
    prompts: Sequence[Prompt],
    seeds: Sequence[Sequence[int]],
    written: Sequence[Sequence[Completion | GeneratorError]],
    score: Score | None,
) -> None:
    """Stores the prompts of which every candidate was written, then raises what went wrong with the others."""
    error = None
    for prompt, row, completions in zip(prompts, seeds, written, strict=True):
        failed = [one for one in completions if isinstance(one, GeneratorError)]
        if failed:
            error = failed[0]
            continue
        done = [one for one in completions if not isinstance(one, GeneratorError)]
        rewards = score([prompt.answered(one.text) for one in done]) if score else [None] * len(done)
        store.add(
            prompt.id,
            [
                Candidate(
                    prompt_id=prompt.id,
                    k=k,
                    seed=seed,
                    text=one.text,
                    finish=one.finish,
                    tokens=one.new_tokens or 0,
                    reward=reward,
                )
                for k, (one, seed, reward) in enumerate(zip(done, row, rewards, strict=True))
            ],
        )
    if error is not None:
        raise error
