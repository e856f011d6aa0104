"""Stage reward, both kinds: the loss by hand, rows counted, a model that loads and judges as its report says."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chimed_rag.errors import ConfigError, CorpusError, InputError
from training.contracts import RankedList, Reply, pairs
from training.gates import GateError, read_gates
from training.linear_reward import Linear, fit
from training.reward_report import calibration_error, reward_report
from training.scoring import Conversation, load
from training.stages import run_stage

torch = pytest.importorskip("torch")
pytest.importorskip("peft")

from chimed_rag.generation.chat import Renderer  # noqa: E402
from chimed_rag.generation.tiny import make_tiny_model  # noqa: E402
from training.fitting import Optimisation  # noqa: E402
from training.language import Shape, load_policy, load_reward, new_model, save_model  # noqa: E402
from training.reward import RewardSettings  # noqa: E402
from training.reward_trainer import encoded, loss_of, trainer  # noqa: E402

CONFIG = "training/configs/reward_tiny.yaml"
SYMPTOMS = ["头痛", "咳嗽", "发热", "腹泻", "皮疹", "失眠", "心慌", "胸闷"]


def ranked_rows() -> list[dict[str, Any]]:
    """Sixty-four prompts; the doctor tells to be examined, briefly; the longest reply is the worst."""
    rows = []
    for n in range(64):
        symptom, days = SYMPTOMS[n % 8], n // 8 + 2
        replies = [
            (f"{symptom}{days}天，先查血常规，高血压患者禁用布洛芬。", "doctor"),
            (f"{symptom}可以先查血常规，也可以再等{days}天看看。", "gpt-4"),
            (f"{symptom}是很常见的，大家都有过，不要担心，多喝水就好，等{days}天再说。", "gpt-3.5"),
        ]
        rows.append(
            {
                "id": f"row-{n}",
                "prompt": [{"role": "user", "content": f"{symptom}{days}天了怎么办？"}],
                "replies": [{"text": t, "rank": k, "author": a} for k, (t, a) in enumerate(replies, 1)],
            }
        )
    return rows


@pytest.fixture(scope="module")
def reward_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reward")
    _, tokenizer = load_policy(make_tiny_model(folder / "tiny"))
    shape = Shape(hidden=32, layers=2, heads=2, feed_forward=64, context=128)
    save_model(new_model(shape, tokenizer, 3), tokenizer, folder / "base")
    lines = [json.dumps(row, ensure_ascii=False) for row in ranked_rows()]
    (folder / "ranked.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    return folder


@pytest.fixture(autouse=True)
def _where(reward_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINY", str(reward_data))


def lists() -> list[RankedList]:
    return [RankedList.model_validate(row) for row in ranked_rows()]


def run(folder: Path, *overrides: str, say: Any = lambda _: None) -> Path:
    return run_stage("reward", CONFIG, [f"output_dir={folder}", *overrides], say=say)


# --- the loss --------------------------------------------------------------------------------------------------


def test_the_loss_by_hand() -> None:
    one = loss_of(*(torch.tensor([x]) for x in (1.0, 0.5, 2.0, 0.25)), 0.1)
    assert float(one) == pytest.approx(2 * math.log(1 + math.exp(-0.25)) + 0.1 * 1.5**2)
    two = loss_of(torch.tensor([0.0, 0.0]), torch.zeros(2), torch.tensor([1.0, 3.0]), torch.zeros(2), 0.0)
    assert float(two) == pytest.approx(2 * math.log(2))


def test_a_list_of_three_weighs_as_much_as_one_of_two(reward_data: Path) -> None:
    three = lists()[0]
    two = three.model_copy(update={"id": "two", "replies": three.replies[:2]})
    _, tokenizer = load_policy(reward_data / "base")
    examples = encoded([*pairs(three), *pairs(two)], Renderer(tokenizer))
    assert [example.weight for example in examples] == pytest.approx([2 / 3, 2 / 3, 2 / 3, 2])
    assert [example.margin for example in examples] == [1, 2, 1, 1]


def test_accumulated_batches_step_as_a_large_one(reward_data: Path, tmp_path: Path) -> None:
    found = [pair for one in lists()[:4] for pair in pairs(one)][:8]

    def stepped(batch_size: int, accumulate: int) -> Any:
        fit = Optimisation(batch_size=batch_size, accumulate=accumulate, max_steps=1, warmup=0.0, learning_rate=1e-3)
        settings = RewardSettings.model_validate(
            {
                "stage": "reward",
                "base": "x",
                "output_dir": "x",
                "data": {"sources": [{"path": "x"}], "hygiene": {"evaluation": None}},
                "fit": fit.model_dump() | {"weight_decay": 0.0},
                "device": "cpu",
            }
        )
        model, tokenizer = load_reward(reward_data / "base", seed=1)
        one = trainer(settings, model, encoded(found, Renderer(tokenizer)), tmp_path / str(batch_size))
        one.train()
        return one.state.log_history, model.score.weight.detach()

    _, large = stepped(8, 1)
    _, small = stepped(4, 2)
    torch.testing.assert_close(small, large, atol=1e-6, rtol=1e-4)


# --- the stage -------------------------------------------------------------------------------------------------


def test_a_kill_after_the_report_trains_nothing_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("training.reward.conclude", killed)
        run(tmp_path / "out")
    report = (tmp_path / "out" / "reward_report.json").read_bytes()
    said: list[str] = []
    folder = run(tmp_path / "out", say=said.append)
    assert "pairs: was finished before" in said
    assert (folder / "reward_report.json").read_bytes() == report


def test_a_transformer_learns_and_judges_as_its_report_says(tmp_path: Path) -> None:
    folder = run(tmp_path / "out")
    report = json.loads((folder / "reward_report.json").read_text("utf-8"))
    assert report["all"]["pairs"] == 36
    assert report["all"]["prompts"] == 12
    assert report["all"]["model"]["value"] > 0.9
    assert set(report["kinds"]) == {"doctor>gpt-4", "gpt-4>gpt-3.5", "doctor>gpt-3.5"}
    assert report["kinds"]["doctor>gpt-3.5"]["longest"]["value"] == 0
    assert report["kendall"]["value"] > 0.8
    card = json.loads((folder / "card.json").read_text("utf-8"))
    assert card["training_pairs"] == 52 * 3
    assert card["scores"]["model"]["pair accuracy"] == report["all"]["model"]
    assert {"reward_report.json", "model.safetensors"} <= card["files"].keys()
    assert all(gate.passed for gate in read_gates(folder))
    scorer = load(folder, device="cpu")
    rows = ranked_rows()
    said = [[*row["prompt"], {"role": "assistant", "content": row["replies"][0]["text"]}] for row in rows]
    worst = [[*row["prompt"], {"role": "assistant", "content": row["replies"][2]["text"]}] for row in rows]
    assert np.mean(np.array(scorer.score(said)) > np.array(scorer.score(worst))) > 0.9


def test_a_killed_run_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    short = ("gates=false", "fit.max_steps=6", "fit.save_every=2", "fit.log_every=1")
    whole = run(tmp_path / "whole", *short)

    def killed(text: str) -> None:
        if "step 5 " in text:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", *short, say=killed)
    said: list[str] = []
    resumed = run(tmp_path / "killed", *short, say=said.append)
    assert any("goes on from checkpoint-4" in text for text in said)
    assert (resumed / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_adapters_and_margins(tmp_path: Path) -> None:
    folder = run(tmp_path / "out", "lora={rank: 4, alpha: 8}", "margin=0.5", "gates=false", "fit.max_steps=4")
    assert not list(folder.glob("adapter*"))
    load(folder, device="cpu").score([[*lists()[0].prompt, {"role": "assistant", "content": "好。"}]])


def test_hard_negatives_are_learned_from_measured_and_asked_for(tmp_path: Path) -> None:
    said: list[str] = []
    with pytest.raises(GateError, match="accuracy on hard negatives made by other rules"):
        run(tmp_path / "out", "hard_negatives=0.5", "fit.max_steps=1", "fit.learning_rate=1e-6", say=said.append)
    card = json.loads((tmp_path / "out" / "card.json").read_text("utf-8"))
    assert sum(card["negatives"]["hard negatives"].values()) == 26 == card["negatives"]["pairs"]["hard negatives"]
    assert card["training_pairs"] == 52 * 3 + 26
    report = json.loads((tmp_path / "out" / "reward_report.json").read_text("utf-8"))
    # Replies of one sentence have no shorter right beginning.
    assert report["kinds"]["hard negatives"]["pairs"] == 12
    assert report["kinds"]["hard negatives, other rules"]["pairs"] == 12
    assert "short right > long wrong" not in report["kinds"]


def test_replies_that_are_too_long_are_counted(tmp_path: Path, reward_data: Path) -> None:
    rows = ranked_rows()
    rows[0]["replies"][1]["text"] = "很长" * 200
    rows[1]["replies"] = [*rows[1]["replies"][:1], {"text": "很长的话" * 100, "rank": 2}]
    file = tmp_path / "long.jsonl"
    file.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), "utf-8")
    folder = run(tmp_path / "out", f"data.sources.0.path={file}", "gates=false", "fit.max_steps=1")
    negatives = json.loads((folder / "card.json").read_text("utf-8"))["negatives"]
    parts = [negatives["training lists"], negatives["held-out lists"]]
    assert [sum(part[key] for part in parts) for key in ("lists", "lists kept", "replies too long")] == [64, 63, 2]


def test_nothing_short_enough_is_an_error_before_training(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"all 52 training lists are too long.*shortest list needs"):
        run(tmp_path / "out", "max_tokens=16")
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match=r"max_tokens is 500 and .* reads 128"):
        run(tmp_path / "other", "max_tokens=500")


def test_a_base_without_a_token_for_padding_gets_one(tmp_path: Path, reward_data: Path) -> None:
    model, tokenizer = load_policy(reward_data / "base")
    tokenizer.pad_token = None
    tokenizer.unk_token = "<s>"
    model.config.pad_token_id = None
    model.generation_config.pad_token_id = None
    save_model(model, tokenizer, tmp_path / "base")
    folder = run(tmp_path / "out", f"base={tmp_path / 'base'}", "fit.max_steps=1", "gates=false")
    saved = json.loads((folder / "config.json").read_text("utf-8"))
    assert saved["pad_token_id"] == 1
    assert saved["architectures"] == ["LlamaForSequenceClassification"]


def test_unusable_settings_and_rows_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="base"):
        run(tmp_path / "one", "base=null")
    with pytest.raises(InputError, match="held_out"):
        run(tmp_path / "two", "data.held_out=0")
    row = ranked_rows()[0]
    row["replies"][1]["text"] = row["replies"][0]["text"]
    file = tmp_path / "equal.jsonl"
    file.write_text(json.dumps(row, ensure_ascii=False), "utf-8")
    with pytest.raises(CorpusError, match="same text") as found:
        run(tmp_path / "three", f"data.sources.0.path={file}")
    assert (found.value.path, found.value.line) == (str(file), 1)


# --- the linear kind -------------------------------------------------------------------------------------------


def test_a_linear_model_learns_and_is_loaded_by_its_folder(tmp_path: Path) -> None:
    folder = run(tmp_path / "out", "kind=linear", "base=null", "linear={bits: 12}")
    report = json.loads((folder / "reward_report.json").read_text("utf-8"))
    assert report["all"]["model"]["value"] == 1
    rows = lists()
    again = reward_report(load(folder), rows)
    assert again.all.model.value == 1
    assert again.all.longest.value == pytest.approx(0.0, abs=0.35)
    (folder / "linear_reward.safetensors").write_bytes(b"x")
    with pytest.raises(InputError, match="train it anew"):
        load(folder)


def test_the_linear_model_is_that_of_bradley_and_terry() -> None:
    """One measure varies, 7 pairs of 10 prefer it: without regularisation, σ(w · difference) is 0.7."""
    found = []
    for n in range(10):
        one, other = Reply(text="甲甲甲甲甲甲", rank=1 if n < 7 else 2), Reply(text="1" * 6, rank=2 if n < 7 else 1)
        row = RankedList(
            id=str(n), prompt=[{"role": "user", "content": f"问{'一二三四五六七八九十'[n]}"}], replies=[one, other]
        )
        found += pairs(row)
    model, accuracy = fit(found, Linear(gram=0, strengths=[1e4]), 1)
    ask = found[0].prompt
    one, other = model.score([[*ask, {"role": "assistant", "content": text}] for text in ("甲甲甲甲甲甲", "1" * 6)])
    assert one - other == pytest.approx(math.log(7 / 3), abs=0.02)
    assert accuracy == {1e4: 0.0}  # one strength needs no folds


# --- the report ------------------------------------------------------------------------------------------------


class Lengths:
    """Scores a reply by a tenth of its length, so that it agrees with the longest reply everywhere."""

    def score(self, conversations: Sequence[Conversation]) -> list[float]:
        return [len(one[-1]["content"]) / 10 for one in conversations]


def test_the_report_by_hand() -> None:
    texts = ["一二三四五六七八九十", "一二三四五六七八九", "一二三"]
    rows = [
        RankedList(
            id=str(n),
            prompt=[{"role": "user", "content": f"问{n}"}],
            replies=[
                Reply(text=text, rank=rank, author="abc"[k])
                for k, (text, rank) in enumerate(zip(texts, ranks, strict=True))
            ],
        )
        for n, ranks in enumerate([(1, 2, 3), (1, 3, 2), (2, 1, 1)])
    ]
    report = reward_report(Lengths(), rows)
    # Right: 3 of 3; 2 of 3 (b, c the wrong way round); of the tie's two pairs none.
    assert report.all.model.value == pytest.approx(5 / 8)
    assert (report.all.difference.value, report.all.difference.low, report.all.difference.high) == (0, 0, 0)
    # log(10/9) = .105 is above .1: no pair matches in length.
    assert report.length_matched is None
    assert report.kinds["a>b"].pairs == 2
    # τ-b: 1; (2 − 1)/3; both pairs that are no tie wrong: −2 / √(3 · 2).
    assert report.kendall.value == pytest.approx((1 + 1 / 3 - 2 / math.sqrt(6)) / 3)
    assert report.mean == pytest.approx((1 + 0.9 + 0.3) / 3)
    gate = report.gates(hard=True)
    assert [one.passed for one in gate] == [False, False]
    assert math.isnan(gate[1].value)


def test_calibration_by_hand() -> None:
    # σ(log 3) = .75: of four such pairs three right is calibrated; all right is off by .25.
    sure = math.log(3)
    assert calibration_error(np.array([sure, sure, sure, -sure])) == pytest.approx(0)
    assert calibration_error(np.array([sure] * 4)) == pytest.approx(0.25)
    # Equal scores: a confidence of .5, half right.
    assert calibration_error(np.array([0.0, 0.0])) == pytest.approx(0)


@pytest.mark.real_data
def test_real_preferences_are_not_a_matter_of_length(tmp_path: Path, shared_data: Path) -> None:
    """Some 400 pairs that GPT-4 judged, learned from in seconds; all of them are measured by benchmarks/reward.py."""
    file = shared_data / "preference" / "gpt4_judged_train.jsonl.gz"
    source = f"[{{path: {file}, form: chosen_rejected, limit: 800}}]"
    held_out = ("data.held_out=400", "data.redact=false")
    folder = run(
        tmp_path / "out", "kind=linear", "linear={bits: 14, strengths: [0.3]}", f"data.sources={source}", *held_out
    )
    report = json.loads((folder / "reward_report.json").read_text("utf-8"))
    assert report["all"]["difference"]["low"] > 0.1
