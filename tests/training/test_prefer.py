"""Stage `prefer`: the renderer's tokens are trained, losses begin where they must, a killed run ends the same."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

import training.fitting
from chimed_rag.errors import ChiMedError, ConfigError, InputError
from chimed_rag.generation.base import Message
from chimed_rag.generation.chat import Renderer
from chimed_rag.generation.tiny import make_tiny_model
from training.contracts import Preference
from training.fitting import Optimisation, arguments, quiet
from training.gates import GateError
from training.language import load_policy, with_lora
from training.likelihood import log_probabilities, sampled
from training.prefer import PreferSettings
from training.preference_trainers import audit, dpo_trainer, grpo_trainer, scorer, tokens_of
from training.settings import ROOT, read_yaml, validated
from training.stages import Lora, run_stage

TINY_CONFIG = ROOT / "training" / "configs" / "prefer_tiny.yaml"
DISEASES = ["甲亢", "痛风", "湿疹", "哮喘", "贫血", "肺炎", "胃炎", "结石", "鼻炎", "落枕", "冻疮", "痱子"]
Make = Callable[..., Path]


def user(text: str) -> Message:
    return {"role": "user", "content": text}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base of each form, ranked lists and dialogues: "到医院" is better than "没事"."""
    place = tmp_path_factory.mktemp("prefer")
    make_tiny_model(place / "base")
    make_tiny_model(place / "template", chat_template=True)
    ranked, dialogues = [], []
    for n, name in enumerate(DISEASES * 2):
        prompt = user(f"{name}怎么办，第{n}回问")
        replies = [
            {"text": f"{name}请到医院检查。", "rank": 1},
            {"text": f"{name}也可以先等等看。", "rank": 2},
            {"text": f"{name}没事，不用管它。", "rank": 3},
        ]
        ranked.append({"id": str(n), "prompt": [prompt], "replies": replies})
        dialogues.append({"id": str(n), "messages": [prompt, {"role": "assistant", "content": "请到医院检查。"}]})
    for name, rows in (("ranked", ranked), ("dialogues", dialogues)):
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        (place / f"{name}.jsonl").write_text("".join(lines), "utf-8")
    return place


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TINY", str(folder))
    return folder


def pairs(number: int = 6) -> list[Preference]:
    return [
        Preference(
            list_id=name, prompt=[user(f"{name}怎么办")], chosen="请到医院。", rejected="没事 </s> [bot]:不用管。"
        )
        for name in DISEASES[:number]
    ]


def parts(folder: Path, base: str = "base") -> tuple[Any, Renderer]:
    model, tokenizer = load_policy(folder / base)
    return model, Renderer(tokenizer, stop_ids=model.generation_config.eos_token_id)


def how(folder: Path, **changes: Any) -> dict[str, Any]:
    quiet(1)
    settings = Optimisation(
        **{"batch_size": 4, "max_steps": 2, "log_every": 1, "save_every": 9, "learning_rate": 1e-3, "warmup": 0}
        | changes
    )
    return arguments(settings, folder, seed=1, device="cpu")


# -- trainers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", ["base", "template"])
def test_dpo_trains_the_tokens_of_the_renderer(base: str, folder: Path, tmp_path: Path) -> None:
    """Also of a text that holds a stop token and a turn; and without the template's line break behind the reply."""
    model, renderer = parts(folder, base)
    rows = pairs()
    tokens = [tokens_of(renderer, pair) for pair in rows]
    trainer = dpo_trainer(model, parts(folder, base)[0], renderer.tokenizer, tokens, how(tmp_path), beta=0.1)
    assert audit(trainer, renderer, rows) == 6
    assert all(one.chosen[-1] in renderer.stop_ids and one.rejected[-1] in renderer.stop_ids for one in tokens)
    assert [one.rejected.count(renderer.stop_ids[0]) for one in tokens] == [1] * 6
    expected = renderer.prompt(rows[0].prompt) + tokens[0].chosen
    batch = trainer.data_collator([trainer.train_dataset[0]])
    assert batch["input_ids"][0][batch["attention_mask"][0].bool()].tolist() == expected


def test_the_audit_finds_a_trainer_that_makes_other_tokens(folder: Path, tmp_path: Path) -> None:
    model, renderer = parts(folder)
    rows = pairs()
    tokens = [tokens_of(renderer, pair)._replace(chosen=[5, 6]) for pair in rows]
    trainer = dpo_trainer(model, parts(folder)[0], renderer.tokenizer, tokens, how(tmp_path), beta=0.1)
    with pytest.raises(ChiMedError, match="row 1: the trainer's tokens are not those of the renderer"):
        audit(trainer, renderer, rows)


