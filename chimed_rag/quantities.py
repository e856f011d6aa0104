"""Numbers and units in Chinese text: quantities with ranges and bounds, and the stretches that no cut may divide.

Apart from `text` because its patterns take long to compile and answering a question needs none of them. Not covered:
conversion of units; their spelling alone is unified. Offsets count characters, half-open, from 0.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from chimed_rag.text import HAN, WRAP, plain_forms

# Canonical spellings; those of two letters and more are read in any case, single letters only as written.
_LATIN_UNITS = re.findall(
    r"\S+",
    "kg mg μg ng pg fg dL mL μL fL nL mol mmol μmol nmol pmol Eq mEq IU mIU μIU mU kU km cm dm mm μm nm mmHg cmH2O "
    "kPa Pa MPa min ms kcal cal kJ Hz kHz MHz Gy cGy mGy Sv mSv Bq MBq mCi Ci mV kV mW mA ppm rpm bpm dB mOsm "
    "m2 cm2 mm2 m3 cm3 mm3 g L m s h d w U J V W",
)
_SYNONYMS = {
    "µg": "μg", "ug": "μg", "mcg": "μg", "µl": "μL", "ul": "μL", "µmol": "μmol", "umol": "μmol", "µm": "μm", "um": "μm",
    "µiu": "μIU", "uiu": "μIU", "l": "L", "u": "U", "hr": "h", "sec": "s", "°c": "℃", "摄氏度": "℃", "m²": "m2",
    "cm²": "cm2", "mm²": "mm2", "m³": "m3", "cm³": "cm3", "mm³": "mm3", "m^2": "m2", "毫克": "mg", "微克": "μg",
    "纳克": "ng", "千克": "kg", "公斤": "kg", "克": "g", "毫升": "mL", "微升": "μL", "分升": "dL", "升": "L",
    "国际单位": "IU", "单位": "U", "毫摩尔": "mmol", "微摩尔": "μmol", "摩尔": "mol", "毫米汞柱": "mmHg", "千帕": "kPa",
    "厘米": "cm", "毫米": "mm", "米": "m", "纳米": "nm", "微米": "μm", "毫秒": "ms",
    "皮克": "pg", "纳摩尔": "nmol", "皮摩尔": "pmol", "千焦": "kJ", "戈瑞": "Gy",
    "千卡": "kcal", "大卡": "kcal", "秒": "s", "秒钟": "s",
    "分钟": "min", "小时": "h",
    "钟头": "h", "天": "d", "日": "d", "昼夜": "d", "周": "w",
    "星期": "w", "礼拜": "w", "个月": "月", "个小时": "h", "个钟头": "h", "个单位": "U", "个国际单位": "IU",
    "个星期": "w", "个礼拜": "w", "个季度": "季度", "个昼夜": "d", "个钟": "h",
    "个时辰": "时辰", "个年头": "年", "周岁": "岁", "毫摩": "mmol", "微摩": "μmol", "毫米水银柱": "mmHg", "公分": "cm",
    "公里": "km", "公升": "L", "cc": "mL", "个疗程": "疗程",
}  # fmt: skip
_DOSED = re.findall(
    r"\S+", "月龄 周龄 时辰 刻钟 季度 月 年 岁 疗程 次 片 粒 丸 袋 支 瓶 枚 滴 包 颗 剂 贴 喷 揿 勺 匙 倍 钱 两 斤"
)
_COUNTED = ["杯", "例", "人", "名", "个", "度", "元", "分"]  # with digits only: 一个 and 一度 are no quantities
_CANONICAL = {unit.lower(): unit for unit in _LATIN_UNITS if len(unit) > 1} | _SYNONYMS


def _one_of(words: list[str]) -> str:
    return "|".join(map(re.escape, sorted(words, key=len, reverse=True)))


_HAN_UNITS = [unit for unit in _SYNONYMS if unit[0] >= "\u4e00"] + _DOSED
_LATIN = _one_of([unit for unit in _CANONICAL if len(unit) > 1 and unit[0] < "\u4e00"])
_LETTER = "[" + "".join(unit for unit in _LATIN_UNITS if len(unit) == 1) + "lu]"
_ONE_OR_TWO = "(?<=[一二]两)[种样处句口条名位个只项步遍顿下针颗粒片根节例度倍]"
_NO_UNIT = (
    rf"(?!{_ONE_OR_TWO}|之|性|板|瓣|咳|生草|(?<=周)[期围]|(?<=倍)体(?!重))"  # 三分之一, 一次性, 半月板, 百日咳, 一周围
)
_ATOM = rf"(?:(?:(?i:{_LATIN})|{_LETTER})(?![A-Za-z])|[%‰℃°]|(?:{_one_of(_HAN_UNITS + _COUNTED)}){_NO_UNIT})"
_OVER_MANY = rf"\((?:(?:1\.73[ ]?)?{_ATOM}[·/]?){{1,3}}\)"  # mL/(min·1.73m2)
_PER = rf"(?:[ ]?[/·][ ]?(?:{_OVER_MANY}|(?:\d{{1,3}}(?:\.\d{{1,2}})?[ ]?)?{_ATOM}(?:-[12])?))"
_UNIT = rf"(?:{_ATOM}{_PER}{{0,3}}|{_PER}{{1,3}})"
_POWER = r"[ ]?[×xX*][ ]?10(?:\^?-?\d{1,2}|[⁰¹²³⁴-⁹⁻]{1,3})"
_DIGITS = rf"(?:10\^-?\d{{1,2}}|\d{{1,15}}(?:,\d{{3}}(?!\d)){{0,4}}(?:\.\d{{1,8}})?(?:{_POWER})?)"
_NUMERAL = "(?![千万零]|半[一二两三四五六七八九十])[零一二两三四五六七八九十百千万半]{1,7}"
_DASH = r"[ ]?(?:[~～∼〜\-–—―－至到]|——|±)[ ]?"
_BELOW = "不超过|不高于|不大于|小于等于|小于|低于|少于|不足|至多|最多|[≤≦<＜﹤]=?"
_ABOVE = "不少于|不低于|不小于|大于等于|大于|高于|超过|多于|至少|[≥≧>＞﹥]=?"
_PERIOD = rf"(?:每隔?(?:{_DIGITS}|{_NUMERAL})?|[一1])[ ]?(?:小时|天|日|周|星期|个月|月|年|晚|晨|h|d)"
_LATIN_FREQUENCY = {"qd": 1, "bid": 2, "tid": 3, "qid": 4, "qn": 1}
# Right after Latin letters a number counts only with a unit, a Latin one where they are few: NT-proBNP1850pg/mL, but
# not B12片.
_ATTACHED = (
    rf"(?:(?<=[A-Za-z])(?=[\d.,~～×^-]{{1,20}}[ ]?(?:(?:(?i:{_LATIN})|[gLU])(?![A-Za-z])|[%‰℃/]))"
    rf"|(?<=[A-Za-z])(?=\d{{1,6}}\.\d{{1,4}}[ ]?{_ATOM})"
    rf"|(?<=[A-Za-z]{{3}})(?=[\d.,~～×^-]{{1,20}}[ ]?[万亿]?{_ATOM}))"
)
_QUANTITY = re.compile(
    r"(?P<date>(?<!\d)(?:\d{4}年(?:\d{1,2}月(?:\d{1,2}[日号])?)?|\d{1,2}月\d{1,2}[日号]"
    r"|\d{4}(?P<mark>[-/.])\d{1,2}(?P=mark)\d{1,2}(?!\d)))"
    rf"|(?P<period>{_PERIOD})[ ]?(?P<times>(?:{_DIGITS}|{_NUMERAL})(?:{_DASH}(?:{_DIGITS}|{_NUMERAL}))?)[ ]?次"
    r"|(?<![A-Za-z])(?P<latin>(?i:qd|bid|tid|qid|qn|q\d{1,2}h)(?![A-Za-z])|(?:b\.i\.d|t\.i\.d|q\.i\.d|q\.d)\b)"
    rf"|(?:(?:(?P<below>{_BELOW})|(?P<above>{_ABOVE}))[ ]?)?(?:(?<![A-Za-z0-9.])|{_ATTACHED})(?:"
    r"(?P<systolic>\d{2,3})[ ]?/[ ]?(?P<diastolic>\d{2,3}[ ]?(?:mmHg|毫米汞柱))"
    rf"|(?P<low>{_DIGITS})(?:[ ]?(?P<big>[万亿]))?"
    rf"(?:(?:[ ]?{_UNIT})?{_DASH}(?P<high>{_DIGITS})(?:[ ]?(?P<bigger>[万亿]))?)?"
    rf"(?:[)）](?P<power>{_POWER}))?(?:[ ]?(?P<unit>{_UNIT}))?"
    rf"|(?P<han>{_NUMERAL})(?:[至到~～-](?P<han_high>{_NUMERAL}))?(?P<han_unit>(?:{_one_of(_HAN_UNITS)}"
    rf"|(?<=[十百千万])(?:[杯例人名元度](?!家)|(?i:{_LATIN})(?![A-Za-z]))){_NO_UNIT}{_PER}{{0,2}})"
    r")(?P<beyond>以上|以下|以内)?"
)


class Quantity(NamedTuple):
    """A number with its unit: `text` is `source[start:end]`; `low` to `high` are what it says, in `unit`.

    `low` equals `high` for one value; ">= 7" has high = inf, "< 5" has low = -inf. `unit` is spelled canonically
    (毫克 -> mg, 一日3次 -> 3 次/d, q8h -> 1 次/8h), never converted, and "" for bare ranges and decimals.
    """

    start: int
    end: int
    low: float
    high: float
    unit: str
    text: str


def quantities(text: str) -> list[Quantity]:
    """The numbers with units, ranges, bounds, frequencies and bare decimals of a text, in order, not overlapping.

    Chinese numerals count where a unit follows (三次, 半片). Dates, enumerations and digits inside names (B12) do not.
    """
    folded = plain_forms(text)
    found: list[Quantity] = []
    for match in _QUANTITY.finditer(folded):
        for start, end, low, high, unit in _readings(match):
            found.append(Quantity(start, end, low, high, unit, text[start:end]))
    return found


def _readings(match: re.Match[str]) -> list[tuple[int, int, float, float, str]]:
    """(start, end, low, high, unit) of the quantities that one match holds; none where it is a date or bare number."""
    start, end = match.span()
    part = match.groupdict()
    if part["date"]:
        return []
    if part["period"]:
        low, high = _interval(*_parted(part["times"]))
        return [(start, end, low, high, "次/" + _period_unit(part["period"]))]
    if part["latin"]:
        name = part["latin"].lower().replace(".", "")
        times = _LATIN_FREQUENCY.get(name)
        return [(start, end, 1.0, 1.0, "次/" + name[1:]) if times is None else (start, end, times, times, "次/d")]
    if part["systolic"]:
        upper, lower = float(part["systolic"]), float(part["diastolic"][:-4])
        middle = match.start("diastolic")
        return [(start, match.end("systolic"), upper, upper, "mmHg"), (middle, end, lower, lower, "mmHg")]
    if part["han"]:
        low, high = _interval(part["han"], part["han_high"], "")
        unit = canonical_unit(part["han_unit"])
    else:
        if not (part["unit"] or part["high"] or part["power"] or part["below"] or part["above"] or _is_decimal(match)):
            return []
        sign = "±" if part["high"] and "±" in match.group() else ""
        # "1～2万" is ten to twenty thousand, "(3～5)×10^9" too: what stands after the second number counts for both.
        first, second = part["low"], part["high"]
        big, bigger, power = part["big"] or "", part["bigger"] or part["big"] or "", part["power"] or ""
        shared = re.search(_POWER + "$", second) if second else None
        if shared and not re.search(_POWER, first):
            first += shared.group()
        low, high = _interval(first + power + (big or bigger), second and second + power + bigger, sign)
        unit = canonical_unit(part["unit"] or "")
    if part["below"] or part["beyond"] in ("以下", "以内"):
        low = float("-inf")
    elif part["above"] or part["beyond"] == "以上":
        high = float("inf")
    return [(start, end, low, high, unit)]


def _is_decimal(match: re.Match[str]) -> bool:
    start = match.start("low")
    return "." in match["low"] and start > 0 and match.string[start - 1] != "\n"  # a line that opens "1.1" is a heading


def _parted(times: str) -> tuple[str, str | None, str]:
    pieces = re.split(_DASH, times, maxsplit=1)
    return pieces[0], pieces[1] if len(pieces) > 1 else None, ""


def _interval(first: str, second: str | None, sign: str) -> tuple[float, float]:
    if sign:
        middle, spread = _value(first)[0], _value(second or "0")[0]
        return middle - spread, middle + spread
    low, high = _value(first)
    if second:
        high = _value(second)[1]
    return min(low, high), max(low, high)


_HAN_DIGITS = {char: value for value, char in enumerate("〇一二三四五六七八九")} | {"两": 2, "零": 0}
_SCALES = {"十": 10.0, "百": 100.0, "千": 1e3}
_ABOUT = re.compile("([一二三四五六七八九]?十)?([一二两三四五六七八])([二两三四五六七八九])([十百千万]?)")
_SUPERSCRIPT = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻xX*", "0123456789-×××")


def _value(number: str) -> tuple[float, float]:
    """What a number says, as (low, high): "1,000", "4.0×10^9", "80万", "十二", "半"; 三五 is 3 to 5, 一百六 160."""
    if number[0].isdigit():
        scale = {"万": 1e4, "亿": 1e8}.get(number[-1], 1.0)
        base, cross, power = re.sub(r"[ ,万亿]", "", number).translate(_SUPERSCRIPT).partition("×")
        if not cross and "^" in base:
            base, power = "1", base
        value = float(base) * scale * 10.0 ** (int(power[2:].lstrip("^") or 1) if power else 0)
        return value, value
    about = _ABOUT.fullmatch(number)
    if about:
        tens = 10.0 * (_HAN_DIGITS.get(about[1][0], 1) if about[1] else 0)
        scale = {"十": 10.0, "百": 100.0, "千": 1e3, "万": 1e4}.get(about[4], 1.0)
        return tens + _HAN_DIGITS[about[2]] * scale, tens + _HAN_DIGITS[about[3]] * scale
    value, digit, last = 0.0, 0, 1.0
    for char in number:
        if char in _HAN_DIGITS:
            digit = _HAN_DIGITS[char]
            last = 1.0 if char == "零" else last
        elif char == "半":
            value += 0.5
        elif char == "万":
            value, digit, last = (value + digit or 1) * 1e4, 0, 1e4
        else:
            last = _SCALES[char]
            value, digit = value + (digit or 1) * last, 0
    value += digit * (last / 10 if last > 10 else 1.0)
    return value, value


def _period_unit(period: str) -> str:
    match = re.fullmatch(rf"每?隔?({_DIGITS}|{_NUMERAL})?[ ]?(\D+)", period)
    if match is None:
        return "d"
    count, unit = match.groups()
    unit = {"晚": "d", "晨": "d"}.get(unit, canonical_unit(unit))
    low = _value(count)[0] if count else 1.0
    return unit if low == 1 else f"{low:g}{unit}"


def canonical_unit(unit: str) -> str:
    """One spelling for each unit: 毫克 and MG give "mg", 次/分 gives "次/min"; unknown parts stay as they are."""
    parts: list[str] = re.split(r"([/·()])", unit.replace(" ", ""))
    spelled = [_CANONICAL.get(part.lower() if len(part) > 1 else part, part) for part in parts]
    return re.sub(r"/分$", "/min", "".join(spelled))


# --- protected spans -------------------------------------------------------------------------------------------

_WORD = r"[A-Za-z0-9\u0370-\u03ffβµ'+\-]"
_INSIDE = r"[^（()）【】\n。！？!?；;….]"
# Read backwards from the quantity: blank or colon, 口服 or 每次, a short bracket, a name of Chinese or Latin letters.
_NAME_BACKWARDS = re.compile(
    r"[ ]?[:：=（(]?[ ]?(?:(?:[ ，,]{0,2}(?:次[每一]|日[每一]|服口)){1,2}[ ，,]{0,2})?"
    rf"(?:[）)]{_INSIDE}{{1,16}}[（(])?"
    rf"(?:[{HAN}]{{1,12}}{_WORD}{{0,24}}|{_WORD}{{1,24}}[{HAN}]{{0,12}})"
)
# What may stand between a dose and its frequency; any other name begins a new dose.
_MANNER = re.compile(r"[ ，,]*(?:口服|外用|饭前|饭后|每次|一次|每日|一日|分)?[ ]?")
_LONGEST_CHAIN = 80


def protected_spans(text: str) -> list[tuple[int, int]]:
    """Stretches that may never be split: numbers with units, ranges and dates, each with the name right before it
    (布洛芬0.2g, NT-proBNP 1850pg/mL), and a dose with its frequency (0.5g/次，一日3次).

    Half-open spans, in order, disjoint, each of bounded length; none holds the end of a sentence.
    """
    folded = WRAP.sub(" ", plain_forms(text))
    spans: list[tuple[int, int]] = []
    previous_is_rate = False
    for match in _QUANTITY.finditer(folded):
        begin, end = match.span()
        bound = max(spans[-1][1] if spans else 0, begin - 48)
        bare = match["low"] == match.group()  # an enumeration or a digit inside a name: only not cut within
        name = None if bare else _NAME_BACKWARDS.match(folded[bound:begin][::-1])
        is_rate = bool(match["period"] or match["latin"]) or "次" in match.group()
        if name:
            begin -= name.end()
        linked = (is_rate or previous_is_rate) and (not name or _MANNER.fullmatch(name.group()[::-1]))
        if linked and spans and end - spans[-1][0] <= _LONGEST_CHAIN:
            gap = folded[spans[-1][1] : begin]
            if len(gap) <= 2 and not gap.strip("，,、 "):
                begin = spans.pop()[0]
        spans.append((begin, end))
        previous_is_rate = is_rate
    return spans
