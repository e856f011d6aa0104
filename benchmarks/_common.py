"""What the benchmarks share: data, workers in fresh processes, one table, and the peers behind one small interface.

Peers get our index terms, our vectors and our passages, ready made, so that what differs is their own work.
Not covered: what is measured (each script says so), and downloading anything.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import pickle
import platform
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

ROOT = Path(__file__).resolve().parent.parent
Row = dict[str, Any]
DEPTH = 100
"""How many passages each retriever of a hybrid gives to the fusion, everywhere."""
AFTERWARDS = 1000
"""How many hits the peers that filter after the search look through; LangChain's default is 20."""
DENSE_WEIGHT = 0.4
"""What our hashing encoder weighs beside lexical = 1; peers fuse with the same proportion."""


# --- the command line and the data ---------------------------------------------------------------------------------


def parser(description: str) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    found = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = Path(os.environ.get("CHIMED_SHARED") or ROOT.parent / "shared")
    found.add_argument("--data", type=Path, default=shared / "data", help="folder with corpora/ and eval/")
    found.add_argument("--limit", type=int, help="read only the first rows of each corpus (a trial, not a result)")
    found.add_argument("--repeat", type=int, default=3, help="how often each measurement is made; medians are shown")
    found.add_argument("--json", type=Path, dest="json_file", help="also write the table there")
    found.add_argument("--work", type=Path, help="keep indexes in this folder instead of a temporary one")
    found.add_argument("--worker", help=argparse.SUPPRESS)
    found.add_argument("--task", type=json.loads, default={}, help=argparse.SUPPRESS)
    return found


def corpus_file(data: Path, name: str, limit: int | None, work: Path) -> Path:
    """A corpus, or a copy of its first rows in the working folder."""
    source = data / name
    if not source.is_file():
        sys.exit(f"{source}: not there; name the folder of the data with --data, or set CHIMED_SHARED")
    if limit is None:
        return source
    part = work / f"first{limit}-{source.name}"
    with gzip.open(source, "rb") as lines, gzip.GzipFile(part, "wb", compresslevel=1, mtime=0) as copy:
        copy.writelines(islice(lines, limit))
    return part


# --- workers: each measurement in a process of its own -------------------------------------------------------------


def peak_mb() -> float:
    """The most memory this process held, in MB.

    Where there is /proc, its own figure: getrusage also counts what the parent held when it started this process.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next((line for line in status.read_text().splitlines() if line.startswith("VmHWM")), "")
        if line:
            return int(line.split()[1]) / 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20) if sys.platform == "darwin" else peak / 1024


def in_worker(script: str, worker: str, **task: Any) -> Row:
    """Runs one worker of a script in a fresh interpreter and gives back the JSON object it printed last."""
    command = [sys.executable, script, "--worker", worker, "--task", json.dumps(task)]
    named = [str(task[key]) for key in ("peer", "storage", "mode") if key in task]
    print("...", worker, *named, file=sys.stderr)
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{worker} failed:\n{done.stderr}")
    result: Row = json.loads(done.stdout.splitlines()[-1])
    return result


def medians(rows: Sequence[Row]) -> Row:
    """One row out of repetitions: the median of each number, the last of everything else."""
    merged = dict(rows[-1])
    for key, value in merged.items():
        if isinstance(value, float):
            merged[key] = statistics.median(row[key] for row in rows)
    return merged


def tree_mb(folder: Path) -> float:
    """What the files beneath a folder take on disk, in MB."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


# --- the table -----------------------------------------------------------------------------------------------------


