"""Lay words and the clinical ones that a literature uses in their place: 拉肚子 and 腹泻.

The table `lay_terms.tsv` was written for this project. Not covered: typing errors, abbreviations, trade names (which
entries carry as aliases), and words whose meaning hangs on what was said before.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import resources

from chimed_rag.text import fold


@cache
def lay_terms() -> dict[str, str]:
    """Lay expression to the clinical ones, separated by blanks."""
    source = resources.files("chimed_rag.query").joinpath("lay_terms.tsv").read_text("utf-8")
    rows = (line.split("\t") for line in source.splitlines() if line and not line.startswith("#"))
    return {fold(lay): fold(clinical) for lay, clinical in rows}


@cache
def _pattern() -> re.Pattern[str]:
    return re.compile("|".join(sorted(map(re.escape, lay_terms()), key=lambda lay: (-len(lay), lay))))


def clinical(question: str) -> str:
    """The question, folded, as one would put it in clinical words; where nothing changes, the folded question."""
    return _pattern().sub(lambda found: lay_terms()[found[0]], fold(question))
