"""The command line: thin; everything it does, `MedQA` does. Results go to standard output, all else to standard error.

Exit codes: 0 done; 1 a source, an index or a machine is at fault, or `ask` found no answer; 2 the request is.
Not covered: anything that the library itself does not offer.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

# Before pydantic is imported: looking for its plug-ins among all installed packages takes 35 ms of every start.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

import typer

from chimed_rag import __version__
from chimed_rag.cli_audit import audit as audit_log
from chimed_rag.cli_audit import replay
from chimed_rag.cli_evaluate import evaluation
from chimed_rag.cli_models import convert
from chimed_rag.console import JsonOption
from chimed_rag.console import print_json as _print_json
from chimed_rag.console import progress as _progress
from chimed_rag.console import say as _say
from chimed_rag.errors import ChiMedError, InputError

if TYPE_CHECKING:
    from chimed_rag.indexing.manifest import Manifest

app = typer.Typer(
    help="Answers Chinese medical questions from your literature, each sentence with its source.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(evaluation, name="evaluate")
app.add_typer(audit_log, name="audit")
app.command()(replay)
app.command()(convert)

IndexOption = Annotated[
    Path | None, typer.Option("--index", help="Folder of an index; the starter literature if left out.")
]
FilterOption = Annotated[str | None, typer.Option("--filter", help='For example \'{"department": "心内科"}\'.')]
GeneratorOption = Annotated[
    str,
    typer.Option(
        "--generator",
        help="extractive, a model's folder or hub name, a server's address (http://…/v1), or auto.",
    ),
]

RerankerOption = Annotated[
    str | None, typer.Option("--reranker", help="A name, a cross-encoder's folder or hub name, or none.")
]
EncoderOption = Annotated[
    str | None,
    typer.Option("--encoder", help="A name, a model folder, or a hub name as owner/name or owner/name@revision."),
]


def main() -> NoReturn:
    """Entry point: errors of the library become one message and an exit code, without a traceback."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s: %(message)s")
    # A pipe or a terminal in another encoding must not stop an answer.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="replace")
    code = _run()
    # Leaving at once spares the 0.2 s that taking numpy and FAISS apart would cost; all files are closed or read-only.
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        code = 1
    os._exit(code)


