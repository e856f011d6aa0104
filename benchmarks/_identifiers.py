"""Chinese identifiers made up with a seed: numbers with check digits by formulas written here, names from lists.

Not covered: where they are planted and what is measured (`redaction.py`).
"""

from __future__ import annotations

import random
import re
import string
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import yaml

FRAMES = Path(__file__).with_name("redaction_frames.yaml")
LISTS: dict[str, Any] = yaml.safe_load(FRAMES.read_text("utf-8"))
VALUES: dict[str, list[str]] = {name: text.split() for name, text in LISTS.pop("values").items()}


def regions() -> list[str]:
    """Codes of counties that were valid at all times, from the table of python-stdnum."""
    from importlib import resources

    found, province = [], ""
    for line in resources.files("stdnum.cn").joinpath("loc.dat").read_text("utf-8").splitlines():
        if re.match(r"\d\d ", line):
            province = line[:2]
        elif match := re.match(r" +(\d{4}) county=\"([^\[\"]+)\"", line):
            found += [province + match[1]] if not match[1].endswith("00") else []
    return found


def a_date(rng: random.Random, begin: int = 1935, end: int = 2024) -> date:
    return date(begin, 1, 1) + timedelta(days=rng.randrange((end - begin) * 365))


def id_card(rng: random.Random, *, wrong: bool = False) -> str:
    """18 digits by GB 11643-1999: the check digit is (12 − Σ dᵢ·2^(17−i)) mod 11, 10 written X."""
    body = f"{rng.choice(REGIONS)}{a_date(rng):%Y%m%d}{rng.randrange(1, 1000):03}"
    check = (12 - sum(int(digit) * 2 ** (17 - place) for place, digit in enumerate(body))) % 11
    number = body + "0123456789X"[(check + wrong * rng.randrange(1, 11)) % 11]
    form = rng.randrange(12)
    if wrong or form < 6:
        return number
    if form == 6:
        return f"{number[:6]} {number[6:14]} {number[14:]}"
    if form == 7:
        return f"{number[:6]}-{number[6:14]}-{number[14:]}"
    if form == 8:
        return wide(number)
    if form == 9:
        return " ".join((number[:3], number[3:6], number[6:10], number[10:14], number[14:]))
    if form == 10:
        return number.lower()
    return f"{rng.choice(REGIONS)}{a_date(rng, 1935, 1999):%y%m%d}{rng.randrange(1, 1000):03}"


def wide(text: str) -> str:
    """Full-width digits and letters."""
    return "".join(chr(ord(char) + 0xFEE0) if char.isalnum() else char for char in text)


def mobile(rng: random.Random) -> str:
    prefix = rng.choice(VALUES["mobile"])
    rest = f"{rng.randrange(10**8):08}"
    forms = ("{0}{1}{2}",) * 5 + ("{0} {1} {2}", "{0}-{1}-{2}", "+86 {0}{1}{2}", "+86-{0}-{1}-{2}", "86{0}{1}{2}")
    number = rng.choice((*forms, "wide")).format(prefix, rest[:4], rest[4:])
    return wide(prefix + rest) if number == "wide" else number


def landline(rng: random.Random) -> str:
    area = rng.choice(VALUES["area"])
    number = rng.choice("2345678") + f"{rng.randrange(10**7):07}"
    form = rng.choice(("{}-{}", "{}{}", "({}){}", "{} {}", "（{}）{}", "+86-{}-{}"))
    return form.format(area, number).replace("86-0", "86-")


def full_name(rng: random.Random) -> str:
    draw = rng.random()
    if draw < 0.01:
        return rng.choice(VALUES["minority"])
    kind = "compound" if draw < 0.04 else "rare" if draw < 0.14 else "surnames"
    return rng.choice(VALUES[kind]) + rng.choice(VALUES["given"])


