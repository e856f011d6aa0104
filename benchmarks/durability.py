"""Is a committed document ever lost? Processes are killed while they write, others read while one writes.

`python benchmarks/durability.py --kills 200 --writes 2000` makes three experiments on Chinese documents of its own and
exits 1 if any of them found a failure:

- kills: SIGKILL at moments spread over the whole duration of build, add, upsert, delete and compact. The index must
  open whole, hold the documents from before or after the call and nothing in between, and after `compact` give the
  same hits with the same scores as a fresh build of the same documents.
- points: the same, killed just before each call that makes something durable or visible (fsync, replace, link, unlink,
  mkdir, a finished segment, a finished lexical index), so that no gap between two of them is left to luck.
- readers: three processes open, search and keep pinned generations while another makes N writes; every document
  carries the number of its write, and no reader may see two of them at once.

Not covered: power loss (the kernel lives on, so what was written but not fsynced survives a SIGKILL) and Windows.
`tests/indexing/test_durability.py` runs the same functions with small counts.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any

import faiss  # noqa: F401 - loaded here, so that the forked workers need not
import tantivy  # noqa: F401

from chimed_rag.config import Chunking
from chimed_rag.encoders.hashing import HashingEncoder
from chimed_rag.errors import IndexMissingError
from chimed_rag.indexing import commit, writer
from chimed_rag.indexing.index import Index
from chimed_rag.indexing.lexical import LexicalWriter
from chimed_rag.indexing.manifest import Storage, damaged_files
from chimed_rag.indexing.segment import SegmentWriter
from chimed_rag.records import Document
from chimed_rag.text import terms

ENCODER = HashingEncoder(64)
CHUNKING = Chunking(max_chars=60, min_chars=0)
STORAGES: tuple[Storage, ...] = ("int8", "fp16", "fp32")
_WORDS = re.findall(
    r"\S+",
    "高血压 糖尿病 冠心病 阿司匹林 布洛芬 对乙酰氨基酚 头痛 发热 咳嗽 孕妇 儿童 老年人 剂量 每日两次 口服 "
    "饭后 禁忌 慎用 肝功能 肾功能不全 患者 应当 监测 血糖 心率 感染 抗生素 过敏 皮疹 手术 复查 氨氯地平 二甲"
    "双胍 青霉素 胸痛 呼吸困难 立即 就医",
)
QUERIES = (
    "高血压患者每日两次口服氨氯地平",
    "儿童发热",
    "孕妇慎用布洛芬",
    "肾功能不全患者监测血糖",
    "胸痛立即就医",
    "患者",
)

# --- documents and what an index must hold ------------------------------------------------------------------------

State = dict[str, Document]
"""What an index holds, by document id, in the order in which it was added."""


def document(seed: int, n: int, revision: int = 0) -> Document:
    """The n-th document of a seed; another revision has another text."""
    chance = random.Random(f"{seed}/{n}/{revision}")
    sentences = ["".join(chance.choices(_WORDS, k=chance.randint(2, 9))) + "。" for _ in range(chance.randint(1, 8))]
    return Document(
        id=f"doc-{n:03d}",
        text="".join(sentences),
        title=f"{chance.choice(_WORDS)}指南" if n % 2 else "",
        source="durability",
        metadata={"n": n, "revision": revision, "parity": ["even", "odd"][n % 2]},
    )


def _state(documents: Sequence[Document]) -> State:
    return {d.id: d for d in documents}


@dataclass(frozen=True)
class Case:
    """One call that may be killed: what was there before, the call, and what must be there after."""

    before: State | None
    after: State
    call: Callable[[Path], object]
    storage: Storage


def _base(seed: int) -> State:
    return _state([document(seed, n) for n in range(30) if n not in (3, 4, 17, 29)])


def prepare(folder: Path, seed: int) -> None:
    """An index with a history: several segments, deletions, a document that came back."""
    storage = STORAGES[seed % len(STORAGES)]
    first = [document(seed, n) for n in range(20)]
    writer.build(folder, first, ENCODER, chunking=CHUNKING, storage=storage)
    writer.delete(folder, ids=["doc-003", "doc-004", "doc-005"])
    for n in range(20, 29, 3):
        writer.update(folder, [document(seed, m) for m in range(n, n + 3)], ENCODER, mode="add")
    writer.delete(folder, where={"n": 17})
    writer.update(folder, [document(seed, 5)], ENCODER, mode="add")


def case(operation: str, seed: int) -> Case:
    """The call of one operation and both states that may be found after a kill."""
    base, storage = _base(seed), STORAGES[seed % len(STORAGES)]
    if operation == "build":
        documents = [document(seed, n) for n in range(40)]
        call: Callable[[Path], object] = partial(
            writer.build, documents=documents, encoder=ENCODER, chunking=CHUNKING, storage=storage
        )
        return Case(None, _state(documents), call, storage)
    if operation == "add":
        new = [document(seed, n) for n in range(100, 120)]
        call = partial(writer.update, documents=new, encoder=ENCODER, mode="add")
        return Case(base, base | _state(new), call, storage)
    if operation == "upsert":
        changed = [document(seed, n, revision=1) for n in (0, 5, 11, 19, 20, 25, 28)]
        same = [document(seed, n) for n in (1, 2, 6)]
        new = [document(seed, n) for n in (17, 200, 201)]
        call = partial(writer.update, documents=[*changed, *same, *new], encoder=ENCODER, mode="upsert")
        return Case(base, base | _state([*changed, *new]), call, storage)
    if operation == "delete":
        gone = {f"doc-{n:03d}" for n in (0, 7, 8, 21, 28)}
        call = partial(writer.delete, ids=sorted(gone), where={"$and": [{"parity": "odd"}, {"n": {"$lt": 9}}]})
        left = {k: d for k, d in base.items() if k not in gone and not (int(k[4:]) % 2 and int(k[4:]) < 9)}
        return Case(base, left, call, storage)
    if operation == "compact":
        return Case(base, base, writer.compact, storage)
    raise ValueError(operation)


OPERATIONS = ("build", "add", "upsert", "delete", "compact")


def contents(index: Index) -> State:
    """What an open index holds, by document id."""
    return _state(list(index.store.documents()))


Signature = list[list[tuple[str, float]]]


def signature(index: Index, k: int = 25) -> Signature:
    """Hits and scores of both searches, for a few questions, unfiltered and filtered."""
    vectors = ENCODER.encode_queries(QUERIES)
    weights = [dict.fromkeys(terms(query), 1.0) for query in QUERIES]
    found = []
    for condition in (None, {"parity": "even"}):
        for hits in (index.search_dense(vectors, k, condition), index.search_lexical(weights, k, condition)):
            found += [[(hit.chunk_id, hit.score) for hit in one] for one in hits]
    return found


def same_signature(left: Signature, right: Signature, tolerance: float = 1e-5) -> bool:
    """Whether both hold the same chunks in the same order with scores that differ by no more than rounding."""
    return len(left) == len(right) and all(
        [c for c, _ in a] == [c for c, _ in b]
        and all(abs(s - t) <= tolerance for (_, s), (_, t) in zip(a, b, strict=True))
        for a, b in zip(left, right, strict=True)
    )


def fresh_signature(state: State, storage: Storage) -> Signature:
    """The signature of an index that was built from these documents in one go."""
    with tempfile.TemporaryDirectory() as folder:
        writer.build(Path(folder, "fresh"), list(state.values()), ENCODER, chunking=CHUNKING, storage=storage)
        index = Index.open(Path(folder, "fresh"))
        try:
            return signature(index)
        finally:
            index.close()


# --- a process that forks workers -----------------------------------------------------------------------------------


def _die_at(point: int) -> None:
    """Kills this process just before the point-th call that makes something durable or visible."""
    left = point

    def deadly(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return call

    hook(deadly)


DURABLE_CALLS: tuple[tuple[Any, str], ...] = (
    (os, "fsync"), (os, "link"), (shutil, "rmtree"), (Path, "replace"), (Path, "rename"), (Path, "unlink"),
    (Path, "mkdir"), (Path, "chmod"), (SegmentWriter, "finish"), (LexicalWriter, "commit"), (commit, "write_manifest"),
)  # fmt: skip
"""Everything by which a write becomes durable or visible; `Path` methods call `os` in some Python versions only."""


def hook(wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Callable[[], None]:
    """Puts a wrapper around each of DURABLE_CALLS; returns what takes it off again."""
    originals = [(owner, name, getattr(owner, name)) for owner, name in DURABLE_CALLS]
    for owner, name, function in originals:
        setattr(owner, name, wrap(function))

    def restore() -> None:
        for owner, name, function in originals:
            setattr(owner, name, function)

    return restore


def _work(job: dict[str, Any]) -> None:
    folder = Path(job["folder"])
    acknowledged = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    call = case(job["operation"], job["seed"]).call
    commit.SEGMENT_ROWS = 32  # several segments, so that a killed build has something to take up
    if job["point"] is not None:
        _die_at(job["point"])
    os.write(acknowledged, b"b")
    call(folder)
    os.write(acknowledged, b"d")


def _zygote() -> None:
    """Reads jobs, forks a worker for each, kills it when it is due, and tells its status and how long it ran.

    A worker starts in milliseconds. Only its parent can kill it without ever hitting another process: until the parent
    has asked for the status, nobody else gets the pid.
    """
    for line in sys.stdin:
        job = json.loads(line)
        start = time.monotonic()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                _work(job)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        if job["delay"] is not None:
            time.sleep(job["delay"])
            os.kill(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
        print(json.dumps([status, time.monotonic() - start]), flush=True)


class Workers:
    """Runs single calls in processes that can be killed."""

    def __init__(self) -> None:
        command = [sys.executable, __file__, "--zygote"]
        # Forking is safe only while no library has started threads.
        alone = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=alone)

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(30)

    def run(
        self, operation: str, seed: int, folder: Path, *, delay: float | None = None, point: int | None = None
    ) -> tuple[bool, bool, bool, float]:
        """Runs an operation, killed after `delay` seconds or at a point; (begun, acknowledged, killed, seconds)."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        log = folder.with_name(folder.name + ".log")
        log.unlink(missing_ok=True)
        job = {"operation": operation, "seed": seed, "folder": str(folder), "log": str(log)}
        self._process.stdin.write(json.dumps({**job, "point": point, "delay": delay}) + "\n")
        self._process.stdin.flush()
        status, seconds = json.loads(self._process.stdout.readline())
        if os.WIFEXITED(status) and os.WEXITSTATUS(status):
            raise RuntimeError(f"{operation} failed in the worker (seed {seed}); see standard error")
        told = log.read_bytes() if log.exists() else b""
        return told[:1] == b"b", told == b"bd", os.WIFSIGNALED(status), seconds


