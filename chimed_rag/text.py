"""Chinese text, pure functions: normal forms, index terms, sentences.

Not covered: numbers and units (`quantities`); traditional characters, synonyms and typing errors (`query.rewriting`).
Offsets count characters (code points), half-open, from 0. Every function takes time linear in the length of its text.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise

_PLAIN = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F) if chr(code - 0xFEE0).isalnum()}
_PLAIN |= {0x3000: 0x20, 0xFF0E: 0x2E, 0xFF05: 0x25, 0xFF0F: 0x2F, 0xFF0B: 0x2B, 0xFF0D: 0x2D}
# Radicals that look like whole characters. PDF files made by browsers hold them in their place: ⼝服 for 口服. The
# Kangxi radicals have compatibility mappings; of their supplement, these are the ones that are characters by
# themselves (Unicode's EquivalentUnifiedIdeograph.txt).
_PLAIN |= {code: ord(unicodedata.normalize("NFKC", chr(code))) for code in range(0x2F00, 0x2FD6)}
_PLAIN |= str.maketrans(
    "⺒⺜⺝⺟⺠⺩⺫⺬⺶⺼⻄⻅⻆⻉⻋⻑⻓⻔⻘⻙⻚⻛⻜⻝⻢⻣⻤⻥⻦⻧⻨⻩⻪⻬⻮⻰⻳",
    "巳日月母民王目示羊月西见角贝车長长门青韦页风飞食马骨鬼鱼鸟卤麦黄黾齐齿龙龟",
)
VARIANTS = "".join(map(chr, _PLAIN))
"""The characters that `plain_forms` replaces."""
_VARIANT = re.compile(f"[{VARIANTS}]")
HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff\u3007"
_TERM = re.compile(rf"[{HAN}]+|[a-z0-9\u00b5\u0370-\u03ff]+(?:[.+-][a-z0-9]+)*[%+]?")


def plain_forms(text: str) -> str:
    """Full-width letters, digits, blanks and the signs of numbers (．％／＋－) made half-width, and radicals made the
    characters they look like, one to one; Chinese punctuation stays."""
    return text.translate(_PLAIN) if _VARIANT.search(text) else text


def fold(text: str) -> str:
    """The form in which texts are compared: half-width letters and digits, lower case; the length never changes."""
    folded = plain_forms(text)
    lowered = folded.lower()
    if len(lowered) == len(folded):
        return lowered
    return "".join(low if len(low := char.lower()) == 1 else char for char in folded)


def terms(text: str) -> list[str]:
    """The index terms of a text, in order, with repetitions: overlapping character pairs of each run of Chinese
    characters (a run of one gives that character), and words of letters and digits such as "hba1c" or "0.5".
    """
    found: list[str] = []
    for run in _TERM.findall(fold(text)):
        if run[0] < "\u3007" or len(run) == 1:
            found.append(run)
        else:
            found.extend(map("".join, pairwise(run)))
    return found


# --- sentences -------------------------------------------------------------------------------------------------

_ENUMERATION = (
    r"\d{1,3}[.．、)）](?!\d)|[1-9]\d?(?:\.[1-9]\d?)+ |[一二三四五六七八九十]{1,3}、"
    r"|[（(][一二三四五六七八九十\d]{1,3}[）)]|第[一二三四五六七八九十百\d]{1,4}[篇章节条]"
)
# A line break inside a sentence, as PDF text has them: after a comma, or between two words where the line is long.
WRAP = re.compile(
    rf"\n(?:(?<=[，、,（(]\n)|(?<=[^\n]{{19}}[{HAN}A-Za-z0-9]\n))(?!{_ENUMERATION})(?=[{HAN}A-Za-z0-9（(“])"
)
SEEN_BEFORE = 24
"""No rule for the end of a sentence looks back further than so many characters."""
_STOPS = "。！？!?；;…"
_ABBREVIATIONS = ("al|vs|cf|Dr|Mr|No|sp|ca|pp|ed|St", "Fig|etc|spp|var|Vol|eds|Inc|Ltd|Mrs", "Prof|resp")
_NOT_ABBREVIATED = "".join(rf"(?<!\b(?:{words})\.)" for words in _ABBREVIATIONS)
# One character class comes first, so that `re` can skip to the next candidate at full speed; look-behinds then tell
# the candidates apart. Short brackets and quotations are eaten whole: what ends inside them ends nothing outside.
_CANDIDATE = re.compile(
    rf"[{_STOPS}\n.（(《“「『]"
    rf"(?:(?<=[{_STOPS}])(?P<stop>[{_STOPS}]*[”’」』）)\]】]*)"
    r"|(?<=\n)(?P<line>)"
    rf"|(?<=[{HAN}”）)\]】%℃‰][.])(?<![一二三四五六七八九十][.])(?<![\d一二三四五六七八九十][）)\]][.])"
    r"(?![.，,、])(?P<han>[”’」』）)\]】]*)"
    rf"|(?<=[A-Za-z]{{2}}[.]){_NOT_ABBREVIATED}(?=\s*[{HAN}]|\s+[A-Z“\"（(]|\s*\Z)(?P<latin>)"
    rf"|(?:(?<=\d[A-Za-z][.])|(?<=\d [A-Za-z][.]))(?=\s*[{HAN}]|\s+[A-Z])(?P<unit>)"
    r"|(?<=[（(])(?:[^（()）\n]|[（(][^（()）\n]{0,60}[）)]){0,80}[）)]"
    r"|(?<=《)[^《》\n]{1,60}》"
    r"|(?<=“)[^“”\n]{0,80}(?:(?<=[。！？!?…])”(?P<quoted>)|”)"
    r"|(?<=[「『])[^「」『』\n]{0,80}(?:(?<=[。！？!?…])[」』](?P<cornered>)|[」』]))"
)


def sentence_spans(text: str, begin: int = 0) -> list[tuple[int, int]]:
    """The sentences of a text: half-open spans, in order, without blank edges, that cover every non-blank character.

    With `begin`, where one has ended, the sentences from there on, as they are in the whole text; `SEEN_BEFORE`
    characters before it are enough of it.

    A sentence ends after 。！？； and …, at a line break that is no mere wrapping of a long line, and at a full stop
    that is one (not in 0.5, v1.2, "1.", e.g.). No end lies in a short bracket or quotation, or in a protected span.
    """
    joined = WRAP.sub(" ", plain_forms(text))
    spans: list[tuple[int, int]] = []
    for match in _CANDIDATE.finditer(joined, begin):
        if match.lastgroup is not None:
            _append_trimmed(spans, joined, begin, match.end())
            begin = match.end()
    _append_trimmed(spans, joined, begin, len(joined))
    return spans


def _append_trimmed(spans: list[tuple[int, int]], text: str, begin: int, end: int) -> None:
    while begin < end and text[begin].isspace():
        begin += 1
    while begin < end and text[end - 1].isspace():
        end -= 1
    if begin < end:
        spans.append((begin, end))
