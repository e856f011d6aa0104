"""Where a model lies: a folder, or a hub model brought to this machine at one commit; and whether it is whole.

Weights are read from safetensors files only. Not covered: what the model computes (`sentence`, and `cross_encoder` in
the retrieval room) and which settings it wants (`known`). Importing this module loads neither torch nor the hub.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from chimed_rag.errors import EncoderError, MissingExtraError

HUB_NAME = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
"""owner/name, or owner/name@revision with a branch, a tag or a commit."""

_PATTERNS = ["*.json", "*.txt", "*.model", "*.safetensors", "*.jinja"]
_ELSEWHERE = ["onnx/*", "openvino/*", "*.onnx", "coreml/*"]
_AGAIN = "copy it again from where the model came from"
_HEADS = {
    "ForCausalLM": "generator",
    "ForConditionalGeneration": "generator",
    "ForSequenceClassification": "CrossEncoder",
}
_TOKENIZERS = (
    "tokenizer.json",
    "vocab.txt",
    "sentencepiece.bpe.model",
    "spiece.model",
    "tokenizer.model",
    "vocab.json",
)


class Model(NamedTuple):
    """A model on this machine.

    `source` is what loads it again: the folder's path, or the hub name; `commit` is None for a plain folder.
    """

    folder: Path
    source: str
    commit: str | None

    @property
    def name(self) -> str:
        """What to call it: the hub name, or the folder's own."""
        return self.source if self.commit is not None else self.folder.name


def find_model(path: str | Path, *, revision: str | None, local_files_only: bool, code: bool = False) -> Model:
    """The folder of a model; a hub model is downloaded (what is there already is not fetched again).

    Args:
        path: a folder, or "owner/name" on the hub, or "owner/name@revision".
        revision: branch, tag or commit of a hub model; None takes "main".
        local_files_only: use what was downloaded before; the variable HF_HUB_OFFLINE=1 does the same.
        code: fetch the code that comes with the model too.

    Raises:
        EncoderError: no such folder, or the model is neither here nor can it be fetched; says what to do.
        MissingExtraError: huggingface_hub is not installed.
    """
    folder = Path(path).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise EncoderError(f"{path} is a folder; a revision belongs to a hub model, given as owner/name")
        return Model(folder.resolve(), str(folder.resolve()), None)
    match = HUB_NAME.fullmatch(path) if isinstance(path, str) else None
    if match is None:
        raise EncoderError(f"{path} is not a folder; give the folder of a model, or a hub model as owner/name")
    name, asked = match["name"], revision or match["revision"]
    found = _fetched(name, asked, local_files_only, code)
    return Model(found, name, found.name)


def _fetched(name: str, revision: str | None, local: bool, code: bool) -> Path:
    try:
        from huggingface_hub import snapshot_download, try_to_load_from_cache
        from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError
    except ModuleNotFoundError as error:
        raise MissingExtraError("sentence-transformers", "models") from error
    cache = os.environ.get("SENTENCE_TRANSFORMERS_HOME")
    patterns = [*_PATTERNS, "*.py"] if code else _PATTERNS
    at = f"{name}@{revision}" if revision else name
    try:
        return Path(
            snapshot_download(
                name,
                revision=revision,
                cache_dir=cache,
                local_files_only=local,
                allow_patterns=patterns,
                ignore_patterns=_ELSEWHERE,
            )
        )
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise EncoderError(
            f"{at}: the hub has no such model or revision, or it needs a login: hf auth login"
        ) from error
    except Exception as error:  # of the hub, of whatever HTTP client it uses, of the disk
        # Other tools fetch single files, which the hub's library does not call a whole snapshot: `require_whole` looks.
        for file in ("modules.json", "config.json"):
            found = try_to_load_from_cache(name, file, cache_dir=cache, revision=revision)
            if isinstance(found, str):
                return Path(found).parent
        reason = "" if isinstance(error, LocalEntryNotFoundError) else f" ({error})"
        raise EncoderError(_absent(name, revision, local, reason)) from error


def _absent(name: str, revision: str | None, local: bool, reason: str) -> str:
    """What to do about a hub model that is not on this machine and cannot be fetched."""
    place = name.partition("/")[2]
    pinned = f" --revision {revision}" if revision else ""
    why = (
        "the hub was not asked (local_files_only or HF_HUB_OFFLINE)"
        if local or _offline()
        else "the hub is not reached"
    )
    return (
        f"{name} is not on this machine, and {why}{reason}; where there is a network, run: "
        f"hf download {name}{pinned} --local-dir {place}; then bring that folder here and give it in place of the name"
    )


