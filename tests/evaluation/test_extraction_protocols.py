"""Extraction: how replies become places, what each reply is worth, and how the counts add up."""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimed_rag.errors import MissingExtraError
from chimed_rag.evaluation.metrics.spans import Place
from chimed_rag.evaluation.protocols.base import Protocol, protocol
from chimed_rag.evaluation.protocols.extraction import located
from chimed_rag.evaluation.samples import Entity, Prediction, Sample, Score

TEXT = "胃癌术后，胃痛，口服奥美拉唑。"
TYPES = ["疾病", "部位", "药物"]
GOLD = (
    Entity(text="胃癌", type="疾病", start=0, end=2),
    Entity(text="胃", type="部位", start=5, end=6),
    Entity(text="奥美拉唑", type="药物", start=10, end=14),
)


def sample(number: int = 1, entities: Sequence[Entity] = GOLD, text: str = TEXT, group: str = "") -> Sample:
    return Sample(id=str(number), text=text, entities=tuple(entities), group=group, metadata={"types": [*TYPES]})


def scored(reply: str | Prediction, name: str = "strict-v1", one: Sample | None = None) -> Score:
    said = reply if isinstance(reply, Prediction) else Prediction(id="1", text=reply)
    return protocol(name, "extraction").score(one or sample(), said)


def counts(score: Score) -> tuple[float, float, float]:
    return score.values["tp"], score.values["fp"], score.values["fn"]


def test_the_prompt_names_types_and_text() -> None:
    [message] = protocol("strict-v1", "extraction").messages(sample(), ["无关的段落"])
    assert "疾病、部位、药物。" in message["content"]
    assert f"文本：{TEXT}" in message["content"]
    assert "无关" not in message["content"]


@pytest.mark.parametrize(
    ("reply", "outcome", "expected"),
    [
        ("胃癌 疾病\n胃 部位\n奥美拉唑 药物", "scored", (3, 0, 0)),
        ("- 奥美拉唑：药物\n- 胃：部位\n- 胃癌：疾病", "scored", (3, 0, 0)),
        ("胃癌 疾病\n胃癌 疾病", "scored", (1, 0, 2)),
        ("胃癌 部位", "scored", (0, 1, 3)),
        ("阿司匹林 药物\n胃癌 疾病", "scored", (1, 1, 2)),
        ("无", "scored", (0, 0, 3)),
        ("<think>没有</think>无。", "scored", (0, 0, 3)),
        ("", "invalid", (0, 0, 3)),
        ("我无法回答这个问题。", "invalid", (0, 0, 3)),
        ("胃癌 诊断", "invalid", (0, 0, 3)),
    ],
)
def test_replies(reply: str, outcome: str, expected: tuple[int, int, int]) -> None:
    score = scored(reply)
    assert (score.outcome, counts(score)) == (outcome, expected)


def test_a_failure_finds_nothing_and_counts() -> None:
    score = scored(Prediction(id="1", text="胃癌 疾病", error="timeout: 10 s"))
    assert (score.outcome, counts(score)) == ("error", (0, 0, 3))
    assert counts(scored(Prediction(id="1", error="timeout: 10 s"), "chimedgpt-legacy")) == (0, 0, 3)


def test_places_that_a_system_marks_are_taken_as_given() -> None:
    wrong = Entity(text="胃癌", type="疾病", start=0, end=3)
    assert counts(scored(Prediction(id="1", entities=(*GOLD[1:], wrong)))) == (2, 1, 1)
    nothing = scored(Prediction(id="1", text="胃癌 疾病", entities=()))
    assert (nothing.outcome, counts(nothing)) == ("scored", (0, 0, 3))


def test_names_without_a_place_are_located() -> None:
    assert located(TEXT, [("胃", "部位")]) == ({Place("部位", 0, 1), Place("部位", 5, 6)}, {})
    assert located(TEXT, [("胃", "部位"), ("胃癌", "疾病")])[0] == {Place("疾病", 0, 2), Place("部位", 5, 6)}
    assert located("上呼吸道感染", [("呼吸道", "部位"), ("上呼吸道感染", "疾病")])[0] == {
        Place("部位", 1, 4),
        Place("疾病", 0, 6),
    }
    assert located("啊啊啊", [("啊啊", "x")])[0] == {Place("x", 0, 2)}
    assert located(TEXT, [("阿司匹林", "药物"), ("阿司匹林", "疾病"), ("", "药物")]) == (
        frozenset(),
        {"药物": 2, "疾病": 1},
    )


