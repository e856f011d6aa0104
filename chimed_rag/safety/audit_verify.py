"""Whether an audit log is what was recorded: every changed, missing, inserted or reordered line or file is named.

What is found: a byte changed in any line; lines or files that are missing, inserted, repeated or out of order; an end
that was cut off (the head names more entries than there are); files removed before their retention was over, or
without the entry `pruned`; a set-aside line that is gone.
What is not: the chain needs no secret, so whoever may write the folder can write a whole new chain with a new head, or
cut the end off and mend the head, or set the clock forward and prune. Against that, keep `Report.head` now and then
where such a person cannot write (another machine, a printed page, a time-stamping service) and give it as
`expected_head`: then nothing up to that entry can have changed. An entry that was appended without moving the head
cannot be told from a crash between the two and is a note. Reading takes no lock; a writer may go on meanwhile.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from chimed_rag.errors import InputError
from chimed_rag.records import Record
from chimed_rag.safety.audit_chain import (
    GENESIS,
    HEAD,
    AuditError,
    Entry,
    expiry,
    file_number,
    log_files,
    read_head,
    read_line,
    seal,
    sha256,
)


class Problem(Record):
    """What is wrong at a place: the file's name, its line (from 1) where there is one, and what."""

    file: str
    line: int | None = None
    message: str

    def __str__(self) -> str:
        return f"{self.file}{'' if self.line is None else f':{self.line}'}: {self.message}"


