"""A tiny compact transformer with random weights, in the files that the training stage writes; made by the tests."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from chimed_rag.encoders.compact import CARD, TOKENIZER, WEIGHTS

LAYERS, WIDTH, HEADS, FEED_FORWARD, DIMENSION = 2, 16, 4, 32, 12
_SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
_PIECES = [
    *"高血压糖尿病心头痛孕妇晚期女禁用布洛芬感冒发烧能吃吗一次患者应低盐饮食，。？\n",
    "血压",
    "布洛芬",
    "糖尿病",
]


def make(folder: Path, *, longest: int = 32, template: bool = True, seed: int = 0) -> Path:
    """A folder of a model; without the template, a text has no `<s>` and `</s>` around it."""
    rng = np.random.default_rng(seed)
    tensors: dict[str, NDArray[Any]] = {}

    def noise(*shape: int, about: float = 0.0) -> NDArray[np.float32]:
        return (about + rng.normal(scale=0.3, size=shape)).astype(np.float32)

    def matrix(name: str, outputs: int, inputs: int) -> None:
        values = noise(outputs, inputs)
        scales = np.abs(values).max(axis=1) / np.float32(127)
        tensors[name], tensors[f"{name}.scales"] = np.rint(values / scales[:, None]).astype(np.int8), scales

    matrix("words", len(_SPECIAL) + len(_PIECES), WIDTH)
    tensors |= {"positions": noise(longest, WIDTH), "segments": noise(2, WIDTH)}
    tensors |= {"norm": noise(WIDTH, about=1), "shift": noise(WIDTH)}
    shapes = {
        "qkv": (3 * WIDTH, WIDTH),
        "out": (WIDTH, WIDTH),
        "up": (FEED_FORWARD, WIDTH),
        "down": (WIDTH, FEED_FORWARD),
    }
    dense = {f"layers.{number}.{name}": shape for number in range(LAYERS) for name, shape in shapes.items()}
    for name, (outputs, inputs) in {**dense, "head": (DIMENSION, WIDTH)}.items():
        matrix(name, outputs, inputs)
        tensors[f"{name}_bias"] = noise(outputs)
    for number in range(LAYERS):
        for place in ("first", "second"):
            tensors[f"layers.{number}.{place}_norm"] = noise(WIDTH, about=1)
            tensors[f"layers.{number}.{place}_shift"] = noise(WIDTH)
    folder.mkdir(parents=True)
    save_file(tensors, folder / WEIGHTS)
    _tokenizer(template).save(str(folder / TOKENIZER))
    card = {"kind": "compact", "version": 1, "name": "tiny", "layers": LAYERS, "heads": HEADS, "longest": longest}
    (folder / CARD).write_text(json.dumps(card), "utf-8")
    return folder


def altered(folder: Path, copy: Path, changes: Mapping[str, NDArray[Any] | None]) -> Path:
    """A copy of the folder in which these tensors are others, or (None) missing."""
    shutil.copytree(folder, copy)
    tensors = {**load_file(folder / WEIGHTS), **changes}
    save_file({name: values for name, values in tensors.items() if values is not None}, copy / WEIGHTS)
    return copy


def _tokenizer(template: bool) -> Any:
    from tokenizers import Tokenizer
    from tokenizers.models import Unigram
    from tokenizers.processors import TemplateProcessing

    pieces = [(piece, 0.0) for piece in _SPECIAL] + [(piece, -3.0) for piece in _PIECES]
    tokenizer = Tokenizer(Unigram(pieces, unk_id=_SPECIAL.index("<unk>"), byte_fallback=False))
    tokenizer.add_special_tokens(_SPECIAL)
    if template:
        special = [(token, _SPECIAL.index(token)) for token in ("<s>", "</s>")]
        tokenizer.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=special)
    return tokenizer
