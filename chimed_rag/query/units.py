"""Units in a question are put in their other spelling: 500毫克 as 500mg and 0.5g, 38度5 as 38.5℃.

Not covered: units without a number, and reading quantities (`quantities`, whose patterns take long to compile).
"""

from __future__ import annotations

import re

from chimed_rag.query.tables import Change

_NAMES = {
    "mg": "毫克", "g": "克", "kg": "公斤 千克", "μg": "微克", "ml": "毫升", "l": "升", "mmhg": "毫米汞柱", "cm": "厘米",
    "mm": "毫米", "mmol/l": "毫摩尔/升", "μmol/l": "微摩尔/升", "iu": "国际单位", "kcal": "千卡 大卡", "h": "小时",
}  # fmt: skip
_SPELLINGS = {"ug": "μg", "mcg": "μg", "µg": "μg", "公分": "cm", "umol/l": "μmol/l", "µmol/l": "μmol/l"}
_SPELLINGS |= {name: unit for unit, others in _NAMES.items() for name in others.split()} | {u: u for u in _NAMES}
_UNIT = "|".join(map(re.escape, sorted(_SPELLINGS, key=len, reverse=True)))
# "g" is none in "5gy", nor "升" in "5升高"; "度" is a temperature only where one has it.
_QUANTITY = re.compile(
    rf"(?<![\d.a-z])(?P<number>\d{{1,6}}(?:\.\d{{1,4}})?) ?(?P<unit>{_UNIT})(?![a-z0-9])(?<!升(?=[高降]))"
    r"|(?<![\d.])(?P<degrees>3[4-9]|4[0-2])(?:\.(?P<tenth>\d))?(?:度|摄氏度)(?P<after>[1-9](?![\d.天周日个次小分]))?(?!\d\d)"
)
_DIGIT = re.compile("[0-9]")
_THOUSAND = {"mg": ("g", 0.001), "g": ("mg", 1000.0), "μg": ("mg", 0.001), "ml": ("l", 0.001), "l": ("ml", 1000.0)}


def other_units(text: str) -> tuple[str, list[Change]]:
    """The folded text with quantities in their other spellings, and what was replaced by what."""
    if not _DIGIT.search(text):  # most questions hold none, and this is a tenth of the time
        return text, []
    changes: list[Change] = []

    def replaced(found: re.Match[str]) -> str:
        meant = _temperature(found) if found["degrees"] else _spelled(found["number"], _SPELLINGS[found["unit"]])
        others = [one for one in meant if one != found[0].replace(" ", "")]
        if not others:
            return found[0]
        changes.append((found[0], " ".join(others)))
        return " ".join(others)

    return _QUANTITY.sub(replaced, text), changes


def _temperature(found: re.Match[str]) -> list[str]:
    tenth = found["tenth"] or found["after"]
    return [f"{found['degrees']}.{tenth}℃" if tenth else f"{found['degrees']}℃"]


def _spelled(number: str, unit: str) -> list[str]:
    """The quantity in both scripts, and in the unit a thousand times as large or small where that is a short number."""
    found = [number + unit, *(number + name for name in _NAMES[unit].split())]
    if unit in _THOUSAND:
        other, factor = _THOUSAND[unit]
        scaled = f"{float(number) * factor:.10g}"
        if len(scaled) <= 5:
            found += [scaled + other, *(scaled + name for name in _NAMES[other].split())]
    return found
