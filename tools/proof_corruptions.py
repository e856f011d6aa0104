"""Sentences made wrong on purpose: numbers, names and passages that are exchanged, and the words of proof_swaps.yaml.

Each template takes a `Spot` (a sentence in its passage) and gives candidates; which of them become pairs is decided by
`make_proof_pairs`. Covered: values, units, frequencies, negation, strength, population, drugs, diseases, passages.
Not covered: wrong inferences, cause and effect exchanged, statements that are wrong in the world but stand in the passage.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from chimed_rag.quantities import Quantity, quantities

DEVELOPMENT, TEST = "development", "test"
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Passage:
    """A section of an entry, or a paragraph of a book; `sentences` stand in `text`, in order."""

    entry: str
    title: str
    names: tuple[str, ...]
    group: str
    kind: str
    headings: tuple[str, ...]
    text: str
    sentences: tuple[str, ...]
    whole: str = field(default="", compare=False, repr=False)
    """All text of the entry, for what must not stand elsewhere in it."""

    @property
    def shown(self) -> str:
        """The passage as a pair holds it: title and headings in the first line, then the text."""
        return " > ".join((self.title, *self.headings)) + "\n" + self.text


class Spot(NamedTuple):
    """A sentence in its passage."""

    passage: Passage
    place: int

    @property
    def sentence(self) -> str:
        """The sentence itself."""
        return self.passage.sentences[self.place]


class Candidate(NamedTuple):
    """A changed sentence, what was changed into what, and the passage it is cited with where that is another one."""

    sentence: str
    old: str
    new: str
    passage: Passage | None = None


Template = Callable[[Spot], Iterator[Candidate]]


@cache
def table(name: str) -> Any:
    """A YAML file beside this module."""
    return yaml.safe_load((HERE / f"{name}.yaml").read_text("utf-8"))


# --- words ---------------------------------------------------------------------------------------------------------


def swap(rules: list[list[str]], *, absent: bool = False, alone: bool = False, all: bool = False, need: str = "") -> Template:  # noqa: A002
    """A template that applies one rule at one place (or, with `all`, at every place)."""
    compiled = [(re.compile(old), new) for old, new in rules]

    def candidates(spot: Spot) -> Iterator[Candidate]:
        text = spot.sentence
        if need and not re.search(need, text):
            return
        for pattern, new in compiled:
            for match in pattern.finditer(text):
                word = match.expand(new)
                if alone and word.strip() in text:
                    continue
                if absent and _bare(word) in _seen(spot):
                    continue
                changed = pattern.sub(new, text) if all else text[: match.start()] + word + text[match.end() :]
                if changed != text:
                    yield Candidate(changed, match[0], word)
                if all:
                    break

    return candidates


def _bare(word: str) -> str:
    """What must not stand in the passage of an added or exchanged population: the word without its frame."""
    return re.sub(r"，|也可以使用。|同样适用。|的患者也不用调整。", "", word)


def _seen(spot: Spot) -> str:
    return spot.passage.shown


# --- numbers -------------------------------------------------------------------------------------------------------

_DIGITS = re.compile(r"\d+(?:\.\d+)?")
_HAN = {"一": "三", "两": "四", "二": "五", "三": "六", "四": "七", "五": "八", "六": "九", "七": "三", "八": "五", "十": "五", "半": "两"}
_BOUNDS = [
    ("不超过", "不少于"), ("不低于", "不高于"), ("不少于", "不超过"), ("低于", "高于"), ("高于", "低于"), ("少于", "多于"),
    ("超过", "不到"), ("至少", "至多"), ("最大", "最小"), ("最多", "最少"), ("以上", "以下"), ("以下", "以上"), ("≥", "≤"), ("≤", "≥"),
]  # fmt: skip


def measured(text: str) -> list[Quantity]:
    """The quantities of a text that a change of their digits makes wrong: those with a unit, no telephone number."""
    return [q for q in quantities(text) if q.unit and _DIGITS.search(q.text) and not re.search("拨|120|110|12[0356]{2}", q.text)]


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
    return shown_up(value * 1.5) if "～" in q.text else None


def _lowered(value: float, q: Quantity) -> float | None:
    return shown_up(value * 0.5) if "～" in q.text and value >= 2 else None


def shown_up(value: float) -> float:
    """Rounded as the number of a text would be: whole above 5, one decimal below."""
    return float(round(value)) if value >= 5 else round(value, 1) if value != int(value) else value


def _han_numbers(spot: Spot) -> Iterator[Candidate]:
    text = spot.sentence
    pattern = r"(?<![第一二三四五六七八九十每])[一两二三四五六七八十半](?=(?:个?[次天周年月岁片粒倍]|小时|分钟)(?!之|性|以来|抽|板|般|[期围样]))"
    for match in re.finditer(pattern, text):
        new = _HAN[match[0]]
        if match[0] == "一" and text[match.end()] not in "次天周年":
            continue
        if new + text[match.end()] not in spot.passage.text and not (match[0] == "一" and text[match.end()] in "次天" and text[match.start() - 2 : match.start()] not in ("服用", "查检", "检查")):
            yield Candidate(text[: match.start()] + new + text[match.end() :], match[0], new)


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
            yield Candidate(text[:place] + new + text[place + len(old) :], old + q.text, new + q.text)
            break


def _exchanged(spot: Spot) -> Iterator[Candidate]:
    """Two quantities of one unit exchanged within a sentence; both then stand for the wrong thing."""
    text, found = spot.sentence, measured(spot.sentence)
    for one, other in zip(found, found[1:], strict=False):
        between = text[one.end : other.start]
        if one.unit != other.unit or one.text == other.text or not re.search("[，、：；]", between) or (one.low, one.high) == (other.low, other.high):
            continue
        if not re.search("[\u4e00-\u9fff]{2}", between):  # a list of values is as true in another order
            continue
        changed = text[: one.start] + other.text + between + one.text + text[other.end :]
        yield Candidate(changed, f"{one.text}{between}{other.text}", f"{other.text}{between}{one.text}")


# --- names ---------------------------------------------------------------------------------------------------------


def _groups(*tables: str) -> dict[str, str]:
    """Name to its group, of one or more tables of names."""
    return {name: f"{kind}/{group}" for kind in tables for group, names in table("proof_names")[kind].items() for name in names}


def renamed(*tables: str, title: bool | None = None) -> Template:
    """A name exchanged, everywhere in the sentence, for one of another group that the whole entry never mentions.

    Args:
        tables: which tables of names.
        title: only the name the entry is about (True), only others (False), any (None).
    """

    def candidates(spot: Spot) -> Iterator[Candidate]:
        groups, text, passage = _groups(*tables), spot.sentence, spot.passage
        for name in _found(text, groups):
            if title is not None and title != (name in passage.title):
                continue
            kind = groups[name].split("/")[0]
            for other, group in groups.items():
                if group != groups[name] and group.startswith(kind) and other not in passage.shown + passage.whole:
                    yield Candidate(text.replace(name, other), name, other)

    return candidates


def _found(text: str, groups: dict[str, str]) -> list[str]:
    """The names in a text that are not part of a longer name: 肺炎 in 肺炎球菌, 流感 in 流感疫苗 and 糖尿病 in 糖尿病肾病 are."""
    return [name for name in groups if re.search(re.escape(name) + "(?!球菌|疫苗|酮症|肾病|病毒|危象|急症|样|杆菌|性|脑病)", text) and text.count(name) == len(re.findall(f"(?<![型性期发后急]){re.escape(name)}(?!球菌|疫苗|酮症|肾病|病毒|危象|急症|样|杆菌|性|脑病|散|丸)", text))]


def paired(name: str, *, both_ways: bool = True) -> Template:
    """A template that exchanges the two names of a pair of a table, everywhere in the sentence."""

    def candidates(spot: Spot) -> Iterator[Candidate]:
        text = spot.sentence
        pairs = [(a, b) for a, b in table("proof_names")[name]]
        for old, new in pairs + ([(b, a) for a, b in pairs] if both_ways else []):
            if old in text and new not in spot.passage.shown and old not in new and not re.search(f"{re.escape(old)}(?:疫苗|病毒|球菌|片)|(?:抗|妊娠期|围){re.escape(old)}", text):
                yield Candidate(text.replace(old, new), old, new)

    return candidates


def _trade(spot: Spot) -> Iterator[Candidate]:
    groups, trade = _groups("drugs"), table("proof_names")["trade"]
    for name in _found(spot.sentence, groups):
        new = trade[groups[name].split("/")[1]]
        if new not in spot.passage.whole + spot.passage.shown:
            yield Candidate(spot.sentence.replace(name, new), name, new)


def _sibling(spot: Spot) -> Iterator[Candidate]:
    """Another drug of the same class in a sentence with a number: its dose is its own."""
    groups = _groups("drugs")
    for name in _found(spot.sentence, groups) if measured(spot.sentence) else []:
        for other, group in groups.items():
            if group == groups[name] and other != name and other not in spot.passage.whole + spot.passage.shown:
                yield Candidate(spot.sentence.replace(name, other), name, other)


# --- passages ------------------------------------------------------------------------------------------------------


def pieces(text: str) -> set[str]:
    """The character pairs of a text."""
    han = re.sub(r"[^\u4e00-\u9fffA-Za-z0-9]", "", text)
    return {han[i : i + 2] for i in range(len(han) - 1)}


@cache
def _pieces(passage: Passage) -> frozenset[str]:
    return frozenset(pieces(passage.shown))


def covered(sentence: str, passage: Passage) -> float:
    """The share of the sentence's character pairs that stand in the passage."""
    own = pieces(sentence)
    return len(own & _pieces(passage)) / max(1, len(own))


