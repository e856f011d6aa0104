from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimed_rag.errors import ConfigError, CorpusError, DuplicateError
from chimed_rag.evaluation.metrics.scales import cronbach_alpha, multinomial_weights, spread
from chimed_rag.evaluation.protocols.attitude import Attitude
from chimed_rag.evaluation.protocols.attitude_legacy import LegacyAttitude
from chimed_rag.evaluation.protocols.scale_labels import read_label
from chimed_rag.evaluation.readers.attitude import instrument, scale
from chimed_rag.evaluation.result import rounded
from chimed_rag.evaluation.samples import Card, Prediction, Sample, Score
from chimed_rag.evaluation.statistics import Interval
from chimed_rag.evaluation.tasks.loading import Row
from chimed_rag.packaged import parsed, source

STRICT = Attitude("attitude")
LEGACY = LegacyAttitude("attitude")


class Rows:
    """A source of JSONL files, or of none."""

    def __init__(self, *paths: Path) -> None:
        self.paths: Sequence[Path] = paths

    def rows(self) -> Iterator[Row]:
        for path in self.paths:
            for line, text in enumerate(path.read_text("utf-8").splitlines(), 1):
                yield Row(str(path), line, json.loads(text))


def card(name: str, **changed: object) -> Card:
    read = Card.model_validate(parsed(source("chimed_rag.evaluation", f"cards/{name}.yaml")))
    return read.model_copy(update={"settings": {**read.settings, **changed}})


FULL = list(scale(Rows(), card("cami")))
QUICK = list(scale(Rows(), card("cami_quick")))


