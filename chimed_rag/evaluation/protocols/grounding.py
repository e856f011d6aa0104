"""Grounding, strict-v1: do the sentences rest on the passages shown, and is what was asked of the passages done.

A sample without a condition (answers of a run) ends as scored; one of `readers.grounding.noise` is right or wrong:

    noise                     right: the reply holds a right answer. It holds one if the longest common subsequence of
                              characters covers FOUND of a reference (ROUGE-L recall, rouge-score), or COVERED of it and
                              each number and unit of the reference is in the reply. RGB looks for the answer's string,
                              which sentences of free text do not have
    rejection                 right: the system refuses (`Answer.abstention`, or 所给文献没有说明, or RGB's 信息不足)
    counterfactual, conflict  right: the false number, drug or denial is not said, or a conflict is told (a notice of
                              kind `conflict`, or a word of `_FLAGS`), or the system refuses

A reply without a sentence that is no refusal is invalid. A refusal counts as zero in every measure of citations;
`…_answered` leaves refusals out. Numbers rest on a judge of entailment (`metrics.judges`), which `versions` and the
notes name. Not covered: whether a right answer is useful, and false statements in other words than the passage's.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from chimed_rag.errors import InputError, MissingExtraError
from chimed_rag.evaluation.metrics.citations import count, sentences_of, share
from chimed_rag.evaluation.metrics.curves import aurc
from chimed_rag.evaluation.metrics.judges import Judge, Says, evidence_of, judge_of
from chimed_rag.evaluation.protocols.base import Protocol
from chimed_rag.evaluation.samples import Kind, Outcome, Prediction, Sample, Score
from chimed_rag.evaluation.statistics import Interval, bootstrap_ratios, clustered_means, proportion
from chimed_rag.generation.base import Message
from chimed_rag.generation.prompts import Prompt, load_prompt
from chimed_rag.generation.replies import is_not_told
from chimed_rag.records import Evidence
from chimed_rag.safety.conversion import agree
from chimed_rag.safety.measures import measures
from chimed_rag.safety.quoting import squeezed
from chimed_rag.text import terms

FOUND, COVERED = 0.5, 0.25
"""Shares of a reference's characters that a reply must hold in order: alone, and where all its numbers agree."""
ALIKE = 0.3
"""A sentence repeats a false number if it has this share of the terms of the false sentence."""
_INSUFFICIENT = "信息不足"
_FLAGS = re.compile("不一致|互?相矛盾|有矛盾|有冲突|不相符|事实性错误|有误|存疑")
_FALSE = ("counterfactual", "conflict")
_RATIOS = {
    "citation_validity": ("valid", "citations"),
    "coverage": ("citing", "sentences"),
    "supported": ("supported", "sentences"),
    "number_agreement": ("agreeing", "numeric"),
    "extractive_overlap": ("copied", "characters"),
    "citations_per_sentence": ("citations", "sentences"),
}
"""Pooled over all sentences of a run: name to what is counted and out of what."""
_PROMPT = Prompt(
    name="grounding@1",
    user=(
        "请只根据下面编号的文献回答问题。\n要求：\n"
        "1. 每句话末尾用方括号标出依据的文献编号，例如：……。[1][3]\n"
        "2. 数字、单位、药名和禁忌照文献原文写，不增加文献以外的内容。\n"
        "3. 与问题无关的文献不要引用；文献之间互相矛盾的，指出“文献不一致”；文献明显违背医学常识的，指出“文献有误”。\n"
        "4. 文献没有说到的，只回答：所给文献没有说明。\n\n{evidence}\n问题：{question}\n回答："
    ),
    evidence="文献：\n{passages}\n",
)