# --- kills ----------------------------------------------------------------------------------------------------------


@dataclass
class Kills:
    """What was found after the kills of one operation; `failures` says what went wrong, with its seed."""

    operation: str
    experiment: str
    kills: int = 0
    mid_operation: int = 0
    found_before: int = 0
    found_after: int = 0
    whole: int = 0
    lost: int = 0
    extra: int = 0
    compared: int = 0
    equal_after_compact: int = 0
    failures: list[str] = field(default_factory=list)


class Judge:
    """Compares an index after a kill with what it must hold; remembers the signatures of fresh builds."""

    def __init__(self, operation: str, seed: int) -> None:
        self.case, self._signatures = case(operation, seed), dict[str, Signature]()

    def _fresh(self, name: str, state: State) -> Signature:
        if name not in self._signatures:
            self._signatures[name] = fresh_signature(state, self.case.storage)
        return self._signatures[name]

    def judge(self, folder: Path, acknowledged: bool, result: Kills, label: str, *, again: bool) -> None:
        """Adds what is found in the folder to the result; with `again` the call is made once more before `compact`."""
        found = self._open(folder, result, label)
        if found is None and self.case.before is not None:
            return
        before, after = self.case.before, self.case.after
        expected = after if acknowledged or (found == after and after != before) else before
        if found == expected:
            result.found_after += expected is after
            result.found_before += expected is not after
        else:
            nearest = expected if acknowledged else min(before or {}, after, key=lambda s: _distance(s, found or {}))
            wanted = nearest or {}
            result.lost += sum(1 for k, d in wanted.items() if (found or {}).get(k) != d)
            result.extra += sum(1 for k, d in (found or {}).items() if wanted.get(k) != d)
            result.failures.append(f"{label}: holds neither all nor nothing of the call")
            return
        result.compared += 1
        if found is None or (again and before is not None):  # a build that is complete refuses to be made again
            self.case.call(folder)
            expected = after
        writer.compact(folder)
        index = Index.open(folder)
        try:
            wanted_documents = expected or {}
            equal = contents(index) == wanted_documents and same_signature(
                signature(index), self._fresh("after" if expected is after else "before", wanted_documents)
            )
        finally:
            index.close()
        result.equal_after_compact += equal
        if not equal:
            result.failures.append(f"{label}: search after compact differs from that of a fresh build")

    def _open(self, folder: Path, result: Kills, label: str) -> State | None:
        try:
            index = Index.open(folder)
        except IndexMissingError:
            if self.case.before is None:
                result.whole += 1  # nothing was committed, and that is what is told
            else:
                result.failures.append(f"{label}: the index is gone")
            return None
        except Exception as error:  # whatever it is, it is a finding
            result.failures.append(f"{label}: cannot be opened: {error!r}")
            return None
        try:
            found = contents(index)
            problems = damaged_files(folder, index.manifest, hashes=True)
            problems += _inconsistencies(index, found)
        finally:
            index.close()
        result.whole += not problems
        result.failures.extend(f"{label}: {problem}" for problem in problems)
        return found


