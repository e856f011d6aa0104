from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from chimed_rag.config import Config, Retrieval
from chimed_rag.errors import InputError
from chimed_rag.evaluation.tuning import Bench, tune, tuning_result
from chimed_rag.medqa import MedQA
from chimed_rag.records import Document

HALF = np.arange(200) < 100


def double(better: dict[tuple[str, object], float]):
    """Scores that rise by so much for a value of a knob, with noise that is the same for all settings."""
    noise = np.random.default_rng(1).random(200) / 2

    def scores(settings: Retrieval) -> np.ndarray:
        gains = np.random.default_rng(2).normal(size=200) * 0.01
        said = settings.model_dump()
        return noise + sum(gain + gains for (knob, value), gain in better.items() if said[knob] == value)

    return scores


def test_only_what_is_better_than_chance_moves() -> None:
    knobs = {"candidates": (50, 100, 200), "filler_weight": (0.3, 0.5, 0.7)}
    default = Retrieval()
    chosen, trials = tune(double({("candidates", 50): 0.1, ("filler_weight", 0.7): 0.0005}), HALF, default, knobs=knobs)
    assert chosen == default.model_copy(update={"candidates": 50})
    assert [(trial.knob, trial.value) for trial in trials] == [
        ("candidates", 200), ("candidates", 50), ("candidates", 100),
        ("filler_weight", 0.5), ("filler_weight", 0.3), ("filler_weight", 0.7),
    ]  # fmt: skip
    gains = {trial.value: trial.gain.value for trial in trials if trial.knob == "candidates"}
    assert gains[50] == pytest.approx(0.1, abs=0.01)
    assert gains[200] == 0.0


def test_of_equals_the_nearest_is_taken() -> None:
    better = {("filler_weight", value): 0.1 for value in (0.7, 1.0, 0.0)}
    chosen, _ = tune(double(better), HALF, Retrieval(), knobs={"filler_weight": (0.0, 0.7, 1.0)})
    assert chosen.filler_weight == 0.7


def test_the_other_half_has_no_say() -> None:
    def scores(settings: Retrieval) -> np.ndarray:
        return np.where(HALF, 0.0, float(settings.candidates == 50))

    assert tune(scores, HALF, Retrieval(), knobs={"candidates": (50, 100)})[0] == Retrieval()


def test_ranks_have_a_constant_only_where_they_are_fused(ward: Path) -> None:
    _, trials = tune(double({}), HALF, Retrieval(), knobs={"rrf_k": (10, 60)})
    assert trials == []
    _, trials = tune(double({}), HALF, Retrieval(fusion="rrf"), knobs={"rrf_k": (10, 60)})
    assert [trial.value for trial in trials] == [60, 10]


def test_cached_lists_give_what_searching_gives(tmp_path: Path) -> None:
    texts = [
        f"{disease}的{aspect}"
        for disease in ("高血压", "糖尿病", "哮喘", "肺炎")
        for aspect in ("症状", "治疗", "饮食")
    ]
    documents = [Document(id=f"d{n}", text=text) for n, text in enumerate(texts)]
    queries = {f"q{n}": f"请问{text}" for n, text in enumerate(texts)}
    qrels = {f"q{n}": {f"d{(n + n % 2) % 12}": 1} for n in range(12)}
    qa = MedQA.build(documents, tmp_path / "i")
    bench = Bench(qa._view.index, qa.encoder, queries, qrels)
    for settings in (Retrieval(), Retrieval(fusion="rrf", dense_weight=2.0), Retrieval(filler_weight=0.0)):
        asked = MedQA.load(tmp_path / "i", reranker="none", config=Config(retrieval=settings))
        for got, key in zip(bench.scores(settings), queries, strict=True):
            found = [hit.document_id for hit in asked.search_keys(queries[key], 10)]
            (relevant,) = qrels[key]
            expected = 1 / np.log2(found.index(relevant) + 2) if relevant in found else 0.0
            assert got == pytest.approx(expected, abs=1e-6)


def test_from_files_to_a_config_that_is_used(tmp_path: Path) -> None:
    topics = [f"{one}{two}" for one in ("胃", "肝", "肺", "肾", "脑") for two in ("炎", "癌", "痛", "肿", "出血")]
    rows = {
        "queries": [{"_id": topic, "text": f"{topic}怎么治"} for topic in topics],
        "corpus": [{"_id": topic, "title": topic, "text": f"{topic}的治疗方法。"} for topic in topics],
        "qrels": [{"query-id": topic, "corpus-id": topic, "score": 1} for topic in topics],
    }
    for name, lines in rows.items():
        (tmp_path / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    files = ["--queries", "queries", "--corpus", "corpus", "--qrels", "qrels"]
    command = [sys.executable, "-m", "chimed_rag.cli", "evaluate", "retrieval", *files]

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *more], capture_output=True, encoding="utf-8", cwd=tmp_path, check=False)

    done = run("--tune", "--config-out", "tuned.yaml", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["n"], result["n_chosen_on"]) == (25, 12)
    assert Config.from_yaml(tmp_path / "tuned.yaml").retrieval.model_dump() == result["chosen"]
    assert {"default", "chosen", "difference"} == set(result["held_out"])
    assert "held out, n = 13" in run("--tune").stdout
    assert run("--config", "tuned.yaml", "--json").returncode == 0
    refused = run("--config-out", "tuned.yaml")
    assert refused.returncode == 2
    assert "--tune" in refused.stderr
    few = tmp_path / "few"
    few.write_text("".join(json.dumps(line) + "\n" for line in rows["queries"][:5]))
    with pytest.raises(InputError, match="5 judged queries are too few"):
        tuning_result(few, [tmp_path / "corpus"], tmp_path / "qrels")
