"""How well the proof tells wrong sentences from right ones, kind by kind, beside the usual cosine threshold.

    python benchmarks/proof.py                              # the test templates of tests/proof_pairs.jsonl
    python benchmarks/proof.py --part development --templates --misses 30
    python benchmarks/proof.py --pairs FILE [--part all]    # pairs of another make; kind and part are free there
    python benchmarks/proof.py --pairs training/proof_pairs # by ten writers who saw what the proof judged wrongly

A pair (see tools/make_proof_pairs.py) is one sentence with one passage, whose first line is "title > heading"; the rest
is the text that `chimed_rag.safety.citations.verify` gets as evidence. Caught: `verify` does not support a sentence of
label "unsupported". Kept: it supports one of label "supported". Intervals are Wilson's, 95 %.

Peers: the cosine of the shipped encoder between sentence and passage (title, heading, text, as it is indexed).
"decaying" is RAGFlow's rule for citations after the fact, with this cosine as the similarity: if 0.99 times the best of
the passages is at least 0.63, cite those above it; else try 0.8 times that threshold, and so on while it is above 0.3.
"fitted" is the one threshold with the best mean of caught and kept on the development templates of
tests/proof_pairs.jsonl. A peer catches a sentence that it would not cite.

Citations, as ALCE scores them (Gao et al. 2023, Enabling Large Language Models to Generate Text with Citations, section
4.3), with the pairs' labels in place of its NLI model: each sentence is drafted with two citations, its passage and one
of another entry. Let S be the sentences that are shown, C_s the citations of s that are shown, and g(s, C) = 1 if s is
labelled supported and its own passage is in C.
    recall    = 1/|S| sum_s g(s, C_s)
    precision = 1/sum_s |C_s| sum_s sum_{c in C_s} g(s, C_s) and c is not irrelevant
where c is irrelevant if g(s, {c}) = 0 and g(s, C_s without c) = 1. `verify` shows the sentences it supports; a peer
shows all. Shown: the share of the supported sentences that are shown at all with their passage.
Not measured: sentences that several passages support together, sentences of a language model (`--pairs` reads such).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from _common import ROOT, report

Pair = dict[str, Any]
PAIRS = ROOT / "tests" / "proof_pairs.jsonl"
RESULT = ROOT / "benchmarks" / "results" / "proof.json"
HIGHEST, DECAY, LOWEST, NEAR = 0.63, 0.8, 0.3, 0.99
SEED = 20261127
UNSEEN = ("fourth", "fifth", "ninth", "tenth")
WRONG = "unsupported"


def read(file: Path, part: str) -> list[Pair]:
    """The pairs of one part, of a file or of a folder of writers; where parts are called otherwise, "all"."""
    if file.is_dir():
        rows = [pair for writer in sorted(file.glob("*.tsv")) for pair in written(writer)]
    else:
        rows = [json.loads(line) for line in file.read_text("utf-8").splitlines() if line.strip()]
    found = [row for row in rows if part in ("all", row.get("part"))]
    if not found:
        parts = sorted({str(row.get("part")) for row in rows})
        sys.exit(f"{file}: no pair of part {part!r}; it has {', '.join(parts) or 'no rows'}: name one, or --part all")
    return found


def written(file: Path) -> list[Pair]:
    """The pairs of a writer: id of a passage, its title and headings, S or U, what was done, the sentence.

    A passage is one of the starter literature (the id of its chunk), or one that a writer wrote in the manner of
    textbooks, which stands in `passages/` beside the file. On the pairs of `UNSEEN` no rule was written: they are the
    part "test". The writer's name stands for the kind.
    """
    passages = _passages(file.parent / "passages")
    pairs = []
    for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
        passage_id, names, label, change, sentence = line.split("\t")
        found = passages.get(passage_id)
        if found is None or found[1] != names:
            sys.exit(f"{file}:{number}: {passage_id} is no longer {names}; name the passage that holds this now")
        pairs.append(
            {
                "id": f"{file.stem}-{number}",
                "kind": file.stem,
                "part": "test" if file.stem in UNSEEN else "development",
                "entry": found[0],
                "passage": f"{names}\n{found[2]}",
                "sentence": sentence,
                "label": WRONG if label == "U" else "supported",
                "change": change,
            }
        )
    return pairs


@cache
def _passages(folder: Path) -> dict[str, tuple[str, str, str]]:
    """By id: entry, title and headings, text."""
    from chimed_rag.indexing.index import Index
    from chimed_rag.literature import STARTER_INDEX

    index = Index.open(STARTER_INDEX)
    found = {
        one.chunk.id: (one.document.id, " > ".join((one.document.title, *one.chunk.headings)), one.chunk.text)
        for one in index.passages(index.store.rows.tolist()).values()
    }
    for file in sorted(folder.glob("*.tsv")):
        for line in file.read_text("utf-8").splitlines():
            passage_id, names, text = line.split("\t")
            found[passage_id] = passage_id, names, text
    return found


def _halves(passage: str) -> tuple[list[str], str]:
    """Title and headings of the first line, and the text; a passage of one line has no title."""
    first, _, rest = passage.partition("\n")
    return (first.split(" > "), rest) if rest.strip() else ([], passage)


def evidence(passages: Sequence[str]) -> tuple[list[Any], Callable[[str], str]]:
    """The passages as they would be retrieved, numbered from 1, and their documents."""
    from chimed_rag.records import Evidence

    texts, found = {}, []
    for number, passage in enumerate(passages, 1):
        names, text = _halves(passage)
        texts[str(number)] = text
        found.append(
            Evidence(
                number=number, chunk_id=str(number), document_id=str(number), text=text, start=0, end=len(text),
                score=1.0, title=names[0] if names else "", headings=tuple(names[1:]),
            )
        )  # fmt: skip
    return found, texts.__getitem__


def cited(sentences: Sequence[tuple[str, Sequence[int]]], passages: Sequence[str]) -> list[set[int]]:
    """What `verify` lets stand: for each sentence the numbers of the passages that it cites; empty if unsupported."""
    from chimed_rag.records import Draft, DraftCitation, DraftSentence
    from chimed_rag.safety.citations import verify

    drafted = tuple(
        DraftSentence(text=text, citations=tuple(DraftCitation(number=number) for number in numbers))
        for text, numbers in sentences
    )
    checked = verify(Draft(generator="benchmark", sentences=drafted), *evidence(passages))
    return [{c.number for c in one.citations} if one.verdict == "supported" else set() for one in checked]


def distractors(pairs: Sequence[Pair]) -> list[str]:
    """For each pair a passage of another entry than its sentence and its passage come from."""
    rng, found = random.Random(SEED), []
    own = {pair["passage"]: pair["entry"] for pair in pairs if pair["kind"] != "wrong_passage"}
    pool = sorted(own)
    for pair in pairs:
        title = pair["passage"].split("\n")[0].split(" > ")[0]
        drawn = rng.sample(pool, min(20, len(pool)))
        others = [
            other for other in drawn if own[other] != pair["entry"] and other.split("\n")[0].split(" > ")[0] != title
        ]
        found.append(others[0] if others else "无关的段落。")
    return found


def neighbours(pairs: Sequence[Pair]) -> list[Pair]:
    """The right sentences of entries with several passages, each with the next passage of its entry, as wrong pairs.

    Some of them are right there too: entries say one thing twice.
    """
    passages: dict[str, list[str]] = {}
    for pair in pairs:
        passages.setdefault(pair["entry"], [])
        if pair["passage"] not in passages[pair["entry"]]:
            passages[pair["entry"]].append(pair["passage"])
    found = []
    for pair in pairs:
        entry = passages[pair["entry"]]
        if pair["label"] != WRONG and len(entry) > 1:
            following = entry[(entry.index(pair["passage"]) + 1) % len(entry)]
            found.append({**pair, "kind": "next passage", "passage": following, "label": WRONG})
    return found


# --- the peers -----------------------------------------------------------------------------------------------------


def cosines(pairs: Sequence[Pair], passages: Sequence[str]) -> np.ndarray[Any, Any]:
    """Cosine of each pair's sentence and a passage, by the shipped encoder."""
    from chimed_rag.encoders.base import load_encoder

    encoder = load_encoder("ngram")
    one = np.asarray(encoder.encode_documents([pair["sentence"] for pair in pairs]), float)
    other = np.asarray(encoder.encode_documents(list(passages)), float)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return np.sum(one * other, axis=1) / np.where(lengths == 0, 1, lengths)


