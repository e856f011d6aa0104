"""Stage "pretrain": a language model learns from texts, made new with its tokenizer, or going on from one that exists.

Texts are packed into rows in which none sees another (`packing`), which is checked on the very model before it is
trained; each ends with the token that ends a text, and a long one goes on in another piece. What came of it is measured
on held-out texts before and after, in bits per character: fewer on medical ones, hardly more on general ones.
Tried and left: `torch.compile` (2.5 M weights, two cores: a fifth faster, after 43 s of compiling, and needs a C++
compiler). Not covered: which texts (`sources`); data that does not fit in memory.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from chimed_rag.errors import InputError
from training.card import Point
from training.contracts import Text
from training.files import Ledger
from training.fitting import Optimisation, arguments, device_name, fit, quiet, whole
from training.gates import Gate, conclude, relative
from training.language import Shape, fast_bf16, load_policy, load_tokenizer, new_model, save_model, with_lora
from training.measures import beginning, bits_per_character, tokens_of
from training.packing import Packed, Rows, check, pack, pieces
from training.run import Run
from training.settings import located
from training.stages import Stage, StageSettings
from training.vocabulary import extend, fertility, learn_tokenizer, read_words

FORGOTTEN = 0.03
"""General texts may take so much more bits than before."""
_AT_ONCE = 2000

Start = Callable[[], tuple[Any, Any]]
"""Gives the model and the tokenizer that training begins with; the same ones every time."""


class PretrainSettings(StageSettings):
    """Settings of the stage; either `shape` or `base` says where the model comes from.

    `max_tokens` is the length of a row, and `fit.batch_size` counts rows. `data.held_out` texts are held out of the
    medical ones, and as many of the general ones.

    Args:
        shape: makes a model of this size, and a tokenizer of bytes and their pairs.
        tokenizer_texts: that the tokenizer is learned from, spread evenly over all.
        extend: files of words, one a line, that become tokens of the base's tokenizer.
    """

    stage: Literal["pretrain"] = "pretrain"
    shape: Shape | None = None
    tokenizer_texts: int = Field(20_000, ge=1)
    extend: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _one_origin(self) -> PretrainSettings:
        if (self.base is None) == (self.shape is None):
            raise ValueError("give either shape (a new model) or base (the folder of one that exists)")
        if self.shape is not None and (self.extend or self.lora):
            raise ValueError("extend and lora are for a base; a new model learns its own words, with all its weights")
        if self.shape is not None and self.max_tokens > self.shape.context:
            raise ValueError(f"max_tokens ({self.max_tokens}) is more than shape.context ({self.shape.context})")
        return self


def _train(settings: PretrainSettings, run: Run) -> None:
    from training.sources import read_rows

    ledger: Ledger = []
    rows = read_rows(settings.data, Text, seed=settings.seed, ledger=ledger, count=_counter(settings))
    texts, held_out = _apart(rows, settings)
    run.data(ledger)
    start = _start(settings, run, texts)
    model = run.phase("train", lambda folder: _fit(settings, run, start, texts, folder), together=True)
    run.rest()
    gates = _measured(settings, run, start, model, held_out)
    conclude(run, model, gates, settings.gates)


STAGE = Stage(PretrainSettings, _train)


def _counter(settings: PretrainSettings) -> Callable[[Text], int] | None:
    """Tokens of a text as the base reads it, for shares of a mixture; None where nothing is mixed, or where there is
    no tokenizer before the texts are there: a new model's is learned from them, and shares are of characters."""
    data = settings.data
    if settings.base is None or (data.tokens is None and all(source.share is None for source in data.sources)):
        return None
    tokenizer = load_tokenizer(settings.base)

    def count(row: Text) -> int:
        [ids] = tokens_of(tokenizer, [row.text])
        return len(ids) + 2  # with what begins and ends a text

    return count


def _apart(rows: Sequence[Text], settings: PretrainSettings) -> tuple[list[str], dict[str, list[str]]]:
    """The texts to learn from, and by domain those held out.

    Raises:
        InputError: all of a domain would be held out.
    """
    from training.sources import split

    training: list[str] = []
    held_out: dict[str, list[str]] = {}
    for domain in sorted({row.domain for row in rows}, reverse=True):  # medical, then general
        learned, apart = split([row for row in rows if row.domain == domain], settings.data.held_out, settings.seed)
        training += [row.text for row in learned]
        if apart:
            held_out[domain] = [row.text for row in apart]
    return training, held_out


def _start(settings: PretrainSettings, run: Run, texts: Sequence[str]) -> Start:
    """Where training begins; a new model's tokenizer is a phase of the run."""
    shape, device = settings.shape, device_name(settings.device)
    if shape is None:
        assert settings.base is not None
        base = settings.base
        return lambda: load_policy(base, dtype=settings.fit.machine.weights, device=device)

    def learn(folder: Path) -> list[Point]:
        learn_tokenizer(
            texts, vocabulary=shape.vocabulary, context=shape.context, sample=settings.tokenizer_texts
        ).save_pretrained(folder / "model")
        return []

    folder = run.phase("tokenizer", learn)

    def made() -> tuple[Any, Any]:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        return new_model(shape, tokenizer, settings.seed).to(device), tokenizer

    return made


