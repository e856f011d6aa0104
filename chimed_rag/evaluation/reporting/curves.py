"""Which drawings a task's results allow, and their points.

    value           the main metric of each system with its interval, baselines below
    reliability     choice with option probabilities: how often the chosen letter was right, by its probability
    risk–coverage   where a system tells how sure it is: errors among the surest answers
    levels          metrics by a number (best of k, noise), where a result has them in its groups or names
    subscales       attitude: each subscale, with the constant responders that any score must be read beside

Reliability and risk–coverage need the samples (`TaskResult.run`). Not covered: drawing (`figures`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence

from chimed_rag.errors import InputError
from chimed_rag.evaluation.reporting.figures import Bar, Drawing, Line, bars, lines, merged, panels
from chimed_rag.evaluation.reporting.tables import labels, main_metric, number
from chimed_rag.evaluation.result import Judged, Result, TaskResult
from chimed_rag.evaluation.samples import Prediction, Score
from chimed_rag.evaluation.statistics import Interval, proportion

BINS = 10
_MOST = 6
"""Curves in one drawing; further systems are in the tables alone."""
_BY_K = re.compile(r"^(.*?)[ _]?((?:best|pass)(?:_of_| of |@))(\d{1,6})$")


def drawings(results: Sequence[Result], prefix: str) -> list[Drawing]:
    """All that these results of one task and one set of data allow; `prefix` keeps ids apart on a page.

    Protocols never share a drawing: what is measured otherwise would look comparable.
    """
    found: list[Drawing] = []
    for place, protocol in enumerate(dict.fromkeys(result.protocol for result in results)):
        several = [result for result in results if result.protocol == protocol]
        pairs = list(zip(several, labels(several), strict=True))
        judged = [(result, name) for result, name in pairs if isinstance(result, TaskResult)]
        asked = [(result.run, name) for result, name in judged if has_run(result)]
        names = f"{prefix}-{place}"
        scales = _subscales(judged, names)
        found += [*(scales or _values(pairs, names)), *_levels(pairs, names)]
        found += [*_reliability(asked, names, protocol), *_risk(asked, names, protocol)]
    return found


def has_run(result: Result) -> bool:
    """Whether the samples came with the result."""
    try:
        return isinstance(result, TaskResult) and bool(result.run)
    except InputError:
        return False


def _values(pairs: Sequence[tuple[Result, str]], prefix: str) -> Iterator[Drawing]:
    """A drawing for each main metric (they differ where a protocol lacks the card's)."""
    for place, metric in enumerate(dict.fromkeys(name for r, _ in pairs if (name := main_metric(r)))):
        shown = [(result, name) for result, name in pairs if main_metric(result) == metric]
        rows = [Bar(name, result.metrics[metric]) for result, name in shown]
        low: dict[str, float] = {}
        for result, _ in shown:
            if isinstance(result, TaskResult):
                low |= {who: values[metric] for who, values in result.baselines.items() if metric in values}
        rows += [Bar(who, value, quiet=True) for who, value in merged(low).items()]
        said = f"{metric} ({pairs[0][0].protocol}) with 95 % intervals"
        said += "; hollow: responders without a mind" if low else ""
        yield bars(f"{prefix}-value{place}", f"{metric} of each system", rows, caption=said)


def confidence(prediction: Prediction, score: Score) -> float | None:
    """The probability of the letter that the reply was read as, among the options; None where that is not known."""
    if prediction.logprobs is None or score.said not in prediction.logprobs:
        return None
    shares = {letter: math.exp(value) for letter, value in prediction.logprobs.items()}
    total = sum(shares.values())
    return shares[score.said] / total if total else None


def reliability(run: Judged) -> tuple[list[tuple[float, Interval, int]], float]:
    """Bins of equal width: mean confidence, share of right answers with Wilson's interval, n; and the expected
    calibration error (Guo et al. 2017): |confidence - accuracy| of the bins, weighted by n. No bins without
    probabilities.
    """
    held: list[list[tuple[float, bool]]] = [[] for _ in range(BINS)]
    for prediction, score in zip(run.predictions, run.scores, strict=True):
        sure = confidence(prediction, score)
        if sure is not None:
            held[min(BINS - 1, int(sure * BINS))].append((sure, score.outcome == "correct"))
    bins = [
        (sum(sure for sure, _ in one) / len(one), proportion(sum(right for _, right in one), len(one)), len(one))
        for one in held
        if one
    ]
    total = sum(n for *_, n in bins)
    return bins, sum(n * abs(sure - right.value) for sure, right, n in bins) / total if total else 0.0


def _reliability(asked: Sequence[tuple[Judged, str]], prefix: str, protocol: str) -> Iterator[Drawing]:
    chosen = [(run, name) for run, name in asked if run.task.card.kind == "choice"]
    for place, (run, name) in enumerate(chosen[:_MOST]):
        bins, error = reliability(run)
        n = sum(count for *_, count in bins)
        if n:
            said = (
                f"Reliability of {name} ({protocol}): share right by probability of the chosen letter, {n:,} of"
                f" {len(run.scores):,} samples, expected calibration error {number(error)}; dashed: calibrated"
            )
            points = [(sure, right) for sure, right, _ in bins]
            yield lines(
                f"{prefix}-reliable{place}", f"Reliability of {name}", [Line(name, points)],
                x="probability of the answer", y="share right", unit_square=True, diagonal=True, caption=said,
            )  # fmt: skip


def risk_coverage(sure: Sequence[float | None], right: Sequence[bool]) -> list[tuple[float, float]]:
    """(share answered, share of wrong among them) from the surest on; equals are answered together, who does not say
    how sure is the least sure (El-Yaniv and Wiener 2010)."""
    order = sorted(
        ((-math.inf if s is None else s, r) for s, r in zip(sure, right, strict=True)), key=lambda one: -one[0]
    )
    points, wrong = [], 0
    for place, (value, good) in enumerate(order, 1):
        wrong += not good
        if place == len(order) or order[place][0] != value:
            points.append((place / len(order), wrong / place))
    return points


def _risk(asked: Sequence[tuple[Judged, str]], prefix: str, protocol: str) -> Iterator[Drawing]:
    curves = []
    for run, name in asked:
        sure = [
            confidence(p, s) if p.confidence is None else p.confidence
            for p, s in zip(run.predictions, run.scores, strict=True)
        ]
        decided = any(score.outcome in ("correct", "wrong") for score in run.scores)
        points = risk_coverage(sure, [score.outcome == "correct" for score in run.scores])
        if decided and len(points) > 2:
            curves.append(Line(name, points))
    if curves:
        said = (
            f"Risk–coverage ({protocol}): share of errors among the surest answers of each system; invalid is an error"
        )
        yield lines(
            f"{prefix}-risk", "Risk–coverage", curves[:_MOST], x="share of questions answered", y="share of errors",
            unit_square=True, caption=said,
        )  # fmt: skip


def _levels(pairs: Sequence[tuple[Result, str]], prefix: str) -> Iterator[Drawing]:
    """Groups whose names are numbers, three at least, and metrics like `judge_best_of_4`."""
    found: dict[str, dict[str, list[tuple[float, Interval]]]] = {}
    for result, name in pairs:
        for metric, mean in result.metrics.items():
            if by := _BY_K.match(metric):
                found.setdefault(f"{by[1]} {by[2].strip('_@ ')}".strip(), {}).setdefault(name, []).append(
                    (float(by[3]), mean)
                )
        groups = result.groups if isinstance(result, TaskResult) else {}
        for group, levels in groups.items():
            if all(re.fullmatch(r"\d*\.?\d+", level) for level in levels):
                found.setdefault(group, {})[name] = [(float(level), mean) for level, mean in levels.items()]
    for place, (group, systems) in enumerate(found.items()):
        curves = [
            Line(name, sorted(points, key=lambda point: point[0]))
            for name, points in systems.items()
            if len(points) > 2
        ]
        if curves:
            said = f"{group}, with 95 % intervals"
            yield lines(f"{prefix}-level{place}", group, curves[:_MOST], x=group, y="value", caption=said)


def _subscales(judged: Sequence[tuple[TaskResult, str]], prefix: str) -> list[Drawing]:
    asked = [(result, name) for result, name in judged if result.card.kind == "attitude"]
    scales: dict[str, tuple[list[Bar], dict[str, float]]] = {}
    for result, name in asked:
        for metric, mean in result.metrics.items():
            marks = {who: values[metric] for who, values in result.baselines.items() if metric in values}
            if marks:
                rows, seen = scales.setdefault(metric, ([], {}))
                rows.append(Bar(name, mean))
                seen.update(marks)
    if not scales:
        return []
    title = "Scales with 95 % intervals; dashed: responders that answer without reading"
    return [panels(f"{prefix}-scales", title, scales)]
