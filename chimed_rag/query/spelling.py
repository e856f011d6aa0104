"""Typing errors: Chinese characters put for others that look or sound alike, judged by the index's own words.

A noisy channel (Kernighan, Church & Gale, COLING 1990): of the characters that may have been meant in the suspicious
places, those win for which Σ ln(rows that hold the pair + A) over the character pairs, less the costs of the changes,
is largest. The costs were learnt from search queries with corrections (`tools/learn_typos.py`); characters of the same
or a similar sound cost more. Suspicious is a character all of whose pairs are rare in the index.

Not covered: characters too many or too few, Latin letters, and an error that makes another frequent word.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from heapq import nlargest
from itertools import pairwise
from math import inf, log

from chimed_rag.query.tables import Change, rows
from chimed_rag.text import HAN

DocumentFrequency = Callable[[str], int]
"""In how many rows of the index a term (`text.terms`) occurs."""

SMOOTHING, MAX_COST, SEEN = 20, 9, 3
"""Of the tables, see `tools.learn_typos`."""
RARE = 10
"""A pair in at most so many rows is suspicious."""
CHANGE_COST = 3.0
"""What each change costs beside what was learnt. On 1,500 queries of the learning half kept out, over 80,688 documents:

at 2, 554 come out right and 97 with something wrong, and 7.8 % of 746 clean questions are changed; at 3, 487, 61 and
5.2 %. What a noisy question keeps of its nDCG@10 does not tell them apart (.962 and .957).
"""
KNOWN = 50
"""A pair that patients often write, or that a table holds, counts as found in so many rows more."""
SAME_SOUND, LIKE_SOUND = 7.5, 9.0
"""Costs of characters of the same sound (tones aside), or of one often confused with it (zh and z, n and ng)."""
_ADDED = 0.5  # to every count, so that what is unheard of is not impossible
_MOST_CANDIDATES, _MOST_PATHS = 12, 4
_GRAMMAR = frozenset(
    "我你您他她它们的了着过吗呢吧啊呀么是不没有在就也都还又很太这那哪个和与跟把被让给从对为因但而请怎什样会能可要想去来说看好上下大小天"
    "时后前"
)
"""Characters that are seldom put for others, but stand beside rare words in every story: they stay as they are.

