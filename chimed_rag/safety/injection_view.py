"""A text as the rules against injection read it: one form of each character, without blanks and what nobody sees.

Width, case, compatibility and look-alike characters, HTML entities and \\u escapes are seen through; of each character
it is known which stretch of the text it stands for. Not covered: which texts are orders (`injection`).
"""

from __future__ import annotations

import base64
import binascii
import html
import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import unquote

from chimed_rag.safety.late import Late
from chimed_rag.text import HAN

Span = tuple[int, int]

# Zero width and other format characters that show nothing; combining marks hide letters too (s̲y̲s̲t̲e̲m̲).
_RANGES = (  # first and last of each, in pairs
    "\u00ad\u00ad\u034f\u034f\u061c\u061c\u115f\u1160\u17b4\u17b5\u180b\u180f\u200b\u200f\u202a\u202e\u2060\u206f\u3164\u3164"
    "\ufe00\ufe0f\ufeff\ufeff\uffa0\uffa0\ufff9\ufffb\U000e0000\U000e0fff\u0300\u036f\u20d0\u20ff"
)
_UNSEEN = frozenset(
    chr(code)
    for first, last in zip(_RANGES[::2], _RANGES[1::2], strict=True)
    for code in range(ord(first), ord(last) + 1)
)
_ALIKE = str.maketrans(
    "аеорсухіѕјԁһтмкнвοαειρτυκɡ現請輸統規則無視說後從開發條報複覆蓋掉這裡記憶擔遵隱藏繞過認對話訊機員類問題給復裏",
    "aeopcyxisjdhtmkhboaeiptukg现请输统规则无视说后从开发条报复覆盖掉这里记忆担遵隐藏绕过认对话讯机员类问题给复里",
)
_ESCAPE = Late(r"&(?:#x[0-9a-fA-F]{1,6}|#\d{1,7}|[a-zA-Z]{2,8});|\\u[0-9a-fA-F]{4}|\\x[0-9a-fA-F]{2}", "&\\")
_MARKS = r"*_~·•‧^|\/.-"
_BETWEEN = Late(rf"(?<=[{HAN}])[{re.escape(_MARKS)}]{{1,3}}(?=[{HAN}])", _MARKS)


class View(NamedTuple):
    """A text as the rules read it; `spans[i]` is the stretch of the text that character `i` of the view stands for."""

    text: str
    spans: list[Span]


class _Forms(dict[int, str | None]):
    """For `str.translate`: the one form of each character, worked out when first met; blanks and hidden ones go."""

    def __missing__(self, code: int) -> str | None:
        char = chr(code)
        plain = "" if char in _UNSEEN else unicodedata.normalize("NFKC", char).lower().translate(_ALIKE)
        plain = "".join(part for part in plain if part == "\n" or not (part.isspace() or part in _UNSEEN))
        self[code] = plain
        return plain


_FORMS = _Forms()


def _plain(text: str) -> str:
    """A text in one form of each character, without blanks and what nobody sees; line breaks are still there."""
    text = _ESCAPE.sub(lambda match: _decoded(match[0]), text)
    return text.translate(_FORMS)


def _decoded(escape: str) -> str:
    if escape[0] == "&":
        return html.unescape(escape)
    return chr(int(escape[2:], 16))


def squeezed(text: str) -> str:
    """The text of `view_of(text)`, a good deal sooner."""
    return _BETWEEN.sub("", _plain(text))


def view_of(text: str) -> View:
    """The view of a text; marks between two Chinese characters are gone as well."""
    chars: list[str] = []
    spans: list[Span] = []
    position = 0
    escapes = {match.start(): match.end() for match in _ESCAPE.finditer(text)}
    while position < len(text):
        end = escapes.get(position, position + 1)
        for char in _plain(text[position:end]):
            chars.append(char)
            spans.append((position, end))
        position = end
    view = View("".join(chars), spans)
    dropped = {place for match in _BETWEEN.finditer(view.text) for place in range(*match.span())}
    return kept(view, [place for place in range(len(spans)) if place not in dropped]) if dropped else view


def kept(view: View, places: Sequence[int]) -> View:
    """The characters of a view at some places."""
    return View("".join(view.text[place] for place in places), [view.spans[place] for place in places])


def decodings(blob: str) -> list[str]:
    """The texts that a run of letters and digits may stand for, as base64, hex or percent encoding."""
    if "%" in blob:
        return [unquote(blob, errors="ignore")]
    raw: list[bytes] = []
    if re.fullmatch(r"(?:[0-9a-fA-F]{2})+", blob):
        raw.append(bytes.fromhex(blob))
    body = blob.rstrip("=").replace("-", "+").replace("_", "/")
    for offset in range(4 if len(body) < 2000 else 1):  # a letter or two may stand right before it
        piece = body[offset:]
        piece = piece[: len(piece) - (len(piece) % 4 == 1)]
        try:
            raw.append(base64.b64decode(piece + "=" * (-len(piece) % 4)))
        except (binascii.Error, ValueError):
            continue
    return [decoded for data in raw for coding in ("utf-8", "utf-16-le", "gb18030") if (decoded := _text(data, coding))]


def _text(data: bytes, coding: str) -> str:
    try:
        return data.decode(coding)
    except UnicodeDecodeError:
        return ""
