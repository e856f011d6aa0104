"""Causal language models in training: made new, loaded, given a score in place of words, given adapters, saved.

Weights are float32 unless a caller asks for another dtype: bfloat16 weights under plain AdamW hardly move. Never
`copy.deepcopy` a model that a Trainer has had: the copy's `forward` stays bound to the original's weights; save it and
load it anew. Not covered: adapters merged apart from saving (`merge`), several GPUs. Needs torch and transformers.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from chimed_rag.errors import GeneratorError, InputError
from training.settings import Settings, located
from training.stages import Lora


class Shape(Settings):
    """The size of a Llama (Touvron et al. 2023, arXiv:2302.13971) made new.

    Args:
        vocabulary: tokens at most; the tokenizer says how many there are.
        hidden: width.
        layers: of them.
        heads: of attention.
        kv_heads: heads of keys and values; null for as many as heads.
        feed_forward: width between.
        context: tokens that it can read.
        tied: the same matrix reads tokens and writes them, which saves a small model much of its weights.
    """

    vocabulary: int = Field(4000, ge=300)
    hidden: int = Field(160, ge=8)
    layers: int = Field(6, ge=1)
    heads: int = Field(4, ge=1)
    kv_heads: int | None = Field(None, ge=1)
    feed_forward: int = Field(432, ge=8)
    context: int = Field(1024, ge=16)
    tied: bool = True

    @model_validator(mode="after")
    def _fits(self) -> Shape:
        if self.hidden % self.heads or (self.hidden // self.heads) % 2:
            raise ValueError(f"hidden ({self.hidden}) must be an even multiple of heads ({self.heads})")
        if self.heads % (self.kv_heads or self.heads):
            raise ValueError(f"heads ({self.heads}) is not a multiple of kv_heads ({self.kv_heads})")
        return self


def new_model(shape: Shape, tokenizer: Any, seed: int) -> Any:
    """A LlamaForCausalLM with random weights, float32, on the CPU; the same one for the same arguments.

    Args:
        shape: its size.
        tokenizer: of transformers; tells how many tokens there are and which begin, end and pad.
        seed: of the weights; the global random state is left as it is.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden,
        intermediate_size=shape.feed_forward,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads or shape.heads,
        max_position_embeddings=shape.context,
        tie_word_embeddings=shape.tied,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)


def load_policy(folder_or_hub: str | Path, *, dtype: str | None = None, device: str = "cpu") -> tuple[Any, Any]:
    """A causal language model and its tokenizer, which pads on the left; in eval mode.

    Args:
        folder_or_hub: a folder (as a configuration writes it), or "owner/name" or "owner/name@revision" of the hub.
        dtype: "float32", "bfloat16" or "float16"; null is float32.
        device: as torch names it.

    Raises:
        GeneratorError: no such model, not whole, not a causal language model, no such device, no room on it.
        InputError: its tokenizer has no token for padding or for the end, or more tokens than the model has rows.
    """
    from chimed_rag.generation.weights import load

    loaded = load(_place(folder_or_hub), device=device, dtype=dtype or "float32")
    model, tokenizer = loaded.model, loaded.tokenizer
    _agree(model, tokenizer, str(folder_or_hub))
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model, tokenizer


def load_tokenizer(folder_or_hub: str | Path) -> Any:
    """The tokenizer of a model alone, for counting before the weights are wanted.

    Raises:
        GeneratorError: no such model, or its tokenizer cannot be loaded.
    """
    import transformers

    from chimed_rag.encoders.hub import find_model
    from chimed_rag.errors import EncoderError
    from chimed_rag.generation.weights import tokenizer_of

    try:
        return tokenizer_of(find_model(_place(folder_or_hub), revision=None, local_files_only=False), transformers)
    except EncoderError as error:
        raise GeneratorError(str(error)) from error


