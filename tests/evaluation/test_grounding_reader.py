"""Samples of grounding: answers of a run, and questions with noisy, useless and false passages."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from chimed_rag import MedQA
from chimed_rag.corpus.jsonl import json_rows
from chimed_rag.errors import CorpusError, DuplicateError, InputError
from chimed_rag.evaluation.metrics.holding import asserts, holds
from chimed_rag.evaluation.readers.grounding import answers, noise
from chimed_rag.evaluation.samples import Card, Prediction, Sample
from chimed_rag.evaluation.systems.recorded import Recorded
from chimed_rag.evaluation.tasks.loading import Row
from chimed_rag.packaged import parsed, source

ROOT = Path(__file__).resolve().parents[2]
TEXTS = {
    "a1": "布洛芬用于退热，成人一次0.2g，孕晚期妇女禁用布洛芬。",
    "a2": "高血压患者应当限盐，规律运动，长期服用降压药。",
    "a3": "血钾的参考范围为3.5~5.5mmol/L。",
    **{f"n{n}": f"第{n}种感冒发热时宜多休息多饮水，注意室内通风。" for n in range(1, 8)},
}
QUERIES = {"q1": "成人发热布洛芬一次吃多少？", "q2": "高血压平时要注意什么？", "q3": "血钾多少算正常？"}


class Files:
    """The rows of files, as a task's source gives them."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths: Sequence[Path] = paths

    def rows(self) -> Iterator[Row]:
        for path in self.paths:
            for line, value in json_rows(path):
                yield Row(str(path), line, value)


Written = Callable[[Mapping[str, Sequence[object]]], Files]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    def write(files: Mapping[str, Sequence[object]]) -> Files:
        for name, rows in files.items():
            (tmp_path / name).write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), "utf-8")
        return Files([tmp_path / name for name in files])

    return write


def card(name: str = "grounding_noise", **settings: object) -> Card:
    read = Card.model_validate(parsed(source("chimed_rag.evaluation.cards", f"{name}.yaml")))
    return read.model_copy(update={"settings": {**read.settings, **settings}})


def beir(texts: Mapping[str, str] = TEXTS, queries: Mapping[str, str] = QUERIES) -> dict[str, list[object]]:
    return {
        "corpus.jsonl": [{"_id": key, "title": "", "text": text} for key, text in texts.items()],
        "qrels.jsonl": [{"query-id": key, "corpus-id": f"a{key[1]}", "score": 1} for key in queries],
        "queries.jsonl": [{"_id": key, "text": text} for key, text in queries.items()],
    }


def by_id(samples: Sequence[Sample]) -> dict[str, Sample]:
    return {one.id: one for one in samples}


def test_levels_of_noise(written: Written) -> None:
    """One gold passage stands beside as many distractors as the level says."""
    samples = by_id(list(noise(written(beir()), card())))
    for level, distractors in ((0.0, 0), (0.2, 1), (0.4, 2), (0.6, 3), (0.8, 4)):
        one = samples[f"q1/noise-{level}"]
        assert (one.metadata["condition"], one.metadata["level"], one.group) == ("noise", level, "q1")
        assert one.references == (TEXTS["a1"],)
        assert one.passages.count(TEXTS["a1"]) == 1
        assert len(one.passages) == 1 + distractors
    assert set(samples["q1/noise-0.4"].passages) < set(samples["q1/noise-0.8"].passages)


def test_rejection_shows_nothing_that_answers(written: Written) -> None:
    texts = {**TEXTS, "b1": TEXTS["a1"].replace("退热", "发热")}  # nearly the gold passage, in another document
    one = by_id(list(noise(written(beir(texts)), card())))["q1/rejection"]
    assert len(one.passages) == 5
    assert not any(holds(passage, TEXTS["a1"]) for passage in one.passages)


def test_distractors_are_alike(written: Written) -> None:
    """Those that share words with the question come first."""
    one = by_id(list(noise(written(beir()), card())))["q1/rejection"]
    assert all("发热" in passage for passage in one.passages)


def test_falsehoods(written: Written) -> None:
    samples = by_id(list(noise(written(beir()), card())))
    found = [one for one in samples.values() if one.metadata["condition"] in ("counterfactual", "conflict")]
    assert {one.group for one in found} >= {"q1", "q3"}
    for one in found:
        assert len(one.passages) == 5
        assert asserts("\n".join(one.passages), one)
        assert any(gold in one.passages for gold in one.references) == (one.metadata["condition"] == "conflict")


