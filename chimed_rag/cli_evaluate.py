"""`chimed evaluate`: the tasks with a command of their own; what they measure lives in `chimed_rag.evaluation`.

Not covered: the tasks that have a card, and what one does with their runs (`cli_runs`); the other commands (`cli`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chimed_rag.cli_runs import Tasks, add_to, show
from chimed_rag.console import JsonOption, progress, say
from chimed_rag.errors import InputError

if TYPE_CHECKING:
    from chimed_rag.config import Config

evaluation = typer.Typer(
    cls=Tasks,
    help="Measures a system on a task.",
    no_args_is_help=True,
    rich_markup_mode=None,
    subcommand_metavar="TASK",
)
add_to(evaluation)

EncoderOption = Annotated[str, typer.Option(help="A name, a model folder or a hub name.")]
DataOption = Annotated[Path, typer.Option(help="The rows of the task, JSONL or JSONL.GZ.")]
LimitOption = Annotated[int | None, typer.Option(min=2, help="Only so many rows (a trial, not a result).")]
SystemOption = Annotated[str, typer.Option(help="bm25, lexical, dense or hybrid.")]


@evaluation.command("retrieval")
def retrieval(
    queries: Annotated[Path, typer.Option(help="BEIR queries, JSONL or JSONL.GZ.")],
    corpus: Annotated[list[Path], typer.Option(help="BEIR corpus; may be repeated.")],
    qrels: Annotated[Path, typer.Option(help="BEIR qrels, JSONL or TSV.")],
    retriever: Annotated[str, typer.Option(help="hybrid, dense or lexical.")] = "hybrid",
    encoder: EncoderOption = "ngram",
    adapt: Annotated[bool, typer.Option("--adapt", help="Let the encoder learn from the corpora first.")] = False,
    config: Annotated[Path | None, typer.Option(help="Settings in YAML.")] = None,
    tune: Annotated[bool, typer.Option("--tune", help="Choose settings on one half, measure on the other.")] = False,
    config_out: Annotated[Path | None, typer.Option(help="Where --tune writes the settings, as YAML.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Measures retrieval on a BEIR set: nDCG@10, Recall@10 and @100, MRR@10 with intervals, and latency."""
    from chimed_rag.config import Config
    from chimed_rag.evaluation.retrievers import retrieval_result

    settings = Config.from_yaml(config) if config is not None else Config()
    if tune:
        _tune(queries, corpus, qrels, encoder, adapt, settings, config_out, as_json)
        return
    if config_out is not None:
        raise InputError("--config-out writes what --tune chooses; add --tune")
    with progress("indexing") as report:
        result = retrieval_result(
            queries, corpus, qrels, retriever=retriever, encoder=encoder, adapt=adapt, config=settings, progress=report
        )
    show(result, as_json)


def _tune(
    queries: Path,
    corpus: list[Path],
    qrels: Path,
    encoder: str,
    adapt: bool,
    settings: Config,
    out: Path | None,
    as_json: bool,
) -> None:
    from rich.console import Console

    from chimed_rag.evaluation.report import tuning_tables
    from chimed_rag.evaluation.tuning import tuning_result

    with progress("indexing", "done") as report:
        result, chosen = tuning_result(
            queries, corpus, qrels, config=settings, encoder=encoder, adapt=adapt, progress=report
        )
    if out is not None:
        chosen.to_yaml(out)
    if as_json:
        say(result.model_dump_json())
        return
    for table in tuning_tables(result):
        Console().print(table)
    if out is not None:
        say(f"written: {out}; use it with: chimed ask QUESTION --index DIR --config {out}")


@evaluation.command("cmedir")
def cmedir(
    data: DataOption,
    system: SystemOption = "hybrid",
    encoder: EncoderOption = "ngram",
    limit: LimitOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measures the order of graded titles for a search query (cMedIR): pairwise accuracy, beside plain BM25."""
    from chimed_rag.evaluation.tasks.cmedir import cmedir_result

    with progress("indexing", "queries") as report:
        result = cmedir_result(data, system=system, encoder=encoder, limit=limit, progress=report)
    show(result, as_json)


@evaluation.command("cmedqq")
def cmedqq(
    data: DataOption,
    system: SystemOption = "hybrid",
    encoder: EncoderOption = "ngram",
    limit: LimitOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measures whether two questions are told to be the same (cMedQQ): F1 and AUC, beside plain BM25."""
    from chimed_rag.evaluation.tasks.cmedqq import cmedqq_result

    with progress("indexing", "pairs") as report:
        result = cmedqq_result(data, system=system, encoder=encoder, limit=limit, progress=report)
    show(result, as_json)


@evaluation.command("exam_evidence")
def exam_evidence(
    data: DataOption,
    index: Annotated[Path, typer.Option(help="Folder of an index, of textbooks for example.")],
    find: Annotated[bool, typer.Option(help="Look for the right option among ten passages too.")] = True,
    limit: LimitOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measures how often evidence alone, without a language model, chooses the right option of an exam question."""
    from chimed_rag.evaluation.tasks.exam_evidence import exam_evidence_result

    with progress("reading", "done") as report:
        result = exam_evidence_result(data, index, find=find, limit=limit, progress=report)
    show(result, as_json)
