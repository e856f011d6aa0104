"""Orders: first A, then B, for first B, then A.

What is covered: order told with 先, 再, 前, 后, 早于, 晚于, 从…到, →, 为主, 无效时. What is not covered: comparisons
(`degrees`), an order told by numbers or stages; of a text beyond the length of a sentence only the first steps are
looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice

from chimed_rag.safety.reading import Reading, pairs_of

_MOST_SAID = 12
_IN, _OUT = "[^，。；！？,;]", "[^。；！？;]"
_FAILS = "无效|止不住|不能缓解|不能止住|不足|效果不好|不行|没效|不见好|没好转|不够|还不"
_EARLY = "(?:首先|最先|最早|先(?![天兆前后露心例]))"
_LATER = "(?:再(?![生发障灌通出])|然后|而后|随后|之后|后来|最后|才(?!能)|接着|继而|继以|后期|晚期|转到|转移)"
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
            f"{_EARLY}(?P<a>{_OUT}{{2,30}}?)[，,]?(?:{_FAILS})?[时后]?{_LATER}(?:考虑)?(?P<b>{_IN}{{2,24}})",
            f"先(?![天兆前后露心例])(?P<a>{_IN}{{2,16}}?)[，,]?后(?![天遗来果退方侧壁叶])(?P<b>{_IN}{{2,16}})",
            f"{_EARLY}(?P<a>{_OUT}{{2,24}}?)[，,](?P<b>{_IN}{{2,16}}?)(?:以后再说|出现得?较?[晚迟]|[较更][晚迟]|在后|再说)",
            f"(?P<a>{_IN}{{2,16}}?)[，,]?[应宜要]?[早先]于(?P<b>{_IN}{{2,16}})",
            f"(?P<b>{_IN}{{2,16}}?)[，,]?[应宜要]?[晚迟后]于(?P<a>{_IN}{{2,16}})",
            f"(?P<a>{_IN}{{2,24}})(?:控制|好转|稳定|缓解|纠正|之)?后[^，。；]{{0,2}}?[应要可才再行给]+(?!首?先)(?P<b>{_IN}{{2,24}})",
            f"(?P<a>{_IN}{{2,16}}?)→(?P<b>{_IN}{{2,16}})",
        ),
    )
)
_FIRST = re.compile(f"(?:首先|最先|先|首选|最早的?)(?![天兆后露])(?P<a>{_IN}{{2,20}})|以(?P<b>{_IN}{{2,12}})为主")
_MIN_CROSSED = 2
_CLEARLY_CROSSED = 3  # pairs of two steps that are exchanged both, where half as many may stand in the order told


def reordered(sentence: Reading, sources: Sequence[Reading]) -> str:
    """Two steps, or the main thing and what else there is, in the other order than the literature has them."""
    mine = list(islice(_steps(sentence.norm), _MOST_SAID))
    if not mine:
        return ""
    theirs = [step for reading in sources for step in _steps(reading.norm)]
    theirs += [
        (pairs_of(match["a"] or match["b"]), frozenset()) for one in sources for match in _FIRST.finditer(one.norm)
    ]
    for first, then in mine:
        straight = max((len(first & one) + len(then & two) for one, two in theirs), default=0)
        crossed, both = max(
            ((len(first & two) + len(then & one), _both(first, then, two, one)) for one, two in theirs),
            default=(0, False),
        )
        is_kept = any(_both(first, then, one, two) for one, two in theirs)
        if (crossed >= _MIN_CROSSED and not straight) or (
            both and not is_kept and crossed >= max(_CLEARLY_CROSSED, 2 * straight)
        ):
            return f"“{sentence.raw}”的先后与原文相反"
    return ""


def _both(first: frozenset[str], then: frozenset[str], one: frozenset[str], two: frozenset[str]) -> bool:
    return not first.isdisjoint(one) and not then.isdisjoint(two)


_MARKS: tuple[str, ...] = (
    *("先首开早", "前", "后完", "从由", "主", "无止不没还", "先早", "先", "先早", "于", "于", "后", "→"),
)
"""For each of `_STEPS` the characters one of which every match has."""


def _steps(text: str) -> Iterator[tuple[frozenset[str], frozenset[str]]]:
    """(what comes first, what follows), as pairs of characters that the two do not share."""
    chars = set(text)
    for form, marks in zip(_STEPS, _MARKS, strict=True):
        for match in form.finditer(text) if not chars.isdisjoint(marks) else ():
            first, then = pairs_of(match["a"]), pairs_of(match["b"])
            yield first - then, then - first
