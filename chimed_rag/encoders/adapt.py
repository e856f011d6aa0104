"""The encoder goes on learning on the very literature that is being indexed, without labels, offline, on the CPU.

Pairs are made of the literature itself: a question made of a passage's title and heading leads to the passage, and a
sentence to the passage it was taken from (the inverse cloze task: Lee et al. 2019, arXiv:1906.00300). This project's
own consultations are mixed in, lest it forget how patients talk, and so are a user's own questions with their answers.
Some documents are held out; their headings decide whether the result is kept. Not covered: reading documents and
storing the result (`indexing.adaptation`).

What was tried, on 109,736 passages of the disease encyclopedia and 2,984 replies (nDCG@10 of the vectors / fused,
Recall@100 fused; 2,984 patient questions that the training never saw): not adapted .181 / .302, .570; adapted .211 /
.311, .612 with the shipped vocabulary, .215 / .312, .615 with 87,000 n-grams more, which was not worth their size.
With Adagrad's sums of the shipped training instead of empty ones (which let frequent n-grams run): fused with cosines
(`retrieval.fusion`) .3174 / .611 against .3149 / .601, with another seed .3165 / .605 against .3123 / .597; with a
second heading for half of the passages and a second sentence for each: .3190 / .616. BM25's score of each pair in the
softmax, that the vectors learn what words in common do not tell (CLEAR: Gao et al. 2021, arXiv:2004.13969), weight .5:
.3129 / .585, weight 1: .3096 / .574, against .3149 / .601 without. Consultations three times instead of once: the same.
From random vectors instead of the shipped ones: .205 / .311, .600. The literature's pairs first and the consultations
last: .184 / .308, .583. Questions dressed as patients dress them (age, complaint, fear, politeness) instead of bare
ones: .186 / .301, .578 against .191 / .306, .588. Twice as many headings and sentences: .3172 / .608 against .3180 /
.610. Another seed alone moves these figures by .01 / .003, .005; the intervals are three times as wide. A linear map of
the query's vector, learned at the same time or afterwards: .3118 or .3148 against .3156 without; the best of a
passage's windows of 60 or 120 characters beside the whole: .3174 at best against .3171; each consultation's question
with the passage that the adapted search finds first as further pairs: .3121 / .608 against .3156 / .606.

Consultations in the batches of the headings instead of in their own, mean of three seeds: .3210 / .621 against .3178 /
.609 (each seed alone gains .002 to .005 / .009 to .015). The sentences in these batches too: .3184 / .613;
consultations twice: .3193 / .622; batches of 1,024: .3194 / .618; as many headings as there are consultations with
them, the others apart: .3189 / .614. The vectors of two seeds side by side: .3223 / .626, which is not worth twice the
size. Most of what is left between these figures and a transformer's (`training/literature.py`) is manner: were each
reply's score raised by .1, .2 or .4, .317 would be .344, .369 or .403. To tell replies by their words (logistic
regression over n-grams, consultations against the literature) is no way to it: area under the curve .758, and every
weight costs nDCG@10.

The mean of the tables of three seeds: .3185 / .624 (each alone .3183 to .3189 / .621 to .623). Further along the way
from the shipped table, 1.3 times as far: .3201 / .621 and .3195 / .618 (two seeds), the mean .3207 / .625; held-out
headings gain with one seed and lose with the other.

Batches of neighbours, 128 pairs whose questions are alike beside others such (halved along differences of their
vectors; hard negatives from the literature itself), two seeds: .3209 / .620 and .3210 / .623 against .3176 / .620 and
.3193 / .626, held-out headings .317 and .288 against .315 and .277; with what passages gain by their manner (`manner`)
.3300 / .640 and .3290 / .638 against .3262 / .638 and .3291 / .640, so it was left out. Of 8, 32 or 512, or of
neighbouring passages: .317 to .3205 / .611 to .622. The mean of the table over the last 60 % of the steps: .319 / .614
against .318 / .612.

A user's pairs, against .3187 / .620 without (seed 0): natural questions with answers that the shipped training did not
know, 11,168 of them, .3383 / .684 with empty sums and .3348 / .676 with the shipped ones, from random vectors .3337 /
.672; 3,000 of them .3349 / .662 and .3326 / .655. 14,758 that it had learned from: .3230 / .631 with empty sums, .3211
/ .624 with the shipped ones, from random vectors .3286 / .637, .3267 / .633, .3250 / .635. No answer was alike an
answer sought (character trigrams, Jaccard .2); without the 112 questions that one of the unknown pairs is alike, .3164
/ .619 -> .3355 / .681. Weights of words learned from such pairs are told in `retrieval.retrievers`.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from importlib import resources
from typing import NamedTuple

import numpy as np

from chimed_rag.encoders.base import Encoder
from chimed_rag.encoders.contrastive import Pairs, Step, Trainer, train
from chimed_rag.encoders.manner import Manner, fitted
from chimed_rag.encoders.ngram import NgramEncoder
from chimed_rag.encoders.questions import question
from chimed_rag.errors import InputError
from chimed_rag.text import sentence_spans

MOST_PASSAGES = 100_000
"""A larger literature is represented by so many of its passages, so that time and memory stay bounded."""

LEAST_PASSAGES = 2_000
"""A literature smaller than this is not adapted to unless asked for."""

MOST_PAIRS, MANY_PAIRS = 100_000, 3_000
"""A user's pairs that are learnt from at most; and how many it takes for rows to move as if they knew nothing yet."""