def _about(spot: Spot, passage: Passage) -> bool:
    """Whether a passage names what the sentence names, or says most of what it says: then it might support it."""
    names = [name for name in spot.passage.names if name in spot.sentence]
    return not names or any(name in passage.shown for name in names) or covered(spot.sentence, passage) > 0.6


def elsewhere(passages: list[Passage]) -> dict[str, tuple[str, Template]]:
    """The templates that leave the sentence and exchange the passage; they need all passages."""
    import random

    by_heading: dict[tuple[str, ...], list[Passage]] = {}
    by_entry: dict[str, list[Passage]] = {}
    for passage in passages:
        by_heading.setdefault(passage.headings[-1:], []).append(passage)
        by_entry.setdefault(passage.entry, []).append(passage)

    def drawn(spot: Spot, pool: list[Passage], n: int = 40) -> list[Passage]:
        rng = random.Random(spot.sentence)  # noqa: S311
        return rng.sample(pool, min(n, len(pool)))

    def wrong(spot: Spot, passage: Passage) -> Candidate:
        return Candidate(spot.sentence, spot.passage.title, " > ".join((passage.title, *passage.headings)), passage)

    def other_subject(spot: Spot) -> Iterator[Candidate]:
        for passage in drawn(spot, passages, 4):
            if passage.entry != spot.passage.entry and passage.group != spot.passage.group and not _about(spot, passage):
                yield wrong(spot, passage)

    def same_heading(spot: Spot) -> Iterator[Candidate]:
        found = [p for p in drawn(spot, by_heading[spot.passage.headings[-1:]]) if p.entry != spot.passage.entry]
        found = [p for p in found if p.group == spot.passage.group and not _about(spot, p)]
        yield from (wrong(spot, passage) for passage in found[:2])

    def nearest(spot: Spot) -> Iterator[Candidate]:
        found = [p for p in drawn(spot, passages, 300) if p.entry != spot.passage.entry and not _about(spot, p)]
        if found:
            yield wrong(spot, max(found, key=lambda p: covered(spot.sentence, p)))

    def other_section(spot: Spot) -> Iterator[Candidate]:
        for passage in by_entry[spot.passage.entry]:
            if passage.headings != spot.passage.headings and covered(spot.sentence, passage) < 0.45:
                yield wrong(spot, passage)

    def numbers_elsewhere(spot: Spot) -> Iterator[Candidate]:
        for passage in drawn(spot, passages, 200) if measured(spot.sentence) else []:
            if passage.entry != spot.passage.entry and measured(passage.text) and not _about(spot, passage):
                yield wrong(spot, passage)
                return

    def renamed_title(spot: Spot) -> Iterator[Candidate]:
        """Another entry's sentence under this one's name: the passage says nothing of the kind."""
        for passage in drawn(spot, passages, 6):
            name = spot.passage.title
            if passage.group == spot.passage.group and passage.entry != spot.passage.entry and not _about(spot, passage):
                for line in passage.sentences:
                    if passage.title in line and covered(line.replace(passage.title, name), spot.passage) < 0.4:
                        yield Candidate(line.replace(passage.title, name), passage.title, name, spot.passage)
                        break

    return {
        "wrong_passage.other_subject": (DEVELOPMENT, other_subject),
        "wrong_passage.same_heading": (TEST, same_heading),
        "wrong_passage.other_section": (DEVELOPMENT, other_section),
        "wrong_passage.nearest": (TEST, nearest),
        "wrong_passage.numbers_elsewhere": (DEVELOPMENT, numbers_elsewhere),
        "wrong_passage.renamed": (TEST, renamed_title),
    }


