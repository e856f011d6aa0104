"""How much a question sounds like an emergency: a sum of weights for the runs of one to three characters in it.

What is covered: danger told in words that no pattern knows; a second opinion on the loose patterns of
`red_flags/90_danger.yaml`, the only rules that ask for a score. Everything is fixed: the same text gives the same sum.
What is not covered: which emergency it is; the other 95 rules, which never ask; traditional characters.
Source: logistic regression (L2, C = 0.25) on binary runs; emergencies and near misses of this project's own sentences
against real everyday questions with an open licence. `tools/red_flags_weights.py` makes the weights again.
Known weakness: the emergencies it learnt from are written sentences, the everyday questions come from the web, so it
also hears who writes. Hence a score alone raises nothing: a word of danger has to stand beside it.
Tried and left: the best stretch instead of the sum (five times the alarms); a score that silences particular rules by
itself (politeness silenced true ones).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources

from chimed_rag.errors import ConfigError
from chimed_rag.text import fold

LONGEST = 3
"""Characters in the longest run."""

_BREAK = re.compile(r"[\W_]+")
_SPACE = re.compile(r"[^\S\n]+")
_COURTESY = re.compile(
    r"(?:大夫|医生|专家|老师|各位)?(?:您|你)好|医生|大夫|专家|请问|(?:我)?想(?:要)?(?:问|咨询|请教|了解|知道)(?:一下|下)?|麻烦(?:您|你)?|帮忙?看看?"
    r"|谢谢(?:您|你|了)?|求助|(?:这|这个|这种|这样|这情况)?(?:是|到底是)?(?:怎么(?:一)?回事|什么原因|什么病|什么情况)(?:呢|啊|呀)?"
    r"|(?:我)?(?:应该|应当|该|要)?(?:怎么|如何|咋)(?:办|治疗?|处理|弄|整|搞|做)(?:才好|好|呢|啊|呀)?"
)
_DIGIT = re.compile(r"\d")


def plain(text: str) -> str:
    """The text as it is weighed: folded, without spaces and courtesies, a comma for any break, 0 for any digit."""
    told = _COURTESY.sub("，", _SPACE.sub("", fold(text)))
    return _DIGIT.sub("0", _BREAK.sub("，", told)).strip("，")


def runs(text: str) -> set[str]:
    """All different runs of one to `LONGEST` characters of a plain text."""
    return {text[at : at + size] for size in range(1, LONGEST + 1) for at in range(len(text) - size + 1)}


@lru_cache(maxsize=1)
def weights() -> Mapping[str, float]:
    """The shipped weights; that of the empty run is the constant."""
    return read_weights(resources.files("chimed_rag.safety").joinpath("red_flags/weights.tsv").read_text("utf-8"))


def read_weights(text: str) -> dict[str, float]:
    """Weights from lines of run, tab, number; lines that begin with # are remarks.

    Raises:
        ConfigError: a line that is not of this form; it names the line and how to mend it.
    """
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("#"):
            continue
        run, _, weight = line.partition("\t")
        try:
            found[run] = float(weight)
        except ValueError as error:
            raise ConfigError(
                f"red_flags/weights.tsv, line {number}: run, tab and a number expected, not {line!r};"
                " python tools/red_flags_weights.py writes the file again"
            ) from error
    return found


def score(text: str) -> float:
    """The sum of the weights: logarithm of the odds, above 0 for what sounds like an emergency.

    Args:
        text: a question; reading it takes time linear in its length.
    """
    known = weights()
    return known.get("", 0.0) + sum(known.get(run, 0.0) for run in sorted(runs(plain(text)) & known.keys()))
