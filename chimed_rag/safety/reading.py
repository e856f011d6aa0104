"""A text as the proof compares it: paraphrases and names made one, measures masked, cut into clauses.

What is covered: `paraphrases.tsv` beside this module, the names of `entities.lexicon`, patients' words of
`query/lay_terms.tsv`. What is not covered: grammar; a word is replaced wherever it stands, in both texts alike.
Nothing here decides anything. Time is linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache, cached_property
from importlib import resources
from typing import NamedTuple
from zlib import crc32

from chimed_rag.entities.lexicon import names
from chimed_rag.query.tables import rows
from chimed_rag.safety.measures import Measure, measures
from chimed_rag.text import fold

_CLAUSE_ENDS = frozenset("，。；！？：,;!?:\n")
_HARD_ENDS = frozenset("。；！？;!?\n")
_DROPPED = re.compile(r"[\s*_`#>|]+")
_LAY_WORD = re.compile("[\u4e00-\u9fff]{2,6}")
_MASK, _MASKS = 0xE000, 6000


class Token(NamedTuple):
    """A word that the tables know: `norm[start:end] == canonical`, said as `raw[begin:stop]`; `kind` is "light" for
    words without matter, the kind of a name (drug, disease, ...), or ""."""

    canonical: str
    kind: str
    start: int
    end: int


class Context(NamedTuple):
    """What stands around a place: the characters of matter left and right of it, the nearest on the left again, and
    those of its whole clause; measures count as characters."""

    near: frozenset[str]
    left: frozenset[str]
    right: frozenset[str]
    clause: frozenset[str]


class Reading:
    """One text, read. Offsets are of `norm` unless said otherwise; `raw_text` leads back."""

    def __init__(self, raw: str) -> None:
        self.raw = raw
        self.measures: list[tuple[Measure, int, int]] = []
        masked, starts, ends = self._mask(fold(raw))
        self.tokens: list[Token] = []
        self.norm, self._starts, self._ends = self._replace(masked, starts, ends)
        places = {raw_start: place for place, raw_start in enumerate(self._starts)}
        self.measures = [
            (measure, places[measure.start], places[measure.start] + 1)
            for measure, _, _ in self.measures
            if measure.start in places
        ]

    def _mask(self, folded: str) -> tuple[str, list[int], list[int]]:
        """The folded text without blanks and markup, each measure one private character that tells its value."""
        found = measures(self.raw)
        self.measures = [(measure, 0, 0) for measure in found]
        pieces: list[str] = []
        starts: list[int] = []
        ends: list[int] = []
        place = 0
        for measure in [*found, None]:
            stop = measure.start if measure else len(folded)
            while place < stop:
                gap = _DROPPED.search(folded, place, stop)
                upto = gap.start() if gap else stop
                pieces.append(folded[place:upto])
                starts.extend(range(place, upto))
                ends.extend(range(place + 1, upto + 1))
                place = gap.end() if gap else stop
            if measure:
                pieces.append(chr(_MASK + crc32(measure.key.encode()) % _MASKS))
                starts.append(measure.start)
                ends.append(measure.end)
                place = measure.end
        return "".join(pieces), starts, ends

    def _replace(self, text: str, starts: list[int], ends: list[int]) -> tuple[str, list[int], list[int]]:
        """Every known word replaced by its canonical form, which becomes a token."""
        find, meanings, inner = _dictionary()
        pieces: list[str] = []
        new_starts: list[int] = []
        new_ends: list[int] = []
        place = length = 0
        for index, begin, stop in find(text):
            if _splits_word(text, begin) or _splits_word(text, stop):
                continue
            if begin < place:
                continue
            canonical, kind = meanings[index]
            after = stop
            if canonical == "不" and text[stop : stop + 1] == "过" and text[stop + 1 : stop + 2] not in "敏度量多少高低早晚":
                if begin == 0 or text[begin - 1] in _CLAUSE_ENDS:
                    canonical, kind, stop, after = "但", "light", stop + 1, stop + 1  # 不过 that opens a clause denies nothing
            if text[stop - 1] == "病" and text[stop : stop + 1] == "人" and (shorter := inner.get(text[begin : stop - 1])):
                (canonical, kind), stop, after = shorter, stop - 1, stop + 1  # 哮喘病人 is no 哮喘病
            pieces += (text[place:begin], canonical)
            length += begin - place
            new_starts += starts[place:begin]
            new_ends += ends[place:begin]
            if canonical != "":
                self.tokens.append(Token(canonical, kind, length, length + len(canonical)))
                if stop - begin == len(canonical):
                    new_starts += starts[begin:stop]
                    new_ends += ends[begin:stop]
                else:
                    new_starts += [starts[begin]] * len(canonical)
                    new_ends += [ends[stop - 1]] * len(canonical)
                length += len(canonical)
            place = after
        pieces.append(text[place:])
        return "".join(pieces), new_starts + starts[place:], new_ends + ends[place:]

    def raw_text(self, start: int, end: int) -> str:
        """What the text says at `norm[start:end]`, in its own words."""
        return self.raw[self._starts[start] : self._ends[end - 1]] if start < end else ""

    @cached_property
    def clauses(self) -> list[tuple[int, int]]:
        """Half-open spans between commas, colons and stops; none is empty."""
        found, begin = [], 0
        for place, char in enumerate(self.norm):
            if char in _CLAUSE_ENDS:
                if begin < place:
                    found.append((begin, place))
                begin = place + 1
        if begin < len(self.norm):
            found.append((begin, len(self.norm)))
        return found

    @cached_property
    def matter(self) -> list[int]:
        """The places of characters that carry matter: letters outside of measures and of words without matter."""
        light = bytearray(len(self.norm))
        for token in self.tokens:
            if token.kind == "light":
                light[token.start : token.end] = b"\1" * (token.end - token.start)
        return [
            place
            for place, char in enumerate(self.norm)
            if not light[place] and char.isalnum() and not _MASK <= ord(char) < _MASK + _MASKS
        ]

    @cached_property
    def pairs(self) -> dict[int, tuple[str, ...]]:
        """For each place of `matter`, the pairs of neighbouring characters it is in, within its clause."""
        clause = self.clause_numbers
        found: dict[int, tuple[str, ...]] = {place: () for place in self.matter}
        for one, other in zip(self.matter, self.matter[1:], strict=False):
            if clause[one] == clause[other]:
                pair = self.norm[one] + self.norm[other]
                found[one] += (pair,)
                found[other] += (pair,)
        return found

    @cached_property
    def pair_set(self) -> frozenset[str]:
        """All pairs of `pairs`."""
        return frozenset(pair for pairs in self.pairs.values() for pair in pairs)

    @cached_property
    def char_set(self) -> frozenset[str]:
        """All characters of matter."""
        return frozenset(self.norm[place] for place in self.matter)

    @cached_property
    def clause_numbers(self) -> list[int]:
        """For each place of `norm` the number of its clause (places of punctuation have that of the one before)."""
        numbers = [0] * len(self.norm)
        for number, (begin, _) in enumerate(self.clauses):
            following = self.clauses[number + 1][0] if number + 1 < len(self.clauses) else len(self.norm)
            numbers[begin:following] = [number] * (following - begin)
        return numbers

    def tells(self, place: int) -> bool:
        """Whether a place carries matter or a measure."""
        return bool(self._tells[place])

    def beside(self, start: int, end: int, most: int = 2) -> tuple[str, str]:
        """The nearest characters of matter (or polar words) before and after `norm[start:end]` in its clause."""
        low, high = self.clause_at(start)
        before: list[str] = []
        for place in range(start - 1, low - 1, -1):
            if self._speaks[place]:
                before.append(self.norm[place])
                if len(before) == most:
                    break
        after: list[str] = []
        for place in range(end, high):
            if self._speaks[place]:
                after.append(self.norm[place])
                if len(after) == most:
                    break
        return "".join(reversed(before)), "".join(after)

    @cached_property
    def _speaks(self) -> bytearray:
        """Which places carry matter, a measure or a polar word."""
        flags = bytearray(self._tells)
        for token in self.tokens:
            if token.canonical in POLAR:
                flags[token.start : token.end] = b"\1" * (token.end - token.start)
        return flags

    def clause_at(self, place: int) -> tuple[int, int]:
        """The clause in which a place lies."""
        return self.clauses[self.clause_numbers[place]] if self.clauses else (0, len(self.norm))

    def context(self, start: int, end: int, stops: frozenset[int] = frozenset(), *, within: bool = False) -> Context:
        """What stands around `norm[start:end]`; neither side goes beyond a place in `stops` (marks of the same class)
        or a full stop, the right side not beyond the clause, nor the left one if `within`."""
        tells, ends = self._tells, _CLAUSE_ENDS if within else _HARD_ENDS
        left: list[str] = []
        for place in range(start - 1, max(-1, start - 40), -1):
            if self.norm[place] in ends or place in stops or len(left) == 9:
                break
            if tells[place]:
                left.append(self.norm[place])
        right: list[str] = []
        for place in range(end, min(len(self.norm), end + 30)):
            if self.norm[place] in _CLAUSE_ENDS or place in stops or len(right) == 6:
                break
            if tells[place]:
                right.append(self.norm[place])
        low, high = self.clause_at(start)
        around = [at for at in range(max(low, start - 40), min(high, end + 40)) if tells[at] and not start <= at < end]
        return Context(
            frozenset(left[:3]), frozenset(left), frozenset(right), frozenset(self.norm[at] for at in around)
        )

    @cached_property
    def _tells(self) -> bytearray:
        """Which places carry matter or a measure."""
        flags = bytearray(len(self.norm))
        for place in self.matter:
            flags[place] = 1
        for _, start, _ in self.measures:
            flags[start] = 1
        return flags


def likeness(one: Context, other: Context) -> float:
    """How alike two surroundings are, 0 to 1: a weighted mean of Dice's coefficients, where a measure counts as three."""
    return (
        0.3 * _dice(one.near, other.near)
        + 0.25 * _dice(one.left, other.left)
        + 0.1 * _dice(one.right, other.right)
        + 0.35 * _dice(one.clause, other.clause)
    )


