"""Whether a literature answers a question, learned from questions that were asked of it, answered and not.

    score = intercept + wording W + neighbours B + passage P + covered C   (each times its weight)

W: how the question's own words sound (`encoders.ngram_weights`): what this literature leaves out, such as prices,
brands, a neighbouring disease.
B: the share answered of the `NEIGHBOURS` nearest questions asked, each weighing exp(`SHARPNESS` * cosine).
P: the highest score of a passage of the evidence by the dense retriever.
C: the share of the question's matter in what was found of the first document (`confidence.covered`).
W and B rest on the encoder that comes with the package, whatever the index has.

It belongs to one literature. Where there is one, it takes the place of `abstention.judge` in all that is about weak
evidence; what is out of scope stays out of scope, which the score alone does not know, and a question with a red flag
is never refused by it. `python -m tools.fit_answerability` makes it and prints what each part is worth on the starter
literature. Not covered: a guarantee (`calibration`), and why: what sounds like another question may still differ.

Tried and left, by the area under the ROC curve of `tools.fit_answerability` (all four parts .963): the highest cosine
of a sentence beside P .963, instead of P .955; all twelve `confidence.Features` instead of P .959; the verdict of
`judge` .965, half of that on questions it was tuned on; the encoder's vectors instead of its n-grams for W, .81 instead
of .89 alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chimed_rag.encoders.ngram import shipped
from chimed_rag.encoders.ngram_weights import NgramWeights
from chimed_rag.errors import ConfigError
from chimed_rag.query.question import TermWeight
from chimed_rag.records import Abstention, Evidence
from chimed_rag.safety.abstention import ADVICE
from chimed_rag.safety.confidence import covered

MADE_BY = "python -m tools.fit_answerability"
WORDS, ASKED = "words.safetensors", "asked.safetensors"
NEIGHBOURS, SHARPNESS = 30, 20.0


@dataclass(frozen=True)
class Asked:
    """The questions that were asked of a literature, as the encoder's vectors rounded to 255 steps a row.

    Args:
        codes: int8 of shape (questions, d).
        scales: what a row's codes are multiplied by, float32 of shape (questions,).
        answered: whether the literature answers it, uint8 of shape (questions,).
    """

    codes: NDArray[np.int8]
    scales: NDArray[np.float32]
    answered: NDArray[np.uint8]

    @classmethod
    def of(cls, questions: Sequence[str], answered: Sequence[bool]) -> Asked:
        """Questions, and whether each is answered."""
        vectors = shipped().encode_queries(questions)
        scales = np.maximum(np.abs(vectors).max(axis=1), 1e-9).astype(np.float32) / np.float32(127)
        return cls(np.rint(vectors / scales[:, None]).astype(np.int8), scales, np.array(answered, np.uint8))

    def share_answered(self, question: str) -> float:
        """Of the nearest questions (B), 0 to 1; all of them where there are fewer."""
        cosines = (self.codes @ shipped().encode_queries([question])[0]) * self.scales
        count = min(NEIGHBOURS, len(cosines))
        nearest = np.argpartition(-cosines, count - 1)[:count]
        weights = np.exp(SHARPNESS * cosines[nearest])
        return float(weights @ self.answered[nearest] / weights.sum())

    def save(self, path: Path) -> None:
        """Writes them as safetensors."""
        from safetensors.numpy import save_file

        save_file({"codes": self.codes, "scales": self.scales, "answered": self.answered}, path)
        path.chmod(0o644)

    @classmethod
    def load(cls, path: Path) -> Asked:
        """Reads what `save` wrote.

        Raises:
            ConfigError: the file cannot be read, or holds something else.
        """
        from safetensors.numpy import load_file

        try:
            tensors = load_file(path)
            found = cls(tensors["codes"], tensors["scales"], tensors["answered"])
        except Exception as error:  # safetensors raises bare exceptions of its own
            raise ConfigError(f"{path}: cannot be read ({error!r}); make it again: {MADE_BY}") from None
        if found.codes.shape != (len(found.scales), shipped().spec.dimension) or len(found.answered) != len(
            found.codes
        ):
            raise ConfigError(f"{path}: its questions do not fit each other or the encoder; make it again: {MADE_BY}")
        return found


class Answerability:
    """What was learned about one literature.

    Args:
        words: weights whose `numbers` are the intercept, what W, B, P and C count, and the score from which on a
            question is answered.
        asked: the questions.
    """

    def __init__(self, words: NgramWeights, asked: Asked) -> None:
        self.words, self.asked = words, asked
        self.least = words.numbers[-1]

    @classmethod
    def load(cls, folder: str | Path) -> Answerability:
        """From a folder that `save` wrote.

        Raises:
            ConfigError: a file cannot be read, is something else, or was made for the encoder of another version.
        """
        words = NgramWeights.load(Path(folder) / WORDS, count=6, made_by=MADE_BY)
        return cls(words, Asked.load(Path(folder) / ASKED))

    def save(self, folder: str | Path) -> Path:
        """Writes both files into a folder."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        self.words.save(target / WORDS)
        self.asked.save(target / ASKED)
        return target

    def features(
        self, question: str, evidence: Sequence[Evidence], term_weight: TermWeight | None = None
    ) -> tuple[float, float, float, float]:
        """W, B, P and C."""
        return (
            self.words.of(question),
            self.asked.share_answered(question),
            max((one.ranks["dense"].score for one in evidence if "dense" in one.ranks), default=0.0),
            covered(question, evidence, term_weight),
        )

    def score(self, question: str, evidence: Sequence[Evidence], term_weight: TermWeight | None = None) -> float:
        """The sum of the module's first line: log odds as they were fitted."""
        intercept, *weights, _ = self.words.numbers
        found = self.features(question, evidence, term_weight)
        return intercept + sum(weight * value for weight, value in zip(weights, found, strict=True))

    def decide(
        self, question: str, evidence: Sequence[Evidence], term_weight: TermWeight | None = None
    ) -> Abstention | None:
        """None if the question is to be answered, else an abstention `weak_evidence`, in Chinese."""
        if self.score(question, evidence, term_weight) >= self.least:
            return None
        text = f"检索到的文献大概没有回答这个问题的内容，因此不作回答。{ADVICE}"
        return Abstention(reason="weak_evidence", text=text)
