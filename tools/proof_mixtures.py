"""Pairs with several changes at once: right sentences reworded twice or more, wrong ones reworded besides.

A language model errs in its own words, not in the literature's: a proof that refuses whatever is not a quotation would
catch the wrong sentences of one change, but not keep these right ones. Each mixture uses templates of one part only.
Not covered: rewording beyond the templates of `proof_controls`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random

from tools.proof_records import DEVELOPMENT, TEST, Candidate, Spot, Template

# In the order in which they are tried; a frame comes last, since it always applies.
REWORDINGS = {
    DEVELOPMENT: (
        "verbs", "caution", "hedge", "frequency_han", "unit_names", "range_sign", "bound_word", "list_order",
        "frame_polite",
    ),
    TEST: (
        "nouns", "prohibition", "frequency_latin", "equal_name", "range_word", "bound_sign", "digits", "connective",
    ),
}  # fmt: skip


def _reworded(spot: Spot, text: str, templates: list[Template], most: int) -> tuple[str, int]:
    """The text after up to `most` rewordings, and how many there were."""
    changes = 0
    for template in templates:
        candidate = next(template(Spot(replace(spot.passage, sentences=(text,)), 0)), None)
        if candidate is not None and changes < most:
            text, changes = candidate.sentence, changes + 1
    return text, changes


def right(templates: list[Template]) -> Template:
    """A right sentence with at least two rewordings."""

    def candidates(spot: Spot) -> Iterator[Candidate]:
        text, changes = _reworded(spot, spot.sentence, templates, 4)
        if changes > 2:
            yield Candidate(text, spot.sentence, text)

    return candidates


def wrong(corruptions: list[Template], templates: list[Template]) -> Template:
    """A wrong sentence, reworded where that leaves the wrong words as they are."""

    def candidates(spot: Spot) -> Iterator[Candidate]:
        rng = Random(spot.sentence)  # noqa: S311
        for corruption in rng.sample(corruptions, len(corruptions)):
            found = list(corruption(spot))
            if not found:
                continue
            candidate = rng.choice(found)
            text, changes = _reworded(spot, candidate.sentence, templates, 3)
            # A rewording must not touch the wrong words, nor bring the right ones back.
            if changes > 1 and candidate.new in text and text.count(candidate.old) == _count(candidate):
                yield candidate._replace(sentence=text)
                return

    return candidates


def _count(candidate: Candidate) -> int:
    """How often the old words still stand in the wrong sentence."""
    return candidate.sentence.count(candidate.old)


def mixtures(found: dict[str, tuple[str, Template]]) -> dict[str, tuple[str, Template]]:
    """The mixtures of every kind and part, made of all other templates by name."""
    mixed: dict[str, tuple[str, Template]] = {}
    for part, names in REWORDINGS.items():
        rewordings = [found[f"paraphrase.{name}"][1] for name in names]
        mixed[f"paraphrase.several_{part}"] = (part, right(rewordings))
        kinds = sorted({name.split(".")[0] for name in found} - {"paraphrase", "untouched", "wrong_passage"})
        for kind in kinds:
            own = [
                template for name, (where, template) in found.items() if where == part and name.split(".")[0] == kind
            ]
            mixed[f"{kind}.reworded_{part}"] = (part, wrong(own, rewordings))
    return mixed
