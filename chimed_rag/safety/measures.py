"""What the numbers of a text say, in base units, so that 0.2 g is 200 mg and tid is 每日三次.

What is covered: masses, volumes, amounts, concentrations, shares (%, ‰, 三分之一), frequencies, spans of time, ages,
ranges, bounds (≥ and > alike), 每次 against 每日, bare numbers, grades (Ⅱ型, 2级, 第三代), and how people say them
(两个半小时, 一升七, 三个多月, 七成五, 三十八度五, 一分钟110下). What is not covered: arithmetic (`reckoning`), drops
and tablets in milligrams, vague numbers (数日, 几十天), times of day, whether two agree (`conversion`).
"""

from __future__ import annotations

import re
from functools import partial

from chimed_rag.quantities import Quantity, canonical_unit, quantities
from chimed_rag.safety.conversion import DOSES, UNITS, Measure, base_unit
from chimed_rag.text import fold

_LESS = (
    "(?:不|未|勿|莫|甭|别|没有?)[得应可能要宜会让该]?(?:超过|高于|大于|多于|超出|长于|晚于|[拖多大高长晚迟升涨拉久]?过|超)"
    "|至多|最多|顶多|最高|最大|最长|上限(?!的?$)|低于"
    "|少于|小于|短于|不足|不到|不满|未满|未达|早于|[<≤≦＜﹤]=?"
)
_MORE = (
    "不[得应可能要宜会]?(?:少于|低于|小于|短于|早于)|至少|最少|最低|最小|最短|起码|超过|高于|大于|多于|长于|超出|晚于"
    "|[>≥≧＞﹥]=?"
)
_BOUND_BEFORE = re.compile(
    rf"(?:(?P<less>{_LESS})|(?P<more>{_MORE})|(?P<reach>达到?|满|[等留吃用服喝睡隔吸查观][满足够]))(?P<filler>[^，。；：、,;\d<>≤≥才就]{{0,7}})$"
)
_PAST = re.compile("(?:年[逾过]|(?<![不未别没经通])(?:超过|过了?))[ ]?$")
_DELAY = re.compile("(?:(?<![不未别勿莫没要会得能宜])[拖超]过了?|(?<![不未别没经通吃用服])过了)[ ]?$")
_SPAN_ENDS = frozenset("天日周年月时期拜钟头秒")
_MODAL = re.compile("[应可须宜能需要必不]")
_BOUND_AFTER = re.compile(
    r"[（(]?(?:(?P<more>(?:及|或|或者)?(?:以上|以后|更[高多长大久]|[往朝]上|出头|开外|(?<=[周天月时日年钟岁期拜头成])多(?![少数次种个吃喝用饮测查走动睡休尿拉吐见发在为由因伴半于]|\d)))|(?P<reach>起步?(?![效床来病始初作到因搏码源见伏夜]))|(?P<less>(?:及|或|或者)?(?:以下|以前|更[低少短小]|[往朝]下)|[为作]?(?:上限|限度?|封顶))"
    r"|(?P<within>以内|内(?![科镜分脏膜障耳皮障]))|(?<=[周天月时日年钟岁期拜])(?:(?P<after>[之过]?后(?!期|续|遗))|(?P<before>之?前(?!期|列))))"
)
_PER_BEFORE = re.compile(
    r"(?:(?P<dose>每次|一次|单次|每剂|每回|首剂|每支|每片)|(?P<day>每日|一日|每天|一天|日服|日剂量|24小时|24h|全天|每24小时)"
    r"|(?P<week>每周|每星期|一周)|(?P<month>每月|每个月))"
    r"[^，。；：、,;\d]{0,8}$"
)
_DAILY = re.compile(r"(?:每日|一日|每天|一天|日|全天|24小时|24h|每24小时)(?:[^，。；：、,;\d每]{0,8})$")
_PERIODS = re.compile(r"每(?P<what>分钟?|个?(?:小时|钟头|星期|礼拜|月)|周|年)[^，。；：、,;\d每]{0,10}$")
_PER_KILO = re.compile(r"每(?:公斤|千克|kg)(?:体重)?[^，。；：、,;\d]{0,6}$")
_PER_VOLUME = re.compile(r"每(?P<what>升|分升|毫升)$")
_PER_MINUTE = re.compile(r"每分钟[^，。；：、,;\d]{0,8}$")
_PER_HOUR = re.compile(r"每小时[^，。；：、,;\d]{0,10}$")
_EACH = re.compile("每(?P<what>年|个?月|周|星期|升|毫升)(?![一二两三四五六七八九十\\d])")
_EVERY_OTHER_DAY = re.compile(r"(?:每?隔[一1]?[日天]|qod)(?:[^，。；：、,;\d]{0,3}?(?:一|1)次)?")
_HALF = re.compile("半(?=[^年月天日小时周岁片粒]|$)")
_TENTHS = re.compile("(?:[一二三四五六七八九]|(?<=度)\\d)(?![\\d个克两斤天年岁次点十百成分种日周月片粒小])")  # 一升七
_SAME_LENGTH = re.compile("之(?=[内前后上下])")  # 5分钟之内 as 5分钟以内
_ORDINAL = re.compile(
    r"第(?P<number>\d{1,3}|[一二三四五六七八九十])(?!心?音|选择|时间|线|位的|诊断|步|件|要|考虑|反应|印象|大[病死]|\d|[～~至到-]|[天周日月年]|小时)"
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
    r"|(?<![构形组合生完达造变])(?P<tenths>[一二两三四五六七八九]|\d)(?:[到至~～-]?(?P<tenths_high>[一二两三四五六七八九]|\d))?成(?P<half>[五半])?(?![人年功为分药虫份长立熟]|[一-龥]?反比|正比)"
    r"|百分之(?P<percent>\d{1,3}(?:\.\d{1,3})?|[一二三四五六七八九十]{1,3})"
    r"(?:[到至~～-](?:百分之)?(?P<percent_high>\d{1,3}|[一二三四五六七八九十]{1,3})(?![天日周月年岁次例]))?|一半|半数"
)
_PART = re.compile(r"(?<![\d./])(?P<top>\d)/(?P<bottom>\d{1,2})[ ]?(?P<unit>[片粒丸袋支包瓶])(?!剂)")
_BARE = re.compile(
    r"(?<![a-z0-9.\-])(?<![碘锶锝铯钴镭钇镓铟铊钐镥碳氟磷氢])\d{1,9}(?:\.\d{1,6})?(?![a-z0-9.])(?!-[a-z一-龥])"
)
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
    for match in _PART.finditer(folded):
        value = float(match["top"]) / (float(match["bottom"]) or 1.0)
        unit, factor, per = base_unit(canonical_unit(match["unit"]))
        found_per = _PER_BEFORE.search(folded[max(0, match.start() - 14) : match.start()])
        keep(*match.span(), value * factor, value * factor, unit, per=str(found_per.lastgroup) if found_per else per)
    for match in _FRACTION.finditer(folded):
        if any(taken[match.start() : match.end()]):
            continue
        if match["high_top"]:  # 1/10~1/3, of which 10~1 is no range
            high = float(match["high_top"]) / (float(match["high_bottom"]) or 1.0)
            keep(*match.span(), _fraction(match), high, "")
        elif match["percent_high"]:
            keep(*match.span(), _fraction(match), _hundredths(match["percent_high"]), "")
        elif match["tenths_high"]:  # 一两成, of which 一两 is no weight
            keep(*match.span(), _fraction(match), _small(match["tenths_high"]) / 10, "")
    for quantity in map(partial(_with_unit, text), _apart(quantities(text))):
        if not any(taken[quantity.start : quantity.end]) and not _is_word(folded, quantity):
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
        if not any(taken[match.start() : match.end()]) and not (_is_pressure(match) or _is_word(folded, match)):
            value = high = _fraction(match)
            bound, start, end = _bound(folded, *match.span())
            keep(max(start, taken.rfind(1, 0, match.start()) + 1), end, value, high, "", bound)
    for match in _GRADE.finditer(folded):
        if not any(taken[match.start() : match.end()]) and not _is_word(folded, match):
            low = _small(match["number"])
            high = _small(match["upper"]) if match["upper"] else low
            keep(*match.span(), low, high, match["what"])
    for match in _BARE.finditer(folded):
        if not any(taken[match.start() : match.end()]):
            bound, start, end = _bound(folded, *match.span())
            keep(max(start, taken.rfind(1, 0, match.start()) + 1), end, float(match[0]), float(match[0]), "数", bound)
    return _continued(_shared(_joined(sorted(found), folded), folded), folded)


