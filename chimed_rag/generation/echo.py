"""A generator that says what it was told to: the public test double for everything downstream of generation.

Not covered: answering. Its sentences may be wrong on purpose, so that a test can see the checks at work.
"""

from __future__ import annotations

from collections.abc import Sequence

from chimed_rag.generation.markers import read_draft
from chimed_rag.query.question import TermWeight
from chimed_rag.records import Draft, DraftCitation, DraftSentence, Evidence
from chimed_rag.text import sentence_spans


class EchoGenerator:
    """Echoes a script, or the first sentence of each passage with its place.

    Args:
        script: what to say. A string is read as a language model's words are (`markers.read_draft`): "每日三次。[1][2]" gives
            citations without a place. None: the first sentence of each passage.

    >>> EchoGenerator(["水是液体。[1]"]).generate("水？", []).sentences[0].citations[0].number
    1
    """

    name = "echo"

    def __init__(self, script: Sequence[str | DraftSentence] | None = None) -> None:
        self._script = None if script is None else tuple(said for one in script for said in _scripted(one))

    def generate(self, question: str, evidence: Sequence[Evidence], *, term_weight: TermWeight | None = None) -> Draft:
        """The script, whatever the question; without a script, one sentence for each passage that has one."""
        sentences = self._script if self._script is not None else tuple(_first_sentences(evidence))
        return Draft(generator=self.name, sentences=sentences)


def _scripted(sentence: str | DraftSentence) -> tuple[DraftSentence, ...]:
    """The sentences of a string as `read_draft` reads it; an empty one stays a sentence that says nothing."""
    if isinstance(sentence, DraftSentence):
        return (sentence,)
    return read_draft("echo", sentence).sentences or (DraftSentence(text=sentence.strip()),)


def _first_sentences(evidence: Sequence[Evidence]) -> list[DraftSentence]:
    return [
        DraftSentence(
            text=passage.text[begin:end], citations=(DraftCitation(number=passage.number, begin=begin, end=end),)
        )
        for passage in evidence
        for begin, end in sentence_spans(passage.text)[:1]
    ]
