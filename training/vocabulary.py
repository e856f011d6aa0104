"""Tokenizers of language models: one learned from texts, and one that exists taught medical words.

A word that is added becomes one token; all older tokens keep their numbers and their meaning, and a text without such
words is cut as before. Its first vector is the mean of those of its pieces (Hewitt 2021, "Initializing New Word
Embeddings for Pretrained Language Models", takes the mean of all). Adapters do not reach new rows: train them by
`language.with_lora(…, vocabulary=True)`. Not covered: which words are worth it (`fertility` says what they spared).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chimed_rag.errors import InputError
from training.files import lines

_AT_ONCE = 2000


def learn_tokenizer(texts: Sequence[str], *, vocabulary: int, context: int, sample: int) -> Any:
    """A tokenizer of bytes and their pairs, as that of `chimed_rag.generation.tiny`: <pad>, <s>, </s> are 0, 1, 2.

    Args:
        texts: what it learns from.
        vocabulary: tokens at most.
        context: tokens that its model can read.
        sample: texts that it looks at, spread evenly over all.

    Raises:
        InputError: there is no text.
    """
    from chimed_rag.generation.tiny import SPECIAL, byte_pairs, tokenizer_of

    if not texts:
        raise InputError("there is no text for a tokenizer to learn from")
    some = texts[:: max(1, -(-len(texts) // sample))]
    return tokenizer_of(byte_pairs(some, SPECIAL, vocabulary), context=context)


def read_words(paths: Sequence[Path]) -> list[str]:
    """The words of files, one a line, each once, in order; what follows a tab is passed over.

    Raises:
        CorpusError: a file cannot be read.
        InputError: there is no word.
    """
    words = dict.fromkeys(text.partition("\t")[0].strip() for path in paths for _, text in lines(path))
    words.pop("", None)
    if not words:
        raise InputError(f"{', '.join(map(str, paths))}: there is no word in there, one a line")
    return list(words)


def extend(model: Any, tokenizer: Any, words: Sequence[str]) -> list[str]:
    """Gives both the words that are no single token yet; returns those that were added.

    Both are changed. Old rows of the model stay as they are, bit for bit. A word is left out if the tokenizer would
    not write a text with it as it read it.

    Raises:
        InputError: that goes for all words: this tokenizer puts something around what is added.
    """
    import torch

    cut = dict(zip(words, tokenizer(list(words), add_special_tokens=False)["input_ids"], strict=True)) if words else {}
    new = _written_as_read(tokenizer, [word for word, ids in cut.items() if len(ids) > 1])
    if not new:
        return []
    rows = int(model.get_input_embeddings().num_embeddings)
    first = len(tokenizer)
    tokenizer.add_tokens(new)
    assert tokenizer.convert_tokens_to_ids(new) == list(range(first, first + len(new)))
    if len(tokenizer) > rows:  # a model may have more rows than its tokenizer tokens
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    with torch.no_grad():
        matrices = {id(part.weight): part.weight for part in _matrices(model)}  # tied ones once
        for weight in matrices.values():
            for n, word in enumerate(new):
                weight[first + n] = weight[cut[word]].float().mean(dim=0).to(weight.dtype)
    return new


def fertility(tokenizer: Any, texts: Sequence[str]) -> float:
    """Tokens a character of the texts; the lower, the more a context holds.

    Raises:
        InputError: there is no character.
    """
    from training.measures import tokens_of

    characters = sum(map(len, texts))
    if not characters:
        raise InputError("there is no text to count tokens of")
    starts = range(0, len(texts), _AT_ONCE)
    tokens = sum(len(ids) for start in starts for ids in tokens_of(tokenizer, texts[start : start + _AT_ONCE]))
    return tokens / characters


def _matrices(model: Any) -> list[Any]:
    """What reads tokens, and what writes them where there is such a thing (a reward model has none)."""
    return [part for part in (model.get_input_embeddings(), model.get_output_embeddings()) if part is not None]


def _written_as_read(tokenizer: Any, words: list[str]) -> list[str]:
    """Those words that, within a text, a copy of the tokenizer with all of them writes as the tokenizer itself does."""
    if not words:
        return []
    taught = copy.deepcopy(tokenizer)
    taught.add_tokens(words)

    def written(by: Any) -> list[str]:
        texts = [f"对{word}的认识" for word in words]
        found: list[str] = by.batch_decode(by(texts, add_special_tokens=False)["input_ids"])
        return found

    kept = [word for word, one, other in zip(words, written(tokenizer), written(taught), strict=True) if one == other]
    if not kept:
        raise InputError(
            f"none of {len(words):,} words can be added: the tokenizer then writes texts otherwise than it read them "
            '(blanks beside the new words); a Llama tokenizer needs "legacy": false in tokenizer_config.json'
        )
    return kept
