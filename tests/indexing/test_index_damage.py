"""Damage is noticed, never spread and never deleted; an error at any moment of a write leaves a whole index.

Not covered: processes that die (`test_durability`).
"""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from chimed_rag.encoders.hashing import HashingEncoder
from chimed_rag.errors import ChiMedError, IndexDamagedError, IndexError_, IndexMismatchError, IndexMissingError
from chimed_rag.indexing import commit, index, writer
from chimed_rag.indexing.index import Index
from chimed_rag.indexing.manifest import damaged_files, read_manifest
from chimed_rag.records import Document

ENCODER = HashingEncoder(32)
COMMON = {"患者": 1.0}


def _document(name: str, revision: int = 0) -> Document:
    return Document(id=name, text=f"患者{name}，第{revision}版。口服。", metadata={"revision": revision})


def _ids(path: Path) -> set[str]:
    opened = Index.open(path)
    try:
        held = {d.id for d in opened.store.documents()}
        assert {h.document_id for h in opened.search_lexical([COMMON], 999)[0]} == held
        assert {h.document_id for h in opened.search_dense(ENCODER.encode_queries(["患者"]), 999)[0]} == held
        return held
    finally:
        opened.close()


def _flip(path: Path, at: int) -> None:
    """Flips all bits of one byte, in a new file: the old bytes may be shared by hard links."""
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.unlink()
    path.write_bytes(data)


@pytest.fixture
def path(folder: Path) -> Path:
    """An index of two segments with a deletion."""
    writer.build(folder / "index", [_document(f"d{i}") for i in range(40)], ENCODER)
    writer.update(folder / "index", [_document("n0")], ENCODER, mode="add")
    writer.delete(folder / "index", ids=["d3"])
    return folder / "index"


EXPECTED = {f"d{i}" for i in range(40) if i != 3} | {"n0"}


