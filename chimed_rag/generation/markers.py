"""Reads what a language model wrote: sentences, and the marks by which they cite passages.

What is covered: [1] ［1］ 【1】 〔1〕 (1) （1）, several in one ([1,2], [1、3], [1-3]) or side by side, before or
after the full stop, on a line of their own, with 文献 or 来源 before the number; bullets and numbering, which do not
become sentences; what models write around an answer (`wrappings`). Markdown, HTML and scripts stay plain text
(rendering escapes them). What is not covered: footnotes with text, citations by title. Time is linear in the text.
"""

from __future__ import annotations

import re

from chimed_rag.generation.wrappings import Unwrapper, unwrapped
from chimed_rag.records import Draft, DraftCitation, DraftSentence
from chimed_rag.text import SEEN_BEFORE, WRAP, plain_forms, sentence_spans

MOST_IN_RANGE = 20
"""A range that names more passages than this, [1-99], is read as its two ends."""

_LIST = r"\d{1,3}(?:[ ]?[,，、;；\-–—~～至][ ]?\d{1,3}){0,9}"
_WORD = r"(?:文献|来源|参考文献|资料|证据|引用|ref\.?|source)?[ ]?[:：]?[ ]?"
_SQUARE = rf"[\[［【〔]\^?[ ]?{_WORD}(?P<square>{_LIST})[ ]?[\]］】〕]"
_ROUND = rf"[(（][ ]?{_WORD}(?P<round>{_LIST})[ ]?[)）]"
_MARK = re.compile(rf"[ ]?(?:{_SQUARE}|{_ROUND})", re.IGNORECASE)
_MARKS_ONLY = re.compile(
    rf"(?:[ ]?(?:{_SQUARE.replace('?P<square>', '?:')}|{_ROUND.replace('?P<round>', '?:')})){{1,20}}", re.IGNORECASE
)
_END = "。．.！!？?；;…"
_BULLET = re.compile(
    r"^[ \t]*(?:[-*+•·●▪◦][ \t]+|\d{1,2}[.、)）][ \t]*(?!\d)|[（(]\d{1,2}[)）][ \t]*|#{1,6}[ \t]+|>[ \t]?)"
)
_NUMBER = re.compile(r"(\d{1,3})(?:[ ]?[\-–—~～至][ ]?(\d{1,3}))?")
_WHOLE = re.compile(r"[^\W_]")
_LETTER = re.compile(r"[^\W\d_]")
_OPENS_LIST = re.compile(r"\s*[(（]\d")  # a text that opens with (1) numbers its items so

# What tells, before the text is whole, what cannot change any more.
_PAID = 64
"""Each character that comes pays for reading so many again; so the time stays linear in the text."""
_BEGUN = re.compile(r"(?:[^\w\[［【〔(（]|[\d_])*[^\W\d_]")  # a letter that is part of no mark and no bullet
_LINE_BEGUN = re.compile(r"\n[\d.．、)）(（一二三四五六七八九十百第]*\Z")  # an item, or the rest of a sentence
_OPEN = re.compile(  # as `text.sentence_spans` has brackets and quotations
    r"[（(](?:[^（()）\n]|[（(][^（()）\n]{0,60}[）)]){0,80}(?:[（(][^（()）\n]{0,60})?\Z"
    r"|《[^《》\n]{0,60}\Z|“[^“”\n]{0,80}\Z|[「『][^「」『』\n]{0,80}\Z"
)
_MARKS = _MARKS_ONLY.pattern
_MARKED = re.compile(rf"{_MARKS}\Z", re.IGNORECASE)
_STOPPED = re.compile(rf"(?:[。！？!?；;…]|(?<!\d)[.．])[”’」』）)]{{0,5}}(?:{_MARKS})?\Z", re.IGNORECASE)


def read_draft(generator: str, text: str) -> Draft:
    """The sentences of a text with the passages they cite, in order; an empty text gives an empty draft.

    Marks at the end of a sentence, on either side of its full stop, become citations without a place; marks in the
    middle of a sentence do too, and leave the text. Round brackets count only at the end: (1) within is a list.

    >>> read_draft("echo", "每日三次。[1][2]").sentences[0].citations[1].number
    2
    """
    text = unwrapped(text)
    plain = plain_forms(text)
    return Draft(generator=generator, sentences=tuple(_read(text, plain, _sentences(plain))))


