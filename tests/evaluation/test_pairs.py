from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chimed_rag.errors import CorpusError, InputError
from chimed_rag.evaluation.pairs import PairScorer
from chimed_rag.evaluation.tasks.cmedir import Preference, cmedir_result, read_preferences
from chimed_rag.evaluation.tasks.cmedqq import cmedqq_result, cross_judged

TITLED = [
    {"query": "布洛芬禁忌", "documents": [{"label": "2", "title": "布洛芬的禁忌"}, {"label": "0", "title": "感冒"}]},
    {"query": "布洛芬禁忌", "documents": [{"label": 1, "title": "布洛芬的禁忌"}, {"label": 1, "title": "布洛芬"}]},
    {"query": "高血压", "documents": [{"label": "0", "title": "高血压饮食"}, {"label": "1", "title": "糖尿病"}]},
    {"query": "头痛", "documents": [{"label": "0", "title": "咳嗽"}, {"label": "1", "title": "腹泻"}]},
]
QUESTIONS = [
    {"q1": "感冒能吃布洛芬吗", "q2": "感冒可以吃布洛芬吗", "label": "1"},
    {"q1": "高血压吃什么好", "q2": "布洛芬一天几次", "label": "0"},
    {"q1": "糖尿病能吃西瓜吗", "q2": "糖尿病可以吃西瓜吗", "label": "1"},
    {"q1": "咳嗽有痰怎么办", "q2": "骨折多久能走路", "label": "0"},
] * 2


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def test_pairs_of_different_labels(tmp_path: Path) -> None:
    three = {"query": "q", "documents": [{"label": n, "title": title} for n, title in ((1, "b"), (2, "a"), (0, "c"))]}
    assert read_preferences(write(tmp_path / "three", [three])) == [
        Preference("q", "a", "b"),
        Preference("q", "b", "c"),
        Preference("q", "a", "c"),
    ]
    with pytest.raises(CorpusError, match="different labels"):
        read_preferences(write(tmp_path / "same", [TITLED[1]]))
    with pytest.raises(CorpusError, match="line 2"):
        read_preferences(write(tmp_path / "bad", [TITLED[0], {"query": "q", "documents": [{"title": "a"}]}]))


def test_the_order_of_titles(tmp_path: Path) -> None:
    data = write(tmp_path / "data", TITLED)
    for system in ("bm25", "lexical", "dense", "hybrid"):
        result = cmedir_result(data, system=system, encoder="hashing")
        # Right, wrong, and a tie where the query shares nothing with either title; one row has equal labels.
        assert (result.n, result.metrics["pairwise_accuracy"].value) == (3, 0.5)
        assert ("difference" in result.metrics) is (system != "bm25")
    with pytest.raises(InputError, match="bm25, lexical, dense, hybrid"):
        cmedir_result(data, system="magic")


def test_bm25_of_titles_by_hand() -> None:
    with PairScorer(["甲乙", "甲丙", "丁戊己"]) as scorer:
        found = scorer.scores("bm25", "甲乙", ["甲丙", "甲乙", "没有"])
    # One of three titles holds 甲乙: idf ln(1 + 2.5 / 1.5). It has 1 term where the mean is 4/3.
    expected = np.log(1 + 2.5 / 1.5) * 2.2 / (1 + 1.2 * (0.25 + 0.75 / (4 / 3)))
    assert found.tolist() == pytest.approx([0.0, expected, 0.0], rel=1e-5)


def test_a_reranker_gives_the_scores() -> None:
    class Length:
        name = "length"

        def score(self, query: str, passages: Any) -> list[float]:
            return [float(len(passage)) for passage in passages]

    with PairScorer(["布洛芬", "布洛芬禁忌"], reranker=Length()) as scorer:
        assert scorer.scores("lexical", "布洛芬", ["布洛芬禁忌", "布洛芬"]).argmax() == 0


def test_the_same_question(tmp_path: Path) -> None:
    data = write(tmp_path / "data", QUESTIONS)
    for system in ("bm25", "lexical", "dense", "hybrid"):
        result = cmedqq_result(data, system=system)
        assert result.n == 8
        assert result.metrics["auc"].value == 1.0
        assert result.metrics["f1"].value >= 0.66
    with pytest.raises(CorpusError, match="line 1"):
        cmedqq_result(write(tmp_path / "bad", [{"q1": "a", "q2": "b", "label": "maybe"}]))


def test_no_row_chooses_its_own_threshold() -> None:
    scores, labels = np.array([1.0, 2.0]), np.array([True, True])
    # Each half holds one row, whose score is the threshold of the other.
    assert cross_judged(scores, labels).tolist() == [False, True]


def test_on_the_command_line(tmp_path: Path) -> None:
    chimed = [sys.executable, "-m", "chimed_rag.cli", "evaluate"]
    for task, rows in (("cmedir", TITLED), ("cmedqq", QUESTIONS)):
        command = [*chimed, task, "--data", str(write(tmp_path / task, rows)), "--system", "lexical", "--json"]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
        assert json.loads(done.stdout)["task"] == task


@pytest.mark.real_data
def test_the_sets_as_their_readme_counts_them(shared_data: Path) -> None:
    assert len(read_preferences(shared_data / "eval" / "cmedir_dev.jsonl.gz")) == 10_000
    result = cmedqq_result(shared_data / "eval" / "cmedqq_dev.jsonl.gz", system="dense", limit=300)
    assert result.metrics["auc"].value > 0.6
