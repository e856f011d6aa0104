import random

import numpy as np
import pytest
from pydantic import ValidationError

from chimed_rag.errors import ConfigError, InputError
from chimed_rag.records import Abstention, Answer, Citation, RankEntry
from chimed_rag.safety import risk
from chimed_rag.safety.calibration import Question, RefusalRule, Trial, confidence, decide, distinct, fit, score, trial
from chimed_rag.safety.confidence import Features, features
from tests.contracts.generator_contract import passages


def trials(n, seed, slope=4.0, shift=1.0, answered=0.9):
    """Questions whose chance to be answered wrongly is 1 / (1 + exp(slope * about + shift)), nothing else counting."""
    rng = np.random.default_rng(seed)
    about, noise = rng.normal(size=n), rng.uniform(size=(n, len(Features._fields) - 1))
    wrong = rng.uniform(size=n) < 1 / (1 + np.exp(slope * about + shift))
    given = rng.uniform(size=n) < answered
    return [
        Trial(
            f"{seed}-{i}", Features(float(about[i]), *map(float, noise[i])), bool(given[i]), bool(given[i] & wrong[i])
        )
        for i in range(n)
    ]


def true_error(rule, slope=4.0, shift=1.0):
    """The error among answered questions of the distribution that `trials` draws from, on 20,000 fresh ones."""
    rng = np.random.default_rng(99)
    about = rng.normal(size=20_000)
    noise = rng.uniform(size=(20_000, len(Features._fields) - 1))
    x = np.column_stack([about, noise])
    kept = rule.intercept + x @ np.array([rule.weights[name] for name in Features._fields]) >= rule.threshold
    return float((1 / (1 + np.exp(slope * about + shift)))[kept].mean())


def test_the_binomial_tail_by_hand_and_by_scipy():
    assert risk.binomial_tail(0, 3, 0.5) == pytest.approx(1 / 8)
    assert risk.binomial_tail(1, 3, 0.5) == pytest.approx(4 / 8)
    assert risk.binomial_tail(3, 3, 0.5) == risk.binomial_tail(0, 0, 0.5) == 1.0
    binom = pytest.importorskip("scipy.stats").binom
    for k, n, p in [(2, 50, 0.05), (30, 400, 0.1), (0, 3000, 0.001), (900, 1000, 0.95)]:
        assert risk.binomial_tail(k, n, p) == pytest.approx(binom.cdf(k, n, p), rel=1e-9)


def test_the_upper_bound_is_clopper_and_pearsons():
    binomtest = pytest.importorskip("scipy.stats").binomtest
    for k, n in [(0, 59), (3, 100), (17, 40)]:  # one-sided .95 is the upper end of the two-sided .90
        assert risk.upper_bound(k, n, 0.95) == pytest.approx(binomtest(k, n).proportion_ci(0.9).high, abs=1e-9)
    assert risk.upper_bound(4, 4, 0.95) == risk.upper_bound(0, 0, 0.95) == 1.0


def test_how_many_answers_without_an_error_a_risk_takes():
    assert risk.needed(0.05, 0.95) == 59  # .95^59 = .0485, .95^58 = .0510
    assert risk.needed(0.5, 0.75) == 2  # exactly a quarter
    assert risk.needed(0.1, 0.95) == 29


def test_thresholds_are_tested_in_order_until_one_fails():
    scores = [0.9] * 30 + [0.5] * 30 + [0.1] * 400
    errors = [False] * 30 + [True] * 20 + [False] * 410  # none of 30; 20 of 60; 20 of 460: a pass after a failure
    assert risk.control(scores, errors, [0.9, 0.5, 0.1], risk=0.1, confidence=0.95) == 0.9
    assert risk.control(scores, errors, [0.9, 0.1], risk=0.1, confidence=0.95) == 0.1
    assert risk.control(scores, errors, [0.5, 0.1], risk=0.1, confidence=0.95) is None
    assert risk.control(scores, errors, [2.0, 0.1], risk=0.1, confidence=0.95) is None  # nothing answered shows nothing


