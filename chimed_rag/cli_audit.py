"""`chimed audit verify | list | prune` and `chimed replay`: the audit log on the command line.

Exit codes: 0 the log is whole, the answer is the recorded one; 1 it is not. Not covered: recording (`safety.audit`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chimed_rag.console import JsonOption, print_json, say

if TYPE_CHECKING:
    from chimed_rag.config import Config
    from chimed_rag.records import Answer
    from chimed_rag.safety.audit_chain import Entry
    from chimed_rag.safety.audit_replay import ReplayReport

audit = typer.Typer(help="Looks after the audit log.", no_args_is_help=True, rich_markup_mode=None)

FolderArgument = Annotated[Path, typer.Argument(help="Folder of the audit log.")]


@audit.command("verify")
def verify(
    folder: FolderArgument,
    expected_head: Annotated[
        str | None, typer.Option(help="The head that an earlier verify printed, kept elsewhere.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Tells whether every line is what was recorded; exit code 1 when one is not."""
    from chimed_rag.safety.audit import verify as verified

    report = verified(folder, expected_head=expected_head)
    if as_json:
        print_json({"path": str(folder), "whole": report.whole, **report.model_dump(mode="json")})
    else:
        say(f"{folder}: {report.entries:,} entries, {report.files:,} files, {report.first} to {report.last}")
        for note in report.notes:
            say(f"  note: {note}")
        for problem in report.problems:
            say(f"  WRONG: {problem}")
        say(f"  head {report.head}" if report.whole else "  NOT WHOLE: keep the folder as it is, and restore a backup")
    if not report.whole:
        raise typer.Exit(1)


@audit.command("list")
def list_(
    folder: FolderArgument,
    last: Annotated[int, typer.Option(min=1, help="How many, from the newest backwards.")] = 20,
    user: Annotated[str | None, typer.Option(help="Only what this user asked.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Lists the answers that were recorded, the newest last."""
    from collections import deque

    from chimed_rag.safety.audit import entries

    answers = (entry for entry in entries(folder) if entry["kind"] == "answer")
    shown = deque((entry for entry in answers if user is None or entry["user"] == user), maxlen=last)
    if as_json:
        print_json({"path": str(folder), "answers": list(shown), "schema_version": 1})
        return
    for entry in shown:
        say(_line(entry))


def _line(entry: Entry) -> str:
    question = " ".join(entry["question"].split())
    outcome = f"abstained: {entry['abstention']}" if entry["abstention"] else f"{len(entry['sentences'])} sentences"
    return f"{entry['id']}  {entry['time']}  {entry['user'] or '-'}  {question[:60]}  ({outcome})"


@audit.command("prune")
def prune(
    folder: FolderArgument,
    by: Annotated[str, typer.Option(help="Who answers for the removal; it is recorded.")],
    as_json: JsonOption = False,
) -> None:
    """Removes the files that are older than the retention, and records that."""
    from chimed_rag.safety.audit import prune as pruned

    removed = pruned(folder, by=by)
    if as_json:
        print_json({"path": str(folder), "removed": removed, "schema_version": 1})
        return
    say(f"{folder}: removed {', '.join(removed)}" if removed else f"{folder}: nothing is older than the retention")


def replay(
    id: Annotated[str, typer.Argument(help="The id under which the answer was recorded.")],
    log: Annotated[Path, typer.Option("--audit", help="Folder of the audit log.")],
    index: Annotated[
        Path | None, typer.Option("--index", help="Folder of the index; the starter literature if left out.")
    ] = None,
    generator: Annotated[
        str | None, typer.Option("--generator", help="Another generator than the recorded one.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Asks a recorded question again; exit code 1 when the answer is not the recorded one."""
    from chimed_rag.indexing.manifest import read_manifest
    from chimed_rag.medqa import STARTER_INDEX, MedQA
    from chimed_rag.safety.audit import find, index_details
    from chimed_rag.safety.audit import replay as replayed

    entry = find(log, id)
    path = index or STARTER_INDEX
    writer, reranker = generator or entry["generator"], entry["reranker"] or "none"

    def ask(question: str, config: Config) -> Answer:
        with MedQA(path, generator=writer, reranker=reranker, config=config) as qa:
            return qa.ask(question, filter=entry["filter"])

    report = replayed(log, id, ask, now=index_details(read_manifest(path), path.resolve().name))
    if as_json:
        print_json({"same": report.same, **report.model_dump(mode="json")})
    else:
        for line in _told(report):
            say(line)
    if not report.same:
        raise typer.Exit(1)


def _told(report: ReplayReport) -> list[str]:
    lines = [f"{report.id}: {report.question}"]
    for cause in report.causes:
        lines.append(f"  {cause.what}: recorded {cause.recorded}, now {cause.now}")
    if report.same:
        return [*lines, "  the same answer"]
    for difference in report.differences:
        lines.append(f"  DIFFERS {difference.what}: recorded {difference.recorded}, now {difference.now}")
    return [*lines, f"  why: {report.why}"]
