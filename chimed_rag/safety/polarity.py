"""Negation and strength: a sentence must deny, forbid, allow and prefer what its passage does, and nothing else.

What is covered: 不, 无, 未 and their kin, each with what it denies (不良反应 and 非甾体 deny nothing, 不得不 is 必须); the ladder 禁用,
不应, 不建议, 慎用, 不必, 可, 宜, 建议, 应, 必须; the classes of `contrasts.tsv` (升高/降低, 首选/次选, 阳性/阴性, 急性/慢性, 左/右 ...), exchanged
ones too. What is not covered: irony, questions, a negation whose scope crosses a comma, contrasts outside the table.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence

from chimed_rag.safety.marks import Mark, find_marks, rival, strict_values
from chimed_rag.safety.reading import Reading, Token, likeness

CONTRASTS = "contrasts.tsv"
LADDER: dict[str, frozenset[int]] = {
    "禁用": frozenset((-3,)), "禁忌证": frozenset((-3,)), "不应": frozenset((-3, -2)), "不建议": frozenset((-2,)),
    "慎用": frozenset((-1,)), "不必": frozenset((0,)), "可": frozenset((1,)), "宜": frozenset((2,)),
    "建议": frozenset((2, 3)), "应": frozenset((3,)), "要": frozenset((3, 4)), "必须": frozenset((4,)),
}  # fmt: skip
"""How strongly a word binds, from forbidding to demanding; words that share a step agree."""

_POSSIBLE = re.compile(
    "引起|出现|使|见|有|致|升高|降低|增强|减弱|加重|影响|损伤|发|表现|伴|持续|分|达|加快|减慢|抑制|缓解|形成|诱|产生|延长|缩短|危及|波及|累及|合并|并发|伤|变"
)  # 可引起 is a possibility, no permission

Fault = str
"""What is wrong, in Chinese; "" if nothing is."""


def ladder_marks(reading: Reading) -> list[Mark]:
    """The words of the ladder in a text."""
    return _token_marks(reading, "ladder", LADDER.keys())


def denials(reading: Reading) -> list[Mark]:
    """不, 没有 and their kin in a text; `values` holds what is denied, as up to five characters of matter."""
    return _token_marks(reading, "denial", ("不", "没有"))


def _token_marks(reading: Reading, kind: str, words: Collection[str]) -> list[Mark]:
    cached: list[Mark] | None = reading.__dict__.get("marks " + kind)
    if cached is None:
        tokens = [
            token
            for token in reading.tokens
            if token.canonical in words
            and (kind == "possible") == (token.canonical == "可" and _POSSIBLE.match(reading.norm, token.end) is not None)
        ]
        if kind == "ladder":
            tokens = _unhelped(tokens)
        stops = frozenset(place for token in tokens for place in range(token.start, token.end))
        cached = [
            Mark(kind, _values(reading, kind, token), token.start, token.end, reading,
                 reading.context(token.start, token.end, stops, within=True))
            for token in tokens
        ]  # fmt: skip
        reading.__dict__["marks " + kind] = cached
    return cached


def _unhelped(tokens: list[Token]) -> list[Token]:
    """Without the 应 of 应慎用, which adds nothing to what follows."""
    following = [*tokens[1:], None]
    return [
        token
        for token, after in zip(tokens, following, strict=False)
        if after is None
        or after.start - token.end > 1
        or min(LADDER[token.canonical]) < 2
        or min(LADDER[after.canonical]) > 0
    ]


def _values(reading: Reading, kind: str, token: Token) -> frozenset[str]:
    if kind != "denial":
        return frozenset(map(str, LADDER[token.canonical]))
    return frozenset((_head(reading, token.end),))


def _head(reading: Reading, place: int, most: int = 5) -> str:
    """What follows in the clause: the next characters of matter or of polar words."""
    return reading.beside(place - 1, place, most)[1]


def _meets(one: Mark, other: Mark) -> bool:
    return bool(one.values & other.values)


def _level(mark: Mark) -> int:
    return max(map(int, mark.values))


# --- negation --------------------------------------------------------------------------------------------------


def negation(sentence: Reading, sources: Sequence[Reading], context: Sequence[Reading]) -> tuple[bool, Fault]:
    """(whether anything is denied on either side, what is wrong)."""
    said = denials(sentence)
    source = [mark for reading in sources for mark in denials(reading)]
    if not said and not source:
        return False, ""
    forbidden = [mark for reading in (*sources, *context) for mark in ladder_marks(reading) if _level(mark) <= 0]
    paired: set[int] = set()
    for mark in said:
        found = _denied_alike(mark, [one for one in source if id(one) not in paired or one.values == mark.values])
        if found is not None and not _same_head(mark, found) and _is_affirmed_there(mark, sources):
            return True, f"原文没有否定：“{_shown(mark)}”"
        if found is not None:
            paired.add(id(found))
        elif not any(
            likeness(mark.context, other.context) > 0.35 or _head_of(mark)[:2] in _after(other) for other in forbidden
        ):
            return True, f"原文没有否定：“{_shown(mark)}”"
    for mark in source:
        if id(mark) not in paired and (affirmed := _affirmed(mark, sentence, sources)):
            return True, f"“{affirmed}”不同于原文的“{_shown(mark)}”"
    return True, ""


def _head_of(mark: Mark) -> str:
    return next(iter(mark.values))


def _after(mark: Mark) -> str:
    return _head(mark.reading, mark.end, 6)


def _denied_alike(mark: Mark, source: Sequence[Mark]) -> Mark | None:
    """A denial in the literature of the same thing, or in like surroundings."""
    scored = []
    for other in source:
        same = _same_head(mark, other)
        score = likeness(mark.context, other.context) + (1.0 if same else 0.0)
        scored.append((score, other))
    if not scored:
        return None
    score, found = max(scored, key=lambda one: one[0])
    return found if score >= 0.45 else None


def _same_head(one: Mark, other: Mark) -> bool:
    mine, theirs = _head_of(one), _head_of(other)
    return (bool(mine[:1]) and mine[:1] == theirs[:1]) or _share_pair(mine, theirs)


def _is_affirmed_there(mark: Mark, sources: Sequence[Reading]) -> bool:
    """Whether the literature says without a denial what a sentence denies."""
    head = _head_of(mark)[:2]
    return len(head) == 2 and any(
        not _is_denied(reading, place) for reading in sources for place in _places(reading, head)
    )


def _share_pair(one: str, other: str) -> bool:
    return any(one[place : place + 2] in other for place in range(len(one) - 1))


def _affirmed(mark: Mark, sentence: Reading, sources: Sequence[Reading]) -> str:
    """What the sentence says of the thing that the literature denies, where it says so without a denial."""
    head = _head_of(mark)[:2]
    if not head:
        return ""
    for place in _places(sentence, head):
        if _is_denied(sentence, place):
            continue
        here = sentence.context(place, place + 1)
        there = mark.reading.context(mark.end, mark.end + 1)
        affirmed = max(
            (
                likeness(here, reading.context(at, at + 1))
                for reading in sources
                for at in _places(reading, head)
                if not _is_denied(reading, at)
            ),
            default=0.0,
        )
        if likeness(here, there) > max(0.25, affirmed):
            low, high = max(0, place - 4), min(len(sentence.norm), place + len(head) + 2)
            return sentence.raw_text(low, high)
    return ""


def _places(reading: Reading, words: str) -> list[int]:
    return [match.start() for match in re.finditer(re.escape(words), reading.norm)]


def _is_denied(reading: Reading, place: int) -> bool:
    """Whether an odd number of denials and forbidding words stands before a place in its clause."""
    begin, _ = reading.clause_at(place)
    marks = (*denials(reading), *(mark for mark in ladder_marks(reading) if _level(mark) <= 0))
    return sum(begin <= mark.start and mark.end <= place for mark in marks) % 2 == 1


def _shown(mark: Mark) -> str:
    end = min(mark.end + 4, mark.reading.clause_at(mark.start)[1])
    return mark.reading.raw_text(mark.start, end)


# --- strength --------------------------------------------------------------------------------------------------


def strength(
    sentence: Reading, sources: Sequence[Reading], context: Sequence[Reading], used: Sequence[tuple[Reading, int, int]]
) -> tuple[bool, Fault]:
    """(whether there is anything to compare, what is wrong).

    Args:
        sentence: what is said.
        sources: the window of the literature.
        context: title and headings.
        used: the clauses of the window, as (reading, begin, end), that the sentence repeats.
    """
    ladder, classes = ladder_marks(sentence), find_marks(sentence, CONTRASTS)
    their_ladder = [mark for reading in sources for mark in ladder_marks(reading)]
    fault = _possible(sentence, their_ladder) or _climbed(ladder, their_ladder, sources, context) or _left_out(sentence, their_ladder, used)
    fault = fault or _contrasted(classes, sources, context) or opposed(sentence, sources)
    return bool(ladder or classes or their_ladder or fault), fault


def _climbed(
    said: Sequence[Mark], source: Sequence[Mark], sources: Sequence[Reading], context: Sequence[Reading]
) -> Fault:
    """A word of the ladder that stands on another step in the literature."""
    headed = [mark for reading in context for mark in ladder_marks(reading)]
    possible = [mark for reading in sources for mark in _token_marks(reading, "possible", ("可",))]
    for mark in said:
        beside, contrary = _beside(mark, (*source, *possible), _meets)
        if contrary is not None:
            return f"“{_phrase(mark)}”不同于原文的“{_phrase(contrary)}”"
        if beside:
            continue
        agreed, other = rival(mark, source, _meets, least=0.3)
        if other is not None:
            if not (any(_meets(mark, one) for one in headed) and not agreed):
                return f"“{mark.text}”不同于原文的“{other.text}”"
        elif not agreed and _level(mark) <= -1 and not any(_meets(mark, one) for one in headed):
            denied = any(likeness(mark.context, one.context) > 0.3 for reading in sources for one in denials(reading))
            if not denied:
                return f"原文没有“{mark.text}”"
        elif not agreed and _level(mark) == 4 and "3" not in mark.values:
            return f"原文没有“{mark.text}”"
    return ""


def _possible(sentence: Reading, source: Sequence[Mark]) -> Fault:
    """可减少 as a possibility, where the literature demands or forbids the same."""
    for mark in _token_marks(sentence, "possible", ("可",)):
        _, contrary = _beside(mark, source, lambda one, other: _level(other) == 1)
        if contrary is not None:
            return f"“{_phrase(mark)}”不同于原文的“{_phrase(contrary)}”"
    return ""


def _beside(mark: Mark, source: Sequence[Mark], agrees: Callable[[Mark, Mark], bool]) -> tuple[bool, Mark | None]:
    """(whether a mark that agrees stands beside the same words, one that does not, where none that agrees does)."""
    before, after = mark.reading.beside(mark.start, mark.end)
    same = other = None
    certain = False
    for one in source:
        their_before, their_after = one.reading.beside(one.start, one.end)
        both = after == their_after and before == their_before and len(before + after) > 1
        if both or (len(after) == 2 and after == their_after):
            if agrees(mark, one):
                same = one
            else:
                other, certain = one, certain or both
    if same is not None or (other is not None and not certain and any(agrees(mark, one) for one in source)):
        other = None  # where a mark that agrees stands elsewhere, one side alone does not decide
    return same is not None, other


def _phrase(mark: Mark) -> str:
    reading = mark.reading
    high = min(mark.end + 3, reading.clause_at(mark.start)[1])
    return reading.raw_text(mark.start, high)


def _left_out(sentence: Reading, source: Sequence[Mark], used: Sequence[tuple[Reading, int, int]]) -> Fault:
    """A forbidding word that the sentence lost on the way, though it repeats the clause."""
    kept = {value for mark in ladder_marks(sentence) if _level(mark) <= 0 for value in mark.values}
    for mark in source:
        repeated = any(mark.reading is reading and begin <= mark.start < end for reading, begin, end in used)
        if _level(mark) <= 0 and repeated and not mark.values & kept and not denials(sentence):
            return f"丢了原文的“{mark.text}”"
    return ""


def _contrasted(said: Sequence[Mark], sources: Sequence[Reading], context: Sequence[Reading]) -> Fault:
    source = [mark for reading in sources for mark in find_marks(reading, CONTRASTS)]
    headed = [mark for reading in context for mark in find_marks(reading, CONTRASTS)]
    values = {(mark.kind, value) for mark in said for value in mark.values}
    for mark in said:
        same = [one for one in source if one.kind == mark.kind]
        beside, contrary = _beside(mark, same, _meets)
        if contrary is not None:
            return f"“{_phrase(mark)}”不同于原文的“{_phrase(contrary)}”"
        if beside:
            continue
        agreed, other = rival(mark, same, _meets, least=0.15)
        if other is not None:
            in_heading = not agreed and any(one.kind == mark.kind and _meets(mark, one) for one in headed)
            kept_too = not agreed and any((other.kind, value) in values for value in other.values)
            if not in_heading and not kept_too:
                return f"“{_told(mark)}”不同于原文的“{_told(other)}”"
        elif not agreed and not strict_values(CONTRASTS).isdisjoint((mark.kind, value) for value in mark.values):
            if not any(one.kind == mark.kind and _meets(mark, one) for one in headed):
                return f"原文没有“{mark.text}”"
    return ""


_OPPOSITES = dict(
    pair
    for one, other in  "高低 大小 多少 强弱 快慢 早晚 前后 上下 内外 左右 冷热 干湿 升降 增减 长短 粗细 轻重 深浅 近远 软硬 松紧 急慢 实虚 寒热 "
    "男女 初复 首末 入出 单双 良恶 显隐 阴阳 动静 开关 主次 新旧 浓淡 胖瘦 厚薄 疏密 盈亏 开闭 收放 宽窄 凹凸 伸屈".split()
    for pair in ((one, other), (other, one))
)


def opposed(sentence: Reading, sources: Sequence[Reading]) -> Fault:
    """高流量 for 低流量: a character whose opposite stands beside the same neighbour in the window, and it itself nowhere."""
    text = "\n".join(reading.norm for reading in sources)
    norm = sentence.norm
    for place, char in enumerate(norm):
        other = _OPPOSITES.get(char)
        if other is None or other not in text:
            continue
        before, after = norm[max(0, place - 1) : place], norm[place + 1 : place + 2]
        if before and not sentence.tells(place - 1):
            before = ""  # 是高 and 是低 have nothing in common
        for one, opposite in ((char + after, other + after), (before + char, before + other)):
            if len(one) == 2 and one.isalnum() and opposite in text and one not in text and opposite not in norm:
                if (before + char) not in text or (char + after) not in text:
                    return f"“{sentence.raw_text(max(0, place - 2), min(len(norm), place + 3))}”不同于原文的“{_around(sources, opposite)}”"
    return ""


def _around(sources: Sequence[Reading], words: str) -> str:
    for reading in sources:
        place = reading.norm.find(words)
        if place >= 0:
            return reading.raw_text(max(0, place - 2), min(len(reading.norm), place + 4))
    return words


def _told(mark: Mark) -> str:
    begin = max(mark.reading.clause_at(mark.start)[0], mark.start - 4)
    return mark.reading.raw_text(begin, mark.end) if mark.end - mark.start < 3 else mark.text
