"""Searching 80,688 passages' worth of documents with real patient questions: milliseconds and nDCG@10, ours and peers.

The literature is the disease encyclopedia with the answers of huatuo_retrieval_dev among it; each of the 2,984
questions has one right answer. Milliseconds are of one `search(question, k=10)` after the other, passages read and
named, the median of repeated passes. nDCG@10 comes from `chimed_rag.evaluation` (pytrec_eval): over all questions,
and over the sample that slow peers are asked. A filtered search is shown twice: the first use of a filter, and later
ones. Every system runs in a process of its own; building is not counted. Peers get our passages, terms and vectors.
Not measured: building (`build.py`), other encoders, rerankers.
"""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, Any

from _common import (
    DENSE_WEIGHT,
    DEPTH,
    PEERS,
    Row,
    corpus_file,
    in_worker,
    medians,
    parser,
    read_passages,
    report,
    tree_mb,
    write_passages,
)

if TYPE_CHECKING:
    from chimed_rag.medqa import MedQA

K = 10
ENOUGH = 120.0
"""Seconds after which no further pass is begun: a slow peer is asked once."""
EVAL = "eval/huatuo_retrieval_dev"
COLUMNS = [
    "system", "search", "n", "p50 ms", "p95 ms", "÷ ours", "many q/s", "nDCG@10", "nDCG@10 sample", "vectors MB",
    "filter 1st ms", "filter p50 ms", "found of 10",
]  # fmt: skip
OURS = [("int8", "lexical"), ("int8", "dense"), ("int8", "hybrid"), ("fp16", "dense"), ("fp16", "hybrid"),
        ("fp32", "dense"), ("fp32", "hybrid")]  # fmt: skip


# --- questions and measures ----------------------------------------------------------------------------------------


def judged(data: str, most: int | None) -> tuple[dict[str, str], dict[str, dict[str, int]]]:
    """The questions with judgements, and these, evenly thinned to at most so many."""
    from chimed_rag.evaluation.beir import judged_queries, read_qrels, read_queries

    folder = Path(data) / EVAL
    queries, qrels = judged_queries(read_queries(folder / "queries.jsonl.gz"), read_qrels(folder / "qrels.jsonl.gz"))
    keys = sample(list(queries), most)
    return {key: queries[key] for key in keys}, {key: qrels[key] for key in keys}