def decayed(scores: Sequence[float]) -> set[int]:
    """The places of the passages that RAGFlow's rule cites: those within 1 % of the best, if it is high enough."""
    threshold, best = HIGHEST, max(scores) * NEAR
    while threshold > LOWEST:
        if best >= threshold:
            return {place for place, score in enumerate(scores) if score > best}
        threshold *= DECAY
    return set()


def fitted(scores: np.ndarray[Any, Any], pairs: Sequence[Pair]) -> float:
    """The threshold with the best mean of caught and kept."""
    wrong = np.array([pair["label"] == WRONG for pair in pairs])
    if wrong.all() or not wrong.any():
        sys.exit("fitting a threshold needs supported and unsupported pairs in the development part")
    candidates = np.unique(scores)
    means = [((scores[wrong] < t).mean() + (scores[~wrong] >= t).mean()) / 2 for t in candidates]
    return float(candidates[int(np.argmax(means))])


# --- measures ------------------------------------------------------------------------------------------------------


def shares(pairs: Sequence[Pair], right: dict[str, list[bool]], by_template: bool) -> list[dict[str, Any]]:
    """A row for each kind (or template), and one for all of each label; `right` holds each system's outcomes."""
    from chimed_rag.evaluation.statistics import proportion

    key = "template" if by_template else "kind"
    groups: dict[str, list[int]] = {}
    for place, pair in enumerate(pairs):
        groups.setdefault(pair.get(key) or pair["kind"], []).append(place)
    for label, name in ((WRONG, "all wrong sentences"), ("supported", "all right sentences")):
        groups[name] = [place for place, pair in enumerate(pairs) if pair["label"] == label]
    rows = []
    for name, places in groups.items():
        labels = {pairs[place]["label"] for place in places}
        for label in sorted(labels, reverse=True):
            chosen = [place for place in places if pairs[place]["label"] == label]
            row: dict[str, Any] = {"what": f"{name}, {'caught' if label == WRONG else 'kept'}", "n": len(chosen)}
            for system, outcomes in right.items():
                interval = proportion(sum(outcomes[place] for place in chosen), len(chosen))
                row[system] = interval.value
                if system == "proof":
                    row |= {"low": interval.low, "high": interval.high}
            rows.append(row)
    return rows


