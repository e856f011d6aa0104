"""What the tests of the index share: a folder in memory, and the experiments on durability of `benchmarks/`."""

from __future__ import annotations

import importlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("faiss")


BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
MODULES = ("_durability", "_killing", "_judging", "durability", "concurrent_reads")


@pytest.fixture(scope="session")
def experiments() -> dict[str, ModuleType]:
    """The modules of the experiments on durability, by name."""
    if not all((BENCHMARKS / f"{name}.py").is_file() for name in MODULES):
        pytest.skip("benchmarks/ is not beside tests/ here")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        return {name: importlib.import_module(name) for name in MODULES}


@pytest.fixture(scope="session")
def shared(experiments: dict[str, ModuleType]) -> ModuleType:
    """`benchmarks/_durability.py`: documents, and a place to work."""
    return experiments["_durability"]


@pytest.fixture(scope="session")
def killing(experiments: dict[str, ModuleType]) -> ModuleType:
    """`benchmarks/_killing.py`: calls that write, and processes that die while they do."""
    return experiments["_killing"]


@pytest.fixture(scope="session")
def judging(experiments: dict[str, ModuleType]) -> ModuleType:
    """`benchmarks/_judging.py`: what is found afterwards."""
    return experiments["_judging"]


@pytest.fixture(scope="session")
def durability(experiments: dict[str, ModuleType]) -> ModuleType:
    """`benchmarks/durability.py`: when to kill."""
    return experiments["durability"]


@pytest.fixture(scope="session")
def concurrent_reads(experiments: dict[str, ModuleType]) -> ModuleType:
    """`benchmarks/concurrent_reads.py`: readers beside a writer."""
    return experiments["concurrent_reads"]


@pytest.fixture
def folder(shared: ModuleType) -> Iterator[Path]:
    """A new folder in memory, where fsync costs nothing."""
    path = Path(tempfile.mkdtemp(prefix="chimed-test-", dir=shared.workplace()))
    yield path
    shutil.rmtree(path, ignore_errors=True)