class DraftReader:
    """`read_draft` for a text that comes in pieces: all calls together give the sentences that `read_draft` gives.

    A sentence is given once nothing that follows can change it, as a rule with the first character of the next one; a
    sentence that was given before, with the same citations, is not given again (a model may repeat itself endlessly).
    Time is linear in the text, wherever it is cut.
    """

    def __init__(self) -> None:
        self._unwrapper = Unwrapper()
        self._text = ""  # the last that was read, for what looks back, and what was not
        self._begin = 0  # where that starts
        self._came: list[str] = []  # what came after it
        self._credit = 0
        self._is_list: bool | None = None  # None until a sentence was read
        self._given: set[DraftSentence] = set()

    def feed(self, piece: str) -> list[DraftSentence]:
        """The sentences that are finished with this piece."""
        came = self._unwrapper.feed(piece)
        self._came.append(came)
        self._credit += _PAID * len(came)
        if self._credit < len(self._text):
            return []
        plain, spans = self._look()
        settled = _settled(plain, spans, self._begin)
        if not settled:
            return []
        given = self._new(_read(self._text, plain, spans[:settled]))
        self._is_list = self._opens_list(plain)
        start = spans[settled][0]
        self._begin = min(start, SEEN_BEFORE)
        self._text = self._text[start - self._begin :]
        return given

    def rest(self, *, is_whole: bool) -> list[DraftSentence]:
        """The sentences that were not given yet.

        If the text is not whole, a last sentence without an end (a full stop, or a mark and the end of its line) is
        left out, and what stands in a bracket that is still open: half a sentence may say the opposite.
        """
        self._came.append(self._unwrapper.rest())
        plain, spans = self._look()
        if not is_whole:
            opened = _opened(plain, self._begin)
            spans = [span for span in spans if span[1] <= opened]
            if spans and opened == len(plain) and not _has_ended(plain, spans[-1]):
                spans.pop()
        return self._new(_read(self._text, plain, spans))

    def _look(self) -> tuple[str, list[tuple[int, int]]]:
        """What was not read, in plain forms, and its sentences."""
        self._text, self._came, self._credit = "".join((self._text, *self._came)), [], 0
        plain = plain_forms(self._text)
        return plain, _sentences(plain, self._begin, is_list=self._opens_list(plain))

    def _opens_list(self, plain: str) -> bool:
        return _OPENS_LIST.match(plain) is not None if self._is_list is None else self._is_list

    def _new(self, sentences: list[DraftSentence]) -> list[DraftSentence]:
        new = [one for one in dict.fromkeys(sentences) if one not in self._given]
        self._given.update(new)
        return new


def _settled(plain: str, spans: list[tuple[int, int]], begin: int) -> int:
    """So many of the spans are sentences that nothing after the text can change.

    What comes can change the last span, bring marks for the sentences before it, until one with a letter of its own
    follows them, and close a bracket or quotation, inside which nothing ends.
    """
    if _LINE_BEGUN.match(plain, max(begin, plain.rfind("\n"))):
        return 0
    opened = _opened(plain, begin)
    for place in range(len(spans) - 1, 0, -1):
        start, end = spans[place]
        if start > opened:
            continue
        if place == len(spans) - 1:
            if _BEGUN.match(plain, start, end):
                return place
        elif _LETTER.search(_without_marks(plain[start:end])[0]):
            return place
    return 0


def _opened(plain: str, begin: int) -> int:
    """Where a bracket or quotation is still open, or the end of the text."""
    opened = _OPEN.search(WRAP.sub(" ", plain), begin)
    return opened.start() if opened else len(plain)


def _has_ended(plain: str, span: tuple[int, int]) -> bool:
    """Whether a last sentence is finished: it ends in a full stop, or in a mark and the line with it."""
    sentence, after = plain[slice(*span)], plain[span[1] :]
    return bool(_STOPPED.search(sentence) or ("\n" in after and _MARKED.search(sentence)))


def _read(text: str, plain: str, spans: list[tuple[int, int]]) -> list[DraftSentence]:
    """The sentences in spans of a text; one of marks alone belongs to the one before it."""
    sentences: list[DraftSentence] = []
    for begin, end in spans:
        bullet = _BULLET.match(plain[begin:end])
        said, numbers = _without_marks(text[begin + (bullet.end() if bullet else 0) : end])
        if _WHOLE.search(said):
            citations = tuple(DraftCitation(number=number) for number in dict.fromkeys(numbers))
            sentences.append(DraftSentence(text=said, citations=citations))
        elif numbers and sentences:
            sentences[-1] = _citing(sentences[-1], numbers)
    return sentences


def _citing(sentence: DraftSentence, numbers: list[int]) -> DraftSentence:
    cited = dict.fromkeys([*(one.number for one in sentence.citations), *numbers])
    return DraftSentence(text=sentence.text, citations=tuple(DraftCitation(number=number) for number in cited))


def _sentences(plain: str, start: int = 0, *, is_list: bool | None = None) -> list[tuple[int, int]]:
    """Sentences from `start` on, each with the marks that follow it; `is_list`: as the whole text begins."""
    spans: list[tuple[int, int]] = []
    is_list = _OPENS_LIST.match(plain) is not None if is_list is None else is_list
    for begin, end in sentence_spans(plain, start):
        marks = _MARKS_ONLY.match(plain, begin, end) if spans else None
        if marks and not (is_list and plain[begin] in "(（"):
            following = plain[marks.end() : end]
            spans[-1] = (spans[-1][0], marks.end())
            begin = marks.end() + len(following) - len(following.lstrip())
            while begin < end and plain[begin] in _END and plain[spans[-1][1] - 1] not in _END:
                begin += 1
        if begin < end:
            spans.append((begin, end))
    return spans


def _without_marks(piece: str) -> tuple[str, list[int]]:
    """The text of a sentence without its marks, and the numbers they name."""
    numbers: list[int] = []
    plain = plain_forms(piece)
    marks = list(_MARK.finditer(plain))
    tail = len(plain)  # where nothing but marks and signs follows
    for begin, end in [(0, 0), *(mark.span() for mark in marks)][::-1]:
        if _WHOLE.search(plain, end, tail):
            break
        tail = begin
    kept, place = [], 0
    for mark in marks:
        if mark["round"] and (mark.start() == 0 or mark.start() < tail):
            continue
        kept.append(piece[place : mark.start()])
        numbers += _numbers(mark["square"] or mark["round"])
        place = mark.end()
    return "".join((*kept, piece[place:])).strip(), numbers


def _numbers(listed: str) -> list[int]:
    found: list[int] = []
    for match in _NUMBER.finditer(listed):
        first, last = int(match[1]), int(match[2] or match[1])
        found += range(first, last + 1) if first <= last < first + MOST_IN_RANGE else (first, last)
    return list(dict.fromkeys(found))