def _distance(left: State, right: State) -> int:
    return sum(1 for k in left.keys() | right.keys() if left.get(k) != right.get(k))


def _inconsistencies(index: Index, found: State) -> list[str]:
    """Whether store, dense and lexical part tell of the same chunks."""
    counts = index.manifest.counts
    every = dict.fromkeys([term for d in found.values() for term in terms(d.text + d.title)], 1.0)
    dense = index.search_dense(ENCODER.encode_queries(QUERIES[:1]), 10_000)[0]
    lexical = index.search_lexical([every], 10_000)[0]
    problems = []
    if {hit.chunk_id for hit in dense} != {hit.chunk_id for hit in lexical} or len(dense) != counts.chunks:
        problems.append(f"dense has {len(dense)}, lexical {len(lexical)}, the manifest {counts.chunks} chunks")
    if {hit.document_id for hit in dense} != found.keys() or len(found) != counts.documents:
        problems.append(f"the store has {len(found)}, the manifest {counts.documents} documents")
    return problems


def kill_randomly(workers: Workers, operation: str, kills: int, seed: int, folder: Path) -> Kills:
    """Kills an operation at moments spread evenly over its duration, a little longer at the end."""
    result, chance = Kills(operation, "random moments"), random.Random(f"{operation}/{seed}")
    variants = max(1, min(8, kills // 8))
    for variant in range(variants):
        bases, judge = _Bases(folder, operation, seed + variant), Judge(operation, seed + variant)
        seconds = sorted(workers.run(operation, seed + variant, bases.copy())[3] for _ in range(3))[1]
        share = range(variant, kills, variants)
        for i in share:
            delay = seconds * 1.15 * (i + chance.random()) / kills
            work = bases.copy()
            begun, acknowledged, killed, _ = workers.run(operation, seed + variant, work, delay=delay)
            result.kills += 1
            result.mid_operation += begun and killed and not acknowledged
            label = f"{operation} seed {seed + variant} killed after {delay * 1000:.1f} of {seconds * 1000:.1f} ms"
            judge.judge(work, acknowledged, result, label, again=chance.random() < 0.5)
    return result


def kill_at_points(workers: Workers, operation: str, seed: int, folder: Path, *, step: int = 1) -> Kills:
    """Kills an operation before every (or every step-th) call by which something becomes durable or visible."""
    result = Kills(operation, "every point")
    bases, judge = _Bases(folder, operation, seed), Judge(operation, seed)
    for point in range(0, 10_000, step):
        work = bases.copy()
        _, acknowledged, killed, _ = workers.run(operation, seed, work, point=point)
        if not killed:
            return result
        result.kills += 1
        result.mid_operation += not acknowledged
        label = f"{operation} seed {seed} killed at point {point}"
        judge.judge(work, acknowledged, result, label, again=point % 2 == 1)
    raise AssertionError("more points than can be")


class _Bases:
    """Copies of the index that an operation starts from; for `build` there is none."""

    def __init__(self, folder: Path, operation: str, seed: int) -> None:
        self._base, self._work = folder / f"{operation}-{seed}-base", folder / f"{operation}-{seed}-work"
        shutil.rmtree(self._base, ignore_errors=True)
        if operation != "build":
            prepare(self._base, seed)

    def copy(self) -> Path:
        shutil.rmtree(self._work, ignore_errors=True)
        if self._base.exists():
            shutil.copytree(self._base, self._work)
        return self._work


# --- readers --------------------------------------------------------------------------------------------------------

STAMPED = 6


def stamped(write: int) -> list[Document]:
    """The documents of one write: text, title and metadata carry its number."""
    return [
        Document(
            id=f"stamped-{n}",
            title=f"第{write}次",
            text=f"高血压患者的第{n}份记录，第{write}次写入。" + document(0, n).text,
            metadata={"write": write},
        )
        for n in range(STAMPED)
    ]


def view(index: Index) -> tuple[set[int], list[str]]:
    """The numbers of the writes that a reader sees, by every way there is, and the chunks that it finds."""
    writes = {d.metadata["write"] for d in index.store.documents()}
    dense = index.search_dense(ENCODER.encode_queries(["高血压患者"]), 1000)[0]
    lexical = index.search_lexical([dict.fromkeys(terms("高血压患者"), 1.0)], 1000)[0]
    for passage in index.passages([hit.row for hit in (*dense, *lexical)]).values():
        writes.add(passage.document.metadata["write"])
        writes.add(int(passage.document.title[1:-1]))
        if passage.chunk.start == 0:
            writes.add(int(passage.chunk.text.split("第")[2].split("次")[0]))
    newest = max((w for w in writes if isinstance(w, int)), default=0)
    filtered = index.search_lexical([dict.fromkeys(terms("高血压患者"), 1.0)], 1000, {"write": newest})[0]
    if filtered != lexical or len(dense) != index.manifest.counts.chunks:
        writes.add(-1)
    return {w for w in writes if isinstance(w, int)}, [f"{h.chunk_id} {h.score:.6f}" for h in (*dense, *lexical)]


def _read(folder: Path) -> None:
    """Opens, looks, looks again at a generation that it pinned before, until standard input is closed."""
    reads = inconsistent = failed = generations = 0
    last, notes = -1, list[str]()
    pinned: list[tuple[Index, tuple[set[int], list[str]]]] = []
    while not select.select([sys.stdin], [], [], 0)[0]:
        try:
            index = Index.open(folder)
        except Exception as error:  # a failed opening is what is counted
            failed += 1
            notes.append(f"open: {error!r}")
            continue
        seen = view(index)
        reads += 1
        generations += index.manifest.generation > last
        if len(seen[0]) > 1 or index.manifest.generation < last:
            inconsistent += 1
            notes.append(f"generation {index.manifest.generation} after {last} shows writes {sorted(seen[0])}")
        last = index.manifest.generation
        pinned.append((index, seen))
        if len(pinned) > 4:
            old, then = pinned.pop(0)
            reads += 1
            if view(old) != then:
                inconsistent += 1
                notes.append(f"generation {old.manifest.generation} shows something else than before")
            old.close()
    for index, _ in pinned:
        index.close()
    found = {"reads": reads, "generations": generations, "inconsistent": inconsistent, "failed": failed}
    print(json.dumps({**found, "notes": notes[:5]}))


@dataclass
class Readers:
    """What the readers saw while another process wrote."""

    writes: int
    readers: int
    seconds: float = 0.0
    reads: int = 0
    generations: int = 0
    inconsistent: int = 0
    failed_opens: int = 0
    failures: list[str] = field(default_factory=list)


def read_while_writing(writes: int, folder: Path, readers: int = 3) -> Readers:
    """Writes again and again (upserts, a deletion by filter every 7th time, compact every 40th) beside readers."""
    result = Readers(writes, readers)
    writer.build(folder, stamped(0), ENCODER, chunking=CHUNKING)
    command = [sys.executable, __file__, "--reader", str(folder)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(readers)
    ]
    start = time.monotonic()
    try:
        for write in range(1, writes + 1):
            if write % 40 == 0:
                writer.compact(folder)
            elif write % 7 == 0:
                writer.delete(folder, ids=[f"stamped-{write % STAMPED}"], where={"write": {"$lt": 0}})
            else:
                writer.update(folder, stamped(write), ENCODER, mode="upsert")
    finally:
        result.seconds = time.monotonic() - start
        outputs = [process.communicate("stop\n", timeout=120)[0] for process in processes]
    for process, output in zip(processes, outputs, strict=True):
        if process.returncode:
            result.failures.append(f"a reader ended with status {process.returncode}")
            continue
        found = json.loads(output)
        result.reads += found["reads"]
        result.generations += found["generations"]
        result.inconsistent += found["inconsistent"]
        result.failed_opens += found["failed"]
        result.failures.extend(found["notes"])
    return result


# --- the table ------------------------------------------------------------------------------------------------------


def _print_kills(results: Sequence[Kills]) -> None:
    head = (
        "operation",
        "killed at",
        "kills",
        "mid-op",
        "before",
        "after",
        "whole",
        "lost",
        "extra",
        "equal after compact",
    )
    rows = [
        (
            r.operation, r.experiment, r.kills, r.mid_operation, r.found_before, r.found_after, r.whole, r.lost,
            r.extra, f"{r.equal_after_compact}/{r.compared}",
        )
        for r in results
    ]  # fmt: skip
    widths = [max(len(str(row[i])) for row in (head, *rows)) for i in range(len(head))]
    for row in (head, *rows):
        print("  ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)))


def _print_readers(r: Readers) -> None:
    print(
        f"\n{r.writes} writes in {r.seconds:.1f} s beside {r.readers} readers: {r.reads} reads of {r.generations} "
        f"generations, {r.inconsistent} inconsistent, {r.failed_opens} failed to open"
    )


def _surroundings() -> dict[str, Any]:
    with suppress(OSError, subprocess.CalledProcessError):
        found = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        revision = found.stdout.strip()
        return {"commit": revision, **_versions()}
    return _versions()


def _versions() -> dict[str, Any]:
    names = ("chimed-rag", "faiss-cpu", "numpy", "tantivy")
    versions = {"python": platform.python_version()}
    for name in names:
        with suppress(ModuleNotFoundError):
            versions[name] = version(name)
    machine = {"platform": platform.platform(), "cpus": os.cpu_count()}
    return {"date": datetime.now(timezone.utc).isoformat(timespec="seconds"), "versions": versions, "machine": machine}


def workplace() -> Path:
    """A folder in memory where there is one: fsync costs nothing there, and for a SIGKILL it makes no difference."""
    memory = Path("/dev/shm")
    return memory if memory.is_dir() and os.access(memory, os.W_OK) else Path(tempfile.gettempdir())


def main() -> int:
    """The command line; 1 if anything was found."""
    parser = argparse.ArgumentParser(description="Kill writers, watch readers: is a committed document ever lost?")
    parser.add_argument("--kills", type=int, default=200, help="kills per operation (default 200)")
    parser.add_argument("--writes", type=int, default=2000, help="writes beside the readers (default 2000)")
    parser.add_argument("--seed", type=int, default=int(time.time()) % 1_000_000, help="seed (default: from the clock)")
    parser.add_argument("--folder", type=Path, default=workplace(), help="where to work (default: in memory)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there")
    parser.add_argument("--zygote", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--reader", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.zygote:
        _zygote()
        return 0
    if options.reader:
        _read(options.reader)
        return 0
    print(f"seed {options.seed}\n")
    start = time.monotonic()
    with tempfile.TemporaryDirectory(dir=options.folder) as name, Workers() as workers:
        folder = Path(name)
        kills = [kill_randomly(workers, op, options.kills, options.seed, folder) for op in OPERATIONS]
        kills += [kill_at_points(workers, op, options.seed + n, folder) for n, op in enumerate(OPERATIONS)]
        _print_kills(kills)
        readers = read_while_writing(options.writes, folder / "readers")
        _print_readers(readers)
    failures = [failure for result in (*kills, readers) for failure in result.failures]
    for failure in failures[:20]:
        print("FAILED", failure)
    print(f"\n{len(failures)} failures in {time.monotonic() - start:.0f} s")
    if options.json:
        body = {
            **_surroundings(),
            "seed": options.seed,
            "kills": [asdict(r) for r in kills],
            "readers": asdict(readers),
        }
        options.json.write_text(json.dumps(body, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
