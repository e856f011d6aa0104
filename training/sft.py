"""Stage "sft": a language model learns to reply, from conversations; only replies and the tokens that end them count.

Rows are rendered by the renderer that serves, audited before the first step (`batches`), and packed so that none sees
another, which is checked on the model itself (`packing`); or padded. Adapters are merged at the end, and what lies on
the disk is compared with the model that had them (`merge`). Held-out prompts are answered before and after, greedily,
by the very class that serves: replies have to come closer to the references, and to end.
Not covered: which conversations (`sources`); whether replies are true (`evaluation`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from chimed_rag.errors import InputError
from chimed_rag.evaluation.metrics.text import distinct_n
from chimed_rag.generation.chat import Rendered, Renderer
from training.answers import Replies, answers, compared, gates, scores
from training.batches import Conversations, Padded, packed, render
from training.card import Point
from training.contracts import Dialogue
from training.files import Ledger
from training.fitting import arguments, device_name, fit, quiet, whole
from training.gates import Gate, conclude
from training.language import fast_bf16, load_policy, save_model, with_lora
from training.merge import end_replies, save_merged
from training.run import Run
from training.stages import Stage, StageSettings


class SftSettings(StageSettings):
    """Settings of the stage; `base` is needed. A row has at most `max_tokens`, packed or not.

    Args:
        packing: put several conversations into one row (`fit.batch_size` counts rows); false pads each to the longest
            of its batch.
        last_only: learn from the last reply of a conversation alone; needed where a chat template writes former turns
            otherwise once others follow.
        max_new_tokens: of a reply to a held-out prompt.
    """

    stage: Literal["sft"] = "sft"
    packing: bool = True
    last_only: bool = False
    max_new_tokens: int = Field(256, ge=1)

    @model_validator(mode="after")
    def _has_base(self) -> SftSettings:
        if self.base is None:
            raise ValueError("base is missing: the model to begin with")
        return self


def _train(settings: SftSettings, run: Run) -> None:
    from training.sources import read_rows, split

    ledger: Ledger = []
    rows = read_rows(settings.data, Dialogue, seed=settings.seed, ledger=ledger)
    learned, held_out = split(rows, settings.data.held_out, settings.seed)
    model, tokenizer = _base(settings)
    found, apart = (
        _rendered(model, tokenizer, some, settings, settings.last_only) if some else None
        for some in (learned, held_out)
    )
    assert found is not None
    del model
    run.data(ledger)
    run.say(f"trained on: {found}")
    run.card.training_pairs = len(found.rendered)
    run.card.scores_of = f"Trained on {found}."

    def make(folder: Path) -> list[Point]:
        model, tokenizer = _base(settings)
        return _fit(model, tokenizer, found.rendered, settings, folder, run, packing=settings.packing)

    place = run.phase("fit", make, together=True)
    run.rest()
    conclude(run, place, _measured(settings, run, place, apart), settings.gates)


STAGE = Stage(SftSettings, _train)


def fit_dialogues(
    model: Any,
    tokenizer: Any,
    dialogues: Sequence[Dialogue],
    settings: StageSettings,
    folder: Path,
    run: Run,
    *,
    packing: bool = True,
    last_only: bool = False,
) -> list[Point]:
    """The training of the stage alone, for others: leaves the whole model, adapters merged, in `folder/model`.

    Goes on from the newest whole checkpoint in the folder if there is one. Load what was saved: the model given has
    been through a Trainer.

    Args:
        model: of `load_policy`; it is changed.
        tokenizer: of it.
        dialogues: whose replies are learned.
        settings: `max_tokens`, `lora`, `fit`, `seed` and `device` are read.
        folder: of the phase.
        run: is told.
        packing: as in `SftSettings`.
        last_only: as in `SftSettings`.

    Raises:
        InputError: no dialogue fits, the audit fails, or adapters and the merged model disagree.
        TrainingError: a loss is no number, or the disk is full.
    """
    found = _rendered(model, tokenizer, dialogues, settings, last_only)
    run.say(f"trained on: {found}")
    return _fit(model, tokenizer, found.rendered, settings, folder, run, packing=packing)


def _base(settings: SftSettings) -> tuple[Any, Any]:
    return load_policy(str(settings.base), dtype=settings.fit.machine.weights, device=device_name(settings.device))


def _rendered(
    model: Any, tokenizer: Any, dialogues: Sequence[Dialogue], settings: StageSettings, last_only: bool
) -> Conversations:
    context = int(model.config.max_position_embeddings)
    if settings.max_tokens > context:
        raise InputError(f"max_tokens is {settings.max_tokens:,} and {settings.base} reads {context:,} at most")
    renderer = Renderer(tokenizer, stop_ids=model.generation_config.eos_token_id)
    return render(renderer, dialogues, settings.max_tokens, last_only=last_only)


def _fit(
    model: Any,
    tokenizer: Any,
    rows: Sequence[Rendered],
    settings: StageSettings,
    folder: Path,
    run: Run,
    *,
    packing: bool,
) -> list[Point]:
    from transformers import Trainer, TrainingArguments

    quiet(settings.seed)
    if settings.lora is not None:
        model = with_lora(model, settings.lora)
    device = device_name(settings.device)
    how = settings.fit.model_copy(update={"bf16": settings.fit.bf16 and fast_bf16(device)})
    if how.bf16 != settings.fit.bf16:
        run.say("this processor has no bfloat16 of its own: computed in float32, which is faster here")
        run.card.description += "\n\nComputed in float32: the processor has no bfloat16 of its own."
    data, collate, order = _batches(model, tokenizer, rows, settings, run, packing)
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            **arguments(how, folder, seed=settings.seed, device=device),
            remove_unused_columns=False,
            train_sampling_strategy=order,
        ),
        train_dataset=data,
        data_collator=collate,
    )
    points = fit(trainer, folder, run.say, machine=how.machine)
    if (trained := whole(trainer)) is None:
        return points
    if settings.lora is None:
        end_replies(trained, tokenizer)
        save_model(trained, tokenizer, folder / "model")
    else:
        run.say(str(save_merged(trained, tokenizer, folder / "model", dtype=how.machine.weights)))
    return points


def _batches(
    model: Any, tokenizer: Any, rows: Sequence[Rendered], settings: StageSettings, run: Run, packing: bool
) -> tuple[Any, Any, str]:
    """Data set, collator, and how rows are put in order."""
    from training.packing import Rows, check

    if not packing:
        padded = Padded(rows, tokenizer.pad_token_id)
        return padded, padded.collate, "group_by_length"
    together = packed(rows, settings.max_tokens, tokenizer.pad_token_id)
    run.say(
        f"{len(rows):,} conversations in {len(together.ids):,} rows of {settings.max_tokens:,} tokens, "
        f"{together.padding / together.ids.size:.1%} of them filled up; packed and separate logits differ by "
        f"{check(model, together):.1g}"
    )
    data = Rows(together)
    return data, data.collate, "random"


def _measured(settings: SftSettings, run: Run, place: Path, held_out: Conversations | None) -> list[Gate]:
    """Gates on the held-out prompts, base and model asked alike; the scores go into the card."""
    if held_out is None:
        run.say("nothing is held out, so replies are not measured")
        return []
    run.say(f"measured on the last reply of: {held_out}")
    references = [dialogue.messages[-1]["content"] for dialogue in held_out.dialogues]
    taken: dict[str, Replies] = {}
    for name in ("base", "model"):  # one after the other: two large ones would not fit
        # The trained one is loaded anew: what a Trainer leaves in memory is not always what it saved.
        model, tokenizer = (
            _base(settings)
            if name == "base"
            else load_policy(place, dtype=settings.fit.machine.weights, device=device_name(settings.device))
        )
        taken[name] = compared(answers(model, tokenizer, held_out.dialogues, settings.max_new_tokens), references)
        run.card.parameters = model.num_parameters()
        del model
    run.card.scores = {name: scores(replies, references) for name, replies in taken.items()}
    whole = ", ".join(
        f"{name} {replies.overlap.corpus_bleu:.3f} and {distinct_n(replies.texts, 2):.3f}"
        for name, replies in taken.items()
    )
    run.card.scores_of += (
        f" Measured on {len(references):,} held-out prompts, answered greedily with at most "
        f"{settings.max_new_tokens:,} tokens. BLEU of all together, and distinct pairs of characters: {whole}."
    )
    return gates(taken["base"], taken["model"], references)
