"""Asks a recorded question again and tells whether the answer is the one that was recorded, and if not, why.

What is compared: the reason of an abstention, the passages (ids in order, and their text by hash), each sentence's hash
and verdict, notices, and the hash of the answer's text. What may explain a difference: another version, generation,
manifest, encoder, generator, reranker or configuration. Not covered: generators that draw at random without a seed;
identifiers, which the recorded question has no more (a pseudonym stands in their place).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from chimed_rag.config import Config
from chimed_rag.records import Answer, Record
from chimed_rag.safety.audit_chain import AuditError, Entry, find, sha256


class Difference(Record):
    """One thing that is not as recorded."""

    what: str
    recorded: str
    now: str


class ReplayReport(Record):
    """What came of asking again; `causes` are differences of what the answer was made with."""

    id: str
    question: str
    differences: tuple[Difference, ...] = ()
    causes: tuple[Difference, ...] = ()
    why: str = ""

    @property
    def same(self) -> bool:
        """Whether the answer is the recorded one."""
        return not self.differences


def replay(
    folder: str | Path, id: str, ask: Callable[[str, Config], Answer], *, now: Mapping[str, Any] | None = None
) -> ReplayReport:
    """Asks again what was recorded under an id.

    Args:
        folder: where the log lies.
        id: what `AuditLog.record` gave.
        ask: answers the redacted question under the recorded configuration.
        now: of `audit.Details`, what holds for `ask` (`audit.index_details`); None compares what the
            answer's trace tells.

    Raises:
        AuditError: no such answer was recorded, its line was changed, or this version does not know its configuration.
    """
    entry = find(Path(folder), id)
    try:
        config = Config.model_validate(entry["config"])
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))
        raise AuditError(
            f"{id}: recorded by chimed_rag {entry['library_version']} with a setting that this version does not know "
            f"({place}); run: pip install 'chimed-rag=={entry['library_version']}'"
        ) from None
    answer = ask(entry["question"], config)
    differences, causes = _differences(entry, answer), _causes(entry, answer, now)
    return ReplayReport(
        id=id, question=entry["question"], differences=differences, causes=causes, why=_why(entry, differences, causes)
    )


def _differences(entry: Entry, answer: Answer) -> tuple[Difference, ...]:
    pairs: list[tuple[str, Any, Any]] = [
        ("abstention", entry["abstention"], answer.abstention.reason if answer.abstention else None),
        ("evidence", [item["chunk_id"] for item in entry["evidence"]], [item.chunk_id for item in answer.evidence]),
        (
            "sentences",
            [item["sha256"] for item in entry["sentences"]],
            [sha256(item.text) for item in answer.sentences],
        ),
        ("verdicts", [item["verdict"] for item in entry["sentences"]], [item.verdict for item in answer.sentences]),
        (
            "notices",
            [f"{item['kind']}:{item['rule']}" for item in entry["notices"]],
            [f"{item.kind}:{item.rule}" for item in answer.notices],
        ),
        ("answer", entry["answer_sha256"], sha256(answer.text)),
    ]
    recorded = {item["chunk_id"]: item["sha256"] for item in entry["evidence"]}
    texts = {item.chunk_id: sha256(item.text) for item in answer.evidence if item.chunk_id in recorded}
    pairs.append(("text of passages", {key: recorded[key] for key in texts}, texts))
    return tuple(Difference(what=what, recorded=_short(was), now=_short(is_)) for what, was, is_ in pairs if was != is_)


def _causes(entry: Entry, answer: Answer, now: Mapping[str, Any] | None) -> tuple[Difference, ...]:
    from chimed_rag import __version__

    found: dict[str, Any] = {"library_version": __version__, "generator": answer.generator}
    trace = next((step.detail for step in answer.trace if step.step == "retrieval"), {})
    found |= {key: trace[key] for key in ("generation", "reranker") if key in trace}
    if now is not None:
        found |= {key: value for key, value in now.items() if key in entry and key not in ("user", "filter", "config")}
    elif isinstance(fingerprint := trace.get("encoder"), str) and isinstance(entry["encoder"], str):
        found["encoder"] = entry["encoder"] if entry["encoder"].startswith(fingerprint) else fingerprint
    if found.get("manifest_sha256") == entry["manifest_sha256"] is not None:
        found.pop("index", None)  # the same index under another name
    return tuple(
        Difference(what=what, recorded=_short(entry[what]), now=_short(value))
        for what, value in sorted(found.items())
        if entry[what] != value
    )


def _why(entry: Entry, differences: tuple[Difference, ...], causes: tuple[Difference, ...]) -> str:
    if not differences:
        return ""
    if causes:
        return "; ".join(f"{cause.what}: recorded with {cause.recorded}, now {cause.now}" for cause in causes)
    if entry["generator"] not in ("extractive", "echo") and entry["seed"] is None:
        return f"the generator {entry['generator']!r} ran without a seed: it may answer differently each time"
    return "index, versions and configuration are the recorded ones: the installation or the log was changed"


def _short(value: Any) -> str:
    """A value in one line: lists by what they hold, hashes by their beginning."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_short(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(_short, value)) or "none"
    text = "none" if value is None else str(value)
    is_hash = len(text) == 64 and set(text) <= set("0123456789abcdef")
    return text[:12] + "…" if is_hash else text
