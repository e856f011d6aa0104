"""Other people's conversations become dialogues; the forms are described where they are read.

Not covered: what `forms` leaves out; the dictionary of glued English words that ChiMed-GPT's cleaning had.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from chimed_rag.errors import CorpusError
from training.contracts import Dialogue
from training.files import lines
from training.forms import Fields, Form, Item, asked, field, records, text_of

_ROLES = {
    **dict.fromkeys(("system", "系统"), "system"),
    **dict.fromkeys(("user", "human", "patient", "病人", "患者", "p"), "user"),
    **dict.fromkeys(("assistant", "gpt", "bot", "doctor", "医生", "d"), "assistant"),
}
Turn = tuple[str, str]
"""Role and what is said."""


def _exchange(line: int, messages: list[dict[str, str]], reply: str, task: str = "") -> Item:
    """Messages that end with a question, and the reply to it."""
    reason = "no question" if not messages[-1]["content"] else "no reply" if not reply else ""
    return Item(line, {"messages": [*messages, {"role": "assistant", "content": reply}], "task": task}, reason)


def joined(turns: Sequence[Turn]) -> tuple[list[Turn], tuple[str, ...]]:
    """Turns that alternate, the user first, the assistant last, a system's before them; and what was done for that.

    Blank turns, what the assistant says before the user and what the user says last are left out; turns of one speaker
    are joined by a line break.
    """
    changes: dict[str, None] = {}
    spoken = [(role, text) for role, text in turns if text.strip()]
    if len(spoken) < len(turns):
        changes["blank turns left out"] = None
    system = [turn for turn in spoken if turn[0] == "system"][:1]
    kept: list[Turn] = []
    for role, text in (turn for turn in spoken if turn[0] != "system"):
        if not kept and role == "assistant":
            changes["opening of the assistant left out"] = None
        elif kept and kept[-1][0] == role:
            kept[-1] = role, f"{kept[-1][1]}\n{text}"
            changes["turns joined"] = None
        else:
            kept.append((role, text))
    if kept and kept[-1][0] == "user":
        kept.pop()
        changes["unanswered end left out"] = None
    return (system + kept if kept else []), tuple(changes)


def _conversation(line: int, turns: Sequence[Turn]) -> Item:
    kept, changes = joined(turns)
    return Item(line, {"messages": _messages(kept)}, "" if kept else "no exchange", changes)


def _messages(turns: Sequence[Turn]) -> list[dict[str, str]]:
    return [{"role": role, "content": text} for role, text in turns]


def _turns_of(row: dict[str, Any], fields: Fields, path: Path, line: int) -> list[Turn]:
    """Who says what, in a row that holds a list of turns.

    Raises:
        CorpusError: it does not, or a speaker is none that is known.
    """
    found: list[Turn] = []
    turns = field(row, fields["turns"], path, line)
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise CorpusError(f"the field {fields['turns']} is no list of turns", path=str(path), line=line)
    for turn in turns:
        speaker = text_of(turn, fields["role"], path, line)
        if speaker.lower() not in _ROLES:
            raise CorpusError(f"no such speaker: {speaker!r}; known: {', '.join(_ROLES)}", path=str(path), line=line)
        found.append((_ROLES[speaker.lower()], text_of(turn, fields["content"], path, line)))
    return found


def _turns(path: Path, fields: Fields) -> Iterator[Item]:
    """{"turns": [{"role", "content"}]}, in any order of speakers: joined and trimmed, and counted."""
    for line, row in records(path):
        yield _conversation(line, _turns_of(row, fields, path, line))


def _sharegpt(path: Path, fields: Fields) -> Iterator[Item]:
    """{"conversations": [{"from", "value"}], "system"}, by turns; whatever is not by turns is an error."""
    for line, row in records(path):
        turns = _turns_of(row, fields, path, line)
        if system := text_of(row, fields["system"], path, line, needed=False):
            turns.insert(0, ("system", system))
        yield Item(line, {"messages": _messages(turns)})


def _alpaca(path: Path, fields: Fields) -> Iterator[Item]:
    """{"instruction", "input", "output", "history": [[question, answer]], "system"}; the input follows the first."""
    for line, row in records(path):
        parts = text_of(row, fields["instruction"], path, line), text_of(row, fields["input"], path, line, needed=False)
        messages = asked(row, "\n".join(filter(None, parts)), fields, path, line)
        yield _exchange(line, messages, text_of(row, fields["output"], path, line))


TURNS = Form(Dialogue, _turns, {"turns": "turns", "role": "role", "content": "content"})
SHAREGPT = Form(Dialogue, _sharegpt, {"turns": "conversations", "role": "from", "content": "value", "system": "system"})
_ASKED = {"system": "system", "history": "history"}
ALPACA = Form(Dialogue, _alpaca, {"instruction": "instruction", "input": "input", "output": "output", **_ASKED})

# --- single questions ------------------------------------------------------------------------------------------


def _query_passage(path: Path, fields: Fields) -> Iterator[Item]:
    """{"query", "passage", "kind", "source", "open_licence"}: the query asks, the passage replies.

    `kinds`, `sources` keep only these (comma-separated), `not_kinds`, `not_sources` leave these out, and any
    `open_licence` keeps only rows marked so.
    """
    wanted = {name: {one.strip() for one in fields[name].split(",")} - {""} for name in _FILTERS}
    for line, row in records(path):
        query, passage = (text_of(row, fields[name], path, line) for name in ("query", "passage"))
        kind, source = (text_of(row, name, path, line, needed=False) for name in ("kind", "source"))
        item = _exchange(line, [{"role": "user", "content": query}], passage, kind)
        item.row["source"] = source
        if fields["open_licence"] and row.get("open_licence") is not True:
            item = item._replace(reason="not open_licence")
        elif (wanted["sources"] and source not in wanted["sources"]) or source in wanted["not_sources"]:
            item = item._replace(reason="source")
        elif (wanted["kinds"] and kind not in wanted["kinds"]) or kind in wanted["not_kinds"]:
            item = item._replace(reason="kind")
        yield item


def _huatuo(path: Path, fields: Fields) -> Iterator[Item]:
    """Huatuo-26M: {"questions": [[wording, wording, ...]], "answers": [text]}: a dialogue for each wording and answer.

    The answers of its consultations are addresses of web pages, which reply nothing.
    """
    for line, row in records(path):
        questions, answers = (_flat(field(row, fields[name], path, line)) for name in ("questions", "answers"))
        if not questions or not answers:
            yield Item(line, {}, "no exchange")
        for question in questions:
            for answer in answers:
                item = _exchange(line, [{"role": "user", "content": question}], answer)
                yield item._replace(reason="address only") if answer.startswith(("http://", "https://")) else item


def _flat(value: Any) -> list[str]:
    """The texts in lists of lists, however deep, without blank edges."""
    if isinstance(value, list):
        return [text for one in value for text in _flat(one)]
    return [str(value).strip()]


_ADVERTISING = re.compile("https?:|www\\.|phone|hotline|电话|热线|咨询qq|发表时间", re.IGNORECASE)
_CUT = re.compile("提问者对于答案的评价|补充问题|补充提问")


def _chimed(path: Path, fields: Fields) -> Iterator[Item]:
    """ChiMed: a question with its answers, each a dialogue of its own; `task` says adopted or recommended, if it was.

    Cleaned as ChiMed-GPT's code does: what holds an address, a telephone or a date of publication goes, and so does all
    from the asker's comment on. The data come by contract and were not seen: {"question", "answers": [text, or {"text",
    "adopted", "recommended"}]}; `answers` may also name several fields of the row, comma-separated.
    """
    for line, row in records(path):
        question, changed = _cut(text_of(row, fields["question"], path, line))
        names = fields["answers"].split(",")
        listed = field(row, names[0], path, line) if len(names) == 1 else [row.get(name.strip()) for name in names]
        if not isinstance(listed, list):
            raise CorpusError(f"the field {fields['answers']} is no list of answers", path=str(path), line=line)
        for one in listed:
            answer = one if isinstance(one, dict) else {fields["text"]: one or ""}
            reply, cut = _cut(text_of(answer, fields["text"], path, line))
            task = next((flag for flag in ("adopted", "recommended") if answer.get(fields[flag]) in (True, 1, "1")), "")
            item = _exchange(line, [{"role": "user", "content": question}], reply, task)
            if not item.reason and (_ADVERTISING.search(question) or _ADVERTISING.search(reply)):
                item = item._replace(reason="advertising")
            yield item._replace(changes=("cut",) if changed or cut else ())


def _cut(text: str) -> tuple[str, bool]:
    """The text up to a comment on it, and whether there was one."""
    found = _CUT.search(text)
    return (text[: found.start()].strip(), True) if found else (text, False)


_FILTERS = ("kinds", "sources", "not_kinds", "not_sources")
QUERY_PASSAGE = Form(
    Dialogue,
    _query_passage,
    {"query": "query", "passage": "passage", "open_licence": "", **dict.fromkeys(_FILTERS, "")},
)
HUATUO = Form(Dialogue, _huatuo, {"questions": "questions", "answers": "answers"})
CHIMED = Form(Dialogue, _chimed, {one: one for one in ("question", "answers", "text", "adopted", "recommended")})

# --- plain text ------------------------------------------------------------------------------------------------


def _mc(path: Path, _: Fields) -> Iterator[Item]:
    """MC (HET-MC's train.dialog): a block begins with a line `id...`, then P or D, tab, what is said, tab, a label.

    Lines of summaries (SUM1, SUM2) are passed over; a blank line, too, ends a block.
    """
    start, turns, last = 0, list[Turn](), 0
    for line, text in lines(path):
        mark, *cells = text.split("\t")
        if mark.startswith("id") or line > last + 1:
            if turns:
                yield _conversation(start, turns)
            start, turns = line, []
        if mark in ("P", "D"):
            if not cells:
                raise CorpusError("no tab after the speaker", path=str(path), line=line)
            turns.append((_ROLES[mark.lower()], cells[0].strip()))
        elif not mark.startswith(("id", "SUM")):
            raise CorpusError(f"begins with none of id, P, D, SUM: {mark[:12]!r}", path=str(path), line=line)
        last = line
    if turns:
        yield _conversation(start, turns)


_SPEAKER = re.compile(r"(病人|患者|医生|Patient|Doctor)[：:]\s*(.*)")


def _meddialog(path: Path, _: Fields) -> Iterator[Item]:
    """MedDialog's text files: `id=`, an address, `Description` and `Dialogue`, where a speaker's name has its own line.

    Only the dialogue is read; what stands in a line without a speaker belongs to the speaker before.
    """
    start, turns, talking = 0, list[Turn](), False
    for line, text in lines(path):
        text = text.strip()
        if text.startswith("id="):
            if start:
                yield _conversation(start, turns)
            start, turns, talking = line, [], False
        elif text in ("Dialogue", "Description") or text.startswith("Diagnosis and suggestions"):
            talking = text == "Dialogue"
        elif talking and (speaker := _SPEAKER.fullmatch(text)):
            turns.append((_ROLES[speaker[1].lower()], speaker[2]))
        elif talking and turns:
            turns[-1] = turns[-1][0], f"{turns[-1][1]}\n{text}".strip()
        elif not start:
            raise CorpusError("no line id= before it", path=str(path), line=line)
    if start:
        yield _conversation(start, turns)


MC = Form(Dialogue, _mc)
MEDDIALOG = Form(Dialogue, _meddialog)
