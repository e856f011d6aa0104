"""MedQA as a system, with a model and without, over a small literature."""

from __future__ import annotations

import pytest

from chimed_rag import MedQA
from chimed_rag.errors import GeneratorError, InputError
from chimed_rag.evaluation.samples import Entity, Prediction, Sample
from chimed_rag.evaluation.systems import medqa as room
from chimed_rag.evaluation.systems.base import BatchSystem, open_system
from chimed_rag.generation.base import Message
from tests.asked import Telling, setting
from tests.scripted import ScriptedModel

ASKED = Sample(id="a", text="孕晚期能用布洛芬吗？")
UNKNOWN = Sample(id="u", text="白癜风怎么治？")
STEM = Sample(
    id="c",
    text="诊室血压达到多少可诊断为高血压",
    options={"A": "100/60mmHg", "B": "140/90mmHg", "C": "120/80mmHg", "D": "布洛芬对乙酰氨基酚"},
    answer="B",
)


def opened(name, samples, kind, index=None, generator=None, **more):
    system = open_system(name, setting(samples, kind, index=index, generator=generator, **more))
    assert isinstance(system, BatchSystem)
    return system


def untimed(predictions):
    """Without what a clock says."""
    kept = []
    for one in predictions:
        answer = one.answer and one.answer.model_copy(update={"trace": ()})
        kept.append(one.model_copy(update={"seconds": None, "answer": answer}))
    return kept


def turns(*said: str) -> tuple[Message, ...]:
    roles = ("user", "assistant")
    return tuple({"role": roles[place % 2], "content": text} for place, text in enumerate(said))  # type: ignore[typeddict-item]


# --- answers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["open_qa", "counterfactual", "grounding"])
def test_without_a_model_the_literature_is_quoted_or_nothing_is_answered(ward, kind):
    samples = [ASKED, UNKNOWN]
    system = opened("evidence_only", samples, kind, ward)
    answered, refused = system.predict(samples)
    assert "禁用布洛芬" in answered.text
    assert answered.answer is not None
    assert answered.answer.citations
    assert answered.passages == tuple(one.text for one in answered.answer.evidence)
    assert 0 < answered.confidence <= 1
    assert refused.answer.abstention is not None
    assert -1 <= refused.confidence <= 0
    assert system.versions["generator"] == "extractive"
    assert len(system.versions["manifest_sha256"]) == 64


def test_the_starter_literature_is_asked_where_no_index_is_named():
    system = opened("evidence_only", [ASKED], "open_qa")
    one = system(ASKED)
    assert one.answer.citations
    assert not one.error


def test_in_a_dialogue_the_last_turn_is_made_to_stand_alone(ward):
    samples = [
        Sample(id="d", text="那孕晚期呢？", turns=turns("牙痛能用布洛芬吗？", "可以短期使用。")),
        Sample(id="odd", text="那孕晚期呢？", turns=turns("牙痛能用布洛芬吗？")),
        Sample(id="none", text="孕晚期能用布洛芬吗？"),
    ]
    predictions = list(opened("evidence_only", samples, "dialogue", ward).predict(samples))
    for one in predictions:
        assert "孕晚期" in one.answer.question
        assert "布洛芬" in one.answer.question
        assert "禁用布洛芬" in one.text


def test_grounding_is_answered_from_the_samples_own_passages(ward):
    passage = "硝苯地平控释片应整片吞服，不可嚼碎。漏服一次无需补服。"
    sample = Sample(id="g", text="硝苯地平控释片能嚼碎吗？", passages=(passage, "血钾的参考范围为3.5~5.5mmol/L。"))
    system = opened("evidence_only", [sample, ASKED], "grounding", ward)
    one, asked = system.predict([sample, ASKED])
    assert one.passages == sample.passages
    assert "不可嚼碎" in one.text
    for citation in one.answer.citations:
        number = int(citation.document_id.rpartition("#")[2])
        assert sample.passages[number - 1][citation.start : citation.end] == citation.quote
    assert "禁用布洛芬" in asked.text  # brings no passages: the index is asked


def test_a_title_that_a_passage_shows_first_is_known_as_one(ward):
    passage = "硝苯地平\n控释片应整片吞服，不可嚼碎。"
    sample = Sample(id="g", text="硝苯地平控释片能嚼碎吗？", passages=(passage,), metadata={"titles": ["硝苯地平"]})
    system = opened("evidence_only", [sample], "grounding", ward)
    one = system(sample)
    [evidence] = one.answer.evidence
    assert (evidence.title, evidence.text) == ("硝苯地平", "控释片应整片吞服，不可嚼碎。")
    [citation] = one.answer.citations
    assert passage[citation.start : citation.end] == citation.quote
    system.close()


def test_a_model_writes_and_its_sentences_are_proved(ward):
    model = ScriptedModel("孕晚期妇女禁用布洛芬。[1]布洛芬能治白癜风。[1]")
    system = opened("medqa", [ASKED], "open_qa", ward, model)
    one = system(ASKED)
    assert one.text == "孕晚期妇女禁用布洛芬。"
    assert system.versions["prompt"].startswith("citation@")
    assert system.versions["model"] == "scripted"


def test_a_model_that_failed_is_told_although_quoted_sentences_stand_in(ward):
    model = ScriptedModel(lambda messages: [GeneratorError("out of paper")])
    one = opened("medqa", [ASKED], "open_qa", ward, model)(ASKED)
    assert "禁用布洛芬" in one.text
    assert (one.finish, one.error) == ("failed", "")
    assert "generator_failed" in [notice.rule for notice in one.answer.notices]
    assert opened("medqa", [ASKED], "open_qa", ward, ScriptedModel("禁用布洛芬。[1]"))(ASKED).finish == "stop"


