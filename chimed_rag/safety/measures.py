"""What the numbers of a text say, in base units, so that 0.2 g is 200 mg and tid is 每日三次.

What is covered: masses, volumes, amounts, concentrations (mmol/L and mg/dL by the substance named before them), shares
(%, ‰, 三分之一), frequencies, spans of time, ages, ranges, bounds (≥ and > alike), 每次 against 每日, bare numbers,
and grades (Ⅱ型, 2级, 第三代). What is not covered: arithmetic (a dose for each kilogram made a dose), °F, drops and tablets
in milligrams, months as days but for a margin of 7 %.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from chimed_rag.quantities import Quantity, canonical_unit, quantities
from chimed_rag.text import fold

MOLAR_MASSES: dict[str, float] = {
    "葡萄糖": 180.16, "血糖": 180.16, "糖耐量": 180.16, "胆固醇": 386.65, "脂蛋白": 386.65, "ldl": 386.65, "hdl": 386.65,
    "甘油三酯": 885.7, "尿酸": 168.11, "肌酐": 113.12, "尿素氮": 28.01, "尿素": 60.06, "胆红素": 584.66, "钙": 40.08,
    "镁": 24.305, "磷": 30.974, "铁": 55.845, "锂": 6.94, "钾": 39.098, "钠": 22.99, "氯": 35.45,
    "地高辛": 780.9, "同型半胱氨酸": 135.18, "酮体": 104.1, "乳酸": 90.08, "血氨": 17.03, "茶碱": 180.16,
}  # fmt: skip
"""Grams in a mole (IUPAC atomic weights; cholesterol, triglycerides as triolein and bilirubin as clinical chemistry
counts them: 38.67, 88.57 and 58.47 mg/dL in a mmol/L; urea as nitrogen where it is called 尿素氮; Tietz, Appendix)."""

_UNITS: dict[str, tuple[str, float]] = {
    "kg": ("g", 1e3), "g": ("g", 1.0), "mg": ("g", 1e-3), "μg": ("g", 1e-6), "ng": ("g", 1e-9), "pg": ("g", 1e-12),
    "fg": ("g", 1e-15), "斤": ("g", 500.0), "L": ("L", 1.0), "dL": ("L", 0.1), "mL": ("L", 1e-3), "μL": ("L", 1e-6),
    "fL": ("L", 1e-15), "nL": ("L", 1e-9), "cm3": ("L", 1e-3), "mm3": ("L", 1e-6), "m3": ("L", 1e3),
    "mol": ("mol", 1.0), "mmol": ("mol", 1e-3), "μmol": ("mol", 1e-6), "nmol": ("mol", 1e-9), "pmol": ("mol", 1e-12),
    "Eq": ("mol", 1.0), "mEq": ("mol", 1e-3), "IU": ("U", 1.0), "U": ("U", 1.0), "kU": ("U", 1e3), "mU": ("U", 1e-3),
    "mIU": ("U", 1e-3), "μIU": ("U", 1e-6), "μU": ("U", 1e-6), "d": ("d", 1.0), "h": ("d", 1 / 24),
    "min": ("d", 1 / 1440), "s": ("d", 1 / 86400), "ms": ("d", 1 / 86.4e6), "w": ("d", 7.0), "周龄": ("d", 7.0),
    "月": ("月", 1.0), "年": ("月", 12.0), "岁": ("月", 12.0), "月龄": ("月", 1.0), "m": ("m", 1.0), "cm": ("m", 1e-2),
    "mm": ("m", 1e-3), "dm": ("m", 0.1), "km": ("m", 1e3), "μm": ("m", 1e-6), "nm": ("m", 1e-9), "mmHg": ("Pa", 133.322),
    "kPa": ("Pa", 1e3), "Pa": ("Pa", 1.0), "cmH2O": ("Pa", 98.0665), "kcal": ("J", 4184.0), "cal": ("J", 4.184),
    "kJ": ("J", 1e3), "J": ("J", 1.0), "Gy": ("Gy", 1.0), "cGy": ("Gy", 1e-2), "mGy": ("Gy", 1e-3), "Sv": ("Sv", 1.0),
    "mSv": ("Sv", 1e-3), "%": ("", 1e-2), "‰": ("", 1e-3), "bpm": ("次/d", 1440.0), "人": ("例", 1.0), "名": ("例", 1.0),
    "度": ("℃", 1.0), "°": ("℃", 1.0), "分": ("分", 1.0),
}  # fmt: skip
_DOSES = (
    "g",
    "L",
    "mol",
    "U",
    "片",
    "粒",
    "丸",
    "袋",
    "支",
    "包",
    "滴",
    "g/kg",
    "U/kg",
    "L/kg",
    "mol/kg",
    "g/m2",
    "喷",
)

_LESS = (
    "(?:不|未|勿|别|没有?)[得应可能要宜会]?(?:超过|高于|大于|多于|超出|长于|晚于|过|超)|至多|最多|最高|最大|最长|上限|低于"
    "|少于|小于|短于|不足|不到|不满|未满|未达|早于|[<≤≦＜﹤]=?"
)
_MORE = "不[得应可能要宜会]?(?:少于|低于|小于|短于|早于)|至少|最少|最低|最小|最短|起码|超过|高于|大于|多于|长于|超出|晚于|[>≥≧＞﹥]=?"
_BOUND_BEFORE = re.compile(
    rf"(?:(?P<less>{_LESS})|(?P<more>{_MORE})|(?P<reach>达到?|满))(?P<filler>[^，。；：、,;\d<>≤≥]{{0,7}})$"
)
_MODAL = re.compile("[应可须宜能需要必不]")
_BOUND_AFTER = re.compile(
    r"[（(]?(?:(?P<more>(?:及|或|或者)?(?:以上|以后)|起步?)|(?P<less>(?:及|或|或者)?(?:以下|以前)|[为作]?(?:上限|限度?|封顶))"
    r"|(?P<within>以内|内(?![科镜分脏膜障耳皮障]))|(?<=[周天月时日年钟])(?:(?P<after>后(?!期|续|遗))|(?P<before>前(?!期|列))))"
)
_PER_BEFORE = re.compile(
    r"(?:(?P<dose>每次|一次|单次|每剂|每回|首剂|每支|每片)|(?P<day>每日|一日|每天|一天|日服|日剂量|24小时|24h|全天|每24小时)"
    r"|(?P<week>每周|每星期|一周)|(?P<month>每月|每个月))"
    r"[^，。；：,;\d]{0,8}$"
)
_DAILY = re.compile(r"(?:每日|一日|每天|一天|日|全天|24小时|24h|每24小时)(?:[^，。；：、,;\d每]{0,8})$")
_PERIODS = re.compile(r"每(?P<what>分钟?|小时|周|星期|月|个月|年)[^，。；：、,;\d每]{0,6}$")
_PER_KILO = re.compile(r"每(?:公斤|千克|kg)(?:体重)?[^，。；：、,;\d]{0,6}$")
_PER_HOUR = re.compile(r"每小时[^，。；：、,;\d]{0,10}$")
_EVERY_OTHER_DAY = re.compile(r"(?:每?隔[一1]?[日天]|qod)(?:[^，。；：、,;\d]{0,3}?(?:一|1)次)?")
_SAME_LENGTH = re.compile("之(?=[内前后上下])")  # 5分钟之内 as 5分钟以内
_ORDINAL = re.compile(
    r"第(?P<number>\d{1,3}|[一二三四五六七八九十])(?!选择|时间|线|位的|诊断)(?:[剂针次个位代](?!表))?|首(?P<first>[次剂针])"
)
_ROMAN = {"ⅰ": 1, "ⅱ": 2, "ⅲ": 3, "ⅳ": 4, "ⅴ": 5, "ⅵ": 6, "i": 1, "ii": 2, "iii": 3, "iv": 4, "v": 5, "vi": 6}
_HAN = {char: value for value, char in enumerate("〇一二三四五六七八九十")} | {"两": 2}
_GRADE = re.compile(
    r"(?<![a-z0-9一二三四五六七八九十])(?P<number>[ⅰⅱⅲⅳⅴⅵ]|i{1,3}|iv|vi?|\d{1,2}|[一二三四五六七八九])"
    r"(?:[-~～至、](?P<upper>[ⅰⅱⅲⅳⅴⅵ]|i{1,3}|iv|vi?|\d{1,2}))?[ ]?(?P<what>型(?!号)|级(?!别)|期(?!间)|度(?![过日数])|代(?!表|谢)|类|线|联)"
)
_FRACTION = re.compile(
    r"(?<![\d.])(?P<top>\d{1,3})[/／](?P<bottom>\d{1,3})(?![\d./])|(?P<below>[二三四五六七八九十])分之(?P<above>[一二三四五六七八九])"
    r"|百分之(?P<percent>\d{1,3}(?:\.\d{1,3})?|[一二三四五六七八九十]{1,3})|一半"
)
_BARE = re.compile(r"(?<![a-z0-9.\-])\d{1,9}(?:\.\d{1,6})?(?![a-z0-9.])(?!-[a-z])")
_NUMBERISH = re.compile("[0-9首一二三四五六七八九十两半隔ⅰ-ⅵ]|qd|qn|qod|bid|tid|qid|iv|i型|i期|i级")


class Measure(NamedTuple):
    """`text[start:end]` says `low` to `high` of `unit`, in base units (g, L, mol, d, 月 for months and years, "" for
    shares); `bound` is "", "less", "more", "within", "reach", "before" or "after"; `per` is "", "dose", "day", "week" or "month"."""

    start: int
    end: int
    low: float
    high: float
    unit: str
    bound: str
    per: str
    text: str

    @property
    def key(self) -> str:
        """Equal for measures that say the same."""
        return f"{self.unit}{self.low:.3g}{self.high:.3g}"


@lru_cache(maxsize=512)
def _base(unit: str) -> tuple[str, float, str]:
    """The base unit, the factor to it, and what a dose is per: "mg/(kg·d)" -> ("g/kg", 0.001, "day")."""
    factor, over, under = 1.0, [], []
    parts = re.sub(r"[()]", "", unit.replace("·", "/") if "(" in unit else unit).split("/")
    for place, part in enumerate(parts):
        for atom in part.split("·"):
            matched = re.match(r"(\d+(?:\.\d+)?)?(.*)", atom)
            count, name = (matched[1], matched[2]) if matched else (None, atom)
            base, scale = ("kg", 1.0) if place and name == "kg" else _UNITS.get(name, (name, 1.0))  # of body weight
            scale *= float(count or 1)
            factor = factor / scale if place else factor * scale
            if base:
                (under if place else over).append(base)
    per = ""
    if over and over[0] in _DOSES:
        per = "dose" if "次" in under else "day" if "d" in under else ""
        under = [one for one in under if one not in ("次", "d")]
    return "/".join(["·".join(over), *sorted(under)]), factor, per


def measures(text: str) -> list[Measure]:
    """The measures of a text, in order, not overlapping."""
    text = _SAME_LENGTH.sub("以", text)
    folded = fold(text)
    if not _NUMBERISH.search(folded):
        return []
    found: list[Measure] = []
    taken = bytearray(len(folded))

    def keep(start: int, end: int, low: float, high: float, unit: str, bound: str = "", per: str = "") -> None:
        taken[start:end] = b"\1" * (end - start)
        found.append(Measure(start, end, low, high, unit, bound, per, text[start:end]))

    for match in _EVERY_OTHER_DAY.finditer(folded):
        keep(*match.span(), 0.5, 0.5, "次/d")
    for match in _ORDINAL.finditer(folded):
        value = 1.0 if match["first"] else _small(match["number"])
        keep(*match.span(), value, value, "第")
    for quantity in _apart(quantities(text)):
        if not any(taken[quantity.start : quantity.end]):
            start, end, low, high, unit, bound, per = _dose(folded, quantity, found)
            keep(max(start, taken.rfind(1, 0, quantity.start) + 1), end, low, high, unit, bound, per)
    for match in _FRACTION.finditer(folded):
        if not any(taken[match.start() : match.end()]):
            value = _fraction(match)
            keep(*match.span(), value, value, "")
    for match in _GRADE.finditer(folded):
        if not any(taken[match.start() : match.end()]):
            low = _small(match["number"])
            high = _small(match["upper"]) if match["upper"] else low
            keep(*match.span(), low, high, match["what"])
    for match in _BARE.finditer(folded):
        if not any(taken[match.start() : match.end()]):
            bound, start, end = _bound(folded, *match.span())
            keep(max(start, taken.rfind(1, 0, match.start()) + 1), end, float(match[0]), float(match[0]), "数", bound)
    return _joined(sorted(found), folded)


_MIXED = re.compile(r"(\d{1,3})\s?(天|日|周|个月|月|岁|年|小时|分钟)(?=[至到~～-]\d{1,3}\s?(天|日|周|个月|月|岁|年|小时|分钟))")


def _apart(found: list[Quantity]) -> list[Quantity]:
    """6个月至5岁 as two quantities, each with its own unit."""
    apart: list[Quantity] = []
    for quantity in found:
        mixed = _MIXED.match(quantity.text)
        if mixed and mixed[2] != mixed[3]:
            low = float(mixed[1])
            middle = quantity.start + mixed.end()
            apart.append(Quantity(quantity.start, middle, low, low, canonical_unit(mixed[2]), mixed[0]))
            rest = quantity.text[mixed.end() + 1 :]
            high = float((re.match(r"\d+", rest) or ["0"])[0])
            apart.append(quantity._replace(start=middle + 1, low=high, high=high, text=rest))
        else:
            apart.append(quantity)
    return apart


def _joined(found: list[Measure], text: str) -> list[Measure]:
    """半小时至1小时, 6个月至5岁: two measures of one kind that a dash joins are one range."""
    joined: list[Measure] = []
    for measure in found:
        last = joined[-1] if joined else None
        if (
            last is not None
            and text[last.end : measure.start] in ("至", "到", "-", "~", "～")
            and last.low == last.high
            and measure.low == measure.high
            and (last.unit == measure.unit or {last.unit, measure.unit} == {"月", "d"})
        ):
            low = last.low if last.unit == measure.unit else last.low * (1 / 30 if measure.unit == "月" else 30)
            span = text[last.start : measure.end]
            joined[-1] = measure._replace(start=last.start, low=low, text=span, per=last.per or measure.per)
        else:
            joined.append(measure)
    return joined


def _dose(text: str, quantity: Quantity, found: list[Measure]) -> tuple[int, int, float, float, str, str, str]:
    """One quantity in base units with its bound and what it is per; a daily count takes the words before it in."""
    start, end, low, high = quantity.start, quantity.end, quantity.low, quantity.high
    below, above = low == float("-inf"), high == float("inf")
    low, high = (high if below else low), (low if above else high)
    unit, factor, per = _base(quantity.unit)
    half = re.compile("半(?=[^年月天日小时周岁片粒]|$)").match(text, end)
    if half and quantity.text[-1:] in "年月天时岁周" and low == high:
        low = high = low + 0.5
        end = half.end()
    bound, begin, stop = _bound(text, start, end)
    if not bound and (below or above):
        bound = "less" if below else "more"
    if quantity.text.endswith("以内"):
        bound = "within"
    before = text[max(0, start - 14) : start]
    if not per and unit in _DOSES and (found_per := _PER_BEFORE.search(before)):
        per = str(found_per.lastgroup)
    if unit in _DOSES and "/" not in unit and _PER_KILO.search(before):
        unit += "/kg"
    if unit in _DOSES and not per and _PER_HOUR.search(before):
        per, factor = "day", factor * 24
    if unit == "次" and (often := _PERIODS.search(before)):
        name, scale = _UNITS.get(canonical_unit(often["what"].replace("个", "")), ("d", 1 / 1440))
        unit, factor = f"次/{name}", factor / (1 / 1440 if often["what"] == "分" else scale)
    if unit == "次" and (daily := _DAILY.search(before)):
        unit, begin = "次/d", min(begin, max(0, start - 14) + daily.start())
        while found and found[-1].start >= begin:  # 24小时内 of 24小时内4次 is no measure of its own
            found.pop()
    return begin, stop, low * factor, high * factor, unit or ("" if quantity.unit else "数"), bound, per


def _bound(text: str, start: int, end: int) -> tuple[str, int, int]:
    """(bound, start, end) where the words of the bound belong to the measure."""
    inside = re.match(rf"(?:(?P<less>{_LESS})|(?P<more>{_MORE}))", text[start:end])
    low = max(0, start - 10)
    before = _BOUND_BEFORE.search(text[low : start + (inside.end() if inside else 0)])
    if before is not None and before.lastgroup:
        name = "less" if before["less"] else "more" if before["more"] else "reach"
        is_part = not _MODAL.search(before["filler"])  # 至少应坚持1年 keeps its 应
        return name, low + before.start() if is_part else start, end
    if inside is not None:
        return ("less" if inside["less"] else "more"), start, end
    after = _BOUND_AFTER.match(text, end) or _BOUND_AFTER.match(text, max(start, end - 2), end)
    if after is not None:
        return str(after.lastgroup), start, max(end, after.end())
    return "", start, end


def _small(number: str) -> float:
    return float(_ROMAN.get(number) or _HAN.get(number) or (number if number.isdigit() else 0))


def _fraction(match: re.Match[str]) -> float:
    if match["top"]:
        return float(match["top"]) / (float(match["bottom"]) or 1.0)
    if match["below"]:
        return _small(match["above"]) / _small(match["below"])
    if match["percent"]:
        text = match["percent"]
        if text[0].isdigit():
            return float(text) / 100
        tens, ten, ones = text.partition("十")
        return ((_small(tens) if tens else 1.0) * 10 + (_small(ones) if ones else 0.0) if ten else _small(text)) / 100
    return 0.5


# --- comparing -------------------------------------------------------------------------------------------------


def comparable(one: Measure, other: Measure) -> bool:
    """Whether two measures are of one kind: units that convert into each other."""
    return _factor(one.unit, other.unit, 1.0) is not None


_CONTRARY = frozenset(
    frozenset(pair.split())
    for pair in ("less more", "within more", "less reach", "before after", "before more", "after less", "within after")
)


def agree(said: Measure, source: Measure, before: str = "") -> bool:
    """Whether a measure of a sentence says what one of the literature says.

    Args:
        said: of the sentence.
        source: of the literature.
        before: what stands before them, title and headings included, to find the substance of a molar concentration.
    """
    if frozenset((said.bound, source.bound)) in _CONTRARY:
        return False
    if source.bound in ("less", "more") and said.bound == "":
        return False
    if said.bound in ("less", "more") and source.bound == "" and not said.unit.startswith("次"):
        return False
    if said.per and source.per and said.per != source.per:
        return False
    mass = next((weight for name, weight in MOLAR_MASSES.items() if name in before), 0.0)
    factor = _factor(said.unit, source.unit, mass)
    if factor is None or not factor:
        return False
    slack = 0.025 if "g/L" in (said.unit, source.unit) and said.unit != source.unit else 0.001
    if {said.unit, source.unit} == {"月", "d"}:
        slack = 0.07
    if said.unit == "Pa" and said.text[-3:] != source.text[-3:]:
        slack = 0.015
    return _near(said.low * factor, source.low, slack) and _near(said.high * factor, source.high, slack)


def _factor(one: str, other: str, molar_mass: float) -> float | None:
    """What a value in the first unit is multiplied with to be in the second; None if they do not convert."""
    if one == other:
        return 1.0
    pair = (one, other)
    if set(pair) == {"月", "d"}:
        return 30.0 if one == "月" else 1 / 30.0
    if set(pair) == {"mol/L", "g/L"}:
        return molar_mass if one == "mol/L" else (1 / molar_mass if molar_mass else 0.0)
    if set(pair) in ({"次", "次/d"}, {"数", "第"}, {"数", "分"}, {"数", "例"}, {"数", ""}, {"型", "数"}, {"数", "℃"}):
        return 1.0
    if "数" in pair and "次" in pair:
        return 1.0
    return None


def _near(one: float, other: float, slack: float) -> bool:
    return abs(one - other) <= slack * max(abs(one), abs(other)) + 1e-18