LEARNING_RATE, FRESH_LEARNING_RATE = 0.05, 0.01
"""Where the encoder tells how much its rows have learned, so that frequent n-grams move less; where it does not."""

_LAST = 0.3
_HELD_OUT = 500
_POOL = 4_000
_SHORTEST, _LONGEST = 8, 80  # characters of a sentence that stands for its passage
_FEWEST_ARTICLES, _MOST_ARTICLES = 500, 10_000
_WHOLE = 0.1  # share of sentences that stay in their passage: words in common still count


class Passage(NamedTuple):
    """A passage as it is indexed: its document's title, its first heading, its text."""

    title: str
    heading: str
    text: str

    def whole(self) -> str:
        """What the encoder sees of it in the index."""
        return "\n".join(part for part in self if part)


class Adaptation(NamedTuple):
    """What came of it.

    `before` and `after` are mean reciprocal ranks at 10 of `held_out` questions among `pool` passages without their
    titles; `kept` says whether `encoder` is the adapted one.
    """

    encoder: NgramEncoder
    kept: bool
    before: float
    after: float
    held_out: int
    pool: int
    passages: int
    pairs: int

    def report(self) -> str:
        """One line for a person."""
        verdict = "kept" if self.kept else "not kept"
        return (
            f"adapted to {self.passages:,} passages: MRR@10 of {self.held_out} held-out headings "
            f"{self.before:.3f} -> {self.after:.3f}, {verdict}"
        )


