"""Orders and comparisons: first A, then B, for first B, then A; A is more than B, for B is more than A.

What is covered: order told with 先, 再, 前, 后, 从…到, 为主, 无效时; comparisons with 比, 高于 and its kin, 不如.
What is not covered: comparisons of two numbers; of a text beyond the length of a sentence only the first are looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice, pairwise

from chimed_rag.safety.reading import Reading

_MOST_SAID = 12
_IN, _OUT = "[^，。；！？,;]", "[^。；！？;]"
_FAILS = "无效|止不住|不能缓解|不能止住|不足|效果不好|不行|没效|不见好|没好转|不够|还不"
_STEPS = tuple(
    map(
        re.compile,
        (
            f"(?:首先|最先|先|首选|一开始|早期|开始)(?![天兆后露])(?P<a>{_OUT}{{2,24}}?)[，,]?(?:{_FAILS})?[时后]?"
            f"(?:再|然后|而后|随后|之后|后来|最后|才|接着|后期|晚期|转到|转移)(?P<b>{_IN}{{2,24}})",
            f"(?P<b>{_IN}{{2,20}})(?<![目以提])(?:以前|之前|前)(?![列臂壁叶部侧房庭期])[^，。；]{{0,3}}?[，,]?"
            f"(?:应|要|需|须|必须|得)?先?(?P<a>{_IN}{{2,24}})",
            f"(?P<a>{_IN}{{2,20}})(?<![产术餐饭])(?:以后|之后|后|完)[^，。；]{{0,2}}?[，,]?(?:应|要|可|才|再)+(?!首?先)(?P<b>{_IN}{{2,24}})",
            f"[从由](?P<a>{_IN}{{1,10}})[到至向](?P<b>{_IN}{{1,10}})",
            f"以(?P<a>{_IN}{{2,12}})为主[，,](?P<b>{_IN}{{2,16}})",
            f"(?P<a>{_IN}{{2,16}})(?:{_FAILS})[^，。；]{{0,10}}[，,]?[时者]?[，,]?(?:应|可|才|再|考虑|使用|用)+(?P<b>{_IN}{{2,24}})",
        ),
    )
)
_FIRST = re.compile(f"(?:首先|最先|先|首选|最早的?)(?![天兆后露])(?P<a>{_IN}{{2,20}})|以(?P<b>{_IN}{{2,12}})为主")
_MIN_CROSSED = 2


def reordered(sentence: Reading, sources: Sequence[Reading]) -> str:
    """Two steps, or the main thing and what else there is, in the other order than the literature has them."""
    mine = list(islice(_steps(sentence.norm), _MOST_SAID))
    if not mine:
        return ""
    theirs = [step for reading in sources for step in _steps(reading.norm)]
    theirs += [
        (_pairs(match["a"] or match["b"]), frozenset()) for one in sources for match in _FIRST.finditer(one.norm)
    ]
    for first, then in mine:
        straight = max((len(first & one) + len(then & two) for one, two in theirs), default=0)
        crossed = max((len(first & two) + len(then & one) for one, two in theirs), default=0)
        if crossed >= _MIN_CROSSED and not straight:
            return f"“{sentence.raw}”的先后与原文相反"
    return ""


def _steps(text: str) -> Iterator[tuple[frozenset[str], frozenset[str]]]:
    """(what comes first, what follows), as pairs of characters that the two do not share."""
    for form in _STEPS:
        for match in form.finditer(text):
            first, then = _pairs(match["a"]), _pairs(match["b"])
            yield first - then, then - first


def _pairs(text: str) -> frozenset[str]:
    return frozenset(map("".join, pairwise(text)))


_SCALES = (
    ("快", "慢"), ("高", "低"), ("多", "少"), ("早", "晚迟"), ("好优", "差劣"), ("大", "小"), ("重", "轻"),
    ("强", "弱"), ("长久", "短"), ("深", "浅"), ("准", ""), ("效利助易", "难"), ("见", ""), ("靠", ""), ("全", ""),
)  # fmt: skip
_SCALE = {char: (up, sign) for up, down in _SCALES for chars, sign in ((up, 1), (down, -1)) for char in chars}
_THAN = re.compile(
    f"(?P<a>{_IN}{{0,20}}?)(?P<than>(?<![对相])比(?![较例值如重])|[优高低强弱多少早晚快慢大小]于|不如)(?P<b>{_IN}+)"
)
_GRADE = re.compile("[快慢高低多少早晚迟好差大小重轻强弱长久短深浅准易难]|有效|有利|有助|可靠|常见|安全")
_GRADED = re.compile("[更还要得较]")
_BOUND = re.compile("[0-9]|目标|正常")


def compared_otherwise(sentence: Reading, sources: Sequence[Reading]) -> str:
    """甲比乙快 for 乙比甲快, or for 甲比乙慢."""
    mine = list(islice(_comparisons(sentence.folded), _MOST_SAID))
    theirs = [one for reading in sources for one in _comparisons(reading.folded)] if mine else []
    for left, right, scale, sign in mine:
        for one, two, other, their_sign in theirs:
            crossed, straight = min(len(left & two), len(right & one)), min(len(left & one), len(right & two))
            turned_round = crossed and not right & two and sign == their_sign
            if scale == other and (turned_round or (straight and not right & one and sign != their_sign)):
                return f"“{sentence.raw}”的比较与原文相反"
    return ""


def _comparisons(text: str) -> Iterator[tuple[frozenset[str], frozenset[str], str, int]]:
    """(letters of the one alone, of the other alone, scale, sign) of each comparison of two things."""
    for match in _THAN.finditer(text):
        rest = match["b"]
        if _BOUND.match(rest):
            continue
        scale = _SCALE.get(match["than"][0], ("好优", -1))
        if match["than"] == "比":
            grades = [grade for grade in _GRADE.finditer(rest) if grade.start()]
            graded = [grade for grade in grades if _GRADED.search(rest, max(0, grade.start() - 4), grade.start())]
            if not grades:
                continue
            grade = (graded or grades[-1:])[0]
            scale, rest = _SCALE[grade[0][-1]], rest[: grade.start()]
        one, two = letters(match["a"]), letters(rest)
        yield one - two, two - one, *scale


def letters(text: str) -> frozenset[str]:
    """The letters and digits of a text."""
    return frozenset(char for char in text if char.isalnum())
