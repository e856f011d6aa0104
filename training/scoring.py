"""Conversations become scores: one function for training, reports, rejection sampling and preference training.

A score is read at the stop token of the last reply, as the one renderer writes it; what a chat template puts behind
(a line break) is left away. So it depends on no padding and on no neighbour in the batch, but for rounding.

Two kinds of folders are known: a transformer with one output (`reward`, kind transformer) and a linear model of
n-grams (`linear_reward`). Not covered: training either. Needs torch for the former alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from chimed_rag.errors import InputError
from chimed_rag.generation.base import Message
from training.fitting import Device, device_name
from training.settings import located

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from chimed_rag.generation.chat import Renderer

Conversation = Sequence[Message]
"""Messages that end with the assistant's reply, which is what is judged."""


class Scorer(Protocol):
    """Gives each conversation a score; higher is better, and only differences mean anything."""

    def score(self, conversations: Sequence[Conversation]) -> list[float]:
        """One score a conversation, in their order.

        Raises:
            InputError: a conversation does not end with a reply, or is longer than the model can read.
        """
        ...


def load(folder: str | Path, *, device: Device = "auto", dtype: str | None = None, batch_size: int = 16) -> Scorer:
    """The reward model of a folder.

    Args:
        folder: of either kind, as a configuration writes it; or the hub name of a transformer.
        device, dtype: of a transformer; its weights are float32 unless another dtype is asked for.
        batch_size: conversations that go through a transformer together.

    Raises:
        GeneratorError: it cannot be loaded, or has no score: a language model is none before it was trained as one.
        InputError: its files are not what they should be.
    """
    from training import linear_reward

    if linear_reward.is_one(located(str(folder))):
        return linear_reward.load(located(str(folder)))
    from training.language import load_reward

    model, tokenizer = load_reward(folder, dtype=dtype, device=device_name(device))
    require_score(model, str(folder))
    return TransformerScorer(model, tokenizer, batch_size)


def require_score(model: Any, name: str) -> None:
    """
    Raises:
        GeneratorError: the model was saved without a score, and would judge by random weights.
    """
    from chimed_rag.errors import GeneratorError

    architectures = model.config.architectures or []
    if not any("SequenceClassification" in one for one in architectures):
        raise GeneratorError(
            f"{name} is {', '.join(architectures) or 'no reward model'}: it writes words and gives no score; train "
            "one: python -m training reward"
        )


class TransformerScorer:
    """A transformer with one output, its tokenizer and its renderer."""

    def __init__(self, model: Any, tokenizer: Any, batch_size: int = 16) -> None:
        from chimed_rag.generation.chat import Renderer

        self.model, self.renderer, self.batch_size = model, Renderer(tokenizer), batch_size

    def score(self, conversations: Sequence[Conversation]) -> list[float]:
        """See `Scorer`."""
        return [float(one) for one in score(self.model, self.renderer, conversations, self.batch_size)]


def score(
    model: Any,
    renderer: Renderer,
    conversations: Sequence[Conversation],
    batch_size: int = 16,
    *,
    padding: Literal["left", "right"] = "right",
) -> NDArray[np.float64]:
    """Scores, shape (n,), in the order of the conversations; the model is in eval mode afterwards.

    Args:
        model: with one output a text.
        renderer: that it was trained under.
        conversations: see `Conversation`.
        batch_size: how many go through together, of about the same length.
        padding: on which side; it changes nothing but rounding, for models whose positions are relative.

    Raises:
        InputError: a conversation does not end with a reply, or is longer than the model can read.
    """
    import numpy as np
    import torch

    rows = [tokens(renderer, conversation) for conversation in conversations]
    most = getattr(model.config, "max_position_embeddings", None)
    for place, row in enumerate(rows):
        if most is not None and len(row) > most:
            raise InputError(f"conversation {place + 1} has {len(row):,} tokens; the reward model reads {most:,}")
    found = np.zeros(len(rows))
    order = sorted(range(len(rows)), key=lambda place: len(rows[place]))
    model.eval()
    with torch.inference_mode():
        for begin in range(0, len(order), batch_size):
            places = order[begin : begin + batch_size]
            batch = padded([rows[place] for place in places], model.config.pad_token_id, padding)
            logits = model(**{name: tensor.to(model.device) for name, tensor in batch.items()}).logits
            found[places] = logits[:, 0].float().cpu().numpy()
    return found


def tokens(renderer: Renderer, conversation: Conversation) -> list[int]:
    """The tokens of a conversation up to the stop token of its last reply.

    Raises:
        InputError: it does not end with a reply.
    """
    ids, mask = renderer.training(conversation, last_only=True)
    return ids[: len(mask) - mask[::-1].index(True)]


def padded(rows: Sequence[Sequence[int]], pad: int, side: Literal["left", "right"] = "right") -> dict[str, Any]:
    """`input_ids` and `attention_mask`, both of shape (rows, longest row)."""
    import torch

    longest = max(len(row) for row in rows)
    ids = torch.full((len(rows), longest), pad, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for number, row in enumerate(rows):
        place = slice(0, len(row)) if side == "right" else slice(longest - len(row), longest)
        ids[number, place] = torch.tensor(row)
        mask[number, place] = 1
    return {"input_ids": ids, "attention_mask": mask}