def corruptions(passages: list[Passage]) -> dict[str, tuple[str, Template]]:
    """Every template by name, with its part; the kind is what stands before the full stop."""
    found: dict[str, tuple[str, Template]] = {
        "number.ten_times": (DEVELOPMENT, numbers(_ten_times)),
        "number.tenth": (TEST, numbers(_tenth)),
        "number.digit": (DEVELOPMENT, numbers(_digit)),
        "number.doubled": (TEST, numbers(_doubled)),
        "number.upper_end": (DEVELOPMENT, numbers(_widened, -1)),
        "number.lower_end": (TEST, numbers(_lowered)),
        "number.han": (DEVELOPMENT, _han_numbers),
        "number.exchanged": (TEST, _exchanged),
        "number.bound": (TEST, _bounds),
        "drug.subject": (DEVELOPMENT, renamed("drugs", title=True)),
        "drug.other": (TEST, renamed("drugs", title=False)),
        "drug.alike": (DEVELOPMENT, paired("alike")),
        "drug.class": (TEST, paired("classes", both_ways=False)),
        "drug.trade": (DEVELOPMENT, _trade),
        "drug.herb": (TEST, renamed("herbs")),
        "drug.sibling": (TEST, _sibling),
        "disease.subject": (DEVELOPMENT, renamed("diseases", title=True)),
        "disease.other": (TEST, renamed("diseases", title=False)),
        "disease.confusable": (DEVELOPMENT, paired("confusable")),
    }
    for templates in table("proof_swaps").values():
        for name, settings in templates.items():
            options = {key: value for key, value in settings.items() if key not in ("part", "rules")}
            found[name] = (settings["part"], swap(settings["rules"], **options))
    return found | elsewhere(passages)
