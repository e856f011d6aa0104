"""The loss of a reward model over pairs, in a plain Trainer: see `reward`. Not covered: which pairs (`reward`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from chimed_rag.generation.base import Message
from training.contracts import Preference
from training.fitting import arguments, device_name
from training.scoring import padded, tokens

if TYPE_CHECKING:
    from training.reward import RewardSettings


class Example(NamedTuple):
    """A pair as tokens; `weight` is 1 on the average over all examples."""

    chosen: list[int]
    rejected: list[int]
    margin: int
    weight: float


def encoded(found: Sequence[Preference], renderer: Any) -> list[Example]:
    """The pairs as tokens."""
    mean = sum(pair.weight for pair in found) / len(found)
    return [
        Example(
            tokens(renderer, [*pair.prompt, replied(pair.chosen)]),
            tokens(renderer, [*pair.prompt, replied(pair.rejected)]),
            pair.margin,
            pair.weight / mean,
        )
        for pair in found
    ]


def loss_of(chosen: Any, rejected: Any, weights: Any, margins: Any, center: float) -> Any:
    """The mean loss of a batch, see the module; all tensors of shape (pairs,), margins in units of scores."""
    from torch.nn.functional import logsigmoid

    loss = -(weights * logsigmoid(chosen - rejected - margins)).mean()
    return loss + center * ((chosen + rejected) ** 2).mean()


def trainer(settings: RewardSettings, model: Any, examples: Sequence[Example], folder: Path) -> Any:
    """A Trainer of transformers with `loss_of`."""
    import torch
    from transformers import Trainer, TrainingArguments

    pad = model.config.pad_token_id

    def batch(rows: Sequence[Example]) -> dict[str, Any]:
        both = padded([row.chosen for row in rows] + [row.rejected for row in rows], pad)
        margins = torch.tensor([settings.margin * row.margin for row in rows])
        return {**both, "margins": margins, "weights": torch.tensor([row.weight for row in rows])}

    class PairTrainer(Trainer):  # type: ignore[misc, unused-ignore]
        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            output = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False)
            chosen, rejected = output.logits[:, 0].float().chunk(2)
            loss = loss_of(chosen, rejected, inputs["weights"], inputs["margins"], settings.center)
            return (loss, output) if return_outputs else loss

    shared = arguments(settings.fit, folder, seed=settings.seed, device=device_name(settings.device))
    return PairTrainer(
        model=model,
        args=TrainingArguments(**shared, remove_unused_columns=False),
        train_dataset=list(examples),
        data_collator=batch,
    )


def replied(text: str) -> Message:
    """A reply as a message."""
    return {"role": "assistant", "content": text}
