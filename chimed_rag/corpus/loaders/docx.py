"""Word files (.docx): paragraphs and tables in document order, headings as `#` lines, table rows as "a | b".

Not covered: page headers, footnotes, text boxes, automatic list numbers; the old .doc format.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from typing import Any

from chimed_rag.corpus.loaders.base import SourceFile
from chimed_rag.corpus.loaders.html import superscript
from chimed_rag.errors import CorpusError, MissingExtraError
from chimed_rag.records import Document

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_HEADING = re.compile(r"(?:heading|标题)\s*([1-9])", re.IGNORECASE)
_UNPACKED = 2**30  # bytes; more than that in one file is no text but an attack


def load_docx(file: SourceFile) -> Iterator[Document]:
    """One document with the text of the file; its title is the one in its properties, else the first heading.

    Raises:
        CorpusError: the file is damaged, protected by a password, or has no text.
        MissingExtraError: python-docx is not installed.
    """
    try:
        import docx
    except ImportError:
        raise MissingExtraError("python-docx", "documents") from None
    data = file.read()
    if data.startswith(b"\xd0\xcf\x11\xe0"):
        raise file.error("is protected by a password, or an old .doc file; save it from Word as an open .docx")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(info.file_size for info in archive.infolist()) > _UNPACKED:
                raise file.too_long()
        document = docx.Document(io.BytesIO(data))
        levels = _heading_levels(document)
        lines = list(_blocks(document.element.body, levels))
        title = (document.core_properties.title or "").strip()
    except CorpusError:
        raise
    except Exception as error:  # a damaged archive, a missing part, broken XML: each library has its own
        raise file.error(f"is damaged or no .docx file ({type(error).__name__}: {error}); save it again") from None
    text = "\n".join(line for line in lines if line.strip())
    if not text:
        raise file.error("holds no text; if its pages are pictures, recognise the text first")
    if len(text) > file.options.max_characters:
        raise file.too_long()
    first = next((line.lstrip("# ") for line in lines if line.startswith("#")), "")
    yield file.document(text, title=title or first or file.stem)


def _heading_levels(document: Any) -> dict[str, int]:
    """Style id to heading level, 1 to 6; a style may be based on a heading."""
    levels: dict[str, int] = {}
    for style in document.styles:
        base, steps = style, 0
        while base is not None and steps < 10:
            name = base.name or ""
            match = _HEADING.match(name)
            if match or name.lower() in ("title", "标题"):
                levels[style.style_id] = min(int(match.group(1)), 6) if match else 1
                break
            base, steps = getattr(base, "base_style", None), steps + 1
    return levels


def _blocks(parent: Any, levels: dict[str, int]) -> Iterator[str]:
    """The lines under a node; content controls and the like are passed through."""
    for child in parent:
        if child.tag == f"{_W}p":
            text = _paragraph(child)
            style = child.find(f"{_W}pPr/{_W}pStyle")
            level = levels.get(style.get(f"{_W}val"), 0) if style is not None else 0
            yield f"{'#' * level} {' '.join(text.split())}" if level and text.strip() else text
        elif child.tag == f"{_W}tbl":
            for row in child.iter(f"{_W}tr"):
                if next(row.iterancestors(f"{_W}tbl")) is child:
                    yield " | ".join(_cell(cell) for cell in row.iter(f"{_W}tc") if _row_of(cell) is row).rstrip(" |")
        elif child.tag in (f"{_W}sdt", f"{_W}sdtContent", f"{_W}ins", f"{_W}customXml", f"{_W}smartTag"):
            yield from _blocks(child, levels)


def _row_of(cell: Any) -> Any:
    return next(cell.iterancestors(f"{_W}tr"))


def _cell(cell: Any) -> str:
    """A cell on one line, tables within it included."""
    parts = (" ".join(_paragraph(paragraph).split()) for paragraph in cell.iter(f"{_W}p"))
    return " ".join(filter(None, parts))


def _paragraph(paragraph: Any) -> str:
    """The text of a paragraph as it reads with all changes accepted; deleted text has a tag of its own."""
    parts: list[str] = []
    for node in paragraph.iter(f"{_W}t", f"{_W}tab", f"{_W}br", f"{_W}cr", f"{_W}noBreakHyphen"):
        run = node.getparent()
        if run.tag != f"{_W}r" or next(node.iterancestors(f"{_W}p")) is not paragraph:
            continue  # a tab stop of the style, or a text box in the paragraph
        if node.tag == f"{_W}t":
            raised = run.find(f"{_W}rPr/{_W}vertAlign")
            text = node.text or ""
            up = raised is not None and raised.get(f"{_W}val") == "superscript"
            parts.append(superscript(text) if up else text)
        elif node.tag == f"{_W}noBreakHyphen":
            parts.append("-")
        else:
            parts.append("\t" if node.tag == f"{_W}tab" else "\n")
    return "".join(parts)
