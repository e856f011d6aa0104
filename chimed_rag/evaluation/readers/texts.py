"""Reads open questions with reference answers: ChiMed, Huatuo-26M, cMedQA2, and a retrieval set in BEIR form.

A sample is a question with all its answers; an answer may be matched by any (`protocols.texts`). Passages that hold the
answer are the answers themselves: a system that is shown them is an upper bound, not a peer. Not covered: dialogues
(`dialogues`), and files of other encodings than UTF-8.
"""

from __future__ import annotations

import csv
import gzip
import logging
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from chimed_rag.errors import CorpusError
from chimed_rag.evaluation.samples import Card, Sample
from chimed_rag.evaluation.tasks.loading import Row, Source

_log = logging.getLogger(__name__)

_QUESTIONS = ("question", "questions", "prompt", "query")
_ANSWERS = ("answer", "answers", "answer_1", "answer_2", "output", "response")
_SUBJECTS = ("department", "label", "specialty_1", "cate1")


def pairs(source: Source, card: Card) -> Iterator[Sample]:
    """ChiMed: {"question", "answer_1", "answer_2"}. Huatuo-26M: {"questions", "answers"}, each a text or lists of texts
    (the first wording is asked); its consultations, whose answers are addresses, are no samples. Also
    {"question", "answer"}.

    With the setting `clean: chimedgpt`, what ChiMed-GPT's code does is done: rows that hold an address, a telephone or
    a date of publication go, and so does all from the asker's comment on an answer on.

    Raises:
        CorpusError: a row without a question, or without an answer.
    """
    left_out = 0
    for row in source.rows():
        question = " ".join(_texts(_first(row, _QUESTIONS, "question"))[:1])
        answers = [text for name in _ANSWERS if name in row.value for text in _texts(row.value[name])]
        if not any(name in row.value for name in _ANSWERS):
            raise CorpusError(_lacks(row, "answer", _ANSWERS), path=row.path, line=row.line)
        if card.settings.get("clean") == "chimedgpt":
            if any(_ADVERTISING.search(text) for text in (question, *answers)):
                left_out += 1
                continue
            question, answers = _cut(question), list(map(_cut, answers))
        answers = [answer for answer in answers if answer and not answer.startswith(("http://", "https://"))]
        if not question:
            raise CorpusError("the question is empty", path=row.path, line=row.line)
        if not answers:
            left_out += 1
            continue
        yield _sample(row, question, answers, source)
    if left_out:
        _log.warning(
            "%d rows of %s are no samples: they hold no usable answer, or are left out by its cleaning",
            left_out,
            card.name,
        )


def beir(source: Source, card: Card) -> Iterator[Sample]:
    """Queries, corpus and qrels in BEIR form: the references of a query are the documents judged relevant to it.

    Raises:
        CorpusError: one of the three files is missing, a field is, or a relevant document is not in the corpus.
    """
    named: dict[str, list[Row]] = {"queries": [], "corpus": [], "qrels": []}
    for row in source.rows():
        named.setdefault(Path(row.path).name.split(".")[0], []).append(row)
    for name in ("queries", "corpus", "qrels"):
        if not named[name]:
            raise CorpusError(
                f"no rows of {name}.jsonl; name the folder that holds queries, corpus and qrels with --data",
                path=str(source.paths[0].parent) if source.paths else card.name,
            )
    texts = {_field(row, "_id", "id"): _field(row, "text") for row in named["corpus"]}
    relevant: dict[str, list[str]] = {}
    for row in named["qrels"]:
        document = _field(row, "corpus-id")
        if document not in texts:
            raise CorpusError(f"document {document!r} is not in the corpus", path=row.path, line=row.line)
        if str(row.value.get("score", 1)) not in ("0", "0.0"):
            relevant.setdefault(_field(row, "query-id"), []).append(document)
    for row in named["queries"]:
        key, question = _field(row, "_id", "id"), _field(row, "text")
        if key not in relevant:
            raise CorpusError(f"query {key!r} has no answer in the qrels", path=row.path, line=row.line)
        answers = tuple(dict.fromkeys(texts[document] for document in relevant[key]))
        yield Sample(id=key, text=question, references=answers, passages=answers)


