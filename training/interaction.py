"""Kind `interaction`: the small reranker that comes with the package (`chimed_rag.retrieval.interaction`).

Lists are mined as a search would find them, by BM25 and the encoder fused; the positive's own source gives the
negatives, so that the style of a source teaches nothing. The encoder whose similarities become features must not have
learned the pairs it is asked about: the pairs are split in folds, and each fold meets an encoder trained on the others.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from chimed_rag.encoders.ngram import NgramEncoder
from chimed_rag.retrieval.fusion import weighted_fusion
from chimed_rag.retrieval.interaction import FEATURES, FeatureReader, InteractionReranker
from training.card import Point
from training.files import Ledger
from training.measure import HeldOut
from training.mining import bm25_candidates, encoder_candidates
from training.pairs import Pair, PairData
from training.retriever import Kind, RetrieverSettings, pairs_of
from training.run import Run
from training.static import StaticSettings, encoder_of

Floats = NDArray[np.float32]


class InteractionSettings(RetrieverSettings):
    """Keys of the kind `interaction`.

    Args:
        encoder: keys of the kind `static` for the encoders of the folds (vocabulary, dimension, sentences, ...).
        sources: of the pairs that lists are made of; the encoders learn from all.
        lists: at most so many lists of each source, drawn by chance.
        folds: how many encoders are trained.
        depth: passages in a list.
        hidden: width of the network.
        epochs, batch_size, learning_rate, weight_decay: of its training (AdamW, softmax over each list).
    """

    kind: Literal["interaction"]
    encoder: dict[str, Any] = Field(default_factory=dict)
    sources: list[str] = Field(min_length=1)
    lists: int = Field(4000, ge=10)
    folds: int = Field(2, ge=2)
    depth: int = Field(50, ge=2)
    hidden: int = Field(32, ge=1)
    epochs: int = Field(30, ge=1)
    batch_size: int = Field(128, ge=1)
    learning_rate: float = Field(3e-3, gt=0)
    weight_decay: float = Field(1e-3, ge=0)


class Ranked(NamedTuple):
    """The features of a list's passages, (n, features), and the place of the right one."""

    features: Floats
    right: int


def run_interaction(settings: InteractionSettings, run: Run) -> None:
    """Folds, lists, network, scores, card."""
    ledger: Ledger = []
    pairs, held_out = pairs_of(settings, run, ledger)

    def make(folder: Path) -> list[Point]:
        lists = _lists(settings, pairs, run)
        layers, curve = fitted(lists, settings)
        model = {name: np.round(values, 6).tolist() for name, values in layers.items()}
        (folder / "model").mkdir()
        (folder / "model" / "interaction.json").write_text(
            json.dumps({"kind": "interaction", "features": FEATURES, "layers": model}) + "\n", "utf-8"
        )
        return [Point(phase="fit", step=n, loss=round(loss, 5)) for n, loss in enumerate(curve, 1)]

    place = run.phase("fit", make)
    run.card.parameters = sum(
        np.size(values) for values in json.loads((place / "interaction.json").read_text("utf-8"))["layers"].values()
    )
    if held_out:
        # An encoder that has not seen the held-out pairs, as in the folds.
        encoder = encoder_of(_static(settings), pairs)
        test = HeldOut(held_out, [pair.passage for pair in pairs])
        run.card.scores = test.reranked(InteractionReranker(place / "interaction.json", encoder).score)
        run.card.scores_of = f"The 30 best of BM25, as they are and reranked; {test}, at most 200 of the queries."
    run.finish(place)


def _static(settings: InteractionSettings) -> StaticSettings:
    own = {"kind": "static", "output_dir": settings.output_dir, "seed": settings.seed, "data": settings.data}
    return StaticSettings.model_validate(own | settings.encoder)


def _lists(settings: InteractionSettings, pairs: Sequence[Pair], run: Run) -> list[Ranked]:
    """The lists of all sources; a passage and all its questions lie in one fold."""
    rng = random.Random(settings.seed)  # noqa: S311
    passages = list(dict.fromkeys(pair.passage for pair in pairs))
    fold = {passage: rng.randrange(settings.folds) for passage in passages}
    lists: list[Ranked] = []
    for number in range(settings.folds):
        rest = [p for p in pairs if p.source not in settings.sources or fold[p.passage] != number]
        encoder = encoder_of(_static(settings), rest)
        for source in settings.sources:
            pool = list(dict.fromkeys(p.passage for p in pairs if p.source == source))
            mine = [p for p in pairs if p.source == source and fold[p.passage] == number]
            asked = rng.sample(mine, min(len(mine), settings.lists // settings.folds))
            found = _ranked(asked, pool, encoder, settings.depth)
            run.say(
                f"fold {number}: {source}: {len(found):,} of {len(asked):,} questions have their passage in the list"
            )
            lists += found
    return lists


def _ranked(pairs: Sequence[Pair], pool: Sequence[str], encoder: NgramEncoder, depth: int) -> list[Ranked]:
    places = {passage: place for place, passage in enumerate(pool)}
    queries, right = [pair.query for pair in pairs], [places[pair.passage] for pair in pairs]
    lexical = bm25_candidates(queries, right, pool, 2 * depth)
    dense = encoder_candidates(queries, right, pool, 2 * depth, encoder)
    reader = FeatureReader(encoder)
    found = []
    for query, answer, one, other in zip(queries, right, lexical, dense, strict=True):
        rankings = {"lexical": [(n, s) for s, n in one.ranked], "dense": [(n, s) for s, n in other.ranked]}
        fused = weighted_fusion(rankings, {"lexical": 1.0, "dense": encoder.fusion_weight})
        numbers = [number for number, _ in fused[:depth]]
        if answer in numbers and len(numbers) > 1:
            features = reader.features(query, [pool[number] for number in numbers])
            found.append(Ranked(features, numbers.index(answer)))
    return found


def fitted(lists: Sequence[Ranked], settings: InteractionSettings) -> tuple[dict[str, Floats], list[float]]:
    """(layers of the network, mean loss of each epoch): AdamW on the softmax over each list."""
    import torch
    from torch.nn.functional import cross_entropy

    torch.manual_seed(settings.seed)
    everything = np.concatenate([item.features for item in lists])
    mean, deviation = everything.mean(axis=0), np.maximum(everything.std(axis=0), np.float32(1e-3))
    inputs = torch.zeros(len(lists), settings.depth, len(FEATURES))
    absent = torch.full((len(lists), settings.depth), -1e9)
    for row, item in enumerate(lists):
        inputs[row, : len(item.features)] = torch.from_numpy((item.features - mean) / deviation)
        absent[row, : len(item.features)] = 0
    right = torch.tensor([item.right for item in lists])
    hidden, output = torch.nn.Linear(len(FEATURES), settings.hidden), torch.nn.Linear(settings.hidden, 1, bias=False)
    net = torch.nn.Sequential(hidden, torch.nn.ReLU(), output)
    adam = torch.optim.AdamW(net.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    curve = []
    for _ in range(settings.epochs):
        losses = []
        for chosen in torch.randperm(len(lists)).split(settings.batch_size):
            loss = cross_entropy(net(inputs[chosen]).squeeze(-1) + absent[chosen], right[chosen])
            adam.zero_grad()
            loss.backward()
            adam.step()
            losses.append(loss.item())
        curve.append(float(np.mean(losses)))
    weights = {"hidden": hidden.weight.T, "hidden_bias": hidden.bias, "output": output.weight[0]}
    return {"mean": mean, "deviation": deviation} | {n: w.detach().numpy() for n, w in weights.items()}, curve


KIND = Kind(InteractionSettings, run_interaction)
