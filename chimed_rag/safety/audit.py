"""Who asked what and what came of it: an append-only log in which a changed, missing or reordered line shows.

    log = AuditLog(Path("audit"), retention="15y")
    id = log.record(answer, question=redacted, details={"user": "ward 3", **index_details(manifest, "ward")})
    assert verify(Path("audit")).whole

What is covered: each answer with its redacted question, index, versions, configuration, evidence (ids and hashes),
checks, notices and the hash of its text, as one line of the hash chain of `audit_chain`; appending from several
threads and processes; a line that a crash cut short (set aside, and said in the chain); removal after the retention,
said in the chain. What is not covered: redaction. `record` writes the question it is given and never
`answer.question`; hand it the answer as it was before identifiers were put back, or its hash is one of a text that
holds them. Texts of sentences and passages are not in the log, their hashes are. `audit_verify` says what the chain
cannot prove.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from chimed_rag.errors import InputError
from chimed_rag.records import Answer
from chimed_rag.safety.audit_append import chain_end, locked, now, written
from chimed_rag.safety.audit_chain import (
    AuditError,
    Entry,
    Retention,
    canonical,
    entries,
    expiry,
    find,
    log_files,
    read_head,
    read_line,
    sha256,
    sync_folder,
)
from chimed_rag.safety.audit_replay import replay
from chimed_rag.safety.audit_verify import verify

if TYPE_CHECKING:
    from chimed_rag.indexing.manifest import Manifest

__all__ = ["AuditError", "AuditLog", "Details", "entries", "find", "index_details", "prune", "replay", "verify"]

MAX_BYTES = 16 * 2**20
"""A file that has reached this size is followed by a new one, within the month too."""


class Details(BaseModel):
    """What an answer does not say of itself and a replay needs; unknown keys are refused, so that nothing slips in.

    `config` is `Config.model_dump(mode="json")`; its key `audit` is left out, so that a replay records nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    user: str | None = None
    index: str | None = None
    generation: int | None = None
    manifest_sha256: str | None = None
    encoder: str | None = None
    reranker: str | None = None
    filter: dict[str, JsonValue] | None = None
    config: dict[str, JsonValue] = {}
    seed: int | None = None


def index_details(manifest: Manifest, name: str) -> dict[str, JsonValue]:
    """Of `Details`, what an open index says: its folder's name, generation, manifest hash and encoder fingerprint.

    The manifest hash is the one that `manifest.json` holds as `sha256`.
    """
    return {
        "index": name,
        "generation": manifest.generation,
        "manifest_sha256": sha256(canonical(manifest.model_dump(mode="json"))),
        "encoder": manifest.encoder.fingerprint,
    }


class AuditLog:
    """Appends to the audit log in a folder, which is made where it is missing; safe for threads and processes.

    Args:
        folder: where the log lies; it is readable for its owner only where this makes it.
        retention: how long entries are kept, at least; only `prune` removes them. None keeps what was set before, and
            without anything set all are kept. A change is itself an entry.
        max_bytes: the size at which a new file is begun.

    Raises:
        AuditError: the folder cannot be written, or its end was changed.
        InputError: no such retention.
    """

    def __init__(self, folder: str | Path, *, retention: Retention | None = None, max_bytes: int = MAX_BYTES) -> None:
        if retention not in (None, "3y", "15y"):
            raise InputError(f"no retention is called {retention!r}; there are: 3y, 15y")
        self.folder, self.max_bytes = Path(folder), max_bytes
        self._lock = threading.Lock()
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise AuditError(f"{folder}: cannot be made a folder ({error.strerror})") from None
        if retention is not None:
            self._append("retention", {"retention": retention})

    def record(self, answer: Answer, *, question: str, details: Mapping[str, Any] | Details | None = None) -> str:
        """Writes an answer down, durably, and gives the id under which `find` and `replay` know it.

        Args:
            answer: the answer, before identifiers were put back into it.
            question: the redacted question.
            details: see `Details`.

        Raises:
            InputError: details that are not known, or no JSON.
            AuditError: the folder cannot be written, or its end was changed.
        """
        try:
            known = Details.model_validate(details or {})
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise InputError(
                f"audit details: {place}: {first['msg']}; there are: {', '.join(Details.model_fields)}"
            ) from None
        return self._append("answer", _answered(answer, question, known))

    def _append(self, kind: str, body: Mapping[str, Any]) -> str:
        with self._lock, locked(self.folder):
            end = chain_end(self.folder)
            if end.torn is not None:
                end = written(self.folder, end, "torn", end.torn, self.max_bytes)[1]
            if kind == "retention" and end.retention == body["retention"]:
                return ""
            return written(self.folder, end, kind, body, self.max_bytes)[0]


