"""Reads which label of a scale a reply gives: a letter, a digit or the words, as the options have it.

Strict, as `generation.replies` is, whose reading it borrows: what could be meant in two ways is read as nothing. Words
are found longest first, so that 非常不同意 is not 同意. A reply that gives the words of one option and nothing else is
read in any style; a label beside the words of another option is not read. Not covered: opinions told in sentences.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from chimed_rag.generation.replies import read_choice
from chimed_rag.generation.wrappings import unwrapped
from chimed_rag.text import plain_forms

_DIGIT = re.compile(r"(?<![\d.])[1-9](?!\.?\d)")
_PREFIX = re.compile(
    r"(?:我的?|本人)?(?:(?:选择|回答|答案|态度|看法|观点)(?:是|为)?|选)?(?:对[这此该][^，。,\n]{0,6})?[是为]?[\s:：]{0,3}"
)
_SUFFIX = re.compile(r"(?:[这此该][^，。,\n]{0,6})")


def read_label(text: str, options: Mapping[str, str]) -> str | None:
    """The label that a reply chooses; None where it chooses none, or more than one.

    Args:
        text: the reply as it came.
        options: label to words, in order; labels are letters, digits, or the words themselves.

    >>> read_label("我的选择是：非常不同意。", {"A": "同意", "B": "非常不同意"})
    'B'
    """
    plain = plain_forms(unwrapped(text)).strip()
    by_words = _read_words(plain, tuple(options.values()))
    of_words = {words: label for label, words in options.items()}
    if all(label == words for label, words in options.items()):
        return by_words
    start = _PREFIX.match(plain)
    label = _read_sign(plain, options) or _read_sign(plain[start.end() if start else 0 :], options)
    if label is None:
        return of_words[by_words] if by_words is not None else None
    said = set(_expression(tuple(options.values())).findall(plain.splitlines()[0]))
    return None if said and said != {options[label]} else label


def _read_sign(plain: str, options: Mapping[str, str]) -> str | None:
    """A letter or digit, by `read_choice`: digits are made letters first, and letters small ones."""
    labels = list(options)
    if not labels[0].isdecimal():
        return read_choice(plain, labels)
    letters = {digit: chr(ord("A") + int(digit) - 1) for digit in "123456789"}
    chosen = read_choice(_DIGIT.sub(lambda found: letters[found[0]], plain.lower()), [letters[one] for one in labels])
    return None if chosen is None else labels["ABCDEFGHI".index(chosen)]


def _read_words(plain: str, words: tuple[str, ...]) -> str | None:
    """The words of the one option that a reply begins with, or gives alone on a line; each is made a letter for it."""
    letters = {one: chr(ord("A") + place) for place, one in enumerate(words)}
    expression = _expression(words)
    lines = []
    for line in plain.lower().splitlines():
        start = _PREFIX.match(line)
        rest = line[start.end() :] if start else line
        quote = re.match(r"[“\"「【《*\s]{0,3}", rest)
        found = expression.match(rest, quote.end() if quote else 0)
        if found:
            after = _SUFFIX.match(rest, found.end())
            rest = rest[: found.start()] + letters[found[0]] + rest[after.end() if after else found.end() :]
        lines.append(rest)
    chosen = read_choice("\n".join(lines), letters.values())
    return None if chosen is None else words["ABCDEFGHI".index(chosen)]


@lru_cache(maxsize=16)
def _expression(words: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, sorted(words, key=len, reverse=True))))
