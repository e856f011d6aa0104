"""Reads consultations: a sample is the doctor's last turn, asked for with what was really said before it.

Turns of one speaker that follow each other are joined by a line break; blank turns, what a doctor says before the
patient and what a patient says last are left out. A dialogue in which no doctor answers is no sample; how many there
were is logged. Last turns mostly say farewell (472 of 607 in the development sets), so another dialogue's last
turn scores rougeL .34 there and one polite sentence for all .26: the setting `every_turn` makes every turn of the
doctor a sample, those of a dialogue a group; there, another dialogue's turn scores .13.

Forms: {"turns": [{"role", "content"}]}, CMtMedQA ({"history", "instruction", "output"}), MC (train.dialog), MedDialog
(text files, or lists of utterances). Not covered: files of other encodings than UTF-8.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from chimed_rag.errors import CorpusError
from chimed_rag.evaluation.readers.texts import lines, sample_id
from chimed_rag.evaluation.samples import Card, Sample
from chimed_rag.evaluation.tasks.loading import Row, Source
from chimed_rag.generation.base import Message

_log = logging.getLogger(__name__)

Role = Literal["user", "assistant"]
Turns = list[tuple[Role, str]]

_USER: Role = "user"
_ASSISTANT: Role = "assistant"
_ROLES: dict[str, Role] = {
    **dict.fromkeys(("user", "human", "patient", "病人", "患者", "p"), _USER),
    **dict.fromkeys(("assistant", "gpt", "bot", "doctor", "医生", "d"), _ASSISTANT),
}
_SPEAKER = re.compile(r"(病人|患者|医生|Patient|Doctor)[：:]\s*(.*)", re.DOTALL)


def conversations(source: Source, card: Card) -> Iterator[Sample]:
    """Rows {"turns": [{"role", "content"}]}; CMtMedQA's {"history": [[question, answer]], "instruction", "output"}; or
    MedDialog's {"utterances": ["病人：…", "医生：…"]}.

    Raises:
        CorpusError: a row is none of these, or somebody else speaks.
    """
    silent = 0
    for row in source.rows():
        key = sample_id(row, source)
        subject = next((str(row.value[name]) for name in ("department", "cate1") if row.value.get(name)), "")
        samples = doctors_turns(key, _turns_of(row), card, subject=subject, file=row.path)
        yield from samples
        silent += not samples
    _tell(silent, card)


def mc(source: Source, card: Card) -> Iterator[Sample]:
    """MC (HET-MC's train.dialog): a block begins with a line `id`, tab, its number; then P or D, tab, what is said.

    The setting `last: N` takes the last N blocks of the file, as ChiMed-GPT's code does with 100. Lines of summaries
    (SUM1, SUM2) are passed over.

    Raises:
        CorpusError: a line is none of these, or stands before the first block.
    """
    blocks: list[tuple[str, Path, Turns]] = []
    for path in source.paths:
        for line, text in lines(path):
            mark, *cells = text.rstrip().split("\t")
            if not text.strip():
                continue
            if mark == "id":
                blocks.append((cells[0] if cells else str(line), path, []))
            elif mark in ("P", "D") and cells and blocks:
                blocks[-1][2].append((_ROLES[mark.lower()], cells[0]))
            elif not mark.startswith("SUM"):
                why = (
                    "no block has begun with a line id" if not blocks else "begins with none of id, P, D, SUM and a tab"
                )
                raise CorpusError(f"{why}: {mark[:12]!r}", path=str(path), line=line)
    last = card.settings.get("last")
    yield from _samples(blocks[-last:] if isinstance(last, int) else blocks, card)


def meddialog(source: Source, card: Card) -> Iterator[Sample]:
    """MedDialog in Chinese: text files (`id=`, an address, `Description`, `Dialogue`, speakers on lines of their own),
    or processed JSON, a list of dialogues, each a list of utterances that begin with 病人： or 医生：.

    Raises:
        CorpusError: a file is neither.
    """
    if not source.paths:
        yield from conversations(source, card)
        return
    for path in source.paths:
        numbered = lines(path)
        name = path.name.split(".")[0]
        if next((text for _, text in numbered if text.strip()), "").lstrip().startswith("["):
            blocks = [(f"{name}:{n}", path, turns) for n, turns in enumerate(_processed(path, numbered), 1)]
        else:
            blocks = [(f"{name}:{key}", path, turns) for key, turns in _raw(path, numbered)]
        yield from _samples(blocks, card)


def doctors_turns(
    key: str, turns: Sequence[tuple[Role, str]], card: Card, *, subject: str = "", file: str | Path = ""
) -> list[Sample]:
    """The doctor's last turn as a sample, or every one where the card has the setting `every_turn`; none where no
    doctor answers a patient."""
    kept: Turns = []
    for role, text in turns:
        said = text.strip()
        if not said or (role == "assistant" and not kept):
            continue
        if kept and kept[-1][0] == role:
            kept[-1] = role, f"{kept[-1][1]}\n{said}"
        else:
            kept.append((role, said))
    answers = range(1, len(kept), 2)
    every = bool(card.settings.get("every_turn"))
    return [
        Sample(
            id=f"{key}:{place // 2 + 1}" if every else key,
            text=kept[place - 1][1],
            turns=tuple(Message(role=role, content=said) for role, said in kept[: place - 1]),
            references=(kept[place][1],),
            group=key,
            subject=subject,
            metadata={"turn": place // 2 + 1, "of": len(answers), "file": Path(file).name},
        )
        for place in (answers if every else answers[-1:])
    ]


def _samples(blocks: Sequence[tuple[str, Path, Turns]], card: Card) -> Iterator[Sample]:
    found = [doctors_turns(key, turns, card, file=path) for key, path, turns in blocks]
    for samples in found:
        yield from samples
    _tell(found.count([]), card)


def _tell(silent: int, card: Card) -> None:
    if silent:
        _log.warning("in %d dialogues of %s no doctor answers a patient; they are no samples", silent, card.name)


def _turns_of(row: Row) -> Turns:
    value = row.value
    if isinstance(turns := value.get("turns"), list):
        return [_turn(one, row) for one in turns]
    if isinstance(utterances := value.get("utterances"), list):
        return [_utterance(one, row.path, row.line) for one in utterances]
    if isinstance(history := value.get("history", []), list) and "output" in value:
        asked = "\n".join(str(value[name]).strip() for name in ("instruction", "input") if value.get(name))
        if not all(isinstance(pair, list) and len(pair) == 2 for pair in history):
            raise CorpusError("the history is no list of [question, answer] pairs", path=row.path, line=row.line)
        said = [text for pair in history if isinstance(pair, list) for text in pair]
        return [((_USER, _ASSISTANT)[n % 2], str(text)) for n, text in enumerate([*said, asked, value["output"]])]
    raise CorpusError(
        f"no turns, utterances, or history and output; there are: {', '.join(value)}", path=row.path, line=row.line
    )


def _turn(turn: Any, row: Row) -> tuple[Role, str]:
    if not isinstance(turn, Mapping) or not isinstance(turn.get("content"), str):
        raise CorpusError("a turn has no text in its content", path=row.path, line=row.line)
    role = _ROLES.get(str(turn.get("role")).lower())
    if role is None:
        raise CorpusError(
            f"no such speaker: {turn.get('role')!r}; known: {', '.join(_ROLES)}", path=row.path, line=row.line
        )
    return role, turn["content"]


def _utterance(value: Any, path: str, line: int) -> tuple[Role, str]:
    found = _SPEAKER.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise CorpusError("an utterance begins neither with 病人： nor with 医生：", path=path, line=line)
    return _ROLES[found[1].lower()], found[2]


def _processed(path: Path, numbered: Sequence[tuple[int, str]]) -> Iterator[Turns]:
    try:
        dialogues = json.loads("\n".join(text for _, text in numbered))
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"not JSON: {error}", path=str(path), line=getattr(error, "lineno", None)) from error
    for place, dialogue in enumerate(dialogues, 1):
        if not isinstance(dialogue, list):
            raise CorpusError(f"dialogue {place} is no list of utterances", path=str(path))
        yield [_utterance(one, str(path), 1) for one in dialogue]


def _raw(path: Path, numbered: Sequence[tuple[int, str]]) -> Iterator[tuple[str, Turns]]:
    key, turns, talking = "", Turns(), False
    for line, whole in numbered:
        text = whole.strip()
        if text.startswith("id="):
            if key:
                yield key, turns
            key, turns, talking = text.removeprefix("id=").strip() or str(line), [], False
        elif text in ("Dialogue", "Description") or text.startswith("Diagnosis and suggestions"):
            talking = text == "Dialogue"
        elif talking and (speaker := _SPEAKER.fullmatch(text)):
            turns.append((_ROLES[speaker[1].lower()], speaker[2]))
        elif talking and turns and text:
            turns[-1] = turns[-1][0], f"{turns[-1][1]}\n{text}".strip()
        elif text and not key:
            raise CorpusError("no line id= before it", path=str(path), line=line)
    if key:
        yield key, turns
