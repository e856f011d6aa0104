"""Pipelines: references, what is shared, skipped, refused before anything begins; gates and kills. Stages are stubs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from chimed_rag.errors import ConfigError, UnknownNameError
from training.card import Point
from training.gates import Gate, GateError, conclude
from training.pipeline import Record, read_pipeline, run_pipeline
from training.run import Run
from training.stages import STAGES, Stage, StageSettings
from training.verify import verify


class StubSettings(StageSettings):
    reward: str | None = None
    """A reward model, for the stub of rejection sampling."""
    score: float = 1.0
    """What its gate measures."""


done: list[str] = []
"""Phases that were trained, by the name of the stage, since a test began."""
on_phase: dict[str, Callable[[], None]] = {}
"""What happens in the middle of a stage."""


def _train(settings: StubSettings, run: Run) -> None:
    run.data([])

    def make(folder: Path) -> list[Point]:
        done.append(f"{run.folder.name} {folder.name}")
        if folder.name == "second":
            on_phase.get(run.folder.name, lambda: None)()
        (folder / "model").mkdir(exist_ok=True)
        (folder / "model" / "config.json").write_text(json.dumps({"base": settings.base, "reward": settings.reward}))
        (folder / "model" / "model.safetensors").write_text(f"{settings.seed} {settings.fit.max_steps}")
        return [Point(phase=folder.name, step=1, loss=0.5)]

    run.phase("first", make)
    model = run.phase("second", make)
    conclude(run, model, [Gate.of("score", settings.score, n=10, at_least=0.5)], settings.gates)


STUB = Stage(StubSettings, _train)
HYGIENE = {"data": {"sources": [{"path": "rows.jsonl"}], "hygiene": {"evaluation": None}}}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Five stages, as a real pipeline chains them; its paths are relative to the test's folder."""
    for name in ("pretrain", "sft", "reward", "reject", "prefer"):
        monkeypatch.setitem(STAGES._entries, name, f"{__name__}:STUB")
    monkeypatch.chdir(tmp_path)
    done.clear()
    on_phase.clear()
    keys: dict[str, Any] = {
        "output_dir": "runs/all",
        "shared": {"seed": 7, "fit": {"batch_size": 4, "epochs": 2}, **HYGIENE},
        "stages": [
            {"name": "pretrain", "stage": "pretrain"},
            {"name": "sft", "stage": "sft", "base": "{previous}", "fit": {"epochs": 3}},
            {"name": "judge", "stage": "reward", "base": "{previous}", "seed": 8},
            {"name": "reject", "stage": "reject", "base": "{previous}", "reward": "{judge.folder}"},
            {"name": "prefer", "stage": "prefer", "base": "{sft.folder}"},
        ],
    }
    path = tmp_path / "all.yaml"
    path.write_text(yaml.safe_dump(keys), "utf-8")
    return path


def _states(folder: Path) -> dict[str, str]:
    record = Record.model_validate_json((folder / "pipeline.json").read_bytes())
    return {stage.name: stage.state for stage in record.stages}


def _parts(folder: Path, name: str) -> Any:
    return json.loads((folder / name / "config.json").read_text())


def test_stages_are_chained(config: Path, tmp_path: Path) -> None:
    said: list[str] = []
    folder = run_pipeline(config, say=said.append)
    assert folder == Path("runs/all")
    assert _parts(folder, "sft") == {"base": "runs/all/pretrain", "reward": None}
    assert _parts(folder, "judge") == {"base": "runs/all/sft", "reward": None}
    assert _parts(folder, "reject") == {"base": "runs/all/sft", "reward": "runs/all/judge"}  # no policy of the judge
    assert _parts(folder, "prefer") == {"base": "runs/all/sft", "reward": None}
    assert set(_states(folder).values()) == {"done"}
    assert said[-1].startswith("all stages are done, 5 of 5 gates passed")
    assert verify(folder) == []
    card = json.loads((folder / "sft" / "card.json").read_text("utf-8"))
    assert card["command"] == "python -m training pipeline --config all.yaml"
    done.clear()
    run_pipeline(config)
    assert done == []  # finished stages are left as they are
    run_pipeline(config, fresh=True)
    assert len(done) == 10


def test_shared_keys_lie_beneath_a_stage_s_own(config: Path) -> None:
    _, steps = read_pipeline(config, ["stages.reject.fit.epochs=5", "stages.0.seed=9", "shared.device=cpu"])
    assert [step.settings["seed"] for step in steps] == [9, 7, 8, 7, 7]
    assert [step.settings["fit"] for step in steps[:4]] == [
        {"batch_size": 4, "epochs": epochs} for epochs in (2, 3, 2, 5)
    ]
    assert {step.settings["device"] for step in steps} == {"cpu"}


def test_a_failed_gate_stops_it_and_says_why(config: Path) -> None:
    low = ["stages.sft.score=0.1"]
    with pytest.raises(GateError, match=r"stage sft: .*1 of 1 gates failed: score 0\.1, at least 0\.5"):
        run_pipeline(config, low)
    folder = Path("runs/all")
    assert list(_states(folder).values()) == ["done", "failed", "waiting", "waiting", "waiting"]
    record = Record.model_validate_json((folder / "pipeline.json").read_bytes())
    assert record.stages[1].why.startswith("GateError: ")
    assert (folder / "sft" / "card.json").is_file() and not (folder / "judge").exists()
    done.clear()
    with pytest.raises(GateError, match="stage sft"):  # it stays refused
        run_pipeline(config, low)
    assert done == []
    said: list[str] = []
    run_pipeline(config, [*low, "stages.sft.gates=false"], say=said.append)
    assert not any(phase.startswith(("pretrain", "sft")) for phase in done)
    assert said[-1].startswith("all stages are done, 4 of 5 gates passed")


