"""A causal language model is found, checked and loaded; what is wrong with it is said before torch says something else.

Weights are read from safetensors only, and code that comes with a model is never run. A model from which a weight is
missing is refused: transformers would put random numbers there.
Not covered: a weight whose bytes were changed in place (safetensors holds no checksum); making safetensors (`convert`);
models spread over several GPUs (serve those by vLLM and its endpoint). Nothing here imports torch before it is needed.
"""

from __future__ import annotations

import hashlib
import importlib.util
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from chimed_rag.encoders.hub import Model, architectures, config_of, find_model, modules_of, no_bars, require_whole
from chimed_rag.errors import EncoderError, GeneratorError, MissingExtraError
from chimed_rag.generation import memory
from chimed_rag.generation.memory import Quantization

DTYPES = ("bfloat16", "float16", "float32")


class Loaded(NamedTuple):
    """A model in memory; `facts` are what a trace needs to know of it."""

    model: Any
    tokenizer: Any
    name: str
    facts: dict[str, str]


def load(
    path: str | Path,
    *,
    device: str | None = None,
    dtype: str | None = None,
    quantization: Quantization | None = None,
    context: int | None = None,
    local_files_only: bool = False,
) -> Loaded:
    """Finds a causal language model and loads it.

    Args:
        path: a folder, or "owner/name" on the hub, or "owner/name@revision".
        device: as torch names it; None takes "cuda" if there is one, else "cpu".
        dtype: one of `DTYPES`; None takes bfloat16 on a GPU and float32 on a CPU.
        quantization: weights in 8 or 4 bit, by bitsandbytes, on a GPU.
        context: tokens of prompt and reply for which a GPU must have room beside the weights; None takes 4,096.
        local_files_only: do not ask the hub, use what was downloaded before.

    Raises:
        GeneratorError: no such model, not whole, not a causal language model, no such device, no room on it.
        MissingExtraError: torch or transformers is not installed.
    """
    try:
        import torch
        import transformers
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "transformers", "models") from error
    try:
        model = find_model(path, revision=None, local_files_only=local_files_only)
        _require_causal(model)
        require_whole(model)
    except EncoderError as error:
        raise GeneratorError(_in_our_words(str(error))) from error
    _require_readable(model.folder)
    place = _device(device)
    kind = _dtype(dtype, place)
    options = _quantized(quantization, place, kind) if quantization else {}
    if place.type == "cuda":
        _require_room(model, place, kind, quantization, context or 4096)
    with no_bars():
        tokenizer = tokenizer_of(model, transformers)
        loaded = _weights(model, transformers, place, dtype=getattr(torch, kind), use_safetensors=True, **options)
    facts = {"revision": model.commit} if model.commit else {"sha256": _sha256(model.folder)}
    facts |= {"dtype": kind, "device": str(place)} | ({"quantization": quantization} if quantization else {})
    return Loaded(loaded, tokenizer, model.name.rpartition("/")[2], facts)


def _in_our_words(text: str) -> str:
    """The hub's messages, with the command and the name that fit a language model."""
    return text.replace("python -m chimed_rag.encoders.convert", "chimed convert").replace(
        "holds neither modules.json nor config.json", "holds no config.json"
    )


def _require_causal(model: Model) -> None:
    if modules_of(model.folder):
        raise GeneratorError(f"{model.source} is an encoder, not a language model; did you mean --encoder?")
    config = config_of(model.folder)
    if not config:
        return  # `require_whole` tells what is wrong with it
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as KNOWN

    named = architectures(config)
    if "auto_map" in config and config.get("model_type") not in KNOWN:
        raise GeneratorError(f"{model.source} needs code of its own, which is not run; serve it by an endpoint instead")
    if not any(name in KNOWN.values() for name in named) and (named or config.get("model_type") not in KNOWN):
        kind = named[0] if named else config.get("model_type", "nothing that transformers knows")
        option = "--reranker" if kind.endswith("ForSequenceClassification") else "--encoder"
        raise GeneratorError(f"{model.source} is {kind}, not a causal language model; did you mean {option}?")


def _require_readable(folder: Path) -> None:
    """Looks at the header of each file of weights, which tells how long the file must be."""
    from safetensors import safe_open

    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, framework="pt") as weights:
                weights.keys()
        except Exception as error:  # of safetensors, of the disk
            raise GeneratorError(
                f"{file} is damaged ({error}); copy it again from where the model came from"
            ) from error


