"""A passage becomes quotable segments: sentences that stand alone, a sentence with the one it leans on, whole lists.

Not covered: which of them answer a question (`generation.extractive`). A reference back is known by its first words;
a sentence that merely lacks its subject is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from chimed_rag.text import sentence_spans

Span = tuple[int, int]

_MIN_LETTERS = 6
_LETTER = re.compile(r"[^\W_]")
_MARKUP = re.compile(r"#{1,6}\s|[|\-=*_:\s]+$")
_HEADING = re.compile(r"[^。！？!?；;，,：:、]{1,20}$")
_CONTENTS = re.compile(r"[^\n]*?(?:[.…·．] *){2,}\d+ *(?:\n|$)")  # "第一节 概述……12"
_ITEM = re.compile(r"(?:[（(]?(?:\d{1,2}|[一二三四五六七八九十]{1,3}|[a-zA-Z])[)）.、．](?!\d)|[①-⑳]|[-*•·●○■◆▪]\s)\s*")
_SCRAPS = "、，,；;：:。.）)】] \n"  # what the cut before left over
_LEAD = re.compile(r"[：:]$")
# 本病 and 该药 speak of what the title names: they need no sentence before them.
_LEANING = re.compile(
    r"其(?!他|它|余|实)|[它他她]|此|上述|上列|前述|以上|如上|[这那](?:种|类|些|个|样|时|是|就|与|也)|该(?![病症药品])|[两前后二]者"
    r"|但|然而|却|而|故|则|因此|因而|所以|否则|不过|同时|[并且]|另外|例如|相反|反之|随后|接着|于是|后来|最后|也"
)


@dataclass(frozen=True)
class Segment:
    """Spans of one passage that are quoted together or not at all; the last one is what they are chosen for.

    `leans` says that the sentence refers back and there is nothing before it to quote.
    """

    spans: tuple[Span, ...]
    leans: bool = False


def segments(text: str) -> Iterator[Segment]:
    """The quotable segments of a passage, in order.

    A lead that ends in a colon comes with its items as one span; the items also come alone, without their marks.
    A sentence that refers back comes with its predecessor. Headings, tables of contents and scraps do not come.
    """
    spans = sentence_spans(text)
    previous: Span | None = None
    for place, (begin, end) in enumerate(spans):
        begin = end - len(text[begin:end].lstrip(_SCRAPS))
        item = _ITEM.match(text, begin, end)
        if _LEAD.search(text[begin:end]):
            previous = None
            if (list_end := _end_of_list(text, spans, place)) > end:
                yield Segment(((begin, list_end),))
            continue
        own = (item.end() if item else begin, end)
        if not _is_quotable(text, own, is_item=item is not None):
            previous = None
        elif not _LEANING.match(text, own[0]):
            yield Segment((own,))
            previous = own
        else:
            yield Segment((own,), leans=True) if previous is None else Segment((previous, own))
            previous = None  # a chain of two references back would need a third sentence


def _is_quotable(text: str, span: Span, *, is_item: bool) -> bool:
    sentence = text[slice(*span)]
    if len(_LETTER.findall(sentence)) < _MIN_LETTERS or _MARKUP.match(sentence) or _CONTENTS.match(text, span[0]):
        return False
    followed_by_text = text[span[1] : span[1] + 2].lstrip(" ").startswith("\n")
    return is_item or not (followed_by_text and _HEADING.match(sentence))


def _end_of_list(text: str, spans: list[Span], lead: int) -> int:
    """Where the items after a lead end: items, and sentences that stand on the line of an item."""
    listed = last = spans[lead][1]
    for begin, end in spans[lead + 1 :]:
        if not _ITEM.match(text, begin) and (listed == spans[lead][1] or "\n" in text[last:begin]):
            break
        last = end
        if not _LEAD.search(text[begin:end]):  # a list does not end with the lead of the next one
            listed = end
    return listed
