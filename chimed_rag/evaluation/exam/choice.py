"""Chooses an option by evidence alone: fourteen measures of how well the literature ties it to the question.

At each of three levels (sentence, passage, all passages under one title), q being a unit's BM25 of the question, o its
BM25 of the option, each as a share of the most it could be:

- gain: the best sum of q and o (weighted by idf, as one query), less the best of the question alone;
- joint: the highest q²·o, o without the terms that the options share;
- forward: the mean o of the 50 best units for the question, weighted by softmax, o without shared terms;
- backward: the highest q among the 50 best units for the option.

Besides, for passages: the pointwise mutual information of the option's terms with the question's (after Clark et al.
2016, "Combining Retrieval, Statistics, and Inference to Answer Elementary Science Questions", AAAI), the highest of the
terms; and title: the highest product of q and the share of the option that titles and headings hold.

Each is standardised among the options of its question and weighed by `WEIGHTS`, others for negated stems (不包括的是),
which ask for the least supported option. The weights are a multinomial logit with a quadratic penalty, fitted by
`tools/fit_exam_evidence.py` on 1,689 questions of CMExam's training split, with no sight of the development sets.

Tried on those 1,689 (accuracy on the 1,640 with one right option; affirmative stems and negated ones, the least taken;
an interval is ±2.3 points): BM25 of question and option .348, at sentences .337; its gain over the question alone .348;
q·o .334, q·o² .300, q²·o .346, and .359 without shared terms; forward .330, backward .343; exact title of the option
.22, title of the question .27; mutual information .322, its highest .334; the option's length .252. Together, in
cross-validation: 54 measures at two levels .401, 76 at three .412, these fourteen .406; at passages alone .383, without
information .406, without title .410, without forward .400, without backward .390. Measures scaled over all questions
instead of within each .395. What adds is the number of levels; no single measure does.

Not covered: reasoning, arithmetic, pictures, and questions with several right options, of which one is chosen.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from chimed_rag.evaluation.exam.postings import Level, Literature, Weights
from chimed_rag.text import terms

_PHRASES = re.compile(
    r"下列|以下|下述|上述|哪一?项|哪种|哪个|哪些|各项|选项|叙述|说法|描述|关于|有关|不?正确|错误|不?恰当|不属于|不包括|除外|应该|应当|"
    r"首选|最?可能|的是|属于|包括|患者|病人|男性|女性|^\d+[.．、]|\d+岁|[（(]\s*[)）]|应首先|考虑|何者|哪|不是|不应|不宜|主要|最常见|最"
)
"""What examiners write around the matter; in a textbook these words are rare and would count as telling."""

_NEGATED = re.compile(
    r"不正确|错误|不属于|不包括|除外|不是|不应|不宜|不符合|不恰当|不会|不能|无关|不可|有误|不对|不当|例外|不需|不必|不具|不见|不存在|"
    r"不常|不用|不支持|不易|不该|并非|[非不].{0,8}的是|欠妥|没有|禁忌"
)
_STEM_END = 40
"""So many characters at the end of a question tell what it asks for; a vignette before them may deny findings."""

LEVELS = ("sentences", "passages", "documents")
MEASURES = (*(f"{level}.{name}" for level in LEVELS for name in ("gain", "joint", "forward", "backward")),
            "information", "title")  # fmt: skip

BEST = 50


def is_negated(question: str) -> bool:
    """Whether a question asks for what is not so."""
    return bool(_NEGATED.search(question.strip()[-_STEM_END:]))


def matter(question: str) -> str:
    """The question without the phrases of examiners."""
    return _PHRASES.sub(" ", question)


def measures(literature: Literature, question: str, options: Sequence[str]) -> NDArray[np.float64]:
    """The measures of each option, shape (options, len(MEASURES)), not standardised."""
    asked = dict.fromkeys(literature.numbers(matter(question)), 1.0)
    texts = [literature.numbers(option) for option in options]
    held = Counter(term for text in texts for term in text)
    found = np.zeros((len(options), len(MEASURES)))
    q_of = {name: getattr(literature, name).scores(asked) for name in LEVELS}
    ties = _Ties(literature.passages, asked)
    for row, text in enumerate(texts):
        option = dict.fromkeys(text, 1.0)
        # What all options say tells none from the others.
        own = {term: 1 - (held[term] - 1) / max(len(options) - 1, 1) for term in text}
        own = {term: weight for term, weight in own.items() if weight > 0} or option
        values: list[float] = []
        for name in LEVELS:
            values += _level_measures(getattr(literature, name), q_of[name], asked, option, own)
        values.append(ties.strongest(option))
        values.append(float((literature.titles.scores(own) * q_of["passages"]).max()))
        found[row] = values
    return found


def _level_measures(
    level: Level,
    q: NDArray[np.float32],
    asked: Weights,
    option: Weights,
    own: Weights,
) -> list[float]:
    o, special = level.scores(option), level.scores(own)
    weight_q, weight_o = (sum(float(level.idf[term]) for term in part) for part in (asked, option))
    near, weights = _softmax_best(q, max(weight_q, 1e-6))
    far, _ = _softmax_best(o, 1.0)
    return [
        float((q * weight_q + o * weight_o).max() - q.max() * weight_q),
        float((q * q * special).max()),
        float(weights @ special[near]),
        float(q[far].max()),
    ]


def _softmax_best(scores: NDArray[np.float32], scale: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The best units and their weights; the scale brings shares back to BM25, and 1.4 is its temperature there."""
    best = np.zeros(1, dtype=np.int64)
    for part in (0.8, 0.6, 0.4, 0.2, 0.0):  # partitioning all of the many zeros would take a hundred times as long
        best = np.flatnonzero(scores > scores.max() * part)
        if len(best) >= BEST:
            break
    if len(best) > BEST:
        best = best[np.argpartition(scores[best], -BEST)[-BEST:]]
    if not len(best):
        return np.zeros(1, dtype=np.int64), np.ones(1)
    weights = np.exp((scores[best] - scores[best].max()).astype(np.float64) * scale / TEMPERATURE)
    return best, weights / weights.sum()