def load_reward(
    folder_or_hub: str | Path, *, dtype: str | None = None, device: str = "cpu", seed: int = 0
) -> tuple[Any, Any]:
    """A model that gives a text one score, and its tokenizer; in eval mode.

    A reward model is loaded as it is. A causal language model gets a score in place of words, its weights drawn by the
    seed; all others are its own.

    Raises:
        GeneratorError: it cannot be loaded, or weights other than the score's are missing.
        InputError: as `load_policy`.
    """
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from chimed_rag.encoders.hub import find_model, no_bars, require_whole
    from chimed_rag.errors import EncoderError

    try:
        found = find_model(_place(folder_or_hub), revision=None, local_files_only=False)
        require_whole(found)
    except EncoderError as error:
        raise GeneratorError(str(error)) from error
    folder = str(found.folder)
    safely: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    with no_bars(), _no_reports(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, **safely)
            model, report = AutoModelForSequenceClassification.from_pretrained(
                folder,
                num_labels=1,
                dtype=getattr(torch, dtype or "float32"),
                use_safetensors=True,
                output_loading_info=True,
                **safely,
            )
        except Exception as error:  # the libraries beneath raise a dozen kinds
            raise GeneratorError(f"{folder_or_hub}: the model cannot be loaded: {error}") from error
    if missing := sorted(name for name in report["missing_keys"] if name != "score.weight"):
        raise GeneratorError(f"{folder_or_hub}: {len(missing)} weights are missing ({missing[0]}, …)")
    _agree(model, tokenizer, str(folder_or_hub))
    return model.to(device).eval(), tokenizer


def with_lora(model: Any, lora: Lora, *, vocabulary: bool = False) -> Any:
    """The model with adapters on all its linear layers; only they are trained, and a reward model's score.

    Args:
        model: of `load_policy` or `load_reward`; it is changed.
        lora: the adapters' size.
        vocabulary: train what reads and writes tokens too, whole: needed where the vocabulary was extended, whose new
            rows adapters do not reach.
    """
    from peft import LoraConfig, get_peft_model

    scores = hasattr(model, "score")
    tied = bool(getattr(model.config, "tie_word_embeddings", False)) and not scores
    words = ["embed_tokens"] if scores else ["embed_tokens", "lm_head"]
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules="all-linear",
        task_type="SEQ_CLS" if scores else "CAUSAL_LM",
        modules_to_save=words if vocabulary else None,
        ensure_weight_tying=vocabulary and tied,
    )
    with warnings.catch_warnings():  # peft 0.21 asks transformers 5.23 by a name that is going
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        adapted = get_peft_model(model, config)
    if vocabulary:  # no folder holds the extended model; peft would look for it there, and on the hub, at each save
        adapted.peft_config["default"].base_model_name_or_path = ""
    return adapted


def save_model(model: Any, tokenizer: Any, folder: str | Path) -> None:
    """Writes a whole model as safetensors with its tokenizer; adapters are merged into it first, and gone after.

    Raises:
        InputError: a merged weight is not finite, or the folder cannot be written.
    """
    from chimed_rag.encoders.hub import no_bars

    folder = Path(folder)
    if hasattr(model, "merge_and_unload"):
        try:
            model = model.merge_and_unload(safe_merge=True)
        except ValueError as error:
            raise InputError(f"the adapters cannot be merged: {error}") from error
    model.config.use_cache = True  # a Trainer turns it off, and leaves it so
    try:
        with no_bars():
            model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    except OSError as error:
        raise InputError(f"{folder}: the model cannot be written ({error.strerror or error})") from error


@contextmanager
def _no_reports() -> Iterator[None]:
    """That a score is missing is told by transformers as a table; it is expected."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)


def fast_bf16(device: str) -> bool:
    """Whether a device computes in bfloat16 faster than in float32; most CPUs only can do it slowly."""
    import torch

    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported())
    able: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(able.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def _place(folder_or_hub: str | Path) -> str:
    """The folder on this machine if there is one, else the name as it stands."""
    folder = located(str(folder_or_hub))
    return str(folder) if folder.exists() else str(folder_or_hub)


def _agree(model: Any, tokenizer: Any, name: str) -> None:
    """Gives model and tokenizer the same token for padding, on the left; checks that they belong together.

    A tokenizer without one takes the model's, else that of unknown words. The end of a text is never taken: trainers
    would leave it out of the loss, and the model would not learn to end.
    """
    rows = int(model.get_input_embeddings().num_embeddings)
    if len(tokenizer) > rows:
        raise InputError(f"{name}: the tokenizer has {len(tokenizer):,} tokens and the model rows for {rows:,}")
    if tokenizer.eos_token_id is None:
        raise InputError(f"{name}: the tokenizer has no token that ends a text; set eos_token in tokenizer_config.json")
    if tokenizer.pad_token_id in (None, tokenizer.eos_token_id):
        known = [model.config.pad_token_id, tokenizer.unk_token_id]
        usable = [token for token in known if token is not None and token >= 0 and token != tokenizer.eos_token_id]
        if not usable:
            raise InputError(
                f"{name}: no token is there for padding, other than the one that ends a text; set pad_token in "
                "tokenizer_config.json, to a token that texts do not hold"
            )
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(usable[0])
    tokenizer.padding_side = "left"
    model.config.pad_token_id = tokenizer.pad_token_id
