"""A result as a table for people (rich); and many results as a report: one HTML page, Markdown, JSON.

Not covered: the JSON of one result, which is its `model_dump_json()`; what stands in a report (`reporting`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from chimed_rag.evaluation.result import Result, TaskResult
from chimed_rag.evaluation.tuning import TuningResult


def result_table(result: Result) -> Table:
    """The metrics with their 95 % intervals, and below them n, latency and what identifies the data."""
    caption = f"n = {result.n}, protocol {result.protocol}, data {result.data_sha256[:12]}"
    if result.latency_ms is not None:
        caption += f"\nlatency per query: p50 {result.latency_ms.p50:.1f} ms, p95 {result.latency_ms.p95:.1f} ms"
    # The caption wraps at the width of the table.
    table = Table(title=f"{result.task}: {result.system}", min_width=60, caption=caption)
    table.add_column("metric")
    table.add_column("mean", justify="right")
    table.add_column("95 % interval", justify="right")
    for name, mean in result.metrics.items():
        table.add_row(name, f"{mean.value:.3f}", f"{mean.low:.3f} to {mean.high:.3f}")
    return table


def tuning_tables(result: TuningResult) -> list[Table]:
    """Every value that was tried, and what the chosen settings are worth on either half of the questions."""
    tried = Table(title=f"tried on {result.n_chosen_on} questions ({result.system})", min_width=60)
    for name in ("knob", "value", "nDCG@10", "gain", "95 % interval"):
        tried.add_column(name, justify="left" if name == "knob" else "right")
    for trial in result.trials:
        gain = trial.gain
        between = f"{gain.low:+.3f} to {gain.high:+.3f}"
        tried.add_row(trial.knob, str(trial.value), f"{trial.score.value:.3f}", f"{gain.value:+.3f}", between)
    before, after = result.default.model_dump(), result.chosen.model_dump()
    changed = ", ".join(f"{name} {before[name]} -> {after[name]}" for name in after if after[name] != before[name])
    worth = Table(
        title=f"chosen: {changed or 'nothing changed'}", min_width=60, caption=f"data {result.data_sha256[:12]}"
    )
    for name in (
        "nDCG@10",
        f"half that chose, n = {result.n_chosen_on}",
        f"held out, n = {result.n - result.n_chosen_on}",
    ):
        worth.add_column(name, justify="left" if name == "nDCG@10" else "right")
    for name, mean in result.chosen_on.items():
        cells = (f"{one.value:.3f} [{one.low:.3f}, {one.high:.3f}]" for one in (mean, result.held_out[name]))
        worth.add_row(name, *cells)
    return [tried, worth]


def write_report(
    results: Sequence[TaskResult | Result], folder: str | Path, *, examples: int = 0, baseline: str | None = None
) -> list[Path]:
    """Writes report.html (self-contained, with drawings), report.md and report.json; returns their paths.

    All three hold numbers, names and versions, and no text of a sample or of a reply. Tasks stand apart, within a task
    what was measured on other data; nothing is averaged over tasks.

    Args:
        folder: made if it is not there; what lies there by these names is replaced.
        examples: where above 0, report.local.html is written too: the same page with up to so many failures of each
            kind and system, texts of the data among them. It says that it must not be published.
        baseline: the system that all others are compared with; None compares every two on one task.

    Raises:
        InputError: no results; examples below 0, or of results without samples; no system of that name.
        MissingExtraError: matplotlib or scipy is not installed.
    """
    from chimed_rag.evaluation.reporting import html, markdown
    from chimed_rag.evaluation.reporting.sections import compose

    made = compose(results, examples=examples, baseline=baseline)
    pages = {
        "report.html": html.page(made.title, made.intro, made.overview, made.sections, {}),
        "report.md": markdown.page(made.title, made.intro, made.overview, made.sections),
        "report.json": made.json,
    }
    if examples:
        pages["report.local.html"] = html.page(made.title, made.intro, made.overview, made.sections, made.examples)
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    for name, text in pages.items():
        (target / name).write_text(text, "utf-8", newline="\n")
    return [target / name for name in pages]
