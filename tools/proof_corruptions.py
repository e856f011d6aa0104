"""Sentences made wrong on purpose: numbers, names and passages that are exchanged, and the words of proof_swaps.yaml.

Each template takes a `Spot` (a sentence in its passage) and gives candidates; which of them become pairs is decided by
`make_proof_pairs`. Covered: values, units, frequencies, negation, strength, population, drugs, diseases, passages.
Not covered: wrong inferences, cause and effect exchanged, what is wrong in the world but stands in the passage.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from random import Random

from tools import proof_numbers
from tools.proof_numbers import larger_unit, measured, narrowed
from tools.proof_records import DEVELOPMENT, TEST, Candidate, Passage, Spot, Template, table

# --- words ---------------------------------------------------------------------------------------------------------


def swap(
    rules: list[list[str]],
    *,
    absent: bool = False,
    alone: bool = False,
    all: bool = False,
    measure: bool = False,
    need: str = "",
) -> Template:
    """A template that applies one rule at one place (or, with `all`, at every place); for the options see the YAML."""
    compiled = [(re.compile(old), new) for old, new in rules]

    def candidates(spot: Spot) -> Iterator[Candidate]:
        text = spot.sentence
        if need and not re.search(need, text):
            return
        for pattern, new in compiled:
            for match in pattern.finditer(text):
                word = match.expand(new)
                if alone and word.strip() in text:
                    continue
                if absent and _bare(word) in _seen(spot):
                    continue
                if measure and narrowed(text, match.start(), larger_unit(match[0], word)):
                    continue
                changed = pattern.sub(new, text) if all else text[: match.start()] + word + text[match.end() :]
                if changed != text:
                    yield Candidate(changed, match[0], word)
                if all:
                    break

    return candidates


def _bare(word: str) -> str:
    """What must not stand in the passage of an added or exchanged population: the word without its frame."""
    return re.sub(r"，|也可以使用。|同样适用。|的患者也不用调整。", "", word)


def _seen(spot: Spot) -> str:
    return spot.passage.shown


# --- names ---------------------------------------------------------------------------------------------------------


@cache
def _groups(*tables: str) -> dict[str, str]:
    """Name to its group, of one or more tables of names."""
    return {
        name: f"{kind}/{group}"
        for kind in tables
        for group, names in table("proof_names")[kind].items()
        for name in names
    }


def renamed(*tables: str, title: bool | None = None) -> Template:
    """A name exchanged, everywhere in the sentence, for one of another group that the whole entry never mentions.

    Args:
        tables: which tables of names.
        title: only the name the entry is about (True), only others (False), any (None).
    """

    def candidates(spot: Spot) -> Iterator[Candidate]:
        groups, text, passage = _groups(*tables), spot.sentence, spot.passage
        for name in _found(text, groups):
            if title is not None and title != (name in passage.title):
                continue
            kind = groups[name].split("/")[0]
            for other, group in groups.items():
                if group != groups[name] and group.startswith(kind) and other not in passage.shown + passage.whole:
                    yield Candidate(text.replace(name, other), name, other)

    return candidates


_LONGER = "(?!酯|球菌|疫苗|抵抗|酮症|肾病|病毒|危象|急症|样|杆菌|性|脑病|散|丸)"
_PREFIXED = "(?<![型性期发后急])"


def _found(text: str, groups: dict[str, str]) -> list[str]:
    """The names in a text of which none is part of a longer name, as 肺炎 is in 肺炎球菌 and 流感 in 流感疫苗."""
    present = [name for name in groups if name in text]
    return [
        name for name in present if text.count(name) == len(re.findall(_PREFIXED + re.escape(name) + _LONGER, text))
    ]


def paired(name: str, *, both_ways: bool = True) -> Template:
    """A template that exchanges the two names of a pair of a table, everywhere in the sentence."""

    def candidates(spot: Spot) -> Iterator[Candidate]:
        text = spot.sentence
        pairs = [(a, b) for a, b in table("proof_names")[name]]
        for old, new in pairs + ([(b, a) for a, b in pairs] if both_ways else []):
            if (
                old in text
                and new not in spot.passage.shown
                and old not in new
                and not re.search(
                    f"{re.escape(old)}(?:疫苗|病毒|球菌|片)|(?:[抗围质雌孕腺雄长性伐]|妊娠期){re.escape(old)}", text
                )
            ):
                yield Candidate(text.replace(old, new), old, new)

    return candidates


def _trade(spot: Spot) -> Iterator[Candidate]:
    groups, trade = _groups("drugs"), table("proof_names")["trade"]
    for name in _found(spot.sentence, groups):
        new = trade[groups[name].split("/")[1]]
        if new not in spot.passage.whole + spot.passage.shown:
            yield Candidate(spot.sentence.replace(name, new), name, new)


def _sibling(spot: Spot) -> Iterator[Candidate]:
    """Another drug of the same class in a sentence with a number: its dose is its own."""
    groups = _groups("drugs")
    for name in _found(spot.sentence, groups) if measured(spot.sentence) else []:
        for other, group in groups.items():
            if group == groups[name] and other != name and other not in spot.passage.whole + spot.passage.shown:
                yield Candidate(spot.sentence.replace(name, other), name, other)


# --- passages ------------------------------------------------------------------------------------------------------


@cache
def pieces(text: str) -> frozenset[str]:
    """The character pairs of a text."""
    han = re.sub(r"[^\u4e00-\u9fffA-Za-z0-9]", "", text)
    return frozenset(han[i : i + 2] for i in range(len(han) - 1))


def covered(sentence: str, passage: Passage) -> float:
    """The share of the sentence's character pairs that stand in the passage."""
    own = pieces(sentence)
    return len(own & pieces(passage.shown)) / max(1, len(own))