def _answered(answer: Answer, question: str, details: Details) -> Entry:
    from chimed_rag import __version__

    config = {key: value for key, value in details.config.items() if key != "audit"}
    try:
        config_hash = sha256(canonical(config))
    except ValueError as error:
        raise InputError(f"audit details: config: {error}") from None
    return {
        **details.model_dump(),
        "config": config,
        "config_sha256": config_hash,
        "question": question,
        "library_version": __version__,
        "generator": answer.generator,
        "evidence": [{"chunk_id": item.chunk_id, "sha256": sha256(item.text)} for item in answer.evidence],
        "sentences": [
            {
                "sha256": sha256(sentence.text),
                "verdict": sentence.verdict,
                "citations": [citation.number for citation in sentence.citations],
                "checks": [[check.name, check.verdict] for check in sentence.checks],
            }
            for sentence in answer.sentences
        ],
        "notices": [{"kind": notice.kind, "rule": notice.rule} for notice in answer.notices],
        "abstention": answer.abstention.reason if answer.abstention is not None else None,
        "answer_sha256": sha256(answer.text),
    }


def prune(folder: str | Path, *, by: str = "") -> list[str]:
    """Removes the files whose newest entry is older than the retention, and says so in the chain; gives their names.

    Only whole files at the beginning go. An entry `pruned` is written first: who removed them, under which retention,
    and of each file its name, SHA-256, number of entries, newest time and last hash, from which the chain goes on.

    Args:
        folder: where the log lies.
        by: who answers for the removal.

    Raises:
        InputError: no retention was set.
        AuditError: the chain does not hold (nothing is removed then), or the folder cannot be written.
    """
    folder = Path(folder)
    report = verify(folder)
    if not report.whole:
        raise AuditError(f"{report.problems[0]}; nothing was removed; run: chimed audit verify {folder}")
    head = read_head(folder)
    if head is None or head.retention is None:
        raise InputError(
            f"{folder}: no retention was set, all entries are kept; set one with: AuditLog(folder, retention=...)"
        )
    limit = expiry(now(), head.retention)
    expired = []
    for path in log_files(folder):
        summary = _summary(path)
        if summary["newest"] >= limit:
            break
        expired.append(summary)
    if not expired or not any(summary["entries"] for summary in expired):
        return []
    names = [str(summary["name"]) for summary in expired]
    with locked(folder):
        end = chain_end(folder)
        if not all((folder / name).exists() for name in names):
            raise AuditError(f"{folder}: another process is removing files; run: chimed audit verify {folder}")
        body = {"retention": head.retention, "by": by, "files": expired}
        written(folder, end, "pruned", body, MAX_BYTES, new_file=end.file is not None and end.file.name in names)
        for name in names:
            for aside in folder.glob(f"{Path(name).stem}-*.torn"):
                aside.unlink()
            (folder / name).unlink()
        sync_folder(folder)
    return names


def _summary(path: Path) -> Entry:
    raw = path.read_bytes()
    lines = [read_line(line) for line in raw.splitlines()]
    return {
        "name": path.name,
        "sha256": sha256(raw),
        "entries": len(lines),
        "newest": max((str(line["time"]) for line in lines), default=""),
        "last_seq": lines[-1]["seq"] if lines else 0,
        "last_hash": lines[-1]["hash"] if lines else "",
    }
