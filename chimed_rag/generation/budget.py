"""What of the evidence fits into a prompt: the best sentences of it; instructions and question never go.

A sentence is worth its relevance for the question, as the extractive generator weighs it (`extractive.weighed`); what
that passes over (scraps, documents on another matter) goes first, from the last passage on. A sentence brings the
heading and the lead (禁用于：) that it stands under. What is kept stands in its passage in order, with …… for each gap,
under the passage's own number, and `Evidence.runs` still say where it lies in the document. The proof compares a draft
with the passages as they were found, not with what was left of them here.

On starter questions with a sentence that answers among the evidence (n = 132, test split; 2,100 characters each), 200
characters kept hold such a sentence in .84, by the order of the passages alone in .67, by score and words shared with
the question in .75; 800 characters in .96, .94 and .96.

Not covered: what the prompt says (`prompts`), how many passages were retrieved (`config.EvidenceBudget`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from chimed_rag.errors import GeneratorError
from chimed_rag.generation.base import Message
from chimed_rag.generation.extractive import weighed
from chimed_rag.generation.prompts import Prompt
from chimed_rag.records import Evidence, Run
from chimed_rag.text import sentence_spans

GAP = "……"
MOST_TRIES = 6
"""So many selections are counted, before what is chosen is halved each time."""
_ENOUGH = 0.9  # of the room: filling more of it is not worth another count
_CAUTION = 0.97
_LEAD = re.compile(r"[：:]\Z")
_HEADING = re.compile(
    r"#{1,6}[ \t]|【[^【】\n]{1,20}】\Z"
    r"|(?!(?:[-*•·①-⑳]|[(（]?(?:\d{1,2}|[一二三四五六七八九十]{1,3})[.、)）]))[^。！？!?；;，,：:、.\n]{1,20}\Z"
)


class Fitted(NamedTuple):
    """A prompt that fits, and the passages in it, in their order; a passage that was cut holds fewer sentences."""

    messages: list[Message]
    evidence: list[Evidence]


class _Sentence(NamedTuple):
    """A sentence by its passage's place and its number there, with the headings and leads above it."""

    place: int
    number: int
    above: tuple[int, ...]
    worth: float


def fit(
    prompt: Prompt,
    question: str,
    evidence: Sequence[Evidence],
    count_tokens: Callable[[Sequence[Message]], int],
    room: int,
) -> Fitted:
    """The prompt with as much of the evidence as `room` tokens hold.

    Counts once where all of it fits, and as a rule three or four times where it does not: sentences are chosen by the
    characters that the tokens left seem to hold, and counted.

    Raises:
        GeneratorError: instructions and question alone do not fit, or not one sentence beside them; says by how much.
    """
    messages = prompt.messages(question=question, evidence=evidence)
    whole = count_tokens(messages)
    if whole <= room:
        return Fitted(messages, list(evidence))
    bare = count_tokens(prompt.messages(question=question))
    if bare > room:
        raise GeneratorError(f"question and instructions need {bare} tokens; there is room for {room}. {_ADVICE}")
    choice = _Choice(prompt, question, evidence)
    best: Fitted | None = None
    most, least = float(choice.letters), 0.0  # what is too much, what fits
    letters = max(_CAUTION * most * (room - bare) / (whole - bare), choice.least)
    tries = 0
    while (best is None or tries < MOST_TRIES) and (kept := choice.within(int(letters))):
        if best is not None and kept == best.evidence:
            break
        messages = prompt.messages(question=question, evidence=kept)
        needed = count_tokens(messages)
        tries += 1
        if needed > room:
            most = letters
        elif best is None or letters > least:
            best, least = Fitted(messages, kept), letters
            if needed >= _ENOUGH * room:
                break
        letters *= _CAUTION * (room - bare) / max(needed - bare, 1)
        if not least < letters < most or tries >= MOST_TRIES:
            letters = (least + most) / 2
        if best is None and letters < choice.least < most:
            letters = choice.least
    if best is None:
        raise GeneratorError(
            f"question and instructions need {bare} tokens; not one sentence of the evidence fits into the "
            f"{room - bare} that are left of {room}. {_ADVICE}"
        )
    return best


