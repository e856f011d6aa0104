"""What a reply to a grounding sample does: hold a right answer, refuse, repeat a falsehood, tell a conflict.

A reply holds a right answer if the longest common subsequence of characters covers `FOUND` of a reference (recall of
ROUGE-L, rouge-score), or `COVERED` of it while each number and unit of the reference is in the reply. RGB looks for the
answer as a string, which a free answer does not have. Measured on questions to the starter literature: an answer to
another question reaches `FOUND` in 0 of 238, repeating the distractors in .07 of cases, own extractive answers in .91;
at .5 it was .01, .21 and .93. Not covered: right answers in other words, and falsehoods in other words.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import Any

from chimed_rag.errors import MissingExtraError
from chimed_rag.evaluation.metrics.citations import sentences_of, share
from chimed_rag.evaluation.metrics.judges import evidence_of
from chimed_rag.evaluation.samples import Prediction, Sample
from chimed_rag.generation.replies import is_not_told
from chimed_rag.records import Evidence
from chimed_rag.safety.conversion import agree
from chimed_rag.safety.measures import measures
from chimed_rag.safety.quoting import squeezed
from chimed_rag.text import terms

FOUND, COVERED = 0.6, 0.3
"""Shares of a reference's characters that a reply must hold in order: alone, and where all its numbers agree."""
ALIKE = 0.3
"""A sentence repeats a false number if it has this share of the terms of the false sentence."""
_INSUFFICIENT = "信息不足"  # what RGB has a model say
_FLAGS = re.compile("不一致|互?相矛盾|有矛盾|有冲突|不相符|事实性错误|有误|存疑")


def holds(words: str, reference: str) -> bool:
    """Whether a reply holds a right answer.

    Raises:
        MissingExtraError: rouge-score is not installed.
    """
    if reference.strip() and squeezed(reference) in squeezed(words):
        return True  # word for word: all of it, without the time that ROUGE takes
    recall = float(_rouge().score(reference, words)["rougeL"].recall) if words.strip() and reference.strip() else 0.0
    if recall >= FOUND:
        return True
    wanted, said = measures(reference), measures(words)
    return bool(wanted) and recall >= COVERED and all(any(agree(one, other) for other in said) for one in wanted)


@cache
def _rouge() -> Any:
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError as error:
        raise MissingExtraError("rouge_score", "evaluation") from error
    return RougeScorer(["rougeL"], tokenizer=_Characters())


class _Characters:
    """Tokenizer for rouge-score: each character that is not blank; width and case make no difference."""

    def tokenize(self, text: str) -> list[str]:
        return [sign for sign in unicodedata.normalize("NFKC", text).lower() if not sign.isspace()]


def shown(sample: Sample, prediction: Prediction) -> Sequence[Evidence]:
    """The passages that the marks of a reply count: the answer's evidence, else what was shown, else the sample's."""
    if prediction.answer is not None:
        return prediction.answer.evidence
    return evidence_of(prediction.passages or sample.passages)


def words_of(prediction: Prediction) -> str:
    """The sentences of a reply, without marks."""
    return "\n".join(one.text for one in sentences_of(prediction.answer or prediction.text))


def refuses(prediction: Prediction) -> bool:
    """Whether a reply says that the passages do not tell, and cites none (所给文献没有说明, or RGB's 信息不足)."""
    if prediction.answer is not None:
        return prediction.answer.abstention is not None
    said = prediction.text
    return (is_not_told(said) or _INSUFFICIENT in said) and not any(one.numbers for one in sentences_of(said))


def tells_conflict(prediction: Prediction) -> bool:
    """Whether a reply says that passages disagree or err: a notice of kind `conflict`, or its own words."""
    notices = prediction.answer.notices if prediction.answer is not None else ()
    return any(one.kind == "conflict" for one in notices) or bool(_FLAGS.search(words_of(prediction)))


def asserts(words: str, sample: Sample) -> bool:
    """Whether a reply says what was made false in the sample's passages (`readers.falsehoods`)."""
    known = {key: str(sample.metadata.get(key, "")) for key in ("kind", "true", "false", "sentence")}
    if known["kind"] == "drug":
        return squeezed(known["false"]) in squeezed(words)
    if known["kind"] == "negation":
        # 不能服用 holds 能服用: what is true is taken out before what is false is looked for.
        return squeezed(known["false"]) in squeezed(words).replace(squeezed(known["true"]), "\n")
    true, wanted = measures(known["true"]), frozenset(terms(known["sentence"]))
    false = [one for one in measures(known["false"]) if not any(agree(one, other) for other in true)]
    return any(
        share(len(wanted & frozenset(terms(one.text))), len(wanted)) >= ALIKE
        and any(agree(said, other) for said in measures(one.text) for other in false)
        for one in sentences_of(words)
    )


def confidence(prediction: Prediction) -> float | None:
    """How sure the system says it is; a refusal or an error is surest of nothing."""
    return None if prediction.error or refuses(prediction) else prediction.confidence


def best_passage(prediction: Prediction) -> float | None:
    """The plain threshold's confidence: the score of the best passage of an answer."""
    answer = prediction.answer
    if prediction.error or answer is None or answer.abstention is not None:
        return None
    return max((one.score for one in answer.evidence), default=None)
