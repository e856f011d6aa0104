"""The verbs of writing: what an index holds after any sequence of them, what they refuse, two writers at once."""

from __future__ import annotations

import math
import os
import random
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from chimed_rag.config import Chunking
from chimed_rag.encoders.hashing import HashingEncoder
from chimed_rag.errors import (
    DuplicateError,
    EncoderError,
    IndexError_,
    IndexLockedError,
    IndexMismatchError,
    IndexMissingError,
    InputError,
)
from chimed_rag.indexing import lock, writer
from chimed_rag.indexing.index import Index
from chimed_rag.indexing.lock import exclusive
from chimed_rag.indexing.manifest import damaged_files, read_manifest
from chimed_rag.records import Document

ENCODER = HashingEncoder(32)
COMMON = {"患者": 1.0}


def _document(name: str, revision: int = 0, **rest: Any) -> Document:
    return Document(id=name, text=f"患者{name}，第{revision}版。口服。", metadata={"revision": revision}, **rest)


def _held(path: Path) -> dict[str, Document]:
    index = Index.open(path)
    try:
        held = {d.id: d for d in index.store.documents()}
        dense = {h.chunk_id for h in index.search_dense(ENCODER.encode_queries(["患者"]), 10_000)[0]}
        lexical = {h.chunk_id for h in index.search_lexical([COMMON], 10_000)[0]}
        assert dense == lexical == {f"{name}#0000" for name in held}
        counts = index.manifest.counts
        assert (counts.documents, counts.chunks) == (len(held), len(dense))
        assert counts.deleted_chunks == len(index.store.rows) - len(dense)
        assert index.lexical.document_frequency("患者") >= len(dense)
        assert all(index.document(name) == held[name] for name in held)
        return held
    finally:
        index.close()


def _snapshot(path: Path) -> dict[str, bytes]:
    """Every byte of the current generation and its manifest."""
    names = ["manifest.json", *read_manifest(path).files]
    return {name: (path / name).read_bytes() for name in names}


# --- contents --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2])
def test_any_sequence_of_verbs_agrees_with_a_dictionary(folder: Path, judging: ModuleType, seed: int) -> None:
    chance, path = random.Random(seed), folder / "index"
    model = {f"d{i}": _document(f"d{i}") for i in range(5)}
    writer.build(path, list(model.values()), ENCODER)
    generation = 1
    for step in range(45):
        verb = chance.choice(["add", "add", "upsert", "upsert", "delete", "where", "compact", "nothing"])
        names = [f"d{chance.randrange(40)}" for _ in range(chance.randint(1, 4))]
        before = dict(model)
        if verb == "add":
            new = [_document(name, step) for name in dict.fromkeys(names) if name not in model]
            changes = writer.update(path, new, ENCODER, mode="add")
            assert changes == (len(new), 0, 0, 0, 0)
            model |= {d.id: d for d in new}
        elif verb == "upsert":
            new = [_document(name, step) for name in dict.fromkeys(names)]
            changes = writer.update(path, new, ENCODER, mode="upsert")
            assert changes.updated == sum(d.id in model for d in new)
            assert changes.added == len(new) - changes.updated
            model |= {d.id: d for d in new}
        elif verb == "delete":
            assert writer.delete(path, ids=[*names, "absent"]).deleted == len(set(names) & model.keys())
            model = {name: d for name, d in model.items() if name not in names}
        elif verb == "where":
            revision = chance.randrange(step + 1)
            writer.delete(path, where={"revision": revision})
            model = {name: d for name, d in model.items() if d.metadata["revision"] != revision}
        elif verb == "compact":
            manifest = writer.compact(path)
            assert manifest.counts.deleted_chunks == 0
            generation += 1
        else:
            same = writer.update(path, list(model.values()), ENCODER, mode=chance.choice(["add", "upsert"]))
            assert same == (0, 0, len(model), 0, 0)
        generation += model != before
        assert read_manifest(path).generation == generation
        if step % 3 == 0:
            assert _held(path) == model
    writer.compact(path)
    assert _held(path) == model
    index = Index.open(path)
    assert index.manifest.sources == ({"": len(model)} if model else {})
    found = _signature(index)
    index.close()
    writer.build(folder / "fresh", list(model.values()), ENCODER)
    index = Index.open(folder / "fresh")
    assert judging.same_signature(found, _signature(index))
    index.close()