@pytest.mark.parametrize("adapters", [False, True])
def test_dpo_begins_at_the_logarithm_of_two(adapters: bool, folder: Path, tmp_path: Path) -> None:
    """Policy and reference are the same then, so that every margin is 0; and the reference stays what it was."""
    model, renderer = parts(folder)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    reference = None if adapters else parts(folder)[0]
    policy = with_lora(model, Lora(rank=4, alpha=8)) if adapters else model
    tokens = [tokens_of(renderer, pair) for pair in pairs()]
    trainer = dpo_trainer(policy, reference, renderer.tokenizer, tokens, how(tmp_path), beta=0.1)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[0] == pytest.approx(math.log(2), abs=1e-6) and losses[1] < losses[0]
    if reference is not None:
        assert all(torch.equal(weight, before[name]) for name, weight in reference.state_dict().items())
    else:
        frozen = {
            name.replace(".base_layer", "").removeprefix("base_model.model."): w
            for name, w in policy.state_dict().items()
        }
        assert all(torch.equal(frozen[name], weight) for name, weight in before.items())


def test_grpo_asks_in_the_renderer_s_tokens_and_makes_better_replies_likelier(folder: Path, tmp_path: Path) -> None:
    """After one step, replies gained likelihood as far as they scored above the others to their prompt."""
    model, renderer = parts(folder)
    prompts = [[user(f"{name}怎么办")] for name in DISEASES[:2]]

    def score(conversations: list[list[Message]]) -> list[float]:
        assert all(one[0] in (prompts[0][0], prompts[1][0]) and len(one) == 2 for one in conversations)
        return [float(len(one[-1]["content"])) for one in conversations]

    made = how(tmp_path, max_steps=1, batch_size=16, learning_rate=1e-3)
    trainer = grpo_trainer(
        model, parts(folder)[0], renderer, prompts, score, made, beta=0.01, samples=8, max_new_tokens=6, temperature=1.0
    )
    assert audit(trainer, renderer, prompts) == 2
    written: list[tuple[list[int], list[int]]] = []
    rewards: list[float] = []
    judge = trainer._calculate_rewards

    def seen(inputs: Any, asked: Any, completions: Any, ids: Any) -> Any:
        found = judge(inputs, asked, completions, ids)
        written.extend((renderer.prompt(prompt), list(reply)) for prompt, reply in zip(asked, ids, strict=True))
        rewards.extend(found[:, 0].tolist())
        return found

    trainer._calculate_rewards = seen
    trainer.train()
    assert trainer.state.log_history[0]["kl"] == pytest.approx(0, abs=1e-5)  # the reference is what it began with
    gained = log_probabilities(trainer.model, written, 16) - log_probabilities(parts(folder)[0], written, 16)
    above = np.array(rewards).reshape(2, 8)
    advantage = (above - above.mean(1, keepdims=True)) / above.std(1, ddof=1, keepdims=True)
    assert len(written) == 16 and float((advantage.ravel() * gained).mean()) > 0.1


def test_a_reward_is_a_folder_or_a_function() -> None:
    assert scorer("math:fsum")([1.5, 2.5]) == 4.0  # type: ignore[list-item]
    for wrong in ("math:nothing", "no.such.module:f", "gone/folder", ""):
        with pytest.raises(InputError, match="neither the folder of a reward model nor module:function"):
            scorer(wrong)


# -- measuring ----------------------------------------------------------------------------------------------------


def test_log_probabilities_are_those_of_each_row_alone(folder: Path) -> None:
    model, renderer = parts(folder)
    rows = [(renderer.prompt([user("问" * n)]), [7, 8, 9][: n % 3 + 1]) for n in range(1, 6)]
    together = log_probabilities(model, rows, 3)
    for (prompt, reply), value in zip(rows, together, strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([prompt + reply])).logits[0].log_softmax(-1)
        alone = sum(float(logits[len(prompt) + n - 1, token]) for n, token in enumerate(reply))
        assert value == pytest.approx(alone, abs=1e-4)


def test_samples_are_drawn_by_the_seed_and_end_at_the_stop_token(folder: Path) -> None:
    model, renderer = parts(folder)
    with torch.no_grad():
        model.lm_head.weight[renderer.stop_ids[0]] = model.lm_head.weight.abs().max() * 3
    prompts = [[user(name)] for name in DISEASES[:5]]
    state = torch.get_rng_state()
    one, two = (sampled(model, renderer, prompts, 12, 2, seed=3) for _ in range(2))
    assert one == two and torch.equal(state, torch.get_rng_state())
    assert one != sampled(model, renderer, prompts, 12, 2, seed=4)
    for prompt, (asked, reply) in zip(prompts, one, strict=True):
        assert asked == renderer.prompt(prompt)
        assert 1 <= len(reply) <= 12 and renderer.stop_ids[0] not in reply[:-1]


