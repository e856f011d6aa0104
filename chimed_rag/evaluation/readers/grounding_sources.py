"""Where questions with known passages come from: a folder in BEIR form, or questions to the starter literature.

Not covered: what is made of them (`readers.grounding`).
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from chimed_rag.errors import CorpusError, DuplicateError
from chimed_rag.evaluation.tasks.loading import Row
from chimed_rag.safety.quoting import squeezed


@dataclass(frozen=True)
class Passage:
    """A passage, and the title of its document ("" for none)."""

    id: str
    document: str
    title: str
    text: str

    @property
    def shown(self) -> str:
        """As systems are shown it: the title, if there is one, on a line before the text."""
        return f"{self.title}\n{self.text}" if self.title else self.text


@dataclass
class Question:
    """A question with the ids of its documents and right answers; no answers where the literature has none."""

    id: str
    text: str
    documents: tuple[str, ...]
    references: tuple[str, ...]
    gold: list[Passage] = field(default_factory=list)
    row: Row | None = None


def of_beir(rows: Sequence[Row]) -> tuple[list[Question], list[Passage]]:
    """A folder of queries, corpus and qrels, told apart by their files' names; the documents are the passages."""
    questions: dict[str, Question] = {}
    passages: dict[str, Passage] = {}
    judged: list[Row] = []
    for row in rows:
        name = Path(row.path).name
        if name.startswith("qrels") or "query-id" in row.value:
            judged.append(row)
        elif name.startswith("queries"):
            key = _text(row, "_id")
            _once(questions, key, row)
            questions[key] = Question(key, _text(row, "text"), (), (), row=row)
        else:
            key, title = _text(row, "_id"), str(row.value.get("title") or "")
            _once(passages, key, row)
            passages[key] = Passage(key, key, title, _text(row, "text"))
    for row in judged:
        score = row.value.get("score")
        key, document = _text(row, "query-id"), _text(row, "corpus-id")
        if key in questions and isinstance(score, int | float) and score > 0:
            if document not in passages:
                raise CorpusError(f"document {document!r} is not in the corpus", path=row.path, line=row.line)
            one = questions[key]
            one.gold.append(passages[document])
            one.documents += (document,)
            one.references += (passages[document].text,)
    asked = [one for one in questions.values() if one.gold]
    if not asked:
        raise CorpusError(
            "no question has a passage; looked for queries, corpus and qrels in one folder", path=_folder(rows)
        )
    return asked, list(passages.values())


def of_starter(rows: Sequence[Row]) -> tuple[list[Question], list[Passage]]:
    """Questions to the starter literature; a passage is gold if it holds a right sentence of an entry named."""
    from chimed_rag.evaluation.exam.postings import passages_of
    from chimed_rag.indexing.index import Index
    from chimed_rag.literature import STARTER_INDEX

    index = Index.open(STARTER_INDEX)
    try:
        passages = [
            Passage(f"{n:06d}", document, title, text)
            for n, (document, title, _, text) in enumerate(passages_of(index))
        ]
    finally:
        index.close()
    by_document: dict[str, list[Passage]] = {}
    for one in passages:
        by_document.setdefault(one.document.removesuffix(".md"), []).append(one)
    questions = []
    for n, row in enumerate(rows, 1):
        entries, right = _texts(row, "entries"), _texts(row, "sentences")
        question = Question(f"q{n}", _text(row, "question"), tuple(f"{one}.md" for one in entries), right, row=row)
        sought = [squeezed(one) for one in right]
        for entry in entries:
            question.gold += [
                one for one in by_document.get(entry, ()) if any(part in squeezed(one.text) for part in sought)
            ]
        if right and not question.gold:
            raise CorpusError("no passage of the entries named holds a right sentence", path=row.path, line=row.line)
        questions.append(question)
    if not questions:
        raise CorpusError("holds no question")
    return questions, passages


def _text(row: Row, name: str) -> str:
    value = row.value.get(name)
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        raise CorpusError(f"a row without {name!r}", path=row.path, line=row.line)
    return str(value)


def _texts(row: Row, name: str) -> tuple[str, ...]:
    value = row.value.get(name)
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise CorpusError(f"{name!r} must be a list of texts", path=row.path, line=row.line)
    return tuple(map(str, value))


def _once(known: Container[str], key: str, row: Row) -> None:
    if key in known:
        raise DuplicateError(f"{key!r} came before", path=row.path, line=row.line)


def _folder(rows: Sequence[Row]) -> str:
    return str(Path(rows[0].path).parent) if rows else ""
