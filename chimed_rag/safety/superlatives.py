"""Superlatives: 最常见的是甲 where the literature says 乙最常见, or says so of nothing.

What is covered: 最 with an adjective, and 头号, 首位; what the literature calls so, before or after the word, against
what the sentence names. What is not covered: 最 in a limit (最多三天, 最好), 首选 (`contrasts.tsv`), the same thing
under another name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from chimed_rag.safety.reading import Reading, pairs_of

_MOST = re.compile("最(?![后好近终低高多少大小初长短晚怕])|最多见|头号|首位|第一位|居首")
_SOME = re.compile(
    "最|首|头号|居|主要|为主|多见|多为|多在|多由|好发|尤|必|突出|显著|特征|特异|要药|极|甚|关键|唯一|优于|强于|典型|易|重在|常[为见用]|[\\d.]+[%％]"
    "|应|宜|佳|敏感|可靠|金标准|良|适|早|先|快|效"
)
_OWN = 2  # pairs of characters below which a superlative is said of what stands in the clause before


class _Claim(NamedTuple):
    """A clause, and its pairs of characters; with the one before it where it is a mere superlative (出血：最常见)."""

    text: str
    pairs: frozenset[str]
    own: frozenset[str]


def superlative(sentence: Reading, sources: Sequence[Reading], context: Sequence[Reading]) -> str:
    """What the sentence puts first and the literature does not (in Chinese); "" if there is none."""
    said = _MOST.search(sentence.norm)
    if said is None:
        return ""
    begin, end = sentence.clause_at(said.start())
    headed = frozenset().union(*(reading.pair_set for reading in context))
    pairs = _pairs(sentence, begin, end) - headed
    clauses = list(_clauses(sources))
    first = [claim for claim in clauses if _MOST.search(claim.text)]
    here = max(clauses, key=lambda claim: len(claim.pairs & pairs), default=None)
    if here is None or not here.pairs & pairs:
        return ""
    if not first:
        return "" if _SOME.search(here.text) else f"原文没有“{said[0]}”"
    if here in first:
        elsewhere = frozenset().union(*(claim.pairs for claim in clauses if claim not in first))
        swapped = (elsewhere & pairs) - here.pairs and here.own - sentence.pair_set
        measured = any("\ue000" <= char < "\uf900" for pair in here.own for char in pair)
        return f"“{sentence.raw_text(begin, end)}”不同于原文的“{here.text}”" if swapped and not measured else ""
    others = frozenset().union(*(claim.pairs for claim in first))
    mine = (here.pairs & pairs) - others
    if not mine or any(len(claim.pairs & pairs) >= len(mine) for claim in first):
        return ""
    return f"“{sentence.raw_text(begin, end)}”不同于原文的“{first[0].text}”"


def _clauses(sources: Sequence[Reading]) -> Iterator[_Claim]:
    for reading in sources:
        before: frozenset[str] = frozenset()
        for begin, end in reading.clauses:
            pairs, own = _pairs(reading, begin, end), _pairs(reading, begin, end, _MOST)
            yield _Claim(reading.raw_text(begin, end), pairs | before if len(own) < _OWN else pairs, own)
            before = pairs


def _pairs(reading: Reading, begin: int, end: int, without: re.Pattern[str] | None = None) -> frozenset[str]:
    found = without.search(reading.norm, begin, end) if without else None
    low, high = found.span() if found else (end, end)
    return pairs_of(
        reading.norm[place] for place in range(begin, end) if reading.tells(place) and not low <= place < high + 2
    )
