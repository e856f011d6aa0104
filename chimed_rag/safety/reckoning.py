"""What follows from the numbers of the literature by one multiplication.

What is covered: the dose of a day from a single dose and how often it is taken (20毫克, 每日3～4次: 60到80毫克 a day),
and the dose of a child from its weight (10～20毫克/千克: 200到400毫克 at 20公斤). What is not covered: sums of phases,
percentages of a body weight, tablets in milligrams.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from chimed_rag.safety.conversion import DOSES, Measure, agree

_HEAVIEST, _LIGHTEST = 150e3, 1e3  # grams that a person weighs


def is_reckoned(said: Measure, sentence: Sequence[Measure], sources: Sequence[Sequence[Measure]]) -> bool:
    """Whether a measure of a sentence is a product of what one sentence of the literature says, or a factor of it.

    Args:
        said: one of `sentence`.
        sentence: the measures of the sentence.
        sources: those of each sentence of the literature.
    """
    weights = [one for one in sentence if _is_weight(one)]
    per_kilo = [one for source in sources for one in source if one.unit.endswith("/kg")]
    if weights and per_kilo and said in weights:
        return any(_is_product(one, weights, per_kilo) for one in sentence)
    if _is_product(said, weights, per_kilo):
        return True
    return any(agree(said._replace(per=""), one) for source in sources for one in _of_a_day(source))


def _is_weight(measure: Measure) -> bool:
    return (
        measure.unit == "g"
        and measure.low == measure.high
        and _LIGHTEST < measure.low < _HEAVIEST
        and not measure.bound
        and measure.text[-1:] in "斤克gG"
    )


def _is_product(said: Measure, weights: Sequence[Measure], per_kilo: Sequence[Measure]) -> bool:
    return any(
        agree(said, one._replace(low=one.low * kilos, high=one.high * kilos, unit=one.unit[:-3], per=said.per))
        for one in per_kilo
        for kilos in (weight.low / 1e3 for weight in weights)
    )


def _of_a_day(source: Sequence[Measure]) -> Iterator[Measure]:
    often = [one for one in source if one.unit == "次/d" or (one.unit == "次" and one.bound == "less")]
    for dose in source:
        if dose.unit in DOSES and dose.per == "dose" and not dose.bound:
            for times in often:
                low, high = dose.low * times.low, dose.high * times.high
                yield dose._replace(low=low, high=high, bound=times.bound, per="")
