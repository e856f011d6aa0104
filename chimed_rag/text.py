"""Chinese text, pure functions: normal forms, index terms, sentences, protected spans, numbers and units.

Not covered: traditional to simplified characters, synonyms and typing errors (`query.rewriting`).
"""

from __future__ import annotations

import re

_FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F) if chr(code - 0xFEE0).isalnum()}
_FULL_WIDTH |= {0x3000: 0x20, 0xFF0E: 0x2E, 0xFF05: 0x25, 0xFF0F: 0x2F, 0xFF0B: 0x2B, 0xFF0D: 0x2D}
_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff\u3007"
_TERM = re.compile(rf"[{_HAN}]+|[a-z0-9\u00b5\u0370-\u03ff]+(?:[.+-][a-z0-9]+)*[%+]?")


def fold(text: str) -> str:
    """The form in which texts are compared: half-width letters and digits, lower case; the length never changes."""
    folded = text.translate(_FULL_WIDTH)
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
        if run[0] < "\u3007":
            found.append(run)
        elif len(run) == 1:
            found.append(run)
        else:
            found.extend(map("".join, zip(run, run[1:], strict=False)))
    return found
