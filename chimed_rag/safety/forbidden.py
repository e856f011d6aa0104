"""What the literature forbids in a list, and a sentence allows: 风寒咳嗽、脾虚便溏忌用, and 适合风寒咳嗽.

What is covered: items before a word that forbids (孕妇、儿童禁用) and after it (忌与茶、牛奶同服, 不用于急救), allowed
by a sentence that denies and restricts nothing; the drug that both speak of. What is not covered: items in other words,
a ban that a sentence lifts for some of those whom it names.
Tried: 禁用 for 慎用 of the same item; of 3,486 pairs it told one more.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from chimed_rag.safety.marks import find_marks
from chimed_rag.safety.polarity import denials, ladder_marks, level
from chimed_rag.safety.reading import Reading, pairs_of

_ALLOWS = re.compile(
    "适[合宜用于]|(?<![不便适])宜|可(?![能致见引逆])以?|(?<!功)能(?![不否])|用于|用来|应|最好|推荐|建议|放心|安全|照[常样]|值得|选|优先"
    "|必须|要(?!是)|需|随便|随意"
)
_RESTRICTS = re.compile(
    "不|没|无|未|别|勿|禁|忌|避|停|防|免|慎|小心|当心|警惕|谨|难|少|除|外|仅|只|才|非|拒|代替|替代|危险|风险|有害|加重|但|改|换|例外|过[头量度多]|[要须]查|监测"
)
_FORBIDS = re.compile("禁|忌|不宜|不可|不得|不能|不应|不用|不与|不单|不常规|不入|不作|避免")
_TOGETHER = re.compile("同|一起|一并|一块|合用|联合|联用|混|配|加在|加入|当天|送服|送下|就着|搭|合并|并用")
_PAIRED = re.compile("[与和同跟].{1,20}(?:同|合|混|并|配|联)")
_ITEM = re.compile("[、,，及和或与以]|以及")
_WITH = re.compile("[同合混并配联].{0,3}$")


def allowed(sentence: Reading, sources: Sequence[Reading]) -> str:
    """What is allowed though the literature forbids it (in Chinese); "" if nothing is."""
    if not _ALLOWS.search(sentence.folded) or _RESTRICTS.search(sentence.folded):
        return ""
    said = _pairs(sentence, 0, len(sentence.norm))
    groups = {value for mark in find_marks(sentence, "populations.tsv") for value in mark.values}
    for reading in sources:
        for begin, end in reading.clauses:
            clause = reading.raw_text(begin, end)
            if not _FORBIDS.search(clause) or not _is_of_same(reading, begin, sentence):
                continue
            for low, high, rest in _items(reading, begin, end):
                pairs = _pairs(reading, low, high)
                told = bool(pairs) and pairs <= said and _is_done(reading, rest, end, sentence)
                told = told or any(
                    low <= mark.start < high and mark.values & groups for mark in find_marks(reading, "populations.tsv")
                )
                if told and (not _PAIRED.search(clause) or _TOGETHER.search(sentence.folded)):
                    return f"原文说的是“{clause}”"
    return ""


def _items(reading: Reading, begin: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The items of a clause that forbids, before or after the word, and where what is forbidden to them begins."""
    for mark in (*ladder_marks(reading), *denials(reading)):
        if not begin <= mark.start < end or (mark.kind == "ladder" and level(mark) > -1 and "-3" not in mark.values):
            continue
        before = len(_pairs(reading, mark.end, end)) < 2
        low, high = (begin, mark.start) if before else (mark.end, end)
        rest = mark.end if before else end
        paired = None if before else _WITH.search(reading.norm[:high], low)
        at = low
        for found in _ITEM.finditer(reading.norm, low, high):
            yield at, found.start(), rest
            at = found.end()
        yield at, paired.start() if paired else high, rest


def _is_done(reading: Reading, begin: int, end: int, sentence: Reading) -> bool:
    """Whether the sentence has something of what is forbidden to those whom it names, where that is told: 不宜久服."""
    done = {reading.norm[place] for place in range(begin, end) if reading.tells(place)}
    return not done or not done.isdisjoint(sentence.char_set)


def _is_of_same(reading: Reading, place: int, sentence: Reading) -> bool:
    """Whether a drug named before a place is one of those the sentence names, or it names none."""
    named = {token.canonical for token in sentence.tokens if token.kind in ("drug", "herb")}
    before = [token.canonical for token in reading.tokens if token.kind in ("drug", "herb") and token.start < place]
    return not named or not before or bool(named.intersection(before))


def _pairs(reading: Reading, begin: int, end: int) -> frozenset[str]:
    norm = reading.norm
    return pairs_of(norm[place] for place in range(begin, end) if reading.tells(place) and norm[place] != "者")