# -- the stage ----------------------------------------------------------------------------------------------------


def run(output: Path, *overrides: str, said: list[str] | None = None) -> Path:
    say = (lambda _: None) if said is None else said.append
    return run_stage("prefer", TINY_CONFIG, [f"output_dir={output}", *overrides], say=say)


@pytest.fixture(scope="module")
def made(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINY", str(folder))
        return run(tmp_path_factory.mktemp("made") / "out")


def gates(folder: Path) -> dict[str, Any]:
    return {gate["name"]: gate for gate in json.loads((folder / "gates.json").read_text("utf-8"))}


def test_the_stage_teaches_which_reply_is_better(made: Path) -> None:
    card = json.loads((made / "card.json").read_text("utf-8"))
    assert card["training_pairs"] == 16 and card["curve"][0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    gained = gates(made)["held-out pairs whose better reply gained more"]
    assert (gained["value"], gained["n"], gained["passed"]) == (1.0, 8, True)
    assert set(card["scores"]) == {"before", "after"}
    assert gates(made)["drift, nats a token"]["value"] > 0
    assert not gates(made)["stop rate"]["passed"]  # the base has never learned to stop
    model, _ = load_policy(made)
    assert model.config.vocab_size == 3072 and not (made / "work").exists()


def test_a_failed_gate_is_an_error_and_the_model_is_there(here: Path, tmp_path: Path) -> None:
    with pytest.raises(GateError, match="stop rate"):
        run(tmp_path / "out", "gates=true", "fit.max_steps=1")
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_a_killed_run_goes_on_with_the_same_result(
    made: Path, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seal, count = training.fitting.sealed, 0

    def killed(checkpoint: Path) -> None:
        nonlocal count
        count += 1
        if count == 2:
            raise KeyboardInterrupt
        seal(checkpoint)

    with monkeypatch.context() as patch:
        patch.setattr(training.fitting, "sealed", killed)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "out")
    said: list[str] = []
    run(tmp_path / "out", said=said)
    assert any("goes on from checkpoint-4" in line for line in said)
    one, other = (load_file(place / "model.safetensors") for place in (made, tmp_path / "out"))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


GRPO = [
    "method=grpo", "data.sources.0.path=$TINY/dialogues.jsonl", "data.sources.0.form=dialogues", "beta=0",
    "reward=judges:characters", "judge=judges:ones", "samples=4", "max_new_tokens=6", "fit.max_steps=4",
    "fit.save_every=2",
]  # fmt: skip


def test_grpo_as_a_stage_killed_and_resumed(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "judges.py").write_text(
        "def characters(talks): return [float(len(set(talk[-1]['content']))) for talk in talks]\n"
        "def ones(talks): return [1.0 for _ in talks]\n",
        "utf-8",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    whole = run(tmp_path / "whole", *GRPO)
    assert gates(whole)["judge, change"]["value"] == 0.0 and gates(whole)["judge, change"]["passed"]
    assert gates(whole)["reward, change"]["n"] == 8
    seal, count = training.fitting.sealed, 0

    def killed(checkpoint: Path) -> None:
        nonlocal count
        seal(checkpoint)
        count += 1
        if count == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training.fitting, "sealed", killed)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "out", *GRPO)
    run(tmp_path / "out", *GRPO)
    one, other = (load_file(place / "model.safetensors") for place in (whole, tmp_path / "out"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_adapters_are_merged_into_a_plain_model(here: Path, made: Path, tmp_path: Path) -> None:
    place = run(tmp_path / "out", "lora.rank=4", "fit.max_steps=2")
    one, other = (load_file(folder / "model.safetensors") for folder in (here / "base", place))
    assert one.keys() == other.keys()
    moved = {name for name in one if not torch.equal(one[name], other[name])}
    assert moved and all("proj" in name for name in moved)


def test_rows_that_are_too_long_are_counted_and_none_left_is_an_error(here: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"none of 16 rows to be trained on fits into max_tokens \(16\); the shortest has"
    ):
        run(tmp_path / "out", "max_tokens=16")
    assert not (tmp_path / "out" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["base=null"], "base is missing"),
        (["method=grpo"], "reward is missing"),
        (["method=grpo", "reward=a:b", "fit.batch_size=6"], r"no multiple of samples \(4\)"),
        (["beta=0"], "beta has to be above 0"),
        (["data.held_out=0"], "nothing to measure on"),
        (["method=ppo"], "method"),
    ],
)
def test_settings_that_cannot_be(overrides: list[str], message: str) -> None:
    with pytest.raises((ConfigError, ValidationError), match=message):
        validated(PreferSettings, read_yaml(TINY_CONFIG, overrides), TINY_CONFIG)
