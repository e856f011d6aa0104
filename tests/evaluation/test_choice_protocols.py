from __future__ import annotations

import math
import random
import re
import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import precision_recall_fscore_support

from chimed_rag.errors import InputError
from chimed_rag.evaluation.metrics.calibration import calibration_bins, calibration_error
from chimed_rag.evaluation.metrics.choice import macro_accuracy, mindless, weighted_scores
from chimed_rag.evaluation.protocols.base import PROTOCOLS, Protocol, protocol
from chimed_rag.evaluation.protocols.choice_others import cmb_vote
from chimed_rag.evaluation.samples import Prediction, Sample, Score

NAMES = ("strict-v1", "chimedgpt-legacy", "lm-eval", "cmb-official", "cmexam-official", "opencompass")
OPTIONS = {"A": "肝脏", "B": "心", "C": "脾脏 左上腹", "D": "肺", "E": "DNA"}
ONE = Sample(
    id="1", text="胆汁由谁产生", options=OPTIONS, answer="B", metadata={"set": "cmmlu", "subject_zh": "解剖学"}
)
SEVERAL = ONE.model_copy(update={"multiple": True, "answer": "AB"})


def said(name: str, sample: Sample, text: str) -> str:
    return protocol(name, "choice").score(sample, Prediction(id=sample.id, text=text)).said


def judged(name: str, samples: Sequence[Sample], predictions: Sequence[Prediction]) -> tuple[Protocol, list[Score]]:
    made = protocol(name, "choice")
    return made, [made.score(*pair) for pair in zip(samples, predictions, strict=True)]


# What a reply is read as by: strict-v1, chimedgpt-legacy, cmb-official, cmexam-official, opencompass.
READINGS = [
    ("B", "B", "B", "B", "B", "B"),
    ("", "", "", "", "", ""),
    ("我不知道。", "", "", "", "", ""),
    ("答案是B。", "B", "B", "B", "B", "B"),
    ("答案：B", "B", "B", "B", "B", "B"),
    ("**B**", "B", "B", "B", "B", "B"),
    ("A错误，所以答案是B。", "B", "A", "B", "AB", "A"),
    ("A或B", "", "A", "A", "AB", "A"),
    ("D\nB", "", "D", "D", "BD", "D"),
    ("心", "", "", "", "B", ""),
    ("答案是心。A项不对", "", "A", "", "AB", "A"),
    ("B\n解释: 肝脏产生胆汁, A 错误", "B", "B", "B", "B", "B"),
    ("脾脏", "", "", "", "C", ""),
    ("F", "", "", "F", "", "F"),
    ("b", "", "", "", "", ""),
    ("Ⅱ度，选B", "", "B", "B", "B", "Ⅱ"),
    ("答案应该是D.B", "D", "D", "D", "BD", "D"),
]


@pytest.mark.parametrize(("text", "strict", "legacy", "cmb", "cmexam", "opencompass"), READINGS)
def test_what_a_reply_is_read_as(text: str, strict: str, legacy: str, cmb: str, cmexam: str, opencompass: str) -> None:
    expected = (strict, legacy, cmb, cmexam, opencompass)
    names = ("strict-v1", "chimedgpt-legacy", "cmb-official", "cmexam-official", "opencompass")
    assert tuple(said(name, ONE, text) for name in names) == expected
    assert said("lm-eval", ONE, text) == ""


# Of a question with several right letters, A and B: strict-v1, cmb-official, cmexam-official, opencompass.
@pytest.mark.parametrize(
    ("text", "strict", "cmb", "cmexam", "opencompass"),
    [
        ("AB", "AB", "AB", "AB", "AB"),
        ("答案是B、A。", "AB", "BA", "AB", "AB"),
        ("ABA", "AB", "ABA", "AB", "AB"),
        ("A", "A", "A", "A", "A"),
        ("A、B，都对应DNA", "AB", "ABDA", "ABDE", "ABDN"),
        ("", "", "", "", ""),
    ],
)
def test_several_letters(text: str, strict: str, cmb: str, cmexam: str, opencompass: str) -> None:
    names = ("strict-v1", "cmb-official", "cmexam-official", "opencompass")
    assert tuple(said(name, SEVERAL, text) for name in names) == (strict, cmb, cmexam, opencompass)
    outcome = protocol("strict-v1", "choice").score(SEVERAL, Prediction(id="1", text=text)).outcome
    assert outcome == ("correct" if strict == "AB" else "wrong" if strict else "invalid")


