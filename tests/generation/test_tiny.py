"""The small model of tests and notebooks: made alike each time, writes nonsense, or what it learned by heart."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported
torch = pytest.importorskip("torch", reason="torch is not installed (extra `models`)")
pytest.importorskip("transformers", reason="not installed (extra `models`)")

from chimed_rag.errors import GeneratorError  # noqa: E402
from chimed_rag.generation.base import Message  # noqa: E402
from chimed_rag.generation.chat import Renderer  # noqa: E402
from chimed_rag.generation.tiny import make_tiny_model  # noqa: E402


def asked(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


LESSONS = [
    (asked("[1] 布洛芬用于退热。\n问题：发热怎么办？"), "可以用布洛芬退热。[1]"),
    (asked("[1] 孕晚期禁用布洛芬。\n问题：孕妇能用吗？"), "孕晚期禁用。[1]"),
]


def loaded(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


def written(folder: Path, messages: list[Message]) -> str:
    """Transformers' own greedy decoding, with its stop token."""
    model, tokenizer = loaded(folder)
    prompt = torch.tensor([Renderer(tokenizer).prompt(messages)])
    done = model.generate(prompt, do_sample=False, max_new_tokens=60)
    text: str = tokenizer.decode(done[0, prompt.shape[1] :])
    return text


@pytest.mark.parametrize("chat_template", [False, True])
def test_lessons_are_known_by_heart(tmp_path: Path, chat_template: bool) -> None:
    state = torch.random.get_rng_state()
    make_tiny_model(tmp_path, lessons=LESSONS, chat_template=chat_template)
    assert torch.equal(torch.random.get_rng_state(), state)
    stop = "<|im_end|>" if chat_template else "</s>"
    for messages, reply in LESSONS:
        assert written(tmp_path, messages) == reply + stop


def test_the_command_and_the_function_make_the_same_model(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "chimed_rag.generation.tiny", str(tmp_path / "a")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'a'}\n"), done.stderr
    make_tiny_model(tmp_path / "b")
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        first, second = (hashlib.sha256((tmp_path / side / name).read_bytes()).hexdigest() for side in "ab")
        assert first == second, name
    assert written(tmp_path / "a", LESSONS[0][0]) != LESSONS[0][1] + "</s>"
    model, tokenizer = loaded(tmp_path / "a")
    assert 300_000 < sum(weight.numel() for weight in model.parameters()) < 600_000
    assert model.config.max_position_embeddings == tokenizer.model_max_length == 4096
    assert tokenizer.convert_tokens_to_ids(["<pad>", "<s>", "</s>"]) == [0, 1, 2]
    text = "布洛芬 0.2g，每日3次\n\n😀 é"
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text
    assert tokenizer("布洛芬")["input_ids"][0] == 1  # as Llama's do, unless told not to


def test_what_cannot_be_learned_is_said(tmp_path: Path) -> None:
    contradicting = [(LESSONS[0][0], "甲"), (LESSONS[0][0], "乙")]
    with pytest.raises(GeneratorError, match="2 lessons were not learned in 3 passes"):
        make_tiny_model(tmp_path, lessons=contradicting, passes=3)
    with pytest.raises(GeneratorError, match="tokens; the context has 4096"):
        make_tiny_model(tmp_path, lessons=[(asked("痛" * 5000), "甲")])
