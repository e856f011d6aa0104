"""What an encoder trained from scratch on a literature by `training retriever` finds in it: patients, examinations.

The encoder of `training/configs/retriever_literature.yaml` learns on a GPU from the passages alone, without labels, and
never sees a question or a judgement of the sets it is measured on. Measured are the 2,984 patient questions over the
80,688 documents, by document, and whether the right option of MedQA-MCMLE's questions stands in the first ten passages
of textbooks and encyclopedia. Beside it the n-gram encoder that adapted itself on a CPU, on the same passages, with the
same lists of BM25.

    chimed build CORPUS.jsonl.gz ENCYCLOPEDIA.jsonl.gz --out PATIENTS --adapt     # on a CPU, all three
    chimed build TEXTBOOKS.jsonl.gz ENCYCLOPEDIA.jsonl.gz --out EXAMS --adapt
    python benchmarks/gpu_literature.py --prepare .gpu --index PATIENTS --exam-index EXAMS
    python -m training retriever --config training/configs/retriever_literature.yaml \
      --set data.files.0.path=.gpu/literature.jsonl.gz --set held_out=0           # on the GPU, both
    python benchmarks/gpu_literature.py .gpu --encoder models/retriever_literature --json FILE

Not covered: what the passages of an answer are (`chimed ask` leaves out duplicates and adds neighbours, here are plain
rankings), other seeds, sizes and literatures.

What was tried without a script here (one H200, 2026-11-27; a literature of the patients' passages alone, natural
questions with an open licence beside our consultations, loops of its own, 200 s of learning: .415 / .732):

- A cross-encoder on top (75 s, lists of a passage and seven that the encoder ranks high): .4147 -> .4347 over the
  encoder's 50 best, .3172 -> .3854 over those of the n-grams. 3 layers of 192 columns taught by it: .3172 -> .3217.
- The same without the literature, on openly licensed pairs, classics and own text alone (2.4 million tokens of today's
  language): the masked tokens are learned by heart only (loss 6.0 against 3.1) and a cross-encoder gives
  .3172 -> .3187. That is why no transformer ships: what it lacks is text, which the user has.
- As a judge of whether a passage supports a sentence, fine-tuned on 9,050 pairs (`training/proof_pairs` and templates):
  area under the curve .93 on pairs of other writers on the same passages, .84 on other passages, .76 on hand-made pairs
  of real textbooks, .57 on the test templates of tests/proof_pairs.jsonl. It learns its writers' register; on the last
  two the rules are far better.
- To tell which of two titles suits a search query (`chimed evaluate cmedir`, 10,000 pairs; the model of
  results/gpu_literature.json, 2026-11-28): .547 alone, .559 with BM25, against .570 of BM25.
"""

from __future__ import annotations

import gzip
import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from _common import Row, parser, report

COLUMNS = ["questions", "system", "n", "nDCG@10", "R@100", "among replies", "replies in ten", "found@10"]
DEPTH, CANDIDATES = 300, 300
WEIGHTS = (1.0, 1.5, 2.0, 3.0, 4.0)
"""Of the transformer's cosines beside BM25."""


# --- on a CPU: passages, and what BM25 and the n-grams find -----------------------------------------------------------


def prepare(folder: Path, patients: Path, exams: Path, data: Path) -> None:
    """Writes the passages of both indexes, each once, as a literature to learn from, and the lists of both searches."""
    from chimed_rag.evaluation.beir import judged_queries, read_qrels, read_queries
    from chimed_rag.evaluation.tasks.exam_evidence import read_items

    folder.mkdir(parents=True, exist_ok=True)
    base = data / "eval" / "huatuo_retrieval_dev"
    queries, qrels = judged_queries(read_queries(base / "queries.jsonl.gz"), read_qrels(base / "qrels.jsonl.gz"))
    items = read_items(data / "eval" / "mcmle_dev.jsonl.gz")
    places: dict[tuple[str, str, str], int] = {}
    documents = _listed(folder / "patients", patients, list(queries.values()), places)
    numbers = {name: n for n, name in enumerate(dict.fromkeys(documents))}
    gold = [[numbers[d] for d, grade in qrels[key].items() if grade > 0 and d in numbers] for key in queries]
    _write(folder / "patients.json.gz", {"documents": [numbers[name] for name in documents], "gold": gold})
    _listed(folder / "exams", exams, [item.question for item in items], places)
    _write(folder / "exams.json.gz", {"right": [[item.options[n] for n in sorted(item.right)] for item in items]})
    with gzip.open(folder / "literature.jsonl.gz", "wt", encoding="utf-8") as file:
        for title, section, text in places:
            row = {"title": title, "section": section, "text": text}
            file.write(json.dumps({key: value for key, value in row.items() if value}, ensure_ascii=False) + "\n")


