"""How well the sentences of an answer rest on the passages that they cite.

Citation recall and precision are those of ALCE (Gao et al. 2023, arXiv:2305.14627, `eval.py` of its repository), with
Chinese sentences and all forms of marks (`generation.markers`):

    recall     share of sentences entailed by the passages that they cite, taken together; a sentence that cites
               nothing, or a passage that is not there, counts as not entailed
    precision  share of citations that are relevant; one is irrelevant if its sentence is not entailed at all, or if
               its passage alone does not entail it while the others still do. As in ALCE, citations of a sentence that
               names a missing passage are in neither side of the fraction: `valid` beside it tells of those

Both are of one answer, and are averaged over answers elsewhere. One difference from ALCE: a passage cited twice in a
sentence counts once. Not covered: who judges (`judges`), and whether what the passages say is true.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

from chimed_rag.evaluation.metrics.judges import Judge
from chimed_rag.generation.markers import read_draft
from chimed_rag.generation.replies import is_not_told
from chimed_rag.records import Answer, Evidence
from chimed_rag.safety.alignment import context_of, read
from chimed_rag.safety.comparison import numbers
from chimed_rag.safety.quoting import squeezed
from chimed_rag.text import sentence_spans

_LONGEST = 2000
"""Characters of a sentence that are compared letter by letter; what is longer is no sentence."""


class Cited(NamedTuple):
    """A sentence without its marks, and the numbers of the passages that it cites, each once."""

    text: str
    numbers: tuple[int, ...]


class Counts(NamedTuple):
    """What the sentences of one answer come to. All but the last two are counts.

    Attributes:
        sentences: all.
        citing: those that cite.
        entailed: those that the passages they cite entail (ALCE's numerator of recall).
        supported: those that any of the passages shown entail, cited or not.
        citations: pairs of sentence and passage cited.
        valid: those whose passage is there.
        counted: those that ALCE's precision is over.
        relevant: those that it counts for.
        numeric: sentences with a number or unit.
        agreeing: those whose numbers and units all stand in a passage they cite, of the same thing.
        copied: characters of the longest stretch of each sentence that stands in a passage shown, word for word.
        characters: of all sentences, blanks left out.
    """

    sentences: int = 0
    citing: int = 0
    entailed: int = 0
    supported: int = 0
    citations: int = 0
    valid: int = 0
    counted: int = 0
    relevant: int = 0
    numeric: int = 0
    agreeing: int = 0
    copied: int = 0
    characters: int = 0

    @property
    def recall(self) -> float:
        """ALCE's citation recall; 0 without sentences."""
        return share(self.entailed, self.sentences)

    @property
    def precision(self) -> float:
        """ALCE's citation precision; 0 without citations."""
        return share(self.relevant, self.counted)

    @property
    def f1(self) -> float:
        """The harmonic mean of both, of this answer."""
        return share(2 * self.recall * self.precision, self.recall + self.precision)


def share(part: float, whole: float) -> float:
    """A part of a whole; 0 of nothing."""
    return part / whole if whole else 0.0


def sentences_of(reply: str | Answer) -> tuple[Cited, ...]:
    """The sentences of a reply with what they cite; that the passages do not tell is not one of them."""
    if isinstance(reply, Answer):
        said = [(one.text, [citation.number for citation in one.citations]) for one in reply.sentences]
    else:
        draft = read_draft("", reply)
        said = [(one.text, [citation.number for citation in one.citations]) for one in draft.sentences]
    return tuple(Cited(text, tuple(dict.fromkeys(cited))) for text, cited in said if not is_not_told(text))


def count(sentences: Sequence[Cited], passages: Sequence[Evidence], judge: Judge) -> Counts:
    """Looks at each sentence beside the passages.

    Args:
        sentences: of one answer.
        passages: all that the system was shown; a citation means the one of its number.
        judge: of entailment; asked at most 2 + 2k times for a sentence that cites k passages.
    """
    there = {one.number: one for one in passages}
    total = dict.fromkeys(Counts._fields, 0)
    texts = [squeezed(one.text) for one in passages]
    for text, cited in sentences:
        known = [there[number] for number in cited if number in there]
        total["sentences"] += 1
        total["citing"] += bool(cited)
        total["citations"] += len(cited)
        total["valid"] += len(known)
        entailed = bool(cited) and len(known) == len(cited) and judge(known, text)
        if len(known) == len(cited):
            total["counted"] += len(cited)
        if entailed:
            total["entailed"] += 1
            total["relevant"] += sum(_is_relevant(one, known, text, judge) for one in known)
        total["supported"] += entailed or (bool(passages) and judge(passages, text))
        has_numbers, agree = numbers_agree(text, known)
        total["numeric"] += has_numbers
        total["agreeing"] += has_numbers and agree
        bare = squeezed(text)[:_LONGEST]
        total["characters"] += len(bare)
        total["copied"] += max((longest_common(bare, other) for other in texts), default=0)
    return Counts(**total)


def _is_relevant(one: Evidence, known: Sequence[Evidence], text: str, judge: Judge) -> bool:
    """Of a sentence that all of `known` together entail: whether this one is needed."""
    if len(known) == 1 or judge([one], text):
        return True
    return not judge([other for other in known if other is not one], text)


def numbers_agree(text: str, cited: Sequence[Evidence]) -> tuple[bool, bool]:
    """(whether a sentence has numbers or units, whether a passage cited has each of them, of the same thing).

    0.2 g is 200 mg and tid is 每日三次 (`safety.measures`); without citations nothing agrees.
    """
    sources = [read(one.text[begin:end]) for one in cited for begin, end in sentence_spans(one.text)]
    has_numbers, fault = numbers(read(text), sources, context_of(cited))
    return has_numbers, bool(sources) and not fault


def longest_common(one: str, other: str) -> int:
    """Characters of the longest stretch that stands in both texts."""
    if one in other:
        return len(one)
    return SequenceMatcher(None, one, other, autojunk=False).find_longest_match().size
