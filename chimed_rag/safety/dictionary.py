"""All words that the proof knows, in one automaton: paraphrases, names, patients' words.

What is covered: `plain_names.tsv`, `paraphrases.tsv` and `everyday.tsv` beside this module, the names of
`entities.lexicon`, `query/lay_terms.tsv`. What is not covered: their meaning in context; a word is replaced wherever it
stands, in both texts alike.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

from chimed_rag import packaged
from chimed_rag.entities.lexicon import names
from chimed_rag.query.tables import rows
from chimed_rag.text import fold

_TABLES = ("plain_names.tsv", "paraphrases.tsv")
_LAY_KINDS = frozenset(("disease", "sign", "test", "term"))
CLAUSE_ENDS = frozenset("，。；！？：,;!?:\n")
_ILL, _NONE = ("disease", "germ"), ("", "")
_LAY_WORD = re.compile("[\u4e00-\u9fff]{2,6}")

Find = Callable[[str], list[tuple[int, int, int]]]

_POLAR = (
    "禁用 不应 慎用 不建议 不必 可 宜 建议 应 要 必须 没有 不 可能 一定 避免 禁忌证 "
    "首选 次选 备选 所有 多数 少数 部分 常见 少见 罕见"
)
POLAR = frozenset(_POLAR.split())
"""Words of polarity and strength: they are compared by themselves, and count as words without matter elsewhere."""


@cache
def dictionary() -> tuple[Find, list[tuple[str, str]], dict[str, tuple[str, str]]]:
    """An automaton over all known words, longest first, and for each its canonical form and kind; then
    those of words that another makes longer by 病."""
    from ahocorasick_rs import AhoCorasick, MatchKind

    words: dict[str, tuple[str, str]] = {}
    for row in (row for table in _TABLES for row in packaged.rows("chimed_rag.safety", table)):
        first, others = map(fold, row)
        if first == "=":
            words.update({word: (word, "") for word in others.split()})
            continue
        canonical = first.lstrip("*") if first != "-" else ""
        light = "light" if first[0] in "*-" or canonical in POLAR else ""
        for word in (*others.split(), *([canonical] if canonical else ())):
            words.setdefault(word, (canonical or word, light))
    everyday = _add_everyday(words)
    for name, meant in names().items():
        if words.get(name, (name, "")) == (name, ""):  # a name that was only protected, 吗啡, is a name
            words[name] = (meant.canonical, meant.kind)
    for said, meant_by in rows("lay_terms.tsv"):
        if _LAY_WORD.fullmatch(said) and _LAY_WORD.fullmatch(meant_by):
            known = words.get(meant_by)
            if known and known[1] and words.get(said, ("", ""))[0] == said and words[said][1] in _LAY_KINDS:
                words[said] = known  # 肚子疼, by which an entry is found too
            words.setdefault(said, known or (meant_by, ""))
    for word, (canonical, kind) in words.items():  # 掉头发 is 脱发, which is a name
        if kind == "" and word != canonical and word not in everyday and (known := names().get(canonical)):
            words[word] = (known.canonical, known.kind)
    automaton = AhoCorasick(list(words), matchkind=MatchKind.LeftmostLongest)
    ill = {word[:-1]: words[word[:-1]] for word in words if word[-1] == "病" and words.get(word[:-1], _NONE)[1] in _ILL}
    return automaton.find_matches_as_indexes, list(words.values()), ill


def _add_everyday(words: dict[str, tuple[str, str]]) -> set[str]:
    """Adds the words of `everyday.tsv` that are neither known nor names; returns them."""
    added: set[str] = set()
    for row in packaged.rows("chimed_rag.safety", "everyday.tsv"):
        first, others = map(fold, row)
        meant = ("", "light") if first == "-" else words.setdefault(first, (first, ""))
        for word in others.split():
            if word not in words and word not in names():
                words[word] = meant if first != "-" else (word, "light")
                added.add(word)
    return added


def splits_word(text: str, place: int) -> bool:
    """Whether a word of Latin letters and digits runs across a place: no word of the tables is said in half of one."""
    return 0 < place < len(text) and _is_latin(text[place - 1]) and _is_latin(text[place])


def _is_latin(char: str) -> bool:
    return char < "\x80" and char.isalnum()


def opens_with_but(text: str, begin: int, stop: int) -> bool:
    """Whether 不 in `text[begin:stop]` is that of 不过 at the head of a clause, which denies nothing."""
    opens = begin == 0 or text[begin - 1] in CLAUSE_ENDS
    return opens and text[stop : stop + 1] == "过" and text[stop + 1 : stop + 2] not in "敏度量多少高低早晚"
