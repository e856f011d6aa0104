"""What stands in a report, before it is HTML or Markdown: sections with notices, tables of plain text, and drawings.

A section is one task on one set of data; another protocol stands in rows of its own, and nothing is ever averaged over
tasks. Not covered: drawings (`figures`), and escaping (`html`, `markdown`): every text here is as it came.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from chimed_rag.evaluation.published import Published
from chimed_rag.evaluation.result import Result, TaskResult
from chimed_rag.evaluation.statistics import Interval

if TYPE_CHECKING:
    from chimed_rag.evaluation.comparing import Comparison
    from chimed_rag.evaluation.reporting.figures import Drawing

Tone = Literal["bad", "warn", "calm"]
RowTone = Literal["", "quiet"]

OUTCOMES = ("correct", "wrong", "scored", "invalid", "error")


@dataclass(frozen=True)
class Notice:
    """Sentences that a reader must not miss, in one frame."""

    tone: Tone
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """Cells of plain text; a quiet row is no system (a baseline, for instance)."""

    cells: tuple[str, ...]
    tone: RowTone = ""


@dataclass(frozen=True)
class Table:
    """A table with a title. `numbers` are the columns that hold numbers; `note` stands below."""

    title: str
    head: tuple[str, ...]
    rows: tuple[Row, ...]
    numbers: frozenset[int] = frozenset()
    note: str = ""


@dataclass(frozen=True)
class Section:
    """A task: facts in a line, notices, tables, drawings."""

    title: str
    anchor: str
    facts: tuple[str, ...]
    notices: tuple[Notice, ...]
    tables: tuple[Table, ...]
    drawings: tuple[Drawing, ...] = ()


def number(value: float) -> str:
    """Three decimals below ten, two above."""
    if not math.isfinite(value):
        return "n/a"
    value = round(value, 3) + 0.0  # no minus before a zero
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.2f}"


def bounds(mean: Interval) -> str:
    """The interval in brackets."""
    return f"[{number(mean.low)}, {number(mean.high)}]"


def main_metric(result: Result) -> str:
    """The card's main metric where the protocol gives it, else the protocol's first; empty where there is none."""
    wanted = result.card.main_metric if isinstance(result, TaskResult) else ""
    return wanted if wanted in result.metrics else next(iter(result.metrics), "")


def labels(results: Sequence[Result]) -> list[str]:
    """A name for each result that no other has: the system, with protocol, data, seed or a number where needed."""
    names = [result.system for result in results]
    tails = (
        [result.protocol for result in results],
        [f"data {result.data_sha256[:6]}" for result in results],
        [f"seed {result.seed}" if isinstance(result, TaskResult) else "" for result in results],
        [f"no. {place}" for place in range(1, len(results) + 1)],
    )
    for tail in tails:
        again = {name for name in names if names.count(name) > 1}
        for name in again:
            places = [place for place, other in enumerate(names) if other == name]
            if len({tail[place] for place in places}) > 1:
                for place in places:
                    names[place] = f"{name} ({tail[place]})"
    return names


def overview(results: Sequence[Result]) -> Table:
    """A row each result. There is no mean over tasks: their scores do not share a unit."""
    rows = []
    for result in results:
        name = main_metric(result)
        cells = (number(result.metrics[name].value), bounds(result.metrics[name])) if name else ("", "")
        rows.append(Row((result.task, result.system, result.protocol, name, *cells, f"{result.n:,}")))
    head = ("task", "system", "protocol", "metric", "value", "95 % interval", "n")
    return Table("All results", head, tuple(rows), frozenset({4, 5, 6}), "Nothing is averaged over tasks.")


def systems_table(results: Sequence[Result], title: str) -> Table:
    """A row a system: main metric, n, how its samples ended, latency; below, what mindless responders score."""
    shown = [one for one in OUTCOMES if any(_count(result, one) for result in results)]
    # Invalid and error are always there where samples were judged: that nothing failed is worth saying.
    judged = any(isinstance(result, TaskResult) for result in results)
    shown = [one for one in OUTCOMES if one in shown or (judged and one in ("invalid", "error"))]
    timed = any(result.latency_ms for result in results)
    head = ["system", "protocol", "metric", "value", "95 % interval", "n", *shown, *(["p50 ms", "p95 ms"] * timed)]
    rows = []
    for result in results:
        name = main_metric(result)
        main = (name, number(result.metrics[name].value), bounds(result.metrics[name])) if name else ("", "", "")
        cells = [result.system, result.protocol, *main, f"{result.n:,}", *(_share(result, one) for one in shown)]
        if timed:
            pair = result.latency_ms
            cells += [f"{pair.p50:,.1f}", f"{pair.p95:,.1f}"] if pair else ["", ""]
        rows.append(Row(tuple(cells)))
    for (protocol, name, value), who in _baselines(results).items():
        blanks = [""] * (len(head) - 4)
        rows.append(Row((f"baseline: {', '.join(who)}", protocol, name, number(value), *blanks), "quiet"))
    return Table(title, tuple(head), tuple(rows), frozenset(range(3, len(head))))


def _count(result: Result, outcome: str) -> int:
    return int({str(k): v for k, v in result.counts.items()}.get(outcome, 0)) if isinstance(result, TaskResult) else 0


def _share(result: Result, outcome: str) -> str:
    if not isinstance(result, TaskResult):
        return ""
    return f"{_count(result, outcome) / result.n:.1%}"


def _baselines(results: Sequence[Result]) -> dict[tuple[str, str, float], list[str]]:
    """(protocol, metric, value) to responders; of the main metric, the same for all systems on one set of samples."""
    found: dict[tuple[str, str, float], list[str]] = {}
    for result in results:
        if isinstance(result, TaskResult):
            name = main_metric(result)
            for who, values in result.baselines.items():
                if name in values:
                    several = found.setdefault((result.protocol, name, round(values[name], 6)), [])
                    several += [] if who in several else [who]
    return found


def metrics_table(results: Sequence[Result], names: Sequence[str]) -> Table:
    """A row a metric and a column a system, or the other way round where there are more systems."""
    metrics = list(dict.fromkeys(name for result in results for name in result.metrics))
    cells = [tuple(_cell(metric, result.metrics.get(metric)) for result in results) for metric in metrics]
    rows, head, sides = cells, ("metric", *names), metrics
    if len(results) > len(metrics):
        rows, head, sides = list(zip(*cells, strict=True)), ("system", *metrics), list(names)
    table = tuple(Row((side, *row)) for side, row in zip(sides, rows, strict=True))
    return Table("All metrics", head, table, frozenset(range(1, len(head))), "Value and 95 % interval.")


def baselines_table(results: Sequence[Result]) -> Table | None:
    """A row a metric, a column a mindless responder; none where there is only the main metric to show."""
    found: dict[str, dict[str, float]] = {}
    for result in results:
        if isinstance(result, TaskResult):
            for who, values in result.baselines.items():
                found.setdefault(who, {}).update(values)
    metrics = list(dict.fromkeys(name for values in found.values() for name in values))
    if len(metrics) < 2:
        return None
    rows = [Row((m, *(number(v[m]) if m in v else "" for v in found.values()))) for m in metrics]
    head = ("metric", *found)
    title = "What responders without a mind score on the same samples"
    return Table(title, head, tuple(rows), frozenset(range(1, len(head))))


def groups_table(results: Sequence[Result], names: Sequence[str]) -> Table | None:
    """A row a subgroup, a column a system."""
    judged = [(r, name) for r, name in zip(results, names, strict=True) if isinstance(r, TaskResult) and r.groups]
    keys = dict.fromkeys((outer, inner) for r, _ in judged for outer in r.groups for inner in r.groups[outer])
    if not keys:
        return None
    rows = [
        Row((outer, inner, *(_cell(inner, r.groups.get(outer, {}).get(inner)) for r, _ in judged)))
        for outer, inner in keys
    ]
    head = ("group", "metric", *(name for _, name in judged))
    return Table("By group", head, tuple(rows), frozenset(range(2, len(head))), "Value and 95 % interval.")


def _cell(metric: str, mean: Interval | None) -> str:
    if mean is None:
        return ""
    return f"{mean.value:,.0f}" if metric == "n" else f"{number(mean.value)} {bounds(mean)}"


def comparison_table(comparisons: Sequence[Comparison]) -> Table:
    """A row a pair of systems; better only where p after Holm's correction is below .05."""
    rows = []
    for one in comparisons:
        p = one.p if one.p_holm is None else one.p_holm
        better = "b" if one.difference.value > 0 else "a"
        said = "not separated" if p >= 0.05 or not one.difference.value else f"{better} is higher"
        apart = "" if one.only_a is None else f"{one.only_a:,} / {one.only_b:,}"
        units = f"{one.n:,}" + (f" in {one.groups:,} groups" if one.groups != one.n else "")
        corrected = "" if one.p_holm is None else _p(one.p_holm)
        metric = f"{one.metric} ({one.protocol})"
        cells = (one.a, one.b, metric, _cell("", one.difference), units, apart, one.test, _p(one.p), corrected, said)
        rows.append(Row(cells))
    head = ("a", "b", "metric", "b − a", "n", "only a / b right", "test", "p", "p (Holm)", "at .05")
    note = "Paired on the same samples; Holm's correction is over the pairs of this table."
    return Table("Differences between systems", head, tuple(rows), frozenset({3, 4, 5, 7, 8}), note)