def test_a_rule_counts_what_it_saw_and_keeps_the_risk():
    given = trials(600, seed=1)
    rule = fit(given, risk=0.1, confidence=0.9)
    tested = [given[i] for i in np.random.default_rng(0).permutation(600)[240:]]
    kept = [one for one in tested if one.answered and score(rule, one.features) >= rule.threshold]
    assert (rule.n, rule.errors) == (len(kept), sum(one.wrong for one in kept))
    assert rule.coverage == pytest.approx(rule.n / 360) and rule.asked == 600
    assert risk.binomial_tail(rule.errors, rule.n, 0.1) <= 0.1
    assert rule.coverage > 0.2 and true_error(rule) < 0.1
    assert "at least 0.9 " in rule.guarantee and "10 %" in rule.guarantee
    assert max(rule.weights, key=lambda name: abs(rule.weights[name])) == "about"
    assert fit(given, risk=0.1, confidence=0.9) == rule
    assert fit(given[:-1], risk=0.1, confidence=0.9).data_hash != rule.data_hash


def test_the_guarantee_over_many_draws():
    """True error above the risk in at most (1 - confidence) of draws: 25 of 100; 37 would be by chance in 1 of 200."""
    above = kept = 0
    for seed in range(100):
        try:
            rule = fit(trials(300, seed), risk=0.2, confidence=0.75)
        except InputError:
            continue
        kept += 1
        above += true_error(rule) > 0.2
    assert kept > 80 and above <= 36


def test_a_score_that_knows_nothing_gets_no_rule():
    rng = random.Random(0)
    given = [Trial(str(i), Features(*(rng.random() for _ in range(12))), True, rng.random() < 0.5) for i in range(400)]
    with pytest.raises(InputError, match=r"no threshold keeps the risk of 0\.05 .* improve what is found"):
        fit(given)


def test_too_few_questions_are_told_how_many_it_takes():
    with pytest.raises(InputError, match=r"that takes 59 answered .* Give at least 1\d\d questions") as told:
        fit(trials(60, seed=0, answered=1.0))
    assert "here 36" in str(told.value)  # 60 % of 60
    with pytest.raises(InputError, match="Give at least"):
        fit([])
    with pytest.raises(InputError, match="Give at least"):  # nothing was answered at all
        fit(trials(500, seed=0, answered=0.0))


@pytest.mark.parametrize("given", [{"risk": 0}, {"risk": 1.0}, {"confidence": 1}, {"confidence": -0.1}])
def test_risk_and_confidence_lie_between_0_and_1(given):
    with pytest.raises(InputError, match="between 0 and 1"):
        fit(trials(100, seed=0), **given)


def test_a_question_counts_once():
    with pytest.raises(InputError, match="stands twice"):
        fit([*trials(200, seed=0), *trials(1, seed=0)])
    asked = [Question(question="a", documents=("x",)), Question(question="b"), Question(question="a", documents=("y",))]
    assert distinct(asked) == [Question(question="a", documents=("x", "y")), Question(question="b")]


def test_a_rule_goes_to_disk_and_back(tmp_path):
    rule = fit(trials(600, seed=1), risk=0.1, confidence=0.9, system="ward@3")
    assert RefusalRule.load(rule.save(tmp_path / "rule.json")) == rule
    with pytest.raises(ValidationError):
        rule.risk = 0.5
    (tmp_path / "bad.json").write_text('{"weights": {}}')
    with pytest.raises(ConfigError, match=r"bad\.json: is no refusal rule"):
        RefusalRule.load(tmp_path / "bad.json")
    rule.model_copy(update={"weights": {"about": 1.0}}).save(tmp_path / "old.json")
    with pytest.raises(ConfigError, match=r"old\.json: was fitted on the features about; .* Calibrate again"):
        RefusalRule.load(tmp_path / "old.json")
    with pytest.raises(ConfigError, match=r"none\.json: cannot be read .*calibrate"):
        RefusalRule.load(tmp_path / "none.json")


