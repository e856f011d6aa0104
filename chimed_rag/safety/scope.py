"""Of how many something is said: 都 where the literature says 多数 or names a share.

What is covered: 都, 均, 人人 and their kin in the clause of the literature that a clause of the sentence is most like.
What is not covered: 所有 and 多数 as words (`contrasts.tsv`), numbers that were left out, scope over several clauses.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from chimed_rag.safety.reading import Reading

_CLAUSE = re.compile("[^，。；！？,;!?\n]+")
_ALL = re.compile("(?<!成)都(?!市)|[均皆]|人人|个个|一律|总是|总会|全是")
_EVERY = re.compile("(?<!成)都|[均皆全各每]|任何|人人|一律|无论|不论|一切|凡|100%")
_SOME = re.compile("多数|大多|多半|多[在为于可能见]|部分|少数|有些|有的|个别|往往|[\\d.]+[%％](?!以上)|约半")
_LIKE = 0.4  # share of a clause that the clause of the literature must hold


def widened(sentence: Reading, sources: Sequence[Reading]) -> str:
    """What the sentence says of all that the literature says of some (in Chinese); "" if it does not."""
    claims = [match[0] for match in _CLAUSE.finditer(sentence.folded) if _ALL.search(match[0])]
    claims = [clause for clause in claims if not _SOME.search(clause)]
    if not claims:
        return ""
    told = [match[0] for reading in sources for match in _CLAUSE.finditer(reading.folded)]
    if any(_ALL.search(clause) or "所有" in clause for clause in told):
        return ""
    for clause in claims:
        pairs = _pairs(_ALL.sub("", clause))
        best = max(told, key=lambda one: len(pairs & _pairs(one)), default="")
        some = None if _EVERY.search(best) else _SOME.search(best)
        if some and pairs and len(pairs & _pairs(best)) >= _LIKE * len(pairs):
            said = _ALL.search(clause)
            return f"“{said[0] if said else clause}”不同于原文的“{some[0]}”"
    return ""


def _pairs(text: str) -> frozenset[str]:
    return frozenset(map("".join, pairwise(text)))
