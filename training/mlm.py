"""Masked language modelling (Devlin et al. 2019, "BERT", arXiv:1810.04805) of blocks cut from a stream of texts.

Not covered: next-sentence prediction, and whole-word masking. Needs torch and transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from chimed_rag.errors import InputError
from training.card import Point
from training.fitting import Optimisation, arguments, fit

_AT_ONCE = 2000
_UNSEEN = -100  # the label of a token that is not to be guessed


class Masking(Optimisation):
    """Masked language modelling: the optimisation, and what is hidden.

    Args:
        mask: share of the tokens to guess; of them 80 % become [MASK], 10 % another token, 10 % stay.
        block: tokens of a block, [CLS] and [SEP] included; not longer than the model's max_length.
    """

    mask: float = Field(0.15, gt=0, lt=1)
    block: int = Field(128, ge=8)


def blocks(texts: Sequence[str], tokenizer: Any, length: int) -> NDArray[np.int32]:
    """The token ids of all texts, one after the other with [SEP] between, cut to rows of `length` with [CLS] and [SEP].

    The last row is left out if it is not full.

    Raises:
        InputError: the texts do not fill one row.
    """
    parts: list[NDArray[np.int32]] = []
    for start in range(0, len(texts), _AT_ONCE):
        encoded = tokenizer.backend_tokenizer.encode_batch(
            list(texts[start : start + _AT_ONCE]), add_special_tokens=False
        )
        parts += [np.array([*item.ids, tokenizer.sep_token_id], dtype=np.int32) for item in encoded]
    stream = np.concatenate(parts) if parts else np.zeros(0, np.int32)
    count = len(stream) // (length - 2)
    if not count:
        raise InputError(f"the texts hold {len(stream)} tokens, not enough for one block of {length}")
    rows = np.empty((count, length), dtype=np.int32)
    rows[:, 0], rows[:, -1] = tokenizer.cls_token_id, tokenizer.sep_token_id
    rows[:, 1:-1] = stream[: count * (length - 2)].reshape(count, -1)
    return rows


class MaskedBlocks:
    """Blocks with their masks, as torch wants a dataset; `epochs` times as many as there are blocks, each masked anew.

    Blocks are masked a batch at a time (torch asks for `__getitems__`), which takes a twentieth of the time. What is
    masked depends on the seed and on the batch's examples alone, so a run that goes on sees what it would have seen.
    """

    def __init__(self, rows: NDArray[np.int32], tokenizer: Any, settings: Masking, seed: int) -> None:
        self._rows, self._seed, self._mask = rows, seed, settings.mask
        self._length = max(1, round(len(rows) * settings.epochs))
        self._hidden, self._vocabulary = tokenizer.mask_token_id, len(tokenizer)
        self._special = np.array(sorted(tokenizer.all_special_ids))

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, n: int) -> dict[str, Any]:
        return {name: values[0] for name, values in self.__getitems__([n]).items()}

    def __getitems__(self, examples: Sequence[int]) -> dict[str, Any]:
        import torch

        ids = self._rows[np.array(examples) % len(self._rows)].astype(np.int64)
        chance = np.random.default_rng((self._seed, *examples))
        guessed = (chance.random(ids.shape) < self._mask) & ~np.isin(ids, self._special)
        labels = np.where(guessed, ids, _UNSEEN)
        how = chance.random(ids.shape)
        shown = np.where(guessed & (how < 0.8), self._hidden, ids)
        others = chance.integers(0, self._vocabulary, ids.shape)
        shown = np.where(guessed & (how >= 0.8) & (how < 0.9), others, shown)
        return {
            "input_ids": torch.from_numpy(shown),
            "attention_mask": torch.ones(ids.shape, dtype=torch.long),
            "labels": torch.from_numpy(labels),
        }


def _as_they_are(batch: dict[str, Any]) -> dict[str, Any]:
    return batch


def masked_bert(config: Any) -> Any:
    """An untrained BertForMaskedLM that reads its head at the tokens to guess alone.

    The loss is the same; of 1,024 blocks of 128 tokens and a vocabulary of 16,000 the logits of 15 % take 1.3 GB
    (float32), those of all 8.4. ModernBERT has this in transformers (`sparse_prediction`).
    """
    import torch
    from transformers import BertForMaskedLM
    from transformers.modeling_outputs import MaskedLMOutput

    class MaskedBert(BertForMaskedLM):  # type: ignore[misc, unused-ignore]
        def forward(self, input_ids: Any, attention_mask: Any, labels: Any) -> Any:
            states = self.bert(input_ids, attention_mask=attention_mask).last_hidden_state
            guessed = labels != _UNSEEN
            loss = torch.nn.functional.cross_entropy(self.cls(states[guessed]).float(), labels[guessed])
            return MaskedLMOutput(loss=loss)

    return MaskedBert(config)


def pretrain(
    model: Any,
    tokenizer: Any,
    texts: Sequence[str],
    settings: Masking,
    folder: Path,
    *,
    seed: int,
    device: str,
    say: Callable[[str], None],
) -> list[Point]:
    """Trains a model of transformers with a masked-language-modelling head, and saves what is beneath the head.

    The model (without its head) and the tokenizer go to `folder/model`. Returns the curve.
    """
    from transformers import Trainer, TrainingArguments

    rows = blocks(texts, tokenizer, settings.block)
    say(f"{folder.name}: {len(texts):,} texts, {rows.size:,} tokens in {len(rows):,} blocks")
    once = settings.model_copy(update={"epochs": 1.0})  # the data holds the epochs
    trainer = Trainer(
        model=model,
        args=TrainingArguments(**arguments(once, folder, seed=seed, device=device), remove_unused_columns=False),
        train_dataset=MaskedBlocks(rows, tokenizer, settings, seed),
        data_collator=_as_they_are,
    )
    points = fit(trainer, folder, say)
    model.base_model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return points
