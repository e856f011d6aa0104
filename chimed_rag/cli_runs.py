"""`chimed evaluate TASK` for every task that has a card, and what one does with a run: rescore, compare, report.

Not covered: what is measured (`chimed_rag.evaluation`); tasks with a command of their own (`cli_evaluate`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from chimed_rag.console import JsonOption, print_json, progress, say
from chimed_rag.errors import InputError

if TYPE_CHECKING:
    from chimed_rag.evaluation.comparing import Comparison
    from chimed_rag.evaluation.result import Result, TaskResult

_SYSTEMS = {"extraction": "lexicon", "attitude": "closed_book", "counterfactual": "closed_book"}
"""Who is asked if nobody is named, by kind of task."""
_DEFAULT = "evidence_only"

RunArgument = Annotated[Path, typer.Argument(help="The folder of a run, made with --out.")]
DataOption = Annotated[
    str | None, typer.Option("--data", help="A file, the folder of the official files, or a set on a hub (owner/name).")
]
MovedOption = Annotated[str | None, typer.Option("--data", help="Where the task's data lie now, if they have moved.")]


OverlapOption = Annotated[
    list[str] | None,
    typer.Option("--overlap", help="An index, a training run or a file: how much of the questions stands in it."),
]


class Tasks(TyperGroup):
    """A group in which every name that is no command is that of a task."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, or the one for tasks, which reads its name again."""
        return super().get_command(ctx, cmd_name) or super().get_command(ctx, "TASK")