@given(st.lists(st.tuples(st.sampled_from(["胃", "胃癌", "痛", "肝"]), st.sampled_from(TYPES))), st.randoms())
def test_the_order_of_a_reply_makes_no_difference(names: list[tuple[str, str]], any_: random.Random) -> None:
    assert located(TEXT, names) == located(TEXT, any_.sample(names, len(names)))


def test_a_run_by_hand() -> None:
    strict = protocol("strict-v1", "extraction")
    samples = [sample(1), sample(2), sample(3, [], "无事。")]
    replies = ["胃癌 疾病\n阿司匹林 药物", "没有听懂", "无"]
    predictions = [Prediction(id=one.id, text=reply) for one, reply in zip(samples, replies, strict=True)]
    scores = [strict.score(*pair) for pair in zip(samples, predictions, strict=True)]
    found = strict.metrics(samples, predictions, scores)
    assert next(iter(found)) == "f1"
    # Right 1 of 2 said; 6 marked.
    expected = {"f1": 2 / (2 + 1 + 5), "precision": 1 / 2, "recall": 1 / 6, "not_in_text": 1 / 2, "invalid": 1 / 3}
    assert {name: one.value for name, one in found.items()} == pytest.approx(expected)
    groups = strict.groups(samples, predictions, scores)
    assert groups["疾病"]["f1"].value == pytest.approx(2 / 3)
    assert groups["药物"]["recall"].value == groups["部位"]["f1"].value == 0
    for name in ("tp", "fp", "fn"):  # what is not in the text counts for its type too
        by_type = sum(value for score in scores for key, value in score.values.items() if key.startswith(f"{name}:"))
        assert by_type == sum(score.values[name] for score in scores)
    if sys.version_info >= (3, 11):  # as nervaluate needs
        assert groups["nervaluate strict"]["recall"].value == pytest.approx(1 / 6)
        assert groups["nervaluate strict"]["precision"].value == 1
    assert strict.notes(samples, predictions, scores) == [
        "1 names that were said are not in their texts; each counts as a false positive"
    ]
    turned = [list(reversed(one)) for one in (samples, predictions, scores)]
    assert strict.metrics(*turned)["f1"].value == found["f1"].value


def test_legacy_counts_words_not_places() -> None:
    repeated = sample(1, [*GOLD, Entity(text="胃", type="部位", start=0, end=1)])
    legacy = protocol("chimedgpt-legacy", "extraction")
    assert "not that of CCKS-2019" in legacy.warning
    # 胃 stands twice and counts once; a third field is cut off; a line of one field is nothing.
    score = scored("胃 部位\n胃 部位 其他\n胃癌 诊断\n奥美拉唑", "chimedgpt-legacy", repeated)
    assert (score.outcome, counts(score)) == ("scored", (1, 1, 2))
    by_places = scored(Prediction(id="1", entities=GOLD), "chimedgpt-legacy", repeated)
    assert counts(by_places) == (3, 0, 0)
    assert counts(scored("", "chimedgpt-legacy", repeated)) == (0, 0, 3)
    assert legacy.metrics([repeated], [Prediction(id="1")], [score])["f1"].value == pytest.approx(2 / 5)


def test_without_nervaluate_the_types_remain(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise MissingExtraError("nervaluate", "evaluation")

    monkeypatch.setattr("chimed_rag.evaluation.protocols.extraction.schemes", missing)
    strict: Protocol = protocol("strict-v1", "extraction")
    said = Prediction(id="1", text="无")
    assert set(strict.groups([sample()], [said], [strict.score(sample(), said)])) == set(TYPES)


def test_moved_and_nested_entities_are_told() -> None:
    strict = protocol("strict-v1", "extraction")
    odd = sample(1, [GOLD[0], Entity(text="胃", type="部位", start=0, end=1)])
    odd = odd.model_copy(update={"metadata": {**odd.metadata, "moved": 2}})
    said = Prediction(id="1", text="无")
    moved, nested = strict.notes([odd, sample(2)], [said, said], [strict.score(odd, said)] * 2)
    assert moved.startswith("2 entities of the data")
    assert nested.startswith("1 of 2 texts")