class Grounding(Protocol):
    """Citations, refusals, noise and falsehood.

    Args:
        kind: "grounding".
        judge: of entailment; None takes the library's own proof. See `metrics.judges.judge_of`.
    """

    name = "strict-v1"
    libraries: ClassVar[tuple[str, ...]] = ("rouge-score",)

    def __init__(self, kind: Kind, judge: Judge | Says | str | Path | None = None) -> None:
        super().__init__(kind)
        self.judge = judge_of(judge)

    @property
    def versions(self) -> dict[str, str]:
        """What the numbers depend on besides the libraries: the judge."""
        return {"judge": f"{self.judge.name} {self.judge.version}".strip()}

    def messages(self, sample: Sample, passages: Sequence[str] = ()) -> list[Message]:
        """Question and numbered passages, with orders to cite, to refuse, and to tell conflicts."""
        if not passages:
            return load_prompt("closed_book@1").messages(question=sample.text)
        return _PROMPT.messages(question=sample.text, evidence=evidence_of(passages))

    def score(self, sample: Sample, prediction: Prediction) -> Score:
        """Counts of citations, and right or wrong where the sample has a condition."""
        if prediction.error:
            return Score(id=sample.id, outcome="error")
        counts = count(sentences_of(prediction.answer or prediction.text), _shown(sample, prediction), self.judge)
        refused = refuses(prediction)
        values = {name: float(value) for name, value in counts._asdict().items()}
        values |= {
            "citation_precision": counts.precision,
            "citation_recall": counts.recall,
            "citation_f1": counts.f1,
            "abstained": float(refused),
        }
        if not counts.sentences and not refused:
            return Score(id=sample.id, outcome="invalid", values=values | ({"accuracy": 0.0} if _asks(sample) else {}))
        if not _asks(sample):
            return Score(id=sample.id, outcome="scored", values=values)
        right = self._is_right(sample, _words(prediction), refused, _flags(prediction))
        outcome: Outcome = "correct" if right else "wrong"
        return Score(id=sample.id, outcome=outcome, values={**values, "accuracy": float(right)})

    def _is_right(self, sample: Sample, words: str, refused: bool, flagged: bool) -> bool:
        condition = sample.metadata["condition"]
        if condition == "rejection":
            return refused
        if condition in _FALSE:
            return refused or flagged or not asserts(words, sample)
        return not refused and any(self._holds(words, one) for one in sample.references)

    def _holds(self, words: str, reference: str) -> bool:
        recall = self._rouge(reference, words)
        if recall >= FOUND:
            return True
        wanted, said = measures(reference), measures(words)
        return bool(wanted) and recall >= COVERED and all(any(agree(one, other) for one in said) for other in wanted)

    @cached_property
    def _rouge(self) -> Callable[[str, str], float]:
        """(reference, words) to the recall of ROUGE-L over characters."""
        try:
            from rouge_score.rouge_scorer import RougeScorer
        except ImportError as error:
            raise MissingExtraError("rouge_score", "evaluation") from error
        scorer: Any = RougeScorer(["rougeL"], tokenizer=_Characters())
        return lambda reference, words: float(scorer.score(reference, words)["rougeL"].recall) if words else 0.0

    def metrics(
        self, samples: Sequence[Sample], predictions: Sequence[Prediction], scores: Sequence[Score]
    ) -> dict[str, Interval]:
        """Accuracy first where samples have a condition; means over answers, then ratios over sentences, then AURC."""
        groups = [one.group for one in samples]
        asked = [place for place, one in enumerate(samples) if _asks(one)]
        found = _means(scores, asked, groups, ["accuracy"]) if asked else {}
        means = ["citation_precision", "citation_recall", "citation_f1", "abstained"]
        found |= _means(scores, range(len(samples)), groups, means)
        answered = [place for place, one in enumerate(scores) if not one.values.get("abstained")]
        if answered:
            parts = _means(scores, answered, groups, means[:3])
            found |= {f"{name}_answered": interval for name, interval in parts.items()}
        found |= {name: _ratio(scores, groups, *parts) for name, parts in _RATIOS.items()}
        return found | _areas(predictions, scores, asked, groups)

    def groups(
        self, samples: Sequence[Sample], predictions: Sequence[Prediction], scores: Sequence[Score]
    ) -> dict[str, dict[str, Interval]]:
        """Accuracy at each level of noise, the share of rejections, and the errors at each kind of falsehood."""
        parts: dict[str, list[float]] = {}
        for sample, score in zip(samples, scores, strict=True):
            if _asks(sample):
                name = str(sample.metadata["condition"])
                right = score.values.get("accuracy", 0.0)
                if name == "noise":
                    parts.setdefault(f"noise {sample.metadata.get('level')}", []).append(right)
                elif name in _FALSE:
                    for part in (name, f"{name} {sample.metadata.get('kind')}"):
                        parts.setdefault(part, []).append(1.0 - right)
                else:
                    parts.setdefault(name, []).append(right)
        measure = {"noise": "accuracy", "rejection": "rejection_rate"}
        return {
            name: {measure.get(name.split()[0], "error_rate"): proportion(round(sum(parts[name])), len(parts[name]))}
            for name in sorted(parts)
        }

    def baselines(self, samples: Sequence[Sample]) -> dict[str, dict[str, float]]:
        """What always refusing, and repeating every passage, score where samples have a condition."""
        asked = [one for one in samples if _asks(one)]
        if not asked:
            return {}
        refusing = [self._is_right(one, "", True, False) for one in asked]
        repeating = [self._is_right(one, "\n".join(one.passages), False, False) for one in asked]
        return {
            "always_refuses": {"accuracy": float(np.mean(refusing))},
            "repeats_passages": {"accuracy": float(np.mean(repeating))},
        }

    def notes(self, samples: Sequence[Sample], predictions: Sequence[Prediction], scores: Sequence[Score]) -> list[str]:
        """Who judged, and where the judge is the answers' own proof."""
        told = [f"entailment judged by {self.versions['judge']}"]
        proved = sum(one.answer is not None and bool(one.answer.sentences) for one in predictions)
        if self.judge.name == "proof" and proved:
            told.append(
                f"{proved} of {len(predictions)} answers were let through by the proof that judges them here: their "
                "citation measures say that the proof holds its word, not that another judge would agree"
            )
        return told


