"""Dense search: the stored vectors in an exact FAISS index (flat; fp32, fp16 or int8), on the CPU or one GPU.

Derived in memory from the segments when an index is opened. Not covered: approximate indexes and several GPUs.

int8 codes are searched in two steps, and what comes out is exact over the stored codes: FAISS's
`QT_8bit_direct_signed` multiplies whole numbers, for which it rounds the query too; the best of these get their
products with the query as it is, and what rounding can have hidden at most says whether more must be looked at.
Milliseconds a query at 109,736 x 256, k = 208: 1.9 with `QT_8bit_uniform`, which keeps the query in fp32; 1.5 in two
steps; 1.1 with the vectors shared between two cores. Tried and left, because nothing shows that they miss nothing:
product quantisation with 4 bits for 2 columns and 800 candidates (0.34 ms, .996 of the 200 best, 1.3 s more to open)
and RaBitQ (1.0 ms, .92).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chimed_rag.errors import InputError, MissingExtraError
from chimed_rag.indexing import gpu
from chimed_rag.indexing.manifest import VectorFormat
from chimed_rag.indexing.store import Mask

log = logging.getLogger(__name__)

Found = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Scores and positions, both (queries, k), best first."""

_SHARE = 32_768
"""Vectors for each of which a single query is worth a core: fewer are read before a thread has woken up."""
_BATCH = 16_384
_LEAST_MORE = 64
"""How many int8 vectors are looked at beyond twice those that are wanted."""


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise MissingExtraError("faiss", "cpu") from None
    return faiss


@lru_cache(maxsize=1)
def _pool(process: int) -> ThreadPoolExecutor:
    """The threads that search shares of the vectors; a fork leaves them behind, so each process gets its own."""
    return ThreadPoolExecutor(os.cpu_count(), "chimed-dense", _faiss().omp_set_num_threads, (1,))


def _products(vectors: NDArray[np.float32], query: NDArray[np.float32]) -> NDArray[np.float32]:
    """Row by row: a matrix product may round equal rows differently, and equal scores are ordered by id."""
    products: NDArray[np.float32] = np.einsum("ij,j->i", vectors, query)
    return products


