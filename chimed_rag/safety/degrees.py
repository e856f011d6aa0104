"""Degrees and comparisons: 恢复得更快 is not 恢复较慢, 甲比乙高 not 乙比甲高.

What is covered: adjectives of six axes (high, fast, many, big, strong, early) after an adverb of degree, against what
the window says of the same thing on the same axis, also by a verb (升高) or before the thing (低血钠); 甲比乙高 and its
kin (甲较乙, 超过, 逊于), exchanged or turned. What is not covered: 好 and 坏, how much more, a comparison whose sides
are told in two sentences, the same thing under another name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from chimed_rag.safety.polarity import denials
from chimed_rag.safety.reading import Reading

_TOGETHER = re.compile("[越愈]")  # the more, the higher: `contraries.turned` looks at both
_DEGREE = "越愈更较太过偏变得很最往会也拉压降升"
_GRADED = re.compile(
    f"(?P<thing>[^，。；：、！？,;!?\\n{_DEGREE}]{{2}})(?:比[^，。；、]{{1,8}}?)?[{_DEGREE}加为明显]{{1,4}}"
    "(?P<how>[高低快慢多少大小强弱早晚])(?![血脂盐钠糖度量烧热])"
)
_MORE = {
    "高": "高 升高 增强 加快 促进", "快": "快 加快 促进 迅速", "多": "多 升高 增多", "大": "大 升高 增大",
    "强": "强 增强 升高 亢进", "早": "早",
}  # fmt: skip
_LESS = {
    "低": "低 降低 减弱 减慢 抑制", "慢": "慢 减慢 缓慢", "少": "少 降低 减少 缺乏 不足", "小": "小 缩小 降低",
    "弱": "弱 减弱 降低 抑制 乏力", "晚": "晚",
}  # fmt: skip
_AXES = {
    how: (words.split(), opposed.split())
    for (more, mores), (less, lesses) in zip(_MORE.items(), _LESS.items(), strict=True)
    for how, words, opposed in ((more, mores, lesses), (less, lesses, mores))
}
"""Words of the same and of the opposite direction, by adjective."""

_LESSER = "[低小少弱次劣慢晚轻短逊差]于|不如|不及|赶不上"
_DEGREES = "常罕高低快慢多少大小强弱早晚轻重长短难易好差"
_COMPARED = (
    f"比(?![例值率较重如赛分喻热])|(?<!比)较(?=[^，。；、为明显{_DEGREES}]{{2}}[^，。；、]{{0,10}}?[{_DEGREES}剧])"
)
"""比, and 较 before a thing and what it is compared in, which an adjective after it is not."""
_THAN = re.compile(f"(?:没有|不)?(?:{_COMPARED})|[优高大多强快早好重长]于|[强高大多胜超]过|{_LESSER}")
_LESS_THAN = re.compile(f"{_LESSER}|没有比|不比|[比较][^，。；]{{1,12}}?[罕低小少弱慢晚轻短差难]")
_SAID_OF = re.compile(
    "[更还能要都略稍]|[常罕少多]见|严重|容易|明显|显著|有效|可靠|准确|有利|[高低快慢多少大小强弱早晚轻重长短好差]"
)
_NAMES = frozenset(("drug", "herb", "germ"))  # 布比卡因 compares nothing
_FAR = 30
_NEAR = 12
_MOST = 20  # comparisons of a text that are looked at


def graded(sentence: Reading, sources: Sequence[Reading]) -> str:
    """An adjective of degree whose opposite is said of the same thing in the window, itself nowhere; "" if none is."""
    for match in _GRADED.finditer(sentence.norm):
        if _TOGETHER.search(match[0]) or _is_denied(sentence, *sentence.clause_at(match.start())):
            continue
        same, opposite = _AXES[match["how"]]
        found = ""
        for reading, begin, end in _telling(match["thing"], sources):
            clause = reading.norm[begin:end]
            if any(word in clause for word in same):
                found = ""
                break
            if not found and any(word in clause for word in opposite) and not _is_denied(reading, begin, end):
                found = reading.raw_text(begin, end)
        if found:
            return f"“{sentence.raw_text(match.start(), match.end())}”不同于原文的“{found}”"
    return ""


def _telling(thing: str, sources: Sequence[Reading]) -> Iterator[tuple[Reading, int, int]]:
    for reading in sources:
        for begin, end in reading.clauses:
            if thing in reading.norm[begin:end]:
                yield reading, begin, end


def _is_denied(reading: Reading, begin: int, end: int) -> bool:
    return any(begin <= mark.start < end for mark in denials(reading))


class _Comparison(NamedTuple):
    """甲比乙高: pairs of characters of the one and of the other, whether the one is less, and the clause."""

    one: frozenset[str]
    other: frozenset[str]
    is_less: bool
    text: str


def compares(reading: Reading) -> bool:
    """Whether a text has a word of comparison."""
    return _THAN.search(reading.norm) is not None


def compared(sentence: Reading, sources: Sequence[Reading]) -> str:
    """甲比乙高 where the window says 乙比甲高 or 甲比乙低; "" if it does not."""
    said = _comparisons(sentence)
    told = [one for reading in sources for one in _comparisons(reading)] if said else []
    for mine in said:
        for theirs in told:
            crossed = mine.one & theirs.other and mine.other & theirs.one
            straight = mine.one & theirs.one and mine.other & theirs.other
            if bool(crossed) != bool(straight) and (mine.is_less == theirs.is_less) == bool(crossed):
                return f"“{mine.text}”不同于原文的“{theirs.text}”"
    return ""


def _comparisons(reading: Reading) -> list[_Comparison]:
    found = []
    named = {at for token in reading.tokens if token.kind in _NAMES for at in range(token.start, token.end)}
    for match in islice(_THAN.finditer(reading.norm), _MOST):
        if match.start() in named:
            continue
        begin, end = reading.clause_at(match.start())
        opened = max(reading.norm.rfind(mark, 0, begin) + 1 for mark in "。；！？\n")
        low, high = match.end(), min(end, match.end() + _NEAR)
        stop = _SAID_OF.search(reading.norm, low, high) if match[0][-1] in "比较" else None
        one = reading.pairs_within(max(opened, begin - _FAR), match.start())
        other = reading.pairs_within(low, stop.start() if stop else high)
        is_less = _LESS_THAN.match(reading.norm, match.start()) is not None
        found.append(_Comparison(one - other, other - one, is_less, reading.raw_text(begin, end)))
    return found
