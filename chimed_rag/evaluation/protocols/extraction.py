"""How entities are asked for and counted: `strict-v1` by place and type, `chimedgpt-legacy` as ChiMed-GPT was scored.

strict-v1 asks with the prompt `extraction@1` and reads lines "entity type". A text reply names words without places, so
each name is looked for in the text (`located`); a system that marks places itself is taken at its word. Micro F1 over
all entities, with intervals over documents. Not covered: the texts that were scored by others' instructions, which are
not public.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import numpy as np

from chimed_rag.errors import MissingExtraError
from chimed_rag.evaluation.metrics.spans import Counts, Place, micro, schemes, strict_counts
from chimed_rag.evaluation.protocols.base import Protocol
from chimed_rag.evaluation.samples import Entity, Prediction, Sample, Score
from chimed_rag.evaluation.statistics import Interval, bootstrap_ratios, proportion
from chimed_rag.generation.base import Message
from chimed_rag.generation.prompts import load_prompt
from chimed_rag.generation.replies import read_entities
from chimed_rag.generation.wrappings import unwrapped

PROMPT = "extraction@1"
NONE = "无"
"""What the prompt has a model write where there is no entity."""


class Marked(NamedTuple):
    """What a prediction marks: places, types of the names that do not stand in the text, whether it could be read."""

    places: frozenset[Place]
    absent: Counter[str]
    readable: bool


class _Extraction(Protocol):
    libraries: ClassVar[tuple[str, ...]] = ()

    def messages(self, sample: Sample, passages: Sequence[str] = ()) -> list[Message]:
        """The prompt `extraction@1` with the names of the task's types; passages are of no use to it."""
        return load_prompt(PROMPT).messages(types="、".join(types_of(sample)), text=sample.text)


class StrictExtraction(_Extraction):
    """Type and both ends must be right.

    A reply in which nothing can be read, though it is not 无, is invalid and finds nothing. Values of a score: `tp`,
    `fp`, `fn`, the same by type (`tp:药物`), `said` (names and places said) and `absent` (names that are not in the
    text; each is a false positive).
    """

    name = "strict-v1"
    libraries: ClassVar[tuple[str, ...]] = ("nervaluate",)

    def score(self, sample: Sample, prediction: Prediction) -> Score:
        """See `Protocol.score`."""
        gold, lost = _places(sample.text, sample.entities)
        marked = read(sample, prediction)
        counts = strict_counts(gold, marked.places)
        values = {"tp": counts.tp, "fp": counts.fp + marked.absent.total(), "fn": counts.fn + lost.total()}
        for kind in sorted({*(place.type for place in gold | marked.places), *marked.absent, *lost}):
            of_kind = [{place for place in side if place.type == kind} for side in (gold, marked.places)]
            tp, fp, fn = strict_counts(*of_kind)
            values |= {f"tp:{kind}": tp, f"fp:{kind}": fp + marked.absent[kind], f"fn:{kind}": fn + lost[kind]}
        absent = marked.absent.total()
        values |= {"said": len(marked.places) + absent, "absent": absent}
        outcome = "error" if prediction.error else "scored" if marked.readable else "invalid"
        said = "，".join(f"{sample.text[start:end]}/{kind}" for kind, start, end in _in_order(marked.places))
        return Score.model_validate({"id": sample.id, "outcome": outcome, "values": values, "said": said})

    def metrics(
        self, samples: Sequence[Sample], predictions: Sequence[Prediction], scores: Sequence[Score]
    ) -> dict[str, Interval]:
        """`f1`, `precision`, `recall` (micro); `not_in_text`, of what was said the share that is not in its text;
        `invalid`, the share of replies that could not be read."""
        found = micro([_counts(score) for score in scores], [sample.group for sample in samples])
        absent, said = (np.array([score.values[name] for score in scores]) for name in ("absent", "said"))
        found |= bootstrap_ratios({"not_in_text": absent}, said)
        found["invalid"] = proportion(sum(score.outcome == "invalid" for score in scores), len(scores))
        return found

    def groups(
        self, samples: Sequence[Sample], predictions: Sequence[Prediction], scores: Sequence[Score]
    ) -> dict[str, dict[str, Interval]]:
        """f1, precision and recall by type; and by the schemes of nervaluate (`metrics.spans.SCHEMES`), where it is
        installed, which sees only what is in the text."""
        of = [sample.group for sample in samples]
        kinds = sorted({name[3:] for score in scores for name in score.values if name.startswith("tp:")})
        found = {kind: micro([_counts(score, f":{kind}") for score in scores], of) for kind in kinds}
        gold = [gold_places(sample) for sample in samples]
        said = [read(sample, prediction).places for sample, prediction in zip(samples, predictions, strict=True)]
        try:
            by_scheme = schemes(gold, said)
        except MissingExtraError:
            return found
        return found | {f"nervaluate {name}": micro(counts, of) for name, counts in by_scheme.items()}

    def notes(self, samples: Sequence[Sample], predictions: Sequence[Prediction], scores: Sequence[Score]) -> list[str]:
        """Entities that the reader moved to their words, nested ones, and names that are not in the text."""
        moved = sum(int(str(sample.metadata.get("moved", 0))) for sample in samples)
        nested = sum(map(_nested, samples))
        absent = sum(int(score.values["absent"]) for score in scores)
        told = {
            f"{moved} entities of the data do not lie where the data say, and were moved to their words nearby": moved,
            f"{nested} of {len(samples)} texts hold nested or crossing entities": nested,
            f"{absent} names that were said are not in their texts; each counts as a false positive": absent,
        }
        return [note for note, count in told.items() if count]