def adapt(
    encoder: Encoder,
    passages: Sequence[Passage],
    *,
    pairs: Pairs = (),
    seed: int = 0,
    progress: Callable[[str, int], None] | None = None,
) -> Adaptation:
    """An encoder that went on learning on a literature, if that helps; the one given otherwise.

    The same passages and seed give the same encoder.

    Args:
        encoder: the one to start from; it is not changed.
        passages: a sample of the literature, at most `MOST_PASSAGES`.
        pairs: further questions, each with a text that answers it, which need not be part of the literature; of more
            than `MOST_PAIRS` a sample is learnt from.
        seed: of every choice made by chance.
        progress: told ("adapt", pairs done).

    Raises:
        InputError: the encoder is not made of n-grams, or there are fewer than 20 passages, or none has a title or two
            sentences to learn from.
    """
    if not isinstance(encoder, NgramEncoder):
        raise InputError(
            f"encoder {encoder.spec.name} cannot be adapted, only the shipped n-gram encoder can; build with --no-adapt"
        )
    rng = random.Random(seed)  # noqa: S311
    held, rest = _held_out(passages, rng)
    asked = heading_pairs(held, rng, named=False)[:_HELD_OUT] or sentence_pairs([p.text for p in held], rng)[:_HELD_OUT]
    titles = [p.title for p in rest]
    made: dict[str, list[tuple[str, str]]] = {
        # Twice, with other words and another sentence.
        "headings": heading_pairs(rest, rng) + heading_pairs(rng.sample(rest, len(rest) // 2), rng),
        "sentences": [pair for _ in range(2) for pair in sentence_pairs([p.text for p in rest], rng, titles)],
    }
    if not asked or not any(made.values()):
        raise InputError(
            f"this literature cannot be learnt from: its {len(passages):,} passages are fewer than 20, or have neither "
            "titles nor several sentences; build with --no-adapt"
        )
    made["consultations"] = consultations()
    if pairs:
        made["pairs"] = list(pairs) if len(pairs) <= MOST_PAIRS else rng.sample(pairs, MOST_PAIRS)
    # In the same batches: so it is learnt that a patient's question leads to a reply, a heading's to an article.
    questions = [pair for name, found in made.items() if name != "sentences" for pair in found]
    tasks = {"questions": questions, "sentences": made["sentences"]}
    squares = encoder.squares if len(pairs) < MANY_PAIRS else None
    trainer = Trainer(encoder.vocabulary, encoder.table(), squares=squares)
    rate = FRESH_LEARNING_RATE if encoder.squares is None else LEARNING_RATE
    total = sum(map(len, tasks.values()))
    batch_told = (lambda done, batches: progress("adapt", total * done // batches)) if progress else None
    steps = train(trainer, tasks, seed=seed, learning_rate=rate, last=_LAST, progress=batch_told)
    adapted = _encoder(encoder, trainer, rest, rng, steps)
    adapted.manner = _manner(adapted, rest, rng)
    pool = list(dict.fromkeys([text for _, text in asked] + [p.text for p in rng.sample(rest, min(_POOL, len(rest)))]))
    before, after = (mean_reciprocal_rank(model, asked, pool) for model in (encoder, adapted))
    outcome = Adaptation(encoder, after > before, before, after, len(asked), len(pool), len(passages), total)
    adapted.card |= {"held_out": {k: round(v, 4) for k, v in (("before", before), ("after", after))}, "seed": seed}
    adapted.card["pairs"] = {name: len(pairs) for name, pairs in made.items()}
    return outcome._replace(encoder=adapted) if outcome.kept else outcome


def heading_pairs(
    passages: Sequence[Passage], rng: random.Random, *, named: bool | None = None
) -> list[tuple[str, str]]:
    """A question made of title and heading, with the passage it leads to.

    Args:
        named: whether the passage carries its title and heading; None lets chance decide for each.
    """
    pairs = []
    for passage in passages:
        if passage.title:
            asked = question(passage.title, passage.heading, rng, plain=1.0)
            whole = rng.random() < 0.5 if named is None else named
            pairs.append((asked, passage.whole() if whole else passage.text))
    return pairs


def sentence_pairs(texts: Sequence[str], rng: random.Random, titles: Sequence[str] = ()) -> list[tuple[str, str]]:
    """A sentence of a text, with the text, from which it was cut most of the time."""
    pairs = []
    for number, text in enumerate(texts):
        sentences = _sentences(text)
        if len(sentences) > 1:
            chosen = rng.choice(sentences)
            body = text if rng.random() < _WHOLE else text.replace(chosen, "", 1)
            pairs.append((chosen, "\n".join(filter(None, (titles[number] if titles else "", body)))))
    return pairs


@cache
def consultations() -> list[tuple[str, str]]:
    """Questions of patients with a doctor's reply, written for this project: three questions for each reply."""
    pairs = []
    folder = resources.files("chimed_rag.encoders").joinpath("consultations")
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".tsv"):
            for line in file.read_text("utf-8").splitlines():
                reply, *questions = line.split("\t")
                pairs += [(asked, reply) for asked in questions]
    return pairs


def mean_reciprocal_rank(encoder: Encoder, pairs: Pairs, pool: Sequence[str], depth: int = 10) -> float:
    """The mean of 1 / rank of the right passage among the pool, 0 beyond `depth`; equal scores count against it."""
    vectors, places = encoder.encode_documents(pool), {text: place for place, text in enumerate(pool)}
    scores = encoder.encode_queries([asked for asked, _ in pairs]) @ vectors.T
    right = np.array([places[text] for _, text in pairs])
    ranks = (scores >= scores[np.arange(len(pairs)), right][:, None]).sum(axis=1)
    return float(np.where(ranks <= depth, 1 / ranks, 0).mean())


def _held_out(passages: Sequence[Passage], rng: random.Random) -> tuple[list[Passage], list[Passage]]:
    """(held out, the rest): whole documents by title, about a twentieth, at most as many passages as are asked about.

    Long documents stay with the rest; where all are long, the shortest are held out.
    """
    titles = list(dict.fromkeys(passage.title for passage in passages))
    if len(titles) < 20:  # too few documents to do without some
        order = rng.sample(range(len(passages)), len(passages))
        held = set(order[: min(_HELD_OUT, len(passages) // 20)])
        return [passages[i] for i in sorted(held)], [p for i, p in enumerate(passages) if i not in held]
    rng.shuffle(titles)
    most, count, out = min(_HELD_OUT, max(1, len(passages) // 20)), 0, set[str]()
    sizes = Counter(passage.title for passage in passages)
    short = [title for title in titles if sizes[title] <= most // 2]
    for title in short or sorted(titles, key=sizes.__getitem__):
        if count >= most:
            break
        out.add(title)
        count += sizes[title]
    return [p for p in passages if p.title in out], [p for p in passages if p.title not in out]


def _encoder(
    base: NgramEncoder, trainer: Trainer, passages: Sequence[Passage], rng: random.Random, steps: Sequence[Step]
) -> NgramEncoder:
    """The trained table as an encoder; how frequent its n-grams are is counted anew, in this literature."""
    sample = [p.whole() for p in rng.sample(list(passages), min(20_000, len(passages)))]
    counts = np.bincount(base.vocabulary.bags(sample).ids, minlength=len(base.vocabulary))
    frequencies = ((counts + 0.5) / (len(sample) + 1)).astype(np.float32)
    tasks = sorted({step.task for step in steps})
    losses = {name: [step.loss for step in steps if step.task == name] for name in tasks}
    card = {
        "name": f"{base.spec.name}-adapted",
        "base": base.spec.fingerprint,
        "passages": len(passages),
        "loss": {name: [round(float(np.mean(part)), 3) for part in np.array_split(values, 5) if len(part)]
                 for name, values in losses.items()},
    }  # fmt: skip
    return NgramEncoder.from_table(base.vocabulary, trainer.table, frequencies, card)


def _manner(encoder: NgramEncoder, passages: Sequence[Passage], rng: random.Random) -> Manner | None:
    """How patients and doctors write, against the headings and passages that have a title; None if hardly any has."""
    articles = [passage for passage in passages if passage.title]
    if len(articles) < _FEWEST_ARTICLES:
        return None
    articles = rng.sample(articles, min(_MOST_ARTICLES, len(articles)))
    headings = [question(article.title, article.heading, rng, plain=0.5) for article in articles]
    return fitted(
        encoder.encode_queries([asked for asked, _ in consultations()]),
        encoder.encode_queries(headings),
        encoder.encode_documents(list(dict.fromkeys(reply for _, reply in consultations()))),
        encoder.encode_documents([article.whole() for article in articles]),
    )


def _sentences(text: str) -> list[str]:
    return [text[begin:end] for begin, end in sentence_spans(text) if _SHORTEST <= end - begin <= _LONGEST]
