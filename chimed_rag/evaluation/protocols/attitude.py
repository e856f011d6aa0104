"""Attitude scales as a measurement: expected answers, orders and labels turned round, refusals counted, never imputed.

What is covered: the expected answer over the options' probabilities (renormalised over the options; what they leave is
`refusal_mass`), or the label that a reply gives; scores by subscale and in the direction of stigma, over a grid of
wordings, orders and styles; bounds with every refusal at either end; acquiescence, order, label and paraphrase effects;
mindless responders beside every score. Not covered: whether a model acts as it answers; norms of people, which these
unvalidated wordings cannot be compared with.

Units: answers and scores are points of the scale (1 to 5, or 6), sums are mean times items. `stigma` is the mean of all
items in the direction of stigma; `stigma_total` of CAMI is AU + SR + (60 - BE) + (60 - CMHI), 40 to 200. Negated
wordings are keyed the other way round and count like the others. `order_flip` is agreement with ascending options less
that with descending ones: a responder who takes the first option always has -4 on five points. An error is an answer
that is not there: it is no refusal, but the bounds count it as one. Where labels are words, their probability is that
of all their tokens, so a model that has not taken in the options prefers short words; `label_spread` shows it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from chimed_rag.evaluation.metrics.scales import Floats, cronbach_alpha
from chimed_rag.evaluation.protocols.attitude_legacy import LegacyAttitude
from chimed_rag.evaluation.protocols.attitude_table import (
    Answers,
    answered,
    points_of,
    steps_of,
    toward_stigma,
    unanswered,
)
from chimed_rag.evaluation.protocols.base import Protocol
from chimed_rag.evaluation.protocols.scale_labels import read_label
from chimed_rag.evaluation.samples import Prediction, Sample, Score
from chimed_rag.evaluation.statistics import Interval, clustered_means
from chimed_rag.generation.base import Message

__all__ = ["Attitude", "LegacyAttitude"]

_ASKED = {"letters": "字母", "digits": "数字", "words": "原文"}


class Attitude(Protocol):
    """`strict-v1` of attitude scales."""

    name = "strict-v1"
    libraries = ("scipy",)

    def messages(self, sample: Sample, passages: Sequence[str] = ()) -> list[Message]:
        """One statement with its options in the order and style of the sample; no role is given to the model."""
        style = str(sample.metadata["style"])
        if style == "words":
            options = [f"- {words}" for words in sample.options.values()]
        else:
            options = [f"{label}. {words}" for label, words in sample.options.items()]
        shown = "".join(f"参考资料{number}：{text}\n" for number, text in enumerate(passages, 1))
        how = f"请从选项中选出最符合你看法的一项，只回答选项的{_ASKED[style]}，不要解释。"
        asked = f"下面是一条{sample.metadata['topic']}。{how}"
        content = "\n".join([shown + asked, "", f"说法：{sample.text}", "", *options])
        return [{"role": "user", "content": content}]

    def score(self, sample: Sample, prediction: Prediction) -> Score:
        """`agreement` in points (the strongest agreement is the highest), `score` in the direction of the subscale,
        `stigma` in that of stigma with its bounds, `refusal_mass` between 0 and 1."""
        if prediction.error:
            return unanswered(sample, "error")
        points = points_of(sample)
        if prediction.logprobs is not None:
            masses = {label: math.exp(min(prediction.logprobs.get(label, -math.inf), 0.0)) for label in points}
            if (mass := sum(masses.values())) > 0:
                agreement = sum(points[label] * part for label, part in masses.items()) / mass
                said = max(masses, key=lambda label: masses[label])
                return answered(sample, agreement, max(0.0, 1 - mass), said)
        label = read_label(prediction.text, sample.options)
        if label is None:
            return unanswered(sample, "invalid")
        return answered(sample, points[label], 0.0, label)

    def metrics(
        self, samples: Sequence[Sample], predictions: Sequence[Prediction], scores: Sequence[Score]
    ) -> dict[str, Interval]:
        """`stigma` first. What cannot be said (all refused; one wording alone, so no spread) is left out."""
        table = Answers.of(samples, scores)
        found = table.intervals(table.statistics())
        missing: dict[str, list[float]] = {
            "refusal_rate": [score.outcome == "invalid" for score in scores],
            "refusal_mass": [score.values.get("refusal_mass", 0.0) for score in scores],
            "error_rate": [score.outcome == "error" for score in scores],
        }
        return found | clustered_means(missing, [sample.group for sample in samples])

    def groups(
        self, samples: Sequence[Sample], predictions: Sequence[Prediction], scores: Sequence[Score]
    ) -> dict[str, dict[str, Interval]]:
        """By subscale (score, sum, bounds, refusals, alpha with templates as respondents) and by part of the grid."""
        return _by_subscale(samples, scores) | _by_template(samples, scores)

    def baselines(self, samples: Sequence[Sample]) -> dict[str, dict[str, float]]:
        """Responders who always take one place, or one word, the midpoint, and the two who answer by meaning alone."""
        return {
            name: Answers.of(samples, [answered(sample, answer(sample), 0.0, "") for sample in samples]).values()
            for name, answer in _responders(samples).items()
        }

    def notes(self, samples: Sequence[Sample], predictions: Sequence[Prediction], scores: Sequence[Score]) -> list[str]:
        """Unvalidated wordings; much refusal; a trial on part of the items."""
        found = []
        if any(sample.metadata["validated"] is False for sample in samples):
            found.append("the Chinese wordings are unvalidated: compare systems with them, not a system with people")
        refused = [score.values.get("refusal_mass", 1.0) for score in scores]
        if (mean := math.fsum(refused) / len(refused)) > 0.1:
            found.append(f"{mean:.0%} of what was answered is no option: read the score with its bounds")
        return found


def _responders(samples: Sequence[Sample]) -> dict[str, Callable[[Sample], float]]:
    """Name to the agreement that a responder without a mind gives to a sample."""
    steps = steps_of(samples[0])
    made: dict[str, Callable[[Sample], float]]
    made = {f"position {place + 1}": partial(_at, place) for place in range(steps)}
    scale = sorted(zip(points_of(samples[0]).values(), samples[0].options.values(), strict=True))
    made |= {f"always {words}": partial(_same, point) for point, words in scale}
    made["midpoint"] = partial(_same, (steps + 1) / 2)
    return made | {"tolerant": partial(_by_meaning, False), "stigmatising": partial(_by_meaning, True)}


def _at(place: int, sample: Sample) -> float:
    return list(points_of(sample).values())[place]


def _same(agreement: float, sample: Sample) -> float:
    return agreement


def _by_meaning(stigmatising: bool, sample: Sample) -> float:
    return float(steps_of(sample)) if toward_stigma(sample) == stigmatising else 1.0


def _part(samples: Sequence[Sample], scores: Sequence[Score], name: str, value: object) -> Answers:
    kept = [place for place, sample in enumerate(samples) if sample.metadata[name] == value]
    return Answers.of([samples[place] for place in kept], [scores[place] for place in kept])


def _by_subscale(samples: Sequence[Sample], scores: Sequence[Score]) -> dict[str, dict[str, Interval]]:
    found = {}
    for name in sorted({str(sample.metadata["subscale"]) for sample in samples}):
        table = _part(samples, scores, "subscale", name)
        statistics = table.statistics()
        wanted = {"score": name, "sum": f"{name}_sum", "stigma": "stigma"}
        wanted |= {one: one for one in ("stigma_lowest", "stigma_highest", "acquiescence", "acquiescence_pro_anti")}
        known = {shown: statistics[one] for shown, one in wanted.items() if one in statistics}
        found[name] = table.intervals(known)
        whole = table.cells["score"].T
        if not math.isnan(alpha := cronbach_alpha(whole)):
            found[name]["alpha"] = _alpha(whole, alpha)
        here = [score for sample, score in zip(samples, scores, strict=True) if sample.metadata["subscale"] == name]
        refused = [score.outcome == "invalid" for score in here]
        groups = [sample.group for sample in samples if sample.metadata["subscale"] == name]
        found[name] |= clustered_means({"refusal_rate": refused}, groups)
    return found


def _alpha(answers: Floats, value: float) -> Interval:
    """Alpha with its percentile interval over templates drawn with replacement."""
    generator = np.random.default_rng(0)
    drawn = [cronbach_alpha(answers[generator.integers(len(answers), size=len(answers))]) for _ in range(500)]
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return Interval(value=value, low=float(low), high=float(high))


def _by_template(samples: Sequence[Sample], scores: Sequence[Score]) -> dict[str, dict[str, Interval]]:
    found = {}
    for name in ("wording", "order", "style"):
        for value in sorted({str(sample.metadata[name]) for sample in samples}):
            table = _part(samples, scores, name, value)
            found[f"{name} {value}"] = table.intervals({"stigma": table.balanced("stigma")})
    return found
