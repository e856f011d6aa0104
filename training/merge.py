"""Adapters become part of the weights, and it is verified: what is on the disk answers as the model with adapters did.

`python -m training merge ADAPTER OUT` for adapters of peft, whoever trained them; the stages merge theirs by
`save_merged`. Works for policies and for reward models (their score is kept), and where the vocabulary was extended.
Merging and comparing are done in float32, which takes twice the room of those weights. With another dtype each weight
is rounded afterwards, and what is on the disk must be that to the bit; rounding to bfloat16 by itself moves what a
model says by more than 1e-3 (half a million random weights: 2.1e-3 to 3.0e-3 of a next token's probabilities, scores by
1.1e-2), so no such bound is set (`Merged.rounding`).
Not covered: several adapters at once, adapters over quantised weights. Needs torch, transformers and peft.
"""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any, NamedTuple

from chimed_rag.encoders.hub import no_bars
from chimed_rag.errors import GeneratorError, InputError
from chimed_rag.generation.weights import DTYPES
from training.language import load_policy, load_reward, save_model

TOLERANCE = 1e-5
"""How far logits in float32 may lie apart before and after, as a share of the largest (of 1, if none is larger)."""
_PROBES = (
    "血压",
    "孕妇感冒发烧能吃布洛芬吗？",
    "请说明成人一次口服0.2g、24小时内不超过4次的依据，并列出需要复查的指标。",
)


class Merged(NamedTuple):
    """What the verification found.

    Args:
        difference: of logits (or scores) in float32, with adapters and merged, as a share of the largest.
        rounding: by how much rounding to the dtype that was written moves what the model says: the mean total variation
            between distributions of the next token, or the mean change of a score; 0 in float32.
        dtype: that was written.
        probes: texts that were compared.
    """

    difference: float
    rounding: float
    dtype: str
    probes: int

    def __str__(self) -> str:
        rounded = f"; rounding to {self.dtype} moves them by {self.rounding:.1e} on average" if self.rounding else ""
        return (
            f"merged, verified on {self.probes} texts: logits differ by {self.difference:.1e} of the largest{rounded}"
        )


def merge(
    adapter: str | Path, out: str | Path, *, base: str | None = None, dtype: str = "float32", device: str = "cpu"
) -> Merged:
    """Merges a folder of adapters with the model that they were trained on, verifies it, and writes a whole model.

    Args:
        adapter: folder with adapter_config.json and adapter_model.safetensors, and the tokenizer if it was extended.
        out: a folder that does not exist yet, or is empty; nothing is left there if the verification fails.
        base: folder or hub name of the model beneath; None takes what adapter_config.json says.
        dtype: of the weights that are written.
        device: where it is done.

    Raises:
        InputError: a folder or an adapter cannot be used, or merged and unmerged do not agree.
        GeneratorError: the model beneath cannot be loaded.
    """
    from peft import PeftModel

    adapter, out = Path(adapter).expanduser(), Path(out).expanduser()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} is there already; give a folder that is not, or is empty")
    config = _config(adapter)
    scores = config.get("task_type") == "SEQ_CLS"
    beneath = base or config.get("base_model_name_or_path")
    if not beneath:
        raise InputError(f"{adapter}/adapter_config.json names no base model; give it")
    model, tokenizer = (load_reward if scores else load_policy)(beneath, device=device)
    tokenizer = _own_tokenizer(adapter) or tokenizer
    _extend(model, tokenizer, _weights(adapter), adapter)
    with warnings.catch_warnings():  # peft 0.21 asks transformers 5.23 by a name that is going
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        warnings.filterwarnings("ignore", "Found missing adapter keys", UserWarning)  # `_require_all` is stricter
        try:
            adapted = PeftModel.from_pretrained(model, str(adapter))
        except (ValueError, RuntimeError, KeyError) as error:
            raise InputError(f"{adapter} does not fit {beneath}: {error}") from error
    _require_all(adapted, adapter)
    return save_merged(adapted, tokenizer, out, dtype=dtype)


def save_merged(model: Any, tokenizer: Any, folder: str | Path, *, dtype: str = "float32") -> Merged:
    """Merges a model of peft into its weights, writes it whole, and compares what was written with what it was.

    The tokenizer goes along, and a generation_config with the tokens that end a reply. The model loses its adapters.

    Args:
        model: with adapters, in float32, or in the dtype asked for.
        tokenizer: of it.
        folder: is there only once all has been verified.
        dtype: of the weights that are written.

    Raises:
        InputError: the logits differ by more than `TOLERANCE`, or a weight is not its merged value rounded.
    """
    import torch

    if dtype not in DTYPES:
        raise InputError(f"dtype {dtype!r} is not one of {', '.join(DTYPES)}")
    folder = Path(folder)
    scores = hasattr(model.get_base_model(), "score")
    model = model.float().eval()  # in bfloat16 a sum of weight and adapter loses much of what the adapter learned
    probes = _probes(tokenizer, model)
    before = _logits(model, probes)
    plain = model.merge_and_unload(safe_merge=True)
    difference = _agreed(before, _logits(plain, probes), "the model with adapters and the merged one")
    end_replies(plain, tokenizer)
    plain.config.pad_token_id = tokenizer.pad_token_id
    draft = folder.with_name(folder.name + ".partial")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        with no_bars():
            save_model(plain.to(getattr(torch, dtype)), tokenizer, draft)
        loaded, _ = (load_reward if scores else load_policy)(draft, dtype=dtype, device=str(plain.device))
        _require_equal(loaded, plain, folder)
        after = _logits(loaded.float(), probes)
        if dtype == "float32":
            difference = max(difference, _agreed(before, after, f"what was merged and what lies in {folder}"))
        if folder.exists():
            folder.rmdir()
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Merged(difference, 0.0 if dtype == "float32" else _moved(before, after, scores), dtype, len(probes))


