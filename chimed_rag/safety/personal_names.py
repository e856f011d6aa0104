"""Finds names of people by what stands around them: a field, a relation, a title, a sex and an age; and a surname list.

What is covered: 姓名：…, 我叫…; 患者…, 我儿子…, 主治医生… and other words for people before a name; 王女士, 李建国主任;
"张伟，男，45岁"; 小李, 老张; 张某某, 李XX; compound surnames; names with a dot (艾合买提·买买提);
with a surname that is no word and usual given names also without a cue.
What is not covered: other names without a cue, given names alone (建国说), nicknames (豆豆), names in Latin letters.
How a name is told from the words after it: each character is usual in given names, possible, or never one (的, 病 …);
surnames that are also words (黄疸, 高热, 石膏) need more usual characters; about 1,600 beginnings of words, and drugs,
are no names.

Recall depends on the cue: names in sentences of a kind that nobody had thought of were found in half of the cases when
only listed words before a name counted; names without a cue (`_bare`) brought that to .87 (`benchmarks/redaction.py`).
Famous physicians that a question may be about stay.

Takes text in `text.plain_forms`, gives (start, end, whole name); time is linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import NamedTuple

from chimed_rag.safety.identifiers import words
from chimed_rag.safety.late import Late

_HAN = "\u4e00-\u9fff"
_FILLER = r"[\s:：]{0,6}(?:的?(?:名字)?(?:叫做|叫|是|为|姓名|名叫)[\s:：]{0,3})?[“\"【\[]?"
_DOTTED = Late(rf"[{_HAN}]{{2,8}}[·•‧・][{_HAN}]{{2,8}}(?:[·•‧・][{_HAN}]{{2,8}})?")
_DOTS = frozenset("·•‧・")
_SPACED = Late(rf"([{_HAN}])[ \u3000]{{1,3}}[{_HAN}](?![{_HAN}])")  # 姓名：张 三
_LOOK = re.compile(r"\(\?[^()]*\)")  # looking around, in an expression of `people`
_AFTER_DOTTED = frozenset("的是在有让给把被对从说因和与及自今昨现上下前后近患又也就都已入出做去男女住年")
_DOT = rf"[{_HAN}]{{2,8}}[·•‧・][{_HAN}]{{2,8}}"
_SEX = Late(
    rf"(?<![{_HAN}·•‧・])({_DOT}|[{_HAN}]{{2,4}})(?=[，,、\s]{{1,4}}[男女][，,、\s。；;)）\d性]|\s?[（(]\s?[男女][，,、\s)）\d性]"
    r"|[，,、\s(（]{1,3}\d{1,3}\s?(?:周?岁|个月))",
    ("男", "女", "岁", "个月"),
)
_MASK = Late(
    rf"((?:(?!某)[{_HAN}]){{1,2}})(?:某某|某(?![些种个人时日段项类一药病医院部方处地物])|(?<!于)[xX×*＊○〇]{{2}}(?![A-Za-z0-9*]|[{_HAN}]{{0,2}}[院医科市县]))",
    "某xX×*＊○〇",
)


class _Lists(NamedTuple):
    surnames: frozenset[str]
    compound: frozenset[str]
    ambiguous: frozenset[str]
    given: frozenset[str]
    never: frozenset[str]
    before_title: frozenset[str]
    grammar: frozenset[str]
    plain: frozenset[str]
    before_bare: frozenset[str]
    no_title: frozenset[str]
    not_after: frozenset[str]
    words: frozenset[str]
    endings: frozenset[str]
    lengths: tuple[int, ...]
    label: Late
    people: Late
    title: Late
    nickname: Late
    bare: frozenset[str]
    not_nickname: Late


@cache
def _lists() -> _Lists:
    found = words()

    def chars(name: str) -> frozenset[str]:
        return frozenset("".join(found[name].split()))

    def any_of(listed: Iterable[str]) -> str:
        return "|".join(sorted(set(listed), key=lambda word: (-len(word), word)))

    known = frozenset(found["words"].split()).union(_drugs())
    labels = any_of(found["name_labels"]).replace("姓名", r"姓\s{0,4}名")
    label_needs = [word.replace("姓名", "姓") for word in found["name_labels"]]
    people_needs = [_LOOK.sub("", word) for word in found["people"]]
    return _Lists(
        chars("surnames"),
        frozenset(found["compound"]),
        chars("ambiguous"),
        chars("given") - chars("never"),
        chars("never"),
        chars("before_title"),
        chars("grammar"),
        chars("plain"),
        chars("before_bare"),
        chars("no_title"),
        chars("not_after"),
        known,
        frozenset(found["endings"].split()),
        tuple(sorted({len(word) for word in known})),
        Late(rf"(?:{labels}){_FILLER}", label_needs),
        Late(rf"(?:{any_of(found['people'])}){_FILLER}", people_needs),
        Late(f"(?:(?:副|主治|主管|住院|值班|责任|实习|进修|带教|专科)?(?:{any_of(found['titles'])}))", found["titles"]),
        Late(rf"[小老][{''.join(found['nicknames'])}]", "小老"),
        chars("surnames") - chars("ambiguous") - chars("grammar"),
        Late(any_of(found["not_nicknames"])),
    )


def _drugs() -> Iterator[str]:
    """Names of drugs, trade and generic, from the table of the query: 安宫牛黄, 白加黑."""
    from chimed_rag.query.tables import rows

    for row in rows("trade_names.tsv"):
        for cell in row:
            yield from (word for word in cell.split() if len(word) > 2 and _is_han(word[0]))


def find_names(text: str) -> Iterator[tuple[int, int, bool]]:
    """(start, end, whether it is a whole name with surname and given name), the surest first; spans may overlap."""
    lists = _lists()
    for match in lists.label.finditer(text):
        blank = text[match.end() + 1 : match.end() + 2] in (" ", "\u3000")
        if blank and (spaced := _SPACED.match(text, match.end())) and spaced[1] in lists.surnames:
            yield *spaced.span(), False
        elif end := _name_end(text, match.end(), lists, sure=True):
            yield match.end(), end, _whole(text, match.end(), end, lists)
    for match in _SEX.finditer(text):
        start = match.start(1)
        if _name_end(text, start, lists, sure=False) == match.end(1):
            yield start, match.end(1), _whole(text, start, match.end(1), lists)
    for match in lists.people.finditer(text):
        at = match.end()
        if end := _name_end(text, at, lists, sure=False):
            yield at, end, _whole(text, at, end, lists)
        elif (
            text[at : at + 1] in ("小", "老")
            and text[at + 1 : at + 2] in lists.surnames - lists.no_title - {"于"}
            and not (lists.not_nickname.match(text, at) or _is_word(text, at + 1, lists))
        ):
            yield at, at + 2, False
    yield from _titled(text, lists)
    yield from _bare(text, lists)
    for match in _MASK.finditer(text):
        for length in (2, 1):
            start = match.end(1) - length
            if (
                start >= match.start(1)
                and _surname(text, start, lists) == length
                and not _ends_word(text, start, lists)
            ):
                yield start, match.end(), False
                break
    for match in lists.nickname.finditer(text):
        if not lists.not_nickname.match(text, match.start()) and not _inside_word(text, match.start(), match.end()):
            yield match.start(), match.end(), False


def _bare(text: str, lists: _Lists) -> Iterator[tuple[int, int, bool]]:
    """Names without a cue: a surname that is no word, characters usual in given names, a sign or person before them."""
    for start, char in enumerate(text):
        if char not in lists.bare or not _is_han(text[start + 1 : start + 2]):
            continue
        before = text[start - 1 : start]
        if text[start] == "周" and before.isdigit():
            continue
        end = _name_end(text, start, lists, sure=False) or start
        if end - start < 2 or not all(char in lists.given for char in text[start + 1 : end]):
            continue
        signs = not _is_han(before)
        if end - start == 2:
            found = (signs and not _is_han(text[end : end + 1])) or (
                before in lists.before_bare and _is_word(text, end, lists)
            )
        else:
            found = signs or before in lists.before_bare
            found = found or (text[start] in lists.plain and not _is_word(text, start + 1, lists))
        if found:
            yield start, end, _whole(text, start, end, lists)


def _whole(text: str, start: int, end: int, lists: _Lists) -> bool:
    """Whether the name may be looked for without its cue: no surname alone, no two characters that may be a word."""
    return end - start > (2 if text[start] in lists.ambiguous or text[start : start + 2] in lists.compound else 1)


def _inside_word(text: str, start: int, end: int) -> bool:
    """小 or 老 as the end of a word (大小, 年老, 缩小), or a number or unit after it (小于)."""
    return text[start - 1 : start] in tuple("大缩较最太很变不多减年古衰矮弱细幼渐偏越更骨短")


def _surname(text: str, at: int, lists: _Lists) -> int:
    """The length of the surname that begins there, 0 if none."""
    if text[at : at + 2] in lists.compound:
        return 2
    return int(text[at : at + 1] in lists.surnames and at < len(text))


def _is_word(text: str, at: int, lists: _Lists) -> bool:
    """Whether a word that is no name begins there."""
    return any(text[at : at + length] in lists.words for length in lists.lengths)


def _ends_word(text: str, at: int, lists: _Lists) -> bool:
    """Whether a word of two or three characters ends there: 由于 at 于."""
    return any(text[max(0, at - before) : at + 1] in lists.endings for before in (1, 2))


def _is_han(char: str) -> bool:
    return char != "" and "\u4e00" <= char <= "\u9fff"


def _name_end(text: str, at: int, lists: _Lists, *, sure: bool) -> int | None:
    """Where the name that begins there ends; None if none does. `sure`: a field or phrase says that there is one."""
    if not _DOTS.isdisjoint(text[at + 2 : at + 9]) and (dotted := _DOTTED.match(text, at)):
        return _dotted_end(text, *dotted.span(), lists)
    length = _surname(text, at, lists)
    if not length:
        return None
    doubtful = length == 1 and text[at] in lists.ambiguous
    start = at + length
    first, second, third = (text[start + i : start + i + 1] for i in range(3))
    if not _is_han(first):
        return None
    if lists.title.match(text, start):  # 患者张女士
        return start
    closed = not _is_han(second) or not _is_han(third)
    if (_is_word(text, at, lists) or _ends_word(text, at, lists)) and not (sure and closed):
        return None

    def usual(chars: str) -> bool:
        after = text[start + len(chars) : start + len(chars) + 1]
        ended = not _is_han(after)
        if sure and ended:
            return True
        if after in lists.not_after or any(char in lists.never for char in chars):
            return False
        known = sum(char in lists.given for char in chars)
        stops = ended or after in lists.never or _is_word(text, start + len(chars), lists)
        if text[at] in lists.grammar and not sure:
            return ended and known == len(chars) == 2
        if doubtful and not sure:
            if _is_word(text, start, lists) and not ended:
                return False
            return known > 0 and (stops or known == 2)
        return known == len(chars) or stops

    if _is_han(second) and not _is_word(text, start + 1, lists) and usual(first + second):
        return start + 2
    if usual(first):
        return start + 1
    if sure and first not in lists.never:
        return start + 2 if _is_han(second) and second not in lists.never else start + 1
    return None


def _dotted_end(text: str, start: int, end: int, lists: _Lists) -> int | None:
    """艾合买提·买买提让我 ends before 让; None if what stands before the dot is no name."""
    dot = next(place for place in range(start, end) if not _is_han(text[place]))
    if any(char in lists.never for char in text[start:dot]):
        return None
    stop = next((place for place in range(dot, end) if text[place] in _AFTER_DOTTED), end)
    return stop if stop > dot + 2 else None


def _titled(text: str, lists: _Lists) -> Iterator[tuple[int, int, bool]]:
    """王医生, 找李建国主任: the shortest name before the title after a sign or 找, 问 …; else the longest whole one."""
    for match in lists.title.finditer(text):
        end = match.start()
        best = None
        for length in (1, 2, 3, 4):
            start = end - length
            if start < 0 or not _is_han(text[start]):
                break
            if not _before_title(text, start, end, lists):
                continue
            before = text[start - 1 : start]
            if not _is_han(before) or before in lists.before_title:
                best = start
                break
            if text[start] in lists.plain or (length > 1 and text[start] not in lists.ambiguous):
                best = start
        if best is not None:
            yield best, end, _whole(text, best, end, lists)


def _before_title(text: str, start: int, end: int, lists: _Lists) -> bool:
    """Whether what stands there can be a surname, or a surname with a given name, by its characters."""
    length = _surname(text, start, lists)
    given = text[start + length : end]
    if not length or start + length > end or len(given) > 2 or _ends_word(text, start, lists):
        return False
    before = text[start - 1 : start]
    if text[start] == "周" and (before.isdigit() or before in tuple("一二两三四五六七八九十几半")):
        return False
    if not given:
        if text[start] == "谢" == before:  # 谢谢大夫 thanks a doctor, 谢谢谢大夫 thanks doctor 谢
            return text[max(0, start - 2) : start] in ("谢谢", "感谢", "多谢")
        return text[start:end] not in lists.no_title
    if (
        _is_word(text, start, lists)
        or _is_word(text, start + length, lists)
        or any(char in lists.never for char in given)
    ):
        return False
    return text[start] not in lists.ambiguous or all(char in lists.given for char in given)
