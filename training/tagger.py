"""The stage `tagger`: learns to mark entities, by a conditional random field (`chimed_rag.entities.tagger`).

Records are read as the evaluation task of that name reads them. Those that share too many n-grams with the test records
are left out and counted. The lists of names that the field looks at are made of the records themselves: for the field's
training each fold of records sees the names of the other folds alone, or it would learn that a listed name is always
right. Some records are held out to measure on first; the model then learns from all. It is trained in minutes: a run
that was killed begins its phase anew. Not covered: nested entities, of which the longest is learned. Needs no torch.

F1 on 200 held-out records of CCKS-2019 train, by the other 800: BIO labels .810 (BIES from here on .816), n-grams of
three characters' distance .813, ends of clauses .815, l1 .05 and l2 .5 in place of .1 and .05 .821, beginnings and
endings of names .823. The averaged perceptron gave .805 to .811 in a tenth of the time. By the configurations here,
strict F1 (95 % interval): .782 (.766 to .797) on the first 200 test records of CCKS-2019, .826 (.803 to .848) on the
215 test texts of cMedQANER; 3.5 and 2.7 minutes of one core, the trial included.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from chimed_rag.entities.features import Lists, Span, encoded, features, known_names, lexicon, pieces
from chimed_rag.entities.tagger import WEIGHTS, Tagger, crfsuite_module, save_settings
from chimed_rag.entities.tagger import Settings as Model
from chimed_rag.errors import InputError
from chimed_rag.evaluation.grams import grams, skeleton
from chimed_rag.evaluation.metrics.spans import Counts, Place, micro, strict_counts
from chimed_rag.evaluation.samples import Sample
from chimed_rag.evaluation.statistics import Interval
from chimed_rag.evaluation.tasks.loading import load_task
from training.card import Point, command
from training.files import Account, Ledger, account, matching
from training.run import Run, carry_out
from training.settings import Settings, read_yaml, validated

_log = logging.getLogger(__name__)

Record = tuple[str, Sequence[Span]]
"""A text with its entities."""


class Data(Settings):
    """The records.

    Args:
        train: files or globs of the task's official form.
        test: the records that must not be learned from, and that the model is measured on last; null for none.
        licence: of the records, for the card.
        gram: characters of the n-grams that are compared with the test records.
        share: a record goes if at least this share of its n-grams stands in the test records. Clinical records share
            phrases by nature: 551 of the 1,000 of CCKS-2019 have some gram in common with the first 200 test records.
        held_out: records kept apart to measure on first; 0 for none.
    """

    train: list[str] = Field(min_length=1)
    test: str | None
    licence: str = ""
    gram: int = Field(13, ge=5)
    share: float = Field(0.1, gt=0, le=1)
    held_out: int = Field(100, ge=0)


class Fit(Settings):
    """How the field learns: L-BFGS with elastic net (Okazaki 2007, CRFsuite).

    Args:
        iterations: at the most.
        l1, l2: coefficients of regularisation (c1 and c2 of CRFsuite).
        folds: of records, for the lists of names.
    """

    iterations: int = Field(100, ge=1)
    l1: float = Field(0.05, ge=0)
    l2: float = Field(0.5, ge=0)
    folds: int = Field(5, ge=2)


class TaggerSettings(Settings):
    """All keys.

    Args:
        task: the name of an evaluation task of entities, whose card says how files are read.
        output_dir: where the model and its card go.
        seed: of folds and of what is held out.
        data, fit: see there.
        licence: of the model.
        description: for the card.
    """

    task: str
    output_dir: str = Field(min_length=1)
    seed: int = Field(1, ge=0)
    data: Data
    fit: Fit = Fit()
    licence: str = "not stated"
    description: str = ""


def train_tagger(
    config: str | Path, overrides: Sequence[str] = (), *, fresh: bool = False, say: Callable[[str], None] = _log.info
) -> Path:
    """Trains a tagger; returns the folder of the model. A finished one with the same settings is left as it is.

    Args:
        config: YAML file.
        overrides: `a.b=value`, put over the file's.
        fresh: begin anew in a folder that an earlier run left.
        say: where progress is told.

    Raises:
        ConfigError, InputError: the configuration or the folder cannot be used; names file and key.
        CorpusError: a data file cannot be read. MissingExtraError: python-crfsuite is not installed.
    """
    crfsuite_module()
    data = read_yaml(config, overrides)
    settings = validated(TaggerSettings, data, config)
    made_by = command("tagger", config, overrides)
    return carry_out(
        _train, settings, stage="tagger", kind="crf", made_by=made_by, configuration=data, fresh=fresh, say=say
    )


def _train(settings: TaggerSettings, run: Run) -> None:
    records, test = _read(settings, run)
    order = random.Random(settings.seed).sample(range(len(records)), len(records))  # noqa: S311
    held = [records[n] for n in order[: settings.data.held_out]]
    rest = [records[n] for n in order[settings.data.held_out :]]
    run.card.training_pairs = len(records)
    run.say(f"{len(records):,} records to train on, {len(held):,} of them held out at first, {len(test):,} to test on")
    told = []
    if held:
        trial = run.phase("trial", lambda folder: _fit(rest, settings, folder / "model"))
        run.card.scores |= _scores("held out", Tagger(trial), held)
        told.append(f"{len(held)} held-out records by a model of the other {len(rest)}")
    model = run.phase("model", lambda folder: _fit([records[n] for n in order], settings, folder / "model"))
    tagger = Tagger(model)
    if test:
        run.card.scores |= _scores("test", tagger, test)
        told.append(f"{len(test)} test records by the model of all")
    run.card.scores_of = "; ".join(told) + ". Strict micro F1 (type and both ends), intervals over records."
    run.finish(model)


def _fit(records: Sequence[Record], settings: TaggerSettings, folder: Path) -> list[Point]:
    """Learns from the records and writes the model's folder; returns the loss by iteration."""
    crfsuite, fit = crfsuite_module(), settings.fit
    trainer = crfsuite.Trainer(algorithm="lbfgs", verbose=False)
    trainer.set_params({"c1": fit.l1, "c2": fit.l2, "max_iterations": fit.iterations})
    listed = lexicon()
    for fold in range(fit.folds):
        others = [record for n, record in enumerate(records) if n % fit.folds != fold]
        lists = Lists(known_names(others), listed)
        for text, spans in records[fold :: fit.folds]:
            labels = encoded(len(text), [(span.type, span.start, span.end) for span in spans])
            for begin, end in pieces(text):
                trainer.append(crfsuite.ItemSequence(features(text[begin:end], lists)), labels[begin:end])
    folder.mkdir(parents=True, exist_ok=True)
    trainer.train(str(folder / WEIGHTS))
    types = sorted({span.type for _, spans in records for span in spans})
    name = f"{settings.task} tagger"
    save_settings(Model(name=name, types=types, names=known_names(records), lexicon=listed), folder)
    return [Point(phase=folder.parent.name, step=one["num"], loss=one["loss"]) for one in trainer.logparser.iterations]


