"""Expressions of word patterns: short forms spelled out, and a quick test that tells which cannot match a text.

What is covered: Python's regular expressions with three short forms: `<name>` for a word defined elsewhere, `~` for up
to six characters none of which denies (没 无 不 未), `…` for up to eight of any kind.
What is not covered: back references, flags, verbose mode; `needles` of an expression that it cannot read says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise

Needles = frozenset[str] | None
"""Characters or pairs of characters one of which every match contains; None where nothing is known."""

_MENTION = re.compile(r"<([a-z_]+)>")
_SYMBOL = re.compile(r"\(\?(?:[:=!]|<[=!])|<[a-z_]+>|\[\^?\]?(?:\\.|[^\]\\])*\]|\\.|\{\d*(?:,\d*)?\}|.", re.DOTALL)
_MARK = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|[()|]", re.DOTALL)
_LOOK = ("(?=", "(?!", "(?<=", "(?<!")


def spell_out(expression: str, words: Mapping[str, str]) -> str:
    """The expression as `re` takes it. Raises KeyError where a word is not defined."""
    long = expression.replace("~", "[^没无不未]{0,6}").replace("≈", "[^没无不未]{0,12}").replace("…", ".{0,8}")
    return _MENTION.sub(lambda found: f"(?:{words[found[1]]})", long)


def needles(expression: str, words: Mapping[str, Needles]) -> Needles:
    """What every match of an expression contains, from its short form and the needles of the words it mentions."""
    symbols = _SYMBOL.findall(expression)
    found, end = _alternatives(symbols, 0, words)
    return found if end == len(symbols) else None


def alternatives(expression: str) -> list[str]:
    """What the outermost `|` of an expression separate."""
    found = []
    depth = begin = 0
    for mark in _MARK.finditer(expression):
        if mark[0] == "|" and depth == 0:
            found.append(expression[begin : mark.start()])
            begin = mark.end()
        depth += (mark[0] == "(") - (mark[0] == ")")
    return [*found, expression[begin:]]


def required(source: str) -> list[frozenset[str]]:
    """Characters of which every match of a spelled out expression contains one of each set."""
    if source.isalnum():  # a plain word, as half of them are
        return list(map(frozenset, source))
    symbols = _SYMBOL.findall(source)
    found, end = _required(symbols, 0)
    return found if end == len(symbols) else []


def _required(symbols: list[str], at: int) -> tuple[list[frozenset[str]], int]:
    """What is required from a position on, and where the group ends; of several alternatives one set."""
    found: list[list[frozenset[str]]] = [[]]
    while at < len(symbols) and symbols[at] != ")":
        symbol = symbols[at]
        part: list[frozenset[str]] = []
        if symbol == "|":
            found.append([])
        elif symbol[0] == "(":
            part, at = _required(symbols, at + 1)
            part = [] if symbol in _LOOK else part
        elif symbol[0] == "[" and not set("^-\\") & set(symbol):
            part = [frozenset(symbol[1:-1])]
        elif len(symbol) == 1 and symbol not in "^$.":
            part = [frozenset(symbol)]
        at += 1
        if at < len(symbols) and (symbols[at] in "?*+" or symbols[at][0] == "{"):
            if symbols[at] == "+" or re.match(r"\{[1-9]", symbols[at]):
                found[-1] += part
            at += 1
        else:
            found[-1] += part
    if len(found) == 1 or not all(found):
        return found[0] if len(found) == 1 else [], at
    return [frozenset().union(*(min(parts, key=len) for parts in found))], at


def pieces(text: str) -> set[str]:
    """All characters and pairs of characters of a text: the needles it may have."""
    return set(text).union(map("".join, pairwise(text)))


def _alternatives(symbols: list[str], at: int, words: Mapping[str, Needles]) -> tuple[Needles, int]:
    """The union over the alternatives from a position on, and where the group ends."""
    union: Needles = frozenset()
    while True:
        found, at = _sequence(symbols, at, words)
        union = None if union is None or found is None else union | found
        if at == len(symbols) or symbols[at] == ")":
            return union, at
        at += 1


def _sequence(symbols: list[str], at: int, words: Mapping[str, Needles]) -> tuple[Needles, int]:
    """The most telling part of one alternative."""
    parts: list[Needles] = []
    while at < len(symbols) and symbols[at] not in "|)":
        part: Needles = None
        apart = False
        symbol = symbols[at]
        if symbol in ("(?:", "(") or symbol in _LOOK:
            begin = at + 1
            part, at = _alternatives(symbols, begin, words)
            if symbol in _LOOK:
                at += 1
                continue
            apart = not _is_one_wide(symbols[begin:at])
        elif len(symbol) > 2 and symbol[0] == "<":
            part, apart = words[symbol[1:-1]], True
        elif symbol[0] == "[" and not set("^-\\") & set(symbol):
            part = frozenset(symbol[1:-1])
        elif len(symbol) == 1 and symbol not in "^$.~≈…":
            part = frozenset((symbol,))
        at += 1
        if at < len(symbols) and (symbols[at] in "?*+" or symbols[at][0] == "{"):
            if symbols[at] != "+" and not re.match(r"\{[1-9]", symbols[at]):
                part = None
            apart = True
            at += 1
        # A repetition may stand between its neighbours, and what tells of a group need not touch its edge: no pairs.
        parts += [None, part, None] if apart else [part]
    return max([None, *parts, *map(_joined, parts, parts[1:])], key=_telling), at


def _is_one_wide(symbols: list[str]) -> bool:
    """Whether each alternative of a group is one character or one class."""
    bars, rest = symbols[1::2], symbols[::2]
    return set(bars) <= {"|"} and all(symbol[0] == "[" or symbol not in "|^$~≈…" for symbol in rest)


def _joined(one: Needles, two: Needles) -> Needles:
    """Pairs, where single characters stand side by side."""
    if not one or not two or len(one) * len(two) > 40 or any(len(needle) > 1 for needle in one | two):
        return None
    return frozenset(a + b for a in one for b in two)


def _telling(part: Needles) -> tuple[int, int]:
    return (min(map(len, part)), -len(part)) if part else (0, 0)
