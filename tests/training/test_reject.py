"""Stage `reject`, on a model that writes nonsense: its phases, its kills, its gates and its errors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import training.reject as stage
from chimed_rag.errors import ConfigError, InputError
from chimed_rag.generation.base import Message
from chimed_rag.generation.chimed_gpt import ChiMedGPT
from training.checkpoints import file_sha256
from training.gates import GateError
from training.language import Shape, load_policy, new_model, save_model
from training.reject import RejectSettings
from training.settings import ROOT, read_yaml, validated
from training.stages import run_stage
from training.vocabulary import learn_tokenizer

CONFIG = ROOT / "training" / "configs" / "reject_tiny.yaml"
CALLS: list[int] = []


def brevity(conversations: Sequence[Sequence[Message]]) -> list[float]:
    """The reward: short replies."""
    CALLS.append(len(conversations))
    return [-float(len(one[-1]["content"])) for one in conversations]


def variety(conversations: Sequence[Sequence[Message]]) -> list[float]:
    """The judge: different characters."""
    return [float(len(set(one[-1]["content"]))) for one in conversations]


def wordiness(conversations: Sequence[Sequence[Message]]) -> list[float]:
    """A judge of another mind: long replies."""
    return [float(len(one[-1]["content"])) for one in conversations]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base of random weights with so few tokens that one in eight replies ends by chance, and dialogues."""
    place = tmp_path_factory.mktemp("reject")
    texts = [f"第{n}天还是{what}怎么办" for n in range(20) for what in ("咳嗽", "头疼", "发热")]
    tokenizer = learn_tokenizer(texts, vocabulary=300, context=128, sample=100)
    shape = Shape(vocabulary=300, hidden=16, layers=1, heads=2, feed_forward=32, context=128)
    save_model(new_model(shape, tokenizer, 0), tokenizer, place / "base")
    rows = [
        {"id": str(n), "messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "多休息。"}]}
        for n, text in enumerate(texts[:32])
    ]
    (place / "dialogues.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return place


@pytest.fixture(autouse=True)
def tiny(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINY", str(folder))
    CALLS.clear()


def run(out: Path, *overrides: str) -> tuple[Path, list[str]]:
    said: list[str] = []
    return run_stage("reject", CONFIG, [f"output_dir={out}", *overrides], say=said.append), said


def test_two_rounds_from_candidates_to_a_card(tmp_path):
    made, said = run(tmp_path / "out")
    card = json.loads((made / "card.json").read_text("utf-8"))
    report = json.loads((made / "reject.json").read_text("utf-8"))
    names = {gate["name"] for gate in json.loads((made / "gates.json").read_text("utf-8"))}
    assert {name.split(":")[0] for name in names if name.startswith("round")} == {"round 1", "round 2"}
    assert {name for name in names if name.startswith("judge")} == {
        "judge, best of 4 by reward, over any one",
        "judge, best of 4 by reward, share of the gain by the judge's own choice",
    }
    assert list(card["scores"]) == ["reference", "before", "round 1", "round 2", "before, best of 4"]
    assert card["scores"]["reference"]["reward"]["value"] == -4  # 多休息。
    assert [one["k"] for one in report["curve"]] == [1, 2, 4]
    # The shortest of more replies is shorter.
    rewards = [one["reward"]["value"] for one in report["curve"]]
    assert rewards == sorted(rewards)
    for counts in report["chosen"].values():
        assert counts["prompts"] == 24 == counts["chosen"] + counts.get("no candidate that ended", 0)
    assert {point["phase"] for point in card["curve"]} == {"round-1", "round-2"}
    load_policy(made)
    assert not (made / "work").exists()  # nor any candidate
    assert "多休息" not in (made / "reject.json").read_text("utf-8")
    assert any(text.startswith("round 1: ") and "chosen for 24 prompts" in text for text in said)


@pytest.fixture(scope="module")
def whole(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, int]:
    """The hash of the weights of a run that nobody killed, and how many conversations it scored."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINY", str(folder))
        patch.setattr("training.candidates._AT_ONCE", 4)
        CALLS.clear()
        made, _ = run(tmp_path_factory.mktemp("whole") / "out", "rounds=1")
    return file_sha256(made / "model.safetensors"), sum(CALLS)


@pytest.mark.parametrize("dies", [5, 20, 40])  # before the first round, in its candidates, after it
def test_a_kill_anywhere_costs_no_candidate_and_changes_nothing(tmp_path, monkeypatch, whole, dies):
    monkeypatch.setattr("training.candidates._AT_ONCE", 4)
    CALLS.clear()

    def dying(conversations: Any) -> list[float]:
        if len(CALLS) == dies:
            raise KeyboardInterrupt
        return brevity(conversations)

    with monkeypatch.context() as patch:
        given = {"test_reject:brevity": dying, "test_reject:variety": variety}
        patch.setattr("training.preference_trainers.scorer", given.__getitem__)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "out", "rounds=1")
    made, said = run(tmp_path / "out", "rounds=1")
    assert any(text.startswith("going on in") for text in said)
    assert (file_sha256(made / "model.safetensors"), sum(CALLS)) == whole  # each reply was kept, and scored once


def test_a_judge_that_does_not_follow_stops_it_before_anything_is_spent(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(GateError, match="judge, best of 4 by reward, over any one"):
        run(out, "judge=test_reject:wordiness", "gates=true")
    assert (out / "reject.json").is_file() and (out / "gates.json").is_file()
    assert not (out / "card.json").exists() and not (out / "model.safetensors").exists()
    assert [path.name for path in (out / "work").iterdir() if path.is_dir()] == ["held-out-0"]


def test_a_round_that_fails_stops_the_next_one(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(GateError, match="round 1: stop rate"):
        run(out, "judge=null", "gates=true")
    assert not (out / "work" / "round-2-candidates").exists()


def test_without_a_judge_the_card_says_so(tmp_path):
    made, said = run(tmp_path / "out", "judge=null", "rounds=1")
    assert any(text.startswith("no judge") for text in said)
    assert "No independent judge" in (made / "README.md").read_text("utf-8")


def test_best_above_reference_asks_for_the_references(tmp_path):
    with pytest.raises(InputError, match=r"no candidate was chosen \(.*not above the reference"):
        run(tmp_path / "out", "selection={policy: best_above_reference, margin: 3.9}", "rounds=1")


def test_a_prompt_that_leaves_no_room_is_an_error_before_anything_is_written(tmp_path):
    with pytest.raises(InputError, match="none of 24 prompts leaves room"):
        run(tmp_path / "out", "max_tokens=50")
    with pytest.raises(InputError, match="reads 128 at most"):
        run(tmp_path / "out", "max_tokens=129")
    assert CALLS == []


def test_where_no_reply_ends_nothing_is_learned(tmp_path):
    with pytest.raises(InputError, match=r"round 1: no candidate was chosen \(no candidate that ended 24\)"):
        run(tmp_path / "out", "max_new_tokens=1", "seed=1", "k=2")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("base=null", "base is missing"),
        ("data.held_out=0", "nothing to measure on"),
        ("judge=test_reject:brevity", "judge is the reward itself"),
        ("server={url: http://127.0.0.1:9/v1}", "the first round alone"),
        ("selection={policy: worst}", "selection.policy"),
        ("reward=test_reject:nothing", "neither the folder of a reward model nor module:function"),
    ],
)
def test_settings_that_make_no_sense(tmp_path, override, message):
    with pytest.raises((ConfigError, InputError, ValidationError), match=message):
        run(tmp_path / "out", override)
    assert not (tmp_path / "out").exists()


def test_the_server_writes_for_the_base_alone(folder, tmp_path, monkeypatch):
    import chimed_rag.generation.endpoint as endpoint

    asked: list[dict[str, Any]] = []

    class Served:
        def __init__(self, url: str, **how: Any) -> None:
            asked.append({"url": url, **how})

        def close(self) -> None:
            pass

    monkeypatch.setattr(endpoint, "EndpointGenerator", Served)
    overrides = [
        f"output_dir={tmp_path}",
        "rounds=1",
        "server={url: http://127.0.0.1:9/v1, model: m, api: completions}",
    ]
    settings = validated(RejectSettings, read_yaml(CONFIG, overrides), CONFIG)
    work = stage.Work(settings, None, brevity, None)  # type: ignore[arg-type]
    with work._writer(Path(str(settings.base))) as writer:
        assert isinstance(writer, Served)
    with work._writer(folder / "base") as writer:  # the same weights, but found as a round's own
        assert isinstance(writer, ChiMedGPT)
    assert asked == [{"url": "http://127.0.0.1:9/v1", "model": "m", "api": "completions", "concurrency": 64}]


def test_every_configuration_is_valid():
    for name in ("reject_tiny", "reject_nano_cpu"):
        file = ROOT / "training" / "configs" / f"{name}.yaml"
        validated(RejectSettings, read_yaml(file), file)
