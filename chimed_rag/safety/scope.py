"""Of how many something is said, under which condition, and in which order.

What is covered: 都, 均, 人人 where the literature says 多数 or names a share, in the clause that is most like; 只有…才
where it knows no such condition; 只见于, 只由, 只对 where it limits nothing, 不管有没有 where it says nothing of all;
先甲再乙 where it says 先乙再甲. What is not covered: 所有 and 多数 as words (`contrasts.tsv`), a limit told of another
thing in the same sentence, numbers that were left out, orders told without 先.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from chimed_rag.safety.reading import Reading, pairs_of

_CLAUSE = re.compile("[^，。；！？,;!?\n]+")
_ALL = re.compile("(?<!成)都(?!市)|[均皆]|人人|个个|一律|总是|总会|全是")
_EVERY = re.compile("(?<!成)都|[均皆各每]|全[都部]|任何|人人|一律|无论|不论|一切|凡|100%")
_SOME = re.compile("多数|大多|多半|多[在为于可能见]|部分|少数|有些|有的|个别|往往|[\\d.]+[%％](?!以上)|约半")
_ONLY_IF = re.compile("只有[^，。；！？,;]{1,20}(?:，)?[^，。；！？,;]{0,6}(?<!刚)才(?![能干])")
_CONDITION = re.compile("只[有在能]|仅|才|方[可能]|唯")
_RESTRICTED = re.compile(
    "(?<![不非并])(?:[只仅]|唯独)(?:对|见于|适[合于用宜]|宜|发生|由|会|需(?!要时)|须|用[于来]|走|归|留|供|治|管|分布|出现"
    "|作用|影响|累及|侵犯|侵及|损害|针对|存在于|传)|专[治管供攻]"
)
_LIMITED = re.compile("[仅只]|唯|单[纯独用]|专|限|才|方可|部分|少数|多[为见]?|主要|特有|独有|特异")
_WHATEVER = re.compile("(?:不管|不论|无论|不问)[^，。；]{0,8}(?:有无|有没有|是否|是不是|谁|什么|何种|怎[么样])")
_ANY = re.compile("[均皆都各凡]|无论|不论|不管|不分|任何|一律|所有|一切|无关|每")
_FIRST = re.compile(
    "先(?![天兆前后露心])(?P<first>[^。；！？;先]{2,30}?)[，,]?(?:再|然后|而后|随后|最后)(?P<then>[^。；！？，;,]{2,20})"
)
_ORDER = re.compile("先(?![天兆露心])|然后|再|随后|之?后")
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
        pairs = pairs_of(_ALL.sub("", clause))
        best = max(told, key=lambda one: len(pairs & pairs_of(one)), default="")
        some = None if _EVERY.search(best) else _SOME.search(best)
        if some and pairs and len(pairs & pairs_of(best)) >= _LIKE * len(pairs):
            said = _ALL.search(clause)
            return f"“{said[0] if said else clause}”不同于原文的“{some[0]}”"
    return ""


def narrowed(sentence: Reading, sources: Sequence[Reading]) -> str:
    """What the literature does not limit, or not lift, so (in Chinese): a condition, 只有…才; what something holds for,
    只见于; that it holds whatever else does, 不管有没有. "" if there is none."""
    only = _ONLY_IF.search(sentence.folded)
    if only and not any(_CONDITION.search(reading.folded) for reading in sources):
        return f"原文没有“{only[0]}”"
    limited = _RESTRICTED.search(sentence.folded)
    if limited and not any(_LIMITED.search(reading.folded) for reading in sources):
        return f"原文没有“{limited[0]}”"
    whatever = _WHATEVER.search(sentence.folded)
    if whatever and not any(_ANY.search(reading.folded) for reading in sources):
        return f"原文没有“{whatever[0]}”"
    return ""


def reordered(sentence: Reading, sources: Sequence[Reading]) -> str:
    """先甲再乙 for 先乙再甲 (in Chinese); "" if the order is that of the literature or not told."""
    steps = _FIRST.search(sentence.folded)
    if not steps:
        return ""
    first, then = pairs_of(steps["first"]), pairs_of(steps["then"])
    first, then = first - then, then - first
    for reading in sources:
        if not _ORDER.search(reading.folded):
            continue
        early = [at for at, pair in enumerate(map("".join, pairwise(reading.folded))) if pair in first]
        late = [at for at, pair in enumerate(map("".join, pairwise(reading.folded))) if pair in then]
        if early and len(late) > 1 and min(early) > max(late):
            return f"“{steps[0]}”的先后与原文相反"
    return ""
