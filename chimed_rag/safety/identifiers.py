"""Finds what identifies a person by its form: numbers with arithmetic, numbers with a label, mail, plates, birth dates.

What is covered: 身份证 (18 and 15 digits, check digit, date and region by python-stdnum; after the word 身份证 any 14
to 18 digits), 手机 and 座机 (phonenumbers), 银行卡 (Luhn, length by issuer; after a label any 12 to 19 digits), 邮箱,
车牌, 微信, QQ, the labelled numbers of `redaction.yaml`, 出生日期. Blanks and hyphens within a number are allowed.
What is not covered: numbers in Chinese numerals, numbers of other countries without "+", numbers spread over sentences.
Numbers that belong to the public (120, 12356, 400-…) are none of these forms and stay.

All functions take text in `text.plain_forms` and give (kind, start, end); their time is linear in the text. stdnum and
phonenumbers cost 30 to 60 ms to import; they are imported when the first candidate was seen. An expression is compiled
when a text holds enough digits, and a character that it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any

from chimed_rag.packaged import parsed, source
from chimed_rag.safety.late import Late

Found = tuple[str, int, int]
# kind; how many digits a match holds at least; its form; what the digits must satisfy
_Pattern = tuple[str, int, Late, Callable[[str], bool] | None]

_S = r"[ \t\u00a0\u2000-\u200d\u2060\ufeff\-–—－_.·]{0,2}"  # what may stand between two digits of one number
_IS = r"\s{0,3}(?:号码|编号|号)?\s{0,3}(?:[:：=是为叫]|登记为|填的是|尾号)?\s{0,3}[:：]?\s{0,3}"  # up to the value
_NO_DIGIT = r"(?<![\d])(?<!\d\.)"
_CARD18 = rf"[1-9](?:{_S}\d){{16}}{_S}[\dXx]"
_CARD15 = rf"[1-9](?:{_S}\d){{14}}"

_STARS = "*＊×xX"
_PROVINCES = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼"

_MAIL = Late(
    r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}\s?[@＠]\s?(?:[A-Za-z0-9-]{1,63}\.){1,5}[A-Za-z]{2,24}",
    "@＠",
)
_CARD = Late(rf"{_NO_DIGIT}(?:{_CARD18}|{_CARD15})(?![\dXx])")
_CARD_NAMED = Late(
    rf"(?:身\s?份\s?证|身份号码|证件)[^\d\n〔]{{0,14}}(\d(?:{_S}\d){{13,17}}(?:{_S}[\dXx])?)(?!\d)"
    rf"|{_NO_DIGIT}(\d(?:{_S}\d){{13,17}}{_S}[\dXx]?)(?=[^\d\n〔]{{0,6}}身份证)",
    "证码",
)
_CARD_MASKED = Late(rf"{_NO_DIGIT}[1-9]\d{{2,5}}[*＊×xX]{{8,12}}\d{{3}}[\dXx](?!\d)", _STARS)
_MOBILE = Late(
    rf"{_NO_DIGIT}(?:(?:\(?\+|00)?86\)?{_S})?(?:1[3-9](?:\d{{9}}|\d{_S}\d{{4}}{_S}\d{{4}}"
    rf"|\d{{2}}{_S}\d{{4}}{_S}\d{{3}}|\d{_S}\d{{8}})|1 [3-9](?: \d){{9}})(?!\d|\.\d)"
)
_MOBILE_MASKED = Late(rf"{_NO_DIGIT}1[3-9]\d[*＊×xX]{{4,6}}\d{{2,4}}(?!\d)", _STARS)
_LANDLINE = Late(
    rf"{_NO_DIGIT}(?:[(（]0\d{{2,3}}[)）]|0\d{{2,3}}|(?:\+|00)86{_S}\(?0?\d{{2,3}}\)?){_S}\d{{3,4}}{_S}\d{{4}}(?!\d|\.\d)"
    r"(?:\s?(?:转|分机|-|ext\.?)\s?\d{1,5}(?!\d))?"
)
_LOCAL = Late(
    rf"(?:电话|座机|固话|(?<![A-Za-z])(?i:tel|phone))号?码?[是为:：\s]{{0,4}}([2-8]\d{{2,3}}{_S}\d{{4}}(?![\d-]|{_S}\d))",
    "话机tTpP",
)
_ABROAD = Late(rf"{_NO_DIGIT}\+(?!86)[1-9](?:[ \-()]?\d){{6,13}}(?!\d)", "+")
_BANK = Late(
    rf"{_NO_DIGIT}[3-69]\d{{3}}(?:{_S}\d{{4}}){{2,3}}{_S}\d{{0,4}}(?!\d)|{_NO_DIGIT}[3-69]\d{{14,18}}(?!\d|\.\d)"
)
_BANK_NAMED = Late(
    rf"(?:银行卡|储蓄卡|信用卡|借记卡|工资卡|卡号|账号|帐号|账户|帐户)(?:卡号|号码|号)?[^\d\n，。；〔]{{0,8}}([1-9](?:{_S}\d){{11,18}})(?!\d)",
    "卡号户",
)
_PLATE = Late(
    rf"[{_PROVINCES}]"
    r"[A-HJ-Za-hj-z][·•.\s-]?"
    r"(?:[DFABCEGHJKdf][A-HJ-NP-Z0-9]?\d{4}|\d{5}[DFABCEGHJKdf]|(?=[A-HJ-NP-Za-hj-np-z]{0,3}\d)[A-HJ-NP-Za-hj-np-z0-9]{4}[A-HJ-NP-Za-hj-np-z0-9挂学警港澳])"
    r"(?![A-Za-z0-9])",
    _PROVINCES,
)
_WECHAT = Late(
    r"(?:微\s?信|薇信|威信|(?<![A-Za-z])(?i:v信|vx|wx|weixin|wechat))(?:号码|账号|帐号|号|(?i:id))?\s{0,2}[是为叫加:：]{0,2}\s{0,2}"
    r"([A-Za-z][A-Za-z0-9_-]{5,19}|[1-9]\d{4,10})(?![A-Za-z0-9_-])",
    "信vVwW",
)
_QQ = Late(
    r"(?:(?<![A-Za-z])[Qq]\s?[Qq]|扣扣|企鹅号)\s?(?:号码|账号|号)?\s{0,2}[是为叫:：]{0,2}\s{0,2}([1-9]\d{4,10})(?!\d)",
    "Qq扣企",
)
_DAY = (
    r"(?:(?:19|20)\d{2}\s?[-年./]\s?\d{1,2}(?:\s?[-月./]\s?\d{1,2}(?!\d)[日号]?|\s?月)"
    r"|(?:19|20)\d{2}[01]\d[0-3]\d(?!\d))"
)
_BORN = Late(
    rf"(?:出生(?:日期|年月日|年月|时间)?|生日|生于|(?<![A-Za-z])DOB)\s?(?:[是为于在:：]|登记为)?\s{{0,3}}({_DAY}|\d{{1,2}}月\d{{1,2}}[日号])"
    rf"|(?<!\d)({_DAY}|\d{{1,2}}月\d{{1,2}}[日号])(?=\s?出?生(?:[的人于，。,)）]|$))|(?<!\d)({_DAY})(?=\s?出生)",
    ("生", "DOB"),
)
_MONEY_OR_DOSE = Late(r"\s?(?:元|块|天|岁|次|个|年|月|日|号|[mμu]?[gGlL](?![a-z])|kg|%|片|粒)")
_VALUE = r"(?:[\u4e00-\u9fff]{1,2}字第?)?(?=[A-Za-z0-9-]{0,8}\d)[A-Za-z0-9](?:[-_/#]?[A-Za-z0-9]){3,29}"
_VALUE += r"(?:\.\d{1,4})?(?![A-Za-z0-9])号?"


@cache
def words() -> dict[str, Any]:
    """The lists of `redaction.yaml`."""
    loaded: dict[str, Any] = parsed(source("chimed_rag.safety", "redaction.yaml"))
    return loaded


def find_identifiers(text: str) -> Iterator[Found]:
    """Everything of this module in a text, the surest kinds first; spans may overlap, the first one counts."""
    yield from (("邮箱", *match.span()) for match in _MAIL.finditer(text))
    if count := sum(map(str.isdigit, text)):
        yield from _numbers(text, count, _CARDS)
        yield from _labelled(text)
        yield from _numbers(text, count, _NUMBERS)
        yield from (("出生日期", *match.span(match.lastindex or 0)) for match in _BORN.finditer(text))
    yield from (("微信", *match.span(1)) for match in _WECHAT.finditer(text))


def _numbers(text: str, count: int, patterns: Iterable[_Pattern]) -> Iterator[Found]:
    """The matches of patterns in a text with so many digits."""
    for kind, least, pattern, holds in patterns:
        for match in pattern.finditer(text) if count >= least else ():
            group = match.lastindex or 0
            if holds is None or holds(digits(match[group])):
                start = match.start(group)
                yield kind, start, start + len(match[group].rstrip(" \t-–—－_.·"))


def digits(text: str) -> str:
    """Only the digits and letters, in capitals: the form in which two spellings of one number are equal."""
    return "".join(char for char in text if char.isalnum()).upper()


def _is_card(number: str) -> bool:
    """A date of birth, and a region or a check digit: one of them may have a slip, or be newer than the table."""
    from stdnum.cn import ric
    from stdnum.exceptions import ValidationError

    short = len(number) == 15  # until 1999: no century, no check digit
    number = f"{number[:6]}19{number[6:]}0" if short else number
    try:
        if not 1880 < ric.get_birth_date(number).year < 2100:
            return False
    except ValidationError:
        return False
    try:
        ric.get_birth_place(number)
    except (ValidationError, KeyError):  # KeyError: a province of the table without that county
        return not short and number[0] in "12345689" and number[-1] == ric.calc_check_digit(number)
    return True


def _is_phone(number: str) -> bool:
    """A number of a person's phone, fixed or mobile, in China, as the numbering plan has it."""
    import phonenumbers as phones

    number = number.removeprefix("00") if number.startswith("0086") else number
    try:
        parsed = phones.parse("+" + number if number.startswith("86") and len(number) > 9 else number, "CN")
    except phones.NumberParseException:
        return False
    kinds = phones.PhoneNumberType
    return phones.is_valid_number(parsed) and phones.number_type(parsed) not in (
        kinds.TOLL_FREE, kinds.SHARED_COST, kinds.PREMIUM_RATE, kinds.UAN,
    )  # fmt: skip