class NliGrounding(Grounding):
    """The same, judged by the NLI model whose folder the environment variable CHIMED_NLI names.

    Raises:
        InputError: it is not set, or no such model is there.
    """

    name = "strict-v1-nli"

    def __init__(self, kind: Kind) -> None:
        import os

        folder = os.environ.get("CHIMED_NLI")
        if not folder:
            raise InputError("strict-v1-nli needs the folder of an NLI model: export CHIMED_NLI=FOLDER")
        super().__init__(kind, Path(folder))


class _Characters:
    """Tokenizer for rouge-score: each character that is not blank; width and case make no difference."""

    def tokenize(self, text: str) -> list[str]:
        return [sign for sign in unicodedata.normalize("NFKC", text).lower() if not sign.isspace()]


# --- reading a prediction ---------------------------------------------------------------------------------------


def _asks(sample: Sample) -> bool:
    return "condition" in sample.metadata


def _shown(sample: Sample, prediction: Prediction) -> Sequence[Evidence]:
    """The passages that the marks of a reply count: the answer's evidence, else what was shown, else the sample's."""
    if prediction.answer is not None:
        return prediction.answer.evidence
    return evidence_of(prediction.passages or sample.passages)


def _words(prediction: Prediction) -> str:
    return "\n".join(one.text for one in sentences_of(prediction.answer or prediction.text))


def refuses(prediction: Prediction) -> bool:
    """Whether a reply says that the passages do not tell, and nothing else but that."""
    if prediction.answer is not None:
        return prediction.answer.abstention is not None
    said = prediction.text
    return _INSUFFICIENT in said or (is_not_told(said) and not sentences_of(said))


def _flags(prediction: Prediction) -> bool:
    notices = prediction.answer.notices if prediction.answer is not None else ()
    return any(one.kind == "conflict" for one in notices) or bool(_FLAGS.search(_words(prediction)))


def asserts(words: str, sample: Sample) -> bool:
    """Whether a reply says what was made false in the sample's passages (`readers.falsehoods`)."""
    known = {key: str(sample.metadata.get(key, "")) for key in ("kind", "true", "false", "sentence")}
    if known["kind"] == "drug":
        return squeezed(known["false"]) in squeezed(words)
    if known["kind"] == "negation":
        # 不能服用 holds 能服用: what is true is taken out before what is false is looked for.
        return squeezed(known["false"]) in squeezed(words).replace(squeezed(known["true"]), "\n")
    false, wanted = measures(known["false"]), frozenset(terms(known["sentence"]))
    return any(
        share(len(wanted & frozenset(terms(one.text))), len(wanted)) >= ALIKE
        and any(agree(said, other) for said in measures(one.text) for other in false)
        for one in sentences_of(words)
    )


# --- numbers of a run -------------------------------------------------------------------------------------------


def _column(scores: Sequence[Score], name: str) -> Any:
    return np.array([one.values.get(name, 0.0) for one in scores], dtype=np.float64)


def _means(
    scores: Sequence[Score], places: Sequence[int], groups: Sequence[str], names: Sequence[str]
) -> dict[str, Interval]:
    taken = [scores[place] for place in places]
    return clustered_means({name: _column(taken, name) for name in names}, [groups[place] for place in places])


def _ratio(scores: Sequence[Score], groups: Sequence[str], part: str, whole: str) -> Interval:
    """A sum over a sum, whole groups resampled; 0 of nothing."""
    sums: dict[str, list[float]] = {}
    for row, (score, group) in enumerate(zip(scores, groups, strict=True)):
        held = sums.setdefault(group or f"\0{row}", [0.0, 0.0])
        held[0] += score.values.get(part, 0.0)
        held[1] += score.values.get(whole, 0.0)
    table = np.array(list(sums.values()))
    return bootstrap_ratios({part: table[:, 0]}, table[:, 1])[part]


def _areas(
    predictions: Sequence[Prediction], scores: Sequence[Score], asked: Sequence[int], groups: Sequence[str]
) -> dict[str, Interval]:
    """AURC by the system's own confidence, and by the plain score of its best passage, where they are known."""
    ways: Mapping[str, Callable[[Prediction], float | None]] = {"aurc": confidence, "aurc_best_passage": best_passage}
    found: dict[str, Interval] = {}
    for name, way in ways.items():
        sure = [way(predictions[place]) for place in asked]
        if any(one is not None for one in sure):
            right = [scores[place].values.get("accuracy", 0.0) for place in asked]
            found[name] = aurc(sure, right, [groups[place] for place in asked])
    return found


def confidence(prediction: Prediction) -> float | None:
    """How sure the system says it is; a refusal or an error is surest of nothing."""
    return None if prediction.error or refuses(prediction) else prediction.confidence


def best_passage(prediction: Prediction) -> float | None:
    """The plain threshold's confidence: the score of the best passage of an answer."""
    answer = prediction.answer
    if prediction.error or answer is None or answer.abstention is not None:
        return None
    return max((one.score for one in answer.evidence), default=None)