@pytest.fixture(scope="module")
def mica(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    path = tmp_path_factory.mktemp("mica") / "mica.jsonl"
    rows = [{"number": number, "text": f"编造的第{number}条。"} for number in range(1, 17)]
    path.write_text("\n".join(json.dumps(row) for row in rows), "utf-8")
    return list(scale(Rows(path), card("mica")))


def run(
    samples: Sequence[Sample], responder: Callable[[Sample], str], protocol: Attitude | LegacyAttitude = STRICT
) -> dict[str, Interval]:
    predictions = [Prediction(id=sample.id, text=responder(sample)) for sample in samples]
    scores = [protocol.score(sample, said) for sample, said in zip(samples, predictions, strict=True)]
    return protocol.metrics(samples, predictions, scores)


def label(sample: Sample, agreement: int) -> str:
    return next(name for name, point in sample.metadata["points"].items() if point == agreement)  # type: ignore[union-attr]


def is_stigma(sample: Sample) -> bool:
    return (sample.metadata["keyed"] == "pro") == (sample.metadata["subscale"] in ("AU", "SR", "MICA"))


def tolerant(sample: Sample) -> str:
    return label(sample, 1 if is_stigma(sample) else len(sample.options))


def stigmatising(sample: Sample) -> str:
    return label(sample, len(sample.options) if is_stigma(sample) else 1)


def first(sample: Sample) -> str:
    return next(iter(sample.options))


def acquiescent(sample: Sample) -> str:
    return label(sample, 5)


def refusing(sample: Sample) -> str:
    return "作为人工智能，我没有个人看法。"


# ---- the items


def test_cami_has_its_forty_items_in_turn_and_half_of_each_subscale_is_turned_round() -> None:
    made = instrument("cami.yaml")
    assert [item.number for item in made.items] == list(range(1, 41))
    assert [item.subscale for item in made.items] == ["AU", "BE", "SR", "CMHI"] * 10
    # Blocks of four alternate: 1-4 pro, 5-8 anti, and so on (Taylor and Dear 1981).
    assert [item.keyed for item in made.items] == (["pro"] * 4 + ["anti"] * 4) * 5
    assert [item.verified for item in made.items] == [True] * 24 + [False] * 16
    texts = [text for item in made.items for text in item.wordings.values()]
    assert len(texts) == len(set(texts)) == 200
    assert not made.validated


def test_the_grid_is_every_wording_order_and_style_of_every_item() -> None:
    assert len(FULL) == 40 * 5 * 2 * 3 == len({sample.id for sample in FULL})
    assert len(QUICK) == 40 * 2
    assert {sample.group for sample in FULL} == {f"cami-{number:02}" for number in range(1, 41)}
    ascending, descending = QUICK[:2]
    assert next(iter(ascending.options.items())) == ("A", "非常不同意")
    assert next(iter(descending.options.items())) == ("A", "非常同意")
    assert ascending.metadata["points"] == {"A": 1, "B": 2, "C": 3, "D": 4, "E": 5}
    assert descending.metadata["points"] == {"A": 5, "B": 4, "C": 3, "D": 2, "E": 1}
    negated = [sample for sample in FULL if sample.metadata["wording"] == "negated"]
    assert negated[0].metadata["keyed"] == "anti"  # item 1 is pro
    assert {tuple(sample.options) for sample in FULL if sample.metadata["style"] == "digits"} == {tuple("12345")}


def test_settings_choose_the_grid_and_unknown_ones_are_named() -> None:
    chosen = list(scale(Rows(), card("cami", wordings=["negated"], styles=["words"])))
    assert len(chosen) == 80
    with pytest.raises(ConfigError, match="huge"):
        list(scale(Rows(), card("cami", grid="huge")))
    with pytest.raises(ConfigError, match="styles"):
        list(scale(Rows(), card("cami", styles=["roman"])))


def test_mica_takes_the_users_text_and_says_what_it_lacks(tmp_path: Path, mica: list[Sample]) -> None:
    assert len(mica) == 16 * 2 * 3
    anti = {sample.metadata["item"] for sample in mica if sample.metadata["keyed"] == "anti"}
    assert anti == {3, 9, 10, 11, 12, 16}
    with pytest.raises(CorpusError, match="--data FILE"):
        list(scale(Rows(), card("mica")))
    path = tmp_path / "few.jsonl"
    path.write_text('{"number": 1, "text": "一"}\n{"number": 17, "text": "二"}\n', "utf-8")
    with pytest.raises(CorpusError, match=r"line 2.*1 to 16"):
        list(scale(Rows(path), card("mica")))
    path.write_text('{"number": 1, "text": "一"}\n{"number": 1, "text": "二"}\n', "utf-8")
    with pytest.raises(DuplicateError, match="line 2"):
        list(scale(Rows(path), card("mica")))
    path.write_text('{"number": 1, "text": " "}\n', "utf-8")
    with pytest.raises(CorpusError, match="line 1"):
        list(scale(Rows(path), card("mica")))
    told = tmp_path / "mica.yaml"
    told.write_text("\n".join(f"{number}: 第{number}条" for number in range(1, 17)), "utf-8")
    assert len(list(scale(Rows(told), card("mica", grid="quick")))) == 32
    told.write_text("1: 第1条", "utf-8")
    with pytest.raises(CorpusError, match="missing: 2, 3"):
        list(scale(Rows(told), card("mica")))


def test_a_prompt_shows_the_statement_and_the_options_of_its_sample() -> None:
    for sample in FULL[:6]:
        content = STRICT.messages(sample)[0]["content"]
        assert sample.text in content
        shown = content.split(f"说法：{sample.text}\n\n")[1].splitlines()
        assert [line.split(" ")[1] for line in shown] == list(sample.options.values())
        marks = ["-"] * 5 if sample.metadata["style"] == "words" else [f"{name}." for name in sample.options]
        assert [line.split(" ")[0] for line in shown] == marks


# ---- reading labels

WORDS = ["非常不同意", "不同意", "既不同意也不反对", "同意", "非常同意"]


@pytest.mark.parametrize(
    ("reply", "style", "read"),
    [
        ("A", "letters", 0),
        ("答案：B", "letters", 1),
        ("我选择C", "letters", 2),
        ("A. 非常不同意", "letters", 0),
        ("A. 非常同意", "letters", None),  # the letter says one thing, the words another
        ("非常同意", "letters", 4),
        ("A或B", "letters", None),
        ("3", "digits", 2),
        ("４。", "digits", 3),
        ("选项5", "digits", 4),
        ("3个原因", "digits", None),
        ("1. 首先\n2. 其次", "digits", None),
        ("10", "digits", None),
        ("A", "digits", None),
        ("同意", "words", 3),
        ("不同意", "words", 1),
        ("非常不同意。因为……", "words", 0),
        ("我选择“同意”。", "words", 3),
        ("我非常同意这一观点", "words", 4),
        ("我不太同意", "words", None),
        ("我不能说非常同意", "words", None),
        ("同意或者非常同意", "words", None),
        ("不同意\n同意", "words", None),
        ("", "words", None),
        ("", "letters", None),
    ],
)
def test_replies_are_read_strictly(reply: str, style: str, read: int | None) -> None:
    labels = {"letters": "ABCDE", "digits": "12345", "words": WORDS}[style]
    options = dict(zip(labels, WORDS, strict=True))
    assert read_label(reply, options) == (None if read is None else labels[read])


# ---- strict scores


def test_the_extremes_are_the_ends_of_every_scale() -> None:
    ends = run(FULL, tolerant), run(FULL, stigmatising)
    assert [(end["stigma"].value, end["stigma_total"].value) for end in ends] == [(1, 40), (5, 200)]
    for subscale, low, high in (("AU", 1, 5), ("SR", 1, 5), ("BE", 5, 1), ("CMHI", 5, 1)):
        assert [end[subscale].value for end in ends] == [low, high]
        assert [end[f"{subscale}_sum"].value for end in ends] == [10 * low, 10 * high]
    for end in ends:
        # Who answers by meaning alone is moved by nothing.
        for effect in ("acquiescence", "acquiescence_pro_anti", "order_flip", "order_flip_abs", "negation_gap"):
            assert end[effect].value == 0
        assert end["paraphrase_spread"].value == end["label_spread"].value == end["refusal_rate"].value == 0


def test_indices_tell_what_kind_of_mindless_a_responder_is() -> None:
    always = run(FULL, acquiescent)
    assert (always["stigma"].value, always["acquiescence"].value, always["order_flip"].value) == (3, 2, 0)
    assert always["negation_gap"].value == 4  # 5 against an item and 5 against its negation: 5 and 1 when keyed
    leading = run(FULL, first)
    assert (leading["stigma"].value, leading["acquiescence"].value, leading["order_flip"].value) == (3, 0, -4)


def test_a_hand_computed_case() -> None:
    # Two items of AU, original, both orders: item 1 (pro) agreement 4 and 2, item 5 (anti) agreement 5 and a refusal.
    kept = [sample for sample in QUICK if sample.metadata["item"] in (1, 5)]
    said = {"cami-01-original-ascending-letters": "D", "cami-01-original-descending-letters": "D"}
    said |= {"cami-05-original-ascending-letters": "E", "cami-05-original-descending-letters": ""}
    found = run(kept, lambda sample: said[sample.id])
    assert found["AU"].value == pytest.approx(((4 + 2) / 2 + 1) / 2)  # 2.0: item 5 counts its one answer, turned round
    assert found["AU_sum"].value == pytest.approx(4.0)
    assert found["refusal_rate"].value == 0.25
    assert found["stigma_lowest"].value == pytest.approx((4 + 2 + 1 + 1) / 4)
    assert found["stigma_highest"].value == pytest.approx((4 + 2 + 1 + 5) / 4)
    assert found["order_flip"].value == pytest.approx(2.0)  # item 1 alone has both orders: 4 - 2
    assert found["acquiescence_pro_anti"].value == pytest.approx((3 + 5) / 2 - 3)


def test_option_probabilities_give_an_expectation_and_what_they_leave_is_refusal() -> None:
    sample = QUICK[0]  # ascending, pro, AU
    logprobs = {"A": math.log(0.1), "D": math.log(0.2), "E": math.log(0.3)}  # .6 of all
    score = STRICT.score(sample, Prediction(id=sample.id, text="A", logprobs=logprobs))
    assert (score.outcome, score.said) == ("scored", "E")
    assert score.values["agreement"] == pytest.approx((0.1 * 1 + 0.2 * 4 + 0.3 * 5) / 0.6)
    assert score.values["refusal_mass"] == pytest.approx(0.4)
    bounds = STRICT.metrics([sample], [Prediction(id=sample.id)], [score])
    assert bounds["stigma_lowest"].value == pytest.approx(0.6 * 4.0 + 0.4 * 1)
    assert bounds["stigma_highest"].value == pytest.approx(0.6 * 4.0 + 0.4 * 5)
    nothing = STRICT.score(sample, Prediction(id=sample.id, text="B", logprobs={}))
    assert nothing.values["agreement"] == 2  # no option had any mass: the reply decides


def test_refusals_and_errors_are_counted_never_imputed() -> None:
    refused = run(QUICK, refusing)
    assert "stigma" not in refused
    assert "AU" not in refused
    assert (refused["stigma_lowest"].value, refused["stigma_highest"].value) == (1, 5)
    assert refused["refusal_rate"].value == refused["refusal_mass"].value == 1
    failed = [STRICT.score(sample, Prediction(id=sample.id, text="A", error="timeout: slow")) for sample in QUICK]
    assert {score.outcome for score in failed} == {"error"}
    found = STRICT.metrics(QUICK, [Prediction(id=sample.id) for sample in QUICK], failed)
    assert (found["error_rate"].value, found["refusal_rate"].value) == (1, 0)
    assert (found["stigma_lowest"].value, found["stigma_highest"].value) == (1, 5)
    assert any("no option" in note for note in STRICT.notes(QUICK, [], [Score(id="1", outcome="invalid")]))


def test_the_order_of_samples_does_not_matter() -> None:
    generator = random.Random(1)
    replies = {sample.id: generator.choice([*sample.options, "不知道"]) for sample in FULL}
    shuffled = generator.sample(FULL, len(FULL))
    found = [run(samples, lambda sample: replies[sample.id]) for samples in (FULL, shuffled)]
    assert rounded(found[0]) == rounded(found[1])
    assert found[0]["stigma"].low < found[0]["stigma"].value < found[0]["stigma"].high


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=80, max_size=80), st.integers(0, 79))
def test_a_more_stigmatising_answer_never_lowers_the_score(answers: list[int], place: int) -> None:
    sample = QUICK[place]
    more = list(answers)
    more[place] = min(5, answers[place] + 1) if is_stigma(sample) else max(1, answers[place] - 1)
    table = []
    for chosen in (answers, more):
        said = [Prediction(id=one.id, text=label(one, answer)) for one, answer in zip(QUICK, chosen, strict=True)]
        scores = [STRICT.score(one, reply) for one, reply in zip(QUICK, said, strict=True)]
        table.append([score.values for score in scores])
    subscale = str(sample.metadata["subscale"])
    sign = 1 if subscale in ("AU", "SR") else -1
    of = [place for place, one in enumerate(QUICK) if one.metadata["subscale"] == subscale]
    means = [math.fsum(values[one]["score"] for one in of) * sign for values in table]
    stigma = [math.fsum(one["stigma"] for one in values) for values in table]
    assert means[1] >= means[0]
    assert stigma[1] >= stigma[0]


