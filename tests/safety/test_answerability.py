"""Whether a literature answers a question, as learned from questions: what the score is, and what becomes of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from chimed_rag import MedQA
from chimed_rag.config import Config
from chimed_rag.encoders.ngram import shipped
from chimed_rag.encoders.ngram_weights import NgramWeights
from chimed_rag.errors import ConfigError
from chimed_rag.literature import STARTER_ANSWERABILITY
from chimed_rag.records import RankEntry
from chimed_rag.safety.answerability import ASKED, WORDS, Answerability, Asked
from chimed_rag.safety.confidence import covered
from tests.contracts.generator_contract import passages

EVIDENCE = passages("孕晚期禁用布洛芬。", "布洛芬宜在餐后服用。", title="布洛芬")


SILENT = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
"""Intercept, the weights of W, B, P and C, and the least score."""


def weights(numbers: tuple[float, ...] = SILENT, **ngrams: float) -> NgramWeights:
    """Weights that are 0 but for the n-grams given."""
    vocabulary = shipped().vocabulary
    values = np.zeros(len(vocabulary), np.float16)
    for ngram, weight in ngrams.items():
        bags = vocabulary.bags([ngram])
        values[bags.ids[vocabulary.lengths()[bags.ids] == len(ngram)]] = weight
    return NgramWeights(values, numbers, shipped().spec.fingerprint)


def test_wording_is_weighed_by_tf_idf_of_length_one() -> None:
    text, vocabulary = "多少钱多少钱", shipped().vocabulary
    [ids, counts, _] = vocabulary.bags([text])
    idf = -np.log(shipped().frequencies[ids])
    vector = counts * idf / np.linalg.norm(counts * idf)
    [place] = np.flatnonzero(ids == vocabulary.bags(["钱"]).ids[0])
    assert weights(钱=2.0).of(text) == pytest.approx(2 * vector[place], rel=1e-5)
    assert counts[place] == pytest.approx(1 + np.log(2))
    assert weights(钱=2.0).of("") == weights(钱=2.0).of("布洛芬") == 0


def test_fitted_weights_are_scikit_learns() -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    texts = ["布洛芬多少钱", "布洛芬能报销吗", "布洛芬怎么吃", "布洛芬的禁忌", "孕妇能吃布洛芬吗", "哪个牌子好"]
    answered = [False, False, True, True, True, False]
    found = NgramWeights.fit(texts, answered, worth=[1, 1, 2, 1, 1, 1])
    dense = np.zeros((len(texts), len(shipped().vocabulary)))
    for row, text in zip(dense, texts, strict=True):
        bags = shipped().vocabulary.bags([text])
        row[bags.ids] = bags.weights * -np.log(shipped().frequencies[bags.ids])
        row /= np.linalg.norm(row)
    model = linear.LogisticRegression(C=10.0, max_iter=3000, tol=1e-8).fit(dense, answered, [1, 1, 2, 1, 1, 1])
    ours = [found.numbers[0] + found.of(text) for text in texts]
    assert ours == pytest.approx(model.decision_function(dense), abs=0.02)
    assert min(ours[2:5]) > max(ours[0], ours[1], ours[5])


def learned(intercept: float = 0.0, least: float = 0.0, **ngrams: float) -> Answerability:
    """What weighs nothing but words."""
    asked = Asked.of(["布洛芬怎么吃"], [True])
    return Answerability(weights((intercept, 1.0, 0.0, 0.0, 0.0, least), **ngrams), asked)


def test_neighbours_vote_by_their_cosine(monkeypatch: pytest.MonkeyPatch) -> None:
    questions = ["布洛芬怎么吃", "布洛芬多少钱", "阿莫西林怎么吃", "红霉素多少钱"]
    asked = Asked.of(questions, [True, False, True, False])
    one, *others = shipped().encode_documents(["布洛芬贵不贵，多少钱", *questions])
    votes = np.exp(20 * (np.array(others) @ one))
    assert asked.share_answered("布洛芬贵不贵，多少钱") == pytest.approx((votes[0] + votes[2]) / votes.sum(), abs=0.01)
    monkeypatch.setattr("chimed_rag.safety.answerability.NEIGHBOURS", 1)
    assert asked.share_answered("布洛芬贵不贵，多少钱") == 0
    assert asked.share_answered("布洛芬应该怎么吃") == 1


def test_the_score_is_the_sum_of_its_features() -> None:
    question, asked = "孕妇能吃布洛芬吗", Asked.of(["布洛芬怎么吃", "布洛芬多少钱"], [True, False])
    ranked = EVIDENCE[0].model_copy(update={"ranks": {"dense": RankEntry(rank=1, score=0.7)}})
    evidence = [ranked, *EVIDENCE[1:]]
    whole = Answerability(weights((0.5, 1.0, 2.0, 3.0, 4.0, 0.0), 孕=0.5), asked)
    parts = (whole.words.of(question), asked.share_answered(question), 0.7)
    assert whole.features(question, evidence) == (*parts, covered(question, evidence))
    expected = 0.5 + sum(n * part for n, part in enumerate((*parts, covered(question, evidence)), 1))
    assert whole.score(question, evidence) == pytest.approx(expected)
    assert whole.features(question, [])[2:] == (0.0, 0.0)


def test_the_least_score_decides() -> None:
    dear = learned(钱=-3.0)
    refused = dear.decide("布洛芬多少钱", EVIDENCE)
    assert refused is not None and refused.reason == "weak_evidence"
    assert dear.decide("布洛芬怎么吃", EVIDENCE) is None  # 0 reaches 0
    assert learned(least=0.01).decide("布洛芬怎么吃", EVIDENCE) is not None


def test_what_was_learned_is_kept_and_faults_are_told(tmp_path: Path) -> None:
    good = learned(0.1, 0.2, 钱=-3.0)
    folder = good.save(tmp_path / "good")
    again = Answerability.load(folder)
    for question in ("布洛芬多少钱", "布洛芬怎么吃"):
        assert again.score(question, EVIDENCE) == good.score(question, EVIDENCE)
    with pytest.raises(ConfigError, match=r"nowhere.*cannot be read"):
        MedQA(config=Config(answerability=str(tmp_path / "nowhere")))
    (folder / ASKED).write_bytes(b"half")
    with pytest.raises(ConfigError, match=r"asked\.safetensors: cannot be read.*tools\.fit_answerability"):
        Answerability.load(folder)
    replace(good.asked, scales=np.ones(3, np.float32)).save(folder / ASKED)
    with pytest.raises(ConfigError, match="do not fit each other"):
        Answerability.load(folder)
    replace(good.words, encoder="1" * 64).save(folder / WORDS)
    with pytest.raises(ConfigError, match=r"made for the encoder 1{16}.*tools\.fit_answerability"):
        Answerability.load(folder)
    weights((1.0, 2.0)).save(folder / WORDS)
    with pytest.raises(ConfigError, match="does not hold weights of n-grams and 6 numbers"):
        Answerability.load(folder)


def test_it_takes_the_place_of_what_is_judged_by_words(tmp_path: Path) -> None:
    """With a score that everything reaches, weak evidence refuses nothing; what is out of scope stays out of scope."""
    willing = learned(least=-1.0).save(tmp_path / "willing")
    unwilling = learned(least=1.0).save(tmp_path / "unwilling")
    doubtful, known = "度洛西丁停药要怎么减", "孕妇感冒发烧能吃布洛芬吗？"
    with MedQA(config=Config(answerability="off")) as qa:
        assert qa.ask(doubtful).abstention is not None and qa.ask(known).abstention is None
    with MedQA(config=Config(answerability=str(willing))) as qa:
        assert qa.ask(doubtful).abstention is None
        out = qa.ask("明天股票会涨吗").abstention
        assert out is not None and out.reason == "out_of_scope"
    with MedQA(config=Config(answerability=str(unwilling))) as qa:
        refused = qa.ask(known).abstention
        assert refused is not None and refused.reason == "weak_evidence"
        urgent = qa.ask("我爸突然胸口剧痛，出冷汗，喘不上气，怎么办")
        assert any(notice.kind == "emergency" for notice in urgent.notices)
        assert urgent.abstention is None  # a red flag is never refused by it


def test_the_starter_literature_has_its_own() -> None:
    own = Answerability.load(STARTER_ANSWERABILITY)
    with MedQA() as qa:
        weight = qa._view.index.lexical.inverse_document_frequency
        for question, answered in (("糖化血红蛋白空腹吗", True), ("布洛芬哪个牌子最便宜", False)):
            evidence = qa.ask(question).evidence
            assert (own.decide(question, evidence, weight) is None) == answered
            assert (qa.ask(question).abstention is None) == answered