def _run() -> int:
    try:
        app()
    except SystemExit as stop:  # how typer ends, always
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except ChiMedError as error:
        print(f"chimed: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            place = f"{error.filename}: " if error.filename else ""
            print(f"chimed: {place}{error.strerror or error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _filter(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InputError(
            f'--filter is not JSON ({error}); write for example --filter \'{{"department": "心内科"}}\''
        ) from None
    if not isinstance(value, dict):
        raise InputError('--filter is a JSON object such as {"department": "心内科"}')
    return value


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        _say(__version__)
        raise typer.Exit


@app.command()
def ask(
    question: Annotated[str, typer.Argument(help="The question, in Chinese; - reads it from standard input.")],
    index: IndexOption = None,
    generator: GeneratorOption = "extractive",
    reranker: RerankerOption = None,
    filter: FilterOption = None,
    config: Annotated[Path | None, typer.Option(help="Settings in YAML.")] = None,
    audience: Annotated[
        Literal["patient", "doctor"] | None, typer.Option(help="Who reads the answer; patient if nothing else is set.")
    ] = None,
    audit: Annotated[Path | None, typer.Option(help="Folder of an audit log to write the answer down in.")] = None,
    user: Annotated[str | None, typer.Option(help="Who asks, for the audit log.")] = None,
    refusal: Annotated[Path | None, typer.Option(help="A refusal rule, made by chimed calibrate.")] = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="Print each sentence when it has passed; with --json, an event a line.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Answers a question; exit code 1 when the literature holds no answer."""
    from chimed_rag.config import Audit
    from chimed_rag.literature import configured
    from chimed_rag.medqa import MedQA
    from chimed_rag.rendering import answer_text, event_text

    condition = _filter(filter)
    text = sys.stdin.read().strip() if question == "-" else question
    changes: dict[str, Any] = {} if audience is None else {"audience": audience}
    if audit is not None:
        changes["audit"] = Audit(folder=str(audit))
    settings = configured(config).model_copy(update=changes)
    qa = MedQA(index, generator=generator, reranker=reranker, config=settings, refusal=refusal)
    if stream:
        for event in qa.stream(text, filter=condition, user=user):
            print(event.model_dump_json() if as_json else event_text(event), end="\n" * as_json, flush=True)  # noqa: T201
            if event.kind == "done":
                answer = event.answer
    else:
        answer = qa.ask(text, filter=condition, user=user)
        _say(answer.model_dump_json() if as_json else answer_text(answer))
    if answer.abstention is not None:
        raise typer.Exit(1)


@app.command()
def calibrate(
    questions: Annotated[
        Path, typer.Argument(help='JSONL: {"question": …, "documents": [ids that answer it]} a line; [] for none.')
    ],
    out: Annotated[Path, typer.Option(help="Where to write the rule; chimed ask --refusal uses it.")],
    index: IndexOption = None,
    risk: Annotated[float, typer.Option(min=0.001, max=0.999, help="Share of wrong answers allowed.")] = 0.05,
    confidence: Annotated[float, typer.Option(min=0.5, max=0.9999, help="How sure of that.")] = 0.95,
    seed: Annotated[int, typer.Option(help="Of the split of the questions.")] = 0,
    config: Annotated[Path | None, typer.Option(help="Settings in YAML.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Learns from your own questions when to refuse, and states what that guarantees."""
    from chimed_rag.medqa import MedQA
    from chimed_rag.safety.calibration import read_questions

    asked = read_questions(questions)
    rule = MedQA(index, config=config).calibrate(asked, risk=risk, confidence=confidence, seed=seed)
    rule.save(out)
    _say(rule.model_dump_json() if as_json else f"{rule.guarantee}\nwritten to {out}")


@app.command()
def search(
    query: Annotated[str, typer.Argument(help="What to look for.")],
    index: IndexOption = None,
    k: Annotated[int, typer.Option(min=1, help="How many passages.")] = 10,
    reranker: RerankerOption = None,
    filter: FilterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Shows the passages that are nearest to a query."""
    from chimed_rag.medqa import MedQA

    condition = _filter(filter)
    evidence = MedQA(index, reranker=reranker).search(query, k, condition)
    if as_json:
        _print_json({"query": query, "evidence": [item.model_dump(mode="json") for item in evidence]})
        return
    for item in evidence:
        ranks = ", ".join(
            f"{name} +{entry.score:.2f}" if name == "reply" else f"{name} #{entry.rank}"
            for name, entry in item.ranks.items()
        )
        page = f", page {item.page}" if item.page is not None else ""
        place = " › ".join(part for part in (item.title, *item.headings) if part)
        _say(f"[{item.number}] {place}  ({item.source}{page}; {item.score:.3f}; {ranks})")
        _say("    " + " ".join(item.text.split())[:200])
    if not evidence:
        print("nothing found", file=sys.stderr)  # noqa: T201


@app.command()
def build(
    sources: Annotated[list[str] | None, typer.Argument(help="Files, folders or globs.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The folder to make.")] = None,
    encoder: EncoderOption = None,
    recipe: Annotated[Path | None, typer.Option(help="YAML with sources, encoder, chunking, storage, fields.")] = None,
    adapt: Annotated[
        bool | None,
        typer.Option(
            "--adapt/--no-adapt", help="Let the encoder learn from this literature; if left out, by its size."
        ),
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(
            help="JSONL of your own questions with answers (query, passage): the encoder learns from them too."
        ),
    ] = None,
    storage: Annotated[str | None, typer.Option(help="Vectors as int8, fp16 or fp32.")] = None,
    field: Annotated[list[str] | None, typer.Option("--field", help="Column mapping, such as text=content.")] = None,
    encoding: Annotated[str | None, typer.Option(help="Encoding of the text files, where detection errs.")] = None,
    skip_scanned: Annotated[bool, typer.Option("--skip-scanned", help="Leave scanned PDF pages out.")] = False,
    skip_errors: Annotated[bool, typer.Option("--skip-errors", help="Leave out files that cannot be read.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an index that is there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Builds an index from literature; run again after an interruption, it resumes."""
    from time import perf_counter

    from chimed_rag.config import Recipe
    from chimed_rag.medqa import MedQA

    options: dict[str, Any] = {}
    if recipe is not None:
        options = Recipe.from_yaml(recipe).model_dump(exclude_unset=True)
        sources = sources or [str(recipe.parent / source) for source in options.pop("sources")]
        options.pop("sources", None)
        if options.get("pairs"):
            options["pairs"] = recipe.parent / options["pairs"]
    given = {
        "encoder": encoder,
        "pairs": pairs,
        "storage": storage,
        "fields": _fields(field),
        "encoding": encoding,
        "skip_scanned": skip_scanned,
        "on_error": "skip" if skip_errors else None,
    }
    options |= {name: value for name, value in given.items() if value}
    if adapt is not None:
        options["adapt"] = adapt
    if not sources or out is None:
        raise InputError("name the sources and the folder to make: chimed build SOURCE... --out DIR")
    reports: list[Any] = []
    began = perf_counter()
    with _progress("reading") as progress:
        qa = MedQA.build(sources, out, overwrite=overwrite, progress=progress, on_report=reports.append, **options)
    seconds = perf_counter() - began
    manifest = qa._view.index.manifest
    report = reports[0].model_dump(mode="json") if reports else {}
    if as_json:
        _print_json(
            {
                "path": str(out),
                "counts": manifest.counts.model_dump(),
                "seconds": round(seconds, 2),
                "report": report,
                "schema_version": 1,
            }
        )
        return
    counts = manifest.counts
    _say(f"{out}: {counts.documents:,} documents, {counts.chunks:,} passages in {seconds:.1f} s")
    for name, value in report.items():
        if isinstance(value, dict) and value:
            _say(f"  {name}: " + ", ".join(f"{key} {count:,}" for key, count in value.items()))
    for line in report.get("errors", ()):
        print(f"left out: {line}", file=sys.stderr)  # noqa: T201
    if qa.adaptation is not None:
        _say(f"  {qa.adaptation.report()}")
    _say(f"ask it: chimed ask 高血压怎么治疗 --index {out}")


def _fields(pairs: list[str] | None) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for pair in pairs or []:
        name, sign, column = pair.partition("=")
        if not sign or not name or not column:
            raise InputError(f"--field takes NAME=COLUMN, such as text=content, not {pair!r}")
        fields[name] = column.split("+") if "+" in column else column
    return fields


@app.command()
def inspect(
    index: Annotated[Path, typer.Argument(help="Folder of an index.")],
    repair: Annotated[bool, typer.Option("--repair", help="Derive damaged derived parts anew.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Tells what an index holds and whether every byte of it is what was committed; exit code 1 if not."""
    from chimed_rag.indexing.manifest import damaged_files, read_manifest
    from chimed_rag.indexing.writer import repair as repair_index

    manifest = read_manifest(index)
    if repair:
        manifest = repair_index(index)
    problems = damaged_files(index, manifest, hashes=True)
    size = sum(entry.size for entry in manifest.files.values())
    if as_json:
        body = manifest.model_dump(mode="json", exclude={"files"})
        _print_json(
            {
                "path": str(index),
                "whole": not problems,
                "problems": problems,
                "bytes": size,
                **body,
                "schema_version": 1,
            }
        )
    else:
        for line in _inspection(index, manifest, problems):
            _say(line)
    if problems:
        raise typer.Exit(1)


def _inspection(index: Path, manifest: Manifest, problems: list[str]) -> Iterator[str]:
    counts, spec, size = manifest.counts, manifest.encoder, sum(entry.size for entry in manifest.files.values())
    yield f"{index}: generation {manifest.generation}, format {manifest.format_version}, written {manifest.created}"
    yield f"  documents {counts.documents:,}, passages {counts.chunks:,}, deleted passages {counts.deleted_chunks:,}"
    yield f"  encoder {spec.name} ({spec.fingerprint[:12]}), {spec.dimension} dimensions, {manifest.vectors.storage}"
    if isinstance(revision := spec.settings.get("revision"), str):
        yield f"  encoder's commit {revision}"
    for label in ("query", "document"):
        if isinstance(prefix := spec.settings.get(f"{label}_prefix"), str) and prefix:
            yield f"  before each {label}: {prefix!r}"
    yield f"  files {len(manifest.files)}, {size / 1e6:,.1f} MB, chimed_rag {manifest.library_version}"
    for label, table in (("sources", manifest.sources), ("licences", manifest.licences)):
        shown = ", ".join(f"{name or '(none)'} {count:,}" for name, count in list(table.items())[:20])
        yield f"  {label}: {shown}" + (f" and {len(table) - 20} more" if len(table) > 20 else "")
    if not problems:
        yield "  whole: every byte is what was committed"
        return
    yield "  DAMAGED:"
    yield from (f"    {line}" for line in problems)
    if all(line.startswith("lexical/") for line in problems):
        yield f"  run: chimed inspect {index} --repair"
    else:
        yield f"  restore it from a backup, or rebuild: chimed build SOURCE... --out {index} --overwrite"


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Tells what this machine can do, what is missing, and the command that adds it."""
    from chimed_rag.doctor import examine, report

    findings = examine()
    if as_json:
        _print_json({"findings": [finding._asdict() for finding in findings], "schema_version": 1})
    else:
        _say(report(findings))
    if any(finding.state == "broken" for finding in findings):
        raise typer.Exit(1)


if __name__ == "__main__":
    main()
