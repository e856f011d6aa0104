"""Dense search: the stored vectors in an exact FAISS index (flat; fp32, fp16 or int8), on the CPU or one GPU.

Derived in memory from the segments when an index is opened. Not covered: approximate indexes and several GPUs.

Inner products of int8 codes are exact over the stored codes (FAISS `QT_8bit_uniform` decodes documents and keeps the
query in fp32). `QT_8bit_direct_signed` was tried: 0.9 against 1.5 ms a query at 80,000 x 256, but it rounds the query
too and changes 4 % of the ten best on random vectors.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chimed_rag.errors import InputError, MissingExtraError
from chimed_rag.indexing import gpu
from chimed_rag.indexing.manifest import VectorFormat
from chimed_rag.indexing.store import Mask

log = logging.getLogger(__name__)


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise MissingExtraError("faiss", "cpu") from None
    return faiss


class DenseIndex:
    """Exact inner-product search over the vectors of one generation.

    Args:
        parts: codes (rows, code_size) of each segment, in order.
        form: how they are stored.
        device: "cpu", or "cuda:N"; without a GPU or the `gpu` extra a message is logged and the CPU is used.

    Raises:
        MissingExtraError: FAISS is not installed.
        InputError: `device` is neither of these.
    """

    def __init__(self, parts: Sequence[NDArray[np.uint8]], form: VectorFormat, device: str = "cpu") -> None:
        self._faiss, self._form = _faiss(), form
        self._threads = os.cpu_count() or 1
        self._index = self._empty()
        for codes in parts:
            if len(codes):
                self._index.add_sa_codes(np.ascontiguousarray(codes))
        self.device = "cpu"
        self._gpu: Any = None
        if device != "cpu":
            self._to_gpu(device)

    def _empty(self) -> Any:
        faiss, form = self._faiss, self._form
        if form.storage == "fp32":
            return faiss.IndexFlatIP(form.dimension)
        kinds = faiss.ScalarQuantizer
        kind = kinds.QT_fp16 if form.storage == "fp16" else kinds.QT_8bit_uniform
        index = faiss.IndexScalarQuantizer(form.dimension, kind, faiss.METRIC_INNER_PRODUCT)
        if form.storage == "int8":
            # Minimum and width of the code range. FAISS decodes code c as minimum + (c + 0.5) / 255 * width; starting
            # half a step lower undoes that, so scores are those of the codes as we define them.
            step = 2 * form.scale / 255
            faiss.copy_array_to_vector(np.array([-form.scale - step / 2, 2 * form.scale], np.float32), index.sq.trained)
            index.is_trained = True
        return index

    def _to_gpu(self, device: str) -> None:
        faiss = self._faiss
        name, _, number = device.partition(":")
        if name != "cuda" or not (number or "0").isdigit():
            raise InputError(f"device {device!r} is not known; use 'cpu' or 'cuda:0'")
        ordinal = int(number or 0)
        reason: str | None
        if not hasattr(faiss, "StandardGpuResources") or faiss.get_num_gpus() <= ordinal:
            reason = "this FAISS is the CPU build" if not hasattr(faiss, "StandardGpuResources") else "no such GPU"
        else:
            reason = gpu.refusal(ordinal)
        if reason is not None:
            log.warning("device %s: %s; searching on the CPU (chimed doctor tells what is missing)", device, reason)
            return
        self._resources = faiss.StandardGpuResources()
        options = faiss.GpuIndexFlatConfig()
        options.device = ordinal
        options.useFloat16 = self._form.storage == "fp16"
        self._gpu = faiss.GpuIndexFlatIP(self._resources, self._form.dimension, options)
        for begin in range(0, self._index.ntotal, 65536):
            count = min(65536, self._index.ntotal - begin)
            self._gpu.add(self._index.reconstruct_n(begin, count))
        self.device = f"cuda:{ordinal}"

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def search(
        self, queries: NDArray[np.float32], k: int, allowed: Mask | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Scores and positions of the k best of the allowed positions for each query, both (queries, <= k).

        Order within equal scores is left to the caller, who knows the ids. The GPU answers unfiltered searches only
        (its flat index takes no selector); filtered ones run on the CPU over the same vectors.
        """
        k = min(k, len(self) if allowed is None else int(np.count_nonzero(allowed)))
        if k == 0:
            return np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
        # FAISS shares queries, not vectors, among threads: for one query a team only waits at barriers, and on busy
        # cores that wait is most of the query's time. The setting is the calling thread's own.
        self._faiss.omp_set_num_threads(min(self._threads, len(queries)))
        if allowed is None:
            if self._gpu is not None and k <= 2048:
                return self._gpu.search(queries, k)  # type: ignore[no-any-return]
            return self._index.search(queries, k)  # type: ignore[no-any-return]
        bits = np.packbits(allowed, bitorder="little")
        selector = self._faiss.IDSelectorBitmap(bits)
        return self._index.search(queries, k, params=self._faiss.SearchParameters(sel=selector))  # type: ignore[no-any-return]

    def inner_products(self, query: NDArray[np.float32], positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """The scores of some positions for one query vector of shape (d,), whether or not they are among its best."""
        if not len(positions):
            return np.empty(0, np.float32)
        vectors: NDArray[np.float32] = self._index.reconstruct_batch(positions)
        return vectors @ query
