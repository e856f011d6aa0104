"""The built wheel answers outside the checkout, from a folder it cannot and does not write to."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder, ROOT]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_the_wheel_answers_from_a_read_only_folder(wheel, tmp_path):
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    before = _snapshot(site)
    for path in site.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    # The site folder comes before the editable checkout; what the answer came from is printed beside it.
    code = (
        "import sys; sys.dont_write_bytecode = True; import chimed_rag; from chimed_rag.cli import main;"
        "print(chimed_rag.__file__, file=sys.stderr); sys.argv = ['chimed', 'ask', '误吞纽扣电池怎么办']; main()"
    )
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8", check=False
    )
    for path in [site, *site.rglob("*")]:
        path.chmod(0o755)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(str(site))
    assert "120" in done.stdout
    assert "button-battery-ingestion.md" in done.stdout
    assert _snapshot(site) == before


def test_the_wheel_carries_the_package_alone(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"chimed_rag", "chimed_rag-0.1.0.dist-info"}
    assert "chimed_rag/py.typed" in names
    assert "chimed_rag/corpus/starter/index/manifest.json" in names
    assert wheel.stat().st_size < 30_000_000


def _snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