@pytest.mark.parametrize(
    ("text", "hit"),
    [
        ("理由……\n答案: B", 1.0),
        ("答案:**B**", 1.0),
        ("答案: b", 0.0),
        ("答案：B", 0.0),
        ("B", 0.0),
        ("答案: A 答案: B", 0.0),
    ],
)
def test_reasons_by_opencompass(text: str, hit: float) -> None:
    score = protocol("opencompass", "choice").score(ONE, Prediction(id="1", text=text))
    assert score.values["reasoned"] == hit


def test_votes_by_cmb() -> None:
    assert cmb_vote(["A", "答案为B。", "B", ""], multiple=False) == "B"
    assert cmb_vote(["A", "B"], multiple=False) == "A"
    assert cmb_vote(["答案是\nA.B", "AB", "A"], multiple=True) == "A"
    assert cmb_vote([], multiple=True) == ""


def test_what_models_are_told() -> None:
    def told(name: str, sample: Sample = ONE, passages: Sequence[str] = ()) -> str:
        [message] = protocol(name, "choice").messages(sample, passages)
        assert message["role"] == "user"
        return message["content"]

    lettered = "A. 肝脏\nB. 心\nC. 脾脏 左上腹\nD. 肺\nE. DNA"
    assert f"题目：胆汁由谁产生\n{lettered}\n" in told("strict-v1") and "只有一个选项正确" in told("strict-v1")
    assert "有一个或多个选项正确" in told("strict-v1", SEVERAL)
    assert told("chimedgpt-legacy").startswith("以下是关于解剖学的单项选择题，请直接给出正确答案的选项。\n\n题目：")
    plain = f"以下是关于解剖学的单项选择题，请直接给出正确答案的选项。\n\n胆汁由谁产生\n{lettered}\n答案： "
    assert protocol("lm-eval", "choice").continuation(ONE) == plain
    assert told("lm-eval") == plain[:-1]
    ceval = ONE.model_copy(update={"metadata": {"set": "ceval", "subject_zh": "临床医学"}})
    assert told("lm-eval", ceval).startswith("以下是中国关于临床医学的单项选择题，请选出其中的正确答案。\n\n胆汁")
    cmb = ONE.model_copy(
        update={"metadata": {"set": "cmb", "exam_type": "医师考试", "exam_class": "执业医师", "type": "单项选择题"}}
    )
    asked = (
        "以下是中国医师考试中执业医师考试的一道单项选择题，不需要做任何分析和解释，直接输出答案选项。\n胆汁由谁产生\n"
    )
    assert told("cmb-official", cmb) == asked + "A. 肝脏\nC. 脾脏 左上腹\nE. DNA"  # one character is no option there
    assert told("opencompass", cmb) == told("cmb-official", cmb) + " \n 答案: "
    assert told("cmexam-official") == "问题: 胆汁由谁产生, \n 选项: A 肝脏\nB 心\nC 脾脏 左上腹\nD 肺\nE DNA"
    assert told("opencompass").endswith(f"的单项选择题，请直接给出正确答案的选项。\n题目：胆汁由谁产生\n{lettered}")
    for name in NAMES:
        assert "[1] 肝细胞产生胆汁" in told(name, passages=["肝细胞产生胆汁"])
        assert protocol(name, "choice").continuation(ONE) is None or name == "lm-eval"


@pytest.mark.parametrize("name", NAMES)
def test_what_all_protocols_share(name: str) -> None:
    samples = [ONE.model_copy(update={"id": str(n), "subject": "ab"[n % 2]}) for n in range(6)]
    logprobs = {"A": math.log(0.2), "B": math.log(0.5), "C": math.log(0.1)}
    predictions = [
        Prediction(id="0", logprobs=logprobs),
        Prediction(id="1", logprobs={**logprobs, "A": math.log(0.3), "B": math.log(0.3)}),  # a tie: the first
        Prediction(id="2"),
        Prediction(id="3", text="B", error="timeout: 30 s"),
        Prediction(id="4", text="说不清"),
        Prediction(id="5", logprobs={}),
    ]
    made, scores = judged(name, samples, predictions)
    assert [one.outcome for one in scores] == ["correct", "wrong", "invalid", "error", "invalid", "invalid"]
    metrics = made.metrics(samples, predictions, scores)
    assert metrics["accuracy"].value == pytest.approx(1 / 6)
    assert (metrics["invalid"].value, metrics["error"].value) == (pytest.approx(0.5), pytest.approx(1 / 6))
    low, high = binomtest(1, 6).proportion_ci(method="wilson")
    assert (metrics["accuracy"].low, metrics["accuracy"].high) == (pytest.approx(low), pytest.approx(high))
    assert metrics["off_option"].value == pytest.approx((0.2 + 0.3) / 2)
    assert scores[0].values["confidence"] == pytest.approx(0.5 / 0.8)
    # Bins .4 and .6: |0 - .3/.7| and |1 - .5/.8|, each half of n.
    assert metrics["calibration_error"].value == pytest.approx((0.3 / 0.7 + 1 - 0.5 / 0.8) / 2)
    groups = made.groups(samples, predictions, scores)
    assert groups["subject: a"]["accuracy"].value == pytest.approx(1 / 3) and groups["subject: a"]["n"].value == 3
    assert groups["macro over subjects"]["accuracy"].value == pytest.approx(1 / 6)
    assert groups["confidence: 0.6–0.7"]["accuracy"].value == 1
    order = random.Random(3).sample(range(6), 6)
    shuffled = [[rows[n] for n in order] for rows in (samples, predictions, scores)]
    again = made.metrics(*shuffled)  # type: ignore[arg-type]
    assert {key: one.value for key, one in again.items()} == pytest.approx(
        {key: one.value for key, one in metrics.items()}
    )
    assert made.baselines(samples)["always B"] == {"accuracy": 1.0}