_ABOUT = re.compile("([一二两三四五六七八])([二两三四五六七八九])个(?=小时|钟头|月|星期|礼拜|疗程)")
_AND_HALF = re.compile("([一两二三四五六七八九])([天年岁])半(?![夜])")
_AND_HALF_OF = re.compile("([一两二三四五六七八九])个半(?=小时|钟头|月|星期|礼拜)")
_ODD = re.compile(
    "(?<=[一二两三四五六七八九十百半\\d])(个?)([多来])(个?(?:[天日周年岁月]|小时|钟头|星期|礼拜|分钟|毫?[升克]))"
)
_TIMES = re.compile("(?<=[一两二三四五六七八九十\\d])[回遍趟](?![事头声家合答复])")
_BEATS = re.compile("(?<=分钟)([^，。；：、,;]{0,5}?[ \\d一二三四五六七八九十百～~至到-]{2,8})[下跳]")
_EACH_TIME = re.compile(
    "(?<![到至~～每隔第十])一(?=(?:分钟[^，。；：、,;]{0,5}?[\\d一二两三四五六七八九十]{1,4}[～~至到-]?[\\d一二两三四五六七八九十]{0,4}[次升]"
    "|(?:个?(?:小时|钟头|星期|礼拜|月)|周|年)[^，。；：、,;次]{1,6}?[\\d一二两三四五六七八九十]{1,4}次))"
)
_HUNDREDS = re.compile("([一二两三四五六七八九])百([一二三四五六七八九])(?![十百千万])")
_TO_DEGREES = re.compile("([一二两三四五六七八九])([到至～~])([二三四五六七八九])(?=度)")
_DEGREES = re.compile("([三四])十([一五六七八九])?度([一二三四五六七八九半])?")
_POINT = re.compile(
    "(?<![一二两三四五六七八九十百千])([二三四五六七八九]?十[一二三四五六七八九]|[二三四五六七八九]十|[零一二两三四五六七八九])"
    "点([零一二三四五六七八九]{1,2})(?![十百刻分点是、])"
)
_OVER = re.compile(
    "(?<=[摩尔克升次米g])每(?=毫升|分升|公?升|分钟?|小时|千克|公斤|毫克|克)|(?<=[克升次gLl])每(?=[天日](?![一二两三四\\d]|分))"
)
_EVERY_SO_OFTEN = re.compile(
    "(?P<period>每隔?(?:\\d{1,2}|[一二两三四五六七八九十]{1,3})个?(?:小时|钟头|[天日周])|每[天日周])"
    "(?P<how>[口内]?[吃喝服用打滴喷涂抹换测查做吸洗含注])(?P<times>[一1]次)"
)
_COLLOQUIAL = str.maketrans("俩仨", "两三")


