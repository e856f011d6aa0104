"""Strength and direction: 禁用 is not 慎用, 首选 not 次选, 升高 not 降低, 左 not 右.

What is covered: the ladder of `polarity`, the classes of `contrasts.tsv`, exchanged ones too, and pairs of opposite
characters beside the same neighbour (高流量, 低流量). What is not covered: contrasts that neither table nor pairs
hold.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from chimed_rag.safety.marks import Mark, find_marks, rival, strict_values
from chimed_rag.safety.polarity import denials, ladder_marks, level, meets, possibilities
from chimed_rag.safety.reading import Reading
from chimed_rag.safety.scope import narrowed, reordered, widened
from chimed_rag.safety.surroundings import likeness

CONTRASTS = "contrasts.tsv"
_TO_ALL = re.compile("[都均](?:可|能|适合|适用)")
_NEAR = 0.3  # likeness from which a word of the ladder is taken for that of the literature
_LOOSE = 0.15  # and a word of a class, of which there are fewer


def strength(
    sentence: Reading, sources: Sequence[Reading], context: Sequence[Reading], used: Sequence[tuple[Reading, int, int]]
) -> tuple[bool, str]:
    """(whether there is anything to compare, what is wrong).

    Args:
        sentence: what is said.
        sources: the window of the literature.
        context: title and headings.
        used: the clauses of the window, as (reading, begin, end), that the sentence repeats.
    """
    ladder, classes = ladder_marks(sentence), find_marks(sentence, CONTRASTS)
    their_ladder = [mark for reading in sources for mark in ladder_marks(reading)]
    fault = (
        _possible(sentence, their_ladder)
        or _climbed(ladder, their_ladder, sources, context)
        or _left_out(sentence, their_ladder, used)
        or _allowed(sentence, ladder, their_ladder, sources)
    )
    fault = fault or _contrasted(classes, sources, context) or opposed(sentence, sources) or widened(sentence, sources)
    fault = fault or narrowed(sentence, sources) or reordered(sentence, sources)
    return bool(ladder or classes or their_ladder or fault), fault


def _climbed(
    said: Sequence[Mark], source: Sequence[Mark], sources: Sequence[Reading], context: Sequence[Reading]
) -> str:
    """A word of the ladder that stands on another step in the literature."""
    headed = [mark for reading in context for mark in ladder_marks(reading)]
    possible = [mark for reading in sources for mark in possibilities(reading)]
    for mark in said:
        beside, contrary = _beside(mark, (*source, *possible), meets)
        if contrary is not None:
            return f"“{_phrase(mark)}”不同于原文的“{_phrase(contrary)}”"
        if beside:
            continue
        agreed, other = rival(mark, source, meets, least=_NEAR)
        if other is not None:
            near = likeness(mark.context, other.context)
            kept_too = any(
                meets(other, one)
                and (likeness(one.context, other.context) > near or _after(one) == _after(other) != "")
                for one in said
                if one is not mark
            )
            if not (any(meets(mark, one) for one in headed) and not agreed) and not kept_too:
                return f"“{mark.text}”不同于原文的“{other.text}”"
        elif not agreed and level(mark) <= 0 and not any(meets(mark, one) for one in headed):
            denied = any(likeness(mark.context, one.context) > _NEAR for reading in sources for one in denials(reading))
            if not denied:
                return f"原文没有“{mark.text}”"
    return ""


def _possible(sentence: Reading, source: Sequence[Mark]) -> str:
    """可减少 as a possibility, where the literature demands or forbids the same."""
    for mark in possibilities(sentence):
        _, contrary = _beside(mark, source, lambda one, other: level(other) == 1)
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


def _after(mark: Mark) -> str:
    return mark.reading.beside(mark.start, mark.end)[1]


def _phrase(mark: Mark) -> str:
    reading = mark.reading
    high = min(mark.end + 3, reading.clause_at(mark.start)[1])
    return reading.raw_text(mark.start, high)


def _left_out(sentence: Reading, source: Sequence[Mark], used: Sequence[tuple[Reading, int, int]]) -> str:
    """A forbidding word that the sentence lost on the way, though it repeats the clause."""
    kept = {value for mark in ladder_marks(sentence) if level(mark) <= 0 for value in mark.values}
    for mark in source:
        repeated = any(mark.reading is reading and begin <= mark.start < end for reading, begin, end in used)
        if level(mark) <= 0 and repeated and not mark.values & kept and not denials(sentence):
            return f"丢了原文的“{mark.text}”"
    return ""


def _allowed(sentence: Reading, said: Sequence[Mark], source: Sequence[Mark], sources: Sequence[Reading]) -> str:
    """What the literature forbids and the sentence does not: to all, whom it allows (都可以), or to a disease that the
    window names there alone."""
    forbidding = [mark for mark in source if level(mark) <= -1]
    if not forbidding or any(level(mark) <= -1 for mark in said):
        return ""
    if _TO_ALL.search(sentence.folded):
        return f"丢了原文的“{_phrase(forbidding[0])}”"
    if denials(sentence):
        return ""
    here = {token.canonical for token in sentence.tokens if token.kind == "disease"}
    for mark in forbidding:
        begin, _ = mark.reading.clause_at(mark.start)
        named = [one for one in mark.reading.tokens if begin <= one.start < mark.start and one.canonical in here]
        for one in named if level(mark) < -2 else ():
            if sum(reading.norm.count(one.canonical) for reading in sources) == 1:
                return f"丢了原文的“{mark.reading.raw_text(one.start, mark.end)}”"
    return ""


def _contrasted(said: Sequence[Mark], sources: Sequence[Reading], context: Sequence[Reading]) -> str:
    source = [mark for reading in sources for mark in find_marks(reading, CONTRASTS)]
    headed = [mark for reading in context for mark in find_marks(reading, CONTRASTS)]
    values = {(mark.kind, value) for mark in said for value in mark.values}
    for mark in said:
        same = [one for one in source if one.kind == mark.kind]
        beside, contrary = _beside(mark, same, meets)
        if contrary is not None:
            return f"“{_phrase(mark)}”不同于原文的“{_phrase(contrary)}”"
        if beside:
            continue
        agreed, other = rival(mark, same, meets, least=_LOOSE)
        if other is not None:
            in_heading = not agreed and any(one.kind == mark.kind and meets(mark, one) for one in headed)
            kept_too = not agreed and any((other.kind, value) in values for value in other.values)
            if not in_heading and not kept_too:
                return f"“{_told(mark)}”不同于原文的“{_told(other)}”"
        elif not agreed and _is_strict(mark) and not any(one.kind == mark.kind and meets(mark, one) for one in headed):
            return f"原文没有“{mark.text}”"
    return ""


def _is_strict(mark: Mark) -> bool:
    return any((mark.kind, value) in strict_values(CONTRASTS) for value in mark.values)


_PAIRS = (
    "高低 大小 多少 强弱 快慢 早晚 前后 上下 内外 左右 冷热 干湿 升降 增减 长短 粗细 轻重 "
    "深浅 近远 软硬 松紧 急慢 实虚 寒热 男女 初复 "
    "首末 入出 单双 良恶 显隐 阴阳 动静 开关 主次 新旧 浓淡 胖瘦 厚薄 疏密 盈亏 开闭 收放 宽窄 凹凸 伸屈"
)
_OPPOSITES = {char: other for pair in _PAIRS.split() for char, other in (tuple(pair), tuple(reversed(pair)))}


def opposed(sentence: Reading, sources: Sequence[Reading]) -> str:
    """高流量 for 低流量: a character whose opposite stands beside the same neighbour in the window, itself does not."""
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
                mine = sentence.raw_text(max(0, place - 2), min(len(norm), place + 3))
                return f"“{mine}”不同于原文的“{_around(sources, opposite)}”"
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
