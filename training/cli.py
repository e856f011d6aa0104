"""The command line of training: one command a stage. The model's folder goes to standard output, all else to the other.

Exit codes as those of `chimed`: 0 done, 1 data or machine at fault, 2 the configuration is. Not covered: the stages.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from chimed_rag.errors import ChiMedError

app = typer.Typer(
    help="Trains models of chimed_rag, from a checkout. It writes a folder with the model and a card that names the "
    "data, the settings and the command that makes it again.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


ConfigOption = Annotated[Path, typer.Option("--config", help="YAML file, such as those in training/configs.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Put over the file: seed=2, fit.epochs=3. May be repeated."),
]
FreshOption = Annotated[
    bool, typer.Option("--fresh", help="Throw away what an earlier run left in output_dir and begin anew.")
]
AcceptOption = Annotated[
    list[str] | None,
    typer.Option("--accept", metavar="KEY", help="Go on although this key was changed: fit.learning_rate."),
]


def _err(text: str) -> None:
    typer.echo(text, err=True)


def _place(folder: Path) -> None:
    """Tells where the model is; of several processes the first does."""
    from training.launch import is_first

    if is_first():
        typer.echo(folder)


@app.command()
def retriever(config: ConfigOption, set_: SetOption = None, fresh: FreshOption = False) -> None:
    """Train an encoder or a reranker from pairs of query and passage.

    The configuration's `kind` says which: transformer (a small BERT or ModernBERT, from scratch or from a folder),
    cross-encoder, late-interaction, and others as they are added. Killed and run again with the same configuration, it
    goes on from the last whole checkpoint.
    """
    from training.retriever import train_retriever

    typer.echo(train_retriever(config, set_ or (), fresh=fresh, say=_err))


def _stage(name: str, told: str) -> None:
    def command(
        config: ConfigOption, set_: SetOption = None, fresh: FreshOption = False, accept: AcceptOption = None
    ) -> None:
        from training.stages import run_stage

        _place(run_stage(name, config, set_ or (), fresh=fresh, accept=accept or (), say=_err))

    command.__doc__ = told
    app.command(name)(command)


_stage("pretrain", "Learn language from texts, from scratch or going on with a model.")
_stage("sft", "Learn to reply from dialogues.")
_stage("reward", "Learn from ranked replies which one is better.")
_stage("reject", "Rejection sampling: the policy's own best replies, by a reward model, are learned by it.")
_stage("prefer", "Learn from pairs of replies (DPO), or from rewards (GRPO).")


@app.command()
def pipeline(config: ConfigOption, set_: SetOption = None, fresh: FreshOption = False) -> None:
    """Several stages, one after the other; a failed gate stops it, and it goes on where it was."""
    from training.pipeline import run_pipeline

    _place(run_pipeline(config, set_ or (), fresh=fresh, say=_err))


@app.command()
def plan(config: ConfigOption, set_: SetOption = None) -> None:
    """What a stage will need of memory and time, before anything is spent."""
    from training.plan import plan_text

    typer.echo(plan_text(config, set_ or ()))


@app.command()
def verify(folder: Annotated[Path, typer.Argument(help="The folder of a stage or a pipeline.")]) -> None:
    """Whether a model, its card and its parents are still what they were; exit code 1 if not."""
    from training.verify import verify as verified

    problems = verified(folder)
    for problem in problems:
        typer.echo(str(problem))
    typer.echo(f"{folder}: {len(problems)} problems" if problems else f"{folder}: whole")
    if problems:
        raise typer.Exit(1)


@app.command()
def merge(
    adapter: Annotated[Path, typer.Argument(help="The folder of the adapters.")],
    out: Annotated[Path, typer.Option("--out", help="A new folder for the whole model.")],
) -> None:
    """Merge low-rank adapters into their model, and verify that it computes the same."""
    from training.merge import merge as merged

    typer.echo(merged(adapter, out))


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="The folder of a stage or a pipeline.")],
    out: Annotated[Path, typer.Option("--out", help="The folder for the page and its pictures.")],
) -> None:
    """One page on how a model came about: lineage, data, curves, gates, scores."""
    from training.report import report as reported

    typer.echo(reported(folder, out))


def main() -> NoReturn:
    """Entry point: errors that were raised on purpose become one message and an exit code, without a traceback."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s: %(message)s")
    try:
        app(prog_name="python -m training")
    except ChiMedError as error:
        typer.echo(f"training: {error}", err=True)
        sys.exit(error.exit_code)
    sys.exit(0)
