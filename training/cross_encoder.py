"""Kind `cross-encoder`: a reranker that reads query and passage together, trained on mined lists.

The result is a sentence-transformers CrossEncoder folder. Each list is one positive and its mined negatives. Not
covered: distillation, and passages longer than max_length (cut). Needs torch and sentence-transformers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from training.backbone import Backbone, prepared, texts_of
from training.card import Point
from training.files import Ledger
from training.fitting import Device, Optimisation, arguments, device_name, fit, quiet, without_model_cards
from training.measure import HeldOut
from training.mining import Mined, Mining
from training.retriever import Kind, RetrieverSettings, examples_of, pairs_of
from training.run import Run
from training.transformer import parameters


class CrossEncoderSettings(RetrieverSettings):
    """Keys of the kind `cross-encoder`.

    Args:
        backbone: see `backbone`.
        lists: how the negatives of a list are mined; `self` does not go here.
        loss: `lambda`, LambdaLoss (Wang et al. 2018) over each list; `list-net`, ListNet (Cao et al. 2007); `binary`,
            cross entropy of each passage by itself.
        optimisation: a batch counts lists, or single passages with `binary`.
        max_length: tokens of query and passage together.
        device: `auto`, `cpu` or `cuda`.
    """

    kind: Literal["cross-encoder"]
    backbone: Backbone
    lists: Mining = Mining(number=7)
    loss: Literal["lambda", "list-net", "binary"] = "lambda"
    optimisation: Optimisation = Optimisation(batch_size=8)
    max_length: int = 256
    device: Device = "auto"


def train(settings: CrossEncoderSettings, run: Run) -> None:
    """Backbone, lists, training, scores, card."""
    ledger: Ledger = []
    texts = texts_of(settings.backbone, settings.data, seed=settings.seed, ledger=ledger)
    pairs, held_out = pairs_of(settings, run, ledger)
    base = prepared(settings.backbone, run, texts, pairs, seed=settings.seed, device=settings.device)

    def make(folder: Path) -> list[Point]:
        lists = examples_of(pairs, settings.lists, run, folder.name, seed=settings.seed)
        quiet(settings.seed)
        model = _model(settings, base)
        points = fit(_trainer(settings, model, lists, folder), folder, run.say)
        model.save_pretrained(str(folder / "model"), create_model_card=False)
        return points

    place = run.phase("lists", make)
    run.card.parameters = parameters(place)
    if held_out:
        model = _model(settings, str(place))
        test = HeldOut(held_out, [pair.passage for pair in pairs])
        run.card.scores = test.reranked(lambda query, passages: model.predict([(query, text) for text in passages]))
        run.card.scores_of = f"The 30 best of BM25, as they are and reranked; {test}, at most 200 of the queries."
    run.finish(place)


def _model(settings: CrossEncoderSettings, base: str) -> Any:
    from sentence_transformers import CrossEncoder

    return CrossEncoder(
        base,
        num_labels=1,
        max_length=settings.max_length,
        device=device_name(settings.device),
        revision=settings.backbone.revision,
        model_kwargs={"use_safetensors": True},
    )


def _trainer(settings: CrossEncoderSettings, model: Any, lists: Sequence[Mined], folder: Path) -> Any:
    from sentence_transformers import CrossEncoderTrainer, CrossEncoderTrainingArguments
    from sentence_transformers.cross_encoder import losses

    loss = {"lambda": losses.LambdaLoss, "list-net": losses.ListNetLoss, "binary": losses.BinaryCrossEntropyLoss}
    shared = arguments(settings.optimisation, folder, seed=settings.seed, device=device_name(settings.device))
    return without_model_cards(
        CrossEncoderTrainer,
        model,
        args=CrossEncoderTrainingArguments(**shared),
        train_dataset=_dataset(lists, settings.loss == "binary"),
        loss=loss[settings.loss](model),
    )


def _dataset(lists: Sequence[Mined], single: bool) -> Any:
    """Columns query, passages, labels (a list each); or, one passage a row, query, passage, label."""
    from datasets import Dataset

    if single:
        rows = [
            (item.query, text, float(n == 0))
            for item in lists
            for n, text in enumerate((item.positive, *item.negatives))
        ]
        query, passage, label = (list(column) for column in zip(*rows, strict=True))
        return Dataset.from_dict({"query": query, "passage": passage, "label": label})
    return Dataset.from_dict(
        {
            "query": [item.query for item in lists],
            "passages": [[item.positive, *item.negatives] for item in lists],
            "labels": [[1.0] + [0.0] * len(item.negatives) for item in lists],
        }
    )


KIND = Kind(CrossEncoderSettings, train)