Without this, half as many clean questions again are changed; of the errors 1 in 60 fewer is mended with it.
"""
_WORDS = ("trade_names.tsv", "lay_terms.tsv", "abbreviations.tsv")
_RUN = re.compile(f"[{HAN}]{{2,}}")
_ALIKE = (("zh", "z"), ("ch", "c"), ("sh", "s"))


def mended(text: str, frequency: DocumentFrequency) -> tuple[str, list[Change]]:
    """The folded text with what are likely typing errors corrected, and what was changed, in order.

    The length never changes. A change names the characters around it, so that one can read it: (高皿压, 高血压).
    """
    known = _pairs()
    counts: dict[str, int] = {}

    def rows_with(pair: str) -> int:
        if (found := counts.get(pair)) is None:
            found = counts[pair] = frequency(pair) + (KNOWN if pair in known else 0)
        return found

    corrected = list(text)
    for run in _RUN.finditer(text):
        for begin, end in _suspicious(run[0], rows_with):
            corrected[run.start() + begin : run.start() + end] = _likeliest(run[0], begin, end, rows_with)
    result = "".join(corrected)
    return result, [] if result == text else list(_changes(text, result))


def _suspicious(run: str, rows_with: DocumentFrequency) -> list[tuple[int, int]]:
    """The longest stretches of characters all of whose pairs are rare."""
    rare = [True, *[rows_with(run[i : i + 2]) <= RARE for i in range(len(run) - 1)], True]
    doubtful = [one and other for one, other in pairwise(rare)]
    if True not in doubtful:
        return []
    marks = "".join("01"[flag] for flag in doubtful)
    return [found.span() for found in re.finditer("1+", marks)]


def _likeliest(run: str, begin: int, end: int, rows_with: DocumentFrequency) -> str:
    """The best way to write a stretch of a run, found by a beam search from left to right."""
    before, after = run[begin - 1 : begin], run[end : end + 1]
    paths: dict[str, tuple[float, str]] = {before: (0.0, "")}  # by last character: the score so far, what is written
    for char in run[begin:end]:
        longer: dict[str, tuple[float, str]] = {}
        for candidate, cost in ((char, 0.0), *_candidates(char)):
            best, way = -inf, ""
            for last, (score, written) in paths.items():
                score += _LOG[rows_with(last + candidate)] if last else 0.0
                if score > best:
                    best, way = score, written
            longer[candidate] = (best - cost, way + candidate)
        kept = nlargest(_MOST_PATHS, longer, key=lambda candidate: longer[candidate][0])
        paths = {candidate: longer[candidate] for candidate in dict.fromkeys((char, *kept))}
    ends = (
        (score + (_LOG[rows_with(last + after)] if after else 0.0), written) for last, (score, written) in paths.items()
    )
    return max(ends, key=lambda one: one[0])[1]


class _Logarithms(dict[int, float]):
    """ln(n + A), kept."""

    def __missing__(self, n: int) -> float:
        found = self[n] = log(n + _ADDED)
        return found


_LOG = _Logarithms()


def _changes(text: str, result: str) -> Iterator[Change]:
    """Each stretch that was changed, with a character to both sides."""
    for found in re.finditer("1+", "".join("01"[one != other] for one, other in zip(text, result, strict=True))):
        around = slice(max(0, found.start() - 1), found.end() + 1)
        yield text[around], result[around]


@cache
def _pairs() -> frozenset[str]:
    """What patients often write, and the words of the tables: trade names and the like are right, however rare."""
    often = {first + second for first, following in rows("pairs.tsv") for second in following}
    words = (word for name in _WORDS for row in rows(name) for column in row for word in column.split())
    return frozenset(often.union("".join(pair) for word in words for pair in pairwise(word)))


@cache
def _learnt() -> dict[str, dict[str, float]]:
    return {
        typed: {char: float(cost) for char, cost in zip(meant[::2], meant[1::2], strict=True)}
        for typed, meant in rows("confusions.tsv")
    }


@lru_cache(maxsize=4096)
def _candidates(char: str) -> tuple[tuple[str, float], ...]:
    """What may be meant by a character, with the cost of the change, the cheapest first."""
    if char in _GRAMMAR:
        return ()
    costs = dict(_learnt().get(char, {}))
    characters, sounds = _sounds()
    for sound in sounds.get(char, ()):
        for like in _similar(sound):
            for other in characters.get(like, ()):
                costs.setdefault(other, SAME_SOUND if like == sound else LIKE_SOUND)
    costs.pop(char, None)
    ordered = sorted(costs.items(), key=lambda item: item[1])[:_MOST_CANDIDATES]
    return tuple((other, cost + CHANGE_COST) for other, cost in ordered)


@cache
def _sounds() -> tuple[dict[str, str], dict[str, tuple[str, ...]]]:
    """The characters of each sound, those of medicine first, and the sounds of each character."""
    characters: dict[str, str] = dict(rows("sounds.tsv"))
    sounds: dict[str, tuple[str, ...]] = {}
    for sound, found in characters.items():
        for char in found:
            sounds[char] = (*sounds.get(char, ()), sound)
    return characters, sounds


def _similar(sound: str) -> tuple[str, ...]:
    """The sound itself, then those that many speakers do not tell from it."""
    found = [sound]
    for long, short in _ALIKE:
        if sound.startswith(long):
            found.append(short + sound[2:])
        elif sound.startswith(short):
            found.append(long + sound[1:])
    found += [one[:-1] if one.endswith("ng") else one + "g" for one in found if one.endswith(("n", "ng"))]
    return tuple(found)
