"""A cross-encoder of sentence-transformers as reranker: it reads the query and a passage together (bge-reranker-*, …).

Not covered: training one (the training stage `retriever`, kind `cross-encoder`), and rerankers that are language models
with a prompt of their own. Importing this module loads no torch; making a `CrossEncoderReranker` does (6 s).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import numpy as np

from chimed_rag.encoders.base import well_formed
from chimed_rag.encoders.hub import Model, find_model, no_bars, require_kind, require_whole
from chimed_rag.errors import EncoderError, MissingExtraError

Precision = Literal["float32", "float16", "bfloat16", "auto"]


class CrossEncoderReranker:
    """Scores are the model's own numbers before any sigmoid, so that sure passages do not tie at 1.

    Weights are read from safetensors files only, and code that comes with a model is not run unless the caller says so.

    Args:
        path: the model's folder, or its name on the hub ("owner/name", or "owner/name@revision").
        revision: branch, tag or commit of a hub model.
        batch_size: pairs that go through the model together.
        max_length: tokens of query and passage together that count, the longer of the two being cut; None leaves what
            the model says.
        device: as torch names it ("cpu", "cuda:1"); None takes cuda if there is one, else the CPU.
        dtype: of the weights in memory; None takes float32 on the CPU and what the file holds elsewhere.
        local_files_only: do not ask the hub, use what was downloaded before.
        trust_remote_code: run code that comes with the model.

    Raises:
        EncoderError: no such model, files of it are missing, or it is no cross-encoder with one score.
        MissingExtraError: sentence-transformers is not installed.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        revision: str | None = None,
        batch_size: int = 32,
        max_length: int | None = None,
        device: str | None = None,
        dtype: Precision | None = None,
        local_files_only: bool = False,
        trust_remote_code: bool = False,
    ) -> None:
        model = find_model(path, revision=revision, local_files_only=local_files_only, code=trust_remote_code)
        require_kind(model, "CrossEncoder")
        require_whole(model)
        with no_bars():
            self._model = _load(model, max_length, device, dtype, local_files_only, trust_remote_code)
        if (labels := int(self._model.num_labels)) != 1:
            raise EncoderError(f"{model.source} gives {labels} numbers for a pair; a reranker gives one")
        self.name, self.revision = model.name, model.commit
        self._batch_size, self._lock = batch_size, Lock()

    def score(self, query: str, passages: Sequence[str]) -> list[float]:
        """One score for each passage; larger is better.

        Raises:
            EncoderError: the model gave a number that is not finite.
        """
        if not passages:
            return []
        asked, *texts = well_formed([query, *passages])
        # A fast tokenizer keeps its padding as state ("Already borrowed"), so one thread at a time.
        with self._lock:
            try:
                given = self._model.predict([(asked, text) for text in texts], **self._options())
            except Exception as error:  # a token beyond the table, a device without memory: bare errors of torch
                raise EncoderError(f"reranker {self.name} failed on {len(texts):,} passages: {error}") from error
        scores = np.asarray(given, dtype=np.float32).reshape(len(texts), -1)
        if scores.shape[1] != 1 or not np.isfinite(scores).all():
            raise EncoderError(f"reranker {self.name} gave NaN, infinity or several numbers for a passage")
        return [float(score) for score in scores[:, 0]]

    def _options(self) -> dict[str, Any]:
        from torch.nn import Identity

        return {"batch_size": self._batch_size, "show_progress_bar": False, "activation_fn": Identity()}


def _load(
    model: Model, max_length: int | None, device: str | None, dtype: Precision | None, local: bool, trust: bool
) -> Any:
    try:
        import torch
        from sentence_transformers import CrossEncoder
    except ModuleNotFoundError as error:
        raise MissingExtraError("sentence-transformers", "models") from error
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    precision = dtype or ("float32" if device == "cpu" else "auto")
    try:
        loaded: Any = CrossEncoder(
            str(model.folder),
            device=device,
            max_length=max_length,
            local_files_only=local or not trust,  # all is here, but for code that may lie in another repository
            trust_remote_code=trust,
            model_kwargs={"use_safetensors": True, "dtype": precision},
        )
    except Exception as error:  # the libraries beneath raise a dozen kinds
        raise EncoderError(f"{model.source}: the reranker cannot be loaded: {error}") from error
    return loaded.eval()
