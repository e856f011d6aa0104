"""Other people's protocols for questions with options, as their own code asks, reads and averages.

    lm-eval          EleutherAI/lm-evaluation-harness, tasks ceval-valid and cmmlu, without shots
    cmb-official     FreedomIntelligence/CMB, src/utils.py and score.py, direct answers
    cmexam-official  williamliujl/CMExam, src/evaluation/evaluate_lora_result.py
    opencompass      open-compass/opencompass, cmmlu_gen_c13365, cmmlu_0shot_cot_gen_305931, cmb_gen_dfb5c4

Each is replicated with its faults, which its class names; what a set has that the original never saw (a fifth option,
passages, no subject) is met in the nearest way. Not covered: examples shown before the question, the measures of
explanations, and models that judge.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from chimed_rag.evaluation.metrics.choice import macro_accuracy, shares, weighted_scores
from chimed_rag.evaluation.protocols.choice import Choice, most_probable, subject_of, with_passages
from chimed_rag.evaluation.samples import Prediction, Sample, Score
from chimed_rag.evaluation.statistics import Interval
from chimed_rag.generation.base import Message
from chimed_rag.generation.prompts import lettered

_CMB_LETTERS = "ABCDEFG"
_CMB_STATED = re.compile(r"(?:答案|正确选项)(?:是|：|为|应该是|应该为)([^。.]*)")
_NO_ANSWER = "无答案"


class LmEval(Choice):
    """The most probable letter behind a plain text, no reply is read; a prediction without probabilities is invalid.

    The harness puts a blank before the letter (`target_delimiter`), which stands at the end of the text here. Its
    acc_norm divides by the length of a letter and is its acc. It has C-Eval and CMMLU; other sets are asked as CMMLU.
    """

    name = "lm-eval"

    def messages(self, sample: Sample, passages: Sequence[str] = ()) -> list[Message]:
        """The plain text as a user's message, for models that take nothing else; the harness uses no chat here."""
        return [{"role": "user", "content": self.continuation(sample, passages).rstrip(" ")}]

    def continuation(self, sample: Sample, passages: Sequence[str] = ()) -> str:
        """See `Protocol.continuation`: description, question, options, 答案： and a blank."""
        about = subject_of(sample)
        description = (
            f"以下是中国关于{about}的单项选择题，请选出其中的正确答案。"
            if sample.metadata.get("set") == "ceval"
            else f"以下是关于{about}的单项选择题，请直接给出正确答案的选项。"
        )
        asked = f"{description}\n\n{sample.text.strip()}\n{lettered(sample.options)}\n答案： "
        return with_passages(asked, passages)

    def said(self, sample: Sample, prediction: Prediction) -> str:
        """See `Choice.said`."""
        return most_probable(sample, prediction)

    def read(self, sample: Sample, text: str) -> str:
        """Nothing: the harness reads no replies here."""
        return ""

    def notes(self, samples: Sequence[Sample], predictions: Sequence[Prediction], scores: Sequence[Score]) -> list[str]:
        """Besides, how many predictions have no probabilities."""
        without = sum(not prediction.logprobs and not prediction.error for prediction in predictions)
        found = super().notes(samples, predictions, scores)
        return [*found, f"{without} of {len(samples)} have no probabilities of letters: invalid"] if without else found


class CmbOfficial(Choice):
    """Letters A to G after 答案是 and the like up to the first full stop, else all letters of the reply; of a question
    with one right letter the first counts, else all in their order, so that BA is not AB, nor AAB.

    The accuracy of the official table is the mean over categories of the mean over their classes (`macro_accuracy`).
    Options of one character are left out of the prompt, as there.
    """

    name = "cmb-official"

    def messages(self, sample: Sample, passages: Sequence[str] = ()) -> list[Message]:
        """See `Protocol.messages`."""
        asked = f"{_cmb_introduction(sample)}\n{sample.text}\n{_cmb_options(sample)}"
        return [{"role": "user", "content": with_passages(asked, passages)}]

    def read(self, sample: Sample, text: str) -> str:
        """See `Choice.read`."""
        return cmb_vote([text], multiple=sample.multiple)

    def metrics(
        self, samples: Sequence[Sample], predictions: Sequence[Prediction], scores: Sequence[Score]
    ) -> dict[str, Interval]:
        """`macro_accuracy`, then what all protocols have; `accuracy` is over questions."""
        strata = [(str(sample.metadata.get("exam_type") or ""), sample.subject) for sample in samples]
        macro = macro_accuracy([score.outcome == "correct" for score in scores], strata)
        return {"macro_accuracy": macro, **super().metrics(samples, predictions, scores)}


