"""Tiny causal language models with random weights, which write nonsense; made by the tests in half a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

TEXT = (
    "高血压患者应限盐、减重、规律运动。孕晚期禁用布洛芬。发热时应多饮水，注意休息。血钾的参考范围为3.5~5.5mmol/L。"
    "[human]:孕妇感冒发烧能吃布洛芬吗？\n[bot]:根据文献回答问题，每句话后注明文献编号。"
)
TEMPLATE = (
    "{% for one in messages %}<|im_start|>{{ one['role'] }}\n{{ one['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_writer(folder: Path, kind: str = "llama", *, context: int = 2048, seed: int = 7, **tokens: Any) -> Path:
    """A model folder: "llama" in the native form, or "qwen3" with a ChatML template; `tokens` go to the tokenizer."""
    import torch
    import transformers as t
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    special = ["<pad>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=special, initial_alphabet=alphabet, show_progress=False, min_frequency=1
    )
    bpe.train_from_iterator([TEXT] * 2, trainer)
    eos = "<|im_end|>" if kind == "qwen3" else "</s>"
    tokenizer = t.PreTrainedTokenizerFast(
        tokenizer_object=bpe, **{"bos_token": "<s>", "eos_token": eos, "pad_token": "<pad>", **tokens}
    )
    sizes: dict[str, Any] = {
        "vocab_size": 512, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96,
        "num_key_value_heads": 2, "max_position_embeddings": context, "initializer_range": 0.3, "bos_token_id": 1,
        "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "tie_word_embeddings": False,
    }  # fmt: skip
    torch.manual_seed(seed)
    if kind == "qwen3":
        tokenizer.chat_template = TEMPLATE
        model: Any = t.Qwen3ForCausalLM(t.Qwen3Config(**sizes, head_dim=16))
    else:
        model = t.LlamaForCausalLM(t.LlamaConfig(**sizes))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
