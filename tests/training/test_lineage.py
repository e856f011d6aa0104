"""Manifests, the tree of them, and what `verify` notices. No torch: the models here are small files."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from chimed_rag.errors import InputError
from training.card import Card, Point, plain
from training.checkpoints import file_sha256
from training.files import Account
from training.gates import Gate, conclude
from training.lineage import digest, lineage, parents_of, read_manifest
from training.run import Run
from training.settings import Settings
from training.verify import verify


class Rounds(Settings):
    judge: str | None = None


class Nothing(Settings):
    output_dir: str
    base: str | None = None
    seed: int = 1
    depth: int = 1
    rounds: tuple[Rounds, ...] = ()
    note: str = "一" * 5000


def _start(folder: str, *, fresh: bool = False, **keys: object) -> Run:
    settings = Nothing.model_validate({"output_dir": folder, **keys})
    card = Card(
        name=Path(folder).name, stage="sft", kind="k", licence="MIT", command="python -m training", seed=settings.seed,
        configuration={}, settings=plain(settings),
    )  # fmt: skip
    return Run(settings, folder, card, fresh=fresh)


def _make(folder: str, *, fresh: bool = False, **keys: object) -> Path:
    run = _start(folder, fresh=fresh, **keys)

    def make(place: Path) -> list[Point]:
        (place / "model").mkdir()
        (place / "model" / "model.safetensors").write_text(f"{folder} {keys.get('depth')}")
        (place / "model" / "config.json").write_text("{}")
        (place / "model" / "chat_template.jinja").write_text("{{ messages }}")
        return []

    run.data([Account(path="rows.jsonl", sha256="f" * 64, rows=3, read=3, kept=2, dropped={"empty": 1})])
    conclude(run, run.phase("fit", make), [Gate.of("stop rate", 1.0, n=9, at_least=0.98)], True)
    return run.folder


@pytest.fixture
def chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """runs/pretrain -> runs/sft -> runs/reward, and runs/reject of the last two; paths relative, as in a checkout."""
    monkeypatch.chdir(tmp_path)
    _make("runs/pretrain")
    _make("runs/sft", base="runs/pretrain")
    _make("runs/reward", base="runs/sft")
    _make("runs/reject", base="runs/sft", rounds=[{"judge": None}, {"judge": "runs/reward"}])
    return tmp_path / "runs"


def test_a_manifest_says_what_a_model_is(chain: Path) -> None:
    manifest = read_manifest(chain / "reject")
    assert manifest is not None
    assert set(manifest.outputs) == {"model.safetensors", "config.json", "chat_template.jinja", "gates.json"}
    weights = hashlib.sha256(b"runs/reject None").hexdigest()
    assert manifest.outputs["model.safetensors"] == weights == file_sha256(chain / "reject" / "model.safetensors")
    assert {key: (p.path, p.digest) for key, p in manifest.parents.items()} == {
        "base": ("runs/sft", file_sha256(chain / "sft" / "manifest.json")),
        "rounds.1.judge": ("runs/reward", file_sha256(chain / "reward" / "manifest.json")),
    }
    (data,) = manifest.data
    assert (data.path, data.read, data.kept) == ("rows.jsonl", 3, 2)
    assert manifest.hardware.cores >= 1 and manifest.hardware.machine and manifest.versions["python"]
    assert (manifest.stage, manifest.seed, len(manifest.settings)) == ("sft", 1, 64) and manifest.commit
    card = json.loads((chain / "reject" / "card.json").read_text("utf-8"))
    assert card["manifest"] == digest(chain / "reject")


def test_the_settings_digest_changes_with_the_settings_and_not_with_the_folder(chain: Path) -> None:
    def settings(name: str) -> str:
        manifest = read_manifest(chain / name)
        assert manifest is not None
        return manifest.settings

    _make("runs/again")
    _make("runs/deeper", depth=2)
    assert settings("again") == settings("pretrain") != settings("deeper")


def test_the_tree(chain: Path) -> None:
    tree = lineage("runs/reject")
    assert str(tree).splitlines() == [
        "runs/reject (sft, seed 1)",
        "  base: runs/sft (sft, seed 1)",
        "    base: runs/pretrain (sft, seed 1)",
        "  rounds.1.judge: runs/reward (sft, seed 1)",
        "    base: runs/sft (sft, seed 1)",
        "      base: runs/pretrain (sft, seed 1)",
    ]
    shutil.copytree(chain, chain.parent / "moved")
    shutil.rmtree(chain)
    assert len(str(lineage(chain.parent / "moved" / "reject")).splitlines()) == 6
    assert verify(chain.parent / "moved" / "reject") == []
    with pytest.raises(InputError, match="no such folder"):
        lineage("runs/reject")


def test_models_of_others_have_no_tree_but_a_digest(tmp_path: Path) -> None:
    folder = tmp_path / "downloaded"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_text("weights")
    before = digest(folder)
    assert parents_of({"base": str(folder), "output_dir": str(folder)})["base"].digest == before
    (folder / "model.safetensors").write_text("Weights")
    assert digest(folder) != before
    assert str(lineage(folder)) == f"{folder} (no manifest)"
    hub = parents_of({"base": "owner/name", "device": "cpu", "licence": "owner/name"})
    assert {key: (parent.path, parent.digest) for key, parent in hub.items()} == {"base": ("owner/name", "")}


def test_a_base_that_changed_is_refused(chain: Path) -> None:
    assert _start("runs/sft", base="runs/pretrain").finished
    _make("runs/pretrain", depth=3, fresh=True)
    with pytest.raises(InputError, match=r"base: runs/pretrain is not the model that it was.*--fresh"):
        _start("runs/sft", base="runs/pretrain")
    run = _start("runs/other", base="runs/pretrain")
    run.data([])
    _make("runs/pretrain", depth=4, fresh=True)
    with pytest.raises(InputError, match="is not the model that it was"):
        _start("runs/other", base="runs/pretrain")


def test_all_is_well(chain: Path) -> None:
    assert verify("runs/reject") == []
    assert verify("runs") == []
    with pytest.raises(InputError, match=r"holds no card\.json"):
        verify(chain.parent)


def _rewrite(path: Path, **keys: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | keys), "utf-8")


def _unlink(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "weights": (lambda folder: (folder / "model.safetensors").write_text("x"), "model.safetensors is not what was"),
    "template": (
        lambda folder: (folder / "chat_template.jinja").write_text("x"),
        "chat_template.jinja is not what was",
    ),
    "no weights": (_unlink("model.safetensors"), "model.safetensors is missing"),
    "more": (
        lambda folder: (folder / "adapter_model.safetensors").touch(),
        "adapter_model.safetensors does not belong",
    ),
    "no card": (_unlink("card.json"), "card.json is missing"),
    "no page": (_unlink("README.md"), "README.md is missing"),
    "torn card": (lambda folder: (folder / "card.json").write_text("{"), "card.json cannot be read"),
    "a card's gap": (lambda folder: _rewrite(folder / "card.json", commit=""), "does not say commit"),
    "other settings": (lambda folder: _rewrite(folder / "card.json", settings={}), "settings in card.json are not"),
    "other gates": (lambda folder: _rewrite(folder / "card.json", gates=[]), "tell of other gates"),
    "rows that went": (
        lambda folder: _rewrite(folder / "card.json", data=[{"path": "p", "sha256": "", "read": 3, "kept": 1}]),
        "p: 3 read, 1 kept and 0 dropped",
    ),
    "no manifest": (_unlink("manifest.json"), "manifest.json is missing"),
    "torn manifest": (lambda folder: (folder / "manifest.json").write_text("{"), "is no manifest"),
    "other manifest": (lambda folder: _rewrite(folder / "manifest.json", commit="x"), "tells of another manifest.json"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_found(chain: Path, damage: str) -> None:
    spoil, what = DAMAGE[damage]
    spoil(chain / "sft")
    found = [str(problem) for problem in verify("runs/sft")]
    assert any(what in line for line in found), found
    assert all(line.startswith("runs/sft: ") for line in found)


def test_damage_of_a_forebear_is_found_from_below(chain: Path) -> None:
    (chain / "pretrain" / "model.safetensors").write_text("x")
    (problem,) = verify("runs/reject")  # once, though two paths lead there
    assert problem.folder == "runs/pretrain" and "model.safetensors is not what was trained" in problem.what
    _rewrite(chain / "sft" / "manifest.json", commit="x")
    assert any("base: runs/sft is not the model that this one was made of" in str(p) for p in verify("runs/reject"))
    shutil.rmtree(chain / "reward")
    assert any("rounds.1.judge: runs/reward is not there any more" in str(p) for p in verify("runs/reject"))
