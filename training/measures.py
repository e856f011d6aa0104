"""How well a language model foretells texts, in bits per character: comparable across vocabularies.

Perplexity per token is not: a model with longer tokens has a higher one for the same text. Not covered: what a model
writes (`overlap`). Needs torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chimed_rag.errors import InputError


class Window(NamedTuple):
    """A stretch of one text's tokens, the last `new` of which are foretold here."""

    text: int
    ids: list[int]
    new: int


def bits_per_character(
    model: Any, tokenizer: Any, texts: Sequence[str], *, context: int | None = None, batch: int = 16
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The bits that each text takes, and its characters; the ratio of their sums is the bits per character.

    Each token is foretold exactly once, from at least half a context of tokens before it where there are so many. The
    first is foretold from the token that begins texts (or that ends them, where a tokenizer has no other). That a text
    ends is not asked.

    Args:
        model: a causal model of transformers; put into eval mode for this.
        tokenizer: its tokenizer.
        texts: what is to be foretold.
        context: tokens that it sees at a time; null takes what it was made for.
        batch: windows that go through together.

    Returns:
        Bits and characters, both of shape (texts,).

    Raises:
        InputError: there is no text, one has no token, or nothing begins or ends a text.
    """
    import torch

    if not texts:
        raise InputError("there is no text to measure on")
    made_for = int(model.config.max_position_embeddings)
    cut = windows(tokens_of(tokenizer, texts), beginning(tokenizer), min(context or made_for, made_for))
    cut.sort(key=lambda window: -len(window.ids))  # the longest first: windows of like length share a batch
    bits = np.zeros(len(texts))
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            for start in range(0, len(cut), batch):
                part = cut[start : start + batch]
                for window, taken in zip(part, _nats(model, part), strict=True):
                    bits[window.text] += taken / math.log(2)
    finally:
        model.train(training)
    return bits, np.array([len(text) for text in texts])


def beginning(tokenizer: Any) -> int:
    """The token that stands before a text: the one that begins texts, else the one that ends them.

    Raises:
        InputError: the tokenizer has neither.
    """
    first = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    if first is None:
        raise InputError("the tokenizer has no token that begins or ends a text; nothing foretells a text's first one")
    return int(first)


def tokens_of(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """The tokens of texts, none added; what looks like a special token in a text is none."""
    how = {"add_special_tokens": False, "split_special_tokens": True, "verbose": False}  # long ones are cut later
    found: list[list[int]] = tokenizer(list(texts), **how)["input_ids"]
    return found


def windows(documents: Sequence[Sequence[int]], first: int, context: int) -> list[Window]:
    """Windows of at most `context` tokens in which each token of the documents is new exactly once.

    Raises:
        InputError: a document has no token.
    """
    found = []
    for n, document in enumerate(documents):
        if not document:
            raise InputError(f"text {n} has no token")
        ids, end = [first, *document], 1
        while end < len(ids):
            new = min(len(ids) - end, context - 1 if end == 1 else context - context // 2)
            end += new
            found.append(Window(n, ids[max(0, end - context) : end], new))
    return found


def _nats(model: Any, part: Sequence[Window]) -> list[float]:
    """What the new tokens of each window take; padding stands at the right, where nothing before it can see it."""
    import torch
    from torch.nn.functional import cross_entropy

    longest = max(len(window.ids) for window in part)
    ids = torch.zeros((len(part), longest), dtype=torch.long)
    targets = torch.full((len(part), longest - 1), -100)
    for n, window in enumerate(part):
        ids[n, : len(window.ids)] = torch.tensor(window.ids)
        targets[n, len(window.ids) - 1 - window.new : len(window.ids) - 1] = torch.tensor(window.ids[-window.new :])
    logits = model(input_ids=ids[:, :-1].to(model.device), use_cache=False).logits.float()
    taken = cross_entropy(logits.transpose(1, 2), targets.to(model.device), ignore_index=-100, reduction="none")
    sums: list[float] = taken.double().sum(dim=1).tolist()
    return sums
