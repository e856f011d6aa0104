"""The face: what it exposes, and that importing it stays light."""

from __future__ import annotations

import json
import subprocess
import sys
import types

import pytest

import chimed_rag

HEAVY = ["numpy", "faiss", "torch", "transformers", "tantivy", "model2vec", "sentence_transformers", "rich", "typer"]


def test_import_loads_nothing_heavy():
    code = f"import sys, json, chimed_rag; print(json.dumps([m for m in {HEAVY} if m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_records_and_errors_need_no_numpy():
    code = (
        "import sys; from chimed_rag import Answer, Document, ChiMedError; Document(id='a', text='b');"
        "sys.exit('numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_public_name_is_there_and_no_other():
    for name in chimed_rag.__all__:
        assert getattr(chimed_rag, name) is not None
    public = {
        name
        for name, value in vars(chimed_rag).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    assert public <= {*chimed_rag.__all__, "annotations", "Any", "TYPE_CHECKING"}
    assert dir(chimed_rag) == sorted(chimed_rag.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'Nothing'"):
        chimed_rag.Nothing  # noqa: B018