def cmb_vote(replies: Sequence[str], *, multiple: bool) -> str:
    """The answer that most replies give, the first of a tie; a reply without letters does not vote.

    >>> cmb_vote(["答案是B。", "C", "我选B"], multiple=False)
    'B'
    """
    votes: Counter[str] = Counter()
    for reply in replies:
        stated = _CMB_STATED.search(reply)
        letters = "".join(letter for letter in (stated[1] if stated else reply) if letter in _CMB_LETTERS)
        if letters:
            votes[letters if multiple else letters[0]] += 1
    return votes.most_common(1)[0][0] if votes else ""


class CmexamOfficial(Choice):
    """Every option whose letter, or the first word of whose text, stands in the reply is said, and all that are said
    must be the right ones; a reply that has 解释 in it is read up to the end of its first line.

    A reply that gives reasons without that word thus says whatever letters its reasons hold. Precision, recall and F1
    are weighted over the right answers as classes; a reply without any option is a class of its own.
    """

    name = "cmexam-official"

    def messages(self, sample: Sample, passages: Sequence[str] = ()) -> list[Message]:
        """See `Protocol.messages`."""
        options = "\n".join(f"{letter} {text}" for letter, text in sample.options.items())
        return [{"role": "user", "content": with_passages(f"问题: {sample.text}, \n 选项: {options}", passages)}]

    def read(self, sample: Sample, text: str) -> str:
        """See `Choice.read`."""
        told = text.split("\n")[0].strip() if "解释" in text else text
        words = {letter: option.split()[:1] for letter, option in sample.options.items()}
        return "".join(letter for letter, word in words.items() if letter in told or any(one in told for one in word))

    def metrics(
        self, samples: Sequence[Sample], predictions: Sequence[Prediction], scores: Sequence[Score]
    ) -> dict[str, Interval]:
        """What all protocols have, and weighted precision, recall and F1."""
        found = super().metrics(samples, predictions, scores)
        return found | weighted_scores([one.answer for one in samples], [one.said or _NO_ANSWER for one in scores])


class OpenCompass(Choice):
    """Questions with one right letter: the first capital of the reply, which may be that of DNA (cmmlu_gen_c13365).
    Questions with several, and all of CMB: the set of all capitals, whatever they stand for.

    `reasoned` is the accuracy by the reading of the newer configuration, which has a model give its reasons first: what
    stands behind 答案 and a colon, anywhere in the reply. A full-width colon or a bare letter is no answer there, a
    small letter a wrong one, so that replies to any other prompt score near zero.
    """

    name = "opencompass"

    def messages(self, sample: Sample, passages: Sequence[str] = ()) -> list[Message]:
        """See `Protocol.messages`."""
        if _all_capitals(sample):
            asked = f"{_cmb_introduction(sample)}\n{sample.text}\n{_cmb_options(sample)} \n 答案: "
        else:
            told = f"以下是关于{subject_of(sample)}的单项选择题，请直接给出正确答案的选项。"
            asked = f"{told}\n题目：{sample.text}\n{lettered(sample.options)}"
        return [{"role": "user", "content": with_passages(asked, passages)}]

    def read(self, sample: Sample, text: str) -> str:
        """See `Choice.read`."""
        capitals = [letter for letter in text if letter.isupper()]
        return "".join(sorted(set(capitals))) if _all_capitals(sample) else "".join(capitals[:1])

    def score(self, sample: Sample, prediction: Prediction) -> Score:
        """See `Protocol.score`."""
        judged = super().score(sample, prediction)
        letters = f"{min(sample.options)}-{max(sample.options)}"
        found = re.search(rf"答案\s*:\W*([{letters}])", prediction.text, re.IGNORECASE)
        hit = found is not None and not prediction.error and found[1] == sample.answer
        return judged.model_copy(update={"values": {**judged.values, "reasoned": float(hit)}})

    def metrics(
        self, samples: Sequence[Sample], predictions: Sequence[Prediction], scores: Sequence[Score]
    ) -> dict[str, Interval]:
        """What all protocols have, and `reasoned`."""
        hits = [bool(score.values["reasoned"]) for score in scores]
        found = super().metrics(samples, predictions, scores)
        return found | shares({"reasoned": hits}, [sample.group for sample in samples])


def _all_capitals(sample: Sample) -> bool:
    return sample.multiple or sample.metadata.get("set") == "cmb"


def _cmb_introduction(sample: Sample) -> str:
    """CMB's sentence before a question; examinations of other sets have no type and class."""
    kind = "多项选择题" if sample.multiple else "单项选择题"
    told = [str(sample.metadata.get(key) or "") for key in ("exam_type", "exam_class")]
    examination = f"{told[0]}中{told[1]}考试" if all(told) else "医学考试"
    called = str(sample.metadata.get("type") or kind) if all(told) else kind
    return f"以下是中国{examination}的一道{called}，不需要做任何分析和解释，直接输出答案选项。"


def _cmb_options(sample: Sample) -> str:
    return lettered({letter: text for letter, text in sample.options.items() if len(text) > 1})
