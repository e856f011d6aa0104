"""What all commands share on the console: results on standard output, progress on standard error.

Not covered: the commands themselves (`cli`, `cli_evaluate`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from chimed_rag.indexing.commit import Progress

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on standard output and nothing else.")]


def say(text: str) -> None:
    """A line of the result."""
    print(text)  # noqa: T201


def print_json(value: object) -> None:
    """The result as one line of JSON."""
    say(json.dumps(value, ensure_ascii=False))


@contextmanager
def progress(label: str, unit: str = "passages") -> Iterator[Progress]:
    """A spinner with counts on standard error; nothing where that is not a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,} " + unit),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(label, total=None)
        yield lambda stage, done: bar.update(task, completed=done, description=stage)
