"""Bytes become text: BOMs, UTF-8, UTF-16, GB18030 (GBK) and Big5, decoded strictly and never into mojibake.

Not covered: other encodings, which are refused unless the caller names them; meaning of the text (`cleaner`).
"""

from __future__ import annotations

import codecs
import re
from typing import NamedTuple

from chimed_rag.corpus.loaders.frequent import FREQUENT, plausibility, weigh
from chimed_rag.errors import CorpusError, InputError

PLAUSIBLE = 0.4
"""Mean character weight from which a decoding counts as Chinese: real text has about 0.85, mojibake 0.1."""

_LEAD = 1.0  # by how much (sum of weights) one reading must beat the other
_BLOCK = 4096  # characters judged together when a whole text is checked
_BLOCK_PLAUSIBLE = 0.25
_SAMPLE = 1 << 20  # bytes that decide between the legacy encodings

_BOMS = (
    # UTF-32 first: its little-endian mark begins with that of UTF-16.
    (codecs.BOM_UTF32_LE, "utf-32-le", "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be", "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8", "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16-le", "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be", "utf-16-be"),
    (b"\x84\x31\x95\x33", "gb18030", "gb18030"),
)
_MAGIC = (
    (b"\x89PNG\r\n", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"%PDF-", "a PDF; name it .pdf"),
    (b"PK\x03\x04", "a ZIP archive (or a .docx or .xlsx with another name)"),
    (b"\x1f\x8b\x08", "a gzip file; let its name end in .gz"),
    (b"\x7fELF", "a program"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office file; save it as .docx"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
)
_BIG5 = ("big5", "cp950", "big5hkscs")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x19\x1c-\x1f]")
_WIDE = re.compile("[\u0800-\ufffc\U00010000-\U0010ffff]")
# Letters that do stand beside Chinese text: Western European ones, those of pinyin, Greek and Russian.
_USUAL_LETTER = re.compile("[\xa0-\xff\u0100-\u0131\u014c-\u0153\u01cd-\u01dc\u0391-\u03a9\u03b1-\u03c9\u0410-\u044f]")
_SHORT_RUN = re.compile("[\x80-\u07ff]+")


class Decoded(NamedTuple):
    """A text, the encoding it was in, and how that is known: given, bom, utf-8, declared or detected."""

    text: str
    encoding: str
    how: str


class Detected(NamedTuple):
    """What decodes some bytes: the codec, the name to report, how it is known, and the length of the BOM."""

    codec: str
    encoding: str
    how: str
    bom: int = 0


def decode(data: bytes, name: str, *, encoding: str | None = None, declared: str | None = None) -> Decoded:
    """The text in some bytes, with line ends as "\\n".

    Args:
        data: the whole file.
        name: the file, as errors should call it.
        encoding: the encoding, when the caller knows it; nothing is detected then.
        declared: what the file itself claims (an HTML `charset`); believed when the bytes are not UTF-8.

    Raises:
        CorpusError: the bytes are no text, are damaged, or their encoding cannot be told with confidence.
        InputError: `encoding` is not the name of a text encoding.
    """
    found = detect(data, name, encoding=encoding, declared=declared)
    body = data[found.bom :] if found.bom else data
    try:
        text = body.decode(found.codec)
    except UnicodeDecodeError as error:
        raise undecodable(data, name, found, error.start + found.bom) from None
    _refuse_binary(text, name)
    if found.how == "detected":
        check_blocks(text, name, found.encoding)
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return Decoded(text, found.encoding, found.how)