def test_killed_in_the_middle_it_goes_on_there(config: Path) -> None:
    def kill() -> None:
        raise KeyboardInterrupt

    on_phase["judge"] = kill
    with pytest.raises(KeyboardInterrupt):
        run_pipeline(config)
    assert list(_states(Path("runs/all")).values()) == ["done", "done", "failed", "waiting", "waiting"]
    done.clear()
    on_phase.clear()
    said: list[str] = []
    folder = run_pipeline(config, say=said.append)
    assert done == [
        "judge second",
        *(f"{name} {phase}" for name in ("reject", "prefer") for phase in ("first", "second")),
    ]
    assert "judge: first: was finished before" in said
    assert json.loads((folder / "judge" / "card.json").read_text())["resumed"] == 1
    assert verify(folder) == []


@pytest.mark.parametrize(
    ("skip", "bases"),
    [
        # From nothing: the model stays untrained, and the others begin with it.
        (["pretrain"], {"sft": "runs/all/pretrain", "judge": "runs/all/sft"}),
        (["sft"], {"judge": "runs/all/pretrain", "reject": "runs/all/pretrain", "prefer": "runs/all/pretrain"}),
        (["reject", "judge"], {"prefer": "runs/all/sft"}),
    ],
)
def test_skipped_stages(config: Path, skip: list[str], bases: dict[str, str]) -> None:
    sets = ["stages.pretrain.score=0.1"] if "pretrain" in skip else []  # an untrained model need not pass
    folder = run_pipeline(config, [f"skip={json.dumps(skip)}", *sets])
    assert {name: _parts(folder, name)["base"] for name in bases} == bases
    if "pretrain" in skip:
        assert (folder / "pretrain" / "model.safetensors").read_text() == "7 1"  # one step
    else:
        assert not any((folder / name).exists() for name in skip)
        assert [name for name, state in _states(folder).items() if state == "skipped"] == [
            name for name in ("sft", "judge", "reject") if name in skip
        ]


def test_a_skipped_stage_stands_for_its_base(config: Path) -> None:
    _, steps = read_pipeline(config, ["stages.pretrain.base=owner/name", "skip=[pretrain]"])
    assert steps[0].skipped and steps[1].settings["base"] == "owner/name"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("skip=[judge]", r"stages\.3 \(reject\): reward: \{judge\.folder\}: judge is skipped, and nothing can stand"),
        ("skip=[none]", r"skip: no stage is called 'none'; there are: pretrain, sft"),
        ("stages.sft.base={later.folder}", r"stages\.1 \(sft\): base: \{later\.folder\}: no stage before it is called"),
        ("stages.pretrain.base={previous}", r"stages\.0 \(pretrain\): base: \{previous\}: no stage before it makes"),
        ("shared.description={prepared}", r"stages\.0 \(pretrain\): description: \{prepared\}: the pipeline has no"),
        ("prepare=x", r"all\.yaml: prepare: "),
        ("stages.sft.output_dir=x", r"stages\.1 \(sft\): output_dir: is the pipeline's, runs/all/sft"),
        ("stages.sft.name=judge", r"stages\.2: another stage is called judge, too"),
        ("stages.sft.name=../x", r"stages\.1: needs a name of letters"),
        ("stages.sft.stage=null", r"stages\.1 \(sft\): stage: is None; there are: prefer, pretrain"),
        ("stages.prefer.depht=1", r"stages\.4 \(prefer\): depht: .*there are: stage, output_dir"),
        ("shared.score=1", r"shared: 'score' is no key of every stage; there are: stage, output_dir, base"),
        ("stages=[]", r"all\.yaml: stages: "),
        ("stagse=1", r"all\.yaml: stagse: .*there are: output_dir, shared, skip, prepare, stages"),
    ],
)
def test_mistakes_are_refused_before_anything_begins(config: Path, change: str, message: str) -> None:
    key, _, value = change.partition("=")
    with pytest.raises(ConfigError, match=message):
        run_pipeline(config, [f"{key}={json.dumps(value)}" if value.startswith("{") else change])
    assert done == [] and not Path("runs").exists()


def prepare(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rows.jsonl").write_text("rows")


def test_rows_are_prepared_before_the_first_stage(config: Path) -> None:
    sets = [f"prepare={__name__}:prepare", 'stages.sft.data.sources=[{"path": "{prepared}/rows.jsonl"}]']
    _, steps = read_pipeline(config, sets)
    assert not Path("runs").exists()
    (source,) = steps[1].settings["data"]["sources"]
    assert source["path"] == "runs/all/data/rows.jsonl"
    run_pipeline(config, sets)
    assert Path(source["path"]).read_text() == "rows"


def test_an_unknown_stage(config: Path) -> None:
    with pytest.raises(UnknownNameError, match="no stage is called 'train'; there are: prefer"):
        run_pipeline(config, ["stages.sft.stage=train"])
    assert done == []


def test_braces_of_other_meanings_are_left_alone(config: Path) -> None:
    _, steps = read_pipeline(config, ["stages.pretrain.description='{title} {x.y}'"])
    assert steps[0].settings["description"] == "{title} {x.y}"


def test_a_stage_that_was_made_anew_is_noticed_below(config: Path) -> None:
    from chimed_rag.errors import InputError
    from training.stages import run_settings

    run_pipeline(config)
    _, steps = read_pipeline(config)
    run_settings("pretrain", steps[0].settings, "x", "x", True, lambda _: None)
    run_pipeline(config)  # it came out the same
    run_settings("pretrain", {**steps[0].settings, "seed": 9}, "x", "x", True, lambda _: None)
    with pytest.raises(InputError, match="base: runs/all/pretrain is not the model that it was"):
        run_pipeline(config, ["stages.pretrain.seed=9"])
