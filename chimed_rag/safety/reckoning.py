"""What follows from the numbers of the literature by a multiplication or a ratio.

What is covered: the dose of a day from a single dose and how often it is taken (20毫克, 每日3～4次: 60到80毫克 a day,
最多80), that of some days from that of one, and that of a child from its weight (10～20毫克/千克: 200到400毫克 at
20公斤) or age (每岁1粒); how long a dose takes at a rate (≤4mg/min: 40mg in at least 10 minutes); two measures in the
proportion of two that the literature sets against each other (1mg中和100U: 30mg for 3000U); multiples and parts of a
value (0.8g and 0.2g: 四倍; 减半: 一半). What is not covered: sums of phases, percentages of a body weight, tablets in
milligrams.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from chimed_rag.safety.conversion import DOSES, Measure, agree, comparable

_HEAVIEST, _LIGHTEST = 150e3, 1e3  # grams that a person weighs
_NEAR = 12  # characters between two measures that the literature sets against each other
_FOLDS = {2.0: re.compile("加倍|翻倍|倍量|倍增|两倍|双倍"), 0.5: re.compile("减半|半量|折半|半数|减为半")}


def is_reckoned(
    said: Measure, sentence: Sequence[Measure], sources: Sequence[Sequence[Measure]], texts: Sequence[str] = ()
) -> bool:
    """Whether a measure of a sentence is a product of what one sentence of the literature says, or a factor of it.

    Args:
        said: one of `sentence`.
        sentence: the measures of the sentence.
        sources: those of each sentence of the literature.
        texts: each sentence of the literature, folded.
    """
    weights = [one for one in sentence if _is_weight(one)]
    per_kilo = [one for source in sources for one in source if one.unit.endswith("/kg")]
    if weights and per_kilo and said in weights:
        return any(_is_product(one, weights, per_kilo) for one in sentence)
    if _is_product(said, weights, per_kilo):
        return True
    if said.unit in ("倍", "") and any(
        _is_fold(said, source, text) for source, text in zip(sources, texts, strict=True)
    ):
        return True
    return any(
        _is_of_a_day(said, sentence, source)
        or _is_at_rate(said, sentence, source)
        or _is_in_proportion(said, sentence, source)
        for source in sources
    )


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


def _is_of_a_day(said: Measure, sentence: Sequence[Measure], source: Sequence[Measure]) -> bool:
    of_a_day = list(_of_a_day(source, is_marked=said.per != "day"))
    if any(agree(said._replace(per=""), one) for one in of_a_day):
        return True
    is_most = said.bound == "less" and "超" not in said.text
    if is_most and any(agree(said, one._replace(low=one.high, bound="less")) for one in of_a_day):
        return True
    if said.unit not in DOSES or said.per:
        return False
    spans = [one.low for one in sentence if one.unit == "d" and one.low == one.high > 1]
    daily = [*_of_a_day(source, is_marked=False), *(one for one in source if one.per == "day" and not one.bound)]
    return any(
        agree(said, one._replace(low=one.low * days, high=one.high * days, per="")) for one in daily for days in spans
    )


def _of_a_day(source: Sequence[Measure], *, is_marked: bool) -> Iterator[Measure]:
    """The doses of a day; of those that are not marked as single ones, where they stand right before how often."""
    often = [one for one in source if one.unit == "次/d" or (one.unit == "次" and one.bound == "less")]
    for dose in source:
        if dose.unit not in DOSES or dose.bound:
            continue
        near = [one for one in often if 0 <= one.start - dose.end < _NEAR or 0 <= dose.start - one.end < 3]
        for times in often if dose.per == "dose" else near if not dose.per and not is_marked else ():
            low, high = dose.low * times.low, dose.high * times.high
            yield dose._replace(low=low, high=high, bound=times.bound, per="")


def _is_at_rate(said: Measure, sentence: Sequence[Measure], source: Sequence[Measure]) -> bool:
    """A dose, or the time that it takes, of which the rate is that of the literature (≤4mg/min)."""
    rates = [one for one in source if one.per == "day" and "/" in one.text]
    for rate in rates:
        doses = [one for one in sentence if one.unit == rate.unit and one.low == one.high and one.per != "day"]
        times = [one for one in sentence if one.unit == "d" and one.low == one.high]
        if said not in (*doses, *times):
            continue
        if any(_lies(dose.low / time.low, rate) for dose in doses for time in times if time.low):
            return True
    return False


def _lies(value: float, source: Measure) -> bool:
    return source.low * 0.99 <= value <= source.high * 1.01


def _is_in_proportion(said: Measure, sentence: Sequence[Measure], source: Sequence[Measure]) -> bool:
    """Whether two neighbours of a sentence have the proportion of two that stand close to each other there."""
    bare = [one for one in sentence if not one.bound or one.bound == "reach"]
    for one, other in _set_against(source):
        for mine in bare:
            for yours in bare:
                if (
                    said not in (mine, yours)
                    or mine is yours
                    or not _is_scaled(mine, one)
                    or not _is_scaled(yours, other)
                ):
                    continue
                times = mine.low / one.low
                if abs(times - 1) > 0.01 and _matches(yours, other, times):
                    return True
    return False


def _set_against(source: Sequence[Measure]) -> Iterator[tuple[Measure, Measure]]:
    """Amounts that stand close to each other, one after the other, each with every one before it."""
    run: list[Measure] = []
    for measure in source:
        if run and (measure.bound or measure.start - run[-1].end > _NEAR):
            run = []
        for one in run[-4:]:
            yield one, measure
        if not measure.bound:
            run.append(measure)


def _is_scaled(said: Measure, source: Measure) -> bool:
    """Whether one is a multiple of the other: amounts, not times, ages or grades."""
    return said.unit == source.unit and said.unit in DOSES and source.low > 0 and not said.unit.endswith("kg")


def _matches(said: Measure, source: Measure, times: float) -> bool:
    return _close(said.low, source.low * times) and _close(said.high, source.high * times)


def _close(one: float, other: float) -> bool:
    return abs(one - other) <= 0.02 * max(abs(one), abs(other))


def _is_fold(said: Measure, source: Sequence[Measure], text: str) -> bool:
    """四倍 of two doses of the literature, 一半 for 减半."""
    if said.low != said.high or (not said.unit and not _is_share(said)):
        return False
    value = said.low + (said.unit == "倍" and said.text[0] in "一1")
    if (folds := _FOLDS.get(round(value, 3))) and folds.search(text):
        return True
    if any(one.unit == "" and _close(one.low * value, 1.0) for one in source):
        return False
    doses = [one for one in source if one.unit in DOSES and one.low == one.high > 0]
    return any(
        one is not other and comparable(one, other) and _close(one.low, value * other.low)
        for one in doses
        for other in doses
    )


def _is_share(said: Measure) -> bool:
    return "半" in said.text or "分之" in said.text