class Report(Record):
    """What `verify` found; `head` is "COUNT:HASH", to be kept elsewhere. Notes are no problems: crashes, removals."""

    entries: int
    files: int
    head: str
    first: str = ""
    last: str = ""
    problems: tuple[Problem, ...] = ()
    notes: tuple[Problem, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def verify(folder: str | Path, *, expected_head: str | None = None) -> Report:
    """Reads every line of a log.

    Args:
        folder: where the log lies.
        expected_head: a `Report.head` of before, kept elsewhere.

    Raises:
        AuditError: there is no log.
        InputError: `expected_head` is not of that form.
    """
    reader = _Reader(Path(folder), _anchor(expected_head))
    reader.read()
    return reader.report()


def _anchor(expected_head: str | None) -> tuple[int, str] | None:
    if expected_head is None:
        return None
    count, _, digest = expected_head.strip().partition(":")
    if not (count.isdecimal() and len(count) < 16 and len(digest) == 64):
        raise InputError(f"{expected_head[:80]!r} is no head; it looks like 812:5e88… (number, colon, 64 hex digits)")
    return int(count), digest.lower()


class _Reader:
    """One pass over a log; after a break it goes on from the line that is there, so that each fault is told once."""

    def __init__(self, folder: Path, anchor: tuple[int, str] | None) -> None:
        self.folder, self.anchor = folder, anchor
        self.problems: list[Problem] = []
        self.notes: list[Problem] = []
        self.files: list[Path] = []
        self.seq, self.hash = 0, GENESIS
        self.began = False
        self.start_gap: tuple[str, int, str] | None = None  # file, entries before it, their last hash
        self.removals: list[Entry] = []
        self.asides: dict[str, str] = {}
        self.first = self.last = ""
        self.marks: set[int] = set()  # entries whose hash must be known at the end
        self.seen: dict[int, str] = {0: GENESIS}

    def read(self) -> None:
        """Reads the head, all lines, and the head again: what was recorded meanwhile is no fault."""
        before = self._head()
        self.files = log_files(self.folder)
        if before is None and not self.files and not self.problems:
            raise AuditError(f"{self.folder}: no audit log here")
        self.marks = {mark[0] for mark in (before, self.anchor) if mark}
        number = None
        for path in self.files:
            if number is not None and file_number(path) != number + 1:
                self._wrong(
                    path.name, None, f"files are missing before it: {number + 1:06d} to {file_number(path) - 1:06d}"
                )
            number = file_number(path)
            self._file(path, is_last=path == self.files[-1])
        self._foreign()
        self._start()
        self._asides()
        if before:
            self._reaches(HEAD, *before, "the end was cut off")
        self._lag()
        if self.anchor:
            self._reaches("expected head", *self.anchor, "the log does not go on from it")

    def _lag(self) -> None:
        """The head may be one entry behind, after a crash, and no more."""
        if any(problem.file == HEAD for problem in self.problems):
            return
        after = self._head()
        if (after[0] if after else 0) < self.seq:
            lag = self.seq - (after[0] if after else 0)
            place = self.files[-1].name
            if lag == 1:
                self._note(
                    place, None, f"its last entry came after {HEAD} was written: a crash in between, or an insertion"
                )
            else:
                self._wrong(
                    place, None, f"its last {lag} entries are not known to {HEAD}: inserted, or {HEAD} is an old one"
                )

    def _head(self) -> tuple[int, str] | None:
        try:
            head = read_head(self.folder)
        except AuditError as error:
            self._wrong(HEAD, None, str(error))
            return None
        return (head.count, head.hash) if head else None

    def _file(self, path: Path, *, is_last: bool) -> None:
        try:
            with path.open("rb") as lines:
                for number, line in enumerate(lines, 1):
                    if line.endswith(b"\n"):
                        self._line(path.name, number, line[:-1])
                    elif is_last:
                        self._note(path.name, number, "the line was cut short; the next one who writes sets it aside")
                    else:
                        self._wrong(path.name, number, "the line was cut short")
        except OSError as error:
            self._wrong(path.name, None, f"cannot be read ({error.strerror})")

    def _line(self, file: str, number: int, line: bytes) -> None:
        try:
            entry = read_line(line)
        except ValueError as error:
            self._wrong(file, number, f"the line was changed or is not of this log: {str(error)[:120]}")
            self.seq, self.hash = self.seq + 1, "?"
            return
        seq, previous = entry["seq"], entry["previous"]
        if not self.began:
            self.began = True
            if seq != 1:
                self.start_gap = (file, seq - 1, previous)
                self.seq, self.hash = seq - 1, previous
        if seal(entry) != entry["hash"]:
            self._wrong(file, number, "the line was changed: its hash is not that of what it says")
        elif seq > self.seq + 1:
            self._wrong(file, number, f"lines are missing before it: entries {self.seq + 1} to {seq - 1}")
        elif seq <= self.seq:
            self._wrong(file, number, f"entry {seq} after entry {self.seq}: inserted, repeated or out of order")
        elif previous != self.hash and self.hash != "?":
            self._wrong(
                file, number, "it does not follow the line before: that one was changed, or this one is not of this log"
            )
        self.seq, self.hash = seq, entry["hash"]
        if seq in self.marks:
            self.seen[seq] = entry["hash"]
        time = str(entry.get("time", ""))
        self.first, self.last = self.first or time, time
        if entry["kind"] == "pruned":
            self._removal(file, number, entry)
        elif entry["kind"] == "torn":
            self.asides[str(entry.get("aside"))] = str(entry.get("sha256"))
            self._note(file, number, f"a line was cut short by a crash and set aside: {entry.get('aside')}")

    def _removal(self, file: str, number: int, entry: Entry) -> None:
        try:
            moment = datetime.fromisoformat(entry["time"].replace("Z", "+00:00"))
            limit = expiry(moment, entry["retention"])
            newest = max(str(item["newest"]) for item in entry["files"])
            self.removals.extend(entry["files"])
        except (KeyError, ValueError, TypeError, AttributeError):
            self._wrong(file, number, "it says that files were removed, but not which")
            return
        count = sum(item["entries"] for item in entry["files"])
        by = f" by {entry['by']}" if entry.get("by") else ""
        said = f"{len(entry['files'])} files with {count} entries were removed{by} (retention {entry['retention']})"
        if newest >= limit:
            self._wrong(file, number, f"{said}, the newest only of {newest}")
        else:
            self._note(file, number, said)

    def _start(self) -> None:
        if self.start_gap is None:
            return
        file, count, digest = self.start_gap
        ends = {(item["last_seq"], item["last_hash"]) for item in self.removals}
        if (count, digest) not in ends:
            self._wrong(file, 1, f"entries 1 to {count} are missing, and no entry says that they were pruned")

    def _foreign(self) -> None:
        known = {path.name for path in self.files}
        for path in sorted(self.folder.glob("*.jsonl")):
            if path.name not in known and path.exists():
                self._wrong(path.name, None, "this file is not of this log")

    def _asides(self) -> None:
        for name, digest in self.asides.items():
            path = self.folder / Path(name).name
            if not path.is_file():
                self._wrong(name, None, "the line that was set aside here is gone")
            elif sha256(path.read_bytes()) != digest:
                self._wrong(name, None, "the line that was set aside here was changed")

    def _reaches(self, place: str, count: int, digest: str, fault: str) -> None:
        """Entry `count` must have that hash."""
        removed = {item["last_seq"]: item["last_hash"] for item in self.removals}
        found = self.seen.get(count) or removed.get(count)
        if found == digest:
            return
        if found is None and count < (self.start_gap[1] if self.start_gap else 0):
            self._note(place, None, f"entry {count} was pruned: it cannot be compared any more")
        elif found is None and count > self.seq:
            self._wrong(place, None, f"{fault}: {count} entries were recorded, the last one here is entry {self.seq}")
        else:
            self._wrong(place, None, f"entry {count} has another hash than was recorded")

    def _wrong(self, file: str, line: int | None, message: str) -> None:
        self.problems.append(Problem(file=file, line=line, message=message))

    def _note(self, file: str, line: int | None, message: str) -> None:
        self.notes.append(Problem(file=file, line=line, message=message))

    def report(self) -> Report:
        """What was found."""
        return Report(
            entries=self.seq,
            files=len(self.files),
            head=f"{self.seq}:{self.hash}",
            first=self.first,
            last=self.last,
            problems=tuple(self.problems),
            notes=tuple(self.notes),
        )
