"""What the tests of the index share: a folder in memory, and the experiments of `benchmarks/durability.py`."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("faiss")


@pytest.fixture(scope="session")
def durability() -> ModuleType:
    """The module `benchmarks/durability.py`."""
    path = Path(__file__).parents[2] / "benchmarks" / "durability.py"
    if not path.exists():
        pytest.skip("benchmarks/ is not beside tests/ here")
    specification = importlib.util.spec_from_file_location("durability", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["durability"] = module
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def folder(durability: ModuleType) -> Iterator[Path]:
    """A new folder in memory, where fsync costs nothing."""
    path = Path(tempfile.mkdtemp(prefix="chimed-test-", dir=durability.workplace()))
    yield path
    shutil.rmtree(path, ignore_errors=True)
