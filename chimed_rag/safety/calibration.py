"""A refusal rule that is fitted on the user's own questions, and what it guarantees.

    P( P(wrong | answered) <= risk ) >= confidence

"Answered": the library answers and the rule lets it; "wrong": none of the documents cited answers the question. The
outer probability is over the draw of the calibration questions, the inner one over future questions.

How: the questions are split at random. The first part fits a score (ridge logistic regression on `Features`) and lists
thresholds, fixed before the second part is looked at. On the second part, at each threshold t, of N answered questions
k are wrong; given N, k is binomial, so p(t) = P(Bin(N, risk) <= k) is a valid p-value of "the error at t exceeds the
risk" (the test behind the bound of Clopper and Pearson 1934). They are tested from the one that looked safest towards
answering more, until the first with p > 1 - confidence; the last before it is kept. That no wrong threshold is kept
with more than that probability is fixed-sequence testing: Angelopoulos, Bates, Candès, Jordan, Lei, "Learn then Test",
arXiv 2110.01052. The exact binomial tail for this very risk: Geifman and El-Yaniv, "Selective Classification for Deep
Neural Networks", NeurIPS 2017. Conformal risk control (arXiv 2208.02814) was not taken: it bounds E[wrong and
answered], which answering little makes small, not this ratio, which need not fall as less is answered.

Not covered: questions unlike those given, duplicates among them (they are no further evidence), another index,
encoder, generator or configuration (calibrate again), single questions or groups of them, and whether a cited sentence
is true. Trying several seeds or risks and keeping the best voids the guarantee.

Seen: fitted at risk .05 on 599 questions to the starter literature (164 of 359 answered, 2 wrong), 8 of 53 answers to
220 questions of other writers were wrong, twice as many of which have no answer. Another crowd is another draw.

Tried: weights fitted once and shipped. They do not travel: the area under the ROC curve fell from .88 (fitted there) to
.58 (fitted on the starter literature) on consultations, whose documents have no titles, even as a prior to shrink to.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from math import ceil, exp
from pathlib import Path
from typing import NamedTuple

from pydantic import Field, ValidationError

from chimed_rag.errors import ConfigError, InputError
from chimed_rag.query.question import TermWeight
from chimed_rag.records import Abstention, Answer, Evidence, Record
from chimed_rag.regression import logistic
from chimed_rag.safety.abstention import ADVICE
from chimed_rag.safety.confidence import Features, features
from chimed_rag.safety.risk import PENALTY, control, needed, out_of_fold, sequence, upper_bound

FITTING_SHARE = 0.4
"""Share of the questions that fit the score; the others test the thresholds."""
LEAST_FITTING = 20
"""Answered questions that a score of twelve numbers takes at least, however much it is shrunk."""


class Question(Record):
    """A question with the ids of the documents that answer it; none where the literature cannot."""

    question: str = Field(min_length=1)
    documents: tuple[str, ...] = ()


def read_questions(path: str | Path) -> list[Question]:
    """Calibration questions from a JSONL file, one `Question` a line.

    Raises:
        InputError: the file cannot be read, or a line is no question; file and line are named.
    """
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    found = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                found.append(Question.model_validate_json(line))
            except ValidationError as error:
                first = error.errors()[0]
                place = ".".join(map(str, first["loc"])) or "the line"
                form = '{"question": "…", "documents": ["id"]}'
                raise InputError(f"{path}, line {number}: {place}: {first['msg']}; a line reads {form}") from None
    return found


class Trial(NamedTuple):
    """A calibration question after it was asked: its features, whether it was answered, whether that was wrong."""

    question: str
    features: Features
    answered: bool
    wrong: bool


class RefusalRule(Record):
    """Answers where `intercept + weights · features >= threshold`; see the module for what that guarantees.

    `n` and `errors` count the answered questions of the testing part at the threshold and the wrong ones among them;
    `coverage` is the share of all questions of that part that stay answered; `asked` counts those of both parts.
    `data_hash` is the SHA-256 of the trials. `system` names what it was calibrated for, where the caller says so.
    """

    weights: dict[str, float]
    intercept: float
    threshold: float
    risk: float = Field(gt=0, lt=1)
    confidence: float = Field(gt=0, lt=1)
    n: int = Field(ge=1)
    errors: int = Field(ge=0)
    coverage: float = Field(ge=0, le=1)
    asked: int = Field(ge=1)
    seed: int = 0
    system: str = ""
    data_hash: str
    guarantee: str

    @classmethod
    def load(cls, path: str | Path) -> RefusalRule:
        """Reads a rule that `save` wrote.

        Raises:
            ConfigError: the file cannot be read, is no rule, or was fitted on other features than this version has.
        """
        try:
            rule = cls.model_validate_json(Path(path).read_text("utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"{path}: cannot be read ({error}); make one: qa.calibrate(questions).save(path)"
            ) from None
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"]) or "the file"
            raise ConfigError(f"{path}: is no refusal rule ({key}: {first['msg']})") from None
        if rule.weights.keys() != set(Features._fields):
            raise ConfigError(
                f"{path}: was fitted on the features {', '.join(rule.weights)}; this version has "
                f"{', '.join(Features._fields)}. Calibrate again: qa.calibrate(questions).save(path)"
            )
        return rule

    def save(self, path: str | Path) -> Path:
        """Writes the rule as JSON."""
        Path(path).write_text(self.model_dump_json(indent=2) + "\n", "utf-8")
        return Path(path)


# --- asking with a rule --------------------------------------------------------------------------------------------


def decide(
    rule: RefusalRule, question: str, evidence: Sequence[Evidence], term_weight: TermWeight | None = None
) -> Abstention | None:
    """None if the rule lets the question be answered, else an abstention `weak_evidence`, in Chinese."""
    if score(rule, features(question, evidence, term_weight)) >= rule.threshold:
        return None
    return Abstention(
        reason="weak_evidence",
        text=f"检索到的文献不足以达到设定的可靠程度（答错的比例不超过{rule.risk * 100:g}%），因此不作回答。{ADVICE}",
    )


def score(rule: RefusalRule, found: Features) -> float:
    """How sure the rule is that the answer is right: log odds as fitted, of use for comparing alone."""
    return _score(rule.intercept, [rule.weights[name] for name in found._fields], found)


def _score(intercept: float, weights: Sequence[float], found: Features) -> float:
    return intercept + sum(weight * value for weight, value in zip(weights, found, strict=True))


def confidence(
    rule: RefusalRule, question: str, evidence: Sequence[Evidence], term_weight: TermWeight | None = None
) -> float:
    """`score` of a question and its evidence as a probability, 0 to 1, without a guarantee of its own."""
    value = score(rule, features(question, evidence, term_weight))
    return 1 / (1 + exp(-max(-700.0, min(700.0, value))))


# --- fitting a rule ------------------------------------------------------------------------------------------------


def distinct(questions: Iterable[Question]) -> list[Question]:
    """Each question once, in order: of those that repeat, the documents are put together."""
    found: dict[str, tuple[str, ...]] = {}
    for one in questions:
        found[one.question] = tuple(dict.fromkeys((*found.get(one.question, ()), *one.documents)))
    return [Question(question=question, documents=documents) for question, documents in found.items()]


def trial(question: Question, meant: str, answer: Answer, term_weight: TermWeight | None = None) -> Trial:
    """What became of a calibration question, asked without a rule.

    Args:
        meant: the question as `decide` will get it (`rewriting.understood`).
        answer: the answer; wrong if it was given and cites no document of the question's.
    """
    cited = {citation.document_id for citation in answer.citations}
    answered = answer.abstention is None
    wrong = answered and cited.isdisjoint(question.documents)
    return Trial(question.question, features(meant, answer.evidence, term_weight), answered, wrong)


def fit(
    trials: Sequence[Trial], *, risk: float = 0.05, confidence: float = 0.95, seed: int = 0, system: str = ""
) -> RefusalRule:
    """The rule that answers most while its error among answered questions stays within the risk, with confidence.

    Args:
        trials: one for each question, those that were refused included; a fair draw of what will be asked.
        risk, confidence: the guarantee, each between 0 and 1.
        seed: of the split; name it beforehand.
        system: what the trials were made with, kept in the rule.

    Raises:
        InputError: risk or confidence out of range, a question twice, too few questions to show the risk (the message
            says how many are needed), or questions at which no threshold keeps it (the message says what was reached).
    """
    import numpy as np

    if not (0 < risk < 1 and 0 < confidence < 1):
        raise InputError(f"risk and confidence must lie between 0 and 1, not {risk} and {confidence}")
    if len({one.question for one in trials}) < len(trials):
        raise InputError("a question stands twice among the calibration questions; each counts once (see `distinct`)")
    order = np.random.default_rng(seed).permutation(len(trials))
    cut = round(FITTING_SHARE * len(trials))
    fitting = [trials[place] for place in order[:cut] if trials[place].answered]
    testing = [trials[place] for place in order[cut:] if trials[place].answered]
    _require_enough(len(trials), len(fitting), len(testing), risk, confidence)
    right = np.array([not one.wrong for one in fitting])
    x = np.array([one.features for one in fitting], dtype=float)
    fitted, array = logistic(x, right, PENALTY)
    weights = array.tolist()
    thresholds = sequence(out_of_fold(x, right), ~right, risk, len(testing))
    scores = [_score(fitted, weights, one.features) for one in testing]
    threshold = control(scores, [one.wrong for one in testing], thresholds, risk=risk, confidence=confidence)
    kept = [
        one.wrong
        for one, value in zip(testing, scores, strict=True)
        if value >= (thresholds[0] if threshold is None else threshold)
    ]
    if threshold is None:
        raise InputError(_not_shown(sum(kept), len(kept), risk, confidence))
    return RefusalRule(
        weights=dict(zip(Features._fields, weights, strict=True)),
        intercept=fitted,
        threshold=threshold,
        risk=risk,
        confidence=confidence,
        n=len(kept),
        errors=sum(kept),
        coverage=len(kept) / (len(trials) - cut),
        asked=len(trials),
        seed=seed,
        system=system,
        data_hash=_hash(trials),
        guarantee=_guarantee(sum(kept), len(kept), len(trials) - cut, risk, confidence),
    )


def _guarantee(errors: int, n: int, tested: int, risk: float, confidence: float) -> str:
    return (
        f"With probability at least {confidence:g} over the draw of the calibration questions, at most "
        f"{risk * 100:g} % of the answered questions are wrong (cite no document that answers them), among future "
        f"questions drawn like these and asked of the same system. Tested on {tested} questions that did not choose "
        f"the score: {n} answered, {errors} of them wrong (fixed-sequence testing, exact binomial tail)."
    )


def _require_enough(asked: int, fitting: int, testing: int, risk: float, confidence: float) -> None:
    least = needed(risk, confidence)
    if testing >= least and fitting >= LEAST_FITTING:
        return
    share = max((fitting + testing) / asked if asked else 1.0, 0.01)
    more = ceil(1.2 * max(least / (1 - FITTING_SHARE), LEAST_FITTING / FITTING_SHARE) / share)
    raise InputError(
        f"{asked} questions, {fitting + testing} of them answered, cannot show a risk of {risk:g} with confidence "
        f"{confidence:g}: that takes {least} answered questions without one error among those that test "
        f"({1 - FITTING_SHARE:.0%} of all; here {testing}) and {LEAST_FITTING} among the others (here {fitting}). "
        f"Give at least {max(more, asked + 1):,} questions, or allow a higher risk"
    )


def _not_shown(errors: int, n: int, risk: float, confidence: float) -> str:
    shown = upper_bound(errors, n, confidence)
    return (
        f"no threshold keeps the risk of {risk:g} with confidence {confidence:g} on these questions: at the one that "
        f"looked safest, {errors} of {n} answers were wrong, which shows a risk of {shown:.3f} at best. "
        "Allow a higher risk, give more questions, or improve what is found (more literature, a reranker)"
    )


def _hash(trials: Sequence[Trial]) -> str:
    rows = sorted([one.question, one.answered, one.wrong] for one in trials)
    return hashlib.sha256(json.dumps(rows, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()
