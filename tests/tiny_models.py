"""Tiny models with random weights, of the architectures that known encoders and rerankers have; made by the tests."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

COMMIT = "c" * 40
WIDTH = 32
_CHARACTERS = [chr(code) for code in range(0x20, 0x7F)] + [chr(code) for code in range(0x4E00, 0x9FFF, 7)]
_TEXT = "高血压糖尿病患者孕妇感冒发烧能吃布洛芬吗为这个句子生成表示以用于检索相关文章：，。？\n"
_SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]


def _tokenizer(folder: Path, template: str, *, side: str = "right", length: int = 128) -> None:
    """One token a character; `template` as in tokenizers' TemplateProcessing."""
    from tokenizers import Regex, Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Split
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    words = list(dict.fromkeys([*_SPECIAL, *_CHARACTERS, *_TEXT]))
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Split(Regex(r"[\s\S]"), "isolated")
    special = [(token, vocabulary[token]) for token in ("<s>", "</s>")]
    pair = template.replace("$A", "$A </s> </s> $B") if "<s>" in template else None
    tokenizer.post_processor = TemplateProcessing(single=template, pair=pair, special_tokens=special)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<pad>",
        padding_side=side, model_max_length=length,
    ).save_pretrained(folder)  # fmt: skip


def _sizes() -> dict[str, Any]:
    words = len(dict.fromkeys([*_SPECIAL, *_CHARACTERS, *_TEXT]))
    return {
        "vocab_size": words, "hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 64, "initializer_range": 0.3, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2,
    }  # fmt: skip


def make(folder: Path, kind: str) -> Path:
    """Bare weights as transformers saves them: "bert", "xlmr", "qwen3", "reranker" (XLM-R, one score), "labels"."""
    import torch
    import transformers as t

    torch.manual_seed(sum(map(ord, kind)))
    folder.mkdir(parents=True, exist_ok=True)
    if kind == "qwen3":
        _tokenizer(folder, "$A </s>", side="left")
        config: Any = t.Qwen3Config(
            **_sizes(), num_key_value_heads=1, head_dim=16, max_position_embeddings=128, tie_word_embeddings=True
        )
        t.Qwen3ForCausalLM(config).save_pretrained(folder)
        return folder
    _tokenizer(folder, "<s> $A </s>")
    if kind == "bert":
        t.BertModel(t.BertConfig(**_sizes(), max_position_embeddings=128)).save_pretrained(folder)
        return folder
    config = t.XLMRobertaConfig(**_sizes(), max_position_embeddings=132, type_vocab_size=1)
    if kind == "xlmr":
        t.XLMRobertaModel(config).save_pretrained(folder)
    else:
        config.num_labels = 1 if kind == "reranker" else 3
        t.XLMRobertaForSequenceClassification(config).save_pretrained(folder)
    return folder


def with_modules(folder: Path, pooling: str) -> Path:
    """Adds what sentence-transformers writes: modules.json, the pooling, a normalisation."""
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(kinds.items())
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    keys = {"cls": "cls_token", "mean": "mean_tokens", "lasttoken": "lasttoken"}
    body = {f"pooling_mode_{key}": mode == pooling for mode, key in keys.items()}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": WIDTH, **body}))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 128, "do_lower_case": False}))
    return folder


def cached(cache: Path, name: str, folder: Path) -> Path:
    """Lays a folder into a hub cache as the model `name` at COMMIT; gives the snapshot's folder."""
    store = cache / f"models--{name.replace('/', '--')}"
    shutil.copytree(folder, store / "snapshots" / COMMIT)
    (store / "refs").mkdir()
    (store / "refs" / "main").write_text(COMMIT)
    return store / "snapshots" / COMMIT


def by_hand(folder: Path, texts: list[str], pooling: str) -> NDArray[np.float32]:
    """Transformers' own forward pass, one text at a time, pooled and brought to length 1 with numpy."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype="float32").eval()
    rows = []
    for text in texts:
        with torch.inference_mode():
            states = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].numpy()
        row = {"cls": states[0], "mean": states.mean(axis=0), "lasttoken": states[-1]}[pooling]
        rows.append(row / np.linalg.norm(row))
    return np.stack(rows).astype(np.float32)
