"""A run on the disk: `run.json` says what was asked of whom, a line of `predictions.jsonl` what was said.

A line that is whole was said; a last line without its end was cut when the process died, and is asked again. Not
covered: asking (`asking`), and what the predictions are worth (`running`).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pydantic import Field, ValidationError

from chimed_rag.errors import CorpusError, IndexLockedError, InputError
from chimed_rag.evaluation.samples import Card, Prediction, Sample
from chimed_rag.indexing.lock import exclusive
from chimed_rag.records import Record

HEADER, PREDICTIONS, RESULT = "run.json", "predictions.jsonl", "result.json"


class Header(Record):
    """What a run asks of whom; a folder takes the predictions of one header alone.

    Attributes:
        data: where the data were read, as given.
        ids_sha256: of the samples' ids, a line each.
        options: of the system (`--set`).
        timeout: seconds a sample.
    """

    task: str
    card: Card
    data: str
    data_sha256: str
    n: int
    ids_sha256: str
    protocol: str
    system: str
    system_versions: dict[str, str] = Field(default_factory=dict)
    options: dict[str, str] = Field(default_factory=dict)
    seed: int = 0
    limit: int | None = None
    timeout: float | None = None


def ids_sha256(samples: Sequence[Sample]) -> str:
    """SHA-256 (hex) of the ids, in order, a line each."""
    return hashlib.sha256("".join(f"{sample.id}\n" for sample in samples).encode()).hexdigest()


def read_header(folder: Path) -> Header:
    """What the run in a folder asks.

    Raises:
        CorpusError: there is no run, or its `run.json` is damaged.
    """
    path = folder / HEADER
    try:
        return Header.model_validate_json(path.read_bytes())
    except OSError as error:
        raise CorpusError(
            f"no run is here ({error.strerror}); chimed evaluate TASK --out {folder} makes one", path=str(path)
        ) from error
    except ValidationError as error:
        raise CorpusError(f"not the header of a run: {error.errors()[0]['msg']}", path=str(path)) from error


def read_predictions(folder: Path, samples: Sequence[Sample]) -> dict[str, Prediction]:
    """What was said so far, by sample id.

    Raises:
        CorpusError: a line is damaged, or is of a sample that the run does not ask, or of one that came before.
    """
    path = folder / PREDICTIONS
    said: dict[str, Prediction] = {}
    asked = {sample.id for sample in samples}
    content = path.read_bytes() if path.exists() else b""
    for number, line in enumerate(content.split(b"\n")[:-1], 1):  # what follows the last line end was cut
        try:
            prediction = Prediction.model_validate_json(line)
        except ValidationError as error:
            raise CorpusError(
                f"not a prediction ({error.errors()[0]['msg']}); cut the file before this line, and the run goes on",
                path=str(path), line=number,
            ) from error  # fmt: skip
        if prediction.id not in asked or prediction.id in said:
            what = "a second prediction" if prediction.id in said else "a prediction that nobody asked for"
            raise CorpusError(f"{what} of sample {prediction.id!r}", path=str(path), line=number)
        said[prediction.id] = prediction
    return said


@contextmanager
def opened(folder: Path, header: Header) -> Iterator[None]:
    """The folder for this run alone, made if it is not there; the header is in it.

    Raises:
        InputError: another run is in it, or another process is at it, or it is no folder for a run.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; name a folder for the run: --out DIR")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with exclusive(folder, wait=0.5):
            if (folder / HEADER).exists():
                _agree(folder, read_header(folder), header)
            elif any((folder / name).exists() for name in (PREDICTIONS, RESULT)):
                raise InputError(f"{folder} holds predictions without their {HEADER}; name another folder: --out DIR")
            else:
                write(folder / HEADER, header)
            yield
    except IndexLockedError as error:
        raise InputError(f"{folder}: another process is making this run; wait for it, then try again") from error


def _agree(folder: Path, old: Header, new: Header) -> None:
    # A card may get another title, and the data another place: what was asked is the same.
    for name in Header.model_fields:
        there, here = getattr(old, name), getattr(new, name)
        if name in ("card", "data", "schema_version") or there == here:
            continue
        if isinstance(there, dict):
            key = next(key for key in {**there, **here} if there.get(key) != here.get(key))
            name, there, here = f"{name}[{key}]", there.get(key), here.get(key)
        raise InputError(
            f"{folder} holds another run: its {name} is {there!r}, here it is {here!r}; ask as before to go on with "
            f"it, or name another folder: chimed evaluate {new.task} --out DIR"
        )


def forget_failures(folder: Path, samples: Sequence[Sample]) -> int:
    """Takes out the predictions that are errors, all at once, so that their samples are asked again; says how many.

    Raises:
        CorpusError: as `read_predictions`.
    """
    said = read_predictions(folder, samples).values()
    kept = [one for one in said if not one.error]
    if len(kept) < len(said):
        temporary = folder / (PREDICTIONS + ".tmp")
        with temporary.open("wb") as file:
            for one in kept:
                append(file, one)
            os.fsync(file.fileno())
        temporary.replace(folder / PREDICTIONS)
    return len(said) - len(kept)


@contextmanager
def appending(folder: Path) -> Iterator[IO[bytes]]:
    """The predictions, open at their end; a line that was cut is dropped first."""
    with (folder / PREDICTIONS).open("a+b") as file:
        file.seek(0)
        whole = file.read().rfind(b"\n") + 1
        file.truncate(whole)
        file.seek(whole)
        yield file


def append(file: IO[bytes], prediction: Prediction) -> None:
    """A line, handed to the system before the next sample is asked."""
    file.write(prediction.model_dump_json().encode() + b"\n")
    file.flush()


def write(path: Path, record: Record) -> None:
    """Replaces a file at once: whoever reads it sees the old one or the new one whole."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(record.model_dump_json(indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
