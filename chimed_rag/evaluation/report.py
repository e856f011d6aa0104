"""A result as a table for people (rich). Not covered: JSON, which is `model_dump_json()` of the result."""

from __future__ import annotations

from rich.table import Table

from chimed_rag.evaluation.result import Result
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
