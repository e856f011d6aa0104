"""Who says whether passages entail a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chimed_rag import MedQA
from chimed_rag.errors import InputError
from chimed_rag.evaluation.metrics.judges import FunctionJudge, NliJudge, ProofJudge, evidence_of, judge_of
from chimed_rag.evaluation.protocols.base import protocol
from chimed_rag.evaluation.samples import Prediction, Sample
from tests.tiny_models import make


def test_the_proof_needs_one_passage_or_all_together() -> None:
    judge = ProofJudge()
    passages = evidence_of(["布洛芬用于缓解轻至中度疼痛，也用于退热。", "孕晚期妇女禁用布洛芬。"])
    assert judge(passages[:1], "布洛芬用于缓解轻至中度疼痛，也用于退热。")
    assert judge(passages, "孕晚期妇女禁用布洛芬。")
    assert not judge(passages[:1], "孕晚期妇女禁用布洛芬。")
    assert not judge(passages, "孕晚期妇女可用布洛芬。")
    assert not judge((), "孕晚期妇女禁用布洛芬。")


def test_the_proof_judges_an_answer_without_its_index(qa: MedQA) -> None:
    """The passages of an answer lie somewhere in their documents, which are not there; they stand for themselves."""
    answer = qa.ask("孕妇能吃布洛芬吗？")
    assert answer.sentences
    judge = ProofJudge()
    by_number = {one.number: one for one in answer.evidence}
    for sentence in answer.sentences:
        assert judge([by_number[one.number] for one in sentence.citations], sentence.text)


def nli_folder(path: Path, labels: dict[int, str]) -> Path:
    """A classifier with random weights, and names for its three labels."""
    folder = make(path, "labels")
    file = folder / "config.json"
    config = json.loads(file.read_text("utf-8"))
    config["id2label"] = {str(number): name for number, name in labels.items()}
    config["label2id"] = {name: number for number, name in labels.items()}
    file.write_text(json.dumps(config), "utf-8")
    return folder


def test_an_nli_model_gives_the_probability_of_its_label(tmp_path: Path) -> None:
    """The number beside transformers' own pipeline, and a long premise read in windows."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = nli_folder(tmp_path / "nli", {0: "CONTRADICTION", 1: "NEUTRAL", 2: "ENTAILMENT"})
    judge = NliJudge(folder)
    assert (judge.name, len(judge.version)) == ("nli", 16)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.inference_mode():
        logits = model(**tokenizer("高血压患者", "孕妇发烧", return_tensors="pt")).logits
    expected = float(logits.softmax(-1)[0, 2])
    assert judge.probabilities([("高血压患者", "孕妇发烧")]) == [pytest.approx(expected, abs=1e-6)]
    windows = judge.probabilities([("高血压患者" * 100, "孕妇发烧"), ("高血压", "孕妇" * 100)])
    assert all(0 < one < 1 for one in windows)
    sure = NliJudge(folder, threshold=expected - 1e-4)
    unsure = NliJudge(folder, threshold=expected + 1e-4)
    passages = evidence_of(["高血压患者"])
    assert sure(passages, "孕妇发烧")
    assert not unsure(passages, "孕妇发烧")
    assert not sure((), "孕妇发烧")


def test_an_nli_model_whose_labels_say_nothing_is_refused(tmp_path: Path) -> None:
    folder = nli_folder(tmp_path / "nli", {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"})
    with pytest.raises(InputError, match=r"LABEL_0.*label=N"):
        NliJudge(folder)
    assert NliJudge(folder, label=1).probabilities([("高血压", "发烧")])
    with pytest.raises(InputError, match="holds no model"):
        NliJudge(tmp_path)


def test_a_protocol_judged_by_the_model_that_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = nli_folder(tmp_path / "nli", {0: "entailment", 1: "neutral", 2: "contradiction"})
    monkeypatch.setenv("CHIMED_NLI", str(folder))
    by = protocol("strict-v1-nli", "grounding")
    assert by.versions == {"judge": f"nli {NliJudge(folder).version}"}
    said = by.score(Sample(id="1", text="？", passages=("高血压",)), Prediction(id="1", text="高血压。[1]"))
    assert said.outcome == "scored"


def test_judge_of() -> None:
    assert isinstance(judge_of(None), ProofJudge)
    proof = ProofJudge()
    assert judge_of(proof) is proof
    assert isinstance(judge_of(lambda premise, claim: True), FunctionJudge)
    with pytest.raises(InputError):
        judge_of("no/such/folder")
