"""Which drawings a task's results allow, and their points.

    value           the main metric of each system with its interval, baselines below
    reliability     choice with option probabilities: how often the chosen letter was right, by its probability
    risk–coverage   where a system tells how sure it is: errors among the surest answers
    levels          metrics by a number (best of k, noise), where a result has them in its groups or names
    subscales       attitude: each subscale, with the constant responders that any score must be read beside

Risk–coverage needs the samples (`TaskResult.run`). Not covered: drawing (`figures`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from operator import itemgetter

from chimed_rag.errors import InputError
from chimed_rag.evaluation.reporting.figures import Bar, Drawing, Line, bars, lines, merged, scale
from chimed_rag.evaluation.reporting.tables import bounds, labels, main_metric, number
from chimed_rag.evaluation.result import Result, TaskResult
from chimed_rag.evaluation.samples import Score
from chimed_rag.evaluation.statistics import Interval

_MOST = 5
"""Curves in one drawing; further systems are in the tables alone."""
_LEVEL = re.compile(r"^([^\d]{1,40}?)[ :=_]{1,2}(\d{0,6}\.?\d{1,6})$")
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
        names = f"{prefix}-{place}"
        scales = _subscales(judged, names)
        found += [*(scales or _values(pairs, names)), *_levels(pairs, names)]
        found += [*_reliability(judged, names), *_risk(judged, names)]
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
        shown = [(r, name) for r, name in pairs if main_metric(r) == metric and _is_finite(r.metrics[metric])]
        rows = [Bar(name, result.metrics[metric]) for result, name in shown]
        low: dict[str, float] = {}
        for result, _ in shown:
            if isinstance(result, TaskResult):
                low |= {who: values[metric] for who, values in result.baselines.items() if metric in values}
        rows += [Bar(who, value, quiet=True) for who, value in merged(low).items()]
        said = f"{metric} ({pairs[0][0].protocol}) with 95 % intervals"
        said += "; hollow: responders without a mind" if low else ""
        if rows:
            yield bars(f"{prefix}-value{place}", f"{metric} of each system", rows, caption=said)


def _is_finite(mean: Interval) -> bool:
    return all(map(math.isfinite, (mean.value, mean.low, mean.high)))


def _reliability(judged: Sequence[tuple[TaskResult, str]], prefix: str) -> Iterator[Drawing]:
    """Of results whose groups hold bins of confidence (`metrics.calibration`)."""
    held = [(result, name, bins) for result, name in judged if (bins := _bins(result))]
    for place, (result, name, bins) in enumerate(held[:_MOST]):
        n = sum(round(one["n"].value) for one in bins)
        error = result.metrics.get("calibration_error")
        said = (
            f"Reliability of {name} ({result.protocol}): share right by probability of the letter that was said,"
            f" {n:,} of {result.n:,} samples; dashed: calibrated"
        )
        said += f"; expected calibration error {number(error.value)} {bounds(error)}" if error else ""
        points = [(one["confidence"].value, one["accuracy"]) for one in bins]
        yield lines(
            f"{prefix}-reliable{place}", f"Reliability of {name}", [Line(name, points)],
            x="probability of the answer", y="share right", unit_square=True, diagonal=True, caption=said,
        )  # fmt: skip


def _bins(result: TaskResult) -> list[dict[str, Interval]]:
    wanted = {"accuracy", "confidence", "n"}
    return [one for name, one in result.groups.items() if name.startswith("confidence: ") and wanted <= one.keys()]


def _risk(judged: Sequence[tuple[TaskResult, str]], prefix: str) -> Iterator[Drawing]:
    from chimed_rag.evaluation.metrics.curves import risk_coverage

    curves: list[Line] = []
    areas: list[str] = []
    for result, name in (one for one in judged if has_run(one[0])):
        sure, right = [], []
        for prediction, score in zip(result.run.predictions, result.run.scores, strict=True):
            if (value := _right(score)) is not None:
                right.append(value)
                told = prediction.confidence
                sure.append(score.values.get("confidence") if told is None else told)
        if len(set(sure)) > 2 and len(curves) < _MOST:
            curve = risk_coverage(sure, right)
            curves.append(Line(name, list(zip(curve.coverage.tolist(), curve.risk.tolist(), strict=True))))
            areas.append(f"{name} {number(curve.aurc)} (a confidence that knows nothing {number(curve.at_random)})")
    if curves:
        said = (
            f"Risk–coverage ({judged[0][0].protocol}): share of errors among the surest answers of each system; area"
            f" beneath: {', '.join(areas)}"
        )
        yield lines(
            f"{prefix}-risk", "Risk–coverage", curves, x="share of questions answered", y="share of errors",
            unit_square=True, caption=said,
        )  # fmt: skip


def _right(score: Score) -> float | None:
    """Whether a sample ended right; None where that cannot be said of it."""
    if "accuracy" in score.values:
        return score.values["accuracy"]
    return None if score.outcome == "scored" else float(score.outcome == "correct")


def _levels(pairs: Sequence[tuple[Result, str]], prefix: str) -> Iterator[Drawing]:
    """Groups that end in a number (`noise 0.2`, three at least), and metrics like `judge_best_of_4`."""
    found: dict[tuple[str, str], dict[str, list[tuple[float, Interval]]]] = {}
    for result, name in pairs:
        for metric, mean in result.metrics.items():
            if (by := _BY_K.match(metric)) and _is_finite(mean):
                found.setdefault((by[2].strip("_@ "), by[1] or "value"), {}).setdefault(name, []).append(
                    (float(by[3]), mean)
                )
        for group, means in (result.groups if isinstance(result, TaskResult) else {}).items():
            if by := _LEVEL.match(group):
                for metric, mean in ((one, mean) for one, mean in means.items() if _is_finite(mean)):
                    found.setdefault((by[1], metric), {}).setdefault(name, []).append((float(by[2]), mean))
    for place, ((group, metric), systems) in enumerate(found.items()):
        curves = [Line(name, sorted(points, key=itemgetter(0))) for name, points in systems.items() if len(points) > 2]
        if curves:
            said = f"{metric} by {group}, with 95 % intervals"
            yield lines(f"{prefix}-level{place}", said, curves[:_MOST], x=group, y=metric, caption=said)


def _subscales(judged: Sequence[tuple[TaskResult, str]], prefix: str) -> list[Drawing]:
    """Attitude: the main number and that of each subscale."""
    scales: dict[str, tuple[list[Bar], dict[str, float]]] = {}
    for result, name in judged:
        wanted = (main_metric(result), *(metric for metric in result.metrics if metric in result.groups))
        for metric in dict.fromkeys(wanted) if result.card.kind == "attitude" else ():
            marks = {who: values[metric] for who, values in result.baselines.items() if metric in values}
            if marks and _is_finite(result.metrics[metric]):
                rows, seen = scales.setdefault(metric, ([], {}))
                rows.append(Bar(name, result.metrics[metric]))
                seen.update(marks)
    said = "with 95 % intervals; dashed: responders without a mind"
    return [
        scale(f"{prefix}-scale{place}", metric, rows, marks, caption=f"{metric} {said}")
        for place, (metric, (rows, marks)) in enumerate(scales.items())
    ]
