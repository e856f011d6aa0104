"""Vectors from any sentence-transformers model, in a folder or on the hub; known models get what their cards ask for.

Not covered: late interaction and sparse models, rerankers, and training. Importing this module loads no torch;
making a `SentenceEncoder` does (6 s).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from math import inf
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from chimed_rag.encoders.base import EncoderSpec, Vectors, checked, fingerprint, normalised, well_formed
from chimed_rag.encoders.hub import (
    Model,
    config_of,
    find_model,
    modules_of,
    no_bars,
    require_kind,
    require_whole,
)
from chimed_rag.encoders.known import KnownEncoder, known_encoder, recognised, require_known
from chimed_rag.errors import EncoderError, MissingExtraError

log = logging.getLogger(__name__)

FUSION = "fusion.json"
_SUFFIXES = {".safetensors", ".json", ".txt", ".model"}


class SentenceEncoder:
    """A sentence-transformers model, its vectors brought to length 1.

    Weights are read from safetensors files only, and code that comes with a model is not run unless the caller says
    so; `spec.settings` never carries that permission on, nor the device. The fingerprint covers the model's files and
    the settings that change vectors, so that a folder serves in place of the hub model it was downloaded from;
    `spec.settings` holds the commit.

    What is put before a text is, in this order: what the caller gives, what the model's own files say, what
    `encoders.known` says of this model, nothing.

    A folder may say in `fusion.json`, {"cosine_weight": 3.0}, what its cosines weigh beside BM25 (`Encoder`), as
    `training` writes it; without that, `cosine_weight` is None.

    Args:
        path: the model's folder, or its name on the hub ("owner/name").
        query_prefix: put before each question; None takes the model's own prompt "query", or that of a known model.
        document_prefix: put before each passage; None takes the model's own "document", "passage" or "corpus".
        revision: branch, tag or commit of a hub model.
        known_as: the hub name of the known model that a folder is a copy of; None looks at the folder's name, its place
            in a hub cache and its config.json, and compares dimension and pooling; "" says that it is none.
        batch_size: texts that go through the model together.
        device: as torch names it ("cpu", "cuda:1"); None takes cuda if there is one, else the CPU.
        local_files_only: do not ask the hub, use what was downloaded before.
        trust_remote_code: run code that comes with the model.
        max_seq_length: tokens of a text that count; None leaves what the model says.
        progress: draw a progress bar on standard error.

    Raises:
        EncoderError: no such model, files of it are missing, it is not an encoder, or it needs code of its own.
        UnknownNameError: `known_as` is not in the table of known encoders.
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
        known_as: str | None = None,
        batch_size: int = 32,
        device: str | None = None,
        local_files_only: bool = False,
        trust_remote_code: bool = False,
        max_seq_length: int | None = None,
        progress: bool = False,
    ) -> None:
        said = require_known(known_as) if known_as else None
        _require_trust(said or known_encoder(str(path).partition("@")[0]), trust_remote_code)
        model = find_model(path, revision=revision, local_files_only=local_files_only, code=trust_remote_code)
        known, pooling = _identified(model, said, known_as, trust_remote_code)
        with no_bars():
            self._model = _load(model, device, local_files_only, trust_remote_code)
        if pooling is not None:
            _pool(self._model, pooling)
        dimension = _dimension(self._model, model.name)
        if known is not None and said is None and model.commit is None and not _fits(self._model, dimension, known):
            log.info("%s is named like %s, but pools otherwise or has another dimension", model.folder, known.name)
            known = None
        self.cosine_weight = _cosine_weight(model.folder)
        self._lock = Lock()
        self._batch_size, self._progress = batch_size, progress
        if max_seq_length is not None:
            self._model.max_seq_length = max_seq_length
        self._query_prefix = _prefix(self._model, query_prefix, known and known.query_prefix, "query")
        self._document_prefix = _prefix(
            self._model, document_prefix, known and known.document_prefix, "document", "passage", "corpus"
        )
        determining: dict[str, Any] = {
            "query_prefix": self._query_prefix,
            "document_prefix": self._document_prefix,
            "max_seq_length": max_seq_length,
        }
        identity = determining if pooling is None else {**determining, "pooling": pooling}
        self.spec = EncoderSpec(
            kind="sentence",
            name=model.name,
            dimension=dimension,
            fingerprint=fingerprint(identity, model.folder, _files(model.folder, code=trust_remote_code)),
            settings={
                "path": model.source,
                "revision": model.commit,
                "known_as": known.name if known is not None else "",
                "batch_size": batch_size,
                **determining,
            },
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
            try:
                vectors = encode(
                    well_formed(texts), prompt=prefix, batch_size=self._batch_size, show_progress_bar=self._progress
                )
            except Exception as error:  # a token beyond the table, a device without memory: bare errors of torch
                raise EncoderError(f"encoder {self.spec.name} failed on {len(texts):,} texts: {error}") from error
        return normalised(vectors)


def _require_trust(known: KnownEncoder | None, trust: bool) -> None:
    """Refuses a model that loads without its own code too, but with wrong vectors."""
    if known is not None and known.remote_code and not trust:
        raise EncoderError(
            f"{known.name} is not right without code that comes with it, which is not run unless you say so; read it, "
            f"then give the encoder as an object, when building and when loading: "
            f"encoder=SentenceEncoder({known.name!r}, trust_remote_code=True)"
        )


def _identified(
    model: Model, said: KnownEncoder | None, known_as: str | None, trust: bool
) -> tuple[KnownEncoder | None, str | None]:
    """The known model that this is, and the pooling to set where its files say none; refuses what is no encoder."""
    config = config_of(model.folder)
    known = said
    if known is None and known_as is None:
        known = known_encoder(model.source) if model.commit is not None else recognised(model.folder, config)
    _require_trust(known, trust)
    bare = not modules_of(model.folder)
    if bare and known is not None and said is None and model.commit is None:
        known = known if config.get("hidden_size") == known.dimension or known.more_modules else None
    if not bare or known is None:  # bare weights of a known one may well be those of a language model
        require_kind(model, "SentenceTransformer")
    require_whole(model)
    if not bare or known is None:
        return known, None
    if known.more_modules:
        raise EncoderError(
            f"{model.folder} holds no modules.json, and {known.name} has layers after its pooling; fetch it whole: "
            f"hf download {known.name} --local-dir {model.folder}"
        )
    return known, known.pooling


def _load(model: Model, device: str | None, local: bool, trust: bool) -> Any:
    try:
        import torch
        from sentence_transformers import SentenceTransformer
    except ModuleNotFoundError as error:
        raise MissingExtraError("sentence-transformers", "models") from error
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    # Half-precision weights are slow on a CPU, and would make vectors depend on the batch.
    dtype = "float32" if device == "cpu" else "auto"
    try:
        loaded: Any = SentenceTransformer(
            str(model.folder),
            device=device,
            local_files_only=local or not trust,  # all is here, but for code that may lie in another repository
            trust_remote_code=trust,
            model_kwargs={"use_safetensors": True, "dtype": dtype},
        )
    except Exception as error:  # the libraries beneath raise a dozen kinds
        raise EncoderError(f"{model.source}: the encoder cannot be loaded: {error}") from error
    return loaded.eval()


def _cosine_weight(folder: Path) -> float | None:
    """What the folder's `FUSION` says; None where there is none.

    Raises:
        EncoderError: it holds something else.
    """
    file = folder / FUSION
    if not file.is_file():
        return None
    try:
        weight = float(json.loads(file.read_text("utf-8"))["cosine_weight"])
    except (ValueError, KeyError, TypeError):
        weight = -1.0
    if not 0 <= weight < inf:
        raise EncoderError(f'{file}: write {{"cosine_weight": N}} with a number from 0 on, or remove the file')
    return weight


def _dimension(model: Any, name: str) -> int:
    """How long the vectors are, by trying; refuses a model that gives no usable vector for a plain word."""
    try:
        vector = np.asarray(model.encode(["心"], show_progress_bar=False))
    except Exception as error:  # its tokenizer and its weights do not fit together
        raise EncoderError(f"encoder {name} fails on a plain word ({error}); is a file of it missing?") from error
    if vector.ndim != 2:
        raise EncoderError(
            f"encoder {name} gave an array of shape {vector.shape} for one text; it is no sentence encoder"
        )
    checked(vector, 1, vector.shape[1], name)
    return int(vector.shape[1])


def _pool(model: Any, mode: str) -> None:
    """Sets the pooling of a model that the library made from bare weights (mean, whatever it was trained with)."""
    position, old = _pooling(model)
    width = getattr(old, "embedding_dimension", None) or old.word_embedding_dimension  # as 6.x and 5.x call it
    model[position] = type(old)(int(width), pooling_mode=mode)


def _pooling(model: Any) -> tuple[int, Any]:
    return next((i, module) for i, module in enumerate(model) if type(module).__name__ == "Pooling")


def _fits(model: Any, dimension: int, known: KnownEncoder) -> bool:
    try:
        _, pooling = _pooling(model)
    except StopIteration:
        return False
    mode = pooling.pooling_mode if hasattr(pooling, "pooling_mode") else pooling.get_pooling_mode_str()
    return bool((mode, dimension) == (known.pooling, known.dimension))


def _prefix(model: Any, given: str | None, known: str | None, *names: str) -> str:
    if given is not None:
        return given
    return next((prompt for name in names if (prompt := model.prompts.get(name))), known or "")


def _files(folder: Path, *, code: bool) -> list[Path]:
    """The files that make the vectors: those in the folder and in its modules' folders, without documentation."""
    folders = {folder} | {folder / str(module.get("path", "")) for module in modules_of(folder)}
    suffixes = _SUFFIXES | {".py"} if code else _SUFFIXES
    return [
        file
        for part in folders
        if part.is_dir()
        for file in part.iterdir()
        if file.suffix in suffixes and file.name != FUSION and file.is_file()
    ]
