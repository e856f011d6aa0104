"""Puts a report together: a section for each task, and within it a part for each set of data.

Not covered: tables and drawings themselves (`tables`, `curves`), and their forms (`html`, `markdown`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

from chimed_rag import __version__
from chimed_rag.errors import InputError
from chimed_rag.evaluation.published import Published, published
from chimed_rag.evaluation.reporting import tables
from chimed_rag.evaluation.reporting.curves import drawings, has_run
from chimed_rag.evaluation.reporting.examples import Example, failures
from chimed_rag.evaluation.reporting.tables import Notice, Section, Table
from chimed_rag.evaluation.result import Result, TaskResult

if TYPE_CHECKING:
    from chimed_rag.evaluation.comparing import Comparison


@dataclass(frozen=True)
class Report:
    """All that the forms of a report are made of; `examples` by anchor of their section."""

    title: str
    intro: tuple[str, ...]
    overview: Table | None
    sections: tuple[Section, ...]
    examples: dict[str, list[Example]]
    json: str


def compose(results: Sequence[Result], *, examples: int = 0, baseline: str | None = None) -> Report:
    """The report of these results; arguments and errors as `report.write_report` has them."""
    if not results:
        raise InputError("a report needs at least one result")
    if examples < 0:
        raise InputError(f"examples is a number of failures to show, 0 or more, not {examples}")
    systems = list(dict.fromkeys(result.system for result in results))
    if baseline is not None and baseline not in systems:
        raise InputError(f"no result is of the system {baseline!r}; there are: {', '.join(systems)}")
    parts: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        parts.setdefault((result.task, result.data_sha256), []).append(result)
    apart = {task for task, _ in parts if sum(task == other for other, _ in parts) > 1}
    sections, shown, compared, elsewhere = [], {}, [], {}
    for place, ((task, data), several) in enumerate(parts.items(), 1):
        pairs, refused = _compared(several, baseline)
        compared += pairs
        rows = published(task)
        elsewhere[task] = [row.model_dump(mode="json") for row in rows]
        other = data if task in apart else ""
        section = _section(f"task-{place}", several, other, pairs, refused, rows)
        sections.append(section)
        if examples:
            shown[section.anchor] = _examples(several, examples)
    tasks = len({result.task for result in results})
    intro = (
        f"Tasks: {tasks}; systems: {len(systems)}; results: {len(results)}; chimed_rag {__version__}. "
        "Intervals are of 95 %. Every sample counts in n: wrong, invalid and failed ones too.",
    )
    machine = {
        "schema_version": 1,
        "results": [json.loads(result.model_dump_json()) for result in results],
        "comparisons": [json.loads(one.model_dump_json()) for one in compared],
        "published": elsewhere,
    }
    text = json.dumps(machine, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    overview = tables.overview(results) if len(sections) > 1 else None
    return Report("Evaluation", intro, overview, tuple(sections), shown, text)


def _section(
    anchor: str,
    results: Sequence[Result],
    data: str,
    pairs: Sequence[Comparison],
    refused: Iterable[str],
    rows: Sequence[Published],
) -> Section:
    names = tables.labels(results)
    title = results[0].task + (f" on data {data[:12]}" if data else "")
    card = next((result.card for result in results if isinstance(result, TaskResult)), None)
    parts = [
        tables.systems_table(results, "Results"),
        tables.comparison_table(pairs) if pairs else None,
        tables.published_table(rows),
        tables.metrics_table(results, names) if any(len(result.metrics) > 1 for result in results) else None,
        tables.baselines_table(results),
        tables.groups_table(results, names),
        tables.papers_table(results, names),
    ]
    return Section(
        title,
        anchor,
        _facts(card),
        _notices(results, names, bool(data), refused),
        tuple(part for part in parts if part),
        tuple(drawings(results, anchor)),
    )


def _facts(card: Any) -> tuple[str, ...]:
    if card is None:
        return ()
    where = " ".join(part for part in (card.source, card.url, card.revision and f"revision {card.revision}") if part)
    return (
        f"{card.title}. Split {card.split}. Source: {where}. Licence: {card.licence}.",
        f"Contamination: {card.contamination}",
    )


def _notices(
    results: Sequence[Result], names: Sequence[str], apart: bool, refused: Iterable[str]
) -> tuple[Notice, ...]:
    """A frame each for the protocols' warnings, what holds for all systems, what holds for some, what is left out."""
    judged = [(result, name) for result, name in zip(results, names, strict=True) if isinstance(result, TaskResult)]
    warnings = dict.fromkeys(f"{result.protocol}: {result.warning}" for result, _ in judged if result.warning)
    noted: dict[str, list[str]] = {}
    for result, name in judged:
        for note in result.notes:
            noted.setdefault(note, []).append(name)
    shared = [note for note, who in noted.items() if len(who) == len(names)]
    own = [f"{', '.join(who)}: {note}" for note, who in noted.items() if len(who) < len(names)]
    if apart:
        shared.append(f"{results[0].task} was measured on several sets of data; their numbers stand apart")
    if len(sizes := sorted({result.n for result in results})) > 1:
        counts = ", ".join(f"{n:,}" for n in sizes)
        shared.append(f"not all systems were asked the same samples (n = {counts}): compare none of different n")
    left_out = [f"not compared: {one}" for one in refused]
    if any(not has_run(result) for result, _ in judged):
        left_out.append("some results came without their samples (load_run brings them): these are not compared")
    frames = (Notice("bad", tuple(warnings)), Notice("warn", tuple(shared)), Notice("warn", tuple(own)))
    return tuple(one for one in (*frames, Notice("calm", tuple(left_out))) if one.lines)


def _compared(results: Sequence[Result], baseline: str | None) -> tuple[list[Comparison], list[str]]:
    """Comparisons of all pairs of one protocol (or with the baseline), corrected together; and what was refused."""
    from chimed_rag.evaluation.comparing import compare, compare_all

    able = [result for result in results if isinstance(result, TaskResult) and has_run(result)]
    pairs = [
        (b, a) if b.system == baseline != a.system else (a, b)
        for a, b in combinations(able, 2)
        if a.protocol == b.protocol and (baseline is None or baseline in (a.system, b.system))
    ]
    try:
        return (compare_all(pairs) if pairs else []), []
    except InputError:
        kept, refused = [], []
        for pair in pairs:
            try:
                compare(*pair)
                kept.append(pair)
            except InputError as error:
                refused.append(str(error))
        return (compare_all(kept) if kept else []), list(dict.fromkeys(refused))


def _examples(results: Sequence[Result], count: int) -> list[Example]:
    judged = [(r, name) for r, name in zip(results, tables.labels(results), strict=True) if isinstance(r, TaskResult)]
    return [example for result, name in judged for example in failures(result, name, count)]
