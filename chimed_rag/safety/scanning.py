"""What scanners misread in printed books, read as it was printed; the length of a text never changes.

What is covered: l, I and O in numbers before units (lOOmg, l2～24小时), 千 for 于, 入 for 人, the words of
`misread.tsv`, and names of drugs, diseases and germs of which one or two characters were misread (伊曲康嗤): a name
that a sentence says is looked for in a passage that does not know it. What is not covered: misread digits (3 for 8),
lost lines, a name that is misread as another known one, names of three characters with two misread.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cache, lru_cache

from chimed_rag.entities.lexicon import names
from chimed_rag.packaged import rows
from chimed_rag.text import fold

_UNIT = (
    "(?:[mkµμun]?g(?![a-zA-Z])|m[lL](?![a-z])|mm(?:Hg)?|cm|mmo|[µμ]mo|U/|pg|ng|[%％‰℃]"
    "|次|天|日|小时|分钟|周|个?月|年|岁|例|倍|万)"
)
_RUN = re.compile(
    rf"(?<![A-Za-z\u0370-\u03ff])[0-9lIO]{{1,7}}(?:\.[0-9lIO]{{1,4}})?"
    rf"(?=(?:[~～\-–—至到][ ]?[0-9lIO.]{{1,8}})?[ ]?{_UNIT})"
)
_LETTERS = str.maketrans("lIO", "110")
_POWER = re.compile(r"(?<=[xX×])[lI](?=0\d{1,2}/)")
_HALF_LIFE = re.compile(r"(?<![a-zA-Z])t[lIi](?=[ ]?/2)")
_MICRO = re.compile(r"([µμ]),g")
_APART = re.compile(r"(\d)\. ([lIO\d])(?=m?g|ml|mL)")
_THAN = re.compile("(?<=[由大小高低少多用对易属处位基便等见至优介利助限源晚早先])千(?![克万卡帕伏瓦米分升百年余])")
_MAN = re.compile("(?<=[病成])入(?![膏院侵睡])|(?<![侵进流涌])入(?=群)")
_HAN = re.compile("[\u4e00-\u9fff]")
_DRUG_KINDS = ("drug", "herb", "germ")
_SURE = 5  # characters from which two may be misread


@cache
def _misread() -> tuple[re.Pattern[str], dict[str, str], frozenset[tuple[str, str]]]:
    """An expression for the misread words of `misread.tsv`, what each is, and the pairs of characters taken for each
    other in names."""
    words: dict[str, str] = {}
    pairs: set[tuple[str, str]] = set()
    for right, wrong in rows("chimed_rag.safety", "misread.tsv"):
        for word in wrong.split():
            if len(right) == 1:
                pairs.add((right, word))
            else:
                words[word] = right
    longest = sorted(words, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest))), words, frozenset(pairs)


def mend(text: str) -> str:
    """The text with what is plainly misread corrected; of the same length.

    >>> mend("由千l0～15mg")
    '由于10～15mg'
    """
    pattern, words, _ = _misread()
    mended = pattern.sub(lambda found: words[found[0]], text)
    if "千" in mended or "入" in mended:
        mended = _MAN.sub("人", _THAN.sub("于", mended))
    if not ("l" in mended or "I" in mended or "O" in mended or "," in mended):
        return mended
    mended = _APART.sub(r"\1.\2 ", _MICRO.sub(r"\1g ", mended))
    mended = _HALF_LIFE.sub("t1", _POWER.sub("1", mended))
    return _RUN.sub(lambda found: _number(found, mended), mended)


def _number(found: re.Match[str], text: str) -> str:
    run = found[0]
    if run == "O" or (run[-1] == "I" and text[found.end() : found.end() + 1] == "U"):  # 10IU
        return run
    return run.translate(_LETTERS)


@cache
def _drug_characters() -> frozenset[str]:
    return frozenset(char for name, meant in names().items() if meant.kind in _DRUG_KINDS for char in name)


@cache
def _pairs_of_names() -> frozenset[str]:
    return frozenset(name[place : place + 2] for name in names() for place in range(len(name) - 1))


@lru_cache(maxsize=2048)
def mend_names(text: str, said: tuple[tuple[str, str], ...]) -> str:
    """A passage in which names that a sentence says stand where they were misread; of the same length.

    Args:
        text: the passage.
        said: (name, kind) of the names of the sentence, folded.
    """
    folded = fold(text)
    for name, kind in said:
        if len(name) < 3 or name in folded:
            continue
        for start in _nearly(name, kind, folded):
            end = start + len(name)
            text = text[:start] + name + text[end:]
            folded = folded[:start] + name + folded[end:]
    return text


def _nearly(name: str, kind: str, text: str) -> list[int]:
    """Where a name stands but for one or two characters that look misread."""
    votes: Counter[int] = Counter()
    for place, char in enumerate(name):
        at = text.find(char)
        while at >= 0:
            votes[at - place] += 1
            at = text.find(char, at + 1)
    is_drug = kind in _DRUG_KINDS
    least = len(name) - 2 if is_drug and len(name) > 3 else len(name) - 1
    if not is_drug and len(name) < 4:
        return []
    return [start for start, held in votes.items() if held >= least and _is_misread(name, text, start, is_drug)]


def _is_misread(name: str, text: str, start: int, is_drug: bool) -> bool:
    end = start + len(name)
    if start < 0 or end > len(text):
        return False
    alike = _misread()[2]
    wrong = [place for place in range(len(name)) if text[start + place] != name[place]]
    known = [(name[place], text[start + place]) in alike for place in wrong]
    if len(wrong) > 1 and len(name) < _SURE and not all(known):
        return False
    for place, is_known in zip(wrong, known, strict=True):
        char, at = text[start + place], start + place
        if is_known:
            continue
        if not _HAN.match(char) or (is_drug and char in _drug_characters()):
            return False
        if {text[max(0, at - 1) : at + 1], text[at : at + 2]} & _pairs_of_names():
            return False  # 丙型肝炎 is not 乙型肝炎 misread
    return True