def _offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def read_json(file: Path) -> Any:
    """The content of a JSON file.

    Raises:
        EncoderError: it cannot be read as JSON; names the file.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise EncoderError(f"{file.parent} holds no {file.name}; {_AGAIN}") from None
    except (OSError, ValueError) as error:
        raise EncoderError(f"{file} cannot be read ({error}); {_AGAIN}") from error


def modules_of(folder: Path) -> list[dict[str, Any]]:
    """The entries of modules.json, each with `type` and `path`; empty where there is no such file."""
    file = folder / "modules.json"
    if not file.is_file():
        return []
    entries = read_json(file)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) and "type" in entry for entry in entries):
        raise EncoderError(f"{file} is not a list of modules; {_AGAIN}")
    return entries


def config_of(folder: Path) -> dict[str, Any]:
    """The config.json of a model's transformer; empty where it is not there or not readable (`require_whole` tells)."""
    modules = modules_of(folder)
    try:
        config = read_json((folder / str(modules[0].get("path", "")) if modules else folder) / "config.json")
    except EncoderError:
        return {}
    return config if isinstance(config, dict) else {}


def architectures(config: dict[str, Any]) -> list[str]:
    """The classes that a config.json names."""
    named = config.get("architectures")
    return [str(name) for name in named] if isinstance(named, list) else []


def require_kind(model: Model, kind: Literal["SentenceTransformer", "CrossEncoder"]) -> None:
    """Refuses a model of another kind, which the libraries would convert in silence, with random weights for a head.

    Raises:
        EncoderError: says what it is, and the option that it was perhaps meant for.
    """
    if modules_of(model.folder):
        file = model.folder / "config_sentence_transformers.json"
        body = read_json(file) if file.is_file() else {}
        found = body.get("model_type", "SentenceTransformer") if isinstance(body, dict) else "SentenceTransformer"
    else:
        config = config_of(model.folder)
        named = architectures(config)
        found = next((_HEADS[head] for head in _HEADS if any(name.endswith(head) for name in named)), "")
        if not config or (not found and kind == "SentenceTransformer"):
            return  # nothing to read, as `require_whole` will tell; or bare weights of an encoder
    if found == kind:
        return
    option = {"CrossEncoder": "--reranker", "generator": "--generator", "SentenceTransformer": "--encoder"}.get(
        found, ""
    )
    meant = f"; did you mean {option}?" if option else ""
    wanted = "an encoder" if kind == "SentenceTransformer" else "a cross-encoder"
    raise EncoderError(f"{model.source} is {f'a {found}' if found else 'a model without a head'}, not {wanted}{meant}")


def require_whole(model: Model) -> None:
    """Makes sure that the files of a model are there.

    Raises:
        EncoderError: names what is missing or not readable, and how to mend it.
    """
    folder = model.folder
    modules = modules_of(folder)
    if not modules and not (folder / "config.json").is_file():
        raise EncoderError(f"{folder} holds neither modules.json nor config.json; it is not a model folder")
    for module in modules or [{"type": "Transformer"}]:
        kind, part = str(module["type"]).rpartition(".")[2], folder / str(module.get("path", ""))
        if kind in ("Transformer", "Pooling", "Dense") and not isinstance(read_json(part / "config.json"), dict):
            raise EncoderError(f"{part / 'config.json'} is not an object; {_AGAIN}")
        if kind == "Transformer" and not any((part / name).is_file() for name in _TOKENIZERS):
            raise EncoderError(f"{part} holds no tokenizer ({_TOKENIZERS[0]}); {_AGAIN}")
        if kind in ("Transformer", "Dense") or any(part.glob("pytorch_model*.bin")):
            _require_weights(model, part)


def _require_weights(model: Model, part: Path) -> None:
    index = part / "model.safetensors.index.json"
    if index.is_file():
        body = read_json(index)
        table = body.get("weight_map") if isinstance(body, dict) else None
        if not isinstance(table, dict):
            raise EncoderError(f"{index} has no weight_map; {_AGAIN}")
        if gone := sorted({str(file) for file in table.values() if not (part / str(file)).is_file()}):
            raise EncoderError(f"{part} holds no {gone[0]}; {_AGAIN}")
    elif not any(part.glob("*.safetensors")):
        where = f"{part} holds" if model.commit is None else f"{model.source} at {model.commit} comes with"
        fetch = "" if model.commit is None else f"hf download {model.source} --local-dir DIR && "
        convert = f"python -m chimed_rag.encoders.convert {model.folder if model.commit is None else 'DIR'}"
        raise EncoderError(
            f"{where} no safetensors weights (model.safetensors), and pickled ones are not loaded; if it comes with "
            f"pytorch_model.bin, convert that once: {fetch}{convert}"
        )


@contextlib.contextmanager
def no_bars() -> Iterator[None]:
    """Transformers draws progress bars by a switch for the whole process; it is put back as it was."""
    try:
        from transformers.utils import logging as switch
    except ModuleNotFoundError as error:
        raise MissingExtraError("sentence-transformers", "models") from error
    shown = switch.is_progress_bar_enabled()
    switch.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            switch.enable_progress_bar()
