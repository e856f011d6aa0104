"""Whether a value that a sentence tells of one case lies where a bound or a range of the literature puts it.

What is covered: 血钠132 where the literature says 低于135, a child of fourteen where it says 15岁以下, a value outside
a range where the sentence says so (超出, 没到, 够不上), units left out (TSH到12); ages, times since something
happened, scores, grades and values that are classed (算中度) in the range of the class that the sentence names; values
outside of what allows something where the sentence denies it (还不能, 不再). Of several bounds and ranges the one
decides whose own words the sentence repeats. Where the literature lists values by case (1～3岁2～3g, 4～6岁3～4g), a
value must be that of the case which the sentence tells. What is not covered: recommendations (每次45毫克 where
30～60毫克 are usual), since one value of a range is no range; delays (等半小时再打120); two values at once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from chimed_rag.safety.conversion import DOSES, FLOW, Measure, by_the_minute, comparable, raw_values
from chimed_rag.safety.marks import share
from chimed_rag.safety.surroundings import Context, weight

if TYPE_CHECKING:
    from chimed_rag.safety.reading import Reading

_RECOMMENDED = re.compile(
    "一般|通常|常用|常规|最[大高多少低长短佳好]|起始|推荐|建议|参考|正常(?!上限|[人值的])|界值|标准(?!化)|目标|控制|维持|疗程|每[次天日周月年隔]|[一单]次"
    "|[应宜需须可]|至少|先|等|隔|提前|推迟|只要|半衰期|期为"
)
_AGE = re.compile("[岁龄]")
_OF_AGE = re.compile("多?大|的?(?:新生|婴|娃|宝|孩|小儿|儿童|幼)")
_RESTATED = re.compile(r"[(（即]$")
_DELAYED = re.compile("^[^，。；,;]*[才再]|即可|就[够行]|也[行可不]|都[行可]")
_CLASSED = re.compile(
    "属于?|[算叫]|称|诊断|达到|[超够]|已经?|没到|范围|正常|符合|落在|界|线|归[为入到在]|[列划定评判视]为|处[在于]|进入|[分是]"
    "[^，。,;]{0,6}[级期度型类]|[轻中重高低]度|到了?[^，。,;]{0,6}[级期度型]|提示|说明"
)
_ELAPSED = re.compile("(?:第|[后了病]|[已刚]经?|吃完|[发起]病|受伤|怀孕)[^，。；,;\ue000-\uf8ff]{0,2}$")
_GIVEN = re.compile("(?<![禁慎作忌停])[服用吃给打注滴喝输推灌抽含敷喷吸搽涂补放加减]")
_ABOUT = re.compile("^(?:上下|左右|前后)")
_REQUIRED = re.compile("^[^，。；,;]{0,3}[才再](?:能|可|行|安全|停|拔|用)")
_ADVISED = re.compile("^[^，。；,;]{0,3}(?:[应须宜]|可以|[要需](?!考虑)|就[能好]|即)")
_UNTIL = re.compile("[要到等满]")
_OUTSIDE = re.compile(
    "超[出过]|[高低]过|[高低多少]于|(?:没有?|[未不])[到达够满足及]|达不到|够不[上着]|算不上|不算|[还尚]不[算够到]|还早"
    "|比[^，。,]{1,12}[高低多少长短]"
)
_DENIED = re.compile("[还尚]不(?:[能可宜必用该应]|停)|还谈不上|不再|先不|没有?必要|[不无]需|不(?:[必用忙]|适合|合适)")
_DENIES = re.compile("[不没无未禁忌停避勿别]")
_LABELLED = re.compile(
    "(?:归[为入到在]|[列划定评判视]为|属于?|[算叫称]|诊断为?|处[在于]|偏向|符合|到了?|考虑|怀疑|想到|提示|说明|为|是)"
    "([^，。；,;]{1,16})"
)
_MARK = re.compile("[，,。；;：:\n\ue000-\uf8ff]")
_GENERIC = frozenset("一二三种类型级期度的了性该病量程大约")
_STRICT = re.compile("超|[高大多长低小少短]于|不[足到满]|未[满达]|[<>＜＞]")
_ODD = re.compile("多|出头|开外")
_STOP = re.compile("[。；！？;!?]")
_BOUNDED = {"more": 1, "reach": 1, "less": -1, "within": -1}
_STEPS = frozenset(("分", "级", "期", "度", "型", "类", "代", "第"))
_AGES = {"after": 1, "before": -1}
_WEIGHT = re.compile("公斤|千克|kg", re.IGNORECASE)
_FITS, _CLASS_FITS = 0.3, 0.2

Found = tuple[Measure, Context, "Reading", int]


def cases(said: Measure, context: Context, sentence: Reading, place: int, sources: Sequence[Found]) -> list[Found]:
    """Of what bounds and ranges of the literature a value of a sentence, at `place` of its norm, is a case."""
    is_ago = said.bound == "before" and said.text[-2:] not in ("以前", "之前")
    is_bounded = said.bound not in ("", "reach") and not is_ago and not _ODD.search(said.text)
    is_near = said.high <= 1.5 * said.low and "岁" in said.text
    if (said.low != said.high and not is_near) or is_bounded or said.text[0] == "达":
        return []
    clause, _ = sentence.clause_at(place)
    before, after = sentence.norm[clause:place], sentence.norm[place + 1 : place + 40]
    if _RECOMMENDED.search(before[-10:]) or _RESTATED.search(before):
        return []
    is_classed = bool(_CLASSED.search(after))
    if _REQUIRED.search(after):
        return []
    if not is_classed and "约" in before[-10:]:
        return []
    is_dose = said.unit in DOSES and not said.text.endswith(("公斤", "kg", "千克"))
    if is_dose and not is_classed and _GIVEN.search(before + after[:6]):
        return []
    is_age = bool(_AGE.search(said.text) or _OF_AGE.match(after))
    is_span = said.unit in ("d", "月") and not is_age
    is_about = bool(_ABOUT.search(after))
    is_elapsed = is_span and (is_about or bool(_ELAPSED.search(before))) and not _ADVISED.search(after)
    by_range = is_age or (is_about and not is_dose) or is_elapsed or is_classed or said.unit in _STEPS
    is_delayed = said.unit in ("d", "月") and bool(_DELAYED.search(after))
    if is_age and not _UNTIL.search(before[-2:]):
        is_delayed = False
    is_outside, is_denied = bool(_OUTSIDE.search(after)), bool(_DENIED.search(after))
    hits: list[Found] = []
    misses: list[Found] = []
    for one in sources:
        if not _is_alike(said, one[0]) or (_AGE.search(one[0].text) and not is_age):
            continue
        low, high = _interval(one[0], said)
        if is_delayed and one[0].bound not in ("less", "within"):
            continue
        if one[0].bound or (low < high and by_range):
            is_contrary = is_outside or (is_denied and not _DENIES.search(_clause_of(one)))
            (hits if _holds(said, one[0], (low, high)) != is_contrary else misses).append(one)
    if (labelled := _labelled(said, sentence, place, [*hits, *misses])) is not None:
        return [hit for hit in hits if hit in labelled]
    near, far = context.clause, context.clause | frozenset(_to_the_next(said, sentence, place))
    most = _CLASS_FITS if is_classed else _FITS
    return [
        hit
        for hit in hits
        if any(
            all(_better(here, hit[1], miss[1]) <= most for miss in misses)
            for here in ((near, far) if hit[0].bound else (far,))
        )
    ]


def speaks_of_another(
    found: Found, same: Sequence[Found], hits: Sequence[Found], source: Sequence[Found]
) -> bool | None:
    """Whether a value stands in the item of another case than that which the sentence tells (1～3岁2～3g, 4～6岁3～4g).

    None where the literature does not list values by case.

    Args:
        found: the value.
        same: where the literature has it.
        hits: the bounds and ranges of which the sentence tells a case.
        source: all measures of the literature.
    """
    answers = []
    for hit in hits:
        if comparable(found[0], hit[0]) or found[0].unit not in DOSES:
            continue
        heads = [one[3] for one in source if one[2] is hit[2] and comparable(one[0], hit[0])]
        own = [_head(one, heads) for one in same if one[2] is hit[2]]
        own = [head for head in own if head is not None]
        if len(heads) > 1 and own:
            answers.append(hit[3] not in own)
    return all(answers) if answers else None


def _head(one: Found, heads: Sequence[int]) -> int | None:
    """The place of the last of some measures before another in its item of a list."""
    low = max(one[2].norm.rfind(end, 0, one[3]) for end in "。；;\n")
    return max((head for head in heads if low < head < one[3]), default=None)


def _labelled(said: Measure, sentence: Reading, place: int, found: Sequence[Found]) -> list[Found] | None:
    """Of values listed by case, those of the case that a sentence names (算中等量, 处在Ⅲ期); None if none has all."""
    named = _LABELLED.search(_to_the_next(said, sentence, place))
    label = frozenset(named[1] if named else "") - _GENERIC
    label = frozenset(char for char in label if "\ue000" <= char < "\uf900") or label
    if not label or len(found) < 2:
        return None
    shares = [(weight(label & _segment(one)), one) for one in found]
    whole = [one for held, one in shares if held == weight(label)]
    return whole if 0 < len(whole) < len(found) else None


def _segment(found: Found) -> frozenset[str]:
    """What names the case of a value: the head of its item of a list and what follows it to the next mark; where
    nothing does, what stands between the value before and it."""
    measure, _, reading, place = found
    others = [at for other, at, _ in reading.measures if at < place and comparable(measure, other)]
    item = max(reading.norm.rfind(end, 0, place) for end in "。；;\n") + 1
    begin = max([item, *(at + 1 for at in others)])
    first = min([at for _, at, _ in reading.measures if at >= item], default=place)
    after = _MARK.split(reading.norm[place + 1 : place + 40], maxsplit=1)[0]
    before = reading.norm[begin:place]
    if any(char.isalnum() for char in after):
        before = _MARK.split(before)[-1]
    return frozenset(reading.norm[item:first] + before + after)


def _clause_of(found: Found) -> str:
    begin, end = found[2].clause_at(found[3])
    return found[2].norm[begin : end + 12]


def _to_the_next(said: Measure, sentence: Reading, place: int) -> str:
    """What a sentence says after a value, as far as the next of its kind."""
    others = [at for other, at, _ in sentence.measures if at > place and comparable(said, other)]
    following = sentence.norm[place + 1 : min(others, default=len(sentence.norm))]
    return _STOP.split(following, maxsplit=1)[0]


def _is_alike(said: Measure, source: Measure) -> bool:
    if said.unit == source.unit == "g" and bool(_WEIGHT.search(said.text)) != bool(_WEIGHT.search(source.text)):
        return False
    return comparable(said, source) or (said.unit == "数" and bool(raw_values(source)))


def _interval(source: Measure, said: Measure) -> tuple[float, float]:
    """What a measure of the literature allows, in the unit of the sentence; a bound leaves one end open."""
    source = by_the_minute(said, source) or source
    low, high = source.low, source.high
    if said.unit == "数" != source.unit:
        low, high = sorted(raw_values(source) or (low, high))
    elif said.unit == source.unit == "L" and FLOW.search(source.text) and not said.per:
        low, high = low / 1440, high / 1440
    elif {said.unit, source.unit} == {"月", "d"}:
        factor = 30.0 if source.unit == "月" else 1 / 30.0
        low, high = low * factor, high * factor
    side = _BOUNDED.get(source.bound, 0) or (_AGES.get(source.bound, 0) if "岁" in source.text else 0)
    if side:
        return (low, float("inf")) if side > 0 else (float("-inf"), high)
    return low, high


def _holds(said: Measure, source: Measure, span: tuple[float, float]) -> bool:
    value, (low, high) = said.low, span
    if said.low < said.high and not low <= said.high <= high:
        return False
    if source.bound and _STRICT.search(source.text):
        return low < value < high or (value == low and bool(_ODD.search(said.text)))
    return low * (1 - 1e-6) <= value <= high * (1 + 1e-6)


def _better(here: frozenset[str], hit: Context, miss: Context) -> float:
    """How much more of what a bound that does not hold says alone stands here than of what one that holds does."""
    one, other = hit.near | hit.right, miss.near | miss.right
    return share(other - one, here) - share(one - other, here)
