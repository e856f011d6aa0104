"""Hard negatives: a reply beside itself with one thing made wrong, so that length and style tell nothing.

A reward model that learned from doctor > GPT-4 > GPT-3.5 alone knows long from short and one style from another, and
hardly right from wrong. These pairs differ in one dose, drug, disease, negation, strength or population. The rules are
those that prove the checks of sentences (`tools/proof_corruptions`), written for literature; in what people type, some
change no meaning.

What is learned from is made by one half of the rules; the other half is for measuring. A model that only knows the
words that rules put in is right on new texts spoilt by the same rules, and not by others: n-grams that learned so told
.843 of 191 held-out pairs apart by the same rules, and .573 of 274 by others.

Not covered: wrong inferences, omissions, names that the tables of the rules do not hold (invented ones, say).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from functools import cache
from random import Random
from typing import Any, NamedTuple

from chimed_rag.text import sentence_spans
from training.contracts import Preference, RankedList

HARD, SHORT, LONG, UNSEEN = "hard:", "short:", "long:", "unseen:"
"""What a pair's kind begins with: reply > the same one spoilt; its right beginning > all of it, spoilt; all of it > its
beginning, spoilt; reply > the same one, spoilt by the rules that nothing is learned from."""
_FORMS = (HARD, SHORT, HARD, LONG)
_KIND_OF = {
    **dict.fromkeys(("number", "unit", "frequency"), "dose"),
    **{name: name for name in ("drug", "disease", "negation", "strength", "population")},
}
KINDS = tuple(dict.fromkeys(_KIND_OF.values()))
_MOST_SENTENCES = 40
_SHORTER = 0.8
"""A beginning is short beside the whole if it has at most this share of its characters."""


class Spoilt(NamedTuple):
    """A reply with one thing wrong; and the beginnings of the right and the wrong text, up to that sentence's end."""

    text: str
    right: str
    wrong: str


def spoilt(reply: str, seed: int | str, *, unseen: bool = False) -> dict[str, Spoilt]:
    """For each kind that the reply allows, the reply spoilt at one place, drawn by chance.

    Args:
        reply: a text; of a long one, the first 40 sentences.
        seed: of the draw, together with the text.
        unseen: by the half of the rules that nothing is learned from.
    """
    from tools.proof_records import Passage, Spot

    rules = _templates(unseen)
    spans = sentence_spans(reply)[:_MOST_SENTENCES]
    sentences = tuple(reply[begin:end] for begin, end in spans)
    passage = Passage("reply", "", (), "", "", (), reply, sentences, reply)
    chance = Random(f"{seed} {reply}")  # noqa: S311
    order = list(range(len(spans)))
    chance.shuffle(order)
    found: dict[str, Spoilt] = {}
    for place in order:
        begin, end = spans[place]
        for kind, template in chance.sample(rules, len(rules)):
            if kind in found:
                continue
            options = [one.sentence for one in template(Spot(passage, place)) if one.sentence != sentences[place]]
            if options:
                wrong = reply[:begin] + chance.choice(options)
                found[kind] = Spoilt(wrong + reply[end:], reply[:end].strip(), wrong.strip())
        if len(found) == len(KINDS):
            break
    return found


def hard_negatives(
    lists: Sequence[RankedList], number: int, seed: int, *, unseen: bool = False
) -> tuple[list[Preference], dict[str, int]]:
    """At most `number` pairs of the lists' best replies, at most one a list, the rarest kind first; and their counts.

    Of four, where the texts allow it, one is short and right against long and wrong, and one the other way round: to
    prefer the longer or the shorter one helps nowhere.

    Args:
        lists: the best reply of each is taken as right.
        number: of pairs.
        seed: of the draws.
        unseen: see `spoilt`; all pairs are then of whole replies.

    Returns:
        The pairs, kinds "hard:dose", "short:dose", "long:dose", ..., or "unseen:dose", ...; and how many of each kind
        there are, with "cannot be spoilt" for lists that were tried in vain.
    """
    pairs: list[Preference] = []
    used: Counter[str] = Counter()
    in_vain = 0
    for ranked in sorted(lists, key=lambda one: hashlib.sha256(f"{seed} {one.source} {one.id}".encode()).digest()):
        if len(pairs) >= number:
            break
        best = min(ranked.replies, key=lambda reply: reply.rank).text
        options = spoilt(best, seed, unseen=unseen)
        if not options:
            in_vain += 1
            continue
        kind = min(options, key=lambda name: (used[name], KINDS.index(name)))
        used[kind] += 1
        form, chosen, rejected = _form(best, options[kind], UNSEEN if unseen else _FORMS[len(pairs) % len(_FORMS)])
        pairs.append(
            Preference(list_id=ranked.id, prompt=ranked.prompt, chosen=chosen, rejected=rejected, kind=form + kind)
        )
    counts = dict(Counter(pair.kind for pair in pairs))
    return pairs, counts | ({"cannot be spoilt": in_vain} if in_vain else {})


def _form(best: str, wrong: Spoilt, form: str) -> tuple[str, str, str]:
    """(form, chosen, rejected); the form is `HARD` where a beginning would hardly be shorter."""
    if form == SHORT and len(wrong.right) <= _SHORTER * len(wrong.text):
        return SHORT, wrong.right, wrong.text
    if form == LONG and len(wrong.wrong) <= _SHORTER * len(best):
        return LONG, best, wrong.wrong
    return (UNSEEN if form == UNSEEN else HARD), best, wrong.text


@cache
def _templates(unseen: bool) -> tuple[tuple[str, Any], ...]:
    """(kind, template) of every rule of one half that changes a sentence and not its passage."""
    from tools.proof_corruptions import corruptions
    from tools.proof_records import DEVELOPMENT, TEST

    wanted = TEST if unseen else DEVELOPMENT
    found = [(_KIND_OF.get(name.partition(".")[0]), part, rule) for name, (part, rule) in corruptions([]).items()]
    return tuple((kind, rule) for kind, part, rule in found if kind and part == wanted)
