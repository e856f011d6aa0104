"""The text of a file, plain or gzip, and what is wrong with one that is not UTF-8.

Not covered: guessing an encoding and going on with it, which gives other questions without a word.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from chimed_rag.errors import CorpusError


def read_text(path: Path) -> str:
    """The text, without a byte order mark; gzip is known by its first bytes.

    Raises:
        CorpusError: the file cannot be read, or is not UTF-8; the message names the line, what the encoding seems to
            be, and the command that converts it.
    """
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise CorpusError(f"cannot be read: {getattr(error, 'strerror', None) or error}", path=str(path)) from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise CorpusError(_encoding_trouble(content, path), path=str(path), line=line) from None


def _encoding_trouble(content: bytes, path: Path) -> str:
    """Why bytes that are not UTF-8 are not, and what to do."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return f"not UTF-8; it reads as UTF-16: {_conversion('UTF-16', path)}"
    # Two bytes of GB can look like UTF-8 by chance; the three bytes of a Chinese character hardly do.
    chinese = sum(
        _is_utf8(line) and any(letter >= "\u0800" for letter in line.decode()) for line in content.split(b"\n")
    )
    if chinese:
        return f"not UTF-8, while {chinese} other lines are: mixed encodings; mend this line or take the file anew"
    if _reads_as_gb18030(content):
        return f"not UTF-8; it reads as GB18030: {_conversion('GB18030', path)}"
    return "not UTF-8, and not GB18030 either; take the file anew"


def _conversion(encoding: str, path: Path) -> str:
    inner = path.with_suffix("") if path.suffix == ".gz" else path
    read = (
        f"zcat {path} | iconv -f {encoding} -t UTF-8"
        if path.suffix == ".gz"
        else f"iconv -f {encoding} -t UTF-8 {path}"
    )
    return f"convert with {read} > {inner.stem}.utf8{inner.suffix}"


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _reads_as_gb18030(content: bytes) -> bool:
    try:
        content.decode("gb18030")
    except UnicodeDecodeError:
        return False
    return True
