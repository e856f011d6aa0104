"""Scores depend on the conversation alone, not on padding or neighbours; what was not trained to score is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chimed_rag.errors import GeneratorError, InputError

torch = pytest.importorskip("torch")
pytest.importorskip("peft")

from chimed_rag.generation.chat import Renderer  # noqa: E402
from chimed_rag.generation.tiny import make_tiny_model  # noqa: E402
from training.language import Shape, load_policy, load_reward, new_model, save_model  # noqa: E402
from training.scoring import load, padded, score, tokens  # noqa: E402

CONVERSATIONS = [
    [{"role": "user", "content": "头痛" * n}, {"role": "assistant", "content": "多休息，" * (17 - n) + "再就医。"}]
    for n in range(1, 17)
]


@pytest.fixture(scope="module", params=[False, True], ids=["native", "template"])
def reward_folder(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    folder = tmp_path_factory.mktemp("models")
    _, tokenizer = load_policy(make_tiny_model(folder / "tiny", chat_template=request.param))
    shape = Shape(hidden=32, layers=2, heads=2, feed_forward=48, context=256)
    save_model(new_model(shape, tokenizer, 3), tokenizer, folder / "policy")
    model, tokenizer = load_reward(folder / "policy", seed=5)
    with torch.no_grad():
        model.score.weight *= 50  # differences that would be seen
    save_model(model, tokenizer, folder / "reward")
    return folder / "reward"


def test_scores_depend_on_no_padding_and_no_batch(reward_folder: Path) -> None:
    model, tokenizer = load_reward(reward_folder)
    renderer = Renderer(tokenizer)
    alone = score(model, renderer, CONVERSATIONS, 1)
    assert np.ptp(alone) > 0.1
    for side in ("left", "right"):
        for size in (3, 16):
            together = score(model, renderer, CONVERSATIONS, size, padding=side)
            np.testing.assert_allclose(together, alone, atol=1e-4)
    np.testing.assert_allclose(score(model, renderer, CONVERSATIONS[::-1], 16), alone[::-1], atol=1e-4)
    np.testing.assert_allclose(load(reward_folder, device="cpu").score(CONVERSATIONS), alone, atol=1e-4)


def test_a_score_is_the_output_at_the_stop_token(reward_folder: Path) -> None:
    model, tokenizer = load_reward(reward_folder)
    renderer = Renderer(tokenizer)
    row = tokens(renderer, CONVERSATIONS[0])
    assert row[-1] == tokenizer.eos_token_id
    with torch.no_grad():
        hidden = model.model(input_ids=torch.tensor([row])).last_hidden_state[0, -1]
    by_hand = float(hidden @ model.score.weight[0].detach())
    assert score(model, renderer, CONVERSATIONS[:1])[0] == pytest.approx(by_hand, abs=1e-4)


def test_padding_by_hand() -> None:
    batch: Any = padded([[5, 6, 7], [8]], 0)
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert padded([[5, 6, 7], [8]], 0, "left")["input_ids"].tolist() == [[5, 6, 7], [0, 0, 8]]


def test_no_conversations_have_no_scores(reward_folder: Path) -> None:
    assert load(reward_folder, device="cpu").score([]) == []


def test_what_cannot_be_scored_is_refused(reward_folder: Path) -> None:
    scorer = load(reward_folder, device="cpu")
    with pytest.raises(InputError, match="assistant"):
        scorer.score([CONVERSATIONS[0][:1]])
    long = [CONVERSATIONS[0][0], {"role": "assistant", "content": "头痛不适" * 300}]
    with pytest.raises(InputError, match=r"conversation 2 has .* tokens; the reward model reads 256"):
        scorer.score([CONVERSATIONS[0], long])


def test_a_language_model_is_no_judge(reward_folder: Path) -> None:
    with pytest.raises(GeneratorError, match="gives no score; train one: python -m training reward"):
        load(reward_folder.parent / "policy", device="cpu")