def _listed(name: Path, index: Path, questions: Sequence[str], places: dict[tuple[str, str, str], int]) -> list[str]:
    """Numbers an index's passages, writes what it finds for the questions, returns each passage's document."""
    from chimed_rag.indexing.lexical import index_text
    from chimed_rag.medqa import MedQA
    from chimed_rag.query.rewriting import asked, corrected
    from chimed_rag.retrieval.retrievers import LexicalRetriever

    qa = MedQA.load(index)
    view, encoder, searcher = qa._view.index, qa.encoder, LexicalRetriever(qa._view.index)
    rows = view.store.rows.tolist()
    stored = [found[row] for at in range(0, len(rows), 2000) for found in [view.passages(rows[at : at + 2000])]
              for row in rows[at : at + 2000]]  # fmt: skip
    keys = [(one.document.title, (*one.chunk.headings, "")[0], one.chunk.text) for one in stored]
    numbers = np.array([places.setdefault(key, len(places)) for key in keys], np.int32)
    at_row = {row: n for n, row in enumerate(rows)}
    read = [asked(qa._query(text)) for text in questions]
    meant = [str(corrected(one)) for one in read]
    lexical = np.full((len(read), DEPTH), -1, np.int32), np.zeros((len(read), DEPTH), np.float32)
    best = np.zeros((len(read), CANDIDATES), np.int32)
    vectors = encoder.encode_documents([index_text(one.document, one.chunk) for one in stored])
    for begin in range(0, len(read), 256):
        part = slice(begin, begin + 256)
        for n, hits in enumerate(searcher.search(read[part], DEPTH), begin):
            lexical[0][n, : len(hits)] = [at_row[row] for _, row in hits]
            lexical[1][n, : len(hits)] = [score for score, _ in hits]
        totals = encoder.cosine_weight * (encoder.encode_queries(meant[part]) @ vectors.T)
        gains, places_of = shares(lexical[0][part], lexical[1][part]), lexical[0][part]
        for total, gain, found in zip(totals, gains, places_of, strict=True):
            total[found[found >= 0]] += gain[found >= 0]
        best[part] = np.argsort(-totals, axis=1, kind="stable")[:, :CANDIDATES]
    np.savez_compressed(
        f"{name}.npz", passages=numbers, rows=lexical[0], scores=lexical[1].astype(np.float16), best=best
    )
    _write(Path(f"{name}-meant.json.gz"), meant)
    qa.close()
    return [one.document.id for one in stored]


def shares(rows: Any, scores: Any) -> Any:
    """What each listed passage has of BM25 beyond one that is not listed, as a share of the query's best (`fusion`)."""
    from chimed_rag.retrieval.fusion import UNFOUND

    there = rows >= 0
    best = np.maximum(scores[:, :1], 1e-6)
    least = np.where(there.all(axis=1), UNFOUND * scores[:, -1] / best[:, 0], 0.0)
    return np.where(there, scores / best - least[:, None], 0.0).astype(np.float32)


def _write(file: Path, content: Any) -> None:
    with gzip.open(file, "wt", encoding="utf-8") as out:
        json.dump(content, out, ensure_ascii=False)


def _read(file: Path) -> Any:
    with gzip.open(file, "rt", encoding="utf-8") as content:
        return json.load(content)


# --- on the GPU: the trained models ----------------------------------------------------------------------------------


class Asked(NamedTuple):
    """A set of questions over its passages: places in the lists are places in `passages`, numbers of the literature."""

    questions: list[str]
    passages: Any
    rows: Any
    gains: Any
    best: Any

    @classmethod
    def read(cls, name: Path) -> Asked:
        lists = np.load(f"{name}.npz")
        gains = shares(lists["rows"], lists["scores"].astype(np.float32))
        return cls(_read(Path(f"{name}-meant.json.gz")), lists["passages"], lists["rows"], gains, lists["best"])


class Patients:
    """Rankings of passages against the judgements, by document."""

    def __init__(self, folder: Path) -> None:
        content = _read(folder / "patients.json.gz")
        self._documents, self._gold = np.array(content["documents"]), [set(found) for found in content["gold"]]
        self._replies = np.isin(self._documents, [d for found in self._gold for d in found])

    def row(self, system: str, rankings: Sequence[Any]) -> Row:
        """nDCG@10, recall@100; nDCG@10 with the encyclopedia taken out; the share of replies in the first ten."""
        ranked = [self._first(rows) for rows in rankings]
        among = [self._first(rows[self._replies[rows]]) for rows in rankings]
        replies = set(self._documents[self._replies].tolist())
        pairs = list(zip(ranked, self._gold, strict=True))
        return {
            "questions": "patients", "system": system, "n": len(ranked),
            "nDCG@10": float(np.mean([_ndcg(found, gold) for found, gold in pairs])),
            "R@100": float(np.mean([len(gold & set(found)) / len(gold) for found, gold in pairs])),
            "among replies": float(np.mean([_ndcg(r, g) for r, g in zip(among, self._gold, strict=True)])),
            "replies in ten": float(np.mean([sum(d in replies for d in found[:10]) / 10 for found in ranked])),
        }  # fmt: skip

    def _first(self, rows: Any, most: int = 100) -> list[int]:
        return list(dict.fromkeys(self._documents[rows].tolist()))[:most]


