"""What search and answer make of the readings of a question."""

from __future__ import annotations

import pytest

from chimed_rag import MedQA
from chimed_rag.config import Config, Retrieval, Rewriting
from chimed_rag.query.rewriting import asked, rewrite
from chimed_rag.retrieval.retrievers import CORRECTED_WEIGHT, LexicalRetriever
from tests.conftest import TEXTS


def weighted(query: str) -> dict[str, float]:
    return LexicalRetriever(None, Retrieval())._weighted(query)  # type: ignore[arg-type]


def test_own_words_weigh_most_and_stay():
    question = "芬必得治頭痛"
    weights = weighted(asked(rewrite(question)))
    assert {term: weights[term] for term in ("芬必", "必得", "得治", "治頭", "頭痛")} == dict.fromkeys(
        ("芬必", "必得", "得治", "治頭", "頭痛"), 1
    )
    assert weights["头痛"] == CORRECTED_WEIGHT["traditional"]
    assert weights["布洛"] == weights["洛芬"] == Retrieval().clinical_weight


def test_a_long_name_weighs_no_more_than_the_short_one_it_stands_for():
    """慢阻肺 has 2 terms, 慢性阻塞性肺疾病 copd 8 of which none is said."""
    weights = weighted(asked(rewrite("慢阻肺")))
    added = {term: weight for term, weight in weights.items() if term not in ("慢阻", "阻肺")}
    assert len(added) == 8
    assert sum(added.values()) == pytest.approx(2 * Retrieval().clinical_weight)


def test_a_correction_weighs_less_than_what_was_typed():
    weights = weighted(asked(rewrite("颠痫")))
    assert weights == {"颠痫": 1, "癫痫": CORRECTED_WEIGHT["typos"]}


@pytest.mark.parametrize("question", ["芬必得孕晚期能吃吗", "布洛分孕晚期能吃吗", "布洛芬孕晚期婦女能吃嗎"])
def test_an_answer_is_found_and_the_trace_tells_how(qa, question):
    answer = qa.ask(question)
    assert answer.abstention is None
    assert answer.citations[0].document_id == "ibuprofen"
    detail = next(step.detail for step in answer.trace if step.step == "rewriting")
    assert detail["changes"] == list(qa._query(question).changes) != []


def test_steps_are_switched_off_by_the_configuration(ward):
    off = Config(rewriting=Rewriting(trade_names=False))
    with MedQA.load(ward, config=off) as qa:
        assert qa._query("芬必得").readings == ()
        (rewriting,) = [step.detail for step in qa.ask("芬必得孕晚期能吃吗").trace if step.step == "rewriting"]
    assert "布洛芬" not in str(rewriting)
    with MedQA.load(ward) as qa:
        (rewriting,) = [step.detail for step in qa.ask("芬必得孕晚期能吃吗").trace if step.step == "rewriting"]
    assert "布洛芬" in str(rewriting)


def test_an_error_is_mended_by_the_words_of_the_index(tmp_path):
    """A word that no table knows: 求 sounds like 巯, and a hundred documents hold 甲巯咪唑."""
    rows = [{"id": str(n), "text": f"甲巯咪唑治疗甲状腺功能亢进，第{n}段。"} for n in range(100)]
    with MedQA.build(rows, tmp_path / "index") as qa:
        query = qa._query("甲求咪唑")
        assert [reading.text for reading in query.readings if reading.step == "typos"] == ["甲巯咪唑"]


@pytest.mark.parametrize("question", ["突然剧烈胸痛大汗怎么办", "突然劇烈胸痛大汗怎麼辦"])
def test_an_emergency_is_seen_in_either_script(qa, question):
    assert qa.ask(question).notices[0].kind == "emergency"


@pytest.mark.parametrize("question", ["药", "药😀", "皿" * 3999])
def test_odd_questions_are_searched(qa, question):
    assert len(qa.search(question, k=3)) <= 3


def test_explain_names_the_words_that_were_added(qa):
    explanation = qa.explain("芬必得", k=1)
    assert {"芬必", "必得", "布洛", "洛芬"} <= explanation.terms.keys()
    assert explanation.evidence[0].evidence.title == TEXTS["ibuprofen"][0]
    assert explanation.query.changes == ("trade_names: 芬必得 → 布洛芬",)
