"""Who says whether passages entail a sentence: the library's own proof, an NLI model, or any function.

A judge has a name and a version, which belong beside every number that rests on it. The proof (`safety.citations`) is
the default: it needs no model. An answer of `MedQA` has passed that very proof already, so it judges such an answer
kindly; another judge is the better witness. Not covered: how good a judge is; Chinese NLI models are not medical:
measure yours on pairs labelled by hand (`benchmarks/proof.py` does so for the proof).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from chimed_rag import __version__
from chimed_rag.errors import InputError, MissingExtraError
from chimed_rag.records import Draft, DraftCitation, DraftSentence, Evidence
from chimed_rag.safety.citations import verify

Says = Callable[[str, str], bool]
"""(premise, claim) to whether the premise entails the claim."""


@runtime_checkable
class Judge(Protocol):
    """Decides on entailment.

    Attributes:
        name, version: what the decisions depend on.
    """

    name: str
    version: str

    def __call__(self, passages: Sequence[Evidence], claim: str) -> bool:
        """Whether these passages together entail a sentence; no passages entail nothing."""
        ...


def evidence_of(texts: Sequence[str]) -> tuple[Evidence, ...]:
    """Plain texts as passages numbered from 1, each a document of its own."""
    return tuple(
        Evidence(number=n, chunk_id=str(n), document_id=str(n), text=text, start=0, end=len(text), score=0.0)
        for n, text in enumerate(texts, 1)
    )


def premise_of(passages: Sequence[Evidence]) -> str:
    """Passages as one text: title and headings, then the words of each, one after the other."""
    return "\n".join(part for one in passages for part in ("：".join((one.title, *one.headings)), one.text) if part)


class ProofJudge:
    """The proof of `safety.citations`: words, numbers, negation, strength, population and names."""

    name = "proof"
    version = __version__

    def __call__(self, passages: Sequence[Evidence], claim: str) -> bool:
        """Whether one of the passages, or all together, prove the sentence."""
        # The passages stand for whole documents here: an answer travels without its index.
        texts = {str(place): one.text for place, one in enumerate(passages)}
        whole = [
            one.model_copy(update={"number": place + 1, "document_id": str(place), "start": 0, "runs": ()})
            for place, one in enumerate(passages)
        ]
        cited = tuple(DraftCitation(number=one.number) for one in whole)
        if not cited:
            return False
        draft = Draft(generator="", sentences=(DraftSentence(text=claim, citations=cited),))
        (sentence,) = verify(draft, whole, texts.__getitem__)
        return sentence.verdict == "supported"


class FunctionJudge:
    """Any function of premise and claim, under its own name."""

    def __init__(self, says: Says, version: str = "") -> None:
        self.name = getattr(says, "__name__", type(says).__name__)
        self.version = version
        self._says = says

    def __call__(self, passages: Sequence[Evidence], claim: str) -> bool:
        """What the function says of the passages as one text (`premise_of`)."""
        return bool(passages) and bool(self._says(premise_of(passages), claim))


class NliJudge:
    """A sequence classifier of transformers that has a label for entailment, such as Erlangshen-…-NLI.

    A premise that is too long is read in windows that overlap; one that entails is enough. Weights are read from
    safetensors files only, and code that comes with a model is not run.

    Args:
        folder: of the model.
        threshold: probability of entailment from which a sentence counts as entailed.
        label: the number of the label that means entailment, where the model's own names do not tell.

    Raises:
        InputError: no model is there, or none of its labels is called entailment.
        MissingExtraError: transformers is not installed.
    """

    def __init__(self, folder: str | Path, *, threshold: float = 0.5, label: int | None = None) -> None:
        try:
            from transformers import AutoModelForSequenceClassification, AutoTokenizer
        except ImportError as error:
            raise MissingExtraError("transformers", "models") from error
        self._folder, self._threshold = Path(folder), threshold
        weights = sorted(self._folder.glob("*.safetensors"))
        if not (self._folder / "config.json").is_file() or not weights:
            raise InputError(f"{folder}: holds no model with config.json and *.safetensors")
        self._tokenizer: Any = AutoTokenizer.from_pretrained(self._folder, local_files_only=True)
        self._model: Any = AutoModelForSequenceClassification.from_pretrained(
            self._folder, local_files_only=True, use_safetensors=True
        ).eval()
        self._label = _entailment(self._model.config.id2label, self._folder) if label is None else label
        self.name = self._folder.name
        digest = hashlib.sha256()
        for file in weights:
            with file.open("rb") as opened:
                while block := opened.read(1 << 20):
                    digest.update(block)
        self.version = digest.hexdigest()[:16]

    def __call__(self, passages: Sequence[Evidence], claim: str) -> bool:
        """Whether a window of the passages entails the sentence."""
        return bool(passages) and self.probabilities([(premise_of(passages), claim)])[0] >= self._threshold

    def probabilities(self, pairs: list[tuple[str, str]]) -> list[float]:
        """Of each (premise, claim) how probable entailment is, 0 to 1; `MedQA(nli=judge.probabilities)` takes it."""
        import torch

        most = min(self._tokenizer.model_max_length, getattr(self._model.config, "max_position_embeddings", 512), 512)
        found = []
        for premise, claim in pairs:
            # The claim may take half of the room at most, or no window of the premise would fit beside it.
            kept = self._tokenizer(
                claim, truncation=True, max_length=most // 2, add_special_tokens=False, return_offsets_mapping=True
            )["offset_mapping"]
            said = claim[: kept[-1][1]] if kept else claim
            read = self._tokenizer(
                premise, said, truncation="only_first", max_length=most, stride=most // 8, padding=True,
                return_overflowing_tokens=True, return_tensors="pt",
            )  # fmt: skip
            read.pop("overflow_to_sample_mapping", None)
            with torch.inference_mode():
                logits = self._model(**read).logits
            found.append(float(logits.softmax(-1)[:, self._label].max()))
        return found


def _entailment(labels: dict[int, str], folder: Path) -> int:
    for number, name in labels.items():
        if name.lower().startswith("entail") or "蕴含" in name:
            return int(number)
    named = ", ".join(f"{number}: {name}" for number, name in labels.items())
    raise InputError(f"{folder}: no label is called entailment ({named}); say which with NliJudge(..., label=N)")


def judge_of(meant: Judge | Says | str | Path | None) -> Judge:
    """The judge that is meant: None the proof, a path an NLI model, a function itself.

    Raises:
        InputError, MissingExtraError: as `NliJudge`.
    """
    if meant is None:
        return ProofJudge()
    if isinstance(meant, str | Path):
        return NliJudge(meant)
    return meant if isinstance(meant, Judge) else FunctionJudge(meant)
