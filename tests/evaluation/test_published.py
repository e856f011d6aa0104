from __future__ import annotations

import pytest

from chimed_rag.evaluation.published import SOURCES, macro, published


def one(task: str, system: str, source: str = "paper", metric: str = "") -> list[float]:
    wanted = SOURCES[source]
    return [
        row.value
        for row in published(task)
        if row.system == system and row.source == wanted and (not metric or row.metric == metric)
    ]


def test_every_count_gives_the_printed_value() -> None:
    counted = [row for row in published() if row.k is not None]
    assert len(counted) > 20
    for row in counted:
        assert row.n is not None and row.k is not None
        half = 0.05 if row.source == SOURCES["jmir"] else 0.005  # the digits that were printed
        cut = 0.00005 if "as if cut off" in row.note else 0.0
        assert abs(100 * row.k / row.n - row.value) <= half + cut + 1e-9, row


def test_the_papers_c_eval() -> None:
    counts = {
        "Ziya-v1": 15,
        "Ziya-v2": 16,
        "Baichuan": 17,
        "Taiyi": 20,
        "MedicalGPT(Z)": 20,
        "MedicalGPT(B)": 16,
        "ChiMed-GPT": 28,
    }
    rows = [row for row in published("ceval_chimedgpt") if row.source == SOURCES["paper"]]
    assert {row.system: row.k for row in rows if row.k} == counts and {row.n for row in rows} == {41}
    assert round(100 * 28 / 41, 2) == 68.29 and one("ceval_chimedgpt", "ChiMed-GPT") == [68.29]
    # The two others are no share of 41, but means over 19 and 22 questions.
    for system, clinical, basic, value in (("GPT-3.5", 12, 11, 56.58), ("GPT-4", 15, 14, 71.29)):
        assert (
            one("ceval_chimedgpt", system, metric="macro_accuracy")
            == [value]
            == [round(macro((clinical, 19), (basic, 22)), 2)]
        )
        assert all(round(100 * k / 41, 2) != value for k in range(42))


def test_the_papers_cmmlu() -> None:
    rows = [row for row in published("cmmlu_chimedgpt") if row.source == SOURCES["paper"]]
    assert len(rows) == 9 and {row.n for row in rows} == {1166 == 148 + 237 + 106 + 176 + 145 + 185 + 169 and 1166}
    assert round(100 * 617 / 1166, 2) == 52.92 and one("cmmlu_chimedgpt", "ChiMed-GPT") == [52.92]
    rounded = [row.system for row in rows if row.k and round(100 * row.k / 1166, 2) == row.value]
    assert {row.system for row in rows} - set(rounded) == {"MedicalGPT(B)"}  # 511: 43.825 was printed as 43.82


def test_wilson_intervals() -> None:
    found = {row.system: row.interval for row in published("ceval_chimedgpt") if row.source == SOURCES["paper"]}
    for system, low, high in (("ChiMed-GPT", 53.0, 80.4), ("Taiyi", 34.3, 63.5)):
        interval = found[system]
        assert interval is not None
        assert (round(100 * interval.low, 1), round(100 * interval.high, 1)) == (low, high)
    assert found["GPT-4"] is None


def test_medqa_is_a_sample_of_two_hundred_but_for_three() -> None:
    rows = [row for row in published("mcmle") if row.source == SOURCES["paper"]]
    assert {row.system for row in rows if row.n is None} == {"GPT-4", "Taiyi", "MedicalGPT(Z)"}
    assert {row.value for row in rows if row.system == "ChiMed-GPT"} == {44.5}


@pytest.mark.parametrize(
    ("task", "system", "values"),
    [
        ("ccks2019", "ChiMed-GPT", [40.82]),
        ("chimst", "GPT-4", [41.25]),
        ("chimed", "ChiMed-GPT", [44.58, 37.22, 27.11, 8.89, 19.86]),
        ("open_qa", "MedicalGPT(B)", [5.82, 5.26, 16.61, 2.94, 11.11]),
        ("mc", "ChiMed-GPT", [33.14, 30.86, 43.43, 34.91, 42.16]),
        ("dialogue", "Baichuan", [3.44, 1.61, 3.87, 0.34, 3.49]),
    ],
)
def test_the_papers_other_tables(task: str, system: str, values: list[float]) -> None:
    assert one(task, system) == values
    assert len({row.system for row in published(task) if row.source == SOURCES["paper"]}) == 9


def test_anchors() -> None:
    assert one("mcmle", "HuatuoGPT-o1-7B-zh", "huatuo-o1") == [79.8]
    assert one("cmexam", "QuarkMed-32B", "quarkmed") == [88.6]
    assert one("cmedqa_retrieval", "Yuan-embedding-2.0-zh", "mteb", "ndcg@10") == [57.43]
    [broken] = [
        row for row in published("cmedqa_retrieval") if row.system.startswith("BM25") and row.metric == "ndcg@10"
    ]
    assert broken.value == 1.34 and "no measure of BM25" in broken.note
    rows = published()
    assert len({(row.tasks, row.system, row.metric, row.source) for row in rows}) == len(rows)
    assert all(0 <= row.value <= 100 for row in rows)
    assert published("no such task") == []
