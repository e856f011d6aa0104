"""What each part of retrieval is worth: one table over the same 80,688 documents and 2,984 patient questions.

    python benchmarks/retrieval_quality.py --json benchmarks/results/retrieval_quality.json
    python benchmarks/retrieval_quality.py --systems hashing,fused "ngram,fused,adapted"  # these alone
    python benchmarks/retrieval_quality.py --exam-index DIR                               # an index of textbooks

A system is written as words joined by commas: an encoder's name or folder, what searches (`lexical`, `dense`,
`fused`), and `adapted`, `pairs=open` or `pairs=all` (the encoder also learns from natural questions with answers of the
shared pairs, those with an open licence or all, without what shares 13 characters with an evaluation set), `plain`
(query rewriting off), `reply_weight=N` (`encoders.manner`) or `reranker=NAME` (`windows`, say). Peers: `bm25s-words`
(jieba), `bm25s-pairs`. What this checkout does not have yet, or this machine has not installed, is left out, and a line
says so.

`headings`, of what is fused: questions made of the encyclopedia's own headings, half of them dressed as patients dress
them, each with the section it was made of, to see what is lost where articles are sought (adaptation has learned from
questions like them). Beside these the ordering tasks and, where an index of textbooks is named, the choice of
examination options by evidence.

Not covered: speed in bulk and memory (`search.py`, `build.py`).
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from _common import Row, corpus_file, in_worker, parser, report, tree_mb

if TYPE_CHECKING:
    from chimed_rag.medqa import MedQA

EVAL = "eval/huatuo_retrieval_dev"
COLUMNS = ["task", "system", "n", "metric", "value", "low", "high", "R@10", "R@100", "p50 ms", "MB"]
SYSTEMS = [
    "bm25s-words", "bm25s-pairs", "bm25", "hashing,lexical", "hashing,lexical,plain", "hashing,dense", "hashing,fused",
    "ngram,dense", "ngram,fused", "ngram,fused,plain", "ngram,dense,adapted", "ngram,fused,adapted",
]  # fmt: skip
MAIN = {
    "retrieval": "ndcg@10",
    "headings": "ndcg@10",
    "cmedir": "pairwise_accuracy",
    "cmedqq": "f1",
    "exam_evidence": "accuracy",
}


class MissingError(Exception):
    """This checkout or machine does not have the system; the message says what is missing."""


class System(NamedTuple):
    """What a comma-separated description means."""

    encoder: str
    search: str
    adapted: bool = False
    rewriting: bool = True
    reranker: str | None = None
    pairs: str | None = None
    reply_weight: str | None = None

    @classmethod
    def read(cls, text: str) -> System:
        encoder, *rest = text.split(",")
        if encoder in ("bm25", "bm25s-words", "bm25s-pairs"):
            return cls("hashing", encoder)
        options = dict(word.split("=", 1) for word in rest if "=" in word)
        search = next((word for word in rest if word in ("lexical", "dense", "fused")), "fused")
        return cls(encoder, search, "adapted" in rest, "plain" not in rest, **options)


# --- making systems by name ----------------------------------------------------------------------------------------


def natural_pairs(data: Path, licence: str) -> list[tuple[str, str]]:
    """Natural questions with their answers, those that the shipped encoder learned from or all."""
    from training.pairs import PairData, read_pairs

    file = {
        "path": str(data / "pairs/query_passage.jsonl.gz"),
        "kinds": ["natural_qa"],
        "open_licence": licence == "open",
    }
    hygiene = {"evaluation": str(data / "eval"), "near_duplicates": None}
    found = read_pairs(PairData.model_validate({"files": [file], "hygiene": hygiene}), seed=1)
    return [(pair.query, pair.passage) for pair in found]


def build_options(system: System) -> dict[str, Any]:
    """Keyword arguments of `MedQA.build`; `MissingError` where the checkout does not know the encoder or adaptation."""
    from chimed_rag.medqa import MedQA
    from chimed_rag.registry import encoders

    if system.encoder not in encoders and not Path(system.encoder).is_dir():
        raise MissingError(f"no encoder is called {system.encoder!r}, and no such folder is here")
    known = "adapt" in inspect.signature(MedQA.build).parameters
    if system.adapted and not known:
        raise MissingError("this checkout does not adapt encoders yet")
    return {"encoder": system.encoder} | ({"adapt": system.adapted} if known else {})


def load_options(system: System) -> dict[str, Any]:
    """Keyword arguments of `MedQA.load`."""
    from chimed_rag import registry
    from chimed_rag.config import Config

    mode = "hybrid" if system.search == "fused" else system.search
    settings: dict[str, Any] = {"retrieval": {"mode": mode, "reranker": None}}
    if system.reply_weight is not None:
        settings["retrieval"]["reply_weight"] = float(system.reply_weight)
    if not system.rewriting:
        if "rewriting" not in Config.model_fields:
            raise MissingError("this checkout has no rewriting to switch off yet")
        steps = Config().model_dump()["rewriting"]
        settings["rewriting"] = {step: False if value is True else value for step, value in steps.items()}
    options: dict[str, Any] = {"config": Config.model_validate(settings)}
    if system.reranker is not None:
        rerankers = getattr(registry, "rerankers", ())
        if system.reranker not in rerankers:
            raise MissingError(f"no reranker is called {system.reranker!r}")
        options["reranker"] = rerankers.get(system.reranker)()
    return options


def peer_search(name: str, index: Any) -> tuple[Callable[[str, int], Sequence[tuple[str, float]]], float]:
    """bm25s over our passages, by jieba's words or our pairs; the search, and what its index takes in MB."""
    try:
        import bm25s

        if name == "bm25s-words":
            import jieba

            jieba.setLogLevel("ERROR")
    except ImportError as error:
        raise MissingError(f"{error.name} is not installed") from None
    from chimed_rag.evaluation.exam.postings import passages_of
    from chimed_rag.text import fold, terms

    def words(text: str) -> list[str]:
        return [word for word in jieba.cut(fold(text)) if word.strip()]

    split = words if name == "bm25s-words" else terms
    documents, tokens = [], []
    for document, _, heading, text in passages_of(index):
        documents.append(document)
        tokens.append(split(f"{heading}\n{text}"))
    retriever = bm25s.BM25(k1=1.2, b=0.75)
    retriever.index(tokens, show_progress=False)
    with TemporaryDirectory() as folder:
        retriever.save(folder)
        size = tree_mb(Path(folder))

    def search(query: str, k: int) -> list[tuple[str, float]]:
        known = [token for token in split(query) if token in retriever.vocab_dict]
        if not known:
            return []
        rows, scores = retriever.retrieve([known], k=4 * k, show_progress=False)
        return [(documents[row], float(score)) for row, score in zip(rows[0], scores[0], strict=True) if score > 0]

    return search, size


