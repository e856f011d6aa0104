"""The same index on the CPU and on a GPU: are the passages the same, and how long does a search take.

Builds one index per storage (fp32, fp16, int8) of the disease encyclopedia and opens each twice, `device="cpu"` and
`device="cuda:0"`. Sameness comes first: for each question the k passages of both, compared place by place. Where two
orders part, the scores tell why: a difference within rounding swaps passages of practically equal score, a larger one
is an error. Fp32 on the CPU is also held against `faiss.IndexFlatIP` over the same vectors, and fp16 and int8 against
fp32 for what the storage costs. Without an NVIDIA GPU or with the CPU build of FAISS it says so and measures nothing.
Not measured: filtered searches (they run on the CPU), lexical search, several GPUs.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, Any

from _common import Row, corpus_file, parser, report

if TYPE_CHECKING:
    from chimed_rag.indexing.index import Hit, Index

CORPUS = "corpora/disease_encyclopedia.jsonl.gz"
QUESTIONS = "eval/huatuo_retrieval_dev/queries.jsonl.gz"
ROUNDING = {"fp32": 1e-5, "int8": 1e-5, "fp16": 5e-4}
"""What two inner products of unit vectors may differ by when summed in another order; fp16 may round both sides."""
COLUMNS = [
    "storage", "passages", "same list", "same places", "worst difference", "beyond rounding", "as IndexFlatIP",
    "cpu p50 ms", "gpu p50 ms", "÷ gpu", "cpu many q/s", "gpu many q/s", "gpu open s",
]  # fmt: skip


def missing() -> str | None:
    """Why nothing can be measured here, or None."""
    try:
        import faiss
    except ImportError:
        return "FAISS is not installed; install the gpu extra: pip install 'chimed-rag[gpu]'"
    if not hasattr(faiss, "StandardGpuResources"):
        return f"this is the CPU build of FAISS {faiss.__version__}; the gpu extra brings the other one"
    if not faiss.get_num_gpus():
        return "FAISS sees no NVIDIA GPU on this machine"
    return None


def timed(index: Index, vectors: Any, k: int, repeat: int) -> Row:
    """Median milliseconds of single searches, and questions a second in one batch."""
    singles, rates = [], []
    for i in range(3):
        index.search_dense(vectors[i : i + 1], k)
    index.search_dense(vectors, k)
    for _ in range(repeat):
        for i in range(len(vectors)):
            began = perf_counter()
            index.search_dense(vectors[i : i + 1], k)
            singles.append((perf_counter() - began) * 1000)
        began = perf_counter()
        index.search_dense(vectors, k)
        rates.append(len(vectors) / (perf_counter() - began))
    return {"p50 ms": statistics.median(singles), "many q/s": statistics.median(rates)}


def compared(one: Sequence[Sequence[Hit]], other: Sequence[Sequence[Hit]], rounding: float) -> tuple[Row, str]:
    """How far two sets of rankings agree, and where they first part."""
    places = same = lists = beyond = 0
    worst = 0.0
    first = "never"
    for question, (mine, theirs) in enumerate(zip(one, other, strict=True)):
        if len(mine) != len(theirs):
            beyond += 1
            first = f"question {question}: {len(mine)} passages against {len(theirs)}" if first == "never" else first
            continue
        known = {hit.chunk_id: hit.score for hit in mine}
        agreed = True
        for rank, (a, b) in enumerate(zip(mine, theirs, strict=True), 1):
            places += 1
            # The score of one passage on both sides where both found it, else of the two that hold this place.
            gap = abs(b.score - known.get(b.chunk_id, a.score))
            gap = max(gap, abs(a.score - b.score))
            worst = max(worst, gap)
            beyond += gap > rounding
            if a.chunk_id == b.chunk_id:
                same += 1
                continue
            agreed = False
            if first == "never":
                first = f"question {question}, place {rank}: {a.chunk_id} {a.score:.7f} / {b.chunk_id} {b.score:.7f}"
        lists += agreed
    row = {
        "same list": lists / len(one), "same places": same / max(1, places), "worst difference": worst,
        "beyond rounding": beyond,
    }  # fmt: skip
    return row, first


def flat_share(vectors: Any, positions: Any, queries: Any, k: int) -> float:
    """The share of the k best of a plain `faiss.IndexFlatIP` on the CPU that a search found too."""
    import faiss

    flat = faiss.IndexFlatIP(vectors.shape[1])
    flat.add(vectors)
    _, best = flat.search(queries, k)
    shared = sum(len(set(a) & set(b)) for a, b in zip(best.tolist(), positions, strict=True))
    return float(shared / best.size)


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--queries", type=int, default=500, help="how many questions")
    arguments.add_argument("--k", type=int, default=100, help="how many passages each")
    arguments.add_argument("--encoder", default="hashing", help="a name or a model folder")
    arguments.add_argument("--device", default="cuda:0", help="the GPU")
    options = arguments.parse_args()
    if reason := missing():
        print(f"not measured: {reason}")
        return

    import numpy as np

    from chimed_rag.encoders.base import load_encoder
    from chimed_rag.evaluation.beir import BeirCorpus, data_sha256, read_queries
    from chimed_rag.indexing.index import Index
    from chimed_rag.indexing.writer import build

    encoder = load_encoder(options.encoder)
    rows, notes = [], []
    with TemporaryDirectory(prefix="chimed-bench-") as temporary:
        work = options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        corpus = corpus_file(options.data, CORPUS, options.limit, work)
        questions = list(read_queries(options.data / QUESTIONS).values())[: options.queries]
        vectors = encoder.encode_queries(questions)
        plain: Any = None
        for storage in ("fp32", "fp16", "int8"):
            folder = work / storage
            if not (folder / "manifest.json").exists():
                build(folder, BeirCorpus([corpus]), encoder, storage=storage)
            cpu = Index.open(folder)
            began = perf_counter()
            gpu = Index.open(folder, device=options.device)
            opened = perf_counter() - began
            if gpu.dense.device != options.device:
                sys.exit(f"the index is on {gpu.dense.device}, not on {options.device}")
            on_cpu, on_gpu = cpu.search_dense(vectors, options.k), gpu.search_dense(vectors, options.k)
            row, first = compared(on_cpu, on_gpu, ROUNDING[storage])
            notes.append(f"{storage}: cpu and gpu first part at: {first}")
            if plain is None:
                codes = [np.asarray(segment.codes).view("<f4") for segment in cpu.store.segments]
                plain = np.ascontiguousarray(np.concatenate(codes), dtype=np.float32)
            found = [np.searchsorted(cpu.store.rows, [hit.row for hit in hits]).tolist() for hits in on_gpu]
            row |= {"storage": storage, "passages": len(cpu), "gpu open s": opened}
            row["as IndexFlatIP"] = flat_share(plain, found, vectors, options.k)
            for name, index in (("cpu", cpu), ("gpu", gpu)):
                row |= {f"{name} {key}": value for key, value in timed(index, vectors, 10, options.repeat).items()}
            row["÷ gpu"] = row["cpu p50 ms"] / row["gpu p50 ms"]
            rows.append(row)
            cpu.close()
            gpu.close()
        about = {
            "data": corpus.name, "sha256": data_sha256([corpus, options.data / QUESTIONS])[:12],
            "questions": len(questions), "k": options.k, "encoder": encoder.spec.name,
            "dimension": encoder.spec.dimension, "gpu": _gpu_name(), "runs": options.repeat,
        }  # fmt: skip
    notes += [
        f"same list: share of questions whose {options.k} passages agree in every place, cpu against gpu",
        f"beyond rounding: places whose scores differ by more than {ROUNDING}; anything but 0 is an error",
        "as IndexFlatIP: share of the fp32 flat index's best that the gpu found; below 1 is what the storage costs",
        "milliseconds and questions a second are of k = 10, encoding left out, ids and ties settled",
    ]
    report(
        "Dense search on the CPU and on one GPU", COLUMNS, rows,
        about=about, notes=notes, packages=("faiss-gpu-cu12",), json_file=options.json_file,
    )  # fmt: skip


def _gpu_name() -> str:
    import subprocess

    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True, timeout=20
        )
        return done.stdout.strip().splitlines()[0]
    except (OSError, IndexError, subprocess.TimeoutExpired):
        return "unknown"


if __name__ == "__main__":
    main()
