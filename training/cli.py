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


@app.callback()
def _stages() -> None:
    """Keeps the name of a stage necessary while there is only one."""


@app.command()
def retriever(
    config: Annotated[Path, typer.Option("--config", help="YAML file, such as those in training/configs.")],
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Put over the file: seed=2, rounds.0.epochs=3. May be repeated."
        ),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Throw away what an earlier run left in output_dir and begin anew.")
    ] = False,
) -> None:
    """Train an encoder or a reranker from pairs of query and passage.

    The configuration's `kind` says which: transformer (a small BERT or ModernBERT, from scratch or from a folder),
    cross-encoder, late-interaction, and others as they are added. Killed and run again with the same configuration, it
    goes on from the last whole checkpoint.
    """
    from training.retriever import train_retriever

    typer.echo(train_retriever(config, set_ or (), fresh=fresh, say=lambda text: typer.echo(text, err=True)))


def main() -> NoReturn:
    """Entry point: errors that were raised on purpose become one message and an exit code, without a traceback."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s: %(message)s")
    try:
        app(prog_name="python -m training")
    except ChiMedError as error:
        typer.echo(f"training: {error}", err=True)
        sys.exit(error.exit_code)
    sys.exit(0)
