"""How replies compare with reference texts, by characters: corpus BLEU, ROUGE, lengths, distinct n-grams.

BLEU is sacrebleu's with its tokenizer `zh` (a Chinese character is a token; Latin words and numbers are whole), n-grams
up to 1, 2 and 4, several references as sacrebleu has them. It is a number of the whole corpus: its interval resamples
the rows' n-gram counts and computes BLEU of their sums anew; a mean of the rows' own BLEU is another number (on 100
real pairs 53 where corpus BLEU is 35). ROUGE-1 and ROUGE-2 are rouge-score's with `Characters` for a tokenizer, since
its own drops all that is not Latin. ROUGE-L is the F1 of the longest common subsequence, as rouge-score's, but its
length is counted on bit vectors (Hyyrö 2004): rouge-score's table took 18 s for 3,000 pairs of 150 characters.

Scores lie between 0 and 1; an empty reply scores 0. Not covered: whether what is said is true, and ChiMed-GPT's own
numbers (`legacy_text`).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chimed_rag.errors import InputError, MissingExtraError
from chimed_rag.evaluation.statistics import SEED, Interval, sums_by_group

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

BLEU_ORDERS = (1, 2, 4)
"""Up to how many characters the n-grams of `bleu` are long."""

_VALUES_AT_ONCE = 2_000_000


class Characters:
    """Tokenizer of rouge-score: each character that is not blank is a token; width and case make no difference."""

    def tokenize(self, text: str) -> list[str]:
        """The characters."""
        return [sign for sign in unicodedata.normalize("NFKC", text).lower() if not sign.isspace()]


class Rouge(NamedTuple):
    """F1 between 0 and 1, of the reference that gives most (for each of the three by itself)."""

    rouge1: float
    rouge2: float
    rougeL: float  # noqa: N815 - its name everywhere


def rouge(reply: str, references: Sequence[str]) -> Rouge:
    """ROUGE of a reply by characters (Lin 2004).

    Raises:
        InputError: no references. MissingExtraError: rouge-score is not installed.
    """
    if not references:
        raise InputError("a reply needs at least one reference to be compared with")
    said = Characters().tokenize(reply)
    if not said:
        return Rouge(0.0, 0.0, 0.0)
    found = _rouge_scorer().score_multi(list(references), reply)
    longest = max(_lcs_f1(said, Characters().tokenize(reference)) for reference in references)
    return Rouge(found["rouge1"].fmeasure, found["rouge2"].fmeasure, longest)


@cache
def _rouge_scorer() -> Any:
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError as error:
        raise MissingExtraError("rouge-score", "evaluation") from error
    return RougeScorer(["rouge1", "rouge2"], tokenizer=Characters())


def _lcs_f1(said: Sequence[str], wanted: Sequence[str]) -> float:
    # 2PR / (P + R) with P = L / |said| and R = L / |wanted|.
    return 2 * common_length(said, wanted) / (len(said) + len(wanted))


def common_length(one: Sequence[str], other: Sequence[str]) -> int:
    """The length of the longest common subsequence of tokens."""
    *_, last = common_bits(one, other)
    return len(one) - last.bit_count()


def common_bits(one: Sequence[str], other: Sequence[str]) -> Iterator[int]:
    """The table of longest common subsequences, column by column, on bit vectors (Hyyrö 2004, "Bit-parallel LCS-length
    computation revisited"): bit i of column j is 0 where one[:i + 1] has one token more in common with other[:j] than
    one[:i] has. There are len(other) + 1 columns; each costs a few operations on a number of len(one) bits.
    """
    places: dict[str, int] = {}
    for place, token in enumerate(one):
        places[token] = places.get(token, 0) | 1 << place
    full = (1 << len(one)) - 1
    bits = full
    yield bits
    for token in other:
        met = bits & places.get(token, 0)
        bits = ((bits + met) | (bits - met)) & full
        yield bits


def bleu_counts(replies: Sequence[str], references: Sequence[Sequence[str]]) -> Counts:
    """What BLEU is made of, a row a reply, shape (n, 10): tokens of the reply and of the closest reference, then for
    n-grams of 1 to 4 how many of the reply's are in a reference, then how many it has.

    Raises:
        InputError: not as many lists of references as replies, or an empty one.
        MissingExtraError: sacrebleu is not installed.
    """
    return counted(replies, references, _sacrebleu()(tokenize="zh", effective_order=True))


def counted(replies: Sequence[str], references: Sequence[Sequence[str]], metric: Any) -> Counts:
    """`bleu_counts` by a sacrebleu metric of any order and tokenizer.

    Raises:
        InputError: not as many lists of references as replies, or an empty one.
    """
    if len(replies) != len(references) or not all(references):
        raise InputError(f"{len(replies)} replies need as many lists of references, each with one at least")
    rows = []
    for reply, wanted in zip(replies, references, strict=True):
        found = metric.sentence_score(reply, list(wanted))
        rows.append([found.sys_len, found.ref_len, *found.counts, *found.totals])
    return np.array(rows, dtype=np.int64).reshape(len(rows), 2 + 2 * metric.max_ngram_order)


def bleu(counts: Counts, groups: Sequence[str]) -> dict[str, Interval]:
    """Corpus BLEU-1, -2 and -4 (Papineni et al. 2002), cumulative, with the smoothing that is sacrebleu's default
    ("exp"): "bleu1", "bleu2", "bleu4", equal to `BLEU(tokenize="zh", max_ngram_order=n).corpus_score`.

    Args:
        counts: of `bleu_counts`, at least one row.
        groups: see `statistics.clustered_means`.
    """
    found = of_sums(counts, groups, lambda sums: list(bleu_of_sums(sums).values()))
    return {f"bleu{order}": interval for order, interval in zip(BLEU_ORDERS, found, strict=True)}


def bleu_of_sums(sums: Sequence[int]) -> dict[str, float]:
    """`bleu` of the summed rows of `bleu_counts`, without intervals."""
    compute = _sacrebleu().compute_bleu
    said, wanted, met, total = sums[0], sums[1], list(sums[2:6]), list(sums[6:])
    return {
        f"bleu{order}": compute(met[:order], total[:order], said, wanted, "exp", max_ngram_order=order).score / 100
        for order in BLEU_ORDERS
    }


def bleu_signature(references: Sequence[Sequence[str]]) -> str:
    """What sacrebleu calls these settings, for n-grams up to 4."""
    metric = _sacrebleu()(tokenize="zh")
    lengths = {len(wanted) for wanted in references}
    metric.num_refs = lengths.pop() if len(lengths) == 1 else -1
    return str(metric.get_signature())


def length_ratio(counts: Counts, groups: Sequence[str]) -> Interval:
    """Tokens of all replies over those of their closest references: below 1, BLEU is cut for brevity."""
    return of_sums(counts, groups, lambda sums: [sums[0] / sums[1] if sums[1] else 0.0])[0]


def distinct_n(texts: Sequence[str], n: int) -> float:
    """Different n-grams of characters as a share of all, over all texts (Li et al. 2016, arXiv:1510.03055).

    It falls with the number and length of the texts: compare sets of like size. 0 where there is none.
    """
    grams = [text[start : start + n] for text in texts for start in range(len(text) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 0.0


def of_sums(
    rows: Counts, groups: Sequence[str], scores: Callable[[list[int]], list[float]], *, resamples: int = 1000
) -> list[Interval]:
    """Scores of the sums of the rows, with 95 % percentile bootstrap intervals that resample whole groups of rows.

    Args:
        rows: shape (n, k), n at least 1.
        groups: what each row belongs to; an empty name is a group of its own.
        scores: k sums to any number of scores.

    Raises:
        InputError: no rows, or not as many groups. MissingExtraError: scipy is not installed.
    """
    if not len(rows) or len(rows) != len(groups):
        raise InputError(f"{len(rows)} rows and {len(groups)} groups: there must be as many, and at least one")
    table = sums_by_group(rows, groups).T
    values = low = high = np.array(scores(table.sum(axis=-1).tolist()))
    if table.shape[1] > 1:
        try:
            from scipy.stats import bootstrap
        except ImportError as error:
            raise MissingExtraError("scipy", "evaluation") from error

        def statistic(resampled: Counts, axis: int) -> Floats:
            found: Floats = np.array(
                [scores(sums) for sums in resampled.sum(axis=axis).reshape(len(table), -1).T.tolist()]
            ).T
            return found

        low, high = bootstrap(
            (table,), statistic, axis=-1, vectorized=True, n_resamples=resamples,
            batch=max(1, _VALUES_AT_ONCE // table.size), method="percentile", random_state=np.random.default_rng(SEED),
        ).confidence_interval  # fmt: skip
    return [
        Interval(value=float(v), low=float(lo), high=float(hi)) for v, lo, hi in zip(values, low, high, strict=True)
    ]


def _sacrebleu() -> Any:
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError as error:
        raise MissingExtraError("sacrebleu", "evaluation") from error
    return BLEU
