"""Stage `prefer`: a policy learns from replies that are better and worse, by DPO from ranked lists or by GRPO from
scores of its own replies; then it is measured on prompts it has not seen.

DPO's gate is how often a held-out pair's better reply gained more likelihood than the other: at the start both gained
nothing, so .5 is no preference. GRPO's is the reward of greedy replies, and a second judge if there is one. Both are
held to their stop rate, the length of their replies, and their drift: nats a token by which replies sampled from the
new policy are likelier to it than to the old one (an estimate of the KL divergence, Schulman 2020).

Not covered: losses (trl's, `preference_trainers`); rejection sampling (`reject`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from chimed_rag.errors import GeneratorError, InputError
from chimed_rag.evaluation.statistics import Interval, bootstrap_means, bootstrap_ratios
from chimed_rag.generation.base import Message
from chimed_rag.generation.chat import Renderer
from training.card import Point
from training.contracts import Dialogue, Preference, RankedList, pairs
from training.files import Ledger
from training.fitting import arguments, device_name, fit, quiet, whole
from training.gates import Gate, conclude, paired
from training.likelihood import log_probabilities, sampled
from training.preference_trainers import Score, audit, dpo_trainer, grpo_trainer, scorer, tokens_of
from training.run import Run
from training.stages import Stage, StageSettings

AUDITED = 100
MOST_LONGER = 1.2
LEAST_STOPS = 0.98


class PreferSettings(StageSettings):
    """Keys of the stage `prefer`; `base` is needed.

    Args:
        method: `dpo` reads ranked lists, `grpo` dialogues, whose last reply it leaves out.
        pairs: of a ranked list (dpo): the best reply against the worst, or every pair, so that long lists count more.
        beta: how strongly the policy is held to what it was; of grpo 0 goes without.
        reward: what scores replies (grpo): the folder of a reward model, or "module:function".
        judge: another such, that has not to fall; null for none.
        samples: replies a prompt (grpo).
        max_new_tokens: of a reply.
        temperature: of sampling (grpo).
        margin: by how much the judge's mean may fall.
        most_drift: nats a token.
    """

    method: Literal["dpo", "grpo"] = "dpo"
    pairs: Literal["best_worst", "all"] = "best_worst"
    beta: float = Field(0.1, ge=0)
    reward: str | None = None
    judge: str | None = None
    samples: int = Field(4, ge=2)
    max_new_tokens: int = Field(256, ge=1)
    temperature: float = Field(1.0, gt=0)
    margin: float = Field(0.02, ge=0)
    most_drift: float = Field(0.5, gt=0)

    @model_validator(mode="after")
    def _complete(self) -> PreferSettings:
        if self.base is None:
            raise ValueError("base is missing: the model to begin with")
        if self.method == "grpo" and self.reward is None:
            raise ValueError("reward is missing: what scores the replies")
        if self.method == "grpo" and self.fit.batch_size * self.fit.accumulate % self.samples:
            raise ValueError(f"batch_size times accumulate is no multiple of samples ({self.samples})")
        if self.method == "dpo" and self.beta == 0:
            raise ValueError("beta has to be above 0")
        if self.data.held_out == 0:
            raise ValueError("data.held_out is 0: nothing to measure on")
        return self


class Rows(NamedTuple):
    """What is trained on and measured on: pairs (dpo), or prompts with no reply (grpo)."""

    training: list[Any]
    held_out: list[Any]

    def prompts(self) -> list[list[Message]]:
        """The different prompts that are measured on, in order."""
        found = [one.prompt if isinstance(one, Preference) else one for one in self.held_out]
        return list({repr(one): one for one in found}.values())


def train(settings: PreferSettings, run: Run) -> None:
    """Reads, trains, measures, and judges."""
    from training.language import load_policy

    quiet(settings.seed)
    device = device_name(settings.device)
    how = {"dtype": settings.fit.machine.weights, "device": device}
    base, tokenizer = load_policy(str(settings.base), **how)
    score = None if settings.reward is None else scorer(settings.reward)
    judge = None if settings.judge is None else scorer(settings.judge)
    rows = _rows(settings, run, Renderer(tokenizer, stop_ids=base.generation_config.eos_token_id))
    run.card.training_pairs = len(rows.training)

    place = run.phase(settings.method, lambda folder: _fit(settings, run, rows, folder, score), together=True)
    run.rest()
    policy, _ = load_policy(place, **how)
    run.card.parameters = sum(weight.numel() for weight in policy.parameters())
    conclude(run, place, _measured(settings, run, rows, base, policy, tokenizer, score, judge), settings.gates)


def _rows(settings: PreferSettings, run: Run, renderer: Renderer) -> Rows:
    """The rows that fit, on both sides of the split.

    Raises:
        InputError: none does.
    """
    from training.sources import read_rows, split

    ledger: Ledger = []
    found: list[Any]
    if settings.method == "dpo":
        found = read_rows(settings.data, RankedList, seed=settings.seed, ledger=ledger)
    else:
        found = read_rows(settings.data, Dialogue, seed=settings.seed, ledger=ledger)
    sides = split(found, settings.data.held_out, settings.seed)
    run.data(ledger)
    fitting = []
    for name, side in zip(("trained on", "measured on"), sides, strict=True):
        items = [item for row in side for item in _items(settings, row)]
        kept = [item for item in items if _length(settings, renderer, item) <= settings.max_tokens]
        run.say(f"{name}: {len(kept):,} of {len(items):,}; the others are longer than {settings.max_tokens:,} tokens")
        if not kept:
            raise InputError(
                f"{settings.output_dir}: none of {len(items):,} rows to be {name} fits into max_tokens "
                f"({settings.max_tokens:,}); the shortest has "
                f"{min((_length(settings, renderer, item) for item in items), default=0):,}"
            )
        fitting.append(kept)
    return Rows(*fitting)


def _items(settings: PreferSettings, row: Any) -> list[Any]:
    if isinstance(row, Dialogue):
        return [row.prompt]
    found = list(pairs(row))
    if settings.pairs == "all":
        return found
    # The pair farthest apart; of several, the first: ties keep the order of the list.
    return [max(found, key=lambda one: one.margin)]


def _length(settings: PreferSettings, renderer: Renderer, item: Any) -> int:
    """Tokens of a row at the most."""
    if isinstance(item, Preference):
        return tokens_of(renderer, item).longest
    return len(renderer.prompt(item)) + settings.max_new_tokens


def _fit(settings: PreferSettings, run: Run, rows: Rows, folder: Path, score: Score | None) -> list[Point]:
    """Trains, with a policy loaded for it alone: a trainer leaves its marks on a model."""
    from training.language import load_policy, save_model, with_lora

    quiet(settings.seed)
    device = device_name(settings.device)
    how = {"dtype": settings.fit.machine.weights, "device": device}
    model, tokenizer = load_policy(str(settings.base), **how)
    renderer = Renderer(tokenizer, stop_ids=model.generation_config.eos_token_id)
    if settings.lora is not None:
        model = with_lora(model, settings.lora)
    shared = arguments(settings.fit, folder, seed=settings.seed, device=device)
    kept = settings.lora is None and settings.beta > 0  # without adapters there is none to switch off
    reference = load_policy(str(settings.base), **how)[0] if kept else None
    if settings.method == "dpo":
        tokens = [tokens_of(renderer, pair) for pair in rows.training]
        trainer = dpo_trainer(model, reference, tokenizer, tokens, shared, beta=settings.beta)
    else:
        assert score is not None
        trainer = grpo_trainer(
            model, reference, renderer, rows.training, score, shared,
            beta=settings.beta, samples=settings.samples,
            max_new_tokens=settings.max_new_tokens, temperature=settings.temperature,
        )  # fmt: skip
    n = audit(trainer, renderer, rows.training[:AUDITED])
    run.say(f"{folder.name}: the tokens of {n} rows are those of the renderer")
    points = fit(trainer, folder, run.say, machine=settings.fit.machine)
    if (trained := whole(trainer)) is not None:
        save_model(trained, tokenizer, folder / "model")
    return points


# -- measuring ----------------------------------------------------------------------------------------------------


def _measured(
    settings: PreferSettings, run: Run, rows: Rows, base: Any, policy: Any, tokenizer: Any,
    score: Score | None, judge: Score | None,
) -> list[Gate]:  # fmt: skip
    """The gates; what else was measured goes to the card."""
    gates, prompts = [], rows.prompts()
    renderer = Renderer(tokenizer, stop_ids=base.generation_config.eos_token_id)
    if settings.method == "dpo":
        gates.append(_preference(settings, run, rows.held_out, base, policy, renderer))
    old, new = (_replies(settings, model, tokenizer, prompts) for model in (base, policy))
    for name, scale, least in (("reward", score, 0.0), ("judge", judge, -settings.margin)):
        if scale is None:
            continue
        before, after = (np.array(scale(_conversations(prompts, one.texts)), np.float64) for one in (old, new))
        run.card.scores.setdefault("before", {})[name] = bootstrap_means({"mean": before})["mean"]
        run.card.scores.setdefault("after", {})[name] = bootstrap_means({"mean": after})["mean"]
        clear = name == "reward" and settings.method == "grpo"
        change = paired(before, after)
        gates.append(Gate.of(f"{name}, change", change, at_least=least, clear=clear, n=len(prompts)))
    stops = bootstrap_means({"stops": new.stopped})["stops"]
    gates.append(Gate.of("stop rate", stops, at_least=LEAST_STOPS, n=len(prompts)))
    longer = bootstrap_ratios({"ratio": new.lengths}, old.lengths)["ratio"]
    gates.append(Gate.of("length, ratio to before", longer, at_most=MOST_LONGER, n=len(prompts)))
    drift = _drift(settings, base, policy, renderer, prompts)
    gates.append(Gate.of("drift, nats a token", drift, at_most=settings.most_drift, n=len(prompts)))
    run.card.scores_of = f"{len(rows.held_out):,} held-out rows, {len(prompts):,} prompts."
    return gates


def _preference(
    settings: PreferSettings, run: Run, held_out: Sequence[Preference], base: Any, policy: Any, renderer: Renderer
) -> Gate:
    """Whether the better reply of a held-out pair gained more than the worse one."""
    tokens = [tokens_of(renderer, pair) for pair in held_out]
    batch = settings.fit.batch_size
    likely = {}
    for name, model in (("before", base), ("after", policy)):
        better = log_probabilities(model, [(one.prompt, one.chosen) for one in tokens], batch)
        worse = log_probabilities(model, [(one.prompt, one.rejected) for one in tokens], batch)
        likely[name] = better - worse
        lengths = [(len(one.chosen), len(one.rejected)) for one in tokens]
        mean = better / [one for one, _ in lengths] - worse / [other for _, other in lengths]
        run.card.scores.setdefault(name, {}).update(
            bootstrap_means(
                {
                    "better reply likelier": _wins(likely[name]),
                    "better reply likelier, by the token": _wins(mean),
                }
            )
        )
    wins = _wins(likely["after"] - likely["before"])
    won = bootstrap_means({"won": wins})["won"]
    return Gate.of("held-out pairs whose better reply gained more", won, at_least=0.5, clear=True, n=len(wins))


def _wins(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 where positive, ½ where there is none."""
    return (np.sign(differences) + 1) / 2