# --- workers -------------------------------------------------------------------------------------------------------


def heading_questions(index: Any, n: int) -> tuple[dict[str, str], dict[str, dict[str, int]]]:
    """Questions made of the title and heading of n passages drawn by chance, and the document of each."""
    import random

    from chimed_rag.encoders.questions import question

    rng = random.Random(0)
    rows = rng.sample(index.store.rows.tolist(), min(2 * n, len(index.store.rows)))
    stored = [one for one in index.passages(rows).values() if one.document.title][:n]
    queries = {}
    for number, one in enumerate(stored):
        heading = one.chunk.headings[0] if one.chunk.headings else ""
        queries[str(number)] = question(one.document.title, heading, rng, plain=0.5)
    return queries, {str(number): {one.document.id: 1} for number, one in enumerate(stored)}


def run_retrieval(
    system: str, work: str, data: str, corpora: list[str], most: int | None, task: str = "retrieval"
) -> Row:
    from collections import Counter

    from search import judged

    from chimed_rag.evaluation.beir import BeirCorpus
    from chimed_rag.evaluation.retrieval import evaluate_retrieval
    from chimed_rag.evaluation.retrievers import document_search
    from chimed_rag.medqa import MedQA
    from chimed_rag.text import terms

    asked = System.read(system)
    try:
        build, load = build_options(asked), load_options(asked) if asked.search in ("lexical", "dense", "fused") else {}
        folder = Path(work) / f"{Path(asked.encoder).name}{'-adapted' if asked.adapted else ''}{asked.pairs or ''}"
        if not (folder / "manifest.json").exists():
            if asked.pairs:
                build["pairs"] = natural_pairs(Path(data), asked.pairs)
            MedQA.build(BeirCorpus(corpora), folder, **build).close()
        qa = MedQA.load(folder, **load)
        index, size = qa._view.index, tree_mb(folder)
        if asked.search.startswith("bm25s"):
            search, size = peer_search(asked.search, index)
        elif asked.search == "bm25":

            def search(query: str, k: int) -> list[tuple[str, float]]:
                weights = {term: float(n) for term, n in Counter(terms(query)).items()}
                return [(hit.document_id, hit.score) for hit in index.search_lexical([weights], 4 * k)[0]]
        else:
            search = document_search(qa)
    except MissingError as missing:
        return {"missing": str(missing)}
    queries, qrels = judged(data, most) if task == "retrieval" else heading_questions(index, most or 3000)
    result = evaluate_retrieval(search, queries, qrels, system=system, data_sha256="")
    values = {name: mean.value for name, mean in result.metrics.items()}
    milliseconds = result.latency_ms.p50 if asked.reranker is None else _p50(qa, list(queries.values())[:300])
    return _row(task, system, json.loads(result.model_dump_json())) | {
        "R@10": values["recall@10"], "R@100": values["recall@100"], "p50 ms": milliseconds, "MB": size,
    }  # fmt: skip


def _p50(qa: MedQA, queries: Sequence[str]) -> float:
    """Of single searches for ten passages: a hundred documents may take two searches, each of them reranked."""
    times = []
    for query in queries:
        began = perf_counter()
        qa.search_keys(query, 10)
        times.append((perf_counter() - began) * 1000)
    return median(times)