def end_replies(model: Any, tokenizer: Any) -> None:
    """Gives a policy the generation_config that serving needs: the tokens that end a reply, and padding.

    What the base recommends beside them (temperature, penalties) was found for the base, and is left out. A reward
    model has none and is left alone.
    """
    from transformers import GenerationConfig

    from chimed_rag.generation.chat import Renderer

    if hasattr(model, "score"):
        return
    stops = Renderer(tokenizer, stop_ids=model.generation_config.eos_token_id).stop_ids
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=list(stops), pad_token_id=tokenizer.pad_token_id
    )


def _config(adapter: Path) -> dict[str, Any]:
    file = adapter / "adapter_config.json"
    try:
        found = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{adapter} is no folder of adapters: adapter_config.json cannot be read ({error})") from error
    if found.get("task_type") not in ("CAUSAL_LM", "SEQ_CLS"):
        raise InputError(f"{file}: task_type is {found.get('task_type')!r}; CAUSAL_LM and SEQ_CLS can be merged")
    return dict(found)


def _weights(adapter: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of what the adapter holds."""
    from safetensors import safe_open

    file = adapter / "adapter_model.safetensors"
    try:
        with safe_open(file, framework="pt") as stored:
            return {name: tuple(stored.get_slice(name).get_shape()) for name in stored.keys()}  # noqa: SIM118
    except Exception as error:  # of safetensors, of the disk
        raise InputError(f"{file} cannot be read: {error}") from error


def _own_tokenizer(adapter: Path) -> Any:
    from transformers import AutoTokenizer

    if not (adapter / "tokenizer_config.json").is_file():
        return None
    try:
        return AutoTokenizer.from_pretrained(str(adapter), local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the libraries beneath raise a dozen kinds
        raise GeneratorError(f"{adapter}: the tokenizer cannot be loaded: {error}") from error


def _extend(model: Any, tokenizer: Any, weights: dict[str, tuple[int, ...]], adapter: Path) -> None:
    """Gives the model the rows for tokens that it does not have, if the adapter brings what stands in them."""
    here = int(model.get_input_embeddings().num_embeddings)
    brought = max(
        (shape[0] for name, shape in weights.items() if "embed_tokens" in name and "lora" not in name), default=0
    )
    if len(tokenizer) > max(here, brought):
        raise InputError(
            f"{adapter}: its tokenizer has {len(tokenizer):,} tokens, the base rows for {here:,}, and the adapter "
            "brings none; give the extended model as base"
        )
    if brought and brought != here:
        model.resize_token_embeddings(brought, mean_resizing=False)


def _require_all(adapted: Any, adapter: Path) -> None:
    """That the file held every weight of the adapters: peft leaves those that are missing as they were made."""
    from peft import get_peft_model_state_dict

    lacking = get_peft_model_state_dict(adapted).keys() - _weights(adapter).keys()
    if lacking := {name for name in lacking if "lora" in name or "score" in name}:
        raise InputError(f"{adapter}: {len(lacking)} weights are missing ({min(lacking)}, …)")


def _probes(tokenizer: Any, model: Any) -> list[Any]:
    """Tokens of a few texts, and of the newest words of the vocabulary; shape (1, tokens) each."""
    import torch

    texts = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in _PROBES]
    rows = [*texts, list(range(max(0, len(tokenizer) - 32), len(tokenizer)))]
    return [torch.tensor([ids], device=model.device) for ids in rows]


def _logits(model: Any, probes: list[Any]) -> Any:
    """Logits of all tokens of the probes, shape (tokens, words), or the scores, shape (probes, 1); float32."""
    import torch

    with torch.no_grad():
        found = [model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits for ids in probes]
    return torch.cat([logits.reshape(-1, logits.shape[-1]) for logits in found]).float()


def _agreed(one: Any, other: Any, what: str) -> float:
    """The largest difference as a share of the largest logit.

    Raises:
        InputError: it is more than `TOLERANCE`, or no number.
    """
    found = float((one - other).abs().max()) / max(1.0, float(one.abs().max()))
    if not found <= TOLERANCE:
        raise InputError(f"{what} differ by {found:.1e} of the largest logit ({TOLERANCE:.0e} allowed)")
    return found


def _moved(one: Any, other: Any, scores: bool) -> float:
    if scores:
        return float((one - other).abs().mean())
    return float((one.softmax(-1) - other.softmax(-1)).abs().sum(-1).mean() / 2)


def _require_equal(loaded: Any, written: Any, folder: Path) -> None:
    """That each weight on the disk is, bit for bit, the one that was written."""
    import torch

    expected = written.state_dict()
    for name, weight in loaded.to(next(iter(expected.values())).dtype).state_dict().items():
        if name not in expected or not torch.equal(weight, expected[name]):
            raise InputError(f"{folder}: the weight {name} was not written as it was merged")
