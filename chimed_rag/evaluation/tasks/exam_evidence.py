"""Examination questions without a language model: is the right option found, and does the evidence choose it.

Data: MedQA mainland (Jin et al. 2021, MIT; rows `{"question", "options", "answer_idx"}`) and CMExam (Liu et al. 2023,
Apache-2.0; rows `{"Question", "Options", "Answer"}`). Choosing: `evaluation.exam.choice`; a question with several right
options counts as wrong, because one is chosen. Finding: the text of a right option stands, blanks and signs aside, in
one of the ten best passages for the question, in the fused order: the reranker found no more (of 300 questions .263
with it as without). Both with Wilson intervals.

How much a passage holds matters: MedQA's 3,425 questions over textbooks and encyclopedia, adapted, alone and with their
options, are found in .277 and .389 with passages of up to 400 characters (the default), in .291 and .402 with 800, in
.293 and .400 with 1,200; chosen right are .441, .441 and .439 (`MedQA.build(..., chunking={"max_chars": 800})`). Of
1,142 questions .274 are found as they are, .274 and .275 at best with passages that are unlike each other by vectors or
trigrams, .281 where longer ones gain.

Not covered: explanations, and any training on these files.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from chimed_rag.corpus.jsonl import json_rows
from chimed_rag.errors import CorpusError, InputError
from chimed_rag.evaluation.beir import data_sha256
from chimed_rag.evaluation.result import Result, library_versions, rounded
from chimed_rag.evaluation.statistics import Interval, percentiles, proportion
from chimed_rag.text import fold

if TYPE_CHECKING:
    from chimed_rag.medqa import MedQA

_log = logging.getLogger(__name__)
_LETTER = re.compile(r"\s*([A-Z])[.．、:： ]?\s*(.*)", re.DOTALL)
_SIGNS = re.compile(r"[\W_]+")


class Item(NamedTuple):
    """A question with its options and the places of the right ones."""

    question: str
    options: tuple[str, ...]
    right: frozenset[int]


def read_items(path: str | Path) -> list[Item]:
    """The questions of a file of MedQA or CMExam, in its order.

    A question whose answer names no option is left out; a warning counts them.

    Raises:
        CorpusError: a row of neither form, or no rows.
    """
    found = []
    for line, row in json_rows(path):
        try:
            found.append(_medqa(row) if "options" in row else _cmexam(row))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CorpusError(f"not a question with options: {error!r}", path=str(path), line=line) from None
    items = [item for item in found if item.right]
    if not items:
        raise CorpusError("holds no question with an answer", path=str(path))
    if len(items) < len(found):
        _log.warning("%d of %d questions have no usable answer and are left out", len(found) - len(items), len(found))
    return items


def _medqa(row: dict[str, Any]) -> Item:
    letters = sorted(row["options"])
    right = frozenset(place for place, letter in enumerate(letters) if letter == row["answer_idx"])
    return Item(row["question"], tuple(row["options"][letter] for letter in letters), right)


def _cmexam(row: dict[str, Any]) -> Item:
    parts = [_LETTER.fullmatch(part) for part in row["Options"].replace("\\n", "\n").split("\n") if part.strip()]
    letters = [part[1] for part in parts if part is not None]
    if len(letters) < max(len(parts), 2):
        raise ValueError("options without letters")
    answer = row["Answer"].strip()
    right = frozenset(letters.index(letter) for letter in answer) if set(answer) <= set(letters) else frozenset()
    return Item(row["Question"], tuple(part[2].strip() for part in parts if part is not None), right)


def stands_in(option: str, passages: Sequence[str]) -> bool:
    """Whether a passage holds the option's text, compared folded and without blanks and signs."""
    said = _SIGNS.sub("", fold(option))
    return bool(said) and any(said in _SIGNS.sub("", fold(passage)) for passage in passages)


def exam_evidence_result(
    data: str | Path,
    index: str | Path,
    *,
    find: bool = True,
    limit: int | None = None,
    progress: Callable[[str, int], None] | None = None,
) -> Result:
    """Accuracy of choosing by evidence, and the share of questions whose right option is found among ten passages.

    `found@10` is asked with the question as it stands, through the index's own retrieval; `found@10_options` by BM25
    with the question rewritten for evidence (`exam.choice.evidence_query`): its matter, and the words of all options,
    right and wrong alike, at half weight. Plain BM25 of question and option together is scored beside the choice as
    `bm25_accuracy`.

    Args:
        data: a file of MedQA or CMExam.
        index: the folder of an index.
        find: whether to look for the options in passages as well, which takes longer.
        limit: only so many questions, the first ones.
        progress: called with a stage and a count.

    Raises:
        CorpusError: the file cannot be read; IndexError_ and its family: the index cannot; InputError: it is empty.
        MissingExtraError: scipy is not installed.
    """
    from chimed_rag.evaluation.exam import choice
    from chimed_rag.evaluation.exam.postings import read_literature
    from chimed_rag.medqa import MedQA

    items = read_items(data)[:limit]
    qa = MedQA(index, reranker="none")
    try:
        if not len(qa._view.index):
            raise InputError(f"{index}: holds no passage to find evidence in")
        literature = read_literature(qa._view.index, progress)
        right: dict[str, int] = {"accuracy": 0, "bm25_accuracy": 0}
        took = []
        for done, item in enumerate(items, 1):
            began = perf_counter()
            scores = choice.choose(literature, item.question, item.options)
            took.append((perf_counter() - began) * 1000)
            right["accuracy"] += item.right == {int(scores.argmax())}
            right["bm25_accuracy"] += item.right == {choice.bm25_choice(literature, item.question, item.options)}
            if find:
                for name, passages in _found(qa, item).items():
                    hit = any(stands_in(item.options[place], passages) for place in item.right)
                    right[name] = right.get(name, 0) + hit
            if progress is not None:
                progress("choosing", done)
    finally:
        qa.close()
    metrics: dict[str, Interval] = {name: proportion(count, len(items)) for name, count in right.items()}
    return Result(
        task="exam_evidence",
        system="evidence",
        protocol="one option chosen, Wilson intervals",
        n=len(items),
        data_sha256=data_sha256([data]),
        metrics=rounded(metrics),
        latency_ms=percentiles(took),
        versions=library_versions(),
    )


def _found(qa: MedQA, item: Item) -> dict[str, list[str]]:
    """The texts of ten passages, by how they were asked for."""
    from chimed_rag.evaluation.exam.choice import evidence_query

    index = qa._view.index
    rows = [row for _, row in index.rank_lexical([evidence_query(item.question, item.options)], 10)[0]]
    stored = index.passages(rows)
    return {
        "found@10": [evidence.text for evidence in qa.search(item.question, 10)],
        "found@10_options": [stored[row].chunk.text for row in rows],
    }