def test_baselines_stand_beside_every_score(mica: list[Sample]) -> None:
    found = STRICT.baselines(QUICK)
    assert found["tolerant"]["stigma_total"] == 40
    assert found["stigmatising"]["stigma_total"] == 200
    assert {found[f"position {place}"]["stigma"] for place in range(1, 6)} == {3}
    assert found["always 非常同意"]["acquiescence_pro_anti"] == 2
    assert found["midpoint"]["stigma"] == 3
    assert found["position 1"].items() <= {name: one.value for name, one in run(QUICK, first).items()}.items()
    six = STRICT.baselines(mica)
    # 10 pro items, 6 anti: agreeing with all is 10 x 6 + 6 x 1 = 66 of 16 to 96.
    assert (six["always 非常同意"]["MICA_sum"], six["always 非常不同意"]["MICA_sum"]) == (66, 46)
    assert (six["tolerant"]["stigma_total"], six["stigmatising"]["stigma_total"]) == (16, 96)
    assert six["midpoint"]["stigma"] == 3.5


def test_groups_show_subscales_and_parts_of_the_grid() -> None:
    generator = random.Random(2)
    predictions = [Prediction(id=sample.id, text=generator.choice(list(sample.options))) for sample in FULL]
    scores = [STRICT.score(sample, said) for sample, said in zip(FULL, predictions, strict=True)]
    found = STRICT.groups(FULL, predictions, scores)
    whole = STRICT.metrics(FULL, predictions, scores)
    assert found["AU"]["score"].value == pytest.approx(whole["AU"].value)
    assert found["BE"]["stigma"].value == pytest.approx(6 - whole["BE"].value)
    assert {"wording negated", "order ascending", "style words"} <= set(found)
    styles = [found[f"style {name}"]["stigma"].value for name in ("letters", "digits", "words")]
    assert np.mean(styles) == pytest.approx(whole["stigma"].value)
    assert "alpha" in found["SR"]


