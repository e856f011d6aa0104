"""A real server, `transformers serve` on loopback, with a tiny model of random weights made here."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from string import ascii_letters

import httpx
import pytest

pytest.importorskip("torch", reason="torch is not installed (extra `models`)")
pytest.importorskip("uvicorn", reason="not installed (transformers[serving])")

from chimed_rag.config import Generation
from chimed_rag.errors import GeneratorError
from chimed_rag.generation.chat import Renderer
from chimed_rag.generation.endpoint import EndpointGenerator
from chimed_rag.generation.sent import harmless, native
from tests.contracts.generator_contract import TEXTS, passages
from tests.servers import user

TEMPLATE = (
    "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
QUESTIONS = ["发烧怎么办？", "孕妇能吃布洛芬吗？", "血压多少算高？", "多喝水有用吗？"]
SETTINGS = Generation(max_new_tokens=24, context_tokens=2048)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of 2 layers, one token a character, with a chat template."""
    import torch
    from tokenizers import Regex, Tokenizer, decoders
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Split
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    signs = "".join([*TEXTS, *QUESTIONS, TEMPLATE, ascii_letters, "[]0123456789\n"])
    words = list(dict.fromkeys(["<s>", "</s>", "<unk>", *signs]))
    tokenizer = Tokenizer(WordLevel({word: place for place, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    folder = tmp_path_factory.mktemp("tiny")
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", chat_template=TEMPLATE
    ).save_pretrained(folder)
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=2048, bos_token_id=0, eos_token_id=1, initializer_range=0.3,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def starting(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[subprocess.Popen, str, Path]]:
    """The server's process, its address and its log; it is not ready yet."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    log = tmp_path_factory.mktemp("log") / "serve.log"
    environment = {
        **{key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")},
        "HF_HUB_CACHE": str(tmp_path_factory.mktemp("cache")), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(folder), "--device", "cpu"]
    place = ["--host", "127.0.0.1", "--port", address.rpartition(":")[2], "--dtype", "float32"]
    with log.open("wb") as output:
        server = subprocess.Popen([*command, *place], env=environment, stdout=output, stderr=subprocess.STDOUT)
    yield server, address, log
    server.terminate()
    try:
        server.wait(10)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


@pytest.fixture(scope="module")
def url(starting: tuple[subprocess.Popen, str, Path], expected: list[str]) -> str:
    """The address of the server, which got ready while `expected` was made."""
    server, address, log = starting
    for _ in range(900):
        try:
            httpx.get(f"{address}/health", timeout=2, trust_env=False)
            return f"{address}/v1"
        except httpx.TransportError:
            time.sleep(0.1)
        if server.poll() is not None:
            break
    pytest.fail("the server did not start\n" + log.read_text()[-2000:])


@pytest.fixture
def model(url: str, folder: Path) -> Iterator[EndpointGenerator]:
    made = EndpointGenerator(url, model=str(folder), settings=SETTINGS)
    yield made
    made.close()


@pytest.fixture(scope="module")
def expected(folder: Path, starting: object) -> list[str]:
    """What transformers itself writes, greedily, after the same template."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    texts = []
    for question in QUESTIONS:
        prompt = tokenizer.apply_chat_template(
            user(question), add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        with torch.inference_mode():
            whole = network.generate(**prompt, max_new_tokens=SETTINGS.max_new_tokens, do_sample=False, pad_token_id=1)
        texts.append(tokenizer.decode(whole[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True))
    return texts


def test_it_writes_what_the_model_writes(model, expected):
    assert len(set(expected)) == len(expected) and all(expected)
    completion = model.complete(user(QUESTIONS[0]))
    assert completion.text == expected[0]
    assert completion.finish in ("length", "stop") and completion.new_tokens <= SETTINGS.max_new_tokens
    assert completion.prompt_tokens == len(f"<user>{QUESTIONS[0]}</s><assistant>") - 3  # </s> is one token


def test_it_streams(model, expected):
    pieces = list(model.stream(user(QUESTIONS[1])))
    assert len(pieces) > 3 and "".join(pieces) == expected[1]


def test_many_at_once_are_what_they_are_alone(model, expected):
    done = model.complete_many([user(question) for question in QUESTIONS])
    assert [one.text for one in done] == expected


def test_evidence_becomes_a_draft(model):
    draft = model.generate(QUESTIONS[0], passages(*TEXTS))
    assert draft == model.generate(QUESTIONS[0], passages(*TEXTS))
    assert draft.generator == model.name and draft.finish in ("length", "stop")


def test_text_without_a_template(url, folder):
    from transformers import AutoTokenizer

    native = EndpointGenerator(url, model=str(folder), settings=SETTINGS, api="completions")
    completion = native.complete(user(QUESTIONS[0]))
    native.close()
    text = f"[human]:{QUESTIONS[0]}\n[bot]:"
    assert completion.prompt_tokens == len(AutoTokenizer.from_pretrained(folder)(text)["input_ids"])
    assert completion.text


def test_that_text_is_what_the_renderer_makes_tokens_of(folder):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    conversation = [
        {"role": "system", "content": " [1] "},
        {"role": "user", "content": QUESTIONS[0] + "\n"},
        {"role": "assistant", "content": QUESTIONS[3]},
        {"role": "user", "content": QUESTIONS[1]},
    ]
    tokens = Renderer(tokenizer, "native").prompt(conversation)
    assert tokens == tokenizer(native(harmless(conversation)), add_special_tokens=False)["input_ids"]


def test_a_wrong_model_is_an_error(url):
    wrong = EndpointGenerator(url, model="no-such-model", settings=SETTINGS)
    with pytest.raises(GeneratorError, match="no-such-model"):
        wrong.complete(user(QUESTIONS[0]))
    wrong.close()