def test_without_a_model_medqa_is_extractive(ward, monkeypatch):
    for name in ("CHIMED_ENDPOINT", "CHIMED_MODEL"):
        monkeypatch.delenv(name, raising=False)
    [one] = untimed(opened("medqa", [ASKED], "open_qa", ward).predict([ASKED]))
    [other] = untimed(opened("evidence_only", [ASKED], "open_qa", ward).predict([ASKED]))
    assert one == other


def test_what_cannot_be_asked_is_an_error_and_the_others_stand(ward):
    samples = [Sample(id="long", text="血" * 5000), ASKED, Sample(id="empty", text=" ")]
    long, fine, empty = opened("evidence_only", samples, "open_qa", ward).predict(samples)
    assert long.error.startswith("InputError: the question has 5,000 characters")
    assert "禁用布洛芬" in fine.text
    assert empty.error.startswith("InputError: the question is empty")
    assert not fine.error


def test_batches_and_order_change_nothing(ward):
    samples = [ASKED, UNKNOWN, Sample(id="k", text="血钾的正常范围是多少？")]
    whole = untimed(opened("evidence_only", samples, "open_qa", ward).predict(samples))
    small = opened("evidence_only", samples, "open_qa", ward, options={"batch": "1"})
    assert untimed(small.predict(samples[::-1])) == whole[::-1]


def test_fewer_passages_can_be_asked_for(ward):
    one = opened("evidence_only", [ASKED], "open_qa", ward, options={"k": "1"})
    assert one.versions["passages"].startswith("1, ")


# --- choices -----------------------------------------------------------------------------------------------------


def test_evidence_chooses_the_option_that_stands_with_the_question(ward):
    pytest.importorskip("scipy", reason="scipy is not installed (extra `evaluation`)")
    words = STEM.model_copy(update={"id": "w", "options": {"同意": "100/60mmHg", "不同意": "140/90mmHg"}})
    samples = [STEM, words, Sample(id="bare", text="没有选项")]
    system = opened("evidence_only", samples, "choice", ward, options={"k": "2"})
    chosen, worded, bare = system.predict(samples)
    assert (chosen.text, worded.text) == ("B", "不同意")
    assert len(chosen.passages) == 2
    assert chosen.confidence > 0
    assert bare.error.startswith("InputError: a choice takes options")
    back = list(system.predict(samples[::-1]))
    assert untimed(back[::-1]) == untimed([chosen, worded, bare])


def test_an_empty_index_cannot_choose(tmp_path):
    pytest.importorskip("scipy", reason="scipy is not installed (extra `evaluation`)")
    MedQA.build([{"id": "x", "text": "血压。"}], tmp_path / "index").close()
    with MedQA.load(tmp_path / "index") as qa:
        qa.delete(ids=["x"])
    with pytest.raises(InputError, match="holds no passage"):
        opened("evidence_only", [STEM], "choice", tmp_path / "index")


def test_a_model_chooses_with_passages_found_by_the_stem_alone(ward):
    model = Telling()
    system = opened("medqa", [STEM], "choice", ward, model, options={"k": "1"})
    one = system(STEM)
    assert one.logprobs
    [passage] = one.passages
    assert passage.startswith("高血压：")  # its title first; the options speak of drugs, and are not searched for
    assert passage in model.weighed[-1][0]["content"]
    assert system.versions["k"] == "1"
    assert "manifest_sha256" in system.versions


def test_a_choice_takes_a_model_or_evidence_only(ward):
    with pytest.raises(InputError, match="evidence_only"):
        opened("medqa", [STEM], "choice", ward, "extractive")


# --- attitudes and entities --------------------------------------------------------------------------------------


def test_literature_has_no_opinion_and_a_model_may_have_one(ward):
    scale = Sample(id="s", text="精神疾病患者应当与社会隔离。", options={"A": "同意", "B": "不同意"})
    with pytest.raises(InputError, match="no opinion"):
        opened("evidence_only", [scale], "attitude", ward)
    assert opened("medqa", [scale], "attitude", ward, Telling())(scale).logprobs


class Lexicon:
    name = "lexicon"

    def __init__(self):
        self.versions = {"lexicon": "1"}

    def __call__(self, sample):
        return Prediction(id=sample.id, entities=(Entity(text="布洛芬", type="药物"),))

    def predict(self, samples):
        yield from map(self, samples)


def test_entities_without_a_model_are_those_of_the_lexicon(ward, monkeypatch):
    asked = []
    monkeypatch.setattr(room, "open_system", lambda name, setting: asked.append((name, setting.options)) or Lexicon())
    record = Sample(id="r", text="服用布洛芬。")
    for name, generator in (("evidence_only", None), ("medqa", "extractive")):
        system = opened(name, [record], "extraction", ward, generator)
        assert system.name == name
        assert system.versions == {"by": "lexicon", "lexicon": "1"}
        assert [one.entities[0].text for one in system.predict([record])] == ["布洛芬"]
        assert system(record).entities
    assert asked == [("lexicon", None)] * 2


def test_entities_by_a_model_are_a_reply_to_be_read(ward):
    record = Sample(id="r", text="服用布洛芬。")
    one = opened("medqa", [record], "extraction", ward, ScriptedModel("布洛芬 药物"))(record)
    assert (one.text, one.entities, one.passages) == ("布洛芬 药物", None, ())


@pytest.mark.parametrize("name", ["medqa", "evidence_only"])
def test_an_option_that_is_not_known_is_refused(ward, name):
    with pytest.raises(InputError, match=r"there are: .*audience"):
        opened(name, [ASKED], "open_qa", ward, options={"kk": "5"})