def _dice(one: frozenset[str], other: frozenset[str]) -> float:
    if not one and not other:
        return 1.0
    return 2 * weight(one & other) / (weight(one) + weight(other))


def weight(chars: frozenset[str]) -> int:
    """How much characters tell: one each, a measure three."""
    return len(chars) + 2 * sum("\ue000" <= char < "\uf900" for char in chars)


def _splits_word(text: str, place: int) -> bool:
    return (
        0 < place < len(text)
        and text[place - 1].isascii()
        and text[place].isascii()
        and text[place - 1].isalnum()
        and text[place].isalnum()
    )


Find = Callable[[str], list[tuple[int, int, int]]]

POLAR = frozenset(
    "禁用 不应 慎用 不建议 不必 可 宜 建议 应 要 必须 没有 不 可能 一定 避免 禁忌证 首选 次选 备选 所有 多数 少数 部分 常见 少见 罕见".split()
)
"""Words of polarity and strength: they are compared by themselves, and count as words without matter elsewhere."""


@cache
def _dictionary() -> tuple[Find, list[tuple[str, str]], dict[str, tuple[str, str]]]:
    """An automaton over all known words, longest first, and for each its canonical form and kind; then
    those of words that another makes longer by 病."""
    from ahocorasick_rs import AhoCorasick, MatchKind

    words: dict[str, tuple[str, str]] = {}
    source = resources.files("chimed_rag.safety").joinpath("paraphrases.tsv").read_text("utf-8")
    for line in source.splitlines():
        if not line or line.startswith("#"):
            continue
        first, others = fold(line).split("\t")
        if first == "=":
            words.update({word: (word, "") for word in others.split()})
            continue
        canonical = first.lstrip("*") if first != "-" else ""
        light = "light" if first[0] in "*-" or canonical in POLAR else ""
        for word in (*others.split(), *([canonical] if canonical else ())):
            words.setdefault(word, (canonical or word, light))
    for name, meant in names().items():
        if words.get(name, (name, "")) == (name, ""):  # a name that was only protected, 吗啡, is a name
            words[name] = (meant.canonical, meant.kind)
    for said, meant_by in rows("lay_terms.tsv"):
        if _LAY_WORD.fullmatch(said) and _LAY_WORD.fullmatch(meant_by):
            words.setdefault(said, words.get(meant_by, (meant_by, "")))
    for word, (canonical, kind) in words.items():  # 掉头发 is 脱发, which is a name
        if kind == "" and word != canonical and (name := names().get(canonical)):
            words[word] = (name.canonical, name.kind)
    automaton = AhoCorasick(list(words), matchkind=MatchKind.LeftmostLongest)
    ill = {word[:-1]: words[word[:-1]] for word in words if word[-1] == "病" and word[:-1] in words}
    return automaton.find_matches_as_indexes, list(words.values()), ill