def test_neither_the_order_of_files_nor_of_rows_matters(written: Written) -> None:
    first = by_id(list(noise(written(beir()), card())))
    turned = {name: rows[::-1] for name, rows in reversed(beir().items())}
    assert by_id(list(noise(written(turned), card()))) == first
    other = by_id(list(noise(written(beir()), card(seed=1))))
    assert other.keys() == first.keys()
    assert other != first


def test_so_many_questions(written: Written) -> None:
    samples = list(noise(written(beir()), card(questions=2)))
    assert len({one.group for one in samples}) == 2
    assert len({one.group for one in noise(written(beir()), card(questions=0))}) == 3


def test_starter_questions(written: Written) -> None:
    rows = [json.loads(line) for line in (ROOT / "tests/starter_questions.jsonl").read_text("utf-8").splitlines()]
    answered = next(row for row in rows if row["sentences"])
    unanswered = next(row for row in rows if not row["sentences"])
    samples = by_id(list(noise(written({"questions.jsonl": [answered, unanswered]}), card())))
    assert [key for key in samples if key.startswith("q2")] == ["q2/rejection"]
    gold = samples["q1/noise-0.0"]
    assert any(sentence in passage for sentence in answered["sentences"] for passage in gold.passages)
    others = samples["q1/rejection"].passages
    assert len(others) == 5
    assert not any(sentence in passage for sentence in answered["sentences"] for passage in others)


@pytest.mark.parametrize(
    ("name", "row", "told"),
    [
        ("queries.jsonl", {"_id": "q1", "text": "又一次？"}, r"queries\.jsonl, line 4: 'q1' came before"),
        ("queries.jsonl", {"_id": "q9"}, r"queries\.jsonl, line 4: a row without 'text'"),
        ("corpus.jsonl", {"_id": "a1", "text": "又一次。"}, r"corpus\.jsonl, line 11: 'a1' came before"),
        ("qrels.jsonl", {"query-id": "q1", "corpus-id": "z", "score": 1}, r"qrels\.jsonl, line 4: document 'z' is not"),
    ],
)
def test_bad_rows_are_named(written: Written, name: str, row: dict[str, object], told: str) -> None:
    files = beir()
    files[name].append(row)
    with pytest.raises(CorpusError, match=told):
        list(noise(written(files), card()))


def test_bad_sets_are_named(written: Written) -> None:
    with pytest.raises(CorpusError, match="queries, corpus and qrels"):
        list(noise(written({**beir(), "qrels.jsonl": []}), card()))
    with pytest.raises(CorpusError, match=r"line 1: no passage of the entries"):
        row = {"question": "？", "entries": ["ibuprofen"], "sentences": ["没有这句话。"]}
        list(noise(written({"questions.jsonl": [row]}), card()))
    with pytest.raises(CorpusError, match=r"line 1: 'sentences' must be a list"):
        list(noise(written({"questions.jsonl": [{"question": "？", "entries": [], "sentences": "甲"}]}), card()))
    with pytest.raises(CorpusError, match=r"settings\.k"):
        list(noise(written(beir()), card(k="5")))


# --- answers ----------------------------------------------------------------------------------------------------


def test_answers_as_chimed_ask_prints_them(written: Written, qa: MedQA) -> None:
    said = [qa.ask(question) for question in ("孕妇能吃布洛芬吗？", "血钾多少算正常？")]
    samples = list(answers(written({"answers.jsonl": [json.loads(one.model_dump_json()) for one in said]}), card()))
    assert [one.text for one in samples] == [one.question for one in said]
    assert [one.answer for one in Recorded().predict(samples)] == said


def test_predictions_of_a_run(written: Written) -> None:
    said = [
        Prediction(id="a", text="甲。[1]", passages=("甲。",), seconds=0.5),
        Prediction(id="b", error="timeout: 30 s", confidence=0.25),
    ]
    samples = list(answers(written({"predictions.jsonl": [one.model_dump() for one in said]}), card("grounding")))
    assert list(Recorded().predict(samples)) == said


def test_other_rows_are_refused(written: Written) -> None:
    with pytest.raises(CorpusError, match=r"line 1: neither a prediction"):
        list(answers(written({"x.jsonl": [{"name": "甲"}]}), card("grounding")))
    with pytest.raises(DuplicateError, match=r"line 2: prediction 'a' came before"):
        list(answers(written({"x.jsonl": [{"id": "a"}, {"id": "a"}]}), card("grounding")))
    with pytest.raises(InputError, match="carries no answer"):
        Recorded()(Sample(id="1", text="？"))
