"""Measures in base units, and whether one says what another says.

What is covered: factors between units of one kind, amounts and masses by the substance that is named, bounds, and a
margin where a conversion rounds (2.5 % between mol and g, 1.5 % between mmHg and kPa, 7 % between days and months, 10
points where a share is rough: 一半以上 is 53 %), rates told without their minute, mL/min for mL/(min·1.73m2). What is
not covered: reading measures out of text (`measures`), °F, and international units in milligrams.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from chimed_rag.quantities import canonical_unit

MOLAR_MASSES: dict[str, float] = {
    "葡萄糖": 180.16, "血糖": 180.16, "糖耐量": 180.16, "胆固醇": 386.65, "脂蛋白": 386.65, "甘油三酯": 885.7,
    "尿酸": 168.11, "肌酐": 113.12, "尿素氮": 28.01, "尿素": 60.06, "胆红素": 584.66, "钙": 40.08,
    "镁": 24.305, "磷": 30.974, "铁": 55.845, "锂": 6.94, "钾": 39.098, "钠": 22.99, "氯": 35.45,
    "地高辛": 780.9, "同型半胱氨酸": 135.18, "酮体": 104.1, "乳酸": 90.08, "血氨": 17.03, "茶碱": 180.16,
}  # fmt: skip
"""Grams in a mole (IUPAC atomic weights; cholesterol, triglycerides as triolein and bilirubin as clinical chemistry
counts them: 38.67, 88.57 and 58.47 mg/dL in a mmol/L; urea as nitrogen where it is called 尿素氮; Tietz, Appendix)."""

UNITS: dict[str, tuple[str, float]] = {
    "kg": ("g", 1e3), "g": ("g", 1.0), "mg": ("g", 1e-3), "μg": ("g", 1e-6), "ng": ("g", 1e-9), "pg": ("g", 1e-12),
    "fg": ("g", 1e-15), "斤": ("g", 500.0), "两": ("g", 50.0), "L": ("L", 1.0), "dL": ("L", 0.1),
    "mL": ("L", 1e-3), "μL": ("L", 1e-6),
    "fL": ("L", 1e-15), "nL": ("L", 1e-9), "cm3": ("L", 1e-3), "mm3": ("L", 1e-6), "m3": ("L", 1e3),
    "mol": ("mol", 1.0), "mmol": ("mol", 1e-3), "μmol": ("mol", 1e-6), "nmol": ("mol", 1e-9), "pmol": ("mol", 1e-12),
    "Eq": ("mol", 1.0), "mEq": ("mol", 1e-3), "IU": ("U", 1.0), "U": ("U", 1.0), "kU": ("U", 1e3), "mU": ("U", 1e-3),
    "mIU": ("U", 1e-3), "μIU": ("U", 1e-6), "μU": ("U", 1e-6), "d": ("d", 1.0), "h": ("d", 1 / 24),
    "min": ("d", 1 / 1440), "刻钟": ("d", 15 / 1440), "时辰": ("d", 1 / 12), "季度": ("月", 3.0),
    "s": ("d", 1 / 86400), "ms": ("d", 1 / 86.4e6), "w": ("d", 7.0), "周龄": ("d", 7.0),
    "月": ("月", 1.0), "年": ("月", 12.0), "岁": ("月", 12.0), "月龄": ("月", 1.0), "m": ("m", 1.0), "cm": ("m", 1e-2),
    "mm": ("m", 1e-3), "dm": ("m", 0.1), "km": ("m", 1e3), "μm": ("m", 1e-6), "nm": ("m", 1e-9),
    "mmHg": ("Pa", 133.322), "kPa": ("Pa", 1e3), "Pa": ("Pa", 1.0), "cmH2O": ("Pa", 98.0665),
    "kcal": ("J", 4184.0), "cal": ("J", 4.184),
    "kJ": ("J", 1e3), "J": ("J", 1.0), "Gy": ("Gy", 1.0), "cGy": ("Gy", 1e-2), "mGy": ("Gy", 1e-3), "Sv": ("Sv", 1.0),
    "mSv": ("Sv", 1e-3), "%": ("", 1e-2), "‰": ("", 1e-3), "bpm": ("次/d", 1440.0), "人": ("例", 1.0),
    "名": ("例", 1.0), "度": ("℃", 1.0), "°": ("℃", 1.0), "分": ("分", 1.0),
}  # fmt: skip
DOSES = frozenset((
    "g", "L", "mol", "U", "片", "粒", "颗", "丸", "袋", "支", "包", "滴", "喷",
    "g/kg", "U/kg", "L/kg", "mol/kg", "g/m2",
))  # fmt: skip
"""Base units in which a dose is given, so that it is per dose or per day."""


class Measure(NamedTuple):
    """`text[start:end]` says `low` to `high` of `unit`, in base units (g, L, mol, d, 月 for months and years, "" for
    shares); `bound` is "", "less", "more", "within", "reach", "before" or "after"; `per` is "", "dose", "day", "week"
    or "month"."""

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


_SURFACE = re.compile(r"[·/]1\.73[ ]?m[2²]")  # of 30ml/(min·1.73m2), which most texts leave out


@lru_cache(maxsize=512)
def base_unit(unit: str) -> tuple[str, float, str]:
    """The base unit, the factor to it, and what a dose is per: "mg/(kg·d)" -> ("g/kg", 0.001, "day")."""
    factor = 1.0
    over: list[str] = []
    under: list[str] = []
    unit = _SURFACE.sub("", unit)
    parts = re.sub(r"[()]", "", unit.replace("·", "/") if "(" in unit else unit).split("/")
    for place, part in enumerate(parts):
        for atom in part.split("·"):
            matched = re.match(r"(\d+(?:\.\d+)?)?(.*)", atom)
            count, name = (matched[1], canonical_unit(matched[2])) if matched else (None, atom)
            base, scale = ("kg", 1.0) if place and name == "kg" else UNITS.get(name, (name, 1.0))  # of body weight
            scale *= float(count or 1)
            factor = factor / scale if place else factor * scale
            if base:
                (under if place else over).append(base)
    per = ""
    if over and over[0] in DOSES:
        per = "dose" if "次" in under else "day" if "d" in under else ""
        under = [one for one in under if one not in ("次", "d")]
    return "/".join(["·".join(over), *sorted(under)]), factor, per


def comparable(one: Measure, other: Measure) -> bool:
    """Whether two measures are of one kind: units that convert into each other."""
    return _factor(one.unit, other.unit, 1.0) is not None or by_the_minute(one, other) is not None


CONTRARY_BOUNDS = frozenset(
    frozenset(pair.split())
    for pair in ("less more", "within more", "less reach", "before after", "before more", "after less", "within after")
)
"""Bounds of which one excludes the other."""


FLOW = re.compile("/[ ]?\\(?(?:min|分)", re.IGNORECASE)
_RAW = re.compile(r"\d+(?:\.\d+)?")


def raw_values(source: Measure) -> tuple[float, float] | None:
    """The bare numbers of a laboratory value, a pressure or a share; None for doses, spans, counts and large powers."""
    if (
        not ("/" in source.unit or FLOW.search(source.text) or source.unit in ("Pa", ""))
        or source.unit.startswith("次")
        or "×" in source.text
    ):
        return None
    found = [float(number) for number in _RAW.findall(re.split("[a-zμ/／×%]", source.text, maxsplit=1)[0])]
    return (found[0], found[-1]) if 0 < len(found) < 3 else None


_ROUGH = re.compile("[半成]|分之")
_BY_THE_MINUTE = re.compile("次[ ]?/[ ]?(?P<count>\\d*)[ ]?(?:min|分|h|小时)", re.IGNORECASE)


def by_the_minute(said: Measure, source: Measure) -> Measure | None:
    """A rate that is written as one (>120次/min) as the number alone, where a sentence tells no more (心跳超过120)."""
    if said.unit not in ("数", "次") or source.unit != "次/d" or not _BY_THE_MINUTE.search(source.text):
        return None
    raw = [float(number) for number in _RAW.findall(source.text.partition("次")[0])]
    return source._replace(low=min(raw), high=max(raw), unit=said.unit) if raw else None


def agree(said: Measure, source: Measure, before: str = "") -> bool:
    """Whether a measure of a sentence says what one of the literature says.

    Args:
        said: of the sentence.
        source: of the literature.
        before: what stands before them, title and headings included, to find the substance of a molar concentration.
    """
    if frozenset((said.bound, source.bound)) in CONTRARY_BOUNDS:
        return False
    if said.text.endswith("成多"):
        said = said._replace(bound=source.bound)
    if source.bound in ("less", "more") and said.bound == "":
        return False
    if said.unit == source.unit == source.bound == "" and said.bound in ("less", "more") and _ROUGH.search(said.text):
        low, high = (said.low, said.low + 0.1) if said.bound == "more" else (said.low - 0.1, said.low)
        return low <= source.low <= source.high <= high
    if said.bound in ("less", "more") and source.bound == "" and not said.unit.startswith("次"):
        return False
    if said.per and source.per and said.per != source.per:
        return False
    mass = next((weight for name, weight in MOLAR_MASSES.items() if name in before), 0.0)
    if (minute := by_the_minute(said, source)) is not None:
        source = minute
    if said.unit == "数" != source.unit and (raw := raw_values(source)) and said.low in raw:
        return raw[0] == raw[1] or said.bound == ""
    factor = _factor(said.unit, source.unit, mass)
    if factor is None or not factor:
        return False
    if said.unit == source.unit == "L" and FLOW.search(source.text) and not said.per:
        factor = 1440.0  # 氧流量3升
    if said.bound == source.bound == "within" and said.low == said.high:
        said = said._replace(low=source.low / factor)  # 24小时内, where the literature says 12～24小时内
    if said.text.endswith("成多") and source.low == source.high:
        return said.low <= source.low <= said.low + 0.1
    slack = 0.025 if "g/L" in (said.unit, source.unit) and said.unit != source.unit else 0.001
    if {said.unit, source.unit} == {"月", "d"}:
        slack = 0.07
    if said.unit == "Pa" and said.text[-3:] != source.text[-3:]:
        slack = 0.015
    if said.text.rstrip("以上下内").endswith("成"):
        slack = 0.03  # 近九成 is 88 %
    elif not said.unit and re.search("[/分]", said.text + source.text):
        slack = 0.015  # 1/3 is 33 %
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
    if set(pair) in (
        {"次", "次/d"},
        {"数", "第"},
        {"数", "分"},
        {"数", "例"},
        {"数", ""},
        {"型", "数"},
        {"数", "℃"},
        {"数", "个"},
        {"代", "第"},
        {"颗", "片"},
        {"颗", "粒"},
        {"丸", "粒"},
        {"颗", "丸"},
        {"度", "℃"},
    ):
        return 1.0
    if "数" in pair and "次" in pair:
        return 1.0
    return None


def _near(one: float, other: float, slack: float) -> bool:
    return abs(one - other) <= slack * max(abs(one), abs(other)) + 1e-18
