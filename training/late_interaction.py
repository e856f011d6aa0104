"""Kind `late-interaction`: a vector a token, scored by MaxSim (Khattab and Zaharia 2020, "ColBERT", arXiv:2004.12832).

Built on sentence-transformers' own MultiVectorEncoder (since 6.0.0). pylate, which did this first, is not used: 1.6.0
pins sentence-transformers to 5.3.0 and transformers below 5.4, and 1.0.0, the only release that pip installs beside
our versions, cannot be imported there (tried November 2026). The result is a folder that sentence-transformers'
`MultiVectorEncoder` loads. `chimed_rag` itself has no index of token vectors yet: such a model can rerank, and be
measured here, nothing more.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from training.backbone import Backbone, prepared, texts_of
from training.card import Point
from training.files import Ledger
from training.fitting import Device, Optimisation, arguments, device_name, fit, quiet, without_model_cards
from training.measure import HeldOut
from training.mining import Mined, Mining
from training.retriever import Kind, RetrieverSettings, examples_of, pairs_of
from training.run import Run
from training.transformer import dataset, datasets_by_source, parameters


class LateInteractionSettings(RetrieverSettings):
    """Keys of the kind `late-interaction`.

    Args:
        backbone: see `backbone`.
        dimension: of a token's vector.
        query_length, document_length: tokens that count.
        negatives: mined ones beside those of the batch; `self` does not go here, as there is no single vector a text.
        optimisation: see `fitting`.
        mini_batch: cache gradients by so many texts; none if left out.
        same_source_batches: see `transformer`.
        device: `auto`, `cpu` or `cuda`.
    """

    kind: Literal["late-interaction"]
    backbone: Backbone
    dimension: int = Field(64, ge=1)
    query_length: int = Field(48, ge=4)
    document_length: int = Field(256, ge=4)
    negatives: Mining | None = Mining()
    optimisation: Optimisation = Optimisation()
    mini_batch: int | None = Field(None, ge=1)
    same_source_batches: bool = True
    device: Device = "auto"


def train(settings: LateInteractionSettings, run: Run) -> None:
    """Backbone, contrastive training, scores, card."""
    ledger: Ledger = []
    texts = texts_of(settings.backbone, settings.data, seed=settings.seed, ledger=ledger)
    pairs, held_out = pairs_of(settings, run, ledger)
    base = prepared(settings.backbone, run, texts, pairs, seed=settings.seed, device=settings.device)

    def make(folder: Path) -> list[Point]:
        examples = examples_of(pairs, settings.negatives, run, folder.name, seed=settings.seed)
        quiet(settings.seed)
        model = _model(settings, base)
        points = fit(_trainer(settings, model, examples, folder), folder, run.say)
        model.save_pretrained(str(folder / "model"), create_model_card=False)
        return points

    place = run.phase("contrastive", make)
    run.card.parameters = parameters(place)
    if held_out:
        test = HeldOut(held_out, [pair.passage for pair in pairs])
        run.card.scores = test.reranked(scorer(place, device_name(settings.device)))
        run.card.scores_of = f"The 30 best of BM25, as they are and reranked; {test}, at most 200 of the queries."
    run.finish(place)


def scorer(folder: Path, device: str) -> Any:
    """MaxSim of a query with each of some passages, by the model in the folder."""
    from sentence_transformers import MultiVectorEncoder

    model = MultiVectorEncoder(str(folder), device=device)

    def score(query: str, passages: Sequence[str]) -> list[float]:
        asked = model.encode_query([query], show_progress_bar=False)
        read = model.encode_document(list(passages), show_progress_bar=False)
        return [float(value) for value in model.similarity(asked, read)[0]]

    return score


def _model(settings: LateInteractionSettings, base: str) -> Any:
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers.base.modules.dense import Dense
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
    from torch import nn

    transformer = Transformer(
        base,
        model_kwargs={"use_safetensors": True, "revision": settings.backbone.revision},
        query_length=settings.query_length,
        document_length=settings.document_length,
    )
    projection = Dense(
        in_features=transformer.get_embedding_dimension(),
        out_features=settings.dimension,
        bias=False,
        activation_function=nn.Identity(),
        module_input_name="token_embeddings",
    )
    modules = [transformer, projection, MultiVectorMask(), Normalize(module_input_name="token_embeddings")]
    return MultiVectorEncoder(modules=modules, device=device_name(settings.device))


def _trainer(settings: LateInteractionSettings, model: Any, examples: Sequence[Mined], folder: Path) -> Any:
    from sentence_transformers import MultiVectorEncoderTrainer, MultiVectorEncoderTrainingArguments
    from sentence_transformers.multi_vector_encoder import losses

    if settings.mini_batch is None:
        loss: Any = losses.MultiVectorMultipleNegativesRankingLoss(model)
    else:
        loss = losses.CachedMultiVectorMultipleNegativesRankingLoss(model, mini_batch_size=settings.mini_batch)
    shared = arguments(settings.optimisation, folder, seed=settings.seed, device=device_name(settings.device))
    return without_model_cards(
        MultiVectorEncoderTrainer,
        model,
        args=MultiVectorEncoderTrainingArguments(
            **shared, batch_sampler="no_duplicates", multi_dataset_batch_sampler="proportional"
        ),
        train_dataset=datasets_by_source(examples) if settings.same_source_batches else dataset(examples),
        loss=loss,
    )


KIND = Kind(LateInteractionSettings, train)