def machine() -> dict[str, Any]:
    """Cores and processor."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return {"cores": os.cpu_count(), "cpu": model, "system": platform.system(), "python": platform.python_version()}


def versions(*packages: str) -> dict[str, str]:
    """The installed versions of chimed_rag and of packages."""
    found = {}
    for package in ("chimed-rag", "numpy", "faiss-cpu", "tantivy", *packages):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def commit() -> str:
    """The commit of the checkout, with "+" where files differ from it; "unknown" outside of a checkout."""
    if shutil.which("git") is None:
        return "unknown"

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True)
        return done.stdout.strip()

    return (git("rev-parse", "--short=12", "HEAD") or "unknown") + ("+" if git("status", "--porcelain") else "")


def report(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Row],
    *,
    about: Mapping[str, Any],
    packages: Sequence[str] = (),
    notes: Sequence[str] = (),
    json_file: Path | None = None,
) -> None:
    """Prints the one table of a benchmark with what makes its numbers a result, and writes it as JSON if asked."""
    from rich.console import Console
    from rich.table import Table

    where, found = machine(), versions(*packages)
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="left" if column == columns[0] else "right", overflow="fold")
    for row in rows:
        table.add_row(*(_shown(row.get(column)) for column in columns))
    console = Console(width=max(100, 22 + 13 * len(columns)), soft_wrap=False)
    console.print(table)
    today, revision = date.today().isoformat(), commit()
    print(" · ".join(f"{key} {value}" for key, value in about.items()))
    print(f"{where['cores']} cores {where['cpu']}, {where['system']}, Python {where['python']}, {today}, {revision}")
    print(", ".join(f"{name} {number}" for name, number in found.items()))
    for note in notes:
        print(f"- {note}")
    if json_file is not None:
        body = {
            "title": title, "date": today, "commit": revision, "about": dict(about), "machine": where,
            "versions": found, "notes": list(notes), "rows": list(rows),
        }  # fmt: skip
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(body, ensure_ascii=False, indent=1) + "\n", "utf-8")


def _shown(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    if 0 < abs(value) < 0.001:
        return f"{value:.1e}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}" if abs(value) >= 1 else f"{value:.3f}"


# --- passages ------------------------------------------------------------------------------------------------------


class Passage(NamedTuple):
    """One passage as our index holds it: `text` is title, headings and text, what encoder and BM25 see."""

    id: str
    document_id: str
    text: str
    department: list[str]


def write_passages(index: Path, file: Path) -> int:
    """Writes the passages of one of our indexes as JSONL, for the peers; returns how many."""
    from chimed_rag.indexing.index import Index
    from chimed_rag.indexing.lexical import index_text

    count = 0
    with file.open("w", encoding="utf-8") as out:
        for segment in Index.open(index).store.segments:
            for number, chunks, document in segment.documents():
                department = document.metadata.get("department") or []
                for chunk in segment.chunks(document, number, chunks):
                    row = [chunk.id, document.id, index_text(document, chunk), department]
                    out.write(json.dumps(row, ensure_ascii=False) + "\n")
                    count += 1
    return count


def read_passages(file: Path) -> list[Passage]:
    """The passages of such a file."""
    with file.open(encoding="utf-8") as lines:
        return [Passage(*json.loads(line)) for line in lines]


# --- peers ---------------------------------------------------------------------------------------------------------

Hits = list[tuple[str, float]]
"""(passage id, score), best first."""


class Peer(Protocol):
    """Another library doing the same work over the same passages."""

    label: str
    packages: tuple[str, ...]
    sample_only: bool
    """Too slow for all questions: it is asked a sample."""
    filter_label: str
    """What its filtered search is."""

    def build(self, passages: Sequence[Passage]) -> None:
        """Indexes the passages."""

    def save(self, folder: Path) -> None:
        """Writes everything needed to search again, texts included."""

    def searches(self) -> dict[str, Callable[[str, int], Hits]]:
        """Its kinds of search by name: "lexical", "dense", "hybrid"."""

    def search_many(self, queries: Sequence[str], k: int) -> int:
        """Answers all queries by its hybrid, or best, search in its own fastest way; returns how many."""

    def filtered(self, query: str, k: int, department: str) -> int:
        """How many passages of a department it finds, asked for k."""


def encode(texts: Sequence[str]) -> Any:
    """Our hashing encoder's vectors, float32 (n, its dimension)."""
    from chimed_rag.encoders.base import load_encoder

    global _encoder
    _encoder = _encoder or load_encoder("hashing")
    assert _encoder.fusion_weight == DENSE_WEIGHT, "peers would fuse with another proportion than ours"
    return _encoder.encode_documents(texts)


_encoder: Any = None