def address(rng: random.Random) -> str:
    city, street, estate = (rng.choice(VALUES[name]) for name in ("cities", "streets", "estates"))
    n = rng.randrange
    forms = (
        f"{city}{street}{n(1, 300)}号",
        f"{city}{street}{n(1, 300)}号{n(1, 30)}号楼{n(1, 6)}单元{n(101, 2500)}室",
        f"{city}{estate}{n(1, 30)}栋{n(101, 2500)}",
        f"{street}{n(1, 300)}号院{n(1, 30)}号楼{n(101, 2500)}室",
        f"{city}{estate}{n(1, 20)}幢{n(1, 5)}单元{n(101, 999)}室",
        f"河北省保定市清苑县{rng.choice(VALUES['villages'])}{n(1, 9)}组{n(1, 99)}号",
    )
    return rng.choice(forms)


def bank_card(rng: random.Random) -> str:
    """16 or 19 digits with the check digit of ISO/IEC 7812 (Luhn)."""
    body = rng.choice(VALUES["bank"])
    length = 19 if body.startswith("62") and rng.random() < 0.6 else 16
    body += "".join(rng.choices(string.digits, k=length - 1 - len(body)))
    doubled = [int(digit) * 2 if place % 2 == 0 else int(digit) for place, digit in enumerate(reversed(body))]
    number = body + str(-sum(d - 9 * (d > 9) for d in doubled) % 10)
    return " ".join(re.findall(".{1,4}", number)) if rng.random() < 0.3 else number


def word(rng: random.Random, low: int, high: int) -> str:
    return rng.choice(string.ascii_lowercase) + "".join(
        rng.choices(string.ascii_lowercase + string.digits, k=rng.randint(low, high) - 1)
    )


def plate(rng: random.Random) -> str:
    letters = "ABCDEFGHJKLMNPQRSTUVWXYZ"
    start = rng.choice("京津沪渝冀豫云辽黑湘皖鲁苏浙赣鄂桂甘晋陕吉闽贵粤川琼") + rng.choice(letters)
    if rng.random() < 0.3:
        return f"{start}{rng.choice('DF')}{rng.randrange(10**5):05}"
    tail = "".join(rng.choices(letters, k=rng.randrange(3))) + "".join(rng.choices(string.digits, k=5))
    return start + rng.choice(("", "", "·")) + tail[:5]


def birth_date(rng: random.Random) -> str:
    day = a_date(rng)
    return rng.choice(
        (
            f"{day.year}年{day.month}月{day.day}日",
            f"{day:%Y-%m-%d}",
            f"{day:%Y.%m.%d}",
            f"{day:%Y/%m/%d}",
            f"{day:%Y%m%d}",
        )
    )


def wechat(rng: random.Random) -> str:
    return rng.choice((word(rng, 6, 14), "wxid_" + word(rng, 8, 14), f"{word(rng, 3, 6)}-{word(rng, 3, 6)}"))


REGIONS = regions()
MAKERS: dict[str, Callable[[random.Random], str]] = {
    "身份证": id_card,
    "身份证wrong": lambda rng: id_card(rng, wrong=True),
    "手机": mobile,
    "座机": landline,
    "姓名": full_name,
    "称呼": lambda rng: rng.choice(VALUES["surnames"]),
    "编号": lambda rng: rng.choice(("", "", "ZY", "M", "A0")) + f"{rng.randrange(10**5, 10**10)}",
    "住址": address,
    "邮箱": lambda rng: word(rng, 4, 12) + rng.choice("@@@＠") + rng.choice(("qq.com", "163.com", "hospital.org.cn")),
    "车牌": plate,
    "银行卡": bank_card,
    "微信": wechat,
    "QQ": lambda rng: str(rng.randrange(10**5, 10**10)),
    "出生日期": birth_date,
    "p": lambda rng: rng.choice(("E", "G", "EA", "EJ")) + f"{rng.randrange(10**6, 10**8):08}"[:8],
    "h": lambda rng: rng.choice("CW") + f"{rng.randrange(10**8):08}",
    "j": lambda rng: f"{rng.choice('军南政参')}字第{rng.randrange(10**6, 10**8)}号",
}  # fmt: skip