def _device(name: str | None) -> Any:
    import torch

    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError as error:
        raise GeneratorError(f"there is no device {name!r}; give 'cpu', 'cuda' or 'cuda:1'") from error
    if device.type == "cuda":
        if not torch.cuda.is_available():
            why = "torch was built without it" if torch.version.cuda is None else "there is no GPU, or no driver for it"
            raise GeneratorError(f"device {name!r}: CUDA cannot be used here ({why}); give device='cpu'")
        if (device.index or 0) >= (count := torch.cuda.device_count()):
            raise GeneratorError(f"there is no {name!r}; the last one is 'cuda:{count - 1}'")
    return device


def _dtype(name: str | None, device: Any) -> str:
    if name is not None and name not in DTYPES:
        raise GeneratorError(f"dtype {name!r} is not one of {', '.join(DTYPES)}")
    return name or ("float32" if device.type == "cpu" else "bfloat16")


def _quantized(quantization: str, device: Any, dtype: str) -> dict[str, Any]:
    import torch

    if quantization not in ("8bit", "4bit"):
        raise GeneratorError(f"quantization {quantization!r} is not one of 8bit, 4bit")
    if device.type != "cuda":
        raise GeneratorError(f"{quantization} weights need a GPU; leave quantization out on {device}")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise GeneratorError(f"{quantization} weights need bitsandbytes; run: pip install bitsandbytes accelerate")
    from transformers import BitsAndBytesConfig

    is_small = quantization == "4bit"
    return {
        "quantization_config": BitsAndBytesConfig(
            load_in_8bit=not is_small, load_in_4bit=is_small, bnb_4bit_compute_dtype=getattr(torch, dtype)
        )
    }


def _require_room(model: Model, device: Any, dtype: str, quantization: Quantization | None, context: int) -> None:
    """Refuses before loading what a GPU cannot hold for one reply.

    Raises:
        GeneratorError: with the plan and the ways out.
    """
    import torch

    config = config_of(model.folder)
    context = min(context, int(config.get("max_position_embeddings") or context))
    try:
        needed = memory.plan(config, dtype=dtype, quantization=quantization, batch=1, context=context)
    except GeneratorError:  # of a family whose memory nobody can tell: torch will
        return
    free = int(torch.cuda.mem_get_info(device)[0])
    if not needed.fits(free):
        raise GeneratorError(f"{model.name} does not fit on {device}:\n{needed}\n{memory.advice(needed, free)}")


def tokenizer_of(model: Model, transformers: Any) -> Any:
    """The tokenizer that lies with a model's weights.

    Raises:
        GeneratorError: it cannot be loaded.
    """
    try:
        return transformers.AutoTokenizer.from_pretrained(
            str(model.folder), local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # the libraries beneath raise a dozen kinds
        hint = ""
        if not (model.folder / "tokenizer.json").is_file():
            lacking = [name for name in ("sentencepiece", "google.protobuf") if not _is_there(name)]
            hint = "; it comes as tokenizer.model: run: pip install sentencepiece protobuf" if lacking else ""
        raise GeneratorError(f"{model.source}: the tokenizer cannot be loaded{hint} ({error})") from error


def _is_there(name: str) -> bool:
    with suppress(ModuleNotFoundError):
        return importlib.util.find_spec(name) is not None
    return False


def _weights(model: Model, transformers: Any, device: Any, **options: Any) -> Any:
    """The model on its device, in eval mode; straight there where accelerate is installed."""
    if device.type == "cuda" and _is_there("accelerate"):
        options["device_map"] = {"": str(device)}
    try:
        loaded, report = transformers.AutoModelForCausalLM.from_pretrained(
            str(model.folder), local_files_only=True, trust_remote_code=False, output_loading_info=True, **options
        )
    except Exception as error:  # the libraries beneath raise a dozen kinds
        raise GeneratorError(f"{model.source}: the model cannot be loaded: {error}") from error
    if missing := sorted(report["missing_keys"]):
        raise GeneratorError(
            f"{model.source}: {len(missing)} weights are missing ({missing[0]}, …); copy the folder again from where "
            "the model came from"
        )
    if "quantization_config" not in options:
        loaded = loaded.to(device)
    return loaded.eval()


def _sha256(folder: Path) -> str:
    """Of what says which weights these are, without reading them: config.json and the index of the weights."""
    digest = hashlib.sha256()
    for name in ("config.json", "model.safetensors.index.json"):
        if (file := folder / name).is_file():
            digest.update(file.read_bytes())
    return digest.hexdigest()
