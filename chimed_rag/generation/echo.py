"""A generator that says what it was told to: the public test double for everything downstream of generation.

Not covered: answering. Its sentences may be wrong on purpose, so that a test can see the checks at work.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from chimed_rag.query.question import TermWeight
from chimed_rag.records import Draft, DraftCitation, DraftSentence, Evidence
from chimed_rag.text import sentence_spans

_MARKERS = re.compile(r"(?:\s*\[\d+\])+\s*$")


class EchoGenerator:
    """Echoes a script, or the first sentence of each passage with its place.

    Args:
        script: the sentences to say. A string may end in markers, "每日三次。[1][2]": they become citations without a
            place, as a language model gives them. None: the first sentence of each passage.

    >>> EchoGenerator(["水是液体。[1]"]).generate("水？", []).sentences[0].citations[0].number
    1
    """

    name = "echo"

    def __init__(self, script: Sequence[str | DraftSentence] | None = None) -> None:
        self._script = None if script is None else tuple(map(_scripted, script))

    def generate(self, question: str, evidence: Sequence[Evidence], *, term_weight: TermWeight | None = None) -> Draft:
        """The script, whatever the question; without a script, one sentence for each passage that has one."""
        sentences = self._script if self._script is not None else tuple(_first_sentences(evidence))
        return Draft(generator=self.name, sentences=sentences)


def _scripted(sentence: str | DraftSentence) -> DraftSentence:
    if isinstance(sentence, DraftSentence):
        return sentence
    marked = _MARKERS.search(sentence)
    numbers = re.findall(r"\d+", marked[0]) if marked else []
    text = sentence[: marked.start()] if marked else sentence
    return DraftSentence(text=text, citations=tuple(DraftCitation(number=int(number)) for number in numbers))


def _first_sentences(evidence: Sequence[Evidence]) -> list[DraftSentence]:
    return [
        DraftSentence(
            text=passage.text[begin:end], citations=(DraftCitation(number=passage.number, begin=begin, end=end),)
        )
        for passage in evidence
        for begin, end in sentence_spans(passage.text)[:1]
    ]
