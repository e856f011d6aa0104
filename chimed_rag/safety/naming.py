"""Names of drugs, diseases, tests and herbs: a sentence may name only what its passage, title or headings name.

What is covered: the names of `entities.lexicon` (trade and generic are equal), drugs with common endings, words that
look medical by their characters and stand nowhere in the window; cause and effect, more and less exchanged around a
verb. What is not covered: that a cephalosporin is an antibiotic (a wider or narrower name is another name).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from chimed_rag.entities.lexicon import unknown_drugs
from chimed_rag.safety.alignment import Window
from chimed_rag.safety.likenames import is_named, is_subject, plain_latin
from chimed_rag.safety.population import group_places
from chimed_rag.safety.reading import Reading, Token
from chimed_rag.safety.surroundings import likeness
from chimed_rag.text import fold

NAME_KINDS = frozenset(("drug", "disease", "test", "herb", "term", "sign", "part", "germ", "act"))
_MEDICAL = frozenset(
    "炎癌瘤疹疮痈疽疡梗栓痛胀痒痹瘫瘀瘘疝痔瘢痕痰咳喘晕厥惊搐颤疸肿胸腹腰颈肩膝髋踝腕肘骨髓脊椎韧肌腱筋颅脑眼耳鼻咽喉舌牙齿唇肠肛肝胆胰脾肾"
    "膀胱尿睾卵巢宫乳腺肺脉血淋菌毒霉酶疫苗酸碱钠钾钙镁磷铁锌碘糖脂蛋醇胺唑啶嗪汀坦韦沙芬酮酚苷囊丸孕胎"
)
_WIDER = {
    "血压": ("收缩压", "舒张压"),
    "转氨酶": ("转移酶",),
    "血脂": ("胆固醇", "甘油三酯"),
    "电解质": ("血钾", "血钠"),
}
"""Names that sum up others."""
_PLAIN_PARTS = frozenset("部脏腔体")  # 胃部 is 胃
_LATIN = re.compile("[a-zα-ω0-9][a-zα-ω0-9+-]*")
_KIND = re.compile(
    "(?!.?[的和与及或为是有无])[\u4e00-\u9fff]{1,2}[性型](?![质别能状格情交生欲功激病腺号])[\u4e00-\u9fff]"
)
_SUBJECTS = frozenset(("drug", "disease", "herb", "germ"))
_VERBS = (
    "引起",
    "增强",
    "减弱",
    "高于",
    "低于",
    "多于",
    "少于",
    "大于",
    "小于",
    "优于",
    "抑制",
    "促进",
    "升高",
    "降低",
    "转为",
    "早于",
    "晚于",
    "代替",
    "发展为",
    "演变为",
)


def naming(sentence: Reading, window: Window, context: Sequence[Reading]) -> tuple[bool, str]:
    """(whether the sentence names anything, what is wrong, in Chinese)."""
    said = [token for token in sentence.tokens if token.kind in NAME_KINDS]
    drugs = [
        span for span in unknown_drugs(sentence.norm) if not any(t.start < span[1] and span[0] < t.end for t in said)
    ]
    fault = (
        _foreign_names(sentence, said, window, context)
        or _foreign_drugs(sentence, drugs, window, context)
        or _foreign_latin(sentence, window.readings, context)
        or _other_kinds(sentence, window.readings)
        or _foreign_words(sentence, window, context)
        or _turned(sentence, window.readings)
    )
    return bool(said or drugs or fault), fault


def _foreign_names(sentence: Reading, said: Sequence[Token], window: Window, context: Sequence[Reading]) -> str:
    sources = window.readings
    here = [(reading, token) for reading in sources for token in reading.tokens if token.kind in NAME_KINDS]
    known = {token.canonical for _, token in here}
    headed = {token.canonical for reading in context for token in reading.tokens if token.kind in NAME_KINDS}
    names = {token.canonical for token in said}
    for token in said:
        if token.canonical in known or any(token.canonical in reading.norm for reading in sources):
            if token.canonical not in headed and (taken := _elsewhere(sentence, token, sources)):
                return f"“{sentence.raw_text(token.start, token.end)}”不同于原文的“{taken}”"
            continue
        if any(wider in one.norm for wider in _WIDER.get(token.canonical, ()) for one in sources):
            continue
        if token.kind == "part" and any(
            (set(token.canonical) - _PLAIN_PARTS) & one.char_set for one in (*sources, *context)
        ):
            continue
        words = fold(sentence.raw_text(token.start, token.end))
        if is_named(token, words, sources) or _is_subject(words, sentence, window):
            continue
        others = [(reading, other) for reading, other in here if other.canonical not in names]
        place = sentence.context(token.start, token.end)
        scored = [
            (likeness(place, reading.context(other.start, other.end)), reading, other) for reading, other in others
        ]
        score, reading, other = max(scored, key=lambda one: one[0], default=(0.0, sentence, token))
        if token.canonical in headed or any(token.canonical in one.norm for one in context):
            if score < 0.55:
                continue
        elif not scored or score < 0.2:
            return f"原文没有提到“{sentence.raw_text(token.start, token.end)}”"
        mine, theirs = sentence.raw_text(token.start, token.end), reading.raw_text(other.start, other.end)
        return f"“{mine}”不同于原文的“{theirs}”"
    return ""


def _is_subject(words: str, sentence: Reading, window: Window) -> bool:
    return len(words) > 2 and any(is_subject(words, before, _SUBJECTS) for before in window.before(sentence))


def _elsewhere(sentence: Reading, token: Token, sources: Sequence[Reading]) -> str:
    """The name in whose place a name stands that the window has in another clause only; "" if there is none.

    The clause of the window that holds most of the rest of the sentence's clause is its home; a name that is not there
    took the place of one of the same kind that is.
    """
    begin, end = sentence.clause_at(token.start)
    named = [one for one in sentence.tokens if begin <= one.start < end and one.kind in NAME_KINDS]
    rest = [
        frozenset(pairs)
        for place, pairs in sentence.pairs.items()
        if begin <= place < end and not any(one.start <= place < one.end for one in named)
    ]
    here = {one.canonical for one in named}
    marks = [sentence.norm[place] for _, place, _ in sentence.measures if begin <= place < end]
    scored: list[tuple[int, int, Reading, int, int]] = []
    for reading in sources:
        for (low, high), pairs in zip(reading.clauses, reading.clause_pairs, strict=True):
            held = sum(not one.isdisjoint(pairs) for one in rest) + 3 * sum(
                mark in reading.norm[low:high] for mark in marks
            )
            scored.append((held, -len(scored), reading, low, high))
    held, _, home, low, high = max(scored, key=lambda one: one[:2], default=(0, 0, sentence, 0, 0))
    if held < max(3, 0.6 * (len(rest) + 3 * len(marks))) or token.canonical in home.norm[low:high]:
        return ""
    others = [
        one for one in home.tokens if low <= one.start < high and one.kind == token.kind and one.canonical not in here
    ]
    return home.raw_text(others[0].start, others[0].end) if others else ""


def _foreign_latin(sentence: Reading, sources: Sequence[Reading], context: Sequence[Reading]) -> str:
    """B细胞 for T细胞, a gene, an abbreviation that nobody explained."""
    known = {plain_latin(word) for reading in (*sources, *context) for word in _LATIN.findall(reading.norm)}
    for match in _LATIN.finditer(sentence.norm):
        if plain_latin(match[0]) not in known:
            return f"原文没有提到“{sentence.raw_text(*match.span())}”"
    return ""


def _other_kinds(sentence: Reading, sources: Sequence[Reading]) -> str:
    """细菌性肠炎 for 病毒性肠炎: what stands before 性 or 型 is another where what follows is the same."""
    text = "\n".join(reading.norm for reading in sources)
    for match in _KIND.finditer(sentence.norm):
        kind, following = match[0][:-1], match[0][-2:]
        if following in text and kind[-2:] not in text:
            return f"原文没有提到“{sentence.raw_text(*match.span())}”"
    return ""


def _foreign_drugs(
    sentence: Reading, drugs: Sequence[tuple[int, int]], window: Window, context: Sequence[Reading]
) -> str:
    for start, end in drugs:
        name = sentence.norm[max(start, end - 4) : end]
        told = any(name[-3:] in reading.norm for reading in (*window.readings, *context))
        if not told and not _is_subject(fold(sentence.raw_text(start, end)), sentence, window):
            return f"原文没有提到“{sentence.raw_text(start, end)}”"
    return ""


def _foreign_words(sentence: Reading, window: Window, context: Sequence[Reading]) -> str:
    chars = frozenset().union(*(reading.char_set for reading in (*window.readings, *context)))
    people = group_places(sentence)
    for start, end in window.novel:
        if start in people:
            continue
        run = [sentence.norm[place] for place in range(start, end) if sentence.norm[place].isalnum()]
        new = [char for char in run if char not in chars]
        if len(run) > 1 and len(new) >= 2 and any(char in _MEDICAL for char in new):
            if _is_subject(fold(sentence.raw_text(start, end)), sentence, window):
                continue
            return f"原文没有提到“{sentence.raw_text(start, end)}”"
    return ""


def _turned(sentence: Reading, sources: Sequence[Reading]) -> str:
    """A verb whose sides are exchanged: 甲增强乙 for 乙增强甲."""
    for token in sentence.tokens:
        if token.canonical not in _VERBS:
            continue
        left, right = _sides(sentence, token)
        theirs = [
            _sides(reading, other)
            for reading in sources
            for other in reading.tokens
            if other.canonical == token.canonical
        ]
        turned = [len(left & after) > 1 and len(right & before) > 1 for before, after in theirs]
        straight = [len(left & before) + len(right & after) for before, after in theirs]
        crossed = [len(left & after) + len(right & before) for before, after in theirs]
        if any(turned) and max(crossed) > max(straight) + 2:
            return f"“{sentence.raw_text(*sentence.clause_at(token.start))}”的方向与原文相反"
    return ""


def _sides(reading: Reading, token: Token) -> tuple[frozenset[str], frozenset[str]]:
    context = reading.context(token.start, token.end)
    return (context.left, context.right)