TEMPERATURE = 1.4


class _Ties:
    """Pointwise mutual information, within passages, with the 24 rarest terms of a question."""

    def __init__(self, level: Level, asked: Weights) -> None:
        rare = sorted(asked, key=lambda term: -float(level.idf[term]))[:24]
        postings = [level.units(term) for term in rare]
        self._level = level
        self._bits = np.zeros(level.n, dtype=np.uint32)
        for place, units in enumerate(postings):
            self._bits[units] |= np.uint32(1 << place)
        self._counts = np.array([len(units) for units in postings], dtype=np.float64)
        self._weights = np.array([level.idf[term] for term in rare], dtype=np.float64)

    def strongest(self, option: Weights) -> float:
        """The highest, over the option's terms, of idf times the mean information with the question's terms."""
        if not len(self._weights):
            return 0.0
        return max((self._tie(term) for term in option if len(self._level.units(term))), default=0.0)

    def _tie(self, term: int) -> float:
        units = self._level.units(term)
        bits = self._bits[units]
        together = ((bits[bits > 0][:, None] >> np.arange(len(self._weights), dtype=np.uint32)) & 1).sum(axis=0)
        information = np.log((together + 0.5) / (self._counts * len(units) / self._level.n + 0.5))
        return float(information @ self._weights / self._weights.sum()) * float(self._level.idf[term])


TYPICAL: tuple[float, ...] = (
    2.44, 0.00438, 0.0216, 0.0363, 2.93, 0.0103, 0.0487, 0.0485, 2.99, 0.0232, 0.0866, 0.0583, 1.72, 0.0114,
)  # fmt: skip
"""The spread of each measure among the options of one question, mean of the questions fitted on."""
WEIGHTS: dict[bool, tuple[float, ...]] = {
    False: (0.133, 0.145, 0.077, 0.1, 0.091, 0.1, 0.097, 0.122, 0.079, 0.013, 0.109, 0.079, 0.12, -0.101),
    True: (0.002, -0.044, 0.012, -0.026, -0.033, -0.053, 0.005, -0.067, -0.009, -0.038, 0.003, -0.069, -0.04, 0.041),
}
"""By whether the stem is negated."""


def standardised(values: NDArray[np.float64], typical: Sequence[float] = TYPICAL) -> NDArray[np.float64]:
    """Measures less their mean over the options, over their spread, damped where options hardly differ."""
    spread: NDArray[np.float64] = values.std(axis=0) + 0.3 * np.asarray(typical)
    centred: NDArray[np.float64] = values - values.mean(axis=0)
    return centred / spread


def choose(literature: Literature, question: str, options: Sequence[str]) -> NDArray[np.float64]:
    """The score of each option, shape (len(options),); the highest is the choice."""
    values = standardised(measures(literature, question, options))
    scores: NDArray[np.float64] = values @ np.asarray(WEIGHTS[is_negated(question)])
    return scores


def bm25_choice(literature: Literature, question: str, options: Sequence[str]) -> int:
    """The place of the option that, asked together with the question, has the best passage by plain BM25."""
    asked = literature.numbers(question)
    level = literature.passages

    def best(option: str) -> float:
        query = dict.fromkeys((*asked, *literature.numbers(option)), 1.0)
        return float(level.scores(query).max()) * sum(float(level.idf[term]) for term in query)

    return int(np.argmax([best(option) for option in options]))


OPTION_WEIGHT = 0.5


def evidence_query(question: str, options: Sequence[str]) -> dict[str, float]:
    """Term weights that look for evidence on all options at once: the question's matter, and half as much their words.

    A word weighs less the more options hold it, and nothing if all do. The right option's text stands in one of ten
    passages for 21 % of 1,689 training questions with the question alone (its matter alone: 21 %), for 23 % at weight
    .1, 26 % at .2, 31 % at .4, 36 % at .7 and 40 % at 1, where the options look for themselves.
    """
    said = dict.fromkeys(terms(matter(question)) or terms(question), 1.0)
    held = Counter(term for option in options for term in set(terms(option)))
    n = len(options)
    return {term: OPTION_WEIGHT * (1 - (count - 1) / n) for term, count in held.items() if count < n} | said
