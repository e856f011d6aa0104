"""What models write around an answer, taken off as the text comes in: thinking, code fences, "回答：", a next turn.

What is covered: <think>…</think> at the start, lines that are a code fence (what lies between them stays), and one
"回答：", "答案：" or the like at the very start. Not covered: thinking whose <think> a chat template wrote (the server
has to take it off), and politeness (好的，下面…), which is a sentence that the proof drops.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_THINK, _THOUGHT = "<think>", "</think>"
# Bounded and without a colon before its colon, so that a few characters decide.
_LABEL = re.compile(
    r"[*#＊ 【\[]{0,4}(?:(?:参考|正确|最终)?(?:回答|答案|答复|回复)|答|answer)[*＊】\] ]{0,4}[:：][*＊]{0,2}"
    r"|【(?:回答|答案|答复|回复)】",
    re.IGNORECASE,
)
_LONGEST_LABEL = 24
_OPENS_LABEL = frozenset("*#＊【[参正最回答aA")
_LINES = re.compile(r"[^\n]*\n|[^\n]+")
_FENCE = re.compile(r"[ \t]{0,3}(?:`{3,9}|~{3,9})[A-Za-z0-9+_-]{0,20}[ \t\r]{0,9}\Z")
_MAY_BE_FENCE = re.compile(r"[ \t]{0,3}(?:`{0,2}|~{0,2})\Z")


def unwrapped(text: str) -> str:
    """The text without its wrappings.

    >>> unwrapped("<think>想</think>回答：多喝水。")
    '多喝水。'
    """
    unwrapper = Unwrapper()
    return unwrapper.feed(text) + unwrapper.rest()


class Unwrapper:
    """`unwrapped` for a text that comes in pieces, wherever it is cut; time is linear in the text."""

    def __init__(self) -> None:
        self._line: str | None = ""  # a line that may become a fence; None within a line that is none
        self._opening: str | None = ""  # what may be thinking or a label; None once the answer has begun
        self._thinks = False

    def feed(self, piece: str) -> str:
        """What of the answer is certain with this piece."""
        return self._opened("".join(filter(None, map(self._unfenced, _LINES.findall(piece)))), at_end=False)

    def rest(self) -> str:
        """What was kept back."""
        line, self._line = self._line or "", None
        return self._opened("" if _FENCE.match(line) else line, at_end=True)

    def _unfenced(self, part: str) -> str:
        """What is to be kept with a further part of a line."""
        if self._line is None:
            kept = part
        else:
            line = self._line + part
            self._line, kept = line, ""
            if not _FENCE.match(line.removesuffix("\n")) and not _MAY_BE_FENCE.match(line):
                self._line, kept = None, line
        if part.endswith("\n"):
            self._line = ""
        return kept

    def _opened(self, text: str, *, at_end: bool) -> str:
        if self._opening is None:
            return text
        held = (self._opening + text).lstrip()
        while self._thinks or held[: len(_THINK)].lower() == _THINK:
            end = held.find(_THOUGHT)
            self._thinks = end < 0
            if self._thinks:
                held = held[1 - len(_THOUGHT) :]
                break
            held = held[end + len(_THOUGHT) :].lstrip()
        label = _LABEL.match(held)
        if self._thinks or (not at_end and self._is_open(held, label)):
            self._opening = "" if at_end else held
            return ""
        self._opening = None
        return held[label.end() :] if label else held

    def _is_open(self, held: str, label: re.Match[str] | None) -> bool:
        """Whether what follows decides how the text begins."""
        if _THINK.startswith(held.lower()):
            return True
        if held[0] not in _OPENS_LABEL or len(held) >= _LONGEST_LABEL:
            return False
        return (label is not None and label.end() == len(held)) or not re.search("[:：\n]", held)


class Until:
    """A text in pieces, up to the first of some other texts; what may be the beginning of one is held back.

    Args:
        stops: the texts at which it ends; they are not given.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._held = ""
        self.is_over = False
        """Whether one of them came; nothing is given after it."""

    def feed(self, piece: str) -> str:
        """What can be given after this piece."""
        if self.is_over:
            return ""
        text, self._held = self._held + piece, ""
        ends = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        if ends:
            self.is_over = True
            return text[: min(ends)]
        held = max((_overlap(text, stop) for stop in self._stops), default=0)
        kept = len(text) - held
        self._held = text[kept:]
        return text[:kept]

    def rest(self) -> str:
        """What was held back, when nothing more comes."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """So many characters at the end of a text may be the beginning of another."""
    return next((size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])), 0)
