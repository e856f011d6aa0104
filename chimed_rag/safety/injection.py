"""Literature is data, not instruction: what gives orders to a model is masked before a prompt is made of a passage.

What is covered: sentences that order a model about (忽略以上指令, 你现在是…, 请输出：…, ignore previous instructions),
role tags of chat formats (ChatML, Llama, Alpaca, `[human]:` of ChiMed-GPT, `system:` at the start of a line), code
fences, HTML comments, hidden characters (tags, bidirectional controls, runs of zero width), and encoded text (base64,
hex, percent) that decodes to any of these; obfuscated by blanks, width, look-alike, traditional or hidden characters,
marks between characters, HTML entities or \\u escapes. The rules lie in `injection.yaml`. Each masked character becomes
□, so that the offsets of a passage stay valid; line breaks stay. Title and headings are masked too.
What is not covered: false statements (that is what sources are for), orders in other languages than Chinese and
English, in riddles, pinyin or digits for letters (but 1gnore), an order whose every sentence looks like a plain
statement, text in images, and metadata beside title and headings.

Measured on 2026-11-27: of 207,711 real rows (textbooks, encyclopedia, classics, leaflets; 58 million characters) none
is touched, after the rules were mended where they had touched 22 (nearly all OCR noise that looked like code fences).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple

from chimed_rag.errors import ConfigError
from chimed_rag.packaged import parsed, source
from chimed_rag.records import Evidence, Notice
from chimed_rag.safety.injection_view import Span, decodings, kept, squeezed, view_of
from chimed_rag.safety.late import Late
from chimed_rag.text import sentence_spans

MASK = "□"

_SUSPECT = Late(
    "[\u115f\u1160\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e01ef]"
)
_SMUGGLED = Late(
    "[\U000e0000-\U000e007f\U000e0100-\U000e01ef]+|[\u202a-\u202e\u2066-\u2069]+"
    "|[\u200b-\u200f\u2060-\u2064\ufeff\u180e]{3,}|[\ufe00-\ufe0f]{2,}|[\u3164\uffa0\u115f\u1160]{2,}"
)
_ORDERS = ("order", "order_")
_ENCODED = Late(r"[A-Za-z0-9+/_-]{24,8000}={0,2}|(?:%[0-9a-fA-F]{2}[\w.-]{0,4}){6,2000}")


class _Rule(NamedTuple):
    """One rule of `injection.yaml`."""

    id: str
    whole_sentence: bool
    cues: tuple[str, ...]
    pattern: Late
    triggers: tuple[str, ...]
    near_misses: tuple[str, ...]


def read_rules(source: str) -> tuple[_Rule, ...]:
    """The rules of a YAML text.

    Raises:
        ConfigError: it cannot be read as rules.
    """
    import yaml

    try:
        found = _read(source)
        for rule in found:
            _ = rule.pattern.compiled
    except (yaml.YAMLError, re.error, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"the rules against injection cannot be read ({error})") from None
    return found


def _read(source: str) -> tuple[_Rule, ...]:
    told = parsed(source)
    parts = told["parts"]
    parts = {name: _filled(part, parts) for name, part in parts.items()}
    return tuple(
        _Rule(
            id=rule["id"],
            whole_sentence={"sentence": True, "stretch": False}[rule["masks"]],
            cues=tuple(rule["cues"]),
            pattern=Late(_filled(rule["pattern"], parts), flags=0 if rule["masks"] == "sentence" else re.DOTALL),
            triggers=tuple(rule["triggers"]),
            near_misses=tuple(rule["near_misses"]),
        )
        for rule in told["rules"]
    )


def _filled(pattern: str, parts: dict[str, str]) -> str:
    for name, part in parts.items():
        pattern = pattern.replace("{" + name + "}", part)
    return pattern


@cache
def rules() -> tuple[_Rule, ...]:
    """The rules that are shipped, in their order; each is compiled when a text first holds a cue of it."""
    return _read(source("chimed_rag.safety", "injection.yaml"))


def neutralised(evidence: Sequence[Evidence]) -> tuple[list[Evidence], list[Notice]]:
    """The passages with all orders to a model masked, and one notice of kind `injection` if there were any.

    A passage without orders is given back as it is, the same object. `text` keeps its length and its line breaks.
    """
    cleaned: list[Evidence] = []
    numbers: list[str] = []
    broken: dict[str, None] = {}
    for passage in evidence:
        found: dict[str, None] = {}
        text, title = _masked(passage.text, found), _masked(passage.title, found)
        headings = tuple(_masked(heading, found) for heading in passage.headings)
        if found:
            passage = passage.model_copy(update={"text": text, "title": title, "headings": headings})
            numbers.append(str(passage.number))
            broken |= found
        cleaned.append(passage)
    if not numbers:
        return cleaned, []
    told = (
        f"检索到的文献 {'、'.join(numbers)} 中有写给程序而不是写给读者的指令或隐藏字符，已用“{MASK}”遮盖，"
        "不作为回答的依据。请检查这些文献的来源。"
    )
    return cleaned, [Notice(kind="injection", text=told, rule=",".join(broken))]


def _masked(text: str, found: dict[str, None]) -> str:
    spans: list[Span] = []
    for rule, span in orders(text):
        found[rule] = None
        spans.append(span)
    if not spans:
        return text
    chars = list(text)
    for start, end in spans:
        chars[start:end] = [char if char == "\n" else MASK for char in chars[start:end]]
    return "".join(chars)


def orders(text: str) -> list[tuple[str, Span]]:
    """What gives orders to a model in a text: the ids of rules and the stretches to be masked, which may overlap."""
    found: list[tuple[str, Span]] = []
    for match in _SMUGGLED.finditer(text) if _SUSPECT.search(text) else ():
        found.append(("hidden", match.span()))
    found.extend(_encoded(text))
    found.extend(_ordered(text))
    return found


def _ordered(text: str) -> list[tuple[str, Span]]:
    lines = squeezed(text)
    joined = lines.replace("\n", "")
    due = [rule for rule in _due(joined) if rule.pattern.search(joined if rule.whole_sentence else lines)]
    if not due:
        return []
    found: list[tuple[str, Span]] = []
    view, sentences = view_of(text), sentence_spans(text)
    flat = kept(view, [place for place, char in enumerate(view.text) if char != "\n"])
    for rule in due:
        read = flat if rule.whole_sentence else view
        for match in rule.pattern.finditer(read.text):
            if match.start() == match.end():
                continue
            span = read.spans[match.start()][0], read.spans[match.end() - 1][1]
            order = next(
                (match.start(name) for name, value in match.groupdict().items() if value and name in _ORDERS), -1
            )
            if rule.whole_sentence:
                span = _widened(span, span, sentences)
            elif order >= 0:
                low, high = _widened(span, read.spans[order], sentences)
                line_end = text.find("\n", read.spans[order][0])
                span = low, max(span[1], high if line_end < 0 else min(high, line_end))
            found.append((rule.id, span))
    return found


def _due(text: str) -> list[_Rule]:
    """The rules of which a cue stands in a text without blanks: next to none, for nearly all passages."""
    search, owners = _cues()
    met = {
        rule
        for cue in {match[0] for match in search.find_matches_as_indexes(text, overlapping=True)}
        for rule in owners[cue]
    }
    return [rule for number, rule in enumerate(rules()) if number in met]


@cache
def _cues() -> tuple[Any, list[list[int]]]:
    from ahocorasick_rs import AhoCorasick

    owners: dict[str, list[int]] = {}
    for number, rule in enumerate(rules()):
        for cue in rule.cues:
            owners.setdefault(cue, []).append(number)
    return AhoCorasick(list(owners)), list(owners.values())


def _widened(span: Span, touched: Span, sentences: Iterable[Span]) -> Span:
    """The span, and all of the sentences that overlap `touched`; what stands before a tag stays."""
    start, end = span
    for low, high in sentences:
        if low < touched[1] and touched[0] < high:
            start, end = (min(start, low) if touched == span else start), max(end, high)
    return start, end


def _encoded(text: str) -> list[tuple[str, Span]]:
    found: list[tuple[str, Span]] = []
    for match in _ENCODED.finditer(text):
        if any(_ordered(decoded) for decoded in decodings(match[0])):
            found.append(("encoded", match.span()))
    return found
