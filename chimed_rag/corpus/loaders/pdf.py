"""PDF files: the text of each page, and where each page begins.

Not covered: scanned pages, which are refused with advice; layout of tables and columns; page headers (`cleaner`).
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from chimed_rag.corpus.loaders.base import SourceFile
from chimed_rag.corpus.loaders.encoding import PLAUSIBLE
from chimed_rag.corpus.loaders.frequent import plausibility
from chimed_rag.errors import CorpusError, MissingExtraError
from chimed_rag.records import Document

# What glyph numbers look like when they are read as characters: control characters, rare letters and Han, Hangul.
_SUSPECT = re.compile("[\\x00-\\x08\\x0e-\\x1f\\x80-\\x9f\u0100-\u02ff\u0530-\u1dff\u3400-\u9fff\ua000-\uf8ff\ufffd]")
_JUNK_TITLE = re.compile(
    r"microsoft|untitled|无标题|未命名|\.(?:docx?|wps|indd|pdf|qxd)\b|[\ufffd\x00-\x1f\x80-\x9f]", re.I
)
_FORMS_DEEP = 3  # pictures may lie in forms within forms


def load_pdf(file: SourceFile) -> Iterator[Document]:
    """One document with the text of all pages, joined by line ends; `pages` says where each begins.

    Raises:
        CorpusError: the file is damaged, protected by a password, has scanned pages (unless `skip_scanned`), has no
            text, or its fonts do not say which characters they draw.
        MissingExtraError: pypdf (or cryptography, for an encrypted file) is not installed.
    """
    try:
        from pypdf import PdfReader
        from pypdf.errors import DependencyError
    except ImportError:
        raise MissingExtraError("pypdf", "documents") from None
    data = file.read()
    with _quiet():
        try:
            reader = PdfReader(io.BytesIO(data))
            # Many files are encrypted with an empty password, only to forbid printing.
            if reader.is_encrypted and not reader.decrypt(""):
                raise file.error(
                    "is protected by a password; remove it with: qpdf --password=… --decrypt IN.pdf OUT.pdf"
                )
            pages, scanned = _pages(reader, file)
            title = _title(reader) or file.stem
        except CorpusError:
            raise
        except DependencyError:
            raise MissingExtraError("cryptography", "documents") from None
        except Exception as error:  # a damaged PDF fails in as many ways as there are bytes
            reason = f"{type(error).__name__}: {error}"
            raise file.error(f"is damaged or no PDF ({reason}); try: qpdf IN.pdf OUT.pdf") from None
    if scanned and not file.options.skip_scanned:
        raise file.error(
            f"scanned, with a picture and no text: {_numbers(scanned)} of {len(pages)}; recognise the text first: "
            "ocrmypdf -l chi_sim IN.pdf OUT.pdf; or leave such pages out with skip_scanned=True"
        )
    file.tally.skipped.update({"scanned page": len(scanned)} if scanned else {})
    text = "\n".join(pages)
    if not text.strip():
        raise file.error("holds no text; if its pages are drawings, recognise them: ocrmypdf --force-ocr -l chi_sim …")
    if _is_nonsense(text):
        raise file.error(
            "its text comes out as nonsense, because its fonts do not say which characters they draw; recognise it: "
            "ocrmypdf --force-ocr -l chi_sim IN.pdf OUT.pdf"
        )
    starts = [0]
    for page in pages[:-1]:
        starts.append(starts[-1] + len(page) + 1)
    yield file.document(text, title=title, pages=tuple(starts))


def _pages(reader: Any, file: SourceFile) -> tuple[list[str], list[int]]:
    """The texts of the pages and the numbers of the scanned ones."""
    pages: list[str] = []
    scanned: list[int] = []
    length = 0
    for number, page in enumerate(reader.pages, start=1):
        # Halves of surrogate pairs come from broken character maps.
        text = page.extract_text().encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
        if not text.strip() and _has_picture(page.get("/Resources"), _FORMS_DEEP):
            scanned.append(number)
        length += len(text) + 1
        if length > file.options.max_characters:
            raise file.too_long()
        pages.append(text)
    return pages, scanned


def _is_nonsense(text: str) -> bool:
    suspects = re.sub("[\\x00-\\x1f]", "\ufffd", "".join(_SUSPECT.findall(text)))
    return len(suspects) >= max(20, len(text) // 5) and plausibility(suspects) < PLAUSIBLE


def _has_picture(resources: Any, depth: int) -> bool:
    """Whether a page shows pictures, told from its resources, without decoding any."""
    if resources is None or depth == 0:
        return False
    for reference in (resources.get_object().get("/XObject") or {}).values():
        item = reference.get_object()
        if item.get("/Subtype") == "/Image":
            return True
        if item.get("/Subtype") == "/Form" and _has_picture(item.get("/Resources"), depth - 1):
            return True
    return False


def _title(reader: Any) -> str:
    """The title that the file claims, unless a program put it there."""
    title = str((reader.metadata.title if reader.metadata else "") or "").strip()
    return "" if _JUNK_TITLE.search(title) or plausibility(title) < PLAUSIBLE else title


def _numbers(pages: list[int]) -> str:
    shown = ", ".join(map(str, pages[:10])) + (f", … ({len(pages)} pages)" if len(pages) > 10 else "")
    return f"page{'s' if len(pages) > 1 else ''} {shown}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences pypdf's remarks on oddities that it copes with."""
    log = logging.getLogger("pypdf")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        log.setLevel(level)
