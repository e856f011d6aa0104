"""What typing errors cost the search, and what the correction wins back: nDCG@10 of clean and noisy questions.

    python benchmarks/typos.py [--data DIR] [--work DIR] [--show N]

The questions are those of huatuo_retrieval_dev, the literature is the disease encyclopedia with their answers (80,688
documents). The noisy copy of each question has one typing error (or two), drawn, place and character, from the
confusions of that half of MCSCSet's rows from which the corrector did not learn (`tools/learn_typos.py`), with a seed.
"share of clean" is noisy with correction over clean with correction switched off. Beside it: how often 1,000 rows of
the same half are corrected rightly, and how often clean questions are changed at all.
Intervals are 95 % percentile bootstrap over questions. Not measured: characters too many or too few.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from _common import ROOT, corpus_file, parser, report

sys.path.insert(0, str(ROOT))

if TYPE_CHECKING:
    from chimed_rag.evaluation.statistics import Percentiles

EVAL = "eval/huatuo_retrieval_dev"
SEED = 20260101
HELD_OUT = 1000


def noisy(
    text: str, errors: int, rng: random.Random, typed_for: Mapping[str, Counter[str]], meant: Counter[str]
) -> str:
    """The text with so many typing errors, at places as likely to be mistyped as their characters are."""
    characters = list(text)
    places = [place for place, char in enumerate(characters) if char in typed_for]
    for _ in range(min(errors, len(places))):
        rates = [typed_for[characters[place]].total() / meant[characters[place]] for place in places]
        place = rng.choices(places, rates)[0]
        places.remove(place)
        wrong = typed_for[characters[place]]
        characters[place] = rng.choices(list(wrong), list(wrong.values()))[0]
    return "".join(characters)


def gains(index: Path, mode: str, typos: bool, queries: Mapping[str, str], qrels: Any) -> list[float]:
    """nDCG@10 of each question."""
    from chimed_rag import MedQA
    from chimed_rag.config import Config, Retrieval, Rewriting
    from chimed_rag.evaluation.metrics.ranking import ranking_metrics
    from chimed_rag.evaluation.retrievers import document_search

    config = Config(retrieval=Retrieval(mode=mode, reranker=None), rewriting=Rewriting(typos=typos))
    with MedQA.load(index, config=config) as qa:
        search = document_search(qa)
        rankings = {key: [document for document, _ in search(text, 10)] for key, text in queries.items()}
    return list(ranking_metrics(rankings, qrels)["ndcg@10"])


def retrieval_rows(index: Path, copies: Mapping[str, Mapping[str, str]], qrels: Any) -> list[dict[str, Any]]:
    from chimed_rag.evaluation.statistics import bootstrap_means

    rows = []
    for mode in ("lexical", "hybrid"):
        columns = {
            (name, typos): np.asarray(gains(index, mode, typos, queries, qrels))
            for name, queries in copies.items()
            for typos in (False, True)
        }
        clean = columns["clean", False]
        for (name, typos), values in columns.items():
            mean = bootstrap_means({"v": values})["v"]
            resampled = np.random.default_rng(SEED).integers(0, len(clean), (1000, len(clean)))
            low, high = np.percentile(values[resampled].mean(1) / clean[resampled].mean(1), (2.5, 97.5))
            rows.append(
                {
                    "search": mode, "questions": name, "correction": "on" if typos else "off", "n": len(values),
                    "nDCG@10": mean.value, "low": mean.low, "high": mean.high,
                    "share of clean": mean.value / clean.mean(), "share low": low, "share high": high,
                }
            )  # fmt: skip
    return rows


def corrections(index: Path, pairs: list[tuple[str, str]]) -> dict[str, int]:
    """How held-out queries with typing errors come out, and how many right ones are changed."""
    from chimed_rag import MedQA
    from chimed_rag.query.rewriting import asked, corrected, rewrite

    counts: Counter[str] = Counter()
    with MedQA.load(index) as qa:
        for typed, meant in pairs:
            got = corrected(asked(rewrite(typed, qa._view.frequency)))
            counts["all right"] += got == meant
            counts["none"] += got == typed
            counts["changed"] += got != typed
            wrong = len(got) != len(meant) or any(g not in (t, m) for g, t, m in zip(got, typed, meant, strict=True))
            counts["something wrong"] += got not in (typed, meant) and wrong
            counts["right as far as it goes"] += got not in (typed, meant) and not wrong
            counts["right one changed"] += corrected(asked(rewrite(meant, qa._view.frequency))) != meant
    return dict(counts)


def clean_questions(index: Path, questions: list[str]) -> tuple[list[str], Percentiles]:
    """What the correction changes in questions as they are, and milliseconds of rewriting them, once warm."""
    from chimed_rag import MedQA
    from chimed_rag.evaluation.statistics import percentiles
    from chimed_rag.query.rewriting import rewrite

    changed, milliseconds = [], []
    with MedQA.load(index) as qa:
        frequency = qa._view.frequency
        for question in questions:
            made = [change for change in rewrite(question, frequency).changes if change.startswith("typos: ")]
            if made:
                changed.append(f"{question[:60]}  {made}")
        for question in questions:
            began = perf_counter()
            rewrite(question, frequency)
            milliseconds.append((perf_counter() - began) * 1000)
    return changed, percentiles(milliseconds)


def main() -> None:
    from chimed_rag.encoders.base import load_encoder
    from chimed_rag.evaluation.beir import BeirCorpus, judged_queries, read_qrels, read_queries
    from chimed_rag.indexing.writer import build
    from tools.learn_typos import confusions, read_pairs

    arguments = parser(__doc__)
    arguments.add_argument("--questions", type=int, help="ask so many questions only (a trial, not a result)")
    arguments.add_argument("--show", type=int, default=0, help="print so many of the clean questions that are changed")
    options = arguments.parse_args()
    folder = options.data / EVAL
    queries, qrels = judged_queries(read_queries(folder / "queries.jsonl.gz"), read_qrels(folder / "qrels.jsonl.gz"))
    queries = dict(list(queries.items())[: options.questions])
    pairs = read_pairs(options.data / "pairs/query_passage.jsonl.gz", "noise")
    typed_for, meant = confusions(pairs)
    copies = {"clean": queries}
    for errors, name in ((1, "one error"), (2, "two errors")):
        rng = random.Random(SEED + errors)
        copies[name] = {key: noisy(text, errors, rng, typed_for, meant) for key, text in queries.items()}
    with TemporaryDirectory(prefix="chimed-typos-") as temporary:
        index = (options.work or Path(temporary)) / "int8"
        if not (index / "manifest.json").exists():
            encyclopedia = corpus_file(
                options.data, "corpora/disease_encyclopedia.jsonl.gz", options.limit, index.parent
            )
            build(index, BeirCorpus([str(encyclopedia), str(folder / "corpus.jsonl.gz")]), load_encoder("hashing"))
        rows = retrieval_rows(index, copies, {key: qrels[key] for key in queries})
        held_out = random.Random(SEED).sample(pairs, HELD_OUT)
        counts = corrections(index, held_out)
        changed, milliseconds = clean_questions(index, list(queries.values()))
    report(
        "Typing errors: nDCG@10 of clean and noisy questions",
        [
            "search",
            "questions",
            "correction",
            "n",
            "nDCG@10",
            "low",
            "high",
            "share of clean",
            "share low",
            "share high",
        ],
        rows,
        about={"questions": len(queries), "confusions from": f"{len(pairs):,} rows not learnt from"},
        packages=("scipy",),
        notes=[
            f"{HELD_OUT:,} held-out queries with errors: {', '.join(f'{name} {n}' for name, n in counts.items())}",
            f"{len(changed)} of {len(queries):,} clean questions are changed by the step `typos`",
            f"rewriting a clean question, all steps: p50 {milliseconds.p50:.3f} ms, p95 {milliseconds.p95:.3f} ms",
            "low and high: 95 % percentile bootstrap over questions; those of the share resample both alike",
        ],
        json_file=options.json_file,
    )
    if options.show:
        for text in random.Random(SEED).sample(changed, min(options.show, len(changed))):
            print(text)


if __name__ == "__main__":
    main()
