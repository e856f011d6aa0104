"""A small n-gram encoder and a made-up literature whose titles are lay words and whose texts are clinical ones.

Every title joins one of 20 lay words for a place with one of 15 for a complaint; its text says the same in clinical
words that have no character in common with them. What stands for what can only be learnt, and once it is, it holds for
titles that were never seen. The words are drawn by chance: no row of it is medical knowledge.
"""

from __future__ import annotations

import random
from itertools import product

import numpy as np

from chimed_rag.encoders.adapt import Passage
from chimed_rag.encoders.ngram import NgramEncoder
from chimed_rag.encoders.ngrams import Vocabulary
from chimed_rag.records import Document

HEADINGS = ("症状", "治疗")


def _words(rng: random.Random, first: int, count: int) -> list[str]:
    """Words of two characters; none of the characters comes twice."""
    characters = rng.sample([chr(code) for code in range(first, first + 2000)], 2 * count)
    return ["".join(characters[n : n + 2]) for n in range(0, 2 * count, 2)]


def literature(seed: int = 0, places: int = 20, complaints: int = 15) -> list[Passage]:
    """Two passages, one for each heading, of each of the `places * complaints` documents."""
    rng = random.Random(seed)
    lay, clinical = (_words(rng, first, places + complaints) for first in (0x4E00, 0x6000))
    filler = _words(rng, 0x8000, 60)
    passages = []
    for place, complaint in product(range(places), range(places, places + complaints)):
        for heading in HEADINGS:
            sentences = []
            for _ in range(3):
                words = [clinical[place], clinical[complaint], *rng.sample(filler, 3)]
                rng.shuffle(words)
                sentences.append("".join(words) + "。")
            passages.append(Passage(lay[place] + lay[complaint], heading, "".join(sentences)))
    return passages


def documents(passages: list[Passage]) -> list[Document]:
    """A document for each passage, as the rows of a table with a column `section` give them."""
    return [
        Document(id=f"d{n:04d}", title=p.title, text=p.text, metadata={"section": p.heading}, source="made_up.jsonl")
        for n, p in enumerate(passages)
    ]


def tiny_encoder(texts: list[str], *, dimension: int = 24, seed: int = 0) -> NgramEncoder:
    """An encoder that has learnt nothing: a random vector for each n-gram of the texts."""
    vocabulary, counts = Vocabulary.most_frequent(texts, 4000, least=2)
    noise = np.random.default_rng(seed).standard_normal((len(vocabulary), dimension))
    frequencies = (counts / len(texts)).astype(np.float32)
    return NgramEncoder.from_table(vocabulary, (noise / 100).astype(np.float32), frequencies, {"name": "tiny"})
