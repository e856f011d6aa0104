"""Names of drugs, diseases, tests and herbs: a sentence may name only what its passage, title or headings name.

What is covered: the names of `entities.lexicon` (trade and generic are equal), drugs with common endings, the names
that a title gives to one thing, words that sum up what the passage tells (`families.tsv`), classes of drugs and their
members (`wider`), a name that the title has in part, circumstances told before the statement in words of their own,
words that look medical by their characters and stand nowhere in the window; cause and effect, more and less exchanged
around a verb, and two things exchanged (`exchange`). What is not covered: classes of diseases, and a name that another
sentence of the passage has in the place of this one.
Tried: names of the title only against names of their own kind; as often wrong as right. Abbreviations that the passage
has outside the window; they were exchanged six times as often as right.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence, Set
from functools import cache
from typing import NamedTuple

from chimed_rag.entities.lexicon import unknown_drugs
from chimed_rag.packaged import rows
from chimed_rag.safety.alignment import Window, read
from chimed_rag.safety.exchange import exchanged
from chimed_rag.safety.likenames import is_joined, is_named, is_subject, plain_latin
from chimed_rag.safety.population import group_places
from chimed_rag.safety.reading import Reading, Token
from chimed_rag.safety.surroundings import likeness
from chimed_rag.safety.wider import is_member_or_class
from chimed_rag.text import fold

NAME_KINDS = frozenset(("drug", "disease", "test", "herb", "term", "sign", "part", "germ", "act"))
_MEDICAL = frozenset(
    "炎癌瘤疹疮痈疽疡梗栓痛胀痒痹瘫瘀瘘疝痔瘢痕痰咳晕厥惊搐颤疸肿胸腹腰颈肩膝髋踝腕肘骨髓脊椎韧肌腱筋颅脑眼耳鼻咽喉舌牙齿唇肠肛肝胆胰脾肾"
    "膀胱尿睾卵巢宫乳腺肺脉血淋菌毒霉酶疫苗酸碱钠钾钙镁磷铁锌碘糖脂蛋醇胺唑啶嗪汀坦韦沙芬酮酚苷囊丸孕胎"
)
_KIN = (
    "痛疼绞",
    "肿胀块瘤",
    "眼睛瞳睑泪",
    "咽吞喉嗓",
    "瘫痹",
    "骨椎脊折髋股胫",
    "脑颅神",
    "腹肚脐胃脘",
    "胸乳肋",
    "孕妊胎产",
    "牙齿龈颌",
    "唇口嘴",
    "癌瘤恶",
    "腕桡掌手",
    "筋腱韧肌",
    "肛便痔",
    "脉血",
    "颈脖",
    "肺呼气",
    "舌苔",
)
"""Characters of which one says what another sums up; a text that has the one may be told with the other."""
_FIGURATIVE = re.compile(
    "眼[下前看点里]|[着扎惹睁亮字心转]眼|脾气|口头|手头|骨子|血本|脑子|头脑|尾巴|胆[子量敢大小]|面子|心肠"
)
"""Words that name a part of the body and mean none."""
_EVERYDAY = frozenset(
    "的地得了着过起来去上下里外中内间旁边处侧时候前后先再又也还都就才却只仅更最很太真越多少大小长短快慢高低深浅好坏强弱重轻"
    "在从到向往由于与及或并跟比像如同样似对把被让使给叫用以为是有没无不未非别莫勿可能会要应该须得想肯敢必"
    "吃喝服打抽放拿弄挤按推拉塞插拔抱举摸看听说讲问做干搞出进回倒拆开关合转变成引带加换停等归处理管靠算属"
    "这那哪其此某每各什么怎几个些点种次回遍位名条只根张家自己身人者病医生一二三四五六七八九十两半全整常平经已正刚曾"
    "厉害实在苗觉感觉方面情况东西事件办法"
)
"""Characters of words that any sentence may be told with: they name nothing."""
_FAMILIES = "families.tsv"
_PLAIN_PARTS = frozenset("部脏腔体")  # 胃部 is 胃
_CLASS_ENDS = frozenset("类药等")
_BASES, _NO_BASE = frozenset("化性中基度酶能"), frozenset("变补是酸胆的成强弱制偏把将呈")
_TAKES = frozenset("用吃服打对给使让含加以和与及或是换选")
_LATIN = re.compile("[a-zα-ω0-9][a-zα-ω0-9+-]*")
_UNIT = re.compile("[0-9]*[cm]mh")  # of mmH₂O and cmH₂O, which `measures` does not read
_LETTERED = frozenset(("分期", "分级", "期的"))
_KIND = re.compile(
    "(?!.?[的和与及或为是有无])[\u4e00-\u9fff]{1,2}[性型](?![质别能状格情交生欲功激病腺号])[\u4e00-\u9fff]"
)
_IN_BLOOD = re.compile("[高低]?血?清?(钾|钠|钙|磷|镁|氯|锂|糖|脂|尿酸|氨)(?:离子|血症|升?高|降?低|异常)?")
_STEM = re.compile(
    "(?:西林|沙坦|洛尔|地平|普利|他汀|拉唑|替丁|沙星|霉素|环素|洛韦|昔布|昔康|双胍|噻嗪|唑仑|西泮|司琼|替尼|康唑|硝唑|格列|列汀|列净|沙班|膦酸|曲普坦|曲坦|巴比妥)$|^头孢"
)
_SUCH = re.compile("(?:这样的|那样的|这类|这种|之类的?)([\u4e00-\u9fff]{1,8}?(?:类|药|病|剂))")
_ORGANS = frozenset("心肝脾肺肾胃肠脑胆胰眼耳")
_ORGAN = re.compile("([心肝脾肺肾胃肠脑胆胰眼耳])(?:脏|部)?(损伤|功能|毒性|衰竭|移植|出血)")
_CIRCUMSTANCES = frozenset(("disease", "sign", "part", "act", "term"))
_WHO = re.compile(".{0,2}(?:病人|患者|者|人)")
_VERBATIM = 0.6  # share of what else a sentence says from which a foreign name took the place of another
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
    said = _names(sentence)
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
        or _exchanged(sentence, window.readings)
    )
    return bool(said or drugs or fault), fault


def _foreign_names(sentence: Reading, said: Sequence[Token], window: Window, context: Sequence[Reading]) -> str:
    sources = window.readings
    here = [(reading, token) for reading in sources for token in reading.tokens if token.kind in NAME_KINDS]
    known = {token.canonical for _, token in here}
    headed = {token.canonical for reading in context for token in reading.tokens if token.kind in NAME_KINDS}
    names = {token.canonical for token in said}
    called = frozenset(map(fold, _titles(window)))
    home = cache(lambda clause: _home(sentence, clause, sources))
    for token in said:
        if token.canonical in known or any(token.canonical in reading.norm for reading in sources):
            if token.canonical not in headed and (taken := _elsewhere(token, home(sentence.clause_at(token.start)))):
                return f"“{sentence.raw_text(token.start, token.end)}”不同于原文的“{taken}”"
            continue
        if _is_wider(token, sentence, sources, context) or _is_example(token, sentence, sources):
            continue
        if token.kind == "part" and any(
            (set(token.canonical) - _PLAIN_PARTS) & one.char_set for one in (*sources, *context)
        ):
            continue
        words = fold(sentence.raw_text(token.start, token.end))
        if {words, token.canonical} & called and any(name in one.folded for name in called for one in sources):
            continue
        if (
            is_named(token, words, sources)
            or is_joined(words, sources, context)
            or _is_subject(words, sentence, window)
        ):
            continue
        if home(sentence.clause_at(token.start)) is None and _is_circumstance(token, sentence, window, context):
            continue
        is_headed = token.canonical in headed or any(token.canonical in one.norm for one in context)
        others = [(reading, other) for reading, other in here if other.canonical not in names]
        place = sentence.context(token.start, token.end)
        scored = [
            (likeness(place, reading.context(other.start, other.end)), reading, other) for reading, other in others
        ]
        score, reading, other = max(scored, key=lambda one: one[0], default=(0.0, sentence, token))
        if is_headed:
            if score < 0.55:
                continue
        elif not scored or score < 0.2:
            return f"原文没有提到“{sentence.raw_text(token.start, token.end)}”"
        mine, theirs = sentence.raw_text(token.start, token.end), reading.raw_text(other.start, other.end)
        return f"“{mine}”不同于原文的“{theirs}”"
    return ""


def _is_circumstance(token: Token, sentence: Reading, window: Window, context: Sequence[Reading]) -> bool:
    """Whether a name that the passage has nowhere tells for whom or when what follows holds, in words of its own.

    It does in a clause before the last one, as long as the literature does not have the rest word for word: then the
    name took the place of another.
    """
    if token.kind not in _CIRCUMSTANCES or _WHO.match(sentence.norm, token.end):
        return False
    if any(token.canonical in one.norm for one in (*context, *window.passages())):
        return False
    return _precedes(token.start, token.end, sentence, window)


def _precedes(start: int, end: int, sentence: Reading, window: Window) -> bool:
    """Whether `norm[start:end]` stands before the last clause of a sentence whose rest is not said word for word."""
    if sentence.clause_at(start) == sentence.clauses[-1]:
        return False
    rest = [pairs for place, pairs in sentence.pairs.items() if not start <= place < end]
    held = sum(any(not one.pair_set.isdisjoint(pairs) for one in window.readings) for pairs in rest)
    return held < _VERBATIM * len(rest)


@cache
def _families() -> dict[str, tuple[str, ...]]:
    return {name: tuple(fold(words).split()) for name, words in rows("chimed_rag.safety", _FAMILIES)}


def _names(sentence: Reading) -> list[Token]:
    return [token for token in sentence.tokens if token.kind in NAME_KINDS]


def _is_wider(token: Token, sentence: Reading, sources: Sequence[Reading], context: Sequence[Reading]) -> bool:
    """Whether a name sums up what the literature tells, or is that of a class or a member of what it names."""
    following = sentence.raw_text(token.end, token.end + 6)
    return _is_summed_up(token, sentence, (*sources, *context)) or is_member_or_class(
        token.canonical, following, sources, context
    )


def _is_summed_up(token: Token, sentence: Reading, sources: Sequence[Reading]) -> bool:
    """Whether the literature names what a word sums up, or says the same of the blood: 低钾血症, 血钾低."""
    words = _families().get(token.canonical, ())
    if any(word in one.norm or word in one.folded for word in words for one in sources):
        return True
    match = _IN_BLOOD.fullmatch(token.canonical)
    if not match:
        return False
    found = re.compile(f"([高低]?)(?:血清?{match[1]}|{match[1]}血症)(.{{0,3}})|([高低补缺]){match[1]}")
    told = [place for one in sources for place in found.finditer(one.norm)]
    ways = {way for place in told for way in _ways((place[1] or place[3] or "") + (place[2] or ""))}
    mine = _ways(sentence.norm[max(0, token.start - 1) : token.end + 3])
    return bool(told) and (not mine or not ways or bool(mine & ways))


def _ways(words: str) -> frozenset[str]:
    """Whether something is high or low: 升高, 低钾."""
    return frozenset("高" if char in "高升" else "低" for char in words if char in "高升低降")


def _is_example(token: Token, sentence: Reading, sources: Sequence[Reading]) -> bool:
    """莫西沙星等喹诺酮类, 依那普利 where the literature speaks of 普利类: one of a class that is named."""
    stem = _STEM.search(token.canonical) if token.kind == "drug" else None
    if stem and any(re.search(stem[0] + "类?[药类降]", one.norm) for one in sources):
        return True
    match = _SUCH.match(sentence.raw_text(token.end, len(sentence.norm)))
    pairs = read(match[1]).pair_set if match else frozenset()
    return any(pairs & one.pair_set for one in sources)


def _titles(window: Window) -> Iterator[str]:
    for unit in window.units:
        yield from unit.passage.names


def _is_subject(words: str, sentence: Reading, window: Window) -> bool:
    return len(words) > 2 and any(is_subject(words, before, _SUBJECTS) for before in window.before(sentence))


class _Home(NamedTuple):
    """The clause of the window that holds most of what a clause says beside names, and the names of the latter."""

    reading: Reading
    begin: int
    end: int
    said: frozenset[str]


def _elsewhere(token: Token, home: _Home | None) -> str:
    """The name in whose place a name stands that the window has in another clause only; "" if there is none.

    A name that is not in the home of its clause took the place of one of the same kind that is.
    """
    if home is None or token.canonical in home.reading.norm[home.begin : home.end]:
        return ""
    for one in home.reading.tokens:
        if home.begin <= one.start < home.end and one.kind == token.kind and one.canonical not in home.said:
            return home.reading.raw_text(one.start, one.end)
    return ""


def _home(sentence: Reading, clause: tuple[int, int], sources: Sequence[Reading]) -> _Home | None:
    """The home of a clause of the sentence; None if no clause of the window holds enough of it."""
    begin, end = clause
    named = [one for one in sentence.tokens if begin <= one.start < end and one.kind in NAME_KINDS]
    inside = {place for one in named for place in range(one.start, one.end)}
    rest = [frozenset(pairs) for place, pairs in sentence.pairs.items() if begin <= place < end and place not in inside]
    marks = [sentence.norm[place] for _, place, _ in sentence.measures if begin <= place < end]
    scored: list[tuple[int, int, Reading, int, int]] = []
    for reading in sources:
        for (low, high), pairs in zip(reading.clauses, reading.clause_pairs, strict=True):
            held = sum(not one.isdisjoint(pairs) for one in rest) + 3 * sum(
                mark in reading.norm[low:high] for mark in marks
            )
            scored.append((held, -len(scored), reading, low, high))
    held, _, home, low, high = max(scored, key=lambda one: one[:2], default=(0, 0, sentence, 0, 0))
    if held < max(3, 0.6 * (len(rest) + 3 * len(marks))):
        return None
    return _Home(home, low, high, frozenset(one.canonical for one in named))


def _foreign_latin(sentence: Reading, sources: Sequence[Reading], context: Sequence[Reading]) -> str:
    """B细胞 for T细胞, a gene, an abbreviation that nobody explained."""
    known = {plain_latin(word) for reading in (*sources, *context) for word in _LATIN.findall(reading.norm)}
    parts = {part for word in known for part in word.split("-")}
    for match in _LATIN.finditer(sentence.norm):
        word = plain_latin(match[0])
        if word not in known and not (
            word in parts
            or _is_known_letter(word, sentence.norm[match.end() : match.end() + 2], known)
            or _is_in_name(sentence, match.span(), sources)
            or _UNIT.fullmatch(match[0])
        ):
            return f"原文没有提到“{sentence.raw_text(*match.span())}”"
    return ""


def _is_known_letter(word: str, following: str, known: Set[str]) -> bool:
    """Whether the literature has T1 or T2 where a sentence speaks of T分期, JCV where it speaks of JC病毒."""
    if following == "病毒":
        return word + "v" in known
    return len(word) == 1 and following in _LETTERED and any(re.fullmatch(f"{word}[0-9][a-z]?", one) for one in known)


def _is_in_name(sentence: Reading, span: tuple[int, int], sources: Sequence[Reading]) -> bool:
    """Whether Latin letters or digits belong to a name that a source has as the sentence writes it: CA19-9."""
    for token in sentence.tokens:
        if token.start <= span[0] and span[1] <= token.end and token.kind in NAME_KINDS:
            said = fold(sentence.raw_text(token.start, token.end))
            return any(said in one.folded for one in sources)
    return False


def _other_kinds(sentence: Reading, sources: Sequence[Reading]) -> str:
    """细菌性肠炎 for 病毒性肠炎, 肝损伤 for 肾损伤: what stands before is another where what follows is the same."""
    text = "\n".join(reading.norm for reading in sources)
    for match in _KIND.finditer(sentence.norm):
        kind, following = match[0][:-1], match[0][-2:]
        if following in text and kind[-2:] not in text:
            return f"原文没有提到“{sentence.raw_text(*match.span())}”"
    for match in _ORGAN.finditer(sentence.norm):
        near = re.findall(f"(.{{0,5}}){match[2]}(?=(.{{0,3}}))", text)
        others = any(_ORGANS.intersection(before[-3:]) for before, _ in near)
        if others and not any(match[1] in before + after for before, after in near):
            return f"原文没有提到“{sentence.raw_text(*match.span())}”"
    return ""


def _foreign_drugs(
    sentence: Reading, drugs: Sequence[tuple[int, int]], window: Window, context: Sequence[Reading]
) -> str:
    for start, end in drugs:
        if sentence.norm[end : end + 1] in _CLASS_ENDS and _is_told(sentence.norm[end - 2 : end], window, context):
            continue
        if sentence.norm[end - 1] in "碱铵" and _is_no_drug(sentence.norm[end - 2], sentence.norm[end : end + 1]):
            continue
        if is_member_or_class(sentence.norm[start:end], sentence.norm[end : end + 6], window.readings, context):
            continue
        name = sentence.norm[max(start, end - 4) : end]
        name = name[-2:] if name[-3:-2] in _TAKES else name[-3:]
        told = any(name in reading.norm for reading in (*window.readings, *context))
        if not told and not _is_subject(fold(sentence.raw_text(start, end)), sentence, window):
            return f"原文没有提到“{sentence.raw_text(start, end)}”"
    return ""


def _is_no_drug(before: str, after: str) -> bool:
    """Whether 碱 or 铵 between two characters is no ending of a drug's name: 碱化, 酸碱, 胆碱酯酶."""
    return before in _NO_BASE or after in _BASES


