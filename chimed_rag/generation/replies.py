"""Reads short replies: a letter, letters, entities, and that the literature does not tell.

Strict: what could be meant in two ways is read as nothing, so that an evaluation counts it as invalid. Wrappings
(thinking, fences, 答案：) are taken off first (`wrappings`). Not covered: answers in sentences (`markers`), options
given by their words instead of their letter.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from chimed_rag.generation.wrappings import unwrapped
from chimed_rag.text import plain_forms

NOT_TOLD = "所给文献没有说明"
"""What the prompt "citation" has a model say where the passages do not answer."""

_OPENING = r"[\s*_(（\[【“\"「]{0,4}"
_CLOSING = r"[\s*_)）\]】”\"」]{0,4}"
_AFTER = r"(?![A-Za-z0-9])(?=[\s*_)）\]】”\"」.．。:：,，、;；]|\Z)"
_LETTERS = rf"{_OPENING}(?:选项)?[ ]?([A-Z](?:[ ]?[、,，和与及]?[ ]?[A-Z]){{0,9}}){_AFTER}"
_ALONE = re.compile(rf"{_LETTERS}{_CLOSING}[.．。]?{_CLOSING}\Z")
_FIRST = re.compile(rf"{_LETTERS}")
_STATED = re.compile(rf"{_LETTERS}{_CLOSING}[。，]")
_SAID = re.compile(
    r"(?:答案(?:选项|的(?:编号|序号|字母|选项))?[\s*】\]]{0,3}(?:应该?|就)?(?:[是为选][ ]?[:：]?|[:：])"
    rf"|(?<!不)(?:应选|故选|因此选|所以选|本题选)){_LETTERS}"
)
_GLOSSED = re.compile(rf"(?<![A-Za-z0-9]){_OPENING}([A-Z])[ ]?[(（]")
"""A letter with its meaning in brackets: B（左心衰竭）."""
_OR = re.compile(rf"{_CLOSING}[ ]?(?:或者?|/|还是){_OPENING}[A-Z](?![A-Za-z])")


def read_choice(text: str, letters: Iterable[str]) -> str | None:
    """The one letter that a reply chooses; None where it chooses none, several, or one that is no option.

    What follows 答案是, 答案：, 故选 and the like decides, a line of a letter alone, and a letter with a full stop at
    the start; without these, a letter and a sign at the start (A. 肝), unless other lines begin with other letters; and
    a letter with its meaning in brackets at the start, unless others are so explained.

    >>> read_choice("答案是B，因为……", "ABCDE")
    'B'
    """
    chosen = read_choices(text, letters)
    return chosen if chosen is not None and len(chosen) == 1 else None


def read_choices(text: str, letters: Iterable[str]) -> str | None:
    """The letters that a reply chooses, in the order of the options, as `read_choice` reads them; None where it is
    not clear, or names a letter that is no option.

    >>> read_choices("D、A", "ABCDE")
    'AD'
    """
    options = list(letters)
    found = _chosen(plain_forms(unwrapped(text)).strip())
    if len(found) != 1 or not (chosen := found.pop()) <= set(options):
        return None
    return "".join(letter for letter in options if letter in chosen)


def _chosen(text: str) -> set[frozenset[str]]:
    """The sets of letters that a reply can be read as."""
    lines = text.splitlines()
    said = [*_SAID.finditer(text), *filter(None, map(_ALONE.match, lines)), *filter(None, [_STATED.match(text)])]
    if not said and _FIRST.match(text):
        said = [match for match in map(_FIRST.match, lines) if match]
    if not said and _GLOSSED.match(text):
        said = list(_GLOSSED.finditer(text))  # A（错误）B（正确） names two, and is none
    if any(_OR.match(match.string, match.end()) for match in said):
        return set()
    return {frozenset(re.sub("[^A-Z]", "", match[1])) for match in said}


def read_entities(text: str, types: Collection[str] = ()) -> list[tuple[str, str]]:
    """Entities with their types from lines "entity type", each pair once, in order.

    Lines that do not end in one of the types are left out; the type may also follow a colon, comma or bar. Without
    types, every line with two words counts, its first two being entity and type, as ChiMed-GPT was scored.

    >>> read_entities("胃癌 疾病\\n- 奥美拉唑：药物", ["疾病", "药物"])
    [('胃癌', '疾病'), ('奥美拉唑', '药物')]
    """
    found: dict[tuple[str, str], None] = {}
    for line in unwrapped(text).splitlines():
        if not types:
            words = line.split()
            if len(words) > 1:
                found[words[0], words[1]] = None
        elif (match := _ENTITY.fullmatch(line)) and match[2] in types:
            found[match[1], match[2]] = None
    return list(found)


_ENTITY = re.compile(r"\s*(?:[-*•·][ \t]+|\d{1,3}[.、)）][ \t]*(?!\d))?(\S.*?)[\s:：,，|｜]+([^\s:：,，|｜]+)\s*")


def is_not_told(text: str) -> bool:
    """Whether a sentence says that the passages do not answer."""
    return NOT_TOLD in text
