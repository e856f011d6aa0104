"""Numbers made wrong on purpose: other values, ends of ranges, bounds turned round, two values exchanged.

A threshold is never only narrowed: what holds from 40 years on holds from 80 years on, so that would be no error.
Not covered: units and frequencies (proof_swaps.yaml), numbers without a unit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise

from chimed_rag.quantities import Quantity, quantities
from tools.proof_records import DEVELOPMENT, TEST, Candidate, Spot, Template

_SIZES = {
    "kg": 1e3, "g": 1, "mg": 1e-3, "μg": 1e-6, "µg": 1e-6, "ng": 1e-9, "千克": 1e3, "克": 1, "毫克": 1e-3, "微克": 1e-6,
    "升": 1, "毫升": 1e-3, "千米": 1e3, "米": 1, "厘米": 1e-2, "毫米": 1e-3, "%": 1e-2, "‰": 1e-3,
    "mmol": 1e-3, "μmol": 1e-6, "pmol": 1e-12, "mIU": 1e-3, "IU": 1, "/L": 1, "/dL": 10,
    "次/分钟": 60, "次/分": 60, "次/小时": 1, "秒": 1, "分钟": 60, "小时": 3600, "天": 86400, "周": 604800,
    "个月": 2.6e6, "个月龄": 2.6e6, "年": 3.15e7, "岁": 3.15e7,
}  # fmt: skip
_AT_LEAST = re.compile(r"(?:(?<!不)(?:超过|高于|大于|多于|满|长于)|至少|达到?|≥|>|不少于|不低于|持续)[约近]?[\d.～]*$")
_AT_MOST = re.compile(r"(?:(?<!不)(?:低于|少于|小于)|不足|不到|不满|≤|<|不超过|不高于)[约近]?[\d.～]*$")


def larger_unit(old: str, new: str) -> bool | None:
    """Whether a unit is larger than the one it replaces; None where that is not known."""
    one, other = _SIZES.get(old.strip()), _SIZES.get(new.strip())
    return None if one is None or other is None else other > one


def narrowed(text: str, place: int, larger: bool | None) -> bool:
    """Whether a threshold that is moved only leaves out cases, so that the sentence would still follow.

    What holds from 40 years on holds from 80 years on. `place` is where the changed number or unit stands.
    """
    before, after = text[max(0, place - 9) : place], text[place : place + 7]
    if larger is None:
        return False
    if _AT_LEAST.search(before) or re.match(r"[\d. ]*[^\d，。、～]{1,5}?(?:以上|以后)", after):
        return larger
    return not larger and bool(
        _AT_MOST.search(before) or re.match(r"[\d. ]*[^\d，。、～]{1,5}?(?:以下|以内|以前|内)", after)
    )


_DIGITS = re.compile(r"\d+(?:\.\d+)?")
_HAN = {
    "一": "三",
    "两": "四",
    "二": "五",
    "三": "六",
    "四": "七",
    "五": "八",
    "六": "九",
    "七": "三",
    "八": "五",
    "十": "五",
    "半": "两",
}
_HAN_ORDER = "半一二两三四五六七八九十"
_BOUNDS = [
    ("不超过", "不少于"), ("不低于", "不高于"), ("不少于", "不超过"), ("低于", "高于"), ("高于", "低于"),
    ("少于", "多于"), ("超过", "不到"), ("至少", "至多"), ("最大", "最小"), ("最多", "最少"), ("以上", "以下"),
    ("以下", "以上"), ("≥", "≤"), ("≤", "≥"),
]  # fmt: skip


@cache
def measured(text: str) -> tuple[Quantity, ...]:
    """The quantities of a text that a change of their digits makes wrong: those with digits and a unit."""
    return tuple(q for q in quantities(text) if q.unit and _DIGITS.search(q.text))


def shown(value: float) -> str:
    """A number as it is written: no trailing zeros."""
    return f"{value:.4f}".rstrip("0").rstrip(".")


def numbers(change: Callable[[float, Quantity], float | None], which: int = 0) -> Template:
    """A template that replaces the first (0) or last (-1) number of each quantity that holds digits."""

    def candidates(spot: Spot) -> Iterator[Candidate]:
        text, there = spot.sentence, {float(n) for n in _DIGITS.findall(spot.passage.text)}
        for quantity in measured(text):
            found = list(_DIGITS.finditer(quantity.text))
            if which == -1 and len(found) < 2:
                continue
            match = found[which]
            value = change(float(match[0]), quantity)
            if value is None or value <= 0 or float(shown(value)) in there or value == float(match[0]):
                continue
            if narrowed(text, quantity.start + match.start(), value > float(match[0])):
                continue
            new = quantity.text[: match.start()] + shown(value) + quantity.text[match.end() :]
            digits = [float(n) for n in _DIGITS.findall(new)]
            if "～" in new and len(digits) > 1 and digits[0] >= digits[1]:
                continue
            yield Candidate(text[: quantity.start] + new + text[quantity.end :], quantity.text, new)

    return candidates


_SCALES = re.compile(r"^(?:k?g|mg|μg|ng|mL|L|IU|U|mmol|μmol|pmol|kcal|m?IU)")


def _ten_times(value: float, q: Quantity) -> float | None:
    return value * 10 if _SCALES.match(q.unit) and q.low == q.high else None


def _tenth(value: float, q: Quantity) -> float | None:
    return value / 10 if _SCALES.match(q.unit) and q.low == q.high and value >= 0.1 else None


def _digit(value: float, q: Quantity) -> float | None:
    """The leading digit is another one: 140 -> 160, 0.5 -> 0.7, 3 -> 5."""
    if q.low != q.high and "～" in q.text:
        return None
    text = shown(value)
    place = next(i for i, char in enumerate(text) if char in "123456789") if value else 0
    return float(text[:place] + str((int(text[place]) + 1) % 9 + 1) + text[place + 1 :])


def _doubled(value: float, q: Quantity) -> float | None:
    return None if "%" in q.unit or "℃" in q.unit or "～" in q.text else value * 2


def _widened(value: float, q: Quantity) -> float | None:
    return _rounded(value * 1.5) if "～" in q.text else None


def _lowered(value: float, q: Quantity) -> float | None:
    return _rounded(value * 0.5) if "～" in q.text and value >= 2 else None


def _rounded(value: float) -> float:
    """Rounded as the number of a text would be: whole above 5, one decimal below."""
    return float(round(value)) if value >= 5 else round(value, 1) if value != int(value) else value


_COUNT = re.compile(
    "(?<![第一二两三四五六七八九十每几])[一两二三四五六七八十半]"
    "(?=(?:个?[次天周年月岁片粒倍]|小时|分钟)(?!之|性|以来|抽|板|般|[期围样]))"
)


def _han_numbers(spot: Spot) -> Iterator[Candidate]:
    text = spot.sentence
    for match in _COUNT.finditer(text):
        old, new, unit = match[0], _HAN[match[0]], text[match.end()]
        if narrowed(text, match.start(), old == "半" or _HAN_ORDER.find(new) > _HAN_ORDER.find(old)):
            continue
        # 一次 and 一天 are often no counts; they are where something is taken or checked.
        if old == "一" and (
            unit not in "次天周年" or (unit in "次天" and not re.search("(?:服用|检查)$", text[: match.start()]))
        ):
            continue
        if new + unit not in spot.passage.text:
            yield Candidate(text[: match.start()] + new + text[match.end() :], old, new)


def _bounds(spot: Spot) -> Iterator[Candidate]:
    text = spot.sentence
    for q in measured(text):
        low, high = max(0, q.start - 3), min(len(text), q.end + 2)
        around = text[low:high]
        for old, new in _BOUNDS:
            at = around.find(old)
            if at < 0 or (old in ("超过", "低于", "高于", "少于") and around[at - 1 : at] == "不"):
                continue
            place = low + at
            yield Candidate(text[:place] + new + text[place + len(old) :], old, new)
            break


def _exchanged(spot: Spot) -> Iterator[Candidate]:
    """Two quantities of one unit exchanged within a sentence; both then stand for the wrong thing."""
    text, found = spot.sentence, measured(spot.sentence)
    for one, other in pairwise(found):
        between = text[one.end : other.start]
        if (
            one.unit != other.unit
            or one.text == other.text
            or not re.search("[，、：；]", between)
            or (one.low, one.high) == (other.low, other.high)
        ):
            continue
        if not re.search("[\u4e00-\u9fff]{2}", between):  # a list of values is as true in another order
            continue
        changed = text[: one.start] + other.text + between + one.text + text[other.end :]
        yield Candidate(changed, f"{one.text}{between}{other.text}", f"{other.text}{between}{one.text}")


def templates() -> dict[str, tuple[str, Template]]:
    """Every template of this module by name, with its part."""
    return {
        "number.ten_times": (DEVELOPMENT, numbers(_ten_times)),
        "number.tenth": (TEST, numbers(_tenth)),
        "number.digit": (DEVELOPMENT, numbers(_digit)),
        "number.doubled": (TEST, numbers(_doubled)),
        "number.upper_end": (DEVELOPMENT, numbers(_widened, -1)),
        "number.lower_end": (TEST, numbers(_lowered)),
        "number.han": (DEVELOPMENT, _han_numbers),
        "number.exchanged": (TEST, _exchanged),
        "number.bound": (TEST, _bounds),
    }
