"""Interactions of drugs, from a table of the user's own: CSV with the header drug_a,drug_b,severity,advice,source.

Covered: either order of the two drugs, their trade names (`query/trade_names.tsv`), strict reading with file and line,
every encoding that `corpus` detects (UTF-8 with or without a byte order mark, GBK, Big5). A sentence that warns of the
combination raises nothing.
Not covered: a table of our own (none ships: it would need clinical review and upkeep), classes of drugs (a row for
他汀类 matches those words, not 阿托伐他汀), doses and routes, and three drugs at once.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from chimed_rag.errors import ConfigError, CorpusError, InputError
from chimed_rag.query.tables import replacements
from chimed_rag.safety.incompatibility import Finding, sentences, warned
from chimed_rag.safety.names import Names, plain
from chimed_rag.text import fold

COLUMNS = ("drug_a", "drug_b", "severity", "advice", "source")
_EXAMPLE = "华法林,阿司匹林,严重,出血风险增加，合用前咨询医生,本院药学部"


class Interaction(NamedTuple):
    """One row: two drugs, how grave it is, what to do, who says so."""

    drug_a: str
    drug_b: str
    severity: str
    advice: str
    source: str


class Interactions:
    """A table of interactions, ready to be looked up in texts; reading only, so many threads may share one."""

    def __init__(self, rows: Iterable[Interaction]) -> None:
        self.rows = tuple(rows)
        self._pairs = {frozenset((_generic(row.drug_a), _generic(row.drug_b))): row for row in self.rows}
        drugs = {drug: drug for pair in self._pairs for drug in sorted(pair)}
        words = dict(drugs)
        # 芬必得 stands for 布洛芬, and 美林 for 布洛芬混悬液, which is a form of it.
        for trade, generics in _trade_names().items():
            for generic in generics.split():
                for end in range(len(generic), 1, -1):
                    if generic[:end] in drugs:
                        words.setdefault(trade, generic[:end])
        self._names = Names(words)

    @classmethod
    def from_csv(cls, path: str | Path, *, encoding: str | None = None) -> Interactions:
        """Reads a table.

        Args:
            path: the file.
            encoding: of the file; None detects UTF-8, GBK and GB18030, Big5 and UTF-16, or says that it cannot.

        Raises:
            ConfigError: names the file, the line and what to change.
        """
        return cls(_parsed(str(path), _decoded(Path(path), encoding)))

    def check(self, text: str, *, context: str = "") -> list[Finding]:
        """The interactions of drugs that stand in one sentence of the text, or in one and in `context`; each once.

        Args:
            text: a question, or sentences of an answer.
            context: what the reader said; drugs named there are held against every sentence of the text.
        """
        found: dict[Finding, None] = {}
        taken = [name.name for name in self._names.find(plain(context))]
        for sentence in sentences(plain(text)):
            here = [name.name for name in self._names.find(sentence)]
            if here and not warned(sentence):
                found.update(dict.fromkeys(self._between(here, taken)))
        return list(found)

    def _between(self, here: list[str], taken: list[str]) -> Iterator[Finding]:
        near = dict.fromkeys(here)
        for one in near:
            for other in dict.fromkeys((*near, *taken)):
                row = self._pairs.get(frozenset((one, other)))
                if row is not None:
                    text = f"{row.drug_a}与{row.drug_b}（{row.severity}）：{row.advice.rstrip('。')}。"
                    yield Finding("interaction", (row.drug_a, row.drug_b), row.source, text)

    def __len__(self) -> int:
        return len(self.rows)


@cache
def _trade_names() -> dict[str, str]:
    return replacements("trade_names.tsv").words


def _generic(drug: str) -> str:
    """What the drug is called in texts: folded, and 布洛芬 where the table of the user says 芬必得."""
    folded = fold(drug)
    generics = _trade_names().get(folded, folded)
    return generics if " " not in generics else folded


def _decoded(path: Path, encoding: str | None) -> str:
    from chimed_rag.corpus.loaders.encoding import decode

    try:
        return decode(path.read_bytes(), str(path), encoding=encoding).text
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror or error})") from None
    except CorpusError as error:
        raise ConfigError(str(error)) from None
    except InputError as error:
        raise ConfigError(f"{path}: {error}") from None


def _parsed(path: str, text: str) -> Iterator[Interaction]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    first: dict[frozenset[str], tuple[int, Interaction]] = {}
    header = False
    try:
        for cells in reader:
            line = reader.line_num
            if not any(cell.strip() for cell in cells):
                continue
            if not header:
                _require_header(path, line, cells)
                header = True
                continue
            row = _row(path, line, cells)
            key = frozenset((fold(row.drug_a), fold(row.drug_b)))
            if key in first and first[key][1] != row:
                raise ConfigError(
                    f"{path}, line {line}: {row.drug_a} and {row.drug_b} stand in line {first[key][0]} already, with "
                    "other words; keep one of the two rows"
                )
            if key not in first:
                first[key] = (line, row)
                yield row
    except csv.Error as error:
        raise ConfigError(
            f"{path}, line {reader.line_num}: is not CSV ({error}); quote cells that hold commas"
        ) from None
    if not header:
        raise ConfigError(f"{path}: is empty; its first line is: {','.join(COLUMNS)}")


def _require_header(path: str, line: int, cells: list[str]) -> None:
    if tuple(cell.strip() for cell in cells) != COLUMNS:
        raise ConfigError(
            f"{path}, line {line}: the first line is {','.join(COLUMNS)}, not {','.join(cells)[:80]}; "
            "add it above the rows"
        )


def _row(path: str, line: int, cells: list[str]) -> Interaction:
    if len(cells) != len(COLUMNS):
        raise ConfigError(
            f"{path}, line {line}: has {len(cells)} cells instead of {len(COLUMNS)}; quote cells that hold commas; "
            f"for example: {_EXAMPLE}"
        )
    row = Interaction(*(" ".join(cell.split()) for cell in cells))
    for column, cell in zip(COLUMNS, row, strict=True):
        if not cell:
            raise ConfigError(f"{path}, line {line}: {column} is empty; for example: {_EXAMPLE}")
    if fold(row.drug_a) == fold(row.drug_b):
        raise ConfigError(f"{path}, line {line}: drug_a and drug_b are both {row.drug_a}; name two drugs")
    for drug in row[:2]:
        if len(drug) < 2:
            raise ConfigError(f"{path}, line {line}: {drug!r} is too short for a drug's name; write it out")
    return row