def rule_on(name, threshold):
    weights = dict.fromkeys(Features._fields, 0.0) | {name: 1.0}
    return RefusalRule(
        weights=weights, intercept=0.0, threshold=threshold, risk=0.05, confidence=0.95, n=60, errors=0, coverage=0.5,
        asked=200, data_hash="", guarantee="",
    )  # fmt: skip


def test_deciding_by_a_rule():
    on_it, off_it = passages("布洛芬用于退热。"), passages("胃镜前应禁食。", title="胃镜")
    question = "布洛芬能退热吗"
    rule = rule_on("about", 0.5)
    assert decide(rule, question, on_it) is None
    refused = decide(rule, question, off_it)
    assert refused is not None and refused.reason == "weak_evidence" and "5%" in refused.text
    assert decide(rule, question, []).reason == "weak_evidence"
    assert 0 < confidence(rule, question, off_it) < confidence(rule, question, on_it) < 1
    assert confidence(rule_on("about", 0).model_copy(update={"intercept": -1e6}), question, on_it) == pytest.approx(0)


def test_features_by_hand():
    first, second = passages("布洛芬退热。", "胃镜禁食。")
    first = first.model_copy(
        update={"ranks": {"dense": RankEntry(rank=2, score=0.6), "lexical": RankEntry(rank=1, score=5.0)}, "score": 1.3}
    )
    second = second.model_copy(update={"title": "胃镜", "ranks": {"dense": RankEntry(rank=1, score=0.7)}})
    found = features("布洛芬退热", [first, second])
    assert (found.named, found.covered, found.passage, found.about) == (1.0, 1.0, 1.0, 1.0)
    assert found.sentence == pytest.approx(1.0)  # the same five characters
    assert (found.dense, found.agreement, found.both, found.fused) == (0.7, 0.5, 0.5, 1.3)
    assert found.spread == pytest.approx(np.log(2)) and found.entropy == 0.0  # two names; one lexical score
    assert found.weight == pytest.approx(np.log(1 + 4))  # 布洛 洛芬 芬退 退热
    half = features("布洛芬退热", passages("退热。", title="感冒"))
    assert half.named == 0.0 and half.passage == 1 / 4 and half.sentence == pytest.approx(2 / (2 * 5) ** 0.5)


@pytest.mark.parametrize("question", ["", "？？", "\ud800", "a" * 100_000, "头" * 100_000])
def test_features_of_odd_questions_and_passages(question):
    evidence = passages("", "。。。", "头痛" * 1000)
    for found in (features(question, evidence), features(question, []), features(question, evidence, lambda term: 0.0)):
        assert np.isfinite(found).all()


def test_a_trial_is_wrong_if_it_cites_no_document_that_answers():
    cited = Citation(number=1, document_id="d1", chunk_id="c1", quote="退热", start=0, end=2)
    answer = Answer(question="q", text="退热", citations=(cited,), evidence=tuple(passages("布洛芬退热。")))
    for documents, wrong in [(("d1", "d9"), False), (("d9",), True), ((), True)]:
        made = trial(Question(question="布洛芬", documents=documents), "布洛芬", answer)
        assert (made.answered, made.wrong) == (True, wrong)
    refused = answer.model_copy(update={"abstention": Abstention(reason="weak_evidence", text=""), "citations": ()})
    made = trial(Question(question="布洛芬"), "布洛芬", refused)
    assert (made.answered, made.wrong) == (False, False)


def test_what_a_trial_saw_is_what_a_rule_will_see(ward):
    from chimed_rag import MedQA
    from chimed_rag.query.rewriting import understood

    with MedQA(ward) as qa:
        answer = qa.ask("布洛芬孕妇能用吗")
        weight = qa._view.index.lexical.inverse_document_frequency
        meant = understood(qa._query("布洛芬孕妇能用吗"))
    made = trial(Question(question="布洛芬孕妇能用吗", documents=("ibuprofen",)), meant, answer, weight)
    assert made.answered and not made.wrong
    assert made.features == features(meant, answer.evidence, weight) and made.features.dense > 0
