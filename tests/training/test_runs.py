"""Runs: seals, what a folder belongs to, cards, the command line. No torch: the kind here trains nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pytest

import training.retriever as stage
from chimed_rag.errors import ConfigError, InputError
from training.card import Card, Point, command, write_card
from training.checkpoints import file_sha256, is_whole, newest_whole, seal
from training.cli import app
from training.files import Account
from training.measure import HeldOut, rank_scores
from training.pairs import Pair
from training.retriever import KINDS, Kind, RetrieverSettings, examples_of, pairs_of, train_retriever
from training.run import Run
from training.settings import ROOT


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    for n in (5, 10, 100):
        folder = tmp_path / f"checkpoint-{n}"
        (folder / "deep").mkdir(parents=True)
        (folder / "weights").write_bytes(bytes([n]) * 1000)
        (folder / "deep" / "state").write_text(str(n))
        seal(folder)
    return tmp_path


def test_the_newest_whole_checkpoint_is_taken(checkpoints: Path) -> None:
    assert newest_whole(checkpoints) == checkpoints / "checkpoint-100"  # by number, not by name
    assert newest_whole(checkpoints / "none") is None


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "add", "no seal", "torn seal", "empty"])
def test_a_damaged_checkpoint_is_passed_over(checkpoints: Path, damage: str) -> None:
    last = checkpoints / "checkpoint-100"
    weights = last / "weights"
    if damage == "flip":
        weights.write_bytes(b"\0" + weights.read_bytes()[1:])
    elif damage == "truncate":
        weights.write_bytes(weights.read_bytes()[:-1])
    elif damage == "remove":
        (last / "deep" / "state").unlink()
    elif damage == "add":
        (last / "more").touch()
    elif damage == "no seal":
        (last / "SEAL.json").unlink()
    elif damage == "torn seal":
        (last / "SEAL.json").write_text((last / "SEAL.json").read_text()[:-5])
    else:
        for path in [weights, last / "deep" / "state", last / "SEAL.json"]:
            path.unlink()
    assert not is_whole(last)
    assert newest_whole(checkpoints) == checkpoints / "checkpoint-10"
    assert not last.exists()


class NothingSettings(RetrieverSettings):
    kind: Literal["nothing"]
    depth: int = 1


def _train(settings: NothingSettings, run: Run) -> None:
    pairs, held_out = pairs_of(settings, run)

    def make(folder: Path) -> list[Point]:
        examples_of(pairs, stage.Mining(), run, folder.name, seed=settings.seed)
        (folder / "model").mkdir()
        (folder / "model" / "weights.json").write_text(json.dumps({"pairs": len(pairs), "depth": settings.depth}))
        if settings.depth == 13:
            raise KeyboardInterrupt
        return [Point(phase=folder.name, step=1, loss=0.5)]

    place = run.phase("only", make)
    run.card.scores = {"bm25": HeldOut(held_out, [pair.passage for pair in pairs]).bm25()}
    run.card.scores_of = str(HeldOut(held_out))
    run.finish(place)


NOTHING = Kind(NothingSettings, _train)


@pytest.fixture
def config(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(KINDS._entries, "nothing", f"{__name__}:NOTHING")
    path = tmp_path / "nothing.yaml"
    path.write_text(
        f"kind: nothing\noutput_dir: {tmp_path}/out\nheld_out: 5\ndata:\n  hygiene: {{evaluation: $TINY/eval}}\n"
        "  files:\n    - {path: $TINY/pairs.jsonl, licence: Apache-2.0}\n",
        "utf-8",
    )
    return path


def test_a_run_leaves_the_model_and_a_card(config: Path, tiny: Path) -> None:
    folder = train_retriever(config, ["seed=3"])
    assert not (folder / "work").exists()
    card = Card.model_validate_json((folder / "card.json").read_text("utf-8"))
    assert (card.kind, card.seed, card.configuration["seed"], card.settings["depth"]) == ("nothing", 3, 3, 1)
    (account,) = card.data
    assert (account.path, account.sha256) == ("$TINY/pairs.jsonl", file_sha256(tiny / "pairs.jsonl"))
    assert account.read == account.kept + sum(account.dropped.values()) == 64
    assert card.training_pairs == json.loads((folder / "weights.json").read_text())["pairs"]
    assert card.files == {"weights.json": file_sha256(folder / "weights.json")}
    assert card.checked_against == "$TINY/eval: none of the 13-grams of a text kept stand there"
    assert card.negatives["only"]["mined"] + card.negatives["only"]["filled by chance"] == card.training_pairs
    assert card.command == "python -m training retriever --config nothing.yaml --set seed=3"
    assert card.versions["numpy"] and card.curve == [Point(phase="only", step=1, loss=0.5)]
    page = (folder / "README.md").read_text("utf-8")
    for part in (
        card.command,
        "license: apache-2.0",
        "| `$TINY/pairs.jsonl` | Apache-2.0 | 64 |",
        "recall@10",
        "kind: nothing",
    ):
        assert part in page
    assert str(tiny) not in page


def test_a_finished_run_is_left_alone_and_fresh_begins_anew(config: Path) -> None:
    folder = train_retriever(config)
    before = (folder / "card.json").read_bytes()
    said: list[str] = []
    train_retriever(config, say=said.append)
    assert (folder / "card.json").read_bytes() == before and "already" in said[0]
    with pytest.raises(InputError, match=r"other settings \(depth: 1 then, 2 now\).*--fresh"):
        train_retriever(config, ["depth=2"])
    (folder / "mine.txt").touch()
    train_retriever(config, ["depth=2"], fresh=True)
    assert json.loads((folder / "weights.json").read_text())["depth"] == 2
    assert (folder / "mine.txt").exists()


def test_a_killed_run_is_refused_to_others_and_other_data(config: Path, tmp_path: Path, tiny: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_retriever(config, ["depth=13"])
    with pytest.raises(InputError, match="depth: 13 then, 1 now"):
        train_retriever(config)
    copy = tmp_path / "pairs.jsonl"
    copy.write_bytes((tiny / "pairs.jsonl").read_bytes())
    files = f"data.files.0.path={copy}"
    with pytest.raises(KeyboardInterrupt):
        train_retriever(config, ["depth=13", files], fresh=True)
    copy.write_bytes(copy.read_bytes() + copy.read_bytes()[:0] + b'{"query": "q1", "passage": "p1"}\n')
    with pytest.raises(InputError, match=r"pairs\.jsonl is not what it was when this run began"):
        train_retriever(config, ["depth=13", files])


def test_a_card_names_the_commits_that_a_run_was_started_from(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.run.commit", lambda: "aaa")
    with monkeypatch.context() as patch:
        patch.setattr("training.run.write_card", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train_retriever(config)
    monkeypatch.setattr("training.run.commit", lambda: "bbb")
    card = Card.model_validate_json((train_retriever(config) / "card.json").read_text("utf-8"))
    assert (card.commit, card.resumed) == ("aaa, bbb", 1)


def test_a_first_start_that_fails_leaves_nothing(config: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no pair is left"):
        train_retriever(config, ["data.files.0.kinds=[none]"])
    assert not (tmp_path / "out").exists()


def test_a_folder_with_other_files_is_not_written_over(config: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").touch()
    with pytest.raises(InputError, match="holds other files"):
        train_retriever(config)


def test_by_self_needs_an_encoder(tiny: Path) -> None:
    with pytest.raises(InputError, match="no encoder yet that `by: self` could mean"):
        examples_of([Pair("问", "答", "源")], stage.Mining(by="self"), None, "round-1", seed=1)  # type: ignore[arg-type]


def test_unknown_kinds_and_keys(config: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.yaml: kind: is 'x'; there are: .*transformer"):
        train_retriever(config, ["kind=x"])
    with pytest.raises(ConfigError, match=r"nothing\.yaml: data\.files\.0\.pth: .*there are: path, form"):
        train_retriever(config, ["data.files.0.pth=x"])


def test_the_command_names_no_machine(tmp_path: Path) -> None:
    inside = ROOT / "training" / "configs" / "x.yaml"
    assert command("retriever", inside, ["a=b c"]) == (
        "python -m training retriever --config training/configs/x.yaml --set 'a=b c'"
    )
    assert str(tmp_path) not in command("retriever", tmp_path / "x.yaml", [])


def test_the_command_line(config: Path, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    result = CliRunner().invoke(app, ["retriever", "--config", str(config), "--set", "seed=4"])
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path}/out\n")
    assert "pairs to train on" in result.stderr
    help_text = CliRunner().invoke(app, ["--help"]).stdout
    assert "retriever" in help_text


def test_scores_by_hand() -> None:
    import numpy as np

    scores = rank_scores(np.array([1, 2, 11, np.inf]), (1, 10))
    assert {name: mean.value for name, mean in scores.items()} == {
        "recall@1": 0.25,
        "recall@10": 0.5,
        "mrr@10": (1 + 1 / 2) / 4,
    }


def test_held_out_queries_are_asked_once_and_any_passage_is_right() -> None:
    pairs = [Pair("高血压用药", "高血压用药之一", "甲"), Pair("高血压用药", "高血压用药其二", "甲")]
    test = HeldOut(pairs, ["高血压用药之一。", "别的", "再别的"], most=2)
    assert str(test) == "1 held-out queries among 3 passages"
    assert test.bm25()["recall@1"].value == 1
    reranked = test.reranked(lambda query, passages: [-len(text) for text in passages])
    assert reranked["reranked"]["recall@10"].value == 1


def test_many_files_of_a_folder_are_one_row_on_the_page(tmp_path: Path) -> None:
    how: dict[str, Any] = {"name": "n", "stage": "retriever", "kind": "k", "licence": "MIT", "command": "c", "seed": 1}
    files = [Account(path=f"a/{n}.md", sha256="f" * 64, rows=2, read=2, kept=1, dropped={"empty": 1}) for n in range(6)]
    changed = {"redacted": 2}
    files.append(Account(path="b/x.tsv", sha256="e" * 64, rows=1, read=3, kept=3, changed=changed, characters=4567))
    write_card(Card(**how, configuration={}, settings={}, data=files), tmp_path)
    page = (tmp_path / "README.md").read_text("utf-8")
    assert "| `a/` (6 files) | not stated | 12 | 12 | 6 | – | none | empty 6 | in card.json |" in page
    assert f"| `b/x.tsv` | not stated | 1 | 3 | 3 | 4,567 | redacted 2 | none | `{'e' * 16}…` |" in page
    assert len(Card.model_validate_json((tmp_path / "card.json").read_text("utf-8")).data) == 7


def test_a_long_curve_is_thinned_on_the_page(tmp_path: Path) -> None:
    curve = [Point(phase="p", step=n, loss=1 / n) for n in range(1, 1001)]
    how: dict[str, Any] = {"name": "n", "stage": "retriever", "kind": "k", "licence": "MIT", "command": "c", "seed": 1}
    write_card(Card(**how, configuration={}, settings={}, curve=curve), tmp_path)
    page = (tmp_path / "README.md").read_text("utf-8")
    assert page.count("| p | ") == 30 and "| p | 1 |" in page and "| p | 1000 |" in page
    assert len(json.loads((tmp_path / "card.json").read_text())["curve"]) == 1000
