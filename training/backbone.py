"""The transformer beneath an encoder or reranker: a folder that exists, or one made from scratch.

From scratch means a tokenizer learned from the texts and masked language modelling on them (`tokenizer`, `mlm`). Not
covered: what is put on top (a module a kind). Needs torch and transformers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from chimed_rag.errors import InputError
from training.card import Point
from training.files import Ledger
from training.fitting import Device, device_name, quiet
from training.mlm import Masking, masked_bert, pretrain
from training.pairs import Pair, PairData
from training.run import Run
from training.settings import Settings, located
from training.texts import TextFile, read_texts
from training.tokenizer import TokenizerSettings, train_tokenizer


class Scratch(Settings):
    """A transformer from scratch.

    Args:
        architecture: `bert` (Devlin et al. 2019) or `modernbert` (Warner et al. 2024: rotary positions, gated layers).
        hidden, layers, heads, feed_forward: its size.
        max_length: tokens of a text that count.
        dropout: while training.
        tokenizer: see there.
        texts: corpora to learn language from; the training pairs' own texts come first if `pairs_too`.
        mlm: see `mlm.Masking`.
    """

    architecture: Literal["bert", "modernbert"] = "bert"
    hidden: int = Field(256, ge=8)
    layers: int = Field(4, ge=1)
    heads: int = Field(4, ge=1)
    feed_forward: int = Field(1024, ge=8)
    max_length: int = Field(256, ge=8)
    dropout: float = Field(0.1, ge=0, lt=1)
    tokenizer: TokenizerSettings = TokenizerSettings()
    texts: list[TextFile] = Field(default_factory=list)
    pairs_too: bool = True
    mlm: Masking = Masking()

    @model_validator(mode="after")
    def _fits(self) -> Scratch:
        if self.hidden % self.heads:
            raise ValueError(f"hidden ({self.hidden}) is not a multiple of heads ({self.heads})")
        if self.mlm.block > self.max_length:
            raise ValueError(f"mlm.block ({self.mlm.block}) is longer than max_length ({self.max_length})")
        return self


class Backbone(Settings):
    """Where the transformer comes from: exactly one of the two.

    Args:
        base: a folder (an earlier `transformer` run, say), or a model of the hub as owner/name.
        scratch: made here.
        revision: of a hub model.
    """

    base: str | None = None
    revision: str | None = None
    scratch: Scratch | None = None

    @model_validator(mode="after")
    def _one(self) -> Backbone:
        if (self.base is None) == (self.scratch is None):
            raise ValueError("give either base or scratch")
        return self


def texts_of(backbone: Backbone, data: PairData, *, seed: int, ledger: Ledger) -> list[str]:
    """The corpora that the backbone learns language from; their accounts are added to the ledger."""
    if backbone.scratch is None:
        return []
    return read_texts(backbone.scratch.texts, data.hygiene, seed=seed, ledger=ledger)


def prepared(
    backbone: Backbone, run: Run, texts: Sequence[str], pairs: Sequence[Pair], *, seed: int, device: Device
) -> str:
    """The folder (or hub name) of the transformer: a phase "mlm" of the run if it is made from scratch.

    Raises:
        InputError: the base folder is not there, or there is no text to learn from.
    """
    if backbone.base is not None:
        folder = located(backbone.base)
        if folder.is_dir():
            return str(folder)
        if backbone.base.count("/") == 1 and backbone.base[0] not in "./~$":
            return backbone.base
        raise InputError(
            f"backbone.base: {folder} is no folder; train it first, or name a model of the hub as owner/name"
        )
    scratch = backbone.scratch
    assert scratch is not None
    own = dict.fromkeys(text for pair in pairs for text in (pair.query, pair.passage)) if scratch.pairs_too else ()
    everything = [*own, *texts]
    if not everything:
        raise InputError("backbone.scratch: there is no text to learn from; give texts, or pairs_too: true")

    def make(folder: Path) -> list[Point]:
        quiet(seed)
        types = scratch.architecture == "bert"
        tokenizer = train_tokenizer(everything, scratch.tokenizer, scratch.max_length, types=types)
        model = _model(scratch, tokenizer)
        name = device_name(device)
        return pretrain(model, tokenizer, everything, scratch.mlm, folder, seed=seed, device=name, say=run.say)

    return str(run.phase("mlm", make))


def _model(scratch: Scratch, tokenizer: Any) -> Any:
    """The untrained model with its head."""
    from transformers import AutoModelForMaskedLM, BertConfig, ModernBertConfig

    size = {
        "vocab_size": len(tokenizer),
        "hidden_size": scratch.hidden,
        "num_hidden_layers": scratch.layers,
        "num_attention_heads": scratch.heads,
        "intermediate_size": scratch.feed_forward,
        "max_position_embeddings": scratch.max_length,
        "pad_token_id": tokenizer.pad_token_id,
    }
    if scratch.architecture == "bert":
        return masked_bert(
            BertConfig(**size, hidden_dropout_prob=scratch.dropout, attention_probs_dropout_prob=scratch.dropout)
        )
    return AutoModelForMaskedLM.from_config(
        ModernBertConfig(
            **size,
            sparse_prediction=True,
            cls_token_id=tokenizer.cls_token_id,
            sep_token_id=tokenizer.sep_token_id,
            bos_token_id=tokenizer.cls_token_id,
            eos_token_id=tokenizer.sep_token_id,
            embedding_dropout=scratch.dropout,
            attention_dropout=scratch.dropout,
            mlp_dropout=scratch.dropout,
            classifier_pooling="mean",
        )
    )
