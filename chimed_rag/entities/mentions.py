"""Which things a text speaks of: drugs, diseases, complaints, tests, each with its kind and its place.

What is covered: the names of `lexicon`, the lay words of `query/lay_terms.tsv`, drugs with common endings, and words
that end as diseases, operations and vaccines do (乳腺结节, 乙肝疫苗). What is not covered: unknown names of any other
form, and whether a thing is affirmed or denied.
"""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

from chimed_rag.entities.lexicon import Name, names, unknown_drugs
from chimed_rag.query.tables import rows
from chimed_rag.text import HAN, fold

_SURROGATE = re.compile("[\ud800-\udfff]")
_FIRST = f"(?![的了是有得患我你您他她它吃喝做打用和与跟或及被出现会能要在个种这那什么没不好查治到后前])[{HAN}]"
_FORMS = (
    (re.compile(rf"(?:{_FIRST}){{1,6}}(?:手术|成形术|整形|拔除术|[切摘]除术|矫正)|拔[智虫]?牙|纹眉|上环|取环"), "act"),
    (re.compile(rf"(?:{_FIRST}){{1,6}}疫苗"), "drug"),
    (re.compile(rf"(?:{_FIRST}){{1,6}}(?<![看生发疾毛犯怕防性慢急类])病(?![人房历史程情例因变症])"), "disease"),
    (
        re.compile(
            rf"(?:{_FIRST}){{1,6}}(?:[炎癌瘤痔癣疣疮疹痣斑疝]|综合[征症]|结节|息肉|囊肿|增生|骨折|溃疡|结石|积[水液]|脱垂|脱位"
            r"|撕裂|拉伤|扭伤|损伤|畸形|狭窄|感染|硬化|功能障碍|曲张|过敏|阳性)"
        ),
        "disease",
    ),
)

_BEFORE = re.compile(
    "(?:不?小心|进行|帮助|缓解|从未|请问|经常|导致|引起|造成|患|一下|治疗|预防|轻微|严重|怀疑|确诊|诊断|属于|关于|因为|最近)*"
)


class Mention(NamedTuple):
    """A name in a text: as written, its main name (folded), its kind (as `lexicon.Name`), and its place (half-open)."""

    text: str
    canonical: str
    kind: str
    start: int
    end: int


@cache
def _finder() -> tuple[object, list[str], list[Name]]:
    from ahocorasick_rs import AhoCorasick, MatchKind

    known = dict(names())
    for said, meant in rows("lay_terms.tsv"):
        first = meant.split()[0] if meant.strip() else said
        kind = "sign" if len(first) > 1 else "part"
        known.setdefault(said, known.get(first) or Name(first, kind))
    return AhoCorasick(list(known), matchkind=MatchKind.LeftmostLongest), list(known), list(known.values())


def mentions(text: str) -> list[Mention]:
    """The names in a text, in order, not overlapping, the longest at each place; time is linear in the text."""
    folded = _SURROGATE.sub("\ufffd", fold(text))
    search, _, meant = _finder()
    found = [
        (start, end, meant[which])
        for which, start, end in search.find_matches_as_indexes(folded)  # type: ignore[attr-defined]
        if not (_splits(folded, start) or _splits(folded, end))
    ]
    formed = []
    for begin, end in unknown_drugs(folded):
        start = begin + len(_BEFORE.match(folded[begin:end])[0])  # type: ignore[index]
        formed.append((start, end, Name(folded[start:end], "drug")))
    for pattern, kind in _FORMS:
        for one in pattern.finditer(folded):
            start = one.start() + len(_BEFORE.match(one[0])[0])  # type: ignore[index]
            formed.append((start, one.end(), Name(folded[start : one.end()], kind)))
    # What was formed wins only where it is longer: 乙肝疫苗 over 乙肝; where both begin and end alike, the known one.
    kept: list[tuple[int, int, Name]] = []
    end_of_last = 0
    for start, end, name in sorted([*found, *formed], key=lambda one: (one[0], -one[1])):
        if start >= end_of_last and len(name.canonical) > 0:
            kept.append((start, end, name))
            end_of_last = end
    return [Mention(text[start:end], name.canonical, name.kind, start, end) for start, end, name in kept]


def _splits(text: str, place: int) -> bool:
    """Whether a word of Latin letters and digits runs across this place."""
    if not 0 < place < len(text):
        return False
    before, after = text[place - 1], text[place]
    return before.isascii() and after.isascii() and before.isalnum() and after.isalnum()
