"""One generation of an index in the making: documents in, segments and a lexical index out, then the manifest.

New files are written beside the current ones, then the manifest is replaced: a process killed before that leaves the
old generation, after that the new one. Segments of an unfinished call keep their content-derived names, so the same
call run again takes them up instead of encoding anew. Not covered: the lock and the verbs (`writer`).
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from math import ceil, log2, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from chimed_rag import __version__
from chimed_rag.config import Chunking
from chimed_rag.corpus.chunker import chunk
from chimed_rag.encoders.base import Encoder, EncoderSpec, checked, inside
from chimed_rag.errors import ChiMedError, EncoderError, IndexDamagedError, IndexError_, InputError
from chimed_rag.indexing.lexical import LexicalWriter, index_text
from chimed_rag.indexing.manifest import (
    FORMAT_VERSION,
    Counts,
    FileEntry,
    Manifest,
    SegmentEntry,
    Storage,
    VectorFormat,
    describe_files,
    fsync_file,
    fsync_folder,
    is_whole,
    read_manifest,
    sha256_file,
    write_manifest,
)
from chimed_rag.indexing.segment import Segment, SegmentWriter, merge, quantise
from chimed_rag.indexing.store import Store
from chimed_rag.records import Chunk, Document
from chimed_rag.text import terms

if TYPE_CHECKING:
    from chimed_rag.encoders.ngram import NgramEncoder

log = logging.getLogger(__name__)

Progress = Callable[[str, int], None]
"""Called with a stage ("encode", "compact") and how many chunks it has done."""

SEGMENT_ROWS = 8192
_SEGMENT_CHARACTERS = 8_000_000
_ENCODE_ROWS = 1024
_FEW = 8


class Pending(NamedTuple):
    """A document that waits to be written, with the number it will have."""

    number: int
    document: Document
    chunks: list[Chunk]


class Commit:
    """One generation in the making, from the current one (or nothing) to a new manifest.

    Args:
        folder: the index folder, whose lock the caller holds.
        base: the current generation, if there is one.
        encoder: needed to insert documents.
        chunking, storage: how documents are cut and vectors stored.
        keep: whether the new generation starts from what the current one holds.
        derive: start with an empty lexical index, to be filled by `derive_lexical`.
        progress: told of encoded chunks.
    """

    def __init__(
        self,
        folder: Path,
        base: Manifest | None,
        encoder: Encoder | None,
        chunking: Chunking,
        storage: Storage,
        *,
        keep: bool = True,
        derive: bool = False,
        progress: Progress | None = None,
    ) -> None:
        self.folder, self.base, self.encoder, self.chunking, self.storage = folder, base, encoder, chunking, storage
        self.progress = progress
        self.segments_folder = folder / "segments"
        self.segments_folder.mkdir(exist_ok=True)
        self.generation = base.generation + 1 if base else 1
        self.next_row = base.next_row if base else 0
        self.form = base.vectors if base and keep else None
        self.entries = list(base.segments) if base and keep else []
        self.store = Store(folder, base) if base and keep else None
        self.counts = Counter(base.counts.model_dump() if base and keep else {})
        self.sources = Counter(base.sources if base and keep else {})
        self.licences = Counter(base.licences if base and keep else {})
        self.tombstones: dict[int, int] = {}
        self.pending: list[Pending] = []
        self.pending_rows = self.pending_characters = self.encoded = 0
        self.lexical_name = f"lexical/{self.generation:08d}"
        shutil.rmtree(folder / self.lexical_name, ignore_errors=True)
        self.linked = base.lexical if base and keep and not derive else None
        try:
            self.lexical = LexicalWriter(folder / self.lexical_name, folder / self.linked if self.linked else None)
        except BaseException:
            if self.store is not None:
                self.store.close()
            raise

    def discard(self) -> None:
        """Leaves the index as it was; finished segments stay for a later attempt, until the next commit."""
        if self.store is not None:
            self.store.close()
        # Interrupted between the commit and its return, the generation stands: its files are not ours to remove.
        with suppress(ChiMedError, OSError):
            if read_manifest(self.folder).lexical == self.lexical_name:
                return
        self.lexical.discard()

    def remove(self, number: int, count: int) -> None:
        """Deletes a living document of the current generation."""
        assert self.store is not None
        document = self.store.by_number(number)
        self.tombstones[number] = count
        self.lexical.delete([number])
        self.counts.update(documents=-1, chunks=-count)
        self._account(document, -1)

    def insert(self, document: Document) -> bool:
        """Chunks a document and queues it; False when it holds no text.

        Raises:
            InputError: a part of it cannot be stored as UTF-8.
        """
        _require_storable(document)
        chunks = with_section(document, chunk(document, self.chunking))
        if not chunks:
            return False
        self.lexical.add(self.next_row, document, chunks)
        self.pending.append(Pending(self.next_row, document, chunks))
        self.next_row += len(chunks)
        self.pending_rows += len(chunks)
        self.pending_characters += len(document.text)
        self.counts.update(documents=1, chunks=len(chunks))
        self._account(document, 1)
        if self.pending_rows >= SEGMENT_ROWS or self.pending_characters >= _SEGMENT_CHARACTERS:
            self._flush()
        return True

    def _account(self, document: Document, change: int) -> None:
        source = document.source.rsplit(":", 1)[0]
        self.sources[source.split("/", 1)[0] + "/" if "/" in source else source] += change
        self.licences[document.licence] += change

    def _flush(self, *, last: bool = False) -> None:
        """Writes the queued documents, and with `last` the deletions, as one segment."""
        if not self.pending and not (last and self.tombstones):
            return
        first = self.pending[0].number if self.pending else self.next_row
        name = f"{first:010d}-{self._key(last)}"
        if not self._take_up(name):
            codes = self._encode([index_text(p.document, c) for p in self.pending for c in p.chunks])
            writer = SegmentWriter(self.segments_folder, name)
            try:
                begin = 0
                for number, document, chunks in self.pending:
                    writer.add(number, document, chunks, codes[begin : begin + len(chunks)])
                    begin += len(chunks)
                if last:
                    writer.tombstone(self.tombstones.items())
                writer.finish(self._form())
            except BaseException:
                writer.discard()
                raise
        self.entries.append(SegmentEntry(name=name, rows=self.pending_rows))
        self.pending, self.pending_rows, self.pending_characters = [], 0, 0

    def _key(self, last: bool) -> str:
        spec = self.encoder.spec if self.encoder else None
        parts = [FORMAT_VERSION, spec and spec.fingerprint, self.storage, self.chunking.model_dump_json()]
        digest = hashlib.sha256(json.dumps(parts).encode())
        for number, document, chunks in self.pending:
            identity = [number, document.id, document.content_hash, document.source, document.pages]
            # The chunks as they are, since a later version may cut the same document in another way.
            digest.update(json.dumps([identity, [[c.text, c.start, c.headings] for c in chunks]]).encode())
        if last:
            digest.update(json.dumps([self.generation, sorted(self.tombstones)]).encode())
        return digest.hexdigest()[:16]

    def _take_up(self, name: str) -> bool:
        """Whether an earlier, unfinished call left exactly this segment."""
        if not (self.segments_folder / f"{name}.sqlite").exists():
            return False
        try:
            segment = Segment(self.segments_folder, name)
        except (ChiMedError, OSError, ValueError):
            return False
        segment.close()
        if len(segment.rows) != self.pending_rows or (self.form is not None and segment.form != self.form):
            return False
        self.form = segment.form
        self._report(self.pending_rows)
        return True

    def _report(self, rows: int) -> None:
        self.encoded += rows
        if self.progress is not None:
            self.progress("encode", self.encoded)

    def _form(self) -> VectorFormat:
        if self.form is None:
            raise IndexError_("an index needs at least one document with text")
        return self.form

    def _encode(self, texts: Sequence[str]) -> NDArray[np.uint8]:
        if not texts:
            return np.empty((0, 0), np.uint8)
        assert self.encoder is not None
        spec = self.encoder.spec
        parts, blank, first = [], True, self.form is None
        for begin in range(0, len(texts), _ENCODE_ROWS):
            batch = texts[begin : begin + _ENCODE_ROWS]
            with from_caller():
                vectors = checked(self.encoder.encode_documents(batch), len(batch), spec.dimension, spec.name)
            blank = blank and not vectors.any()
            if self.form is None:
                scale = _code_range(vectors) if self.storage == "int8" else 1.0
                self.form = VectorFormat(storage=self.storage, dimension=spec.dimension, scale=scale)
            parts.append(quantise(vectors, self.form))
            self._report(len(batch))
        if blank:
            _refuse_blank(texts, spec.name, 1 if first else _FEW)
        return np.concatenate(parts)

    def finish(self) -> Manifest:
        """Writes what is queued, merges small segments and commits."""
        self._flush(last=True)
        self._merge_small()
        return self.write()

    def _merge_small(self) -> None:
        """Geometric merging: a segment joins its predecessor unless that is more than twice its size.

        Each chunk is copied O(log n) times over n small writes, and O(log n) small segments remain.
        """
        begin, size = len(self.entries) - 1, max(1, self.entries[-1].rows) if self.entries else 0
        while begin > 0 and self.entries[begin - 1].rows < min(2 * size, SEGMENT_ROWS):
            begin -= 1
            size += self.entries[begin].rows
        if begin < len(self.entries) - 1:
            self.entries[begin:] = [self._merged(self.entries[begin:])]

    def _merged(self, entries: Sequence[SegmentEntry], *, keep_tombstones: bool = True) -> SegmentEntry:
        # What is copied gets a new hash, so damage would become the truth here: look at the old one first.
        self._require_whole(f"segments/{e.name}.{suffix}" for e in entries for suffix in ("sqlite", "vectors"))
        segments = [Segment(self.segments_folder, entry.name) for entry in entries]
        try:
            first_row = min((int(s.rows[0]) for s in segments if len(s.rows)), default=self.next_row)
            digest = hashlib.sha256(" ".join([*(e.name for e in entries), str(self.generation)]).encode())
            name = f"{first_row:010d}-{digest.hexdigest()[:16]}"
            rows = merge(self.segments_folder, name, segments, self._dead(), first_row if keep_tombstones else 0)
        finally:
            for segment in segments:
                segment.close()
        return SegmentEntry(name=name, rows=rows)

    def _require_whole(self, names: Iterable[str]) -> None:
        files = self.base.files if self.base else {}
        for name in names:
            if name in files and sha256_file(self.folder / name) != files[name].sha256:
                raise IndexDamagedError(f"{self.folder}: {name}: damaged; run: chimed inspect {self.folder} --repair")

    def _dead(self) -> set[int]:
        return (self.store.dead if self.store else set()) | set(self.tombstones)

    def compact(self) -> Manifest:
        """Rewrites the living documents only and derives the lexical index from them; nothing is encoded again."""
        assert self.base is not None
        groups: list[list[SegmentEntry]] = [[]]
        for entry in self.entries:
            if groups[-1] and sum(e.rows for e in groups[-1]) + entry.rows > 8 * SEGMENT_ROWS:
                groups.append([])
            groups[-1].append(entry)
        # No tombstone survives: every dead document is dropped here.
        merged = [self._merged(group, keep_tombstones=False) for group in groups if group]
        self.entries = [entry for entry in merged if entry.rows]
        self.derive_lexical()
        return self.write()

    def derive_lexical(self) -> None:
        """Fills an empty lexical index from the segments."""
        done, dead = 0, self._dead()
        for entry in self.entries:
            segment = Segment(self.segments_folder, entry.name)
            try:
                for number, count, document in segment.documents():
                    if number in dead:
                        continue
                    self.lexical.add(number, document, segment.chunks(document, number, count))
                    done += count
                    if self.progress is not None and done % 1000 < count:
                        self.progress("compact", done)
            finally:
                segment.close()

    def _encoder_spec(self) -> EncoderSpec:
        base = self.base.encoder if self.base else None
        if self.encoder is None:
            assert base is not None
            return base
        # The same encoder, read from elsewhere for once, stays in the index.
        same = base is not None and inside(base) is not None and base.fingerprint == self.encoder.spec.fingerprint
        return base if base is not None and same else self.encoder.spec

    def _own_encoder(self) -> dict[str, FileEntry]:
        """The files of an encoder that lies in the index itself; the generation that brings it writes them."""
        path = inside(self._encoder_spec())
        if path is None:
            return {}
        known = self.base.files if self.base else {}
        held = {name: entry for name, entry in known.items() if name.startswith(path + "/")}
        if held and (self.store is not None or all(is_whole(self.folder / name, held[name]) for name in held)):
            return held
        target = self.folder / path
        unfinished = target.with_name(target.name + ".tmp")
        shutil.rmtree(unfinished, ignore_errors=True)
        files = cast("NgramEncoder", self.encoder).save(unfinished)
        for file in files:
            fsync_file(file)
        fsync_folder(unfinished)
        shutil.rmtree(target, ignore_errors=True)  # damaged, or left by an unfinished call: no reader needs it
        unfinished.rename(target)
        fsync_folder(target.parent)
        return describe_files(self.folder, [f"{path}/{file.name}" for file in files], {})

    def write(self) -> Manifest:
        """Finishes the lexical index and replaces the manifest: this is the commit."""
        names = [f"{self.lexical_name}/{name}" for name in self.lexical.commit()]
        for entry in self.entries:
            names += [f"segments/{entry.name}.sqlite", f"segments/{entry.name}.vectors"]
        known = dict(self.base.files) if self.base else {}
        if self.linked:
            # tantivy merged those that are gone: were they damaged, the merged one would be too, under a new hash.
            gone = {name for name in known if name.startswith(self.linked + "/") and not name.endswith(".json")}
            self._require_whole(gone - {self.linked + name[len(self.lexical_name) :] for name in names})
        if self.linked:  # hard links hold the same bytes, but for the two meta files, which are replaced
            for name, file in list(known.items()):
                if name.startswith(self.linked + "/") and not name.endswith(".json"):
                    known[self.lexical_name + name[len(self.linked) :]] = file
        self.counts["deleted_chunks"] = sum(entry.rows for entry in self.entries) - self.counts["chunks"]
        manifest = Manifest(
            generation=self.generation,
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            library_version=__version__,
            encoder=self._encoder_spec(),
            vectors=self._form(),
            chunking=self.chunking,
            counts=Counts(**self.counts),
            next_row=self.next_row,
            segments=tuple(self.entries),
            lexical=self.lexical_name,
            sources=dict(sorted((+self.sources).items())),
            licences=dict(sorted((+self.licences).items())),
            files={**describe_files(self.folder, names, known), **self._own_encoder()},
        )
        fsync_folder(self.segments_folder)
        fsync_folder(self.folder / self.lexical_name)
        fsync_folder(self.folder / "lexical")
        write_manifest(self.folder, manifest)
        if self.store is not None:
            self.store.close()
        sweep(self.folder, manifest, self.base)
        return manifest


@contextmanager
def from_caller() -> Iterator[None]:
    """Marks errors of the caller's documents and encoder, lest they be told as those of the index folder."""
    try:
        yield
    except Exception as error:
        error.__dict__["from_caller"] = True
        raise


