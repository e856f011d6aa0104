"""Whether a passage names what a sentence names, though not in the same letters.

What is covered: names with or without their inner parts (肾衰竭 for 肾功能衰竭), with a verb or a dosage form about
them, a plain word of which the passage says a part (手术, 术后), Latin letters that scanners take for digits or Greek
ones (Kl, PaO2), and the subject of a passage, which a sentence before the window names. What is not covered:
abbreviations that no table spells out, and lay names of a thing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from chimed_rag.safety.reading import Reading, Token

_LOOSE_KINDS = frozenset(("act", "sign", "part", "term"))
_DEGREES = frozenset("无少多低高")  # 无尿 and 少尿 differ in what they have apart
_JOINS = frozenset("，。；！？：,;!?:\n、和与及或并伴")
_WRAPPED = re.compile(
    "[出得患起量查测验做拍犯]?([\u4e00-\u9fff]{2,}?)"
    "(?:[高低快慢大]|偏高|偏低|(?:普通|肠溶|缓释|控释|分散|咀嚼)?片|胶囊|颗粒|口服液|注射[液剂]|针剂|吸入剂|[气喷]雾剂|滴眼液|滴剂"
    "|[软乳]膏|凝胶|贴剂|栓剂?|混悬液|糖浆)?"
)
"""A name with the verb before it (出水痘, 量体温) or with what is said of it after (血沉快, 布地奈德吸入剂)."""
_GAP = 3  # characters that may stand within a name
_OPENS = 6  # characters, a number or a bracket, that may stand before the subject
_HEAD = re.compile("[^，,；;。：:(（]{0,16}[(（][^)）]{0,60}[)）]")
"""The head of an item with what its bracket names: 第一代(氯苯那敏4mg，苯海拉明)."""
_LETTERS = str.maketrans("oliβαγ", "011bar")


def plain_latin(word: str) -> str:
    """Letters that look alike made one: pao2 and pa02, β and b."""
    return word.translate(_LETTERS)


def is_named(token: Token, said: str, sources: Iterable[Reading]) -> bool:
    """Whether a source names what a token (said in these words) names.

    Args:
        token: of the sentence.
        said: its words, folded.
        sources: the window of the literature, title and headings.
    """
    bare = _bare(token)
    for reading in sources:
        if said in reading.folded:
            return True
        if (
            len(said) > 2
            and token.kind != "drug"
            and any(_spread(name, reading.norm) for name in (token.canonical, said))
        ):
            return True
        if any(name in reading.norm for name in bare):
            return True
        plain = token.kind in _LOOSE_KINDS and len(token.canonical) == 2 and token.canonical[0] not in _DEGREES
        if plain and token.canonical[1] in reading.char_set:
            return True
    return False


def is_joined(said: str, sources: Sequence[Reading], context: Sequence[Reading]) -> bool:
    """Whether title or headings have one part of a name and a source the other: 开角型 under 青光眼用药."""
    for place in range(2, len(said) - 1):
        for part, rest in ((said[:place], said[place:]), (said[place:], said[:place])):
            if any(part in one.folded for one in context) and any(rest in one.folded for one in sources):
                return True
    return False


def _bare(token: Token) -> list[str]:
    """The name in a longer word: 水痘 of 出水痘, 扁桃体炎 of 扁桃体发炎."""
    names = [token.canonical.replace("发炎", "炎")] if token.canonical.endswith("发炎") else []
    match = _WRAPPED.fullmatch(token.canonical) if token.kind != "herb" else None
    if match:
        names.append(match[1])
    return [name for name in names if name != token.canonical and len(name) > 1]


def _spread(name: str, text: str) -> bool:
    """Whether the characters of a name follow each other in a text with little between them, and no word that joins."""
    start = text.find(name[0])
    while start >= 0:
        place, gap = start, 0
        for char in name[1:]:
            found = text.find(char, place + 1, place + 2 + _GAP - gap)
            if found < 0 or not _JOINS.isdisjoint(text[place + 1 : found]):
                break
            gap += found - place - 1
            place = found
        else:
            return True
        start = text.find(name[0], start + 1)
    return False


def is_subject(said: str, before: Sequence[Reading], kinds: frozenset[str]) -> bool:
    """Whether the nearest sentence that opens with a name opens with this one.

    Args:
        said: the name, folded.
        before: the sentences of the passage before the window, the nearest one last.
        kinds: of the names that would be another subject.
    """
    for reading in reversed(before):
        head = _HEAD.match(reading.folded)
        if said in reading.folded[: max(len(said) + _OPENS, head.end() if head else 0)]:
            return True
        named = [token for token in reading.tokens if token.kind in kinds]
        if named and not any(reading.tells(place) for place in range(named[0].start)):
            return False
    return False
