"""What a reply to a grounding sample does: hold a right answer, refuse, repeat a falsehood, tell a conflict.

A reply holds a right answer if, within a run of sentences of `ROOM` times its length, the longest common subsequence of
characters covers `FOUND` of a reference (recall of ROUGE-L, rouge-score), or `COVERED` of it while each number and unit
of the reference is there too. RGB looks for the answer as a string, which a free answer does not have. Measured on 238
questions to the starter literature: an extractive answer holds one in 149 of 165 cases, an answer to another question
in at most 1 of 238, all five distractors of a question repeated in 17 of 238. Over the whole reply in place of a run
and with `COVERED` at .3 the last were 74: whoever says much holds everything. Not covered: right answers in other
words, and falsehoods in other words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from chimed_rag.errors import MissingExtraError
from chimed_rag.evaluation.metrics.citations import sentences_of, share
from chimed_rag.evaluation.metrics.judges import evidence_of
from chimed_rag.evaluation.metrics.text import Characters
from chimed_rag.evaluation.samples import Prediction, Sample
from chimed_rag.generation.replies import is_not_told
from chimed_rag.records import Evidence
from chimed_rag.safety.conversion import agree
from chimed_rag.safety.measures import measures
from chimed_rag.safety.quoting import squeezed
from chimed_rag.text import sentence_spans, terms

FOUND, COVERED = 0.6, 0.45
"""Shares of a reference's characters that a reply must hold in order: alone, and where all its numbers agree."""
ROOM = 2
"""They must stand within so many times the reference's length."""
ALIKE = 0.3
"""A sentence repeats a false number if it has this share of the terms of the false sentence."""
_INSUFFICIENT = "信息不足"  # what RGB has a model say
_FLAGS = re.compile("不一致|互?相矛盾|有矛盾|有冲突|不相符|事实性错误|有误|存疑")


def holds(words: str, reference: str) -> bool:
    """Whether a reply holds a right answer.

    Raises:
        MissingExtraError: rouge-score is not installed.
    """
    if not words.strip() or not reference.strip():
        return False
    if squeezed(reference) in squeezed(words):
        return True  # word for word: all of it, without the time that ROUGE takes
    wanted = measures(reference)
    for stretch in _stretches(words, ROOM * len(reference)):
        recall = float(_rouge().score(reference, stretch)["rougeL"].recall)
        if recall >= FOUND:
            return True
        if wanted and recall >= COVERED:
            said = measures(stretch)
            if all(any(agree(one, other) for other in said) for one in wanted):
                return True
    return False


def _stretches(words: str, most: int) -> Iterator[str]:
    """Runs of whole sentences of at most so many characters, the longest from each sentence on; one that is longer
    stands alone."""
    spans = sentence_spans(words)
    last = -1
    for place, (begin, end) in enumerate(spans):
        stop = place
        while stop + 1 < len(spans) and spans[stop + 1][1] - begin <= most:
            stop += 1
        if stop > last:  # what lies within the run before holds no more than that
            yield words[begin : max(end, spans[stop][1])]
            last = stop


@cache
def _rouge() -> Any:
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError as error:
        raise MissingExtraError("rouge_score", "evaluation") from error
    return RougeScorer(["rougeL"], tokenizer=Characters())


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