def _is_told(stem: str, window: Window, context: Sequence[Reading]) -> bool:
    return any(stem in reading.norm for reading in (*window.readings, *context))


def _foreign_words(sentence: Reading, window: Window, context: Sequence[Reading]) -> str:
    chars = frozenset().union(*(reading.char_set for reading in (*window.readings, *context)))
    people = group_places(sentence)
    named = {
        at
        for token in (sentence.tokens if window.novel else ())
        if token.kind == "light"
        or token.kind == "drug"
        or (token.kind in NAME_KINDS and _is_wider(token, sentence, window.readings, context))
        or _is_summed_up(token, sentence, (*window.readings, *context))
        for at in range(token.start, token.end)
    }
    for start, end in window.novel:
        if start in people:
            continue
        words = "".join("，" if at in named else sentence.norm[at] for at in range(start, end))
        run = [char for char in _FIGURATIVE.sub("", words) if char.isalnum()]
        new = [char for char in run if char not in chars and char not in _EVERYDAY and _kin(char).isdisjoint(chars)]
        if len(run) > 1 and len(new) >= 2 and any(char in _MEDICAL for char in new):
            if _is_subject(fold(sentence.raw_text(start, end)), sentence, window):
                continue
            if _precedes(start, end, sentence, window):
                continue
            return f"原文没有提到“{sentence.raw_text(start, end)}”"
    return ""


@cache
def _kin(char: str) -> frozenset[str]:
    return frozenset().union(*(group for group in _KIN if char in group)) - {char}


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


def _exchanged(sentence: Reading, sources: Sequence[Reading]) -> str:
    said = exchanged(sentence, sources)
    return f"“{said}”与原文所说的对象互换" if said else ""


def _sides(reading: Reading, token: Token) -> tuple[frozenset[str], frozenset[str]]:
    context = reading.context(token.start, token.end)
    return (context.left, context.right)
