"""How answers to open questions and a doctor's turns are asked for and scored against reference texts.

`strict-v1` compares characters (`metrics.text`) with all references of a sample. What a model writes around its answer
(thinking, fences, "回答：") is taken off, and so are marks of citations where it was shown passages. `chimedgpt-legacy`
gives the columns of ChiMed-GPT's paper (`metrics.legacy_text`), each reference a pair of its own, from the reply as it
came; beside them stands what the same replies score when each is given to another sample.

Another sample's real answer scores, on 2,984 questions of Huatuo-26M, rougeL .112 and bleu1 .175, but B-1 .391 and B-2
.297; another dialogue's turn, on 2,789 turns of doctors, .132, .222, .445 and .352. ChiMed-GPT's paper has .446 and
.372 for its best model on its own set, and .336 and .283 for GPT-4. So baselines stand beside every result.

All numbers lie between 0 and 1 (the paper prints them times 100). Not covered: whether an answer is right or safe, and
ChiMed-GPT's prompt to the letter: a chat template sets the marks of turns.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from chimed_rag.errors import InputError
from chimed_rag.evaluation.metrics import legacy_text, text
from chimed_rag.evaluation.protocols.base import OfSums, Protocol
from chimed_rag.evaluation.samples import Outcome, Prediction, Sample, Score
from chimed_rag.evaluation.statistics import Interval, clustered_means
from chimed_rag.generation.base import Message
from chimed_rag.generation.prompts import load_prompt
from chimed_rag.generation.replies import is_not_told
from chimed_rag.generation.wrappings import unwrapped
from chimed_rag.records import Evidence

_MARK = re.compile(r"[ ]?[\[［【〔]\d{1,3}(?:[,，、\-–—~～ ]{1,2}\d{1,3}){0,9}[\]］】〕]")

Baselines = dict[str, dict[str, float]]


class StrictTexts(Protocol):
    """Corpus BLEU and ROUGE by characters."""

    name: ClassVar[str] = "strict-v1"
    libraries: ClassVar[tuple[str, ...]] = ("sacrebleu", "rouge-score")

    def messages(self, sample: Sample, passages: Sequence[str] = ()) -> list[Message]:
        """The question alone (closed_book@1, dialogue@1), or with passages (citation@1); turns before it as turns."""
        alone = "dialogue@1" if self.kind == "dialogue" else "closed_book@1"
        evidence = [
            Evidence(number=n, chunk_id=f"p{n}", document_id=f"p{n}", text=one, start=0, end=len(one), score=0)
            for n, one in enumerate(passages, 1)
        ]
        prompt = load_prompt("citation@1" if passages else alone)
        return prompt.messages(evidence=evidence, turns=sample.turns, question=sample.text)

    def score(self, sample: Sample, prediction: Prediction) -> Score:
        """ "scored" with ROUGE; an empty reply is "invalid". `said` is what was compared.

        Raises:
            InputError: the sample has no reference.
        """
        _check(sample)
        said = _judged(prediction)
        outcome = _outcome(prediction, said)
        rouge = text.rouge(said, sample.references)._asdict()
        return Score(id=sample.id, outcome=outcome, values={**rouge, "empty": float(outcome == "invalid")}, said=said)

    def metrics(
        self, samples: Sequence[Sample], predictions: Sequence[Prediction], scores: Sequence[Score]
    ) -> dict[str, Interval]:
        """rougeL, rouge1, rouge2 (means), bleu1, bleu2, bleu4, length_ratio (of the corpus), empty (a share)."""
        # In the order of ids, so that the order in which samples come makes no difference to a bootstrap.
        order = sorted(range(len(samples)), key=lambda place: samples[place].id)
        groups = [_group(samples[place]) for place in order]
        columns = {
            name: np.array([scores[place].values[name] for place in order])
            for name in ("rougeL", "rouge1", "rouge2", "empty")
        }
        means = clustered_means(columns, groups)
        counts = text.bleu_counts(
            [scores[place].said for place in order], [samples[place].references for place in order]
        )
        empty = means.pop("empty")
        return {**means, **text.bleu(counts, groups), "length_ratio": text.length_ratio(counts, groups), "empty": empty}

    def corpus(self, samples: Sequence[Sample], scores: Sequence[Score]) -> tuple[text.Counts, OfSums]:
        """bleu1, bleu2 and bleu4, from n-gram counts."""
        counts = text.bleu_counts([score.said for score in scores], [sample.references for sample in samples])
        return counts, text.bleu_of_sums

    def groups(
        self, samples: Sequence[Sample], predictions: Sequence[Prediction], scores: Sequence[Score]
    ) -> dict[str, dict[str, Interval]]:
        """rougeL by subject (department), where there are several."""
        subjects = sorted({sample.subject for sample in samples})
        if len(subjects) < 2:
            return {}
        found = {}
        for subject in subjects:
            of = sorted(
                (sample.id, _group(sample), score.values["rougeL"])
                for sample, score in zip(samples, scores, strict=True)
                if sample.subject == subject
            )
            found[subject or "-"] = clustered_means(
                {"rougeL": np.array([one[2] for one in of])}, [one[1] for one in of]
            )
        return found

    def baselines(self, samples: Sequence[Sample]) -> Baselines:
        """Another sample's reference, the question itself (a patient's last turn), and nothing."""
        for sample in samples:
            _check(sample)
        references = [sample.references for sample in samples]
        found = {"question": self._plain([sample.text for sample in samples], references)}
        if others := strangers(samples):
            found["shuffled"] = self._plain([references[other][0] for other in others], references)
        return {**found, "empty": self._plain([""] * len(samples), references)}

    def _plain(self, replies: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
        """The metrics without intervals."""
        rouges = np.array([text.rouge(reply, wanted) for reply, wanted in zip(replies, references, strict=True)])
        sums = text.bleu_counts(replies, references).sum(axis=0).tolist()
        rouge1, rouge2, longest = rouges.mean(axis=0).tolist()
        return {
            "rougeL": longest,
            "rouge1": rouge1,
            "rouge2": rouge2,
            **text.bleu_of_sums(sums),
            "length_ratio": sums[0] / sums[1] if sums[1] else 0.0,
        }

    def notes(self, samples: Sequence[Sample], predictions: Sequence[Prediction], scores: Sequence[Score]) -> list[str]:
        """sacrebleu's signature, how varied the replies are, how many were cut short or tell nothing."""
        said = [score.said for score in scores]
        signature = text.bleu_signature([sample.references for sample in samples])
        found = [
            f"BLEU is of the whole corpus, sacrebleu {signature}; its interval resamples the rows' n-gram counts",
            f"different pairs of characters in the replies: {text.distinct_n(said, 2):.3f} of all",
        ]
        cut = sum(prediction.finish in ("length", "time") for prediction in predictions)
        silent = sum(map(is_not_told, said))
        if cut:
            found.append(f"{cut} of {len(samples)} replies ended at a limit of length or time")
        if silent:
            found.append(f"{silent} of {len(samples)} replies say that the passages do not answer; they are scored")
        return found