class Bm25sFaiss:
    """bm25s with its numba backend and a FAISS flat index, put together by hand."""

    label: str = "bm25s + FAISS"
    packages: tuple[str, ...] = ("bm25s", "numba", "scipy")
    sample_only: bool = False
    filter_label: str = "lexical, weight_mask"

    def build(self, passages: Sequence[Passage]) -> None:
        import bm25s
        import faiss

        from chimed_rag.text import terms

        self._terms, self._passages = terms, passages
        texts = [passage.text for passage in passages]
        tokenizer = bm25s.tokenization.Tokenizer(lower=False, splitter=terms, stopwords=[], stemmer=None)
        tokens = tokenizer.tokenize(texts, return_as="tuple", show_progress=False)
        self._bm25 = bm25s.BM25(backend="numba", csc_backend="scipy")
        self._bm25.index(tokens, show_progress=False)
        self._faiss = faiss.IndexFlatIP(encode(["a"]).shape[1])
        for begin in range(0, len(texts), 1024):
            self._faiss.add(encode(texts[begin : begin + 1024]))
        self._masks: dict[str, Any] = {}

    def save(self, folder: Path) -> None:
        import faiss

        self._bm25.save(folder, corpus=[{"id": p.id, "text": p.text} for p in self._passages], show_progress=False)
        faiss.write_index(self._faiss, str(folder / "vectors.faiss"))

    def _named(self, positions: Iterable[int], scores: Iterable[float]) -> Hits:
        return [(self._passages[i].id, float(score)) for i, score in zip(positions, scores, strict=True) if score > 0]

    def _lexical(self, query: str, k: int, mask: Any = None) -> Hits:
        found, scores = self._bm25.retrieve([self._terms(query)], k=k, show_progress=False, weight_mask=mask)
        return self._named(found[0].tolist(), scores[0].tolist())

    def _dense(self, query: str, k: int) -> Hits:
        scores, positions = self._faiss.search(encode([query]), k)
        return self._named(positions[0].tolist(), scores[0].tolist())

    def _fused(self, lexical: Hits, dense: Hits, k: int) -> Hits:
        from chimed_rag.retrieval.fusion import weighted_fusion

        return weighted_fusion({"dense": dense, "lexical": lexical}, {"dense": DENSE_WEIGHT, "lexical": 1.0})[:k]

    def _hybrid(self, query: str, k: int) -> Hits:
        depth = max(k, DEPTH)
        return self._fused(self._lexical(query, depth), self._dense(query, depth), k)

    def searches(self) -> dict[str, Callable[[str, int], Hits]]:
        return {"lexical": self._lexical, "dense": self._dense, "hybrid": self._hybrid}

    def search_many(self, queries: Sequence[str], k: int) -> int:
        tokens = [self._terms(query) for query in queries]
        found, weights = self._bm25.retrieve(tokens, k=DEPTH, show_progress=False, n_threads=-1)
        scores, positions = self._faiss.search(encode(queries), DEPTH)
        rows = zip(found.tolist(), weights.tolist(), positions.tolist(), scores.tolist(), strict=True)
        return len([self._fused(self._named(a, b), self._named(c, d), k) for a, b, c, d in rows])

    def filtered(self, query: str, k: int, department: str) -> int:
        import numpy as np

        if department not in self._masks:
            self._masks[department] = np.array([department in p.department for p in self._passages], np.float32)
        return len(self._lexical(query, k, self._masks[department]))


class LangChain:
    """LangChain's BM25Retriever and FAISS store in its EnsembleRetriever."""

    label: str = "LangChain BM25 + FAISS"
    packages: tuple[str, ...] = ("langchain-core", "langchain-classic", "langchain-community", "rank-bm25")
    sample_only: bool = True
    filter_label: str = "dense, fetch_k 1000"

    def build(self, passages: Sequence[Passage]) -> None:
        from langchain_classic.retrievers import EnsembleRetriever
        from langchain_community.retrievers import BM25Retriever
        from langchain_community.vectorstores import FAISS
        from langchain_community.vectorstores.utils import DistanceStrategy
        from langchain_core.embeddings import Embeddings

        from chimed_rag.text import terms

        class Hashing(Embeddings):
            def embed_documents(self, texts: list[str]) -> Any:
                return encode(texts)  # an array, where the interface says lists: seconds and a gigabyte in its favour

            def embed_query(self, text: str) -> Any:
                return encode([text])[0]

        texts, ids = [p.text for p in passages], [p.id for p in passages]
        metadata: list[dict[str, Any]] = [{"id": p.id, "department": p.department} for p in passages]
        self._bm25 = BM25Retriever.from_texts(texts, metadatas=metadata, ids=ids, preprocess_func=terms, k=DEPTH)
        self._store = FAISS.from_texts(
            texts, Hashing(), metadatas=metadata, ids=ids, distance_strategy=DistanceStrategy.MAX_INNER_PRODUCT
        )
        dense = self._store.as_retriever(search_kwargs={"k": DEPTH})
        weights = [1 / (1 + DENSE_WEIGHT), DENSE_WEIGHT / (1 + DENSE_WEIGHT)]
        self._ensemble = EnsembleRetriever(retrievers=[self._bm25, dense], weights=weights, id_key="id")

    def save(self, folder: Path) -> None:
        self._store.save_local(str(folder))
        with (folder / "bm25.pickle").open("wb") as file:  # it has no format of its own
            pickle.dump(self._bm25.vectorizer, file)

    def _ranked(self, retriever: Any, query: str, k: int) -> Hits:
        found = retriever.invoke(query)[:k]
        return [(document.metadata["id"], float(len(found) - i)) for i, document in enumerate(found)]

    def searches(self) -> dict[str, Callable[[str, int], Hits]]:
        return {"hybrid": lambda query, k: self._ranked(self._ensemble, query, k)}

    def search_many(self, queries: Sequence[str], k: int) -> int:
        return len([found[:k] for found in self._ensemble.batch(list(queries))])

    def filtered(self, query: str, k: int, department: str) -> int:
        def allowed(metadata: dict[str, Any]) -> bool:
            return department in metadata["department"]

        return len(self._store.similarity_search(query, k=k, filter=allowed, fetch_k=AFTERWARDS))


