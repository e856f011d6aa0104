"""Reads questions with options in the official forms of seven sets; each function makes samples of a source.

    ceval    C-Eval: a CSV a subject, `id,question,A,B,C,D,answer[,explanation]`
    cmmlu    CMMLU: a CSV a subject, `,Question,A,B,C,D,Answer`; or rows `{subject, split, question, options, answer}`
    medqa    MedQA: rows `{question, options, answer, answer_idx}`
    cmexam   CMExam: `Question,Options,Answer,Explanation`, the options in one text, a line each
    cmb      CMB: `{exam_type, exam_class, exam_subject, question_type, question, option, answer}`, a JSON array; the
             answers of its test lie in a file of their own, joined by `id`
    cmle     national licensing examinations with stored replies: `{year, unit, type, no, question, options, answer,
             is_valid, model_predictions}`

What a card may set: `subjects` (names, or names to Chinese names: those alone are read, and none may be missing),
`split` (rows of another are left out: development rows are no samples), `options` (how many a question must have),
`skip_unanswered` (a row without an answer is left out and counted in a note, else it is an error), `lost_options` (an
answer whose option the file lacks stays a question and counts, else it is an error).

Not covered: examples shown before a question (all protocols ask without), and pictures.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pydantic import JsonValue

from chimed_rag.evaluation.readers.options import (
    Unanswered,
    answer_of,
    fault,
    identifier,
    options_in_lines,
    options_of,
    rest_of,
    samples,
    subjects,
    text_of,
    told,
)
from chimed_rag.evaluation.samples import Card, Sample
from chimed_rag.evaluation.tasks.loading import Row, Source

_SUFFIX = re.compile(r"(?:[_-](?:val|dev|test))?\.(?:csv|tsv|jsonl?)(?:\.gz)?\Z", re.IGNORECASE)


def ceval(source: Source, card: Card) -> Iterator[Sample]:
    """Samples of C-Eval; `id` is the subject and the row's id.

    Raises:
        CorpusError: see the module; names file and line. DuplicateError: one id twice.
    """
    return samples(source, card, lambda row: _of_subject(row, card, "ceval", row.value.get("id")))


def cmmlu(source: Source, card: Card) -> Iterator[Sample]:
    """Samples of CMMLU; `id` is the subject and the number in the official files, or the line.

    Raises:
        CorpusError: see the module; names file and line. DuplicateError: one id twice.
    """
    return samples(source, card, lambda row: _of_subject(row, card, "cmmlu", row.value.get("")))


def medqa(source: Source, card: Card) -> Iterator[Sample]:
    """Samples of MedQA; `id` is the line, for the set has none and repeats some questions.

    Raises:
        CorpusError: see the module; besides, an answer's text that is not that of its letter.
    """

    def made(row: Row) -> Sample:
        options = options_of(row, "options")
        letters, text = answer_of(row, "answer_idx", options, card), row.value.get("answer")
        if isinstance(text, str) and len(letters) == 1 and options.get(letters, text).strip() != text.strip():
            raise fault(row, f"the answer is {letters}, but the text of the answer is that of another option")
        return Sample(
            id=identifier(row),
            text=text_of(row, "question"),
            options=options,
            answer=letters,
            metadata={"set": "medqa", **rest_of(row, "question", "options", "answer", "answer_idx")},
        )

    return samples(source, card, made)


def cmexam(source: Source, card: Card) -> Iterator[Sample]:
    """Samples of CMExam; `id` is the line, passages are the explanation.

    All questions are asked as if several letters could be right: the set does not tell which ones have several, and to
    ask otherwise only where the answer has one letter would give that away.

    Raises:
        CorpusError: see the module; besides, options that do not begin with letters.
    """

    def made(row: Row) -> Sample:
        options = options_in_lines(row, "Options")
        return Sample(
            id=identifier(row),
            text=text_of(row, "Question"),
            options=options,
            multiple=True,
            answer=answer_of(row, "Answer", options, card),
            passages=told(row.value.get("Explanation")),
            metadata={"set": "cmexam", **rest_of(row, "Question", "Options", "Answer", "Explanation")},
        )

    return samples(source, card, made)


def cmb(source: Source, card: Card) -> Iterator[Sample]:
    """Samples of CMB-Exam; `subject` is the class of examination, `metadata` has its category and type of question.

    Raises:
        CorpusError: see the module; besides, a question whose answer is in none of the files.
    """
    rows = list(source.rows())
    answers = {str(row.value["id"]): row for row in rows if row.value.get("answer") and "id" in row.value}
    asked = {str(row.value["id"]) for row in rows if "answer" not in row.value and "id" in row.value}

    def made(row: Row) -> Sample | None:
        value, answered, key = row.value, row, str(row.value.get("id"))
        if "answer" not in value and "id" in value:
            if key not in answers:
                raise fault(
                    row,
                    f"the answer of question {key} is in no file; the answers to the test lie in "
                    "CMB-test-choice-answer.json: name a folder that holds both files",
                )
            answered = answers[key]
        elif key in asked:
            return None  # a row of the file of answers
        options = {letter: text for letter, text in options_of(row, "option").items() if text.strip()}
        kind = text_of(row, "question_type")
        return Sample(
            id=identifier(row),
            text=text_of(row, "question"),
            options=options,
            multiple=kind == "多项选择题",
            subject=text_of(row, "exam_class"),
            answer=answer_of(answered, "answer", options, card),
            passages=told(value.get("explanation")),
            metadata={"set": "cmb", **rest_of(row, "id", "question", "option", "answer", "explanation"), "type": kind},
        )

    return samples(source, card, made, rows)


def cmle(source: Source, card: Card) -> Iterator[Sample]:
    """Samples of the licensing examinations; `id` is year, unit and number, `metadata` keeps the models' replies.

    Raises:
        CorpusError: see the module; a row that is marked as not valid is one without an answer.
    """

    def made(row: Row) -> Sample:
        value = row.value
        if str(value.get("is_valid", "1")).strip() not in ("1", "True", "true"):
            raise Unanswered
        options = options_of(row, "options")
        return Sample(
            id="-".join(text_of(row, key) for key in ("year", "unit", "no")),
            text=text_of(row, "question"),
            options=options,
            answer=answer_of(row, "answer", options, card),
            metadata={
                "set": "cmle",
                "letters": "ABCDE",  # of the examination, where the file lacks some options
                **rest_of(row, "question", "options", "options_raw", "answer", "is_valid"),
            },
        )

    return samples(source, card, made)


def _of_subject(row: Row, card: Card, name: str, number: JsonValue) -> Sample | None:
    """A question of C-Eval or CMMLU, whose columns differ in their case alone."""
    value = {key.lower(): one for key, one in row.value.items()}
    split = card.settings.get("split")
    if split and "split" in value and value["split"] != split:
        return None
    named = value.get("subject")
    subject = named if isinstance(named, str) and named else _SUFFIX.sub("", Path(row.path).name)
    chinese = subjects(card)
    if chinese and subject not in chinese:
        return None
    row = Row(row.path, row.line, value)
    options = options_of(row, "options") if "options" in value else {key.upper(): text_of(row, key) for key in "abcd"}
    return Sample(
        id=f"{subject}-{row.line if number in (None, '') else number}",
        text=text_of(row, "question"),
        options=options,
        subject=subject,
        answer=answer_of(row, "answer", options, card),
        passages=told(value.get("explanation")),
        metadata={"set": name, "subject_zh": chinese.get(subject, "")},
    )
