"""The stage `retriever`: trains an encoder or a reranker from pairs of query and passage.

What all kinds share: settings, reading and splitting the pairs, the run and its card. What a kind does is in its own
module, imported when asked for. A new kind: a module with a `Kind`, and a line in KINDS. Needs no torch by itself.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field

from chimed_rag.encoders.base import load_encoder
from chimed_rag.errors import ConfigError, InputError
from chimed_rag.registry import Registry
from training.card import command
from training.files import Ledger
from training.mining import Mined, Mining, mine
from training.pairs import Pair, PairData, read_pairs, split
from training.run import Run, carry_out
from training.settings import Settings, read_yaml, validated

_log = logging.getLogger(__name__)


class RetrieverSettings(Settings):
    """The keys that every kind has.

    Args:
        kind: a name of KINDS.
        output_dir: where the model and its card go.
        seed: of every draw and every initial weight.
        data: the pairs.
        held_out: how many pairs are kept apart to look at the result.
        licence: of the model.
        description: for the card.
    """

    kind: str
    output_dir: str = Field(min_length=1)
    seed: int = Field(1, ge=0)
    data: PairData
    held_out: int = Field(500, ge=0)
    licence: str = "Apache-2.0"
    description: str = ""


class Kind(NamedTuple):
    """What a module of a kind offers: its settings (a subclass of `RetrieverSettings`), and its training.

    `train(settings, run)` reads its pairs by `pairs_of`, trains in phases of the run, notes scores in `run.card`, and
    ends with `run.finish(folder of the model)`.
    """

    settings: type[RetrieverSettings]
    train: Callable[[Any, Run], None]


KINDS = Registry(
    "kind of retriever",
    {
        "cross-encoder": "training.cross_encoder:KIND",
        "distilled": "training.distilled:KIND",
        "late-interaction": "training.late_interaction:KIND",
        "static": "training.static:KIND",
        "transformer": "training.transformer:KIND",
    },
)


def train_retriever(
    config: str | Path,
    overrides: Sequence[str] = (),
    *,
    fresh: bool = False,
    say: Callable[[str], None] = _log.info,
) -> Path:
    """Trains what a configuration asks for, or goes on with it; returns the folder of the model.

    A run that is finished already, with the same settings, is left as it is.

    Args:
        config: YAML file; its key `kind` chooses the module that knows the other keys.
        overrides: `a.b=value`, put over the file's.
        fresh: begin anew in a folder that an earlier run left.
        say: where progress is told.

    Raises:
        ConfigError, InputError: the configuration or the folder cannot be used; names file and key.
        CorpusError: a data file cannot be read.
    """
    data = read_yaml(config, overrides)
    name = data.get("kind")
    if not isinstance(name, str) or name not in KINDS:
        raise ConfigError(f"{config}: kind: is {name!r}; there are: {', '.join(KINDS.names())}")
    kind: Kind = KINDS.get(name)
    settings = validated(kind.settings, data, config)
    made_by = command("retriever", config, overrides)
    return carry_out(
        kind.train, settings, stage="retriever", kind=name, made_by=made_by, configuration=data, fresh=fresh, say=say
    )


def pairs_of(settings: RetrieverSettings, run: Run, ledger: Ledger | None = None) -> tuple[list[Pair], list[Pair]]:
    """(training pairs, held-out pairs) of the settings; the accounts of the files go to the run and its card.

    `ledger` holds the accounts of files that were read for other reasons.
    """
    accounts: Ledger = list(ledger or ())
    pairs = read_pairs(settings.data, seed=settings.seed, ledger=accounts)
    hygiene = settings.data.hygiene
    if hygiene.evaluation is not None:
        share = "none" if hygiene.share == 0 else f"at most {hygiene.share:.0%}"
        run.card.checked_against = (
            f"{hygiene.evaluation}: {share} of the {hygiene.gram}-grams of a text kept stand there"
        )
    run.data(accounts)
    training, held_out = split(pairs, settings.held_out, settings.seed)
    run.card.training_pairs = len(training)
    run.say(f"{len(training):,} pairs to train on, {len(held_out):,} held out")
    return training, held_out


def examples_of(
    pairs: Sequence[Pair], wanted: Mining | None, run: Run, phase: str, *, seed: int, own: str | None = None
) -> list[Mined]:
    """The pairs with the negatives that a phase wants (none if `wanted` is None); how they were mined goes to the card.

    Args:
        own: the folder of the encoder in training, which `by: self` means.

    Raises:
        InputError: `by: self` where there is no such encoder, or an encoder that cannot be loaded.
    """
    if wanted is None:
        return [Mined(pair.query, pair.passage, (), pair.source) for pair in pairs]
    if wanted.by == "self" and own is None:
        raise InputError(
            f"{phase}: there is no encoder yet that `by: self` could mean; take bm25 or an encoder's folder"
        )
    miner = None if wanted.by == "bm25" else load_encoder(str(own) if wanted.by == "self" else wanted.by)
    counts: Counter[str] = Counter()
    examples = mine(pairs, wanted, seed=seed, encoder=miner, counts=counts)
    if not examples:
        raise InputError(f"{phase}: no pair has a negative; the pool of its source holds no other passage")
    run.note_negatives(phase, counts)
    return examples
