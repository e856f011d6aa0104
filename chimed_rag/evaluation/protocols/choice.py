"""How questions with options are asked and judged: `strict-v1`, ours, and `chimedgpt-legacy`, as far as it is known.

Whatever the protocol, the right letters and no others are right; several letters are one answer (exact match); a reply
that is not one clear answer is "invalid" and counts as wrong, its share stands beside the accuracy. Where a prediction
has no text but probabilities of the letters, the most probable letter is its answer (the first of a tie), so that a
question with several right letters can then be right only where it has one.

Not covered: the protocols of other people's sets (`protocols.choice_others`).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence

from chimed_rag.evaluation.metrics.calibration import calibration_bins, calibration_error
from chimed_rag.evaluation.metrics.choice import macro_accuracy, mindless, shares
from chimed_rag.evaluation.protocols.base import Protocol
from chimed_rag.evaluation.samples import Outcome, Prediction, Sample, Score
from chimed_rag.evaluation.statistics import Interval, clustered_means
from chimed_rag.generation.base import Message
from chimed_rag.generation.prompts import lettered, load_prompt
from chimed_rag.generation.replies import read_choice, read_choices
from chimed_rag.records import Evidence


class Choice(Protocol):
    """What all protocols for questions with options share.

    A score's values: accuracy, invalid and error, 1 or 0; where the letters' probabilities are told, off_option (the
    probability of a reply that begins with no letter) and confidence (that of the letter said, among the letters).
    """

    @abstractmethod
    def read(self, sample: Sample, text: str) -> str:
        """The letters that a reply is read as; empty where it is none."""

    def said(self, sample: Sample, prediction: Prediction) -> str:
        """The letters of a prediction: read from its text, or the most probable where it has none."""
        if prediction.text.strip() or not prediction.logprobs:
            return self.read(sample, prediction.text)
        return most_probable(sample, prediction)

    def score(self, sample: Sample, prediction: Prediction) -> Score:
        """See `Protocol.score`."""
        said = "" if prediction.error else self.said(sample, prediction)
        right = bool(said) and said == sample.answer
        outcome: Outcome = "error" if prediction.error else "invalid" if not said else "correct" if right else "wrong"
        values = {"accuracy": right, "invalid": outcome == "invalid", "error": outcome == "error"}
        return Score(
            id=sample.id,
            outcome=outcome,
            values={**{name: float(value) for name, value in values.items()}, **_sure(sample, prediction, said)},
            said=said,
        )

    def metrics(
        self, samples: Sequence[Sample], predictions: Sequence[Prediction], scores: Sequence[Score]
    ) -> dict[str, Interval]:
        """Accuracy, and the shares of invalid replies and of errors: Wilson's intervals, or a bootstrap of groups where
        there are groups. Where probabilities are told: the mean of off_option and the calibration error, over the
        samples that have them."""
        groups = [sample.group for sample in samples]
        found = shares({name: [bool(score.values[name]) for score in scores] for name in _SHARES}, groups)
        told = [place for place, score in enumerate(scores) if "off_option" in score.values]
        if told:
            import numpy as np

            off = np.array([scores[place].values["off_option"] for place in told])
            found |= clustered_means({"off_option": off}, [groups[place] for place in told])
        sure, right = _confidences(scores)
        if sure:
            found["calibration_error"] = calibration_error(sure, right)
        return found

    def groups(
        self, samples: Sequence[Sample], predictions: Sequence[Prediction], scores: Sequence[Score]
    ) -> dict[str, dict[str, Interval]]:
        """Accuracy and n by subject and by type of question, the macro accuracy over subjects, bins of confidence."""
        right = [score.outcome == "correct" for score in scores]
        found: dict[str, dict[str, Interval]] = {}
        for name, keys in (
            ("subject", [sample.subject for sample in samples]),
            ("type", [str(sample.metadata.get("type") or "") for sample in samples]),
        ):
            if len(set(keys)) > 1:
                found |= {f"{name}: {key}": value for key, value in _apart(samples, right, keys).items()}
                if name == "subject":
                    found["macro over subjects"] = {"accuracy": macro_accuracy(right, [(key,) for key in keys])}
        sure, hits = _confidences(scores)
        if sure:
            found |= {f"confidence: {name}": value for name, value in calibration_bins(sure, hits).items()}
        return found

    def baselines(self, samples: Sequence[Sample]) -> dict[str, dict[str, float]]:
        """See `metrics.choice.mindless`."""
        return mindless(samples)

    def notes(self, samples: Sequence[Sample], predictions: Sequence[Prediction], scores: Sequence[Score]) -> list[str]:
        """Questions that nobody can solve, and those of which the most probable letter cannot be the whole answer."""
        lost = sum(not set(sample.answer) <= set(sample.options) for sample in samples)
        bare = sum(
            len(sample.answer) > 1 and bool(prediction.logprobs) and not prediction.text.strip()
            for sample, prediction in zip(samples, predictions, strict=True)
        )
        found = []
        if lost:
            found.append(f"{lost} of {len(samples)} questions lack the option that is right; they count")
        if bare:
            found.append(f"{bare} questions with several right letters were answered by probabilities, which name one")
        return found


class StrictChoice(Choice):
    """The prompts `choice@1` and, where several letters may be right, `choice_several@1`; strict reading
    (`generation.replies`), in which whatever could be meant in two ways is invalid."""

    name = "strict-v1"

    def messages(self, sample: Sample, passages: Sequence[str] = ()) -> list[Message]:
        """See `Protocol.messages`."""
        prompt = load_prompt("choice_several@1" if sample.multiple else "choice@1")
        options = lettered(sample.options)
        return prompt.messages(evidence=as_evidence(passages), question=sample.text, options=options)

    def read(self, sample: Sample, text: str) -> str:
        """See `Choice.read`. A letter whose option the file has lost (`metadata["letters"]`) is an answer too."""
        letters = sorted({*sample.options, *str(sample.metadata.get("letters") or "")})
        return (read_choices(text, letters) if sample.multiple else read_choice(text, letters)) or ""


class LegacyChoice(Choice):
    """The multiple choice of ChiMed-GPT's authors.

    Known from their code: a prompt that begins as `choice_legacy@1` does, and a notebook that takes the letter with the
    highest probability as the next token; C-Eval and CMMLU were averaged over questions, not subjects (all published
    rows but two are k/41 and k/1166). Not known: the runner that made the tables, the rest of the prompt, how replies
    of models behind an API were read (here the first letter of an option anywhere in the text), and which questions
    MedQA had. Open models were shown five examples, ChiMed-GPT none; here nobody is.
    """

    name = "chimedgpt-legacy"
    warning = (
        "chimedgpt-legacy: the prompt and the reading are known in part; the first letter in a text counts, so nearly "
        "every reply is taken as an answer; compare with the paper's rows alone, whose C-Eval has 41 questions"
    )

    def messages(self, sample: Sample, passages: Sequence[str] = ()) -> list[Message]:
        """See `Protocol.messages`; passages, which the authors had none of, come before the question."""
        prompt = load_prompt("choice_legacy@1")
        told = prompt.messages(subject=subject_of(sample), question=sample.text, options=lettered(sample.options))
        return [{"role": "user", "content": with_passages(told[0]["content"], passages)}]

    def read(self, sample: Sample, text: str) -> str:
        """The first letter of an option that stands anywhere in the text."""
        letters = {*sample.options, *str(sample.metadata.get("letters") or "")}
        return next((letter for letter in text if letter in letters), "")


_SHARES = ("accuracy", "invalid", "error")


def most_probable(sample: Sample, prediction: Prediction) -> str:
    """The option with the highest probability, the first of a tie; empty where no option has one."""
    logprobs = prediction.logprobs or {}
    return max((letter for letter in sample.options if letter in logprobs), key=lambda one: logprobs[one], default="")


def subject_of(sample: Sample) -> str:
    """The Chinese name of the subject; 医学 where there is none."""
    return str(sample.metadata.get("subject_zh") or "医学")


def as_evidence(passages: Sequence[str]) -> list[Evidence]:
    """Plain passages as a prompt takes them, numbered from 1."""
    return [
        Evidence(
            number=number, chunk_id=str(number), document_id=str(number), text=text, start=0, end=len(text), score=0
        )
        for number, text in enumerate(passages, 1)
    ]


def with_passages(text: str, passages: Sequence[str]) -> str:
    """A prompt that knows no passages, with passages before it."""
    if not passages:
        return text
    written = "\n".join(f"[{number}] {' '.join(passage.split())}" for number, passage in enumerate(passages, 1))
    return f"可参考下列文献，其中可能有无关内容：\n{written}\n\n{text}"


def _sure(sample: Sample, prediction: Prediction, said: str) -> dict[str, float]:
    """off_option and confidence, where the letters' probabilities are told."""
    if not prediction.logprobs or prediction.error:
        return {}
    mass = {letter: math.exp(value) for letter, value in prediction.logprobs.items() if letter in sample.options}
    whole = math.fsum(mass.values())
    found = {"off_option": min(1.0, max(0.0, 1 - whole))}
    if whole > 0 and said in mass:
        found["confidence"] = min(1.0, mass[said] / whole)
    return found


def _confidences(scores: Sequence[Score]) -> tuple[list[float], list[float]]:
    """Of the samples that have one: the confidence, and whether they were right."""
    told = [score for score in scores if "confidence" in score.values]
    return [score.values["confidence"] for score in told], [score.values["accuracy"] for score in told]


def _apart(samples: Sequence[Sample], right: Sequence[bool], keys: Sequence[str]) -> dict[str, dict[str, Interval]]:
    """Accuracy and n for each key, in order."""
    found = {}
    for key in sorted(set(keys)):
        rows = [place for place, one in enumerate(keys) if one == key]
        n = float(len(rows))
        accuracy = shares({"accuracy": [right[row] for row in rows]}, [samples[row].group for row in rows])
        found[key] = {**accuracy, "n": Interval(value=n, low=n, high=n)}
    return found
