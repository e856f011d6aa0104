"""Building an index of the disease encyclopedia: seconds, memory and disk, ours beside peers.

Ours reads the gzipped source, cuts it into passages, and ends with an index that is fsynced and hashed on disk. Peers
read our passages ready cut from a plain file, so neither decompression nor cutting counts for them; everybody stores
the texts, makes the same vectors and the same terms, and saves. Imports count for nobody. Each run is a fresh process,
systems in turn. `--all-corpora` builds ours from three corpora instead, and opens the result in fresh processes.
Not measured: search (`search.py`), adding and deleting.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from _common import PEERS, Row, corpus_file, in_worker, medians, parser, peak_mb, read_passages, report, tree_mb
from _common import write_passages as dump

ONE = ("corpora/disease_encyclopedia.jsonl.gz",)
ALL = (*ONE, "corpora/textbooks.jsonl.gz", "corpora/tcm_classics.jsonl.gz")
COLUMNS = ["system", "passages", "seconds", "passages/s", "peak RSS MB", "disk MB", "seconds ÷ ours", "peak ÷ ours"]


def build_ours(sources: list[str], folder: str, storage: str = "int8") -> Row:
    """What `chimed build SOURCES --out FOLDER` does."""
    from chimed_rag.medqa import MedQA

    shutil.rmtree(folder, ignore_errors=True)
    with TemporaryDirectory() as first:  # imports
        MedQA.build([{"id": "warm", "text": "发热时多饮水。"}], Path(first) / "index").close()
    began = perf_counter()
    qa = MedQA.build(sources, folder, storage=storage)  # type: ignore[arg-type]
    seconds = perf_counter() - began
    return _built(f"chimed_rag ({storage} vectors)", len(qa), seconds, Path(folder))


def build_peer(peer: str, passages: str, folder: str) -> Row:
    shutil.rmtree(folder, ignore_errors=True)
    Path(folder).mkdir(parents=True)
    system = PEERS[peer]()
    system.build(read_passages(Path(passages))[:64])  # imports, and just-in-time compilation where there is any
    system = PEERS[peer]()
    began = perf_counter()
    loaded = read_passages(Path(passages))
    system.build(loaded)
    system.save(Path(folder))
    return _built(system.label, len(loaded), perf_counter() - began, Path(folder))


def _built(label: str, passages: int, seconds: float, folder: Path) -> Row:
    return {
        "system": label, "passages": passages, "seconds": seconds, "passages/s": passages / seconds,
        "peak RSS MB": peak_mb(), "disk MB": tree_mb(folder),
    }  # fmt: skip


def write_passages(folder: str, file: str) -> Row:
    return {"passages": dump(Path(folder), Path(file))}


def open_ours(folder: str, question: str) -> Row:
    """Opening in a fresh process: with the imports, and the opening alone; then the first search."""
    began = perf_counter()
    from chimed_rag import MedQA

    imported = perf_counter()
    qa = MedQA.load(folder)
    opened = perf_counter()
    found = qa.search(question)
    searched = perf_counter()
    assert found
    return {
        "open s": opened - imported, "import + open s": opened - began, "first search s": searched - opened,
        "RSS MB": peak_mb(),
    }  # fmt: skip


WORKERS: dict[str, Callable[..., Row]] = {
    "ours": build_ours,
    "peer": build_peer,
    "passages": write_passages,
    "open": open_ours,
}


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--all-corpora", action="store_true", help="ours alone, from three corpora, and its opening")
    arguments.add_argument("--peers", nargs="*", default=list(PEERS), choices=list(PEERS), help="which peers to run")
    options = arguments.parse_args()
    if options.worker:
        print(json.dumps(WORKERS[options.worker](**options.task)))
        return
    from chimed_rag.evaluation.beir import data_sha256

    with TemporaryDirectory(prefix="chimed-bench-") as temporary:
        work = options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        names = ALL if options.all_corpora else ONE
        files = [str(corpus_file(options.data, name, options.limit, work)) for name in names]
        about: Row = {"data": ", ".join(Path(name).name for name in names), "sha256": data_sha256(files)[:12]}
        about |= {"rows": options.limit or "all", "runs": options.repeat}
        if options.all_corpora:
            built = [
                in_worker(__file__, "ours", sources=files, folder=str(work / "all")) for _ in range(options.repeat)
            ]
            question = "孩子发烧咳嗽怎么办"
            opened = [in_worker(__file__, "open", folder=str(work / "all"), question=question) for _ in range(5)]
            row = medians(built) | medians(opened)
            columns = [*COLUMNS[:6], "open s", "import + open s", "first search s", "RSS MB"]
            report("Building and opening three corpora", columns, [row], about=about, json_file=options.json_file)
            return
        runs: dict[str, list[Row]] = {name: [] for name in ("ours", *options.peers)}
        ours, passages = work / "ours", work / "passages.jsonl"
        for _ in range(options.repeat):
            runs["ours"].append(in_worker(__file__, "ours", sources=files, folder=str(ours)))
            if options.peers and not passages.exists():
                in_worker(__file__, "passages", folder=str(ours), file=str(passages))
            for peer in options.peers:
                task = {"peer": peer, "passages": str(passages), "folder": str(work / peer)}
                runs[peer].append(in_worker(__file__, "peer", **task))
                shutil.rmtree(work / peer)
        rows = [medians(found) for found in runs.values()]
        for row in rows:
            row["seconds ÷ ours"] = row["seconds"] / rows[0]["seconds"]
            row["peak ÷ ours"] = row["peak RSS MB"] / rows[0]["peak RSS MB"]
        packages = dict.fromkeys(package for name in options.peers for package in PEERS[name]().packages)
        notes = [
            "ours reads, cuts and hashes; peers read ready passages; all make the same hashed vectors and terms",
            "peers keep fp32 vectors; LangChain's BM25 is pickled, the only way it has",
        ]
        report(
            "Building an index of the disease encyclopedia", COLUMNS, rows,
            about=about, packages=list(packages), notes=notes, json_file=options.json_file,
        )  # fmt: skip


if __name__ == "__main__":
    main()
