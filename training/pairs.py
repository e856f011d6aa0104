"""Files become pairs of query and passage: read, filtered, without duplicates, without traces of evaluation sets.

Needs pydantic and numpy, no torch. Not covered: hard negatives (`mining`).

Every row is accounted for: what was read is what was kept and what was dropped, by reason (`files.Account`), asked in
this order: "not open_licence", "source", "kind" (filters of the file), "empty", "too short",
"repeats itself" (the passage is the query), "duplicate", "evaluation" (13-grams), "near duplicate", "beyond the limit".
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

from pydantic import Field

from chimed_rag.errors import CorpusError, InputError
from chimed_rag.evaluation.beir import BeirCorpus, read_qrels, read_queries
from chimed_rag.evaluation.grams import skeleton
from training.files import Account, Ledger, account, lines, matching, rows, text_field
from training.hygiene import Contamination, NearDuplicates, similarity
from training.literature import literature_pairs, passages_of
from training.settings import Settings, located

AnyItem = TypeVar("AnyItem")


class Pair(NamedTuple):
    """A query, a passage that answers it, and where both come from."""

    query: str
    passage: str
    source: str


class PairFile(Settings):
    """One file, folder or glob of pairs, and which of them count.

    Args:
        path: see `settings`. A folder for `beir`.
        form: `pairs`, JSONL rows {query, passage, source, kind, open_licence}; `consultations`, TSV lines reply,
            question, question, ...; `beir`, a folder of queries, corpus and qrels; `corpus`, JSONL rows {title,
            section, text}; `asked`, JSONL rows {question, sentences}: each sentence of a literature that answers the
            question, none where it has no answer; `literature`, documents as `chimed build` reads them, or the folder
            of an index: questions made of its headings, and sentences, with the passage they lead to (`literature`).
        open_licence: keep only rows marked so (`pairs`).
        sources, kinds: keep only these, where given (`pairs`).
        not_sources, not_kinds: leave these out (`pairs`).
        source: the name of the source of pairs that name none; the file's own name if left out ("literature" for
            that form, whose two sources are "literature headings" and "literature sentences").
        licence: of the file, for the card.
        query: how a corpus row becomes a query, one of these by chance; the row's fields in braces. Rows that lack a
            field of it are dropped as empty.
        passage: how a corpus row becomes a passage.
        times: questions, and sentences, of each passage (`literature`).
        limit: at most so many pairs, drawn by chance; also before the texts are compared, to save time.
    """

    path: str
    form: Literal["pairs", "consultations", "beir", "corpus", "asked", "literature"] = "pairs"
    open_licence: bool = False
    sources: list[str] = Field(default_factory=list)
    not_sources: list[str] = Field(default_factory=list)
    kinds: list[str] = Field(default_factory=list)
    not_kinds: list[str] = Field(default_factory=list)
    source: str = ""
    licence: str = ""
    query: list[str] = Field(default=["{title} {section}"], min_length=1)
    passage: str = "{text}"
    times: int = Field(1, ge=1)
    limit: int | None = Field(None, ge=1)


class Hygiene(Settings):
    """What is taken out of the pairs of all files together.

    Args:
        evaluation: folder of the evaluation sets that training must not have seen; null for none.
        gram: characters of the n-grams that are compared with them.
        share: a text goes if more than this share of its n-grams stands in an evaluation set; 0 for any.
        near_duplicates: similarity (Jaccard, character trigrams) from which on two pairs are one; null for exact ones
            only.
        shortest_query, shortest_passage: characters (of the skeleton) that must be there.
    """

    evaluation: str | None
    gram: int = Field(13, ge=5)
    share: float = Field(0.0, ge=0, lt=1)
    near_duplicates: float | None = Field(0.9, gt=0, le=1)
    shortest_query: int = Field(2, ge=1)
    shortest_passage: int = Field(2, ge=1)


class PairData(Settings):
    """The pairs that a model is trained on."""

    files: list[PairFile] = Field(min_length=1)
    hygiene: Hygiene
    limit: int | None = Field(None, ge=1)


def read_pairs(data: PairData, *, seed: int, ledger: Ledger | None = None) -> list[Pair]:
    """The pairs of all files that are left, in the order of the files.

    Args:
        data: files and hygiene.
        seed: of the samples and of the choice among query templates.
        ledger: the account of each file is added to it.

    Raises:
        CorpusError: a file is missing or cannot be read, or a row is malformed; names file and line.
        InputError: nothing is left.
        ConfigError: the folder of evaluation sets is not there.
    """
    accounts: Ledger = []
    found: list[tuple[Pair, Account]] = []
    for file in data.files:
        for name, path in matching(file.path):
            entry = account(name, path, file.licence)
            accounts.append(entry)
            found += [
                (pair, entry) for pair in sampled(list(_filtered(file, path, entry, seed)), file.limit, seed, entry)
            ]
    kept = _clean(found, data.hygiene)
    if data.limit is not None and data.limit < len(kept):
        chosen = set(random.Random(seed).sample(range(len(kept)), data.limit))  # noqa: S311
        for n, (_, entry) in enumerate(kept):
            if n not in chosen:
                entry.drop("beyond the limit")
        kept = [item for n, item in enumerate(kept) if n in chosen]
    if ledger is not None:
        ledger += accounts
    if not kept:
        raise InputError("no pair is left of: " + "; ".join(f"{a.path} (dropped: {dict(a.dropped)})" for a in accounts))
    return [pair for pair, _ in kept]


def sampled(items: list[AnyItem], limit: int | None, seed: int, entry: Account) -> list[AnyItem]:
    """At most `limit` of the items in their order, drawn by chance; the others are counted in the account."""
    if limit is None or len(items) <= limit:
        return items
    entry.drop("beyond the limit", len(items) - limit)
    chosen = sorted(random.Random(f"{seed} {entry.path}").sample(range(len(items)), limit))  # noqa: S311
    return [items[n] for n in chosen]


def split(pairs: list[Pair], held_out: int, seed: int) -> tuple[list[Pair], list[Pair]]:
    """(training pairs, held-out pairs): about `held_out` of them, whole groups that share a passage, drawn by chance.

    A training pair whose query or passage stands (by skeleton) in any held-out pair is in neither list.

    Raises:
        InputError: nothing would be left to train on.
    """
    if held_out <= 0:
        return pairs, []
    groups: dict[str, list[int]] = {}
    for n, pair in enumerate(pairs):
        groups.setdefault(skeleton(pair.passage), []).append(n)
    drawn: list[int] = []
    for bones in sorted(groups, key=lambda bones: hashlib.sha256(f"{seed} {bones}".encode()).digest()):
        if len(drawn) >= held_out:
            break
        drawn += groups[bones]
    out = [pairs[n] for n in sorted(drawn)]
    seen = {skeleton(text) for pair in out for text in (pair.query, pair.passage)}
    training = [pair for pair in pairs if skeleton(pair.query) not in seen and skeleton(pair.passage) not in seen]
    if not training:
        raise InputError(f"{held_out} held-out pairs of {len(pairs)} leave nothing to train on")
    return training, out


# --- reading ---------------------------------------------------------------------------------------------------


def _filtered(file: PairFile, path: Path, entry: Account, seed: int) -> Iterator[Pair]:
    """The pairs of a file that its filters keep, counted in its account."""
    source = file.source or path.name.split(".")[0]
    if file.form == "pairs":
        items = _rows(file, path, entry, source)
    elif file.form == "consultations":
        items = _consultations(path, entry, source)
    elif file.form == "asked":
        items = _asked(path, entry, source)
    elif file.form == "corpus":
        items = _corpus(file, path, entry, source, seed)
    elif file.form == "literature":
        items = _literature(file, path, entry, file.source or "literature", seed)
    else:
        items = _beir(path, entry, source)
    for pair, reason in items:
        entry.read += 1
        entry.kept += 1
        if reason:
            entry.drop(reason)
        else:
            yield pair


_Read = Iterator[tuple[Pair, str]]
"""A pair with the reason why it is dropped, or none."""


def _rows(file: PairFile, path: Path, entry: Account, default: str) -> _Read:
    for line, row in rows(path):
        entry.rows += 1
        source, kind = str(row.get("source") or default), str(row.get("kind") or "")
        reason = ""
        if file.open_licence and row.get("open_licence") is not True:
            reason = "not open_licence"
        elif (file.sources and source not in file.sources) or source in file.not_sources:
            reason = "source"
        elif (file.kinds and kind not in file.kinds) or kind in file.not_kinds:
            reason = "kind"
        yield Pair(text_field(row, "query", path, line), text_field(row, "passage", path, line), source), reason


def _consultations(path: Path, entry: Account, source: str) -> _Read:
    for line, text in lines(path):
        entry.rows += 1
        reply, *questions = text.split("\t")
        if not questions:
            raise CorpusError("no tab: write reply<TAB>question<TAB>question...", path=str(path), line=line)
        for question in questions:
            yield Pair(question.strip(), reply.strip(), source), ""


def _asked(path: Path, entry: Account, source: str) -> _Read:
    for line, row in rows(path):
        entry.rows += 1
        question, sentences = text_field(row, "question", path, line), row.get("sentences")
        if not isinstance(sentences, list) or not all(isinstance(sentence, str) for sentence in sentences):
            raise CorpusError('"sentences" is no list of texts', path=str(path), line=line)
        for sentence in sentences:
            yield Pair(question, sentence, source), ""


def _corpus(file: PairFile, path: Path, entry: Account, source: str, seed: int) -> _Read:
    chance = random.Random(f"{seed} {entry.path}")  # noqa: S311
    for line, row in rows(path):
        entry.rows += 1
        fields = {name: value for name, value in row.items() if isinstance(value, str) and value.strip()}
        template = chance.choice(file.query)
        try:
            yield Pair(template.format_map(fields), file.passage.format_map(fields), source), ""
        except KeyError:
            yield Pair("", "", source), "empty"
        except (ValueError, IndexError) as error:
            raise CorpusError(f"the template cannot be filled: {error}", path=str(path), line=line) from None


def _literature(file: PairFile, path: Path, entry: Account, source: str, seed: int) -> _Read:
    passages = passages_of(path)
    entry.rows += len(passages)
    chance = random.Random(f"{seed} {entry.path}")  # noqa: S311
    for query, passage, kind in literature_pairs(passages, source, chance, file.times):
        yield Pair(query, passage, kind), ""


def _beir(folder: Path, entry: Account, source: str) -> _Read:
    parts = {name: next(iter(sorted(folder.glob(f"{name}.*"))), None) for name in ("queries", "corpus", "qrels")}
    if missing := [name for name, path in parts.items() if path is None]:
        raise CorpusError(f"no file {missing[0]}.jsonl, .tsv or .jsonl.gz", path=str(folder))
    queries, qrels = read_queries(str(parts["queries"])), read_qrels(str(parts["qrels"]))
    passages = {d.id: "\n".join(filter(None, (d.title, d.text))) for d in BeirCorpus([str(parts["corpus"])])}
    for query, judged in qrels.items():
        for document, score in judged.items():
            entry.rows += 1
            pair = Pair(queries.get(query, ""), passages.get(document, ""), source)
            yield pair, "" if score > 0 else "not relevant"


# --- cleaning --------------------------------------------------------------------------------------------------


def _clean(found: Iterable[tuple[Pair, Account]], hygiene: Hygiene) -> list[tuple[Pair, Account]]:
    evaluation = hygiene.evaluation
    traces = None if evaluation is None else Contamination(located(evaluation), hygiene.gram)
    seen: set[tuple[str, str]] = set()
    near = None if hygiene.near_duplicates is None else _NearPairs(hygiene.near_duplicates)
    kept: list[tuple[Pair, Account]] = []
    for pair, entry in found:
        query, passage = skeleton(pair.query), skeleton(pair.passage)
        if not query or not passage:
            entry.drop("empty")
        elif len(query) < hygiene.shortest_query or len(passage) < hygiene.shortest_passage:
            entry.drop("too short")
        elif query == passage:
            entry.drop("repeats itself")
        elif (query, passage) in seen:
            entry.drop("duplicate")
        elif traces is not None and max(traces.share(query), traces.share(passage)) > hygiene.share:
            entry.drop("evaluation")
        elif near is not None and near.known(query, passage):
            entry.drop("near duplicate")
        else:
            kept.append((pair, entry))
            seen.add((query, passage))
    return kept


class _NearPairs:
    """Pairs that are alike on both sides: three questions of one reply stay three pairs."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._passages = NearDuplicates(threshold)
        self._queries: list[str] = []

    def known(self, query: str, passage: str) -> bool:
        """Whether a pair like this was seen before; remembers it."""
        alike = self._passages.see(passage)
        self._queries.append(query)
        return any(similarity(query, self._queries[n]) >= self._threshold for n in alike)
