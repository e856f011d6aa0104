"""Finds where someone lives: a chain of parts that end like an address (省 市 区 路 号 室), from a cue on.

What is covered: 住址 after a label (住址：); after 家住, 住在 …, if a place below the district is named; from a
province on, or around "路12号", if a house is named. A province, city or district alone stays: it tells where to look
for help.
What is not covered: names of buildings and villages without any such ending, addresses in other languages.

Takes text in `text.plain_forms`, gives (start, end); time is linear in the text.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from chimed_rag.safety.identifiers import words
from chimed_rag.safety.late import Late

_LONGEST = 70
_GAP = 9  # characters between the ends of two parts, at most
_BODY = Late(rf"[\u4e00-\u9fffA-Za-z0-9#\-－—（）() 、]{{2,{_LONGEST}}}")
_DIGIT = Late(r"\d")
_FIELD = Late(rf"[^，。；,;！？!?\n〔〕]{{2,{_LONGEST}}}")
_TAIL = Late(r"[-－—#]?\d{1,5}(?:[-－—]\d{1,5}){0,3}(?:号楼|室|号|户|栋|单元)?(?![\d.:：年月天岁次元%mM℃])")
_NO_PART = Late(r"[的有吗么呢患病诊医您你他她们]|附近|医院|[，。；]|发烧|咳嗽|因为|可以|怎么")
_SIGN = Late(r"[，。；！？,;!?\n〔〕]")
_BACK = Late(rf"[住在到至往寄去找：:于址是]|来自|{_SIGN.source}")
_NUMBERED = Late(r"[\dA-Za-z一二三四五六七八九十甲乙丙]")
_BEFORE = 30  # characters before a house, at most
_HOUSE = Late(
    r"(?:大街|街|大道|路|巷|胡同|里弄|弄|新村|村|庄|里|小区|花园|家园|公寓|苑|[家花公]园|城|府|湾|家属院|号院|[一二三四五六七八九十东南西北]区)"
    r"\d{1,4}(?:号院|号楼|号|栋|幢|弄|单元|座|组)(?![床诊针线])",
    "街道路巷同弄村庄里区园寓苑城府湾院",
)


class _Lists(NamedTuple):
    cue: Late
    label: Late
    province: Late
    part: Late
    levels: dict[str, int]
    no_place: Late


@cache
def _lists() -> _Lists:
    found = words()

    def longest_first(*names: str) -> list[str]:
        return sorted((word for name in names for word in found[name]), key=lambda word: (-len(word), word))

    lives, labels, provinces = (longest_first(name) for name in ("lives", "address_labels", "provinces"))
    levels = {word: level for level, name in enumerate(("areas", "places", "houses", "homes")) for word in found[name]}
    return _Lists(
        Late(f"(?:{'|'.join(lives)})[是为:：\\s]{{0,3}}", lives),
        Late(f"(?:{'|'.join(labels)})[是为:：\\s]{{1,4}}", labels),
        Late(f"(?:{'|'.join(provinces)})(?![东西南北中]?[路街])", provinces),
        Late("|".join(longest_first("areas", "places", "houses", "homes"))),
        levels,
        Late("|".join(longest_first("not_places"))),
    )


def find_addresses(text: str) -> Iterator[tuple[int, int]]:
    """Addresses in order of the cues; spans may overlap."""
    lists = _lists()
    for match in lists.label.finditer(text):
        end, levels = _chain(text, match.end(), lists)
        if levels:
            yield match.end(), end
        elif (field := _FIELD.match(text, match.end())) and _DIGIT.search(field[0]):
            yield field.span()
    for match in lists.cue.finditer(text):
        end, levels = _chain(text, match.end(), lists)
        if levels & {1, 3}:
            yield match.end(), end
    done = 0
    for match in lists.province.finditer(text):
        if match.start() >= done:
            end, levels = _chain(text, match.start(), lists)
            if 3 in levels or {1, 2} <= levels:
                done = end
                yield match.start(), end
    if any(map(str.isdigit, text)):
        yield from _houses(text, lists)


def _houses(text: str, lists: _Lists) -> Iterator[tuple[int, int]]:
    """Around 路12号 and the like: back to the last cue, sign or province, and on to the end of the chain."""
    done = 0
    for match in _HOUSE.finditer(text):
        if match.start() < done:
            continue
        floor = max(done, match.start() - _BEFORE)
        start = max((cue.end() for cue in _BACK.finditer(text, floor, match.start())), default=floor)
        for province in lists.province.finditer(text, floor, match.start()):
            if not _SIGN.search(text, province.start(), max(start, province.start())):
                start = min(start, province.start())
                break
        while not text[start].isalnum():
            start += 1
        end, _ = _chain(text, start, lists)
        if end < match.end():  # the chain from there breaks before the house: only what stands around it
            start, end = match.start(), max(match.end(), _chain(text, match.start(), lists)[0])
            while start > floor and "\u4e00" <= text[start - 1] <= "\u9fff" and not _NO_PART.match(text, start - 1):
                start -= 1
        done = end
        yield start, end


def _chain(text: str, start: int, lists: _Lists) -> tuple[int, set[int]]:
    """Where the chain of parts that begins at `start` ends (`start` if there is none), and the levels of its parts:
    0 an area, 1 a place within it, 2 a number that may be of a house, 3 one that is."""
    body = _BODY.match(text, start)
    levels: set[int] = set()
    if body is None:
        return start, levels
    limit, end = body.end(), start
    barred = {place for no in lists.no_place.finditer(text, start, limit) for place in range(*no.span())}
    for match in lists.part.finditer(text, start, limit):
        if match.start() - end > _GAP or _NO_PART.search(text, end, match.start()):
            break
        level = lists.levels[match[0]]
        if match.start() in barred or (match.start() == end and level < 2):
            continue
        if level > 1 and not _NUMBERED.match(text, match.start() - 1):
            continue
        end = match.end()
        levels.add(level)
    if levels and levels != {0} and (tail := _TAIL.match(text, end)):
        end = tail.end()
        levels.add(2)
    return end, levels