class LegacyTexts(Protocol):
    """The columns of ChiMed-GPT's paper, computed as its code does."""

    name: ClassVar[str] = "chimedgpt-legacy"
    warning: ClassVar[str] = (
        "B-1 and B-2 are NOT BLEU: they are computed over strings whose every second and third sign is a blank, and "
        "texts that have nothing to do with each other score .45/.35 and more (the paper's best: .4458/.3722). R-L is "
        "not ROUGE-L. Compare them with nothing but the paper's own tables; strict-v1 has the proper numbers."
    )
    libraries: ClassVar[tuple[str, ...]] = ("sacrebleu", "rouge")

    def messages(self, sample: Sample, passages: Sequence[str] = ()) -> list[Message]:
        """The question with the turns before it, and nothing else.

        Raises:
            InputError: there are passages, which the paper's models were never shown.
        """
        if passages:
            raise InputError("chimedgpt-legacy shows no passages to a model; use --protocol strict-v1")
        prompt = load_prompt("dialogue_legacy@1" if self.kind == "dialogue" else "closed_book_legacy@1")
        return prompt.messages(turns=sample.turns, question=sample.text)

    def score(self, sample: Sample, prediction: Prediction) -> Score:
        """ "scored" with R-1, R-2 and R-L, means over the references; an empty reply, over which the paper's code
        raises, is "invalid" and 0.

        Raises:
            InputError: the sample has no reference.
        """
        _check(sample)
        said = "" if prediction.error else prediction.text.strip()
        return Score(id=sample.id, outcome=_outcome(prediction, said), values=_rouge(said, sample), said=said)

    def metrics(
        self, samples: Sequence[Sample], predictions: Sequence[Prediction], scores: Sequence[Score]
    ) -> dict[str, Interval]:
        """B-1, B-2 (of the corpus), R-1, R-2, R-L (means); every reference is a pair, a sample's pairs a group."""
        order = sorted(range(len(samples)), key=lambda place: samples[place].id)
        groups = [_group(samples[place]) for place in order]
        counts = _pair_counts([scores[place].said for place in order], [samples[place] for place in order])
        pairs = [len(samples[place].references) for place in order]
        columns = {
            name: np.repeat([scores[place].values[name] for place in order], pairs).astype(np.float64)
            for name in _ROUGE
        }
        means = clustered_means(columns, np.repeat(np.array(groups, dtype=object), pairs).tolist())
        return {**legacy_text.legacy_bleu(counts, groups), **means}

    def baselines(self, samples: Sequence[Sample]) -> Baselines:
        """Another sample's reference, and the question itself."""
        for sample in samples:
            _check(sample)
        found = {"question": _plain([sample.text for sample in samples], samples)}
        if others := strangers(samples):
            found["shuffled"] = _plain([samples[other].references[0] for other in others], samples)
        return found

    def notes(self, samples: Sequence[Sample], predictions: Sequence[Prediction], scores: Sequence[Score]) -> list[str]:
        """What the same replies score when each is given to another sample."""
        found = [f"{sum(len(sample.references) for sample in samples)} pairs of {len(samples)} samples"]
        if others := strangers(samples):
            replies = [scores[other].said for other in others]
            sums = _pair_counts(replies, samples).sum(axis=0).tolist()
            one, two = legacy_text.legacy_bleu_of_sums(sums).values()
            found.append(f"the same replies, each given to another sample, score B-1 {one:.4f} and B-2 {two:.4f}")
        return found