def sample(keys: Sequence[str], most: int | None) -> list[str]:
    if most is None or most >= len(keys):
        return list(keys)
    return [keys[i * len(keys) // most] for i in range(most)]


def latencies(search: Callable[[str], Any], queries: Sequence[str], repeat: int) -> Row:
    """Milliseconds of single searches: p50 and p95 of each pass, the medians of these over the passes."""
    from chimed_rag.evaluation.statistics import percentiles

    began_all = perf_counter()
    for query in queries[:3]:
        search(query)
    passes: list[Row] = []
    while len(passes) < repeat and (not passes or perf_counter() - began_all < ENOUGH):
        times = []
        for query in queries:
            began = perf_counter()
            search(query)
            times.append((perf_counter() - began) * 1000)
        found = percentiles(times)
        passes.append({"p50 ms": found.p50, "p95 ms": found.p95})
    return medians(passes)


def quality(
    search: Callable[[str, int], Sequence[tuple[str, float]]],
    queries: Mapping[str, str],
    qrels: Mapping[str, Mapping[str, int]],
    thinned: Sequence[str],
) -> Row:
    """nDCG@10 of a search for documents, over these questions and over the sample; None where not all were asked."""
    from chimed_rag.evaluation.metrics.ranking import ranking_metrics
    from chimed_rag.evaluation.retrieval import best_chunk_per_document

    rankings = {
        key: [document for document, _ in best_chunk_per_document(search(text, DEPTH), DEPTH)]
        for key, text in queries.items()
    }
    values = dict(zip(qrels, ranking_metrics(rankings, qrels)["ndcg@10"].tolist(), strict=True))
    part = statistics.mean(values[key] for key in thinned)
    return {"nDCG@10": statistics.mean(values.values()) if len(values) > len(thinned) else None, "nDCG@10 sample": part}


def per_second(search_many: Callable[[], int], repeat: int) -> float:
    rates = []
    search_many()
    for _ in range(repeat):
        began = perf_counter()
        answered = search_many()
        rates.append(answered / (perf_counter() - began))
    return statistics.median(rates)


def filtered(search: Callable[[str, str], int], queries: Sequence[str], departments: Sequence[str]) -> Row:
    """Searches within a department: the first use of each, then all of them in turn."""
    search(queries[0], "没有这个科室")
    first = []
    for department in departments:
        began = perf_counter()
        search(queries[0], department)
        first.append((perf_counter() - began) * 1000)
    later, found = [], []
    for i, query in enumerate(queries):
        began = perf_counter()
        found.append(search(query, departments[i % len(departments)]))
        later.append((perf_counter() - began) * 1000)
    return {
        "filter 1st ms": statistics.median(first), "filter p50 ms": statistics.median(later),
        "found of 10": statistics.mean(found),
    }  # fmt: skip


# --- workers -------------------------------------------------------------------------------------------------------


def build(corpora: list[str], work: str) -> Row:
    """Our index in each storage, the passages for the peers, and the departments with at least 100 of them."""
    from chimed_rag.encoders.base import load_encoder
    from chimed_rag.evaluation.beir import BeirCorpus
    from chimed_rag.indexing.writer import build as build_index

    encoder = load_encoder("hashing")
    row: Row = {}
    for storage in ("int8", "fp16", "fp32"):
        folder = Path(work) / storage
        if not (folder / "manifest.json").exists():
            build_index(folder, BeirCorpus(corpora), encoder, storage=storage)
        row[storage] = sum(file.stat().st_size for file in (folder / "segments").glob("*.vectors")) / 1e6
    row["index MB"] = tree_mb(Path(work) / "int8")
    passages = Path(work) / "passages.jsonl"
    row["passages"] = write_passages(Path(work) / "int8", passages)
    row["documents"] = sum(1 for _ in BeirCorpus(corpora))
    counts = Counter(department for passage in read_passages(passages) for department in passage.department)
    row["departments"] = sorted(department for department, count in counts.items() if count >= 100)[:60]
    return row


def _opened(work: str, storage: str, mode: str) -> MedQA:
    from chimed_rag.config import Config, Retrieval
    from chimed_rag.medqa import MedQA

    return MedQA.load(Path(work) / storage, config=Config(retrieval=Retrieval(mode=mode, reranker=None)))


def run_ours(
    work: str, data: str, storage: str, mode: str, repeat: int, most: int | None, thin: int, departments: list[str]
) -> Row:
    from chimed_rag.evaluation.retrievers import document_search

    qa = _opened(work, storage, mode)
    queries, qrels = judged(data, most)
    texts = list(queries.values())
    row: Row = {"system": f"chimed_rag {storage}", "search": mode, "n": len(texts)}
    row |= latencies(lambda query: qa.search(query, K), texts, repeat)
    row |= quality(document_search(qa), queries, qrels, sample(list(queries), thin))
    row["many q/s"] = per_second(lambda: len(qa.search_many(texts, K)), repeat)
    if storage == "int8":
        row |= filtered(lambda query, name: len(qa.search(query, K, {"department": name})), texts, departments)
    return row


def run_peer(work: str, data: str, peer: str, repeat: int, most: int | None, thin: int, departments: list[str]) -> Row:
    system = PEERS[peer]()
    passages = read_passages(Path(work) / "passages.jsonl")
    document_of = {passage.id: passage.document_id for passage in passages}
    system.build(passages)
    queries, qrels = judged(data, most)
    thinned = sample(list(queries), thin)
    if system.sample_only:
        queries, qrels = {key: queries[key] for key in thinned}, {key: qrels[key] for key in thinned}
    texts = list(queries.values())
    rows = []
    for name, search in system.searches().items():

        def documents(query: str, k: int, search: Any = search) -> list[tuple[str, float]]:
            return [(document_of[passage], score) for passage, score in search(query, k)]

        row: Row = {"system": system.label, "search": name, "n": len(texts)}
        row |= latencies(lambda query, search=search: search(query, K), texts, repeat)  # type: ignore[misc]
        row |= quality(documents, queries, qrels, thinned)
        rows.append(row)
    best = next(row for row in rows if row["search"] == "hybrid")
    several = texts[:30] if best["p50 ms"] > 200 else texts
    best["many q/s"] = per_second(lambda: system.search_many(several, K), repeat)
    with_filter = filtered(lambda query, name: system.filtered(query, K, name), texts, departments)
    return {
        "rows": rows,
        "filter": {"system": system.label, "search": system.filter_label, "n": len(texts)} | with_filter,
    }


WORKERS: dict[str, Callable[..., Row]] = {"build": build, "ours": run_ours, "peer": run_peer}


# --- the table -----------------------------------------------------------------------------------------------------


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--queries", type=int, help="ask only so many questions (a trial, not a result)")
    arguments.add_argument("--sample", type=int, default=200, help="how many questions slow peers are asked")
    arguments.add_argument("--peers", nargs="*", default=list(PEERS), choices=list(PEERS), help="which peers to run")
    options = arguments.parse_args()
    if options.worker:
        print(json.dumps(WORKERS[options.worker](**options.task)))
        return
    from chimed_rag.evaluation.beir import data_sha256

    with TemporaryDirectory(prefix="chimed-bench-") as temporary:
        work = (options.work or Path(temporary)).resolve()
        work.mkdir(parents=True, exist_ok=True)
        encyclopedia = corpus_file(options.data, "corpora/disease_encyclopedia.jsonl.gz", options.limit, work)
        corpora = [str(encyclopedia), str(options.data / EVAL / "corpus.jsonl.gz")]
        built = in_worker(__file__, "build", corpora=corpora, work=str(work))
        task = {"work": str(work), "data": str(options.data), "repeat": options.repeat, "most": options.queries}
        task |= {"thin": options.sample, "departments": built["departments"]}
        rows = []
        for storage, mode in OURS:
            row = in_worker(__file__, "ours", storage=storage, mode=mode, **task)
            rows.append(row | ({"vectors MB": built[storage]} if mode == "dense" else {}))
        for peer in options.peers:
            found = in_worker(__file__, "peer", peer=peer, **task)
            rows += [*found["rows"], found["filter"]]
        ours = {row["search"]: row["p50 ms"] for row in rows if row["system"] == "chimed_rag int8"}
        for row in rows:
            kind = row["search"].split(",")[0]
            if kind in ours and "p50 ms" in row:
                row["÷ ours"] = row["p50 ms"] / ours[kind]
        files = [options.data / EVAL / "queries.jsonl.gz", *corpora, options.data / EVAL / "qrels.jsonl.gz"]
        about = {
            "data": "disease_encyclopedia + huatuo_retrieval_dev", "sha256": data_sha256(files)[:12],
            "documents": f"{built['documents']:,}", "passages": f"{built['passages']:,}",
            "index": f"{built['index MB']:.0f} MB", "departments": len(built["departments"]), "runs": options.repeat,
        }  # fmt: skip
        notes = [
            f"hybrids fuse the {DEPTH} best of each retriever with dense : lexical = {DENSE_WEIGHT} : 1",
            "“÷ ours” is p50 against chimed_rag int8 doing the same kind of search",
            f"nDCG@10 sample: the {options.sample} questions that slow peers are asked; n is how many were timed",
            "found of 10: how many passages a filtered search gives; peers that filter afterwards give fewer",
        ]
        packages = dict.fromkeys(package for name in options.peers for package in PEERS[name]().packages)
        report(
            "Searching real questions", COLUMNS, rows, about=about, packages=[*packages, "pytrec-eval-terrier"],
            notes=notes, json_file=options.json_file,
        )  # fmt: skip


if __name__ == "__main__":
    main()