def _signature(index: Index) -> list[list[tuple[str, float]]]:
    queries = ["患者d3", "第7版", "口服"]
    dense = index.search_dense(ENCODER.encode_queries(queries), 50)
    lexical = index.search_lexical([{"患者": 1.0, "口服": 0.5}, {"第": 1.0}], 50)
    return [[(h.chunk_id, h.score) for h in hits] for hits in (*dense, *lexical)]


def test_many_small_adds_leave_few_segments(folder: Path) -> None:
    path = folder / "index"
    writer.build(path, [_document("d0")], ENCODER)
    for i in range(1, 300):
        writer.update(path, [_document(f"d{i}")], ENCODER, mode="add")
    manifest = read_manifest(path)
    # Sizes fall by at least half from one segment to the next, and 2^9 > 300.
    assert len(manifest.segments) <= 9
    assert sum(entry.rows for entry in manifest.segments) == 300
    assert _held(path) == {f"d{i}": _document(f"d{i}") for i in range(300)}
    # Nothing but this generation and the one before is left on the disk.
    assert len(list((path / "lexical").iterdir())) == 2
    assert len(list((path / "segments").iterdir())) <= 2 * (9 + 9)


def test_deletions_survive_merges_and_come_back(folder: Path) -> None:
    path = folder / "index"
    writer.build(path, [_document(f"d{i}") for i in range(100)], ENCODER)
    writer.delete(path, ids=[f"d{i}" for i in range(0, 100, 2)])
    for i in range(60):  # small segments that merge with the one that holds the tombstones
        writer.update(path, [_document(f"n{i}")], ENCODER, mode="add")
        if i % 10 == 5:
            writer.delete(path, ids=[f"n{i}", f"d{i}"])
    gone = (
        {f"n{i}" for i in range(5, 60, 10)} | {f"d{i}" for i in range(5, 60, 10)} | {f"d{i}" for i in range(0, 100, 2)}
    )
    expected = {f"d{i}" for i in range(100)} | {f"n{i}" for i in range(60)}
    assert _held(path).keys() == expected - gone
    writer.update(path, [_document("d0", 1), _document("n5", 0)], ENCODER, mode="add")
    held = _held(path)
    assert held.keys() == (expected - gone) | {"d0", "n5"}
    assert held["d0"].metadata == {"revision": 1}


def test_an_index_can_be_emptied_and_filled_again(folder: Path) -> None:
    path = folder / "index"
    writer.build(path, [_document("a"), _document("b")], ENCODER)
    writer.delete(path, where={"revision": 0})
    assert _held(path) == {}
    writer.compact(path)
    assert _held(path) == {}
    writer.update(path, [_document("a")], ENCODER, mode="upsert")
    assert _held(path).keys() == {"a"}