def strangers(samples: Sequence[Sample], seed: int = 0) -> list[int]:
    """For each sample the place of another one of another group, drawn once for each; the order of the samples makes no
    difference. Empty where all belong to one group."""
    if len(set(map(_group, samples))) < 2:
        return []
    drawn = sorted(
        range(len(samples)), key=lambda place: hashlib.sha256(f"{seed}\0{samples[place].id}".encode()).digest()
    )
    found = [0] * len(samples)
    for rank, place in enumerate(drawn):
        following = rank + 1
        while _group(samples[drawn[following % len(drawn)]]) == _group(samples[place]):
            following += 1
        found[place] = drawn[following % len(drawn)]
    return found


_ROUGE = ("R-1", "R-2", "R-L")


def _rouge(said: str, sample: Sample) -> dict[str, float]:
    rows = [legacy_text.legacy_rouge(said, reference) for reference in sample.references]
    return dict(zip(_ROUGE, np.mean(rows, axis=0).tolist(), strict=True))


def _pair_counts(replies: Sequence[str], samples: Sequence[Sample]) -> text.Counts:
    """`legacy_counts` of each sample, summed over its references, each of which is a pair."""
    pairs = [(reply, one) for reply, sample in zip(replies, samples, strict=True) for one in sample.references]
    rows = legacy_text.legacy_counts([reply for reply, _ in pairs], [[one] for _, one in pairs])
    starts = np.cumsum([0, *(len(sample.references) for sample in samples)])[:-1]
    return np.add.reduceat(rows, starts, axis=0)


def _plain(replies: Sequence[str], samples: Sequence[Sample]) -> dict[str, float]:
    sums = _pair_counts(replies, samples).sum(axis=0).tolist()
    rows = [_rouge(reply, sample) for reply, sample in zip(replies, samples, strict=True)]
    pairs = [len(sample.references) for sample in samples]
    means = {name: float(np.average([row[name] for row in rows], weights=pairs)) for name in _ROUGE}
    return {**legacy_text.legacy_bleu_of_sums(sums), **means}


def _judged(prediction: Prediction) -> str:
    """The part of a reply that is compared."""
    if prediction.error:
        return ""
    said = unwrapped(prediction.text)
    if prediction.passages or prediction.answer is not None:
        said = _MARK.sub("", said)
    return said.strip()


def _outcome(prediction: Prediction, said: str) -> Outcome:
    return "error" if prediction.error else "scored" if said else "invalid"


def _group(sample: Sample) -> str:
    return sample.group or f"\0{sample.id}"


def _check(sample: Sample) -> None:
    if not sample.references:
        raise InputError(f"sample {sample.id!r} has no reference to be compared with")
