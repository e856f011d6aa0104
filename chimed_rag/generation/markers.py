"""Reads what a language model wrote: sentences, and the marks by which they cite passages.

What is covered: [1] ［1］ 【1】 〔1〕 (1) （1）, several in one ([1,2], [1、3], [1-3]) or side by side, before or
after the full stop, on a line of their own, with 文献 or 来源 before the number; bullets and numbering, which do not
become sentences. Markdown, HTML and scripts stay plain text (rendering escapes them). What is not covered: footnotes
with text, citations by title. Time is linear in the text.
"""

from __future__ import annotations

import re

from chimed_rag.records import Draft, DraftCitation, DraftSentence
from chimed_rag.text import plain_forms, sentence_spans

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


def read_draft(generator: str, text: str) -> Draft:
    """The sentences of a text with the passages they cite, in order; an empty text gives an empty draft.

    Marks at the end of a sentence, on either side of its full stop, become citations without a place; marks in the
    middle of a sentence do too, and leave the text. Round brackets count only at the end: (1) within is a list.

    >>> read_draft("echo", "每日三次。[1][2]").sentences[0].citations[1].number
    2
    """
    plain = plain_forms(text)
    sentences: list[DraftSentence] = []
    for begin, end in _sentences(plain):
        piece = text[begin:end]
        bullet = _BULLET.match(plain[begin:end])
        if bullet:
            piece = piece[bullet.end() :]
        said, numbers = _without_marks(piece)
        if _WHOLE.search(said):
            citations = tuple(DraftCitation(number=number) for number in dict.fromkeys(numbers))
            sentences.append(DraftSentence(text=said, citations=citations))
        elif numbers and sentences:
            sentences[-1] = _citing(sentences[-1], numbers)
    return Draft(generator=generator, sentences=tuple(sentences))


class DraftReader:
    """`read_draft` for a text that comes in pieces: all calls together give what `read_draft` gives of the whole.

    A sentence is given once nothing that follows can still belong to it.
    """

    def __init__(self) -> None:
        self._text = ""

    def feed(self, piece: str) -> list[DraftSentence]:
        """The sentences that are finished with this piece."""
        self._text += piece
        return []

    def rest(self, *, is_whole: bool) -> list[DraftSentence]:
        """The sentences that were not given yet; a last one without an end is left out if the text is not whole."""
        return list(read_draft("", self._text).sentences)


def _citing(sentence: DraftSentence, numbers: list[int]) -> DraftSentence:
    cited = dict.fromkeys([*(one.number for one in sentence.citations), *numbers])
    return DraftSentence(text=sentence.text, citations=tuple(DraftCitation(number=number) for number in cited))


def _sentences(plain: str) -> list[tuple[int, int]]:
    """Sentences, each with the marks that follow it."""
    spans: list[tuple[int, int]] = []
    is_list = re.match(r"\s*[(（]\d", plain) is not None  # a text that opens with (1) numbers its items so
    for begin, end in sentence_spans(plain):
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