def detect(
    data: bytes, name: str, *, complete: bool = True, encoding: str | None = None, declared: str | None = None
) -> Detected:
    """The encoding of some bytes; `complete=False` says that they are only the beginning of the file.

    Raises:
        CorpusError: as `decode`.
        InputError: as `decode`.
    """
    if encoding is not None:
        return _given(encoding, data)
    for mark, codec, label in _BOMS:
        if data.startswith(mark):
            return Detected(codec, label, "bom", len(mark))
    for magic, what in _MAGIC:
        if data.startswith(magic):
            raise CorpusError(f"is not text but {what}", path=name)
    if b"\0" in data:
        return _wide(data, name, complete)
    text = _try("utf-8", data, complete)
    if text is not None and not _is_short_gbk(data, text):
        _refuse_binary(text, name)
        return Detected("utf-8", "utf-8", "utf-8")
    if declared is not None and (found := _declared(declared, data, complete)):
        return found
    return _legacy(data, name, complete)


def check_blocks(text: str, name: str, encoding: str, line: int = 1) -> None:
    """Refuses a detected text of which some stretch is mojibake, as when files of two encodings were joined.

    Raises:
        CorpusError: naming the line near which the text stops making sense.
    """
    for start in range(0, len(text), _BLOCK):
        block = text[start : start + _BLOCK]
        total, judged = weigh(block)
        if judged >= 20 and total < _BLOCK_PLAUSIBLE * judged:
            line += text.count("\n", 0, start)
            message = f"read as {encoding}, as the file begins, the text makes no sense from here on; {_advice(name)}"
            raise CorpusError(message, path=name, line=line)


def undecodable(data: bytes, name: str, found: Detected, offset: int, line: int | None = None) -> CorpusError:
    """The error for bytes that are not valid in their encoding from `offset` on."""
    where = f"byte {offset}" if line is None else f"byte {offset} of this line"
    if line is None:
        line = data.count(b"\n", 0, offset) + 1
    if offset >= len(data) - 3 and found.how != "given":
        message = f"ends in the middle of a character ({where}, {found.encoding}); the file seems cut off, get it again"
    else:
        message = f"{where} is not valid {found.encoding}; {_advice(name)}"
    return CorpusError(message, path=name, line=line)


def _advice(name: str, encoding: str = "GB18030") -> str:
    return (
        f"name the encoding (encoding={encoding.lower()!r}) or convert the file: "
        f"iconv -f {encoding.upper()} -t UTF-8 '{name}' > converted"
    )


def _given(encoding: str, data: bytes) -> Detected:
    try:
        codec = codecs.lookup(encoding).name
        b"a".decode(codec, "replace")  # refuses codecs such as hex, which do not make text
    except LookupError:
        message = f"{encoding!r} is not a text encoding; try 'utf-8', 'gb18030', 'big5' or 'utf-16'"
        raise InputError(message) from None
    mark = codecs.BOM_UTF8 if codec == "utf-8" and data.startswith(codecs.BOM_UTF8) else b""
    return Detected(codec, codec, "given", len(mark))


def _declared(declared: str, data: bytes, complete: bool) -> Detected | None:
    """What a file claims about itself, if it is so; "gb2312" is read as its superset, as browsers do."""
    codec = "gb18030" if declared.lower() in ("gb2312", "gbk", "x-gbk") else declared
    try:
        text = _try(codec, data, complete)
    except LookupError:
        return None
    return None if text is None or "\0" in text else Detected(codec, declared.lower(), "declared")


def _try(codec: str, data: bytes, complete: bool) -> str | None:
    """The text, or None if the bytes are not valid; a character cut off by an incomplete sample is no mistake."""
    try:
        return codecs.getincrementaldecoder(codec)("strict").decode(data, complete)
    except UnicodeDecodeError:
        return None


def _refuse_binary(text: str, name: str) -> None:
    found = [match.start() for match in _CONTROL.finditer(text)]
    if not found or (len(found) * 50 < len(text) and "\0" not in text):
        return
    line = text.count("\n", 0, found[0]) + 1
    message = f"is not text: {len(found)} control characters, the first U+{ord(text[found[0]]):04X}; leave the file out"
    raise CorpusError(message, path=name, line=line)