def alce(pairs: Sequence[Pair], shown: dict[str, list[set[int] | None]]) -> list[dict[str, Any]]:
    """Rows of recall, precision and shown; citations are 1 (the passage), 2 (another one); None: not shown."""
    from chimed_rag.evaluation.statistics import proportion

    table: dict[str, dict[str, Any]] = {
        name: {"what": name} for name in ("citation recall", "citation precision", "shown")
    }
    for system, sets in shown.items():
        sentences = [(pair["label"] != WRONG, found) for pair, found in zip(pairs, sets, strict=True)]
        recalled = [right and 1 in found for right, found in sentences if found is not None]
        # Citation 2 never supports by itself: beside citation 1 it is irrelevant, alone its sentence has no recall.
        needed = [right and 1 in found and number == 1 for right, found in sentences for number in found or ()]
        kept = [found is not None and 1 in found for right, found in sentences if right]
        for name, values in (("citation recall", recalled), ("citation precision", needed), ("shown", kept)):
            if values:
                interval = proportion(sum(values), len(values))
                table[name][system] = interval.value
                if system == "proof":
                    table[name] |= {"n": len(values), "low": interval.low, "high": interval.high}
    return list(table.values())


def milliseconds(pairs: Sequence[Pair], answers: int = 60) -> tuple[float, float]:
    """Median and 95th percentile of `verify` for ten sentences over eight passages, each with one citation."""
    rng, times = random.Random(SEED), []
    for _ in range(answers + 3):
        drawn = rng.sample(list(pairs), min(8, len(pairs)))
        sentences = [(pair["sentence"], [place % 8 + 1]) for place, pair in enumerate([*drawn, *drawn[:2]])]
        passages = [pair["passage"] for pair in drawn]
        start = time.perf_counter()
        cited(sentences, passages)
        times.append((time.perf_counter() - start) * 1000)
    warm = sorted(times[3:])
    return statistics.median(warm), warm[int(0.95 * len(warm))]