def test_a_flipped_byte_in_any_file_is_noticed(path: Path) -> None:
    manifest = read_manifest(path)
    assert {Path(name).suffix for name in manifest.files} >= {".sqlite", ".vectors", ".json", ".term", ".fast"}
    assert damaged_files(path, manifest, hashes=True) == []
    for name, entry in manifest.files.items():
        whole = (path / name).read_bytes()
        # SQLite pages have 4,096 bytes; one byte in each of them, and the first, middle and last byte.
        for at in {*range(100, entry.size, 4096), 0, entry.size // 2, entry.size - 1} & set(range(entry.size)):
            _flip(path / name, at)
            problems = damaged_files(path, manifest, hashes=True)
            assert [problem.split(":")[0] for problem in problems] == [name]
            with pytest.raises(IndexDamagedError, match="inspect"):  # a small index is read whole when opened
                Index.open(path)
            (path / name).write_bytes(whole)
    assert _ids(path) == EXPECTED


def test_a_changed_manifest_is_noticed(path: Path) -> None:
    whole = (path / "manifest.json").read_bytes()
    for at in range(0, len(whole), 7):
        _flip(path / "manifest.json", at)
        with pytest.raises((IndexDamagedError, IndexMismatchError)):
            read_manifest(path)
        (path / "manifest.json").write_bytes(whole)
    for cut in (0, 1, len(whole) // 2, len(whole) - 1):
        (path / "manifest.json").write_bytes(whole[:cut])
        with pytest.raises(IndexDamagedError):
            read_manifest(path)
    (path / "manifest.json").write_bytes(whole.replace(b'"documents": 40', b'"documents": 41'))
    with pytest.raises(IndexDamagedError, match="checksum"):
        Index.open(path)


def test_a_missing_or_cut_file_is_noticed_by_opening(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "_FULL_CHECK_BYTES", 0)  # as for a large index: sizes only
    for name, entry in read_manifest(path).files.items():
        (path / name).rename(path / "away")
        with pytest.raises(IndexMissingError, match="missing"):
            Index.open(path)
        with pytest.raises(IndexDamagedError):
            writer.update(path, [_document("x")], ENCODER, mode="add")
        if entry.size:
            (path / name).write_bytes((path / "away").read_bytes()[:-1])
            with pytest.raises(IndexDamagedError):
                Index.open(path)
            (path / name).unlink()
        (path / "away").rename(path / name)
    assert _ids(path) == EXPECTED


_SEARCH = """
import sys
from pathlib import Path
from chimed_rag.encoders.hashing import HashingEncoder
from chimed_rag.errors import ChiMedError
from chimed_rag.indexing.index import Index
try:
    index = Index.open(Path(sys.argv[1]), check=False)
    index.search_lexical([{"患者": 1.0}], 9, {"revision": {"$gte": 0}})
    index.search_dense(HashingEncoder(32).encode_queries(["患者"]), 9, {"revision": 0})
    list(index.store.documents())
except ChiMedError as error:
    print(type(error).__name__)
"""


@pytest.mark.parametrize("suffix", [".sqlite", ".fast"])
def test_damage_that_was_not_looked_for_is_told_as_such(path: Path, suffix: str) -> None:
    # In a large index only sizes are looked at. What then fails must not come as a bare sqlite3.Error or as the
    # BaseException of a panic in tantivy.
    name = next(name for name in sorted(read_manifest(path).files) if name.endswith(suffix))
    size = (path / name).stat().st_size
    (path / name).unlink()
    (path / name).write_bytes(b"\xa5" * size)
    run = subprocess.run([sys.executable, "-c", _SEARCH, str(path)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "IndexDamagedError"


def test_a_newer_format_version(path: Path) -> None:
    body = json.loads((path / "manifest.json").read_text("utf-8"))
    (path / "manifest.json").write_text(json.dumps({**body, "format_version": 2, "novelty": 1}), "utf-8")
    calls: list[Callable[[], object]] = [
        lambda: Index.open(path), lambda: writer.compact(path), lambda: writer.repair(path),
        lambda: writer.update(path, [_document("x")], ENCODER, mode="add"), lambda: writer.delete(path, ids=["d1"]),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(IndexMismatchError, match="format 2"):
            call()


# --- repair and setting aside -----------------------------------------------------------------------------------------


def _lexical_files(path: Path) -> list[str]:
    return [name for name, entry in read_manifest(path).files.items() if name.startswith("lexical/") and entry.size]


@pytest.mark.parametrize("damage", ["flipped", "missing", "all", "nothing"])
def test_repair_derives_the_lexical_part_again(path: Path, damage: str) -> None:
    opened = Index.open(path)
    queries = [COMMON, {"口服": 1.0, "第": 2.0}]
    before = opened.search_lexical(queries, 99)
    opened.close()
    writer.compact(path)
    opened = Index.open(path)
    compacted = opened.search_lexical(queries, 99)
    opened.close()
    assert [[h.chunk_id for h in hits] for hits in before] == [[h.chunk_id for h in hits] for hits in compacted]
    names = _lexical_files(path)
    if damage == "flipped":
        _flip(path / names[0], 5)
    elif damage == "missing":
        (path / names[-1]).unlink()
    elif damage == "all":
        shutil.rmtree(path / read_manifest(path).lexical)
    broken = {name: (path / name).read_bytes() for name in names if (path / name).exists()}
    generation = read_manifest(path).generation
    manifest = writer.repair(path)
    assert manifest.generation == generation + (damage != "nothing")
    assert damaged_files(path, manifest, hashes=True) == []
    opened = Index.open(path)
    assert opened.search_lexical(queries, 99) == compacted
    opened.close()
    kept = {p.name: p.read_bytes() for p in (path / "quarantine").rglob("*") if p.is_file()}
    if damage in ("flipped", "missing"):
        assert {Path(name).name: data for name, data in broken.items()}.items() <= kept.items()
    else:
        assert kept == {}
    assert writer.repair(path) == manifest


def test_two_repairs_keep_both_damaged_copies(path: Path) -> None:
    for n in (1, 2):
        _flip(path / _lexical_files(path)[0], 5)
        writer.repair(path)
        assert len(list((path / "quarantine").iterdir())) == n
    assert _ids(path) == EXPECTED


@pytest.mark.parametrize("suffix", [".sqlite", ".vectors"])
def test_a_damaged_store_is_not_repaired(path: Path, suffix: str) -> None:
    name = next(name for name in read_manifest(path).files if name.endswith(suffix))
    _flip(path / name, 50)
    before = {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}
    with pytest.raises(IndexDamagedError, match="backup"):
        writer.repair(path)
    # A reader of tantivy may lay down a lock file of its own.
    files = [p for p in path.rglob("*") if p.is_file() and not p.name.endswith(".lock")]
    assert {p: p.read_bytes() for p in files}.items() <= before.items()


def test_damage_is_not_copied_into_new_files(path: Path) -> None:
    # Merging gives old content a new hash; a flipped byte in a text would be the truth from then on.
    for name in [n for n in read_manifest(path).files if n.startswith("segments/")]:
        whole = (path / name).read_bytes()
        text = whole.find("第0版".encode())
        _flip(path / name, text if text >= 0 else len(whole) // 2)
        before = {n: (path / n).read_bytes() for n in ["manifest.json", *read_manifest(path).files]}
        with pytest.raises(IndexDamagedError, match="damaged"):
            writer.compact(path)
        with pytest.raises(IndexDamagedError, match="damaged"):  # large enough to merge with all there is
            writer.update(path, [_document(f"m{i}") for i in range(90)], ENCODER, mode="add")
        assert {n: (path / n).read_bytes() for n in before} == before
        (path / name).write_bytes(whole)
    assert _ids(path) == EXPECTED


def test_damage_is_not_merged_into_the_lexical_part(path: Path) -> None:
    # tantivy merges its segments when there are eight or so: some commit must read the damaged one, and notice.
    name = next(n for n in _lexical_files(path) if n.endswith(".idx"))
    _flip(path / name, 3)
    committed = set(EXPECTED)
    with pytest.raises(IndexDamagedError):
        for i in range(30):
            writer.update(path, [_document(f"m{i}")], ENCODER, mode="add")
            committed.add(f"m{i}")
            manifest = read_manifest(path)
            assert len(damaged_files(path, manifest, hashes=True)) == 1, "the damage stays visible"
    writer.repair(path)
    assert _ids(path) == committed


@pytest.mark.parametrize("what", ["manifest", "segment", "lexical", "version"])
def test_overwriting_sets_a_damaged_index_aside(path: Path, what: str) -> None:
    old = read_manifest(path)
    segment = f"segments/{old.segments[0].name}.sqlite"
    name = {"segment": segment, "lexical": _lexical_files(path)[0]}.get(what, "manifest.json")
    if what == "version":
        body = json.loads((path / name).read_text("utf-8"))
        (path / name).write_text(json.dumps({**body, "format_version": 9}), "utf-8")
    else:
        _flip(path / name, 20)
    damaged = {n: (path / n).read_bytes() for n in ["manifest.json", *old.files]}
    # The same documents again: nothing of the damaged files may be taken up.
    writer.build(path, [_document(f"d{i}") for i in range(40)], ENCODER, overwrite=True)
    writer.update(path, [_document("later")], ENCODER, mode="add")
    writer.compact(path)  # by now the old generation is swept away
    assert damaged_files(path, read_manifest(path), hashes=True) == []
    assert _ids(path) == {f"d{i}" for i in range(40)} | {"later"}
    (aside,) = (path / "quarantine").iterdir()
    assert {n: (aside / n).read_bytes() for n in damaged} == damaged


def test_a_sound_index_is_replaced_and_not_set_aside(path: Path) -> None:
    writer.build(path, [_document("a")], ENCODER, overwrite=True)
    assert not (path / "quarantine").exists()
    assert _ids(path) == {"a"}


# --- an error at any moment -------------------------------------------------------------------------------------------


def _calls(path: Path) -> dict[str, tuple[Callable[[], object], set[str]]]:
    base = set(EXPECTED)
    return {
        "add": (lambda: writer.update(path, [_document("x"), _document("y")], ENCODER, mode="add"), base | {"x", "y"}),
        "delete": (lambda: writer.delete(path, ids=["d1", "n0"]), base - {"d1", "n0"}),
        "compact": (lambda: writer.compact(path), base),
        "build": (lambda: writer.build(path, [_document("z")], ENCODER, overwrite=True), {"z"}),
    }


@pytest.mark.parametrize("verb", ["add", "delete", "compact", "build"])
@pytest.mark.parametrize("kind", ["full", "io", "interrupt", "interrupt after"])
def test_an_error_at_any_durable_call(folder: Path, path: Path, killing: ModuleType, verb: str, kind: str) -> None:
    """Each call by which something becomes durable fails once: the index is from before or after the call, whole."""
    error: BaseException = {
        "full": OSError(errno.ENOSPC, "No space left on device"),
        "io": OSError(errno.EIO, "Input/output error"),
    }.get(kind, KeyboardInterrupt())
    step = {"full": 5, "io": 8, "interrupt": 5, "interrupt after": 3}[kind]
    outcomes = set()
    for point in range(0, 1000, step):
        work = folder / f"work-{point}"  # anew each time: tantivy's thread may still touch the folder of the one before
        shutil.copytree(path, work)
        left = point

        def failing(function: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any, **options: Any) -> Any:
                nonlocal left
                left -= 1
                if left == -1 and kind != "interrupt after":
                    raise error
                value = function(*arguments, **options)
                if left == -1:
                    raise error
                return value

            return call

        command, after = _calls(work)[verb]
        restore = killing.hook(failing)
        try:
            command()
        except ChiMedError as caught:
            assert isinstance(caught, IndexError_)
            assert ("full" if kind == "full" else "cannot be written") in str(caught)
        except KeyboardInterrupt:
            assert kind.startswith("interrupt")
        finally:
            restore()
        if left >= 0:
            break
        assert damaged_files(work, read_manifest(work), hashes=True) == [], point
        found = _ids(work)
        assert found in (EXPECTED, after), point
        outcomes.add(found == after)
        command()  # the same again
        assert _ids(work) == after, point
        assert not list((work / "segments").glob("*.tmp"))
    else:
        pytest.fail("more points than can be")
    if kind == "interrupt after" and verb != "compact":
        assert outcomes == {True, False}  # some interruptions came after the commit
    elif verb != "compact":
        assert False in outcomes


def test_interrupting_a_finished_commit_keeps_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Ctrl-C between the replacement of the manifest and the return: the cleaning up must not take the new files away.
    def interrupted(folder: Path, manifest: Any) -> None:
        original(folder, manifest)
        raise KeyboardInterrupt

    original = commit.write_manifest
    monkeypatch.setattr(commit, "write_manifest", interrupted)
    with pytest.raises(KeyboardInterrupt):
        writer.update(path, [_document("x")], ENCODER, mode="add")
    monkeypatch.undo()
    assert _ids(path) == EXPECTED | {"x"}