def _txtai_vectors(texts: Sequence[str]) -> Any:
    return encode(list(texts))


_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff\u3007"
_WORD = r"[a-z0-9\u00b5\u0370-\u03ff]+(?:[.+-][a-z0-9]+)*[%+]?"
TXTAI_TERMS = rf"(?=([{_HAN}]{{2}}|(?<![{_HAN}])[{_HAN}](?![{_HAN}])|{_WORD}))(?:[{_HAN}]|{_WORD})"
"""Our index terms of a folded text as one expression of the `regex` library, which is what txtai's tokenizer takes."""


class Txtai:
    """txtai with content: BM25 over our terms, our vectors by its external transform, its own fusion.

    Args:
        components: the FAISS index; None takes what txtai chooses, an IVF index at this size.
    """

    packages: tuple[str, ...] = ("txtai",)
    sample_only: bool = True
    filter_label: str = "hybrid, SQL on 1000"

    def __init__(self, components: str | None = "IDMap,Flat") -> None:
        self.label = "txtai, flat FAISS" if components else "txtai, its IVF"
        self._components = components

    def build(self, passages: Sequence[Passage]) -> None:
        from txtai import Embeddings

        from chimed_rag.text import fold

        self._fold = fold
        settings: dict[str, Any] = {
            "method": "external", "transform": _txtai_vectors, "content": True, "backend": "faiss",
            "scoring": {"method": "bm25", "terms": True, "normalize": True, "tokenizer": {"regexp": TXTAI_TERMS}},
        }  # fmt: skip
        if self._components:
            settings["faiss"] = {"components": self._components}
        self._embeddings = Embeddings(settings)
        self._embeddings.index(
            (p.id, {"text": fold(p.text), "department": "|" + "|".join(p.department) + "|"}, None) for p in passages
        )

    def save(self, folder: Path) -> None:
        self._embeddings.config.pop("transform", None)  # a function is not written; name it again when loading
        self._embeddings.save(str(folder))

    def _search(self, query: str, k: int, weight: float) -> Hits:
        found = self._embeddings.search(self._fold(query), k, weights=weight)
        return [(item["id"], float(item["score"])) for item in found]

    def searches(self) -> dict[str, Callable[[str, int], Hits]]:
        return {
            "hybrid": lambda query, k: self._search(query, k, DENSE_WEIGHT / (1 + DENSE_WEIGHT)),
            "hybrid, weights .5": lambda query, k: self._search(query, k, 0.5),
        }

    def search_many(self, queries: Sequence[str], k: int) -> int:
        folded = [self._fold(query) for query in queries]
        return len(self._embeddings.batchsearch(folded, k, weights=DENSE_WEIGHT / (1 + DENSE_WEIGHT)))

    def filtered(self, query: str, k: int, department: str) -> int:
        sql = (
            f"select id, score from txtai where similar(:query, {AFTERWARDS}) and department like :department limit {k}"
        )
        return len(self._embeddings.search(sql, k, parameters={"query": query, "department": f"%|{department}|%"}))


PEERS: dict[str, Callable[[], Peer]] = {
    "bm25s": Bm25sFaiss,
    "langchain": LangChain,
    "txtai": Txtai,
    "txtai-ivf": lambda: Txtai(None),
}


def rows_of(file: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSONL file, plain or gzip."""
    with gzip.open(file, "rt", encoding="utf-8") if file.suffix == ".gz" else file.open(encoding="utf-8") as lines:
        for line in lines:
            if line.strip():
                yield json.loads(line)