def judged(pairs: Sequence[Pair], near: np.ndarray[Any, Any], threshold: float) -> dict[str, list[bool]]:
    """Whether the proof, and each peer by its cosines, judge each pair as it is labelled."""
    cites = {
        "proof": [bool(cited([(pair["sentence"], [1])], [pair["passage"]])[0]) for pair in pairs],
        "cosine decaying": [bool(decayed([score])) for score in near],
        "cosine fitted": [bool(score >= threshold) for score in near],
    }
    wrong = [pair["label"] == WRONG for pair in pairs]
    return {name: [bad != yes for bad, yes in zip(wrong, found, strict=True)] for name, found in cites.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=Path, default=PAIRS, help="JSONL of pairs, or a folder of writers")
    parser.add_argument("--part", default="", help="test, development or all; ours: test, other files: all")
    parser.add_argument("--templates", action="store_true", help="rows by template instead of kind")
    parser.add_argument("--misses", type=int, default=0, help="also show so many sentences that the proof got wrong")
    parser.add_argument("--json", action="store_true", dest="as_json", help="print the rows as JSON, too")
    options = parser.parse_args()
    ours = options.pairs.resolve() == PAIRS
    part = options.part or ("test" if ours else "all")
    pairs = read(options.pairs, part)
    development = read(PAIRS, "development")
    threshold = fitted(cosines(development, [pair["passage"] for pair in development]), development)

    others = distractors(pairs)
    near, far = cosines(pairs, [pair["passage"] for pair in pairs]), cosines(pairs, others)
    right = judged(pairs, near, threshold)
    following = neighbours(pairs)
    proved = [
        cited([(p["sentence"], [1, 2])], [p["passage"], other])[0] for p, other in zip(pairs, others, strict=True)
    ]
    rows = shares(pairs, right, options.templates)
    if following:
        scores = cosines(following, [pair["passage"] for pair in following])
        rows += shares(following, judged(following, scores, threshold), False)[:1]
    rows += alce(
        pairs,
        {
            "proof": [found or None for found in proved],
            "cosine decaying": [{place + 1 for place in decayed(both)} for both in zip(near, far, strict=True)],
            "cosine fitted": [
                {place + 1 for place, score in enumerate(both) if score >= threshold}
                for both in zip(near, far, strict=True)
            ],
        },
    )
    median, late = milliseconds(pairs)
    report(
        f"Proof of sentences, {part} part of {options.pairs.name}",
        ["what", "n", "proof", "low", "high", "cosine decaying", "cosine fitted"],
        rows,
        about={
            "pairs": len(pairs),
            "data_sha256": hashlib.sha256("".join(pair["sentence"] for pair in pairs).encode()).hexdigest(),
            "cosine_threshold": round(threshold, 3),
            "verify_ten_sentences_ms_p50": round(median, 2),
            "verify_ten_sentences_ms_p95": round(late, 2),
        },
        packages=("scipy",),
        notes=[
            "low and high: Wilson's 95 % interval of the proof's share",
            "caught: a wrong sentence is not supported; kept: a right one is",
            "next passage: right sentences with another passage of their entry, of which some say the same",
            "citations: each sentence drafted with its passage and one of another entry; a peer shows every sentence",
        ],
        json_file=RESULT if ours and part == "test" and not options.templates else None,
    )
    if options.as_json:
        print(json.dumps(rows, ensure_ascii=False))
    missed = [pair for pair, good in zip(pairs, right["proof"], strict=True) if not good]
    for pair in missed[: options.misses]:
        print(f"\n{pair['id']}  {pair['label']}  {pair.get('change', '')}\n  {pair['sentence']}\n  {pair['passage']}")


if __name__ == "__main__":
    main()
