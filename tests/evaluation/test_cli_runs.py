"""`chimed evaluate` for tasks with a card, as a person or a script meets it; in this process, where toys are known."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from chimed_rag import cli
from chimed_rag.errors import InputError, UnknownNameError
from tests.toy_task import registered, write_toy


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    registered(monkeypatch)
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_toy(tmp_path / "toy.jsonl")


def chimed(*arguments: object) -> str:
    done = CliRunner().invoke(cli.app, ["evaluate", *map(str, arguments)], catch_exceptions=True)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_task_with_a_card_is_a_command(data, tmp_path):
    told = json.loads(chimed("toy", "--data", data, "--system", "always", "--set", "answer=B", "--json"))
    assert (told["task"], told["system"], told["protocol"], told["n"]) == ("toy", "always", "toy-v1", 8)
    assert told["metrics"]["accuracy"]["value"] == 0.25
    assert told["schema_version"] == 1
    assert told["latency_ms"] == {"p50": 500.0, "p95": 500.0}
    assert len(told["data_sha256"]) == 64


def test_people_see_counts_baselines_and_notes(data, tmp_path):
    out = tmp_path / "run"
    told = chimed("toy", "--data", data, "--system", "always", "--limit", 4, "--out", out)
    for part in ("toy: always", "1 correct, 3 wrong, 0 invalid, 0 error", "always A: accuracy 0.250", "note: a toy",
                 "note: a trial on the first 4 of 8 samples", f"chimed evaluate report {out}"):  # fmt: skip
        assert part in told
    assert (out / "result.json").exists()


def test_other_settings_reach_the_run(data, tmp_path):
    out = tmp_path / "run"
    chimed("toy", "--data", data, "--system", "always", "--out", out, "--seed", 3, "--timeout", 5, "--protocol",
           "toy-lenient", "--json")  # fmt: skip
    header = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert (header["seed"], header["timeout"], header["protocol"], header["options"]) == (3, 5.0, "toy-lenient", {})
    with pytest.raises(InputError, match="holds another run: its seed is 3, here it is 4"):
        chimed("toy", "--data", data, "--system", "always", "--out", out, "--seed", 4, "--timeout", 5, "--protocol",
               "toy-lenient")  # fmt: skip


def test_a_run_in_which_everything_failed_exits_1(data, monkeypatch):
    from tests.toy_task import Always

    def fails(self, sample):
        raise RuntimeError("boom")

    monkeypatch.setattr(Always, "__call__", fails)
    done = CliRunner().invoke(cli.app, ["evaluate", "toy", "--data", str(data), "--system", "always"])
    assert done.exit_code == 1
    assert "8 of 8 samples failed: RuntimeError 8" in done.stdout


def test_an_option_without_a_value_is_refused(data):
    with pytest.raises(InputError, match="--set takes NAME=VALUE, such as k=5, not 'k'"):
        chimed("toy", "--data", data, "--system", "always", "--set", "k")


def test_tasks_and_cards_are_listed():
    listed = json.loads(chimed("tasks", "--json"))["tasks"]
    assert "toy" in [card["name"] for card in listed]
    assert {"name", "kind", "main_metric", "licence"} <= set(listed[0])
    assert "toy" in chimed("tasks")
    assert "licence: Apache-2.0" in chimed("card", "toy")
    assert json.loads(chimed("card", "toy", "--json"))["main_metric"] == "accuracy"
    with pytest.raises(UnknownNameError, match="no task is called 'toys'"):
        chimed("card", "toys")
    with pytest.raises(UnknownNameError, match="no task is called 'toys'"):
        chimed("toys")


def test_a_run_is_rescored_and_compared(data, tmp_path):
    for letter in "AB":
        chimed("toy", "--data", data, "--system", "always", "--set", f"answer={letter}", "--out", tmp_path / letter)
    told = json.loads(chimed("rescore", tmp_path / "A", "--protocol", "toy-lenient", "--json"))
    assert (told["protocol"], told["asked_with"]) == ("toy-lenient", "toy-v1")
    assert "asked by the protocol toy-v1" in chimed("rescore", tmp_path / "A", "--protocol", "toy-lenient")
    found = json.loads(chimed("compare", tmp_path / "A", tmp_path / "B", "--json"))
    assert (found["only_a"], found["only_b"], found["difference"]["value"], found["p"]) == (2, 2, 0, 1)
    told = chimed("compare", tmp_path / "A", tmp_path / "B", "--metric", "accuracy")
    assert "B minus A: +0.0000" in told
    assert "p = 1 (exact McNemar)" in told
    moved = data.rename(tmp_path / "moved.jsonl")
    assert "only A right: 2" in chimed("compare", tmp_path / "A", tmp_path / "B", "--data", moved)


def test_runs_and_files_of_results_are_reported(data, tmp_path, monkeypatch):
    from chimed_rag.evaluation import report

    chimed("toy", "--data", data, "--system", "always", "--out", tmp_path / "A")
    seen: list[object] = []

    def write_report(results, folder, *, examples, baseline):
        seen.extend([[type(one).__name__ for one in results], examples, baseline])
        return [folder / "report.html"]

    monkeypatch.setattr(report, "write_report", write_report, raising=False)
    other = tmp_path / "other.json"
    told = json.loads((tmp_path / "A" / "result.json").read_text(encoding="utf-8"))
    names = ("task", "system", "protocol", "n", "data_sha256", "metrics")
    other.write_text(json.dumps({name: told[name] for name in names}), encoding="utf-8")
    page = tmp_path / "page"
    shown = chimed("report", tmp_path / "A", tmp_path / "A" / "result.json", other, "--out", page, "--examples", 2)
    assert seen == [["TaskResult", "TaskResult", "Result"], 2, None]
    assert f"written: {page / 'report.html'}" in shown


def test_what_the_console_script_says_of_an_unknown_task():
    def script(argument: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "chimed_rag.cli", "evaluate", argument]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = script("nothing")
    assert (done.returncode, done.stdout) == (2, "")
    assert "chimed: no task is called 'nothing'" in done.stderr
    help_ = script("--help").stdout
    for name in (
        "TASK",
        "tasks",
        "card",
        "rescore",
        "compare",
        "report",
        "retrieval",
        "cmedir",
        "cmedqq",
        "exam_evidence",
    ):
        assert f"  {name} " in help_


def test_help_reads_no_card_and_loads_no_numbers():
    code = (
        "import sys; from chimed_rag import cli; sys.argv = ['chimed', '--help']; cli._run();"
        "print([m for m in ('numpy', 'chimed_rag.evaluation.tasks.loading', 'yaml') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