class _Share(NamedTuple):
    """A FAISS index over the vectors from a position on, and its codes (rows, code_size), which are not a copy."""

    begin: int
    index: Any
    codes: NDArray[np.uint8]


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
        self._cores = os.cpu_count() or 1
        self._length = sum(map(len, parts))
        self._shares = self._shared(parts)
        self.device = "cpu"
        self._gpu: Any = None
        if device != "cpu":
            self._to_gpu(device)

    def _shared(self, parts: Sequence[NDArray[np.uint8]]) -> list[_Share]:
        """The vectors in as many FAISS indexes of the same size as it is worth searching side by side."""
        count = max(1, min(self._cores, self._length // _SHARE))
        borders = np.linspace(0, self._length, count + 1).astype(int).tolist()
        shares, size = [], self._form.code_size
        for begin, end in pairwise(borders):
            index, first = self._empty(), 0
            for part in parts:
                if len(codes := part[max(0, begin - first) : max(0, end - first)]):
                    index.add_sa_codes(np.ascontiguousarray(codes))
                first += len(part)
            held = self._faiss.rev_swig_ptr(index.codes.data(), (end - begin) * size) if end > begin else b""
            shares.append(_Share(begin, index, np.frombuffer(held, np.uint8).reshape(-1, size)))
        return shares

    def _empty(self) -> Any:
        faiss, form = self._faiss, self._form
        if form.storage == "fp32":
            return faiss.IndexFlatIP(form.dimension)
        kinds = faiss.ScalarQuantizer
        kind = kinds.QT_fp16 if form.storage == "fp16" else kinds.QT_8bit_direct_signed
        index = faiss.IndexScalarQuantizer(form.dimension, kind, faiss.METRIC_INNER_PRODUCT)
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
        for share in self._shares:
            for begin in range(0, len(share.codes), _BATCH):
                self._gpu.add(self._decoded(share.codes[begin : begin + _BATCH]))
        self.device = f"cuda:{ordinal}"

    def __len__(self) -> int:
        return self._length

    def search(self, queries: NDArray[np.float32], k: int, allowed: Mask | None = None) -> Found:
        """Scores and positions of the k best of the allowed positions for each query, both (queries, <= k).

        Order within equal scores is left to the caller, who knows the ids. The GPU answers unfiltered searches only
        (its flat index takes no selector); filtered ones run on the CPU over the same vectors.
        """
        most = len(self) if allowed is None else int(np.count_nonzero(allowed))
        if min(k, most) == 0:
            return np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
        if allowed is None and self._gpu is not None and k <= 2048:
            return self._gpu.search(queries, min(k, most))  # type: ignore[no-any-return]
        if self._form.storage == "int8":
            return self._refined(queries, min(k, most), most, allowed)
        return self._scanned(queries, min(k, most), allowed)

    def inner_products(self, query: NDArray[np.float32], positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """The scores of some positions for one query vector of shape (d,), whether or not they are among its best."""
        if self._form.storage != "int8":
            return _products(self._decoded(self._codes(positions)), query)
        products = _products(self._codes(positions).astype(np.float32), query) - np.float32(127.5) * query.sum()
        scores: NDArray[np.float32] = self._step * products
        return scores

    def _codes(self, positions: NDArray[np.int64]) -> NDArray[np.uint8]:
        if len(self._shares) == 1:
            return self._shares[0].codes[positions]
        codes = np.empty((len(positions), self._form.code_size), np.uint8)
        for share in self._shares:
            inside = (positions >= share.begin) & (positions < share.begin + len(share.codes))
            codes[inside] = share.codes[positions[inside] - share.begin]
        return codes

    def _decoded(self, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The vectors that codes stand for, (rows, d)."""
        if self._form.storage == "int8":
            return self._step * (codes.astype(np.float32) - 127.5)
        kind = "<f4" if self._form.storage == "fp32" else "<f2"
        return codes.view(kind).astype(np.float32)

    @property
    def _step(self) -> float:
        """What a step of an int8 code is worth."""
        return 2 * self._form.scale / 255

    @cached_property
    def _longest(self) -> float:
        """The greatest length of a vector of `code - 128`."""
        return max(
            float(np.linalg.norm(share.codes[begin : begin + _BATCH] - np.float32(128), axis=1).max())
            for share in self._shares
            for begin in range(0, len(share.codes), _BATCH)
        )

    def _refined(self, queries: NDArray[np.float32], k: int, most: int, allowed: Mask | None) -> Found:
        """The k best by int8 codes: the best by a rounded query, then the best of these by the query itself.

        With q the query, r the rounded one divided by its scale and x = code - 128, q x exceeds r x by |q - r| |x| at
        most (Cauchy-Schwarz). Where that may have hidden one of the k best, twice as many are looked at.
        """
        peaks = np.abs(queries).max(axis=1)
        scales = 127 / np.where(peaks > 0, peaks, 127).astype(np.float32)
        rounded = np.rint(queries * scales[:, None])
        hidden = np.linalg.norm(queries - rounded / scales[:, None], axis=1) * self._longest
        scores, places = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
        left, looked = np.arange(len(queries)), 2 * k + _LEAST_MORE
        while len(left):
            looked = min(looked, most)
            rough, found = self._scanned(rounded[left], looked, allowed)
            highest = self._step * (rough[:, -1] / scales[left] + hidden[left] + queries[left].sum(axis=1) / 2)
            for i, positions in zip(left, found, strict=True):
                exact = self.inner_products(queries[i], positions)
                best = np.argsort(-exact, kind="stable")[:k]
                scores[i], places[i] = exact[best], positions[best]
            left = left[(scores[left, -1] < highest) & (looked < most)]
            looked *= 2
        return scores, places

    def _scanned(self, queries: NDArray[np.float32], k: int, allowed: Mask | None) -> Found:
        """What FAISS finds, by its own scores: the shares side by side for one query, the queries for many."""
        # FAISS itself shares queries, not vectors, among threads: for one query a team only waits at barriers, and on
        # busy cores that wait is most of the query's time. The setting is the calling thread's own.
        self._faiss.omp_set_num_threads(min(self._cores, len(queries)))
        first, *others = self._shares
        futures: list[Future[Found]] = []
        if len(queries) == 1:
            with suppress(RuntimeError):  # an interpreter that is shutting down begins no threads
                pool = _pool(os.getpid())
                futures = [pool.submit(self._part, share, queries, k, allowed) for share in others]
        aside, here = others[: len(futures)], [first, *others[len(futures) :]]
        done = [self._part(share, queries, k, allowed) for share in here]
        for future, share in zip(futures, aside, strict=True):
            # What no thread has begun by now is done sooner here: the other cores are busy.
            done.append(self._part(share, queries, k, allowed) if future.cancel() else future.result())
        if not others:
            return done[0]
        # A share with fewer than k fills up with the lowest score of all; together they have k.
        scores, places = (np.concatenate(found, axis=1) for found in zip(*done, strict=True))
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores, best, 1), np.take_along_axis(places, best, 1)

    def _part(self, share: _Share, queries: NDArray[np.float32], k: int, allowed: Mask | None) -> Found:
        """FAISS's k best of a share."""
        chosen = None
        if allowed is not None:
            bits = np.packbits(allowed[share.begin : share.begin + len(share.codes)], bitorder="little")
            chosen = self._faiss.SearchParameters(sel=self._faiss.IDSelectorBitmap(bits))
        scores, places = share.index.search(queries, k, params=chosen)
        return scores, places + share.begin
