"""Full disks, read-only folders and files that may not grow: clear errors, and an index that goes on serving."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from chimed_rag.encoders.hashing import HashingEncoder
from chimed_rag.errors import IndexError_
from chimed_rag.indexing import writer
from chimed_rag.indexing.index import Index
from chimed_rag.indexing.manifest import damaged_files, read_manifest
from chimed_rag.records import Document

ENCODER = HashingEncoder(32)


def _documents(prefix: str, n: int, length: int = 400) -> list[Document]:
    chance = random.Random(n)
    return [
        Document(id=f"{prefix}{i}", text="患者" + "".join(chr(chance.randrange(0x4E00, 0x9FA5)) for _ in range(length)))
        for i in range(n)
    ]


def _ids(path: Path) -> set[str]:
    index = Index.open(path)
    try:
        assert damaged_files(path, index.manifest, hashes=True) == []
        held = {d.id for d in index.store.documents()}
        assert {h.document_id for h in index.search_lexical([{"患者": 1.0}], 9999)[0]} == held
        return held
    finally:
        index.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    try:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(mounted)], capture_output=True)
    except OSError:
        pytest.skip("there is no mount command")
    if done.returncode:
        pytest.skip("a small file system can only be mounted by root")
    yield mounted
    subprocess.run(["umount", "-l", str(mounted)], check=True)


def test_a_full_disk(small_disk: Path) -> None:
    path = small_disk / "index"
    writer.build(path, _documents("a", 20), ENCODER)
    reader = Index.open(path)
    failed = 0
    for size in (100, 300, 1000):
        generation, before = read_manifest(path).generation, _ids(path)
        try:
            writer.update(path, _documents(f"n{size}-", size), ENCODER, mode="add")
        except IndexError_ as error:
            failed += 1
            assert "the disk is full" in str(error)
            assert "as it was" in str(error)
            assert (read_manifest(path).generation, _ids(path)) == (generation, before)
            # What the failed call wrote is given back, or the disk would stay full.
            left = {p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file()}
            assert left - {"manifest.json.tmp", "manifest.json", ".lock"} == read_manifest(path).files.keys()
    assert failed
    with pytest.raises(IndexError_, match="the disk is full"):
        writer.build(path, _documents("b", 1000), ENCODER, overwrite=True)
    # Something else fills the disk to the last byte: reading goes on; with room again, so does writing.
    before = _ids(path)
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(b"\0" * 4096):
                pass
        except OSError:
            pass
    for call in (
        lambda: writer.update(path, _documents("c", 2), ENCODER, mode="add"),
        lambda: writer.delete(path, ids=["a0"]),
        lambda: writer.compact(path),
    ):
        with pytest.raises(IndexError_, match="the disk is full"):
            call()
        assert _ids(path) == before
    assert len(reader.search_lexical([{"患者": 1.0}], 99)[0]) == 20
    reader.close()
    filler.unlink()
    writer.delete(path, ids=["a0"])
    writer.update(path, _documents("c", 2), ENCODER, mode="upsert")
    assert _ids(path) == (before - {"a0"}) | {"c0", "c1"}


_LIMITED = """
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import test_index_limits as t
from chimed_rag.errors import IndexError_
from chimed_rag.indexing import writer
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
try:
    writer.update(Path(sys.argv[2]), t._documents("n", 300), t.ENCODER, mode="add")
except IndexError_ as error:
    print("refused:", error)
"""


@pytest.mark.parametrize("limit", [4_000, 30_000, 150_000, 400_000])
def test_files_that_may_not_grow(folder: Path, limit: int) -> None:
    # The limit hits another file each time: the manifest or lock, SQLite, the vectors, tantivy's files.
    path = folder / "index"
    writer.build(path, _documents("a", 3), ENCODER)
    command = [sys.executable, "-c", _LIMITED, str(Path(__file__).parent), str(path), str(limit)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("refused:")
    assert "the index is as it was" in run.stdout
    assert _ids(path) == {"a0", "a1", "a2"}
    writer.update(path, _documents("n", 300), ENCODER, mode="add")
    assert len(_ids(path)) == 303


_READ_ONLY = """
import os, sys
from pathlib import Path
import faiss, numpy, tantivy, sqlite3
sys.path.insert(0, sys.argv[1])
import test_index_limits as t
from chimed_rag.encoders import hashing
from chimed_rag.errors import IndexLockedError
from chimed_rag.indexing import index, writer
from chimed_rag.text import terms
path = Path(sys.argv[2])
import fcntl
def ask():
    opened = index.Index.open(path)
    assert len(opened.search_lexical([{"患者": 1.0}], 9, {"id": {"$ne": "a1"}})[0]) == 3
    hits = opened.search_dense(t.ENCODER.encode_queries(["患者"]), 9)[0]
    assert len({h.document_id for h in hits}) == 4 and len(opened.passages([h.row for h in hits])) == len(hits)
    assert opened.document("a2").id == "a2"
    opened.close()
ask()  # this imports what is imported late: the interpreter itself may lie where nobody else may read
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
ask()
for call in (
    lambda: writer.update(path, t._documents("n", 3), t.ENCODER, mode="add"),
    lambda: writer.delete(path, ids=["a0"]),
    lambda: writer.compact(path),
    lambda: writer.build(path, t._documents("n", 3), t.ENCODER, overwrite=True),
    lambda: writer.build(path / "new", t._documents("n", 3), t.ENCODER),
):
    try:
        call()
    except IndexLockedError as error:
        assert "cannot be written" in str(error)
    else:
        raise AssertionError("written to a read-only folder")
print("served")
"""


@pytest.mark.parametrize("locked_before", [True, False])
def test_a_read_only_folder_serves(folder: Path, locked_before: bool) -> None:
    path = folder / "index"
    writer.build(path, _documents("a", 4), ENCODER)
    if not locked_before:  # a copy made by other means may lack the lock file
        (path / ".lock").unlink()
    before = {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}
    everything = [folder, path, *path.rglob("*")]
    try:
        for p in everything:
            p.chmod(0o555 if p.is_dir() else 0o444)
        command = [sys.executable, "-c", _READ_ONLY, str(Path(__file__).parent), str(path)]
        run = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    finally:
        for p in everything:
            p.chmod(0o755 if p.is_dir() else 0o644)
    assert run.stdout == "served\n", run.stderr
    assert {p: p.read_bytes() for p in path.rglob("*") if p.is_file()} == before


def test_opening_many_times_leaks_no_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer.build(folder / "index", _documents("a", 4), ENCODER)
    (folder / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "temporary"))
    counts = []
    for _ in range(3):
        for _ in range(60):
            index = Index.open(folder / "index")
            index.search_lexical([{"患者": 1.0}], 3)
            index.close()
            del index
        counts.append(len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0)
    assert list((folder / "temporary").iterdir()) == []
    assert counts[2] <= counts[0] + 2
    assert counts[2] < resource.getrlimit(resource.RLIMIT_NOFILE)[0]