def _wide(data: bytes, name: str, complete: bool) -> Detected:
    """UTF-16 or UTF-32 without a BOM, given away by the zero bytes of ASCII characters in it."""
    best: tuple[float, str] = (0.0, "")
    for codec in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
        text = _try(codec, data, complete)
        if text and not _CONTROL.search(text):
            total, judged = weigh(text)
            best = max(best, ((total + len(text) - judged) / len(text), codec))
    if best[0] < PLAUSIBLE:
        offset = data.index(b"\0")
        line = data.count(b"\n", 0, offset) + 1
        raise CorpusError(f"is not text: zero byte at {offset}; leave the file out", path=name, line=line)
    return Detected(best[1], best[1], "detected")


def _is_short_gbk(data: bytes, text: str) -> bool:
    """Whether valid UTF-8 is GBK by accident, as when a few characters read as Greek, Hebrew or Arabic letters.

    Only when each run of such letters is, as GBK, made of frequent Chinese characters: at least two different ones,
    or one where the letter is not used beside Chinese text.
    """
    if len(data) > _BLOCK or text.isascii() or _WIDE.search(text):
        return False
    for run in _SHORT_RUN.findall(text):
        chinese = set(run.encode().decode("gbk", "replace"))
        if not chinese <= FREQUENT or (len(chinese) < 2 and _USUAL_LETTER.match(run)):
            return False
    return True


def _legacy(data: bytes, name: str, complete: bool) -> Detected:
    """GB18030 or Big5, whichever reads like Chinese; UTF-16 without any ASCII if neither does."""
    sample, whole = data[:_SAMPLE], complete and len(data) <= _SAMPLE
    offset = _first_error(data)
    line = data.count(b"\n", 0, offset) + 1
    if _is_damaged_utf8(sample):
        raise undecodable(data, name, Detected("utf-8", "utf-8", "detected"), offset)
    for families in ((("gb18030",), _BIG5), (("utf-16-le",), ("utf-16-be",))):
        readings = sorted(filter(None, (_reading(family, sample, whole) for family in families)), reverse=True)
        if not readings or readings[0][1] < PLAUSIBLE:
            continue
        total, _, codec = readings[0]
        if len(readings) > 1 and total - readings[1][0] < _LEAD:
            message = f"holds too little text to tell {codec} from {readings[1][2]}; {_advice(name, codec)}"
            raise CorpusError(message, path=name, line=line)
        # Where all of it is GBK, that is the better-known name of the encoding.
        plain = codec == "gb18030" and _try("gbk", data, complete) is not None
        return Detected(codec, "gbk" if plain else codec, "detected")
    guess = _guess(sample)
    message = f"byte {offset} is not UTF-8, and the file does not read like Chinese in GB18030, Big5 or UTF-16"
    raise CorpusError(f"{message}; {_advice(name, guess or 'gb18030')}", path=name, line=line)


def _reading(family: tuple[str, ...], sample: bytes, whole: bool) -> tuple[float, float, str] | None:
    """Sum and mean of the character weights in the first codec of a family that can read the bytes."""
    for codec in family:
        text = _try(codec, sample, whole)
        if text is not None:
            total, judged = weigh(text)
            return total, total / judged if judged else 0.0, codec
    return None


def _first_error(data: bytes) -> int:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start
    return 0


def _is_damaged_utf8(sample: bytes) -> bool:
    """Whether bytes are UTF-8 but for a few: such text must not be tried as GBK, where it may pass as mojibake."""
    text = sample.decode("utf-8", "replace")
    wide = _WIDE.findall(text)
    return len(wide) > 2 * text.count("\ufffd") and plausibility("".join(wide)) >= PLAUSIBLE


def _guess(sample: bytes) -> str:
    """What another detector takes the bytes for; advice only."""
    from charset_normalizer import from_bytes

    best = from_bytes(sample[: 1 << 16]).best()
    return best.encoding.replace("_", "-") if best else ""
