"""Pickled weights are converted once, by a reader that runs no code; then the model loads."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported
torch = pytest.importorskip("torch", reason="torch is not installed (extra `models`)")
pytest.importorskip("sentence_transformers", reason="not installed (extra `models`)")

from chimed_rag.encoders.convert import to_safetensors  # noqa: E402
from chimed_rag.encoders.sentence import SentenceEncoder  # noqa: E402
from chimed_rag.errors import EncoderError  # noqa: E402
from tests.tiny_models import make, with_modules  # noqa: E402


class _Attack:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("attacked"),))


def test_converted_weights_give_the_same_vectors(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    folder = with_modules(make(tmp_path / "bert", "bert"), "cls")
    expected = SentenceEncoder(folder).encode_documents(["高血压"])
    weights = load_file(folder / "model.safetensors")
    torch.save({**weights, "tied": weights["embeddings.word_embeddings.weight"]}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    command = [sys.executable, "-m", "chimed_rag.encoders.convert", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert (done.returncode, done.stdout) == (0, f"{folder / 'model.safetensors'}\n"), done.stderr
    np.testing.assert_array_equal(SentenceEncoder(folder).encode_documents(["高血压"]), expected)
    assert to_safetensors(folder) == []  # it is there


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": _Attack()}))
    with pytest.raises(EncoderError, match=r"pytorch_model\.bin: cannot be read as plain tensors"):
        to_safetensors(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"pytorch_model.bin"}
    pickle.loads((tmp_path / "pytorch_model.bin").read_bytes())  # what was spared
    assert (tmp_path / "attacked").exists()


def test_nothing_to_convert(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="there is nothing to convert"):
        to_safetensors(tmp_path)


def test_layers_in_folders_of_their_own(tmp_path: Path) -> None:
    folder = with_modules(make(tmp_path / "bert", "bert"), "cls")
    (folder / "2_Dense").mkdir()
    torch.save({"linear.weight": torch.eye(32)}, folder / "2_Dense" / "pytorch_model.bin")
    assert to_safetensors(folder) == [folder / "2_Dense" / "model.safetensors"]
    shutil.rmtree(folder / "2_Dense")
