"""A question becomes a query; every change is recorded, and the reader's own words are never removed.

Today: full-width letters and digits, white space, control characters. Not covered: traditional characters, typing
errors, colloquial words and abbreviations.
"""

from __future__ import annotations

import unicodedata

from chimed_rag.records import Query
from chimed_rag.text import fold


def rewrite(question: str) -> Query:
    """The query of a question."""
    visible = "".join(
        " " if unicodedata.category(char) in ("Cc", "Cf", "Zs", "Zl", "Zp") else char for char in question
    )
    text = " ".join(fold(visible).split())
    return Query(original=question, text=text, changes=("normalised",) if text != question else ())
