"""How much of a task's questions stands in an index, in the data of a training run, or in any files.

A question is its stem and its options, each as a skeleton: folded letters, digits and Chinese characters. It counts
as seen if at least `SEEN` of its 10-grams stand somewhere in the source (the rule of a public audit of a training set
against CMExam); that it shares one 13-gram is told too. The grams of one question may stand in several passages, so
the share is an upper bound of what was seen as a whole; a rewording goes unnoticed, so it is none of what was learnt.
Stems of fewer than ten characters are too common to be traced and are counted apart. Memory is bounded by the task,
some 30 bytes a gram; the source streams by: 110,000 passages of an index, or 300,000 texts of a file, in 20 s.

Not covered: answers alone, translations, and data that a base model saw before its training run.
"""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from chimed_rag.errors import CorpusError, InputError
from chimed_rag.evaluation.grams import grams, skeleton, texts_in
from chimed_rag.evaluation.result import TaskResult
from chimed_rag.evaluation.samples import Sample
from chimed_rag.evaluation.statistics import Interval, proportion
from chimed_rag.evaluation.tasks.loading import Task
from chimed_rag.records import Record

SEEN = 0.8
"""Share of a question's 10-grams from which on it counts as seen."""
SHORT, LONG = 10, 13
"""Characters of the grams."""
_AT_ONCE = 1_000_000
"""Characters of the source that are hashed together: 16 MB."""


class Contamination(Record):
    """What of a task stands in a source.

    Attributes:
        task, data_sha256: whose questions.
        source: the folder's or file's name; `kind` says what it is.
        texts: passages, or texts of rows, that were read.
        n: questions long enough to be traced; `short` were not.
        seen: share of n with at least `SEEN` of their 10-grams there, with Wilson's interval.
        touched: share of n with at least one 13-gram there.
        ids: samples that count as seen, for scoring without them.
        missing: files of a training run that are not where its manifest says.
    """

    task: str
    data_sha256: str
    source: str
    kind: Literal["index", "training", "files"]
    texts: int = Field(ge=0)
    n: int = Field(ge=0)
    short: int = Field(ge=0)
    seen: Interval | None
    touched: Interval | None
    ids: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    def note(self) -> str:
        """One line for a result's notes."""
        if self.seen is None or self.touched is None:
            told = f"no question of {SHORT} characters and more to look for in {self.source} ({self.kind})"
        else:
            told = (
                f"overlap with {self.source} ({self.kind}, {self.texts:,} texts): {len(self.ids)} of {self.n} "
                f"questions have {SEEN:.0%} of their {SHORT}-grams there ({self.seen.value:.2%} "
                f"[{self.seen.low:.2%}, {self.seen.high:.2%}]), {self.touched.value:.2%} share a {LONG}-gram"
            )
        short = f"; {self.short} too short to tell" if self.short else ""
        missing = f"; not there, so not looked at: {', '.join(self.missing)}" if self.missing else ""
        return told + short + missing


def overlap(task: Task, source: str | Path | Sequence[str | Path]) -> Contamination:
    """Looks for a task's questions in a source.

    Args:
        task: its samples' texts and options are looked for.
        source: the folder of an index, of a training run (the files that its manifest names are read again), a file or
            a folder of files (JSONL, plain or gzip: every text of every row; anything else: its lines), or several.

    Raises:
        InputError: nothing is there, or nothing that a manifest names is any more.
        CorpusError, IndexError_ and its family: a file or the index cannot be read.
    """
    opened = _opened(source)
    traced = [(one, [bones for bones in _skeletons(one) if len(bones) >= SHORT]) for one in task.samples]
    long_enough = [(one, parts) for one, parts in traced if len(skeleton(one.text)) >= SHORT]
    wanted = {n: _Wanted(n, [parts for _, parts in long_enough]) for n in (SHORT, LONG)}
    texts = 0
    for read, bones in _batches(opened.texts):
        texts += read
        for one in wanted.values():
            one.see(bones)
    shares, touched = wanted[SHORT].shares(), wanted[LONG].shares() > 0
    ids = tuple(one.id for (one, _), share in zip(long_enough, shares, strict=True) if share >= SEEN)
    n = len(long_enough)
    return Contamination(
        task=task.name,
        data_sha256=task.data_sha256,
        source=opened.name,
        kind=opened.kind,
        texts=texts,
        n=n,
        short=len(task.samples) - n,
        seen=proportion(len(ids), n) if n else None,
        touched=proportion(int(touched.sum()), n) if n else None,
        ids=ids,
        missing=opened.missing,
    )


def noted(result: TaskResult, *found: Contamination) -> TaskResult:
    """The result with a note for each source, so that tables and reports show it.

    Raises:
        InputError: the overlap is of another task, or of other data.
    """
    for one in found:
        if (one.task, one.data_sha256) != (result.task, result.data_sha256):
            raise InputError(f"the overlap with {one.source} is of {one.task}, not of the {result.task} of this result")
    told = result.model_copy(update={"notes": (*result.notes, *(one.note() for one in found))})
    told._run = result._run
    return told


