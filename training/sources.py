"""Files become rows that language models learn from: read, drawn, compared, mixed, redacted; every row accounted for.

What was read is what was kept and what was dropped, by reason, asked in this order: those of the form (`forms`),
"beyond the limit", "empty", "too short", "repeats itself" (the reply is the prompt), "duplicate", "evaluation"
(13-grams), "near duplicate" (`cleaning`), "beyond the share" (`mixing`), "redacted away". What was done to rows that
are kept stands in `Account.changed`. Identifiers go last, from what the mixture took: shares are those before.

Not covered: rows that are too long, which only a stage with its tokenizer can tell.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from chimed_rag.errors import ConfigError, CorpusError, InputError
from chimed_rag.evaluation.grams import skeleton
from training.cleaning import Kept, characters, clean, opening, redacted
from training.contracts import Row, Text
from training.files import Account, Ledger, account, matching
from training.forms import FORMS, Form, Item
from training.mixing import mix
from training.pairs import sampled
from training.stages import Data, Source

AnyRow = TypeVar("AnyRow", bound=Row)
_OURS = ("texts", "dialogues", "ranked")


def read_rows(
    data: Data,
    kind: type[AnyRow],
    *,
    seed: int,
    ledger: Ledger,
    count: Callable[[AnyRow], int] | None = None,
) -> list[AnyRow]:
    """The rows of all sources that are left: in the order of the files, or mixed if shares or tokens are asked for.

    Args:
        data: sources, hygiene, shares.
        kind: of rows that the stage learns from: `Text`, `Dialogue` or `RankedList`.
        seed: of the samples and of the mixture.
        ledger: the account of each file is added to it.
        count: tokens of a text, for shares and `data.tokens`; its characters if left out. Rows that are no texts count
            1 each.

    Raises:
        CorpusError: a file is missing, empty or cannot be read, or a row is malformed; names file and line.
        ConfigError: a form is not known, gives rows of another kind or takes no such field; no evaluation folder there.
        InputError: nothing is left (in all, or of one source once read), or a source is too small for its share.
    """
    forms = [_form(source, kind) for source in data.sources]
    if data.tokens is not None and kind is not Text:
        raise ConfigError(f"data.tokens counts texts, not rows of {kind.__name__}; set data.sources.N.limit")
    accounts: Ledger = []
    found: list[Kept] = []
    for number, (source, form) in enumerate(zip(data.sources, forms, strict=True)):
        before = len(found), len(accounts)
        for name, path in matching(source.path):
            entry = account(name, path, source.licence)
            valid = _read(source, form, path, entry, _unused(path, accounts))
            items = [Kept(row, entry, number, changes) for row, changes in valid]
            found += sampled(items, source.limit, seed, entry)
            accounts.append(entry)
        _require(found[before[0] :], accounts[before[1] :])
    ledger += accounts
    if kind is Text:
        kept = _mixed(data, found, seed, count or characters, "tokens" if count else "characters")
    else:
        kept = _mixed(data, found, seed, lambda _: 1, "rows")
    if data.redact:
        kept = list(redacted(kept))
    _require(kept, accounts)
    for row, entry, _, changes in kept:
        entry.characters += characters(row)
        entry.changed.update(changes)
    return [item.row for item in kept]


def split(rows: list[AnyRow], held_out: int, seed: int) -> tuple[list[AnyRow], list[AnyRow]]:
    """(training rows, held-out rows), each in their order; all rows that begin with the same prompt are on one side.

    At most so many rows are held out, in whole prompts, drawn by a hash of seed and prompt, so that the order of the
    rows does not matter. Of no rows, both sides are empty.

    Raises:
        InputError: nothing would be left to train on, or to measure.
    """
    if held_out <= 0 or not rows:
        return rows, []
    groups: dict[str, list[int]] = {}
    for n, row in enumerate(rows):
        groups.setdefault(skeleton(opening(row)), []).append(n)
    drawn: set[int] = set()
    for bones in sorted(groups, key=lambda bones: hashlib.sha256(f"{seed} {bones}".encode()).digest()):
        if len(drawn) + len(groups[bones]) <= held_out:
            drawn.update(groups[bones])
    if not drawn or len(drawn) == len(rows):
        raise InputError(
            f"{held_out} rows held out of {len(rows)} with {len(groups)} different prompts leave nothing to "
            f"{'train on' if drawn else 'measure'}; change data.held_out"
        )
    return [row for n, row in enumerate(rows) if n not in drawn], [rows[n] for n in sorted(drawn)]


def _form(source: Source, kind: type[Row]) -> Form:
    form: Form = FORMS.get(source.form)
    if form.kind is not kind:
        fitting = ", ".join(name for name in FORMS.names() if FORMS.get(name).kind is kind)
        raise ConfigError(
            f"{source.path}: the form {source.form} gives rows of {form.kind.__name__}, but this stage learns from "
            f"{kind.__name__}; forms of those: {fitting}"
        )
    if unknown := source.fields.keys() - form.fields.keys():
        known = ", ".join(form.fields) or "none"
        raise ConfigError(f"{source.path}: the form {source.form} has no field {min(unknown)}; there are: {known}")
    return form


def _unused(path: Path, others: Ledger) -> str:
    """What the rows of a file are called: its name; with a number if another file has it, so that ids stay apart."""
    name = path.name.split(".")[0]
    before = sum(Path(other.path).name.split(".")[0] == name for other in others)
    return f"{name}-{before + 1}" if before else name


def _read(source: Source, form: Form, path: Path, entry: Account, name: str) -> Iterator[tuple[Row, tuple[str, ...]]]:
    """The valid rows of one file, with what was done to them; the others are counted."""
    on_line: Counter[int] = Counter()
    ids: dict[tuple[str, str], int] = {}
    for item in form.read(path, {**form.fields, **source.fields}):
        on_line[item.line] += 1
        entry.rows = len(on_line)
        entry.read += 1
        entry.kept += 1
        if item.reason:
            entry.drop(item.reason)
            continue
        named = {"source": name}
        if source.form not in _OURS:
            number = on_line[item.line]
            named["id"] = f"{name}:{item.line}" if number == 1 else f"{name}:{item.line}.{number}"
        row = _row(item, form, source, named, path)
        if (before := ids.setdefault((row.source, row.id), item.line)) != item.line:
            raise CorpusError(f"the id {row.id} stands on line {before} too", path=str(path), line=item.line)
        yield row, item.changes
    if not on_line:
        raise CorpusError("holds no row", path=str(path))


def _row(item: Item, form: Form, source: Source, named: dict[str, str], path: Path) -> Row:
    values: dict[str, Any] = {**named, **item.row}
    for key, value in (("source", named["source"]), ("licence", source.licence)):
        values[key] = values.get(key) or value
    if form.kind is Text:
        values.setdefault("domain", source.domain)
    try:
        return form.kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        mend = "; the form turns joins and trims such rows" if message.startswith(("turn ", "the last turn")) else ""
        raise CorpusError(f"{place}: {message}{mend}".removeprefix(": "), path=str(path), line=item.line) from None


def _mixed(data: Data, found: list[Kept], seed: int, count: Callable[[Any], int], unit: str) -> list[Kept]:
    """Cleaned rows: all of them, or by the shares of their sources."""
    kept = list(clean(found, data.hygiene))
    shares = [source.share for source in data.sources]
    if not kept or (data.tokens is None and not any(shares)):
        return kept
    mixture = mix(
        [[item for item in kept if item.source == number] for number in range(len(shares))],
        shares,
        tokens=data.tokens,
        count=lambda item: count(item.row),
        seed=seed,
        names=[source.path for source in data.sources],
        unit=unit,
    )
    for item in mixture.left:
        item.entry.drop("beyond the share")
    return mixture.rows


def _require(kept: list[Kept], accounts: Ledger) -> None:
    if not kept:
        raise InputError("no row is left of: " + "; ".join(f"{a.path} (dropped: {dict(a.dropped)})" for a in accounts))
