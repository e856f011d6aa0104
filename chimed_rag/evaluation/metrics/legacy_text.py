"""BLEU and ROUGE as ChiMed-GPT's evaluation code computes them, to the last bit, so that its tables can be read.

The code (IDEA-CCNL/Fengshenbang-LM, branch `dev_bio`, ziya_llama2_13b_medical/generate.py, commit be59e1e) puts a blank
on either side of each Chinese character and hands the strings to nltk's `corpus_bleu`, which takes a string for a list
of its characters. So two of three tokens are blanks, which any two texts share: unrelated random texts score .447 and
.350 (`random_texts`), what its paper prints for its best model. The weights (.5, .5) and (.333, .333, .334) make the
columns "B-1" and "B-2" BLEU of n-grams up to 2 and up to 3. ROUGE is the package `rouge` (pltrdy) on the same strings:
its n-grams count once each, and "ROUGE-L" is a union over what full stops (.) divide.

One deviation: an empty reply or reference, over which `rouge` raises, scores 0 and counts. Its R-L is computed on bit
vectors, equal to `rouge` to the last bit, because `rouge` recurses once a token and fails on long texts. Not covered: a
proper measure (`text`).
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from chimed_rag.errors import MissingExtraError
from chimed_rag.evaluation.metrics.text import Counts, bleu_counts, bleu_of_sums, common_bits, counted, of_sums
from chimed_rag.evaluation.statistics import Interval

WEIGHTS = {"B-1": (0.5, 0.5), "B-2": (0.333, 0.333, 0.334)}
"""The paper's columns, and the weights of the n-grams behind them."""

# The ranges of the code as they take effect: two of its bounds are mistyped five-digit escapes, for which the first
# range here stands, which holds quotation marks and dashes; characters beyond U+FFFF are left as they are.
_CHINESE = re.compile(
    "[\u2001-\u2a6d\u2e80-\u2eff\u2f00-\u2fdf\u2ff0-\u2fff\u3000-\u303f\u3100-\u312f\u31a0-\u31bf\u31c0-\u31ef"
    "\u3200-\u33ff\u3400-\u4db5\u4e00-\u9fbb\uf900-\ufa2d\ufa30-\ufa6a\ufa70-\ufad9\ufe10-\ufe1f\ufe30-\ufe4f\uff00-\uffef]"
)


def spaced(text: str) -> str:
    """The text with a blank on either side of each Chinese character, its edges stripped before.

    >>> spaced("感冒3天")
    ' 感  冒 3 天 '
    """
    return _CHINESE.sub(r" \g<0> ", text.strip())


def legacy_counts(replies: Sequence[str], references: Sequence[Sequence[str]]) -> Counts:
    """What `legacy_bleu` is made of, a row a reply, shape (n, 8): lengths, n-grams of 1 to 3 met, and all of them.

    Raises:
        InputError: not as many lists of references as replies, or an empty one.
        MissingExtraError: sacrebleu is not installed.
    """
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError as error:
        raise MissingExtraError("sacrebleu", "evaluation") from error
    metric = BLEU(tokenize="none", max_ngram_order=3, effective_order=True)
    rows = counted(
        [_signs(reply) for reply in replies], [[_signs(one) for one in wanted] for wanted in references], metric
    )
    rows[:, 5:] = np.maximum(rows[:, 5:], 1)  # nltk says that the shortest text has one n-gram of each length
    return rows


def _signs(text: str) -> str:
    """The signs of the spaced text, each a token for sacrebleu, which divides by blanks: a blank is a private sign."""
    return " ".join(chr(0xF0000 + ord(sign)) if sign.isspace() else sign for sign in spaced(text))


def legacy_bleu(counts: Counts, groups: Sequence[str]) -> dict[str, Interval]:
    """The columns "B-1" and "B-2" of a corpus, between 0 and 1, without smoothing, as nltk's `corpus_bleu` has them.

    Args:
        counts: of `legacy_counts`, at least one row.
        groups: see `statistics.clustered_means`.
    """
    found = of_sums(counts, groups, lambda sums: list(legacy_bleu_of_sums(sums).values()))
    return dict(zip(WEIGHTS, found, strict=True))