def task(
    context: typer.Context,
    data: DataOption = None,
    system: Annotated[
        str | None, typer.Option(help="Who is asked; evidence_only, lexicon for extraction, closed_book for attitudes.")
    ] = None,
    index: Annotated[Path | None, typer.Option(help="Folder of an index; the starter literature if left out.")] = None,
    generator: Annotated[
        str | None, typer.Option(help="A model's folder or hub name, a server's address (http://…/v1), or auto.")
    ] = None,
    protocol: Annotated[str | None, typer.Option(help="How to ask and judge; the card's first if left out.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many samples (a trial, not a result).")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run; run again after an interruption, it goes on.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of whatever a system draws.")] = 0,
    timeout: Annotated[float | None, typer.Option(min=0.001, help="Seconds that one sample may take.")] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Ask those again that failed when --out was made.")] = False,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="What a system takes besides, such as k=5; may be repeated.")
    ] = None,
    overlap: OverlapOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measures a system on a task that has a card; chimed evaluate tasks lists them.

    Exit code 1 if every sample failed.
    """
    from chimed_rag.evaluation.running import evaluate
    from chimed_rag.evaluation.tasks.loading import load_card

    card = load_card(context.info_name or "")
    with progress("reading", "samples") as report:
        result = evaluate(
            card.name,
            system or _SYSTEMS.get(card.kind, _DEFAULT),
            data=data,
            protocol=protocol,
            index=index,
            generator=generator,
            out=out,
            limit=limit,
            seed=seed,
            timeout=timeout,
            retry=retry,
            options=_options(settings or []),
            progress=lambda done, of: report(f"of {of:,} asked", done),
        )
    result = _overlapping(result, overlap or ())
    show(result, as_json)
    if out is not None and not as_json:
        say(f"written: {out}; chimed evaluate report {out} --out DIR shows it")
    if result.counts.get("error", 0) == result.n:
        raise typer.Exit(1)


def _overlapping(result: TaskResult, sources: Sequence[str]) -> TaskResult:
    """The result with a note a source on how much of its questions stands there."""
    from chimed_rag.evaluation.contamination import noted, overlap

    return noted(result, *(overlap(result.run.task, source) for source in sources))


def _options(pairs: list[str]) -> dict[str, str]:
    options = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign or not name:
            raise InputError(f"--set takes NAME=VALUE, such as k=5, not {pair!r}")
        options[name] = value
    return options


def show(result: Result, as_json: bool) -> None:
    """A result on standard output; what must be known with it stands below the table."""
    if as_json:
        say(result.model_dump_json())
        return
    from rich.console import Console

    from chimed_rag.evaluation.report import result_table
    from chimed_rag.evaluation.result import TaskResult

    Console().print(result_table(result))
    if isinstance(result, TaskResult):
        say(", ".join(f"{count:,} {outcome}" for outcome, count in result.counts.items()))
        if result.baselines:
            say("responders without a mind:")
        for name, metrics in result.baselines.items():
            shown = list(metrics.items())[:4]  # the JSON has them all
            say(f"  {name}: " + ", ".join(f"{metric} {value:.3f}" for metric, value in shown))
        if result.asked_with:
            say(f"asked by the protocol {result.asked_with}")
        for line in filter(None, (result.warning, *result.notes)):
            say(f"note: {line}")


def tasks(as_json: JsonOption = False) -> None:
    """Lists the tasks that have a card: kind, main metric, licence."""
    from chimed_rag.evaluation.tasks.loading import load_card, task_names

    cards = [load_card(name) for name in task_names()]
    if as_json:
        print_json({"tasks": [card.model_dump(mode="json") for card in cards], "schema_version": 1})
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(caption="chimed evaluate card TASK shows one whole", caption_justify="left")
    for name in ("task", "kind", "main metric", "licence"):
        table.add_column(name, overflow="fold")
    for card in cards:
        table.add_row(card.name, card.kind, card.main_metric, card.licence)
    Console().print(table)


def card(
    name: Annotated[str, typer.Argument(metavar="TASK", help="As chimed evaluate tasks lists it.")],
    as_json: JsonOption = False,
) -> None:
    """Shows the card of a task: source, revision, licence, split, contamination, protocols, files."""
    from chimed_rag.evaluation.tasks.loading import load_card

    found = load_card(name)
    if as_json:
        say(found.model_dump_json())
        return
    for field, value in found.model_dump(mode="json", exclude={"schema_version"}).items():
        if value:
            say(f"{field}: {', '.join(value) if isinstance(value, list) else value}")


def rescore(
    run: RunArgument,
    protocol: Annotated[str, typer.Option(help="How to judge what was said.")],
    data: MovedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Judges a stored run by another protocol; no model is asked."""
    from chimed_rag.evaluation.running import load_run

    show(load_run(run, data=data).rescore(protocol=protocol), as_json)


def compare(
    a: RunArgument,
    b: RunArgument,
    metric: Annotated[str | None, typer.Option(help="The task's main number if left out.")] = None,
    data: MovedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tells whether run B is better than run A on the same samples: difference, interval, p."""
    from chimed_rag.evaluation.comparing import compare as compared
    from chimed_rag.evaluation.running import load_run

    found = compared(load_run(a, data=data), load_run(b, data=data), metric=metric)
    if as_json:
        say(found.model_dump_json())
        return
    for line in _comparison(found, a, b):
        say(line)


def _comparison(found: Comparison, a: Path, b: Path) -> list[str]:
    gap = found.difference
    lines = [
        f"{found.task} by {found.protocol}, {found.metric}, n = {found.n:,}"
        + (f" in {found.groups:,} groups" if found.groups < found.n else ""),
        f"  A {found.a} ({a})",
        f"  B {found.b} ({b})",
        f"  B minus A: {gap.value:+.4f}, 95 % interval {gap.low:+.4f} to {gap.high:+.4f}",
        f"  p {'< 1e-12' if found.p < 1e-12 else f'= {found.p:.4g}'} ({found.test})",
    ]
    if found.only_a is not None:
        lines.append(f"  only A right: {found.only_a:,}; only B right: {found.only_b:,}")
    return lines


def report(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs, or files of results (--json).")],
    out: Annotated[Path, typer.Option(help="The folder to write the report to.")],
    examples: Annotated[
        int, typer.Option(min=0, help="Failures shown a task; they quote the data, so keep such a report to yourself.")
    ] = 0,
    baseline: Annotated[str | None, typer.Option(help="The system that the others are compared with.")] = None,
    overlap: OverlapOption = None,
) -> None:
    """Writes a report of runs: HTML, Markdown, JSON."""
    from chimed_rag.evaluation.report import write_report
    from chimed_rag.evaluation.result import TaskResult

    results = [_result_at(path) for path in runs]
    if overlap:
        results = [_overlapping(one, overlap) if isinstance(one, TaskResult) else one for one in results]
    written = write_report(results, out, examples=examples, baseline=baseline)
    for path in written:
        say(f"written: {path}")


def _result_at(path: Path) -> TaskResult | Result:
    from pydantic import ValidationError

    from chimed_rag.errors import CorpusError
    from chimed_rag.evaluation.result import Result, TaskResult
    from chimed_rag.evaluation.running import load_run

    if not path.is_file():
        return load_run(path)
    content = path.read_bytes()
    try:
        return TaskResult.model_validate_json(content)
    except ValidationError:
        pass
    try:
        return Result.model_validate_json(content)
    except ValidationError as error:
        raise CorpusError(f"not a result: {error.errors()[0]['msg']}", path=str(path)) from error


def add_to(evaluation: typer.Typer) -> None:
    """Puts these commands into the group `chimed evaluate`."""
    evaluation.command("TASK")(task)
    for command in (tasks, card, rescore, compare, report):
        evaluation.command()(command)
