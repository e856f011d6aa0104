"""Hard negatives: a reply beside itself with one thing made wrong, so that length and style tell nothing.

A reward model that learned from doctor > GPT-4 > GPT-3.5 alone knows long from short and one style from another, and
hardly right from wrong. These pairs differ in one dose, drug, disease, negation, strength or population. The rules are
those that prove the checks of sentences (`tools/proof_corruptions`). Some change no meaning, in the prose that patients
and doctors type more often than in literature: a few per cent of the labels are wrong.

Not covered: wrong inferences, omissions, names that the tables of the rules do not hold (invented ones, say).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from random import Random
from typing import Any, NamedTuple

from chimed_rag.text import sentence_spans
from training.contracts import Preference, RankedList

HARD, SHORT = "hard:", "short:"
"""What a pair's kind begins with: reply > the same one spoilt; its right beginning > all of it, spoilt."""
_KIND_OF = {
    **dict.fromkeys(("number", "unit", "frequency"), "dose"),
    **{name: name for name in ("drug", "disease", "negation", "strength", "population")},
}
KINDS = tuple(dict.fromkeys(_KIND_OF.values()))
_MOST_SENTENCES = 40
_SHORTER = 0.8
"""A right beginning is short beside the spoilt whole if it has at most this share of its characters."""


class Spoilt(NamedTuple):
    """A reply with one thing wrong: the whole text, and what of the right one stands up to that sentence's end."""

    text: str
    right: str


def spoilt(reply: str, seed: int | str) -> dict[str, Spoilt]:
    """For each kind that the reply allows, the reply spoilt at one place, drawn by chance.

    Args:
        reply: a text; of a long one, the first 40 sentences.
        seed: of the draw, together with the text.
    """
    from tools.proof_records import Passage, Spot

    spans = sentence_spans(reply)[:_MOST_SENTENCES]
    sentences = tuple(reply[begin:end] for begin, end in spans)
    passage = Passage("reply", "", (), "", "", (), reply, sentences, reply)
    chance = Random(f"{seed} {reply}")  # noqa: S311
    order = list(range(len(spans)))
    chance.shuffle(order)
    found: dict[str, Spoilt] = {}
    for place in order:
        begin, end = spans[place]
        for kind, template in chance.sample(_templates(), len(_templates())):
            if kind in found:
                continue
            options = [one.sentence for one in template(Spot(passage, place)) if one.sentence != sentences[place]]
            if options:
                text = reply[:begin] + chance.choice(options) + reply[end:]
                found[kind] = Spoilt(text, reply[:end].strip())
        if len(found) == len(KINDS):
            break
    return found


def hard_negatives(lists: Sequence[RankedList], number: int, seed: int) -> tuple[list[Preference], dict[str, int]]:
    """At most `number` pairs of the lists' best replies, at most one a list, the rarest kind first; and their counts.

    Every second one is, where the text allows it, the right reply's beginning against the whole of it, spoilt: short
    and right beats long and wrong.

    Args:
        lists: the best reply of each is taken as right.
        number: of pairs.
        seed: of the draws.

    Returns:
        The pairs, kinds "hard:dose", "short:dose", ...; and how many of each kind there are, with "cannot be spoilt"
        for lists that were tried in vain.
    """
    pairs: list[Preference] = []
    used: Counter[str] = Counter()
    in_vain = 0
    for ranked in sorted(lists, key=lambda one: hashlib.sha256(f"{seed} {one.source} {one.id}".encode()).digest()):
        if len(pairs) >= number:
            break
        best = min(ranked.replies, key=lambda reply: reply.rank).text
        options = spoilt(best, seed)
        if not options:
            in_vain += 1
            continue
        kind = min(options, key=lambda name: (used[name], KINDS.index(name)))
        used[kind] += 1
        wrong = options[kind]
        short = len(pairs) % 2 == 1 and len(wrong.right) <= _SHORTER * len(wrong.text)
        pairs.append(
            Preference(
                list_id=ranked.id,
                prompt=ranked.prompt,
                chosen=wrong.right if short else best,
                rejected=wrong.text,
                kind=(SHORT if short else HARD) + kind,
            )
        )
    counts = dict(Counter(pair.kind for pair in pairs))
    return pairs, counts | ({"cannot be spoilt": in_vain} if in_vain else {})


@cache
def _templates() -> tuple[tuple[str, Any], ...]:
    """(kind, template) of every rule that changes a sentence and not its passage."""
    from tools.proof_corruptions import corruptions

    return tuple(_kinds(corruptions([])))


def _kinds(rules: Mapping[str, tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    for name, (_, template) in rules.items():
        kind = _KIND_OF.get(name.partition(".")[0])
        if kind:
            yield kind, template
