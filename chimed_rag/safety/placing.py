"""Whether a value that a sentence tells of one case lies where a bound or a range of the literature puts it.

What is covered: 血钠132 where the literature says 低于135, a child of fourteen where it says 15岁以下, a value
outside a range where the sentence says so (超出, 没到, 够不上), units left out (TSH到12). Of several bounds the one
decides whose own words the sentence repeats. What is not covered: recommendations (每次45毫克 where 30～60毫克 are
usual), since one value of a range is no range; delays (等半小时再打120); two values at once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from chimed_rag.safety.conversion import DOSES, Measure, comparable, raw_values
from chimed_rag.safety.marks import share
from chimed_rag.safety.surroundings import Context

if TYPE_CHECKING:
    from chimed_rag.safety.reading import Reading

_RECOMMENDED = re.compile(
    "一般|通常|常用|常规|最[大高多少低长短佳好]|起始|推荐|建议|参考|正常|界值|标准|目标|控制|维持|疗程|每[次天日周月年隔]|[一单]次"
    "|[应宜需须可]|至少|先|等|隔|提前|推迟|只要|半衰期|期为|约"
)
_AGE = re.compile("[岁龄]")
_OF_AGE = re.compile("多?大|的?(?:新生|婴|娃|宝|孩|小儿)")
_RESTATED = re.compile(r"[(（即]$")
_DELAYED = re.compile("[才再]|即可|就[够行]|也[行可不]|都[行可]")
_CLASSED = re.compile("属于?|[算叫]|称|诊断|达到|[超够]|已经?|没到|范围|正常|符合|落在|界|线")
_OUTSIDE = re.compile(
    "超[出过]|[高低]过|[高低多少]于|[没未][到达]|不到|达不到|够不上|不够|算不上|不算|还不[算够到]|还早"
    "|比[^，。]{1,12}[高低多少长短]"
)
_STRICT = re.compile("超|[高大多长低小少短]于|不[足到满]|未[满达]|[<>＜＞]")
_ODD = re.compile("多|出头|开外")
_BOUNDED = {"more": 1, "reach": 1, "less": -1, "within": -1}
_AGES = {"after": 1, "before": -1}
_FITS = 0.3

Found = tuple[Measure, Context, "Reading", int]


def is_placed(said: Measure, context: Context, sentence: Reading, place: int, sources: Sequence[Found]) -> bool:
    """Whether a value of a sentence, at `place` of its norm, is a case of what the literature says."""
    is_bounded = said.bound not in ("", "reach") and not _ODD.search(said.text)
    if said.low != said.high or is_bounded or said.text[0] == "达":
        return False
    clause, _ = sentence.clause_at(place)
    before, after = sentence.norm[clause:place], sentence.norm[place + 1 : place + 40]
    if _RECOMMENDED.search(before[-10:]) or _RESTATED.search(before):
        return False
    is_classed = bool(_CLASSED.search(after))
    is_age = bool(_AGE.search(said.text) or _OF_AGE.match(after))
    alike = [one for one in sources if _is_alike(said, one[0]) and (is_age or not _AGE.search(one[0].text))]
    bounds = [(one, _interval(one[0], said)) for one in alike]
    bounds = [(one, span) for one, span in bounds if one[0].bound or (span[0] < span[1] and is_classed)]
    if said.unit in DOSES and not is_classed:
        return False
    is_delayed = said.unit in ("d", "月") and bool(_DELAYED.search(after))
    bounds = [(one, span) for one, span in bounds if not is_delayed or one[0].bound in ("less", "within")]
    is_outside = bool(_OUTSIDE.search(after))
    hits = [one for one, span in bounds if _holds(said, one[0], span) != is_outside]
    misses = [one for one, span in bounds if _holds(said, one[0], span) == is_outside]
    here = context.clause
    return any(all(_better(here, hit[1], miss[1]) <= _FITS for miss in misses) for hit in hits)


def _is_alike(said: Measure, source: Measure) -> bool:
    return comparable(said, source) or (said.unit == "数" and bool(raw_values(source)))


def _interval(source: Measure, said: Measure) -> tuple[float, float]:
    """What a measure of the literature allows, in the unit of the sentence; a bound leaves one end open."""
    low, high = source.low, source.high
    if said.unit == "数" and source.unit != "数":
        low, high = raw_values(source) or (low, high)
    elif {said.unit, source.unit} == {"月", "d"}:
        factor = 30.0 if source.unit == "月" else 1 / 30.0
        low, high = low * factor, high * factor
    side = _BOUNDED.get(source.bound, 0) or (_AGES.get(source.bound, 0) if "岁" in source.text else 0)
    if side:
        return (low, float("inf")) if side > 0 else (float("-inf"), high)
    return low, high


def _holds(said: Measure, source: Measure, span: tuple[float, float]) -> bool:
    value, (low, high) = said.low, span
    if source.bound and _STRICT.search(source.text):
        return low < value < high or (value == low and bool(_ODD.search(said.text)))
    return low * (1 - 1e-6) <= value <= high * (1 + 1e-6)


def _better(here: frozenset[str], hit: Context, miss: Context) -> float:
    """How much more of what a bound that does not hold says alone stands here than of what one that holds does."""
    one, other = hit.near | hit.right, miss.near | miss.right
    return share(other - one, here) - share(one - other, here)
