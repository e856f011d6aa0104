"""A folder with a tokenizer.model alone, as ChiMed-GPT comes: the tokens are those of sentencepiece itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chimed_rag.config import Generation
from chimed_rag.generation.chimed_gpt import ChiMedGPT
from tests.conftest import TEXTS

WORDS = 480


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A tiny Llama with Ziya's two added tokens."""
    import sentencepiece
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("models") / "ChiMed-GPT-tiny"
    folder.mkdir()
    lines = [line for _, text, _ in TEXTS.values() for line in text.splitlines()]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines * 20), model_prefix=str(folder / "tokenizer"), vocab_size=WORDS, model_type="bpe",
        byte_fallback=True, character_coverage=0.98, normalization_rule_name="identity", remove_extra_whitespaces=False,
        unk_id=0, bos_id=1, eos_id=2, pad_id=-1, hard_vocab_limit=False, minloglevel=2, num_threads=1,
    )  # fmt: skip
    (folder / "tokenizer.vocab").unlink()
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    settings = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "legacy": True, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    (folder / "added_tokens.json").write_text(json.dumps({"<human>": WORDS, "<bot>": WORDS + 1}))
    config = LlamaConfig(
        vocab_size=WORDS + 2, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=512, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def test_its_tokens_are_those_of_sentencepiece(folder):
    import sentencepiece

    own = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    model = ChiMedGPT(folder, settings=Generation(max_new_tokens=8))
    question = "孕妇能吃布洛芬吗？体温38.5℃，𠮷"
    [ids] = [model._render([{"role": "user", "content": question}])]
    assert ids == own.encode(f"[human]:{question}\n[bot]:")
    assert 1 not in ids
    assert model._renderer.style == "native"
    assert 1 <= (model.complete([{"role": "user", "content": question}]).new_tokens or 0) <= 8
    model.close()
