"""A document becomes chunks: sections by their headings, paragraphs and sentences packed up to a size.

Not done: nothing is rewritten; a chunk's text is the clean view of one stretch of the document. All sizes count
characters of that view. Time is linear in the length of the document.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import NamedTuple

from chimed_rag.config import Chunking
from chimed_rag.corpus.cleaner import CleanView, clean
from chimed_rag.quantities import protected_spans
from chimed_rag.records import Chunk, Document
from chimed_rag.text import sentence_spans


def chunk(document: Document, chunking: Chunking = Chunking()) -> list[Chunk]:  # noqa: B008 - frozen
    """The chunks of a document, in order, with ids "DOCUMENT#0000", ...; none where it holds nothing but blanks.

    Without overlap every non-blank character of the clean view is in exactly one chunk. No chunk begins or ends
    inside a protected span (`quantities.protected_spans`), nor inside a sentence of up to `max_chars` characters.
    """
    view = clean(document.text, document.pages)
    spans = (
        (begin, end, section.headings)
        for section in _sections(view.text, document.title, chunking)
        for begin, end in _pieces(view.text, section, chunking)
    )
    return [_chunk(document, view, n, *span) for n, span in enumerate(spans)]


def _chunk(document: Document, view: CleanView, n: int, begin: int, end: int, headings: tuple[str, ...]) -> Chunk:
    runs = view.slice_runs(begin, end)
    start = runs[0][1]
    return Chunk(
        id=f"{document.id}#{n:04d}",
        document_id=document.id,
        text=view.text[begin:end],
        start=start,
        end=runs[-1][1] + runs[-1][2],
        runs=tuple(runs) if len(runs) > 1 else (),
        page=max(1, bisect_right(document.pages, start)) if document.pages else None,
        headings=headings,
    )


# --- sections ----------------------------------------------------------------------------------------------------

_NUMBER = "[一二三四五六七八九十百零〇\\d]"
_HEADING_LINE = re.compile(  # on a text with a line break put before it: a literal first character is found fastest
    r"\n[ ]*(?=[#第一二三四五六七八九十（(1-9])(?P<title>"
    r"(?P<markdown>\#{1,6})[ ]+[^\n]{1,120}(?=\n|\Z)"
    rf"|(?:第{_NUMBER}{{1,5}}(?P<part>[篇编部章节])(?!段)"
    r"|(?P<han>[一二三四五六七八九十]{1,3})、|(?P<bracketed>[（(][一二三四五六七八九十]{1,3}[）)])"
    r"|(?P<decimal>[1-9]\d?(?:\.[1-9]\d?){1,4})[ .、]*(?=[\u4e00-\u9fff]|[A-Z][a-z]{2})"
    r"(?![倍小天月年周日毫微克升次片粒个岁万亿]))"
    r"[^\n。；！？;!?，,]{0,40}(?<![、：:.…])(?=[ ]*(?:\n|\Z)))"
)
_BRACKET = re.compile(r"【([^【】\n]{1,20})】(?!项|下|部分|中|、|和)")
_REFERRING = "见照阅考按在和与及、，（(“"
_BRACKET_RANK = 100
_PART_RANKS = {"篇": 7, "编": 7, "部": 7, "章": 8, "节": 9}


class _Section(NamedTuple):
    begin: int
    end: int
    headings: tuple[str, ...]
    whole: bool = False
    """It stays in one chunk, though it may be longer than the others."""


class _Heading(NamedTuple):
    begin: int
    end: int
    rank: int
    path: tuple[str, ...]

    def holds(self, other: _Heading) -> bool:
        return len(other.path) > len(self.path) and other.path[: len(self.path)] == self.path


def _sections(text: str, title: str, chunking: Chunking) -> list[_Section]:
    """The text cut at its headings, in order. A heading without a text of its own goes with what follows, and a 【…】
    section that is not too long is one with all that stands under it."""
    nodes = _headings(text)
    if not nodes:
        return [_Section(0, len(text), ())]
    sections: list[_Section] = []
    ends = [*(node.begin for node in nodes[1:]), len(text)]
    i = 0
    while i < len(nodes):
        begin = nodes[i].begin
        while i + 1 < len(nodes) and nodes[i].holds(nodes[i + 1]) and not text[nodes[i].end : ends[i]].strip():
            if nodes[i].rank == _BRACKET_RANK:
                break
            i += 1
        node, last = nodes[i], i
        if node.rank == _BRACKET_RANK:
            while last + 1 < len(nodes) and node.holds(nodes[last + 1]):
                last += 1
        whole = node.rank == _BRACKET_RANK and ends[last] - begin <= chunking.max_chars * 3 // 2
        last = last if whole else i
        path = node.path[1:] if title and node.path[:1] == (title,) else node.path
        sections.append(_Section(begin, ends[last], path, whole))
        i = last + 1
    return _together(sections, chunking)


def _together(sections: list[_Section], chunking: Chunking) -> list[_Section]:
    """Small neighbours become one section under the headings they have in common."""
    merged: list[_Section] = []
    open_ = False  # is the last one small, or made of small ones?
    for section in sections:
        last = merged[-1] if merged else section
        shared = 0
        for ours, theirs in zip(last.headings, section.headings, strict=False):
            if ours != theirs:
                break
            shared += 1
        siblings = shared >= min(len(last.headings), len(section.headings)) - 1
        small = section.end - section.begin < chunking.min_chars and section.end - last.begin <= chunking.max_chars
        if open_ and siblings and small:
            merged[-1] = _Section(last.begin, section.end, section.headings[:shared])
        else:
            merged.append(section)
            open_ = section.end - section.begin < chunking.min_chars
    return merged


def _headings(text: str) -> list[_Heading]:
    """The headings in order, each with its path, after one that stands for what comes before the first."""
    found: list[tuple[int, int, int, str]] = []
    for match in _HEADING_LINE.finditer("\n" + text):
        name = match["title"].strip()
        if match["markdown"]:
            rank, name = len(match["markdown"]), name.strip("# ")
            name = name[1:-1] if name.startswith("【") and name.endswith("】") else name
        elif match["part"]:
            rank = _PART_RANKS[match["part"]]
        else:
            rank = 10 if match["han"] else 11 if match["bracketed"] else 12 + match["decimal"].count(".")
        found.append((match.start(), match.end() - 1, rank, name))
    if "【" in text:
        lines = list(found)
        for match in _BRACKET.finditer(text):
            begin = match.start()
            line = bisect_right(lines, (begin + 1,)) - 1
            if (line < 0 or lines[line][1] <= begin) and (begin == 0 or text[begin - 1] not in _REFERRING):
                found.append((begin, match.end(), _BRACKET_RANK, match[1].strip()))
        found.sort()
    nodes = [_Heading(0, 0, 0, ())] if found and text[: found[0][0]].strip() else []
    path: list[tuple[int, str]] = []
    for begin, end, rank, name in found:
        _enter(path, rank, name)
        nodes.append(_Heading(begin, end, rank, tuple(name for _, name in path)))
    return nodes


def _enter(path: list[tuple[int, str]], rank: int, name: str) -> None:
    """Opens a heading and closes those it ends. A 【…】 may stand at any depth; only another one, a chapter or a
    Markdown heading ends it."""
    for i, (open_rank, _) in enumerate(path):
        if open_rank == rank or (open_rank > rank and (open_rank != _BRACKET_RANK or rank < 10)):
            del path[i:]
            break
    path.append((rank, name))


# --- pieces of a section -------------------------------------------------------------------------------------------

_CLAUSE = re.compile(r"[，、；,;：:\s]+")
_LONGEST_WORD = 30
_PARAGRAPH_END, _SENTENCE_END, _CLAUSE_END, _TITLE_END = 2, 1, 0, -1
_LONGEST_TITLE = 20


class _Unit(NamedTuple):
    begin: int
    end: int
    kind: int
    """What its end is: of a paragraph, a sentence, only a clause, or a title line that belongs to what follows."""


def _pieces(text: str, section: _Section, chunking: Chunking) -> Iterator[tuple[int, int]]:
    """The stretches of a section that become chunks, without blank edges."""
    stretch = _trimmed(text, section.begin, section.end)
    if stretch is None:
        return
    begin, end = stretch
    if end - begin <= chunking.max_chars or section.whole:
        yield begin, end
        return
    units = list(_units(text, begin, end, chunking.max_chars))
    first = 0
    while first < len(units):
        start = max(0, first - chunking.overlap_sentences) if first else 0
        while start < first and units[first].end - units[start].begin > chunking.max_chars:
            start += 1
        last = _last_unit(units, start, first, chunking.max_chars)
        yield units[start].begin, units[last].end
        first = last + 1


def _last_unit(units: list[_Unit], start: int, first: int, size: int) -> int:
    """The unit with which a chunk from `start` ends, at least `first`: the chunk is as full as may be, but a paragraph
    end in its second half wins, then a sentence end; what fits into two chunks is halved."""
    begin = units[start].begin
    rest = units[-1].end - begin
    if rest <= size:
        return len(units) - 1
    goal = rest / 2 if rest < 2 * size else size
    best, best_score = first, float("-inf")
    for i in range(first, len(units)):
        length = units[i].end - begin
        if length > size:
            break
        kind = units[i].kind if length >= size / 2 or rest - length <= size else min(units[i].kind, _CLAUSE_END)
        score = kind * size - abs(length - goal)
        if score >= best_score:
            best, best_score = i, score
    return best


def _units(text: str, begin: int, end: int, size: int) -> Iterator[_Unit]:
    """The sentences of a stretch; one that is longer than `size` in clauses."""
    body = text[begin:end]
    spans = sentence_spans(body)
    for i, (low, high) in enumerate(spans):
        following = spans[i + 1][0] if i + 1 < len(spans) else len(body)
        kind = _PARAGRAPH_END if "\n" in body[high:following] else _SENTENCE_END
        if kind == _PARAGRAPH_END and high - low <= _LONGEST_TITLE and body[high - 1].isalnum():
            kind = _TITLE_END
        if high - low > size:
            clauses = list(_clauses(body[low:high], size))
            for clause_begin, clause_end in clauses[:-1]:
                yield _Unit(begin + low + clause_begin, begin + low + clause_end, _CLAUSE_END)
            low += clauses[-1][0]
        yield _Unit(begin + low, begin + high, kind)


def _clauses(sentence: str, size: int) -> Iterator[tuple[int, int]]:
    """The clauses of a long sentence, none longer than `size` unless a protected span is; blank edges trimmed."""
    spans = protected_spans(sentence)
    begin = 0
    for end in [*(match.end() for match in _CLAUSE.finditer(sentence)), len(sentence)]:
        if end < len(sentence) and _around(spans, end):
            continue
        while begin < end:
            cut = min(end, _hard_cut(sentence, spans, begin, begin + size)) if end - begin > size else end
            stretch = _trimmed(sentence, begin, cut)
            if stretch:
                yield stretch
            begin = cut


def _hard_cut(sentence: str, spans: list[tuple[int, int]], begin: int, cut: int) -> int:
    """The last place at or before `cut` that splits neither a protected span nor a Latin word; after the span if
    there is none."""
    span = _around(spans, cut)
    if span:
        return span[0] if span[0] > begin else span[1]
    word = cut
    while word > cut - _LONGEST_WORD and (pair := sentence[word - 1 : word + 1]).isascii() and pair.isalnum():
        word -= 1
    return word if max(begin, cut - _LONGEST_WORD) < word and not _around(spans, word) else cut


def _around(spans: list[tuple[int, int]], place: int) -> tuple[int, int] | None:
    """The span that a cut at `place` would split."""
    i = bisect_left(spans, (place,)) - 1
    return spans[i] if i >= 0 and spans[i][1] > place else None


def _trimmed(text: str, begin: int, end: int) -> tuple[int, int] | None:
    """A stretch without blank edges, None if nothing is left."""
    while begin < end and text[begin].isspace():
        begin += 1
    while begin < end and text[end - 1].isspace():
        end -= 1
    return (begin, end) if begin < end else None