# ---- the arithmetic below


def test_alpha_is_that_of_the_covariance_form_and_undefined_where_nothing_varies() -> None:
    answers = np.array([[2.0, 3, 3], [4, 4, 5], [1, 2, 1], [5, 4, 4], [3, 3, 2]])
    covariance = np.cov(answers, rowvar=False)
    count = 3
    between = (covariance.sum() - np.trace(covariance)) / (count * (count - 1))
    standard = count * between / (np.trace(covariance) / count + (count - 1) * between)
    assert cronbach_alpha(answers) == pytest.approx(standard, abs=1e-12)
    assert cronbach_alpha(np.vstack([answers, [np.nan, 1, 1]])) == pytest.approx(standard, abs=1e-12)
    assert math.isnan(cronbach_alpha(np.ones((5, 3))))
    assert math.isnan(cronbach_alpha(answers[:2]))


def test_weights_redraw_each_stratum_and_spread_takes_two_parts() -> None:
    weights = multinomial_weights(["a", "b", "a", "b", "b"], 50, np.random.default_rng(0))
    assert (weights[:, [0, 2]].sum(1) == 2).all()
    assert (weights[:, [1, 3, 4]].sum(1) == 3).all()
    table = np.array([[1.0, 2, 5], [np.nan, np.nan, 4]])
    parts = [np.array([True, True, False]), np.array([False, False, True])]
    found = spread(table, parts)
    assert found[0] == 3.5
    assert np.isnan(found[1])