def test_groups_are_resampled_together() -> None:
    samples = [ONE.model_copy(update={"id": str(n), "group": str(n // 5)}) for n in range(40)]
    predictions = [Prediction(id=str(n), text="B" if n < 20 else "A") for n in range(40)]
    made, scores = judged("strict-v1", samples, predictions)
    accuracy = made.metrics(samples, predictions, scores)["accuracy"]
    alone = [one.model_copy(update={"group": ""}) for one in samples]
    wilson = made.metrics(alone, predictions, scores)["accuracy"]
    assert accuracy.value == wilson.value == 0.5
    assert accuracy.high - accuracy.low > 1.5 * (wilson.high - wilson.low)  # eight groups, all right or all wrong


def test_macro_accuracy_by_hand() -> None:
    # 12 of 19 and 11 of 22, as GPT-3.5's C-Eval.
    right = [n < 12 for n in range(19)] + [n < 11 for n in range(22)]
    found = macro_accuracy(right, [("clinical",)] * 19 + [("basic",)] * 22)
    assert round(100 * found.value, 2) == 56.58
    assert found.low < found.value < found.high
    # Categories x (classes 1/2 and 1) and y (0): (3/4 + 0) / 2.
    strata = [("x", "1"), ("x", "1"), ("x", "2"), ("y", "1"), ("y", "1"), ("y", "1")]
    assert macro_accuracy([True, False, True, False, False, False], strata).value == pytest.approx(0.375)
    with pytest.raises(ValueError, match="needs samples"):
        macro_accuracy([], [])


def test_cmb_averages_classes_then_categories() -> None:
    def made(n: int, kind: str, of: str) -> Sample:
        return ONE.model_copy(update={"id": str(n), "subject": of, "metadata": {"exam_type": kind}})

    samples = [made(0, "x", "1"), made(1, "x", "1"), made(2, "x", "2"), made(3, "y", "1")]
    predictions = [Prediction(id=str(n), text=text) for n, text in enumerate("BABA")]
    protocol_, scores = judged("cmb-official", samples, predictions)
    metrics = protocol_.metrics(samples, predictions, scores)
    assert next(iter(metrics)) == "macro_accuracy"
    assert (metrics["macro_accuracy"].value, metrics["accuracy"].value) == (pytest.approx(0.375), 0.5)


@pytest.mark.parametrize("seed", [0, 1])
def test_weighted_scores_as_scikit_learn_has_them(seed: int) -> None:
    draw = np.random.default_rng(seed)
    right = draw.choice(["A", "B", "AB", "C"], 300, p=[0.5, 0.3, 0.05, 0.15]).tolist()
    replies = [one if draw.random() < 0.6 else str(draw.choice(["A", "B", "D", "无答案"])) for one in right]
    found = weighted_scores(right, replies)
    expected = precision_recall_fscore_support(right, replies, average="weighted", zero_division=0)
    assert [found[name].value for name in ("precision", "recall", "f1")] == pytest.approx(expected[:3], abs=1e-12)
    assert found["recall"].value == np.mean([a == b for a, b in zip(right, replies, strict=True)])
    assert all(one.low < one.value < one.high for one in found.values())


def test_mindless_responders_by_hand() -> None:
    options = {"A": "短", "B": "最长的一个", "C": "中等"}
    samples = [
        Sample(id="1", text="?", options=options, answer="B"),
        Sample(id="2", text="?", options={"A": "短", "B": "长一"}, answer="B"),
        Sample(id="3", text="?", options=options, answer="C"),
        Sample(id="4", text="?", options=options, answer="AB", multiple=True),
    ]
    found = {name: values["accuracy"] for name, values in mindless(samples).items()}
    assert found == pytest.approx(
        {
            "always A": 0, "always B": 0.5, "always C": 0.25, "majority": 0.5,
            "random": (1 / 3 + 1 / 2 + 1 / 3) / 4, "random letters": (1 / 3 + 1 / 2 + 1 / 3 + 1 / 7) / 4,
            "longest option": 0.5,
        }
    )  # fmt: skip


def test_calibration_by_hand() -> None:
    assert calibration_error([1.0, 1.0], [1, 1]).value == 0
    assert calibration_error([0.9] * 10, [1] * 5 + [0] * 5).value == pytest.approx(0.4)
    bins = calibration_bins([0.05, 0.95, 1.0], [0, 1, 0])
    assert list(bins) == ["0.0–0.1", "0.9–1.0"]
    assert (bins["0.9–1.0"]["accuracy"].value, bins["0.9–1.0"]["n"].value) == (0.5, 2)
    draw = np.random.default_rng(0)
    sure, hit = draw.random(500), draw.random(500) < 0.5
    places = np.minimum((sure * 10).astype(int), 9)
    naive = sum(abs(hit[places == n].mean() - sure[places == n].mean()) * (places == n).mean() for n in range(10))
    found = calibration_error(sure.tolist(), hit.astype(float).tolist())
    assert found.value == pytest.approx(naive, abs=1e-12) and found.low <= found.value <= found.high
    for confidence, right in (([], []), ([0.5], [1, 0]), ([1.5], [1])):
        with pytest.raises(InputError, match="within 0 and 1"):
            calibration_error(confidence, right)


def test_notes() -> None:
    lost = ONE.model_copy(update={"options": {"A": "肝", "C": "脾"}, "metadata": {"letters": "ABCDE"}})
    made, scores = judged("strict-v1", [lost], [Prediction(id="1", text="B")])
    assert scores[0].outcome == "correct"  # the letter is one of the examination, though its option is lost
    assert made.notes([lost], [Prediction(id="1", text="B")], scores) == [
        "1 of 1 questions lack the option that is right; they count"
    ]
    told = Prediction(id="1", logprobs={"A": -0.1})
    made, scores = judged("strict-v1", [SEVERAL], [told])
    assert scores[0].outcome == "wrong" and "name one" in made.notes([SEVERAL], [told], scores)[0]
    made, scores = judged("lm-eval", [ONE], [Prediction(id="1", text="B")])
    assert "no probabilities" in made.notes([ONE], [Prediction(id="1", text="B")], scores)[0]
    assert "compare with the paper's rows alone" in protocol("chimedgpt-legacy", "choice").warning
    there = {name.partition("/")[0] for name in PROTOCOLS.names() if name.endswith("/choice")}
    assert there == {*NAMES, "bbq-v1"}  # which has its own tests


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "noise", [lambda n: "答案" * n, lambda n: "答案:" + " " * n, lambda n: "A、" * n, lambda n: " \n" * n]
)
def test_reading_is_linear(name: str, noise: Callable[[int], str]) -> None:
    made = protocol(name, "choice")
    began = time.process_time()
    made.score(SEVERAL, Prediction(id="1", text=noise(50_000)))
    made.score(ONE, Prediction(id="1", text=noise(50_000)))
    assert time.process_time() - began < 1.5


def test_as_many_predictions_as_cmexam_has_are_scored_in_three_seconds() -> None:
    draw = random.Random(0)
    samples = [
        ONE.model_copy(update={"id": str(n), "answer": draw.choice("ABCDE"), "subject": str(n % 20)})
        for n in range(6811)
    ]
    spoken = [Prediction(id=str(n), text=f"答案是{draw.choice('ABCDE')}。") for n in range(6811)]
    weighed = [
        Prediction(id=str(n), logprobs={letter: math.log(draw.random() / 5) for letter in "ABCDE"}) for n in range(6811)
    ]
    for predictions in (spoken, weighed):
        began = time.process_time()
        made, scores = judged("strict-v1", samples, predictions)
        metrics = made.metrics(samples, predictions, scores)
        made.groups(samples, predictions, scores)
        assert time.process_time() - began < 3
        right = sum(one.said == two.answer for one, two in zip(scores, samples, strict=True))
        assert metrics["accuracy"].value == right / 6811
        assert bool(re.search("calibration", " ".join(metrics))) is (predictions is weighed)
