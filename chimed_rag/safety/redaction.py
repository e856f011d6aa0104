"""Chinese identifiers leave a text before it is searched, generated from, logged or cached, and return in the answer.

What is covered: the numbers, labels and dates of `identifiers`, the names of `personal_names`, the addresses of
`addresses`. A whole name that was once found is replaced wherever it stands later in the session.
What is not covered: what those three say they do not find; anything in pictures; who somebody is by their story (a rare
disease and a village name a person without any name). Whose a number is: the landline of a hospital goes as well.

A pseudonym is 〔kind number〕, as 〔姓名1〕 or 〔手机2〕: the same original has the same one throughout a session, and
two spellings of one number (blanks, full width) are one original. What is redacted already stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from threading import Lock
from typing import NamedTuple

from chimed_rag.safety.addresses import find_addresses
from chimed_rag.safety.identifiers import digits, find_identifiers
from chimed_rag.safety.personal_names import find_names
from chimed_rag.text import plain_forms

PSEUDONYM = re.compile(r"〔(?P<kind>[\u4e00-\u9fff]{2,4}|QQ)(?P<number>\d{1,6})〕")
"""A pseudonym in a text."""

_FREE = re.compile(rb"\x01{2,}")
_FREE_FORM = ("姓名", "住址")
_HIDDEN = "〔"  # stands for each character that is replaced already; no pattern reaches across it


class Found(NamedTuple):
    """One identifier that was replaced: where it stood in the original text (characters, half-open), never what."""

    kind: str
    start: int
    end: int
    pseudonym: str


class Redaction(NamedTuple):
    """A text without its identifiers, and what was replaced, in order."""

    text: str
    found: tuple[Found, ...]


class Redactor:
    """Replaces identifiers by pseudonyms that are the same throughout one session; may be used from many threads.

    It alone knows the originals, in memory; it has no form on disk (a lock cannot be pickled), and its repr shows none.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._pseudonyms: dict[tuple[str, str], str] = {}
        self._originals: dict[str, str] = {}
        self._numbers: dict[str, int] = {}
        self._taken: set[str] = set()
        self._names: dict[str, None] = {}

    def __repr__(self) -> str:
        return f"<Redactor: {len(self._originals)} originals>"

    def redact(self, text: str) -> Redaction:
        """The text with each identifier replaced by its pseudonym; time is linear in the length of the text.

        Of numbers that follow each other without a gap each takes another look: 270 of them 1 s.
        """
        hidden = plain = plain_forms(text)
        pseudonyms = [match.span() for match in PSEUDONYM.finditer(text)]
        spans: list[tuple[str, int, int]] = []
        with self._lock:
            self._taken.update(text[start:end] for start, end in pseudonyms)
            self._taken.difference_update(self._originals)
            hidden = _hide(hidden, pseudonyms)
            # What was found bounds what stands beside it: "…002X138…" is a card, then a phone.
            while found := list(self._spans(hidden)):
                spans += found
                hidden = _hide(hidden, [(start, end) for _, start, end in found])
            spans.sort(key=lambda span: span[1])
            names = [self._pseudonym(kind, text[start:end], plain[start:end]) for kind, start, end in spans]
        pieces: list[str] = []
        kept = 0
        for (_, start, end), pseudonym in zip(spans, names, strict=True):
            pieces += (text[kept:start], pseudonym)
            kept = end
        found_all = tuple(Found(*span, pseudonym) for span, pseudonym in zip(spans, names, strict=True))
        return Redaction("".join((*pieces, text[kept:])), found_all)

    def restore(self, text: str) -> str:
        """The text with the pseudonyms of this session replaced by what they stand for; others stay.

        For the returned answer only: the result is personal again. An original that came in several spellings returns
        in the first one.
        """
        with self._lock:
            return PSEUDONYM.sub(lambda match: self._originals.get(match[0], match[0]), text)

    def _spans(self, plain: str) -> Iterator[tuple[str, int, int]]:
        """What to replace: spans that do not overlap; where two kinds claim a place, the first in this order has it."""
        free = bytearray(char != _HIDDEN for char in plain)

        def claim(kind: str, start: int, end: int) -> Iterator[tuple[str, int, int]]:
            if all(free[start:end]):
                pieces = [(start, end)]
            else:  # of an address that holds a postcode, the rest; a name that is not whole is none
                pieces = [] if kind == "姓名" else [one.span() for one in _FREE.finditer(free, start, end)]
            for begin, stop in pieces:
                free[begin:stop] = bytes(stop - begin)
                if stop > begin:
                    yield kind, begin, stop

        for kind, start, end in find_identifiers(plain):
            yield from claim(kind, start, end)
        for start, end in find_addresses(plain):
            yield from claim("住址", start, end)
        for start, end, whole in find_names(plain):
            if whole and all(free[start:end]):
                self._names[plain[start:end]] = None
            yield from claim("姓名", start, end)
        for length in sorted({len(name) for name in self._names}, reverse=True):
            for start in range(len(plain) - length + 1):
                if plain[start : start + length] in self._names:
                    yield from claim("姓名", start, start + length)

    def _pseudonym(self, kind: str, original: str, plain: str) -> str:
        key = kind, plain if kind in _FREE_FORM else digits(plain)
        known = self._pseudonyms.get(key)
        if known is None:
            number = self._numbers.get(kind, 0) + 1
            while f"〔{kind}{number}〕" in self._taken:  # somebody else's: it came with the text
                number += 1
            known = f"〔{kind}{number}〕"
            self._numbers[kind] = number
            self._pseudonyms[key], self._originals[known] = known, original
        return known


def _hide(text: str, spans: Iterable[tuple[int, int]]) -> str:
    pieces: list[str] = []
    kept = 0
    for start, end in sorted(spans):
        pieces += (text[kept:start], _HIDDEN * (end - start))
        kept = end
    return "".join((*pieces, text[kept:]))


def without_pseudonyms(text: str) -> str:
    """The text with each pseudonym as one blank: what is searched for, since no literature holds 〔姓名1〕."""
    return PSEUDONYM.sub(" ", text)
