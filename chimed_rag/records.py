"""What travels between rooms: frozen records with JSON both ways, and nothing that computes an answer.

Every record carries `schema_version`; `json_schemas()` exports the schemas of all of them. Offsets count Unicode
characters (code points), half-open, from 0. Other programs rely on these field names: add, never rename.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, computed_field, model_validator

SCHEMA_VERSION: Literal[1] = 1

Metadata = dict[str, JsonValue]
Verdict = Literal["supported", "unsupported", "not_checked"]
Run = tuple[int, int, int]
"""(offset in the chunk's text, offset in `Document.text`, length): a stretch where both advance together."""


class Record(BaseModel):
    """Base of all records: frozen, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = SCHEMA_VERSION


def names(title: str, metadata: Metadata) -> tuple[str, ...]:
    """What a document is called: its title and, if there is one, its `aliases` metadata (a list or one text)."""
    aliases = metadata.get("aliases") or ()
    others = aliases if isinstance(aliases, list | tuple) else (aliases,)
    return tuple(dict.fromkeys(str(name) for name in (title, *others) if name))


def content_hash(document: Document) -> str:
    """SHA-256 (hex) of what a document says (text, title, metadata, url, date, licence), not of where it was read."""
    rest = [document.title, document.metadata, document.url, document.date, document.licence]
    digest = hashlib.sha256(document.text.encode("utf-8", "surrogatepass"))
    digest.update(b"\0" + json.dumps(rest, sort_keys=True).encode())
    return digest.hexdigest()


class Document(Record):
    """One text of the literature, as decoded; `text` never changes afterwards.

    Without `id`, one is made from source and place by the loader; `content_hash` is filled in when empty.
    `pages` holds the offset in `text` at which each page begins (empty where there are no pages).
    """

    id: str = Field(min_length=1, max_length=512)
    text: str
    title: str = ""
    source: str = ""
    url: str = ""
    date: str = ""
    licence: str = ""
    metadata: Metadata = Field(default_factory=dict)
    pages: tuple[int, ...] = ()
    content_hash: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The title and the aliases; see `names`."""
        return names(self.title, self.metadata)

    @model_validator(mode="after")
    def _fill_hash(self) -> Document:
        if not self.content_hash:
            object.__setattr__(self, "content_hash", content_hash(self))
        return self


class _Located(Record):
    """A text that lies somewhere in a document; `runs` empty means `text[i]` is `Document.text[start + i]`."""

    text: str
    start: int = Field(ge=0)
    end: int = Field(ge=0)
    runs: tuple[Run, ...] = ()

    def source_spans(self, begin: int, end: int) -> list[tuple[int, int]]:
        """Where `text[begin:end]` lies in `Document.text`: one half-open span, or several where something was removed.

        Raises:
            ValueError: the slice does not lie in this text.
        """
        if not 0 <= begin <= end <= len(self.text):
            raise ValueError(f"slice {begin}:{end} does not lie in a text of {len(self.text)} characters")
        spans: list[tuple[int, int]] = []
        for offset, start, length in self.runs or ((0, self.start, len(self.text)),):
            low, high = max(begin, offset), min(end, offset + length)
            if low < high:
                spans.append((start + low - offset, start + high - offset))
        return spans


class Chunk(_Located):
    """A passage of a document, the unit that is indexed."""

    id: str
    document_id: str
    page: int | None = None
    headings: tuple[str, ...] = ()
    metadata: Metadata = Field(default_factory=dict)


class Evidence(_Located):
    """A retrieved passage, numbered from 1; `ranks` says what each retriever and the reranker gave it."""

    number: int = Field(ge=1)
    chunk_id: str
    document_id: str
    page: int | None = None
    title: str = ""
    headings: tuple[str, ...] = ()
    source: str = ""
    url: str = ""
    date: str = ""
    licence: str = ""
    metadata: Metadata = Field(default_factory=dict)
    score: float
    ranks: dict[str, RankEntry] = Field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The title and the aliases of its document; see `names`."""
        return names(self.title, self.metadata)


class RankEntry(Record):
    """What one retriever gave a passage: its 1-based rank there and its raw score."""

    rank: int = Field(ge=1)
    score: float


class Citation(Record):
    """The place that supports a sentence; `document.text[start:end] == quote` holds, always."""

    number: int = Field(ge=1)
    document_id: str
    chunk_id: str
    title: str = ""
    headings: tuple[str, ...] = ()
    quote: str
    start: int
    end: int
    page: int | None = None
    source: str = ""
    url: str = ""
    date: str = ""
    licence: str = ""


class Check(Record):
    """One step of the proof of a sentence."""

    name: str
    verdict: Literal["passed", "failed", "not_applicable"]
    detail: str = ""


class Sentence(Record):
    """A sentence of an answer with the places that support it."""

    text: str
    citations: tuple[Citation, ...] = ()
    verdict: Verdict = "not_checked"
    checks: tuple[Check, ...] = ()


class DraftCitation(Record):
    """A passage that a draft names: evidence number and, if known, the slice of `Evidence.text` it quotes."""

    number: int
    begin: int | None = None
    end: int | None = None


class DraftSentence(Record):
    """A sentence as a generator wrote it, before anyone checked it."""

    text: str
    citations: tuple[DraftCitation, ...] = ()


class Draft(Record):
    """What a generator makes of the evidence; becomes an answer only through `safety`.

    `finish` says why writing ended: "stop" is its own end, all else means that more would have come.
    """

    generator: str
    sentences: tuple[DraftSentence, ...] = ()
    finish: Literal["stop", "length", "time", "cancelled"] = "stop"


class Notice(Record):
    """Something the reader must know: kind (`emergency`, `disclaimer`, `starter`, ...), text, and its rule."""

    kind: str
    text: str
    rule: str = ""


class Abstention(Record):
    """Why no answer is given; a normal outcome, not an exception."""

    reason: Literal["no_evidence", "weak_evidence", "conflicting_evidence", "out_of_scope", "emergency"]
    text: str


class TraceEntry(Record):
    """One step from question to answer: what went in and out, how long it took, which versions."""

    step: str
    milliseconds: float = 0.0
    detail: dict[str, JsonValue] = Field(default_factory=dict)


class Reading(Record):
    """The question in other words: what the step `step` of the rewriting made of the reading before it."""

    step: str
    text: str


class Query(Record):
    """A question as the retrievers get it; `changes` records what the rewriting did, in order.

    `text` holds the reader's own words. `readings` are the question in other words, each built on the one before;
    what they add is searched as well, with less weight.
    """

    original: str
    text: str
    changes: tuple[str, ...] = ()
    readings: tuple[Reading, ...] = ()


class Label(Record):
    """That a text was made by a machine: `text` for readers, the rest for programs that pass it on.

    The Measures for Labelling AI-Generated and Synthetic Content (人工智能生成合成内容标识办法, in force since
    2025-09-01) ask for both; GB 45438-2025 names the fields of `aigc`. Whoever offers the answers to the public is the
    provider there, and puts a registered name or code in place of `producer`.
    """

    text: str
    producer: str
    content_id: str
    standard: str = "GB 45438-2025"

    def aigc(self) -> dict[str, dict[str, str]]:
        """The implicit label under the names of the standard; "1" says that the content is generated."""
        own = {"Label": "1", "ContentProducer": self.producer, "ProduceID": self.content_id, "ReservedCode1": ""}
        return {"AIGC": {**own, "ContentPropagator": "", "PropagateID": "", "ReservedCode2": ""}}


_LABELS = {"extractive": "本内容由人工智能生成：句子由程序从所选文献中自动摘录，未经人工审核。"}
_LABEL = "本内容由人工智能生成，未经人工审核。"
PRODUCER = "chimed_rag"


class Answer(Record):
    """An answer one may show: sentences with citations, the evidence, notices, and how it came about."""

    question: str
    text: str
    sentences: tuple[Sentence, ...] = ()
    citations: tuple[Citation, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    abstention: Abstention | None = None
    notices: tuple[Notice, ...] = ()
    generator: str = ""
    trace: tuple[TraceEntry, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _without_label(cls, data: Any) -> Any:
        # The label is made of the answer, always: it is written into JSON and made anew when JSON is read.
        return {key: value for key, value in data.items() if key != "label"} if isinstance(data, dict) else data

    @computed_field  # type: ignore[prop-decorator]
    @property
    def label(self) -> Label:
        """The label of generated content, made of this very answer, so that it is never missing and never another's."""
        digest = hashlib.sha256(self.text.encode("utf-8", "surrogatepass")).hexdigest()
        producer = f"{PRODUCER}/{self.generator}" if self.generator else PRODUCER
        text = _LABELS.get(self.generator, _LABEL) if self.sentences else _LABEL
        return Label(text=text, producer=producer, content_id=f"sha256:{digest}")

    def __repr__(self) -> str:
        state = f"abstention={self.abstention.reason!r}" if self.abstention else f"{len(self.citations)} citations"
        return f"Answer({self.text!r}, {state}, notices={[notice.kind for notice in self.notices]})"

    def __str__(self) -> str:
        from chimed_rag.rendering import answer_text

        return answer_text(self)

    def _repr_html_(self) -> str:
        from chimed_rag.rendering import answer_html

        return answer_html(self)

    def to_markdown(self) -> str:
        """The answer as Markdown: notices, sentences with numbered citations, the quotes they rest on."""
        from chimed_rag.rendering import answer_markdown

        return answer_markdown(self)


class EvidenceEvent(Record):
    """The passages were found; sentences follow unless the answer is refused."""

    kind: Literal["evidence"] = "evidence"
    evidence: tuple[Evidence, ...]


class SentenceEvent(Record):
    """A sentence is through: proved, or flagged with its verdict where the configuration shows such sentences."""

    kind: Literal["sentence"] = "sentence"
    sentence: Sentence


class NoticeEvent(Record):
    """Something the reader must know. One of kind `extractive` withdraws the sentences before it: others follow."""

    kind: Literal["notice"] = "notice"
    notice: Notice


class DoneEvent(Record):
    """The end: the whole answer, which is what `ask` would have given."""

    kind: Literal["done"] = "done"
    answer: Answer


Event = EvidenceEvent | SentenceEvent | NoticeEvent | DoneEvent
"""What `MedQA.stream` gives, told apart by `kind`."""


class ExplainedEvidence(Record):
    """Why a passage was found: the question's terms that it holds, with their idf; `evidence.ranks` has the rest."""

    evidence: Evidence
    matched: dict[str, float] = Field(default_factory=dict)


class Explanation(Record):
    """What a search did with a query: its terms with their idf, those that no passage holds, and why each came."""

    query: Query
    terms: dict[str, float]
    absent: tuple[str, ...] = ()
    evidence: tuple[ExplainedEvidence, ...] = ()


Evidence.model_rebuild()

RECORDS: tuple[type[Record], ...] = (
    Document,
    Chunk,
    Evidence,
    Citation,
    Sentence,
    Notice,
    Label,
    Answer,
    Explanation,
    EvidenceEvent,
    SentenceEvent,
    NoticeEvent,
    DoneEvent,
)


def json_schemas() -> dict[str, Any]:
    """JSON Schema of each record that other programs read, by name."""
    return {record.__name__: record.model_json_schema(mode="serialization") for record in RECORDS}
