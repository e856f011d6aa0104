"""Vectors from any sentence-transformers model, in a folder or on the hub.

Not covered: late interaction and sparse models, rerankers, and training. Importing this module loads no torch;
making a `SentenceEncoder` does (6 s).
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from chimed_rag.encoders.base import EncoderSpec, Vectors, fingerprint, normalised, well_formed
from chimed_rag.errors import EncoderError, MissingExtraError

_SUFFIXES = {".safetensors", ".json", ".txt", ".model", ".bin", ".py"}


class SentenceEncoder:
    """A sentence-transformers model, its vectors brought to length 1.

    Weights are read from safetensors files only, and code that comes with a model is not run unless the caller says
    so; `spec.settings` never carries that permission on, nor the device. The fingerprint covers the model's files, or
    for a hub model "name@commit", and the settings that change vectors.

    Args:
        path: the model's folder, or its name on the hub ("owner/name").
        query_prefix: put before each question; None takes the model's own prompt "query", if it has one.
        document_prefix: put before each passage; None takes the model's own "document", "passage" or "corpus".
        revision: branch, tag or commit of a hub model.
        batch_size: texts that go through the model together.
        device: as torch names it ("cpu", "cuda:1"); None takes cuda if there is one, else the CPU.
        local_files_only: do not ask the hub, use what was downloaded before.
        trust_remote_code: run code that comes with the model.
        max_seq_length: tokens of a text that count; None leaves what the model says.
        progress: draw a progress bar on standard error.

    Raises:
        EncoderError: no such model, files of it are missing, or it is not an encoder.
        MissingExtraError: sentence-transformers is not installed.
    """

    fusion_weight = 1.0

    def __init__(
        self,
        path: str | Path,
        *,
        query_prefix: str | None = None,
        document_prefix: str | None = None,
        revision: str | None = None,
        batch_size: int = 32,
        device: str | None = None,
        local_files_only: bool = False,
        trust_remote_code: bool = False,
        max_seq_length: int | None = None,
        progress: bool = False,
    ) -> None:
        folder = _folder(path)
        source = str(path) if folder is None else str(folder)
        if folder is not None:
            _require_encoder(folder)
        # A download may show how far it is; reading a folder should not.
        with contextlib.nullcontext() if progress or folder is None else _no_bars():
            self._model = _load(source, device, revision, local_files_only, trust_remote_code)
        self._lock = Lock()
        self._batch_size, self._progress = batch_size, progress
        if max_seq_length is not None:
            self._model.max_seq_length = max_seq_length
        self._query_prefix = _prefix(self._model, query_prefix, "query")
        self._document_prefix = _prefix(self._model, document_prefix, "document", "passage", "corpus")
        commit = None if folder is not None else _commit(source, revision)
        determining: dict[str, Any] = {
            "query_prefix": self._query_prefix,
            "document_prefix": self._document_prefix,
            "max_seq_length": max_seq_length,
        }
        identity = {} if folder is not None else {"model": f"{source}@{commit}"}
        self.spec = EncoderSpec(
            kind="sentence",
            name=source if folder is None else folder.name,
            dimension=int(self._model.encode(["心"], show_progress_bar=False).shape[1]),
            fingerprint=fingerprint({**identity, **determining}, folder, [] if folder is None else _files(folder)),
            settings={"path": source, "revision": commit, "batch_size": batch_size, **determining},
        )

    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        """Vectors of passages, each behind `document_prefix`, shape (n, dimension)."""
        return self._encode(self._model.encode_document, texts, self._document_prefix)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Vectors of questions, each behind `query_prefix`, shape (n, dimension)."""
        return self._encode(self._model.encode_query, texts, self._query_prefix)

    def _encode(self, encode: Any, texts: Sequence[str], prefix: str) -> Vectors:
        if not len(texts):
            return np.zeros((0, self.spec.dimension), dtype=np.float32)
        # A fast tokenizer keeps its padding as state ("Already borrowed"), so one thread at a time.
        with self._lock:
            vectors = encode(
                well_formed(texts), prompt=prefix, batch_size=self._batch_size, show_progress_bar=self._progress
            )
        return normalised(vectors)


def _folder(path: str | Path) -> Path | None:
    """The folder, or None for the name of a hub model."""
    folder = Path(path).expanduser()
    if folder.is_dir():
        return folder.resolve()
    if isinstance(path, Path) or str(path).count("/") != 1 or str(path)[0] in "./~":
        raise EncoderError(f"{path} is not a folder; give a sentence-transformers folder, or a hub model as owner/name")
    return None


def _require_encoder(folder: Path) -> None:
    """Refuses what sentence-transformers would wrap in silence or choke on."""
    if (folder / "modules.json").is_file():
        return
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        architectures = [str(name) for name in config.get("architectures") or ()]
    except FileNotFoundError:
        raise EncoderError(f"{folder} holds neither modules.json nor config.json; it is not a model folder") from None
    except (ValueError, AttributeError, TypeError) as error:
        raise EncoderError(f"{folder / 'config.json'} cannot be read: {error}") from error
    if any(name.endswith(("ForCausalLM", "ForConditionalGeneration")) for name in architectures):
        raise EncoderError(f"{folder} is a generator ({architectures[0]}), not an encoder; did you mean --generator?")


def _load(source: str, device: str | None, revision: str | None, local: bool, trust: bool) -> Any:
    try:
        import torch
        from sentence_transformers import SentenceTransformer
    except ModuleNotFoundError as error:
        raise MissingExtraError("sentence-transformers", "models") from error
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    # Half-precision weights are slow on a CPU, and would make vectors depend on the batch.
    dtype = "float32" if device == "cpu" else "auto"
    try:
        model: Any = SentenceTransformer(
            source,
            device=device,
            revision=revision,
            local_files_only=local,
            trust_remote_code=trust,
            model_kwargs={"use_safetensors": True, "dtype": dtype},
        )
    except Exception as error:  # the libraries beneath raise a dozen kinds
        raise EncoderError(f"{source}: the encoder cannot be loaded: {error}") from error
    return model.eval()


@contextlib.contextmanager
def _no_bars() -> Iterator[None]:
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


def _prefix(model: Any, given: str | None, *names: str) -> str:
    if given is not None:
        return given
    return next((prompt for name in names if (prompt := model.prompts.get(name))), "")


def _files(folder: Path) -> list[Path]:
    """The files that make the vectors: those in the folder and in its modules' folders, documentation left out."""
    folders = {folder}
    modules = folder / "modules.json"
    if modules.is_file():
        folders |= {folder / module.get("path", "") for module in json.loads(modules.read_text(encoding="utf-8"))}
    return [
        file
        for part in folders
        if part.is_dir()
        for file in part.iterdir()
        if file.suffix in _SUFFIXES and file.is_file()
    ]


def _commit(name: str, revision: str | None) -> str:
    """The commit of a hub model, which is the name of the snapshot folder it was read from."""
    from huggingface_hub import try_to_load_from_cache

    for file in ("modules.json", "config.json"):
        found = try_to_load_from_cache(name, file, revision=revision)
        if isinstance(found, str):
            return Path(found).parent.name
    raise EncoderError(f"{name}: its revision cannot be told from the cache; download it and give the folder")
