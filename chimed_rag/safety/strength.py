"""Strength and direction: 禁用 is not 慎用, 首选 not 次选, 升高 not 降低, 左 not 右.

What is covered: the ladder of `polarity`, the classes of `contrasts.tsv`, exchanged ones too, pairs of opposite
characters beside the same neighbour (高流量, 低流量), and what `degrees`, `scope`, `forbidden`, `superlatives` and
`majorities` find. What is not covered: contrasts that neither table nor pairs hold; a word that forbids, where no like
clause of the literature affirms what it forbids.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from chimed_rag.safety.degrees import graded
from chimed_rag.safety.forbidden import allowed
from chimed_rag.safety.majorities import exchanged
from chimed_rag.safety.marks import Mark, find_marks, rival, strict_values
from chimed_rag.safety.negation import affirmed_in_like_clause, denied_otherwise, like_texts, shares_head
from chimed_rag.safety.polarity import denials, ladder_marks, level, meets, possibilities
from chimed_rag.safety.reading import Reading
from chimed_rag.safety.scope import narrowed, reordered, widened
from chimed_rag.safety.superlatives import superlative
from chimed_rag.safety.surroundings import likeness

CONTRASTS = "contrasts.tsv"
_TO_ALL = re.compile("[都均](?:可|能|适合|适用)")
_NEAR = 0.3  # likeness from which a word of the ladder is taken for that of the literature
_LOOSE = 0.15  # and a word of a class, of which there are fewer


def strength(
    sentence: Reading, sources: Sequence[Reading], context: Sequence[Reading], used: Sequence[tuple[Reading, int, int]]
) -> tuple[bool, str]:
    """(whether there is anything to compare, what is wrong).

    Args:
        sentence: what is said.
        sources: the window of the literature.
        context: title and headings.
        used: the clauses of the window, as (reading, begin, end), that the sentence repeats.
    """
    ladder, classes = ladder_marks(sentence), find_marks(sentence, CONTRASTS)
    their_ladder = [mark for reading in sources for mark in ladder_marks(reading)]
    fault = (
        _possible(sentence, their_ladder)
        or _climbed(ladder, their_ladder, sources, context)
        or _left_out(sentence, their_ladder, used)
        or _allowed(sentence, ladder, their_ladder, sources)
    )
    fault = fault or _contrasted(classes, sources, context) or opposed(sentence, sources)
    fault = fault or graded(sentence, sources) or widened(sentence, sources)
    fault = fault or allowed(sentence, sources)
    fault = fault or superlative(sentence, sources, context)
    fault = fault or exchanged(sentence, sources)
    fault = fault or narrowed(sentence, sources) or reordered(sentence, sources)
    return bool(ladder or classes or their_ladder or fault), fault


def _climbed(
    said: Sequence[Mark], source: Sequence[Mark], sources: Sequence[Reading], context: Sequence[Reading]
) -> str:
    """A word of the ladder that stands on another step in the literature."""
    headed = [mark for reading in context for mark in ladder_marks(reading)]
    possible = [mark for reading in sources for mark in possibilities(reading)]
    for mark in said:
        beside, contrary = _beside(mark, (*source, *possible), meets)
        if contrary is not None:
            return f"“{_phrase(mark)}”不同于原文的“{_phrase(contrary)}”"
        if beside:
            continue
        agreed, other = rival(mark, source, meets, least=_NEAR)
        if other is not None and not agreed and _turned(mark, other) and not shares_head(mark, other):
            other = None  # 别扔 and 应保留 do not speak of the same act
        if other is not None:
            near = likeness(mark.context, other.context)
            kept_too = any(
                meets(other, one)
                and (likeness(one.context, other.context) > near or _after(one) == _after(other) != "")
                for one in said
                if one is not mark
            )
            if not (any(meets(mark, one) for one in headed) and not agreed) and not kept_too:
                return f"“{mark.text}”不同于原文的“{other.text}”"
        elif (
            not agreed
            and level(mark) <= 0
            and not any(meets(mark, one) for one in headed)
            and not _is_founded(mark, sources)
        ):
            return f"原文没有“{mark.text}”"
    return ""


_WAIVED = frozenset("0")
_GROUND_TO_WAIVE = re.compile("例外|除外|继续|相同|不变|正常|自行|自愈|自限|缩短|极少|很少|罕见|消退|消失|仅|只")
_ASKED_NOT_TO = re.compile("(?:千万|先|可|最好)?(?:别|甭|勿|莫|不要|请勿|切勿)")


_ADVERSE = re.compile(
    "引起|妨碍|影响|间隔|避免|防止|混淆|风险|加重|停止|损伤|危险|中毒|升高[^，。；]{0,4}浓度|减少[^，。；]{0,4}吸收|诱发|刺激|失效"
)


def _is_founded(mark: Mark, sources: Sequence[Reading]) -> bool:
    """Whether the literature gives ground for a word that forbids or waives and that it does not use itself."""
    if any(likeness(mark.context, one.context) > _NEAR for reading in sources for one in denials(reading)):
        return True
    if mark.values == _WAIVED:
        return _GROUND_TO_WAIVE.search(
            like_texts(mark, sources, wider=True)
        ) is not None and not affirmed_in_like_clause(mark, sources)
    if denied_otherwise(mark, sources) or _is_warning(mark, sources):
        return True
    return not affirmed_in_like_clause(mark, sources)


def _is_warning(mark: Mark, sources: Sequence[Reading]) -> bool:
    """Whether a word is that of a request not to do (别), of an act which the literature demands or affirms nowhere: it
    tells the reader what follows for him."""
    if not _ASKED_NOT_TO.fullmatch(mark.text):
        return False
    return (
        not affirmed_in_like_clause(mark, sources) or _ADVERSE.search(like_texts(mark, sources, wider=True)) is not None
    )


def _turned(one: Mark, other: Mark) -> bool:
    """Whether one of two words of the ladder forbids or waives and the other demands."""
    low, high = sorted((level(one), level(other)))
    return low <= 0 and high > 1


def _possible(sentence: Reading, source: Sequence[Mark]) -> str:
    """可减少 as a possibility, where the literature demands or forbids the same."""
    for mark in possibilities(sentence):
        _, contrary = _beside(mark, source, lambda one, other: level(other) == 1)
        if contrary is not None:
            return f"“{_phrase(mark)}”不同于原文的“{_phrase(contrary)}”"
    return ""


def _beside(mark: Mark, source: Sequence[Mark], agrees: Callable[[Mark, Mark], bool]) -> tuple[bool, Mark | None]:
    """(whether a mark that agrees stands beside the same words, one that does not, where none that agrees does)."""
    before, after = mark.reading.beside(mark.start, mark.end)
    same = other = None
    certain = False
    for one in source:
        their_before, their_after = one.reading.beside(one.start, one.end)
        both = after == their_after and before == their_before and len(before + after) > 1
        if both or (len(after) == 2 and after == their_after):
            if agrees(mark, one):
                same = one
            else:
                other, certain = one, certain or both
    if same is not None or (other is not None and not certain and any(agrees(mark, one) for one in source)):
        other = None  # where a mark that agrees stands elsewhere, one side alone does not decide
    return same is not None, other


def _after(mark: Mark) -> str:
    return mark.reading.beside(mark.start, mark.end)[1]


def _phrase(mark: Mark) -> str:
    reading = mark.reading
    high = min(mark.end + 3, reading.clause_at(mark.start)[1])
    return reading.raw_text(mark.start, high)


def _left_out(sentence: Reading, source: Sequence[Mark], used: Sequence[tuple[Reading, int, int]]) -> str:
    """A forbidding word that the sentence lost on the way, though it repeats the clause."""
    kept = {value for mark in ladder_marks(sentence) if level(mark) <= 0 for value in mark.values}
    warns = _WARNING.search(sentence.folded) is not None
    doubts = _DOUBT.search(sentence.folded) is not None

    def told(mark: Mark) -> bool:
        return warns or (doubts and _EXCLUDED.search(mark.reading.raw_text(mark.end, mark.end + 5)) is not None)

    for mark in source:
        repeated = any(mark.reading is reading and begin <= mark.start < end for reading, begin, end in used)
        if level(mark) <= 0 and repeated and not mark.values & kept and not denials(sentence) and not told(mark):
            return f"丢了原文的“{mark.text}”"
    return ""


_WARNING = re.compile(
    "(?:风险|危险|机会)[^，。；]{0,5}[升增高大]|[增升加][^，。；]{0,8}(?:风险|危险)|耽误|延误|加重|恶化|过量|过头|致命|危及|招致"
    "|禁[饮食种服用]|忌[用服食口]|能避[就则]|当心|小心|警惕|[光仅]|单(?:靠|凭|吃|用|独|看|一)|只(?![要需能有])|重复|要么|不[同宜行]"
)
"""What warns of an act says that it is not to be done."""
_DOUBT = re.compile("可能|照样|仍|也许|也会|也能")
_EXCLUDED = re.compile("^.{0,3}(?:排除|除外|否定|代表)")
"""不能排除 and 仍可能 say the same."""


def _allowed(sentence: Reading, said: Sequence[Mark], source: Sequence[Mark], sources: Sequence[Reading]) -> str:
    """What the literature forbids and the sentence does not: to all, whom it allows (都可以), or to a disease that the
    window names there alone."""
    forbidding = [mark for mark in source if level(mark) <= -1]
    if not forbidding or any(level(mark) <= -1 for mark in said):
        return ""
    if _TO_ALL.search(sentence.folded):
        return f"丢了原文的“{_phrase(forbidding[0])}”"
    if denials(sentence):
        return ""
    here = {token.canonical for token in sentence.tokens if token.kind == "disease"}
    for mark in forbidding:
        begin, _ = mark.reading.clause_at(mark.start)
        named = [one for one in mark.reading.tokens if begin <= one.start < mark.start and one.canonical in here]
        for one in named if level(mark) < -2 else ():
            if sum(reading.norm.count(one.canonical) for reading in sources) == 1:
                return f"丢了原文的“{mark.reading.raw_text(one.start, mark.end)}”"
    return ""


def _contrasted(said: Sequence[Mark], sources: Sequence[Reading], context: Sequence[Reading]) -> str:
    source = [mark for reading in sources for mark in find_marks(reading, CONTRASTS)]
    headed = [mark for reading in context for mark in find_marks(reading, CONTRASTS)]
    for mark in said:
        same = [one for one in source if one.kind == mark.kind]
        beside, contrary = _beside(mark, same, meets)
        if contrary is not None:
            return f"“{_phrase(mark)}”不同于原文的“{_phrase(contrary)}”"
        if beside:
            continue
        agreed, other = rival(mark, same, meets, least=_LOOSE)
        if other is not None:
            in_heading = not agreed and any(one.kind == mark.kind and meets(mark, one) for one in headed)
            kept_too = not agreed and any(_fits_more(one, mark, other) for one in said if one is not mark)
            if not in_heading and not kept_too:
                return f"“{_told(mark)}”不同于原文的“{_told(other)}”"
        elif (
            not agreed
            and _is_strict(mark)
            and not _is_excused(mark, sources)
            and not any(one.kind == mark.kind and meets(mark, one) for one in headed)
        ):
            return f"原文没有“{mark.text}”"
    return ""


def _fits_more(one: Mark, mark: Mark, other: Mark) -> bool:
    """Whether another word of the sentence agrees with a word of the literature and stands in surroundings more like
    it than those of `mark`."""
    return (
        one.kind == other.kind
        and meets(one, other)
        and likeness(one.context, other.context) >= likeness(mark.context, other.context)
    )


_DEMANDING = re.compile("一定[要得先跟问说告不别由去]")
_FORBIDDEN_OUTRIGHT = re.compile("绝对|一定[不别]")
_RELATED = re.compile("[跟与和同][^，。；]{1,8}$")
_RULED_OUT = re.compile("(?:可以?|能够?|足以|已经?|就|便)$")
_LIMITED = re.compile("[只仅单唯限无不未没禁]|部分|必须")
_HARMLESS = re.compile("可(?![能引致])|正常|安全|不必|不影响|没有(?:明显)?(?:危害|影响)")


_SAID_OTHERWISE = {
    "speed": re.compile("即(?![可使为便])|急诊|抢救|一旦|突然"),
    "go": re.compile("停|撤|中止|终止|禁|骤|麻痹|断|回乳"),
    "effect": re.compile("失效|耐药|耐受|甚差|抵抗|脱逸|不敏感|难治|不佳"),
    "quantity": re.compile("完全|均|皆|各种|凡|一切|不论|无论|本类|反复|持续|顽固|难[以于治]|否则难"),
    "certainty": re.compile("(?<!不)必(?![要需])|均|皆|都"),
}
"""By class, what says in other words what must not be added: 即 for 马上, 耐药 for 没用."""
_UNRELATED = re.compile("无关|不相关|没有?关系|不成正?比|不受")
_NONE_THE_LESS = re.compile("[^，。；]{0,4}[，]?也(?:不|别|得|要|应|该|可能|会)")
"""没事也不能大意 calls nothing harmless."""


def _is_excused(mark: Mark, sources: Sequence[Reading]) -> bool:
    """Whether a word that must not be added is denied or forbidden before it (不是所有, 别马上停), strengthens advice
    (一定要问, 一律禁用), is conceded only, or says what the literature says in other words."""
    reading = mark.reading
    low, high = reading.clause_at(mark.start)
    refused = (*denials(reading), *(one for one in ladder_marks(reading) if level(one) < 0))
    if any(low <= one.start and one.end <= mark.start for one in refused):
        return True
    here = like_texts(mark, sources)
    if mark.kind in ("go", "effect") and not here:
        here = "\n".join(one.norm for one in sources)
    otherwise = _SAID_OTHERWISE.get(mark.kind)
    if otherwise is not None and otherwise.search(here):
        return True
    if mark.kind == "need" and any(_LIMITED.search(one.norm) for one in sources):
        return True
    said = reading.raw_text(mark.start, min(high, mark.end + 3))
    levels = [level(one) for source in sources for one in ladder_marks(source)]
    if _FORBIDDEN_OUTRIGHT.match(said) and any(one <= -3 for one in levels):
        return True
    if _DEMANDING.match(said) and any(one > 2 for one in levels):
        return True
    if mark.text == "排除":
        return not _RULED_OUT.search(reading.raw_text(low, mark.start))
    if mark.kind == "harmless":
        after = reading.raw_text(mark.end, mark.end + 10)
        related = _RELATED.search(reading.raw_text(low, mark.start)) is not None and mark.text.startswith("没")
        if related and (any(_UNRELATED.search(one.folded) for one in sources) or denied_otherwise(mark, sources)):
            return True
        return bool(_HARMLESS.search(here)) or _NONE_THE_LESS.match(after) is not None
    return mark.kind == "effect" and denied_otherwise(mark, sources)


def _is_strict(mark: Mark) -> bool:
    return any((mark.kind, value) in strict_values(CONTRASTS) for value in mark.values)


_PAIRS = (
    "高低 大小 多少 强弱 快慢 早晚 前后 上下 内外 左右 冷热 干湿 升降 增减 长短 粗细 轻重 "
    "深浅 近远 软硬 松紧 急慢 实虚 寒热 男女 初复 "
    "首末 入出 单双 良恶 显隐 阴阳 动静 开关 主次 新旧 浓淡 胖瘦 厚薄 疏密 盈亏 开闭 收放 宽窄 凹凸 伸屈"
)
_OPPOSITES = {char: other for pair in _PAIRS.split() for char, other in (tuple(pair), tuple(reversed(pair)))}


def opposed(sentence: Reading, sources: Sequence[Reading]) -> str:
    """高流量 for 低流量: a character whose opposite stands beside the same neighbour in the window, itself does not."""
    text = "\n".join(reading.norm for reading in sources)
    norm = sentence.norm
    for place, char in enumerate(norm):
        other = _OPPOSITES.get(char)
        if other is None or other not in text:
            continue
        before, after = norm[max(0, place - 1) : place], norm[place + 1 : place + 2]
        if before and not sentence.tells(place - 1):
            before = ""  # 是高 and 是低 have nothing in common
        for one, opposite in ((char + after, other + after), (before + char, before + other)):
            if len(one) == 2 and one.isalnum() and opposite in text and one not in text and opposite not in norm:
                mine = sentence.raw_text(max(0, place - 2), min(len(norm), place + 3))
                return f"“{mine}”不同于原文的“{_around(sources, opposite)}”"
    return ""


def _around(sources: Sequence[Reading], words: str) -> str:
    for reading in sources:
        place = reading.norm.find(words)
        if place >= 0:
            return reading.raw_text(max(0, place - 2), min(len(reading.norm), place + 4))
    return words


def _told(mark: Mark) -> str:
    begin = max(mark.reading.clause_at(mark.start)[0], mark.start - 4)
    return mark.reading.raw_text(begin, mark.end) if mark.end - mark.start < 3 else mark.text