class Exams:
    """Whether the right option's text stands in the first ten passages."""

    def __init__(self, folder: Path, texts: Sequence[str]) -> None:
        self._right, self._texts = _read(folder / "exams.json.gz")["right"], texts

    def row(self, system: str, rankings: Sequence[Any]) -> Row:
        """The share of the questions."""
        from chimed_rag.evaluation.tasks.exam_evidence import stands_in

        found = [
            any(stands_in(option, [self._texts[row] for row in rows[:10]]) for option in right)
            for right, rows in zip(self._right, rankings, strict=True)
        ]
        return {"questions": "examinations", "system": system, "n": len(found), "found@10": float(np.mean(found))}


def _ndcg(ranked: Sequence[int], gold: set[int], depth: int = 10) -> float:
    ideal = sum(1 / math.log2(n + 2) for n in range(min(depth, len(gold))))
    return sum(1 / math.log2(n + 2) for n, d in enumerate(ranked[:depth]) if d in gold) / ideal


def rankings(asked: Asked, queries: Any, vectors: Any, weight: float | None) -> list[Any]:
    """The best passages of each query, by cosine, or by the weighted cosine and BM25's share."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    passages = torch.from_numpy(vectors[asked.passages]).to(device)
    rows = torch.from_numpy(asked.rows.astype(np.int64)).clamp_min(0).to(device)
    gains, asking = torch.from_numpy(asked.gains).to(device), torch.from_numpy(queries).to(device)
    found: list[Any] = []
    for at in range(0, len(queries), 256):
        totals = asking[at : at + 256] @ passages.T
        if weight is not None:
            totals = (weight * totals).scatter_add_(1, rows[at : at + 256], gains[at : at + 256])
        found += list(totals.topk(CANDIDATES, dim=1).indices.cpu().numpy())
    return found


def measured(folder: Path, trained: Path) -> tuple[list[Row], dict[str, Any]]:
    """The rows of the table, and what is told about them."""
    from chimed_rag.encoders.base import load_encoder
    from training.literature import passages_of

    passages = passages_of(folder / "literature.jsonl.gz")
    texts = [passage.whole() for passage in passages]
    encoder = load_encoder(str(trained), batch_size=512)
    begin = time.perf_counter()
    vectors = encoder.encode_documents(texts)
    took = time.perf_counter() - begin
    sets = {name: Asked.read(folder / name) for name in ("patients", "exams")}
    judges: dict[str, Patients | Exams] = {
        "patients": Patients(folder),
        "exams": Exams(folder, [passages[n].text for n in sets["exams"].passages]),
    }
    rows: list[Row] = []
    for name, asked in sets.items():
        judge, queries = judges[name], encoder.encode_queries(asked.questions)
        rows.append(judge.row("n-grams adapted on a CPU, with BM25", asked.best))
        rows.append(judge.row("transformer alone", rankings(asked, queries, vectors, None)))
        for weight in WEIGHTS:
            ranked = rankings(asked, queries, vectors, weight)
            rows.append(judge.row(f"transformer with BM25, cosine × {weight:g}", ranked))
    card = json.loads((trained / "card.json").read_text("utf-8"))
    last = {point["phase"]: point["loss"] for point in card["curve"]}
    told = ("parameters", "training_pairs", "seconds", "peak_memory", "seed", "configuration")
    about = {
        "passages": len(passages),
        "passages of": {name: len(one.passages) for name, one in sets.items()},
        "passages encoded in s": round(took, 1),
        "last losses": last,
        **{key: card[key] for key in told},
    }
    return rows, about


def main() -> None:
    options = parser(__doc__)
    options.add_argument("folder", type=Path, nargs="?", help="what --prepare wrote")
    options.add_argument("--prepare", type=Path, help="write there what the other machine needs")
    options.add_argument("--index", type=Path, help="an adapted index of the patients' replies and the encyclopedia")
    options.add_argument("--exam-index", type=Path, help="an adapted index of textbooks and encyclopedia")
    options.add_argument("--encoder", type=Path, help="the folder of a trained encoder")
    arguments = options.parse_args()
    if arguments.prepare is not None:
        if arguments.index is None or arguments.exam_index is None:
            sys.exit("--prepare needs --index and --exam-index: chimed build FILE ... --out DIR --adapt")
        prepare(arguments.prepare, arguments.index, arguments.exam_index, arguments.data)
        return
    if arguments.folder is None or arguments.encoder is None:
        sys.exit("name the folder that --prepare wrote, and --encoder")
    import torch

    rows, about = measured(arguments.folder, arguments.encoder)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    report(
        "An encoder from scratch on the literature it searches",
        COLUMNS,
        rows,
        about={"gpu": gpu, **about},
        packages=("torch", "transformers", "sentence-transformers", "tokenizers"),
        notes=["among replies: the encyclopedia's passages taken out of each ranking"],
        json_file=arguments.json_file,
    )


if __name__ == "__main__":
    main()
