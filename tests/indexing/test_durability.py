"""A process killed while it writes loses nothing that was committed; readers never see half a write.

The experiments are those of `benchmarks/durability.py` and `concurrent_reads.py`, with few kills and
writes. Not covered: power loss.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from chimed_rag.encoders.hashing import HashingEncoder
from chimed_rag.indexing import commit, writer
from chimed_rag.indexing.index import Index
from chimed_rag.records import Document

OPERATIONS = ("build", "add", "upsert", "delete", "compact")


@pytest.mark.parametrize("operation", OPERATIONS)
def test_killed_at_random_moments(durability: ModuleType, killing: ModuleType, folder: Path, operation: str) -> None:
    with killing.Workers() as workers:
        result = durability.kill_randomly(workers, operation, 8, 20, folder)
    assert result.failures == []
    assert (result.kills, result.whole, result.lost, result.extra) == (8, 8, 0, 0)
    assert result.equal_after_compact == result.compared == 8


@pytest.mark.parametrize(
    ("operation", "step"), [("build", 4), ("add", 11), ("upsert", 11), ("delete", 9), ("compact", 5)]
)
def test_killed_between_two_durable_calls(
    durability: ModuleType, killing: ModuleType, folder: Path, operation: str, step: int
) -> None:
    with killing.Workers() as workers:
        result = durability.kill_at_points(workers, operation, 21, folder, step=step)
    assert result.failures == []
    assert result.kills >= 5
    assert result.mid_operation >= 5
    assert result.whole == result.equal_after_compact == result.kills


def test_three_readers_beside_a_writer(concurrent_reads: ModuleType, folder: Path) -> None:
    result = concurrent_reads.read_while_writing(150, folder / "index")
    assert result.failures == []
    assert (result.inconsistent, result.failed_opens) == (0, 0)
    assert result.reads > 30
    assert result.generations > 10


def test_the_judge_notices_lost_and_extra_documents(
    shared: ModuleType, killing: ModuleType, judging: ModuleType, folder: Path
) -> None:
    # The experiment itself must be able to fail: an index that lost one document, has one too many, or is cut.
    killing.prepare(folder / "lost", 20)
    writer.delete(folder / "lost", ids=["doc-001"])
    killing.prepare(folder / "extra", 20)
    writer.update(folder / "extra", [Document(id="foreign", text="头痛。")], shared.ENCODER, mode="add")
    killing.prepare(folder / "cut", 20)
    next((folder / "cut" / "segments").glob("*.vectors")).write_bytes(b"")
    result = judging.Kills("delete", "made up")
    judge = judging.Judge("delete", 20)
    for name in ("lost", "extra", "cut"):
        judge.judge(folder / name, False, result, name, again=False)
    assert (result.lost, result.extra, result.whole) == (1, 1, 2)
    assert [failure.split(":")[0] for failure in result.failures] == ["lost", "extra", "cut"]


def test_the_signature_notices_another_order_and_another_score(judging: ModuleType) -> None:
    one = [[("a#0000", 1.0), ("b#0000", 0.5)]]
    assert judging.same_signature(one, [[("a#0000", 1.0 + 1e-7), ("b#0000", 0.5)]])
    assert not judging.same_signature(one, [[("b#0000", 1.0), ("a#0000", 0.5)]])
    assert not judging.same_signature(one, [[("a#0000", 1.0), ("b#0000", 0.4999)]])
    assert not judging.same_signature(one, [[("a#0000", 1.0)]])


class _Counting(HashingEncoder):
    """Counts the texts that it encodes; ends its process, by SIGKILL, when it has seen `limit`."""

    def __init__(self, limit: int | None = None) -> None:
        super().__init__(32)
        self.limit, self.seen = limit, 0

    def encode_documents(self, texts):  # type: ignore[no-untyped-def]
        if self.limit is not None and self.seen + len(texts) > self.limit:
            os.kill(os.getpid(), signal.SIGKILL)
        self.seen += len(texts)
        return super().encode_documents(texts)


def _documents(n: int) -> list[Document]:
    return [Document(id=f"d{i:04d}", text=f"第{i}位患者，血压{100 + i}/80mmHg，每日口服。") for i in range(n)]


_KILLED_BUILD = """
import sys; from pathlib import Path
sys.path.insert(0, sys.argv[1])
import pytest, test_durability as t
from chimed_rag.indexing import commit, writer
commit.SEGMENT_ROWS = 50
verb, folder = sys.argv[2], Path(sys.argv[3])
if verb == "build":
    writer.build(folder, t._documents(330), t._Counting(270))
else:
    writer.update(folder, t._documents(330), t._Counting(170), mode=verb)
"""


@pytest.mark.parametrize(("verb", "before", "again"), [("build", 0, 80), ("add", 100, 80), ("upsert", 100, 80)])
def test_a_killed_call_resumes_without_encoding_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, verb: str, before: int, again: int
) -> None:
    # 330 documents of one chunk, killed on the way from 250 to 300: five segments of 50 are there. 80 are left.
    monkeypatch.setattr(commit, "SEGMENT_ROWS", 50)
    path = folder / "index"
    if before:
        writer.build(path, _documents(before), _Counting())
    command = [sys.executable, "-c", _KILLED_BUILD, str(Path(__file__).parent), verb, str(path)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    encoder = _Counting()
    if verb == "build":
        writer.build(path, _documents(330), encoder)
    else:
        writer.update(path, _documents(330), encoder, mode="add" if verb == "add" else "upsert")
    assert encoder.seen == again
    index = Index.open(path)
    assert [d.id for d in index.store.documents()] == [f"d{i:04d}" for i in range(330)]
    # What was taken up has the right vectors: each document is its own best hit.
    vectors = encoder.encode_queries([d.text for d in _documents(330)])
    best = index.search_dense(vectors, 1)
    found = sum(hits[0].document_id == f"d{i:04d}" for i, hits in enumerate(best))
    index.close()
    assert found > 320  # a few differ in one digit only, and int8 cannot tell them apart


def test_another_text_is_not_taken_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "SEGMENT_ROWS", 50)
    command = [sys.executable, "-c", _KILLED_BUILD, str(Path(__file__).parent), "build", str(folder / "index")]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    changed = [d.model_copy(update={"text": d.text + "复查。", "content_hash": ""}) for d in _documents(330)]
    changed = [Document.model_validate(json.loads(d.model_dump_json())) for d in changed]
    encoder = _Counting()
    writer.build(folder / "index", changed, encoder)
    assert encoder.seen == 330
    index = Index.open(folder / "index")
    assert [d.text for d in index.store.documents()] == [d.text for d in changed]
    assert len(list((folder / "index" / "segments").glob("*.sqlite"))) == len(index.manifest.segments)
    index.close()


def test_vectors_of_another_range_are_not_taken_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Of a killed build the second segment is left, with codes of range 1; the new first segment has range 2.
    monkeypatch.setattr(commit, "SEGMENT_ROWS", 50)
    command = [sys.executable, "-c", _KILLED_BUILD, str(Path(__file__).parent), "build", str(folder / "index")]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    first = min((folder / "index" / "segments").glob("*.sqlite"))
    first.unlink()
    monkeypatch.setattr(commit, "_code_range", lambda vectors: 2.0)
    encoder = _Counting()
    writer.build(folder / "index", _documents(330), encoder)
    assert encoder.seen == 330
    index = Index.open(folder / "index")
    assert {segment.form.scale for segment in index.store.segments} == {2.0}
    index.close()
