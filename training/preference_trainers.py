"""trl's DPO and GRPO trainers, given the tokens of our renderer.

trl makes tokens of text itself, otherwise than a served model gets them: it adds the end of a text as text, trains a
template's line break after the stop token, and knows ChiMed-GPT's form not at all. Both trainers are therefore given
tokens, by the one method of each that would make them (trl 1.16), and `audit` compares what they train with the
renderer before the first step, so that another release of trl is found out. Losses, sampling and advantages are trl's
(DPO: Rafailov et al. 2023, arXiv:2305.18290; GRPO: Shao et al. 2024, arXiv:2402.03300).

Not covered: which rows there are (`prefer`), vLLM as GRPO's sampler. Needs torch and trl.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from chimed_rag.errors import ChiMedError, InputError
from chimed_rag.generation.base import Message
from chimed_rag.generation.chat import Renderer
from training.contracts import Preference

Score = Callable[[list[list[Message]]], Sequence[float]]
"""Conversations that end with a reply become a number each; higher is better."""


class Tokens(NamedTuple):
    """A pair as the model reads it: what was asked, and both replies with the token that ends them."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]

    @property
    def longest(self) -> int:
        """Tokens of the longer conversation."""
        return len(self.prompt) + max(len(self.chosen), len(self.rejected))


def tokens_of(renderer: Renderer, pair: Preference) -> Tokens:
    """A pair's tokens.

    Raises:
        InputError, GeneratorError: the renderer refuses the conversation.
    """
    prompt = renderer.prompt(pair.prompt)
    return Tokens(prompt, *(written(renderer, pair.prompt, reply) for reply in (pair.chosen, pair.rejected)))


def written(renderer: Renderer, prompt: Sequence[Message], reply: str) -> list[int]:
    """What the model would write: the reply's tokens and the one that ends it, without a template's line break."""
    ids, mask = renderer.training([*prompt, {"role": "assistant", "content": reply}], last_only=True)
    return [token for token, learned in zip(ids, mask, strict=True) if learned]


def dpo_trainer(
    model: Any, reference: Any, tokenizer: Any, pairs: Sequence[Tokens], arguments: dict[str, Any], *, beta: float
) -> Any:
    """A trainer that widens the gap between both replies, measured from a frozen reference.

    Args:
        model: the policy.
        reference: a model of its own with the weights of the beginning; None where the policy is adapters, without
            which it is the reference.
        tokenizer: of the policy; it needs a token for padding.
        pairs: none longer than the model reads.
        arguments: of transformers' TrainingArguments (`fitting.arguments`).
        beta: how strongly it is held to the reference.
    """
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    class Trainer(DPOTrainer):  # type: ignore[misc, unused-ignore]
        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset  # tokens already

        def create_model_card(self, *_: Any, **__: Any) -> None:
            """The run writes a card of its own."""

        def train(self, *args: Any, **how: Any) -> Any:
            with _as_it_comes():
                return super().train(*args, **how)

    rows = Dataset.from_list(
        [{"prompt_ids": one.prompt, "chosen_ids": one.chosen, "rejected_ids": one.rejected} for one in pairs]
    )
    with _as_it_comes():
        settings = DPOConfig(**arguments, beta=beta, max_length=None, disable_dropout=True)
        return Trainer(
            model=model, ref_model=reference, args=settings, train_dataset=rows, processing_class=tokenizer
        )  # fmt: skip