def test_a_large_upsert_spans_segments(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from chimed_rag.indexing import commit

    monkeypatch.setattr(commit, "SEGMENT_ROWS", 16)
    path = folder / "index"
    writer.build(path, [_document(f"d{i}") for i in range(100)], ENCODER)
    changes = writer.update(path, [_document(f"d{i}", 1) for i in range(50, 150)], ENCODER, mode="upsert")
    assert changes == (50, 50, 0, 0, 0)
    held = _held(path)
    assert {name: d.metadata["revision"] for name, d in held.items()} == {
        f"d{i}": int(i >= 50) for i in range(150)
    }  # fmt: skip


WEIRD: dict[str, Any] = {
    "nan": float("nan"), "infinite": [float("inf"), float("-inf")], "huge": 10**300, "negative": -(2**63) - 1,
    "edge": 2**63 - 1,    "nested": {"a": {"b": [1, {"c": None}]}, "空": "值"}, "flag": True,
    "list": ["x", 1, 1.0, True, None, ["y"]],
    "unicode": "𠮷🙂\u200b\x00\n", "long": "值" * 10_000, "": "empty key", "键\x00名": 1, "none": None,
    "id": "other", "$gt": 3,
}  # fmt: skip


def _identical(left: Any, right: Any) -> bool:
    if isinstance(left, float) and isinstance(right, float):
        return left == right or (math.isnan(left) and math.isnan(right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_identical(left[k], right[k]) for k in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_identical, left, right))
    return type(left) is type(right) and left == right


def test_documents_come_back_as_they_were(folder: Path) -> None:
    ids = [
        "a#0000",
        "引号\"'`;--",
        "🙂👩‍⚕️",
        "x" * 512,
        "药" * 512,
        " ",
        "a/../b",
        "%00",
        "a\nb",
        "a\x00b",
        "a",
        "A",
        "a ",
    ]
    documents = [
        Document(id=name, text=f"患者{n}。\x00\r\n尾 \u2028", title=name[:20], source=f"folder/f.md:{n}", url="http://x",
                 date="2020", licence="CC0", metadata=WEIRD, pages=(0, 2))
        for n, name in enumerate(ids)
    ]  # fmt: skip
    path = folder / "in dex#?%41'空"
    writer.build(path, documents[:6], ENCODER)
    for document in documents[6:]:
        writer.update(path, [document], ENCODER, mode="add")
    for _ in range(2):
        index = Index.open(path)
        held = list(index.store.documents())
        for document, back in zip(documents, held, strict=True):
            assert _identical(document.metadata, back.metadata)
            assert document.model_dump(exclude={"metadata"}) == back.model_dump(exclude={"metadata"})
            found = index.search_lexical([COMMON], 5, {"id": document.id})[0]
            assert [h.document_id for h in found] == [document.id]
            passage = index.passages([found[0].row])[found[0].row]
            assert passage.chunk.id == found[0].chunk_id == f"{document.id}#0000"
        for condition in ({"edge": 2**63 - 1}, {"flag": 1}, {"list": "x"}, {"long": "值" * 10_000}, {"键\x00名": 1}):
            assert len(index.search_lexical([COMMON], 99, condition)[0]) == len(documents), condition
            assert len(index.search_dense(ENCODER.encode_queries(["患者"]), 99, condition)[0]) == len(documents)
        assert not index.search_lexical([COMMON], 99, {"nan": {"$exists": True}})[0]
        index.close()
        writer.compact(path)
    assert writer.delete(path, ids=ids[:3]).deleted == 3
    assert [d.id for d in Index.open(path).store.documents()] == ids[3:]


def test_chunks_point_into_their_document(folder: Path, shared: ModuleType) -> None:
    documents = [shared.document(9, n) for n in range(40)]
    writer.build(folder / "index", documents, ENCODER, chunking=Chunking(max_chars=40, min_chars=0))
    index = Index.open(folder / "index")
    passages = index.passages(index.store.rows.tolist())
    assert len(passages) == len(index) > 60
    for passage in passages.values():
        expected = documents[int(passage.document.id[4:])]
        assert index.document(expected.id) == expected
        assert (passage.document.title, passage.document.metadata) == (expected.title, expected.metadata)
        chunk = passage.chunk
        parts = [expected.text[begin:end] for begin, end in chunk.source_spans(0, len(chunk.text))]
        assert "".join(parts) == chunk.text or chunk.runs
        assert all(part in chunk.text for part in parts)
        assert expected.text[chunk.start] == chunk.text[0]
    index.close()


# --- what is refused -------------------------------------------------------------------------------------------------


def test_one_id_with_two_texts(folder: Path) -> None:
    path = folder / "index"
    writer.build(path, [_document("a"), _document("b")], ENCODER)
    before = _snapshot(path)
    with pytest.raises(DuplicateError, match="upsert"):
        writer.update(path, [_document("c"), _document("a", 1)], ENCODER, mode="add")
    assert _snapshot(path) == before
    for mode in ("add", "upsert"):
        with pytest.raises(DuplicateError, match="twice"):
            writer.update(path, [_document("c"), _document("c", 1)], ENCODER, mode=mode)
        assert _snapshot(path) == before
    with pytest.raises(DuplicateError, match="twice") as caught:
        writer.build(folder / "new", [_document("a", source="f.csv:2"), _document("a", 1, source="f.csv:3")], ENCODER)
    assert caught.value.path == "f.csv:3"
    with pytest.raises(IndexMissingError):
        Index.open(folder / "new")
    writer.build(folder / "new", [_document("a")], ENCODER)  # and the folder can be used
    assert _held(folder / "new").keys() == {"a"}
    assert writer.update(path, [_document("c"), _document("c")], ENCODER, mode="add") == (1, 0, 1, 0, 0)


def test_documents_without_text(folder: Path) -> None:
    with pytest.raises(IndexError_, match="nothing to index"):
        writer.build(folder / "none", [Document(id="a", text=""), Document(id="b", text=" \n\t\u3000")], ENCODER)
    with pytest.raises(IndexError_, match="nothing to index"):
        writer.build(folder / "none", [], ENCODER)
    with pytest.raises(IndexMissingError):
        Index.open(folder / "none")
    _, changes = writer.build(folder / "some", [Document(id="a", text=""), _document("b")], ENCODER)
    assert changes == (1, 0, 0, 0, 1)
    assert writer.update(folder / "some", [Document(id="c", text=" ")], ENCODER, mode="add") == (0, 0, 0, 0, 1)
    assert read_manifest(folder / "some").generation == 1
    assert _held(folder / "some").keys() == {"b"}


@pytest.mark.parametrize("part", ["text", "title", "source", "url", "date", "licence", "metadata", "key"])
def test_lone_surrogates(folder: Path, part: str) -> None:
    path, broken = folder / "index", "坏\ud800字"
    writer.build(path, [_document("a")], ENCODER)
    before = _snapshot(path)
    fields: dict[str, Any] = {"id": "x", "text": "患者"}
    fields |= (
        {"metadata": {"k": [broken]}}
        if part == "metadata"
        else {"metadata": {broken: 1}}
        if part == "key"
        else {part: broken}
    )
    with pytest.raises(InputError, match="UTF-8"):
        writer.update(path, [_document("b"), Document(**fields)], ENCODER, mode="add")
    assert _snapshot(path) == before
    # Asking for one is no accident either: nothing has such an id.
    assert writer.delete(path, ids=[broken]).deleted == 0
    index = Index.open(path)
    assert index.document(broken) is None
    index.close()


class _Broken(HashingEncoder):
    """Gives what an encoder must not, after `good` texts."""

    def __init__(self, how: str, good: int = 0) -> None:
        super().__init__(32)
        self.how, self.good = how, good

    def encode_documents(self, texts: Sequence[str]) -> Any:
        vectors = super().encode_documents(texts)
        self.good -= len(texts)
        if self.good >= 0:
            return vectors
        if self.how == "nan":
            vectors[-1, 3] = np.nan
        elif self.how == "infinite":
            vectors[0, 0] = np.inf
        elif self.how == "shape":
            return vectors[:, :-1]
        elif self.how == "fewer":
            return vectors[:-1]
        elif self.how == "value":
            raise ValueError("No space left on device, said the tokenizer")
        elif self.how == "system":
            raise PermissionError(13, "Permission denied", "/models/x")
        return vectors


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("nan", EncoderError), ("infinite", EncoderError), ("shape", EncoderError), ("fewer", EncoderError),
        ("value", ValueError), ("system", PermissionError),
    ],
)  # fmt: skip
@pytest.mark.parametrize("good", [0, 20])
def test_a_broken_encoder(
    folder: Path, monkeypatch: pytest.MonkeyPatch, how: str, error: type[Exception], good: int
) -> None:
    from chimed_rag.indexing import commit

    monkeypatch.setattr(commit, "SEGMENT_ROWS", 8)
    path, documents = folder / "index", [_document(f"d{i}") for i in range(40)]
    writer.build(path, documents[:5], ENCODER)
    before = _snapshot(path)
    with pytest.raises(error):
        writer.update(path, documents, _Broken(how, good), mode="add")
    assert _snapshot(path) == before
    with pytest.raises(error):  # what the first call had encoded is taken up
        writer.update(path, documents, _Broken(how, good // 2), mode="upsert")
    assert _snapshot(path) == before
    with pytest.raises(error):
        writer.build(path, documents, _Broken(how, good), overwrite=True)
    assert _snapshot(path) == before
    assert damaged_files(path, read_manifest(path), hashes=True) == []
    assert _held(path).keys() == {f"d{i}" for i in range(5)}
    writer.update(path, documents, ENCODER, mode="add")
    assert _held(path).keys() == {f"d{i}" for i in range(40)}


@pytest.mark.parametrize(
    "error", [RuntimeError("x"), PermissionError(13, "no", "/literature"), OSError(28, "full"), KeyboardInterrupt()]
)
def test_an_error_of_the_documents_is_told_as_it_is(folder: Path, error: BaseException) -> None:
    def documents() -> Iterator[Document]:
        yield _document("b")
        raise error

    path = folder / "index"
    writer.build(path, [_document("a")], ENCODER)
    before = _snapshot(path)
    with pytest.raises(type(error)) as caught:
        writer.update(path, documents(), ENCODER, mode="add")
    assert caught.value is error
    assert _snapshot(path) == before
    assert _held(path).keys() == {"a"}


def test_an_index_of_another_encoder(folder: Path) -> None:
    path = folder / "index"
    writer.build(path, [_document("a")], ENCODER)
    before = _snapshot(path)
    with pytest.raises(IndexMismatchError, match=r"dimension 32.*dimension 33"):
        writer.update(path, [_document("b")], HashingEncoder(33), mode="add")
    assert _snapshot(path) == before


def test_no_index_or_no_folder(folder: Path) -> None:
    (folder / "file").write_text("text")
    (folder / "empty").mkdir()
    for name in ("nowhere", "file", "empty"):
        with pytest.raises(IndexMissingError):
            Index.open(folder / name)
        with pytest.raises(IndexMissingError):
            writer.update(folder / name, [_document("a")], ENCODER, mode="add")
        for call in (writer.compact, writer.repair):
            with pytest.raises(IndexMissingError):
                call(folder / name)
    with pytest.raises(InputError, match="file"):
        writer.build(folder / "file", [_document("a")], ENCODER)
    with pytest.raises(InputError):
        writer.build(folder / "file" / "index", [_document("a")], ENCODER)
    assert not (folder / "nowhere").exists()
    assert (folder / "file").read_text() == "text"


def test_a_folder_with_other_files_is_left_alone(folder: Path) -> None:
    (folder / "thesis.docx").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(InputError, match=r"thesis\.docx"):
            writer.build(folder, [_document("a")], ENCODER, overwrite=overwrite)
    assert [path.name for path in folder.iterdir()] == ["thesis.docx"]


def test_deletions_that_cannot_be_meant(folder: Path) -> None:
    path = folder / "index"
    writer.build(path, [_document("a"), _document("b")], ENCODER)
    before = _snapshot(path)
    calls: list[dict[str, Any]] = [
        {}, {"ids": []}, {"where": {}}, {"ids": "a"}, {"where": {"revision": {}}}, {"where": {"$and": [{}]}},
        {"where": {"revision": {"$near": 1}}},
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(InputError):
            writer.delete(path, **call)
        assert _snapshot(path) == before
    assert writer.delete(path, ids=["absent"]).deleted == 0
    assert writer.delete(path, where={"revision": 9}).deleted == 0
    assert _snapshot(path) == before
    assert writer.delete(path, ids=["a", "a"], where={"id": "a"}).deleted == 1


# --- overwrite -------------------------------------------------------------------------------------------------------


def test_overwriting_leaves_readers_their_generation(folder: Path) -> None:
    path = folder / "index"
    old = [_document(f"old{i}") for i in range(30)]
    writer.build(path, old, ENCODER)
    with pytest.raises(InputError, match="overwrite"):
        writer.build(path, [_document("new")], ENCODER)
    reader = Index.open(path)
    before = _signature(reader)
    other = HashingEncoder(20)
    for n in range(3):
        writer.build(path, [_document(f"new{n}")], other, overwrite=True, storage="fp32")
        assert _signature(reader) == before
        assert list(reader.store.documents()) == old
    reader.close()
    index = Index.open(path)
    assert [d.id for d in index.store.documents()] == ["new2"]
    assert index.manifest.encoder == other.spec
    assert index.manifest.generation == 4
    index.close()


# --- two writers -----------------------------------------------------------------------------------------------------

_ADDING = """
import sys
from pathlib import Path
from chimed_rag.encoders.hashing import HashingEncoder
from chimed_rag.indexing import writer
from chimed_rag.records import Document
print("ready", flush=True); sys.stdin.readline()
for i in range(12):
    writer.update(Path(sys.argv[1]), [Document(id=f"{sys.argv[2]}{i}", text="患者")], HashingEncoder(32), mode="add")
"""


def test_two_processes_write_at_once(folder: Path) -> None:
    path = folder / "index"
    writer.build(path, [_document("a")], ENCODER)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _ADDING, str(path), name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for name in ("x", "y")
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.wait(60) for process in processes] == [0, 0]
    for process in processes:
        process.communicate()
    assert _held(path).keys() == {"a"} | {f"{name}{i}" for name in "xy" for i in range(12)}
    assert read_manifest(path).generation == 25


def test_a_writer_that_waits_too_long_is_told_who_writes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "index"
    writer.build(path, [_document("a")], ENCODER)
    monkeypatch.setattr(lock, "WAIT_SECONDS", 0.1)
    with exclusive(path), pytest.raises(IndexLockedError, match=str(os.getpid())):
        writer.update(path, [_document("b")], ENCODER, mode="add")
    assert _held(path).keys() == {"a"}  # a reader needs no lock
    writer.update(path, [_document("b")], ENCODER, mode="add")
    assert _held(path).keys() == {"a", "b"}


def test_a_writer_waits_for_the_other(folder: Path) -> None:
    path = folder / "index"
    writer.build(path, [_document("a")], ENCODER)
    entered, release = threading.Event(), threading.Event()

    def hold() -> None:
        with exclusive(path):
            entered.set()
            release.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    entered.wait(20)
    waiting = threading.Thread(target=lambda: writer.delete(path, ids=["a"]))
    waiting.start()
    time.sleep(0.1)
    assert read_manifest(path).generation == 1
    release.set()
    waiting.join(20)
    holder.join(20)
    assert _held(path) == {}


def test_a_lock_file_that_was_removed_locks_no_longer(folder: Path) -> None:
    # A build that fails removes its folder: who waited for that file must not think that it holds the lock.
    entered, release = threading.Event(), threading.Event()

    def wait_and_hold() -> None:
        with exclusive(folder, wait=20):
            entered.set()
            release.wait(20)

    waiting = threading.Thread(target=wait_and_hold)
    with exclusive(folder):
        waiting.start()
        time.sleep(0.1)
        (folder / ".lock").unlink()
    assert entered.wait(20)
    with pytest.raises(IndexLockedError), exclusive(folder, wait=0):
        pass
    release.set()
    waiting.join(20)
    with exclusive(folder, wait=0):
        pass


def test_files_can_be_read_by_others(folder: Path) -> None:
    # tantivy makes its files for the owner alone; a shared index must be readable under the usual umask.
    previous = os.umask(0o022)
    try:
        writer.build(folder / "index", [_document("a")], ENCODER)
    finally:
        os.umask(previous)
    for name in ["manifest.json", *read_manifest(folder / "index").files]:
        assert stat.S_IMODE((folder / "index" / name).stat().st_mode) & 0o044 == 0o044, name
