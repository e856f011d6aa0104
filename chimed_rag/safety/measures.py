"""What the numbers of a text say, in base units, so that 0.2 g is 200 mg and tid is 每日三次.

What is covered: masses, volumes, amounts, concentrations, shares (%, ‰, 三分之一), frequencies, spans of time, ages,
ranges, bounds (≥ and > alike), 每次 against 每日, bare numbers, and grades (Ⅱ型, 2级, 第三代). What is not covered:
arithmetic (a dose for each kilogram made a dose), drops and tablets in milligrams, vague numbers (数日), whether two
agree (`conversion`).
"""

from __future__ import annotations

import re
from functools import partial

from chimed_rag.quantities import Quantity, canonical_unit, quantities
from chimed_rag.safety.conversion import DOSES, UNITS, Measure, base_unit
from chimed_rag.text import fold

_LESS = (
    "(?:不|未|勿|别|没有?)[得应可能要宜会]?(?:超过|高于|大于|多于|超出|长于|晚于|过|超)|至多|最多|最高|最大|最长|上限|低于"
    "|少于|小于|短于|不足|不到|不满|未满|未达|早于|[<≤≦＜﹤]=?"
)
_MORE = (
    "不[得应可能要宜会]?(?:少于|低于|小于|短于|早于)|至少|最少|最低|最小|最短|起码|超过|高于|大于|多于|长于|超出|晚于"
    "|[>≥≧＞﹥]=?"
)
_BOUND_BEFORE = re.compile(
    rf"(?:(?P<less>{_LESS})|(?P<more>{_MORE})|(?P<reach>达到?|满))(?P<filler>[^，。；：、,;\d<>≤≥]{{0,7}})$"
)
_MODAL = re.compile("[应可须宜能需要必不]")
_BOUND_AFTER = re.compile(
    r"[（(]?(?:(?P<more>(?:及|或|或者)?(?:以上|以后|更[高多长大久]))|(?P<reach>起步?)|(?P<less>(?:及|或|或者)?(?:以下|以前|更[低少短小])|[为作]?(?:上限|限度?|封顶))"
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
_EACH = re.compile("每(?P<what>年|个?月|周|星期|升|毫升)(?![一二两三四五六七八九十\\d])")
_EVERY_OTHER_DAY = re.compile(r"(?:每?隔[一1]?[日天]|qod)(?:[^，。；：、,;\d]{0,3}?(?:一|1)次)?")
_HALF = re.compile("半(?=[^年月天日小时周岁片粒]|$)")
_SAME_LENGTH = re.compile("之(?=[内前后上下])")  # 5分钟之内 as 5分钟以内
_ORDINAL = re.compile(
    r"第(?P<number>\d{1,3}|[一二三四五六七八九十])(?!选择|时间|线|位的|诊断|\d|[～~至到-]|[天周日月年]|小时)"
    r"(?:[剂针次个位代](?!表))?|首(?P<first>[次剂针])"
)
_ROMAN = {"ⅰ": 1, "ⅱ": 2, "ⅲ": 3, "ⅳ": 4, "ⅴ": 5, "ⅵ": 6, "i": 1, "ii": 2, "iii": 3, "iv": 4, "v": 5, "vi": 6}
_HAN = {char: value for value, char in enumerate("〇一二三四五六七八九十")} | {"两": 2}
_GRADE = re.compile(
    r"(?<![a-z0-9一二三四五六七八九十])(?P<number>[ⅰⅱⅲⅳⅴⅵ]|i{1,3}|iv|vi?|\d{1,2}|[一二三四五六七八九])"
    r"(?:[-~～至、](?P<upper>[ⅰⅱⅲⅳⅴⅵ]|i{1,3}|iv|vi?|\d{1,2}))?[ ]?"
    r"(?P<what>型(?!号)|级(?!别)|期(?!间)|度(?![过日数])|代(?!表|谢)|类|线|联)"
)
_FRACTION = re.compile(
    r"(?<![\d.])(?P<top>\d{1,3})[/／](?P<bottom>\d{1,3})"
    r"(?:[~～至到-](?P<high_top>\d{1,3})[/／](?P<high_bottom>\d{1,3}))?(?![\d./])"
    r"|(?P<below>[二三四五六七八九十])分之(?P<above>[一二三四五六七八九])"
    r"|(?<![构形组合生完达造变])(?P<tenths>[一二两三四五六七八九]|\d)(?:[到至~～-]?(?P<tenths_high>[一二两三四五六七八九]|\d))?成(?![人年功为分药虫份长立熟]|[一-龥]?反比|正比)"
    r"|百分之(?P<percent>\d{1,3}(?:\.\d{1,3})?|[一二三四五六七八九十]{1,3})|一半"
)
_BARE = re.compile(r"(?<![a-z0-9.\-])\d{1,9}(?:\.\d{1,6})?(?![a-z0-9.])(?!-[a-z])")
_NUMBERISH = re.compile("[0-9首每一二三四五六七八九十两半隔ⅰ-ⅵ]|qd|qn|qod|bid|tid|qid|iv|i型|i期|i级")


def measures(text: str) -> list[Measure]:
    """The measures of a text, in order, not overlapping."""
    said, text = text, _plain(text)
    folded = fold(text)
    if not _NUMBERISH.search(folded):
        return []
    found: list[Measure] = []
    taken = bytearray(len(folded))

    def keep(start: int, end: int, low: float, high: float, unit: str, bound: str = "", per: str = "") -> None:
        taken[start:end] = b"\1" * (end - start)
        found.append(Measure(start, end, low, high, unit, bound, per, said[start:end]))

    for match in _EVERY_OTHER_DAY.finditer(folded):
        keep(*match.span(), 0.5, 0.5, "次/d")
    for match in _ORDINAL.finditer(folded):
        value = 1.0 if match["first"] else _small(match["number"])
        keep(*match.span(), value, value, "第")
    for match in _FRACTION.finditer(folded):
        if match["high_top"]:  # 1/10~1/3, of which 10~1 is no range
            high = float(match["high_top"]) / (float(match["high_bottom"]) or 1.0)
            keep(*match.span(), _fraction(match), high, "")
    for quantity in map(partial(_with_unit, text), _apart(quantities(text))):
        if not any(taken[quantity.start : quantity.end]):
            start, end, low, high, unit, bound, per = _dose(folded, quantity, found)
            keep(max(start, taken.rfind(1, 0, quantity.start) + 1), end, low, high, unit, bound, per)
    for match in _EACH.finditer(folded):
        if not any(taken[match.start() : match.end()]):
            unit, scale = UNITS.get(canonical_unit(match["what"]), (match["what"], 1.0))
            if unit in ("d", "月"):
                days = scale * (30.0 if unit == "月" else 1.0)
                keep(*match.span(), 1 / days, 1 / days, "次/d")
            else:
                keep(*match.span(), scale, scale, unit)
    for match in _FRACTION.finditer(folded):
        if not any(taken[match.start() : match.end()]):
            value = _fraction(match)
            high = _small(match["tenths_high"]) / 10 if match["tenths_high"] else value
            bound, start, end = _bound(folded, *match.span())
            keep(max(start, taken.rfind(1, 0, match.start()) + 1), end, value, high, "", bound)
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


_ABOUT = re.compile("([一二两三四五六七八])([二两三四五六七八九])个(?=小时|钟头|月|星期|疗程)")
_AND_HALF = re.compile("([一两二三四五六七八九])([天年岁])半(?![夜])")


def _plain(text: str) -> str:
    """What people say in other words than books, in as many characters: 一两个小时 as 1~2小时, 一天半 as 36h."""
    text = _SAME_LENGTH.sub("以", text)
    if "个" in text:
        text = _ABOUT.sub(lambda found: f"{_HAN[found[1]]}~{_HAN[found[2]]}", text)
    return _AND_HALF.sub(_halves, text) if "半" in text else text


def _halves(found: re.Match[str]) -> str:
    count = _HAN[found[1]]
    amount = f"{count * 24 + 12}h" if found[2] == "天" else f"{count * 12 + 6}月"
    return amount if len(amount) == 3 else found[0]


_MISREAD_UNIT = re.compile("[ ]?mmo[VlI1]/?L")


def _with_unit(text: str, quantity: Quantity) -> Quantity:
    """With its unit where a scanner took mmol/L for mmoVL."""
    if quantity.unit or not (unit := _MISREAD_UNIT.match(text, quantity.end)):
        return quantity
    return quantity._replace(end=unit.end(), unit="mmol/L", text=text[quantity.start : unit.end()])


_MIXED = re.compile(
    r"(\d{1,3})\s?(天|日|周|个月|月|岁|年|小时|分钟)(?=[至到~～-]\d{1,3}\s?(天|日|周|个月|月|岁|年|小时|分钟))"
)


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
    unit, factor, per = base_unit(quantity.unit)
    half = _HALF.match(text, end)
    if half and quantity.text[-1:] in "年月天时岁周" and low == high:
        low = high = low + 0.5
        end = half.end()
    bound, begin, stop = _bound(text, start, end)
    if not bound and (below or above):
        bound = "less" if below else "more"
    if quantity.text.endswith("以内"):
        bound = "within"
    before = text[max(0, start - 14) : start]
    if not per and unit in DOSES and (found_per := _PER_BEFORE.search(before)):
        per = str(found_per.lastgroup)
    if unit in DOSES and "/" not in unit and (kilo := _PER_KILO.search(before)):
        unit, begin = unit + "/kg", min(begin, max(0, start - 14) + kilo.start())
    if unit in DOSES and not per and _PER_HOUR.search(before):
        per, factor = "day", factor * 24
    if unit == "次" and (often := _PERIODS.search(before)):
        base, scale = UNITS.get(canonical_unit(often["what"].replace("个", "")), ("d", 1 / 1440))
        scale = 1 / 1440 if often["what"] == "分" else scale * (30.0 if base == "月" else 1.0)
        unit, factor, begin = "次/d", factor / scale, min(begin, max(0, start - 14) + often.start())
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
    direct = _BOUND_AFTER.match(text, end)
    if before is not None and before["filler"] and direct is not None and direct.lastgroup in ("more", "less"):
        before = None  # 低于标准4cm以上
    if before is not None and before.lastgroup:
        name = "less" if before["less"] else "more" if before["more"] else "reach"
        is_part = not _MODAL.search(before["filler"])  # 至少应坚持1年 keeps its 应
        return name, low + before.start() if is_part else start, end
    if inside is not None:
        return ("less" if inside["less"] else "more"), start, end
    after = direct or _BOUND_AFTER.match(text, max(start, end - 2), end)
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
    if match["tenths"]:
        return _small(match["tenths"]) / 10
    if match["percent"]:
        text = match["percent"]
        if text[0].isdigit():
            return float(text) / 100
        tens, ten, ones = text.partition("十")
        return ((_small(tens) if tens else 1.0) * 10 + (_small(ones) if ones else 0.0) if ten else _small(text)) / 100
    return 0.5
