from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Iterable, Sequence
from math import log2
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from chimed_rag.errors import CorpusError, InputError
from chimed_rag.evaluation.beir import BeirCorpus, read_qrels, read_queries
from chimed_rag.evaluation.report import result_table
from chimed_rag.evaluation.retrieval import (
    RetrievalResult,
    Search,
    best_chunk_per_document,
    evaluate_retrieval,
    run_file,
)
from chimed_rag.records import Document

QUERIES = {"q1": "甲", "q2": "乙", "q3": "丙"}
QRELS = {"q1": {"d1": 1}, "q2": {"d2": 1}, "q3": {"d3": 1}}
HITS: dict[str, list[tuple[str, float]]] = {
    "甲": [("d2", 0.5), ("d1", 0.9), ("d2", 0.1)],  # d1 first
    "乙": [("d1", 0.5), ("d2", 0.5), ("d3", 0.4)],  # a tie: d1 before d2
    "丙": [],
}


def search(text: str, k: int) -> list[tuple[str, float]]:
    return HITS[text]


def write(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def files(folder: Path) -> tuple[Path, list[Path], Path]:
    return (
        write(folder / "queries.jsonl", [{"_id": key, "text": text} for key, text in QUERIES.items()]),
        [
            write(folder / "corpus.jsonl", [{"_id": "d1", "title": "", "text": "甲"}, {"_id": "d2", "text": "乙"}]),
            write(folder / "more.jsonl", [{"id": "d3", "text": "丙"}, {"id": "x", "text": "丁"}]),
        ],
        write(folder / "qrels.jsonl", [{"query-id": q, "corpus-id": d, "score": 1} for q in QRELS for d in QRELS[q]]),
    )


def exact_match(documents: Iterable[Document]) -> Search:
    """A search that finds the documents whose text is the query."""
    read = [(document.id, document.text) for document in documents]
    return lambda text, k: [(key, 1.0) for key, said in read if said == text][:k]


def nothing(documents: Iterable[Document]) -> Search:
    list(documents)
    return lambda text, k: []


def values(result: RetrievalResult) -> dict[str, float]:
    return {name: mean.value for name, mean in result.metrics.items()}


def test_best_chunk_per_document() -> None:
    hits = [("b", 0.2), ("c", 0.5), ("a", 0.5), ("b", 0.7), ("b", 0.1)]
    assert best_chunk_per_document(hits, 10) == [("b", 0.7), ("a", 0.5), ("c", 0.5)]
    assert best_chunk_per_document(iter(hits), 2) == [("b", 0.7), ("a", 0.5)]
    assert best_chunk_per_document([], 10) == []
    with pytest.raises(InputError, match="not a number"):
        best_chunk_per_document([("a", float("nan"))], 10)


def test_metrics_by_hand() -> None:
    result = evaluate_retrieval(search, QUERIES, QRELS, system="double", data_sha256="0" * 64)
    assert result.n == 3
    assert values(result) == pytest.approx(
        {
            "ndcg@10": (1 + 1 / log2(3) + 0) / 3,
            "recall@10": 2 / 3,
            "recall@100": 2 / 3,
            "mrr@10": (1 + 1 / 2 + 0) / 3,
        },
        abs=1e-6,
    )
    assert all(mean.low <= mean.value <= mean.high for mean in result.metrics.values())


def test_the_json_is_the_promised_one() -> None:
    result = evaluate_retrieval(search, QUERIES, QRELS, system="hybrid", data_sha256="ab", versions={"encoder": "e1"})
    printed = json.loads(result.model_dump_json())
    assert printed.keys() == {
        "task", "system", "protocol", "n", "data_sha256", "schema_version", "metrics", "latency_ms", "versions",
    }  # fmt: skip
    assert {key: printed[key] for key in ("task", "system", "protocol", "n", "data_sha256", "schema_version")} == {
        "task": "retrieval",
        "system": "hybrid",
        "protocol": "beir",
        "n": 3,
        "data_sha256": "ab",
        "schema_version": 1,
    }
    assert list(printed["metrics"]) == ["ndcg@10", "recall@10", "recall@100", "mrr@10"]
    assert all(entry.keys() == {"value", "low", "high"} for entry in printed["metrics"].values())
    assert 0 <= printed["latency_ms"]["p50"] <= printed["latency_ms"]["p95"]
    assert printed["versions"].keys() >= {"chimed_rag", "python", "pytrec-eval-terrier", "scipy", "encoder"}
    assert RetrievalResult.model_validate(printed) == result


def test_each_query_is_asked_once_after_a_first_call_that_is_not_timed() -> None:
    asked: list[str] = []
    done: list[tuple[int, int]] = []

    def spy(text: str, k: int) -> Sequence[tuple[str, float]]:
        assert k == 150
        asked.append(text)
        return HITS[text]

    evaluate_retrieval(
        spy, QUERIES, QRELS, system="s", data_sha256="", k=150, progress=lambda n, total: done.append((n, total))
    )
    assert asked == ["甲", "甲", "乙", "丙"]
    assert done == [(1, 3), (2, 3), (3, 3)]


def test_a_search_too_shallow_for_the_metrics_is_refused() -> None:
    with pytest.raises(InputError, match="at least 100"):
        evaluate_retrieval(search, QUERIES, QRELS, system="s", data_sha256="", k=10)


def test_files_to_result(tmp_path: Path) -> None:
    queries, corpora, qrels = files(tmp_path)
    result = run_file(queries, corpora, qrels, exact_match, system="exact")
    assert (result.n, result.system) == (3, "exact")
    assert set(values(result).values()) == {1.0}
    together = b"".join(path.read_bytes() for path in (queries, *corpora, qrels))
    assert result.data_sha256 == hashlib.sha256(together).hexdigest()
    assert set(values(run_file(queries, corpora, qrels, nothing, system="mute")).values()) == {0.0}


def test_relevant_documents_that_no_corpus_holds(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    queries, corpora, qrels = files(tmp_path)
    with caplog.at_level(logging.WARNING):
        result = run_file(queries, [corpora[0], corpora[0]], qrels, exact_match, system="exact")
    assert values(result)["recall@100"] == pytest.approx(2 / 3, abs=1e-6)
    assert [record.getMessage() for record in caplog.records] == [
        "2 corpus rows repeat an earlier id and text and count once",
        "1 of 3 relevant documents are in no corpus and count as missed",
    ]
    other = write(tmp_path / "other.jsonl", [{"_id": "x", "text": "甲"}])
    with pytest.raises(InputError, match="--corpus"):
        run_file(queries, [other], qrels, exact_match, system="exact")
    with pytest.raises(InputError, match="at least one corpus"):
        run_file(queries, [], qrels, exact_match, system="exact")


def test_bad_small_files_are_found_before_the_index_is_built(tmp_path: Path) -> None:
    queries, corpora, qrels = files(tmp_path)
    qrels.write_text("oops\n")

    def must_not_run(documents: Iterable[Document]) -> Search:
        raise AssertionError("the index was built first")

    with pytest.raises(CorpusError, match=r"qrels\.jsonl, line 1"):
        run_file(queries, corpora, qrels, must_not_run, system="s")


def test_the_table_shows_what_a_number_needs() -> None:
    result = evaluate_retrieval(search, QUERIES, QRELS, system="double", data_sha256="fedcba9876543210")
    console = Console(file=io.StringIO(), width=100)
    console.print(result_table(result))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for expected in ("retrieval: double", "mrr@10", "0.500", "n = 3", "fedcba987654", "p95"):
        assert expected in shown


@pytest.mark.real_data
def test_huatuo_perfect_and_empty_runs(shared_data: Path) -> None:
    huatuo = shared_data / "eval" / "huatuo_retrieval_dev"
    queries = read_queries(huatuo / "queries.jsonl.gz")
    qrels = read_qrels(huatuo / "qrels.jsonl.gz")
    corpus = BeirCorpus([huatuo / "corpus.jsonl.gz"])
    assert (len(queries), len(qrels), sum(1 for _ in corpus)) == (2984, 2984, 2984)
    assert corpus.missing(qrels) == set()
    # Five of the queries share two texts, so no search by text can be perfect: these runs are asked by id.
    by_id = {key: key for key in queries}

    def perfect(key: str, k: int) -> list[tuple[str, float]]:
        return [(document, 1.0) for document in qrels[key]]

    for run, expected in ((perfect, 1.0), (lambda key, k: [], 0.0)):
        result = evaluate_retrieval(run, by_id, qrels, system="s", data_sha256="")
        assert result.n == 2984
        assert set(values(result).values()) == {expected}
