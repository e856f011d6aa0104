"""What a protocol is: how the samples of a kind of task are asked, and how what was said is judged.

A protocol is frozen: whoever changes what it asks, reads or counts gives it a new name. `protocol(name, kind)` finds
one. Not covered: asking itself (`systems`), and running (`running`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from chimed_rag.errors import UnknownNameError
from chimed_rag.evaluation.samples import Kind, Prediction, Sample, Score
from chimed_rag.evaluation.statistics import Interval
from chimed_rag.generation.base import Message
from chimed_rag.registry import Registry

PROTOCOLS = Registry(
    "protocol",
    {
        "strict-v1/choice": "chimed_rag.evaluation.protocols.choice:StrictChoice",
        "lm-eval/choice": "chimed_rag.evaluation.protocols.choice_others:LmEval",
        "cmb-official/choice": "chimed_rag.evaluation.protocols.choice_others:CmbOfficial",
        "cmexam-official/choice": "chimed_rag.evaluation.protocols.choice_others:CmexamOfficial",
        "opencompass/choice": "chimed_rag.evaluation.protocols.choice_others:OpenCompass",
        "bbq-v1/choice": "chimed_rag.evaluation.protocols.bbq:Bbq",
        "chimedgpt-legacy/choice": "chimed_rag.evaluation.protocols.choice:LegacyChoice",
        "strict-v1/extraction": "chimed_rag.evaluation.protocols.extraction:StrictExtraction",
        "chimedgpt-legacy/extraction": "chimed_rag.evaluation.protocols.extraction:LegacyExtraction",
        "strict-v1/open_qa": "chimed_rag.evaluation.protocols.texts:StrictTexts",
        "strict-v1/dialogue": "chimed_rag.evaluation.protocols.texts:StrictTexts",
        "chimedgpt-legacy/open_qa": "chimed_rag.evaluation.protocols.texts:LegacyTexts",
        "chimedgpt-legacy/dialogue": "chimed_rag.evaluation.protocols.texts:LegacyTexts",
        "strict-v1/attitude": "chimed_rag.evaluation.protocols.attitude:Attitude",
        "chimedgpt-legacy/attitude": "chimed_rag.evaluation.protocols.attitude:LegacyAttitude",
        "strict-v1/counterfactual": "chimed_rag.evaluation.protocols.counterfactual:Counterfactual",
        "strict-v1/grounding": "chimed_rag.evaluation.protocols.grounding:Grounding",
        "strict-v1-nli/grounding": "chimed_rag.evaluation.protocols.grounding:NliGrounding",
    },
)


_MICRO = {"f1": (2.0, 1.0, 1.0), "precision": (1.0, 1.0, 0.0), "recall": (1.0, 0.0, 1.0)}
"""Weights of true positives, false positives and false negatives below; above stand the true positives, as weighted."""


OfSums = Callable[[Sequence[int]], dict[str, float]]
"""k sums over samples to metrics by name."""


class Protocol(ABC):
    """How one kind of task is asked and judged."""

    name: ClassVar[str]
    warning: ClassVar[str] = ""
    """Printed beside every number of it; why not to compare with others, for instance."""
    libraries: ClassVar[tuple[str, ...]] = ()
    """Packages whose versions the numbers depend on."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind

    @property
    def versions(self) -> dict[str, str]:
        """What the numbers depend on besides the versions of `libraries`, such as a judge model; nothing by default."""
        return {}

    @abstractmethod
    def messages(self, sample: Sample, passages: Sequence[str] = ()) -> list[Message]:
        """What a chat model is told.

        Args:
            passages: texts that it may use, best first; none for a model that answers from what it knows.
        """

    def continuation(self, sample: Sample, passages: Sequence[str] = ()) -> str | None:
        """The plain text whose next token decides among the option letters; None where the protocol has none and the
        letters' probabilities are taken at the beginning of the reply to `messages`."""
        return None

    @abstractmethod
    def score(self, sample: Sample, prediction: Prediction) -> Score:
        """How one sample ended. An `error` of the prediction is the outcome "error" and counts as zero everywhere."""

    @abstractmethod
    def metrics(
        self, samples: Sequence[Sample], predictions: Sequence[Prediction], scores: Sequence[Score]
    ) -> dict[str, Interval]:
        """The numbers of a run with 95 % intervals over groups (`statistics.clustered_means` and its kin); all three
        lists have one length and order, every sample counts. The first metric is the main one."""

    def parts(self, metric: str, scores: Sequence[Score]) -> tuple[list[float], list[float]] | None:
        """What each sample adds to a metric that is a ratio of two sums, for comparing two systems.

        The default serves means (the score's value of that name over 1, a score without it counting as 0), "accuracy"
        and the other outcomes as shares, and micro "f1", "precision" and "recall" where scores have `tp`, `fp`, `fn`.

        Returns:
            Numerators and denominators, one each a sample; None where the metric is no such ratio.
        """
        if any(metric in score.values for score in scores):
            return [score.values.get(metric, 0.0) for score in scores], [1.0] * len(scores)
        outcome = "correct" if metric == "accuracy" else metric
        if outcome in ("correct", "wrong", "invalid", "error"):
            return [float(score.outcome == outcome) for score in scores], [1.0] * len(scores)
        if metric in _MICRO and any("tp" in score.values for score in scores):
            tp, fp, fn = ([score.values.get(name, 0.0) for score in scores] for name in ("tp", "fp", "fn"))
            weight, a, b = _MICRO[metric]
            below = [weight * right + a * extra + b * missed for right, extra, missed in zip(tp, fp, fn, strict=True)]
            return [weight * right for right in tp], below
        return None

    def corpus(self, samples: Sequence[Sample], scores: Sequence[Score]) -> tuple[Any, OfSums] | None:
        """For metrics that are functions of sums over all samples (BLEU): what each sample adds, and the functions.

        Returns:
            Whole numbers of shape (samples, k), and what k sums are worth by the metrics' names; None by default.
        """
        return None

    def groups(
        self, samples: Sequence[Sample], predictions: Sequence[Prediction], scores: Sequence[Score]
    ) -> dict[str, dict[str, Interval]]:
        """The main numbers apart by subject, type, subscale, noise level …; none by default."""
        return {}

    def baselines(self, samples: Sequence[Sample]) -> dict[str, dict[str, float]]:
        """What responders without a mind would score on these samples (name to metric to value); none by default."""
        return {}

    def notes(self, samples: Sequence[Sample], predictions: Sequence[Prediction], scores: Sequence[Score]) -> list[str]:
        """What a reader of the numbers must know; none by default."""
        return []


def protocol(name: str, kind: Kind) -> Protocol:
    """The protocol of that name for a kind of task.

    Raises:
        UnknownNameError: there is none; the message lists those for the kind.
    """
    key = f"{name}/{kind}"
    if key not in PROTOCOLS:
        known = sorted(one.partition("/")[0] for one in PROTOCOLS.names() if one.endswith(f"/{kind}"))
        raise UnknownNameError(f"no protocol for {kind} is called {name!r}; there are: {', '.join(known)}")
    made: Protocol = PROTOCOLS.get(key)(kind)
    return made
