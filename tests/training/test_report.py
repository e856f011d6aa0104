"""The report of a chain: complete, self-contained, escaped; also of a chain that failed half-way. No torch."""

from __future__ import annotations

import struct
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from chimed_rag.errors import InputError
from chimed_rag.evaluation.statistics import Interval
from training.card import Point
from training.figures import Box, _passes_over
from training.files import Account
from training.gates import Gate, GateError, conclude
from training.pipeline import run_pipeline
from training.report import report
from training.run import Run
from training.stages import STAGES, Stage, StageSettings


class PaperSettings(StageSettings):
    reward: str | None = None


def _train(settings: PaperSettings, run: Run) -> None:
    files = [Account(path="a<b>.jsonl", sha256="a" * 64, licence="CC0", rows=9, read=9, kept=8, dropped={"empty": 1})]
    files += [Account(path=f"many/{n}.md", sha256="b" * 64, rows=2, read=2, kept=2) for n in range(6)]
    run.data(files)

    def make(folder: Path) -> list[Point]:
        (folder / "model").mkdir()
        (folder / "model" / "config.json").write_text("{}")
        return [Point(phase=folder.name, step=step, loss=5 / step) for step in range(1, 9)]

    run.phase("round-1", make)
    model = run.phase("round-2", make)
    run.card.parameters = 2_480_000
    run.card.scores = {"model": {"rouge-l": Interval(value=0.3125, low=0.29, high=0.33)}}
    up = Gate.of("ROUGE 提高", Interval(value=0.2, low=0.1, high=0.3), n=1200, at_least=0.0, clear=True, detail="a < b")
    ratio = Gate.of("length ratio", 1.1 if settings.seed == 1 else 1.4, n=100, at_most=1.2)
    conclude(run, model, [up, ratio], settings.gates)


PAPER = Stage(PaperSettings, _train)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("pretrain", "sft", "reward", "reject"):
        monkeypatch.setitem(STAGES._entries, name, f"{__name__}:PAPER")
    monkeypatch.chdir(tmp_path)
    stages = [
        {"name": "pretrain", "stage": "pretrain"},
        {"name": "sft", "stage": "sft", "base": "{previous}"},
        {"name": "judge", "stage": "reward", "base": "{previous}"},
        {"name": "reject", "stage": "reject", "base": "{previous}", "reward": "{judge.folder}"},
    ]
    shared = {"data": {"sources": [{"path": "x"}], "hygiene": {"evaluation": None}}}
    keys = {"output_dir": "runs/five", "description": "Four & <more>", "shared": shared, "stages": stages}
    path = tmp_path / "five.yaml"
    path.write_text(yaml.safe_dump(keys), "utf-8")
    return path


class Reader(HTMLParser):
    """Text by table, and every address that a browser would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loaded: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)
        self.loaded += [value or "" for name, value in attributes if name in ("src", "href")]
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, text: str) -> None:
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += text


def _size(picture: Path) -> tuple[int, int]:
    head = picture.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", head[16:])  # type: ignore[return-value]


def test_the_page_of_a_pipeline(config: Path, tmp_path: Path) -> None:
    page = report(run_pipeline(config), tmp_path / "out" / "page")
    text = page.read_text("utf-8")
    read = Reader(text)
    assert read.open == []
    assert len(read.loaded) == 3 and all(one.startswith("data:image/png;base64,") for one in read.loaded)
    assert "<h1>five</h1>" in text and "Four &amp; &lt;more&gt;" in text
    assert "8 of 8 gates passed" in text and "python -m training pipeline --config five.yaml" in text
    assert [
        "sft",
        "ROUGE 提高a < b; with its whole interval",
        "0.2",
        "0.1 to 0.3",
        "at least 0",
        "1,200",
        "passed",
    ] in read.rows
    assert ["judge", "length ratio", "1.1", "1.1 to 1.1", "at most 1.2", "100", "passed"] in read.rows
    assert ["sft", "model", "rouge-l", "0.312", "0.290 to 0.330"] in read.rows
    assert ["sft", "a<b>.jsonl", "CC0", "9", "8", "empty 1"] in read.rows
    assert ["sft", "many/ (6 files)", "not stated", "12", "12", "none"] in read.rows
    (papers,) = [row for row in read.rows if row[0] == "reject" and len(row) == 5 and "reward" in row[2]]
    assert papers[1] == "1" and papers[2] == "base: runs/five/sftreward: runs/five/judge"
    for name in ("chain", "curves", "gates"):
        wide, high = _size(page.parent / f"{name}.png")
        assert wide > 600 and high > 200


def test_the_page_of_a_chain_that_failed(config: Path, tmp_path: Path) -> None:
    with pytest.raises(GateError):
        run_pipeline(config, ["stages.sft.seed=2"])
    read = Reader(text := report("runs/five", tmp_path / "out").read_text("utf-8"))
    assert "<b>sft</b> GateError: " in text and "3 of 4 gates passed" in text
    assert ["sft", "length ratio", "1.4", "1.4 to 1.4", "at most 1.2", "100", "failed"] in read.rows
    assert ["judge", "", "", "waiting", ""] in read.rows


def test_the_page_of_a_model_shows_what_it_was_made_of(config: Path, tmp_path: Path) -> None:
    run_pipeline(config)
    read = Reader(report("runs/five/judge", tmp_path / "out").read_text("utf-8"))
    names = list(dict.fromkeys(row[0] for row in read.rows if row[0] != "stage"))
    assert names == ["pretrain", "sft", "judge"]
    with pytest.raises(InputError, match=r"holds neither pipeline\.json nor card\.json"):
        report("runs", tmp_path / "out")


def test_an_arrow_goes_around_models_between() -> None:
    boxes = [
        Box("a", [], "done", {}),
        Box("j", [], "done", {}, True),
        Box("b", [], "done", {}),
        Box("c", [], "done", {}),
    ]
    assert not _passes_over(boxes[2], "a", boxes)  # the judge between lies lower
    assert _passes_over(boxes[3], "a", boxes)
    assert not _passes_over(boxes[1], "a", boxes)
