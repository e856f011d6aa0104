"""What a sentence says contrary to its window in words that no single check pairs.

What is covered, each told from whole clauses or sentences of the window and not from one word:
`reassured`: waiting or a household remedy, where the literature sends to a doctor or calls an ambulance;
`alone`: doing by oneself what the literature leaves to a doctor;
`permitted`: what the literature forbids or denies, said by a sentence that denies nothing;
`turned`: more for less, faster for slower, prevents for causes, of the same thing, also two that go together
(the slower, the worse);
`reordered`: first A, then B, for first B, then A, told with 先, 再, 前, 后, 为主, 无效时;
`compared_otherwise`: A is more than B, for B is more than A;
`exchanged`: a clause that says of A what the literature says of its sibling B.
What is not covered: contraries by knowledge of the world (palm for elbow), comparisons of two numbers, exchanges in
lists. Of a text beyond the length of a sentence only the first directions, steps and comparisons are looked at.
Tried: what a sentence denies and the literature says without a denial; it failed as many right sentences as wrong ones.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from itertools import islice, pairwise
from typing import NamedTuple

from chimed_rag.safety.marks import find_marks
from chimed_rag.safety.reading import Reading

_MOST_SAID, _MOST_TOLD = 12, 30  # of a sentence, of one sentence of the window
_CLAUSE = re.compile("[^，。；！？：,;!?:\n]+")
_DENIED = re.compile(
    "不要|不能|不可|不应|不宜|不得|不必|不会|别|勿|禁|避免|不是|不算|并非|不等于|不代表|没有|无法|未|不"
)


def contrary(sentence: Reading, sources: Sequence[Reading]) -> str:
    """What the sentence says contrary to its window, in Chinese; "" for nothing."""
    return (
        reassured(sentence, sources)
        or alone(sentence, sources)
        or permitted(sentence, sources)
        or turned(sentence, sources)
        or reordered(sentence, sources)
        or compared_otherwise(sentence, sources)
    )


def _home(sentence: Reading, sources: Sequence[Reading]) -> Reading | None:
    """The sentence of the window that holds most of what is said."""
    return max(sources, key=lambda one: len(sentence.pair_set & one.pair_set), default=None)


def _affirmed(pattern: re.Pattern[str], text: str) -> str:
    """The first match before which its clause denies nothing."""
    for clause in _CLAUSE.findall(text):
        for found in pattern.finditer(clause):
            if not _DENIED.search(clause[: found.start()]):
                return str(found[0])
    return ""


# Reassurance and self-treatment

_URGENT = re.compile("120|急诊|急救|就医|就诊|医院|复诊|停药|停用|看医生|抢救|立即|尽快|尽早")
_DEFERS = re.compile(
    "就(?:好|行|成|可以|没事|会好|能好|缓过来|过去)|即可"
    "|(?:没什么|没|无|不)(?:事|关系|妨|碍|碍事|要紧|打紧|大碍|大事|问题|危险)(?!先|后|前|发)"
    "|(?:不用|不必|不需要?|别|用不着)(?:管|理|理会|处理|担心|急|着急|紧张|慌|看医生|去医院|就医)|不急"
    "|不(?:管|理)(?:它|他|她|就)|没必要|放心"
    "|歇(?:歇|会|几|一)|躺(?:会|一会|下休)|忍|睡一?觉|熬|扛|挺一挺|缓一?缓|拖(?!久|延)"
    "|等[^，。；]{0,12}(?:再|时|后|下)|晚点|过后再|先?观察|留观|在家|热敷"
    "|正常(?:反应|现象|表现|药)|是正常|好现象|起效|坚持[吃用服打涂喝锻练]"
    "|(?:接着|继续|照[常样旧]|仍可|还[可能])[吃用服打涂喝做练]"
    "|多喝|喝[点些口]|吃[点些片]|抹[点些]|揉|(?:减|加)(?:点|一?半|些|量)"
    "|先[^，。；]{1,14}(?:看看|再|试|缓)|自己(?:会|能|就)?(?:好|恢复|消)"
)
_HELP_COMES = re.compile("等(?:救护|急救|待急救|待救护|医生)")
_SEEKS = re.compile("120|急诊|急救|就医|就诊|医院|医生|大夫|医师|看病|抢救|停|复诊|当天|[口眼儿妇外内]科")
_LATER = re.compile("再[去看叫找告打上到就送说]")


def reassured(sentence: Reading, sources: Sequence[Reading]) -> str:
    """Waiting, going on or a household remedy, where the literature demands help or a stop."""
    home = _home(sentence, sources)
    said = _affirmed(_DEFERS, sentence.folded)
    if home is None or not said or _HELP_COMES.search(sentence.folded):
        return ""
    urgent = _affirmed(_URGENT, home.folded)
    if not urgent or _affirmed(_DEFERS, home.folded):
        return ""
    if _SEEKS.search(sentence.folded) and not _LATER.search(sentence.folded):
        return ""
    return f"“{said}”不同于原文的“{urgent}”"


_SELF = re.compile(
    "(?:自行|自己|擅自|随意|随便|自作主张)[^，。；]{0,12}?"
    "(?:停|减|加|换|买|选|调|用|服|吃|定|处理|喂|拔|做|治|配|开|抠|挑|推|延长|敷|打)"
)
_DOCTOR = re.compile("医生|专科|医嘱|药师|医护|医师|(?:不要|不应|不得|不可|不宜|不能|勿)[^，。；]{0,8}自")
_WARNS = re.compile("医生|大夫|医嘱|医师|药师|牙医|导致|引起|可致|招致|容易|可能|加重|反弹|危险|风险|怕")


def alone(sentence: Reading, sources: Sequence[Reading]) -> str:
    """What one may do by oneself and the literature leaves to a doctor."""
    said = _affirmed(_SELF, sentence.folded)
    home = _home(sentence, sources)
    if home is None or not said or _WARNS.search(sentence.folded) or _affirmed(_SELF, home.folded):
        return ""
    doctor = _DOCTOR.search(home.folded)
    return f"“{said}”不同于原文的“{doctor[0]}”" if doctor else ""


_PROHIBITS = re.compile(
    "不要|不能(?!.{0,2}排除)|不可(?!逆)|不应|不宜|不得|勿|不会|不是|不等于|不代表|无效|禁用|严禁|禁止|无需|不需|不必|不用|并非"
    "|不属于|不适合|没有|不建议|不提倡|无法|不影响|不引起"
)
_ANY_DENIAL = re.compile(
    "不(?!适(?!合)|良)|没|无(?!论)|未|别(?!的|人|是)|勿|禁|忌|避|停|防|免|难|少|非(?!甾|常)|拒|莫(?!西|沙|匹)"
    "|危险|加重|有害|麻烦|靠不住|白搭|以外|除了|除外|甭|休想|谨|慎|当心|小心|警惕|才|错|替|顶|照样"
)
_MIN_DENIED = 0.3  # share of what the literature denies that the sentence must say


def permitted(sentence: Reading, sources: Sequence[Reading]) -> str:
    """What the literature forbids or denies in the clause most like a sentence that denies nothing at all."""
    if _ANY_DENIAL.search(sentence.folded):
        return ""
    said = _letters(sentence.folded)
    best, found = 0, ""
    for reading in sources:
        for clause in _CLAUSE.finditer(reading.folded):
            cue = _PROHIBITS.search(clause[0])
            told = _letters(clause[0][cue.end() :] if cue else clause[0])
            held = len(told & said)
            if held > best:
                denied = cue is not None and held >= max(2, _MIN_DENIED * (len(told) + 1))
                best, found = held, clause[0] if denied else ""
    return f"原文说的是“{found}”" if found else ""


def _letters(text: str) -> frozenset[str]:
    return frozenset(char for char in text if char.isalnum())


# Directions

_MORE = (
    "升高 上升 增加 增多 增高 增大 增强 增长 增快 增厚 增粗 加大 加快 加速 加重 加剧 加深 加强 提高 拔高 抬高 走高 "
    "上涨 猛涨 飙升 飙高 窜高 涨 大增 往上升 往上走 上去 延长 促进 兴奋 扩张 扩大 肥大 肿大 恶化 高于 多于 大于 快于 "
    "强于 长于 优于 较好 更好 最好 量多 量大 更严重 变厚 变粗 偏重"
)
_LESS = (
    "降低 下降 减少 减低 减小 减弱 减慢 减轻 减退 减缓 下滑 回落 走低 往下掉 掉下来 降下来 拉低 压低 缩短 缩小 萎缩 "
    "收缩 抑制 妨碍 阻止 拮抗 缓解 衰退 衰减 改善 低于 少于 小于 慢于 弱于 短于 劣于 较差 更差 最差 量少 变薄 变细 偏轻"
)
_DEGREES = ("过", "偏", "较", "更", "越", "变", "很", "最")
_CAUSING = {"引起": 1, "诱发": 1, "诱因": 1, "预防": -1, "治疗": -1, "治愈": -1}
_SIGNS: dict[str, int] = {
    **{degree + word: 1 for degree in _DEGREES for word in "高多快大强重长" if degree + word not in ("最大", "最长")},
    **{degree + word: -1 for degree in _DEGREES for word in "低少慢小弱轻短" if degree + word not in ("最小", "最短")},
    **dict.fromkeys(_MORE.split(), 1),
    **dict.fromkeys(_LESS.split(), -1),
    **_CAUSING,
    "高": 1,
    "低": -1,
}
_POLE = re.compile(
    "(?:"
    + "|".join(sorted((word for word in _SIGNS if len(word) > 1 or word == "涨"), key=lambda word: -len(word)))
    + ")"
    "(?![药剂的期中增])(?<!阻滞)(?<!房室抑制)(?<!传导抑制)|[高低](?=血[糖钾钠钙镁磷脂]|[钾钠钙镁磷])"
)  # 高血压 is a disease; β受体阻滞剂 and 房室阻滞 direct nothing
_NAY = re.compile("(?:不|没有|无|非|禁用|避免)[^，]{0,3}$")
_FIT, _MARGIN = 4.0, 2.0  # how well the contrary must fit, and by how much better than what agrees
_TOGETHER = 3.0  # what another direction of the same clause counts that agrees as well, or does not


class Pole(NamedTuple):
    """A word of direction: what it is said of (pairs of characters and names of one), and its clause."""

    word: str
    sign: int
    things: frozenset[str]
    near: frozenset[str]
    is_denied: bool
    begin: int
    end: int


def poles(reading: Reading) -> list[Pole]:
    """The directions of a text, in order."""
    cached: list[Pole] | None = reading.__dict__.get("poles")
    if cached is None:
        cached = []
        found = list(islice(_POLE.finditer(reading.norm), _MOST_TOLD))
        bounds = [0, *(at for match in found for at in match.span()), len(reading.norm)]
        names = {
            token.start: token.canonical
            for token in reading.tokens
            if len(token.canonical) == 1 and token.kind not in ("", "light")
        }
        for rank, match in enumerate(found):
            begin, end = reading.clause_at(match.start())
            low, high = max(begin, bounds[2 * rank]), min(end, bounds[2 * rank + 3])
            left = [at for at in range(low, match.start()) if reading.tells(at)][-6:]
            right = [at for at in range(match.end(), high) if reading.tells(at)][:4]
            things = {reading.norm[one] + reading.norm[two] for side in (left, right) for one, two in pairwise(side)}
            things.update(names[at] for at in (*left, *right) if at in names)
            near = frozenset(reading.norm[at] for at in left[-3:])
            denied = _NAY.search(reading.norm[begin : match.start()]) is not None
            cached.append(Pole(match[0], _SIGNS[match[0]], frozenset(things), near, denied, begin, end))
        reading.__dict__["poles"] = cached
    return cached


def turned(sentence: Reading, sources: Sequence[Reading]) -> str:
    """A direction whose contrary fits the window better, by what it is said of and what stands in its clause."""
    mine = poles(sentence)[:_MOST_SAID]
    if not mine:
        return ""
    whole = _bare(sentence, 0, len(sentence.norm))
    theirs = [
        (reading, pole, _bare(reading, pole.begin, pole.end), len(whole & _bare(reading, 0, len(reading.norm))))
        for reading in sources
        for pole in poles(reading)
    ]
    for said in mine:
        here = _bare(sentence, said.begin, said.end)
        best: dict[int, tuple[float, Pole | None]] = {1: (0.0, None), -1: (0.0, None)}
        for reading, pole, bare, shared in theirs:
            if not _of_the_same(said, pole):
                continue
            fit = 2 * len(said.things & pole.things) + len(here & bare) + shared / 2
            fit += _TOGETHER * _agreement(said, pole, mine, poles(reading))
            sign = pole.sign if pole.is_denied == said.is_denied else -pole.sign
            if fit > best[sign][0]:
                best[sign] = (fit, pole)
        (fit, pole_there), (same, agreed) = best[-said.sign], best[said.sign]
        if pole_there is None or pole_there.is_denied != said.is_denied or (agreed and len(said.word) == 1):
            continue
        if fit > _FIT and fit > same + _MARGIN and not _both_turned(said, pole_there, mine, theirs):
            return f"“{said.word}”不同于原文的“{pole_there.word}”"
    return ""


def _of_the_same(said: Pole, pole: Pole) -> bool:
    if (said.word in _CAUSING) != (pole.word in _CAUSING):
        return False
    alike = not said.near.isdisjoint(pole.near) and (said.sign, said.is_denied) == (pole.sign, pole.is_denied)
    return alike or not said.things.isdisjoint(pole.things)


def _agreement(said: Pole, pole: Pole, mine: Sequence[Pole], theirs: Sequence[Pole]) -> int:
    """How many other directions of the sentence agree with one beside `pole`, less those that do not."""
    pairs = [
        (one, other)
        for one in mine
        if one is not said
        for other in theirs
        if other is not pole and other.begin == pole.begin and one.is_denied == other.is_denied
    ]
    return sum((1 if a.sign == b.sign else -1) for a, b in pairs if not a.things.isdisjoint(b.things))


def _both_turned(
    said: Pole, pole: Pole, mine: Sequence[Pole], theirs: Sequence[tuple[Reading, Pole, frozenset[str], int]]
) -> bool:
    """越慢越轻 for 越快越重: another direction of the clause, or of the two that 越 joins, is turned as well."""
    return any(
        one is not said
        and _go_together(one, said)
        and any(
            _go_together(other, pole) and other.sign == -one.sign and not other.things.isdisjoint(one.things)
            for _, other, _, _ in theirs
        )
        for one in mine
    )


def _go_together(one: Pole, other: Pole) -> bool:
    return one.begin == other.begin or one.word[0] == other.word[0] == "越"


def _bare(reading: Reading, begin: int, end: int) -> frozenset[str]:
    """The pairs of a stretch without its directions."""
    taken: set[int] | None = reading.__dict__.get("pole places")
    if taken is None:
        taken = {at for match in _POLE.finditer(reading.norm) for at in range(*match.span())}
        reading.__dict__["pole places"] = taken
    places = [at for at in reading.matter if begin <= at < end and at not in taken]
    return frozenset(reading.norm[one] + reading.norm[two] for one, two in pairwise(places))


# Orders and comparisons

_IN, _OUT = "[^，。；！？,;]", "[^。；！？;]"
_FAILS = "无效|止不住|不能缓解|不能止住|不足|效果不好|不行|没效|不见好|没好转|不够|还不"
_STEPS = tuple(
    map(
        re.compile,
        (
            f"(?:首先|最先|先|首选|一开始|早期|开始)(?![天兆后露])(?P<a>{_OUT}{{2,24}}?)[，,]?(?:{_FAILS})?[时后]?"
            f"(?:再|然后|而后|随后|之后|后来|最后|才|接着|后期|晚期|转到|转移)(?P<b>{_IN}{{2,24}})",
            f"(?P<b>{_IN}{{2,20}})(?<![目以提])(?:以前|之前|前)(?![列臂壁叶部侧房庭期])[^，。；]{{0,3}}?[，,]?"
            f"(?:应|要|需|须|必须|得)?先?(?P<a>{_IN}{{2,24}})",
            f"(?P<a>{_IN}{{2,20}})(?<![产术餐饭])(?:以后|之后|后|完)[^，。；]{{0,2}}?[，,]?(?:应|要|可|才|再)+(?!首?先)(?P<b>{_IN}{{2,24}})",
            f"[从由](?P<a>{_IN}{{1,10}})[到至向](?P<b>{_IN}{{1,10}})",
            f"以(?P<a>{_IN}{{2,12}})为主[，,](?P<b>{_IN}{{2,16}})",
            f"(?P<a>{_IN}{{2,16}})(?:{_FAILS})[^，。；]{{0,10}}[，,]?[时者]?[，,]?(?:应|可|才|再|考虑|使用|用)+(?P<b>{_IN}{{2,24}})",
        ),
    )
)
_FIRST = re.compile(f"(?:首先|最先|先|首选|最早的?)(?![天兆后露])(?P<a>{_IN}{{2,20}})|以(?P<b>{_IN}{{2,12}})为主")
_MIN_CROSSED = 2


def reordered(sentence: Reading, sources: Sequence[Reading]) -> str:
    """Two steps, or the main thing and what else there is, in the other order than the literature has them."""
    mine = list(islice(_steps(sentence.norm), _MOST_SAID))
    if not mine:
        return ""
    theirs = [step for reading in sources for step in _steps(reading.norm)]
    theirs += [
        (_pairs(match["a"] or match["b"]), frozenset()) for one in sources for match in _FIRST.finditer(one.norm)
    ]
    for first, then in mine:
        straight = max((len(first & one) + len(then & two) for one, two in theirs), default=0)
        crossed = max((len(first & two) + len(then & one) for one, two in theirs), default=0)
        if crossed >= _MIN_CROSSED and not straight:
            return f"“{sentence.raw}”的先后与原文相反"
    return ""


def _steps(text: str) -> Iterator[tuple[frozenset[str], frozenset[str]]]:
    """(what comes first, what follows), as pairs of characters that the two do not share."""
    for form in _STEPS:
        for match in form.finditer(text):
            first, then = _pairs(match["a"]), _pairs(match["b"])
            yield first - then, then - first


def _pairs(text: str) -> frozenset[str]:
    return frozenset(map("".join, pairwise(text)))


_SCALES = (
    ("快", "慢"), ("高", "低"), ("多", "少"), ("早", "晚迟"), ("好优", "差劣"), ("大", "小"), ("重", "轻"),
    ("强", "弱"), ("长久", "短"), ("深", "浅"), ("准", ""), ("效利助易", "难"), ("见", ""), ("靠", ""), ("全", ""),
)  # fmt: skip
_SCALE = {char: (up, sign) for up, down in _SCALES for chars, sign in ((up, 1), (down, -1)) for char in chars}
_THAN = re.compile(
    f"(?P<a>{_IN}{{0,20}}?)(?P<than>(?<![对相])比(?![较例值如重])|[优高低强弱多少早晚快慢大小]于|不如)(?P<b>{_IN}+)"
)
_GRADE = re.compile("[快慢高低多少早晚迟好差大小重轻强弱长久短深浅准易难]|有效|有利|有助|可靠|常见|安全")
_GRADED = re.compile("[更还要得较]")
_BOUND = re.compile("[0-9]|目标|正常")


def compared_otherwise(sentence: Reading, sources: Sequence[Reading]) -> str:
    """甲比乙快 for 乙比甲快, or for 甲比乙慢."""
    mine = list(islice(_comparisons(sentence.folded), _MOST_SAID))
    theirs = [one for reading in sources for one in _comparisons(reading.folded)] if mine else []
    for left, right, scale, sign in mine:
        for one, two, other, their_sign in theirs:
            crossed, straight = min(len(left & two), len(right & one)), min(len(left & one), len(right & two))
            turned_round = crossed and not right & two and sign == their_sign
            if scale == other and (turned_round or (straight and not right & one and sign != their_sign)):
                return f"“{sentence.raw}”的比较与原文相反"
    return ""


def _comparisons(text: str) -> Iterator[tuple[frozenset[str], frozenset[str], str, int]]:
    """(letters of the one alone, of the other alone, scale, sign) of each comparison of two things."""
    for match in _THAN.finditer(text):
        rest = match["b"]
        if _BOUND.match(rest):
            continue
        scale = _SCALE.get(match["than"][0], ("好优", -1))
        if match["than"] == "比":
            grades = [grade for grade in _GRADE.finditer(rest) if grade.start()]
            graded = [grade for grade in grades if _GRADED.search(rest, max(0, grade.start() - 4), grade.start())]
            if not grades:
                continue
            grade = (graded or grades[-1:])[0]
            scale, rest = _SCALE[grade[0][-1]], rest[: grade.start()]
        one, two = _letters(match["a"]), _letters(rest)
        yield one - two, two - one, *scale


# Exchanged halves

_LATIN = re.compile("[a-z0-9]+")
_NAMING = frozenset(("drug", "disease", "test", "herb", "term", "part", "germ"))
_CONDITION = re.compile("如果|[如若]|(?:[时后前者]|的人)$")
_MOST_LIKE = 10  # clauses of the window that are compared with a clause
_OPENS = 4  # places of matter from the head of a clause at which its subject stands
_MIN_LOST = 2  # characters said of the subject that the clause must lack
_MIN_TAIL = 0.4  # share of what is said of the sibling that the clause must hold


class Clause(NamedTuple):
    """A clause of a text, its places of matter and measures, and its pairs by their rank there."""

    reading: Reading
    begin: int
    end: int
    places: list[int]
    pairs: Mapping[str, int]


def exchanged(sentence: Reading, sources: Sequence[Reading], passages: Callable[[], Sequence[Reading]] = tuple) -> str:
    """A clause that begins as one clause of the window and goes on as another, which says it of a sibling.

    Nothing is said of a clause that a sentence of the passages holds together, or whose second half is a condition.

    Args:
        sentence: what is said.
        sources: the window of the literature.
        passages: all sentences of the passages, asked for when two halves seem exchanged.
    """
    theirs = [clause for reading in sources for clause in _clauses(reading)]
    holding: dict[str, list[int]] = {}
    for place, clause in enumerate(theirs):
        for pair in clause.pairs:
            holding.setdefault(pair, []).append(place)
    for mine in _clauses(sentence):
        counts = Counter(place for pair in mine.pairs for place in holding.get(pair, ()))
        held = [theirs[place] for place, _ in counts.most_common(_MOST_LIKE)]
        words = _words(sentence, mine.begin, mine.end)
        for one in held:
            for other in held:
                halves = _crossed(mine, words, one, other) if other is not one else None
                if halves is None or any(_hold_both(clause.pairs.keys(), *halves) for clause in theirs):
                    continue
                split = one.reading is other.reading
                rest = [reading for reading in (*sources, *passages()) if not (split and reading is one.reading)]
                if not any(_hold_both(reading.pair_set, *halves) for reading in rest):
                    said = sentence.raw_text(mine.begin, mine.end)
                    return f"“{said}”：原文说的是“{other.reading.raw_text(other.begin, other.end)}”"
    return ""


def _clauses(reading: Reading) -> list[Clause]:
    cached: list[Clause] | None = reading.__dict__.get("read clauses")
    if cached is None:
        cached = []
        for begin, end in reading.clauses:
            places = [at for at in range(begin, end) if reading.tells(at)]
            pairs = {reading.norm[a] + reading.norm[b]: rank for rank, (a, b) in enumerate(pairwise(places))}
            if pairs:
                cached.append(Clause(reading, begin, end, places, pairs))
        reading.__dict__["read clauses"] = cached
    return cached


def _crossed(
    mine: Clause, words: set[tuple[str, str]], one: Clause, other: Clause
) -> tuple[frozenset[str], frozenset[str]] | None:
    """The pairs that a clause has from the head of `one` and from the tail of `other`, whose own head is a sibling."""
    head = {pair: rank for pair, rank in mine.pairs.items() if pair in one.pairs and pair not in other.pairs}
    tail = {pair: rank for pair, rank in mine.pairs.items() if pair in other.pairs and pair not in one.pairs}
    if not head or len(tail) < 2 or max(head.values()) >= min(tail.values()):
        return None
    last, first = max(one.pairs[pair] for pair in head), min(other.pairs[pair] for pair in tail)
    if min(one.pairs[pair] for pair in head) > _OPENS or not first:
        return None
    lost = [pair for pair, rank in one.pairs.items() if rank > last and pair not in mine.pairs]
    instead = [pair for pair, rank in other.pairs.items() if rank < first and pair not in mine.pairs]
    said_there = sum(rank >= first for rank in other.pairs.values())
    unsaid = set("".join(lost)).difference(*mine.pairs)
    if len(unsaid) < _MIN_LOST or not instead or len(tail) < _MIN_TAIL * said_there:
        return None
    if other.reading is one.reading and _CONDITION.search(other.reading.norm[other.begin : other.end]):
        return None
    stop = one.places[min(last + 1, len(one.places) - 1)] + 1
    apart = (one.reading, one.begin, stop), (other.reading, other.begin, other.places[first] + 1)
    return (frozenset(head), frozenset(tail)) if _are_siblings(mine, words, *apart) else None


def _hold_both(pairs: Set[str], head: frozenset[str], tail: frozenset[str]) -> bool:
    return not head.isdisjoint(pairs) and 2 * len(tail & pairs) > len(tail)


def _are_siblings(
    mine: Clause, words: set[tuple[str, str]], one: tuple[Reading, int, int], other: tuple[Reading, int, int]
) -> bool:
    """Whether two heads name different things of a kind, of which the clause names the first alone."""
    names, others = _words(*one), _words(*other)
    only, instead = (names - others) & words, others - names - words
    if {kind for kind, _ in only} & {kind for kind, _ in instead}:
        return True
    here, there = _stretch(*one), _stretch(*other)
    ends = {pair[1] for pair in (here - there) & mine.pairs.keys()}
    return not ends.isdisjoint(pair[1] for pair in there - here - mine.pairs.keys())  # 马蜂 and 蜜蜂


def _words(reading: Reading, begin: int, end: int) -> set[tuple[str, str]]:
    """(class, word) of the names, contrasts, groups of people and Latin letters in `norm[begin:end]`."""
    found = {
        (token.kind, token.canonical)
        for token in reading.tokens
        if token.kind in _NAMING and begin <= token.start and token.end <= end
    }
    for table in ("contrasts.tsv", "populations.tsv"):
        marks = [mark for mark in find_marks(reading, table) if begin <= mark.start and mark.end <= end]
        found.update((mark.kind, value) for mark in marks for value in mark.values)
    found.update(("latin", match[0]) for match in _LATIN.finditer(reading.norm, begin, end))
    return found


def _stretch(reading: Reading, begin: int, end: int) -> frozenset[str]:
    return frozenset(
        reading.norm[at : at + 2] for at in range(begin, end - 1) if reading.tells(at) and reading.tells(at + 1)
    )
