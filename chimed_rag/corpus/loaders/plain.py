"""Plain text and Markdown, one document a file; Markdown may open with a YAML front matter.

Not covered: the structure of Markdown, which stays in the text as it is and is read by the chunker.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from chimed_rag.corpus.loaders.base import SourceFile
from chimed_rag.corpus.loaders.rows import row_document
from chimed_rag.records import Document

_FRONT = re.compile(r"\A\s*?---[ \t]*\n(.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_FIRST_HEADING = re.compile(r"^#[ \t]+(.+?)[ \t#]*$", re.MULTILINE)


def load_text(file: SourceFile) -> Iterator[Document]:
    """One document with the whole text of the file; its title is the name of the file.

    Raises:
        CorpusError: the file cannot be read or decoded, or is empty.
    """
    yield file.document(file.read_text(), title=file.stem)


def load_markdown(file: SourceFile) -> Iterator[Document]:
    """One document with the text after the front matter.

    The front matter gives title, date, url, licence, id and metadata; the title is otherwise the first `#` heading,
    otherwise the name of the file.

    Raises:
        CorpusError: the file cannot be read or decoded, is empty, or its front matter is not valid YAML.
    """
    text = file.read_text()
    front, body = _split(text, file)
    if not body.strip():
        raise file.error("is empty: there is no text after its front matter; remove it or leave it out")
    heading = _FIRST_HEADING.search(body)
    fallback = heading.group(1) if heading else file.stem
    row: dict[str, Any] = {str(key): value for key, value in front.items()}
    fields = file.options.fields
    # The body is the text whatever the columns of the tables beside it are called.
    taken = replace(file, options=replace(file.options, fields=fields.model_copy(update={"text": "\0body"})))
    document = row_document({**row, "\0body": body, fields.title: row.get(fields.title) or fallback}, taken)
    if document is not None:
        yield document


def _split(text: str, file: SourceFile) -> tuple[Mapping[Any, Any], str]:
    """Front matter and body. A text between two rules that is no mapping is no front matter but text."""
    match = _FRONT.match(text)
    if match is None:
        return {}, text
    import yaml

    try:
        front = yaml.safe_load(match.group(1))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        first = text.count("\n", 0, match.start(1)) + 1
        reason = getattr(error, "problem", None) or str(error)
        message = f"its front matter is not valid YAML: {reason}; quote values that hold a colon"
        raise file.error(message, first + (mark.line if mark else 0)) from None
    except (ValueError, RecursionError) as error:  # 2023-02-31, or brackets without end
        raise file.error(f"its front matter cannot be read: {error}", 1) from None
    if front is None:
        return {}, text[match.end() :]
    return (front, text[match.end() :]) if isinstance(front, dict) else ({}, text)