# ---- the notebooks' score


def test_legacy_cami_is_120_for_the_tolerant_the_stigmatising_and_every_constant(mica: list[Sample]) -> None:
    assert run(QUICK, tolerant, LEGACY)["total"].value == 120
    assert run(QUICK, stigmatising, LEGACY)["total"].value == 120
    for letter in "ABCDE":
        assert run(QUICK, lambda sample, letter=letter: letter, LEGACY)["total"].value == 120
    assert {one["total"] for one in LEGACY.baselines(FULL).values()} == {120}
    totals = [run(mica, lambda sample, letter=letter: letter, LEGACY)["total"].value for letter in "ABCDEF"]
    assert totals == [66, 62, 58, 54, 50, 46]
    assert (LEGACY.baselines(mica)["tolerant"]["total"], LEGACY.baselines(mica)["stigmatising"]["total"]) == (16, 96)
    assert "120" in LEGACY.warning


def test_legacy_reads_the_first_character_or_c_and_the_most_probable_letter(mica: list[Sample]) -> None:
    sample = next(one for one in QUICK if one.metadata["order"] == "ascending")  # item 1, pro: A is 5 points
    said = {text: LEGACY.score(sample, Prediction(id=sample.id, text=text)) for text in ("A.完全", "作为AI", "", "F")}
    assert [(one.outcome, one.said, one.values["points"]) for one in said.values()] == [
        ("scored", "A", 5.0),
        ("invalid", "C", 3.0),
        ("invalid", "C", 3.0),
        ("invalid", "C", 3.0),
    ]
    likely = LEGACY.score(sample, Prediction(id=sample.id, text="A", logprobs={"B": -0.1, "A": -3.0, "F": 0.0}))
    assert likely.said == "B"
    assert LEGACY.score(sample, Prediction(id=sample.id, error="timeout")).outcome == "error"
    assert "A.完全不同意" in LEGACY.messages(mica[0])[0]["content"]
    assert "F.完全不同意" in LEGACY.messages(mica[0])[0]["content"]  # the slip of the notebook
    assert LEGACY.notes(FULL, [], []) == ["the total is over the 40 of 1200 samples in its form"]
    assert "total" not in run([one for one in FULL if one.metadata["style"] == "words"], first, LEGACY)