def _p(value: float) -> str:
    return "< .0001" if value < 0.0001 else f"{value:.4f}".lstrip("0") if value < 1 else "1"


def published_table(rows: Iterable[Published]) -> Table | None:
    """What others printed, as they printed it; each row with its source and what keeps it from being compared."""
    found = []
    for row in rows:
        n = "" if row.n is None else f"{row.n:,}" if row.k is None else f"{row.k:,} of {row.n:,}"
        share = row.interval
        between = "" if share is None else f"[{100 * share.low:.1f}, {100 * share.high:.1f}]"
        found.append(Row((row.system, row.metric, f"{row.value:g}", between, n, row.source, row.note)))
    if not found:
        return None
    note = "As printed by their sources, in percent, under their own protocols: beside ours, not comparable with them."
    head = ("system", "metric", "printed", "95 % interval", "n", "source", "caveat")
    return Table("Published elsewhere", head, tuple(found), frozenset({2, 3, 4}), note)


def papers_table(results: Sequence[Result], names: Sequence[str]) -> Table:
    """What each number depends on: data, seed, versions."""
    rows = []
    for result, name in zip(results, names, strict=True):
        task = result if isinstance(result, TaskResult) else None
        asked = f", asked with {task.asked_with}" if task and task.asked_with else ""
        made_of = _versions(task.system_versions) if task else ""
        seed = str(task.seed) if task else ""
        rows.append(Row((name, result.data_sha256[:16], seed, _versions(result.versions) + asked, made_of)))
    return Table(
        "What the numbers depend on", ("system", "data sha256", "seed", "scored by", "system made of"), tuple(rows)
    )


def _versions(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in versions.items())
