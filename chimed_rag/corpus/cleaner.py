"""A document becomes a clean view of itself: no control characters, no page headers, half-width letters and digits,
characters instead of radicals.

Not done: the document itself is never altered, and nothing is joined but a sentence that a removed page header cut.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from chimed_rag.records import Run
from chimed_rag.text import VARIANTS, plain_forms

# Zero-width and direction marks, soft hyphens and control characters stand inside words: they are taken out.
_HIDDEN = "\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff"
# Other blanks and line breaks become plain ones, lone surrogates (not writable as UTF-8) a replacement character.
_STRANGE = "\t\x0b\x0c\r\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\ud800-\udfff"
_DIRTY = re.compile(f"[{_HIDDEN}{_STRANGE}{VARIANTS}]")
_INVISIBLE = re.compile(f"[{_HIDDEN}]+")
_PLAIN = dict.fromkeys(map(ord, "\x0b\x0c\r\x85\u2028\u2029"), "\n")
_PLAIN |= dict.fromkeys([0x09, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x202F, 0x205F], " ")
_PLAIN |= dict.fromkeys(range(0xD800, 0xE000), "\ufffd")
_EMPTY_LINES = re.compile(r"\n *\n((?: *\n)+)")

_LINE = re.compile(r"\S[^\n]*")
_EDGE_LINES = 3
_DECORATION = "[0-9 .·•\\-–—―|/第页共]+"
_NUMBERING = re.compile(rf"^{_DECORATION}|{_DECORATION}$")
_PAGE_NUMBER = re.compile(
    r"[-–—―·•|\[(（ ]*(?:(?P<plain>\d{1,4})|第 ?\d{1,4} ?页(?:[ ,，/]*共 ?\d{1,4} ?页)?|\d{1,4} ?/ ?\d{1,4}"
    r"|(?i:page) ?\d{1,4}(?: ?(?:of|/) ?\d{1,4})?)[-–—―·•|\])） ]*"
)
_HAN = re.compile("[\u3400-\u9fff，、（]")
_ENDS = "。！？!?；;：:…”》】|"
_OPENING = re.compile(
    r"#|【|[①-⑳•●■]|第[一二三四五六七八九十\d]{1,4}[篇章节条]|[一二三四五六七八九十]{1,3}、|[（(][一二三四五六七八九十\d]{1,3}[）)]"
    r"|\d{1,2}(?:[.、)）](?!\d)|(?:\.\d{1,2})+ )"
)


_Cut = tuple[int, int, str]
"""A stretch of the source that is left out: begin, end, reason."""


@dataclass(frozen=True)
class CleanView:
    """What a document says once cleaned, with the way back.

    `runs` are (offset in `text`, offset in the source, length), in order, covering `text`; `removed` counts the
    characters left out by reason: control, repeated_header, page_number, blank_lines.
    """

    text: str
    runs: tuple[Run, ...]
    removed: dict[str, int] = field(default_factory=dict)

    def source_spans(self, begin: int, end: int) -> list[tuple[int, int]]:
        """Where `text[begin:end]` lies in the source: half-open spans, several where something was removed.

        Raises:
            ValueError: the slice does not lie in this text.
        """
        return [(source, source + length) for _, source, length in self.slice_runs(begin, end)]

    def slice_runs(self, begin: int, end: int) -> list[Run]:
        """The runs of `text[begin:end]`, with offsets relative to `begin`.

        Raises:
            ValueError: the slice does not lie in this text.
        """
        if not 0 <= begin <= end <= len(self.text):
            raise ValueError(f"slice {begin}:{end} does not lie in a text of {len(self.text)} characters")
        found: list[Run] = []
        for i in range(max(0, bisect_right(self.runs, (begin + 1,)) - 1), len(self.runs)):
            offset, source, length = self.runs[i]
            if offset >= end:
                break
            low, high = max(begin, offset), min(end, offset + length)
            if low < high:
                found.append((low - begin, source + low - offset, high - low))
        return found

    def to_source(self, i: int) -> int:
        """The source offset of `text[i]`.

        Raises:
            ValueError: there is no such character.
        """
        return self.source_spans(i, i + 1)[0][0]


def clean(text: str, pages: Sequence[int] = ()) -> CleanView:
    """The clean view of a text; `pages` are the offsets at which its pages begin (none: no header is looked for).

    Lines that repeat at the edges of at least three pages and half of all, and page numbers there, are left out; a
    sentence that they interrupt reads through. What is replaced one to one (full-width letters, radicals, odd blanks)
    keeps its offset.
    """
    plain = text
    cuts: list[_Cut] = []
    if _DIRTY.search(text):
        plain = plain_forms(text).replace("\r\n", " \n").translate(_PLAIN)
        cuts = [(*match.span(), "control") for match in _INVISIBLE.finditer(plain)]
    if "\n\n" in plain or "\n " in plain:
        cuts += [(*match.span(1), "blank_lines") for match in _EMPTY_LINES.finditer(plain)]
    if len(pages) > 0:
        cuts += _page_furniture(plain, pages)
    if not cuts:
        return CleanView(plain, ((0, 0, len(plain)),) if plain else ())
    return _without(plain, sorted(cuts))


def _without(text: str, cuts: list[_Cut]) -> CleanView:
    """The view of a text without some stretches, given in order; where two overlap the first one counts."""
    runs: list[Run] = []
    pieces: list[str] = []
    removed: Counter[str] = Counter()
    position = offset = 0
    for begin, end, reason in [*cuts, (len(text), len(text), "")]:
        if begin > position:
            runs.append((offset, position, begin - position))
            pieces.append(text[position:begin])
            offset += begin - position
        if end > max(begin, position):
            removed[reason] += end - max(begin, position)
        position = max(position, end)
    return CleanView("".join(pieces), tuple(runs), dict(removed))


# --- page headers, footers and numbers ---------------------------------------------------------------------------


def _page_furniture(text: str, pages: Sequence[int]) -> list[_Cut]:
    """The cuts that take headers, footers and page numbers out of a paged text."""
    bounds = sorted({0, *(page for page in pages if 0 < page < len(text)), len(text)})
    lines = [[match.span() for match in _LINE.finditer(text, *page)] for page in pairwise(bounds)]
    heads = _furniture(text, [page[:_EDGE_LINES] for page in lines])
    feet = _furniture(text, [page[: -_EDGE_LINES - 1 : -1] for page in lines])
    cuts: list[_Cut] = []
    out: list[_Cut] = []  # lines to leave out since the last line that stays
    low = 0
    for page, head, foot in zip(lines, heads, feet, strict=True):
        foot = foot[: len(page) - len(head)]
        stays = page[len(head) : len(page) - len(foot)]
        out += head
        if stays:
            cuts += _cut_between(text, low, stays[0][0], out)
            low, out = stays[-1][1], []
        out += reversed(foot)
    cuts += _cut_between(text, low, len(text), out)
    return cuts


def _furniture(text: str, edges: list[list[tuple[int, int]]]) -> list[list[_Cut]]:
    """For each page the lines at one of its edges (given from the edge inwards) that are to be left out."""
    keys = [[_key(text[begin:end]) for begin, end in edge] for edge in edges]
    repeated = Counter(key for page in keys for key in set(page))
    enough = max(3, len(edges) // 2)  # half, rounded down: left and right pages may carry different headers
    numbers = [[_PAGE_NUMBER.fullmatch(text, *_trimmed(text, *line)) for line in edge] for edge in edges]
    shifts = Counter(
        int(match["plain"]) - i for i, page in enumerate(numbers, 1) for match in page if match and match["plain"]
    )
    found: list[list[_Cut]] = []
    for i, edge in enumerate(edges, 1):
        found.append([])
        for (begin, end), key, number in zip(edge, keys[i - 1], numbers[i - 1], strict=True):
            if number and (not number["plain"] or (shift := int(number["plain"]) - i) == 0 or shifts[shift] > 1):
                found[-1].append((begin, end, "page_number"))
            elif repeated[key] >= enough and not key.startswith(("【", "#")):
                found[-1].append((begin, end, "repeated_header"))
            else:
                break
    return found


def _key(line: str) -> str:
    """What a header has in common on all its pages: the line without blanks, and without a number at either end."""
    bare = _NUMBERING.sub("", line.strip())
    return (bare if len(bare) >= 4 else line).replace(" ", "")


def _trimmed(text: str, begin: int, end: int) -> tuple[int, int]:
    return begin, begin + len(text[begin:end].rstrip())


def _cut_between(text: str, low: int, high: int, lines: list[_Cut]) -> Iterator[_Cut]:
    """The cuts between two lines that stay: all of it, but for one line break unless a sentence reads through."""
    if not lines:
        return
    kept = -1 if low == 0 or high == len(text) or _reads_through(text, low, high) else text.find("\n", low, high)
    position = low
    for begin, end, reason in [*lines, (high, high, "")]:
        if position <= kept < begin:
            yield position, kept, "blank_lines"
            position = kept + 1
        yield position, begin, "blank_lines"
        yield begin, end, reason
        position = end


def _reads_through(text: str, low: int, high: int) -> bool:
    """Does the line that ends at `low` go on in the line that begins at `high`?"""
    last = text[text.rfind("\n", 0, low) + 1 : low].strip()
    if not last or last[-1] in _ENDS or _OPENING.match(text, high) or (len(last) <= 15 and _OPENING.match(last)):
        return False
    return bool(_HAN.match(last[-1]) or _HAN.match(text, high))
