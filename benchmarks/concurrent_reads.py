"""Does a reader ever see half a write? Processes open, search and keep an index while another writes it.

`python benchmarks/concurrent_reads.py --writes 2000` prints one line and exits 1 if it found a failure. Three processes
open, search and keep pinned generations while another makes N writes; every document carries the number of its write,
and no reader may see two of them at once.

Not covered: writers that die (`durability.py`), two writers at once, readers on another machine, and Windows.
`tests/indexing/test_durability.py` runs the same functions with small counts.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
import tempfile
import time
from argparse import SUPPRESS
from dataclasses import asdict, dataclass, field
from pathlib import Path

from _durability import CHUNKING, ENCODER, conclude, document, parser

from chimed_rag.indexing import writer
from chimed_rag.indexing.index import Index
from chimed_rag.records import Document
from chimed_rag.text import terms

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
    """Writes again and again (upserts, one document deleted every 7th time, compact every 40th) beside readers."""
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


def _print_readers(r: Readers) -> None:
    print(
        f"{r.writes} writes in {r.seconds:.1f} s beside {r.readers} readers: {r.reads} reads of {r.generations} "
        f"generations, {r.inconsistent} inconsistent, {r.failed_opens} failed to open"
    )


def main() -> int:
    """The command line; 1 if anything was found."""
    arguments = parser("Watch readers while one writes: does any of them ever see half a write?")
    arguments.add_argument("--writes", type=int, default=2000, help="writes beside the readers (default 2000)")
    arguments.add_argument("--reader", type=Path, help=SUPPRESS)
    options = arguments.parse_args()
    if options.reader:
        _read(options.reader)
        return 0
    start = time.monotonic()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        readers = read_while_writing(options.writes, Path(folder, "readers"))
    _print_readers(readers)
    return conclude(readers.failures, time.monotonic() - start, {"readers": asdict(readers)}, options.json)


if __name__ == "__main__":
    sys.exit(main())