def _scores(name: str, tagger: Tagger, records: Sequence[Record]) -> dict[str, dict[str, Interval]]:
    """Strict f1, precision and recall of all types together, and f1 and its kin of each."""
    pairs = [
        ({Place(*span[1:]) for span in spans}, {Place(*span[1:]) for span in tagger.tag(text)})
        for text, spans in records
    ]

    def counts(kind: str | None) -> list[Counts]:
        return [
            strict_counts(*({place for place in side if kind in (None, place.type)} for side in pair)) for pair in pairs
        ]

    return {name: micro(counts(None))} | {f"{name}, {kind}": micro(counts(kind)) for kind in tagger.types}


# --- reading ---------------------------------------------------------------------------------------------------


def _read(settings: TaggerSettings, run: Run) -> tuple[list[Record], list[Record]]:
    """Training records that are clear of the test records, and the test records; the accounts go to the run."""
    data = settings.data
    ledger: Ledger = []
    test = [record for pattern in [data.test] if pattern for record in _records(settings, pattern, ledger, "test")]
    traces = _grams((text for text, _ in test), data.gram)
    whole = {skeleton(text) for text, _ in test}
    records: list[Record] = []
    seen: set[str] = set()
    most = 0.0
    for pattern in data.train:
        for record in _records(settings, pattern, ledger, "train"):
            bones = skeleton(record[0])
            share = 1.0 if bones in whole else _shared(bones, traces, data.gram)
            if bones in seen:
                ledger[-1].drop("twice")
            elif share >= data.share:
                ledger[-1].drop("shares n-grams with the test records")
            elif not record[0].strip():
                ledger[-1].drop("blank")
            else:
                records.append(record)
                seen.add(bones)
                most = max(most, share)
    if test:
        run.card.checked_against = (
            f"{data.test}: of a record kept less than {data.share:.0%} of its {data.gram}-grams stand there, "
            f"{most:.1%} at the most"
        )
    if len(records) < data.held_out + settings.fit.folds:
        dropped = "; ".join(f"{entry.path}: {dict(entry.dropped)}" for entry in ledger)
        raise InputError(
            f"{len(records)} records are too few for data.held_out = {data.held_out} and fit.folds = "
            f"{settings.fit.folds} (dropped: {dropped})"
        )
    run.data(ledger)
    return records, test


def _records(settings: TaggerSettings, pattern: str, ledger: Ledger, part: str) -> Iterable[Record]:
    """The records of the files of a pattern, each file's account begun in the ledger."""
    for name, path in matching(pattern):
        samples = load_task(settings.task, path).samples
        entry: Account = account(name, path, settings.data.licence)
        entry.rows = entry.read = entry.kept = len(samples)
        if part == "test":
            entry.drop("for the test", len(samples))
        ledger.append(entry)
        yield from map(_record, samples)


def _record(sample: Sample) -> Record:
    places = [
        (one.type, one.start, one.end) for one in sample.entities if one.start is not None and one.end is not None
    ]
    return sample.text, [Span(sample.text[start:end], kind, start, end) for kind, start, end in places]


def _grams(texts: Iterable[str], n: int) -> Any:
    found = [grams(skeleton(text), n) for text in texts]
    return np.unique(np.concatenate(found)) if found else np.zeros(0, np.uint64)


def _shared(bones: str, traces: Any, n: int) -> float:
    """Of the n-grams of a skeleton, the share that the test records hold too; 0 for one that has none."""
    found = grams(bones, n)
    return float(np.isin(found, traces).mean()) if len(found) else 0.0
