"""How much a question sounds like an emergency: a sum of fixed weights for the n-grams in it.

What is covered: danger told in words that no pattern knows (the general rule of `red_flags/90_danger.yaml`), and alarms
of other rules in stories that sound calm (`triage.CALM`). The same text gives the same sum.
What is not covered: which emergency it is; traditional characters.
Source: `encoders.ngram_weights`, fitted to emergencies and to what only sounds like one, in this project's own words
(`training/red_flags`, `training/asked`, the rules' own sentences and those of the tests), against real everyday
questions with an open licence. `python -m tools.red_flags_weights` makes the weights again and prints what it reaches.
Known weakness: nearly all emergencies it learnt from were written for it, so that it also hears who writes; 10,475
everyday questions and 4,624 harmless sentences by the same writers stand against that. Ten of the thirteen writers saw
which of their sentences were judged wrongly and went on where the gate was weakest; the more of them it learns from,
the more it finds of one that it has not seen (of three earlier writers .92 with two others, .94 with twelve).
Dialect in its own characters (粤语, 闽南语) and short titles with a calm ending (…严重吗) are found least: .70, .75.
Tried and left: binary runs of one to three characters in a table of their own (area under the ROC curve against the
harmless sentences of a writer it had not seen .96, n-grams of the encoder .98); the same sum asked only beside words of
danger, in two families of long expressions (recall .91 on the sentences of `training/red_flags`, then unseen, with 18 %
of the harmless ones raised). No gain: a part of each weight shared through the encoder's vectors; the highest clause
beside the whole; a convolution over characters (.92 to .94 of a writer's emergencies where the sum finds .95).
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from chimed_rag.encoders.ngram_weights import NgramWeights
from chimed_rag.text import fold

FILE = Path(__file__).parent / "red_flags" / "weights.safetensors"
MADE_BY = "python -m tools.red_flags_weights"

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


@lru_cache(maxsize=1)
def weights() -> NgramWeights:
    """The shipped weights; their numbers are the intercept and the score from which on a question is alarming."""
    return NgramWeights.load(FILE, count=2, made_by=MADE_BY)


def score(text: str) -> float:
    """The sum of the weights: logarithm of the odds, as they were where it was fitted.

    Args:
        text: a question; reading it takes time linear in its length.
    """
    intercept, _ = weights().numbers
    return intercept + weights().of(plain(text))


def is_alarming(text_score: float) -> bool:
    """Whether a score alone is reason enough to send somebody to hospital."""
    return text_score >= weights().numbers[1]
