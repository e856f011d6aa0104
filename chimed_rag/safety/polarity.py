"""Words of negation and strength in a text: what is denied, and how strongly something is forbidden, allowed or
demanded.

What is covered: 不, 无, 未 and their kin (`paraphrases.tsv` makes them 不 and 没有; 不良反应 and 非甾体 deny nothing,
不得不 is 必须); the ladder from 禁用 over 慎用 and 可 to 必须; 可 as a possibility; 不作为常规推荐. What is not
covered: what follows from them (`negation`, `strength`), irony, questions, a negation whose scope crosses a comma.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from chimed_rag.safety.marks import Mark
from chimed_rag.safety.reading import Reading, Token

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

_HELPERS = re.compile("(?:作为|作|列为|常规|再|主张|应|可|都|均|被|首先){0,4}")


def ladder_marks(reading: Reading) -> list[Mark]:
    """The words of the ladder in a text."""
    return _token_marks(reading, "ladder", LADDER.keys())


def denials(reading: Reading) -> list[Mark]:
    """不, 没有 and their kin in a text; `values` holds what is denied, as up to five characters of matter."""
    return _token_marks(reading, "denial", ("不", "没有"))


def possibilities(reading: Reading) -> list[Mark]:
    """可 as a possibility (可引起), which is no permission."""
    return _token_marks(reading, "possible", ("可",))


def _token_marks(reading: Reading, kind: str, words: Collection[str]) -> list[Mark]:
    cached: list[Mark] | None = reading.__dict__.get("marks " + kind)
    if cached is None:
        tokens = [
            token
            for token in reading.tokens
            if token.canonical in words
            and (kind == "possible")
            == (token.canonical == "可" and _POSSIBLE.match(reading.norm, token.end) is not None)
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
        denied = [one for one in reading.tokens if one.canonical == "不" and 0 <= token.start - one.end <= 6]
        if kind == "ladder" and min(LADDER[token.canonical]) > 1 and denied:
            clause = reading.clause_at(token.start)[0]
            between = reading.norm[denied[-1].end : token.start]
            if denied[-1].start >= clause and _HELPERS.fullmatch(between):
                return frozenset(("-2", "0"))  # 不作为常规推荐 recommends nothing
        return frozenset(map(str, LADDER[token.canonical]))
    return frozenset((head(reading, token.end),))


def head(reading: Reading, place: int, most: int = 5) -> str:
    """What follows in the clause: the next characters of matter or of polar words."""
    return reading.beside(place - 1, place, most)[1]


def meets(one: Mark, other: Mark) -> bool:
    """Whether two marks share a value."""
    return bool(one.values & other.values)


def level(mark: Mark) -> int:
    """The step of a word of the ladder, the upper one where it has two."""
    return max(map(int, mark.values))