def _fit(settings: PretrainSettings, run: Run, start: Start, texts: Sequence[str], folder: Path) -> list[Point]:
    """The phase that trains; leaves the whole model, adapters merged, in `folder/model`."""
    quiet(settings.seed)
    device = device_name(settings.device)
    model, tokenizer = start()
    _require_context(model, settings)
    if settings.extend:
        before = fertility(tokenizer, texts[:_AT_ONCE])
        words = read_words([located(path) for path in settings.extend])
        added = extend(model, tokenizer, words)
        after = fertility(tokenizer, texts[:_AT_ONCE])
        run.say(f"{len(added):,} of {len(words):,} words added; tokens a character {before:.3f}, now {after:.3f}")
    if settings.lora is not None:
        model = with_lora(model, settings.lora, vocabulary=bool(settings.extend))
    packed = packed_texts(tokenizer, texts, settings.max_tokens)
    run.say(
        f"{len(texts):,} texts, {packed.learned:,} tokens to learn in {len(packed.ids):,} rows of "
        f"{settings.max_tokens}, {packed.padding / packed.ids.size:.1%} of them filled up"
    )
    run.say(f"packed and separate logits differ by {check(model, packed):.1g}")
    how = settings.fit.model_copy(update={"bf16": settings.fit.bf16 and fast_bf16(device)})
    if how.bf16 != settings.fit.bf16:
        run.say("this processor has no bfloat16 of its own: computed in float32, which is faster here")
        run.card.description += "\n\nComputed in float32: the processor has no bfloat16 of its own."
    trainer = trainer_of(model, packed, how, folder, seed=settings.seed, device=device)
    began = time.monotonic()
    points = fit(trainer, folder, run.say, machine=how.machine)
    steps = trainer.state.global_step
    seen = steps * how.batch_size * how.accumulate * how.machine.devices * settings.max_tokens
    run.say(f"{steps:,} steps over {seen:,} tokens, {time.monotonic() - began:,.0f} s since this start")
    if (trained := whole(trainer)) is not None:
        save_model(trained, tokenizer, folder / "model")
    return points


def trainer_of(model: Any, packed: Packed, how: Optimisation, folder: Path, *, seed: int, device: str) -> Any:
    """The trainer of transformers that learns packed rows; its checkpoints go to `folder`."""
    from transformers import Trainer, TrainingArguments

    rows = Rows(packed)
    given = TrainingArguments(**arguments(how, folder, seed=seed, device=device), remove_unused_columns=False)
    return Trainer(model=model, args=given, train_dataset=rows, data_collator=rows.collate)


def packed_texts(tokenizer: Any, texts: Sequence[str], length: int) -> Packed:
    """All texts as packed rows of `length` tokens, each between the tokens that begin and end a text.

    Raises:
        InputError: there is nothing to learn.
    """
    return pack(pieces(_documents(tokenizer, texts), length), length, tokenizer.pad_token_id)


def _documents(tokenizer: Any, texts: Sequence[str]) -> Iterator[Any]:
    first, last = beginning(tokenizer), tokenizer.eos_token_id
    for start in range(0, len(texts), _AT_ONCE):
        for ids in tokens_of(tokenizer, texts[start : start + _AT_ONCE]):
            yield np.array([first, *ids, last], np.int32)  # a list would take ten times the memory


def _require_context(model: Any, settings: PretrainSettings) -> None:
    context = int(model.config.max_position_embeddings)
    if settings.max_tokens > context:
        raise InputError(f"max_tokens is {settings.max_tokens:,} and {settings.base} reads {context:,} at most")


# --- what came of it -------------------------------------------------------------------------------------------


def _measured(
    settings: PretrainSettings, run: Run, start: Start, folder: Path, held_out: Mapping[str, Sequence[str]]
) -> list[Gate]:
    """Gates on the held-out texts, start and model measured alike; the scores go into the card."""
    device = device_name(settings.device)
    taken: dict[str, dict[str, tuple[NDArray[np.float64], NDArray[np.int64]]]] = {}
    for name in ("start", "model"):  # one after the other: two large ones would not fit
        # The trained one is loaded anew: what a Trainer leaves in memory is not always what it saved.
        model, tokenizer = (
            start() if name == "start" else load_policy(folder, dtype=settings.fit.machine.weights, device=device)
        )
        taken[name] = {
            domain: bits_per_character(model, tokenizer, texts, context=settings.max_tokens)
            for domain, texts in held_out.items()
        }
        run.card.parameters = model.num_parameters()
        del model
        if device != "cpu":
            gc.collect()  # a Trainer and its model know each other; on a GPU the memory is wanted at once
    run.card.scores = {name: _scores(measured) for name, measured in taken.items() if measured}
    counts = [f"{len(texts):,} {domain} texts" for domain, texts in held_out.items()]
    run.card.scores_of = f"Of {' and '.join(counts)}, held out." if counts else ""
    gates = []
    for domain, texts in held_out.items():
        change = relative(taken["start"][domain][0], taken["model"][domain][0])
        gates.append(
            Gate.of(f"bits per character, {domain}, change", change, n=len(texts), at_most=0, clear=True)
            if domain == "medical"
            else Gate.of(f"bits per character, {domain}, change", change, n=len(texts), at_most=FORGOTTEN)
        )
    return gates


def _scores(measured: Mapping[str, tuple[NDArray[np.float64], NDArray[np.int64]]]) -> dict[str, Any]:
    from chimed_rag.evaluation.statistics import bootstrap_ratios

    return {
        f"bits per character, {domain}": bootstrap_ratios({"bits": bits}, characters.astype(np.float64))["bits"]
        for domain, (bits, characters) in measured.items()
    }
