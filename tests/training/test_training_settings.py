"""YAML and --set: what is put where, and errors that name file and key."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field

from chimed_rag.errors import ConfigError
from training.settings import ROOT, Settings, located, read_yaml, validated


class Inner(Settings):
    epochs: int = 1


class Outer(Settings):
    seed: int
    rounds: list[Inner] = Field(default_factory=list)
    one: Inner | None = None


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "x.yaml"
    path.write_text("seed: 1\nrounds:\n  - {epochs: 2}\n  - {epochs: 3}\n", "utf-8")
    return path


def test_overrides_reach_into_lists_and_make_what_is_not_there(file: Path) -> None:
    data = read_yaml(file, ["rounds.1.epochs=5", "one.epochs=7", "seed=2"])
    assert data == {"seed": 2, "rounds": [{"epochs": 2}, {"epochs": 5}], "one": {"epochs": 7}}
    assert read_yaml(file, ["rounds=[{epochs: 9}]"])["rounds"] == [{"epochs": 9}]
    assert read_yaml(file, ["note=a=b"])["note"] == "a=b"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "write it as key=value"),
        ("=3", "write it as key=value"),
        ("rounds.2.epochs=1", "'2' is no place in a list of 2"),
        ("rounds.x=1", "'x' is no place"),
        ("seed.deeper=1", "plain value where 'deeper'"),
        ("seed=[1", "the value is not YAML"),
    ],
)
def test_an_override_that_does_not_fit(file: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"--set .*{message}" if override != "=3" else message):
        read_yaml(file, [override])


def test_a_file_that_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.yaml: cannot be read"):
        read_yaml(tmp_path / "gone.yaml")
    (tmp_path / "x.yaml").write_text("a: [1\nb: 2\n", "utf-8")
    with pytest.raises(ConfigError, match=r"x\.yaml, line 2: is not YAML"):
        read_yaml(tmp_path / "x.yaml")
    (tmp_path / "x.yaml").write_text("- 1\n", "utf-8")
    with pytest.raises(ConfigError, match=r"x\.yaml: holds no keys, but list"):
        read_yaml(tmp_path / "x.yaml")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"seed": 1, "sede": 2}, r"c\.yaml: sede: .*; there are: seed, rounds, one"),
        ({"seed": "x"}, r"c\.yaml: seed: .*integer"),
        ({}, r"c\.yaml: seed: Field required"),
        ({"seed": 1, "rounds": [{"epoch": 1}]}, r"c\.yaml: rounds\.0\.epoch: .*; there are: epochs"),
        ({"seed": 1, "one": {"epoch": 1}}, r"c\.yaml: one\.epoch: .*; there are: epochs"),
    ],
)
def test_errors_name_file_and_key(data: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validated(Outer, data, "c.yaml")


def test_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHIMED_SHARED", raising=False)
    assert located("$CHIMED_SHARED/data") == ROOT.parent / "shared" / "data"
    monkeypatch.setenv("CHIMED_SHARED", "/elsewhere")
    assert located("${CHIMED_SHARED}/data") == Path("/elsewhere/data")
    assert located("models/x") == Path("models/x")
    with pytest.raises(ConfigError, match=r"\$NOT_SET_HERE is not set"):
        located("$NOT_SET_HERE/x")
