"""Stage `reward`: ranked replies become a model that gives a reply one score.

The loss of a pair is −w · log σ(r_chosen − r_rejected − margin · ranks between them) (Bradley and Terry 1952; the
margin as in Touvron et al. 2023, arXiv:2307.09288, 3.2.2), and center · (r_chosen + r_rejected)², which keeps scores
about zero (Eisenstein et al. 2023, arXiv:2312.09244). All pairs of a list weigh 1 together.

The loss is our own in a plain Trainer: trl's RewardTrainer weighs no pairs, and leaves out those over its length
without a word. Here what is too long is counted before anything is trained, and named. Not covered: Plackett and Luce's
loss over whole lists; several scores a reply.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field, ValidationError, model_validator

from chimed_rag.errors import InputError
from training import linear_reward
from training.card import Point
from training.contracts import Preference, RankedList, pairs
from training.files import Ledger
from training.fitting import device_name, fit, quiet, whole
from training.gates import Gate, conclude
from training.linear_reward import Linear
from training.negatives import hard_negatives
from training.reward_report import FILE, RewardReport, reward_report
from training.reward_trainer import encoded, replied, trainer
from training.run import Run
from training.scoring import Scorer, TransformerScorer, load, tokens
from training.stages import Stage, StageSettings
from training.transformer import parameters


class RewardSettings(StageSettings):
    """Keys of the stage `reward`.

    Args:
        kind: `transformer`, the base with a score in place of words; `linear`, n-grams and measures of a reply
            (`linear_reward`), which takes no base, no fit, no lora.
        margin: by which scores should differ for each rank between two replies.
        center: see the module.
        hard_negatives: so many pairs, as a share of the lists, of a reply and the same one spoilt (`negatives`) are
            learned from as well; then the model must tell others apart, made by other rules (a gate).
        linear: of the kind `linear`.
    """

    kind: Literal["transformer", "linear"] = "transformer"
    margin: float = Field(0.0, ge=0)
    center: float = Field(0.01, ge=0)
    hard_negatives: float = Field(0.0, ge=0, le=1)
    linear: Linear = Linear()

    @model_validator(mode="after")
    def _has_base(self) -> RewardSettings:
        if self.kind == "transformer" and self.base is None:
            raise ValueError("base is missing: the model to begin with (kind: linear needs none)")
        return self


class Rows(NamedTuple):
    """What is learned from, and what is measured on; `made` are hard negatives of held-out lists, by all rules."""

    training: list[Preference]
    lists: list[RankedList]
    made: list[Preference]


def train(settings: RewardSettings, run: Run) -> None:
    """Rows, pairs, training, report, gates.

    Raises:
        InputError: no pair is short enough; the machine, the base or the data cannot be used.
        GateError: a gate failed.
    """
    if settings.kind == "transformer":
        _transformer(settings, run)
    else:
        _linear(settings, run)


def rows_of(settings: RewardSettings, run: Run, renderer: Any = None) -> Rows:
    """The pairs to learn from and the lists to measure on; replies that are too long for the model are counted.

    Args:
        settings: of the run.
        run: notes data and counts.
        renderer: of a transformer; without it nothing is too long.

    Raises:
        InputError: nothing is left, or nothing is held out.
    """
    from training.sources import read_rows, split

    ledger: Ledger = []
    lists = read_rows(settings.data, RankedList, seed=settings.seed, ledger=ledger)
    if not settings.data.held_out:
        raise InputError("a reward model is measured on held-out lists; set data.held_out")
    training, held_out = split(lists, settings.data.held_out, settings.seed)
    counted: dict[str, dict[str, int]] = {}
    if renderer is not None:
        training, counted["training lists"] = short_enough(training, renderer, settings.max_tokens, "training")
        held_out, counted["held-out lists"] = short_enough(held_out, renderer, settings.max_tokens, "held-out")
    found = [pair for ranked in training for pair in pairs(ranked)]
    counted["pairs"] = {"of the lists": len(found)}
    made: list[Preference] = []
    if settings.hard_negatives:
        learned, made, counted["hard negatives"] = _spoilt(settings, training, held_out, renderer)
        counted["pairs"]["hard negatives"] = len(learned)
        found += learned
    # Only now: a first start that fails leaves the folder free for other settings.
    run.data(ledger)
    for name, counts in counted.items():
        run.note_negatives(name, counts)
        run.say(f"{name}: " + ", ".join(f"{reason} {n:,}" for reason, n in counts.items()))
    if (hygiene := settings.data.hygiene).evaluation is not None:
        run.card.checked_against = f"{hygiene.evaluation}, {hygiene.gram}-grams"
    run.card.training_pairs = len(found)
    return Rows(found, held_out, made)


def _spoilt(
    settings: RewardSettings, training: Sequence[RankedList], held_out: Sequence[RankedList], renderer: Any
) -> tuple[list[Preference], list[Preference], dict[str, int]]:
    """(hard negatives to learn from, those to measure on, counts of the former)."""
    number = max(1, round(settings.hard_negatives * len(training)))
    made, counts = hard_negatives(training, number, settings.seed)
    measured = [
        pair
        for unseen in (False, True)
        for pair in hard_negatives(held_out, len(held_out), settings.seed, unseen=unseen)[0]
    ]
    learned = made
    if renderer is not None:
        learned, measured = (
            [pair for pair in part if _longest(pair, renderer) <= settings.max_tokens] for part in (made, measured)
        )
    if not learned or not measured:
        raise InputError(
            f"hard_negatives: of {len(training)} lists to learn from {len(learned)} replies could be spoilt, of "
            f"{len(held_out)} held-out ones {len(measured)}; give more lists, or leave hard_negatives out"
        )
    return learned, measured, counts | {"too long": len(made) - len(learned)}


def short_enough(
    lists: Sequence[RankedList], renderer: Any, max_tokens: int, part: str
) -> tuple[list[RankedList], dict[str, int]]:
    """The lists without replies of more than `max_tokens` tokens, their prompts included; and how many went.

    Raises:
        InputError: none is left.
    """
    kept: list[RankedList] = []
    too_long, shortest = 0, 0
    for ranked in lists:
        sizes = [len(tokens(renderer, [*ranked.prompt, replied(reply.text)])) for reply in ranked.replies]
        fits = [reply for reply, size in zip(ranked.replies, sizes, strict=True) if size <= max_tokens]
        too_long += len(sizes) - len(fits)
        shortest = min(shortest or max(sizes), max(sizes))
        if len(fits) == len(sizes):
            kept.append(ranked)
            continue
        try:
            kept.append(
                RankedList.model_validate(ranked.model_dump() | {"replies": [one.model_dump() for one in fits]})
            )
        except ValidationError:
            continue  # one reply is left, or ties alone
    if not kept:
        raise InputError(
            f"all {len(lists):,} {part} lists are too long: none has two replies of at most max_tokens = {max_tokens:,}"
            f" tokens with the prompt (the shortest list needs {shortest:,}); set max_tokens higher"
        )
    return kept, {"lists": len(lists), "lists kept": len(kept), "replies too long": too_long}


# --- kinds -----------------------------------------------------------------------------------------------------


def _linear(settings: RewardSettings, run: Run) -> None:
    rows = rows_of(settings, run)

    def make(folder: Path) -> list[Point]:
        model, accuracies = linear_reward.fit(rows.training, settings.linear, settings.seed)
        for strength, accuracy in accuracies.items():
            run.say(f"{folder.name}: strength {strength:g}: pair accuracy {accuracy:.3f} on inner folds")
        model.save(folder / "model")
        return []

    place = run.phase("linear", make)
    _end(settings, run, place, rows, load(place))


def _transformer(settings: RewardSettings, run: Run) -> None:
    from chimed_rag.generation.chat import Renderer
    from training.language import load_reward, save_model, with_lora

    machine, device, base = settings.fit.machine, device_name(settings.device), str(settings.base)
    quiet(settings.seed)
    model, tokenizer = load_reward(base, dtype=machine.weights, device="cpu", seed=settings.seed)
    most = getattr(model.config, "max_position_embeddings", settings.max_tokens)
    if settings.max_tokens > most:
        raise InputError(f"max_tokens is {settings.max_tokens:,} and {base} reads {most:,}; set it lower")
    renderer = Renderer(tokenizer)
    rows = rows_of(settings, run, renderer)

    def make(folder: Path) -> list[Point]:
        learning = model if settings.lora is None else with_lora(model, settings.lora)
        examples = encoded(rows.training, renderer)
        learner = trainer(settings, learning, examples, folder)
        points = fit(learner, folder, run.say, machine=machine)
        if (trained := whole(learner)) is not None:
            save_model(trained, tokenizer, folder / "model")
        return points

    place = run.phase("pairs", make, together=True)
    run.rest()
    # From its files: a model that a trainer has touched is not to be trusted, and what was saved is what counts.
    trained, tokenizer = load_reward(place, dtype=machine.weights, device=device)
    _end(settings, run, place, rows, TransformerScorer(trained, tokenizer, settings.fit.batch_size))


def _end(settings: RewardSettings, run: Run, place: Path, rows: Rows, scorer: Scorer) -> None:
    report = reward_report(scorer, rows.lists, rows.made)
    run.write(FILE, report.model_dump_json(indent=1) + "\n")
    run.card.parameters = parameters(place)
    run.card.scores = report.scores()
    run.card.scores_of = _scores_of(report)
    gates: list[Gate] = report.gates(hard=bool(settings.hard_negatives))
    conclude(run, place, gates, settings.gates)


def _scores_of(report: RewardReport) -> str:
    return (
        f"{report.all.pairs:,} pairs of {report.lists:,} held-out lists with {report.all.prompts:,} prompts; n of each "
        f"kind is in {FILE}. Calibration error {report.calibration:.3f}; scores {report.mean:.2f} ± "
        f"{report.deviation:.2f}."
    )


def _longest(pair: Preference, renderer: Any) -> int:
    return max(len(tokens(renderer, [*pair.prompt, replied(text)])) for text in (pair.chosen, pair.rejected))


STAGE = Stage(RewardSettings, train)