def run_task(task: str, system: str, encoder: str, data: str, most: int | None) -> Row:
    """An ordering task; every system has plain BM25 beside it, which is a row of its own at the first."""
    from chimed_rag.evaluation.tasks.cmedir import cmedir_result
    from chimed_rag.evaluation.tasks.cmedqq import cmedqq_result

    try:
        build_options(System(encoder, system))
    except MissingError as missing:
        return {"missing": str(missing)}
    run = {"cmedir": cmedir_result, "cmedqq": cmedqq_result}[task]
    result = run(Path(data) / f"eval/{task}_dev.jsonl.gz", system=system, encoder=encoder, limit=most)
    name = system if system == "bm25" else f"{encoder},{'fused' if system == 'hybrid' else system}"
    return _row(task, name, json.loads(result.model_dump_json()))


def run_exam(name: str, index: str, data: str, most: int | None) -> Row:
    from chimed_rag.evaluation.tasks.exam_evidence import exam_evidence_result

    result = exam_evidence_result(Path(data) / f"eval/{name}_dev.jsonl.gz", index, limit=most)
    row = _row("exam_evidence", f"evidence on {name}", json.loads(result.model_dump_json()))
    return row | {"p50 ms": result.latency_ms.p50 if result.latency_ms else None}


def _row(task: str, system: str, result: Mapping[str, Any]) -> Row:
    main = result["metrics"][MAIN[task]]
    head = {"task": task, "system": system, "n": result["n"], "metric": MAIN[task]}
    return head | {key: main[key] for key in ("value", "low", "high")} | {"all": result["metrics"]}


WORKERS: dict[str, Callable[..., Row]] = {"retrieval": run_retrieval, "task": run_task, "exam": run_exam}


# --- the table -----------------------------------------------------------------------------------------------------


def tasks(options: Any, shared: Mapping[str, Any], encoders: Sequence[str]) -> Iterator[tuple[str, Row]]:
    """(worker, its arguments) for everything but the retrieval systems."""
    for task in ("cmedir", "cmedqq"):
        yield "task", {"task": task, "system": "bm25", "encoder": "hashing", **shared}
        for encoder in encoders:
            for system in ("lexical", "dense", "hybrid") if encoder == "hashing" else ("dense", "hybrid"):
                yield "task", {"task": task, "system": system, "encoder": encoder, **shared}
    if options.exam_index is None:
        print("left out: exam evidence (name an index of textbooks with --exam-index)", file=sys.stderr)
        return
    for name in ("mcmle", "cmexam"):
        yield "exam", {"name": name, "index": str(options.exam_index.resolve()), **shared}


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--queries", type=int, help="ask only so many questions (a trial, not a result)")
    arguments.add_argument("--systems", nargs="*", default=SYSTEMS, help="see above")
    arguments.add_argument("--exam-index", type=Path, help="folder of an index of textbooks and encyclopedia")
    options = arguments.parse_args()
    if options.worker:
        print(json.dumps(WORKERS[options.worker](**options.task)))
        return
    from chimed_rag.evaluation.beir import data_sha256

    rows: list[Row] = []

    def add(worker: str, label: str, **task: Any) -> None:
        row = in_worker(__file__, worker, **task)
        if "missing" in row:
            print(f"left out: {label} ({row['missing']})", file=sys.stderr)
        else:
            rows.append(row)

    with TemporaryDirectory(prefix="chimed-bench-") as temporary:
        work = (options.work or Path(temporary)).resolve()
        work.mkdir(parents=True, exist_ok=True)
        encyclopedia = corpus_file(options.data, "corpora/disease_encyclopedia.jsonl.gz", options.limit, work)
        corpora = [str(encyclopedia), str(options.data / EVAL / "corpus.jsonl.gz")]
        shared = {"data": str(options.data), "most": options.queries}
        for system in options.systems:
            add("retrieval", system, system=system, work=str(work), corpora=corpora, **shared)
            if System.read(system).search == "fused":
                add("retrieval", system, system=system, work=str(work), corpora=corpora, task="headings", **shared)
        encoders = list(dict.fromkeys(one.encoder for one in map(System.read, options.systems)))
        for worker, task in tasks(options, shared, encoders):
            label = " ".join(str(task[key]) for key in ("task", "name", "encoder", "system") if key in task)
            add(worker, label, **task)
        files = [options.data / EVAL / "queries.jsonl.gz", *corpora, options.data / EVAL / "qrels.jsonl.gz"]
        files += [options.data / f"eval/{name}_dev.jsonl.gz" for name in ("cmedir", "cmedqq", "mcmle", "cmexam")]
        report(
            "What each part of retrieval is worth", COLUMNS, rows,
            about={"data": "queries, corpora, qrels, cmedir, cmedqq, mcmle, cmexam", "sha256": data_sha256(files)[:12]},
            packages=["bm25s", "jieba", "scipy", "pytrec-eval-terrier"],
            notes=["95 % intervals: bootstrap over questions, Wilson for examinations; MB: the index folder"],
            json_file=options.json_file,
        )  # fmt: skip


if __name__ == "__main__":
    main()