class Replies(NamedTuple):
    """What a model wrote: texts, whether each ended by itself (1 or 0), tokens of each."""

    texts: list[str]
    stopped: NDArray[np.float64]
    lengths: NDArray[np.float64]


def _replies(settings: PreferSettings, model: Any, tokenizer: Any, prompts: Sequence[list[Message]]) -> Replies:
    from chimed_rag.config import Generation
    from chimed_rag.generation.chimed_gpt import ChiMedGPT

    how = Generation(max_new_tokens=settings.max_new_tokens, seconds=None)
    writer = ChiMedGPT.from_parts(model, tokenizer, name="policy", settings=how, max_batch=settings.fit.batch_size)
    try:
        found = []
        for one in writer.complete_many(prompts):
            if isinstance(one, GeneratorError):
                raise one
            found.append(one)
    finally:
        writer.close()
    return Replies(
        [one.text for one in found],
        np.array([one.finish == "stop" for one in found], np.float64),
        np.array([one.new_tokens for one in found], np.float64),
    )


def _drift(
    settings: PreferSettings, base: Any, policy: Any, renderer: Renderer, prompts: Sequence[list[Message]]
) -> Interval:
    """Nats a token between both policies, on tokens that the new one samples."""
    rows = sampled(policy, renderer, prompts, settings.max_new_tokens, settings.fit.batch_size, settings.seed)
    after, before = (log_probabilities(model, rows, settings.fit.batch_size) for model in (policy, base))
    lengths = np.array([len(reply) for _, reply in rows], np.float64)
    return bootstrap_ratios({"drift": after - before}, lengths)["drift"]


def _conversations(prompts: Sequence[list[Message]], texts: Sequence[str]) -> list[list[Message]]:
    return [[*prompt, {"role": "assistant", "content": text}] for prompt, text in zip(prompts, texts, strict=True)]


STAGE = Stage(PreferSettings, train)