def legacy_bleu_of_sums(sums: Sequence[int]) -> dict[str, float]:
    """`legacy_bleu` of the summed rows of `legacy_counts`, without intervals."""
    said, wanted, met, total = sums[0], sums[1], sums[2:5], sums[5:]
    if not met[0]:
        return dict.fromkeys(WEIGHTS, 0.0)
    brevity = 1.0 if said > wanted else math.exp(1 - wanted / said)
    shares = [one / all_ if one else sys.float_info.min for one, all_ in zip(met, total, strict=True)]
    return {
        name: brevity
        * math.exp(math.fsum(weight * math.log(share) for weight, share in zip(weights, shares, strict=False)))
        for name, weights in WEIGHTS.items()
    }


class LegacyRouge(NamedTuple):
    """The paper's columns R-1, R-2 and R-L: F1 between 0 and 1."""

    r1: float
    r2: float
    rl: float


def legacy_rouge(reply: str, reference: str) -> LegacyRouge:
    """ROUGE of a pair as `rouge` 1.0.1 has it for spaced strings; an empty text scores 0.

    Raises:
        MissingExtraError: rouge is not installed.
    """
    try:
        from rouge import Rouge
    except ImportError as error:
        raise MissingExtraError("rouge", "evaluation") from error
    said, wanted = spaced(reply), spaced(reference)
    if not said.strip(".") or not wanted.strip("."):
        return LegacyRouge(0.0, 0.0, 0.0)
    found: dict[str, Any] = Rouge(["rouge-1", "rouge-2"]).get_scores(said, wanted)[0]
    return LegacyRouge(found["rouge-1"]["f"], found["rouge-2"]["f"], _rouge_l(_sentences(said), _sentences(wanted)))


def _sentences(text: str) -> list[list[str]]:
    return [" ".join(part.split()).split(" ") for part in text.split(".") if part]


def _rouge_l(said: list[list[str]], wanted: list[list[str]]) -> float:
    """The summary level of `rouge`: different tokens that any sentence of the one has in common with any of the other,
    over the different tokens of each."""
    union: set[str] = set()
    for sentence in wanted:
        for other in said:
            union |= _common(sentence, other)
    recall, precision = (len(union) / len({token for one in side for token in one}) for side in (wanted, said))
    return 2.0 * ((precision * recall) / (precision + recall + 1e-8))


def _common(one: list[str], other: list[str]) -> set[str]:
    """The tokens of that longest common subsequence (there may be several) which `rouge` reconstructs.

    Read from the bits of each column instead of `rouge`'s table and recursion, which took 15 ms for 150 characters and
    ended in an error for 800.
    """
    columns = list(common_bits(one, other))
    below = [(1 << place) - 1 for place in range(len(one) + 1)]
    found = set()
    left, right = len(one), len(other)
    while left and right:
        if one[left - 1] == other[right - 1]:
            left, right = left - 1, right - 1
            found.add(one[left])
            continue
        # length[left - 1, right] > length[left, right - 1], where length[i, j] = i - ones among the first i bits of j.
        without_one = left - 1 - (columns[right] & below[left - 1]).bit_count()
        without_other = left - (columns[right - 1] & below[left]).bit_count()
        if without_one > without_other:
            left -= 1
        else:
            right -= 1
    return found


def random_texts(count: int, length: int, *, characters: int = 5000, exponent: float = 0.9, seed: int = 0) -> list[str]:
    """Texts that say nothing: characters drawn by Zipf's law, the k-th as often as k to the power of -exponent.

    What a measure gives such texts is what it gives for nothing at all.
    """
    drawn = np.random.default_rng(seed)
    weights = np.arange(1, characters + 1, dtype=np.float64) ** -exponent
    places = drawn.choice(characters, size=(count, length), p=weights / weights.sum())
    return ["".join(chr(0x4E00 + place) for place in row) for row in places.tolist()]


def on_random_texts(
    count: int = 200, *, reply_length: int = 120, reference_length: int = 162, seed: int = 0
) -> dict[str, float]:
    """What replies that have nothing to do with their references score: "B-1" and "B-2", and beside them the true
    "bleu1" and "bleu2" by characters. With these lengths, about .45, .34, .20 and .04; with 150 characters each, .62,
    .46, .26 and .05: what keeps unrelated texts from scoring more is the brevity penalty alone.
    """
    replies = random_texts(count, reply_length, seed=seed)
    references = [[text] for text in random_texts(count, reference_length, seed=seed + 1)]
    legacy = legacy_bleu_of_sums(legacy_counts(replies, references).sum(axis=0).tolist())
    proper = bleu_of_sums(bleu_counts(replies, references).sum(axis=0).tolist())
    return {**legacy, "bleu1": proper["bleu1"], "bleu2": proper["bleu2"]}