_ADVICE = (
    "Shorten the question, allow the model a larger context (generation.context_tokens) or a shorter reply "
    "(generation.max_new_tokens)"
)


class _Choice:
    """The sentences of the evidence, the worthiest first, and what they cost in characters."""

    def __init__(self, prompt: Prompt, question: str, evidence: Sequence[Evidence]) -> None:
        self._evidence = evidence
        self._spans = [sentence_spans(passage.text) for passage in evidence]
        self._around = [len(prompt.written(passage.model_copy(update={"text": ""}))) for passage in evidence]
        worth = self._worth(question)
        sentences = [
            _Sentence(place, number, above, worth.get((place, number), 0.0))
            for place, passage in enumerate(evidence)
            for number, above in enumerate(_above(passage.text, self._spans[place]))
        ]
        self._sentences = sorted(sentences, key=lambda one: -one.worth)
        costs = [self._cost(one, set()) for one in sentences]
        self.least = float(min(costs, default=0))
        self.letters = sum(self._around) + sum(end - begin for spans in self._spans for begin, end in spans)

    def _worth(self, question: str) -> dict[tuple[int, int], float]:
        """The relevance of the sentences, by place and number; of those that say nothing by themselves, none."""
        found: dict[tuple[int, int], float] = {}
        for candidate in weighed(question, self._evidence):
            for number, (begin, end) in enumerate(self._spans[candidate.place]):
                if any(begin < stop and start < end for start, stop in candidate.segment.spans):
                    key = candidate.place, number
                    found[key] = max(found.get(key, 0.0), candidate.relevance)
        return found

    def _cost(self, one: _Sentence, held: set[int]) -> int:
        """The characters that a sentence adds to those of its passage that are held already."""
        spans = self._spans[one.place]
        letters = sum(spans[number][1] - spans[number][0] for number in {*one.above, one.number} - held)
        return letters + (0 if held else self._around[one.place])

    def within(self, letters: int) -> list[Evidence]:
        """The passages with the worthiest sentences that so many characters hold."""
        taken: dict[int, set[int]] = {}
        for one in self._sentences:
            held = taken.get(one.place, set())
            if (cost := self._cost(one, held)) <= letters:
                letters -= cost
                taken[one.place] = {*held, *one.above, one.number}
        return [
            _cut(self._evidence[place], spans, taken[place])
            for place, spans in enumerate(self._spans)
            if taken.get(place)
        ]


def _above(text: str, spans: Sequence[tuple[int, int]]) -> list[tuple[int, ...]]:
    """For each sentence the numbers of the heading and the lead that it stands under."""
    found: list[tuple[int, ...]] = []
    heading: tuple[int, ...] = ()
    lead: tuple[int, ...] = ()
    for number, (begin, end) in enumerate(spans):
        is_heading = text[end : end + 1] == "\n" and _HEADING.match(text[begin:end])
        found.append((*heading, *lead) if not is_heading else ())
        if is_heading:
            heading, lead = (number,), ()
        elif _LEAD.search(text[begin:end]):
            lead = (number,)
    return found


def _cut(passage: Evidence, spans: Sequence[tuple[int, int]], numbers: set[int]) -> Evidence:
    """The passage with these of its sentences; neighbours stay as they stood, …… is for what lay between others."""
    if len(numbers) == len(spans):
        return passage
    text, runs = "", list[Run]()
    for number in sorted(numbers):
        # What lies between two neighbours belongs to them.
        begin = spans[number - 1][1] if number - 1 in numbers else spans[number][0]
        end = spans[number][1]
        text += GAP if text and number - 1 not in numbers else ""
        for offset, start, length in passage.runs or ((0, passage.start, len(passage.text)),):
            low, high = max(begin, offset), min(end, offset + length)
            if low < high:
                runs.append((len(text) + low - begin, start + low - offset, high - low))
        text += passage.text[begin:end]
    place = {"start": runs[0][1], "end": sum(runs[-1][1:])} if runs else {}
    return passage.model_copy(update={"text": text, "runs": tuple(runs), **place})
