"""Dense search is exact over the stored codes: whatever the query, however the vectors are shared among cores."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from chimed_rag.indexing import dense
from chimed_rag.indexing.manifest import VectorFormat
from chimed_rag.indexing.segment import quantise

ROWS, DIMENSION = 700, 32
FORMS = [VectorFormat(storage=storage, dimension=DIMENSION, scale=0.5) for storage in ("int8", "fp16", "fp32")]


@pytest.fixture(params=[1, 3])
def shares(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """In how many the vectors are shared."""
    monkeypatch.setattr(dense, "_SHARE", ROWS // request.param)
    monkeypatch.setattr(dense.os, "cpu_count", lambda: request.param)
    return int(request.param)


def vectors(rows: int, seed: int) -> NDArray[np.float32]:
    """Of length 1, a fifth of them twice."""
    drawn = np.random.default_rng(seed).standard_normal((rows, DIMENSION)).astype(np.float32)
    drawn[rows // 2 : rows // 2 + rows // 5] = drawn[: rows // 5]
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def decoded(codes: NDArray[np.uint8], form: VectorFormat) -> NDArray[np.float64]:
    """What the codes stand for, from the format's description."""
    if form.storage == "int8":
        return (codes.astype(np.float64) / 255 * 2 - 1) * form.scale
    return codes.view("<f4" if form.storage == "fp32" else "<f2").astype(np.float64)


def queries() -> NDArray[np.float32]:
    """Even ones, one for each of some stored vectors, all zero, and some with one large number among tiny ones.

    Rounded to whole numbers, the tiny ones are lost, though they alone decide the order.
    """
    spiky = vectors(3, 5) * np.float32(1e-3)
    spiky[:, 4] = 1
    return np.concatenate([vectors(4, 1), vectors(ROWS, 0)[[0, 17]], np.zeros((1, DIMENSION), np.float32), spiky])


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.storage)
@pytest.mark.parametrize("k", [1, 10, 150, ROWS + 5])
@pytest.mark.parametrize("masked", [False, True])
def test_the_best_are_those_of_brute_force(shares: int, form: VectorFormat, k: int, masked: bool) -> None:
    codes = quantise(vectors(ROWS, 0), form)
    index = dense.DenseIndex([codes[:100], codes[100:100], codes[100:]], form)
    assert len(index._shares) == shares
    allowed = np.arange(ROWS) % 7 < 3 if masked else None
    exact = queries().astype(np.float64) @ decoded(codes, form).T
    if allowed is not None:
        exact[:, ~allowed] = -np.inf
    due = -np.sort(-exact, axis=1)[:, : min(k, ROWS if allowed is None else int(allowed.sum()))]
    for asked in (queries(), *queries()[:, None]):  # all at once, then one at a time
        scores, places = index.search(asked, k, allowed)
        rows = slice(None) if len(asked) > 1 else [next(i for i, q in enumerate(queries()) if (q == asked[0]).all())]
        np.testing.assert_allclose(scores, due[rows], atol=2e-6)
        np.testing.assert_allclose(np.take_along_axis(exact[rows], places, 1), due[rows], atol=2e-6)
        assert all(len(set(found)) == len(found) for found in places.tolist())


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.storage)
@pytest.mark.usefixtures("shares")
def test_equal_vectors_score_alike(form: VectorFormat) -> None:
    codes = np.repeat(quantise(vectors(7, 3), form), 100, axis=0)[np.random.default_rng(1).permutation(700)]
    index, query = dense.DenseIndex([codes], form), vectors(1, 4)
    scores, places = index.search(query, 700)
    assert len(set(scores[0].tolist())) == 6
    assert set(index.inner_products(query[0], places[0]).tolist()) == set(scores[0].tolist()) or form.storage != "int8"


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No thread is free to search."""
    go_on = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(go_on.wait)
        monkeypatch.setattr(dense, "_pool", lambda process: pool)
        yield
        go_on.set()


@pytest.mark.usefixtures("busy")
def test_a_busy_machine_does_not_keep_a_query_waiting(shares: int) -> None:
    form, stored = FORMS[0], vectors(ROWS, 0)
    codes = quantise(stored, form)
    scores, _ = dense.DenseIndex([codes], form).search(stored[:1], 5)
    np.testing.assert_allclose(scores[0], -np.sort(-(decoded(codes, form) @ stored[0]))[:5], atol=2e-6)
    assert shares


def test_a_search_while_the_interpreter_shuts_down(shares: int, monkeypatch: pytest.MonkeyPatch) -> None:
    form, stored = FORMS[0], vectors(ROWS, 0)
    index = dense.DenseIndex([quantise(stored, form)], form)
    due = index.search(stored[:1], 5)
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    monkeypatch.setattr(dense, "_pool", lambda process: pool)
    np.testing.assert_array_equal(index.search(stored[:1], 5), due)
    assert shares


def test_a_process_that_was_forked_searches_too() -> None:
    script = textwrap.dedent("""
        import os, sys, signal
        import numpy as np
        from chimed_rag.indexing import dense
        from chimed_rag.indexing.manifest import VectorFormat
        dense._SHARE, dense.os.cpu_count = 50, lambda: 2
        form = VectorFormat(storage="int8", dimension=8, scale=0.5)
        codes = np.random.default_rng(0).integers(0, 256, (100, 8), dtype=np.uint8)
        index, query = dense.DenseIndex([codes], form), np.ones((1, 8), np.float32)
        before = index.search(query, 3)
        if (child := os.fork()) == 0:
            signal.alarm(20)
            os._exit(0 if (index.search(query, 3)[1] == before[1]).all() else 1)
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """)
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_share_is_worth_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense.os, "cpu_count", lambda: 4)

    def count(rows: int) -> int:
        index: Any = dense.DenseIndex(
            [np.zeros((rows, 1), np.uint8)], VectorFormat(storage="int8", dimension=1, scale=1)
        )
        return len(index._shares)

    assert [count(rows) for rows in (0, 10, 65_535, 65_536, 1_000_000)] == [1, 1, 1, 2, 4]