def _plain(text: str) -> str:
    """What people say in other words than books, in as many characters: 一两个小时 as 1~2小时, 一天半 as 36h."""
    if "之" in text:
        text = _SAME_LENGTH.sub("以", text)
    if "俩" in text or "仨" in text:
        text = text.translate(_COLLOQUIAL)
    if "点" in text:
        text = _POINT.sub(_decimal, text)
    if "每" in text:
        text = _OVER.sub("/", text)
    if "每" in text:
        text = _EVERY_SO_OFTEN.sub(lambda found: " " * len(found["how"]) + found["period"] + found["times"], text)
    if "个" in text:
        text = text.replace("个把", "1个")
        text = _ABOUT.sub(lambda found: f"{_HAN[found[1]]}~{_HAN[found[2]]}", text)
        text = _AND_HALF_OF.sub(lambda found: f"{_HAN[found[1]]}.5", text)
    if "多" in text or "来" in text:
        text = _ODD.sub(lambda found: found[1] + found[3] + found[2], text)
    if "回" in text or "遍" in text or "趟" in text:
        text = _TIMES.sub("次", text)
    if "分钟" in text:
        text = _BEATS.sub(lambda found: found[1] + "次", text)
    if "一" in text:
        text = _EACH_TIME.sub("每", text)
    if "百" in text:
        text = _HUNDREDS.sub(lambda found: f"{_HAN[found[1]]}{_HAN[found[2]]}0", text)
    if "度" in text:
        text = _TO_DEGREES.sub(lambda found: f"{_HAN[found[1]]}{found[2]}{_HAN[found[3]]}", text)
        text = _DEGREES.sub(_degrees, text)
    return _AND_HALF.sub(_halves, text) if "半" in text else text


