"""HTML pages: what a reader reads, with headings as `#` lines and table rows as "a | b".

Not covered: pages that scripts draw; pictures; finding the article among the rest beyond the tags that say so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from chimed_rag.corpus.loaders.base import SourceFile
from chimed_rag.errors import MissingExtraError
from chimed_rag.records import Document

_STRIPPED = "nav, script, style, footer, aside, noscript, template, iframe, svg, button, select, [hidden]"
_BLOCKS = frozenset(
    re.findall(
        r"\w+",
        "address article blockquote body br caption dd details dialog div dl dt fieldset figcaption figure form "
        "h1 h2 h3 h4 h5 h6 header hr html li main menu ol p pre section summary table tbody tfoot thead tr ul",
    )
)
_HEADINGS = frozenset(("h1", "h2", "h3", "h4", "h5", "h6"))
_CHARSET = re.compile(rb"<meta[^>]{0,300}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]+)", re.IGNORECASE)
_BLANKS = re.compile(r"[ \t\n\f\r]+")
_HAN_BREAK = re.compile(r"(?<=[\u3000-\u9fff\uff00-\uffef])[ \t]*\n\s*(?=[\u3000-\u9fff\uff00-\uffef])")

SUPERSCRIPTS = str.maketrans("0123456789+-−–()n", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁻⁽⁾ⁿ")
"""Raised digits and signs stay raised: 10 to the 9th must not become 109."""


def superscript(text: str) -> str:
    """A raised text in raised characters if there are such for all of it, else as it is."""
    raised = text.translate(SUPERSCRIPTS)
    return raised if all(ord(char) in SUPERSCRIPTS for char in text) else text


def load_html(file: SourceFile) -> Iterator[Document]:
    """One document with the readable text of a page; its title is `<title>`, else the first `<h1>`.

    Raises:
        CorpusError: the file cannot be read or decoded, or no readable text is in it.
        MissingExtraError: selectolax is not installed.
    """
    try:
        from selectolax.lexbor import LexborHTMLParser
    except ImportError:
        raise MissingExtraError("selectolax", "documents") from None
    data = file.read()
    charset = _CHARSET.search(data, 0, 4096)
    tree = LexborHTMLParser(file.read_text(charset.group(1).decode() if charset else None, data))
    for node in tree.css(_STRIPPED):
        node.decompose()
    for node in tree.css("header"):
        # The header of a page is its masthead, that of an article holds the article's title.
        if not _inside(node, ("article", "main")):
            node.decompose()
    titles = (_line(node.text()) for node in (tree.css_first("title"), tree.css_first("h1")) if node is not None)
    title = next(filter(None, titles), file.stem)
    text = _readable(tree.body) if tree.body is not None else ""
    if not text:
        raise file.error("holds no readable text; if scripts draw the page, save it from the browser first")
    yield file.document(text, title=title)


def _inside(node: Any, tags: tuple[str, ...]) -> bool:
    while node is not None:
        if node.tag in tags:
            return True
        node = node.parent
    return False


def _line(text: str) -> str:
    """A text as one line; a line end between Chinese characters was no blank."""
    return _BLANKS.sub(" ", _HAN_BREAK.sub("", text)).strip()


class _Reader:
    """The readable lines of a page, written down while its nodes are entered and left."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.parts: list[str] = []
        self.prefix = ""
        self.rows = self.preformatted = 0

    def enter(self, node: Any) -> bool:
        """Takes note of a node; whether its children are to be read."""
        tag = node.tag
        if tag == "-text":
            self.parts.append(node.text(deep=False))
        elif tag == "sup":
            self.parts.append(superscript(_line(node.text())))
            return False
        elif self.rows:
            self.parts.append(" " if tag in _BLOCKS else "")
        elif tag in _BLOCKS:
            self.end_line()
            # Old pages use tables for their layout: a row with a table in it is no row of data.
            self.rows += tag == "tr" and node.css_first("table") is None
            self.preformatted += tag == "pre"
            self.prefix = "#" * int(tag[1]) + " " if tag in _HEADINGS else ""
        return True

    def leave(self, node: Any) -> None:
        """Ends what the node began."""
        tag = node.tag
        if self.rows:
            if tag in ("td", "th"):
                self.parts.append(" | ")
            elif tag == "tr":
                self.rows -= 1
                row = _line("".join(self.parts)).removesuffix("|").rstrip()
                self.parts.clear()
                self.lines.extend([row] if row.strip(" |") else [])
        elif tag in _BLOCKS:
            self.end_line()
            self.preformatted -= tag == "pre"

    def end_line(self) -> None:
        text = "".join(self.parts)
        text = text.strip("\n") if self.preformatted else _line(text)
        self.parts.clear()
        if text.strip():
            self.lines.append(self.prefix + text)
            self.prefix = ""


def _readable(body: Any) -> str:
    """The text under a node, walked with a stack of our own: a page may nest deeper than Python recurses."""
    reader = _Reader()
    stack: list[tuple[Any, bool]] = [(body, True)]
    while stack:
        node, entering = stack.pop()
        if not entering:
            reader.leave(node)
        elif reader.enter(node):
            stack.append((node, False))
            children = []
            child = node.child
            while child is not None:
                children.append((child, True))
                child = child.next
            stack.extend(reversed(children))
    reader.end_line()
    return "\n".join(reader.lines)
