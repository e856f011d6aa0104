"""Whom a sentence is about: children, pregnant women, the old, those whose kidneys fail ...

What is covered: the groups of `populations.tsv`; a group that the passage and its headings do not name; a group that
the passage restricts a statement to and the sentence leaves out; lay words that fit any age (孩子), a sex or an age
that something else tells of (月经, 70岁), one of several groups that a statement is made of, and a person in place of
those whom a clause describes (得川崎病的孩子). What is not covered: that infants are children (a rule for children is
not quoted for infants), groups by disease, and ages, which `measures` compares.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from chimed_rag.safety.alignment import Window, read
from chimed_rag.safety.marks import Mark, find_marks, rival
from chimed_rag.safety.reading import Reading, per_reading

POPULATIONS = "populations.tsv"
_YOUNG = frozenset(("新生儿", "早产儿", "足月儿", "婴儿", "幼儿", "儿童", "青少年"))
_ANY_CHILD = re.compile("孩|娃|宝宝|宝贝|小朋友")
"""Words for a child of any age, born or not."""
_OFFSPRING = re.compile("[孕胎婴]|新生|出生|分娩|产后|产妇|母乳|哺乳")
_ADULTS = frozenset(("成人",))
"""Whom advice is for where nobody is named."""
_MATURE = frozenset(("老年人",))
_SEXES = {
    "女性": re.compile(
        "[孕经]|子宫|卵巢|输卵管|阴道|外阴|宫[颈腔外内]|乳腺|乳房|盆腔|妇|产后|哺乳|流产|子痫|避孕|雌激素"
    ),
    "男性": re.compile("前列腺|睾|阴茎|阴囊|包皮|精[液子]|勃起|早泄|遗精"),
}
"""What is said of one sex alone."""
_IMPLIED_SEX = {"孕妇": "女性", "备孕": "女性", "哺乳期": "女性", "产妇": "女性", "绝经": "女性"}
_AGE = re.compile(r"[\d一二两三四五六七八九十几半](?:周)?(?:岁|月龄|日龄|个月大|周龄)|周岁|月龄|胎龄")
_OLD = re.compile(r"(?:[6-9]\d|[六七八九]十[一二三四五六七八九几多来]?)(?:多|来)?(?:周)?岁")
_YOUNG_AGE = re.compile(
    r"(?<![\d～~-])(?:1[0-7]|[1-9])(?:[～~-]\d+)?(?:个)?(?:周)?(?:岁(?!以上|后)|月龄|日龄)|先天|出生|发育性|遗传性"
)
_DELIVERED = re.compile("产后|哺乳|分娩|断乳|回乳|断奶|回奶|席汉|产褥|产时")
_FERTILE = re.compile("怀孕|孕前|备孕|生育")
_PERSONS = frozenset(("儿童", "老年人", "男性", "女性", "成人"))
_OF_AN_AGE = _PERSONS | _YOUNG | {"产妇"}
"""Those whom another sentence of a passage may name for all that follows."""
_ONLY = re.compile("只[有在对是限会]|仅|多见|好发|常见于|才|最|主要|比|更|唯")
_ITEMS = re.compile("[、和与及或]")


def population(
    sentence: Reading, window: Window, context: Sequence[Reading], used: Sequence[tuple[Reading, int, int]]
) -> tuple[bool, str]:
    """(whether anyone is named on either side, what is wrong, in Chinese); arguments as for `polarity.strength`."""
    said = [_widened(mark) for mark in find_marks(sentence, POPULATIONS)]
    source = [mark for reading in window.readings for mark in find_marks(reading, POPULATIONS)]
    if not said and not source:
        return False, ""
    headings = [mark for reading in context for mark in find_marks(reading, POPULATIONS, named=True)]
    headed = frozenset(value for mark in headings for value in mark.values)
    if source and len({mark.values for mark in headings}) > 1:
        headed = frozenset()  # under 孕妇及哺乳期 the sentence itself tells which
    kept = frozenset(value for mark in said for value in mark.values)
    for mark in said:
        agreed, other = rival(mark, source, _same, right=1.0)
        if (agreed and (other is None or other.values & kept or _same(other, mark))) or mark.values & headed:
            continue
        if not agreed and (_is_implied(mark, (*window.readings, *context)) or _narrows(mark, source)):
            continue
        named = [one for reading in window.passages() for one in _all(reading)]
        if {one.values for one in named} == {mark.values}:
            continue  # the passage is about one group, and names it where it likes
        if other is None and mark.values & _OF_AN_AGE and any(_same(mark, one) for one in named):
            continue
        return True, f"“{mark.text}”不同于原文的“{other.text}”" if other else f"原文没有说到“{mark.text}”"
    titles = frozenset(_titled(window))
    for reading, begin, end in used:
        lost = [mark for mark in find_marks(reading, POPULATIONS) if begin <= mark.start < end]
        if lost and not any(mark.values & kept for mark in lost):
            restricts = [
                mark
                for mark in lost
                if mark.values != _ADULTS
                and _restricts(mark, begin, sentence)
                and not mark.values & titles
                and not _is_told(mark, sentence)
                and not _is_item(mark, begin, end, sentence)
            ]
            if restricts:
                return True, f"丢了原文的“{restricts[0].text}”"
    return True, ""


def _widened(mark: Mark) -> Mark:
    """孩子 may be of any age."""
    return mark._replace(values=mark.values | _YOUNG) if _ANY_CHILD.search(mark.text) and mark.values & _YOUNG else mark


def _is_implied(mark: Mark, sources: Iterable[Reading]) -> bool:
    """Whether the literature tells of such people without their name: women by 月经, the old by an age."""
    told = "\n".join(reading.norm for reading in sources)
    raw = "\n".join(reading.raw for reading in sources)
    if any(value in mark.values and signs.search(told) for value, signs in _SEXES.items()):
        return True
    if (mark.values & _MATURE and _OLD.search(raw)) or ("备孕" in mark.values and _FERTILE.search(raw)):
        return True
    if ("产妇" in mark.values and _DELIVERED.search(told)) or (mark.values & _YOUNG and _YOUNG_AGE.search(raw)):
        return True
    return mark.values >= _YOUNG and _OFFSPRING.search(told) is not None


def _narrows(mark: Mark, source: Sequence[Mark]) -> bool:
    """Whether a person is said for people of whom something is told already (得川崎病的孩子), where the literature
    singles out nobody."""
    if source or not mark.values & _PERSONS or _ONLY.search(mark.reading.norm):
        return False
    return mark.reading.raw_text(0, mark.start).endswith("的")


def _titled(window: Window) -> Iterable[str]:
    """The groups that a title names: 婴儿辅食添加 is about nobody else."""
    for name in dict.fromkeys(name for unit in window.units for name in unit.passage.names):
        for mark in find_marks(read(name), POPULATIONS, named=True):
            yield from mark.values


def _is_told(mark: Mark, sentence: Reading) -> bool:
    """Whether a sentence tells of a group without its name, by an age or by what only one sex has."""
    if mark.values & (_YOUNG | _MATURE) and _AGE.search(sentence.raw):
        return True
    return any(value in mark.values and signs.search(sentence.norm) for value, signs in _SEXES.items())


def _is_item(mark: Mark, begin: int, end: int, sentence: Reading) -> bool:
    """Whether a group is one of several, of which the sentence names another: 老年人和糖尿病患者."""
    clause = mark.reading.raw_text(begin, end)
    items = _ITEMS.split(clause)
    at = next((place for place, item in enumerate(items) if mark.text in item), -1)
    beside = [items[place] for place in (at - 1, at + 1) if at >= 0 and 0 <= place < len(items)]
    return any(_holds(sentence, read(item)) for item in beside)


def _holds(sentence: Reading, item: Reading) -> bool:
    names = [token for token in item.tokens if token.kind not in ("", "light")]
    if names:
        return any(token.canonical in sentence.norm for token in names[:1])
    first = item.matter[:4]
    return len(first) > 1 and sum(item.norm[place] in sentence.char_set for place in first) >= 0.7 * len(first)


@per_reading
def group_places(reading: Reading) -> frozenset[int]:
    """The places of words for groups of people."""
    return frozenset(place for mark in _all(reading) for place in range(mark.start, mark.end))


def _all(reading: Reading) -> tuple[Mark, ...]:
    return find_marks(reading, POPULATIONS)


def _same(one: Mark, other: Mark) -> bool:
    if one.values & other.values:
        return True
    return any(_IMPLIED_SEX.get(value) in one.values for value in other.values)


def _restricts(mark: Mark, begin: int, sentence: Reading) -> bool:
    """Whether a group opens its clause, so that what follows is said of it alone."""
    reading = mark.reading
    before = [place for place in reading.matter if begin <= place < mark.start]
    named = {token.start for token in reading.tokens if token.kind not in ("", "light")}
    if not before or (before[0] in named and len(before) < 8):
        return True
    words = {reading.norm[place] for place in before}
    return len(words & sentence.char_set) < len(words) / 2