def _degrees(found: re.Match[str]) -> str:
    """三十八度五 as 38.5度, 四十度 as 40度."""
    tenths = ("5" if found[3] == "半" else str(_HAN[found[3]])) if found[3] else ""
    whole = f"{_HAN[found[1]]}{_HAN[found[2]] if found[2] else 0}"
    return f"{whole}.{tenths}度".rjust(len(found[0])) if tenths and found[2] else f"{whole}度".rjust(len(found[0]))


def _decimal(found: re.Match[str]) -> str:
    """一点二五 as 1.25, 三十七点五 as 37.5."""
    tens, ten, ones = found[1].partition("十")
    whole = 10 * (_HAN[tens] if tens else 1) * bool(ten) + (_HAN[ones] if ones else 0) if ten else _HAN.get(tens, 0)
    return f"{whole}.{''.join(str(_HAN.get(char, 0)) for char in found[2])}".rjust(len(found[0]))


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


_AND = frozenset("、和或与及")
_RAW = re.compile(r"\d+(?:\.\d+)?")


def _shared(found: list[Measure], text: str) -> list[Measure]:
    """15和20毫克, 低于130/80毫米汞柱: a bare number takes the unit of the next, a pressure the bound of the other."""
    for place in range(len(found) - 1, 0, -1):
        first, second = found[place - 1], found[place]
        between = text[first.end : second.start]
        if first.unit == "数" != second.unit and between in _AND and (raw := _RAW.search(second.text)):
            scale = second.low / float(raw[0]) if float(raw[0]) else 1.0
            low, high = first.low * scale, first.high * scale
            found[place - 1] = first._replace(low=low, high=high, unit=second.unit, per=first.per or second.per)
        elif between == "/" and first.unit == second.unit and first.unit in ("Pa", "数"):
            bound = first.bound or second.bound
            found[place - 1 : place + 1] = [first._replace(bound=bound), second._replace(bound=bound)]
    return found


_IS_CONTINUED = re.compile("[，,;；(（、)）](?:维持|者)?$")
_FAR = 16


def _continued(found: list[Measure], text: str) -> list[Measure]:
    """10～20μg/ml,>20中毒: a bare range or bound right after a mark takes the unit of the value before it."""
    for place in range(1, len(found)):
        first, second = found[place - 1], found[place]
        between = text[first.end : second.start]
        is_open = second.unit == "数" and (second.bound or second.low < second.high)
        if not is_open or "/" not in first.unit or not _IS_CONTINUED.search(between) or len(between) > _FAR:
            continue
        raws = [_RAW.search(first.text), _RAW.search(second.text)]
        if raws[0] and raws[1] and float(raws[0][0]):
            scale = first.low / float(raws[0][0])
            found[place] = second._replace(low=second.low * scale, high=second.high * scale, unit=first.unit)
    return found


