"""Words of negation and strength in a text: what is denied, and how strongly something is forbidden, allowed or
demanded.

What is covered: 不, 无, 未 and their kin (`paraphrases.tsv` makes them 不 and 没有; 不良反应 and 非甾体 deny nothing,
不得不 is 必须; 有没有 asks, 没几天 is soon); the ladder from 禁用 over 慎用 and 可 to 必须; 可 as a possibility;
不作为常规推荐. What is not covered: what follows from them (`negation`, `strength`), irony, a negation whose scope
crosses a comma.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from chimed_rag.safety.marks import Mark
from chimed_rag.safety.reading import Reading, Token, per_reading

LADDER: dict[str, frozenset[int]] = {
    "禁用": frozenset((-3,)), "禁忌证": frozenset((-3,)), "不应": frozenset((-3, -2)), "不建议": frozenset((-2,)),
    "慎用": frozenset((-1,)), "不必": frozenset((0,)), "可": frozenset((1,)), "宜": frozenset((1, 2, 3)),
    "建议": frozenset((2, 3)), "应": frozenset((3,)), "要": frozenset((2, 3, 4)), "必须": frozenset((4,)),
}  # fmt: skip
"""How strongly a word binds, from forbidding to demanding; words that share a step agree."""

_POSSIBLE = re.compile(
    "引起|出现|使|见|有|致|升高|降低|增强|减弱|加重|影响|损伤|发|表现|伴|持续|分|达|加快|减慢|抑制|缓解|形成|诱|产生|延长|缩短|危及|波及|累及"
    "|合并|并发|伤|变"
)  # 可引起 is a possibility, no permission

_SOON = re.compile("[没不未][过到]?(?:几|多久|多长|两[天日分三])|[没不未]过?[一二三四五六七八九十]+(?=[天日分小周个])")
"""没几分钟 is soon, and denies nothing."""
_NO_DENIAL = re.compile("不(?:停|断|止|久|光|足以外|由得|知不觉|经意|巧|声不响|痛不痒)")
_COMPLEMENT = re.compile("不(?:[了起住掉着完全尽出清透过动]|[来去开下上到成好](?=$|[的了就才也都和与、，。；：！？]))")
"""What follows 不 where it denies that something can be done: 治不了, 止不住."""
_ASKING = re.compile("[看查问试想说判断确认知道清楚是否]")
_AROUND = 4
_FAR = 20

_PARTICLE = re.compile("可(?=不|别|一旦|是|也|要|得|真)|要(?=命|是|药)")
"""可不行, 要命: neither permits nor demands."""
_NOT_WHOLLY = re.compile(
    "(?:不是|并非|不等于|不意味着|非)[^，。；！？]{0,4}(?:完全|绝对|一律|都|全部|一概|谁|每)[^，。；！？]{0,2}$"
)
_NECESSARY = re.compile("不[^，。；！？]{1,12}就[不没无]")
"""不做穿刺就没法确诊 denies neither."""
_ALONE = re.compile("[光单只仅靠]")
_NO_LICENCE = re.compile("(?:不等于|不代表|不意味着|不是说)[^，。；！？]{0,6}$|[只仅]$")
"""不等于可以 permits nothing, 只能 demands."""
_HEED = re.compile("当心|小心|注意|警惕|留意|留神|提防|防")
_UNAVOIDABLE = re.compile("非[^，。；！？]{1,8}不[可行成]")
"""非戒不可 demands."""

_NOT_USED = frozenset(("-3", "-2", "0"))
"""不用 before a thing or at an end forbids or waives (过敏者不用, 不用热水袋), before a verb it waives (不用怕)."""
_NOT_USE = re.compile(
    "不用(?![去管做吃查看讲治停打补开担怕慌急紧惊害戒换调减加复再等住洗空禁天太每特另先提断喝放理送动找测])"
)
_HELPERS = re.compile("(?:作为|作|列为|常规|再|主张|应|可|都|均|被|首先){0,4}")


def ladder_marks(reading: Reading) -> tuple[Mark, ...]:
    """The words of the ladder in a text."""
    return _token_marks(reading, "ladder")


def denials(reading: Reading) -> tuple[Mark, ...]:
    """不, 没有 and their kin in a text; `values` holds what is denied, as up to five characters of matter."""
    return _token_marks(reading, "denial")


def possibilities(reading: Reading) -> tuple[Mark, ...]:
    """可 as a possibility (可引起), which is no permission."""
    return _token_marks(reading, "possible")


_WORDS: Mapping[str, Collection[str]] = {
    "ladder": LADDER.keys(),
    "denial": ("不", "没有", "不一定", "未必"),
    "possible": ("可",),
}


@per_reading
def _token_marks(reading: Reading, kind: str) -> tuple[Mark, ...]:
    tokens = [
        token
        for token in reading.tokens
        if token.canonical in _WORDS[kind]
        and (kind == "possible") == (token.canonical == "可" and _POSSIBLE.match(reading.norm, token.end) is not None)
    ]
    if kind == "ladder":
        tokens = _unhelped(tokens)
    tokens = [token for token in tokens if not _asks(reading, token)]
    if kind == "denial":
        tokens = [token for token in tokens if not _denies_nothing(reading, token)]
    elif kind == "ladder":
        tokens = [
            token for token in tokens if not _opens_question(reading, token) and not _binds_nothing(reading, token)
        ]
    stops = tuple([place for token in tokens for place in range(token.start, token.end)])
    marks = [Mark(kind, _values(reading, kind, token), token.start, token.end, reading, stops) for token in tokens]
    return tuple(marks)


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


def _sides(reading: Reading, token: Token) -> tuple[str, str, str]:
    """What stands before, in and after a word, as the text says it."""
    low, high = reading.clause_at(token.start)
    before = reading.raw_text(max(low, token.start - _AROUND), token.start)
    return before, reading.raw_text(token.start, token.end), reading.raw_text(token.end, min(high, token.end + _AROUND))


def _asks(reading: Reading, token: Token) -> bool:
    """Whether a word is the denied half of a question whether: 是不是, 有没有, 用不用, 好没好, 查清楚没有."""
    before, said, after = _sides(reading, token)
    rest = said + after
    if rest[:1] not in ("不", "没", "无", "未") or not before:
        return False
    if rest[:1] == "无":
        return before[-1] == "有"
    rest = rest[1:]
    if rest[:1] == before[-1] and before[-1] not in "不没":
        return True
    if len(before) > 1 and rest[:2] == before[-2:]:
        return True
    if said in ("没有", "没") and not after.strip("了呢吗"):
        low, _ = reading.clause_at(token.start)
        return _ASKING.search(reading.raw_text(max(low, token.start - _FAR), token.start)) is not None
    return False


def _opens_question(reading: Reading, token: Token) -> bool:
    """Whether a word is the first half of such a question: 能 of 能不能."""
    said = reading.raw_text(token.start, token.end)
    after = reading.raw_text(token.end, min(reading.clause_at(token.start)[1], token.end + _AROUND))
    return after[:1] in ("不", "没", "否") and (after[1 : 1 + len(said)] == said or after[:1] == "否")


def _binds_nothing(reading: Reading, token: Token) -> bool:
    """Whether a word of the ladder is a mere particle (可一旦), is denied in part only (不是绝对不能用), or says that
    something alone is not enough (光吃药不行)."""
    _, said, after = _sides(reading, token)
    low, high = reading.clause_at(token.start)
    before = reading.raw_text(max(low, token.start - _FAR), token.start)
    if said == "小心":
        return before.endswith("不")
    if said in ("可以", "可", "能", "能够") and _NO_LICENCE.search(before):
        return True
    conditional = reading.raw_text(max(token.end, high - 2), high) == "的话"
    if said in ("要", "需要") and (conditional or _HEED.match(after)):
        return True
    if len(said) == 1:
        return _PARTICLE.match(said + after) is not None
    if said in ("不行", "不成"):
        return bool(after.strip("的了吧啊")) or _ALONE.search(before) is not None
    if said[0] in "不禁" and _NOT_WHOLLY.search(before):
        return True
    return said[0] == "不" and _UNAVOIDABLE.search(before + said + after) is not None


def _denies_nothing(reading: Reading, token: Token) -> bool:
    """Whether 不 or 没 is part of an expression that denies nothing: 没几天, 不停."""
    _, said, after = _sides(reading, token)
    low, high = reading.clause_at(token.start)
    if _NECESSARY.search(reading.raw_text(max(low, token.start - _FAR), min(high, token.end + _FAR))):
        return True
    if said == "非" and _UNAVOIDABLE.match(reading.raw_text(token.start, min(high, token.end + _FAR))):
        return True
    return _SOON.match(said + after) is not None or _NO_DENIAL.match(said + after) is not None


def _values(reading: Reading, kind: str, token: Token) -> frozenset[str]:
    if kind != "denial":
        denied = [one for one in reading.tokens if one.canonical == "不" and 0 <= token.start - one.end <= 6]
        if kind == "ladder" and min(LADDER[token.canonical]) > 1 and denied:
            clause = reading.clause_at(token.start)[0]
            between = reading.norm[denied[-1].end : token.start]
            if denied[-1].start >= clause and _HELPERS.fullmatch(between):
                return frozenset(("-2", "0"))  # 不作为常规推荐 recommends nothing
        if kind == "ladder" and _NOT_USE.match(reading.raw_text(token.start, token.end + 1)):
            return _NOT_USED
        return frozenset(map(str, LADDER[token.canonical]))
    following = head(reading, token.end)
    _, said, after = _sides(reading, token)
    if _COMPLEMENT.match(said + after) or not (following or after):
        before = reading.beside(token.start, token.end, 2)[0]
        following = (before + following)[:5] if before else following
    return frozenset((following,))


def head(reading: Reading, place: int, most: int = 5) -> str:
    """What follows in the clause: the next characters of matter or of polar words."""
    return reading.beside(place - 1, place, most)[1]


def meets(one: Mark, other: Mark) -> bool:
    """Whether two marks share a value."""
    return bool(one.values & other.values)


def level(mark: Mark) -> int:
    """The step of a word of the ladder, the upper one where it has two."""
    return max(map(int, mark.values))
