"""Directions: more for less, faster for slower, prevents for causes.

What is covered: a word of direction in a sentence whose contrary fits its window better, by what it is said of and by
what stands in its clause; two that go together (the slower, the worse) may both be turned. What is not covered: how
much more; of a text beyond the length of a sentence only the first directions are looked at.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice, pairwise
from typing import NamedTuple

from chimed_rag.safety.reading import Reading, per_reading

_MOST_SAID, _MOST_TOLD = 12, 30  # of a sentence, of one sentence of the window
_MORE = (
    "升高 上升 增加 增多 增高 增大 增强 增长 增快 增厚 增粗 加大 加快 加速 加重 加剧 加深 加强 提高 拔高 抬高 走高 "
    "上涨 猛涨 飙升 飙高 窜高 涨 大增 往上升 往上走 上去 延长 促进 兴奋 扩张 扩大 肥大 肿大 恶化 高于 多于 大于 快于 "
    "强于 长于 优于 较好 更好 最好 量多 量大 更严重 变厚 变粗 偏重"
)
_LESS = (
    "降低 下降 减少 减低 减小 减弱 减慢 减轻 减退 减缓 下滑 回落 走低 往下掉 掉下来 降下来 拉低 压低 缩短 缩小 萎缩 "
    "收缩 抑制 妨碍 阻止 拮抗 缓解 衰退 衰减 改善 低于 少于 小于 慢于 弱于 短于 劣于 较差 更差 最差 量少 变薄 变细 偏轻"
)
_DEGREES = ("过", "偏", "较", "更", "越", "变", "很", "最")
_CAUSING = {"引起": 1, "诱发": 1, "诱因": 1, "预防": -1, "治疗": -1, "治愈": -1}
_SIGNS: dict[str, int] = {
    **{degree + word: 1 for degree in _DEGREES for word in "高多快大强重长" if degree + word not in ("最大", "最长")},
    **{degree + word: -1 for degree in _DEGREES for word in "低少慢小弱轻短" if degree + word not in ("最小", "最短")},
    **dict.fromkeys(_MORE.split(), 1),
    **dict.fromkeys(_LESS.split(), -1),
    **_CAUSING,
    "高": 1,
    "低": -1,
}
_POLE = re.compile(
    "(?:"
    + "|".join(sorted((word for word in _SIGNS if len(word) > 1 or word == "涨"), key=lambda word: -len(word)))
    + ")"
    "(?![药剂的期中增])(?<!阻滞)(?<!房室抑制)(?<!传导抑制)|[高低](?=血[糖钾钠钙镁磷脂]|[钾钠钙镁磷])"
)  # 高血压 is a disease; β受体阻滞剂 and 房室阻滞 direct nothing
_NAY = re.compile("(?:不|没有|无|非|禁用|避免)[^，]{0,3}$")
_FIT, _MARGIN = 4.0, 2.0  # how well the contrary must fit, and by how much better than what agrees
_TOGETHER = 3.0  # what another direction of the same clause counts that agrees as well, or does not


class Pole(NamedTuple):
    """A word of direction: what it is said of (pairs of characters and names of one), and its clause."""

    word: str
    sign: int
    things: frozenset[str]
    near: frozenset[str]
    is_denied: bool
    begin: int
    end: int


@per_reading
def poles(reading: Reading) -> tuple[Pole, ...]:
    """The directions of a text, in order."""
    made: list[Pole] = []
    found = list(islice(_POLE.finditer(reading.norm), _MOST_TOLD))
    bounds = [0, *(at for match in found for at in match.span()), len(reading.norm)]
    names = {
        token.start: token.canonical
        for token in reading.tokens
        if len(token.canonical) == 1 and token.kind not in ("", "light")
    }
    for rank, match in enumerate(found):
        begin, end = reading.clause_at(match.start())
        low, high = max(begin, bounds[2 * rank]), min(end, bounds[2 * rank + 3])
        left = [at for at in range(low, match.start()) if reading.tells(at)][-6:]
        right = [at for at in range(match.end(), high) if reading.tells(at)][:4]
        things = {reading.norm[one] + reading.norm[two] for side in (left, right) for one, two in pairwise(side)}
        things.update(names[at] for at in (*left, *right) if at in names)
        near = frozenset(reading.norm[at] for at in left[-3:])
        denied = _NAY.search(reading.norm[begin : match.start()]) is not None
        made.append(Pole(match[0], _SIGNS[match[0]], frozenset(things), near, denied, begin, end))
    return tuple(made)


def turned(sentence: Reading, sources: Sequence[Reading]) -> str:
    """A direction whose contrary fits the window better, by what it is said of and what stands in its clause."""
    mine = poles(sentence)[:_MOST_SAID]
    if not mine:
        return ""
    whole = _bare(sentence, 0, len(sentence.norm))
    theirs = [
        (reading, pole, _bare(reading, pole.begin, pole.end), len(whole & _bare(reading, 0, len(reading.norm))))
        for reading in sources
        for pole in poles(reading)
    ]
    for said in mine:
        here = _bare(sentence, said.begin, said.end)
        best: dict[int, tuple[float, Pole | None]] = {1: (0.0, None), -1: (0.0, None)}
        for reading, pole, bare, shared in theirs:
            if not _of_the_same(said, pole):
                continue
            fit = 2 * len(said.things & pole.things) + len(here & bare) + shared / 2
            fit += _TOGETHER * _agreement(said, pole, mine, poles(reading))
            sign = pole.sign if pole.is_denied == said.is_denied else -pole.sign
            if fit > best[sign][0]:
                best[sign] = (fit, pole)
        (fit, pole_there), (same, agreed) = best[-said.sign], best[said.sign]
        if pole_there is None or pole_there.is_denied != said.is_denied or (agreed and len(said.word) == 1):
            continue
        if fit > _FIT and fit > same + _MARGIN and not _both_turned(said, pole_there, mine, theirs):
            return f"“{said.word}”不同于原文的“{pole_there.word}”"
    return ""


def _of_the_same(said: Pole, pole: Pole) -> bool:
    if (said.word in _CAUSING) != (pole.word in _CAUSING):
        return False
    alike = not said.near.isdisjoint(pole.near) and (said.sign, said.is_denied) == (pole.sign, pole.is_denied)
    return alike or not said.things.isdisjoint(pole.things)


def _agreement(said: Pole, pole: Pole, mine: Sequence[Pole], theirs: Sequence[Pole]) -> int:
    """How many other directions of the sentence agree with one beside `pole`, less those that do not."""
    pairs = [
        (one, other)
        for one in mine
        if one is not said
        for other in theirs
        if other is not pole and other.begin == pole.begin and one.is_denied == other.is_denied
    ]
    return sum((1 if a.sign == b.sign else -1) for a, b in pairs if not a.things.isdisjoint(b.things))


def _both_turned(
    said: Pole, pole: Pole, mine: Sequence[Pole], theirs: Sequence[tuple[Reading, Pole, frozenset[str], int]]
) -> bool:
    """越慢越轻 for 越快越重: another direction of the clause, or of the two that 越 joins, is turned as well."""
    return any(
        one is not said
        and _go_together(one, said)
        and any(
            _go_together(other, pole) and other.sign == -one.sign and not other.things.isdisjoint(one.things)
            for _, other, _, _ in theirs
        )
        for one in mine
    )


def _go_together(one: Pole, other: Pole) -> bool:
    return one.begin == other.begin or one.word[0] == other.word[0] == "越"


def _bare(reading: Reading, begin: int, end: int) -> frozenset[str]:
    """The pairs of a stretch without its directions."""
    taken = _pole_places(reading)
    places = [at for at in reading.matter if begin <= at < end and at not in taken]
    return frozenset(reading.norm[one] + reading.norm[two] for one, two in pairwise(places))


@per_reading
def _pole_places(reading: Reading) -> set[int]:
    return {at for match in _POLE.finditer(reading.norm) for at in range(*match.span())}