def _dose(text: str, quantity: Quantity, found: list[Measure]) -> tuple[int, int, float, float, str, str, str]:
    """One quantity in base units with its bound and what it is per; a daily count takes the words before it in."""
    start, end, low, high = quantity.start, quantity.end, quantity.low, quantity.high
    below, above = low == float("-inf"), high == float("inf")
    low, high = (high if below else low), (low if above else high)
    unit, factor, per = base_unit(quantity.unit)
    half = _HALF.match(text, end) or _TENTHS.match(text, end)
    if half and quantity.text[-1:] in ("年月天时岁周升克斤米" if half[0] == "半" else "升斤度米克") and low == high:
        low = high = low + (0.5 if half[0] == "半" else _small(half[0]) / 10)
        end = half.end()
    bound, begin, stop = _bound(text, start, end)
    if not bound and (below or above):
        bound = "less" if below else "more"
    if quantity.text.endswith("以内"):
        bound = "within"
    before = text[max(0, start - 14) : start]
    if not per and unit in DOSES and (found_per := _PER_BEFORE.search(before)):
        per = str(found_per.lastgroup)
    if unit == "g" and (volume := _PER_VOLUME.search(before)):
        unit, factor = "g/L", factor / UNITS[canonical_unit(volume["what"])][1]
        begin = min(begin, max(0, start - 14) + volume.start())
    if unit in DOSES and "/" not in unit and (kilo := _PER_KILO.search(before)):
        unit, begin = unit + "/kg", min(begin, max(0, start - 14) + kilo.start())
    if unit in DOSES and not per and _PER_HOUR.search(before):
        per, factor = "day", factor * 24
    if unit in DOSES and "/" not in unit and not per and _PER_MINUTE.search(before):
        per, factor = "day", factor * 1440
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
    if text[end - 1 : end] == "岁" and (past := _PAST.search(text, max(0, start - 4), start)):
        return "more", past.start(), end
    if (delayed := _DELAY.search(text, max(0, start - 3), start)) and text[end - 1 : end] in _SPAN_ENDS:
        return ("more" if delayed[0][0] in "拖超" else "after"), delayed.start(), end
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


_POINTED = frozenset("那哪这另某同")  # 那一型
_NOT_ONE = re.compile("[^，。；：]{0,4}[也都][不没]")


def _is_word(text: str, found: Quantity | re.Match[str]) -> bool:
    """那一型, 另一半, 一颗颗, 一滴也没有, 几十天: words, of which 一 or 十 counts nothing."""
    start, end = (found.start, found.end) if isinstance(found, Quantity) else found.span()
    if start and text[start - 1] == "几":
        return True
    if text[start] != "一" or end - start != 2:
        return False
    word, before, after = text[start:end], text[max(0, start - 2) : start], text[end : end + 2]
    if after[:1] == word[1] or word in (before, after) or before[-1:] in _POINTED or before == "最后":
        return True
    return bool(_NOT_ONE.match(text, end))


def _is_pressure(match: re.Match[str]) -> bool:
    """180/110, of blood pressure, is no fraction."""
    return bool(match["top"]) and int(match["top"]) > int(match["bottom"]) >= 30


def _fraction(match: re.Match[str]) -> float:
    if match["top"]:
        return float(match["top"]) / (float(match["bottom"]) or 1.0)
    if match["below"]:
        return _small(match["above"]) / _small(match["below"])
    if match["tenths"]:
        return _small(match["tenths"]) / 10 + (0.05 if match["half"] else 0.0)
    if match["percent"]:
        return _hundredths(match["percent"])
    return 0.5


def _hundredths(text: str) -> float:
    if text[0].isdigit():
        return float(text) / 100
    tens, ten, ones = text.partition("十")
    return ((_small(tens) if tens else 1.0) * 10 + (_small(ones) if ones else 0.0) if ten else _small(text)) / 100
