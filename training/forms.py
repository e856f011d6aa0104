"""Files in many forms become rows of ours: one reader a form, by name in `FORMS`.

    Text         texts, jsonl, medical_pretrain, plain, markdown
    Dialogue     dialogues, turns, alpaca, medical_finetune, cmtmedqa, sharegpt, huatuo, query_passage, chimed, mc,
                 meddialog
    RankedList   ranked, chosen_rejected, medical_reward

What is not as the form says (a field is missing, two turns of the user in a row) is an error that names file and line.
What is as it says and teaches nothing (an empty reply, two equal replies) is dropped and counted; in our own forms
(`texts`, `dialogues`, `ranked`) that is an error too. Blank edges of other people's texts go. JSON may be one object a
line or one array of objects. Here are texts and ranked lists; dialogues stand in `conversations`.

Not covered: comparing rows with each other (`sources`); Parquet, CSV; encodings other than UTF-8.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from chimed_rag.errors import ConfigError, CorpusError
from chimed_rag.registry import Registry
from training.contracts import Dialogue, RankedList, Row, Text
from training.files import lines, rows

Fields = Mapping[str, str]


class Item(NamedTuple):
    """What a file holds in one place.

    Args:
        line: where, 1-based.
        row: the keys of a row of ours; `id`, `source` and `licence` may be missing.
        reason: why it is dropped; empty if it is not.
        changes: what was done to it, by name, for the account.
    """

    line: int
    row: dict[str, Any]
    reason: str = ""
    changes: tuple[str, ...] = ()


class Form(NamedTuple):
    """How rows of one kind are read.

    Args:
        kind: of the rows that come out.
        read: gives the items of a file, told which field holds what.
        fields: what `Source.fields` may set, and what holds otherwise: a field of the file ("a|b": the first of these
            that a row has), or an option of the form.
    """

    kind: type[Row]
    read: Callable[[Path, Fields], Iterator[Item]]
    fields: Fields = MappingProxyType({})


FORMS = Registry(
    "form of data",
    {
        **{name: f"training.forms:{name.upper()}" for name in ("texts", "jsonl", "plain", "markdown")},
        "medical_pretrain": "training.forms:JSONL",
        **{name: f"training.forms:{name.upper()}" for name in ("ranked", "chosen_rejected", "medical_reward")},
        "dialogues": "training.forms:DIALOGUES",
        **dict.fromkeys(("alpaca", "medical_finetune", "cmtmedqa"), "training.conversations:ALPACA"),
        **{name: f"training.conversations:{name.upper()}" for name in ("turns", "sharegpt", "huatuo", "query_passage")},
        **{name: f"training.conversations:{name.upper()}" for name in ("chimed", "mc", "meddialog")},
    },
)

# --- what readers share ----------------------------------------------------------------------------------------


def records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a JSONL file, or of a file that is one JSON array, with the lines where they begin.

    Raises:
        CorpusError: the file cannot be read, or holds anything else.
    """
    first = next(lines(path), None)
    if first is None or not first[1].lstrip().startswith("["):
        yield from rows(path)
        return
    numbered = list(lines(path))
    text = "\n".join(line for _, line in numbered)
    place, place_line, decoder = text.index("[") + 1, 0, json.JSONDecoder()
    seen = 0
    while True:
        while place < len(text) and text[place] in " \t\r\n,":
            place += 1
        place_line += text.count("\n", seen, place)
        seen = place
        number = numbered[min(place_line, len(numbered) - 1)][0]
        if text[place : place + 1] == "]":
            if text[place + 1 :].strip():
                raise CorpusError("goes on after the array ends; write one object a line", path=str(path), line=number)
            return
        try:
            row, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError) as error:
            raise CorpusError(f"not JSON: {error}", path=str(path), line=number) from None
        if not isinstance(row, dict):
            raise CorpusError(f"not a JSON object but {type(row).__name__}", path=str(path), line=number)
        yield number, row


def field(row: Mapping[str, Any], name: str, path: Path, line: int) -> Any:
    """The value of a field that must be there; "a|b" is the first of these that is.

    Raises:
        CorpusError: it is not there.
    """
    for one in name.split("|"):
        if row.get(one) is not None:
            return row[one]
    raise CorpusError(
        f"the field {name.replace('|', ' or ')} is missing; there are: {', '.join(row)}; data.sources.N.fields says "
        "which field holds what",
        path=str(path),
        line=line,
    )


