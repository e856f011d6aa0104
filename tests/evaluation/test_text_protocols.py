"""How open questions and doctors' turns are asked for and judged."""

from __future__ import annotations

import pytest

pytest.importorskip("sacrebleu")
pytest.importorskip("rouge_score")
pytest.importorskip("rouge")
pytest.importorskip("scipy")

from chimed_rag.errors import InputError
from chimed_rag.evaluation.protocols.base import Protocol, protocol
from chimed_rag.evaluation.protocols.texts import StrictTexts, strangers
from chimed_rag.evaluation.samples import Prediction, Sample, Score
from chimed_rag.evaluation.statistics import Interval

ANSWERS = ("多喝水，注意休息。", "布洛芬每次0.2g，一日三次。", "建议做胃镜检查。", "可以吃，饭后服用。", "先观察三天。")
SAMPLES = [
    Sample(
        id=f"q{n}",
        text=f"第{n}个问题怎么办，要休息吗？",
        references=(answer,),
        group=f"g{n // 2}",
        subject="内科" if n else "外科",
    )
    for n, answer in enumerate(ANSWERS)
]
NAMES = ["rougeL", "rouge1", "rouge2", "bleu1", "bleu2", "bleu4", "length_ratio", "empty"]
LEGACY = ["B-1", "B-2", "R-1", "R-2", "R-L"]


def said(*replies: str) -> list[Prediction]:
    return [Prediction(id=sample.id, text=reply) for sample, reply in zip(SAMPLES, replies, strict=True)]


def judged(
    by: Protocol, samples: list[Sample], predictions: list[Prediction]
) -> tuple[list[Score], dict[str, Interval]]:
    scores = [by.score(sample, prediction) for sample, prediction in zip(samples, predictions, strict=True)]
    return scores, by.metrics(samples, predictions, scores)


@pytest.mark.parametrize(("name", "names"), [("strict-v1", NAMES), ("chimedgpt-legacy", LEGACY)])
def test_the_references_themselves_score_one_and_errors_and_nothing_zero(name: str, names: list[str]) -> None:
    by = protocol(name, "open_qa")
    scores, found = judged(by, SAMPLES, said(*ANSWERS))
    assert [score.outcome for score in scores] == ["scored"] * 5
    assert list(found) == names
    assert all(found[metric].value == pytest.approx(1, abs=1e-7) for metric in names if metric != "empty")

    nothing = [
        *said(*ANSWERS)[:3],
        Prediction(id="q3", text=" \n"),
        Prediction(id="q4", text="先观察", error="timeout: 60 s"),
    ]
    scores, half = judged(by, SAMPLES, nothing)
    assert [score.outcome for score in scores] == ["scored"] * 3 + ["invalid", "error"]
    assert half[names[2]].value == pytest.approx(3 / 5, abs=1e-7)  # all five count
    if name == "strict-v1":
        assert half["empty"].value == 1 / 5
        assert half["bleu1"].value < 1  # the two that say nothing are missing in the length


@pytest.mark.parametrize("name", ["strict-v1", "chimedgpt-legacy"])
def test_the_order_of_samples_makes_no_difference(name: str) -> None:
    by = protocol(name, "dialogue")
    predictions = said("多喝水。", "每次0.2g", "", "可以吃，饭后服用。", "观察两天")
    _, forward = judged(by, SAMPLES, predictions)
    _, backward = judged(by, SAMPLES[::-1], predictions[::-1])
    assert forward == backward
    assert by.baselines(SAMPLES)["shuffled"] == pytest.approx(by.baselines(SAMPLES[::-1])["shuffled"])


def test_what_stands_around_an_answer_is_taken_off_and_marks_where_there_were_passages() -> None:
    by = protocol("strict-v1", "open_qa")
    reply = "<think>想一想</think>回答：多喝水，注意休息。[1][2]"
    shown = Prediction(id="q0", text=reply, passages=("多喝水",))
    assert by.score(SAMPLES[0], shown).said == "多喝水，注意休息。"
    assert by.score(SAMPLES[0], shown).values["rougeL"] == 1
    assert by.score(SAMPLES[0], Prediction(id="q0", text=reply)).said == "多喝水，注意休息。[1][2]"