def grpo_trainer(
    model: Any,
    reference: Any,
    renderer: Renderer,
    prompts: Sequence[list[Message]],
    score: Score,
    arguments: dict[str, Any],
    *,
    beta: float,
    samples: int,
    max_new_tokens: int,
    temperature: float,
) -> Any:
    """A trainer that samples replies to a prompt and makes those likelier that score above the others' mean.

    Args:
        model: the policy.
        reference: as in `dpo_trainer`; none is needed if beta is 0.
        renderer: of its tokenizer.
        prompts: none longer than the model reads less `max_new_tokens`.
        score: of whole conversations.
        arguments: of transformers' TrainingArguments.
        beta: weight of the distance to the reference; 0 goes without one.
        samples: replies a prompt; the batch size is a multiple of it.
        max_new_tokens: of a reply.
        temperature: of sampling.
    """
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    class Trainer(GRPOTrainer):  # type: ignore[misc, unused-ignore]
        def _tokenize_prompts(self, prompts: list[list[Message]]) -> tuple[list[list[int]], None, dict[str, Any]]:
            return [renderer.prompt(one) for one in prompts], None, {}

        def create_model_card(self, *_: Any, **__: Any) -> None:
            """The run writes a card of its own."""

        def train(self, *args: Any, **how: Any) -> Any:
            with _as_it_comes():
                return super().train(*args, **how)

    def reward(prompts: list[list[Message]], completions: list[list[Message]], **_: Any) -> list[float]:
        return [float(one) for one in score([[*a, *b] for a, b in zip(prompts, completions, strict=True)])]

    model.generation_config.eos_token_id = list(renderer.stop_ids)
    with _as_it_comes():
        settings = GRPOConfig(
            **arguments, beta=0.0, num_generations=samples, max_completion_length=max_new_tokens,
            temperature=temperature, disable_dropout=True,
        )  # fmt: skip
        trainer = Trainer(
            model=model, reward_funcs=reward, args=settings, processing_class=renderer.tokenizer,
            train_dataset=Dataset.from_list([{"prompt": list(one)} for one in prompts]),
        )  # fmt: skip
    trainer.beta = beta
    if reference is not None:
        trainer.ref_model = _reference(trainer, reference, temperature)
    return trainer


def _reference(trainer: Any, reference: Any, temperature: float) -> Any:
    """What GRPOTrainer does with a reference that it loads itself: it takes none that is loaded."""
    from trl.models import prepare_deepspeed, prepare_fsdp
    from trl.trainer.utils import add_fused_lm_head, disable_dropout_in_model

    disable_dropout_in_model(reference)
    add_fused_lm_head(reference, temperature=temperature)
    if trainer.is_deepspeed_enabled:
        return prepare_deepspeed(reference, trainer.accelerator)
    if trainer.is_fsdp_enabled:
        return prepare_fsdp(reference, trainer.accelerator)
    return trainer.accelerator.prepare_model(reference, evaluation_mode=True)


def audit(trainer: Any, renderer: Renderer, rows: Sequence[Preference | list[Message]]) -> int:
    """Compares the tokens that a trainer would train with those of the renderer; returns how many rows it looked at.

    Args:
        trainer: of `dpo_trainer` or `grpo_trainer`.
        renderer: the one that serves.
        rows: the pairs or prompts it was given, in order.

    Raises:
        ChiMedError: they are not the same.
    """
    for place, row in enumerate(rows):
        if isinstance(row, Preference):
            batch = trainer.data_collator([trainer.train_dataset[place]])
            found = [
                (kept[seen.bool()].tolist(), written[seen.bool()].bool().tolist())
                for kept, seen, written in zip(
                    batch["input_ids"], batch["attention_mask"], batch["completion_mask"], strict=True
                )
            ]
            expected = [_rendered(renderer, row.prompt, reply) for reply in (row.chosen, row.rejected)]
        else:
            asked = trainer.train_dataset[place]["prompt"]
            found, expected = [(trainer._tokenize_prompts([asked])[0][0], [])], [(renderer.prompt(row), [])]
        if found != expected:
            raise ChiMedError(
                f"row {place + 1}: the trainer's tokens are not those of the renderer; this release of trl prepares "
                "rows in another way (tested: trl 1.16)"
            )
    return len(rows)


def _rendered(renderer: Renderer, prompt: list[Message], reply: str) -> tuple[list[int], list[bool]]:
    """Tokens and mask of a conversation up to its last stop token."""
    ids, mask = renderer.training([*prompt, {"role": "assistant", "content": reply}], last_only=True)
    end = len(mask) - mask[::-1].index(True)
    return ids[:end], mask[:end]


def scorer(place: str) -> Score:
    """What gives scores: the folder of a reward model, or "module:function" of Python.

    Raises:
        InputError: there is no such function.
    """
    from importlib import import_module

    from training.settings import located

    if place and located(place).is_dir():
        from training.scoring import load

        score: Score = load(located(place)).score
        return score
    module, _, name = place.partition(":")
    try:
        found: Score = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError):
        raise InputError(f"{place}: neither the folder of a reward model nor module:function") from None
    return found


@contextmanager
def _as_it_comes() -> Iterator[None]:
    """trl 1.16 asks transformers 5.23 by names that are going."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*gradient_checkpointing", FutureWarning)
        yield