def cmedqa2(source: Source, card: Card) -> Iterator[Sample]:
    """cMedQA2: question.csv (question_id, content), answer.csv (ans_id, question_id, content) and test_candidates.txt
    (question_id, ans_id, cnt, label): the references are the candidates of label 1. Of cMedQA 1.0 (questions.csv,
    answers.csv, with pos_ans_id for candidates) the positive ones are read in the same way.

    Raises:
        CorpusError: a file or column is missing, or a candidate names what is in neither table.
    """
    files = {path.name.split(".")[0].rstrip("s"): path for path in source.paths if path.suffix in (".csv", ".txt")}
    candidates = next((path for name, path in files.items() if name.endswith("_candidate")), None)
    missing = [f"{name}.csv" for name in ("question", "answer") if name not in files]
    if missing or candidates is None:
        wanted = " and ".join([*missing, *([] if candidates else ["test_candidates.txt"])])
        raise CorpusError(
            f"{wanted} missing; unzip the official files into one folder and name it with --data",
            path=str(source.paths[0].parent) if source.paths else card.name,
        )
    questions = {_field(row, "question_id"): _field(row, "content") for row in table(files["question"])}
    answers = {_field(row, "ans_id"): _field(row, "content") for row in table(files["answer"])}
    found: dict[str, list[str]] = {}
    for row in table(candidates):
        if row.value.get("label", "1") != "1":
            continue
        question, answer = _field(row, "question_id"), _field(row, "ans_id", "pos_ans_id")
        if question not in questions or answer not in answers:
            place = f"question {question!r}" if question not in questions else f"answer {answer!r}"
            raise CorpusError(f"{place} is in no table", path=row.path, line=row.line)
        found.setdefault(question, []).append(answer)
    for question, ids in found.items():
        texts = tuple(answers[one] for one in dict.fromkeys(ids))
        yield Sample(id=question, text=questions[question], references=texts, passages=texts)


# --- what readers of texts share -------------------------------------------------------------------------------


def lines(path: Path) -> list[tuple[int, str]]:
    """The lines of a text file, plain or gzip, with their 1-based numbers; blank ones, too.

    Raises:
        CorpusError: it cannot be read, or is not UTF-8.
    """
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"not UTF-8; if it is GB18030, convert it with iconv -f GB18030 -t UTF-8 {path.name} > utf8_{path.name}",
            path=str(path),
            line=content.count(b"\n", 0, error.start) + 1,
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise CorpusError(f"cannot be read: {getattr(error, 'strerror', None) or error}", path=str(path)) from error
    return list(enumerate(text.splitlines(), 1))


def table(path: Path) -> Iterator[Row]:
    """The rows of a comma-separated file with a header.

    Raises:
        CorpusError: it cannot be read, or a row has not as many cells as the header.
    """
    cells = csv.reader((text + "\n" for _, text in lines(path)), strict=True)
    header: list[str] = []
    line = 1
    try:
        for row in cells:
            if not header:
                header = row
            elif row and len(row) != len(header):
                raise CorpusError(
                    f"{len(row)} cells under {len(header)} columns ({', '.join(header)})", path=str(path), line=line
                )
            elif row:
                yield Row(str(path), line, dict(zip(header, row, strict=True)))
            line = cells.line_num + 1
    except csv.Error as error:
        raise CorpusError(f"not a usable table: {error}", path=str(path), line=line) from error


def _sample(row: Row, question: str, answers: Sequence[str], source: Source) -> Sample:
    subject = next((str(row.value[name]) for name in _SUBJECTS if isinstance(row.value.get(name), str)), "")
    references = tuple(dict.fromkeys(answers))
    return Sample(id=sample_id(row, source), text=question, references=references, passages=references, subject=subject)


def sample_id(row: Row, source: Source) -> str:
    """The row's own id, or else its line; with the file's name where there are several."""
    own = next((row.value[name] for name in ("id", "_id", "qid") if row.value.get(name) not in (None, "")), row.line)
    return f"{Path(row.path).name.split('.')[0]}:{own}" if len(source.paths) > 1 else str(own)


def _field(row: Row, *names: str) -> str:
    value = _first(row, names, names[0])
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        raise CorpusError(f"the field {names[0]} is empty or no text", path=row.path, line=row.line)
    return str(value).strip()


def _first(row: Row, names: Sequence[str], called: str) -> Any:
    for name in names:
        if row.value.get(name) is not None:
            return row.value[name]
    raise CorpusError(_lacks(row, called, names), path=row.path, line=row.line)


def _lacks(row: Row, called: str, names: Sequence[str]) -> str:
    return f"no {called} ({' or '.join(names)}); there are: {', '.join(row.value)}"


def _texts(value: Any) -> list[str]:
    """The texts in lists of lists, however deep, without blank edges and without empty ones."""
    if isinstance(value, list):
        return [text for one in value for text in _texts(one)]
    if isinstance(value, Mapping):
        return _texts(value.get("text", ""))
    return [text] if value is not None and (text := str(value).strip()) else []


_ADVERTISING = re.compile("http:|www\\.|askhpww42013|`{16}|发表时间：|ask7kbks|电话|热线", re.IGNORECASE)
_COMMENTS = re.compile("提问者对于答案的评价|补充问题|提问人的追问|补充提问：")


def _cut(text: str) -> str:
    found = _COMMENTS.search(text)
    return text[: found.start()].strip() if found else text
