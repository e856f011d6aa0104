"""The chain of models as one page: who was made of whom, of what data, the losses, the gates, the scores.

Everything comes from cards, manifests and gates: numbers, settings and names of files, and no row of any data. The page
is one HTML file without scripts or links; its pictures lie beside it as PNG too. Not covered: taking the numbers.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from chimed_rag.errors import InputError
from training import figures
from training.card import Card, by_folder
from training.gates import Gate, read_gates
from training.lineage import Manifest, parent_folder, read_manifest
from training.pipeline import FILE as PIPELINE
from training.pipeline import JUDGES, Record
from training.settings import located

PAGE = "report.html"


class Model(NamedTuple):
    """A stage of the chain: what became of it, and its papers, where it has come so far."""

    name: str
    folder: Path
    state: str
    why: str
    card: Card | None
    manifest: Manifest | None
    gates: list[Gate]


def report(folder: str | Path, out: str | Path) -> Path:
    """Writes the page and its pictures (chain.png, curves.png, gates.png); returns the page's path.

    Args:
        folder: of a pipeline, finished or not, or of a model: then of it and of all that it was made of.
        out: a folder; made if it is not there.

    Raises:
        InputError: there is neither; or papers of a model cannot be read.
        MissingExtraError: matplotlib is not installed.
    """
    place, target = located(str(folder)), Path(out)
    models, title, description, command = _chain(place, str(folder))
    pictures = {
        "chain": figures.chain([_box(model, models) for model in models]),
        "curves": figures.curves({model.name: model.card.curve for model in models if model.card}),
        "gates": figures.gates({model.name: model.gates for model in models if model.gates}),
    }
    target.mkdir(parents=True, exist_ok=True)
    for name, picture in pictures.items():
        (target / f"{name}.png").write_bytes(picture)
    page = target / PAGE
    page.write_text(_page(models, title, description, command, pictures), "utf-8")
    return page


def _chain(place: Path, shown: str) -> tuple[list[Model], str, str, str]:
    """The models in the order in which they were made; title, description and command."""
    if (place / PIPELINE).is_file():
        record = Record.model_validate_json((place / PIPELINE).read_bytes())
        models = [_model(place / stage.name, stage.name, stage.state, stage.why) for stage in record.stages]
        return models, record.name, record.description, record.command
    if not (place / "card.json").is_file():
        raise InputError(
            f"{shown}: holds neither {PIPELINE} nor card.json; give the folder of a pipeline or of a model"
        )
    models = list(_forebears(place, set()))
    card = models[-1].card
    assert card is not None
    return models, card.name, card.description, card.command


def _model(folder: Path, name: str, state: str, why: str = "") -> Model:
    card = folder / "card.json"
    read = Card.model_validate_json(card.read_bytes()) if card.is_file() else None
    return Model(name, folder, state, why, read, read_manifest(folder), read_gates(folder))


def _forebears(folder: Path, seen: set[Path]) -> Iterator[Model]:
    seen.add(folder.resolve())
    manifest = read_manifest(folder)
    for parent in manifest.parents.values() if manifest else ():
        place = parent_folder(folder, parent) if parent.digest else None
        if place is not None and place.resolve() not in seen:
            yield from _forebears(place, seen)
    yield _model(folder, folder.name, "done")


def _box(model: Model, models: Sequence[Model]) -> figures.Box:
    names = {other.folder.resolve(): other.name for other in models}
    parents = {}
    for key, parent in (model.manifest.parents if model.manifest else {}).items():
        place = parent_folder(model.folder, parent) if parent.digest else None
        if place is not None and place.resolve() in names:
            parents[key] = names[place.resolve()]
    lines = [model.state]
    if model.card is not None:
        kept = sum(entry.kept for entry in model.card.data)
        how_much = f"{kept:,} rows, {model.card.seconds:,.0f} s"
        lines = [_millions(model.card.parameters), how_much, _verdicts([model])]
    return figures.Box(model.name, lines, model.state, parents, model.card is not None and model.card.stage in JUDGES)


def _millions(parameters: int) -> str:
    return f"{parameters / 1e6:.3g} M parameters" if parameters else "parameters not said"


def _verdicts(models: Sequence[Model]) -> str:
    gates = [gate for model in models for gate in model.gates]
    return f"{sum(gate.passed for gate in gates)} of {len(gates)} gates" if gates else "no gates"


def _page(models: Sequence[Model], title: str, description: str, command: str, pictures: dict[str, bytes]) -> str:
    cards = [model.card for model in models if model.card]
    facts = [f"{_verdicts(models)} passed", f"{sum(card.seconds for card in cards):,.0f} s in all"]
    hardware = [model.manifest.hardware for model in models if model.manifest]
    if hardware:
        facts += [f"{hardware[-1].processor or hardware[-1].machine}, {hardware[-1].cores} cores", *hardware[-1].gpus]
    if cards:
        facts += [f"commit {cards[-1].commit[:12]}", cards[-1].created[:10]]
    failed = [f"<p class=bad><b>{escape(m.name)}</b> {escape(m.why)}</p>" for m in models if m.why]
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{escape(description)}</p>" if description else "",
        f"<p class=facts>{' · '.join(map(escape, facts))}</p>",
        *failed,
        _picture("chain", pictures, "Who was made of whom"),
        f"<pre>{escape(command)}</pre>",
        "<h2>Gates</h2>",
        _picture(
            "gates", pictures, "Each gate with its 95 % interval; the line is the bound, what is allowed is shaded"
        )
        if any(model.gates for model in models)
        else "<p>None were measured.</p>",
        _table(
            ("stage", "gate", "measured", "95 % interval", "bound", "n", "verdict"),
            _gate_rows(models),
            numbers=(2, 3, 4, 5),
        ),
        "<h2>Losses</h2>",
        _picture("curves", pictures, "Loss by optimizer steps")
        if any(len(card.curve) > 1 for card in cards)
        else "<p>None were read.</p>",
        "<h2>Scores</h2>",
        _table(("stage", "system", "metric", "mean", "95 % interval"), _score_rows(models), numbers=(3, 4)),
        "<h2>Data</h2>",
        _table(("stage", "file", "licence", "read", "kept", "dropped"), _data_rows(models), numbers=(3, 4)),
        *(
            f"<p>{escape(m.name)}: checked against {escape(m.card.checked_against)}.</p>"
            for m in models
            if m.card and m.card.checked_against
        ),
        "<h2>Papers</h2>",
        _table(("stage", "seed", "parents", "manifest", "versions"), _paper_rows(models)),
    ]
    body = "\n".join(part for part in parts if part)
    head = f"<meta charset=utf-8><title>{escape(title)}</title>\n<style>{_STYLE}</style>"
    return f"<!doctype html>\n<html lang=en>{head}\n<main>\n{body}\n</main>\n</html>\n"


_STYLE = """
:root { color-scheme: light }
body { margin: 0; background: #fff; color: #1f2933; font: 15px/1.55 system-ui, Helvetica, Arial, sans-serif }
main { max-width: 1040px; margin: 0 auto; padding: 40px 28px 80px }
h1 { font-size: 28px; margin: 0 0 4px } h2 { font-size: 19px; margin: 40px 0 10px }
.facts { color: #66717d; margin: 0 0 20px }
img { max-width: 100%; display: block; margin: 8px 0 }
pre { background: #f5f6f8; padding: 10px 12px; border-radius: 6px; overflow-x: auto; font-size: 13px }
table { border-collapse: collapse; width: 100%; font-size: 13px }
th, td { text-align: left; padding: 5px 10px 5px 0; border-bottom: 1px solid #e6e9ed; vertical-align: top }
th { color: #66717d; font-weight: 600 }
td.n, th.n { padding-right: 18px; text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
td { overflow-wrap: anywhere } td code { font-size: 12px }
.good { color: #0b7a75 } .bad { color: #b3261e }
""".replace("\n", " ")


def _picture(name: str, pictures: dict[str, bytes], caption: str) -> str:
    return f'<img alt="{escape(caption)}" src="data:image/png;base64,{base64.b64encode(pictures[name]).decode()}">'


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Sequence[int] = ()) -> str:
    """Cells are HTML already."""
    body = list(rows)
    if not body:
        return ""

    def row(cells: Sequence[str], tag: str) -> str:
        marked = (f"<{tag}{' class=n' if n in numbers else ''}>{cell}</{tag}>" for n, cell in enumerate(cells))
        return f"<tr>{''.join(marked)}</tr>"

    return "<table>" + row(head, "th") + "\n".join(row(cells, "td") for cells in body) + "</table>"


def _gate_rows(models: Sequence[Model]) -> Iterator[tuple[str, ...]]:
    for model in models:
        for gate in model.gates:
            verdict = "<span class=good>passed</span>" if gate.passed else "<b class=bad>failed</b>"
            detail = f"<br><small>{escape(gate.detail)}</small>" if gate.detail else ""
            yield (
                escape(model.name), escape(gate.name) + detail, f"{gate.value:.4g}",
                f"{gate.low:.4g} to {gate.high:.4g}",
                f"{gate.direction.replace('_', ' ')} {gate.bound:.4g}", f"{gate.n:,}", verdict,
            )  # fmt: skip


def _score_rows(models: Sequence[Model]) -> Iterator[tuple[str, ...]]:
    for model in models:
        for system, metrics in (model.card.scores if model.card else {}).items():
            for metric, mean in metrics.items():
                interval = f"{mean.low:.3f} to {mean.high:.3f}"
                yield escape(model.name), escape(system), escape(metric), f"{mean.value:.3f}", interval


def _data_rows(models: Sequence[Model]) -> Iterator[tuple[str, ...]]:
    for model in models:
        for entry, files in by_folder(model.card.data if model.card else []):
            name = f"<code>{escape(entry.path)}</code>" + (f" ({files} files)" if files > 1 else "")
            dropped = ", ".join(f"{reason} {n:,}" for reason, n in sorted(entry.dropped.items())) or "none"
            yield (
                escape(model.name), name, escape(entry.licence or "not stated"),
                f"{entry.read:,}", f"{entry.kept:,}", escape(dropped),
            )  # fmt: skip


def _paper_rows(models: Sequence[Model]) -> Iterator[tuple[str, ...]]:
    for model in models:
        if model.manifest is None or model.card is None:
            yield escape(model.name), "", "", escape(model.state), ""
            continue
        parents = "<br>".join(
            f"{escape(key)}: <code>{escape(p.path)}</code>" for key, p in model.manifest.parents.items()
        )
        wanted = ("python", "torch", "transformers", "trl", "peft")
        versions = ", ".join(f"{name} {model.card.versions[name]}" for name in wanted if name in model.card.versions)
        yield (
            escape(model.name),
            str(model.card.seed),
            parents or "none",
            f"<code>{model.card.manifest[:16]}…</code>",
            versions,
        )
