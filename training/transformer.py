"""Kind `transformer`: a sentence encoder, contrastive in rounds over in-batch and mined negatives.

The result is a sentence-transformers folder that `SentenceEncoder` loads. The loss is InfoNCE over cosines
(MultipleNegativesRankingLoss; van den Oord et al. 2018, arXiv:1807.03748), with gradients cached by small batches (Gao
et al. 2021, arXiv:2101.06983) where asked for. Not covered: distillation from a teacher.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from chimed_rag.encoders.base import load_encoder
from chimed_rag.encoders.sentence import FUSION
from chimed_rag.errors import InputError
from training.backbone import Backbone, prepared, texts_of
from training.card import Point
from training.files import Ledger
from training.fitting import Device, Optimisation, arguments, device_name, fit, quiet, without_model_cards
from training.measure import HeldOut
from training.mining import Mined, Mining
from training.pairs import Pair
from training.retriever import Kind, RetrieverSettings, examples_of, pairs_of
from training.run import Run
from training.settings import Settings


class Round(Optimisation):
    """One round of contrastive training; it goes on with the weights of the round before.

    Args:
        negatives: mined ones beside those of the batch (`self` is the encoder as the round before left it); none if
            left out.
        temperature: the cosines are divided by it.
        mini_batch: cache gradients by so many texts, so that batch_size may be large; none if left out.
    """

    negatives: Mining | None = None
    temperature: float = Field(0.05, gt=0)
    mini_batch: int | None = Field(None, ge=1)


class Pooling(Settings):
    """How a text's tokens become one vector.

    Args:
        mode: mean of the tokens, or the first one.
        query_prompt, document_prompt: put before each text, in training and ever after.
    """

    mode: Literal["mean", "cls"] = "mean"
    query_prompt: str = ""
    document_prompt: str = ""


class TransformerSettings(RetrieverSettings):
    """Keys of the kind `transformer`.

    Args:
        backbone: see `backbone`.
        pooling: see there.
        rounds: one after the other.
        repeat: by source, how often an epoch sees each of its pairs; once if left out.
        together: sources that share batches in spite of `same_source_batches`: those that a search has to tell apart.
        same_source_batches: a batch holds pairs of one source alone, so that its negatives tell nothing by their style.
        cosine_weight: what a cosine weighs beside BM25 in the fusion, where that was measured; the model's folder says
            so (`chimed_rag.encoders.sentence.FUSION`).
        device: `auto`, `cpu` or `cuda`.
    """

    kind: Literal["transformer"]
    backbone: Backbone
    pooling: Pooling = Pooling()
    rounds: list[Round] = Field(min_length=1)
    repeat: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    together: list[list[str]] = Field(default_factory=list)
    same_source_batches: bool = True
    cosine_weight: float | None = Field(None, ge=0, allow_inf_nan=False)
    device: Device = "auto"


def train(settings: TransformerSettings, run: Run) -> None:
    """Backbone, rounds, scores, card."""
    ledger: Ledger = []
    texts = texts_of(settings.backbone, settings.data, seed=settings.seed, ledger=ledger)
    pairs, held_out = pairs_of(settings, run, ledger)
    place = prepared(settings.backbone, run, texts, pairs, seed=settings.seed, device=settings.device)
    for n, part in enumerate(settings.rounds, 1):
        place = str(_round(settings, run, part, n, place, pairs))
    encoder = load_encoder(place, device=device_name(settings.device))
    run.card.parameters = parameters(Path(place))
    if held_out:
        test = HeldOut(held_out, [pair.passage for pair in pairs])
        run.card.scores = {"bm25": test.bm25(), "model": test.encoder(encoder)}
        run.card.scores_of = f"{test}."
    run.finish(Path(place))


def _round(settings: TransformerSettings, run: Run, part: Round, n: int, base: str, pairs: Sequence[Pair]) -> Path:
    own = base if n > 1 else None

    def make(folder: Path) -> list[Point]:
        examples = dealt(settings, examples_of(pairs, part.negatives, run, folder.name, seed=settings.seed, own=own))
        quiet(settings.seed)
        model = _model(settings, base)
        points = fit(_trainer(settings, part, model, examples, folder), folder, run.say)
        model.save(str(folder / "model"), create_model_card=False)
        if settings.cosine_weight is not None:
            (folder / "model" / FUSION).write_text(json.dumps({"cosine_weight": settings.cosine_weight}), "utf-8")
        return points

    return run.phase(f"round-{n}", make)


def dealt(settings: TransformerSettings, examples: Sequence[Mined]) -> list[Mined]:
    """The examples of an epoch: each as often as its source is repeated, those of sources together under one name.

    Raises:
        InputError: `repeat` or `together` names a source that no example has.
    """
    shared = {name: " + ".join(names) for names in settings.together for name in names}
    there = {item.source for item in examples}
    if missing := [name for name in (*settings.repeat, *shared) if name not in there]:
        raise InputError(f"repeat, together: no pair is of source {missing[0]!r}; sources: {', '.join(sorted(there))}")
    return [
        item._replace(source=shared.get(item.source, item.source))
        for item in examples
        for _ in range(settings.repeat.get(item.source, 1))
    ]


def _model(settings: TransformerSettings, base: str) -> Any:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling as PoolingModule
    from sentence_transformers.sentence_transformer.modules import Transformer

    device = device_name(settings.device)
    pooling = settings.pooling
    prompts = {"query": pooling.query_prompt, "document": pooling.document_prompt}
    if (Path(base) / "modules.json").is_file():
        return SentenceTransformer(base, device=device, prompts=prompts)
    transformer = Transformer(base, model_kwargs={"use_safetensors": True, "revision": settings.backbone.revision})
    modules = [transformer, PoolingModule(transformer.get_embedding_dimension(), pooling_mode=pooling.mode)]
    return SentenceTransformer(modules=modules, device=device, prompts=prompts)


def _trainer(settings: TransformerSettings, part: Round, model: Any, examples: Sequence[Mined], folder: Path) -> Any:
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer import losses

    scale = 1 / part.temperature
    if part.mini_batch is None:
        loss: Any = losses.MultipleNegativesRankingLoss(model, scale=scale)
    else:
        loss = losses.CachedMultipleNegativesRankingLoss(model, scale=scale, mini_batch_size=part.mini_batch)
    shared = arguments(part, folder, seed=settings.seed, device=device_name(settings.device))
    pooling = settings.pooling
    prompts = {"query": pooling.query_prompt, **dict.fromkeys(columns(examples)[1:], pooling.document_prompt)}
    return without_model_cards(
        SentenceTransformerTrainer,
        model,
        args=SentenceTransformerTrainingArguments(
            **shared,
            batch_sampler="no_duplicates_hashed",  # compared by numbers made once
            multi_dataset_batch_sampler="proportional",
            prompts=prompts if any(prompts.values()) else None,
        ),
        train_dataset=datasets_by_source(examples) if settings.same_source_batches else dataset(examples),
        loss=loss,
    )


def columns(examples: Sequence[Mined]) -> list[str]:
    """query, passage, negative_1, ..."""
    return ["query", "passage", *(f"negative_{n}" for n in range(1, len(examples[0].negatives) + 1))]


def dataset(examples: Sequence[Mined]) -> Any:
    """The examples as a `datasets.Dataset` with `columns`; each must have as many negatives as the first."""
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    table = zip(*((item.query, item.positive, *item.negatives) for item in examples), strict=True)
    return Dataset.from_dict({name: list(column) for name, column in zip(columns(examples), table, strict=True)})


def datasets_by_source(examples: Sequence[Mined]) -> Any:
    """One dataset a source, in the order in which the sources come."""
    groups: dict[str, list[Mined]] = {}
    for item in examples:
        groups.setdefault(item.source, []).append(item)
    return {source: dataset(found) for source, found in groups.items()}


def parameters(folder: Path) -> int:
    """Numbers in the safetensors files of a model's folder."""
    from math import prod

    from safetensors import safe_open

    total = 0
    for file in folder.rglob("*.safetensors"):
        with safe_open(file, framework="np") as weights:
            total += sum(prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118
    return total


KIND = Kind(TransformerSettings, train)
