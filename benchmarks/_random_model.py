"""A causal LM at a true shape with random weights, its tokenizer, and the floors that its arithmetic sets.

Random weights move the same bytes and do the same operations as trained ones; no file is needed. The row of the output
matrix for </s> is zero, so that it never wins: replies end at their limit and lengths are what the script asked for.
Not covered: what trained weights would say. Random ones choose between almost equal tokens, so that answers part
sooner than a trained model's when sums are rounded otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any, NamedTuple

CHIMED_GPT: dict[str, int] = {
    "hidden_size": 5120, "num_hidden_layers": 40, "num_attention_heads": 40, "num_key_value_heads": 40,
    "intermediate_size": 13824, "vocab_size": 39410, "max_position_embeddings": 4096,
}  # fmt: skip
"""Ziya2-13B, of which ChiMed-GPT-1.0 was made; 13.09e9 parameters are the 26.18 GB of its published 16-bit files."""
TINY: dict[str, int] = {
    "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4,
    "intermediate_size": 128, "vocab_size": 4096, "max_position_embeddings": 4096,
}  # fmt: skip
PAD, BOS, EOS = 0, 1, 2
ENDS_EVERY = 24
"""One token in so many ends a sentence: what a sampled reply of random weights has sentences from."""


class Shape(NamedTuple):
    """What a forward pass of a Llama costs: sizes in elements, bytes and operations from its configuration."""

    hidden: int
    layers: int
    kv_width: int
    ffn: int
    vocabulary: int
    element: int
    """Bytes of one element, 2 for bfloat16."""

    @classmethod
    def of(cls, config: Mapping[str, int], element: int) -> Shape:
        """From the keys of a config.json."""
        head = config["hidden_size"] // config["num_attention_heads"]
        return cls(
            config["hidden_size"], config["num_hidden_layers"], config["num_key_value_heads"] * head,
            config["intermediate_size"], config["vocab_size"], element,
        )  # fmt: skip

    @property
    def layer_parameters(self) -> int:
        """Of all layers: q and o, k and v, three matrices of the feed-forward, two norms; and the last norm."""
        one = 2 * self.hidden**2 + 2 * self.hidden * self.kv_width + 3 * self.hidden * self.ffn + 2 * self.hidden
        return self.layers * one + self.hidden

    @property
    def parameters(self) -> int:
        """All, with untied embeddings."""
        return self.layer_parameters + 2 * self.vocabulary * self.hidden

    @property
    def kv_bytes(self) -> int:
        """What one token of one sequence holds in the cache."""
        return 2 * self.layers * self.kv_width * self.element

    def step_bytes(self, batch: int, context: int) -> int:
        """The fewest bytes a decoding step reads: the weights once (of the embeddings only rows) and every cache."""
        return (self.layer_parameters + self.vocabulary * self.hidden) * self.element + batch * context * self.kv_bytes

    def prefill_operations(self, tokens: int) -> int:
        """The fewest operations that read a prompt of one sequence: two for each parameter and token, and attention.

        Attention is causal: 2 products of 2 operations for half of the pairs; logits only for the last token.
        """
        attention = 2 * tokens**2 * self.hidden * self.layers
        return 2 * self.layer_parameters * tokens + attention + 2 * self.vocabulary * self.hidden


def make_model(config: Mapping[str, int], device: str, dtype: Any) -> Any:
    """A LlamaForCausalLM with weights drawn on the device itself, ready to decode."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    llama = LlamaConfig(
        **config, rms_norm_eps=1e-6, tie_word_embeddings=False, bos_token_id=BOS, eos_token_id=EOS, pad_token_id=PAD,
        dtype=dtype, attn_implementation="sdpa",
    )  # fmt: skip
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            model = LlamaForCausalLM(llama)
    finally:
        torch.set_default_dtype(before)
    with torch.no_grad():
        model.lm_head.weight[EOS] = 0
    model.generation_config.pad_token_id = PAD
    return model.eval().requires_grad_(False)


def make_tokenizer(vocabulary: int) -> Any:
    """One token a character; one in `ENDS_EVERY` is a character with a full stop, which is only ever written."""
    from tokenizers import Regex, Tokenizer, decoders
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Split
    from transformers import PreTrainedTokenizerFast

    special = ["<unk>", "<s>", "</s>"]
    plain = [chr(code) for code in (10, *range(0x20, 0x7F), *range(0x3001, 0x3003), 0xFF0C, 0xFF1A, 0xFF1F)]
    # The blocks of Chinese characters: the basic one, extension A, extension B.
    blocks = (range(0x4E00, 0x9FF0), range(0x3400, 0x4DB6), range(0x20000, 0x2A6D7))
    words = [*special, *plain]
    for number, code in enumerate(chain.from_iterable(blocks), 1):
        words += [chr(code)] if number % ENDS_EVERY else [chr(code), f"{chr(code)}。"]
    known = {word: number for number, word in enumerate(words[:vocabulary])}
    tokenizer = Tokenizer(WordLevel(known, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<unk>",
        padding_side="left", clean_up_tokenization_spaces=False,
    )  # fmt: skip
