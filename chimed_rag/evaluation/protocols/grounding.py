"""Grounding, strict-v1: do the sentences rest on the passages shown, and is what was asked of the passages done.

A sample without a condition (answers of a run) ends as scored; one of `readers.grounding.noise` is right or wrong:

    noise                     right: the reply holds a right answer (`metrics.holding`)
    rejection                 right: the system refuses
    counterfactual, conflict  right: the false number, drug or denial is not said, or a conflict is told; a system that
                              refuses says nothing false

A reply without a sentence that is no refusal is invalid. A refusal counts as zero in every measure of citations;
`…_answered` leaves refusals out. Numbers rest on a judge of entailment (`metrics.judges`), which `versions` and the
notes name. Not covered: whether a right answer is useful, and false statements in other words than the passage's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from chimed_rag.errors import InputError
from chimed_rag.evaluation.metrics.citations import count, sentences_of
from chimed_rag.evaluation.metrics.curves import aurc
from chimed_rag.evaluation.metrics.holding import (
    asserts,
    best_passage,
    confidence,
    holds,
    refuses,
    shown,
    tells_conflict,
    words_of,
)
from chimed_rag.evaluation.metrics.judges import Judge, Says, evidence_of, judge_of
from chimed_rag.evaluation.protocols.base import Protocol
from chimed_rag.evaluation.samples import Kind, Outcome, Prediction, Sample, Score
from chimed_rag.evaluation.statistics import Interval, bootstrap_ratios, clustered_means, proportion
from chimed_rag.generation.base import Message
from chimed_rag.generation.prompts import Prompt, load_prompt

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
        counts = count(sentences_of(prediction.answer or prediction.text), shown(sample, prediction), self.judge)
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
        right = _is_right(sample, words_of(prediction), refused, tells_conflict(prediction))
        outcome: Outcome = "correct" if right else "wrong"
        return Score(id=sample.id, outcome=outcome, values={**values, "accuracy": float(right)})

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
        refusing = [_is_right(one, "", True, False) for one in asked]
        repeating = [_is_right(one, "\n".join(one.passages), False, False) for one in asked]
        return {
            "always_refuses": {"accuracy": float(np.mean(refusing))},
            "repeats_passages": {"accuracy": float(np.mean(repeating))},
        }

    def notes(self, samples: Sequence[Sample], predictions: Sequence[Prediction], scores: Sequence[Score]) -> list[str]:
        """Who judged, where the judge is the answers' own proof, and how to read accuracy."""
        told = [f"entailment judged by {self.versions['judge']}"]
        if any(map(_asks, samples)):
            told.append(
                "accuracy mixes conditions, of which refusing or repeating all passages wins some: read them apart, "
                "beside the responders without a mind"
            )
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


def _asks(sample: Sample) -> bool:
    return "condition" in sample.metadata


def _is_right(sample: Sample, words: str, refused: bool, flagged: bool) -> bool:
    condition = sample.metadata["condition"]
    if condition == "rejection":
        return refused
    if condition in _FALSE:
        return flagged or not asserts(words, sample)
    return not refused and any(holds(words, one) for one in sample.references)


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
    """AURC by the system's own confidence, and by a plain threshold on the score of its best passage, where known."""
    ways: Mapping[str, Callable[[Prediction], float | None]] = {"aurc": confidence, "aurc_best_passage": best_passage}
    found: dict[str, Interval] = {}
    for name, way in ways.items():
        sure = [way(predictions[place]) for place in asked]
        if len(set(sure) - {None}) > 1:  # one value for all says nothing
            right = [scores[place].values.get("accuracy", 0.0) for place in asked]
            found[name] = aurc(sure, right, [groups[place] for place in asked])
    return found