def _is_landline(number: str) -> bool:
    if _is_phone(number):
        return True
    return any(_is_phone(number[:-cut]) for cut in range(1, 6) if len(number) - cut >= 10)  # an extension at its end


def _is_abroad(number: str) -> bool:
    import phonenumbers as phones

    try:
        return phones.is_valid_number(phones.parse("+" + number))
    except phones.NumberParseException:
        return False


_ISSUERS = (
    *(("62", 16, 19), ("4", 13, 19), ("5", 16, 16), ("34", 15, 15), ("37", 15, 15), ("35", 16, 19), ("36", 14, 19)),
    *((prefix, 16, 19) for prefix in ("60", "68", "69", "9")),
)


def _is_bank_card(number: str) -> bool:
    """Luhn's check digit, and a length that the issuer has (prefixes of ISO/IEC 7812; 60, 68, 69, 9: older Chinese)."""
    from stdnum import luhn

    return luhn.is_valid(number) and any(
        number.startswith(prefix) and low <= len(number) <= high for prefix, low, high in _ISSUERS
    )


_CARDS: tuple[_Pattern, ...] = (
    ("身份证", 15, _CARD, _is_card),
    ("身份证", 14, _CARD_NAMED, None),
    ("身份证", 6, _CARD_MASKED, None),
)
_NUMBERS: tuple[_Pattern, ...] = (
    ("银行卡", 12, _BANK_NAMED, None),
    ("银行卡", 12, _BANK, _is_bank_card),
    ("QQ", 5, _QQ, None),
    ("手机", 11, _MOBILE, _is_phone),
    ("手机", 5, _MOBILE_MASKED, None),
    ("座机", 10, _LANDLINE, _is_landline),
    ("座机", 7, _LOCAL, None),
    ("电话", 7, _ABROAD, _is_abroad),
    ("车牌", 0, _PLATE, None),
)


@cache
def _labels() -> tuple[Late, dict[str, str]]:
    kinds = {label: kind for kind, labels in words()["labelled"].items() for label in labels}
    longest_first = "|".join(sorted(kinds, key=lambda label: (-len(label), label)))
    return Late(rf"({longest_first}){_IS}({_VALUE})", kinds), kinds


def _labelled(text: str) -> Iterator[Found]:
    pattern, kinds = _labels()
    for match in pattern.finditer(text):
        value = match[2]
        count = sum(map(str.isdigit, value))
        if count >= 3 and not (count < 7 and _MONEY_OR_DOSE.match(text, match.end(2))):
            yield kinds[match[1]], match.start(2), match.end(2)