def _require_storable(document: Document) -> None:
    parts = {
        "id": document.id, "text": document.text, "title": document.title, "source": document.source,
        "url": document.url, "date": document.date, "licence": document.licence,
        "metadata": json.dumps(document.metadata, ensure_ascii=False),
    }  # fmt: skip
    for name, part in parts.items():
        try:
            part.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"document {document.id!r}: character {error.start} of its {name} cannot be stored as UTF-8"
            ) from None


def _refuse_blank(texts: Sequence[str], name: str, most: int) -> None:
    """Refuses an encoder that gave zero vectors only, which match nothing, for passages that hold words.

    One of a few passages may be in a script that the encoder does not know; the first passages of an index, or many of
    them, are not.
    """
    worded = sum(1 for text in texts if terms(text))
    if worded >= most:
        raise EncoderError(
            f"encoder {name} gave zero vectors for all of {len(texts):,} passages, which nothing would find; "
            "is it made for another language, or are its weights damaged?"
        )


def _code_range(vectors: NDArray[np.float32]) -> float:
    """The largest magnitude that the int8 codes of an index can express, from its first vectors.

    A power of two that leaves room for 8 standard deviations of a random unit vector, or for what was seen where that
    is more: the first documents of an index, whichever they are, hardly ever change it, so neither do later scores
    depend on them nor are later vectors clipped.
    """
    typical = min(1.0, 8 / sqrt(vectors.shape[1]))
    largest = max(typical, float(np.abs(vectors).max(initial=0.0)) * (1 - 1e-6))
    return float(2.0 ** ceil(log2(largest)))


def with_section(document: Document, chunks: list[Chunk]) -> list[Chunk]:
    """Rows of tables often name their section in a column of that name: it is the first heading of their chunks."""
    section = document.metadata.get("section")
    if not isinstance(section, str) or not section:
        return chunks
    return [
        c if c.headings[:1] == (section,) else c.model_copy(update={"headings": (section, *c.headings)}) for c in chunks
    ]


def sweep(folder: Path, manifest: Manifest, previous: Manifest | None) -> None:
    """Removes our files that neither this generation nor the one before names (readers may just be opening that)."""
    keep: dict[str, FileEntry] = {**(previous.files if previous else {}), **manifest.files}
    for path in [*(folder / "segments").glob("*"), *(folder / "lexical").glob("*"), *(folder / "encoder").glob("*")]:
        name = path.relative_to(folder).as_posix()
        try:
            if path.is_dir():
                if not any(kept.startswith(name + "/") for kept in keep):
                    shutil.rmtree(path, ignore_errors=True)
            elif name not in keep:
                path.unlink()
        except OSError as error:  # a file that a reader holds open on Windows: the next commit removes it
            log.debug("%s stays for now: %s", path, error)