def _about(spot: Spot, passage: Passage) -> bool:
    """Whether a passage names what the sentence names, or says most of what it says: then it might support it."""
    names = [name for name in spot.passage.names if name in spot.sentence]
    return not names or any(name in passage.shown for name in names) or covered(spot.sentence, passage) > 0.6


def _plain(title: str) -> bool:
    """A title that can stand for another in a sentence: one short name."""
    return 2 <= len(title) <= 8 and not re.search("[与和、(（]", title)


def elsewhere(passages: list[Passage]) -> dict[str, tuple[str, Template]]:
    """The templates that leave the sentence and exchange the passage; they need all passages."""
    by_heading: dict[tuple[str, ...], list[Passage]] = {}
    by_entry: dict[str, list[Passage]] = {}
    for passage in passages:
        by_heading.setdefault(passage.headings[-1:], []).append(passage)
        by_entry.setdefault(passage.entry, []).append(passage)

    def drawn(spot: Spot, pool: list[Passage], n: int = 40) -> list[Passage]:
        rng = Random(spot.sentence)  # noqa: S311
        return rng.sample(pool, min(n, len(pool)))

    def wrong(spot: Spot, passage: Passage) -> Candidate:
        return Candidate(spot.sentence, spot.passage.title, " > ".join((passage.title, *passage.headings)), passage)

    def other_subject(spot: Spot) -> Iterator[Candidate]:
        for passage in drawn(spot, passages, 4):
            if (
                passage.entry != spot.passage.entry
                and passage.group != spot.passage.group
                and not _about(spot, passage)
            ):
                yield wrong(spot, passage)

    def same_heading(spot: Spot) -> Iterator[Candidate]:
        found = [p for p in drawn(spot, by_heading[spot.passage.headings[-1:]]) if p.entry != spot.passage.entry]
        found = [p for p in found if p.group == spot.passage.group and not _about(spot, p)]
        yield from (wrong(spot, passage) for passage in found[:2])

    def nearest(spot: Spot) -> Iterator[Candidate]:
        found = [p for p in drawn(spot, passages, 150) if p.entry != spot.passage.entry and not _about(spot, p)]
        if found:
            yield wrong(spot, max(found, key=lambda p: covered(spot.sentence, p)))

    def other_section(spot: Spot) -> Iterator[Candidate]:
        for passage in by_entry[spot.passage.entry]:
            if passage.headings != spot.passage.headings and covered(spot.sentence, passage) < 0.45:
                yield wrong(spot, passage)

    def numbers_elsewhere(spot: Spot) -> Iterator[Candidate]:
        for passage in drawn(spot, passages, 200) if measured(spot.sentence) else []:
            if passage.entry != spot.passage.entry and measured(passage.text) and not _about(spot, passage):
                yield wrong(spot, passage)
                return

    def renamed_title(spot: Spot) -> Iterator[Candidate]:
        """What stands of one thing said of another of its kind, whose passage says nothing of the sort."""
        title = spot.passage.title
        kin = [p for p in drawn(spot, passages, 400) if p.group == spot.passage.group and p.entry != spot.passage.entry]
        for passage in kin if title in spot.sentence and _plain(title) else []:
            changed = spot.sentence.replace(title, passage.title)
            if _plain(passage.title) and not _about(spot, passage) and covered(changed, passage) < 0.45:
                yield Candidate(changed, title, passage.title, passage)
                return

    return {
        "wrong_passage.other_subject": (DEVELOPMENT, other_subject),
        "wrong_passage.same_heading": (TEST, same_heading),
        "wrong_passage.other_section": (DEVELOPMENT, other_section),
        "wrong_passage.nearest": (TEST, nearest),
        "wrong_passage.numbers_elsewhere": (DEVELOPMENT, numbers_elsewhere),
        "wrong_passage.renamed": (TEST, renamed_title),
    }


def corruptions(passages: list[Passage]) -> dict[str, tuple[str, Template]]:
    """Every template by name, with its part; the kind is what stands before the full stop."""
    found: dict[str, tuple[str, Template]] = {
        **proof_numbers.templates(),
        "drug.subject": (DEVELOPMENT, renamed("drugs", title=True)),
        "drug.other": (TEST, renamed("drugs", title=False)),
        "drug.alike": (DEVELOPMENT, paired("alike")),
        "drug.class": (TEST, paired("classes", both_ways=False)),
        "drug.trade": (DEVELOPMENT, _trade),
        "drug.herb": (TEST, renamed("herbs")),
        "drug.sibling": (TEST, _sibling),
        "disease.subject": (DEVELOPMENT, renamed("diseases", title=True)),
        "disease.other": (TEST, renamed("diseases", title=False)),
        "disease.confusable": (DEVELOPMENT, paired("confusable")),
    }
    for templates in table("proof_swaps").values():
        for name, settings in templates.items():
            options = {key: value for key, value in settings.items() if key not in ("part", "rules")}
            found[name] = (settings["part"], swap(settings["rules"], **options))
    return found | elsewhere(passages)