def text_of(row: Mapping[str, Any], name: str, path: Path, line: int, *, needed: bool = True) -> str:
    """The text of a field, without blank edges; "" where it is missing and not needed.

    Raises:
        CorpusError: it is missing and needed, or no text.
    """
    if not needed and all(row.get(one) is None for one in name.split("|")):
        return ""
    value = field(row, name, path, line)
    if not isinstance(value, str):
        raise CorpusError(f"the field {name} is no text but {type(value).__name__}", path=str(path), line=line)
    return value.strip()


def asked(row: Mapping[str, Any], question: str, fields: Fields, path: Path, line: int) -> list[dict[str, str]]:
    """The messages before a reply: the system's, if there is one, the history of [question, answer], the question.

    Raises:
        CorpusError: the history is anything else.
    """
    system = text_of(row, fields["system"], path, line, needed=False)
    messages = [{"role": "system", "content": system}] if system else []
    history = row.get(fields["history"]) or []
    if not isinstance(history, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in history):
        raise CorpusError("the history is no list of [question, answer] pairs", path=str(path), line=line)
    for pair in history:
        messages += [{"role": r, "content": str(c).strip()} for r, c in zip(("user", "assistant"), pair, strict=True)]
    return [*messages, {"role": "user", "content": question}]


# --- our own ---------------------------------------------------------------------------------------------------


def _ours(path: Path, _: Fields) -> Iterator[Item]:
    for line, row in rows(path):
        yield Item(line, row)


TEXTS, DIALOGUES, RANKED = Form(Text, _ours), Form(Dialogue, _ours), Form(RankedList, _ours)

# --- texts -----------------------------------------------------------------------------------------------------


def _jsonl(path: Path, fields: Fields) -> Iterator[Item]:
    """Title and section, where there are any, and the text, joined by line breaks."""
    for line, row in records(path):
        text = text_of(row, fields["text"], path, line)
        head = [text_of(row, fields[name], path, line, needed=False) for name in ("title", "section")]
        yield Item(line, {"text": "\n".join([*filter(None, head), text])}, "" if text else "empty")


def _plain(path: Path, fields: Fields) -> Iterator[Item]:
    """One text a line, or the whole file (`by: file`)."""
    if fields["by"] not in ("line", "file"):
        raise ConfigError(f"{path}: fields.by is 'line' or 'file', not {fields['by']!r}")
    found = [(line, text.strip()) for line, text in lines(path)]
    if fields["by"] == "file" and found:
        found = [(1, "\n".join(text for _, text in found))]
    for line, text in found:
        yield Item(line, {"text": text})


def _markdown(path: Path, _: Fields) -> Iterator[Item]:
    """The document without its front matter, under its title."""
    from chimed_rag.corpus.sources import load

    for document in load(str(path)):
        body = document.text.strip()
        title = "" if body.lstrip("# ").startswith(document.title) else document.title
        yield Item(1, {"text": "\n".join(filter(None, (title, body)))}, "" if body else "empty")


JSONL = Form(Text, _jsonl, {"title": "title", "section": "section", "text": "text"})
PLAIN = Form(Text, _plain, {"by": "line"})
MARKDOWN = Form(Text, _markdown)

# --- ranked lists ----------------------------------------------------------------------------------------------


def _chosen_rejected(path: Path, fields: Fields) -> Iterator[Item]:
    """A prompt (a text, or messages) with two replies; `better` and `worse` say who wrote them."""
    for line, row in records(path):
        prompt = field(row, fields["prompt"], path, line)
        if not isinstance(prompt, list):
            prompt = asked(row, text_of(row, fields["prompt"], path, line), fields, path, line)
        texts = [_reply(row, fields[name], path, line) for name in ("chosen", "rejected")]
        replies = [
            {"text": text, "rank": rank, "author": fields[author]}
            for rank, (text, author) in enumerate(zip(texts, ("better", "worse"), strict=True), 1)
        ]
        reason = "no reply" if not all(texts) else "same text" if texts[0] == texts[1] else ""
        if not prompt or prompt[-1] == {"role": "user", "content": ""}:
            reason = "no question"
        yield Item(line, {"prompt": prompt, "replies": replies}, reason)


def _reply(row: Mapping[str, Any], name: str, path: Path, line: int) -> str:
    """A reply, written as a text or as a list of one message."""
    value = field(row, name, path, line)
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
        return text_of(value[0], "content", path, line)
    return text_of(row, name, path, line)


_PAIR = {
    "prompt": "prompt|question|instruction",
    "chosen": "chosen|response_chosen",
    "rejected": "rejected|response_rejected",
    "system": "system",
    "history": "history",
}
CHOSEN_REJECTED = Form(RankedList, _chosen_rejected, {**_PAIR, "better": "", "worse": ""})
MEDICAL_REWARD = Form(RankedList, _chosen_rejected, {**_PAIR, "better": "doctor", "worse": "model"})
