"""Most and few: 大多数 where the literature says 少见, 偶有 or 30%, 少数 where it says 多数 or 80%.

What is covered: words and shares for more or less than half, in the clause that is most like what is said. What is not
covered: 都 and 所有 (`scope`, `contrasts.tsv`), exchanged shares that both are more or less than half.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from operator import itemgetter

from chimed_rag.safety.reading import Reading

_MANY = re.compile(
    "绝?大多数|(?<!极)(?:绝?大部分|多数|多半|大多|几乎(?:都|全|所有|每)|[七八九]成|[常往]常|十有八九|十分常?多?见|很常见)"
)
_FEW = re.compile(
    "(?<!不)(?:少数|个别|(?<!最)少见|罕见|很少|极少|较少|甚少|鲜有|偶[见有尔可]|少有|不常见|不多见|不多|几乎不|不足(?:1/|三分|一半|半))"
)
_SHARE = re.compile("(?:([\\d.]+)[%％]?[~～\\-—至到])?([\\d.]+)[%％]")
_HALF = 50.0
_LIKE = 0.25


def exchanged(sentence: Reading, sources: Sequence[Reading]) -> str:
    """What is said of most and holds for few, or the other way round (in Chinese); "" if there is none."""
    for begin, end in sentence.clauses:
        said = sentence.raw_text(begin, end)
        many, few = _MANY.search(said), _FEW.search(said)
        if bool(many) == bool(few):
            continue
        pairs = sentence.pairs_within(begin, end)
        clauses = [
            (len(pairs & reading.pairs_within(low, high)), reading.raw_text(low, high))
            for reading in sources
            for low, high in reading.clauses
        ]
        held, told = max(clauses, key=itemgetter(0), default=(0, ""))
        if held < max(2, _LIKE * len(pairs)):
            continue
        is_many, is_few = _weighed(told)
        found = many or few
        if found and is_many != is_few and is_many != bool(many):
            return f"“{found[0]}”不同于原文的“{told}”"
    return ""


def _weighed(text: str) -> tuple[bool, bool]:
    """Whether a clause speaks of more, and of less than half."""
    shares = [(float(low or high), float(high)) for low, high in _SHARE.findall(text) if _is_number(low, high)]
    many = _MANY.search(text) is not None or any(low > _HALF for low, _ in shares)
    few = _FEW.search(text) is not None or any(high < _HALF for _, high in shares)
    return many, few


def _is_number(*texts: str) -> bool:
    return all(text.count(".") < 2 and text.strip(".") for text in texts if text)