class LegacyExtraction(_Extraction):
    """What ChiMed-GPT's code counts: sets of (words, type) a document, the first two blank-separated fields of a line.

    Places make no difference, and an entity that stands five times in a text counts once. The reply is read as it came.
    A reply of which nothing can be read is an empty set, not an invalid one.
    """

    name = "chimedgpt-legacy"
    warning = (
        "entities are compared as sets of words and types a document: places are not asked for and repetitions count "
        "once, so the F1 is not that of CCKS-2019; the instruction that ChiMed-GPT was scored with is not public"
    )

    def score(self, sample: Sample, prediction: Prediction) -> Score:
        """See `Protocol.score`."""
        gold = {(entity.text, entity.type) for entity in sample.entities}
        if prediction.error:
            found = set[tuple[str, str]]()
        elif prediction.entities is not None:
            found = {(entity.text, entity.type) for entity in prediction.entities}
        else:
            lines = [line.split() for line in prediction.text.split("\n")]
            found = {(words[0], words[1]) for words in lines if len(words) > 1}
        values = {"tp": len(gold & found), "fp": len(found - gold), "fn": len(gold - found)}
        said = "，".join(f"{words}/{kind}" for words, kind in sorted(found))
        outcome = "error" if prediction.error else "scored"
        return Score.model_validate({"id": sample.id, "outcome": outcome, "values": values, "said": said})

    def metrics(
        self, samples: Sequence[Sample], predictions: Sequence[Prediction], scores: Sequence[Score]
    ) -> dict[str, Interval]:
        """`f1`, `precision`, `recall` (micro)."""
        return micro([_counts(score) for score in scores], [sample.group for sample in samples])


def types_of(sample: Sample) -> list[str]:
    """The types that the sample's task knows, as the prompt names them."""
    types = sample.metadata.get("types")
    return [str(kind) for kind in types] if isinstance(types, list) else sorted({one.type for one in sample.entities})


def gold_places(sample: Sample) -> frozenset[Place]:
    """The places of what is to be found; an entity without a place stands wherever its words do."""
    return _places(sample.text, sample.entities)[0]


def read(sample: Sample, prediction: Prediction) -> Marked:
    """What a prediction marks in the sample's text; nothing where it is an error."""
    if prediction.error:
        return Marked(frozenset(), Counter(), readable=False)
    if prediction.entities is not None:
        return Marked(*_places(sample.text, prediction.entities), readable=True)
    named = read_entities(prediction.text, types_of(sample))
    readable = bool(named) or unwrapped(prediction.text).strip().rstrip("。.") == NONE
    return Marked(*_places(sample.text, [Entity(text=words, type=kind) for words, kind in named]), readable)


def located(text: str, names: Sequence[tuple[str, str]]) -> tuple[frozenset[Place], Counter[str]]:
    """Where names of (words, type) stand in a text, and how many of each type stand nowhere.

    All occurrences are meant, from left to right, but not those inside of a longer name's, unless it has no others: 胃
    beside 胃癌 is the one that stands alone, and 呼吸道 beside 上呼吸道感染 the one within. The order of the names
    makes no difference.

    >>> sorted(located("胃癌，胃痛", [("胃", "部位"), ("胃癌", "疾病")])[0])
    [Place(type='疾病', start=0, end=2), Place(type='部位', start=3, end=4)]
    """
    taken = bytearray(len(text))
    found: set[Place] = set()
    absent: Counter[str] = Counter()
    by_words: dict[str, list[str]] = {}
    for words, kind in dict.fromkeys(names):
        by_words.setdefault(words, []).append(kind)
    for words in sorted(by_words, key=lambda one: (-len(one), one)):
        starts = _occurrences(text, words)
        free = [start for start in starts if not any(taken[start : start + len(words)])]
        absent.update(() if starts else by_words[words])
        for start in free or starts:
            end = start + len(words)
            found |= {Place(kind, start, end) for kind in by_words[words]}
            taken[start:end] = b"\1" * len(words)
    return frozenset(found), absent


def _occurrences(text: str, words: str) -> list[int]:
    starts, place = [], text.find(words) if words else -1
    while place >= 0:
        starts.append(place)
        place = text.find(words, place + len(words))
    return starts


def _places(text: str, entities: Sequence[Entity]) -> tuple[frozenset[Place], Counter[str]]:
    """The places of entities, those without one located; and how many of each type stand nowhere."""
    given = {Place(one.type, one.start, one.end) for one in entities if one.start is not None and one.end is not None}
    found, absent = located(text, [(one.text, one.type) for one in entities if one.start is None])
    return found | given, absent


def _counts(score: Score, kind: str = "") -> Counts:
    return Counts(*(score.values.get(f"{name}{kind}", 0) for name in Counts._fields))


def _in_order(places: frozenset[Place]) -> list[Place]:
    return sorted(places, key=lambda one: (one.start, one.end, one.type))


def _nested(sample: Sample) -> bool:
    covered = Counter(place for _, start, end in gold_places(sample) for place in range(start, end))
    return any(count > 1 for count in covered.values())
