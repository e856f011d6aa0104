"""A result as a table for people (rich). Not covered: JSON, which is `model_dump_json()` of the result."""

from __future__ import annotations

from rich.table import Table

from chimed_rag.evaluation.result import Result


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