def test_the_best_of_several_references_counts_and_legacy_takes_each_as_a_pair() -> None:
    sample = Sample(id="a", text="？", references=("多喝水", "少吃盐"))
    prediction = [Prediction(id="a", text="多喝水")]
    assert judged(protocol("strict-v1", "open_qa"), [sample], prediction)[1]["rouge1"].value == 1
    legacy = protocol("chimedgpt-legacy", "open_qa")
    assert judged(legacy, [sample], prediction)[1]["R-1"].value == pytest.approx(1 / 2, abs=1e-7)
    other = Sample(id="b", text="？", references=("多喝水",))
    _, three = judged(legacy, [sample, other], [*prediction, Prediction(id="b", text="多喝水")])
    assert three["R-1"].value == pytest.approx(2 / 3, abs=1e-7)  # two of three pairs
    assert "3 pairs of 2 samples" in legacy.notes([sample, other], [], [Score(id=i, outcome="scored") for i in "ab"])[0]


def test_prompts() -> None:
    turns = ({"role": "user", "content": "我发烧了"}, {"role": "assistant", "content": "几天了？"})
    sample = Sample.model_validate({"id": "d", "text": "三天", "turns": turns, "references": ("吃药",)})
    strict, legacy = protocol("strict-v1", "dialogue"), protocol("chimedgpt-legacy", "dialogue")
    told = strict.messages(sample)
    assert [one["role"] for one in told] == ["system", "user", "assistant", "user"]
    assert legacy.messages(sample) == [*turns, {"role": "user", "content": "三天"}]
    assert "五句" in protocol("strict-v1", "open_qa").messages(SAMPLES[0])[-1]["content"]
    shown = protocol("strict-v1", "open_qa").messages(SAMPLES[0], ["多喝水。", "多休息。"])[-1]["content"]
    assert "[1] 多喝水。\n[2] 多休息。" in shown
    assert SAMPLES[0].text in shown
    with pytest.raises(InputError, match="strict-v1"):
        legacy.messages(sample, ["多喝水"])


def test_baselines_and_what_a_reader_must_know() -> None:
    strict = protocol("strict-v1", "open_qa")
    found = strict.baselines(SAMPLES)
    assert set(found) == {"question", "shuffled", "empty"}
    assert set(found["empty"].values()) == {0.0}
    loners = [sample.model_copy(update={"group": ""}) for sample in SAMPLES]
    assert strict.baselines(loners)["shuffled"]["length_ratio"] == 1  # the same texts, in another order
    assert 0 < found["question"]["rouge1"] < 0.4

    predictions = [*said(*ANSWERS)[:4], Prediction(id="q4", text="所给文献没有说明。", finish="length")]
    scores, _ = judged(strict, SAMPLES, predictions)
    notes = "\n".join(strict.notes(SAMPLES, predictions, scores))
    assert "tok:zh" in notes
    assert "1 of 5 replies ended at a limit" in notes
    assert "1 of 5 replies say that the passages do not answer" in notes


def test_legacy_says_loudly_what_its_numbers_are_and_what_nothing_scores() -> None:
    legacy = protocol("chimedgpt-legacy", "open_qa")
    assert "NOT BLEU" in legacy.warning
    scores, _ = judged(legacy, SAMPLES, said(*ANSWERS))
    assert any(
        "given to another sample, score B-1 0." in note for note in legacy.notes(SAMPLES, said(*ANSWERS), scores)
    )
    # The bare question: nothing of the answers is in it, and B-1 is far above what BLEU gives.
    assert (
        legacy.baselines(SAMPLES)["question"]["B-1"]
        > 3 * StrictTexts("open_qa").baselines(SAMPLES)["question"]["bleu2"]
    )


def test_a_stranger_is_of_another_group_and_each_is_drawn_alike() -> None:
    places = strangers(SAMPLES)
    assert all(SAMPLES[place].group != sample.group for place, sample in zip(places, SAMPLES, strict=True))
    loners = [Sample(id=str(n), text="？", references=("。",)) for n in range(50)]
    assert sorted(strangers(loners)) == list(range(50))  # each once
    assert strangers(loners) != strangers(loners, seed=1)
    assert strangers(SAMPLES[:2]) == []
    assert "shuffled" not in protocol("strict-v1", "open_qa").baselines(SAMPLES[:2])


def test_groups_by_subject() -> None:
    strict = protocol("strict-v1", "open_qa")
    predictions = said("", *ANSWERS[1:])
    scores, _ = judged(strict, SAMPLES, predictions)
    found = strict.groups(SAMPLES, predictions, scores)
    assert {name: one["rougeL"].value for name, one in found.items()} == {"内科": 1, "外科": 0}
    assert strict.groups(SAMPLES[1:], predictions[1:], scores[1:]) == {}


def test_a_sample_without_a_reference_is_an_error() -> None:
    for name in ("strict-v1", "chimedgpt-legacy"):
        with pytest.raises(InputError, match="'x' has no reference"):
            protocol(name, "open_qa").score(Sample(id="x", text="？"), Prediction(id="x", text="。"))
