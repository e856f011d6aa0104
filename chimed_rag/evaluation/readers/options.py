"""What the readers of questions with options share: columns, options, answers, and what a card may leave out.

Not covered: the forms of the single sets (`readers.choice`).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping

from pydantic import JsonValue

from chimed_rag.errors import CorpusError, DuplicateError
from chimed_rag.evaluation.samples import Card, Sample
from chimed_rag.evaluation.tasks.loading import Row, Source

_log = logging.getLogger(__name__)
_LETTERS = "ABCDEFGHIJ"
_LINE = re.compile(r"\s*([A-J])(?:\s*[.．、:：]\s*|\s+|(?=[^A-Za-z0-9\s]))(.*)", re.DOTALL)
_NO_TEXT = frozenset(("", "null", "nan", "none"))


class Unanswered(Exception):  # noqa: N818 - no error until the card is asked
    """The row has no answer."""


def samples(
    source: Source, card: Card, made: Callable[[Row], Sample | None], rows: Iterable[Row] | None = None
) -> Iterator[Sample]:
    """The samples that are made of the rows; None is a row that the card does not want.

    Args:
        rows: of the source, where they were read already.

    Raises:
        CorpusError: a row without an answer, with too many or too few options, or no row of a subject; see
            `readers.choice` for what a card may allow. DuplicateError: one id twice.
    """
    wanted = list(subjects(card))
    count, found = card.settings.get("options"), set()
    lines: dict[str, int] = {}
    skipped = 0
    for row in source.rows() if rows is None else rows:
        try:
            sample = made(row)
        except Unanswered:
            if not card.settings.get("skip_unanswered"):
                raise fault(row, "has no answer; a card with skip_unanswered: true leaves such rows out") from None
            skipped += 1
            continue
        if sample is None:
            continue
        if sample.id in lines:
            before = f"question {sample.id!r} came before (line {lines[sample.id]})"
            raise DuplicateError(before, path=row.path, line=row.line)
        if isinstance(count, int) and len(sample.options) != count:
            raise fault(row, f"has {len(sample.options)} options, and {card.name} is the set with {count}")
        lines[sample.id] = row.line
        found.add(sample.subject)
        yield sample
    if missing := [name for name in wanted if name not in found]:
        raise CorpusError(f"no question of {', '.join(missing)}", path=", ".join(map(str, source.paths)) or card.hub)
    if skipped:
        _note(source, f"{skipped} of {skipped + len(lines)} rows have no answer and are left out")


def _note(source: Source, text: str) -> None:
    """Told to the task, where the source passes notes on, and to the log."""
    _log.warning("%s", text)
    notes = getattr(source, "notes", None)
    if isinstance(notes, list):
        notes.append(text)


def subjects(card: Card) -> dict[str, str]:
    """The subjects that a card names, to their Chinese names."""
    named = card.settings.get("subjects")
    if isinstance(named, Mapping):
        return {str(key): str(value) for key, value in named.items()}
    return {str(name): "" for name in named} if isinstance(named, list) else {}


def fault(row: Row, message: str) -> CorpusError:
    """An error at the place of a row."""
    return CorpusError(message, path=row.path, line=row.line)


def identifier(row: Row) -> str:
    """The row's `id`, or else its line."""
    given = row.value.get("id")
    return str(row.line if given in (None, "") else given)


def text_of(row: Row, key: str) -> str:
    """The text of a column, without blanks around it."""
    if key not in row.value:
        raise fault(row, f"has no column {key!r}; there are: {', '.join(map(repr, row.value))}")
    value = row.value[key]
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value.strip():
        raise fault(row, f"column {key!r} is no text but {value!r}")
    return value.strip()


def options_of(row: Row, key: str) -> dict[str, str]:
    """Options that are an object of letters to texts."""
    value = row.value.get(key)
    if not isinstance(value, dict):
        raise fault(row, f"{key!r} is no object of letters and options; the row has: {', '.join(row.value)}")
    options = {letter: "" if text is None else str(text) for letter, text in value.items()}
    if len(options) < 2 or not set(options) <= set(_LETTERS):
        raise fault(row, f"options need two or more letters of {_LETTERS}, not {', '.join(options) or 'none'}")
    return dict(sorted(options.items()))


def options_in_lines(row: Row, key: str) -> dict[str, str]:
    """Options that are one text, each on a line that begins with its letter; a line without belongs to the one before.

    Line ends are real ones in the official CSV, and may be a backslash and an n in JSONL made of it.
    """
    options: dict[str, str] = {}
    last = ""
    for line in text_of(row, key).replace("\\n", "\n").splitlines():
        match = _LINE.fullmatch(line)
        if match and match[1] not in options and match[1] > last:
            last = match[1]
            options[last] = match[2].strip()
        elif not last and line.strip():
            raise fault(row, "the options do not begin with a letter")
        elif line.strip():
            options[last] = f"{options[last]} {line.strip()}".strip()
    if len(options) < 2:
        raise fault(row, f"fewer than two options in {key!r}")
    return options


def answer_of(row: Row, key: str, options: Mapping[str, str], card: Card) -> str:
    """The right letters in the order of the options."""
    if key not in row.value:
        raise fault(row, f"has no column {key!r}; there are: {', '.join(map(repr, row.value))}")
    value = row.value[key]
    given = "" if value is None else str(value).strip()
    if given.lower() in _NO_TEXT:
        raise Unanswered
    letters = re.sub(r"[\s,，、;；]+", "", given).upper()
    known = _LETTERS if card.settings.get("lost_options") else options
    if not set(letters) <= set(known):
        raise fault(row, f"the answer {given!r} is outside the options {', '.join(options)}")
    return "".join(sorted(set(letters)))


def told(value: JsonValue) -> tuple[str, ...]:
    """An explanation as a passage; none where the column has none."""
    text = value.strip() if isinstance(value, str) else ""
    return () if text.lower() in _NO_TEXT else (text,)


def rest_of(row: Row, *known: str) -> dict[str, JsonValue]:
    """The columns that no field of a sample holds."""
    return {key: value for key, value in row.value.items() if key not in known and key}