# --- grams ------------------------------------------------------------------------------------------------------


def _skeletons(sample: Sample) -> list[str]:
    return [skeleton(text) for text in (sample.text, *sample.options.values())]


class _Wanted:
    """The n-grams of all questions, and which of them were seen."""

    def __init__(self, n: int, questions: Sequence[Sequence[str]]) -> None:
        self._n = n
        parts = [[grams(bones, n) for bones in one] for one in questions]
        self._sizes = np.array([sum(map(len, one)) for one in parts], dtype=np.intp)
        every = [hashes for one in parts for hashes in one]
        joined = np.concatenate(every) if every else np.zeros(0, np.uint64)
        self._known, self._of = np.unique(joined, return_inverse=True)
        self._seen = np.zeros(len(self._known), dtype=np.bool_)

    def see(self, bones: str) -> None:
        """Marks the grams of a text of the source."""
        if len(self._known):
            found = grams(bones, self._n)
            places = np.minimum(np.searchsorted(self._known, found), len(self._known) - 1)
            self._seen[places[self._known[places] == found]] = True

    def shares(self) -> NDArray[np.float64]:
        """Of each question's grams the share that was seen, shape (questions,); 0 where it has none."""
        ends = np.cumsum(self._sizes)
        total = np.concatenate([[0], np.cumsum(self._seen[self._of])]).astype(np.float64)
        counts: NDArray[np.float64] = total[ends] - total[ends - self._sizes]
        return np.divide(counts, np.maximum(self._sizes, 1))


def _batches(texts: Iterable[str]) -> Iterator[tuple[int, str]]:
    """(how many texts, their skeletons joined by a sign that no question has, so that no gram spans two)."""
    held: list[str] = []
    size = 0
    for text in texts:
        held.append(skeleton(text))
        size += len(held[-1])
        if size >= _AT_ONCE:
            yield len(held), "\0".join(held)
            held, size = [], 0
    if held:
        yield len(held), "\0".join(held)


# --- sources ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Opened:
    name: str
    kind: Literal["index", "training", "files"]
    texts: Iterable[str]
    missing: tuple[str, ...] = ()


def _opened(source: str | Path | Sequence[str | Path]) -> _Opened:
    paths = [Path(source)] if isinstance(source, str | Path) else [Path(one) for one in source]
    name = ", ".join(one.name for one in paths)
    for path in paths:
        if not path.exists():
            raise InputError(f"{path}: is not there; give an index, a training run, or files")
    manifest = _manifest(paths[0]) if len(paths) == 1 else {}
    if "encoder" in manifest and "segments" in manifest:
        return _Opened(name, "index", _of_index(paths[0]))
    if "stage" in manifest and isinstance(manifest.get("data"), list):
        named = [str(one["path"]) for one in manifest["data"]]
        there = {one: _located(one, paths[0]) for one in named}
        missing = tuple(one for one in named if there[one] is None)
        if len(missing) == len(named):
            raise InputError(f"{paths[0]}: none of the files it was trained on is there any more: {', '.join(named)}")
        return _Opened(name, "training", _of_files([one for one in there.values() if one is not None]), missing)
    files = [file for path in paths for file in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    return _Opened(name, "files", _of_files([file for file in files if file.is_file()]))


def _manifest(folder: Path) -> dict[str, Any]:
    file = folder / "manifest.json"
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CorpusError(f"cannot be read: {error}", path=str(file)) from error
    return found if isinstance(found, dict) else {}


def _located(path: str, run: Path) -> Path | None:
    """Where a file that a manifest names lies now: there, or seen from the run's folder."""
    place = Path(os.path.expandvars(path)).expanduser()
    return next((one for one in (place, run / place) if one.is_file()), None)


def _of_index(folder: Path) -> Iterator[str]:
    from chimed_rag.evaluation.exam.postings import passages_of
    from chimed_rag.indexing.index import Index

    index = Index.open(folder, check=False)
    try:
        for _, _, headings, text in passages_of(index):
            yield f"{headings}\n{text}"
    finally:
        index.close()


def _of_files(files: Sequence[Path]) -> Iterator[str]:
    for file in files:
        try:
            with file.open("rb") as raw:
                zipped = raw.read(2) == b"\x1f\x8b"
                raw.seek(0)
                with gzip.open(raw) if zipped else raw as lines:
                    for line in lines:
                        yield from texts_in(line.decode("utf-8", "replace"))
        except (OSError, EOFError, zlib.error) as error:
            raise CorpusError(f"cannot be read: {getattr(error, 'strerror', None) or error}", path=str(file)) from error
