"""Superlatives: the most frequent, gravest, first or best, said of another thing than the literature says it of.

What is covered: a clause with a superlative of which the clauses of the literature with one of the same class hold next
to nothing, while another clause holds more. What is not covered: 主要 and 最多, which also limit (最多三天), and which
of several superlatives is meant.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise

from chimed_rag.safety.reading import Reading

_CLASSES = tuple(
    map(
        re.compile,
        (
            "最常见|最多见|最为(?:常见|多见)|居首|居多|首位",
            "最少见|最罕见",
            "最严重|最危险|最重|最凶险|最致命",
            "最轻",
            "最早|最先|首先出现|首发",
            "最晚|最迟|最后出现",
            "首选|第一选择|头号",
            "最突出|最典型|最具特征|最有特征",
            "最有效|[疗效]效最[好佳]|最灵|最敏感|最可靠|最强",
            "最弱|最差|最不敏感",
        ),
    )
)
_MARKS = frozenset("最首")
_OPENS = 2  # characters before a superlative that goes on with the clause before: 为最常见的类型
_MOST_SHARED, _MIN_ELSEWHERE = 1, 2


def misgiven(sentence: Reading, passages: Callable[[], Sequence[Reading]]) -> str:
    """A superlative that the literature gives to something else, in Chinese; "" if there is none."""
    for begin, end in sentence.clauses:
        for superlative in _CLASSES:
            said = _found(superlative, sentence, begin, end)
            pairs = frozenset(pair for pair in _pairs(sentence, begin, end) if _MARKS.isdisjoint(pair))
            if said and (told := _given(superlative, pairs, passages())):
                return f"“{said}”：原文说的是“{told}”"
    return ""


def _given(superlative: re.Pattern[str], pairs: frozenset[str], passages: Sequence[Reading]) -> str:
    """The clause to which the literature gives a superlative, if `pairs` stand elsewhere and not there."""
    best, told, elsewhere = -1, "", 0
    for reading in passages:
        for number, (begin, end) in enumerate(reading.clauses):
            match = superlative.search(reading.norm, begin, end)
            if match and number and match.start() - begin <= _OPENS:
                begin = reading.clauses[number - 1][0]
            held = len(pairs & _pairs(reading, begin, end))
            if not _found(superlative, reading, begin, end):
                elsewhere = max(elsewhere, held)
            elif held > best:
                best, told = held, reading.raw_text(begin, end)
    return told if best <= _MOST_SHARED and elsewhere >= max(_MIN_ELSEWHERE, best + 1) else ""


def _found(superlative: re.Pattern[str], reading: Reading, begin: int, end: int) -> str:
    match = superlative.search(reading.norm, begin, end) or superlative.search(reading.raw_text(begin, end))
    return match[0] if match else ""


def _pairs(reading: Reading, begin: int, end: int) -> frozenset[str]:
    places = [at for at in range(begin, end) if reading.tells(at)]
    return frozenset(reading.norm[one] + reading.norm[two] for one, two in pairwise(places))
