"""A bound told in other words: the end of a range, what may not be done within a time, what one must wait for.

What is covered: 至少半年 for 6～12个月 and 最多120克 for 30～120g; 两天内不能吃 for 停用至少48小时, 至少等三年 for
3年内避孕, 五周以后才能 for 隔5周; 只能用两年 for 不超过24个月. What is not covered: bounds whose consequence is told
by its contrary (过了两周效果差 for 2周内效果好), which needs more than numbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from chimed_rag.safety.conversion import Measure

_FORBIDS = re.compile("[不别勿忌禁避莫]|停")
_ONLY = re.compile("(?:只[能可准许]|[仅限]能?|最多|至多|顶多)[^，。；：,;:]{0,4}$")
_REACHES = re.compile("(?:[可能]?[用加增]?[到至达]|高达)$")
_FIRST = re.compile("(?:头|前|最初|开始)$")
_EXTENDS = re.compile("(?:[延增加][长大]?|可)[至到达]$|最[长多大高]$")
_WAITS = re.compile("[等隔停间待延过]|才[能可行准]?|再|以后")
_KEEPS = re.compile("间?隔|停|后|避|等|留|不|禁")
_TIME = ("d", "月")

Agrees = Callable[[Measure, Measure], bool]


def agrees_otherwise(
    said: Measure, around: tuple[str, str], source: Measure, there: tuple[str, str], agrees: Agrees
) -> bool:
    """Whether a measure of a sentence says by another bound what one of the literature says.

    Args:
        said: of the sentence.
        around: what stands before and after it in its clause.
        source: of the literature.
        there: what stands before and after that one in its clause.
        agrees: whether two measures say the same.
    """
    ends = source.low < source.high and source.bound in ("", "reach", said.bound)
    if said.low != said.high:
        return False
    around = around[0], said.text + around[1]
    low, high = source._replace(high=source.low, bound=""), source._replace(low=source.high, bound="")
    bare = said._replace(bound="")
    if ends and said.bound in ("more", "less", "reach", "within"):
        return agrees(bare, low if said.bound == "more" else high)
    if ends and not said.bound and source.low <= 1 and _FIRST.search(around[0]):
        return agrees(bare, high)
    if ends and not said.bound:
        return bool(_REACHES.search(around[0]) or _ONLY.search(around[0])) and agrees(bare, high)
    if not said.bound and source.bound == "less" and _ONLY.search(around[0]):
        return agrees(bare, low)
    if said.bound == "less" and not source.bound and _EXTENDS.search(there[0]):
        return agrees(bare, low)
    if said.unit not in _TIME or source.low != source.high:
        return False
    if said.bound == "within" and source.bound == "more":
        return bool(_FORBIDS.search(around[1])) and bool(_KEEPS.search("".join(there))) and agrees(bare, low)
    if said.bound in ("more", "after", "") and source.bound == "within":
        return bool(_WAITS.search("".join(around))) and bool(_FORBIDS.search("".join(there))) and agrees(bare, low)
    if said.bound in ("more", "after") and not source.bound:
        return bool(_WAITS.search("".join(around))) and bool(_KEEPS.search(there[0])) and agrees(bare, low)
    if not said.bound and source.bound == "more":
        return (
            bool(re.search("[等隔过停]", around[0][-4:])) and bool(_KEEPS.search("".join(there))) and agrees(bare, low)
        )
    return False
