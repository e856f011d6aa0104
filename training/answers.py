"""What a model replies to held-out prompts, and whether that is nearer to the references than what another replied.

Prompts are answered greedily, by the very class that serves. Not covered: whether the replies are true.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from chimed_rag.config import Generation
from chimed_rag.evaluation.statistics import Interval, bootstrap_means, bootstrap_ratios, proportion
from chimed_rag.generation.language_model import Completion
from training.contracts import Dialogue
from training.gates import Gate, paired
from training.overlap import Overlap, repetition_rate, stopped, text_overlap

LEAST_STOPS = 0.98
MOST_REPEATED = 0.1
"""Of a reply's 4-grams, so many more may be repetitions than of its reference's, on average."""


class Replies(NamedTuple):
    """What a model wrote, row by row, and how it compares with the references."""

    completions: list[Completion]
    overlap: Overlap

    @property
    def texts(self) -> list[str]:
        """Of the replies."""
        return [completion.text for completion in self.completions]


def compared(completions: Sequence[Completion], references: Sequence[str]) -> Replies:
    """The completions beside the references of their rows.

    Raises:
        InputError: as `text_overlap`.
    """
    return Replies(list(completions), text_overlap([one.text for one in completions], references))


def answers(model: Any, tokenizer: Any, dialogues: Sequence[Dialogue], max_new_tokens: int) -> list[Completion]:
    """Greedy replies to all but the last message of each dialogue, in their order, by the class that serves.

    Raises:
        GeneratorError: the model failed.
    """
    from chimed_rag.generation.chimed_gpt import ChiMedGPT

    context = int(model.config.max_position_embeddings)
    how = Generation(max_new_tokens=max_new_tokens, context_tokens=context if context >= 256 else None, seconds=None)
    writer = ChiMedGPT.from_parts(model, tokenizer, name="held-out", settings=how)
    try:
        written = writer.complete_many([dialogue.prompt for dialogue in dialogues])
    finally:
        writer.close()
    for one in written:
        if not isinstance(one, Completion):
            raise one
    return [one for one in written if isinstance(one, Completion)]


def scores(replies: Replies, references: Sequence[str]) -> dict[str, Interval]:
    """What a card says of them: means with their 95 % intervals, the rows resampled together."""
    of = replies.overlap
    columns = {
        "BLEU-1": of.bleu1,
        "BLEU-2": of.bleu2,
        "ROUGE-1": of.rouge1,
        "ROUGE-2": of.rouge2,
        "ROUGE-L": of.rouge_l,
    }
    columns["repetition"] = repetition_rate(replies.texts)
    lengths, wanted = (np.array([len(text) for text in texts], np.float64) for texts in (replies.texts, references))
    return {
        **bootstrap_means(columns),
        "length ratio": bootstrap_ratios({"length": lengths}, wanted)["length"],
        "stop rate": proportion(stopped(replies.completions), len(references)),
    }


def gates(base: Replies, model: Replies, references: Sequence[str]) -> list[Gate]:
    """Closer to the references than the base was, by BLEU and by ROUGE; replies that end, and do not go in circles."""
    n = len(references)
    one, other = base.overlap, model.overlap
    repeated = paired(repetition_rate(references), repetition_rate(model.texts))
    stops = proportion(stopped(model.completions), n)
    return [
        Gate.of("BLEU-2 of characters, change", paired(one.bleu2, other.bleu2), n=n, at_least=0, clear=True),
        Gate.of("ROUGE-L of characters, change", paired(one.rouge_l, other.rouge_l), n=n, at_least=0, clear=True),
        Gate.of("stop rate", stops, n=n, at_least=LEAST_STOPS),
        Gate.of("repetition beyond the references'", repeated, n=n, at_most=MOST_REPEATED),
    ]
